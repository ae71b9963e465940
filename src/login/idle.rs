//! How long this session was idle. What counts as doing something is a statement that the policy has on record and let
//! pass: not an empty query, not `SELECT 1`, not BEGIN or ROLLBACK, not what was refused. The longest pause counts, and a
//! pause cannot be undone: only a new login ends it. Nothing here is a setting.
//!
//! No clock is read for this: a statement's beginning is known, and its end is its beginning and its duration.

use crate::backend::backend_local;
use crate::raw;
use pgrx::pg_sys;
use std::cell::Cell;

backend_local! {
    /// End of the last statement that counted, 0 before the first.
    static ACTIVE_AT: Cell<i64> = const { Cell::new(0) };
    /// The longest pause so far, microseconds.
    static LONGEST: Cell<i64> = const { Cell::new(0) };
}

/// The longest pause of this session up to the statement that begins now, microseconds.
pub fn longest() -> i64 {
    // A worker that nobody sits at waits for its work.
    // Safe: plain backend state.
    if unsafe { pg_sys::MyProcPort.is_null() } {
        return 0;
    }
    // Safe: plain getters.
    let (now, start) = unsafe { (raw::GetCurrentStatementStartTimestamp(), pg_sys::MyStartTimestamp) };
    let before = if ACTIVE_AT.get() == 0 { start } else { ACTIVE_AT.get() };
    let longest = LONGEST.get().max(now - before);
    LONGEST.set(longest);
    longest
}

/// The statement that runs now is on record.
pub fn active() {
    // Safe: a plain getter.
    active_until(unsafe { raw::GetCurrentStatementStartTimestamp() });
}

/// Whether anything of this session is on record.
pub fn has_worked() -> bool {
    ACTIVE_AT.get() != 0
}

/// Whether the client has sent something since what counted last: a plain look, for statements that go on.
pub fn was_interrupted() -> bool {
    // Safe: a plain getter.
    unsafe { raw::GetCurrentStatementStartTimestamp() > ACTIVE_AT.get() }
}

/// Whether no pause so far was as long as a term, with the one that the running statement ended: asked for each message of a
/// client, hence without the policy.
pub fn is_within(term: i64) -> bool {
    longest() < term
}

/// A statement on record has ended, or goes on until then.
pub fn active_until(end: i64) {
    ACTIVE_AT.set(ACTIVE_AT.get().max(end));
}
