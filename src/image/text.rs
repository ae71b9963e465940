//! Values as text that their types read back exactly, whatever the session has set. What an image holds, and what it is
//! compared with later, must be written in the same way.

use crate::own;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// What the text of values depends on, the time zone too, since one moment must have one text; and where the names in
/// commands of a restore are looked up.
const EXACT: &[(&CStr, &CStr)] = &[
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"TimeZone", c"UTC"),
    (c"extra_float_digits", c"3"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
    (c"xmloption", c"content"),
];

/// Pins the settings above until it is dropped, by a panic (an SQL error on its way through) as well.
#[must_use = "the settings end when the guard is dropped"]
pub struct Exact {
    nest_level: i32,
}

impl Exact {
    pub fn enter() -> Exact {
        // Safe: plain backend state; undone by the Drop below or by the abort.
        let nest_level = unsafe { pg_sys::NewGUCNestLevel() };
        own::pin(EXACT);
        Exact { nest_level }
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Safe: the level that `enter` has opened; everything inside it has ended.
            unsafe { pg_sys::AtEOXact_GUC(false, self.nest_level) };
        }
    }
}

/// A value as its type writes it. Call inside [`Exact`].
///
/// # Safety
/// `value` is a value of that type, not null.
pub unsafe fn written(value: pg_sys::Datum, type_: pg_sys::Oid) -> String {
    // Safe: catalog look-ups; the result is copied.
    unsafe {
        let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(type_, &mut output, &mut varlena);
        CStr::from_ptr(pg_sys::OidOutputFunctionCall(output, value)).to_string_lossy().into_owned()
    }
}

/// The value that a type reads from its own text; raises what the type raises. Call inside [`Exact`].
pub fn read(text: &str, type_: pg_sys::Oid, modifier: i32) -> pg_sys::Datum {
    let text = CString::new(text).unwrap_or_default();
    // Safe: catalog look-ups; the input function copies what it keeps.
    unsafe {
        let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::getTypeInputInfo(type_, &mut input, &mut parameter);
        pg_sys::OidInputFunctionCall(input, text.as_ptr().cast_mut(), parameter, modifier)
    }
}
