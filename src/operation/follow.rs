//! What a failed run, or the end of its term, makes of an operation, as the sequencer writes it down: from the record, whose
//! transaction was undone, and once more where somebody's transaction held the row. The run's own may, since its record
//! comes before its end.
//!
//! Never: waiting for a lock (`put_off`).

use super::{Entry, put_off};
use crate::core::operation::{Event, Past, Status, next};
use crate::core::record::Record;
use crate::error::Outcome;
use crate::own;
use crate::person::one_text;
use pgrx::spi::SpiClient;
use serde_json::{Value, json};

/// Events of the trail.
pub const FAIL: &str = "FAIL";
pub const EXPIRE: &str = "EXPIRE";

/// Moves an operation on, if that is still a legal move.
pub fn on_record(client: &mut SpiClient<'_>, record: &Record, event: &str) -> Outcome<()> {
    let Some(op_no) = record.op_no.as_deref() else { return Ok(()) };
    let step = Step { op_no, event, at: record.time, person: record.person.as_deref(), login: &record.user_id };
    match step.take(client)? {
        Taken::Yes(status) => step.tell(client, json!({ "status": status.name() })),
        Taken::Needless => Ok(()),
        Taken::Locked => {
            put_off::soon();
            step.tell(client, json!({ "put_off": record.time }))
        }
    }
}

/// A line of the trail for what the record tells, if there is such an operation.
pub fn mention(client: &mut SpiClient<'_>, record: &Record, event: &str) -> Outcome<()> {
    let Some(op_no) = record.op_no.as_deref() else { return Ok(()) };
    if !is_known(client, op_no)? {
        return Ok(());
    }
    let (person, login) = (record.person.as_deref(), record.user_id.as_str());
    Entry { op_no, event, person, login, comment: None, digest: None, details: None }.write(client)
}

fn is_known(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<bool> {
    Ok(one_text(client, "SELECT op_no FROM steward._operation WHERE op_no = $1", &[op_no.into()])?.is_some())
}

/// Steps that met a locked row: the newest of their kind, with no later line that has a status. Of an operation that ends
/// in another way, or was run since, nothing is asked any more.
const PUT_OFF: &str = "SELECT e.op_no, e.event, (e.details ->> 'put_off')::int8, e.person, e.login
    FROM steward._operation o JOIN steward._operation_event e ON e.op_no = o.op_no
    WHERE o.status IN ('submitted', 'approved', 'failed') AND e.event IN ('FAIL', 'EXPIRE') AND e.details ? 'put_off'
        AND NOT EXISTS (SELECT FROM steward._operation_event d
            WHERE d.op_no = e.op_no AND d.event = e.event AND d.n > e.n)
    ORDER BY e.n";

/// Tries them again; true: there were some, which may be locked still.
pub fn catch_up(client: &mut SpiClient<'_>) -> Outcome<bool> {
    let mut steps = Vec::new();
    for row in own::select(client, PUT_OFF, &[])? {
        let text = |column: usize| row.get::<String>(column);
        let (op_no, event) = (text(1)?.unwrap_or_default(), text(2)?.unwrap_or_default());
        steps.push((op_no, event, row.get::<i64>(3)?.unwrap_or(0), text(4)?, text(5)?.unwrap_or_default()));
    }
    for (op_no, event, at, person, login) in &steps {
        let step = Step { op_no, event, at: *at, person: person.as_deref(), login };
        match step.take(client)? {
            Taken::Yes(status) => step.tell(client, json!({ "status": status.name() }))?,
            // So that it is not looked at again.
            Taken::Needless => step.tell(client, json!({ "needless": true }))?,
            Taken::Locked => {}
        }
    }
    Ok(!steps.is_empty())
}

/// Something that happened to an operation.
struct Step<'a> {
    op_no: &'a str,
    event: &'a str,
    /// When: microseconds since 2000-01-01 UTC.
    at: i64,
    person: Option<&'a str>,
    login: &'a str,
}

enum Taken {
    Yes(Status),
    /// It is no legal move any more, or there is no such operation.
    Needless,
    /// Somebody's transaction holds the row.
    Locked,
}

impl Step<'_> {
    fn take(&self, client: &mut SpiClient<'_>) -> Outcome<Taken> {
        // A run that succeeded later says more than the failure before it.
        let read = "SELECT status, runs_done > 0, review_due IS NOT NULL, not_after <= clock_timestamp(),
                executed_at > timestamptz '2000-01-01 00:00:00+00' + $2 * interval '1 microsecond'
            FROM steward._operation WHERE op_no = $1 FOR NO KEY UPDATE SKIP LOCKED";
        let found = own::query(client, read, &[self.op_no.into(), self.at.into()])?.next();
        let Some(row) = found else {
            return Ok(if is_known(client, self.op_no)? { Taken::Locked } else { Taken::Needless });
        };
        let past = match (row.get(2)?, row.get(3)?) {
            (Some(true), Some(true)) => Past::ReviewOwed,
            (Some(true), _) => Past::Settled,
            _ => Past::Unused,
        };
        let (event, asked) = match self.event {
            EXPIRE => (Event::Expire(past), row.get(4)? == Some(true)),
            _ => (Event::Fail, row.get(5)? != Some(true)),
        };
        let status: Option<String> = row.get(1)?;
        let status = status.as_deref().and_then(Status::from_name).filter(|_| asked);
        let Some(status) = status.and_then(|status| next(status, event)) else { return Ok(Taken::Needless) };
        let update = "UPDATE steward._operation SET status = $2 WHERE op_no = $1";
        own::execute(client, update, &[self.op_no.into(), status.name().into()])?;
        Ok(Taken::Yes(status))
    }

    fn tell(&self, client: &mut SpiClient<'_>, details: Value) -> Outcome<()> {
        let Step { op_no, event, person, login, .. } = *self;
        Entry { op_no, event, person, login, comment: None, digest: None, details: Some(details) }.write(client)
    }
}
