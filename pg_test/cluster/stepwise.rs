//! Operations in ordered steps: each statement by itself, after a confirmation of its own, and in no other order.

use std::thread::spawn;

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::{expect_error, expect_message};
use crate::failover::wait_until;
use crate::school::{School, ask, execute, request};

tests! {
    each_execution_runs_the_next_statement,
    a_confirmation_serves_one_step,
    a_confirmation_names_the_next_step,
    two_steps_do_not_share_a_transaction,
    two_sessions_at_once_run_one_step,
    a_table_changed_between_two_steps_ends_them,
    a_step_may_make_what_the_next_one_uses,
    what_others_change_while_a_step_defines_something_is_not_adopted,
    a_table_is_held_while_a_step_defines_something,
    a_failed_step_is_repeated,
    what_was_done_before_a_cancellation_is_reviewed,
    steps_are_restored_backwards,
    the_rows_of_all_steps_are_limited_together,
    an_approver_who_left_between_two_steps_does_not_count,
    a_superuser_neither_confirms_nor_counts_his_own_steps,
    steps_exclude_runs_and_intervals,
}

const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const THREE: &str = "UPDATE app.student SET note = note || '1' WHERE id <= 60;
    UPDATE app.student SET note = note || '2' WHERE id <= 60; UPDATE app.student SET note = note || '3' WHERE id <= 60";

/// Filed by this session, and approved.
#[track_caller]
fn approved(school: &School, applicant: &mut Client, script: &str, more: &str) -> String {
    let op_no = request(applicant, script, &format!(", stepwise => true{more}"));
    school.approve(&op_no);
    op_no
}

fn confirm(school: &School, login: &str, op_no: &str, step: i32) -> Result<(), postgres::Error> {
    let digest = school.digest(op_no);
    let call = "SELECT steward.confirm($1, $2, $3)";
    school.session(login).query(call, &[&op_no, &digest, &step]).map(drop)
}

/// Confirms the step and runs it.
fn step(school: &School, applicant: &mut Client, op_no: &str, number: i32) -> Result<i64, postgres::Error> {
    confirm(school, "region_liu", op_no, number).unwrap_or_else(|error| panic!("step {number}: {error:?}"));
    execute(applicant, op_no)
}

#[track_caller]
fn steps_done(school: &School, op_no: &str) -> i32 {
    school.ask(&format!("SELECT steps_done FROM steward.show('{op_no}')"))
}

/// The notes of the sixty rows, if they are all the same.
#[track_caller]
fn note(school: &School) -> String {
    let notes = "SELECT string_agg(DISTINCT note, ' or ') FROM app.student WHERE id <= 60";
    school.ask(notes)
}

/// Nobody stands by for the next step.
#[track_caller]
fn unconfirmed(school: &School, applicant: &mut Client, op_no: &str) {
    let message = format!("{op_no} needs the confirmation of a second person");
    let error = expect_message(execute(applicant, op_no), NOT_NOW, &message);
    let next = steps_done(school, op_no) + 1;
    assert!(error.hint().is_some_and(|hint| hint.ends_with(&format!("', {next});"))), "{error:?}");
}

fn each_execution_runs_the_next_statement() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    for (number, so_far) in [(1, "1"), (2, "12"), (3, "123")] {
        let waits = "SELECT next_command FROM steward.inbox WHERE waits_for = 'confirmation'";
        let call: String = ask(&mut school.session("region_liu"), waits);
        assert!(call.ends_with(&format!(", {number});")), "{call}");
        school.session("region_liu").batch_execute(&call).expect("the command of the inbox");
        let done = chen.query("SELECT step, statement FROM steward.execute($1)", &[&op_no]).expect("execute");
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].get::<_, i32>(0), number);
        assert!(done[0].get::<_, String>(1).contains(&format!("|| '{number}'")));
        assert_eq!((note(&school).as_str(), steps_done(&school, &op_no)), (so_far, number));
        assert_eq!(school.status(&op_no), if number < 3 { "approved" } else { "executed" });
    }
    let trail = format!(
        "SELECT string_agg(concat_ws(' ', event, details ->> 'step'), ', ' ORDER BY n) FROM steward.operation_trail
        WHERE op_no = '{op_no}'"
    );
    let steps = "REQUEST, APPROVE, CONFIRM 1, EXECUTE 1, CONFIRM 2, EXECUTE 2, CONFIRM 3, EXECUTE 3";
    assert_eq!(school.ask::<String>(&trail), steps);
    school.flush_audit();
    let recorded = format!(
        "SELECT string_agg(details::json ->> 'step', ' ' ORDER BY id) FROM steward.audit_log
        WHERE op_no = '{op_no}' AND operation_type = 'EXECUTE'"
    );
    assert_eq!(school.ask::<String>(&recorded), "1 2 3");
}

fn a_confirmation_serves_one_step() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    unconfirmed(&school, &mut chen, &op_no);
    step(&school, &mut chen, &op_no, 1).expect("the first step");
    unconfirmed(&school, &mut chen, &op_no);
    assert_eq!(note(&school), "1");
}

fn a_confirmation_names_the_next_step() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    expect_error(school.vote("region_liu", "confirm", &op_no), &SqlState::INVALID_PARAMETER_VALUE, "", ", 1);");
    for other in [2, 3, 0, -1, 4] {
        expect_error(confirm(&school, "region_liu", &op_no, other), NOT_NOW, "Steps done: 0 of 3.", ", 1);");
    }
    unconfirmed(&school, &mut chen, &op_no);
    step(&school, &mut chen, &op_no, 1).expect("the first step");
    // Whoever still reads the first one does not let the second one run.
    expect_error(confirm(&school, "region_liu", &op_no, 1), NOT_NOW, "Steps done: 1 of 3.", ", 2);");
    unconfirmed(&school, &mut chen, &op_no);
    let whole = school.request("region_chen", "UPDATE app.student SET note = 'x' WHERE id <= 60");
    school.approve(&whole);
    expect_error(confirm(&school, "region_liu", &whole, 1), &SqlState::INVALID_PARAMETER_VALUE, "", "');");
}

fn two_steps_do_not_share_a_transaction() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    confirm(&school, "region_liu", &op_no, 1).expect("confirm");
    let mut transaction = chen.transaction().expect("begin");
    transaction.query("SELECT * FROM steward.execute($1)", &[&op_no]).expect("the first step");
    let mut witness = school.session("region_liu");
    let vote = format!("SELECT steward.confirm('{op_no}', '{}', 2)", school.digest(&op_no));
    expect_error(witness.batch_execute(&vote), NOT_NOW, "of login \"region_chen\" holds it", "pg_terminate_backend");
    expect_error(transaction.query("SELECT * FROM steward.execute($1)", &[&op_no]), NOT_NOW, "", ", 2);");
    drop(transaction);
    // Nothing was done, so it is the same step that stands confirmed.
    assert_eq!((note(&school).as_str(), steps_done(&school, &op_no)), ("", 0));
    execute(&mut chen, &op_no).expect("the first step again");
    assert_eq!((note(&school).as_str(), steps_done(&school, &op_no)), ("1", 1));
}

fn two_sessions_at_once_run_one_step() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    for number in 1..=3 {
        confirm(&school, "region_liu", &op_no, number).expect("confirm");
        let runs = [(); 2].map(|()| {
            let (mut session, op_no) = (school.session("region_chen"), op_no.clone());
            spawn(move || execute(&mut session, &op_no).is_ok())
        });
        let done = runs.into_iter().map(|run| run.join().expect("no panic")).filter(|done| *done).count();
        assert_eq!((done, steps_done(&school, &op_no)), (1, number));
    }
    assert_eq!(note(&school), "123");
}

fn a_table_changed_between_two_steps_ends_them() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    step(&school, &mut chen, &op_no, 1).expect("the first step");
    confirm(&school, "region_liu", &op_no, 2).expect("confirm");
    school.operate("postgres", "ALTER TABLE app.student ADD COLUMN grade int");
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "table app.student was changed", "steward.request");
    expect_error(confirm(&school, "region_liu", &op_no, 2), NOT_NOW, "table app.student was changed", "");
    assert_eq!(note(&school), "1");
}

fn a_step_may_make_what_the_next_one_uses() {
    let school = School::active();
    let mut superuser = school.superuser();
    let script = "ALTER TABLE app.student ADD COLUMN grade int;
        CREATE FUNCTION app.grade(id int) RETURNS int LANGUAGE sql AS 'SELECT id % 6';
        UPDATE app.student SET grade = app.grade(id) WHERE id <= 60; DROP FUNCTION app.grade(int)";
    let op_no = approved(&school, &mut superuser, script, "");
    let rows = [1, 2, 3, 4].map(|number| step(&school, &mut superuser, &op_no, number).expect("a step"));
    assert_eq!(rows, [0, 0, 60, 0]);
    assert_eq!(school.status(&op_no), "executed");
    school.flush_audit();
    let made = format!(
        "SELECT string_agg(details::json ->> 'changes', ' ' ORDER BY id) FROM steward.audit_log
        WHERE op_no = '{op_no}' AND operation_type = 'EXECUTE'"
    );
    let made: String = school.ask(&made);
    assert_eq!(
        made,
        r#"["table app.student was changed"] ["function app.grade(integer) is new"] ["function app.grade(integer) is gone"]"#
    );
}

/// A school with a table that nobody protects and a function, both of which the second of two steps uses; the first one
/// waits for a lock of the attacker's while he acts.
fn while_a_step_waits(attack: impl FnOnce(&mut Client)) -> (School, String, Result<i64, postgres::Error>) {
    let school = School::inactive();
    let code = "CREATE FUNCTION app.helper() RETURNS text LANGUAGE sql AS 'SELECT ''good''';
        CREATE FUNCTION app.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("code");
    let mut superuser = school.superuser();
    let script = "ALTER TABLE app.student ADD COLUMN grade int; INSERT INTO app.scratch VALUES (1, app.helper())";
    let op_no = approved(&school, &mut superuser, script, "");
    confirm(&school, "region_liu", &op_no, 1).expect("confirm");
    let mut holder = school.session("teacher_wang");
    holder.batch_execute("BEGIN; SELECT count(*) FROM app.student").expect("lock");
    let run = spawn({
        let op_no = op_no.clone();
        move || execute(&mut superuser, &op_no)
    });
    wait_until(&school, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'app.student'::regclass");
    attack(&mut school.superuser());
    holder.batch_execute("COMMIT").expect("commit");
    (school, op_no, run.join().expect("no panic"))
}

fn what_others_change_while_a_step_defines_something_is_not_adopted() {
    let (school, op_no, run) = while_a_step_waits(|attacker| {
        let replace = "CREATE OR REPLACE FUNCTION app.helper() RETURNS text LANGUAGE sql AS 'SELECT ''stolen'''";
        attacker.batch_execute("SET lock_timeout = '1s'").expect("set");
        expect_error(attacker.batch_execute(replace), &SqlState::LOCK_NOT_AVAILABLE, "", "");
        let overload = "CREATE FUNCTION app.helper(a int) RETURNS text LANGUAGE sql AS 'SELECT ''stolen'''";
        attacker.batch_execute(overload).expect("nobody holds what is not there");
    });
    expect_error(run, NOT_NOW, "function app.helper(integer) is new", "steward.request");
    assert_eq!(steps_done(&school, &op_no), 0);
}

fn a_table_is_held_while_a_step_defines_something() {
    let (school, op_no, run) = while_a_step_waits(|attacker| {
        let trigger = "CREATE TRIGGER t AFTER INSERT ON app.scratch FOR EACH ROW EXECUTE FUNCTION app.fires()";
        attacker.batch_execute("SET lock_timeout = '1s'").expect("set");
        expect_error(attacker.batch_execute(trigger), &SqlState::LOCK_NOT_AVAILABLE, "", "");
    });
    run.expect("the first step");
    let mut superuser = school.superuser();
    step(&school, &mut superuser, &op_no, 2).expect("the second step");
}

fn a_failed_step_is_repeated() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let script =
        "UPDATE app.student SET note = 'one' WHERE id <= 60; UPDATE app.student SET id_card = 'ID2' WHERE id = 1";
    let op_no = approved(&school, &mut chen, script, "");
    step(&school, &mut chen, &op_no, 1).expect("the first step");
    expect_error(step(&school, &mut chen, &op_no, 2), &SqlState::UNIQUE_VIOLATION, "", "");
    school.flush_audit();
    let failures = format!("SELECT count(*) FROM steward.operation_trail WHERE op_no = '{op_no}' AND event = 'FAIL'");
    assert_eq!((school.ask::<i64>(&failures), steps_done(&school, &op_no)), (1, 1));
    let mut other = school.session("teacher_wang");
    other.batch_execute("UPDATE app.student SET id_card = 'ID-free' WHERE id = 2").expect("the cause goes");
    assert_eq!(step(&school, &mut chen, &op_no, 2).expect("the same step"), 1);
    assert_eq!((school.status(&op_no).as_str(), note(&school).as_str()), ("executed", "one"));
}

fn what_was_done_before_a_cancellation_is_reviewed() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    step(&school, &mut chen, &op_no, 1).expect("the first step");
    chen.query("SELECT steward.cancel($1)", &[&op_no]).expect("cancel");
    assert_eq!(school.status(&op_no), "executed");
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "", "");
    expect_error(confirm(&school, "region_liu", &op_no, 2), NOT_NOW, "", "");
    let review = "SELECT steward.review($1, 'accepted', 'one of three')";
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!((school.status(&op_no).as_str(), note(&school).as_str()), ("closed", "1"));
}

fn steps_are_restored_backwards() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    for number in 1..=3 {
        step(&school, &mut chen, &op_no, number).expect("a step");
    }
    for left in ["12", "1", ""] {
        school.operate("region_chen", &format!("SELECT steward.restore('{op_no}')"));
        assert_eq!(note(&school), left);
    }
    let again = school.request("region_chen", &format!("SELECT steward.restore('{op_no}')"));
    school.release(&again);
    expect_message(execute(&mut chen, &again), NOT_NOW, &format!("{op_no} is restored already"));
}

fn the_rows_of_all_steps_are_limited_together() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, ", expected_rows => 130");
    step(&school, &mut chen, &op_no, 1).expect("60 rows");
    step(&school, &mut chen, &op_no, 2).expect("120 rows");
    expect_error(step(&school, &mut chen, &op_no, 3), REFUSED, "It touched 180 rows; expected_rows is 130.", "");
    assert_eq!((note(&school).as_str(), steps_done(&school, &op_no)), ("12", 2));
}

fn an_approver_who_left_between_two_steps_does_not_count() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = approved(&school, &mut chen, THREE, "");
    step(&school, &mut chen, &op_no, 1).expect("the first step");
    school.operate_by(&["reviewer_zhou"], "SELECT steward.suspend_person('Sun', 'left')");
    confirm(&school, "region_liu", &op_no, 2).expect("confirm");
    expect_error(execute(&mut chen, &op_no), NOT_NOW, "0 of 1", "steward.approve");
    school.vote("reviewer_zhou", "approve", &op_no).expect("another approver");
    execute(&mut chen, &op_no).expect("the second step");
    assert_eq!(note(&school), "12");
}

fn a_superuser_neither_confirms_nor_counts_his_own_steps() {
    let school = School::active();
    let mut superuser = school.superuser();
    let op_no = approved(&school, &mut superuser, THREE, "");
    expect_error(confirm(&school, "postgres", &op_no, 1), REFUSED, "cannot be the second person", "");
    for forged in [
        "confirmed_by = 'Liu', confirmed_at = now(), confirmed_step = 1",
        "runs_done = 2",
        "stepwise = false, confirmed_at = now()",
        "script = 'UPDATE app.student SET note = $$3$$'",
    ] {
        let update = format!("UPDATE steward._operation SET {forged} WHERE op_no = '{op_no}'");
        expect_error(superuser.batch_execute(&update), REFUSED, "", "");
    }
    unconfirmed(&school, &mut superuser, &op_no);
    confirm(&school, "region_liu", &op_no, 1).expect("confirm");
    let others = execute(&mut school.session("region_chen"), &op_no);
    expect_error(others, REFUSED, "only the applicant executes", "");
    assert_eq!((note(&school).as_str(), steps_done(&school, &op_no)), ("", 0));
}

fn steps_exclude_runs_and_intervals() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    for more in ["runs => 2", "runs => 9, every => '1 hour', expected_rows => 60"] {
        let call = format!("SELECT steward.request($1, purpose => 'x', stepwise => true, {more})");
        expect_error(chen.query(&call, &[&THREE]), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
}
