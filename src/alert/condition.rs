//! Conditions of the server itself: what lasts longer than its term is a record of the server's life, once, and its end is
//! another. Alert rules speak of these records as of all others.
//!
//! How long something lasts is told by a time that nobody can set back or stop (`core::clock`).
//!
//! Asked in the sequencer's round every few seconds, in the round's own transaction, so that a record and what is known to
//! be told commit together. Each question has a subtransaction of its own and waits for no lock: what fails is said in the
//! log and asked again, and stops nothing.

use crate::audit::sequencer::server_record;
use crate::audit::{journal, verify};
use crate::core::record::{Outcome as Ending, Record};
use crate::core::standby::standby_names;
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::{one_text, required};
use crate::policy::{changed, require_privilege};
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

/// Microseconds between two looks.
const LOOK: i64 = 5_000_000;
/// Ends of the WAL that are remembered.
const ENDS: usize = 64;

/// Microseconds of a time, as records have them.
macro_rules! microseconds {
    ($time:literal) => {
        concat!("(extract(epoch FROM ", $time, " - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint")
    };
}

/// Each by its name: whom it is true of, since when (NULL: since it was seen) and what else there is to say. Parameters:
/// times and ends of the WAL, standbys that are named, when the chain was verified, since when the sequencer is behind,
/// journals that are not as they were created.
const CONDITIONS: [(&str, &str); 11] = [
    (
        "REPLICATION LAG",
        "SELECT coalesce(nullif(r.application_name, ''), r.pid::text), min(w.at), json_build_object('replay_lsn', min(r.replay_lsn),
                'behind_bytes', max(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), r.replay_lsn)))::text
            FROM pg_stat_replication r JOIN unnest($1::bigint[], $2::text[]::pg_lsn[]) w(at, lsn) ON w.lsn > r.replay_lsn
            GROUP BY 1",
    ),
    (
        "STANDBY MISSING",
        "SELECT n, NULL::bigint, json_build_object('named_by', 'synchronous_standby_names')::text FROM unnest($3::text[]) n
            WHERE NOT EXISTS (SELECT FROM pg_stat_replication r
                WHERE (n = '*' OR lower(r.application_name) = lower(n)) AND r.state IN ('catchup', 'streaming'))
        UNION ALL SELECT slot_name::text, NULL, json_build_object('named_by', 'pg_replication_slots')::text
            FROM pg_replication_slots WHERE NOT active AND slot_type = 'physical' AND restart_lsn IS NOT NULL",
    ),
    (
        "ARCHIVE FAILING",
        "SELECT 'archive', NULL::bigint, json_build_object('wal', last_failed_wal, 'failed_count', failed_count)::text
            FROM pg_stat_archiver WHERE current_setting('archive_mode') <> 'off'
                AND last_failed_time > coalesce(last_archived_time, '-infinity')",
    ),
    (
        "ARCHIVE LATE",
        concat!(
            "SELECT 'archive', ", microseconds!("min(modification)"), ", json_build_object('segments', count(*))::text
            FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready' AND current_setting('archive_mode') <> 'off'
            HAVING count(*) > 0"
        ),
    ),
    (
        // What was written since the last archived segment, and would be lost with the disk: nothing waits in line for it
        // while a segment fills. Less than a page is what an idle server writes by itself. When that began is told from
        // when it was seen: the last archiving may be long before it.
        "ARCHIVE AGE",
        "SELECT 'archive after ' || coalesce(last_archived_wal, 'the start'), NULL::bigint,
                json_build_object('last_archived', last_archived_time, 'bytes', file_offset)::text
            FROM pg_stat_archiver, pg_walfile_name_offset(pg_current_wal_flush_lsn())
            WHERE current_setting('archive_mode') <> 'off' AND file_offset > 8192",
    ),
    (
        // Of the kinds that the register asks for: full backups at hand and off-site, unless it says otherwise.
        "BACKUP OVERDUE",
        concat!(
            "SELECT name, ", microseconds!("at"), ", json_build_object('last', last)::text
            FROM (SELECT k.name, last, coalesce(last, (SELECT activated_at FROM steward.activation)) AS at
                FROM steward.record_kind k CROSS JOIN LATERAL (SELECT max(done_at) AS last FROM steward._record r
                    WHERE r.kind = k.name AND r.subject = 'full' AND r.withdrawn_at IS NULL
                        AND r.recorded_at - r.done_at <= interval '2 days') l
                WHERE k.name IN ('backup', 'off_site_backup') AND 'full' = ANY (k.needed_subjects)) b WHERE at IS NOT NULL"
        ),
    ),
    (
        "CHECK OVERDUE",
        concat!(
            "SELECT 'daily_check', ", microseconds!("at"), ", json_build_object('last', at)::text
            FROM (SELECT coalesce(max(ended_at), (SELECT activated_at FROM steward.activation)) AS at
                FROM steward._check_run) c WHERE at IS NOT NULL"
        ),
    ),
    (
        "VERIFICATION OVERDUE",
        concat!(
            "SELECT 'audit_chain', at, '{}' FROM (SELECT coalesce($4::bigint, (SELECT ", microseconds!("activated_at"),
            " FROM steward.activation)) AS at) v WHERE at IS NOT NULL"
        ),
    ),
    (
        JOBS,
        // As steward.job_state says it, but by the time that goes on.
        concat!(
            "SELECT name::text, ", microseconds!("coalesce(s.last_success, greatest(j.set_at, i.installed_at)) + j.max_age"),
            ", json_build_object('last_success', s.last_success)::text
            FROM steward.job j LEFT JOIN steward._job_state s USING (name) CROSS JOIN steward.installation i WHERE j.enabled"
        ),
    ),
    ("SEQUENCER LAG", "SELECT 'sequencer', $5::bigint, '{}' WHERE $5::bigint IS NOT NULL"),
    (
        // Nobody alters it while the library is loaded: so it was before this start.
        "JOURNAL ALTERED",
        concat!(
            "SELECT n, ", microseconds!("pg_postmaster_start_time()"), ", json_build_object('used', false)::text
            FROM unnest($6::text[]) n"
        ),
    ),
];

/// Jobs say themselves how late they may be; there may be none in this version of the extension's objects.
const JOBS: &str = "JOB OVERDUE";

/// Which condition, and of whom.
type Case = (String, String);

/// What is true now: since when, and what else there is to say.
type Truth = HashMap<Case, (i64, Value)>;

#[derive(Default)]
pub struct Conditions {
    asked_at: i64,
    looked_at: i64,
    /// Since when rounds leave something over.
    behind_since: Option<i64>,
    /// Where the WAL ended, and when that was.
    ends: VecDeque<(i64, String)>,
    /// What was seen to be true, and first when.
    seen: HashMap<Case, i64>,
    /// What failed was said.
    complained: bool,
}

impl Conditions {
    /// Whether the round has left something for the next.
    pub fn is_behind(&mut self, behind: bool) {
        self.behind_since = if behind { self.behind_since.or(Some(self.asked_at)) } else { None };
    }

    /// What is due to be recorded in this round, whose time is `now`.
    pub fn due(&mut self, now: i64) -> Vec<Record> {
        let last = std::mem::replace(&mut self.asked_at, now);
        if now - self.looked_at < LOOK {
            return Vec::new();
        }
        if self.looked_at != 0 && now - last > LOOK {
            // Nobody asked meanwhile: the round before took that long.
            self.behind_since = self.behind_since.or(Some(last));
        }
        self.looked_at = now;
        match self.look(now) {
            Ok(records) => {
                self.complained = false;
                records
            }
            Err(reason) => {
                if !std::mem::replace(&mut self.complained, true) {
                    warning!("pg_steward: conditions of the server are not known: {reason}");
                }
                Vec::new()
            }
        }
    }

    fn look(&mut self, now: i64) -> Result<Vec<Record>, String> {
        let (end, named, terms) = attempt(|client| Ok((end_of_wal(client)?, named(client)?, terms(client)?)))?;
        self.remember(now, end, &terms);
        let known = attempt(known)?;
        let mut truth = Truth::new();
        let mut failed = Vec::new();
        for (name, query) in CONDITIONS {
            if terms.contains_key(name) {
                match attempt(|client| self.ask(client, query, &named)) {
                    Ok(found) => truth.extend(found.into_iter().map(|(of, what)| ((name.to_owned(), of), what))),
                    Err(reason) => failed.push((name, reason)),
                }
            }
        }
        self.seen.retain(|case, _| truth.contains_key(case));
        for (case, (since, _)) in &mut truth {
            // What was told before this process began has lasted its term, and goes on.
            let lasting = || terms.get(&case.0).map_or(now, |term| now - term - 1);
            let first = if known.contains(case) { lasting() } else { now };
            let seen = *self.seen.entry(case.clone()).or_insert(first);
            *since = if *since == UNKNOWN { seen } else { *since };
        }
        truth.retain(|(name, _), (since, _)| terms.get(name).is_some_and(|term| now - *since > *term));
        let doubtful: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
        let records = attempt(|client| told(client, &truth, &known, &doubtful, now))?;
        if let Some((name, reason)) = failed.into_iter().next().filter(|_| !self.complained) {
            self.complained = true;
            warning!("pg_steward: it is not known whether there is {name}: {reason}");
        }
        Ok(records)
    }

    /// As often as the term of a lag can be told by.
    fn remember(&mut self, now: i64, end: String, terms: &HashMap<String, i64>) {
        let apart = terms.get("REPLICATION LAG").map_or(0, |term| term / (ENDS as i64 / 2));
        if self.ends.back().is_none_or(|(at, _)| now - at >= apart) {
            self.ends.push_back((now, end));
        }
        while self.ends.len() > ENDS {
            self.ends.pop_front();
        }
    }

    fn ask(&self, client: &mut SpiClient<'_>, query: &str, named: &[String]) -> Outcome<Vec<(String, (i64, Value))>> {
        let verified = verify::kept().and_then(|(_, at)| at).map(pg_sys::TimestampTz::from);
        let times: Vec<i64> = self.ends.iter().map(|(at, _)| *at).collect();
        let ends: Vec<String> = self.ends.iter().map(|(_, end)| end.clone()).collect();
        let altered = journal::altered();
        let facts: [DatumWithOid<'_>; 6] = [
            times.into(),
            ends.into(),
            named.to_vec().into(),
            verified.into(),
            self.behind_since.into(),
            altered.into(),
        ];
        let mut found = Vec::new();
        for row in own::select(client, query, &facts)? {
            let details = row.get::<String>(3)?.and_then(|text| serde_json::from_str(&text).ok());
            let since = row.get::<i64>(2)?.unwrap_or(UNKNOWN);
            found.push((row.get::<String>(1)?.unwrap_or_default(), (since, details.unwrap_or_else(|| json!({})))));
        }
        Ok(found)
    }
}

/// Since it was seen.
const UNKNOWN: i64 = i64::MIN;

/// Own SQL that waits for nobody.
fn attempt<T>(body: impl FnOnce(&mut SpiClient<'_>) -> Outcome<T>) -> Result<T, String> {
    let brisk = |client: &mut SpiClient<'_>| {
        own::pin(&[(c"lock_timeout", c"10ms")]);
        body(client)
    };
    own::attempt(brisk).map_err(|undone| undone.message)
}

fn end_of_wal(client: &mut SpiClient<'_>) -> Outcome<String> {
    Ok(one_text(client, "SELECT pg_current_wal_flush_lsn()::text", &[])?.unwrap_or_default())
}

fn named(client: &mut SpiClient<'_>) -> Outcome<Vec<String>> {
    let setting = one_text(client, "SELECT current_setting('synchronous_standby_names')", &[])?;
    Ok(standby_names(&setting.unwrap_or_default()))
}

fn terms(client: &mut SpiClient<'_>) -> Outcome<HashMap<String, i64>> {
    let sql = "SELECT name, (extract(epoch FROM longer_than) * 1000000)::bigint FROM steward.alert_condition
        WHERE enabled AND (name <> $1 OR to_regclass('steward.job_state') IS NOT NULL)";
    let mut terms = HashMap::new();
    for row in own::select(client, sql, &[JOBS.into()])? {
        terms.insert(row.get::<String>(1)?.unwrap_or_default(), row.get::<i64>(2)?.unwrap_or(0));
    }
    Ok(terms)
}

/// What is on record and has not ended.
fn known(client: &mut SpiClient<'_>) -> Outcome<Vec<Case>> {
    let mut known = Vec::new();
    for row in own::select(client, "SELECT name, subject FROM steward._condition", &[])? {
        known.push((row.get::<String>(1)?.unwrap_or_default(), row.get::<String>(2)?.unwrap_or_default()));
    }
    Ok(known)
}

/// Records of what has begun and of what has ended since it was last told. What could not be asked stays as it was.
fn told(
    client: &mut SpiClient<'_>,
    truth: &Truth,
    known: &[Case],
    doubtful: &[&str],
    now: i64,
) -> Outcome<Vec<Record>> {
    let mut records = Vec::new();
    for (case, (since, details)) in truth.iter().filter(|(case, _)| !known.contains(case)) {
        let insert = "INSERT INTO steward._condition (name, subject) VALUES ($1, $2)";
        own::execute(client, insert, &[case.0.as_str().into(), case.1.as_str().into()])?;
        let mut details = details.clone();
        details["lasts_s"] = ((now - since) / 1_000_000).into();
        records.push(about(case, Ending::Failure, details));
    }
    for case in known.iter().filter(|case| !truth.contains_key(case) && !doubtful.contains(&case.0.as_str())) {
        let delete = "DELETE FROM steward._condition WHERE name = $1 AND subject = $2";
        own::execute(client, delete, &[case.0.as_str().into(), case.1.as_str().into()])?;
        records.push(about(case, Ending::Success, json!({ "ended": true })));
    }
    Ok(records)
}

fn about((name, subject): &Case, ending: Ending, details: Value) -> Record {
    let mut record = server_record(name, ending, details);
    record.relations = vec![subject.clone()];
    record
}

#[pg_extern(sql = false)]
fn set_alert_condition(name: Option<&str>, longer_than: Option<Interval>, enabled: Option<bool>) {
    answer((|| {
        require_privilege("set_alert_condition")?;
        let name = required("name", name)?;
        let update = "UPDATE steward.alert_condition SET longer_than = coalesce($2, longer_than), enabled = coalesce($3, enabled)
            WHERE name = $1 RETURNING name";
        let row: [DatumWithOid<'_>; 3] = [name.into(), longer_than.into(), enabled.into()];
        own::run(|client| one_text(client, update, &row))?.ok_or_else(|| {
            Fault::unknown(format!("there is no condition \"{name}\"")).hint("SELECT * FROM steward.alert_condition;")
        })?;
        changed("set_alert_condition", name)
    })())
}
