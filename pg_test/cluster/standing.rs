//! Standing operations: approved once, run again and again by a scheduler; and everything that must stop them.

use std::thread::{sleep, spawn};
use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::{expect_error, expect_message};
use crate::fault::wait_for;
use crate::school::{School, ask, execute, request};

tests! {
    runs_keep_their_distance_and_need_no_witness_of_their_own,
    two_sessions_at_once_make_one_run,
    a_clock_set_back_brings_no_run_forward,
    a_transaction_holds_one_run,
    a_writing_one_says_how_many_rows,
    more_rows_than_the_limit_undo_that_run_alone,
    it_needs_an_approval_whatever_its_tier,
    an_interval_has_bounds_and_needs_runs,
    runs_are_reviewed_while_others_are_to_come,
    a_rejected_review_stops_it,
    who_left_between_two_runs_does_not_count,
    a_second_person_who_left_is_replaced,
    a_suspended_applicant_freezes_it,
    approvals_lapse_after_a_year,
    a_renewal_is_confirmed_anew,
    a_signature_renewed_late_is_confirmed_anew,
    a_superuser_cannot_prolong_it,
    what_it_depends_on_may_not_change_between_runs,
    pg_cron_deletes_old_rows_as_a_client,
    pg_cron_deletes_old_rows_in_a_background_worker,
}

const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const SIXTY: &str = "UPDATE app.student SET note = note || '+' WHERE id <= 60";
const HOURLY: &str = ", runs => 100, every => '1 hour', expected_rows => 60, not_after => now() + interval '5 years'";
const OFTEN: &str = ", runs => 100, every => '2 seconds', expected_rows => 60, not_after => now() + interval '5 years'";

/// Filed by `region_chen`, approved and confirmed.
#[track_caller]
fn standing(school: &School, script: &str, more: &str) -> (Client, String) {
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, script, more);
    school.release(&op_no);
    (chen, op_no)
}

/// How often the sixty rows were changed.
#[track_caller]
fn runs(school: &School) -> i32 {
    school.ask("SELECT max(length(note)) FROM app.student")
}

#[track_caller]
fn too_soon(session: &mut Client, op_no: &str) {
    let message = format!("{op_no} ran a short while ago");
    let error = expect_message(execute(session, op_no), NOT_NOW, &message);
    assert!(error.detail().is_some_and(|detail| detail.starts_with("The next run is allowed at 20")), "{error:?}");
}

/// What somebody can do who starts the server without the policy: the tests move time in this way.
fn behind_the_policy(school: &mut School, change: &str) {
    school.configure(&["steward.mode = 'off'"]);
    school.restart();
    school.superuser().batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
    school.configure(&["steward.mode = 'enforce'"]);
    school.restart();
}

/// Everything that was said so far was said so many days earlier.
fn age(school: &mut School, days: i32) {
    let back = format!("- interval '{days} days'");
    let events = format!("UPDATE steward._operation_event SET at = at {back}");
    let operations =
        format!("UPDATE steward._operation SET confirmed_at = confirmed_at {back}, executed_at = executed_at {back}");
    behind_the_policy(school, &format!("{events}; {operations}"));
}

#[track_caller]
fn waits(school: &School, login: &str, what: &str) -> i64 {
    let count = format!("SELECT count(*) FROM steward.inbox WHERE waits_for = '{what}'");
    ask(&mut school.session(login), &count)
}

fn runs_keep_their_distance_and_need_no_witness_of_their_own() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, OFTEN);
    assert_eq!(waits(&school, "region_chen", "execution"), 1);
    for run in 1..=3 {
        execute(&mut chen, &op_no).expect("a run");
        too_soon(&mut chen, &op_no);
        assert_eq!((runs(&school), waits(&school, "region_chen", "execution")), (run, 0));
        assert_eq!(waits(&school, "region_liu", "confirmation"), 0);
        sleep(Duration::from_millis(2100));
    }
    assert_eq!(school.ask::<i32>(&format!("SELECT runs_done FROM steward.show('{op_no}')")), 3);
    assert_eq!(school.status(&op_no), "approved");
}

fn two_sessions_at_once_make_one_run() {
    let school = School::active();
    let (_chen, op_no) = standing(&school, SIXTY, HOURLY);
    let attempts = [(); 3].map(|()| {
        let (mut session, op_no) = (school.session("region_chen"), op_no.clone());
        spawn(move || execute(&mut session, &op_no).is_ok())
    });
    let done = attempts.into_iter().map(|run| run.join().expect("no panic")).filter(|done| *done).count();
    assert_eq!((done, runs(&school)), (1, 1));
}

/// The last run was when the clock stood a day later.
fn a_clock_set_back_brings_no_run_forward() {
    let mut school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, OFTEN);
    execute(&mut chen, &op_no).expect("a run");
    behind_the_policy(&mut school, "UPDATE steward._operation SET executed_at = executed_at + interval '1 day'");
    too_soon(&mut school.session("region_chen"), &op_no);
    assert_eq!(runs(&school), 1);
}

fn a_transaction_holds_one_run() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, HOURLY);
    chen.batch_execute("SET TimeZone = 'Pacific/Kiritimati'; SET IntervalStyle = 'iso_8601'").expect("settings");
    let twice =
        format!("BEGIN; SELECT * FROM steward.execute('{op_no}'); SELECT * FROM steward.execute('{op_no}'); COMMIT");
    expect_error(chen.batch_execute(&twice), NOT_NOW, "The next run is allowed at", "");
    chen.batch_execute("ROLLBACK").expect("rollback");
    assert_eq!(runs(&school), 0);
    // What was undone was no run.
    execute(&mut chen, &op_no).expect("a run");
    too_soon(&mut chen, &op_no);
}

fn a_writing_one_says_how_many_rows() {
    let school = School::active();
    let call = "SELECT steward.request($1, purpose => 'x', runs => 9, every => '1 hour')";
    let mut chen = school.session("region_chen");
    for script in [SIXTY, "DO 'BEGIN UPDATE app.student SET note = ''x'' WHERE id <= 60; END'"] {
        expect_error(chen.query(call, &[&script]), BAD, "the most that one run may touch", "expected_rows");
    }
    chen.query(call, &[&"SELECT count(*) FROM app.student"]).expect("who only looks touches nothing");
}

fn more_rows_than_the_limit_undo_that_run_alone() {
    let school = School::active();
    let script = "UPDATE app.student SET note = note || '+' WHERE id <= 60 AND name <> 'out'";
    let (mut chen, op_no) = standing(&school, script, &OFTEN.replace("=> 60", "=> 59"));
    expect_error(execute(&mut chen, &op_no), REFUSED, "It touched 60 rows; expected_rows is 59.", "");
    assert_eq!(runs(&school), 0);
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("UPDATE app.student SET name = 'out' WHERE id = 1").expect("one less");
    assert_eq!(execute(&mut chen, &op_no).expect("within the limit"), 59);
    sleep(Duration::from_millis(2100));
    assert_eq!(execute(&mut chen, &op_no).expect("the limit is for each run"), 59);
}

/// Important work needs no approval before it runs; letting it run every night does.
fn it_needs_an_approval_whatever_its_tier() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let script = "UPDATE app.student SET id_card = 'ID-new' WHERE id = 7";
    let op_no = request(&mut chen, script, &HOURLY.replace("=> 60", "=> 1"));
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "0 of 1", "");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    assert_eq!(execute(&mut chen, &op_no).expect("a run"), 1);
}

fn an_interval_has_bounds_and_needs_runs() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    for every in ["0", "-1 hour", "999 milliseconds", "367 days", "178000000 years"] {
        let call =
            format!("SELECT steward.request($1, purpose => 'x', runs => 9, expected_rows => 60, every => '{every}')");
        expect_error(chen.query(&call, &[&SIXTY]), BAD, "", "every =>");
    }
    let call = "SELECT steward.request($1, purpose => 'x', expected_rows => 60, every => '1 hour')";
    expect_error(chen.query(call, &[&SIXTY]), BAD, "", "runs =>");
}

fn runs_are_reviewed_while_others_are_to_come() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, &OFTEN.replace("=> 100", "=> 3"));
    let review = "SELECT steward.review($1, 'accepted', 'as planned')";
    expect_error(school.session("reviewer_sun").query(review, &[&op_no]), NOT_NOW, "Runs so far: 0 of 3.", "");
    let due = format!("SELECT review_due::text FROM steward.show('{op_no}')");
    let mut first = None;
    for run in 1..=2 {
        execute(&mut chen, &op_no).expect("the review blocks no run");
        let now_due: Option<String> = school.ask(&due);
        assert!(now_due.is_some() && (run == 1 || now_due == first), "the term is that of the oldest run");
        first = now_due;
        sleep(Duration::from_millis(2100));
    }
    assert_eq!(waits(&school, "reviewer_sun", "review"), 1);
    expect_error(chen.query(review, &[&op_no]), REFUSED, "", "");
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!(school.status(&op_no), "approved");
    assert_eq!((waits(&school, "reviewer_sun", "review"), school.ask::<Option<String>>(&due)), (0, None));
    execute(&mut chen, &op_no).expect("the last run");
    assert_eq!((school.status(&op_no).as_str(), waits(&school, "reviewer_sun", "review")), ("executed", 1));
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!((school.status(&op_no).as_str(), runs(&school)), ("closed", 3));
}

fn a_rejected_review_stops_it() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, OFTEN);
    execute(&mut chen, &op_no).expect("a run");
    let review = "SELECT steward.review($1, 'rejected', 'the wrong rows')";
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!(school.status(&op_no), "closed");
    sleep(Duration::from_millis(2100));
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "That is final.", "");
    for (login, step) in [("reviewer_zhou", "approve"), ("region_liu", "confirm")] {
        expect_error(school.vote(login, step, &op_no), NOT_NOW, "That is final.", "");
    }
    assert_eq!(runs(&school), 1);
}

fn who_left_between_two_runs_does_not_count() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, OFTEN);
    execute(&mut chen, &op_no).expect("a run");
    school.operate_by(&["reviewer_zhou"], "SELECT steward.suspend_person('Sun', 'left')");
    sleep(Duration::from_millis(2100));
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "Approvals that count: 0 of 1.", "");
    assert_eq!(waits(&school, "reviewer_zhou", "renewal"), 1);
    school.vote("reviewer_zhou", "approve", &op_no).expect("another approver");
    // He approved what the second person did not see approved.
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "Liu confirmed it before the approvals that count now.", "");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut chen, &op_no).expect("a run");
    assert_eq!(runs(&school), 2);
}

/// The second person stands by for years, so somebody else must take over.
fn a_second_person_who_left_is_replaced() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, OFTEN);
    execute(&mut chen, &op_no).expect("a run");
    school.operate_by_witness("region_chen", "SELECT steward.suspend_person('Liu', 'left')");
    sleep(Duration::from_millis(2100));
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "Liu is suspended", "confirm");
    school.vote("postgres", "confirm", &op_no).expect("another one");
    execute(&mut chen, &op_no).expect("a run");
    assert_eq!(runs(&school), 2);
}

fn a_suspended_applicant_freezes_it() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, OFTEN);
    execute(&mut chen, &op_no).expect("a run");
    school.operate("postgres", "SELECT steward.suspend_person('Chen', 'left')");
    school.operate("postgres", "SELECT steward.register_person('Chen', 'region_admin', roles => '{region_chen}')");
    sleep(Duration::from_millis(2100));
    expect_error(
        execute(&mut school.session("region_chen"), &op_no),
        NOT_NOW,
        "what was filed before stays frozen",
        "",
    );
    assert_eq!(runs(&school), 1);
}

fn approvals_lapse_after_a_year() {
    let mut school = School::active();
    let (_chen, op_no) = standing(&school, SIXTY, OFTEN);
    let run = |school: &School| execute(&mut school.session("region_chen"), &op_no);
    age(&mut school, 330);
    run(&school).expect("eleven months later");
    assert_eq!((waits(&school, "reviewer_sun", "renewal"), waits(&school, "reviewer_zhou", "renewal")), (0, 0));
    let again = school.vote("reviewer_sun", "approve", &op_no);
    expect_error(again, REFUSED, "one person approves once", "");
    age(&mut school, 36);
    expect_error(run(&school), NOT_NOW, "0 of 1. One approval does not count: Sun gave it 365 days ago", "approve");
    assert_eq!(school.ask::<i32>(&format!("SELECT approvals_given FROM steward.show('{op_no}')")), 0);
    assert_eq!(runs(&school), 1);
}

fn a_renewal_is_confirmed_anew() {
    let mut school = School::active();
    let (_chen, op_no) = standing(&school, SIXTY, OFTEN);
    let run = |school: &School| execute(&mut school.session("region_chen"), &op_no);
    age(&mut school, 340);
    assert_eq!((waits(&school, "reviewer_sun", "renewal"), waits(&school, "reviewer_zhou", "renewal")), (1, 1));
    // Not by the applicant or by the second person.
    for login in ["region_chen", "region_liu"] {
        expect_error(school.vote(login, "approve", &op_no), REFUSED, "", "");
    }
    school.vote("reviewer_sun", "approve", &op_no).expect("in the last month");
    expect_error(school.vote("reviewer_sun", "approve", &op_no), REFUSED, "one person approves once", "");
    expect_error(school.vote("reviewer_zhou", "approve", &op_no), NOT_NOW, "It has the approvals it needs.", "");
    assert_eq!((waits(&school, "reviewer_sun", "renewal"), waits(&school, "region_liu", "confirmation")), (0, 1));
    run(&school).expect("the first approval still counts, and was confirmed");
    age(&mut school, 30);
    expect_error(run(&school), NOT_NOW, "Liu confirmed it before the approvals that count now.", "confirm");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    assert_eq!(waits(&school, "region_liu", "confirmation"), 0);
    run(&school).expect("renewed");
    assert_eq!(runs(&school), 2);
}

/// Somebody who signs for a row and does not approve.
fn a_signature_renewed_late_is_confirmed_anew() {
    let mut school = School::inactive();
    let rows = "SELECT steward.set_approval('critical', 1, '{person:Han,person:Wang}', capability => 'apply'); SELECT steward.activate()";
    school.superuser().batch_execute(rows).expect("set-up");
    let op_no = request(&mut school.session("region_chen"), SIXTY, OFTEN);
    let sign = |school: &School, login: &str| school.vote(login, "approve", &op_no).expect(login);
    sign(&school, "reviewer_sun");
    sign(&school, "security_han");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    let run = |school: &School| execute(&mut school.session("region_chen"), &op_no);
    run(&school).expect("a run");
    age(&mut school, 340);
    sign(&school, "reviewer_sun");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    run(&school).expect("Han's signature still counts");
    age(&mut school, 30);
    expect_error(run(&school), NOT_NOW, "Still open: critical 1: person:Han or person:Wang", "steward.approve");
    sign(&school, "security_han");
    expect_error(run(&school), NOT_NOW, "Liu confirmed it before the approvals that count now.", "confirm");
    assert_eq!(waits(&school, "region_liu", "confirmation"), 1);
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    assert_eq!(waits(&school, "region_liu", "confirmation"), 0);
    run(&school).expect("renewed and confirmed");
    assert_eq!(runs(&school), 3);
}

fn a_superuser_cannot_prolong_it() {
    let school = School::active();
    let mut superuser = school.superuser();
    let op_no = request(&mut superuser, SIXTY, HOURLY);
    school.release(&op_no);
    execute(&mut superuser, &op_no).expect("a run");
    for change in [
        "UPDATE steward._operation SET executed_at = '-infinity'",
        "UPDATE steward._operation SET every = NULL, runs_allowed = 1000000",
        "UPDATE steward._operation SET expected_rows = NULL",
        "UPDATE steward._operation_event SET at = now() + interval '9 years'",
        "INSERT INTO steward._operation_event (op_no, event, person) SELECT op_no, 'RENEW', 'Sun' FROM steward._operation",
        "CREATE OR REPLACE VIEW steward._approval AS SELECT '' AS op_no, '' AS person, now() AS at, now() AS lapses",
        "DROP VIEW steward._approval CASCADE",
    ] {
        expect_error(superuser.batch_execute(change), REFUSED, "", "");
    }
    // A clock of his own is not asked.
    let clock = "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''2040-01-01''';
        SET search_path = public, pg_catalog";
    superuser.batch_execute(clock).expect("an unprotected schema");
    too_soon(&mut superuser, &op_no);
    assert_eq!(runs(&school), 1);
}

fn what_it_depends_on_may_not_change_between_runs() {
    let school = School::active();
    let (mut chen, op_no) = standing(&school, SIXTY, OFTEN);
    execute(&mut chen, &op_no).expect("a run");
    school.operate("postgres", "ALTER TABLE app.student ADD COLUMN grade int");
    sleep(Duration::from_millis(2100));
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "table app.student was changed", "");
    assert_eq!(runs(&school), 1);
}

/// A job of pg_cron deletes what is old, and comes at each start of the server, in several sessions at once. Seconds are no
/// unit of its schedules before version 1.5.
fn old_rows_go(workers: &str, login: &str, set_up: &str) {
    let mut school = School::with(
        "enforce",
        &[
            "shared_preload_libraries = 'pg_cron,pg_steward'",
            "cron.database_name = 'school'",
            &format!("cron.use_background_workers = {workers}"),
        ],
    );
    // A job remembers the host of the day it was made.
    school.configure(&[&format!("cron.host = '{}'", school.file("").display())]);
    school.restart();
    let set_up =
        format!("CREATE EXTENSION pg_cron; {set_up}; GRANT USAGE ON SCHEMA cron TO {login}; SELECT steward.activate()");
    school.superuser().batch_execute(&set_up).expect("pg_cron is installed");
    let mut applicant = school.session(login);
    let delete =
        "DELETE FROM app.card_transaction WHERE booked_on < '2026-10-01'::date + (SELECT count(*)::int FROM app.entry)";
    let op_no = request(&mut applicant, delete, ", runs => 400, every => '3 seconds', expected_rows => 100");
    school.release(&op_no);
    let job = format!("SELECT * FROM steward.execute('{op_no}')");
    for command in [job.as_str(), &job, "DELETE FROM app.card_transaction WHERE amount >= 0"] {
        applicant.query("SELECT cron.schedule('@reboot', $1)", &[&command]).expect("a job");
    }
    let left = |school: &School| school.ask::<i64>("SELECT count(*) FROM app.card_transaction");
    for night in 1..=2 {
        school
            .superuser()
            .batch_execute(&"INSERT INTO app.entry (client) VALUES (1);".repeat(18))
            .expect("time goes by");
        let before = left(&school);
        school.restart();
        let done = format!("SELECT runs_done FROM steward.show('{op_no}')");
        wait_for(&school, "the job", || (school.ask::<i32>(&done) == night).then_some(()));
        let attempts = "operation_type = 'BEGIN EXECUTE'";
        wait_for(&school, "both sessions", || (school.records(attempts) == 2 * i64::from(night)).then_some(()));
        assert!(left(&school) < before, "old rows are gone");
        sleep(Duration::from_millis(3100));
    }
    assert_eq!(school.ask::<i32>(&format!("SELECT runs_done FROM steward.show('{op_no}')")), 2, "one run each night");
    let deleted =
        format!("operation_type = 'DELETE' AND op_no = '{op_no}' AND user_id = '{login}' AND result = 'SUCCESS'");
    assert_eq!(school.records(&deleted), 2);
    // The same statement by itself is bulk work that nobody approved.
    let denied = "operation_type = 'DELETE' AND result = 'DENIED' AND rule = 'bulk_write'";
    wait_for(&school, "the refusals", || (school.records(denied) == 2).then_some(()));
}

fn pg_cron_deletes_old_rows_as_a_client() {
    let service = "CREATE ROLE job_night LOGIN; GRANT USAGE ON SCHEMA app TO job_night;
        GRANT SELECT, DELETE ON app.card_transaction TO job_night; GRANT SELECT ON app.entry TO job_night;
        SELECT steward.register_person('Night jobs', 'service', roles => '{job_night}')";
    old_rows_go("off", "job_night", service);
}

fn pg_cron_deletes_old_rows_in_a_background_worker() {
    old_rows_go("on", "postgres", "SELECT 1");
}
