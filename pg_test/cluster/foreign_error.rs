//! Errors of the user's own statements reach the client as PostgreSQL raised them.

use postgres::error::{ErrorPosition, SqlState};

use crate::expect::db_error;
use crate::school::{School, request};

tests! {
    a_unique_violation_keeps_its_names,
    a_check_violation_keeps_its_names,
    a_foreign_key_violation_keeps_its_names,
    an_error_in_a_function_keeps_its_context,
    a_syntax_error_keeps_its_cursor_position,
    an_error_in_a_planned_statement_keeps_its_cursor_position,
    a_raised_error_keeps_its_own_sqlstate_and_fields,
    an_error_inside_an_operation_keeps_its_names,
    a_cancelled_statement_is_cancelled,
}

const DUPLICATE: &str = "UPDATE app.student SET id_card = 'ID1' WHERE id = 2";

fn a_unique_violation_keeps_its_names() {
    let school = School::active();
    let error = db_error(school.session("teacher_wang").batch_execute(DUPLICATE));
    assert_eq!(error.code(), &SqlState::UNIQUE_VIOLATION);
    assert_eq!(error.constraint(), Some("student_id_card_key"));
    assert_eq!((error.schema(), error.table()), (Some("app"), Some("student")));
    assert_eq!(error.message(), "duplicate key value violates unique constraint \"student_id_card_key\"");
    assert_eq!(error.detail(), Some("Key (id_card)=(ID1) already exists."));
}

fn a_check_violation_keeps_its_names() {
    let school = School::active();
    let statement = "UPDATE app.student SET phone = 'none' WHERE id = 2";
    let error = db_error(school.session("teacher_wang").batch_execute(statement));
    assert_eq!(error.code(), &SqlState::CHECK_VIOLATION);
    assert_eq!(error.constraint(), Some("student_phone_format"));
    assert_eq!((error.schema(), error.table()), (Some("app"), Some("student")));
}

fn a_foreign_key_violation_keeps_its_names() {
    let school = School::active();
    let statement = "UPDATE app.student SET school_id = 99 WHERE id = 2";
    let error = db_error(school.session("teacher_wang").batch_execute(statement));
    assert_eq!(error.code(), &SqlState::FOREIGN_KEY_VIOLATION);
    assert_eq!(error.constraint(), Some("student_school_id_fkey"));
}

fn an_error_in_a_function_keeps_its_context() {
    let school = School::active();
    let block = format!("DO $$ BEGIN {DUPLICATE}; END $$");
    let error = db_error(school.session("teacher_wang").batch_execute(&block));
    assert_eq!(error.constraint(), Some("student_id_card_key"));
    let context = error.where_().unwrap_or("");
    assert!(context.contains(DUPLICATE) && context.contains("inline_code_block line 1"), "{error:?}");
}

fn a_syntax_error_keeps_its_cursor_position() {
    let school = School::active();
    let error = db_error(school.session("teacher_wang").batch_execute("SELECT * FRM app.student"));
    assert_eq!(error.code(), &SqlState::SYNTAX_ERROR);
    assert_eq!(error.position(), Some(&ErrorPosition::Original(10)));
}

fn an_error_in_a_planned_statement_keeps_its_cursor_position() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let error = db_error(teacher.batch_execute("SELECT nickname FROM app.student"));
    assert_eq!(error.code(), &SqlState::UNDEFINED_COLUMN);
    assert_eq!(error.position(), Some(&ErrorPosition::Original(8)));
    let error = db_error(teacher.batch_execute("COPY app.student (nickname) TO STDOUT"));
    assert_eq!(error.code(), &SqlState::UNDEFINED_COLUMN);
}

fn a_raised_error_keeps_its_own_sqlstate_and_fields() {
    let school = School::active();
    let block = "DO $$ BEGIN
        UPDATE app.student SET note = 'x' WHERE id = 1;
        RAISE 'stop' USING ERRCODE = 'AB123', DETAIL = 'why', HINT = 'what next',
            CONSTRAINT = 'own rule', COLUMN = 'note', TABLE = 'student', SCHEMA = 'app';
    END $$";
    let error = db_error(school.session("teacher_wang").batch_execute(block));
    assert_eq!(error.code().code(), "AB123");
    assert_eq!((error.message(), error.detail(), error.hint()), ("stop", Some("why"), Some("what next")));
    assert_eq!((error.constraint(), error.column()), (Some("own rule"), Some("note")));
    assert_eq!((error.table(), error.schema()), (Some("student"), Some("app")));
    assert!(error.where_().unwrap_or("").contains("RAISE"), "{error:?}");
}

fn an_error_inside_an_operation_keeps_its_names() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let script = "UPDATE app.student SET note = 'x' WHERE id <= 60; UPDATE app.student SET id = 1 WHERE id = 2";
    let op_no = request(&mut chen, script, "");
    school.release(&op_no);
    let error = db_error(chen.query("SELECT * FROM steward.execute($1)", &[&op_no]));
    assert_eq!(error.code(), &SqlState::UNIQUE_VIOLATION);
    assert_eq!(error.constraint(), Some("student_pkey"));
    assert_eq!((error.schema(), error.table()), (Some("app"), Some("student")));
}

fn a_cancelled_statement_is_cancelled() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("SET statement_timeout = '100ms'").expect("set");
    let slow = "SELECT pg_sleep(10) FROM app.student WHERE id = 1";
    let error = db_error(teacher.batch_execute(slow));
    assert_eq!(error.code(), &SqlState::QUERY_CANCELED);
    teacher.batch_execute("SET statement_timeout = 0").expect("the session goes on");
    assert_eq!(school.records("sqlstate = '57014' AND result = 'FAILURE'"), 1);
}
