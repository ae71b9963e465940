//! The sequencer's side: the operation of a window and its trail, made from the records, whatever became of the
//! transactions they came from; and the alert, which a session could keep from the server's log and a rollback from its
//! listeners.

use super::{ASK, END, OPEN};
use crate::alert::listeners;
use crate::cache;
use crate::core::emergency::{ASKED_MINUTES, REVIEW_SECONDS, script};
use crate::core::record::Record;
use crate::core::script::digest;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::operation::{Entry, person_named};
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

/// A window that was asked for and confirmed.
const OPENED: &str = concat!(
    "UPDATE steward._operation SET status = 'executed', runs_done = 1, executed_by = applicant, executed_at = ",
    moment!("$2"),
    ", not_after = ",
    moment!("$3"),
    ", review_due = ",
    moment!("$3"),
    " + make_interval(secs => $4)
    WHERE op_no = $1 AND origin = 'break_glass' AND applicant = $5 AND status = 'approved' AND confirmed_by IS NOT NULL
    RETURNING op_no"
);

/// It was over earlier than it had to be, and so is the term of its review.
const ENDED: &str = concat!(
    "UPDATE steward._operation SET not_after = ended.at, review_due = review_due - (not_after - ended.at)
    FROM (SELECT least(not_after, greatest(",
    moment!("$2"),
    ", not_before + interval '1 microsecond')) AS at FROM steward._operation WHERE op_no = $1) ended
    WHERE op_no = $1 AND origin = 'break_glass' AND status = 'executed' RETURNING op_no"
);

/// Whether a record is one of a window's.
pub fn follows(operation_type: &str) -> bool {
    [ASK, OPEN, END].contains(&operation_type)
}

/// Called for each of them before it is chained, in the transaction of the round.
pub fn on_record(client: &mut SpiClient<'_>, record: &Record) -> Outcome<()> {
    let (Some(op_no), Some(person)) = (record.op_no.as_deref(), record.person.as_deref()) else { return Ok(()) };
    let details: Value = record.details.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if record.operation_type == END {
        if one_text(client, ENDED, &[op_no.into(), record.time.into()])?.is_some() {
            trail(client, record, op_no, person, details["why"].as_str(), None)?;
        }
        return Ok(());
    }
    let window = Asked::read(&details).ok_or_else(|| Fault::internal("an emergency window does not read back"))?;
    if !window.write(client, record, op_no, person)? {
        return Err(Fault::wrong_state(format!(
            "emergency window {op_no} cannot be written down: its number is taken"
        )));
    }
    let also = json!({ "seconds": window.seconds, "backend": details["backend"] });
    trail(client, record, op_no, person, Some(window.reason), Some(also))?;
    alert(record, op_no, person, &window);
    Ok(())
}

/// What the record says of a window.
struct Asked<'a> {
    reason: &'a str,
    seconds: i64,
    /// Microseconds since 2000-01-01 UTC.
    from: i64,
}

impl<'a> Asked<'a> {
    fn read(details: &'a Value) -> Option<Asked<'a>> {
        let (seconds, from) = (details["seconds"].as_i64()?, details["from"].as_i64()?);
        Some(Asked { reason: details["reason"].as_str()?, seconds, from })
    }

    fn until(&self) -> i64 {
        self.from + self.seconds * SECOND
    }

    /// False where the number belongs to something else, or the window is not what was confirmed.
    fn write(&self, client: &mut SpiClient<'_>, record: &Record, op_no: &str, person: &str) -> Outcome<bool> {
        let post = person_named(person).map(|person| person.post.clone()).unwrap_or_default();
        let within =
            cache::policy().tier_policy(Tier::Critical, &post).review_within_s.unwrap_or(REVIEW_SECONDS) as f64;
        let opens = record.operation_type == OPEN;
        if opens {
            let opened = [op_no.into(), self.from.into(), self.until().into(), within.into(), person.into()];
            if one_text(client, OPENED, &opened)?.is_some() {
                return Ok(true);
            }
        }
        let text = script(self.reason, self.seconds);
        let sha = digest(&text).to_vec();
        let until = if opens { self.until() } else { self.from + ASKED_MINUTES * 60 * SECOND };
        let filed = [
            op_no.into(),
            text.as_str().into(),
            sha.into(),
            self.reason.into(),
            record.user_id.as_str().into(),
            self.from.into(),
            until.into(),
            i32::from(opens).into(),
            within.into(),
            person.into(),
        ];
        Ok(one_text(client, FILE, &filed)?.is_some())
    }
}

fn trail(
    client: &mut SpiClient<'_>,
    record: &Record,
    op_no: &str,
    person: &str,
    comment: Option<&str>,
    details: Option<Value>,
) -> Outcome<()> {
    let login = &record.user_id;
    Entry { op_no, event: &record.operation_type, person: Some(person), login, comment, digest: None, details }
        .write(client)
}

/// A line in the server's log, and after the commit a notification for whoever listens. Everybody may, so it goes without
/// the reason.
fn alert(record: &Record, op_no: &str, person: &str, window: &Asked<'_>) {
    let what = &record.operation_type;
    let payload = json!({
        "alert": "break_glass", "event": what, "op_no": op_no, "person": person, "login": record.user_id,
        "seconds": window.seconds,
    });
    listeners::tell(payload.to_string());
    warning!("pg_steward alert: {what} {op_no} by {person} for {} s: {}", window.seconds, window.reason);
}
