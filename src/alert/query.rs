//! Questions of auditors: what they are, when they are due, and what became of them. The sequencer only starts the worker
//! that asks; it runs nobody's SQL and waits for no worker.

use super::answer::own_act;
use super::listeners;
use super::watch::{Raised, What, Written, tell};
use crate::check::attempt::attempt;
use crate::core::alert::Rule;
use crate::error::{Fault, Outcome, answer};
use crate::operation::environment::Environment;
use crate::person::{one_text, required};
use crate::policy::{changed, require_privilege};
use crate::watch::plain_query::require_plain;
use crate::{cache, own, session};
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::ffi::c_char;

/// Microseconds between two looks.
const LOOK: i64 = 5_000_000;
/// Questions that can be enabled.
const MOST: i64 = 10;
/// Milliseconds for reading a new question.
const PARSE_LIMIT: i32 = 10_000;

/// The operation type of alerts that a question raised.
const ASKED: &str = "ALERT QUERY";
/// Whom the alert about a question that failed is about.
const FAILED: &str = "query failed";

/// The sequencer's memory: the worker that it has started, and whose question comes next.
#[derive(Default)]
pub struct Queries {
    looked_at: i64,
    worker: Option<Handle>,
    due: Option<pg_sys::Oid>,
}

/// Of a worker; it lies in memory that is never freed but by this.
struct Handle(*mut pg_sys::BackgroundWorkerHandle);

impl Handle {
    fn is_over(&self) -> bool {
        let mut pid = 0;
        // Safe: a handle that the server gave.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) };
        status == pg_sys::BgwHandleStatus::BGWH_STOPPED || status == pg_sys::BgwHandleStatus::BGWH_POSTMASTER_DIED
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Safe: allocated by the server for us alone.
        unsafe { pg_sys::pfree(self.0.cast()) }
    }
}

impl Queries {
    /// In a transaction of the sequencer: what the last worker left undone is told, and the next question is marked.
    pub fn look(&mut self) {
        // Safe: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        if now - self.looked_at < LOOK || self.worker.as_ref().is_some_and(|worker| !worker.is_over()) {
            return;
        }
        self.looked_at = now;
        let ended = self.worker.take().is_some();
        let brisk = |client: &mut SpiClient<'_>| {
            own::pin(&[(c"lock_timeout", c"10ms")]);
            give_up(client, ended, now)?;
            one_text(client, DUE, &[])
        };
        match own::attempt(brisk) {
            Ok(owner) => self.due = owner.and_then(|owner| owner.parse::<u32>().ok()).map(pg_sys::Oid::from),
            Err(undone) => warning!("pg_steward: alert queries wait: {}", undone.message),
        }
    }

    /// After that transaction: starts the worker.
    pub fn launch(&mut self) {
        let Some(owner) = self.due.take() else { return };
        let mut worker = pg_sys::BackgroundWorker {
            bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32,
            bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
            bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
            bgw_main_arg: pg_sys::Datum::from(owner),
            ..Default::default()
        };
        copy(&mut worker.bgw_name, "pg_steward alert query");
        copy(&mut worker.bgw_type, "pg_steward alert query");
        copy(&mut worker.bgw_library_name, "pg_steward");
        copy(&mut worker.bgw_function_name, "pg_steward_alert_query_main");
        let mut handle = std::ptr::null_mut();
        // Safe: a complete registration, and a handle in memory that outlives every transaction.
        let started = unsafe {
            let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let started = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
            pg_sys::MemoryContextSwitchTo(context);
            started
        };
        // Without a free place the question stays undone, which is told later.
        self.worker = started.then_some(Handle(handle));
    }
}

fn copy<const N: usize>(field: &mut [c_char; N], text: &str) {
    for (place, byte) in field.iter_mut().take(N - 1).zip(text.bytes()) {
        *place = byte as c_char;
    }
}

/// The question that has waited longest is begun; its owner.
const DUE: &str = "WITH due AS (SELECT q.name, q.owner FROM steward._alert_query q LEFT JOIN steward._alert_query_run r USING (name)
        WHERE q.enabled AND (r.name IS NULL OR r.started_at + q.every <= clock_timestamp()) ORDER BY r.started_at NULLS FIRST LIMIT 1)
    INSERT INTO steward._alert_query_run (name, started_at) SELECT name, clock_timestamp() FROM due
    ON CONFLICT (name) DO UPDATE SET started_at = excluded.started_at, ended_at = NULL, rows = NULL, failure = NULL
    RETURNING (SELECT owner::oid::text FROM due)";
const UNDONE: &str =
    "UPDATE steward._alert_query_run r SET ended_at = clock_timestamp(), failure = 'its worker did not come to an end'
    FROM steward._alert_query q WHERE q.name = r.name AND r.ended_at IS NULL
        AND ($1 OR r.started_at < clock_timestamp() - interval '3 minutes') RETURNING q.name, q.level";

/// What was begun and has no worker any more: ours has `ended`, and that of an earlier sequencer has had its time.
fn give_up(client: &mut SpiClient<'_>, ended: bool, now: i64) -> Outcome<()> {
    let mut undone = Vec::new();
    for row in own::query(client, UNDONE, &[ended.into()])? {
        undone.push((row.get::<String>(1)?.unwrap_or_default(), row.get::<String>(2)?.unwrap_or_default()));
    }
    undone.iter().try_for_each(|(name, level)| raise(client, name, level, FAILED, now))
}

/// A question that has been begun.
pub(super) struct Task {
    pub name: String,
    pub level: String,
    pub query: String,
    /// Milliseconds.
    pub timeout: i32,
}

impl Task {
    /// The one that a worker of this owner is there for.
    pub fn of(client: &mut SpiClient<'_>, owner: pg_sys::Oid) -> Outcome<Option<Task>> {
        let begun = "SELECT q.name, q.level, q.query, (extract(epoch FROM q.timeout) * 1000)::int
            FROM steward._alert_query q JOIN steward._alert_query_run r USING (name)
            WHERE r.ended_at IS NULL AND q.enabled AND q.owner::oid = $1 ORDER BY r.started_at DESC LIMIT 1";
        let Some(row) = own::query(client, begun, &[owner.into()])?.next() else { return Ok(None) };
        let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
        let (name, level, query) = (text(1)?, text(2)?, text(3)?);
        Ok(Some(Task { name, level, query, timeout: row.get(4)?.unwrap_or(1) }))
    }

    /// Writes down what became of it: an alert for each row, or for the failure.
    pub fn end(&self, client: &mut SpiClient<'_>, found: &Result<Vec<String>, String>) -> Outcome<()> {
        let (rows, failure) = match found {
            Ok(rows) => (Some(rows.len() as i64), None),
            Err(failure) => (None, Some(failure.clone())),
        };
        let ended =
            "UPDATE steward._alert_query_run SET ended_at = clock_timestamp(), rows = $2, failure = $3 WHERE name = $1";
        own::execute(client, ended, &[self.name.as_str().into(), rows.into(), failure.into()])?;
        // Safe: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        let mut subjects = found.clone().unwrap_or_else(|_| vec![FAILED.to_owned()]);
        subjects.sort();
        subjects.dedup();
        subjects.iter().try_for_each(|subject| raise(client, &self.name, &self.level, subject, now))
    }
}

/// Opens an alert, or counts it in the one that is open. What somebody's transaction holds is said again by the next run.
fn raise(client: &mut SpiClient<'_>, name: &str, level: &str, subject: &str, now: i64) -> Outcome<()> {
    let rule = Rule { name: name.to_owned(), level: level.to_owned(), within: 3_600_000_000, ..Rule::default() };
    let what = What::of(ASKED);
    if let Written::New(id) = (Raised { times: 1, first: now, last: now, what }).write(client, &rule, subject)? {
        tell("raised", id, name, level);
        warning!("pg_steward alert {id}: {name} ({level}), {ASKED} about {subject}");
    }
    Ok(())
}

/// The rows that a question finds, by their first column. With the rights of who asks, in a transaction that can only read.
pub(super) fn ask(task: &Task, owner: pg_sys::Oid) -> Result<Vec<String>, String> {
    attempt(task.timeout, || {
        if !session::person().is_some_and(|person| person.may("audit")) {
            return Err(Fault::refused("its owner does not audit any more"));
        }
        let _environment = Environment::enter(owner);
        // Ends with the environment's own settings.
        own::pin(&[(c"transaction_read_only", c"on")]);
        require_plain(&task.query)?;
        // On a line of its own: it may end in a comment.
        let query = format!("SELECT left(q.subject::text, 200) FROM ({}\n) q(subject) LIMIT 100", task.query);
        Spi::connect(|client| {
            let rows = client.select(&query, None, &[])?;
            rows.map(|row| Ok(row.get::<String>(1)?.unwrap_or_else(|| "NULL".to_owned()))).collect()
        })
    })
}

/// After the last transaction of a worker.
pub(super) fn notify() {
    listeners::notify();
}

#[pg_extern(sql = false)]
fn set_alert_query(
    name: Option<&str>,
    level: Option<&str>,
    query: Option<&str>,
    every: Option<Interval>,
    timeout: Option<Interval>,
    enabled: Option<bool>,
) {
    answer((|| {
        let name = required("name", name)?;
        let auditor = session::person().filter(|person| cache::at_home() && person.may("audit")).ok_or_else(|| {
            Fault::refused("steward.set_alert_query is not yours to call")
                .detail("It asks with the rights of who sets it: a person with the capability audit.")
                .hint("SELECT steward.set_alert_rule(name, level, …);")
        })?;
        own_act("set_alert_query")?;
        let query = required("query", query)?.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        let login = session::login();
        {
            let _environment = Environment::enter(login);
            attempt(PARSE_LIMIT, || require_plain(query)).map_err(Fault::bad_argument)?;
        }
        let others = "SELECT name FROM steward._alert_query WHERE name = $1 AND set_by <> $2
            UNION ALL SELECT name FROM steward.alert_rule WHERE name = $1";
        let insert = "INSERT INTO steward._alert_query (name, level, query, every, timeout, enabled, owner, set_by)
            VALUES ($1, $2, $3, coalesce($4, interval '5 minutes'), coalesce($5, interval '10 seconds'), coalesce($6, true), $7::oid, $8)";
        let row: [DatumWithOid<'_>; 8] = [
            name.into(),
            level.map(str::to_owned).into(),
            query.into(),
            every.into(),
            timeout.into(),
            enabled.into(),
            login.into(),
            auditor.name.as_str().into(),
        ];
        own::run(|client| {
            if one_text(client, others, &[name.into(), auditor.name.as_str().into()])?.is_some() {
                return Err(Fault::refused(format!("\"{name}\" is a rule or a query of somebody else")));
            }
            own::execute(client, "LOCK TABLE steward._alert_query IN SHARE ROW EXCLUSIVE MODE", &[])?;
            own::execute(client, insert, &row)?;
            let count = "SELECT count(*)::text FROM steward._alert_query WHERE enabled";
            let enabled = one_text(client, count, &[])?.and_then(|count| count.parse().ok()).unwrap_or(i64::MAX);
            if enabled > MOST {
                return Err(Fault::bad_argument(format!("at most {MOST} alert queries can be enabled"))
                    .hint("SELECT steward.drop_alert_query(name) …"));
            }
            Ok(())
        })?;
        changed("set_alert_query", name)
    })())
}

#[pg_extern(sql = false)]
fn drop_alert_query(name: &str) {
    answer((|| {
        let setter = "SELECT set_by FROM steward._alert_query WHERE name = $1";
        let setter = own::run(|client| one_text(client, setter, &[name.into()]))?;
        let own = session::person().is_some_and(|person| person.may("audit") && setter.as_ref() == Some(&person.name));
        match own && cache::at_home() {
            true => own_act("drop_alert_query")?,
            false => require_privilege("drop_alert_query")?,
        }
        let gone = "WITH run AS (DELETE FROM steward._alert_query_run WHERE name = $1)
            DELETE FROM steward._alert_query WHERE name = $1 RETURNING name";
        own::run(|client| one_text(client, gone, &[name.into()]))?.ok_or_else(|| {
            Fault::unknown(format!("there is no alert query \"{name}\"")).hint("SELECT name FROM steward.alert_query;")
        })?;
        changed("drop_alert_query", name)
    })())
}
