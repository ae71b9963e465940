//! The last look before a plan runs: what its role does not see clear must have been masked, by these very masks. A plan
//! that was not made for its role (or for masks that have changed, or by way of something that the planner's hook does not
//! know) does not run.

use super::executor::asks_for_key;
use super::mask_level::marked;
use super::planner::is_masked;
use super::statement::{Source, is_key_query};
use super::{facts, judge, list, standing_aside, utility};
use crate::core::tier::Tier;
use crate::error::Fault;
use crate::mask::{Masks, policy::digest};
use crate::{cache, raw, session};
use pgrx::pg_sys::{self, RTEKind, RangeTblEntry};
use std::ffi::{CStr, c_int};

/// Whether a plan reads or writes anything of which some role does not see all, or may.
pub unsafe fn may_concern(query: *mut pg_sys::QueryDesc, flags: c_int) -> bool {
    if cache::if_fresh(cache::Policy::is_masked) == Some(false) || standing_aside() {
        return false;
    }
    // Safe: ExecutorStart gets a complete QueryDesc; a plain getter.
    unsafe {
        let for_key = asks_for_key(query, flags) && is_key_query((*query).sourceText);
        !for_key && asked((*query).plannedstmt).any(|entry| is_masked((*entry).relid))
    }
}

/// The tables that a plan's statement names itself, or through views; not the children that the planner adds.
unsafe fn asked(plan: *mut pg_sys::PlannedStmt) -> impl Iterator<Item = *mut RangeTblEntry> {
    // Safe: a finished plan.
    unsafe {
        list::<RangeTblEntry>((*plan).rtable)
            .filter(|entry| (**entry).rtekind == RTEKind::RTE_RELATION && (**entry).requiredPerms != 0)
    }
}

/// Refuses a plan that would show what it must not, and one that is to show how many rows it looked at: rows that a condition
/// on a mask removed, or a condition of row security, say how many there are.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // Safe: as above.
    unsafe {
        let Some(first) = unsuitable(query) else {
            let runs = flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int == 0;
            if runs && (*query).instrument_options != 0 && utility::innermost() == utility::Kind::Analyzes {
                refuse_analysis(query);
            }
            return;
        };
        // Kept plans are made anew at their next use.
        raw::ResetPlanCache();
        let fault = Fault::refused("statement refused: its plan was not made for the masks of this role")
            .hint("Repeat the statement; if it is refused again, read the table in a query of its own.");
        refuse(query, first, fault);
    }
}

/// Refuses a cursor or portal to go on for a role with other masks than it was opened with.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check_on(query: *mut pg_sys::QueryDesc) {
    // Safe: the query is running.
    unsafe {
        if let Some(relation) = unsuitable(query) {
            refuse(
                query,
                relation,
                Fault::refused("statement refused: a cursor that another role has opened").hint(OPEN),
            );
        }
    }
}

const OPEN: &str = "Open the cursor in the role that reads it.";

/// The same for a cursor that holds its rows since its transaction ended, by the plan that it still has.
pub unsafe fn check_held(name: &CStr, source: &Source<'_>) {
    // Safe: a look-up of a portal by name; a held one has no running query.
    unsafe {
        let portal = pg_sys::GetPortalByName(name.as_ptr());
        if portal.is_null() || (*portal).holdStore.is_null() || !(*portal).queryDesc.is_null() {
            return;
        }
        let policy = cache::policy();
        let role = raw::GetUserId();
        let Some(masks) = policy.masks().filter(|masks| masks.has(role)) else { return };
        let plans = || list::<pg_sys::PlannedStmt>((*portal).stmts);
        let read = |plan: *mut pg_sys::PlannedStmt| list::<RangeTblEntry>((*plan).rtable);
        let unsuitable = |entry: &*mut RangeTblEntry| is_unsuitable(masks, role, *entry);
        let found = plans().flat_map(read).find(unsuitable).map(|entry| (*entry).relid);
        // Without a plan nobody knows for whom its rows were read.
        if plans().next().is_none() || found.is_some() {
            let names = found.map(utility::relation_name).into_iter().collect();
            let record = judge::record("FETCH", names, Tier::Normal, "mask", source);
            let fault = Fault::refused("statement refused: a cursor that another role has opened");
            judge::deny(record, fault.detail(format!("Role {} has masks.", session::role_name(role))).hint(OPEN));
        }
    }
}

/// What a plan reads that was not made for the masks of the current role.
unsafe fn unsuitable(query: *mut pg_sys::QueryDesc) -> Option<pg_sys::Oid> {
    let policy = cache::policy();
    let masks = policy.masks()?;
    // Safe: a complete QueryDesc; plain getter.
    unsafe {
        let role = raw::GetUserId();
        asked((*query).plannedstmt).find(|entry| is_unsuitable(masks, role, *entry)).map(|entry| (*entry).relid)
    }
}

unsafe fn is_unsuitable(masks: &Masks, role: pg_sys::Oid, entry: *mut RangeTblEntry) -> bool {
    // Safe: an entry of a finished plan.
    unsafe {
        (*entry).rtekind == RTEKind::RTE_RELATION
            && (*entry).requiredPerms != 0
            && masks
                .of(role, (*entry).relid)
                .is_some_and(|columns| marked(entry).is_none_or(|(planned, _)| planned != digest(&columns)))
    }
}

unsafe fn refuse_analysis(query: *mut pg_sys::QueryDesc) {
    // Safe: as above.
    unsafe {
        if let Some(entry) = asked((*query).plannedstmt).find(|entry| marked(*entry).is_some()) {
            let fault = Fault::refused("statement refused: EXPLAIN ANALYZE counts rows behind masks")
                .hint("EXPLAIN without ANALYZE shows the plan.");
            refuse(query, (*entry).relid, fault);
        }
    }
}

/// On record, then raised.
unsafe fn refuse(query: *mut pg_sys::QueryDesc, relation: pg_sys::Oid, fault: Fault) {
    // Safe: as above.
    unsafe {
        let plan = (*query).plannedstmt;
        let source = Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len);
        let name = utility::relation_name(relation);
        let record = judge::record(facts::operation_tag(plan), vec![name.clone()], Tier::Normal, "mask", &source);
        let role = session::role_name(raw::GetUserId());
        judge::deny(record, fault.detail(format!("Columns of {name} are masked for role {role}.")))
    }
}

/// Whether a plan is one role's own: those with masks are.
pub unsafe fn is_for_a_role(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: a running query has its plan.
    unsafe { (*(*query).plannedstmt).dependsOnRole }
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
