//! A leaver loses everything at once: sessions, logins, what they filed and what they said; and a right that is taken
//! away stops an open session at its next statement.

use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, NoTls};

use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::{HOME, School, execute, request};

tests! {
    the_sessions_of_a_leaver_are_ended_in_every_database,
    a_leaver_cannot_log_in,
    a_leaver_who_gets_in_all_the_same_runs_nothing,
    an_operation_of_a_leaver_is_frozen_for_good,
    an_approval_of_a_leaver_does_not_count_and_the_detail_says_so,
    a_confirmation_of_a_leaver_does_not_count,
    a_reinstated_person_works_again,
    a_suspension_that_is_rolled_back_ends_nothing,
    the_last_superuser_keeps_the_login_but_runs_nothing,
    who_is_past_valid_until_is_stopped_at_the_next_statement,
    what_was_begun_in_time_does_not_go_on,
    a_post_that_changes_stops_an_open_session,
    a_capability_that_is_removed_stops_an_open_session,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

/// Suspends a person the approved way.
#[track_caller]
fn suspend(school: &School, person: &str) {
    school.operate("postgres", &format!("SELECT steward.suspend_person('{person}', 'left the office')"));
}

#[track_caller]
fn reinstate(school: &School, person: &str) {
    school.operate("postgres", &format!("SELECT steward.register_person('{person}', NULL)"));
}

/// The server ends this session.
#[track_caller]
fn is_ended(session: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !session.is_closed() {
        let answer = session.batch_execute("SELECT 1");
        assert!(answer.is_err(), "the session of a leaver still works");
        assert!(Instant::now() < deadline, "the session is not ended: {answer:?}");
    }
}

fn the_sessions_of_a_leaver_are_ended_in_every_database() {
    let school = School::active();
    let (mut home, mut elsewhere) = (school.session("teacher_wang"), school.connect("teacher_wang", "postgres"));
    let mut busy = school.session("teacher_wang");
    let asleep = std::thread::spawn(move || busy.batch_execute("SELECT pg_sleep(60)"));
    let mut colleague = school.session("region_chen");
    suspend(&school, "Wang");
    is_ended(&mut home);
    is_ended(&mut elsewhere);
    let begun = Instant::now();
    assert!(asleep.join().expect("no panic").is_err(), "a running statement is ended too");
    assert!(begun.elapsed() < Duration::from_secs(30));
    colleague.batch_execute("SELECT 1").expect("nobody else's session is ended");
}

fn a_leaver_cannot_log_in() {
    let school = School::active();
    suspend(&school, "Wang");
    for database in [HOME, "postgres"] {
        let refused = db_error(school.config("teacher_wang", database).connect(NoTls));
        assert_eq!(refused.code(), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "{refused:?}");
    }
}

fn a_leaver_who_gets_in_all_the_same_runs_nothing() {
    let school = School::active();
    suspend(&school, "Wang");
    // Opening the login of a teacher is important, not critical: an administrator may do it.
    school.superuser().batch_execute("ALTER ROLE teacher_wang LOGIN").expect("account work");
    let mut teacher = school.session("teacher_wang");
    for statement in ["SELECT 1", "SELECT count(*) FROM app.student", "CREATE TEMP TABLE t (n int)", "LISTEN news"] {
        let error = expect_refused(teacher.batch_execute(statement));
        assert!(error.message().contains("Wang is suspended"), "{error:?}");
    }
    teacher.batch_execute("BEGIN; ROLLBACK").expect("ROLLBACK is never blocked");
    assert_eq!(school.records("result = 'DENIED' AND rule = 'suspended' AND person = 'Wang'"), 4);
}

fn an_operation_of_a_leaver_is_frozen_for_good() {
    let school = School::active();
    let released = school.request("region_chen", SIXTY);
    school.release(&released);
    let waiting = school.request("region_chen", SIXTY);
    suspend(&school, "Chen");
    let vote = school.vote("reviewer_sun", "approve", &waiting);
    let frozen = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
    expect_error(vote, frozen, "Chen is suspended", "filed again");
    let shown = "SELECT count(*) FROM steward.inbox WHERE op_no = $1";
    let waits: i64 = school.session("reviewer_sun").query_one(shown, &[&waiting]).expect("inbox").get(0);
    assert_eq!(waits, 0, "nobody is asked to vote for it");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation WHERE frozen"), 2);
    reinstate(&school, "Chen");
    let mut chen = school.session("region_chen");
    expect_error(execute(&mut chen, &released), frozen, "Chen was suspended after filing it", "filed again");
    expect_error(school.vote("reviewer_sun", "approve", &waiting), frozen, "suspended after filing", "");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    // Ending them is always possible.
    chen.query("SELECT steward.cancel($1)", &[&released]).expect("cancel");
    school.session("reviewer_sun").query("SELECT steward.reject($1, 'old')", &[&waiting]).expect("reject");
    let anew = request(&mut chen, SIXTY, "");
    school.release(&anew);
    assert_eq!(execute(&mut chen, &anew).expect("what is filed anew runs"), 60);
}

fn an_approval_of_a_leaver_does_not_count_and_the_detail_says_so() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    school.operate_by(&["reviewer_zhou"], "SELECT steward.suspend_person('Sun', 'left the office')");
    let mut chen = school.session("region_chen");
    let missing = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
    expect_error(
        execute(&mut chen, &op_no),
        missing,
        "0 of 1. One approval does not count: Sun is suspended",
        "steward.approve",
    );
    // What a person said before a suspension stays void: the account may have been somebody else's by then.
    school.operate_by(&["reviewer_zhou", "security_han"], "SELECT steward.register_person('Sun', NULL)");
    expect_error(execute(&mut chen, &op_no), missing, "One approval does not count: Sun was suspended after that", "");
    let asked = "SELECT count(*) FROM steward.inbox WHERE op_no = $1 AND waits_for = 'approval'";
    let asked: i64 = school.session("reviewer_zhou").query_one(asked, &[&op_no]).expect("inbox").get(0);
    assert_eq!(asked, 1, "the others are asked to fill the gap");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    school.vote("reviewer_zhou", "approve", &op_no).expect("another approver fills the gap");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
}

fn a_confirmation_of_a_leaver_does_not_count() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    school.operate_by_witness("reviewer_zhou", "SELECT steward.suspend_person('Liu', 'left the office')");
    let mut chen = school.session("region_chen");
    let missing = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
    expect_error(execute(&mut chen, &op_no), missing, "Liu is suspended", "steward.confirm");
    school.vote("reviewer_zhou", "confirm", &op_no).expect("another witness");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
}

fn a_reinstated_person_works_again() {
    let school = School::active();
    suspend(&school, "Wang");
    reinstate(&school, "Wang");
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("UPDATE app.student SET note = 'back' WHERE id = 1").expect("a teacher's own work");
    // A login that was closed before stays closed: only what the suspension took comes back.
    let closed = school.ask::<i64>("SELECT count(*) FROM steward.person_login WHERE closed");
    assert_eq!(closed, 0);
}

fn a_suspension_that_is_rolled_back_ends_nothing() {
    let school = School::inactive();
    let mut teacher = school.session("teacher_wang");
    let mut superuser = school.superuser();
    superuser.batch_execute("BEGIN; SELECT steward.suspend_person('Wang', 'x'); ROLLBACK").expect("rollback");
    superuser
        .batch_execute("BEGIN; SAVEPOINT s; SELECT steward.suspend_person('Wang', 'x'); ROLLBACK TO s; COMMIT")
        .expect("a savepoint that is taken back");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    teacher.batch_execute("UPDATE app.student SET note = 'here' WHERE id = 1").expect("the session lives");
    school.session("teacher_wang").batch_execute("SELECT 1").expect("and the login");
}

/// Closing it would leave nobody who could open the server; what it runs is refused like everybody's.
fn the_last_superuser_keeps_the_login_but_runs_nothing() {
    let school = School::active();
    let suspend = "SELECT steward.suspend_person('Wu', 'left the office')";
    let mut han = school.session("security_han");
    let op_no = request(&mut han, suspend, "");
    school.release(&op_no);
    execute(&mut han, &op_no).expect("suspend");
    let mut superuser = school.superuser();
    expect_refused(superuser.batch_execute("SELECT 1"));
    expect_refused(superuser.batch_execute("UPDATE steward.person SET suspended_at = NULL, suspended_reason = NULL"));
    // The others reinstate the person.
    let op_no = request(&mut han, "SELECT steward.register_person('Wu', NULL)", "");
    let digest: String = han.query_one("SELECT digest FROM steward.show($1)", &[&op_no]).expect("show").get(0);
    for (login, step) in [("reviewer_sun", "approve"), ("reviewer_zhou", "approve"), ("region_liu", "confirm")] {
        let call = format!("SELECT steward.{step}($1, $2)");
        school.session(login).query(&call, &[&op_no, &digest]).unwrap_or_else(|error| panic!("{login}: {error:?}"));
    }
    execute(&mut han, &op_no).expect("reinstate");
    school.superuser().batch_execute("SELECT 1").expect("back again");
}

fn who_is_past_valid_until_is_stopped_at_the_next_statement() {
    let school = School::inactive();
    let until = "SELECT steward.register_person('Wang', NULL, valid_until => clock_timestamp() + interval '3 s');
        SELECT steward.activate()";
    school.superuser().batch_execute(until).expect("a term");
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("BEGIN; UPDATE app.student SET note = 'in time' WHERE id = 1").expect("in time");
    sleep(Duration::from_millis(3200));
    expect_refused(teacher.batch_execute("UPDATE app.student SET note = 'late' WHERE id = 2"));
    teacher.batch_execute("ROLLBACK").expect("ROLLBACK is never blocked");
    expect_refused(teacher.batch_execute("SELECT 1"));
    expect_refused(teacher.batch_execute("TRUNCATE app.guardian"));
}

/// A cursor and a portal of the protocol need no new start of a plan.
fn what_was_begun_in_time_does_not_go_on() {
    let school = School::inactive();
    let until = "SELECT steward.register_person('Wang', NULL, valid_until => clock_timestamp() + interval '3 s');
        SELECT steward.activate()";
    school.superuser().batch_execute(until).expect("a term");
    let mut with_cursor = school.session("teacher_wang");
    with_cursor
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT name FROM app.student; FETCH 10 FROM c")
        .expect("in time");
    let mut with_rows = school.session("teacher_wang");
    with_rows
        .batch_execute("DECLARE h CURSOR WITH HOLD FOR SELECT name FROM app.student; FETCH 10 FROM h")
        .expect("in time");
    let mut with_portal = school.session("teacher_wang");
    let mut transaction = with_portal.transaction().expect("begin");
    let portal = transaction.bind("SELECT name FROM app.student", &[]).expect("bind");
    assert_eq!(transaction.query_portal(&portal, 10).expect("in time").len(), 10);
    sleep(Duration::from_millis(3200));
    expect_refused(with_cursor.batch_execute("FETCH 10 FROM c"));
    expect_refused(with_rows.batch_execute("FETCH 10 FROM h"));
    expect_refused(transaction.query_portal(&portal, 10));
}

fn a_post_that_changes_stops_an_open_session() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let digest = school.digest(&op_no);
    let mut zhou = school.session("reviewer_zhou");
    zhou.batch_execute("SELECT * FROM steward.inbox").expect("the session is open and at work");
    school.operate_by(&["reviewer_sun", "security_han"], "SELECT steward.register_person('Zhou', 'clerk')");
    let vote = zhou.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "post clerk of Zhou", "");
}

fn a_capability_that_is_removed_stops_an_open_session() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    request(&mut teacher, "SELECT 1", "");
    school.operate("postgres", "SELECT steward.set_post('teacher', '{}')");
    let filed = teacher.query("SELECT steward.request('SELECT 1', purpose => 'x')", &[]);
    expect_error(filed, &SqlState::INSUFFICIENT_PRIVILEGE, "does not give the capability apply", "");
}
