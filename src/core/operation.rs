//! The life of an operation: which step leads where, and who may take it. Everything here is a fact about numbers and
//! names; what is stored, locked and recorded belongs to `crate::operation`.

use std::collections::BTreeSet;

/// Where an operation stands. The names are those of `steward.operation.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Filed; waits for approvals.
    Submitted,
    /// May be executed, as far as approvals go.
    Approved,
    /// Done; waits for its review.
    Executed,
    /// Nothing is left to do.
    Closed,
    Rejected,
    Cancelled,
    Expired,
    /// The last attempt failed and changed nothing; may be tried again.
    Failed,
    /// A session runs its statements one by one; the run is used up.
    Armed,
}

impl Status {
    pub const ALL: [Status; 9] = [
        Status::Submitted,
        Status::Approved,
        Status::Executed,
        Status::Closed,
        Status::Rejected,
        Status::Cancelled,
        Status::Expired,
        Status::Failed,
        Status::Armed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Status::Submitted => "submitted",
            Status::Approved => "approved",
            Status::Executed => "executed",
            Status::Closed => "closed",
            Status::Rejected => "rejected",
            Status::Cancelled => "cancelled",
            Status::Expired => "expired",
            Status::Failed => "failed",
            Status::Armed => "armed",
        }
    }

    pub fn from_name(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What its earlier runs leave behind when an operation ends before its last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// It never ran.
    Unused,
    /// It ran, and nobody has to look at that.
    Settled,
    /// It ran, and that waits for a review.
    ReviewOwed,
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// One more valid approval: with this one `given` of the `needed`. Zero of zero is the rule's own approval.
    Approve { given: u32, needed: u32 },
    /// An approver says no.
    Reject(Past),
    /// The applicant takes it back.
    Cancel(Past),
    /// Its term is over.
    Expire(Past),
    /// A second person stands by.
    Confirm,
    /// One run succeeded; `left` more are allowed. `review`: somebody has to look at it afterwards.
    Execute { left: u32, review: bool },
    /// One run failed.
    Fail,
    /// A session begins a run whose statements come one by one.
    Arm,
    /// Such a run has ended: all of it was `done`, or what came before stays. `left` more are allowed.
    Disarm { done: bool, left: u32, review: bool },
    /// Somebody looked at what was done.
    Review,
    /// Somebody looked at the runs of a standing operation so far.
    ReviewRuns { accepted: bool },
}

/// The status after an event; None: not a legal move.
pub fn next(status: Status, event: Event) -> Option<Status> {
    use Status::*;
    match (status, event) {
        (Submitted, Event::Approve { given, needed }) if given < needed => Some(Submitted),
        (Submitted, Event::Approve { .. }) => Some(Approved),
        // An approver lost the right in between: the gap may be filled, nothing beyond.
        (Approved | Failed, Event::Approve { given, needed }) if given <= needed => Some(status),
        (Submitted | Approved | Failed, Event::Reject(past)) => Some(end(past, Rejected)),
        (Submitted | Approved | Failed, Event::Cancel(past)) => Some(end(past, Cancelled)),
        (Submitted | Approved | Failed, Event::Expire(past)) => Some(end(past, Expired)),
        (Approved | Failed, Event::Confirm) => Some(status),
        (Approved | Failed, Event::Execute { left: 1.., .. }) => Some(Approved),
        (Approved | Failed, Event::Execute { left: 0, review: true }) => Some(Executed),
        (Approved | Failed, Event::Execute { left: 0, review: false }) => Some(Closed),
        (Approved | Failed, Event::Fail) => Some(Failed),
        (Approved | Failed, Event::Arm) => Some(Armed),
        (Armed, Event::Reject(past)) => Some(end(past, Rejected)),
        (Armed, Event::Cancel(past)) => Some(end(past, Cancelled)),
        (Armed, Event::Disarm { done: true, left: 1.., .. }) => Some(Approved),
        (Armed, Event::Disarm { done: false, left: 1.., .. }) => Some(Failed),
        (Armed, Event::Disarm { left: 0, review: true, .. }) => Some(Executed),
        (Armed, Event::Disarm { left: 0, review: false, .. }) => Some(Closed),
        (Executed, Event::Review) => Some(Closed),
        (Approved | Failed, Event::ReviewRuns { accepted: true }) => Some(status),
        (Approved | Failed, Event::ReviewRuns { accepted: false }) => Some(Closed),
        _ => None,
    }
}

/// What already ran must still be looked at, whatever ends the rest.
fn end(past: Past, otherwise: Status) -> Status {
    match past {
        Past::Unused => otherwise,
        Past::Settled => Status::Closed,
        Past::ReviewOwed => Status::Executed,
    }
}

/// A step that a person takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Approve,
    /// Approving once more what is about to lapse.
    Renew,
    Reject,
    Confirm,
    Execute,
    Review,
}

/// Who has done what in one operation, by the name of the person, never by login or role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub applicant: String,
    /// Everybody who ever approved, whether or not that still counts.
    pub approvers: Vec<String>,
    pub witness: Option<String>,
    pub executor: Option<String>,
}

/// Why a person may not take a step, as a clause for the DETAIL; None: they may, as far as the other parts go.
pub fn conflict(step: Step, person: &str, parts: &Parts) -> Option<&'static str> {
    let applicant = parts.applicant == person;
    let approver = parts.approvers.iter().any(|name| name == person);
    let witness = parts.witness.as_deref() == Some(person);
    let executor = parts.executor.as_deref() == Some(person);
    match step {
        Step::Approve | Step::Renew if applicant => Some("filed it and cannot approve their own operation"),
        Step::Approve if approver => Some("has approved it already; one person approves once"),
        Step::Approve | Step::Renew if witness => Some("has confirmed it; one person does not fill two steps"),
        Step::Reject if applicant => Some("filed it; what is one's own is taken back with steward.cancel"),
        Step::Confirm if applicant => Some("filed it and cannot be the second person"),
        Step::Confirm if approver => Some("has approved it; one person does not fill two steps"),
        Step::Execute if !applicant => Some("did not file it; only the applicant executes"),
        Step::Review if applicant || executor => Some("filed or executed it and cannot review their own work"),
        _ => None,
    }
}

/// Somebody who could take part, with the capabilities that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub name: &'a str,
    pub approve: bool,
    pub witness: bool,
}

/// The first approver that is wanting, after so many.
const NEXT: [&str; 9] =
    ["an", "a second", "a third", "a fourth", "a fifth", "a sixth", "a seventh", "an eighth", "a ninth"];

/// What is missing so that `applicant` could have an operation with these demands approved and confirmed by others;
/// None: it can be done. Logins of one person count once.
pub fn missing(applicant: &str, approvals: u32, witness: bool, candidates: &[Candidate<'_>]) -> Option<String> {
    let others = |wanted: fn(&Candidate<'_>) -> bool| {
        let named = candidates.iter().filter(|candidate| candidate.name != applicant && wanted(candidate));
        named.map(|candidate| candidate.name).collect::<BTreeSet<_>>().len() as u32
    };
    let approvers = others(|candidate| candidate.approve);
    if approvers < approvals {
        let next = NEXT.get(approvers as usize).unwrap_or(&"one more");
        return Some(format!("{next} approver"));
    }
    let what = if witness && others(|candidate| candidate.witness) == 0 {
        "a second person who may confirm"
    } else if others(|candidate| candidate.approve || candidate.witness) < approvals + u32::from(witness) {
        "a second person other than the approver"
    } else {
        return None;
    };
    Some(what.to_owned())
}
