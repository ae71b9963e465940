//! Statements whose AFTER triggers run together at their end, checks of foreign keys among them: half of a restore may
//! contradict the other half for a moment. The foreign keys' own cascades are run in the same way.

use crate::error::{Fault, Outcome};
use pgrx::pg_sys::{self, Datum, Oid};
use std::collections::HashMap;
use std::ffi::{CString, c_char};

/// A parameter: its type, and its value unless it is NULL.
pub type Argument = (Oid, Option<Datum>);

/// Runs `body`, and after it the AFTER triggers of all its statements.
pub fn together<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    // Safe: begun and ended at the same depth; an error in between ends it with the (sub)transaction.
    unsafe { pg_sys::AfterTriggerBeginQuery() };
    let value = body()?;
    // Safe: inside a transaction. Without an executor state of a query the triggers get one of their own.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::AfterTriggerEndQuery(std::ptr::null_mut());
        pg_sys::PopActiveSnapshot();
    }
    Ok(value)
}

/// Plans of one SPI connection, with which they end.
#[derive(Default)]
pub struct Statements {
    planned: HashMap<String, pg_sys::SPIPlanPtr>,
}

/// What a statement did: rows touched or found, and the first one found.
pub struct Done {
    pub rows: u64,
    first: Option<(pg_sys::HeapTuple, pg_sys::TupleDesc)>,
}

impl Done {
    /// A value of the first row, columns counted from 1.
    pub fn value(&self, column: i32) -> Option<Datum> {
        let (tuple, shape) = self.first?;
        let mut missing = false;
        // Safe: SPI keeps the row until its connection ends; the column is one of its own.
        let value = unsafe { pg_sys::SPI_getbinval(tuple, shape, column, &mut missing) };
        (!missing).then_some(value)
    }
}

impl Statements {
    /// Runs a statement as the current role. To be called in an SPI connection and by [`together`].
    pub fn run(&mut self, statement: &str, arguments: &[Argument]) -> Outcome<Done> {
        let plan = match self.planned.get(statement) {
            Some(plan) => *plan,
            None => self.plan(statement, arguments)?,
        };
        let mut values: Vec<Datum> = arguments.iter().map(|(_, value)| value.unwrap_or(Datum::from(0))).collect();
        let nulls: Vec<c_char> =
            arguments.iter().map(|(_, value)| if value.is_some() { b' ' } else { b'n' } as c_char).collect();
        // Safe: connected; the plan has these parameters; without a snapshot each statement takes its own.
        unsafe {
            let none = std::ptr::null_mut();
            let code =
                pg_sys::SPI_execute_snapshot(plan, values.as_mut_ptr(), nulls.as_ptr(), none, none, false, false, 0);
            if code < 0 {
                return Err(Fault::internal(format!("a statement of a restore failed (SPI {code})")));
            }
            let (rows, table) = (pg_sys::SPI_processed, pg_sys::SPI_tuptable);
            let first = (!table.is_null() && (*table).numvals > 0).then(|| (*(*table).vals, (*table).tupdesc));
            Ok(Done { rows, first })
        }
    }

    fn plan(&mut self, statement: &str, arguments: &[Argument]) -> Outcome<pg_sys::SPIPlanPtr> {
        let text = CString::new(statement).map_err(|_| Fault::internal("a statement with a zero byte"))?;
        let mut types: Vec<Oid> = arguments.iter().map(|(type_, _)| *type_).collect();
        // Safe: connected; text and types are copied.
        let plan = unsafe { pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr()) };
        if plan.is_null() {
            return Err(Fault::internal("a statement of a restore cannot be planned"));
        }
        self.planned.insert(statement.to_owned(), plan);
        Ok(plan)
    }
}
