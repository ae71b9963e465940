//! Checklists (manual 9.1, 9.2): a stage of an operation does not advance while a box that is due there is open. Persons
//! answer their own boxes; the others are filled with facts (`proof`). Once a run waits for its review, whoever reviews it
//! may say why a box is not filled that nobody can fill any more. An answer is a line of the trail, so nothing overwrites
//! one; which of them counts is said here.

use super::signer;
use super::{Entry, Operation, denied, numbered, own_act, person_named, proof, push, require_factor};
use crate::cache::Person;
use crate::core::operation::{Past, Status, Step, conflict};
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
    /// Whoever reviews said it, in the place of those who cannot.
    instead: bool,
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

/// The last answer of each person to each box. What a reviewer said of one run says nothing of the next.
const GIVEN: &str = "SELECT DISTINCT ON (details ->> 'box', person) details ->> 'box', person, details ->> 'answer' <> 'no',
        details ? 'runs'
    FROM steward._operation_event WHERE op_no = $1 AND event = 'ANSWER' AND coalesce((details ->> 'runs')::bigint = $2, true)
    ORDER BY details ->> 'box', person, n DESC";

fn given(client: &mut SpiClient<'_>, operation: &Operation) -> Outcome<Vec<Given>> {
    let mut given = Vec::new();
    let arguments = [operation.op_no.as_str().into(), i64::from(operation.runs_done).into()];
    for row in own::query(client, GIVEN, &arguments)? {
        given.push(Given {
            name: row.get::<String>(1)?.unwrap_or_default(),
            person: row.get(2)?,
            filled: row.get::<bool>(3)?.unwrap_or(false),
            instead: row.get::<bool>(4)?.unwrap_or(false),
        });
    }
    Ok(given)
}

/// Refuses the step while boxes are open that are due with it or were due before; fills those that a fact proves.
/// `approver`: who approves, and must have answered an approver's boxes themselves.
pub fn require(operation: &Operation, due: Due, approver: Option<&Person>) -> Outcome<()> {
    let (boxes, given) = own::run(|client| Ok((boxes(client, &operation.op_no)?, given(client, operation)?)))?;
    let counts = |name: &str, who: &str| match approver {
        _ if who != "approver" => true,
        Some(approver) => approver.name == name,
        None => operation.parts.approvers.iter().any(|known| known == name),
    };
    let mut open = Vec::new();
    for one in boxes.iter().filter(|one| one.due <= due) {
        let who = one.who.as_deref().unwrap_or_default();
        let answers = || given.iter().filter(|given| given.name == one.name && given.filled);
        if answers().any(|given| given.instead || given.person.as_deref().is_none_or(|person| counts(person, who))) {
            continue;
        }
        match fact(operation, one)? {
            Some(fact) => write_down(operation, &one.name, "yes", None, Some(&fact), false)?,
            None => open.push(one),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(still_open(operation, &open)?) }
}

/// What proves a box, if anything does.
fn fact(operation: &Operation, one: &Asked) -> Outcome<Option<String>> {
    Ok(one.proof.as_deref().map(|proof| proof::of(operation, proof)).transpose()?.flatten())
}

fn still_open(operation: &Operation, open: &[&Asked]) -> Outcome<Fault> {
    let op_no = &operation.op_no;
    let whose = |one: &Asked| match one.who.as_deref() {
        None if one.proof.as_deref() == Some("chained") => "the system, or whoever reviews, with a reason".to_owned(),
        _ if !can_still_be_filled(operation, one) => "whoever reviews, with a reason".to_owned(),
        who => who.unwrap_or("the system").to_owned(),
    };
    let listed: Vec<String> =
        open.iter().map(|one| format!("{} ({}) by {}", one.name, one.label, whose(one))).collect();
    Ok(Fault::wrong_state(format!("{op_no} has open boxes in its checklist"))
        .detail(format!("Open: {}.", listed.join("; ")))
        .hint(next(operation, open)?))
}

/// The caller's own box first; else somebody's who can still fill it; else what shows why a fact is wanting.
fn next(operation: &Operation, open: &[&Asked]) -> Outcome<String> {
    let call =
        |one: &Asked, answer| format!("SELECT steward.answer('{}', '{}', '{answer}', '…');", operation.op_no, one.name);
    let answerable = || open.iter().filter(|one| one.proof.as_deref() != Some("chained"));
    if let Some(caller) = session::person().filter(|person| person.usable()) {
        for one in answerable() {
            match may_answer(operation, one, &caller)? {
                Some(Stead::Reviewer) => return Ok(call(one, "not_applicable")),
                Some(Stead::Own) if can_still_be_filled(operation, one) => return Ok(call(one, "yes")),
                _ => (),
            }
        }
    }
    let proof = || proof::next(open.first().and_then(|one| one.proof.as_deref()).unwrap_or_default()).to_owned();
    let by_person = answerable().find(|one| one.who.is_some() && can_still_be_filled(operation, one));
    Ok(by_person.map_or_else(proof, |one| format!("By {}: {}", whom(operation, one), call(one, "yes"))))
}

/// Who is meant by a box, for those for whom it is not.
fn whom(operation: &Operation, one: &Asked) -> String {
    match (one.who.as_deref(), &operation.parts.witness) {
        (Some("applicant"), _) => format!("{}, who has applied", operation.parts.applicant),
        (Some("witness"), Some(witness)) => format!("{witness}, who has confirmed"),
        (Some("witness"), None) => "a second person".to_owned(),
        _ => "an approver".to_owned(),
    }
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
        operation.check_sealed("ANSWER")?;
        require_factor("ANSWER", op_no, operation.tier, &person)?;
        let (boxes, given) = own::run(|client| Ok((boxes(client, op_no)?, given(client, &operation)?)))?;
        let Some(one) = boxes.iter().find(|one| one.name == name) else { return Err(no_box(op_no, name)?) };
        let instead = check_whose(&operation, one, &person)? == Stead::Reviewer;
        if instead && answer == Some("yes") {
            return Err(Fault::bad_argument("whoever reviews answers no or not_applicable, and why")
                .detail("Nobody can say any more that it was so."));
        }
        if !instead {
            check_stage(&operation, one, &person, &given)?;
        }
        write_down(&operation, name, answer.unwrap_or_default(), Some(&person), comment, instead)
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

/// As whom somebody answers a box.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stead {
    Own,
    /// In the place of those who cannot fill it any more.
    Reviewer,
}

/// Nobody answers another's box, but that whoever reviews a run answers those which nobody can fill any more.
fn may_answer(operation: &Operation, one: &Asked, person: &Person) -> Outcome<Option<Stead>> {
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
    let reviewer = person.may("approve") && conflict(Step::Review, name, parts).is_none();
    let instead = reviewer && waits_for_review(operation) && !can_still_be_filled(operation, one);
    if instead && fact(operation, one)?.is_none() {
        return Ok(Some(Stead::Reviewer));
    }
    Ok(theirs.then_some(Stead::Own))
}

fn check_whose(operation: &Operation, one: &Asked, person: &Person) -> Outcome<Stead> {
    if let Some(stead) = may_answer(operation, one, person)? {
        return Ok(stead);
    }
    let whose = one.who.as_deref().map_or("a fact alone fills it".to_owned(), |who| format!("it is the {who}'s"));
    Err(denied("ANSWER", &operation.op_no, format!("answer refused: the box \"{}\" is not theirs", one.name))
        .detail(format!("{} cannot answer it; {whose}.", person.name)))
}

/// A run is over, and somebody has to look at it.
fn waits_for_review(operation: &Operation) -> bool {
    operation.runs_done > 0
        && match operation.standing() {
            Status::Executed => true,
            Status::Approved | Status::Failed => operation.past() == Past::ReviewOwed,
            _ => false,
        }
}

/// Whether there is still somebody who can answer a box. A fact that is wanting after the run will not come any more, but
/// for the chain.
fn can_still_be_filled(operation: &Operation, one: &Asked) -> bool {
    let there = |name: &String| person_named(name).is_some_and(|person| person.usable());
    match one.who.as_deref() {
        None => !waits_for_review(operation),
        _ if one.due < Due::Review => operation.standing() != Status::Executed,
        Some("applicant") => there(&operation.parts.applicant),
        Some("witness") => operation.parts.witness.as_ref().is_none_or(there),
        _ => true,
    }
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
    if one.due < Due::Review {
        operation.check_frozen()?;
    }
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

/// The line of the trail and the record. No person: the system, with the fact. `instead`: whoever reviews, of the runs that
/// there were.
fn write_down(
    operation: &Operation,
    name: &str,
    answer: &str,
    person: Option<&Person>,
    comment: Option<&str>,
    instead: bool,
) -> Outcome<()> {
    let mut details = json!({ "box": name, "answer": answer });
    if instead {
        details["runs"] = json!(operation.runs_done);
    }
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
        .write(client)?;
        operation.reseal(client, operation.status, person.is_some())
    })?;
    let by = match person {
        _ if instead => "reviewer",
        Some(_) => "person",
        None => "system",
    };
    push(
        "ANSWER",
        operation,
        json!({ "box": name, "answer": answer, "by": by, "comment": comment, "digest": hex(&operation.digest) }),
    );
    Ok(())
}
