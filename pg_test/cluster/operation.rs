//! The life of an operation: request, approve, confirm, execute, review; and every step out of turn.

use std::thread::sleep;
use std::time::Duration;

use postgres::error::SqlState;

use crate::expect::{db_error, expect_bulk_refused, expect_error};
use crate::fault::wait_for;
use crate::school::{HOME, School, execute, request};

tests! {
    a_script_that_asks_who_runs_it_can_be_filed,
    an_approved_operation_changes_exactly_its_rows,
    its_number_stands_on_every_record,
    a_second_execute_is_refused,
    an_operation_with_two_runs_executes_twice,
    nothing_runs_before_its_approval,
    nothing_critical_runs_before_its_confirmation,
    a_changed_digest_is_refused,
    a_digest_shorter_than_twelve_digits_is_refused,
    an_expired_approval_is_refused,
    an_operation_does_not_run_before_its_time,
    more_rows_than_expected_abort_the_run,
    fewer_rows_than_expected_are_told_and_reviewed_with_a_word,
    fewer_rows_abort_a_run_that_was_filed_exactly,
    a_failed_run_is_on_record_and_changes_nothing,
    a_failure_that_meets_a_locked_row_is_not_lost,
    a_failure_before_a_run_that_succeeds_is_history,
    a_rejected_operation_does_not_run,
    a_prepared_execution_is_refused_once_the_approval_is_gone,
    a_cancelled_operation_does_not_run,
    cover_ends_with_the_run,
    an_important_operation_waits_for_its_review,
    a_script_that_does_not_parse_is_not_filed,
    classify_tells_what_would_happen_and_does_nothing,
    the_trail_tells_every_step_in_order,
    a_table_made_of_a_query_is_judged_by_its_query,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

fn changed(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note <> ''")
}

fn an_approved_operation_changes_exactly_its_rows() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", expected_rows => 60");
    assert!(op_no.starts_with("OP-20"), "{op_no}");
    assert_eq!(school.status(&op_no), "submitted");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    assert_eq!(school.status(&op_no), "approved");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    assert_eq!(changed(&school), 0, "nothing happens before execute");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
    let which = "SELECT count(*) FROM app.student WHERE (note = 'moved') = (id <= 60)";
    assert_eq!(school.ask::<i64>(which), 200, "the sixty, and no other");
    assert_eq!(school.status(&op_no), "executed");
}

fn its_number_stands_on_every_record() {
    let school = School::active();
    let script = format!("{SIXTY}; UPDATE app.guardian SET name = 'x' WHERE id <= 55");
    let op_no = school.operate("region_chen", &script);
    let updates = "operation_type = 'UPDATE' AND result = 'SUCCESS'";
    assert_eq!(school.records(&format!("{updates} AND op_no = '{op_no}'")), 2);
    assert_eq!(school.records(&format!("{updates} AND op_no IS NULL")), 0);
    let rows: i64 =
        school.ask(&format!("SELECT sum(rows)::bigint FROM steward.audit_log WHERE {updates} AND op_no = '{op_no}'"));
    assert_eq!(rows, 115);
    // request, approve, confirm and execute are on record with it as well.
    let steps = format!("op_no = '{op_no}' AND user_id IN ('region_chen', 'reviewer_sun', 'region_liu')");
    school.flush_audit();
    let persons: i64 = school.ask(&format!("SELECT count(DISTINCT user_id) FROM steward.audit_log WHERE {steps}"));
    assert_eq!(persons, 3);
}

fn a_second_execute_is_refused() {
    let school = School::active();
    let op_no = school.operate("region_chen", SIXTY);
    let mut chen = school.session("region_chen");
    expect_error(execute(&mut chen, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    assert_eq!(school.status(&op_no), "executed");
}

fn an_operation_with_two_runs_executes_twice() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, "UPDATE app.student SET note = note || '+' WHERE id <= 60", ", runs => 2");
    school.release(&op_no);
    execute(&mut chen, &op_no).expect("first run");
    school.vote("region_liu", "confirm", &op_no).expect("each run has its second person");
    execute(&mut chen, &op_no).expect("second run");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = '++'"), 60);
    expect_error(execute(&mut chen, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
}

fn nothing_runs_before_its_approval() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let run = execute(&mut school.session("region_chen"), &op_no);
    expect_error(run, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    assert_eq!(changed(&school), 0);
}

fn nothing_critical_runs_before_its_confirmation() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    let run = execute(&mut school.session("region_chen"), &op_no);
    let error = expect_error(run, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    let said = format!("{} {:?} {:?}", error.message(), error.detail(), error.hint());
    assert!(said.contains("confirm"), "{said}");
    assert_eq!(changed(&school), 0);
}

fn a_changed_digest_is_refused() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let other = school.request("region_chen", "UPDATE app.student SET note = 'other' WHERE id <= 60");
    let seen = school.digest(&other);
    let call = "SELECT steward.approve($1, $2)";
    let error = db_error(school.session("reviewer_sun").query(call, &[&op_no, &seen]));
    assert!(error.message().contains("digest"), "{error:?}");
    assert_eq!(school.status(&op_no), "submitted");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    let call = "SELECT steward.confirm($1, $2)";
    let error = db_error(school.session("region_liu").query(call, &[&op_no, &seen]));
    assert!(error.message().contains("digest"), "{error:?}");
}

fn a_digest_shorter_than_twelve_digits_is_refused() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let digest = school.digest(&op_no);
    let call = "SELECT steward.approve($1, $2)";
    let mut reviewer = school.session("reviewer_sun");
    db_error(reviewer.query(call, &[&op_no, &&digest[..11]]));
    assert_eq!(school.status(&op_no), "submitted");
    reviewer.query(call, &[&op_no, &&digest[..12]]).expect("twelve digits are enough");
    assert_eq!(school.status(&op_no), "approved");
}

fn an_expired_approval_is_refused() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", not_after => clock_timestamp() + interval '3 seconds'");
    school.release(&op_no);
    sleep(Duration::from_millis(3200));
    let error = expect_error(execute(&mut chen, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    let said = format!("{} {:?}", error.message(), error.detail());
    assert!(said.contains("expired"), "{said}");
    assert_eq!(changed(&school), 0);
}

fn an_operation_does_not_run_before_its_time() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", not_before => now() + interval '1 hour'");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    // Whether the second person may already confirm is not the point; the run is refused.
    drop(school.vote("region_liu", "confirm", &op_no));
    expect_error(execute(&mut chen, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    assert_eq!(changed(&school), 0);
}

fn more_rows_than_expected_abort_the_run() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", expected_rows => 59");
    school.release(&op_no);
    let error = db_error(execute(&mut chen, &op_no));
    let said = format!("{} {:?}", error.message(), error.detail());
    assert!(said.contains("59"), "{said}");
    assert_eq!(changed(&school), 0);
}

/// Rows that somebody thought were there, and that were not: the run ends well, and nobody can overlook it.
fn fewer_rows_than_expected_are_told_and_reviewed_with_a_word() {
    let school = School::active();
    let (sender, heard) = std::sync::mpsc::channel();
    let mut config = school.config("region_chen", HOME);
    config.notice_callback(move |notice| drop(sender.send(notice.message().to_owned())));
    let mut chen = config.connect(postgres::NoTls).expect("session");
    let told = |words: &str| heard.try_iter().any(|notice| notice.contains(words));
    let fewer = request(&mut chen, SIXTY, ", expected_rows => 61");
    school.release(&fewer);
    assert_eq!(execute(&mut chen, &fewer).expect("execute"), 60);
    assert!(told("touched 1 rows fewer than expected"));
    // Step by step the sum counts, with the last step; what only reads is not expected to touch anything.
    let steps = request(&mut chen, &format!("{SIXTY}; {SIXTY}"), ", expected_rows => 130, stepwise => true");
    school.approve(&steps);
    let digest = school.digest(&steps);
    for step in 1..=2 {
        let call = "SELECT steward.confirm($1, $2, $3)";
        school.session("region_liu").query(call, &[&steps, &digest, &step]).expect("confirm");
        execute(&mut chen, &steps).expect("a step");
        assert_eq!(told("touched 10 rows fewer"), step == 2);
    }
    let reads = request(&mut chen, "SELECT name FROM app.student", ", expected_rows => 7, approvals => 1");
    school.release(&reads);
    execute(&mut chen, &reads).expect("execute");
    assert!(!told("fewer"));
    let queue = format!(
        "SELECT string_agg(rows_missing::text, ' ' ORDER BY op_no) FROM steward.review_queue WHERE op_no IN ('{fewer}', '{steps}')"
    );
    assert_eq!(school.ask::<String>(&queue), "1 10");
    assert_eq!(school.records("operation_type = 'ROWS MISSING' AND result = 'FAILURE' AND person = 'Chen'"), 2);
    assert_eq!(
        school.records(&format!("op_no = '{fewer}' AND operation_type = 'EXECUTE' AND details ~ '\"rows_missing\":1'")),
        1
    );
    let mut sun = school.session("reviewer_sun");
    let silent = sun.query("SELECT steward.review($1, 'accepted', ' ')", &[&fewer]);
    let error = expect_error(silent, &SqlState::INVALID_PARAMETER_VALUE, "", "steward.review");
    assert!(error.message().contains("1 rows fewer than expected"), "{error:?}");
    sun.query("SELECT steward.review($1, 'accepted', 'one pupil has left')", &[&fewer]).expect("with a word");
    assert_eq!(school.status(&fewer), "closed");
}

fn fewer_rows_abort_a_run_that_was_filed_exactly() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", expected_rows => 61, exactly => true");
    school.release(&op_no);
    let error = expect_error(
        execute(&mut chen, &op_no),
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "expected_rows is 61",
        "File it again",
    );
    assert!(error.message().contains("fewer rows than were approved"), "{error:?}");
    assert_eq!(changed(&school), 0);
    let op_no = request(&mut chen, SIXTY, ", expected_rows => 60, exactly => true");
    school.release(&op_no);
    assert_eq!(execute(&mut chen, &op_no).expect("sixty are sixty"), 60);
    for more in ["", ", expected_rows => 60, every => '1 hour', runs => 3"] {
        let filed =
            chen.query(&format!("SELECT steward.request($1, purpose => 'x', exactly => true{more})"), &[&SIXTY]);
        expect_error(filed, &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
}

fn a_failed_run_is_on_record_and_changes_nothing() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, &format!("{SIXTY}; UPDATE app.student SET id = 1 WHERE id = 2"), "");
    school.release(&op_no);
    expect_error(execute(&mut chen, &op_no), &SqlState::UNIQUE_VIOLATION, "", "");
    assert_eq!(changed(&school), 0);
    let failures = format!("op_no = '{op_no}' AND result = 'FAILURE' AND sqlstate = '23505'");
    assert!(school.records(&failures) >= 1);
    assert_eq!(school.records(&format!("op_no = '{op_no}' AND operation_type = 'UPDATE' AND result = 'SUCCESS'")), 0);
    becomes(&school, &op_no, "failed");
}

/// What the sequencer makes of a record, once nobody's transaction is in its way.
#[track_caller]
fn becomes(school: &School, op_no: &str, status: &str) {
    wait_for(school, status, || (school.status(op_no) == status).then_some(()));
}

/// An approved operation of `region_chen` with so many runs, which fails while `app.scratch` is empty; and a transaction
/// of theirs that has run it once and holds its row.
fn run_once(school: &School, runs: u32) -> (postgres::Client, String) {
    let mut chen = school.session("region_chen");
    let script = "SELECT 1 / count(*) FROM app.scratch";
    let op_no = request(&mut chen, script, &format!(", runs => {runs}, approvals => 1"));
    school.release(&op_no);
    chen.batch_execute("BEGIN; INSERT INTO app.scratch VALUES (1, ''); SAVEPOINT s").expect("a row");
    execute(&mut chen, &op_no).expect("the first run");
    chen.batch_execute("DELETE FROM app.scratch; SAVEPOINT t").expect("no row");
    expect_error(execute(&mut chen, &op_no), &SqlState::DIVISION_BY_ZERO, "", "");
    chen.batch_execute("ROLLBACK TO t").expect("the transaction goes on");
    let failed = format!("op_no = '{op_no}' AND operation_type = 'EXECUTE' AND result = 'FAILURE'");
    assert_eq!(school.records(&failed), 1);
    assert_eq!(school.status(&op_no), "approved", "nothing waits for the row");
    (chen, op_no)
}

fn a_failure_that_meets_a_locked_row_is_not_lost() {
    let school = School::active();
    for end in ["COMMIT", "ROLLBACK"] {
        let (mut chen, op_no) = run_once(&school, 3);
        chen.batch_execute(end).expect(end);
        becomes(&school, &op_no, "failed");
        let told = format!(
            "SELECT string_agg(coalesce(details ->> 'status', 'put off'), ' ' ORDER BY n) FROM steward._operation_event
             WHERE op_no = '{op_no}' AND event = 'FAIL'"
        );
        assert_eq!(school.ask::<String>(&told), "put off failed");
        school.superuser().batch_execute("DELETE FROM app.scratch").expect("nobody's data");
    }
    // The sequencer that put it off may be gone.
    let (mut chen, op_no) = run_once(&school, 3);
    let sequencer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_steward sequencer'";
    let pid: i32 = school.ask(sequencer);
    school.signal("TERM", pid);
    chen.batch_execute("COMMIT").expect("commit");
    becomes(&school, &op_no, "failed");
}

fn a_failure_before_a_run_that_succeeds_is_history() {
    let school = School::active();
    let (mut chen, op_no) = run_once(&school, 3);
    chen.batch_execute("INSERT INTO app.scratch VALUES (1, '')").expect("a row");
    execute(&mut chen, &op_no).expect("the second run");
    school.flush_audit();
    chen.batch_execute("COMMIT").expect("commit");
    let settled = format!(
        "SELECT count(*) FROM steward._operation_event WHERE op_no = '{op_no}' AND event = 'FAIL' AND details ? 'needless'"
    );
    wait_for(&school, "the failure to be looked at", || (school.ask::<i64>(&settled) == 1).then_some(()));
    assert_eq!(school.status(&op_no), "approved", "one run is left");
}

fn a_rejected_operation_does_not_run() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let mut reviewer = school.session("reviewer_sun");
    reviewer.query("SELECT steward.reject($1, 'not this term')", &[&op_no]).expect("reject");
    assert_eq!(school.status(&op_no), "rejected");
    let error = db_error(school.vote("reviewer_zhou", "approve", &op_no));
    assert_eq!(error.code(), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error:?}");
    let run = execute(&mut school.session("region_chen"), &op_no);
    expect_error(run, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    assert_eq!(changed(&school), 0);
}

fn a_prepared_execution_is_refused_once_the_approval_is_gone() {
    let school = School::active();
    for login in ["region_chen", "postgres"] {
        let op_no = school.request(login, SIXTY);
        school.release(&op_no);
        let mut session = school.session(login);
        let by_protocol = session.prepare("SELECT steward.execute($1)").expect("prepare");
        let by_statement = format!("PREPARE run AS SELECT steward.execute('{op_no}')");
        session.batch_execute(&by_statement).expect("prepare");
        let reject = "SELECT steward.reject($1, 'not this term')";
        school.session("reviewer_sun").query(reject, &[&op_no]).expect("reject");
        let runs = [session.query(&by_protocol, &[&op_no]).map(drop), session.batch_execute("EXECUTE run")];
        for run in runs {
            expect_error(run, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
        }
        assert_eq!(changed(&school), 0, "{login}");
    }
}

fn a_cancelled_operation_does_not_run() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    school.release(&op_no);
    chen.query("SELECT steward.cancel($1)", &[&op_no]).expect("cancel");
    assert_eq!(school.status(&op_no), "cancelled");
    expect_error(execute(&mut chen, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    assert_eq!(changed(&school), 0);
}

fn cover_ends_with_the_run() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    school.release(&op_no);
    let again = "UPDATE app.student SET note = 'again' WHERE id > 100";
    let mut transaction = chen.transaction().expect("begin");
    transaction.query("SELECT * FROM steward.execute($1)", &[&op_no]).expect("execute");
    expect_bulk_refused(transaction.batch_execute(again), "app.student");
    drop(transaction);
    assert_eq!(changed(&school), 0, "the run was part of the transaction that failed");
}

fn an_important_operation_waits_for_its_review() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    // Without a number of rows it could be a bulk write, and so critical.
    let script = "UPDATE app.student SET id_card = 'ID-new' WHERE id = 7";
    let op_no = request(&mut chen, script, ", expected_rows => 1");
    assert_eq!(execute(&mut chen, &op_no).expect("important work needs no approval before"), 1);
    assert_eq!(school.status(&op_no), "executed");
    let review = "SELECT steward.review($1, 'accepted', 'as the school asked')";
    expect_error(chen.query(review, &[&op_no]), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    school.session("reviewer_sun").query(review, &[&op_no]).expect("review");
    assert_eq!(school.status(&op_no), "closed");
}

fn a_script_that_does_not_parse_is_not_filed() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let call = "SELECT steward.request('UPDAT app.student', purpose => 'typo')";
    expect_error(chen.query(call, &[]), &SqlState::SYNTAX_ERROR, "", "");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation"), 0);
}

fn classify_tells_what_would_happen_and_does_nothing() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let script = format!("SELECT 1; TRUNCATE app.guardian; {SIXTY}");
    let rows = chen
        .query("SELECT step, tier::text, decision FROM steward.classify($1) ORDER BY step", &[&script])
        .expect("classify");
    let tiers: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(tiers.len(), 3);
    assert_eq!(tiers[..2], ["normal", "critical"]);
    assert_eq!(changed(&school), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
}

fn the_trail_tells_every_step_in_order() {
    let school = School::active();
    let op_no = school.operate("region_chen", SIXTY);
    school.flush_audit();
    let trail: i64 = school.ask(&format!("SELECT count(*) FROM steward.operation_trail WHERE op_no = '{op_no}'"));
    assert!(trail >= 4, "request, approve, confirm, execute: {trail} events");
    let inbox: i64 = school.ask("SELECT count(*) FROM steward.operation WHERE status = 'executed'");
    assert_eq!(inbox, 1);
}

/// What a table is made of is what its statement does.
fn a_table_made_of_a_query_is_judged_by_its_query() {
    let school = School::inactive();
    let code = "CREATE FUNCTION app.unseen() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
        CREATE MATERIALIZED VIEW app.picture AS SELECT name FROM app.student; SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("code");
    let mut superuser = school.superuser();
    let exported = ("important", "export", "app.student");
    let read = ("critical", "server_access", "");
    for (script, (tier, rule, relation)) in [
        ("CREATE TABLE app.a AS SELECT * FROM app.student", exported),
        ("SELECT name, phone INTO app.b FROM app.student", exported),
        ("SELECT id INTO app.b FROM app.scratch UNION SELECT id FROM app.student", exported),
        ("CREATE MATERIALIZED VIEW app.c AS SELECT id_card FROM app.student", exported),
        ("EXPLAIN ANALYZE CREATE TABLE app.d AS SELECT * FROM app.student", exported),
        ("CREATE TABLE app.e AS SELECT pg_read_file('PG_VERSION')", read),
        ("CREATE TABLE app.e (text) AS SELECT pg_read_file('PG_VERSION') WITH NO DATA", read),
        ("SELECT pg_read_file('PG_VERSION') AS text INTO TEMP f", read),
        ("EXPLAIN (ANALYZE) SELECT pg_read_file('PG_VERSION')", read),
        ("CREATE TABLE app.g AS SELECT id FROM app.scratch", ("normal", "none", "")),
        ("EXPLAIN SELECT pg_read_file('PG_VERSION')", ("normal", "none", "")),
    ] {
        let judged = "SELECT tier::text, rule, array_to_string(relations, ' ') FROM steward.classify($1)";
        let row = superuser.query_one(judged, &[&script]).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        let found = [row.get::<_, String>(0), row.get(1), row.get(2)];
        assert_eq!(found, [tier, rule, relation], "{script}");
    }
    for script in [
        "CREATE TABLE app.h AS SELECT app.unseen()",
        "SELECT app.unseen() INTO app.h",
        "CREATE TABLE app.h AS EXECUTE p",
        "REFRESH MATERIALIZED VIEW app.picture",
        "EXPLAIN ANALYZE EXECUTE p",
    ] {
        let op_no = request(&mut superuser, script, "");
        let tier: String = school.ask(&format!("SELECT tier::text FROM steward.show('{op_no}')"));
        assert_eq!(tier, "critical", "{script}");
    }
    // And it runs as it was approved.
    school.operate(
        "postgres",
        "CREATE TABLE app.kept AS SELECT * FROM app.student; SELECT name INTO app.names FROM app.student",
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.kept JOIN app.names USING (name)"), 200);
}

fn a_script_that_asks_who_runs_it_can_be_filed() {
    let school = School::inactive();
    let policy = "CREATE TABLE app.own (name text); SELECT steward.protect('app.own'); GRANT ALL ON app.own TO PUBLIC;
        ALTER TABLE app.own ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON app.own USING (name = current_user);
        SELECT steward.activate()";
    school.superuser().batch_execute(policy).expect("a table of everybody's");
    school.request("region_chen", "UPDATE app.student SET note = 'x' WHERE note = current_user");
    school.request("region_chen", "UPDATE app.own SET name = user");
}
