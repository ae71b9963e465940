//! The surroundings in which a script is judged and run: as its `run_as` role and with settings that the session cannot
//! choose, since they change what the approved bytes mean.

use crate::settings;
use pgrx::pg_sys;
use std::ffi::CString;

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
            for (name, value) in FIXED {
                fix(name, value);
            }
            fix("TimeZone", &settings::time_zone());
            pg_sys::SetUserIdAndSecContext(run_as, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
            Environment { user, context, nest_level }
        }
    }
}

/// Sets one value at the current nest level.
unsafe fn fix(name: &str, value: &str) {
    let (name, value) = (CString::new(name).unwrap_or_default(), CString::new(value).unwrap_or_default());
    // Safe: both strings live through the call, which copies them; an unknown name or value is an ERROR.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
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
