//! What others say to an operation before it runs: approve, reject, confirm; and the applicant's taking it back.

use super::checklist::{self, Due};
use super::{Entry, Operation, actor, denied, dependency, numbered, own_act, push, require_factor, signer};
use crate::core::operation::{Event, Status, Step};
use crate::core::script::hex;
use crate::error::{Fault, Outcome, answer};
use crate::person::{legible, required};
use crate::{cache::Person, own, session};
use pgrx::prelude::*;
use serde_json::json;

#[pg_extern(sql = false)]
fn approve(op_no: Option<&str>, digest: Option<&str>, comment: Option<&str>) {
    answer((|| {
        let op_no = numbered(op_no)?;
        legible("comment", comment.unwrap_or(""))?;
        let approver = signer::approver(op_no)?;
        own_act("APPROVE", op_no)?;
        let operation = Operation::lock(op_no)?;
        require_factor("APPROVE", op_no, operation.tier, &approver)?;
        operation.check_digest("APPROVE", digest.unwrap_or(""))?;
        if operation.run_as.is_none() {
            return Err(Fault::wrong_state(format!("{op_no} has no script to approve"))
                .detail("A second person confirms an emergency; nobody approves one."));
        }
        let step = operation.approving(&approver);
        operation.separate(step, "APPROVE", &approver)?;
        operation.check_frozen()?;
        dependency::check(&operation)?;
        let vote = operation.vote(&approver)?;
        let status = operation.after(vote.event, "approved")?;
        checklist::require(&operation, Due::Approve, Some(&approver))?;
        vote.check(&operation, &approver)?;
        let event = if step == Step::Renew { "RENEW" } else { "APPROVE" };
        write_down(&operation, event, &approver, status, comment, "")
    })())
}

#[pg_extern(sql = false)]
fn reject(op_no: Option<&str>, comment: Option<&str>) {
    answer((|| {
        let op_no = numbered(op_no)?;
        let comment = required("comment", comment)?;
        let approver = actor("REJECT", op_no, "approve")?;
        let operation = Operation::lock(op_no)?;
        operation.separate(Step::Reject, "REJECT", &approver)?;
        let status = operation.after(Event::Reject(operation.past()), "rejected")?;
        write_down(&operation, "REJECT", &approver, status, Some(comment), "")
    })())
}

#[pg_extern(sql = false)]
fn cancel(op_no: Option<&str>) {
    answer((|| {
        let op_no = numbered(op_no)?;
        let operation = Operation::lock(op_no)?;
        let person = session::person().filter(|person| person.usable());
        let person = person.filter(|person| person.name == operation.parts.applicant || person.may("configure"));
        let Some(person) = person else {
            return Err(denied("CANCEL", op_no, format!("cancel refused: {op_no} is somebody else's operation"))
                .detail(format!("{} filed it.", operation.parts.applicant)));
        };
        let status = operation.after(Event::Cancel(operation.past()), "cancelled")?;
        write_down(&operation, "CANCEL", &person, status, None, "")
    })())
}

#[pg_extern(sql = false)]
fn confirm(op_no: Option<&str>, digest: Option<&str>, step: Option<i32>) {
    answer((|| {
        let op_no = numbered(op_no)?;
        let witness = actor("CONFIRM", op_no, "witness")?;
        own_act("CONFIRM", op_no)?;
        let operation = Operation::lock(op_no)?;
        require_factor("CONFIRM", op_no, operation.tier, &witness)?;
        operation.check_digest("CONFIRM", digest.unwrap_or(""))?;
        operation.separate(Step::Confirm, "CONFIRM", &witness)?;
        operation.check_frozen()?;
        dependency::check(&operation)?;
        let status = operation.after(Event::Confirm, "confirmed")?;
        if !operation.witness_needed() {
            return Err(Fault::wrong_state(format!("{op_no} needs no second person"))
                .detail(format!("The policy for {} operations demands none.", operation.tier.name())));
        }
        operation.check_step(step)?;
        checklist::require(&operation, Due::Approve, None)?;
        write_down(
            &operation,
            "CONFIRM",
            &witness,
            status,
            None,
            ", confirmed_by = $3, confirmed_at = clock_timestamp(), confirmed_step = runs_done + 1",
        )
    })())
}

/// The new status, the line of the trail and the record. `also`: further columns; `$3` is the person.
fn write_down(
    operation: &Operation,
    event: &str,
    person: &Person,
    status: Status,
    comment: Option<&str>,
    also: &'static str,
) -> Outcome<()> {
    let told = |details| if event == "CONFIRM" { operation.told(details) } else { details };
    own::run(|client| {
        // Always an update, so that a transaction with an older snapshot notices the step.
        let update =
            format!("UPDATE steward._operation SET status = $2{also} WHERE op_no = $1 AND $3::text IS NOT NULL");
        own::execute(
            client,
            &update,
            &[operation.op_no.as_str().into(), status.name().into(), person.name.as_str().into()],
        )?;
        Entry {
            op_no: &operation.op_no,
            event,
            person: Some(&person.name),
            login: &session::login_name(),
            comment,
            digest: Some(&operation.digest),
            details: Some(told(json!({ "status": status.name() }))),
        }
        .write(client)?;
        operation.reseal(client, status, true)
    })?;
    let details = json!({ "digest": hex(&operation.digest), "status": status.name(), "comment": comment });
    push(event, operation, told(details));
    Ok(())
}
