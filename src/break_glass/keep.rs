//! The sequencer's side: the operation of a window and its trail, made from the records, whatever became of the
//! transactions they came from; and the alert, which a session could keep from the server's log and a rollback from its
//! listeners.
//!
//! Never: waiting for somebody's lock. What meets a locked row is put off (`operation::put_off`).

use super::{ASK, END, OPEN};
use crate::alert::listeners;
use crate::cache;
use crate::core::emergency::{ASKED_MINUTES, REVIEW_SECONDS, script};
use crate::core::record::Record;
use crate::core::script::digest;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::operation::{Entry, person_named, put_off};
use crate::own;
use crate::person::one_text;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000;

/// Microseconds since 2000 as a timestamp.
macro_rules! moment {
    ($microseconds:literal) => {
        concat!("(timestamptz '2000-01-01 00:00:00+00' + ", $microseconds, "::bigint * interval '1 microsecond')")
    };
}

/// A window that needs no second person is executed as it is filed; one that does is approved, and waits for them.
const FILE: &str = concat!(
    "INSERT INTO steward._operation (op_no, origin, script, digest, tier, rule, purpose, applicant, applicant_login, database,
        system_identifier, not_before, not_after, runs_allowed, runs_done, approvals_needed, witness_needed, status,
        executed_by, executed_at, review_due)
    SELECT $1, 'break_glass', $2, $3, 'critical', 'break_glass', $4, name, $5, current_database(),
        (SELECT system_identifier::text FROM pg_control_system()), ",
    moment!("$6"),
    ", ",
    moment!("$7"),
    ", 1, $8, 0, $8 = 0, CASE $8 WHEN 0 THEN 'approved' ELSE 'executed' END, CASE $8 WHEN 1 THEN name END,
        CASE $8 WHEN 1 THEN ",
    moment!("$6"),
    " END, CASE $8 WHEN 1 THEN ",
    moment!("$7"),
    " + make_interval(secs => $9) END
    FROM steward.person WHERE name = $10 AND NOT EXISTS (SELECT FROM steward._operation WHERE op_no = $1) RETURNING op_no"
);

/// A window that was asked for and confirmed, unless its row is locked.
const OPENED: &str = concat!(
    "WITH asked AS (SELECT op_no FROM steward._operation WHERE op_no = $1 AND origin = 'break_glass' AND applicant = $5
        AND status = 'approved' AND confirmed_by IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE steward._operation o SET status = 'executed', runs_done = 1, executed_by = applicant, executed_at = ",
    moment!("$2"),
    ", not_after = ",
    moment!("$3"),
    ", review_due = ",
    moment!("$3"),
    " + make_interval(secs => $4)
    FROM asked WHERE o.op_no = asked.op_no RETURNING o.op_no"
);

/// It was over earlier than it had to be, and so is the term of its review; unless its row is locked.
const ENDED: &str = concat!(
    "WITH ended AS (SELECT op_no, least(not_after, greatest(",
    moment!("$2"),
    ", not_before + interval '1 microsecond')) AS at FROM steward._operation
        WHERE op_no = $1 AND origin = 'break_glass' AND status = 'executed' FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE steward._operation o SET not_after = ended.at, review_due = review_due - (not_after - ended.at)
    FROM ended WHERE o.op_no = ended.op_no RETURNING o.op_no"
);

/// What met a locked row: the newest line of its kind says so. A window that ended before it was written down as open was
/// not opened.
const PUT_OFF: &str = "SELECT e.op_no, e.event, e.person, e.login, e.comment, e.details::text
    FROM steward._operation o JOIN steward._operation_event e ON e.op_no = o.op_no
    WHERE o.origin = 'break_glass' AND o.status IN ('approved', 'executed') AND e.event IN ($1, $2) AND e.details ? 'put_off'
        AND NOT EXISTS (SELECT FROM steward._operation_event d
            WHERE d.op_no = e.op_no AND d.event IN (e.event, $2) AND d.n > e.n)
    ORDER BY e.n";

/// Whether a record is one of a window's.
pub fn follows(operation_type: &str) -> bool {
    [ASK, OPEN, END].contains(&operation_type)
}

/// Called for each of them before it is chained, in the transaction of the round.
pub fn on_record(client: &mut SpiClient<'_>, record: &Record) -> Outcome<()> {
    let (Some(op_no), Some(person)) = (record.op_no.as_deref(), record.person.as_deref()) else { return Ok(()) };
    let details: Value = record.details.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let line = Line { op_no, event: &record.operation_type, person, login: &record.user_id };
    if line.event == END {
        return line.end(client, record.time, details["why"].as_str());
    }
    let window = Asked::read(&details).ok_or_else(|| Fault::internal("an emergency window does not read back"))?;
    match line.begin(client, &window)? {
        Written::Yes => Ok(()),
        Written::Locked => {
            put_off::soon();
            line.tell(client, Some(window.reason), Some(window.later()))
        }
        Written::No => {
            Err(Fault::wrong_state(format!("emergency window {op_no} cannot be written down: its number is taken")))
        }
    }
}

/// Tries again what met a locked row; true: there was something, which may be locked still.
pub fn catch_up(client: &mut SpiClient<'_>) -> Outcome<bool> {
    let mut lines = Vec::new();
    for row in own::select(client, PUT_OFF, &[OPEN.into(), END.into()])? {
        lines.push([1, 2, 3, 4, 5, 6].map(|column| row.get::<String>(column).map(Option::unwrap_or_default)));
    }
    let found = !lines.is_empty();
    for line in lines {
        let [op_no, event, person, login, comment, details] = line;
        let (op_no, event, person, login, comment) = (op_no?, event?, person?, login?, comment?);
        let mut details: Value = serde_json::from_str(&details?).unwrap_or_default();
        let line = Line { op_no: &op_no, event: &event, person: &person, login: &login };
        let at = details["put_off"].as_i64().unwrap_or(0);
        if event == END {
            line.end_again(client, at, &comment)?;
            continue;
        }
        (details["from"], details["reason"]) = (at.into(), comment.into());
        let window = Asked::read(&details).ok_or_else(|| Fault::internal("an emergency window does not read back"))?;
        line.begin(client, &window)?;
    }
    Ok(found)
}

/// What the record says of a window.
struct Asked<'a> {
    reason: &'a str,
    seconds: i64,
    /// Microseconds since 2000-01-01 UTC.
    from: i64,
    /// The process of its session.
    backend: &'a Value,
}

impl<'a> Asked<'a> {
    fn read(details: &'a Value) -> Option<Asked<'a>> {
        let (seconds, from) = (details["seconds"].as_i64()?, details["from"].as_i64()?);
        Some(Asked { reason: details["reason"].as_str()?, seconds, from, backend: &details["backend"] })
    }

    fn until(&self) -> i64 {
        self.from + self.seconds * SECOND
    }

    /// Its line while its row is locked; the reason is the line's comment.
    fn later(&self) -> Value {
        json!({ "put_off": self.from, "seconds": self.seconds, "backend": self.backend })
    }
}

/// What became of it.
enum Written {
    Yes,
    /// The number belongs to something else, or the window is not what was confirmed.
    No,
    /// Somebody's transaction holds the row.
    Locked,
}

/// A step of a window: what happened, and by whom.
struct Line<'a> {
    op_no: &'a str,
    event: &'a str,
    person: &'a str,
    login: &'a str,
}

impl Line<'_> {
    /// Writes the window down, tells of it in the trail and raises the alert.
    fn begin(&self, client: &mut SpiClient<'_>, window: &Asked<'_>) -> Outcome<Written> {
        let written = self.write(client, window)?;
        if matches!(written, Written::Yes) {
            let also = json!({ "seconds": window.seconds, "backend": window.backend });
            self.tell(client, Some(window.reason), Some(also))?;
            self.alert(window);
        }
        Ok(written)
    }

    fn write(&self, client: &mut SpiClient<'_>, window: &Asked<'_>) -> Outcome<Written> {
        let Line { op_no, person, .. } = *self;
        let post = person_named(person).map(|person| person.post.clone()).unwrap_or_default();
        let within =
            cache::policy().tier_policy(Tier::Critical, &post).review_within_s.unwrap_or(REVIEW_SECONDS) as f64;
        let opens = self.event == OPEN;
        if opens {
            let opened = [op_no.into(), window.from.into(), window.until().into(), within.into(), person.into()];
            if one_text(client, OPENED, &opened)?.is_some() {
                return Ok(Written::Yes);
            }
            let waits =
                "SELECT op_no FROM steward._operation WHERE op_no = $1 AND origin = 'break_glass' AND applicant = $2
                AND status = 'approved' AND confirmed_by IS NOT NULL";
            if one_text(client, waits, &[op_no.into(), person.into()])?.is_some() {
                return Ok(Written::Locked);
            }
        }
        let text = script(window.reason, window.seconds);
        let sha = digest(&text).to_vec();
        let until = if opens { window.until() } else { window.from + ASKED_MINUTES * 60 * SECOND };
        let filed = [
            op_no.into(),
            text.as_str().into(),
            sha.into(),
            window.reason.into(),
            self.login.into(),
            window.from.into(),
            until.into(),
            i32::from(opens).into(),
            within.into(),
            person.into(),
        ];
        Ok(if one_text(client, FILE, &filed)?.is_some() { Written::Yes } else { Written::No })
    }

    /// The window is over, which its line says whether or not it was written down as open.
    fn end(&self, client: &mut SpiClient<'_>, at: i64, why: Option<&str>) -> Outcome<()> {
        match self.ended(client, at)? {
            Some(Written::Locked) => {
                put_off::soon();
                self.tell(client, why, Some(json!({ "put_off": at })))
            }
            Some(_) => self.tell(client, why, None),
            None => Ok(()),
        }
    }

    fn end_again(&self, client: &mut SpiClient<'_>, at: i64, why: &str) -> Outcome<()> {
        match self.ended(client, at)? {
            None | Some(Written::Locked) => Ok(()),
            Some(_) => self.tell(client, Some(why), None),
        }
    }

    /// None: there is no such operation.
    fn ended(&self, client: &mut SpiClient<'_>, at: i64) -> Outcome<Option<Written>> {
        if one_text(client, ENDED, &[self.op_no.into(), at.into()])?.is_some() {
            return Ok(Some(Written::Yes));
        }
        let status = "SELECT status FROM steward._operation WHERE op_no = $1 AND origin = 'break_glass'";
        let status = one_text(client, status, &[self.op_no.into()])?;
        Ok(status.map(|status| if status == "executed" { Written::Locked } else { Written::No }))
    }

    fn tell(&self, client: &mut SpiClient<'_>, comment: Option<&str>, details: Option<Value>) -> Outcome<()> {
        let Line { op_no, event, person, login } = *self;
        Entry { op_no, event, person: Some(person), login, comment, digest: None, details }.write(client)
    }

    /// A line in the server's log, and after the commit a notification for whoever listens. Everybody may, so it goes
    /// without the reason.
    fn alert(&self, window: &Asked<'_>) {
        let Line { op_no, event, person, login } = *self;
        let payload = json!({
            "alert": "break_glass", "event": event, "op_no": op_no, "person": person, "login": login,
            "seconds": window.seconds,
        });
        listeners::tell(payload.to_string());
        warning!("pg_steward alert: {event} {op_no} by {person} for {} s: {}", window.seconds, window.reason);
    }
}
