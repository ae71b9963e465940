//! The life of an operation: every legal move, and nothing else; who may take which step.

use crate::core::operation::{Candidate, Event, Parts, Past, Status, Step, conflict, missing, next};
use proptest::prelude::*;

use Status::*;

const APPROVAL: Event = Event::Approve { given: 1, needed: 1 };

fn runs(left: u32, review: bool) -> Event {
    Event::Execute { left, review }
}

/// One event of every kind.
fn events() -> Vec<Event> {
    let mut events =
        vec![APPROVAL, Event::Confirm, Event::Fail, Event::Review, runs(0, true), runs(0, false), runs(1, true)];
    for past in [Past::Unused, Past::Settled, Past::ReviewOwed] {
        events.extend([Event::Reject(past), Event::Cancel(past), Event::Expire(past)]);
    }
    events.extend([true, false].map(|accepted| Event::ReviewRuns { accepted }));
    events
}

#[test]
fn names_are_the_documented_ones_and_read_back() {
    let names: Vec<&str> = Status::ALL.iter().map(|status| status.name()).collect();
    assert_eq!(
        names,
        ["submitted", "approved", "executed", "closed", "rejected", "cancelled", "expired", "failed", "armed"]
    );
    for status in Status::ALL {
        assert_eq!(Status::from_name(status.name()), Some(status));
    }
    assert_eq!(Status::from_name("Approved"), None);
    assert_eq!(Status::from_name(""), None);
}

#[test]
fn the_usual_way() {
    assert_eq!(next(Submitted, APPROVAL), Some(Approved));
    assert_eq!(next(Approved, Event::Confirm), Some(Approved));
    assert_eq!(next(Approved, runs(0, true)), Some(Executed));
    assert_eq!(next(Executed, Event::Review), Some(Closed));
    assert_eq!(next(Approved, runs(0, false)), Some(Closed));
}

#[test]
fn approvals_are_counted() {
    assert_eq!(next(Submitted, Event::Approve { given: 1, needed: 2 }), Some(Submitted));
    assert_eq!(next(Submitted, Event::Approve { given: 2, needed: 2 }), Some(Approved));
    assert_eq!(next(Submitted, Event::Approve { given: 0, needed: 0 }), Some(Approved), "normal is automatic");
}

#[test]
fn once_approved_only_a_gap_can_be_filled() {
    assert_eq!(next(Approved, Event::Approve { given: 2, needed: 1 }), None);
    assert_eq!(next(Failed, Event::Approve { given: 2, needed: 1 }), None);
    // The first approver lost the right, so this one is the first that counts.
    assert_eq!(next(Approved, APPROVAL), Some(Approved));
}

#[test]
fn a_failed_operation_may_run_again() {
    assert_eq!(next(Approved, Event::Fail), Some(Failed));
    assert_eq!(next(Failed, Event::Fail), Some(Failed));
    assert_eq!(next(Failed, runs(0, true)), Some(Executed));
    assert_eq!(next(Failed, runs(1, true)), Some(Approved));
}

#[test]
fn nothing_runs_before_its_approval_or_after_its_end() {
    for status in Status::ALL {
        let may_run = matches!(status, Approved | Failed);
        for event in [runs(0, true), runs(0, false), runs(3, true), Event::Fail, Event::Confirm] {
            assert_eq!(next(status, event).is_some(), may_run, "{status:?} {event:?}");
        }
    }
}

#[test]
fn what_has_ended_stays_ended() {
    for status in [Closed, Rejected, Cancelled, Expired] {
        for event in events() {
            assert_eq!(next(status, event), None, "{status:?} {event:?}");
        }
    }
    for event in events() {
        assert_eq!(next(Executed, event).is_some(), event == Event::Review, "{event:?}");
    }
}

#[test]
fn ending_an_operation_keeps_the_review_it_owes() {
    for status in [Submitted, Approved, Failed] {
        assert_eq!(next(status, Event::Reject(Past::Unused)), Some(Rejected));
        assert_eq!(next(status, Event::Cancel(Past::Unused)), Some(Cancelled));
        assert_eq!(next(status, Event::Expire(Past::Unused)), Some(Expired));
        for end in [Event::Reject, Event::Cancel, Event::Expire] {
            assert_eq!(next(status, end(Past::ReviewOwed)), Some(Executed));
            assert_eq!(next(status, end(Past::Settled)), Some(Closed));
        }
    }
}

#[test]
fn a_rejected_review_stops_the_runs_that_are_left() {
    for status in Status::ALL {
        let runs = matches!(status, Approved | Failed);
        let review = |accepted| next(status, Event::ReviewRuns { accepted });
        assert_eq!(review(true), runs.then_some(status));
        assert_eq!(review(false), runs.then_some(Closed));
    }
}

#[test]
fn an_armed_run_ends_as_far_as_it_got() {
    let ends = |done, left, review| next(Armed, Event::Disarm { done, left, review });
    assert_eq!(ends(true, 1, true), Some(Approved));
    assert_eq!(ends(false, 1, true), Some(Failed));
    for done in [true, false] {
        assert_eq!(ends(done, 0, true), Some(Executed), "what ran is reviewed, all of it or not");
        assert_eq!(ends(done, 0, false), Some(Closed));
    }
    assert_eq!(next(Armed, Event::Reject(Past::ReviewOwed)), Some(Executed));
    assert_eq!(next(Armed, Event::Cancel(Past::Settled)), Some(Closed));
    for status in Status::ALL {
        assert_eq!(next(status, Event::Arm), matches!(status, Approved | Failed).then_some(Armed));
        let disarm = Event::Disarm { done: true, left: 0, review: true };
        assert_eq!(next(status, disarm).is_some(), status == Armed);
    }
    for event in [APPROVAL, Event::Confirm, Event::Fail, Event::Review, runs(0, true), Event::Expire(Past::Settled)] {
        assert_eq!(next(Armed, event), None, "{event:?}");
    }
}

fn parts() -> Parts {
    Parts {
        applicant: "Chen".into(),
        approvers: vec!["Sun".into(), "Zhou".into()],
        witness: Some("Liu".into()),
        executor: Some("Chen".into()),
    }
}

#[test]
fn nobody_takes_two_steps() {
    let refused = [
        (Step::Approve, "Chen"),
        (Step::Approve, "Sun"),
        (Step::Approve, "Zhou"),
        (Step::Approve, "Liu"),
        (Step::Renew, "Chen"),
        (Step::Renew, "Liu"),
        (Step::Reject, "Chen"),
        (Step::Confirm, "Chen"),
        (Step::Confirm, "Sun"),
        (Step::Confirm, "Zhou"),
        (Step::Execute, "Sun"),
        (Step::Execute, "Liu"),
        (Step::Review, "Chen"),
    ];
    for (step, person) in refused {
        assert!(conflict(step, person, &parts()).is_some(), "{step:?} by {person}");
    }
    let allowed = [
        (Step::Approve, "Han"),
        (Step::Renew, "Sun"),
        (Step::Reject, "Sun"),
        (Step::Confirm, "Liu"),
        (Step::Confirm, "Han"),
        (Step::Execute, "Chen"),
        (Step::Review, "Han"),
    ];
    for (step, person) in allowed {
        assert_eq!(conflict(step, person, &parts()), None, "{step:?} by {person}");
    }
}

#[test]
fn persons_are_compared_whole() {
    // Others compared with a substring test, or fell back to an empty name.
    assert_eq!(conflict(Step::Approve, "Su", &parts()), None);
    assert_eq!(conflict(Step::Approve, "", &parts()), None);
    assert!(conflict(Step::Execute, "", &parts()).is_some());
}

fn person(name: &str, approve: bool, witness: bool) -> Candidate<'_> {
    Candidate { name, approve, witness }
}

#[test]
fn without_other_persons_nothing_can_be_approved() {
    let both = person("Sun", true, true);
    assert_eq!(missing("Chen", 1, false, &[]).as_deref(), Some("an approver"));
    assert_eq!(missing("Chen", 1, false, &[person("Chen", true, true)]).as_deref(), Some("an approver"));
    assert_eq!(
        missing("Chen", 1, true, &[person("Sun", true, false)]).as_deref(),
        Some("a second person who may confirm")
    );
    assert_eq!(missing("Chen", 1, true, &[both]).as_deref(), Some("a second person other than the approver"));
    assert_eq!(
        missing("Chen", 1, true, &[both, both]).as_deref(),
        Some("a second person other than the approver"),
        "two logins"
    );
    assert_eq!(missing("Chen", 2, false, &[both, both]).as_deref(), Some("a second approver"), "two logins");
    assert_eq!(missing("Chen", 5, false, &[both]).as_deref(), Some("a second approver"));
    let four = ["A", "B", "C", "D"].map(|name| person(name, true, false));
    assert_eq!(missing("Chen", 3, false, &four[..2]).as_deref(), Some("a third approver"));
    assert_eq!(missing("Chen", 6, false, &four).as_deref(), Some("a fifth approver"));
    assert_eq!(missing("Chen", 1, true, &[both, person("Liu", false, true)]), None);
    assert_eq!(missing("Chen", 1, true, &[both, person("Han", true, false)]), None);
    assert_eq!(missing("Chen", 0, false, &[]), None);
}

proptest! {
    /// `missing` agrees with trying every way of filling the steps.
    #[test]
    fn missing_finds_a_way_where_there_is_one(
        abilities in prop::collection::vec((any::<bool>(), any::<bool>()), 0..6),
        approvals in 0u32..3,
        witness: bool,
    ) {
        let names: Vec<String> = (0..abilities.len()).map(|number| number.to_string()).collect();
        let candidates: Vec<Candidate<'_>> =
            names.iter().zip(&abilities).map(|(name, (approve, witness))| person(name, *approve, *witness)).collect();
        let approvers_without = |taken: Option<&str>| {
            candidates.iter().filter(|one| one.approve && one.name != "0" && Some(one.name) != taken).count() as u32
        };
        let mut witnesses = candidates.iter().filter(|one| one.witness && one.name != "0");
        let possible = if witness {
            witnesses.any(|one| approvers_without(Some(one.name)) >= approvals)
        } else {
            approvers_without(None) >= approvals
        };
        prop_assert_eq!(missing("0", approvals, witness, &candidates).is_none(), possible);
    }
}
