//! What did not commit is on record all the same: denials, failures, rolled-back work, reads.

use crate::expect::{db_error, expect_bulk_refused};
use crate::school::{HOME, School};
use crate::way_around::attack::{BULK_UPDATE, ROLES, Refused, watch};
use postgres::error::SqlState;

tests! {
    a_denial_swallowed_by_an_exception_block_is_recorded,
    a_denial_in_a_rolled_back_transaction_is_recorded,
    a_denial_survives_a_crash_of_the_server,
    a_denial_in_another_database_is_recorded,
    rolled_back_work_is_recorded_as_rolled_back,
    work_of_a_rolled_back_savepoint_is_recorded_as_rolled_back,
    a_failed_statement_is_recorded_with_its_sqlstate,
    a_missing_privilege_is_recorded,
    reads_of_protected_tables_are_recorded,
    constants_do_not_stand_in_the_record,
    the_manuals_view_has_the_manuals_columns,
}

const FIFTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 50";

fn a_denial_swallowed_by_an_exception_block_is_recorded() {
    let school = School::active();
    let block = format!("DO $$ BEGIN {FIFTY}; EXCEPTION WHEN OTHERS THEN NULL; END $$");
    school.session("teacher_wang").batch_execute(&block).expect("the block swallows the error");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'bulk_write'"), 1);
}

fn a_denial_in_a_rolled_back_transaction_is_recorded() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        watch(&school, who, Refused, BULK_UPDATE, || {
            session.batch_execute("BEGIN; SAVEPOINT s").expect("begin");
            let refused = session.batch_execute(FIFTY);
            session.batch_execute("ROLLBACK TO s").expect("a rollback is never refused");
            session.batch_execute("ROLLBACK").expect("a rollback is never refused");
            refused
        });
    }
}

fn a_denial_survives_a_crash_of_the_server() {
    let mut school = School::active();
    let mut teacher = school.session("teacher_wang");
    expect_bulk_refused(teacher.batch_execute(FIFTY), "app.student");
    school.kill_9_postmaster();
    school.start();
    assert_eq!(school.records("result = 'DENIED' AND rule = 'bulk_write'"), 1);
}

fn a_denial_in_another_database_is_recorded() {
    let school = School::active();
    let mut elsewhere = school.connect("postgres", "template1");
    db_error(elsewhere.batch_execute("CREATE ROLE intruder"));
    assert_eq!(school.records("result = 'DENIED' AND operation_type = 'CREATE ROLE'"), 1);
}

fn rolled_back_work_is_recorded_as_rolled_back() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("BEGIN; UPDATE app.student SET note = 'x' WHERE id <= 3; ROLLBACK").expect("rollback");
    assert_eq!(school.records("result = 'ROLLED_BACK' AND operation_type = 'UPDATE' AND rows = 3"), 1);
    assert_eq!(school.records("result = 'SUCCESS' AND operation_type = 'UPDATE'"), 0);
}

fn work_of_a_rolled_back_savepoint_is_recorded_as_rolled_back() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    for statement in [
        "BEGIN",
        "UPDATE app.student SET note = 'kept' WHERE id = 1",
        "SAVEPOINT s",
        "UPDATE app.student SET note = 'gone' WHERE id = 2",
        "ROLLBACK TO s",
        "COMMIT",
    ] {
        teacher.batch_execute(statement).expect(statement);
    }
    assert_eq!(school.records("operation_type = 'UPDATE' AND result = 'SUCCESS'"), 1);
    assert_eq!(school.records("operation_type = 'UPDATE' AND result = 'ROLLED_BACK'"), 1);
}

fn a_failed_statement_is_recorded_with_its_sqlstate() {
    let school = School::active();
    let duplicate = "UPDATE app.student SET id_card = 'ID1' WHERE id = 2";
    let error = db_error(school.session("teacher_wang").batch_execute(duplicate));
    assert_eq!(error.code(), &SqlState::UNIQUE_VIOLATION);
    assert_eq!(school.records("result = 'FAILURE' AND sqlstate = '23505' AND operation_type = 'UPDATE'"), 1);
}

fn a_missing_privilege_is_recorded() {
    let school = School::active();
    let error = db_error(school.session("clerk_zhao").batch_execute("DELETE FROM app.student WHERE id = 1"));
    assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(school.records("user_id = 'clerk_zhao' AND operation_type = 'DELETE' AND sqlstate = '42501'"), 1);
}

fn reads_of_protected_tables_are_recorded() {
    let school = School::active();
    let mut clerk = school.session("clerk_zhao");
    clerk.query("SELECT name FROM app.student WHERE id = $1", &[&7]).expect("select");
    let read = "user_id = 'clerk_zhao' AND person = 'Zhao' AND operation_type = 'SELECT' AND rows = 1 \
        AND table_name = 'app.student' AND tier = 'normal' AND result = 'SUCCESS'";
    assert_eq!(school.records(read), 1);
}

fn constants_do_not_stand_in_the_record() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("UPDATE app.student SET id_card = 'ID-secret-4711' WHERE id = 3").expect("update");
    db_error(teacher.batch_execute("UPDATE app.student SET id_card = 'ID-secret-4711' WHERE id = 4"));
    assert_eq!(school.records("operation_type = 'UPDATE'"), 2);
    assert_eq!(school.records("statement LIKE '%secret%' OR details LIKE '%secret%'"), 0);
    let raw = "SELECT count(*) FROM steward.chain WHERE position('ID-secret-4711'::bytea IN record) > 0";
    assert_eq!(school.ask::<i64>(raw), 0);
}

fn the_manuals_view_has_the_manuals_columns() {
    let school = School::active();
    drop(school.session("teacher_wang").batch_execute(FIFTY));
    school.flush_audit();
    let mut session = school.connect("postgres", HOME);
    let statement = session.prepare("SELECT * FROM steward.audit_logs").expect("audit_logs");
    let columns: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
    let manual = [
        "id",
        "user_id",
        "operation_type",
        "table_name",
        "operation_time",
        "client_ip",
        "result",
        "details",
        "prev_hash",
    ];
    assert_eq!(columns, manual);
    let odd = "SELECT count(*) FROM steward.audit_logs WHERE result NOT IN ('SUCCESS', 'FAILURE')";
    assert_eq!(school.ask::<i64>(odd), 0);
}
