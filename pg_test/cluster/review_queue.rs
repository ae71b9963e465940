//! Reviews that are owed: who sees them, that an overdue one is told once, and that it stops its applicant if the policy
//! says so, and nobody else.

use std::thread::{sleep, spawn};
use std::time::Duration;

use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;

use crate::expect::expect_error;
use crate::school::{School, ask, execute, request};

tests! {
    the_queue_is_for_approvers_and_auditors,
    an_overdue_review_is_told_once,
    what_is_rolled_back_is_told_again,
    an_overdue_review_stops_its_applicant,
    without_the_setting_nobody_is_stopped,
    an_application_is_never_stopped,
    nobody_helps_themselves_out,
    runs_that_are_left_put_no_review_off,
    a_review_of_some_runs_leaves_the_others,
    a_rejected_review_of_some_runs_ends_the_others,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

/// An active school where reviews are due after a second, and these further calls were made.
fn school(more: &str) -> School {
    let school = School::inactive();
    let policy = "SELECT steward.set_tier_policy('critical', review_within => '1 second')";
    school.superuser().batch_execute(&format!("{policy}; {more}; SELECT steward.activate()")).expect("set-up");
    school
}

/// An operation of Chen whose review is overdue.
pub fn overdue(school: &School) -> String {
    let op_no = school.operate("region_chen", SIXTY);
    sleep(Duration::from_millis(1_200));
    op_no
}

fn the_queue_is_for_approvers_and_auditors() {
    let school = school("SELECT 1");
    let op_no = overdue(&school);
    let seen = "SELECT count(*) FROM steward.review_queue WHERE overdue AND applicant = 'Chen' AND tier = 'critical'
        AND due > executed_at AND age > interval '1 second'";
    for (login, rows) in
        [("reviewer_sun", 1), ("auditor_qian", 1), ("security_han", 1), ("region_chen", 0), ("teacher_wang", 0)]
    {
        assert_eq!(ask::<i64>(&mut school.session(login), seen), rows, "{login}");
    }
    let review = "SELECT steward.review($1, 'accepted', 'seen')";
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!(ask::<i64>(&mut school.session("reviewer_sun"), "SELECT count(*) FROM steward.review_queue"), 0);
}

fn an_overdue_review_is_told_once() {
    let school = school("SELECT 1");
    let mut listener = school.session("auditor_qian");
    listener.batch_execute("LISTEN steward_alert").expect("listen");
    assert_eq!(ask::<i64>(&mut school.session("auditor_qian"), "SELECT steward.check_reviews()"), 0);
    let op_no = overdue(&school);
    let calls = ["auditor_qian", "reviewer_sun", "postgres"].map(|login| {
        let mut session = school.session(login);
        spawn(move || ask::<i64>(&mut session, "SELECT steward.check_reviews()"))
    });
    let told: i64 = calls.into_iter().map(|call| call.join().expect("no panic")).sum();
    assert_eq!(told, 1, "three at once tell it once");
    assert_eq!(
        school.records(&format!(
            "operation_type = 'REVIEW OVERDUE' AND result = 'FAILURE' AND op_no = '{op_no}' AND tier = 'critical'"
        )),
        1
    );
    assert_eq!(school.records("operation_type = 'REVIEW OVERDUE'"), 1);
    let mut notifications = listener.notifications();
    // At night the work itself raises an alert.
    let mut arriving =
        notifications.timeout_iter(Duration::from_secs(20)).filter(|told| Ok(told.payload().contains(&op_no)));
    let alert = arriving.next().expect("an answer").expect("a notification");
    assert_eq!(alert.channel(), "steward_alert");
    assert!(!alert.payload().contains("Chen"), "{}", alert.payload());
    let trail =
        format!("SELECT count(*) FROM steward.operation_trail WHERE op_no = '{op_no}' AND event = 'REVIEW OVERDUE'");
    assert_eq!(school.ask::<i64>(&trail), 1);
}

fn what_is_rolled_back_is_told_again() {
    let school = school("SELECT 1");
    overdue(&school);
    let mut sun = school.session("reviewer_sun");
    sun.batch_execute("BEGIN; SELECT steward.check_reviews(); ROLLBACK").expect("rollback");
    assert_eq!(ask::<i64>(&mut sun, "SELECT steward.check_reviews()"), 1);
    assert_eq!(school.records("operation_type = 'REVIEW OVERDUE' AND result = 'FAILURE'"), 1);
}

fn an_overdue_review_stops_its_applicant() {
    let school = school("SELECT steward.set_review_block(1)");
    let mut chen = school.session("region_chen");
    let ready = request(&mut chen, SIXTY, "");
    school.release(&ready);
    let op_no = overdue(&school);
    let filed = chen.query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    let detail = format!("Not reviewed in time: {op_no}.");
    expect_error(filed, NOT_READY, &detail, "Han, Sun, Zhou can review: SELECT steward.review(");
    expect_error(execute(&mut chen, &ready), NOT_READY, &detail, "can review");
    let important = "UPDATE app.student SET id_card = 'X' WHERE id = 1";
    let filed = chen.query("SELECT steward.request($1, purpose => 'x', expected_rows => 1)", &[&important]);
    expect_error(filed, NOT_READY, &detail, "can review");
    let normal = "UPDATE app.student SET note = 'x' WHERE id = 1";
    request(&mut chen, normal, ", expected_rows => 1");
    // Nobody else is stopped, and the review ends it.
    school.request("region_liu", SIXTY);
    let review = "SELECT steward.review($1, 'rejected', 'not as asked')";
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!(execute(&mut chen, &ready).expect("execute"), 60);
}

fn without_the_setting_nobody_is_stopped() {
    let school = school("SELECT steward.set_review_block(1); SELECT steward.set_review_block(0)");
    overdue(&school);
    school.request("region_chen", SIXTY);
}

fn an_application_is_never_stopped() {
    let school = school(
        "CREATE ROLE app_service LOGIN; GRANT USAGE ON SCHEMA app TO app_service; GRANT SELECT, UPDATE ON app.student TO app_service;
        SELECT steward.register_person('App', 'service', roles => '{app_service}');
        SELECT steward.set_tier_policy('critical', review_within => '1 second', post => 'service');
        SELECT steward.set_review_block(1)",
    );
    school.operate("app_service", SIXTY);
    sleep(Duration::from_millis(1_200));
    assert_eq!(
        ask::<i64>(&mut school.session("auditor_qian"), "SELECT count(*) FROM steward.review_queue WHERE overdue"),
        1
    );
    school.operate("app_service", SIXTY);
}

fn nobody_helps_themselves_out() {
    let school = school("SELECT steward.set_review_block(1)");
    let op_no = overdue(&school);
    let own = school.session("region_chen").query("SELECT steward.review($1, 'accepted', 'mine')", &[&op_no]);
    expect_error(own, REFUSED, "", "");
    let direct = [
        "DELETE FROM steward.review_block",
        "TRUNCATE steward.review_block",
        "UPDATE steward.review_block SET overdue = 1000",
        "UPDATE steward._operation SET review_due = 'infinity'",
        "UPDATE steward._operation SET review_alerted_at = now()",
        "UPDATE steward._operation SET status = 'closed'",
        "SELECT steward.set_review_block(0)",
    ];
    for login in ["postgres", "security_han", "region_chen", "reviewer_sun", "auditor_qian", "teacher_wang"] {
        let mut session = school.session(login);
        for statement in direct {
            expect_error(session.batch_execute(statement), REFUSED, "", "");
        }
    }
    for login in ["region_chen", "teacher_wang", "clerk_zhao"] {
        expect_error(school.session(login).batch_execute("SELECT steward.check_reviews()"), REFUSED, "", "");
    }
    let filed = school.session("region_chen").query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    expect_error(filed, NOT_READY, &op_no, "can review");
    assert_eq!(school.records("result = 'DENIED' AND operation_type = 'REQUEST' AND person = 'Chen'"), 1);
}

/// An operation of Chen with two more runs, the first of which is overdue.
fn overdue_with_runs_left(school: &School) -> String {
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", runs => 3, every => '1 second', expected_rows => 60");
    school.release(&op_no);
    assert_eq!(execute(&mut chen, &op_no).expect("the first run"), 60);
    sleep(Duration::from_millis(1_200));
    op_no
}

fn runs_that_are_left_put_no_review_off() {
    let school = school("SELECT steward.set_review_block(1)");
    let op_no = overdue_with_runs_left(&school);
    assert_eq!(school.status(&op_no), "approved", "runs are left");
    let seen = format!("SELECT count(*) FROM steward.review_queue WHERE overdue AND op_no = '{op_no}'");
    assert_eq!(ask::<i64>(&mut school.session("auditor_qian"), &seen), 1);
    assert_eq!(ask::<i64>(&mut school.session("auditor_qian"), "SELECT steward.check_reviews()"), 1);
    // Neither the next run nor anything else of the applicant's goes on.
    let mut chen = school.session("region_chen");
    expect_error(execute(&mut chen, &op_no), NOT_READY, &op_no, "can review");
    let filed = chen.query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    expect_error(filed, NOT_READY, &op_no, "can review");
}

fn a_review_of_some_runs_leaves_the_others() {
    let school = school("SELECT steward.set_review_block(1)");
    let op_no = overdue_with_runs_left(&school);
    let review = "SELECT steward.review($1, 'accepted', 'seen')";
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!(school.status(&op_no), "approved");
    assert_eq!(execute(&mut school.session("region_chen"), &op_no).expect("the second run"), 60);
    let waits = format!("SELECT count(*) FROM steward.review_queue WHERE op_no = '{op_no}'");
    assert_eq!(ask::<i64>(&mut school.session("reviewer_sun"), &waits), 1, "the second run waits for its own review");
}

fn a_rejected_review_of_some_runs_ends_the_others() {
    let school = school("SELECT 1");
    let op_no = overdue_with_runs_left(&school);
    let review = "SELECT steward.review($1, 'rejected', 'not as asked')";
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!(school.status(&op_no), "closed");
    expect_error(execute(&mut school.session("region_chen"), &op_no), NOT_READY, "", "");
}
