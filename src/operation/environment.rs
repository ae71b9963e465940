//! The surroundings in which a script is judged and run: as its `run_as` role and with settings that the session cannot
//! choose, since they change what the approved bytes mean: some to fixed values, those of extensions and applications to
//! what they are without the session. An armed session keeps them as its own until its run has ended.

use crate::settings;
use pgrx::pg_sys;
use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};

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
                fix(&name, &value, pg_sys::GucAction::GUC_ACTION_SAVE);
            }
            pg_sys::SetUserIdAndSecContext(run_as, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
            Environment { user, context, nest_level }
        }
    }
}

fn wanted() -> impl Iterator<Item = (Cow<'static, str>, String)> {
    let fixed = FIXED.iter().map(|(name, value)| (Cow::Borrowed(*name), (*value).to_owned()));
    fixed.chain([(Cow::Borrowed("TimeZone"), settings::time_zone())]).chain(chosen())
}

/// Settings of extensions and applications that the session has chosen, or that are its role's and its role's to change, with
/// what they are otherwise: by the configuration or the database, or, where the session came with a value, as installed. What
/// only a superuser can give a role (`pgaudit.log`) stays.
fn chosen() -> Vec<(Cow<'static, str>, String)> {
    /// Columns of pg_settings.
    const COLUMNS: usize = 17;
    const BOOT_VALUE: usize = 12;
    const RESET_VALUE: usize = 13;
    // Safe: the server's own array of that many, which nothing changes meanwhile; texts are copied.
    unsafe {
        let variables = pg_sys::get_guc_variables();
        let one = |number: i32| {
            let variable = &**variables.add(number as usize);
            let name = CStr::from_ptr(variable.name).to_string_lossy();
            let others = name.contains('.') && !name.starts_with("steward.");
            if !others || !is_chosen(variable, variable.source) {
                return None;
            }
            let mut columns: [*const c_char; COLUMNS] = [std::ptr::null(); COLUMNS];
            pg_sys::GetConfigOptionByNum(number, columns.as_mut_ptr(), std::ptr::null_mut());
            let value = columns[if is_chosen(variable, variable.reset_source) { BOOT_VALUE } else { RESET_VALUE }];
            let value =
                if value.is_null() { String::new() } else { CStr::from_ptr(value).to_string_lossy().into_owned() };
            Some((Cow::Owned(name.into_owned()), value))
        };
        (0..pg_sys::GetNumConfigOptions()).filter_map(one).collect()
    }
}

/// Whether a value from this source is the choice of the session, or of its role for itself. What a session cannot set is
/// nobody's choice.
fn is_chosen(variable: &pg_sys::config_generic, source: pg_sys::GucSource::Type) -> bool {
    use pg_sys::{GucContext, GucSource};
    match variable.context {
        GucContext::PGC_USERSET => source >= GucSource::PGC_S_USER,
        GucContext::PGC_SUSET => source >= GucSource::PGC_S_CLIENT,
        _ => false,
    }
}

/// The same settings as those of a session, which it may change, and then nothing more is covered.
pub struct Kept {
    before: Vec<(Cow<'static, str>, String)>,
    values: Vec<(Cow<'static, str>, String)>,
}

impl Kept {
    /// Sets them as SET does: they stay once this transaction has committed.
    pub fn set() -> Kept {
        let wanted: Vec<_> = wanted().collect();
        let now = || wanted.iter().map(|(name, _)| (name.clone(), value_of(name))).collect();
        let before = now();
        for (name, value) in &wanted {
            // Safe: inside a transaction.
            unsafe { fix(name, value, pg_sys::GucAction::GUC_ACTION_SET) };
        }
        Kept { before, values: now() }
    }

    /// A setting that is another now.
    pub fn deviating(&self) -> Option<String> {
        let others = |(name, value): &&(Cow<'static, str>, String)| value_of(name) != *value;
        self.values.iter().find(others).or(chosen().iter().find(others)).map(|(name, _)| name.to_string())
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
