//! Statements whose AFTER triggers run together at their end, checks of foreign keys among them: half of a restore may
//! contradict the other half for a moment. The foreign keys' own cascades are run in the same way.

use crate::error::{Fault, Outcome};
use crate::watch::quiet::{self, AsReplica, Quiet};
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
    planned: HashMap<String, Plan>,
}

#[derive(Clone, Copy)]
struct Plan {
    plan: pg_sys::SPIPlanPtr,
    /// The text that its queries show as theirs.
    source: *const c_char,
}

/// What a statement sees, and after how many rows it ends; 0: after all.
struct Reach {
    snapshot: pg_sys::Snapshot,
    rows: std::ffi::c_long,
}

impl Reach {
    /// What a statement of this transaction sees.
    const ALL: Reach = Reach { snapshot: std::ptr::null_mut(), rows: 0 };
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
        self.perform(statement, arguments, Quiet::Application, Reach::ALL)
    }

    /// The same, for a row that nothing refers to.
    pub fn remove(&mut self, statement: &str, arguments: &[Argument]) -> Outcome<Done> {
        self.perform(statement, arguments, Quiet::Keys, Reach::ALL)
    }

    /// The first row of a query on what is committed now, whatever the transaction's snapshot shows.
    pub fn look(&mut self, query: &str, arguments: &[Argument]) -> Outcome<Done> {
        // Safe: inside a transaction; SPI makes a copy of its own.
        let now = unsafe { pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot()) };
        let done = self.perform(query, arguments, Quiet::Application, Reach { snapshot: now, rows: 1 });
        // Safe: registered above; after an error the abort drops it.
        unsafe { pg_sys::UnregisterSnapshot(now) };
        done
    }

    fn perform(&mut self, statement: &str, arguments: &[Argument], quiet: Quiet, reach: Reach) -> Outcome<Done> {
        let Plan { plan, source } = self.plan(statement, arguments)?;
        let _announcement = quiet::announce(source, quiet);
        let mut values: Vec<Datum> = arguments.iter().map(|(_, value)| value.unwrap_or(Datum::from(0))).collect();
        let nulls: Vec<c_char> =
            arguments.iter().map(|(_, value)| if value.is_some() { b' ' } else { b'n' } as c_char).collect();
        // Safe: connected; the plan has these parameters; without a snapshot each statement takes its own.
        unsafe {
            let none = std::ptr::null_mut();
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_ptr());
            let Reach { snapshot, rows } = reach;
            let code = pg_sys::SPI_execute_snapshot(plan, values, nulls, snapshot, none, false, false, rows);
            if code < 0 {
                return Err(Fault::internal(format!("a statement of a restore failed (SPI {code})")));
            }
            let (rows, table) = (pg_sys::SPI_processed, pg_sys::SPI_tuptable);
            let first = (!table.is_null() && (*table).numvals > 0).then(|| (*(*table).vals, (*table).tupdesc));
            Ok(Done { rows, first })
        }
    }

    /// The plan of a statement, made once. One that was made invalid is made anew here: the server would apply rules to it.
    fn plan(&mut self, statement: &str, arguments: &[Argument]) -> Outcome<Plan> {
        // Safe: a plan of this connection.
        if let Some(known) = self.planned.get(statement)
            && unsafe { pg_sys::SPI_plan_is_valid(known.plan) }
        {
            return Ok(*known);
        }
        let text = CString::new(statement).map_err(|_| Fault::internal("a statement with a zero byte"))?;
        let mut types: Vec<Oid> = arguments.iter().map(|(type_, _)| *type_).collect();
        // Safe: connected; text and types are copied. A plan of one statement has one source.
        let plan = unsafe {
            let _rules = AsReplica::enter();
            let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
            if plan.is_null() {
                return Err(Fault::internal("a statement of a restore cannot be planned"));
            }
            let sources = pg_sys::SPI_plan_get_plan_sources(plan);
            let source = pg_sys::list_nth(sources, 0).cast::<pg_sys::CachedPlanSource>();
            Plan { plan, source: (*source).query_string }
        };
        if let Some(former) = self.planned.insert(statement.to_owned(), plan) {
            // Safe: a plan of this connection that nobody knows any more.
            unsafe { pg_sys::SPI_freeplan(former.plan) };
        }
        Ok(plan)
    }
}
