//! The `_mask` functions as the planner calls them: found by their names once, and again after a function was changed.

use crate::backend::{NumberMap, backend_local};
use pgrx::pg_sys::SysCacheIdentifier::{PROCNAMEARGSNSP, PROCOID, TYPENAMENSP};
use pgrx::pg_sys::{self, Datum, InvalidOid, Oid};
use std::cell::{Cell, RefCell};
use std::hash::BuildHasherDefault;

/// Where `steward.mask_spec` is kept among the types, none of which has this number.
const SPEC: u32 = 0;

backend_local! {
    static KNOWN: RefCell<NumberMap<u32, Oid>> = const { RefCell::new(NumberMap::with_hasher(BuildHasherDefault::new())) };
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// The function `steward._mask(type, steward.mask_spec)`, which returns the same type; None: values of the type have no
/// mask, NULL has to stand in their place.
pub fn function(kind: Oid) -> Option<Oid> {
    if kind == InvalidOid {
        return None;
    }
    look_up(kind.to_u32(), || {
        let namespace = namespace()?;
        let arguments = [kind, spec_type()?];
        // Safe: a new oidvector of two oids.
        let arguments = unsafe { pg_sys::buildoidvector(arguments.as_ptr(), 2) };
        let keys = [Datum::from(c"_mask".as_ptr()), Datum::from(arguments), Datum::from(namespace)];
        find(PROCNAMEARGSNSP as i32, pg_sys::Anum_pg_proc_oid, keys)
    })
}

/// The type of the second argument: eight bytes by value, `Spec::to_i64`.
pub fn spec_type() -> Option<Oid> {
    look_up(SPEC, || {
        let keys = [Datum::from(c"mask_spec".as_ptr()), Datum::from(namespace()?), Datum::from(0_usize)];
        find(TYPENAMENSP as i32, pg_sys::Anum_pg_type_oid, keys)
    })
}

fn look_up(key: u32, find: impl FnOnce() -> Option<Oid>) -> Option<Oid> {
    if !WATCHED.replace(true) {
        // Safe: registers a callback for the life of this backend. DROP EXTENSION changes functions too.
        unsafe { pg_sys::CacheRegisterSyscacheCallback(PROCOID as i32, Some(on_change), Datum::from(0_usize)) };
    }
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).copied()) {
        return Some(known);
    }
    let found = find()?;
    KNOWN.with_borrow_mut(|known| known.insert(key, found));
    Some(found)
}

fn namespace() -> Option<Oid> {
    // Safe: a look-up by a C string.
    let namespace = unsafe { pg_sys::get_namespace_oid(c"steward".as_ptr(), true) };
    (namespace != InvalidOid).then_some(namespace)
}

fn find(cache: i32, column: u32, keys: [Datum; 3]) -> Option<Oid> {
    let [one, two, three] = keys;
    // Safe: keys of the types that the cache is keyed by.
    let found = unsafe { pg_sys::GetSysCacheOid(cache, column as i16, one, two, three, Datum::from(0_usize)) };
    (found != InvalidOid).then_some(found)
}

/// Called inside invalidation processing: neither raises nor allocates.
unsafe extern "C-unwind" fn on_change(_argument: Datum, _cache: i32, _hash: u32) {
    KNOWN.with(|known| {
        if let Ok(mut known) = known.try_borrow_mut() {
            known.clear();
        }
    });
}
