//! Commands of the replication protocol, which a walsender runs without any hook that statements pass. It reports each of
//! them before it runs it, in a message to the server log; `emit_log_hook` hears that, and there the command is recorded and,
//! if the policy says so, refused (`login::replication`).
//!
//! The message is heard only where it goes to the log. So two settings are held in every walsender, by the checks of
//! their values: whatever a configuration file, a role, a client's options or SET says, commands are reported and the log
//! takes reports. Those that were not wanted there are taken out again. Nobody but C code gets past that.
//!
//! An ERROR inside the hook is, in elog.c, an error during error processing: the message that was being reported is given up
//! with its memory, and the session's own handler ends the command. At that point no lock is held, nothing is begun, and
//! nobody is to return to the report; which is why only this one message is ever answered with an ERROR.

use super::login;
use crate::backend::backend_local;
use crate::error::{self, Fault};
use crate::login::replication;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};

/// As walsender.c reports a command, before translation.
const REPORT: &CStr = c"received replication command: %s";

backend_local! {
    /// `log_replication_commands`, as it was wanted.
    static WANTED: Cell<bool> = const { Cell::new(false) };
    /// `log_min_messages`, as it was wanted.
    static LEAST: Cell<c_int> = const { Cell::new(0) };
}

/// A walsender has begun, and nothing but the configuration files and the postmaster have set anything yet.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn begin() {
    // Safe: this process's own table of settings, which the postmaster has built; the types are looked at first.
    unsafe {
        let (Some(commands), Some(level)) = (
            setting(c"log_replication_commands", pg_sys::config_type::PGC_BOOL),
            setting(c"log_min_messages", pg_sys::config_type::PGC_ENUM),
        ) else {
            Fault::internal("commands of replication cannot be heard").end_session()
        };
        let commands = &mut *commands.cast::<pg_sys::config_bool>();
        commands.check_hook = Some(check_commands);
        WANTED.set(*commands.variable);
        (*commands.variable, commands.reset_val) = (true, true);
        let level = &mut *level.cast::<pg_sys::config_enum>();
        level.check_hook = Some(check_level);
        LEAST.set(*level.variable);
        (*level.variable, level.reset_val) = (heard(*level.variable), heard(level.reset_val));
    }
}

unsafe fn setting(name: &CStr, kind: pg_sys::config_type::Type) -> Option<*mut pg_sys::config_generic> {
    // Safe: as many pointers to settings with names as the server says.
    unsafe {
        let (settings, count) = (pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions());
        let mut all = (0..count as usize).map(|number| *settings.add(number));
        all.find(|setting| CStr::from_ptr((**setting).name) == name && (**setting).vartype == kind)
    }
}

/// The nearest level at which the log still takes reports: above it are only those that end a session.
fn heard(level: c_int) -> c_int {
    if level > pg_sys::PGERROR as c_int { pg_sys::LOG as c_int } else { level }
}

unsafe extern "C-unwind" fn check_commands(
    value: *mut bool,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // Safe: the server passes the new value, which a check may change.
    unsafe { WANTED.set(std::mem::replace(&mut *value, true)) };
    true
}

unsafe extern "C-unwind" fn check_level(
    value: *mut c_int,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // Safe: as above.
    unsafe {
        LEAST.set(*value);
        *value = heard(*value);
    }
    true
}

/// A message goes to the log. Raises if it reports a command that is refused.
pub unsafe fn on_log(error: *mut pg_sys::ErrorData) {
    // Safe: a message of the server, and plain globals of this process.
    unsafe {
        let level = (*error).elevel as u32;
        if !pg_sys::am_walsender || ![pg_sys::LOG, pg_sys::LOG_SERVER_ONLY].contains(&level) {
            return;
        }
        let command = !(*error).message_id.is_null() && CStr::from_ptr((*error).message_id) == REPORT;
        if command && pg_sys::CritSectionCount == 0 && !pg_sys::MyProcPort.is_null() {
            judge();
        }
        if LEAST.get() > pg_sys::PGERROR as c_int || command && !WANTED.get() {
            (*error).output_to_server = false;
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn judge() {
    // Safe: the walsender sets it to the command before it reports it; a string that ends.
    let text = unsafe {
        match pg_sys::debug_query_string.is_null() {
            true => Vec::new(),
            false => CStr::from_ptr(pg_sys::debug_query_string).to_bytes().to_vec(),
        }
    };
    error::answer(replication::command(&login::current(), &text));
}
