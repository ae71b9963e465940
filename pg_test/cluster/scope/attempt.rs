//! What row-level security hides without a word is on record where a statement names it.

use std::io::Read;

use super::{active, students};
use crate::school::{School, ask};

tests! {
    naming_another_school_is_recorded,
    every_way_to_name_it_is_recorded,
    a_row_of_another_school_asked_for_by_its_key_is_recorded,
    what_is_allowed_is_no_attempt,
    attempts_are_folded,
    a_rollback_does_not_undo_an_attempt,
}

const ATTEMPT: &str = "operation_type = 'OUT OF SCOPE' AND result = 'DENIED' AND relations = '{app.student}'";

fn attempts(school: &School) -> i64 {
    school.records(ATTEMPT)
}

fn naming_another_school_is_recorded() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.student WHERE school_id = 2"), 0);
    assert_eq!(attempts(&school), 1);
    let record = format!(
        "{ATTEMPT} AND person = 'Wang' AND user_id = 'teacher_wang' AND rule = 'scope' AND details LIKE '%\"column\":\"school_id\"%'"
    );
    assert_eq!(school.records(&record), 1);
    assert_eq!(
        school.records("operation_type = 'OUT OF SCOPE' AND concat(statement, details) LIKE '%2%'"),
        0,
        "no value"
    );
}

/// Each in a session of its own, since one session's attempts are folded.
fn every_way_to_name_it_is_recorded() {
    let school = active("CREATE INDEX student_school ON app.student (school_id); ANALYZE app.student");
    let ways = [
        "SELECT * FROM app.student WHERE 2 = school_id",
        "SELECT * FROM app.student WHERE school_id IN (1, 2, 3)",
        "SELECT * FROM app.student WHERE school_id = 2::bigint",
        "SELECT * FROM app.student s JOIN app.school c ON c.id = s.school_id WHERE c.id = 2",
        "SELECT (SELECT count(*) FROM app.student WHERE school_id = 2)",
        "WITH s AS MATERIALIZED (SELECT * FROM app.student WHERE school_id = 2) SELECT * FROM s",
        "SELECT 1 WHERE EXISTS (SELECT FROM app.student WHERE school_id = 2 AND id > 3)",
        "UPDATE app.student SET note = 'x' WHERE school_id = 2",
        "DELETE FROM app.student WHERE school_id = 2",
        "DO $$ DECLARE n int := 2; BEGIN PERFORM FROM app.student WHERE school_id = n; END $$",
        "SET enable_seqscan = off; SELECT school_id FROM app.student WHERE school_id = 2",
        "SET enable_seqscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off; SELECT * FROM app.student WHERE school_id = 2",
        "PREPARE p(int) AS SELECT * FROM app.student WHERE school_id = $1; SET plan_cache_mode = force_generic_plan; EXECUTE p(2)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM app.student WHERE school_id = 2",
    ];
    for (index, way) in ways.into_iter().enumerate() {
        school.session("teacher_wang").simple_query(way).unwrap_or_else(|error| panic!("{way}: {error:?}"));
        assert_eq!(attempts(&school), index as i64 + 1, "{way}");
    }
    let mut copying = school.session("teacher_wang");
    let mut copied = String::new();
    let mut copy = copying.copy_out("COPY (SELECT * FROM app.student WHERE school_id = 2) TO STDOUT").expect("copy");
    copy.read_to_string(&mut copied).expect("rows");
    assert_eq!(copied, "");
    let mut wang = school.session("teacher_wang");
    let rows = wang.query("SELECT id FROM app.student WHERE school_id = $1", &[&2]).expect("extended protocol");
    assert!(rows.is_empty());
    assert_eq!(attempts(&school), ways.len() as i64 + 2);
}

/// Student 1 is of another school, 4 is of the own, 5000 does not exist.
fn a_row_of_another_school_asked_for_by_its_key_is_recorded() {
    let school = active("");
    let ways = [
        "SELECT * FROM app.student WHERE id = 1",
        "SELECT * FROM app.student WHERE id_card = 'ID1'",
        "SELECT * FROM app.student WHERE id IN (5000, 1) ORDER BY name",
        "SELECT s.name FROM app.student s JOIN app.guardian g ON g.student_id = s.id WHERE s.id = 1",
        "UPDATE app.student SET note = 'x' WHERE id = 1",
        "DELETE FROM app.student WHERE id_card = 'ID1'",
        "PREPARE p(bigint) AS SELECT * FROM app.student WHERE id = $1; SET plan_cache_mode = force_generic_plan; EXECUTE p(1)",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM app.student WHERE id = 1; FETCH c; ROLLBACK",
    ];
    for (index, way) in ways.into_iter().enumerate() {
        school.session("teacher_wang").simple_query(way).unwrap_or_else(|error| panic!("{way}: {error:?}"));
        assert_eq!(attempts(&school), index as i64 + 1, "{way}");
    }
    let mut wang = school.session("teacher_wang");
    for harmless in [
        "SELECT * FROM app.student WHERE id = 5000",
        "SELECT * FROM app.student WHERE id = 4 AND note = 'no'",
        "SELECT * FROM app.student WHERE id = 3000000000",
        "SELECT * FROM app.student WHERE name = 'student 1'",
        "EXPLAIN SELECT * FROM app.student WHERE id = 1",
        "BEGIN; SELECT * FROM app.student WHERE id = 4; COMMIT",
    ] {
        wang.simple_query(harmless).unwrap_or_else(|error| panic!("{harmless}: {error:?}"));
    }
    assert_eq!(attempts(&school), ways.len() as i64);
}

fn what_is_allowed_is_no_attempt() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    for query in [
        "SELECT * FROM app.student",
        "SELECT * FROM app.student WHERE school_id = 1",
        "SELECT * FROM app.student WHERE school_id = ANY ('{1,1}')",
        "SELECT * FROM app.student WHERE school_id = NULL",
        "SELECT * FROM app.student WHERE school_id <> 2",
        "SELECT * FROM app.student WHERE id = 5000",
        "SELECT * FROM app.school WHERE id = 2",
        "UPDATE app.student SET note = 'x' WHERE id = 4 AND school_id = 1",
    ] {
        wang.simple_query(query).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    }
    school.session("region_chen").simple_query("SELECT * FROM app.student WHERE school_id = 2").expect("no scope");
    assert_eq!(attempts(&school), 0);
    assert_eq!(students(&mut wang), 50);
}

fn attempts_are_folded() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    for number in 0..100 {
        wang.simple_query(&format!("SELECT * FROM app.student WHERE school_id = {}", 2 + number % 3)).expect("nothing");
    }
    assert_eq!(attempts(&school), 7, "1, 2, 4, 8, 16, 32, 64");
    let counted: i64 =
        school.ask(&format!("SELECT sum(coalesce(repeats, 1))::bigint FROM steward.audit_log WHERE {ATTEMPT}"));
    assert_eq!(counted, 64);
}

fn a_rollback_does_not_undo_an_attempt() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    wang.simple_query("BEGIN; SELECT * FROM app.student WHERE school_id = 2; ROLLBACK").expect("nothing");
    assert_eq!(attempts(&school), 1);
}
