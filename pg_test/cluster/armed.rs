//! Armed sessions: every kind of statement that cannot run inside a function, from end to end; and every attempt to make
//! the cover wider, longer or usable twice.

use crate::expect::{db_error, expect_error, expect_refused};
use crate::fault::{wait_for, wait_for_recovery};
use crate::school::{HOME, School, ask, execute, request};
use crate::way_around::wire::{Wire, error};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};

tests! {
    vacuum_full_runs_armed,
    indexes_are_built_and_dropped_concurrently,
    alter_system_keeps_what_was_set,
    rows_are_returned_and_capped_over_the_whole_run,
    an_approved_export_is_capped,
    data_that_has_its_digest_is_loaded,
    other_data_leaves_nothing_behind,
    data_without_a_digest_is_not_filed,
    execute_names_the_other_way,
    what_no_operation_runs_is_not_filed,
    an_armed_run_is_used_up,
    a_mistyped_statement_disarms_and_gives_the_run_back,
    statements_come_in_their_order,
    nothing_comes_in_between,
    show_comes_in_between,
    rollback_is_never_blocked_and_disarms,
    disarm_ends_the_run_and_what_ran_stays,
    a_pool_hands_no_armed_session_on,
    a_session_of_the_post_service_is_not_armed,
    it_is_not_armed_inside_a_block,
    an_error_disarms,
    the_end_of_a_session_disarms,
    kill_9_uses_the_run_up,
    somebody_elses_session_is_not_covered,
    a_changed_setting_is_refused,
    a_statement_prepared_before_is_refused,
    several_statements_in_one_message_are_refused,
    execute_do_and_cursors_are_other_statements,
    a_portal_in_portions_is_refused,
    the_fastpath_is_closed,
    functions_are_part_of_their_statement_only,
    a_security_definer_function_is_not_covered_twice,
    a_rejection_ends_it,
    what_ran_before_it_was_taken_back_can_be_restored,
    a_suspended_approver_ends_it,
    the_end_of_the_term_ends_it,
    a_changed_function_ends_it,
    it_is_armed_for_its_applicant_with_all_that_execute_demands,
}

/// Files and releases an operation; a session of its applicant.
pub fn released(school: &School, login: &str, script: &str, more: &str) -> (Client, String) {
    let mut session = school.session(login);
    let op_no = request(&mut session, script, more);
    school.release(&op_no);
    (session, op_no)
}

pub fn arm(session: &mut Client, op_no: &str) -> Result<(), postgres::Error> {
    session.batch_execute(&format!("SELECT steward.arm('{op_no}')"))
}

pub fn armed(school: &School, login: &str, script: &str, more: &str) -> (Client, String) {
    let (mut session, op_no) = released(school, login, script, more);
    arm(&mut session, &op_no).unwrap_or_else(|error| panic!("arm for {script}: {error:?}"));
    assert_eq!(school.status(&op_no), "armed");
    (session, op_no)
}

/// The status once the sequencer has seen everything. A client has its error before the transaction has ended, and with it
/// the run.
#[track_caller]
pub fn settled(school: &School, op_no: &str) -> String {
    wait_for(school, "the end of the armed run", || {
        school.flush_audit();
        Some(school.status(op_no)).filter(|status| status != "armed")
    })
}

const FULL: &str = "VACUUM FULL app.student";
const BULK: &str = "UPDATE app.student SET note = 'armed' WHERE id <= 60";

/// A script with a bulk write behind something that cannot run inside a function.
const TWO: &str = "VACUUM FULL app.student; UPDATE app.student SET note = 'armed' WHERE id <= 60";

pub fn changed(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note <> ''")
}

fn place(school: &School) -> u32 {
    school.ask("SELECT relfilenode FROM pg_class WHERE oid = 'app.student'::regclass")
}

fn rows(messages: &[SimpleQueryMessage]) -> usize {
    messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count()
}

fn vacuum_full_runs_armed() {
    let school = School::active();
    expect_refused(school.superuser().batch_execute(FULL));
    let before = place(&school);
    let (mut session, op_no) = armed(&school, "postgres", FULL, "");
    session.batch_execute(" VACUUM FULL app.student; ").expect("white space and semicolons do not matter");
    assert_ne!(place(&school), before);
    assert_eq!(school.status(&op_no), "executed");
    let record =
        format!("operation_type = 'VACUUM' AND op_no = '{op_no}' AND result = 'SUCCESS' AND tier = 'critical'");
    assert_eq!(school.records(&record), 1);
    assert_eq!(school.records(&format!("operation_type = 'EXECUTE' AND op_no = '{op_no}'")), 1);
    // The cover is gone, and so are the settings.
    expect_refused(session.batch_execute(FULL));
    assert_eq!(ask::<String>(&mut session, "SELECT current_setting('search_path')"), "\"$user\", public");
    assert_eq!(school.records(&format!("operation_type = 'DISARM' AND op_no = '{op_no}'")), 0);
}

fn indexes_are_built_and_dropped_concurrently() {
    let school = School::inactive();
    let set_up = "CREATE INDEX student_name ON app.student (name); SELECT steward.activate()";
    school.superuser().batch_execute(set_up).expect("set-up");
    let statements = [
        "CREATE INDEX CONCURRENTLY student_note ON app.student (note)",
        "REINDEX INDEX CONCURRENTLY app.student_note",
        "DROP INDEX CONCURRENTLY app.student_name",
    ];
    expect_refused(school.superuser().batch_execute(statements[2]));
    let (mut session, op_no) = armed(&school, "postgres", &statements.join(";\n"), "");
    for (done, statement) in statements.iter().enumerate() {
        session.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let there: i64 = school.ask("SELECT count(*) FROM pg_class WHERE relname IN ('student_note', 'student_name')");
        assert_eq!(there, [2, 2, 1][done], "{statement}");
    }
    assert_eq!(school.status(&op_no), "executed");
}

fn alter_system_keeps_what_was_set() {
    let school = School::active();
    let set = "ALTER SYSTEM SET max_parallel_workers = 3";
    expect_refused(school.superuser().batch_execute(set));
    let (mut session, op_no) = armed(&school, "postgres", set, "");
    session.batch_execute(set).expect("alter system");
    assert_eq!(school.status(&op_no), "executed");
    let kept = format!("op_no = '{op_no}' AND operation_type = 'SETTING' AND details::jsonb ->> 'was' = '8'");
    assert_eq!(school.records(&kept), 1);
    let file: i64 =
        school.ask("SELECT count(*) FROM pg_file_settings WHERE name = 'max_parallel_workers' AND setting = '3'");
    assert_eq!(file, 1);
}

fn rows_are_returned_and_capped_over_the_whole_run() {
    let school = School::active();
    let script = "SELECT name FROM app.student WHERE id <= 3; SELECT id FROM app.student WHERE id <= 150";
    let (mut session, op_no) = released(&school, "region_chen", script, ", expected_rows => 10");
    arm(&mut session, &op_no).expect("arm");
    let first = session.simple_query("SELECT name FROM app.student WHERE id <= 3").expect("three rows");
    assert_eq!(rows(&first), 3);
    let second = "SELECT id FROM app.student WHERE id <= 150";
    let error = db_error(session.simple_query(second));
    assert!(error.message().contains("more rows than were approved"), "{error:?}");
    assert_eq!(settled(&school, &op_no), "closed", "its tier asks for no review");
    let (mut session, op_no) = armed(&school, "region_chen", second, ", expected_rows => 150");
    assert_eq!(session.query(second, &[]).expect("the extended protocol").len(), 150);
    assert_eq!(school.status(&op_no), "closed");
}

/// The transaction of the last statement has ended: in the extended protocol that is not when its rows have.
fn ended(session: &mut Client) {
    session.batch_execute("SHOW search_path").expect("show");
}

fn copied(session: &mut Client, copy: &str) -> Result<String, postgres::Error> {
    let mut text = String::new();
    let mut reader = session.copy_out(copy)?;
    match reader.read_to_string(&mut text) {
        Ok(_) => {
            drop(reader);
            ended(session);
            Ok(text)
        }
        Err(error) => Err(*error.into_inner().expect("an error of the server").downcast().expect("a server's error")),
    }
}

fn an_approved_export_is_capped() {
    let school = School::active();
    let table = "COPY app.student TO STDOUT";
    let (mut session, op_no) = armed(&school, "region_chen", table, ", expected_rows => 200");
    assert_eq!(copied(&mut session, table).expect("export").lines().count(), 200);
    assert_eq!(school.status(&op_no), "executed");
    let exported =
        format!("op_no = '{op_no}' AND operation_type = 'COPY' AND tier = 'important' AND result = 'SUCCESS'");
    assert_eq!(school.records(&exported), 1);
    let query = "COPY (SELECT name FROM app.student) TO STDOUT";
    let (_, op_no) = released(&school, "region_chen", query, ", expected_rows => 199");
    // By hand: a library may not look at what comes behind the data.
    let mut wire = Wire::connect(&school, "region_chen", HOME, &[]).expect("connection");
    wire.query(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    let refused = wire.query(query).expect_err("one row too many");
    assert!(refused.starts_with("42501") && refused.contains("more rows than were approved"), "{refused}");
    assert_eq!(settled(&school, &op_no), "executed", "used up, and waiting for its review");
}

pub const LOAD: &str = "COPY app.guardian (id, student_id, name) FROM STDIN";

fn sixty_guardians() -> String {
    (1001..=1060).map(|id| format!("{id}\t1\tguardian {id}\n")).collect()
}

pub fn digests(data: &str) -> String {
    let hex: String = Sha256::digest(data.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(", data_digests => '{{{hex}}}'")
}

pub fn load(session: &mut Client, copy: &str, data: &str) -> Result<u64, postgres::Error> {
    let mut writer = session.copy_in(copy)?;
    // The server may have stopped listening.
    data.as_bytes().chunks(100).for_each(|chunk| drop(writer.write_all(chunk)));
    let rows = writer.finish()?;
    ended(session);
    Ok(rows)
}

fn guardians(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.guardian WHERE id > 1000")
}

fn data_that_has_its_digest_is_loaded() {
    let school = School::active();
    let data = sixty_guardians();
    expect_refused(load(&mut school.session("region_chen"), LOAD, &data));
    let more = digests(&data) + ", expected_rows => 60";
    let (mut session, op_no) = armed(&school, "region_chen", LOAD, &more);
    assert_eq!(load(&mut session, LOAD, &data).expect("copy"), 60);
    assert_eq!((guardians(&school), school.status(&op_no).as_str()), (60, "executed"));
    let record = format!("op_no = '{op_no}' AND operation_type = 'COPY' AND result = 'SUCCESS' AND rows = 60");
    assert_eq!(school.records(&record), 1);
    // What it did can be undone, as of any critical run.
    let images: i64 = school.ask(&format!("SELECT images FROM steward.pre_image WHERE op_no = '{op_no}'"));
    assert_eq!(images, 60);
    // Two tables, two digests, in the order of the script; CSV with a header.
    let csv = "id,student_id,name\n2001,1,x\n".to_owned();
    let script = format!("{LOAD} WITH (FORMAT csv, HEADER); {LOAD}");
    let data = "2002\t1\ty\n";
    let both = format!(
        ", data_digests => ARRAY[encode(sha256('{}'), 'hex'), encode(sha256('{}'), 'hex')]",
        csv.replace('\n', "\\012"),
        data.replace('\t', "\\011").replace('\n', "\\012")
    );
    let (mut session, op_no) = armed(&school, "region_chen", &script, &both);
    load(&mut session, &format!("{LOAD} WITH (FORMAT csv, HEADER)"), &csv).expect("the first");
    load(&mut session, LOAD, data).expect("the second");
    assert_eq!((guardians(&school), school.status(&op_no).as_str()), (62, "executed"));
}

fn other_data_leaves_nothing_behind() {
    let school = School::active();
    let data = sixty_guardians();
    for other in
        [data.replace("guardian 1060", "guardian 106O"), data.clone() + "1061\t1\tx\n", data.clone() + "\\.\nmore"]
    {
        let (mut session, op_no) = armed(&school, "region_chen", LOAD, &digests(&data));
        let error = expect_error(load(&mut session, LOAD, &other), &SqlState::INSUFFICIENT_PRIVILEGE, "SHA-256", "");
        assert!(error.message().contains("not what was approved"), "{error:?}");
        assert_eq!(guardians(&school), 0);
        assert_eq!(settled(&school, &op_no), "executed", "the run is used up");
        assert_eq!(
            school.records(&format!("op_no = '{op_no}' AND operation_type = 'COPY FROM' AND result = 'DENIED'")),
            1
        );
    }
    // An error of the data is the server's own, and a client may give up.
    let broken = "x\n";
    let (mut session, _) = armed(&school, "region_chen", LOAD, &digests(broken));
    let error = expect_error(load(&mut session, LOAD, broken), &SqlState::INVALID_TEXT_REPRESENTATION, "", "");
    assert!(error.where_().is_some_and(|context| context.contains("COPY guardian, line 1")), "{error:?}");
    let (mut session, op_no) = armed(&school, "region_chen", LOAD, &digests(&data));
    drop(session.copy_in(LOAD).expect("copy"));
    assert_eq!(ask::<i32>(&mut session, "SELECT 1"), 1);
    assert_eq!((guardians(&school), settled(&school, &op_no).as_str()), (0, "executed"));
}

fn data_without_a_digest_is_not_filed() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let two = format!("{LOAD}; {LOAD}");
    let one_digest = digests("x");
    for (script, more) in [
        (LOAD, ""),
        (two.as_str(), one_digest.as_str()),
        ("UPDATE app.student SET note = 'x'", one_digest.as_str()),
        (LOAD, ", data_digests => '{abc}'"),
        (LOAD, ", data_digests => '{NULL}'"),
    ] {
        let call = format!("SELECT steward.request($1, purpose => 'test'{more})");
        expect_error(chen.query(&call, &[&script]), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation"), 0);
}

fn execute_names_the_other_way() {
    let school = School::active();
    let (mut session, op_no) = released(&school, "postgres", FULL, "");
    let hint = format!("SELECT steward.arm('{op_no}');");
    expect_error(execute(&mut session, &op_no), &SqlState::FEATURE_NOT_SUPPORTED, "VACUUM", &hint);
    let next: String = ask(&mut session, "SELECT next_command FROM steward.inbox WHERE waits_for = 'execution'");
    assert_eq!(next, hint);
    assert!(ask::<bool>(&mut session, &format!("SELECT needs_arm FROM steward.show('{op_no}')")));
}

fn what_no_operation_runs_is_not_filed() {
    let school = School::active();
    let mut session = school.superuser();
    for other in
        ["BEGIN", "EXECUTE p", "SET work_mem = 1", "DISCARD ALL", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH c"]
    {
        let call = "SELECT steward.request($1, purpose => 'test')";
        let script = format!("{FULL}; {other}");
        expect_error(session.query(call, &[&script]), &SqlState::FEATURE_NOT_SUPPORTED, "", "");
    }
}

fn an_armed_run_is_used_up() {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "postgres", FULL, ", runs => 2");
    session.batch_execute(FULL).expect("first run");
    assert_eq!(school.status(&op_no), "approved");
    expect_error(arm(&mut session, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "confirm");
    school.vote("region_liu", "confirm", &op_no).expect("each run has its second person");
    arm(&mut session, &op_no).expect("second run");
    session.batch_execute(FULL).expect("second run");
    assert_eq!(school.status(&op_no), "executed");
    expect_error(arm(&mut session, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    expect_error(execute(&mut session, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    expect_refused(session.batch_execute(FULL));
    school.session("reviewer_sun").query("SELECT steward.review($1, 'accepted', 'seen')", &[&op_no]).expect("review");
}

fn a_mistyped_statement_disarms_and_gives_the_run_back() {
    let school = School::active();
    for who in ["region_chen", "postgres"] {
        let (mut session, op_no) = armed(&school, who, BULK, "");
        let other = BULK.replace("60", "61");
        let error =
            expect_error(session.batch_execute(&other), &SqlState::INSUFFICIENT_PRIVILEGE, "byte for byte", BULK);
        assert!(error.message().contains(&op_no), "{error:?}");
        expect_refused(session.batch_execute(BULK));
        assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "failed"));
        let denied = format!("op_no = '{op_no}' AND result = 'DENIED' AND operation_type = 'ARMED STATEMENT'");
        assert_eq!(school.records(&denied), 1);
        // Nothing had begun, so the run is there still; its confirmation is not.
        expect_error(arm(&mut session, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "confirm");
        school.vote("region_liu", "confirm", &op_no).expect("confirm");
        session.batch_execute("RESET ALL").expect("reset");
        arm(&mut session, &op_no).expect("arm again");
        session.batch_execute(BULK).expect("the statement itself");
        assert_eq!((changed(&school), school.status(&op_no).as_str()), (60, "executed"));
        school.operate("region_chen", "UPDATE app.student SET note = '' WHERE id <= 60");
    }
}

fn statements_come_in_their_order() {
    let school = School::active();
    let (mut session, _) = armed(&school, "postgres", TWO, "");
    expect_refused(session.batch_execute(BULK));
    expect_refused(session.batch_execute(FULL));
    // Nor twice.
    let (mut session, op_no) = armed(&school, "postgres", TWO, "");
    session.batch_execute(FULL).expect("first");
    expect_refused(session.batch_execute(FULL));
    expect_refused(session.batch_execute(BULK));
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"), "partly, so it is reviewed");
}

fn nothing_comes_in_between() {
    let school = School::active();
    for other in [
        "SELECT 1",
        "SELECT set_config('search_path', 'public', false)",
        "UPDATE app.scratch SET note = ''",
        "CREATE TEMP TABLE student (id int)",
        "LISTEN x",
        "SELECT steward.disarm(), 1",
        "SELEC 1",
    ] {
        let (mut session, op_no) = armed(&school, "postgres", TWO, "");
        session.batch_execute(FULL).expect("first");
        db_error(session.batch_execute(other));
        expect_refused(session.batch_execute(BULK));
        assert_eq!(settled(&school, &op_no), "executed", "{other}");
    }
    assert_eq!(changed(&school), 0);
}

fn show_comes_in_between() {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "postgres", TWO, "");
    session.batch_execute("SHOW search_path").expect("show");
    session.batch_execute(FULL).expect("first");
    session.batch_execute("SHOW ALL").expect("show");
    session.batch_execute(BULK).expect("second");
    assert_eq!((changed(&school), school.status(&op_no).as_str()), (60, "executed"));
}

fn rollback_is_never_blocked_and_disarms() {
    let school = School::active();
    for other in ["ROLLBACK", "COMMIT", "BEGIN", "BEGIN; SAVEPOINT s; ROLLBACK TO s"] {
        let (mut session, op_no) = armed(&school, "region_chen", BULK, "");
        session.batch_execute(other).expect("it passes");
        expect_refused(session.batch_execute(BULK));
        session.batch_execute("ROLLBACK").expect("rollback");
        assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "failed"), "{other}");
    }
}

fn disarm_ends_the_run_and_what_ran_stays() {
    let school = School::active();
    let script = format!("{BULK}; {FULL}");
    let (mut session, op_no) = armed(&school, "postgres", &script, "");
    session.batch_execute(BULK).expect("first");
    session.batch_execute("SELECT steward.disarm();").expect("disarm");
    expect_refused(session.batch_execute(FULL));
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (60, "executed"));
    let told = format!("SELECT count(*) FROM steward.operation_trail WHERE op_no = '{op_no}' AND event = 'DISARM'");
    assert_eq!(school.ask::<i64>(&told), 1);
    let images: i64 = school.ask(&format!("SELECT images FROM steward.pre_image WHERE op_no = '{op_no}'"));
    assert_eq!(images, 60, "what ran can be undone");
    expect_error(session.batch_execute("SELECT steward.disarm()"), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
}

fn a_pool_hands_no_armed_session_on() {
    let school = School::active();
    for handed_on in [
        "DISCARD ALL",
        "RESET ALL",
        "RESET ROLE",
        "SET ROLE region_chen",
        "RESET SESSION AUTHORIZATION",
        "SET SESSION AUTHORIZATION DEFAULT",
    ] {
        let (mut session, op_no) = armed(&school, "region_chen", BULK, "");
        session.batch_execute(handed_on).unwrap_or_else(|error| panic!("{handed_on}: {error:?}"));
        expect_refused(session.batch_execute(BULK));
        assert_eq!(settled(&school, &op_no), "failed", "{handed_on}");
    }
    assert_eq!(changed(&school), 0);
}

fn a_session_of_the_post_service_is_not_armed() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE app_service LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA app TO app_service;
             SELECT steward.register_person('App', 'service', roles => '{app_service}'); SELECT steward.activate()",
        )
        .expect("set-up");
    let (mut session, op_no) = released(&school, "app_service", BULK, "");
    let error = expect_refused(arm(&mut session, &op_no));
    assert!(error.message().contains("service"), "{error:?}");
    expect_refused(session.batch_execute(BULK));
    assert_eq!(execute(&mut session, &op_no).expect("execute serves a pool"), 60);
}

fn it_is_not_armed_inside_a_block() {
    let school = School::active();
    let (mut session, op_no) = released(&school, "region_chen", BULK, "");
    let call = format!("SELECT steward.arm('{op_no}')");
    for block in [
        format!("BEGIN; {call}"),
        format!("{call}; {BULK}"),
        format!("DO $$ BEGIN PERFORM steward.arm('{op_no}'); END $$"),
    ] {
        db_error(session.batch_execute(&block));
        session.batch_execute("ROLLBACK").expect("rollback");
        expect_refused(session.batch_execute(BULK));
    }
    assert_eq!(settled(&school, &op_no), "approved", "nothing was used up");
    arm(&mut session, &op_no).expect("by itself");
    session.batch_execute(BULK).expect("and run");
}

fn an_error_disarms() {
    let school = School::active();
    let script = "UPDATE app.student SET note = 'x' WHERE id <= 60 AND 1 / (id - 60) < 2; ".to_owned() + BULK;
    let (mut session, op_no) = armed(&school, "region_chen", &script, "");
    let failing = "UPDATE app.student SET note = 'x' WHERE id <= 60 AND 1 / (id - 60) < 2";
    expect_error(session.batch_execute(failing), &SqlState::DIVISION_BY_ZERO, "", "");
    expect_refused(session.batch_execute(BULK));
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"));
}

fn the_end_of_a_session_disarms() {
    let school = School::active();
    let (session, op_no) = armed(&school, "region_chen", BULK, "");
    drop(session);
    wait_for(&school, "the end of the run", || (settled(&school, &op_no) == "failed").then_some(()));
    let (mut session, op_no) = armed(&school, "region_chen", BULK, "");
    let pid: i32 = school.ask("SELECT pid FROM pg_stat_activity WHERE usename = 'region_chen' AND query LIKE '%arm(%'");
    school.superuser().query("SELECT pg_terminate_backend($1)", &[&pid]).expect("terminate");
    wait_for(&school, "the end of the run", || (settled(&school, &op_no) == "failed").then_some(()));
    assert!(session.batch_execute(BULK).is_err());
    assert_eq!(changed(&school), 0);
}

fn kill_9_uses_the_run_up() {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "postgres", TWO, "");
    session.batch_execute(FULL).expect("first");
    let pid: i32 = school.ask("SELECT pid FROM pg_stat_activity WHERE query = 'VACUUM FULL app.student'");
    school.kill_9(pid);
    let mut other = wait_for_recovery(&school);
    wait_for(&school, "the sequencer", || (settled(&school, &op_no) == "executed").then_some(()));
    expect_error(arm(&mut other, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    expect_refused(other.batch_execute(BULK));
    assert_eq!(changed(&school), 0);
}

fn somebody_elses_session_is_not_covered() {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "region_chen", BULK, "");
    expect_refused(school.session("region_chen").batch_execute(BULK));
    expect_refused(school.superuser().batch_execute(BULK));
    assert_eq!(school.status(&op_no), "armed");
    // Nor armed twice.
    expect_error(arm(&mut school.session("region_chen"), &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
    session.batch_execute(BULK).expect("the armed one");
}

fn a_changed_setting_is_refused() {
    let school = School::active();
    let mut wire = Wire::connect(&school, "postgres", HOME, &[]).expect("connection");
    let (_, op_no) = released(&school, "postgres", BULK, "");
    wire.query(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    // What a library or a function of the statement before might do, and no statement of the client can.
    let set: u32 = school.ask("SELECT 'set_config(text,text,boolean)'::regprocedure::oid");
    let refused = wire.call(set, &["session_replication_role", "replica", "f"]).expect_err("refused");
    assert!(refused.starts_with("42501"), "{refused}");
    assert!(wire.query(BULK).expect_err("no cover").starts_with("42501"));
    // A function of the script that changes them for the session.
    for (setting, value) in [("DateStyle", "ISO, DMY"), ("app.mine", "x")] {
        let sets = format!("SELECT set_config('{setting}', '{value}', false)");
        let (mut session, op_no) = armed(&school, "postgres", &format!("{sets}; {BULK}"), "");
        session.simple_query(&sets).expect("first");
        expect_error(session.batch_execute(BULK), &SqlState::INSUFFICIENT_PRIVILEGE, setting, "");
        assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"));
    }
}

/// The same bytes, read with other settings: here the backslash is no escape, and there it is.
fn a_statement_prepared_before_is_refused() {
    let school = School::active();
    let statement = r"UPDATE app.student SET note = '\' WHERE id <= 60 --', name = 'x' WHERE id = 1";
    let (_, op_no) = released(&school, "region_chen", statement, "");
    let mut session = school.session("region_chen");
    session.batch_execute("SET standard_conforming_strings = off").expect("settings");
    let prepared = session.prepare(statement).expect("prepare");
    // Else what the operation depends on would read differently.
    session.batch_execute("SET standard_conforming_strings = on").expect("settings");
    arm(&mut session, &op_no).expect("arm");
    expect_error(session.execute(&prepared, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "prepared before", "");
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "failed"));
    // Nor can one without a name survive the call that arms.
    let (_, op_no) = released(&school, "region_chen", statement, "");
    let call = session.prepare(&format!("SELECT steward.arm('{op_no}')")).expect("prepare");
    let by_name = session.query(&call, &[]);
    expect_error(by_name, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "steward.arm");
    // Prepared afterwards it is the statement that was approved.
    arm(&mut session, &op_no).expect("arm");
    session.execute(statement, &[]).expect("the extended protocol");
    assert_eq!((changed(&school), school.status(&op_no).as_str()), (60, "executed"));
}

fn several_statements_in_one_message_are_refused() {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "region_chen", &format!("{BULK}; SELECT 1"), "");
    expect_refused(session.batch_execute(&format!("{BULK}; SELECT 1")));
    assert_eq!(settled(&school, &op_no), "failed");
    let (mut session, _) = armed(&school, "region_chen", BULK, "");
    expect_refused(session.batch_execute(&format!("{BULK}; {BULK}")));
    let (mut session, _) = armed(&school, "region_chen", BULK, "");
    expect_refused(session.batch_execute(&format!("{BULK} -- and more")));
    assert_eq!(changed(&school), 0);
}

fn execute_do_and_cursors_are_other_statements() {
    let school = School::active();
    for (before, other) in [
        (format!("PREPARE p AS {BULK}"), "EXECUTE p".to_owned()),
        ("SELECT 1".to_owned(), format!("PREPARE q AS {BULK}")),
        ("SELECT 1".to_owned(), format!("DO $$ BEGIN {BULK}; END $$")),
        ("SELECT 1".to_owned(), format!("EXPLAIN ANALYZE {BULK}")),
        ("SELECT 1".to_owned(), format!("{BULK} RETURNING id")),
        ("SELECT 1".to_owned(), format!("WITH x AS ({BULK} RETURNING id) SELECT * FROM x")),
    ] {
        let (mut session, op_no) = released(&school, "region_chen", BULK, "");
        session.batch_execute(&before).expect("before");
        arm(&mut session, &op_no).expect("arm");
        expect_refused(session.batch_execute(&other));
        expect_refused(session.batch_execute(BULK));
        assert_eq!(settled(&school, &op_no), "failed", "{other}");
    }
    assert_eq!(changed(&school), 0);
}

fn a_portal_in_portions_is_refused() {
    let school = School::active();
    let (_, op_no) = released(
        &school,
        "region_chen",
        "SELECT id FROM app.student; UPDATE app.student SET note = 'armed' WHERE id <= 60",
        "",
    );
    let mut wire = Wire::connect(&school, "region_chen", HOME, &[]).expect("connection");
    wire.query(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    wire.send(b'P', b"\0SELECT id FROM app.student\0\0\0");
    wire.send(b'B', b"\0\0\0\0\0\0\0\0");
    wire.send(b'E', b"\0\0\0\0\x03");
    wire.send(b'S', b"");
    let refused = error(&wire.until_ready()).expect("refused");
    assert!(refused.starts_with("42501"), "{refused}");
    assert!(wire.query(BULK).expect_err("no cover").starts_with("42501"));
    // A second statement before the first has ended: one message after the other is the rule here too.
    let (_, op_no) = released(
        &school,
        "region_chen",
        "SELECT id FROM app.student; UPDATE app.student SET note = 'armed' WHERE id <= 60",
        "",
    );
    wire.query(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    wire.send(b'P', b"\0SELECT id FROM app.student\0\0\0");
    wire.send(b'B', b"open\0\0\0\0\0\0\0\0");
    wire.send(b'P', format!("\0{BULK}\0\0\0").as_bytes());
    wire.send(b'B', b"\0\0\0\0\0\0\0\0");
    wire.send(b'E', b"\0\0\0\0\0");
    wire.send(b'S', b"");
    let refused = error(&wire.until_ready()).expect("refused");
    assert!(refused.starts_with("42501"), "{refused}");
    assert_eq!(changed(&school), 0);
}

fn the_fastpath_is_closed() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(&format!(
            "CREATE FUNCTION app.sixty() RETURNS void LANGUAGE sql AS $$ {BULK} $$; SELECT steward.activate()"
        ))
        .expect("set-up");
    let sixty: u32 = school.ask("SELECT 'app.sixty()'::regprocedure::oid");
    for who in ["region_chen", "postgres"] {
        let (_, op_no) = released(&school, who, BULK, "");
        let mut wire = Wire::connect(&school, who, HOME, &[]).expect("connection");
        wire.query(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
        assert!(wire.call(sixty, &[]).expect_err("refused").starts_with("42501"));
        assert!(wire.query(BULK).expect_err("disarmed").starts_with("42501"));
        assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "failed"));
    }
}

fn functions_are_part_of_their_statement_only() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(&format!(
            "CREATE FUNCTION app.sixty() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {BULK}; RETURN 1; END $$;
             CREATE FUNCTION app.while_planned() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                IF EXISTS (SELECT FROM app.scratch) THEN PERFORM app.sixty(); END IF; RETURN 1; END $$;
             GRANT SELECT ON app.scratch TO PUBLIC; SELECT steward.activate()"
        ))
        .expect("set-up");
    let (mut session, op_no) = armed(&school, "region_chen", "SELECT app.sixty()", ", expected_rows => 60");
    session.simple_query("SELECT app.sixty()").expect("its function is what was approved");
    assert_eq!((changed(&school), school.status(&op_no).as_str()), (60, "executed"));
    expect_refused(session.simple_query("SELECT app.sixty()"));
    // What runs while a statement is planned is not covered.
    school.operate("region_chen", "UPDATE app.student SET note = '' WHERE id <= 60");
    let (mut session, op_no) = armed(&school, "region_chen", "SELECT app.while_planned()", "");
    school.superuser().batch_execute("INSERT INTO app.scratch VALUES (1)").expect("nobody's business");
    expect_refused(session.simple_query("SELECT app.while_planned()"));
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "failed"));
}

fn a_security_definer_function_is_not_covered_twice() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(&format!(
            "CREATE FUNCTION app.definer() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ {BULK} $$; SELECT steward.activate()"
        ))
        .expect("set-up");
    let (mut session, _) = armed(&school, "region_chen", "SELECT 1", "");
    expect_refused(session.simple_query("SELECT app.definer()"));
    let (mut session, op_no) =
        armed(&school, "region_chen", "SELECT app.definer(), app.definer()", ", expected_rows => 60");
    // Twice sixty rows are more than were approved, whoever's rights they were changed with.
    let error = db_error(session.simple_query("SELECT app.definer(), app.definer()"));
    assert!(error.message().contains("more rows than were approved"), "{error:?}");
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"));
}

fn a_rejection_ends_it() {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "postgres", TWO, "");
    session.batch_execute(FULL).expect("first");
    school.session("reviewer_zhou").query("SELECT steward.reject($1, 'stop')", &[&op_no]).expect("reject");
    expect_error(session.batch_execute(BULK), &SqlState::INSUFFICIENT_PRIVILEGE, "taken back", "");
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "executed"));
    let (mut session, op_no) = armed(&school, "region_chen", BULK, "");
    school.session("region_chen").query("SELECT steward.cancel($1)", &[&op_no]).expect("cancel");
    expect_refused(session.batch_execute(BULK));
    assert_eq!(changed(&school), 0);
}

fn a_suspended_approver_ends_it() {
    let school = School::active();
    let (mut session, op_no) = armed(&school, "region_chen", BULK, "");
    school.operate_by(&["reviewer_zhou"], "SELECT steward.suspend_person('Sun', 'left')");
    let error = expect_error(session.batch_execute(BULK), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "suspended", "");
    assert!(error.message().contains("not approved"), "{error:?}");
    expect_refused(session.batch_execute(BULK));
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "failed"));
}

fn the_end_of_the_term_ends_it() {
    let school = School::active();
    let (mut session, _) =
        armed(&school, "region_chen", BULK, ", not_after => clock_timestamp() + interval '4 seconds'");
    std::thread::sleep(std::time::Duration::from_millis(4_200));
    expect_error(session.batch_execute(BULK), &SqlState::INSUFFICIENT_PRIVILEGE, "expired", "");
    assert_eq!(changed(&school), 0);
}

fn a_changed_function_ends_it() {
    let school = School::inactive();
    let define = "CREATE OR REPLACE FUNCTION app.kept() RETURNS int LANGUAGE sql AS";
    school.superuser().batch_execute(&format!("{define} 'SELECT 60'; SELECT steward.activate()")).expect("set-up");
    let statement = "UPDATE app.student SET note = 'x' WHERE id <= app.kept()";
    let (mut session, op_no) = armed(&school, "region_chen", statement, "");
    school.superuser().batch_execute(&format!("{define} 'SELECT 200'")).expect("changed in between");
    expect_error(session.batch_execute(statement), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "app.kept", "");
    assert_eq!((changed(&school), settled(&school, &op_no).as_str()), (0, "failed"));
}

fn it_is_armed_for_its_applicant_with_all_that_execute_demands() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, BULK, "");
    expect_error(arm(&mut chen, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "approve");
    school.approve(&op_no);
    expect_error(arm(&mut chen, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "confirm");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    expect_refused(arm(&mut school.superuser(), &op_no));
    expect_refused(arm(&mut school.session("clerk_zhao"), &op_no));
    let mut postgres = school.superuser();
    let other = request(&mut postgres, BULK, ", run_as => 'region_chen'");
    school.release(&other);
    expect_error(arm(&mut postgres, &other), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "SET ROLE region_chen");
    postgres.batch_execute("SET ROLE region_chen").expect("set role");
    arm(&mut postgres, &other).expect("as that role");
    postgres.batch_execute(BULK).expect("as that role");
    let record =
        format!("op_no = '{other}' AND operation_type = 'UPDATE' AND effective_user = 'region_chen' AND person = 'Wu'");
    assert_eq!(school.records(&record), 1);
    assert_eq!(school.status(&op_no), "approved");
}

fn what_ran_before_it_was_taken_back_can_be_restored() {
    let school = School::active();
    let script = "UPDATE app.student SET note = 'armed' WHERE id <= 60; VACUUM FULL app.student";
    let (mut session, op_no) = armed(&school, "postgres", script, "");
    session.batch_execute(BULK).expect("the first statement");
    school.superuser().batch_execute(&format!("SELECT steward.cancel('{op_no}')")).expect("cancel");
    expect_refused(session.batch_execute(FULL));
    let images = format!("SELECT (SELECT images FROM steward.pre_image WHERE op_no = '{op_no}')");
    let sealed = wait_for(&school, "the seal", || school.ask::<Option<i64>>(&images));
    assert_eq!(sealed, 60);
    school.operate("postgres", &format!("SELECT steward.restore('{op_no}')"));
    assert_eq!(changed(&school), 0);
}
