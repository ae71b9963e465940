//! COPY table TO by a role that does not see all of the table clear: it has no plan in which masks could stand, so it
//! becomes COPY (SELECT columns FROM ONLY table) TO, as the server itself does under row security.

use super::planner::is_masked;
use super::{list, node, standing_aside};
use crate::{cache, raw};
use pgrx::pg_sys::{self, CopyStmt, List, Node, NodeTag, Oid, PlannedStmt};
use std::ffi::{c_char, c_int};

/// The command that runs in the place of this one: itself, but for such a COPY.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn in_place_of(statement: *mut PlannedStmt) -> *mut PlannedStmt {
    // Safe: ProcessUtility gets a complete utility statement; casts follow the tag.
    unsafe {
        let node = (*statement).utilityStmt;
        if (*node).type_ != NodeTag::T_CopyStmt || standing_aside() || !raw::IsTransactionState() {
            return statement;
        }
        let copy = &*node.cast::<CopyStmt>();
        if copy.is_from || copy.relation.is_null() {
            return statement;
        }
        let unlocked = pg_sys::NoLock as c_int;
        let missing = pg_sys::RVROption::RVR_MISSING_OK;
        let relation = pg_sys::RangeVarGetRelidExtended(copy.relation, unlocked, missing, None, std::ptr::null_mut());
        let policy = cache::policy();
        let masked = relation != pg_sys::InvalidOid
            && is_masked(relation)
            && policy.masks().is_some_and(|masks| masks.of(raw::GetUserId(), relation).is_some());
        // From anything but a plain table, COPY takes nothing.
        if !masked || pg_sys::get_rel_relkind(relation) as u8 != pg_sys::RELKIND_RELATION {
            return statement;
        }
        let other = node::copy(statement);
        let copy = (*other).utilityStmt.cast::<CopyStmt>();
        (*copy).query = selection(copy, relation).cast();
        (*copy).relation = std::ptr::null_mut();
        (*copy).attlist = std::ptr::null_mut();
        other
    }
}

/// SELECT columns FROM ONLY table.
unsafe fn selection(copy: *mut CopyStmt, relation: Oid) -> *mut pg_sys::SelectStmt {
    // Safe: nodes as the parser makes them.
    unsafe {
        let mut targets: *mut List = std::ptr::null_mut();
        if (*copy).attlist.is_null() {
            for name in stored_columns(relation) {
                targets = node::lappend(targets, target(pg_sys::makeString(name).cast()).cast());
            }
        } else {
            for name in list::<Node>((*copy).attlist) {
                targets = node::lappend(targets, target(name).cast());
            }
        }
        (*(*copy).relation).inh = false;
        let select = node::make::<pg_sys::SelectStmt>(NodeTag::T_SelectStmt);
        (*select).targetList = targets;
        (*select).fromClause = node::list_of([(*copy).relation.cast()]);
        select
    }
}

unsafe fn target(name: *mut Node) -> *mut pg_sys::ResTarget {
    // Safe: as above.
    unsafe {
        let column = node::make::<pg_sys::ColumnRef>(NodeTag::T_ColumnRef);
        (*column).fields = node::list_of([name]);
        (*column).location = -1;
        let target = node::make::<pg_sys::ResTarget>(NodeTag::T_ResTarget);
        (*target).val = column.cast();
        (*target).location = -1;
        target
    }
}

/// The names of the columns that COPY takes by itself: not the generated ones.
unsafe fn stored_columns(relation: Oid) -> Vec<*mut c_char> {
    let key = |number: i16| (pg_sys::Datum::from(relation), pg_sys::Datum::from(number));
    let mut names = Vec::new();
    for number in 1.. {
        // Safe: a syscache look-up, released when the name is copied.
        unsafe {
            let (relation, number) = key(number);
            let cache = pg_sys::SysCacheIdentifier::ATTNUM as c_int;
            let tuple = pg_sys::SearchSysCache2(cache, relation, number);
            if tuple.is_null() {
                break;
            }
            let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>();
            if !form.attisdropped && form.attgenerated == 0 {
                names.push(node::pstrdup(form.attname.data.as_ptr()));
            }
            pg_sys::ReleaseSysCache(tuple);
        }
    }
    names
}
