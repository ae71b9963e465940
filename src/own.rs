//! Runs the extension's own SQL: as the extension's owner, with a pinned search_path, and outside its own policy.
//!
//! Public functions are SECURITY INVOKER, so that they can tell who calls; only what is inside `run` has the owner's
//! rights. Never pass user text in the query string: arguments go through parameters.
//!
//! Own SQL on tables of others is planned as their owner and runs no code but the server's and ours (`watch::borrowed`).

use crate::backend::backend_local;
use crate::error::{self, Fault, Outcome};
use crate::lock;
use pgrx::PgTryBuilder;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiTupleTable};
use std::cell::Cell;
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

backend_local! {
    // A backend is single-threaded; depth > 0 while own SQL runs.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A role of the server's own that nobody alters, logs in with or is a member of as installed: what is only looked at is
/// planned with its rights, which are PUBLIC's (and to CHECKPOINT). It has a name, for `current_user` in a condition.
pub const NOBODY: pg_sys::Oid = pg_sys::Oid::from_u32(pg_sys::ROLE_PG_CHECKPOINT);

/// True while own SQL runs: the hooks let it pass unrecorded.
pub fn running() -> bool {
    DEPTH.with(|depth| depth.get() > 0)
}

/// What runs until this is dropped is no own SQL, though own SQL led to it.
pub struct Aside(u32);

impl Aside {
    pub fn step() -> Aside {
        Aside(DEPTH.with(|depth| depth.replace(0)))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(self.0));
    }
}

/// Restores depth and identity however the body ends. An SQL error travels through Rust frames as a panic, so Drop
/// runs; PostgreSQL's own abort resets the GUC nest level.
struct Privilege {
    user: pg_sys::Oid,
    context: i32,
    nest_level: i32,
}

impl Privilege {
    fn take() -> Privilege {
        let mut user = pg_sys::InvalidOid;
        let mut context = 0;
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        // Safe: plain getters and setters of backend state, always paired with the Drop below.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            let inside =
                context | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID), inside);
            let nest_level = pg_sys::NewGUCNestLevel();
            pin(PINNED);
            Privilege { user, context, nest_level }
        }
    }
}

impl Drop for Privilege {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        // Safe: restores what `take` saved; on an error path the (sub)transaction abort unwinds the GUC stack itself.
        unsafe {
            if !std::thread::panicking() {
                pg_sys::AtEOXact_GUC(true, self.nest_level);
            }
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}

/// What own SQL depends on: where names are looked up; how its constants are read; no compilation of plans, which would take a hundred times as long as
/// the small queries themselves; no workers, which would not know whose SQL they run.
const PINNED: &[(&CStr, &CStr)] = &[
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"standard_conforming_strings", c"on"),
    (c"jit", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
];

/// For `pin`, where records are asked for by their ids: whatever the planner believes of a table that nobody has
/// analysed, and of two that lie in the same order, never the whole chain.
pub const BY_ID: [(&CStr, &CStr); 3] =
    [(c"enable_seqscan", c"off"), (c"enable_hashjoin", c"off"), (c"enable_mergejoin", c"off")];

/// Sets settings at the current GUC nest level, with which they end.
pub fn pin(settings: &[(&CStr, &CStr)]) {
    for (name, value) in settings {
        // Safe: static C strings; GUC_ACTION_SAVE is undone by AtEOXact_GUC of the level.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}

/// Runs `body` with the owner's rights and an SPI connection that may write.
pub fn run<T>(body: impl FnOnce(&mut SpiClient<'_>) -> Outcome<T>) -> Outcome<T> {
    let _privilege = Privilege::take();
    Spi::connect_mut(body)
}

/// Before own SQL on tables of others: only the hooks keep its rights from the code of their owners.
pub fn require_hooks() -> Outcome<()> {
    match crate::shared::get() {
        Some(_) => Ok(()),
        None => Err(Fault::wrong_state("pg_steward must be loaded via shared_preload_libraries")
            .detail("Without its hooks it looks into no table.")),
    }
}

/// Why a piece of own SQL failed and was undone.
pub struct Undone {
    pub sqlstate: String,
    pub message: String,
}

/// Own SQL in a subtransaction of its own.
pub fn attempt<T>(body: impl FnOnce(&mut SpiClient<'_>) -> Outcome<T>) -> Result<T, Undone> {
    subtransaction(|| run(body))
}

/// A statement that needs a lock on this table or a row of it: waits a moment for others, and not until they please.
pub fn lock(statement: &str, arguments: &[DatumWithOid<'_>], table: &str) -> Outcome<()> {
    let taken = attempt(|client| {
        pin(&[(c"lock_timeout", lock::PATIENCE)]);
        execute(client, statement, arguments).map(drop)
    });
    taken.map_err(|undone| {
        undone.pass_on_cancellation();
        match undone.sqlstate.as_str() {
            "55P03" => lock::held(table, table, ""),
            _ => Fault::wrong_state(format!("{table} cannot be changed now")).detail(undone.message),
        }
    })
}

/// Runs `body` in a subtransaction, which an error undoes, that of a client that gives up included: whoever goes on after
/// it says so.
pub fn subtransaction<T>(body: impl FnOnce() -> Outcome<T>) -> Result<T, Undone> {
    inside(body, true)
}

/// The same for a body that only reads: its subtransaction is undone in any case, so that the locks on what it read do not
/// last until the end of the transaction.
pub fn look<T>(body: impl FnOnce() -> Outcome<T>) -> Result<T, Undone> {
    inside(body, false)
}

fn inside<T>(body: impl FnOnce() -> Outcome<T>, kept: bool) -> Result<T, Undone> {
    // Safe: the pattern of PL/pgSQL's exception blocks; context and owner are restored on both ways.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = context;
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(body().unwrap_or_else(|fault| fault.raise()))))
            .catch_others(|error| Err(Undone::of(&error)))
            .execute();
        match &result {
            Ok(_) if kept => pg_sys::ReleaseCurrentSubTransaction(),
            _ => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

impl Undone {
    fn of(error: &pg_sys::panic::CaughtError) -> Undone {
        use pg_sys::panic::CaughtError::{ErrorReport, PostgresError, RustPanic};
        let (PostgresError(report) | ErrorReport(report) | RustPanic { ereport: report, .. }) = error;
        Undone { sqlstate: error::sqlstate(report.sql_error_code()), message: report.message().to_owned() }
    }

    /// The client has given up: nothing else is begun.
    pub fn pass_on_cancellation(&self) {
        if self.sqlstate == "57014" {
            Fault::cancelled(self.message.clone()).raise();
        }
    }
}

/// The rows of a constant query as text, read with the owner's rights and the newest snapshot: what is committed now
/// (and this transaction's own changes), even under REPEATABLE READ. A revoked right must not live on in an old
/// snapshot. For rare set-up reads such as the policy cache; not for user text.
///
/// Its locks on the catalog are released at once: kept to the end of the transaction, so many would make the backend's
/// table of locks large for good, and every later commit walks through that table.
pub fn latest_rows(sql: &CStr) -> Vec<Vec<Option<String>>> {
    latest_rows_of(sql, &[])
}

/// The same with text arguments: `$1` and so on.
pub fn latest_rows_of(sql: &CStr, arguments: &[&str]) -> Vec<Vec<Option<String>>> {
    let _privilege = Privilege::take();
    let mut rows = Vec::new();
    // Safe: a valid transaction is a precondition of every caller; the snapshot is popped below or by the abort, the
    // values are copied before SPI frees them, and the resource owner goes with the transaction if an error comes.
    unsafe {
        let outer = pg_sys::CurrentResourceOwner;
        let owner = pg_sys::ResourceOwnerCreate(outer, c"pg_steward look-up".as_ptr());
        pg_sys::CurrentResourceOwner = owner;
        // A parallel query's leader may take no other snapshot than the query's own.
        let parallel = pg_sys::IsInParallelMode() && pg_sys::ActiveSnapshotSet();
        let snapshot = if parallel { pg_sys::GetActiveSnapshot() } else { pg_sys::GetLatestSnapshot() };
        pg_sys::PushActiveSnapshot(snapshot);
        pg_sys::SPI_connect();
        let mut values: Vec<_> = arguments.iter().filter_map(|text| (*text).into_datum()).collect();
        let mut types = vec![pg_sys::TEXTOID; values.len()];
        let (count, values, types) = (values.len() as i32, values.as_mut_ptr(), types.as_mut_ptr());
        let answer = pg_sys::SPI_execute_with_args(sql.as_ptr(), count, types, values, std::ptr::null(), true, 0);
        if answer != pg_sys::SPI_OK_SELECT as i32 {
            Fault::internal("own query is no SELECT").raise();
        }
        let table = pg_sys::SPI_tuptable;
        for row in 0..pg_sys::SPI_processed as usize {
            let tuple = *(*table).vals.add(row);
            let columns = (*(*table).tupdesc).natts;
            rows.push((1..=columns).map(|column| text_value(tuple, (*table).tupdesc, column)).collect());
        }
        pg_sys::SPI_finish();
        pg_sys::PopActiveSnapshot();
        pg_sys::CurrentResourceOwner = outer;
        use pg_sys::ResourceReleasePhase::{
            RESOURCE_RELEASE_AFTER_LOCKS, RESOURCE_RELEASE_BEFORE_LOCKS, RESOURCE_RELEASE_LOCKS,
        };
        for phase in [RESOURCE_RELEASE_BEFORE_LOCKS, RESOURCE_RELEASE_LOCKS, RESOURCE_RELEASE_AFTER_LOCKS] {
            pg_sys::ResourceOwnerRelease(owner, phase, false, false);
        }
        pg_sys::ResourceOwnerDelete(owner);
    }
    rows
}

unsafe fn text_value(tuple: pg_sys::HeapTuple, shape: pg_sys::TupleDesc, column: i32) -> Option<String> {
    // Safe: called by `latest_rows` with a live SPI tuple and a column inside its descriptor.
    unsafe {
        let value = pg_sys::SPI_getvalue(tuple, shape, column);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}

/// One statement that returns nothing of interest; the number of rows it touched.
pub fn execute(client: &mut SpiClient<'_>, sql: &str, arguments: &[DatumWithOid<'_>]) -> Outcome<usize> {
    Ok(client.update(sql, None, arguments)?.len())
}

/// The rows of a query that only reads: it takes no transaction id, so it also runs on a standby.
pub fn select<'c>(client: &mut SpiClient<'c>, sql: &str, arguments: &[DatumWithOid<'c>]) -> Outcome<SpiTupleTable<'c>> {
    Ok(client.select(sql, None, arguments)?)
}

/// The rows of a query that may lock or write; on a standby it can only read.
pub fn query<'c>(client: &mut SpiClient<'c>, sql: &str, arguments: &[DatumWithOid<'c>]) -> Outcome<SpiTupleTable<'c>> {
    // An update takes a transaction id first, which a standby cannot give. Safe: reads shared control data.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return Ok(client.select(sql, None, arguments)?);
    }
    Ok(client.update(sql, None, arguments)?)
}

/// Every open session reads the policy anew before its next decision, once this transaction commits.
pub fn policy_changed() -> Outcome<()> {
    let policy = crate::cache::policy_relation()
        .ok_or_else(|| Fault::wrong_state("extension pg_steward is not installed here"))?;
    // Safe: queues a transactional invalidation message for an existing relation.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(policy) };
    Ok(())
}
