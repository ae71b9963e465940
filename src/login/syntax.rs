//! Syntax errors one after the other: who tries what a statement can be made to say makes many, an application makes none.
//! Counted in the session itself, from what reaches the log; told once for a minute.

use super::attempt::{Attempt, many_syntax_errors};
use crate::backend::backend_local;
use std::cell::Cell;

/// So many within a minute are told.
const MANY: u32 = 5;
const MINUTE: i64 = 60_000_000;

backend_local! {
    /// When the first of this minute was, and how many there were.
    static ERRORS: Cell<(i64, u32)> = const { Cell::new((0, 0)) };
}

/// The client of this session has typed what does not parse.
pub fn one_more(session: &Attempt) {
    // Safe: reads the clock.
    let now = unsafe { crate::raw::GetCurrentTimestamp() };
    let (since, before) = ERRORS.get();
    let (since, errors) = if now - since > MINUTE { (now, 1) } else { (since, before.saturating_add(1)) };
    ERRORS.set((since, errors));
    if errors == MANY {
        many_syntax_errors(session, errors);
    }
}
