//! What is counted of records: subjects, endings, repeats and durations; and what is not.

use crate::core::metrics::{Subject, Window};
use crate::core::record::{Kind, Outcome, Record};

fn record(kind: Kind, operation_type: &str, outcome: Outcome, time: i64) -> Record {
    let mut record = Record::new(kind, operation_type);
    (record.outcome, record.time) = (outcome, time);
    record
}

fn see(window: &mut Window, record: &Record) {
    window.see(&record.encode(), &mut |_| None);
}

#[test]
fn subjects_are_counted_by_their_endings_with_their_repeats() {
    let mut window = Window::since(1_000_000);
    for (kind, what, outcome) in [
        (Kind::Statement, "SELECT", Outcome::Success),
        (Kind::Statement, "SELECT", Outcome::Denied),
        (Kind::Operation, "EXECUTE", Outcome::Failure),
        (Kind::Operation, "BEGIN EXECUTE", Outcome::Success),
        (Kind::Login, "LOGIN", Outcome::Success),
        (Kind::Login, "LOGOUT", Outcome::Success),
        (Kind::Server, "HEARTBEAT", Outcome::Success),
    ] {
        see(&mut window, &record(kind, what, outcome, 2_000_000));
    }
    let mut repeated = record(Kind::Login, "LOGIN", Outcome::Denied, 3_000_000);
    repeated.repeats = Some(3);
    see(&mut window, &repeated);
    // Too old, and no record at all.
    see(&mut window, &record(Kind::Statement, "SELECT", Outcome::Failure, 999_999));
    window.see(b"nonsense", &mut |_| None);
    assert_eq!((window.records(), window.span(5_000_000)), (8, 3_000_000));
    assert_eq!(window.success(Subject::Statement), 0.5);
    assert_eq!(window.success(Subject::Execution), 0.0);
    assert_eq!(window.success(Subject::Login), 0.25);
    assert_eq!(window.abnormal(), 1 + 1 + 3);
}

#[test]
fn a_definition_tells_what_a_record_is_about() {
    let mut window = Window::since(0);
    let mut login = record(Kind::Login, "", Outcome::Success, 1);
    login.what = Some(7);
    window.see(&login.encode(), &mut |id| (id == 7).then(|| "LOGIN".to_owned()));
    window.see(&login.encode(), &mut |_| Some("LOGOUT".to_owned()));
    assert_eq!(window.count(Subject::Login, Outcome::Success), 1);
}

#[test]
fn durations_by_nearest_rank() {
    let mut window = Window::since(0);
    assert!(window.duration(0.5).is_nan() && window.success(Subject::Login).is_nan());
    for micros in (1..=100).rev() {
        let mut statement = record(Kind::Statement, "SELECT", Outcome::Success, 1);
        statement.duration_us = Some(micros * 1_000_000);
        see(&mut window, &statement);
    }
    assert_eq!([0.0, 0.5, 0.95, 1.0].map(|share| window.duration(share)), [1.0, 50.0, 95.0, 100.0]);
}
