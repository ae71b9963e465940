//! Fifty rows are a bulk operation, however they come about; forty-nine are not.

use postgres::Client;

use crate::expect::{expect_bulk_refused, expect_refused};
use crate::school::{School, ask};

tests! {
    fifty_rows_are_refused_to_the_applicant,
    fifty_rows_are_refused_to_a_superuser,
    forty_nine_rows_pass,
    forty_nine_and_one_in_a_transaction_are_refused,
    forty_nine_and_forty_nine_in_two_transactions_pass,
    single_rows_of_a_prepared_statement_add_up,
    a_do_block_that_commits_every_49_rows_is_refused,
    a_function_that_loops_over_single_rows_is_refused,
    rows_of_a_data_modifying_cte_count,
    rows_of_copy_from_count,
    rows_of_merge_count,
    rows_of_partitions_count_together,
    a_direct_write_to_a_partition_counts_with_its_root,
    rows_deleted_by_a_foreign_key_cascade_count,
    rows_that_on_conflict_do_nothing_skips_do_not_count,
    rows_of_a_rolled_back_savepoint_are_taken_off,
    tables_are_counted_apart,
    explain_does_not_count_but_explain_analyze_does,
    unprotected_tables_are_not_counted,
}

const FIFTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 50";
const FORTY_NINE: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 49";

/// Students whose note was changed.
fn changed(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note <> ''")
}

/// The statement is refused as bulk on app.student, changes nothing and is recorded as denied.
#[track_caller]
fn refused_unchanged(school: &School, session: &mut Client, statement: &str) {
    expect_bulk_refused(session.batch_execute(statement), "app.student");
    drop(session.batch_execute("ROLLBACK"));
    assert_eq!(changed(school), 0);
    assert_eq!(school.records("result = 'DENIED' AND table_name = 'app.student'"), 1);
}

fn fifty_rows_are_refused_to_the_applicant() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let error = expect_bulk_refused(teacher.batch_execute(FIFTY), "app.student");
    // The hint is the next command, with the statement in it.
    let hint = error.hint().unwrap_or("");
    assert!(hint.contains("steward.request(") && hint.contains(FIFTY), "{error:?}");
    assert_eq!(changed(&school), 0);
    let denied = "result = 'DENIED' AND user_id = 'teacher_wang' AND table_name = 'app.student' \
        AND rule = 'bulk_write' AND sqlstate = '42501' AND tier = 'critical' AND operation_type = 'UPDATE'";
    assert_eq!(school.records(denied), 1);
}

fn fifty_rows_are_refused_to_a_superuser() {
    let school = School::active();
    let mut superuser = school.superuser();
    refused_unchanged(&school, &mut superuser, FIFTY);
    assert_eq!(school.records("result = 'DENIED' AND user_id = 'postgres'"), 1);
}

fn forty_nine_rows_pass() {
    let school = School::active();
    school.session("teacher_wang").batch_execute(FORTY_NINE).expect("49 rows are normal work");
    assert_eq!(changed(&school), 49);
    assert_eq!(school.records("result = 'SUCCESS' AND operation_type = 'UPDATE' AND rows = 49"), 1);
}

fn forty_nine_and_one_in_a_transaction_are_refused() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("BEGIN").expect("begin");
    teacher.batch_execute(FORTY_NINE).expect("49 rows are normal work");
    refused_unchanged(&school, &mut teacher, "UPDATE app.student SET note = 'moved' WHERE id = 50");
}

fn forty_nine_and_forty_nine_in_two_transactions_pass() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(FORTY_NINE).expect("49 rows");
    let next = "UPDATE app.student SET note = 'moved' WHERE id BETWEEN 50 AND 98";
    teacher.batch_execute(next).expect("an application is not stopped at its 50th row of the day");
    assert_eq!(changed(&school), 98);
}

fn single_rows_of_a_prepared_statement_add_up() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let one = teacher.prepare("UPDATE app.student SET note = 'moved' WHERE id = $1").expect("prepare");
    let mut transaction = teacher.transaction().expect("begin");
    for id in 1..=49 {
        transaction.execute(&one, &[&id]).expect("the first 49 rows");
    }
    expect_bulk_refused(transaction.execute(&one, &[&50]), "app.student");
    drop(transaction);
    assert_eq!(changed(&school), 0);
}

fn a_do_block_that_commits_every_49_rows_is_refused() {
    let school = School::active();
    let block = "DO $$ BEGIN FOR batch IN 0..3 LOOP
            UPDATE app.student SET note = 'moved' WHERE id BETWEEN batch * 49 + 1 AND batch * 49 + 49;
            COMMIT;
        END LOOP; END $$";
    let mut teacher = school.session("teacher_wang");
    expect_bulk_refused(teacher.batch_execute(block), "app.student");
    // What it committed before the 50th row stands, and not a row more.
    assert_eq!(changed(&school), 49);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'bulk_write'"), 1);
}

fn a_function_that_loops_over_single_rows_is_refused() {
    let school = School::active();
    let block = "DO $$ BEGIN FOR n IN 1..60 LOOP
            UPDATE app.student SET note = 'moved' WHERE id = n;
        END LOOP; END $$";
    refused_unchanged(&school, &mut school.session("teacher_wang"), block);
}

fn rows_of_a_data_modifying_cte_count() {
    let school = School::active();
    let statement = "WITH moved AS (UPDATE app.student SET note = 'moved' WHERE id <= 50 RETURNING id)
        SELECT count(*) FROM moved";
    refused_unchanged(&school, &mut school.session("teacher_wang"), statement);
    let fewer = statement.replace("50", "49");
    school.session("teacher_wang").batch_execute(&fewer).expect("49 rows");
}

/// Lines for COPY FROM into app.guardian, ids from 1001 on.
fn guardian_lines(count: i32) -> String {
    (1..=count).map(|n| format!("{}\t{n}\tcopied\n", 1000 + n)).collect()
}

fn copy_guardians(session: &mut Client, count: i32) -> Result<u64, postgres::Error> {
    use std::io::Write;
    let mut writer = session.copy_in("COPY app.guardian (id, student_id, name) FROM STDIN")?;
    writer.write_all(guardian_lines(count).as_bytes()).expect("copy data");
    writer.finish()
}

fn rows_of_copy_from_count() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    expect_bulk_refused(copy_guardians(&mut teacher, 50), "app.guardian");
    assert_eq!(ask::<i64>(&mut teacher, "SELECT count(*) FROM app.guardian WHERE name = 'copied'"), 0);
    assert_eq!(copy_guardians(&mut teacher, 49).expect("49 rows"), 49);
    assert_eq!(school.records("result = 'DENIED' AND table_name = 'app.guardian'"), 1);
}

fn rows_of_merge_count() {
    let school = School::active();
    let merge = "MERGE INTO app.student AS s USING generate_series(1, 50) AS n ON s.id = n
        WHEN MATCHED THEN UPDATE SET note = 'moved'";
    refused_unchanged(&school, &mut school.session("teacher_wang"), merge);
    // What matches but does nothing is no row.
    let idle = "MERGE INTO app.student AS s USING generate_series(1, 150) AS n ON s.id = n
        WHEN MATCHED AND s.id <= 49 THEN UPDATE SET note = 'moved' WHEN MATCHED THEN DO NOTHING";
    school.session("teacher_wang").batch_execute(idle).expect("49 rows changed");
    assert_eq!(changed(&school), 49);
}

fn rows_of_partitions_count_together() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let spread = "UPDATE app.card_transaction SET amount = -1 WHERE id IN
        (SELECT id FROM app.card_transaction ORDER BY booked_on, id OFFSET 75 LIMIT 50)";
    expect_bulk_refused(teacher.batch_execute(spread), "app.card_transaction");
    teacher.batch_execute(&spread.replace("LIMIT 50", "LIMIT 49")).expect("49 rows");
    let touched = "SELECT count(DISTINCT tableoid) FROM app.card_transaction WHERE amount = -1";
    assert_eq!(ask::<i64>(&mut teacher, touched), 2, "the rows must lie in both partitions");
}

fn a_direct_write_to_a_partition_counts_with_its_root() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let by_root = "UPDATE app.card_transaction SET amount = -1 WHERE booked_on >= '2026-11-01' AND id IN
        (SELECT id FROM app.card_transaction_2026_11 ORDER BY id LIMIT 49)";
    teacher.batch_execute("BEGIN").expect("begin");
    teacher.batch_execute(by_root).expect("49 rows");
    let leaf = "UPDATE app.card_transaction_2026_10 SET amount = -1 WHERE id =
        (SELECT min(id) FROM app.card_transaction_2026_10)";
    let error = expect_refused(teacher.batch_execute(leaf));
    assert!(error.detail().unwrap_or("").contains("50 rows"), "{error:?}");
}

fn rows_deleted_by_a_foreign_key_cascade_count() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let delete = "DELETE FROM app.student WHERE id = 200";
    expect_bulk_refused(teacher.batch_execute(delete), "app.guardian");
    assert_eq!(ask::<i64>(&mut teacher, "SELECT count(*) FROM app.student WHERE id = 200"), 1);
    assert_eq!(ask::<i64>(&mut teacher, "SELECT count(*) FROM app.guardian WHERE student_id = 200"), 60);
    assert_eq!(school.records("result = 'DENIED'"), 1);
}

fn rows_that_on_conflict_do_nothing_skips_do_not_count() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let insert = "INSERT INTO app.guardian SELECT n, 1, 'again' FROM generate_series(1, 160) AS n
        ON CONFLICT DO NOTHING";
    teacher.batch_execute(insert).expect("no row is inserted");
    let update = "INSERT INTO app.guardian SELECT n, 1, 'again' FROM generate_series(1, 160) AS n
        ON CONFLICT (id) DO UPDATE SET name = 'again'";
    expect_bulk_refused(teacher.batch_execute(update), "app.guardian");
}

fn rows_of_a_rolled_back_savepoint_are_taken_off() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let script = "BEGIN;
        SAVEPOINT try;
        UPDATE app.student SET note = 'moved' WHERE id <= 40;
        ROLLBACK TO try;
        UPDATE app.student SET note = 'moved' WHERE id <= 40;
        COMMIT";
    for statement in script.split(';') {
        teacher.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    assert_eq!(changed(&school), 40);
}

fn tables_are_counted_apart() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("BEGIN").expect("begin");
    teacher.batch_execute(FORTY_NINE).expect("49 students");
    teacher.batch_execute("UPDATE app.guardian SET name = 'x' WHERE id <= 49").expect("49 guardians");
    teacher.batch_execute("COMMIT").expect("commit");
}

fn explain_does_not_count_but_explain_analyze_does() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(&format!("EXPLAIN {FIFTY}")).expect("a plan changes nothing");
    refused_unchanged(&school, &mut teacher, &format!("EXPLAIN ANALYZE {FIFTY}"));
}

fn unprotected_tables_are_not_counted() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    teacher
        .batch_execute(
            "INSERT INTO app.scratch SELECT n, 'x' FROM generate_series(1, 500) AS n; DELETE FROM app.scratch",
        )
        .expect("nobody protected it");
    assert_eq!(school.records("table_name = 'app.scratch'"), 0);
}
