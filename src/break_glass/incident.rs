//! The manual's record of an emergency (appendix C): whoever opened a window tells what happened, how it was dealt with and
//! how it ended, and whoever reviews the window confirms that. Incidents without a window: `register::incident`. Never here: the number and the time to the response, which
//! nobody types; the view `steward.incident` computes them.

use crate::cache::Person;
use crate::core::form::NAME;
use crate::error::{Fault, Outcome, answer};
use crate::operation::form::{INCIDENT, checked};
use crate::operation::{Entry, Operation, denied, numbered, own_act, person_named, push, require_factor};
use crate::person::one_text;
use crate::{own, register, session};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Map, Value};

/// Its step in records and in the trail.
const REPORT: &str = "REPORT INCIDENT";
const EXAMPLE: &str = "SELECT steward.report_incident('OP-…', '{\"occurred_at\": \"…\", \"level\": \"major\", \"description\": \"…\", \"process\": \"…\", \"result\": \"success\"}');";

#[pg_extern(sql = false)]
fn report_incident(op_no: Option<&str>, form: Option<JsonB>) {
    answer(report(op_no, form))
}

fn report(op_no: Option<&str>, form: Option<JsonB>) -> Outcome<()> {
    let op_no = numbered(op_no)?;
    let Some(JsonB(Value::Object(mut values))) = form else {
        return Err(Fault::bad_argument("a form is a JSON object").hint(EXAMPLE));
    };
    if values.remove(NAME).is_some_and(|name| name != INCIDENT) {
        return Err(Fault::bad_argument(format!("an emergency is reported with the form {INCIDENT}")).hint(EXAMPLE));
    }
    if register::incident::is_number(op_no) {
        return register::incident::report(op_no, values);
    }
    let person = session::person().filter(|person| person.usable());
    let person =
        person.ok_or_else(|| denied(REPORT, op_no, "report refused: nobody stands behind this login".to_owned()))?;
    own_act("REPORT_INCIDENT", op_no)?;
    let operation = Operation::lock(op_no)?;
    check_whose(&operation, &person)?;
    require_factor(REPORT, op_no, operation.tier, &person)?;
    let values = checked(INCIDENT, values, &[])?;
    check_time(op_no, &values)?;
    own::run(|client| {
        Entry {
            op_no,
            event: REPORT,
            person: Some(&person.name),
            login: &session::login_name(),
            comment: None,
            digest: Some(&operation.digest),
            details: Some(Value::Object(values.clone())),
        }
        .write(client)
    })?;
    push(REPORT, &operation, Value::Object(values));
    Ok(())
}

/// Who dealt with it tells of it; for somebody who is gone, whoever sets the policy up.
fn check_whose(operation: &Operation, person: &Person) -> Outcome<()> {
    let applicant = &operation.parts.applicant;
    let gone = person_named(applicant).is_none_or(|applicant| !applicant.usable());
    let witness = operation.parts.witness.as_ref() == Some(&person.name);
    if *applicant == person.name || gone && !witness && person.may("configure") {
        return Ok(());
    }
    Err(denied(REPORT, &operation.op_no, "report refused: the emergency is somebody else's".to_owned())
        .detail(format!("{applicant} asked for it, and tells what happened.")))
}

/// It begins before the window that is the response to it, which waits for its review.
fn check_time(op_no: &str, values: &Map<String, Value>) -> Outcome<()> {
    let occurred = values.get("occurred_at").and_then(Value::as_str).unwrap_or_default();
    let known = "SELECT coalesce(isfinite($2::timestamptz) AND $2::timestamptz <= executed_at, false)::text
        FROM steward._operation WHERE op_no = $1 AND origin = 'break_glass' AND status = 'executed'";
    match own::run(|client| one_text(client, known, &[op_no.into(), occurred.into()]))?.as_deref() {
        Some("true") => Ok(()),
        Some(_) => Err(Fault::bad_argument("form incident: field \"occurred_at\" is later than the response")
            .detail("The emergency window is the response, and it opened before that.")
            .hint(format!("SELECT executed_at FROM steward.show('{op_no}');"))),
        None => Err(Fault::wrong_state(format!("{op_no} is no emergency that waits for its review"))
            .hint("SELECT op_no, status FROM steward.operation WHERE origin = 'break_glass';")),
    }
}

/// Asked before a window is accepted: it is reported, if the policy demands that, and not by its reviewer.
pub fn check(op_no: &str, reviewer: &Person) -> Outcome<()> {
    let told = "SELECT person FROM steward._operation_event WHERE op_no = $1 AND event = $2 ORDER BY n DESC LIMIT 1";
    // No row: the policy is damaged, and what is unknown is demanded.
    let free = "SELECT form FROM steward.form_policy WHERE form = $1 AND NOT demanded";
    let (handler, demanded) = own::run(|client| {
        let handler = one_text(client, told, &[op_no.into(), REPORT.into()])?;
        Ok((handler, one_text(client, free, &[INCIDENT.into()])?.is_none()))
    })?;
    match handler {
        Some(handler) if handler == reviewer.name => {
            Err(denied("REVIEW", op_no, "review refused: a person acts in one step of an operation".to_owned())
                .detail(format!("{handler} has reported the emergency; somebody else confirms that.")))
        }
        None if demanded => Err(Fault::wrong_state(format!("the form {INCIDENT} of {op_no} is missing"))
            .detail("An emergency is accepted once it is told what happened (manual, appendix C).")
            .hint(format!("Whoever opened it: {}", EXAMPLE.replace("OP-…", op_no)))),
        _ => Ok(()),
    }
}
