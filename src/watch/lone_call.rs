//! Whether a call is all that its transaction does. Then nothing around it can undo it, and what it locks for others is
//! free again in a moment. The text of a message does not tell that; the plan that runs does.

use super::statement::inside_language;
use crate::backend::backend_local;
use crate::raw;
use pgrx::pg_sys;
use std::cell::Cell;

backend_local! {
    /// The client's query that is run for so many rows and no more, and since when: who never asks for the rest never ends
    /// its transaction either.
    static PORTION: Cell<(usize, pg_sys::TimestampTz)> = const { Cell::new((0, 0)) };
}

/// A query is run for a limited number of rows.
pub unsafe fn runs_in_portions(query: *mut pg_sys::QueryDesc) {
    // Safe: the portal that is run, if there is one; plain getter.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if !portal.is_null() && (*portal).queryDesc == query {
            PORTION.set((query as usize, raw::GetCurrentStatementStartTimestamp()));
        }
    }
}

/// Whether the client's statement is `SELECT f(…)`, whole, and this is that call, by itself. If so the transaction ends
/// with the statement, whatever the client sends right behind it.
pub fn is_alone(call: pg_sys::FunctionCallInfo) -> bool {
    // Safe: the call's own data; the portal that runs it outlives it; a flag of the running transaction, as
    // PreventInTransactionBlock() sets it.
    unsafe {
        if inside_language() || pg_sys::IsInTransactionBlock(true) || !is_whole_plan(call) {
            return false;
        }
        pg_sys::MyXactFlags |= pg_sys::XACT_FLAGS_NEEDIMMEDIATECOMMIT as i32;
        true
    }
}

/// Whether the client's plan returns the value of this very call and has nothing else to do. What its arguments take is
/// over before it begins; an SQL function that stands in them has a plan of its own.
unsafe fn is_whole_plan(call: pg_sys::FunctionCallInfo) -> bool {
    // Safe: nodes of a plan that is being run, each looked at by its tag first.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if portal.is_null() || call.is_null() || (*call).flinfo.is_null() {
            return false;
        }
        if PORTION.get() == ((*portal).queryDesc as usize, raw::GetCurrentStatementStartTimestamp()) {
            return false;
        }
        let Some(planned) = only((*portal).stmts) else { return false };
        let planned = planned.cast::<pg_sys::PlannedStmt>();
        let plan = (*planned).planTree;
        if (*planned).commandType != pg_sys::CmdType::CMD_SELECT
            || (*plan).type_ != pg_sys::NodeTag::T_Result
            || !(*plan).lefttree.is_null()
        {
            return false;
        }
        let target = only((*plan).targetlist).map(|target| (*target.cast::<pg_sys::TargetEntry>()).expr);
        target.is_some_and(|target| std::ptr::eq(target.cast::<pg_sys::Node>(), (*(*call).flinfo).fn_expr))
    }
}

/// The one thing in a list.
unsafe fn only(list: *mut pg_sys::List) -> Option<*mut std::ffi::c_void> {
    // Safe: null or a list of pointers.
    unsafe { (!list.is_null() && (*list).length == 1).then(|| (*(*list).elements).ptr_value) }
}
