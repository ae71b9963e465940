//! How an armed run ends before it was done, as the sequencer writes it down: from the record that the session left behind,
//! after a start of the server, and once more where somebody's transaction held the row of the operation.
//!
//! Never: waiting for a lock. The chain would wait too.

use super::Entry;
use super::arm::DISARM;
use super::{armed, put_off, seal};
use crate::core::operation::{Event, Status, next};
use crate::core::record::Record;
use crate::error::{Fault, Outcome};
use crate::{image, own};
use pgrx::spi::SpiClient;
use serde_json::{Value, json};

/// The sequencer meets the record of a run that ended early.
pub fn on_record(client: &mut SpiClient<'_>, record: &Record) -> Outcome<()> {
    let Some(op_no) = record.op_no.as_deref() else { return Ok(()) };
    let details: Option<Value> = record.details.as_deref().and_then(|details| serde_json::from_str(details).ok());
    let told = |what: &str| details.as_ref().map(|details| &details[what]);
    let end = End {
        op_no,
        begun: told("begun").and_then(Value::as_u64),
        why: told("reason").and_then(Value::as_str).unwrap_or("not told"),
        person: record.person.as_deref(),
        login: &record.user_id,
    };
    if !end.write(client)? {
        end.put_off(client)?;
        put_off::soon();
    }
    Ok(())
}

/// Ends that met a locked row: they are known by their line in the trail, which has no status.
const PUT_OFF: &str = "SELECT e.op_no, (e.details ->> 'begun')::int8, e.comment, e.person, e.login
    FROM steward._operation o JOIN steward._operation_event e ON e.op_no = o.op_no
    WHERE o.armed_in IS NOT NULL AND e.event = 'DISARM' AND NOT e.details ? 'status'
        AND e.n > (SELECT max(n) FROM steward._operation_event a WHERE a.op_no = o.op_no AND a.event = 'ARM')";

/// Tries them again; true: there were some, which may be locked still.
pub fn catch_up(client: &mut SpiClient<'_>) -> Outcome<bool> {
    let ends = own::select(client, PUT_OFF, &[])?;
    let ends: Vec<_> = ends
        .map(|row| -> Outcome<_> {
            let text = |column: usize| row.get::<String>(column);
            Ok((text(1)?.unwrap_or_default(), row.get::<i64>(2)?, text(3)?, text(4)?, text(5)?))
        })
        .collect::<Outcome<_>>()?;
    for (op_no, begun, why, person, login) in &ends {
        let (why, login) = (why.as_deref().unwrap_or_default(), login.as_deref().unwrap_or_default());
        let begun = begun.and_then(|begun| u64::try_from(begun).ok());
        End { op_no, begun, why, person: person.as_deref(), login }.write(client)?;
    }
    Ok(!ends.is_empty())
}

/// After a start of the server: sessions that were armed before it are gone, and nothing tells how far they came.
pub fn recover(client: &mut SpiClient<'_>) -> Outcome<()> {
    let stale = "SELECT op_no FROM steward._operation WHERE armed_in IS DISTINCT FROM $1 AND armed_in IS NOT NULL";
    let stale: Vec<Option<String>> = own::query(client, stale, &[armed::boot().as_str().into()])?
        .map(|row| row.get::<String>(1))
        .collect::<Result<_, _>>()?;
    stale.into_iter().flatten().try_for_each(|op_no| {
        let end = End { op_no: &op_no, begun: None, why: "the server has stopped", person: None, login: "" };
        end.write(client).map(drop)
    })
}

/// An armed run that is over before it was done.
struct End<'a> {
    op_no: &'a str,
    /// How many statements had begun, if that is known: of none, the run is given back.
    begun: Option<u64>,
    why: &'a str,
    person: Option<&'a str>,
    login: &'a str,
}

impl End<'_> {
    /// What an operation is left as whose session is armed no more. One that was taken back meanwhile keeps its status;
    /// what ran is sealed all the same, so that it can be restored. False: somebody's transaction holds its row, who may
    /// end it in another way or not at all.
    fn write(&self, client: &mut SpiClient<'_>) -> Outcome<bool> {
        let op_no = self.op_no;
        let armed = "SELECT FROM steward._operation WHERE op_no = $1 AND armed_in IS NOT NULL";
        let read = "SELECT runs_allowed - runs_done, review_due IS NOT NULL, runs_done, status = 'armed'
            FROM steward._operation WHERE op_no = $1 AND armed_in IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED";
        let row = own::query(client, read, &[op_no.into()])?.first();
        if row.is_empty() {
            return Ok(own::query(client, armed, &[op_no.into()])?.is_empty());
        }
        let give_back = self.begun == Some(0);
        let left = row.get::<i32>(1)?.unwrap_or(0) + i32::from(give_back);
        let (review, run) = (row.get::<bool>(2)?.unwrap_or(true), row.get::<i32>(3)?.unwrap_or(0));
        let event = Event::Disarm { done: false, left: left.max(0) as u32, review };
        let status = next(Status::Armed, event).ok_or_else(|| Fault::internal("an armed run does not end"))?;
        let sealed = seal::state(client, op_no)?;
        let update = match row.get::<bool>(4)? {
            Some(true) => {
                "UPDATE steward._operation SET status = $2, armed_in = NULL, runs_done = runs_done - $3,
                review_due = CASE WHEN runs_done > $3 THEN review_due END WHERE op_no = $1"
            }
            _ => "UPDATE steward._operation SET armed_in = NULL WHERE op_no = $1 AND $2 <> '' AND $3 >= 0",
        };
        own::execute(client, update, &[op_no.into(), status.name().into(), i32::from(give_back).into()])?;
        seal::renew(client, op_no, &sealed, status, false)?;
        let kept = "SELECT NOT EXISTS (SELECT FROM steward.pre_image WHERE op_no = $1 AND run = $2)
            AND (EXISTS (SELECT FROM steward.row_image WHERE op_no = $1 AND run = $2)
                OR EXISTS (SELECT FROM steward.table_image WHERE op_no = $1 AND run = $2))";
        if own::query(client, kept, &[op_no.into(), run.into()])?.first().get_one::<bool>()? == Some(true) {
            image::seal(client, &image::Run { op_no: op_no.to_owned(), number: run })?;
        }
        self.tell(client, json!({ "status": status.name(), "run_given_back": give_back }))?;
        Ok(true)
    }

    /// Its line in the trail, until the row is free.
    fn put_off(&self, client: &mut SpiClient<'_>) -> Outcome<()> {
        self.tell(client, json!({ "begun": self.begun }))
    }

    fn tell(&self, client: &mut SpiClient<'_>, details: Value) -> Outcome<()> {
        Entry {
            op_no: self.op_no,
            event: DISARM,
            person: self.person,
            login: self.login,
            comment: Some(self.why),
            digest: None,
            details: Some(details),
        }
        .write(client)
    }
}
