//! `flush_audit`: waits until everything recorded so far is in the chain.

use crate::error::{self, Fault, Outcome};
use crate::shared::{self, Shared};
use crate::{own, raw};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use std::sync::atomic::Ordering::SeqCst;

/// Milliseconds between two looks of a waiting `flush_audit`.
const FLUSH_POLL: i64 = 5;
/// Microseconds after which an ended sequencer is due again.
const RESTART_INTERVAL: i128 = 1_000_000;
/// Detail where there is no chain yet.
pub(super) const NO_CHAIN: &str = "The chain begins with the first protected table or enrolled second factor.";

#[pg_extern(sql = false)]
fn flush_audit(timeout: Option<Interval>) -> bool {
    error::answer(wait(timeout.map_or(10_000_000, |timeout| timeout.as_micros())));
    true
}

/// Waits until everything recorded before is in the chain; 55000 after so many microseconds, or if there is no chain.
pub fn wait(timeout_us: i128) -> Outcome<()> {
    match catch_up(timeout_us)? {
        true => Ok(()),
        false => Err(Fault::wrong_state("there is no audit chain yet").detail(NO_CHAIN)),
    }
}

/// The same; false: there is no chain yet.
pub fn catch_up(timeout_us: i128) -> Outcome<bool> {
    let shared = shared::get().ok_or_else(|| {
        Fault::wrong_state("pg_steward is not preloaded")
            .hint("Add pg_steward to shared_preload_libraries and restart the server.")
    })?;
    // Safe: reads shared state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return Err(Fault::wrong_state("nothing is chained during recovery")
            .hint("Call steward.flush_audit() on the primary server."));
    }
    // The tables are asked only before the first round: a lock on them must not outlast the timeout.
    if shared.chained_id.load(SeqCst) == 0 && !chain_expected()? {
        return Ok(false);
    }
    let ticket = shared.flush_requested.fetch_add(1, SeqCst) + 1;
    // Safe: reads the clock.
    let clock = || i128::from(unsafe { pg_sys::GetCurrentTimestamp() });
    let begun = clock();
    let (end, mut reminded) = (begun + timeout_us.max(0), begun);
    while shared.flush_done.load(SeqCst) < ticket {
        let now = clock();
        if now >= end {
            return Err(late(shared));
        }
        if shared.sequencer_pid.load(SeqCst) <= 0 && now - reminded >= RESTART_INTERVAL {
            remind_postmaster();
            reminded = now;
        }
        shared::wake_sequencer();
        doze();
    }
    Ok(true)
}

/// A worker that ends just before the postmaster of PostgreSQL 15 falls asleep is due for up to a minute: any signal wakes it.
fn remind_postmaster() {
    const BACKGROUND_WORKER_CHANGE: i32 = 5;
    // Safe: a flag in shared memory and a signal; the postmaster looks through its workers.
    unsafe { raw::SendPostmasterSignal(BACKGROUND_WORKER_CHANGE) };
}

/// Whether the sequencer has reason to chain: there is a chain, or one is about to begin.
fn chain_expected() -> Outcome<bool> {
    let sql = "SELECT FROM steward.chain UNION ALL SELECT FROM steward.protected
        UNION ALL SELECT FROM steward._second_factor LIMIT 1";
    own::run(|client| Ok(!own::query(client, sql, &[])?.is_empty()))
}

fn late(shared: &Shared) -> Fault {
    let fault = Fault::wrong_state("the audit records are not chained yet");
    if shared.sequencer_pid.load(SeqCst) > 0 {
        fault
            .detail("The sequencer runs, but it did not get through within the timeout.")
            .hint("See steward.audit_status and the server log; a lock that somebody holds on tables of schema steward stops it.")
    } else {
        fault
            .detail("The sequencer does not run. Records are kept in journal and spool until it does.")
            .hint("See the server log for lines of \"pg_steward sequencer\"; it restarts by itself every second.")
    }
}

/// Sleeps a little, and heeds cancel and shutdown. The sequencer sets no latch of ours, so this looks again by itself.
pub fn doze() {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // Safe: this process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, FLUSH_POLL, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}
