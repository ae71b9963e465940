//! Columns into which a masked role writes nothing, as a rule with `write => 'deny'` says. What counts is which columns a
//! statement names, not what it would put there: NULL and DEFAULT wipe out a value too. Columns that an INSERT leaves out
//! take their default, and cascades of foreign keys go on, because the table's owner wrote both.
//!
//! Frames are plain and hold nothing to drop.

use super::mask_level::{Entry, Eyes, Level, look_up};
use super::mask_query::{Job, Refusal, refuse};
use super::{list, node, standing_aside};
use crate::raw;
use pgrx::pg_sys::{self, CmdType, CopyStmt, NodeTag, Oid, PlannedStmt};
use std::ffi::{CStr, c_char, c_int};

/// Refuses INSERT, UPDATE and MERGE that name such a column, and ON CONFLICT DO UPDATE.
pub unsafe fn check(level: &Level, job: &mut Job) {
    // Safe: a complete query; the server noted which columns its user named.
    unsafe {
        let query = level.query;
        if !matches!((*query).commandType, CmdType::CMD_INSERT | CmdType::CMD_UPDATE | CmdType::CMD_MERGE) {
            return;
        }
        let index = (*query).resultRelation as u32;
        let table = level.table(index);
        let named = |number: i16| {
            let bit = c_int::from(number) - pg_sys::FirstLowInvalidHeapAttributeNumber;
            node::bms_is_member(bit, (*table).insertedCols) || node::bms_is_member(bit, (*table).updatedCols)
        };
        if let Some(number) = (*level.entry(index)).denies(named) {
            refuse(Refusal::Denied, (*table).relid, number, job);
        }
    }
}

/// Refuses COPY FROM into such a column, which is planned nowhere.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check_copy(statement: *mut PlannedStmt, text: *const c_char) {
    // Safe: ProcessUtility gets a complete utility statement; casts follow the tag.
    unsafe {
        let node = (*statement).utilityStmt;
        if (*node).type_ != NodeTag::T_CopyStmt || standing_aside() || !raw::IsTransactionState() {
            return;
        }
        let copy = &*node.cast::<CopyStmt>();
        if !copy.is_from || copy.relation.is_null() {
            return;
        }
        let (unlocked, missing) = (pg_sys::NoLock as c_int, pg_sys::RVROption::RVR_MISSING_OK);
        let relation = pg_sys::RangeVarGetRelidExtended(copy.relation, unlocked, missing, None, std::ptr::null_mut());
        if relation == pg_sys::InvalidOid {
            return;
        }
        let entry = node::array::<Entry>(1);
        look_up(Eyes { role: raw::GetUserId(), asker: pg_sys::InvalidOid }, relation, entry);
        if let Some(number) = (*entry).denies(|number| copies(copy, relation, number)) {
            refuse(Refusal::Denied, relation, number, &Job::of_copy(text, statement));
        }
    }
}

/// Whether COPY brings values for a column: it does so for all, or for those in its list.
unsafe fn copies(copy: &CopyStmt, relation: Oid, number: i16) -> bool {
    // Safe: a list of names; an existing column.
    unsafe {
        let name = CStr::from_ptr(pg_sys::get_attname(relation, number, false));
        copy.attlist.is_null() && !is_generated(relation, number)
            || list::<pg_sys::String>(copy.attlist).any(|listed| CStr::from_ptr((*listed).sval) == name)
    }
}

unsafe fn is_generated(relation: Oid, number: i16) -> bool {
    // Safe: a syscache look-up.
    unsafe { pg_sys::get_attgenerated(relation, number) != 0 }
}
