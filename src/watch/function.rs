//! Watched functions are decided when they are about to run, by whatever name and on whatever path: in a statement, in a
//! procedural language's expression, through the fastpath protocol. Which symbols are watched is `core::function`'s and
//! the rules' business. Never here: what a function is called with, which no hook shows.

use super::facts::Deed;
use super::statement::Source;
use super::{catalog, object, utility};
use crate::backend::{NumberMap, backend_local};
use crate::cache;
use crate::core::function::{Reach, reach};
use crate::core::rule::{ColumnSet, Command, Group};
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_int};
use std::hash::BuildHasherDefault;

const PLACES: usize = 64;

backend_local! {
    /// Function oid → its symbol if that is watched. Emptied when functions or the policy change.
    static KNOWN: RefCell<NumberMap<u32, Option<&'static str>>> =
        const { RefCell::new(NumberMap::with_hasher(BuildHasherDefault::new())) };
    /// Of those that are nobody's business the ones met last, each at the place that its oid gives: asked for each function of
    /// each statement.
    static HARMLESS: [Cell<u32>; PLACES] = const { [const { Cell::new(0) }; PLACES] };
    /// Watched symbols that this backend has met. Commands carry their tag by reference, so these stay for good.
    static SYMBOLS: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Registers the callback for changed functions. Once, while preloading.
pub fn init() {
    // Safe: plain registration.
    unsafe {
        let functions = pg_sys::SysCacheIdentifier::PROCOID as c_int;
        pg_sys::CacheRegisterSyscacheCallback(functions, Some(on_function_change), pg_sys::Datum::from(0));
    }
}

unsafe extern "C-unwind" fn on_function_change(_argument: pg_sys::Datum, _cache: c_int, _hash: u32) {
    forget();
}

/// Functions or rules have changed. Called inside invalidation processing: neither raises nor allocates.
pub fn forget() {
    HARMLESS.with(|known| known.iter().for_each(|place| place.set(0)));
    KNOWN.with(|known| {
        if let Ok(mut known) = known.try_borrow_mut() {
            known.clear();
        }
    });
}

/// A function that is known to be nobody's business. Without a guard.
pub fn is_harmless(function: Oid) -> bool {
    let function = function.to_u32();
    HARMLESS.with(|places| {
        let place = &places[function as usize % PLACES];
        let known = place.get() == function
            || KNOWN.with(|known| known.try_borrow().is_ok_and(|known| matches!(known.get(&function), Some(None))));
        if known {
            place.set(function);
        }
        known
    })
}

/// A function is about to run (once per statement, not per row).
pub fn decide(function: Oid) {
    let Some(symbol) = watched(function) else { return };
    // Safe: the client's own message, or null.
    let source = unsafe { Source::new(pg_sys::debug_query_string, -1, 0) };
    if cache::at_home() {
        object::judge_alone(symbol, Group::Function, &source);
    } else if reach(symbol) == Some(Reach::Cluster) {
        utility::elsewhere(&[deed(symbol)], symbol, &source);
    }
}

/// What running a function is, for a dry run. None: nobody's business.
pub fn foreseen(function: Oid) -> Option<Deed> {
    watched(function).map(deed)
}

fn deed(symbol: &'static str) -> Deed {
    Deed { command: Command { tag: symbol, group: Group::Function }, relation: None, columns: ColumnSet::default() }
}

/// The symbol of a function if it is watched; looked up in the catalog the first time only.
fn watched(function: Oid) -> Option<&'static str> {
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&function.to_u32()).copied()) {
        return known;
    }
    let symbol = symbol_of(function)
        .filter(|symbol| reach(symbol).is_some() || cache::policy().rules.names_function(symbol))
        .map(|symbol| kept(&symbol));
    KNOWN.with_borrow_mut(|known| known.insert(function.to_u32(), symbol));
    symbol
}

fn kept(symbol: &str) -> &'static str {
    SYMBOLS.with_borrow_mut(|symbols| match symbols.get(symbol) {
        Some(kept) => kept,
        None => {
            let kept: &'static str = Box::leak(symbol.into());
            symbols.insert(kept);
            kept
        }
    })
}

/// The C symbol of a function in LANGUAGE internal or c.
fn symbol_of(function: Oid) -> Option<String> {
    // Safe: syscache tuple, released after its symbol is copied; built-in SQL functions have their body there.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as c_int;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return None;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let native = matches!((*form).prolang, catalog::LANGUAGE_INTERNAL | catalog::LANGUAGE_C);
        let mut missing = false;
        let text = pg_sys::SysCacheGetAttr(cache, tuple, pg_sys::Anum_pg_proc_prosrc as i16, &mut missing);
        let symbol = (native && !missing)
            .then(|| CStr::from_ptr(pg_sys::text_to_cstring(text.cast_mut_ptr())).to_string_lossy().into_owned());
        pg_sys::ReleaseSysCache(tuple);
        symbol
    }
}
