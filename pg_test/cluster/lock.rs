//! Whoever holds a lock in an open transaction does not decide how long others wait: they are told who it is.

use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::expect_error;
use crate::review_queue::overdue;
use crate::school::{School, ask, execute};

tests! {
    a_login_that_changes_its_own_role_does_not_put_its_suspension_off,
    an_open_change_of_persons_is_named,
    an_open_vote_is_named,
    reviews_that_somebody_holds_are_told_later,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

/// The statement gives up soon, and says which session stands in its way.
#[track_caller]
fn names<T>(holder: &mut Client, login: &str, tried: impl FnOnce() -> Result<T, postgres::Error>) {
    let pid: i32 = ask(holder, "SELECT pg_backend_pid()");
    let begun = Instant::now();
    let result = tried();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let detail = format!("Session {pid} of login \"{login}\" holds it, idle in transaction");
    let hint = format!("SELECT pg_terminate_backend({pid});");
    expect_error(result, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, &detail, &hint);
}

fn a_login_that_changes_its_own_role_does_not_put_its_suspension_off() {
    let school = School::inactive();
    let mut leaver = school.session("teacher_wang");
    leaver.batch_execute("BEGIN; ALTER ROLE teacher_wang PASSWORD 'x'").expect("one's own password");
    let mut superuser = school.superuser();
    let suspend = "SELECT steward.suspend_person('Wang', 'left')";
    names(&mut leaver, "teacher_wang", || superuser.batch_execute(suspend));
    // What the hint says is enough.
    superuser
        .batch_execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'teacher_wang'")
        .expect("end");
    superuser.batch_execute(suspend).expect("suspended");
    assert!(!ask::<bool>(&mut superuser, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'teacher_wang'"));
}

fn an_open_change_of_persons_is_named() {
    let school = School::inactive();
    let (mut first, mut second) = (school.superuser(), school.superuser());
    first.batch_execute("BEGIN; SELECT steward.suspend_person('Wang', 'left')").expect("suspended");
    for call in ["suspend_person('Zhao', 'left')", "register_person('Zhao', 'ops')", "drop_rule('none')", "activate()"]
    {
        names(&mut first, "postgres", || second.batch_execute(&format!("SELECT steward.{call}")));
    }
    first.batch_execute("ROLLBACK").expect("rollback");
    second.batch_execute("SELECT steward.activate()").expect("nobody is in the way any more");
}

fn an_open_vote_is_named() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let other = school.request("region_chen", SIXTY);
    // Somebody who holds another operation is not blamed.
    let mut bystander = school.session("region_chen");
    bystander.batch_execute(&format!("BEGIN; SELECT steward.cancel('{other}')")).expect("cancel");
    let mut voter = school.session("reviewer_sun");
    voter.batch_execute("BEGIN").expect("begin");
    voter.query("SELECT steward.approve($1, $2)", &[&op_no, &school.digest(&op_no)]).expect("approve");
    names(&mut voter, "reviewer_sun", || school.vote("reviewer_zhou", "approve", &op_no));
    names(&mut voter, "reviewer_sun", || execute(&mut school.session("region_chen"), &op_no));
    voter.batch_execute("COMMIT").expect("commit");
    school.vote("region_liu", "confirm", &op_no).expect("what was committed a moment ago is in the chain");
}

fn reviews_that_somebody_holds_are_told_later() {
    let school = School::inactive();
    let policy = "SELECT steward.set_tier_policy('critical', review_within => '1 second')";
    school.superuser().batch_execute(&format!("{policy}; SELECT steward.activate()")).expect("set-up");
    let op_no = overdue(&school);
    let mut reviewer = school.session("reviewer_sun");
    reviewer.batch_execute(&format!("BEGIN; SELECT steward.review('{op_no}', 'accepted', 'seen')")).expect("review");
    let mut auditor = school.session("auditor_qian");
    auditor.batch_execute("SET statement_timeout = '10s'").expect("set");
    assert_eq!(ask::<i64>(&mut auditor, "SELECT steward.check_reviews()"), 0);
    reviewer.batch_execute("ROLLBACK").expect("rollback");
    assert_eq!(ask::<i64>(&mut auditor, "SELECT steward.check_reviews()"), 1);
}
