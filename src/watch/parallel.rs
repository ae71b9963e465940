//! Parallel workers. The plan that a worker runs for its leader was decided and recorded there; what a function inside it
//! runs in the worker was not, and is treated like anybody's statement. Its records leave with the worker's end, by the
//! lane: a worker can write no journal.

use crate::backend::backend_local;
use pgrx::pg_sys;
use std::cell::Cell;

backend_local! {
    /// The leader's plan is being set up in this worker.
    static SETTING_UP: Cell<bool> = const { Cell::new(false) };
}

/// Whether this process works for a parallel query of another.
pub fn is_worker() -> bool {
    // Safe: plain backend state.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// Whether the functions that are announced now belong to the leader's plan, which announced them there.
pub fn sets_up_leaders_plan() -> bool {
    SETTING_UP.get()
}

/// A plan starts in a worker. True for the worker's share of its leader's: only that sends its rows to a queue.
pub unsafe fn starts(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: ExecutorStart gets a complete QueryDesc.
    let leaders = unsafe { (*(*query).dest).mydest == pg_sys::CommandDest::DestTupleQueue };
    SETTING_UP.set(leaders);
    leaders
}

/// The plan has been set up.
pub fn started() {
    SETTING_UP.set(false);
}
