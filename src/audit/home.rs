//! The home database as the sequencer finds it: whether it exists, whether the extension is in it, and of which version.
//! What is missing is told in the log again and again. A policy that is active and was dropped can approve nothing: in mode
//! `off`, where nothing is decided anyway, its activation ends with it; in any other whoever is refused is told the way out.

use super::announce::mode_name;
use super::round::settle_activation;
use super::sequencer::{sleep, transaction};
use crate::backend::backend_local;
use crate::cache;
use crate::error::{Fault, Outcome};
use crate::own;
use crate::settings::{self, Mode};
use crate::shared::{self, Shared};
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Between two looks for a home database that does not exist yet, milliseconds.
const HOME_POLL: i64 = 1_000;
/// The longest time between two complaints, seconds.
const COMPLAINT_INTERVAL: i64 = 60;

backend_local! {
    /// When the last complaint was made.
    static COMPLAINED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Where a heartbeat would be chained, a complaint is made.
fn complaint_is_due() -> bool {
    let interval = match settings::heartbeat_interval_s() {
        0 => COMPLAINT_INTERVAL,
        seconds => seconds.min(COMPLAINT_INTERVAL),
    };
    let due = COMPLAINED.get().is_none_or(|last| last.elapsed() >= Duration::from_secs(interval as u64));
    if due {
        COMPLAINED.set(Some(Instant::now()));
    }
    due
}

/// The last attempt to connect failed. Waits without a database until there is one of that name, and ends, because a
/// worker connects only once.
pub(super) fn wait_for_database(shared: &Shared) -> ! {
    let name = settings::database();
    let Ok(home) = CString::new(name.clone()) else { unreachable!("a setting holds no NUL") };
    // Safe: connects to shared catalogs only; each look is a transaction of its own.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
        // The database may have come in between: then the next start finds it.
        while !database_exists(&home) {
            policy_is_gone(shared);
            if complaint_is_due() {
                Fault::wrong_state(format!("pg_steward: database \"{name}\" does not exist, and nothing is governed"))
                    .detail("Setting steward.database names the governed database of this cluster.")
                    .hint(format!("CREATE DATABASE {name}, or correct steward.database and restart the server."))
                    .warn();
            }
            sleep(HOME_POLL);
            pgrx::check_for_interrupts!();
        }
        shared.sequencer_pid.store(0, SeqCst);
        pg_sys::proc_exit(1)
    }
}

/// Reads the shared catalog row by row: without a database no index of it need be known.
fn database_exists(name: &CStr) -> bool {
    transaction(|| {
        // Safe: a scan of pg_database inside a transaction; the key's name is padded as a Datum of type name must be.
        unsafe {
            let mut wanted = pg_sys::NameData::default();
            pg_sys::namestrcpy(&mut wanted, name.as_ptr());
            let mut key = pg_sys::ScanKeyData::default();
            let (column, equal) = (pg_sys::Anum_pg_database_datname as i16, pg_sys::BTEqualStrategyNumber as u16);
            pg_sys::ScanKeyInit(&mut key, column, equal, pg_sys::F_NAMEEQ.into(), pg_sys::Datum::from(&raw mut wanted));
            let databases = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
            let scan =
                pg_sys::systable_beginscan(databases, pg_sys::InvalidOid, false, std::ptr::null_mut(), 1, &mut key);
            let found = !pg_sys::systable_getnext(scan).is_null();
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(databases, pg_sys::AccessShareLock as i32);
            Ok(found)
        }
    })
}

/// A round found no extension.
pub(super) fn without_extension(shared: &Shared) {
    policy_is_gone(shared);
    if shared.active.load(SeqCst) && complaint_is_due() {
        let name = settings::database();
        gone(format!("the policy is active, but there is no extension pg_steward in database \"{name}\"")).warn();
    }
}

/// Neither a database nor an extension is there.
fn policy_is_gone(shared: &Shared) {
    shared.gone.store(true, SeqCst);
    if shared.active.load(SeqCst) && shared::mode() == Mode::Off {
        settle_activation(shared, false, "there is no policy any more");
    }
}

/// What whoever is refused is told where no policy is left that could approve anything; None: it is there.
pub fn no_policy() -> Option<Fault> {
    let gone_elsewhere = || shared::get().is_some_and(|shared| shared.gone.load(SeqCst));
    let missing = if cache::at_home() { cache::policy_relation().is_none() } else { gone_elsewhere() };
    missing.then(|| gone("critical statement refused: the policy is active, and nothing is left that could approve it"))
}

fn gone(message: impl Into<String>) -> Fault {
    let name = settings::database();
    Fault::refused(message)
        .detail(format!("Extension pg_steward was dropped in database \"{name}\", or that database was, while the library could not follow."))
        .hint("Set steward.mode = 'off' in postgresql.conf and restart the server: the activation ends. Then set it back, and CREATE EXTENSION pg_steward or take the library out.")
}

/// A library that was installed anew runs with the SQL objects of the former one until these are updated.
pub(super) fn compare_versions() -> Outcome<()> {
    const LIBRARY: &str = env!("CARGO_PKG_VERSION");
    let version = "SELECT extversion::text FROM pg_extension WHERE extname = 'pg_steward'";
    let version = own::run(|client| Ok(own::select(client, version, &[])?.first().get_one::<String>()?))?;
    if let Some(version) = version.filter(|version| version != LIBRARY) {
        Fault::wrong_state(format!("extension pg_steward is of version {version}, and the library of {LIBRARY}"))
            .hint("ALTER EXTENSION pg_steward UPDATE; in a session of the governed database.")
            .warn();
    }
    Ok(())
}

/// Leaving `enforce` needs a restart, also for a sequencer that was started with another mode.
pub(super) fn tell_mode_that_waits() {
    let holds = shared::mode();
    if holds != settings::configured_mode() {
        Fault::wrong_state(format!("a change of steward.mode waits for a restart: {} holds", mode_name(holds)))
            .hint("SELECT mode, active FROM steward.audit_status;")
            .warn();
    }
}
