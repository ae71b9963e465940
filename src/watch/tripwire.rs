//! The last look before a plan runs: what its role does not see clear must have been masked, by these very masks. A plan
//! that was not made for its role (or for masks that have changed, or by way of something that the planner's hook does not
//! know) does not run.

use super::mask_level::marked;
use super::planner::is_masked;
use super::statement::{Source, is_key_query};
use super::{facts, judge, list, standing_aside, utility};
use crate::core::tier::Tier;
use crate::error::Fault;
use crate::mask::policy::digest;
use crate::{cache, raw, session};
use pgrx::pg_sys::{self, RTEKind, RangeTblEntry};
use std::ffi::{CStr, c_char, c_int};

unsafe extern "C-unwind" {
    fn errdetail_internal(format: *const c_char, ...) -> c_int;
}

/// Whether a plan reads or writes anything of which some role does not see all, or may.
pub unsafe fn may_concern(query: *mut pg_sys::QueryDesc) -> bool {
    if cache::if_fresh(cache::Policy::is_masked) == Some(false) || standing_aside() {
        return false;
    }
    // Safe: ExecutorStart gets a complete QueryDesc; a plain getter.
    unsafe { !is_key_query((*query).sourceText) && asked((*query).plannedstmt).any(|entry| is_masked((*entry).relid)) }
}

/// The tables that a plan's statement names itself, or through views; not the children that the planner adds.
unsafe fn asked(plan: *mut pg_sys::PlannedStmt) -> impl Iterator<Item = *mut RangeTblEntry> {
    // Safe: a finished plan.
    unsafe {
        list::<RangeTblEntry>((*plan).rtable)
            .filter(|entry| (**entry).rtekind == RTEKind::RTE_RELATION && (**entry).requiredPerms != 0)
    }
}

/// Refuses a plan that would show what it must not.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check(query: *mut pg_sys::QueryDesc) {
    let policy = cache::policy();
    let Some(masks) = policy.masks() else { return };
    // Safe: as above.
    unsafe {
        let role = raw::GetUserId();
        let plan = (*query).plannedstmt;
        for entry in asked(plan) {
            let Some(columns) = masks.of(role, (*entry).relid) else { continue };
            let planned = marked(entry);
            if planned.is_some_and(|(planned, _)| planned == digest(&columns)) {
                continue;
            }
            // Kept plans are made anew at their next use.
            raw::ResetPlanCache();
            let source = Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len);
            let name = utility::relation_name((*entry).relid);
            let record = judge::record(facts::operation_tag(plan), vec![name.clone()], Tier::Normal, "mask", &source);
            judge::deny(
                record,
                Fault::refused("statement refused: its plan was not made for the masks of this role")
                    .detail(format!("Columns of {name} are masked for role {}.", session::role_name(role)))
                    .hint("Repeat the statement; if it is refused again, read the table in a query of its own."),
            );
        }
    }
}

/// Whether a plan is one role's own: those with masks are.
pub unsafe fn is_for_a_role(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: a running query has its plan.
    unsafe { (*(*query).plannedstmt).dependsOnRole }
}

/// Integrity constraints and checks of views, as the server packs the first two characters of an SQLSTATE.
const CLASSES_WITH_VALUES: [c_int; 2] = [2 | 3 << 6, 4 | 4 << 6];

/// Called while an error is raised: without row security, the server tells whoever may read a table which row failed, with
/// all its values.
pub unsafe fn hide_values(query: *mut pg_sys::QueryDesc, code: c_int) {
    // Safe: null or a running query; the text replaces the DETAIL of the error on top of the server's stack.
    unsafe {
        let told = !query.is_null() && CLASSES_WITH_VALUES.contains(&(code & 0xfff));
        if told && asked((*query).plannedstmt).any(|entry| marked(entry).is_some()) {
            errdetail_internal(c"%s".as_ptr(), c"Values are masked for this role.".as_ptr());
        }
    }
}

/// For the record: the masked columns that a plan compares as they are.
pub unsafe fn compared(plan: *mut pg_sys::PlannedStmt) -> Option<String> {
    let mut columns = Vec::new();
    // Safe: as above; names are copied.
    unsafe {
        for entry in asked(plan) {
            let Some((_, equal @ 1..)) = marked(entry) else { continue };
            for number in (1..64_i16).filter(|number| equal >> number & 1 == 1) {
                let name = pg_sys::get_attname((*entry).relid, number, true);
                if !name.is_null() {
                    let relation = utility::relation_name((*entry).relid);
                    columns.push(format!("{relation}.{}", CStr::from_ptr(name).to_string_lossy()));
                }
            }
        }
    }
    (!columns.is_empty()).then(|| serde_json::json!({ "compared_unmasked": columns }).to_string())
}
