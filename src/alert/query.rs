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
/// Microseconds that a worker has beside its question's timeout, to start and to write down what it found.
const GRACE: i64 = 20_000_000;
/// Questions that can be enabled.
const MOST: i64 = 10;
/// Milliseconds for reading a new question.
const PARSE_LIMIT: i32 = 10_000;

/// The operation type of alerts that a question raised.
pub(super) const ASKED: &str = "ALERT QUERY";
/// Whom the alert about a question that failed is about.
const FAILED: &str = "query failed";
/// Whom the alert about more rows than anybody answers is about.
const TOO_MANY: &str = "too many";
/// Alerts of one question that nobody has closed, before what else it finds is one alert.
const UNCLOSED: i64 = 100;

/// The sequencer's memory: the worker that it has started, and whose question comes next.
#[derive(Default)]
pub struct Queries {
    looked_at: i64,
    worker: Option<Handle>,
    due: Option<Due>,
}

/// What a worker is started for.
#[derive(Clone, Copy)]
struct Due {
    owner: pg_sys::Oid,
    /// When it has to have come to an end.
    until: i64,
}

/// Of a worker, and when it has to be over; it lies in memory that is never freed but by this.
struct Handle(*mut pg_sys::BackgroundWorkerHandle, i64);

impl Handle {
    /// Asks it to end, which a worker does at its next look at interrupts.
    fn terminate(&self) {
        // Safe: a handle that the server gave.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) }
    }

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
    /// In a transaction of the sequencer: what the last worker left undone is told, and the next question is marked. A
    /// worker that has had its time is ended and told; nobody is asked before it is gone.
    pub fn look(&mut self) {
        // Safe: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        let running = self.worker.as_ref().filter(|worker| !worker.is_over());
        if (now - self.looked_at).abs() < LOOK || running.is_some_and(|worker| now < worker.1) {
            return;
        }
        self.looked_at = now;
        running.inspect(|worker| worker.terminate());
        let free = running.is_none();
        let brisk = |client: &mut SpiClient<'_>| {
            own::pin(&[(c"lock_timeout", c"10ms")]);
            give_up(client, self.worker.is_some(), now)?;
            if free { due(client, now) } else { Ok(None) }
        };
        match own::attempt(brisk) {
            Ok(due) if free => (self.worker, self.due) = (None, due),
            Ok(_) => (),
            Err(undone) => warning!("pg_steward: alert queries wait: {}", undone.message),
        }
    }

    /// After that transaction: starts the worker.
    pub fn launch(&mut self) {
        let Some(Due { owner, until }) = self.due.take() else { return };
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
        self.worker = started.then_some(Handle(handle, until));
    }
}

fn copy<const N: usize>(field: &mut [c_char; N], text: &str) {
    for (place, byte) in field.iter_mut().take(N - 1).zip(text.bytes()) {
        *place = byte as c_char;
    }
}

/// The question that has waited longest is begun; its owner, and the microseconds that it may take. One that an open
/// transaction changes or drops waits for that alone.
const DUE: &str = "WITH due AS (SELECT q.name, q.owner, q.timeout FROM steward._alert_query q
            LEFT JOIN steward._alert_query_run r USING (name)
        WHERE q.enabled AND (r.name IS NULL OR r.started_at + q.every <= clock_timestamp())
        ORDER BY r.started_at NULLS FIRST LIMIT 1 FOR UPDATE OF q SKIP LOCKED)
    INSERT INTO steward._alert_query_run (name, started_at) SELECT name, clock_timestamp() FROM due
    ON CONFLICT (name) DO UPDATE SET started_at = excluded.started_at, ended_at = NULL, rows = NULL, failure = NULL
    RETURNING (SELECT owner::oid FROM due), (SELECT (extract(epoch FROM timeout) * 1000000)::bigint FROM due)";
const UNDONE: &str =
    "UPDATE steward._alert_query_run r SET ended_at = clock_timestamp(), failure = 'its worker did not come to an end'
    FROM steward._alert_query q WHERE q.name = r.name AND r.name IN (SELECT name FROM steward._alert_query_run
        WHERE ended_at IS NULL AND ($1 OR started_at < clock_timestamp() - interval '3 minutes') FOR UPDATE SKIP LOCKED)
    RETURNING q.name, q.level";

/// Marks the next question.
fn due(client: &mut SpiClient<'_>, now: i64) -> Outcome<Option<Due>> {
    let Some(row) = own::query(client, DUE, &[])?.next() else { return Ok(None) };
    let term = row.get::<i64>(2)?.unwrap_or(0) + GRACE;
    Ok(row.get::<pg_sys::Oid>(1)?.map(|owner| Due { owner, until: now + term }))
}

/// What was begun and has no worker any more, or one that has had its time: `ours`, and that of an earlier sequencer.
fn give_up(client: &mut SpiClient<'_>, ours: bool, now: i64) -> Outcome<()> {
    let mut undone = Vec::new();
    for row in own::query(client, UNDONE, &[ours.into()])? {
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

    /// Writes down what became of it: an alert for each row, or for the failure. Beyond what anybody can answer there is
    /// a single alert more.
    pub fn end(&self, client: &mut SpiClient<'_>, found: &Result<Vec<String>, String>) -> Outcome<()> {
        let (rows, failure) = match found {
            Ok(rows) => (Some(rows.len() as i64), None),
            Err(failure) => (None, Some(failure.clone())),
        };
        let ended = "UPDATE steward._alert_query_run SET ended_at = clock_timestamp(), rows = $2, failure = $3
            WHERE name = $1 AND ended_at IS NULL";
        own::execute(client, ended, &[self.name.as_str().into(), rows.into(), failure.into()])?;
        // Safe: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        let mut subjects = found.clone().unwrap_or_else(|_| vec![FAILED.to_owned()]);
        subjects.sort();
        subjects.dedup();
        let mut overflow = false;
        for subject in &subjects {
            match subject == FAILED || self.has_room(client, subject)? {
                true => raise(client, &self.name, &self.level, subject, now)?,
                false => overflow = true,
            }
        }
        if overflow { raise(client, &self.name, &self.level, TOO_MANY, now) } else { Ok(()) }
    }

    /// Whether an alert about this subject is counted in one that is there, or one of those that may be unclosed.
    fn has_room(&self, client: &mut SpiClient<'_>, subject: &str) -> Outcome<bool> {
        let room = "SELECT (count(*) < $3 OR bool_or(subject = $2
                AND (acknowledged_at IS NULL OR acknowledged_at > clock_timestamp() - $4 * interval '1 microsecond')))::text
            FROM steward._alert WHERE rule = $1 AND closed_at IS NULL";
        let row = [self.name.as_str().into(), subject.into(), UNCLOSED.into(), CASE.into()];
        Ok(one_text(client, room, &row)?.as_deref() == Some("true"))
    }
}

/// Microseconds after its acknowledgement in which an alert counts what comes again.
const CASE: i64 = 3_600_000_000;

/// Opens an alert, or counts it in the one that is open. What somebody's transaction holds is said again by the next run.
fn raise(client: &mut SpiClient<'_>, name: &str, level: &str, subject: &str, now: i64) -> Outcome<()> {
    let rule = Rule { name: name.to_owned(), level: level.to_owned(), within: CASE, ..Rule::default() };
    let what = What::of(ASKED);
    if let Written::New(id) =
        (Raised { times: 1, first: now, last: now, what, sample: Vec::new() }).write(client, &rule, subject)?
    {
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
            own::pin(&[(c"transaction_read_only", c"on")]);
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
        own::run(|client| {
            // In this order: the sequencer passes over a question that is held.
            let gone = "DELETE FROM steward._alert_query WHERE name = $1 RETURNING name";
            one_text(client, gone, &[name.into()])?.ok_or_else(|| {
                Fault::unknown(format!("there is no alert query \"{name}\""))
                    .hint("SELECT name FROM steward.alert_query;")
            })?;
            own::execute(client, "DELETE FROM steward._alert_query_run WHERE name = $1", &[name.into()])
        })?;
        changed("drop_alert_query", name)
    })())
}
