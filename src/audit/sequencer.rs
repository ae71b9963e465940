//! The one background worker that writes the chain. It lives in the home database, starts with the server, restarts by
//! itself, and on a standby only watches until the promotion. All it must remember is in the transaction of each round, so whatever kills it
//! (an ERROR included: the worker ends and comes back) it goes on exactly once.

use super::home;
use super::round::Rounds;
use super::standby;
use crate::backend::backend_local;
pub(crate) use crate::core::record::SERVER;
use crate::core::record::{Kind, Outcome, Record};
use crate::error::{self, Outcome as Fallible};
use crate::{settings, shared};
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// `sequencer_pid` while the worker tries to connect: found by the next one, it means that this failed.
const CONNECTING: i32 = -1;

// Own declarations: the guarded ones of the bindings are not meant for signal handlers.
unsafe extern "C-unwind" {
    fn die(signal: c_int);
    #[link_name = "SignalHandlerForConfigReload"]
    fn reload(signal: c_int);
}

backend_local! {
    static IS_SEQUENCER: Cell<bool> = const { Cell::new(false) };
}

/// True in the sequencer itself, whose own work is neither decided nor recorded.
pub fn is_sequencer() -> bool {
    IS_SEQUENCER.get()
}

/// Registers the worker. Once, while preloading.
pub fn register() {
    // Safe: plain globals of the starting server. pg_upgrade's servers must run nothing.
    if unsafe { pg_sys::IsBinaryUpgrade || !pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    BackgroundWorkerBuilder::new("pg_steward sequencer")
        .set_type("pg_steward sequencer")
        .set_library("pg_steward")
        .set_function("pg_steward_sequencer_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// A record of the server's own life, stamped with the time and this database.
pub(crate) fn server_record(what: &str, outcome: Outcome, details: serde_json::Value) -> Record {
    let mut record = Record::new(Kind::Server, what);
    record.outcome = outcome;
    record.user_id = SERVER.into();
    record.database = Some(settings::database());
    record.details = Some(details.to_string());
    // Safe: reads the clock and this process's id.
    unsafe {
        record.time = pg_sys::GetCurrentTimestamp();
        record.backend = Some(i64::from(pg_sys::MyProcPid));
    }
    record
}

/// The worker's entry point.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_steward_sequencer_main(_argument: pg_sys::Datum) {
    IS_SEQUENCER.set(true);
    // Safe: start-up of a background worker, in the documented order.
    unsafe {
        pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(die));
        pg_sys::pqsignal(pg_sys::SIGHUP as i32, Some(reload));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
    let Some(shared) = shared::get() else { return };
    if shared.sequencer_pid.swap(CONNECTING, SeqCst) == CONNECTING {
        home::wait_for_database(shared);
    }
    let Ok(home) = CString::new(settings::database()) else { return };
    // Safe: connects once, to the database by name, as the bootstrap superuser, even if it allows no connections.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnection(
            home.as_ptr(),
            std::ptr::null(),
            pg_sys::BGWORKER_BYPASS_ALLOWCONN,
        );
        pg_sys::before_shmem_exit(Some(on_exit), pg_sys::Datum::from(0));
        shared.home.store(pg_sys::MyDatabaseId.to_u32(), SeqCst);
        shared.sequencer_pid.store(0, SeqCst);
    }
    pin_settings();
    let mut rounds = Rounds::new();
    while standby::watch(shared) {
        rounds.look_after_logins(shared);
        sleep(standby::LOOK_INTERVAL);
        heed_signals(&mut rounds);
    }
    be_the_only_one();
    // Safe: a plain global.
    shared.sequencer_pid.store(unsafe { pg_sys::MyProcPid }, SeqCst);
    loop {
        let begun = Instant::now();
        let more = rounds.run(shared);
        // Safe: between two transactions.
        unsafe { pg_sys::pgstat_report_stat(false) };
        if !more {
            // A round that took long is followed the sooner by the next, or a busy server would wait for both.
            sleep((settings::sequencer_interval_ms() - begun.elapsed().as_millis() as i64).max(1));
        }
        heed_signals(&mut rounds);
    }
}

/// Waits until no other process writes this database's chain, and lets none begin before this one has ended. A record's id
/// is the last one's and one: nothing else keeps ids apart.
fn be_the_only_one() {
    /// Beside the lock that is the database's own.
    const WRITES_THE_CHAIN: u16 = 1;
    let lock = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        // Safe: a plain global.
        locktag_field3: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field4: WRITES_THE_CHAIN,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        // Of the method whose session locks a process gives back however it ends; no SQL takes such a one.
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    transaction(|| {
        // Safe: a lock of the session, taken inside a transaction and outside recovery; the tag is copied.
        unsafe { pg_sys::LockAcquire(&lock, pg_sys::ExclusiveLock as i32, true, false) };
        Ok(())
    });
}

unsafe extern "C-unwind" fn on_exit(_code: c_int, _argument: pg_sys::Datum) {
    if let Some(shared) = shared::get() {
        shared.sequencer_pid.store(0, SeqCst);
        crate::login::keeper::leave(shared);
    }
}

pub(super) fn sleep(milliseconds: i64) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // Safe: this process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}

fn heed_signals(rounds: &mut Rounds) {
    pgrx::check_for_interrupts!();
    // Safe: set by the signal handler, cleared here before the file is read.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            let before = settings::configured_mode();
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
            pin_durability();
            rounds.mode_changed(before, settings::configured_mode());
        }
    }
}

/// A transaction with an active snapshot. A fault is raised, which ends the worker and undoes everything.
pub(crate) fn transaction<T>(body: impl FnOnce() -> Fallible<T>) -> T {
    transaction_after(hold_extension, body)
}

/// The same for a query of somebody's, which may last: the extension can be dropped meanwhile.
pub(crate) fn transaction_of_others<T>(body: impl FnOnce() -> Fallible<T>) -> T {
    transaction_after(|| (), body)
}

fn transaction_after<T>(begin: impl FnOnce(), body: impl FnOnce() -> Fallible<T>) -> T {
    // Safe: called outside any transaction; on an error the worker exits and nothing after it runs.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        begin();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let value = error::answer(body());
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        value
    }
}

/// Until the end of the transaction nobody drops the extension: who wants to waits here, before locking the first table, and
/// not half-way through them, in a circle with this worker.
fn hold_extension() {
    // Safe: catalog access inside a transaction, of a worker that is connected to a database.
    unsafe {
        if pg_sys::MyDatabaseId == pg_sys::InvalidOid {
            return;
        }
        let extension = pg_sys::get_extension_oid(c"pg_steward".as_ptr(), true);
        if extension != pg_sys::InvalidOid {
            pg_sys::LockDatabaseObject(pg_sys::ExtensionRelationId, extension, 0, pg_sys::AccessShareLock as i32);
        }
    }
}

/// ALTER DATABASE … SET and ALTER ROLE … SET reach workers too: nothing that the chain depends on is left to them.
fn pin_settings() {
    const PINNED: [(&CStr, &CStr); 13] = [
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_deferrable", c"off"),
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"lock_timeout", c"2s"),
        (c"statement_timeout", c"0"),
        (c"idle_in_transaction_session_timeout", c"0"),
        (c"row_security", c"on"),
        (c"session_replication_role", c"origin"),
        (c"client_min_messages", c"error"),
        (c"log_min_messages", c"warning"),
        (c"track_activities", c"on"),
        (c"jit", c"off"),
    ];
    for (name, value) in PINNED {
        pin(name, value);
    }
    pin_durability();
}

fn pin_durability() {
    // Safe: a plain global. A record counts as chained when its commit is on disk, whatever the site asks of others;
    // what asks for more (a synchronous standby) stays.
    if unsafe { pg_sys::synchronous_commit } == pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_OFF as i32 {
        pin(c"synchronous_commit", c"on");
    }
}

fn pin(name: &CStr, value: &CStr) {
    // Safe: static strings; the source outranks the configuration file, the database and the role.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        )
    }
}
