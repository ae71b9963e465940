//! What the catalog says of protected tables: their partitions, columns and classes. Read through PostgreSQL's own caches,
//! without SQL: every session asks when it starts.
//!
//! Never: a lock. Whoever asks holds one on the table, or is told of a change by invalidation.

use crate::core::rule::Column;
use pgrx::PgList;
use pgrx::pg_sys::{self, FormData_pg_attribute, FormData_pg_class, Oid, SysCacheIdentifier};
use std::collections::HashSet;
use std::ffi::{CStr, c_int};

const PROVIDER: &CStr = c"pg_steward";

// Not among the bindings. An ERROR in it must not pass Rust frames: to be called through `pg_guard_ffi_boundary` only.
unsafe extern "C-unwind" {
    fn find_inheritance_children_extended(
        parent: Oid,
        omit_detached: bool,
        lock: pg_sys::LOCKMODE,
        detached_exist: *mut bool,
        detached_xmin: *mut pg_sys::TransactionId,
    ) -> *mut pg_sys::List;
}

/// A table, its partitions and everything that inherits from it. A partition that is being detached belongs to it until
/// that is done: whoever interrupts it must not have it for their own.
pub fn tree(root: Oid) -> Vec<Oid> {
    let mut members = vec![root];
    let mut known = HashSet::from([root]);
    let mut next = 0;
    while let Some(parent) = members.get(next).copied() {
        members.extend(children(parent).into_iter().filter(|child| known.insert(*child)));
        next += 1;
    }
    members
}

fn children(parent: Oid) -> Vec<Oid> {
    // Safe: inside a transaction; the list of plain numbers is ours.
    unsafe {
        let (unlocked, not_asked) = (pg_sys::NoLock as pg_sys::LOCKMODE, std::ptr::null_mut());
        let list = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            find_inheritance_children_extended(parent, false, unlocked, not_asked, std::ptr::null_mut())
        });
        PgList::<Oid>::from_pg(list).iter_oid().collect()
    }
}

/// Where a table keeps its long values.
pub fn toast_of(relation: Oid) -> Option<Oid> {
    class(relation, |form| form.reltoastrelid).filter(|toast| *toast != pg_sys::InvalidOid)
}

/// The columns of a table of the tree; a column has the class that the root's column of that name has.
pub fn of(relation: Oid, root: Oid) -> Vec<Column> {
    let last = class(relation, |form| form.relnatts).unwrap_or(0);
    (1..=last).filter_map(|number| column(relation, number, root)).collect()
}

fn class<T>(relation: Oid, ask: impl FnOnce(&FormData_pg_class) -> T) -> Option<T> {
    // Safe: syscache look-up, released at once; the form is only lent.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(SysCacheIdentifier::RELOID as c_int, pg_sys::Datum::from(relation));
        if tuple.is_null() {
            return None;
        }
        let answer = ask(&*pg_sys::GETSTRUCT(tuple).cast::<FormData_pg_class>());
        pg_sys::ReleaseSysCache(tuple);
        Some(answer)
    }
}

/// None for a column that was dropped.
fn column(relation: Oid, number: i16, root: Oid) -> Option<Column> {
    // Safe: syscache look-up, released when the name is copied; the label is a copy of its own.
    unsafe {
        let key = (pg_sys::Datum::from(relation), pg_sys::Datum::from(number));
        let tuple = pg_sys::SearchSysCache2(SysCacheIdentifier::ATTNUM as c_int, key.0, key.1);
        if tuple.is_null() {
            return None;
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<FormData_pg_attribute>();
        let name = (!form.attisdropped).then(|| CStr::from_ptr(form.attname.data.as_ptr()).to_owned());
        pg_sys::ReleaseSysCache(tuple);
        let name = name?;
        let object = pg_sys::ObjectAddress {
            classId: pg_sys::RelationRelationId,
            objectId: root,
            objectSubId: c_int::from(pg_sys::get_attnum(root, name.as_ptr())),
        };
        let label = match object.objectSubId {
            1.. => pg_sys::GetSecurityLabel(&object, PROVIDER.as_ptr()),
            _ => std::ptr::null_mut(),
        };
        let class = (!label.is_null()).then(|| CStr::from_ptr(label).to_string_lossy().into_owned());
        Some(Column { number: number as u16, name: name.to_string_lossy().into_owned(), class })
    }
}
