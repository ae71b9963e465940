//! The planner hook: a statement about to be planned shows masks instead of the values that the current role does not see
//! clear. Every statement is planned, whatever it came from (a view, a function's body, a cursor, COPY), and a plan that
//! depends on the role is made anew for another one; so this is the one place.
//!
//! A statement on nothing that is masked leaves at once. Checks of foreign keys compare real values. Frames are plain and
//! hold nothing to drop, so that errors of the server pass untouched.

use super::mask_query::{self, Job};
use super::node::{self, Walker};
use super::statement::is_key_query;
use super::{borrowed, key_validation};
use super::{list, standing_aside};
use crate::{cache, own};
use pgrx::pg_sys::{self, Node, NodeTag, Query, RTEKind};
use std::ffi::{c_char, c_int, c_void};

static mut NEXT: pg_sys::planner_hook_type = None;

unsafe extern "C-unwind" {
    #[link_name = "standard_planner"]
    fn core_planner(
        query: *mut Query,
        text: *const c_char,
        options: c_int,
        parameters: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
}

pub fn init() {
    // Safe: plain hook pointers, set while the postmaster preloads and kept for the chain.
    unsafe {
        NEXT = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(plan);
    }
}

unsafe extern "C-unwind" fn plan(
    query: *mut Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        if cache::if_fresh(cache::Policy::is_masked) == Some(false) {
            return make(query, text, options, parameters);
        }
        let mut job = Job::new(text, query);
        if !standing_aside() && !is_key_query(text) && may_concern(query) {
            job.validates = key_validation::is_running(text);
            mask_query::mask(query, &mut job);
        }
        let plan = make(query, text, options, parameters);
        job.finish(plan);
        plan
    }
}

/// The server's plan, made with the rights of whom the code in it belongs to.
unsafe fn make(
    query: *mut Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // Safe: what the hook was given.
    unsafe {
        let planner = NEXT.unwrap_or(core_planner);
        match borrowed::rights_for(query) {
            None if own::running() => borrowed::plan_own(query, text, options, parameters, planner),
            None => planner(query, text, options, parameters),
            Some(role) => borrowed::plan(query, text, options, parameters, role, planner),
        }
    }
}

/// Whether a statement touches anything of which some role does not see all, or may.
unsafe fn may_concern(query: *mut Query) -> bool {
    // Safe: a complete query, which is only read.
    unsafe {
        if cache::if_fresh(|policy| policy.masks_concern(pg_sys::InvalidOid)).flatten().is_none() {
            read_rules();
        }
        concerns(query)
    }
}

/// The policy and its mask rules, for the questions to come.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn read_rules() {
    cache::policy().masks();
}

/// Whether a relation has columns that some role does not see clear. What is not known counts as such.
pub fn is_masked(relation: pg_sys::Oid) -> bool {
    cache::if_fresh(|policy| policy.masks_concern(relation)).flatten().unwrap_or(true)
}

unsafe fn concerns(query: *mut Query) -> bool {
    // Each sub-query is visited once, or nesting them would double the time with each level.
    let others = (pg_sys::QTW_IGNORE_RT_SUBQUERIES | pg_sys::QTW_IGNORE_CTE_SUBQUERIES) as c_int;
    // Safe: as above.
    unsafe {
        node::check_stack_depth();
        let entry_concerns = |entry: *mut pg_sys::RangeTblEntry| match (*entry).rtekind {
            RTEKind::RTE_RELATION => is_masked((*entry).relid),
            RTEKind::RTE_SUBQUERY => concerns((*entry).subquery),
            RTEKind::RTE_FUNCTION => may_inline(entry),
            _ => false,
        };
        list((*query).rtable).any(entry_concerns)
            || list::<pg_sys::CommonTableExpr>((*query).cteList).any(|cte| concerns((*cte).ctequery.cast()))
            || (*query).hasSubLinks && node::query_tree_walker(query, walk as Walker, std::ptr::null_mut(), others)
    }
}

unsafe extern "C-unwind" fn walk(node: *mut Node, context: *mut c_void) -> bool {
    // Safe: a node of the query, cast after its tag.
    unsafe {
        if node.is_null() {
            false
        } else if (*node).type_ == NodeTag::T_Query {
            concerns(node.cast())
        } else {
            node::expression_tree_walker(node, walk, context)
        }
    }
}

/// Whether an entry is a function in FROM that may be one in SQL, whose body the planner puts in its place.
pub unsafe fn may_inline(entry: *mut pg_sys::RangeTblEntry) -> bool {
    // Safe: an entry of the query; cast after the tag.
    unsafe {
        list::<pg_sys::RangeTblFunction>((*entry).functions).any(|function| {
            let call = (*function).funcexpr.cast::<pg_sys::FuncExpr>();
            (*(*function).funcexpr).type_ == NodeTag::T_FuncExpr
                && (*call).funcretset
                && (*call).funcid.to_u32() >= pg_sys::FirstNormalObjectId
        })
    }
}
