//! Rows that go into few: an aggregate that carries values along (string_agg, array_agg, json_agg, one of somebody's own)
//! shows a thousand phone numbers in one row. Where a query on record has such a one, the server counts the rows of each
//! scan (what EXPLAIN ANALYZE shows, without the times), and the record says how many were read of protected tables.
//! All other queries pay one look at their plan. Workers' rows are among them. `reading` is what limits go by.

use super::list;
use super::reading::{is_scan, planstate_tree_walker};
use crate::cache::{self, Policy};
use pgrx::pg_sys::{self, NodeTag, PlanState};
use std::ffi::c_void;

const COUNT_ROWS: i32 = pg_sys::InstrumentOption::INSTRUMENT_ROWS as i32;
/// `pg_aggregate.aggsortop`, which the bindings leave out.
const SORT_OPERATOR: i16 = 16;

/// Before the query starts: whether its rows are to be counted.
pub unsafe fn prepare(query: *mut pg_sys::QueryDesc) {
    // Safe: ExecutorStart gets a complete QueryDesc.
    unsafe {
        if gathers_anywhere((*query).plannedstmt) {
            (*query).instrument_options |= COUNT_ROWS;
        }
    }
}

/// Whether a query's rows are counted, by us or by somebody else.
pub unsafe fn is_counted(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: a complete QueryDesc.
    unsafe { (*query).instrument_options & COUNT_ROWS != 0 }
}

/// Rows read of protected tables so far, for a query that was prepared so.
pub unsafe fn rows_read(query: *mut pg_sys::QueryDesc) -> Option<i64> {
    // Safe: the query was started and is not ended.
    unsafe {
        if !is_counted(query) || !gathers_anywhere((*query).plannedstmt) {
            return None;
        }
        let mut sum = Sum { policy: &cache::policy_as_heard(), rows: 0.0 };
        add((*query).planstate, (&raw mut sum).cast());
        Some(sum.rows as i64)
    }
}

struct Sum<'p> {
    policy: &'p Policy,
    rows: f64,
}

unsafe extern "C-unwind" fn add(node: *mut PlanState, context: *mut c_void) -> bool {
    // Safe: nodes of the query and the context of `rows_read`; a scan's state begins with a ScanState.
    unsafe {
        if node.is_null() {
            return false;
        }
        if is_scan((*node).type_) && !(*node).instrument.is_null() {
            let sum = &mut *context.cast::<Sum<'_>>();
            let relation = (*node.cast::<pg_sys::ScanState>()).ss_currentRelation;
            if !relation.is_null() && sum.policy.protected((*relation).rd_id).is_some() {
                // Of the loops that have ended, and of this one.
                sum.rows += (*(*node).instrument).ntuples + (*(*node).instrument).tuplecount;
            }
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| planstate_tree_walker(node, add, context))
    }
}

unsafe fn gathers_anywhere(plan: *mut pg_sys::PlannedStmt) -> bool {
    // Safe: a finished plan; subplans that were left out are null.
    unsafe { gathers((*plan).planTree) || list::<pg_sys::Plan>((*plan).subplans).any(|plan| gathers(plan)) }
}

unsafe fn gathers(node: *mut pg_sys::Plan) -> bool {
    // Safe: casts follow the tag.
    unsafe {
        if node.is_null() {
            return false;
        }
        let inside = match (*node).type_ {
            NodeTag::T_Agg | NodeTag::T_WindowAgg => {
                let mut found = false;
                carries((*node).targetlist.cast(), (&raw mut found).cast());
                found
            }
            NodeTag::T_SubqueryScan => gathers((*node.cast::<pg_sys::SubqueryScan>()).subplan),
            NodeTag::T_Append => list((*node.cast::<pg_sys::Append>()).appendplans).any(|plan| gathers(plan)),
            NodeTag::T_MergeAppend => list((*node.cast::<pg_sys::MergeAppend>()).mergeplans).any(|plan| gathers(plan)),
            _ => false,
        };
        inside || gathers((*node).lefttree) || gathers((*node).righttree)
    }
}

/// Whether an aggregate in an expression can carry the values of all its rows.
unsafe extern "C-unwind" fn carries(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // Safe: nodes of a plan, the context is a flag; casts follow the tag.
    unsafe {
        if node.is_null() {
            return false;
        }
        let found = match (*node).type_ {
            NodeTag::T_Aggref => keeps_values((*node.cast::<pg_sys::Aggref>()).aggfnoid),
            NodeTag::T_WindowFunc => {
                let call = &*node.cast::<pg_sys::WindowFunc>();
                call.winagg && keeps_values(call.winfnoid)
            }
            _ => false,
        };
        if found {
            *context.cast::<bool>() = true;
            return true;
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| super::node::expression_tree_walker(node, carries, context))
    }
}

/// What is no number, no date and none of its arguments (min and max have a sort operator) can hold them all; and what
/// somebody's own aggregate holds, nobody knows.
unsafe fn keeps_values(aggregate: pg_sys::Oid) -> bool {
    // Safe: syscache look-ups; the tuple is released after its field is read.
    unsafe {
        if aggregate.to_u32() >= pg_sys::FirstNormalObjectId {
            return true;
        }
        // Its own, not that of a part of it in a worker.
        let result = pg_sys::get_func_rettype(aggregate);
        if result == pg_sys::NUMERICOID || pg_sys::get_typlen(result) != -1 {
            return false;
        }
        let cache = pg_sys::SysCacheIdentifier::AGGFNOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(aggregate));
        if tuple.is_null() {
            return true;
        }
        let mut is_null = false;
        let sorts = pg_sys::SysCacheGetAttr(cache, tuple, SORT_OPERATOR, &raw mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        is_null || sorts.value() == 0
    }
}
