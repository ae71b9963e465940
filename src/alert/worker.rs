//! The background worker that asks one question of an auditor. It connects as that auditor, is watched like any session of
//! theirs, and ends. Whatever ends it early is told by the sequencer, which started it.

use super::query::{Task, ask, notify};
use crate::audit::sequencer::{transaction, transaction_of_others};
use crate::{own, shared};
use pgrx::prelude::*;
use std::ffi::c_int;
use std::sync::atomic::Ordering::SeqCst;

// Own declaration: the guarded one of the bindings is not meant for signal handlers.
unsafe extern "C-unwind" {
    fn die(signal: c_int);
}

/// The worker's entry point; its argument is the role that it asks as.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_steward_alert_query_main(owner: pg_sys::Datum) {
    let owner = pg_sys::Oid::from(owner.value() as u32);
    let Some(shared) = shared::get() else { return };
    // Safe: start-up of a background worker, in the documented order.
    unsafe {
        pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
        let home = pg_sys::Oid::from(shared.home.load(SeqCst));
        pg_sys::BackgroundWorkerInitializeConnectionByOid(home, owner, 0);
    }
    let Some(task) = transaction(|| {
        own::run(|client| {
            own::pin(&[(c"lock_timeout", c"2s")]);
            Task::of(client, owner)
        })
    }) else {
        return;
    };
    let found = transaction_of_others(|| Ok(ask(&task, owner)));
    transaction(|| {
        own::run(|client| {
            // What somebody's transaction holds fails here, and is told by the sequencer.
            own::pin(&[(c"lock_timeout", c"2s")]);
            task.end(client, &found)
        })
    });
    notify();
}
