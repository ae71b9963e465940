//! What a record asked of an operation whose row somebody's transaction held: it is written in the trail as put off, and
//! the sequencer tries again until it is done, over its own restarts too.
//!
//! Never: waiting for a lock. The chain would wait too, and after `lock_timeout` what the record asked for would be lost.

use super::{disarm, follow};
use crate::backend::backend_local;
use crate::break_glass::keep;
use crate::error::Outcome;
use crate::raw;
use pgrx::spi::SpiClient;
use std::cell::Cell;

/// Microseconds between two looks.
const LOOK_INTERVAL: i64 = 1_000_000;

backend_local! {
    /// Moment of the sequencer's next look. After its start there may be something.
    static NEXT_LOOK: Cell<i64> = const { Cell::new(0) };
}

/// Does what was put off, as far as it can; true: there was something.
pub type CatchUp = fn(&mut SpiClient<'_>) -> Outcome<bool>;

/// Each by itself: the failure of one keeps none of the others.
pub const ALL: [CatchUp; 3] = [disarm::catch_up, follow::catch_up, keep::catch_up];

/// Something was put off: the next round looks.
pub fn soon() {
    NEXT_LOOK.set(0);
}

/// Whether it is time to look. A clock that was set back is no reason to wait for it.
pub fn is_due() -> bool {
    // Safe: reads the clock.
    let now = unsafe { raw::GetCurrentTimestamp() };
    NEXT_LOOK.get() != i64::MAX && !(1..=LOOK_INTERVAL).contains(&(NEXT_LOOK.get() - now))
}

/// A look found something, or failed: another one follows, since the round may still be undone. After one that found
/// nothing there is nothing until `soon`.
pub fn looked(found: bool) {
    // Safe: reads the clock.
    let next = || unsafe { raw::GetCurrentTimestamp() } + LOOK_INTERVAL;
    NEXT_LOOK.set(if found { next() } else { i64::MAX });
}
