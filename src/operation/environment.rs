//! The surroundings in which a script is judged and run: as its `run_as` role and with settings that the session cannot
//! choose, since they change what the approved bytes mean. An armed session keeps them as its own until its run has ended.

use crate::settings;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// Settings that alter the meaning of a script; the time zone of the policy comes on top.
const FIXED: &[(&str, &str)] = &[
    ("search_path", "pg_catalog, pg_temp"),
    ("session_replication_role", "origin"),
    ("row_security", "on"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    ("check_function_bodies", "on"),
    ("allow_system_table_mods", "off"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("xmlbinary", "base64"),
    ("extra_float_digits", "1"),
    ("quote_all_identifiers", "off"),
    ("timezone_abbreviations", "Default"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("default_text_search_config", "pg_catalog.simple"),
    ("gin_fuzzy_search_limit", "0"),
    ("default_tablespace", ""),
    ("default_table_access_method", "heap"),
];

/// Holds until dropped, by a panic (an SQL error on its way through) as well.
#[must_use = "the surroundings end when the guard is dropped"]
pub struct Environment {
    user: pg_sys::Oid,
    context: i32,
    nest_level: i32,
}

impl Environment {
    /// Becomes `run_as`. Whoever calls has checked that the login is a member of it.
    pub fn enter(run_as: pg_sys::Oid) -> Environment {
        let mut user = pg_sys::InvalidOid;
        let mut context = 0;
        // Safe: backend state, restored by the Drop below or by the abort. Settings come first: should one fail, there is
        // no identity to restore.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            let nest_level = pg_sys::NewGUCNestLevel();
            for (name, value) in wanted() {
                fix(name, &value, pg_sys::GucAction::GUC_ACTION_SAVE);
            }
            pg_sys::SetUserIdAndSecContext(run_as, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
            Environment { user, context, nest_level }
        }
    }
}

fn wanted() -> impl Iterator<Item = (&'static str, String)> {
    let fixed = FIXED.iter().map(|(name, value)| (*name, (*value).to_owned()));
    fixed.chain(std::iter::once(("TimeZone", settings::time_zone())))
}

/// The same settings as those of a session, which it may change, and then nothing more is covered.
pub struct Kept {
    before: Vec<(&'static str, String)>,
    values: Vec<(&'static str, String)>,
}

impl Kept {
    /// Sets them as SET does: they stay once this transaction has committed.
    pub fn set() -> Kept {
        let before = wanted().map(|(name, _)| (name, value_of(name))).collect();
        for (name, value) in wanted() {
            // Safe: inside a transaction.
            unsafe { fix(name, &value, pg_sys::GucAction::GUC_ACTION_SET) };
        }
        let values = wanted().map(|(name, _)| (name, value_of(name))).collect();
        Kept { before, values }
    }

    /// A setting that is another now.
    pub fn deviating(&self) -> Option<&'static str> {
        self.values.iter().find(|(name, value)| value_of(name) != *value).map(|(name, _)| *name)
    }

    /// Sets what was set before, in a transaction that commits.
    pub fn restore(&self) {
        for (name, value) in &self.before {
            // Safe: inside a transaction.
            unsafe { fix(name, value, pg_sys::GucAction::GUC_ACTION_SET) };
        }
    }
}

fn value_of(name: &str) -> String {
    let name = CString::new(name).unwrap_or_default();
    // Safe: a setting that the server has; its value is copied.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        if value.is_null() { String::new() } else { CStr::from_ptr(value).to_string_lossy().into_owned() }
    }
}

/// Sets one value: at the current nest level, or for the session.
unsafe fn fix(name: &str, value: &str, action: pg_sys::GucAction::Type) {
    let (name, value) = (CString::new(name).unwrap_or_default(), CString::new(value).unwrap_or_default());
    // Safe: both strings live through the call, which copies them; an unknown name or value is an ERROR.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // Safe: as in `enter`. Not kept (false): what the script SET ends with it. After an error the abort unwinds the
        // settings itself.
        unsafe {
            if !std::thread::panicking() {
                pg_sys::AtEOXact_GUC(false, self.nest_level);
            }
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}
