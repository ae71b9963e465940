//! One check must neither end the run nor hold it up: it has a subtransaction of its own and a time limit. So has a part of
//! a check, inside the limit of the whole.

use crate::backend::backend_local;
use crate::error::Outcome;
use crate::own::{self, Undone};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Set by the timer, so that its cancellation is told from a user's.
static TIMED_OUT: AtomicBool = AtomicBool::new(false);
/// Number of our timer in this backend, or -1. A child process of the postmaster inherits -1: timers are a backend's own.
static TIMER: AtomicI32 = AtomicI32::new(-1);

backend_local! {
    /// When the body that runs now is given up.
    static ENDS: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Beyond the numbers that the server uses itself in any version (utils/timeout.h): it then finds a free one.
const ANY_FREE: c_int = 16;

unsafe extern "C-unwind" {
    fn RegisterTimeout(id: c_int, handler: Option<unsafe extern "C-unwind" fn()>) -> c_int;
    fn enable_timeout_after(id: c_int, milliseconds: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
}

/// In a signal handler: sets what a cancellation sets, and nothing else.
unsafe extern "C-unwind" fn time_is_up() {
    TIMED_OUT.store(true, SeqCst);
    // Safe: the flags that SIGINT's handler sets; the latch exists while timers run.
    unsafe {
        pg_sys::InterruptPending = 1;
        pg_sys::QueryCancelPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Runs `body` in a subtransaction that an error undoes, for at most so many milliseconds. Err: the error's message. What
/// the user cancels is cancelled.
pub fn attempt<T>(milliseconds: i32, body: impl FnOnce() -> Outcome<T>) -> Result<T, String> {
    timed(milliseconds, || own::subtransaction(body))
}

/// The same for own SQL that reads the tables of others: their locks end with it.
pub fn look<T>(milliseconds: i32, body: impl FnOnce() -> Outcome<T>) -> Result<T, String> {
    timed(milliseconds, || own::look(body))
}

fn timed<T>(milliseconds: i32, body: impl FnOnce() -> Result<T, Undone>) -> Result<T, String> {
    // Safe: inside a backend, which has timers.
    let timer = unsafe { Timer::start(milliseconds) };
    let result = body();
    let timed_out = TIMED_OUT.load(SeqCst);
    drop(timer);
    result.map_err(|undone| {
        if timed_out {
            return format!("took longer than {} s", f64::from(milliseconds) / 1000.0);
        }
        undone.pass_on_cancellation();
        undone.message
    })
}

/// When it was to end, of the body around it if there is one: that limit goes on when this one ends.
struct Timer {
    id: c_int,
    around: Option<Instant>,
}

/// Milliseconds from now on, at least one: the server takes no timer that is over.
fn left(end: Instant) -> c_int {
    let left = end.saturating_duration_since(Instant::now()).as_millis();
    c_int::try_from(left).unwrap_or(c_int::MAX).max(1)
}

impl Timer {
    unsafe fn start(milliseconds: i32) -> Timer {
        // Safe: registered once for each backend; the handler is as above.
        unsafe {
            if TIMER.load(SeqCst) < 0 {
                TIMER.store(RegisterTimeout(ANY_FREE, Some(time_is_up)), SeqCst);
            }
            TIMED_OUT.store(false, SeqCst);
            let id = TIMER.load(SeqCst);
            let wanted = Instant::now() + Duration::from_millis(milliseconds.max(1) as u64);
            let around = ENDS.get();
            let end = around.map_or(wanted, |around| around.min(wanted));
            ENDS.set(Some(end));
            enable_timeout_after(id, left(end));
            Timer { id, around }
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // Safe: a registered timer. A cancellation that came too late to be noticed must not reach the next check.
        unsafe {
            disable_timeout(self.id, false);
            if TIMED_OUT.swap(false, SeqCst) {
                pg_sys::QueryCancelPending = 0;
            }
            ENDS.set(self.around);
            if let Some(end) = self.around {
                enable_timeout_after(self.id, left(end));
            }
        }
    }
}
