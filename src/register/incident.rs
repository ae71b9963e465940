//! Incidents that are no emergency windows: opened by a major alert or by a person, taken in hand by somebody, reported by
//! that person with the form of appendix C, confirmed by another. Never here: the minutes to the response, which nobody
//! types; the view `steward.incident` computes them.

use super::{actor, note, refused, sees};
use crate::alert::answer::own_act;
use crate::cache::Person;
use crate::core::register::lower;
use crate::error::{Fault, Outcome, answer};
use crate::operation::form::{INCIDENT, checked};
use crate::operation::person_named;
use crate::own;
use crate::person::{one_text, required};
use crate::session;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};

/// How numbers begin.
const PREFIX: &str = "INC-";

/// Whether a number is one of these incidents'.
pub fn is_number(text: &str) -> bool {
    text.starts_with(PREFIX)
}

fn id_of(number: &str) -> Outcome<i64> {
    let id = number.strip_prefix(PREFIX).and_then(|digits| digits.parse().ok());
    id.ok_or_else(|| unknown(number))
}

fn unknown(number: &str) -> Fault {
    Fault::unknown(format!("there is no incident \"{number}\""))
        .hint("SELECT incident_no, level, description, status FROM steward.incident;")
}

const OPEN: &str = "INSERT INTO steward._incident (level, description, occurred_at, opened_by)
    SELECT $1, $2, t, $4 FROM (SELECT coalesce($3, clock_timestamp()) AS t) given
    WHERE t BETWEEN clock_timestamp() - interval '7 days' AND clock_timestamp() RETURNING id::text";

#[pg_extern(sql = false)]
fn open_incident(level: Option<&str>, description: Option<&str>, occurred_at: Option<TimestampWithTimeZone>) -> String {
    answer((|| {
        let function = "open_incident";
        let person = actor(function)?;
        let level = required("level", level)?;
        if lower(level, "general") {
            return Err(Fault::bad_argument(format!("\"{level}\" is no level")).hint("general, important or major"));
        }
        let row = [
            level.into(),
            required("description", description)?.into(),
            occurred_at.into(),
            person.name.as_str().into(),
        ];
        let id = own::run(|client| one_text(client, OPEN, &row))?;
        let id = id.ok_or_else(|| Fault::bad_argument("occurred_at must lie within the last 7 days"))?;
        let number = format!("{PREFIX}{id}");
        note(function, &number, json!({ "incident": number, "level": level }));
        Ok(number)
    })())
}

/// An incident as it stands, locked.
struct Standing {
    id: i64,
    level: String,
    /// Who has it in hand.
    responder: Option<String>,
    handler: Option<String>,
    opened_by: Option<String>,
    /// Whom the alert is about that has opened it.
    subject: Option<String>,
    confirmed: bool,
}

const STANDING: &str =
    "SELECT i.level, coalesce(i.responder, a.acknowledged_by), i.handler, i.opened_by, i.confirmed_at IS NOT NULL, a.subject
    FROM steward._incident i LEFT JOIN steward._alert a ON a.id = i.alert_id WHERE i.id = $1 FOR UPDATE OF i";

impl Standing {
    fn lock(number: &str) -> Outcome<Standing> {
        let id = id_of(number)?;
        own::lock("SELECT FROM steward._incident WHERE id = $1 FOR UPDATE", &[id.into()], "steward._incident")?;
        own::run(|client| {
            let row = own::query(client, STANDING, &[id.into()])?.next().ok_or_else(|| unknown(number))?;
            Ok(Standing {
                id,
                level: row.get(1)?.unwrap_or_default(),
                responder: row.get(2)?,
                handler: row.get(3)?,
                opened_by: row.get(4)?,
                confirmed: row.get(5)?.unwrap_or(true),
                subject: row.get(6)?,
            })
        })
    }

    /// As of an alert: who is suspected neither tells what happened nor says that the tale is true.
    fn not_about(&self, function: &str, person: &Person) -> Outcome<()> {
        match &self.subject {
            Some(subject) if *subject == person.name || *subject == session::login_name() => {
                Err(refused(function, "the incident is about you").detail("Somebody else must look into it."))
            }
            _ => Ok(()),
        }
    }
}

const RESPOND: &str = "UPDATE steward._incident SET responded_at = clock_timestamp(), responder = $2 WHERE id = $1
    RETURNING round(extract(epoch FROM responded_at - occurred_at) / 60, 1)::float8";

#[pg_extern(sql = false)]
fn respond_to_incident(incident_no: Option<&str>) -> f64 {
    answer((|| {
        let function = "respond_to_incident";
        let number = required("incident_no", incident_no)?;
        let person = actor(function)?;
        own_act(function)?;
        let standing = Standing::lock(number)?;
        if !sees(&person) && !person.may("break_glass") && standing.opened_by.as_ref() != Some(&person.name) {
            return Err(refused(function, "the incident is somebody else's to deal with")
                .detail("It takes one of the capabilities audit, approve, configure and break_glass."));
        }
        if let Some(responder) = &standing.responder {
            return Err(Fault::wrong_state(format!("{responder} has {number} in hand"))
                .hint("SELECT incident_no, responder, status FROM steward.incident;"));
        }
        if standing.opened_by.is_none() {
            return Err(Fault::wrong_state(format!("an alert has opened {number}, and waits for its acknowledgement"))
                .hint("SELECT steward.acknowledge(id, '…');"));
        }
        let row = [standing.id.into(), person.name.as_str().into()];
        let minutes = own::run(|client| Ok(own::query(client, RESPOND, &row)?.first().get_one::<f64>()?))?;
        note(function, number, json!({ "incident": number, "minutes": minutes }));
        Ok(minutes.unwrap_or(0.0))
    })())
}

/// What a report says makes an incident neither later nor lesser than it is known to be.
const REPORT: &str = "UPDATE steward._incident i SET form = $2, handler = $3, handled_at = clock_timestamp(), level = $2 ->> 'level',
        occurred_at = least(occurred_at, ($2 ->> 'occurred_at')::timestamptz)
    WHERE id = $1 AND isfinite(($2 ->> 'occurred_at')::timestamptz) AND ($2 ->> 'occurred_at')::timestamptz
        <= coalesce(responded_at, (SELECT acknowledged_at FROM steward._alert a WHERE a.id = i.alert_id)) RETURNING id::text";

/// The report of appendix C, by whoever has the incident in hand.
pub fn report(number: &str, values: Map<String, Value>) -> Outcome<()> {
    let function = "report_incident";
    let person = actor(function)?;
    own_act(function)?;
    let standing = Standing::lock(number)?;
    standing.not_about(function, &person)?;
    check_whose(&standing, &person)?;
    if standing.confirmed {
        return Err(Fault::wrong_state(format!("{number} is confirmed"))
            .hint("SELECT incident_no, status FROM steward.incident;"));
    }
    let values = checked(INCIDENT, values, &[])?;
    let level = values.get("level").and_then(Value::as_str).unwrap_or_default();
    if lower(level, &standing.level) {
        return Err(Fault::bad_argument(format!("form incident: {number} is {}, not {level}", standing.level))
            .detail("A report makes the level of an incident not lower."));
    }
    let row = [standing.id.into(), pgrx::JsonB(Value::Object(values.clone())).into(), person.name.as_str().into()];
    own::run(|client| one_text(client, REPORT, &row))?.ok_or_else(|| {
        Fault::bad_argument("form incident: field \"occurred_at\" is later than the response")
            .hint("SELECT incident_no, responded_at FROM steward.incident;")
    })?;
    note(function, number, json!({ "incident": number, "form": values }));
    Ok(())
}

/// Who has it in hand tells of it; for somebody who is gone, whoever sets the policy up.
fn check_whose(standing: &Standing, person: &Person) -> Outcome<()> {
    let Some(responder) = &standing.responder else {
        return Err(Fault::wrong_state("nobody has the incident in hand")
            .hint(format!("SELECT steward.respond_to_incident('{PREFIX}{}');", standing.id)));
    };
    let gone = person_named(responder).is_none_or(|responder| !responder.usable());
    if *responder == person.name || gone && person.may("configure") {
        return Ok(());
    }
    Err(refused("report_incident", "the incident is somebody else's")
        .detail(format!("{responder} has it in hand, and tells what happened.")))
}

#[pg_extern(sql = false)]
fn confirm_incident(incident_no: Option<&str>) {
    answer((|| {
        let function = "confirm_incident";
        let number = required("incident_no", incident_no)?;
        let person = actor(function)?;
        own_act(function)?;
        let standing = Standing::lock(number)?;
        standing.not_about(function, &person)?;
        let part = [&standing.handler, &standing.responder].contains(&&Some(person.name.clone()));
        if !sees(&person) || part {
            return Err(refused(function, "somebody else confirms it")
                .detail("It takes one of the capabilities audit, approve and configure, and another person than who dealt with it."));
        }
        if standing.handler.is_none() || standing.confirmed {
            return Err(Fault::wrong_state(format!("{number} does not wait for a confirmation"))
                .hint("SELECT incident_no, status FROM steward.incident;"));
        }
        let change = "UPDATE steward._incident SET confirmer = $2, confirmed_at = clock_timestamp() WHERE id = $1";
        let row = [standing.id.into(), person.name.as_str().into()];
        own::run(|client| own::execute(client, change, &row))?;
        note(function, number, json!({ "incident": number, "handler": standing.handler }));
        Ok(())
    })())
}
