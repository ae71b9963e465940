//! Checklists (manual 9.1, 9.2): a stage of an operation does not advance while a box that is due there is open. Persons
//! answer their own boxes; the others are filled with facts (`proof`). An answer is a line of the trail, so nothing
//! overwrites one; which of them counts is said here.

use super::signer;
use super::{Entry, Operation, denied, numbered, own_act, proof, push, require_factor};
use crate::cache::Person;
use crate::core::operation::Status;
use crate::core::script::hex;
use crate::error::{Fault, Outcome, answer as reply};
use crate::person::{legible, one_text, required};
use crate::{own, session};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

/// The call that is refused while a box is open, in the order of an operation's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Approve,
    Execute,
    Review,
}

/// A box that is demanded of an operation.
struct Asked {
    name: String,
    label: String,
    due: Due,
    who: Option<String>,
    proof: Option<String>,
}

/// A box that somebody answered; no person: the system.
struct Given {
    name: String,
    person: Option<String>,
    filled: bool,
}

const BOXES: &str = "SELECT c.box, c.label_zh, c.due, c.who, c.proof FROM steward._operation o
    JOIN steward.checklist_policy p ON p.demanded AND p.tier = o.tier AND (p.rules IS NULL OR p.rules && (o.matched_rules || o.rule))
    JOIN steward.checklist c ON c.list = p.list
    WHERE o.op_no = $1 AND o.origin = 'request' ORDER BY c.list DESC, c.line";

fn boxes(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<Vec<Asked>> {
    let mut boxes = Vec::new();
    for row in own::query(client, BOXES, &[op_no.into()])? {
        boxes.push(Asked {
            name: row.get::<String>(1)?.unwrap_or_default(),
            label: row.get::<String>(2)?.unwrap_or_default(),
            due: match row.get::<String>(3)?.as_deref() {
                Some("approve") => Due::Approve,
                Some("execute") => Due::Execute,
                _ => Due::Review,
            },
            who: row.get(4)?,
            proof: row.get(5)?,
        });
    }
    Ok(boxes)
}

/// The last answer of each person to each box.
const GIVEN: &str =
    "SELECT DISTINCT ON (details ->> 'box', person) details ->> 'box', person, details ->> 'answer' <> 'no'
    FROM steward._operation_event WHERE op_no = $1 AND event = 'ANSWER' ORDER BY details ->> 'box', person, n DESC";

fn given(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<Vec<Given>> {
    let mut given = Vec::new();
    for row in own::query(client, GIVEN, &[op_no.into()])? {
        given.push(Given {
            name: row.get::<String>(1)?.unwrap_or_default(),
            person: row.get(2)?,
            filled: row.get::<bool>(3)?.unwrap_or(false),
        });
    }
    Ok(given)
}

/// Refuses the step while boxes are open that are due with it or were due before; fills those that a fact proves.
/// `approver`: who approves, and must have answered an approver's boxes themselves.
pub fn require(operation: &Operation, due: Due, approver: Option<&Person>) -> Outcome<()> {
    let (boxes, given) = own::run(|client| Ok((boxes(client, &operation.op_no)?, given(client, &operation.op_no)?)))?;
    let counts = |name: &str, who: &str| match approver {
        _ if who != "approver" => true,
        Some(approver) => approver.name == name,
        None => operation.parts.approvers.iter().any(|known| known == name),
    };
    let mut open = Vec::new();
    for one in boxes.iter().filter(|one| one.due <= due) {
        let who = one.who.as_deref().unwrap_or_default();
        let answers = || given.iter().filter(|given| given.name == one.name && given.filled);
        if answers().any(|given| given.person.as_deref().is_none_or(|person| counts(person, who))) {
            continue;
        }
        let fact = one.proof.as_deref().map(|proof| proof::of(operation, proof)).transpose()?.flatten();
        match fact {
            Some(fact) => write_down(operation, &one.name, "yes", None, Some(&fact))?,
            None => open.push(one),
        }
    }
    let Some(first) = open.first() else { return Ok(()) };
    let listed: Vec<String> = open
        .iter()
        .map(|one| format!("{} ({}) by {}", one.name, one.label, one.who.as_deref().unwrap_or("the system")))
        .collect();
    let next = open.iter().find(|one| one.who.is_some()).unwrap_or(first);
    Err(Fault::wrong_state(format!("{} has open boxes in its checklist", operation.op_no))
        .detail(format!("Open: {}.", listed.join("; ")))
        .hint(match next.who {
            Some(_) => format!("SELECT steward.answer('{}', '{}', 'yes', '…');", operation.op_no, next.name),
            None => proof::next(next.proof.as_deref().unwrap_or_default()).to_owned(),
        }))
}

#[pg_extern(sql = false)]
fn answer(op_no: Option<&str>, name: Option<&str>, answer: Option<&str>, comment: Option<&str>) {
    reply((|| {
        let op_no = numbered(op_no)?;
        let name = required("box", name)?;
        legible("comment", comment.unwrap_or(""))?;
        let comment = match answer {
            Some("yes") => comment,
            Some("no" | "not_applicable") => Some(required("comment", comment)?),
            _ => return Err(Fault::bad_argument("an answer is yes, no or not_applicable")),
        };
        let person = session::person().filter(|person| person.usable());
        let person = person
            .ok_or_else(|| denied("ANSWER", op_no, "answer refused: nobody stands behind this login".to_owned()))?;
        own_act("ANSWER", op_no)?;
        let operation = Operation::lock(op_no)?;
        operation.check_integrity("ANSWER")?;
        require_factor("ANSWER", op_no, operation.tier, &person)?;
        operation.check_frozen()?;
        let (boxes, given) = own::run(|client| Ok((boxes(client, op_no)?, given(client, op_no)?)))?;
        let Some(one) = boxes.iter().find(|one| one.name == name) else { return Err(no_box(op_no, name)?) };
        check_whose(&operation, one, &person)?;
        check_stage(&operation, one, &person, &given)?;
        write_down(&operation, name, answer.unwrap_or_default(), Some(&person), comment)
    })())
}

fn no_box(op_no: &str, name: &str) -> Outcome<Fault> {
    let known =
        own::run(|client| one_text(client, "SELECT list FROM steward.checklist WHERE box = $1", &[name.into()]))?;
    Ok(match known {
        None => Fault::unknown(format!("there is no box \"{name}\""))
            .hint("SELECT box, label_zh FROM steward.checklist ORDER BY list, line;"),
        Some(list) => Fault::wrong_state(format!("the box \"{name}\" is not demanded of {op_no}"))
            .detail(format!("It belongs to the list {list}."))
            .hint(format!(
                "SELECT * FROM steward.operation_checklist WHERE op_no = '{op_no}' ORDER BY list DESC, line;"
            )),
    })
}

/// Nobody answers another's box.
fn check_whose(operation: &Operation, one: &Asked, person: &Person) -> Outcome<()> {
    let (name, parts) = (&person.name, &operation.parts);
    let applicant = parts.applicant == *name;
    let approver = parts.approvers.contains(name);
    let theirs = match one.who.as_deref() {
        Some("applicant") => applicant,
        Some("approver") => !applicant && parts.witness.as_ref() != Some(name) && signer::may_sign(operation, person)?,
        Some("witness") => match &parts.witness {
            Some(witness) => witness == name,
            None => !applicant && !approver && person.may("witness"),
        },
        _ => false,
    };
    if theirs {
        return Ok(());
    }
    let whose = one.who.as_deref().map_or("a fact alone fills it".to_owned(), |who| format!("it is the {who}'s"));
    Err(denied("ANSWER", &operation.op_no, format!("answer refused: the box \"{}\" is not theirs", one.name))
        .detail(format!("{name} cannot answer it; {whose}.")))
}

/// An answer that others relied on stands.
fn check_stage(operation: &Operation, one: &Asked, person: &Person, given: &[Given]) -> Outcome<()> {
    let wrong = |detail: &str| {
        Err(Fault::wrong_state(format!("the box \"{}\" of {} cannot be answered now", one.name, operation.op_no))
            .detail(detail.to_owned())
            .hint(format!(
                "SELECT * FROM steward.operation_checklist WHERE op_no = '{}' ORDER BY list DESC, line;",
                operation.op_no
            )))
    };
    let status = operation.standing();
    let open = matches!(status, Status::Submitted | Status::Approved | Status::Failed);
    if !open && status != Status::Executed {
        return wrong(&format!("The operation is {}.", status.name()));
    }
    if one.due == Due::Review && operation.runs_done == 0 {
        return wrong("It is about a run, and nothing has run yet.");
    }
    if one.due < Due::Review && !open {
        return wrong("The operation has run.");
    }
    let relied_on = match one.due {
        Due::Approve if one.who.as_deref() == Some("approver") => operation.parts.approvers.contains(&person.name),
        Due::Approve => !operation.parts.approvers.is_empty(),
        Due::Execute => operation.runs_done > 0,
        Due::Review => false,
    };
    let theirs = |given: &Given| given.person.as_ref().is_none_or(|known| *known == person.name);
    let filled = given.iter().any(|given| given.name == one.name && given.filled && theirs(given));
    if relied_on && filled { wrong("Its stage is over, and an answer is not changed after its stage.") } else { Ok(()) }
}

/// The line of the trail and the record. No person: the system, with the fact.
fn write_down(
    operation: &Operation,
    name: &str,
    answer: &str,
    person: Option<&Person>,
    comment: Option<&str>,
) -> Outcome<()> {
    let details = json!({ "box": name, "answer": answer });
    own::run(|client| {
        Entry {
            op_no: &operation.op_no,
            event: "ANSWER",
            person: person.map(|person| person.name.as_str()),
            login: &session::login_name(),
            comment,
            digest: Some(&operation.digest),
            details: Some(details.clone()),
        }
        .write(client)
    })?;
    let by = if person.is_some() { "person" } else { "system" };
    push(
        "ANSWER",
        operation,
        json!({ "box": name, "answer": answer, "by": by, "comment": comment, "digest": hex(&operation.digest) }),
    );
    Ok(())
}
