//! What changes while a session is armed: what the policy, the persons and the code have become holds for the statements
//! that are left.

use postgres::Client;
use postgres::error::SqlState;

use crate::armed::{LOAD, arm, armed, changed, digests, released, settled};
use crate::expect::{db_error, expect_error, expect_refused};
use crate::fault::wait_for;
use crate::school::{School, request};

tests! {
    what_others_change_between_two_statements_is_not_run,
    a_function_is_held_while_a_statement_defines_something,
    a_script_may_use_what_it_has_made,
    a_second_run_of_what_it_has_changed_is_approved_anew,
    a_signature_demanded_since_stops_it,
    a_signature_of_a_rule_demanded_since_stops_it,
    a_number_of_approvals_demanded_since_stops_it,
    a_window_set_since_stops_it,
    a_window_set_since_for_a_rule_stops_it,
    a_membership_taken_away_stops_it,
    an_end_that_meets_a_locked_row_is_tried_again,
    an_end_put_off_outlives_the_sequencer,
    the_data_is_part_of_what_is_voted_on,
    data_exchanged_behind_the_policy_is_found,
}

const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const BULK: &str = "UPDATE app.student SET note = 'armed' WHERE id <= 60";
/// Something harmless, and then a bulk write.
const LATER: &str = "SELECT 1; UPDATE app.student SET note = 'armed' WHERE id <= 60";

/// An active school with a function that the second of two statements calls; the first one defines something.
fn defining() -> (School, Client, String, &'static str) {
    let school = School::inactive();
    let code = "CREATE FUNCTION app.kept() RETURNS int LANGUAGE sql AS 'SELECT 60'; SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("set-up");
    let statement = "UPDATE app.student SET note = 'x' WHERE id <= app.kept()";
    let script = format!("CREATE TABLE app.made (id int); {statement}");
    let (session, op_no) = armed(&school, "postgres", &script, "");
    (school, session, op_no, statement)
}

fn what_others_change_between_two_statements_is_not_run() {
    let (school, mut session, op_no, statement) = defining();
    session.batch_execute("CREATE TABLE app.made (id int)").expect("the first");
    let replace = "CREATE OR REPLACE FUNCTION app.kept() RETURNS int LANGUAGE sql AS 'SELECT 200'";
    school.superuser().batch_execute(replace).expect("changed in between");
    expect_error(session.batch_execute(statement), NOT_NOW, "function app.kept() was changed", "");
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"), "partly, so it is reviewed");
}

fn a_function_is_held_while_a_statement_defines_something() {
    let school = School::inactive();
    let code = "CREATE FUNCTION app.kept() RETURNS int LANGUAGE sql AS 'SELECT 60'; CREATE TABLE app.gate (id int);
        SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("set-up");
    let statement = "UPDATE app.student SET note = 'x' WHERE id <= app.kept()";
    let defines = "ALTER TABLE app.gate ADD COLUMN note text";
    let (mut session, op_no) = armed(&school, "postgres", &format!("{defines}; {statement}"), "");
    let mut holder = school.superuser();
    holder.batch_execute("BEGIN; SELECT count(*) FROM app.gate").expect("a lock");
    let run = std::thread::spawn(move || session.batch_execute(defines).map(|()| session));
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'app.gate'::regclass";
    crate::failover::wait_until(&school, waits);
    let mut attacker = school.superuser();
    attacker.batch_execute("SET lock_timeout = '1s'").expect("set");
    let replace = "CREATE OR REPLACE FUNCTION app.kept() RETURNS int LANGUAGE sql AS 'SELECT 200'";
    expect_error(attacker.batch_execute(replace), &SqlState::LOCK_NOT_AVAILABLE, "", "");
    holder.batch_execute("COMMIT").expect("commit");
    let mut session = run.join().expect("no panic").expect("the first");
    session.batch_execute(statement).expect("the second");
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (60, "executed"));
}

fn a_script_may_use_what_it_has_made() {
    let school = School::active();
    let statements = [
        "CREATE FUNCTION app.made() RETURNS int LANGUAGE sql AS 'SELECT 60'",
        "VACUUM FULL app.student",
        "CREATE OR REPLACE FUNCTION app.made() RETURNS int LANGUAGE sql AS 'SELECT 61'",
        "UPDATE app.student SET note = 'x' WHERE id <= app.made()",
        "DROP FUNCTION app.made()",
    ];
    let (mut session, op_no) = armed(&school, "postgres", &statements.join("; "), "");
    for statement in statements {
        session.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    assert_eq!((changed(&school), school.status(&op_no).as_str()), (61, "executed"));
}

fn a_second_run_of_what_it_has_changed_is_approved_anew() {
    let school = School::inactive();
    let code = "CREATE FUNCTION app.kept() RETURNS int LANGUAGE sql AS 'SELECT 60'; SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("set-up");
    let replace = "CREATE OR REPLACE FUNCTION app.kept() RETURNS int LANGUAGE sql AS 'SELECT 61'";
    let script = format!("{replace}; VACUUM FULL app.student");
    let (mut session, op_no) = armed(&school, "postgres", &script, ", runs => 2");
    session.batch_execute(replace).expect("first");
    session.batch_execute("VACUUM FULL app.student").expect("second");
    let again = school.vote("region_liu", "confirm", &op_no);
    expect_error(again, NOT_NOW, "function app.kept() was changed", "");
}

/// Armed by `region_chen`, one statement done; then the policy changes by an operation of its own.
#[track_caller]
fn stopped_by(change: &str) -> postgres::error::DbError {
    stopped_at(BULK, change)
}

/// The same where a block hides what the second statement does.
#[track_caller]
fn hidden_stopped_by(change: &str) -> postgres::error::DbError {
    stopped_at("DO $$BEGIN UPDATE app.student SET note = 'armed' WHERE id <= 60; END$$", change)
}

#[track_caller]
fn stopped_at(statement: &str, change: &str) -> postgres::error::DbError {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "region_chen", &format!("SELECT 1; {statement}"), "");
    session.simple_query("SELECT 1").expect("the first");
    school.operate("postgres", change);
    let refused = db_error(session.batch_execute(statement));
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"), "{refused:?}");
    refused
}

fn a_signature_demanded_since_stops_it() {
    let refused = stopped_by("SELECT steward.set_approval('critical', 1, '{person:Zhou}')");
    assert!(refused.detail().is_some_and(|detail| detail.contains("Still open")), "{refused:?}");
}

fn a_signature_of_a_rule_demanded_since_stops_it() {
    let change = "SELECT steward.set_approval('important', 1, '{person:Zhou}', rule => 'bulk_write')";
    let refused = stopped_by(change);
    assert!(refused.detail().is_some_and(|detail| detail.contains("Still open")), "{refused:?}");
    let refused = hidden_stopped_by(change);
    assert!(refused.message().contains("does not reach as far as rule \"bulk_write\""), "{refused:?}");
}

fn a_number_of_approvals_demanded_since_stops_it() {
    stopped_by("SELECT steward.set_tier_policy('critical', approvals => 2)");
    stopped_by(
        "SELECT steward.set_rule('notes', 'critical', commands => '{UPDATE}', columns => '{note}', approvals => 2)",
    );
}

/// A day of the week that is neither today nor beside it.
const OTHER_DAYS: &str = "ARRAY[extract(isodow FROM clock_timestamp() AT TIME ZONE current_setting('steward.time_zone')
    + interval '3 days')::int], '00:00', '24:00'";

fn a_window_set_since_stops_it() {
    let refused = stopped_by(&format!("SELECT steward.set_window('later', 'critical', {OTHER_DAYS})"));
    assert!(refused.message().contains("outside its maintenance window"), "{refused:?}");
}

fn a_window_set_since_for_a_rule_stops_it() {
    let refused = hidden_stopped_by(&format!("SELECT steward.set_window('later', 'bulk_write', {OTHER_DAYS})"));
    assert!(refused.message().contains("does not reach as far as rule \"bulk_write\""), "{refused:?}");
}

/// SET ROLE outlives the membership.
fn a_membership_taken_away_stops_it() {
    let school = School::inactive();
    let set_up = "CREATE ROLE desk; GRANT SELECT, UPDATE ON app.student TO desk; GRANT desk TO region_chen;
        SELECT steward.activate()";
    school.superuser().batch_execute(set_up).expect("set-up");
    let mut session = school.session("region_chen");
    session.batch_execute("SET ROLE desk").expect("a member");
    let op_no = request(&mut session, LATER, "");
    school.release(&op_no);
    arm(&mut session, &op_no).expect("arm");
    session.simple_query("SELECT 1").expect("the first");
    school.operate("postgres", "REVOKE desk FROM region_chen");
    let refused = expect_refused(session.batch_execute(BULK));
    assert!(refused.message().contains("is no member of role \"desk\""), "{refused:?}");
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"));
}

/// An armed run of `region_chen` that ended while somebody held the row of its operation, and that somebody.
fn ended_under_a_lock(school: &School) -> (Client, String) {
    let (mut session, op_no) = armed(school, "region_chen", BULK, "");
    let mut holder = school.session("region_chen");
    holder.batch_execute(&format!("BEGIN; SELECT steward.cancel('{op_no}')")).expect("cancel");
    expect_refused(session.batch_execute("SELECT 1"));
    assert_eq!(school.records(&format!("operation_type = 'DISARM' AND op_no = '{op_no}'")), 1);
    assert_eq!(school.status(&op_no), "armed");
    (holder, op_no)
}

fn an_end_that_meets_a_locked_row_is_tried_again() {
    let school = School::active();
    let (mut holder, op_no) = ended_under_a_lock(&school);
    holder.batch_execute("ROLLBACK").expect("rollback");
    assert_eq!(settled(&school, &op_no), "failed");
    // The run was given back.
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    let mut session = school.session("region_chen");
    arm(&mut session, &op_no).expect("arm again");
    session.batch_execute(BULK).expect("the statement itself");
    assert_eq!((changed(&school), school.status(&op_no).as_str()), (60, "executed"));
    // What a locker did counts: nothing is taken back from it.
    let (mut holder, op_no) = ended_under_a_lock(&school);
    holder.batch_execute("COMMIT").expect("commit");
    let ended = format!(
        "SELECT count(*) FROM steward.operation_trail WHERE op_no = '{op_no}' AND event = 'DISARM' AND details ? 'status'"
    );
    wait_for(&school, "the end", || (school.ask::<i64>(&ended) == 1).then_some(()));
    assert_eq!(school.status(&op_no), "executed");
}

fn an_end_put_off_outlives_the_sequencer() {
    let school = School::active();
    let (mut holder, op_no) = ended_under_a_lock(&school);
    let sequencer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_steward sequencer'";
    let pid: i32 = school.ask(sequencer);
    school.signal("TERM", pid);
    wait_for(&school, "another sequencer", || {
        let other = format!("{sequencer} AND pid <> {pid}");
        school.superuser().query_opt(&other, &[]).expect("a look").map(drop)
    });
    holder.batch_execute("ROLLBACK").expect("rollback");
    assert_eq!(settled(&school, &op_no), "failed");
}

fn the_data_is_part_of_what_is_voted_on() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let one = request(&mut chen, LOAD, &digests("1\t1\tx\n"));
    let other = request(&mut chen, LOAD, &digests("2\t1\tx\n"));
    assert_ne!(school.digest(&one), school.digest(&other));
    let digest = school.digest(&one);
    let vote = school.session("reviewer_sun").query("SELECT steward.approve($1, $2)", &[&other, &digest]);
    let refused = expect_refused_vote(vote);
    assert!(refused.message().contains("changed digest"), "{refused:?}");
}

#[track_caller]
fn expect_refused_vote<T>(vote: Result<T, postgres::Error>) -> postgres::error::DbError {
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "other bytes", "")
}

/// Somebody who starts the server without the policy puts other data into what was approved.
fn data_exchanged_behind_the_policy_is_found() {
    let mut school = School::active();
    let (_, op_no) = released(&school, "region_chen", LOAD, &digests("1\t1\tx\n"));
    school.configure(&["steward.mode = 'off'"]);
    school.restart();
    let exchange = format!(
        "UPDATE steward._operation SET data_digests = ARRAY[encode(sha256('stolen'), 'hex')] WHERE op_no = '{op_no}'"
    );
    school.superuser().batch_execute(&exchange).expect("without the policy");
    school.configure(&["steward.mode = 'enforce'"]);
    school.restart();
    let refused = db_error(arm(&mut school.session("region_chen"), &op_no));
    assert!(refused.message().contains("does not match its digest"), "{refused:?}");
}
