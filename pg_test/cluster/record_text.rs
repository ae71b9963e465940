//! What a session has said before is remembered with its record. The same text need not be the same statement, and one
//! record must never stand for another: not with another reading of the text, another table, another rule, or by design.

use crate::fault::Random;
use crate::school::School;

tests! {
    the_same_text_read_in_another_way_is_another_record,
    the_same_text_on_another_table_is_another_record,
    the_same_text_under_another_rule_is_another_record,
    a_renamed_table_has_its_new_name,
    no_statement_of_many_takes_the_record_of_another,
}

/// A teacher's statements on record with this text and this table.
#[track_caller]
fn on_record(school: &School, text: &str, table: &str) -> i64 {
    school.flush_audit();
    let sql = "SELECT count(*) FROM steward.audit_log
        WHERE statement = $1 AND table_name = $2 AND user_id = 'teacher_wang' AND result = 'SUCCESS'";
    school.superuser().query_one(sql, &[&text, &table]).expect("audit_log").get(0)
}

/// With and without backslash escapes the constants lie elsewhere: what was one then is the statement's own text now.
fn the_same_text_read_in_another_way_is_another_record() {
    let school = School::active();
    let text = r"SELECT '\', name AS a, ', b.name AS n FROM app.student b WHERE id = 1 AND name <> ' AS c FROM app.student WHERE id = 2 --'";
    let mut teacher = school.session("teacher_wang");
    for conforming in ["on", "off", "on"] {
        teacher.batch_execute(&format!("SET standard_conforming_strings = {conforming}")).expect("set");
        teacher.batch_execute(text).expect("select");
    }
    let plain = "SELECT ?, name AS a, ? AS c FROM app.student WHERE id = ?";
    let escaped = "SELECT ?, b.name AS n FROM app.student b WHERE id = ? AND name <> ?";
    assert_eq!(on_record(&school, plain, "app.student"), 2);
    assert_eq!(on_record(&school, escaped, "app.student"), 1);
}

fn the_same_text_on_another_table_is_another_record() {
    let school = School::inactive();
    let twin = "CREATE SCHEMA twin; CREATE TABLE twin.student (LIKE app.student); GRANT USAGE ON SCHEMA twin TO teacher_wang;
        GRANT SELECT ON twin.student TO teacher_wang; SELECT steward.protect('twin.student'); SELECT steward.activate()";
    school.superuser().batch_execute(twin).expect("twin");
    let mut teacher = school.session("teacher_wang");
    for schema in ["app", "twin", "twin", "app", "twin"] {
        teacher.batch_execute(&format!("SET search_path = {schema}")).expect("set");
        teacher.batch_execute("SELECT name FROM student WHERE id = 7").expect("select");
    }
    let text = "SELECT name FROM student WHERE id = ?";
    assert_eq!(on_record(&school, text, "app.student"), 2);
    assert_eq!(on_record(&school, text, "twin.student"), 3);
}

fn the_same_text_under_another_rule_is_another_record() {
    let school = School::inactive();
    let mut teacher = school.session("teacher_wang");
    let mut read = || teacher.batch_execute("SELECT name FROM app.student WHERE id = 7").expect("select");
    read();
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT steward.set_rule('reading', 'important', '{SELECT}')").expect("rule");
    read();
    superuser.batch_execute("SELECT steward.drop_rule('reading')").expect("rule");
    read();
    // In one transaction as well, whose snapshot is older than the rule.
    teacher
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT name FROM app.student WHERE id = 7")
        .expect("select");
    superuser.batch_execute("SELECT steward.set_rule('reading', 'important', '{SELECT}')").expect("rule");
    teacher.batch_execute("SELECT name FROM app.student WHERE id = 7; COMMIT").expect("select");
    let text = "SELECT name FROM app.student WHERE id = ?";
    assert_eq!(on_record(&school, text, "app.student"), 5);
    assert_eq!(school.records(&format!("statement = '{text}' AND rule = 'reading' AND tier = 'important'")), 2);
}

fn a_renamed_table_has_its_new_name() {
    let school = School::inactive();
    let mut teacher = school.session("teacher_wang");
    teacher
        .batch_execute("SET search_path = app; PREPARE p AS SELECT name FROM student WHERE id = 7")
        .expect("prepare");
    teacher.batch_execute("EXECUTE p").expect("execute");
    school
        .superuser()
        .batch_execute("ALTER TABLE app.student SET SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
        .expect("move");
    teacher.batch_execute("SET search_path = public").expect("set");
    teacher.batch_execute("EXECUTE p").expect("execute");
    school.flush_audit();
    let tables = "SELECT string_agg(table_name, ' ' ORDER BY id) FROM steward.audit_log
        WHERE user_id = 'teacher_wang' AND statement LIKE '%name FROM student%' AND operation_type = 'SELECT'";
    assert_eq!(school.ask::<String>(tables), "app.student public.student");
}

/// More statements than are remembered, in random order, each with a text that says what it read.
fn no_statement_of_many_takes_the_record_of_another() {
    let mut random = Random::announced("no statement takes another's record");
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    const TABLES: [&str; 3] = ["student", "guardian", "card_transaction"];
    let mut said = std::collections::BTreeMap::<(String, &str), i64>::new();
    for _ in 0..3_000 {
        let table = TABLES[random.below(3) as usize];
        let label = random.below(400);
        // What is told apart by the table alone: the label is the same.
        teacher
            .batch_execute(&format!("SET search_path = app; SELECT id AS l{label} FROM {table} LIMIT 1"))
            .expect("select");
        *said.entry((format!("SELECT id AS l{label} FROM {table} LIMIT ?"), table)).or_default() += 1;
    }
    school.flush_audit();
    let records = "SELECT statement, table_name, count(*) FROM steward.audit_log
        WHERE user_id = 'teacher_wang' AND operation_type = 'SELECT' GROUP BY 1, 2";
    let records = school.superuser().query(records, &[]).expect("audit_log");
    assert_eq!(records.len(), said.len());
    for row in records {
        let (statement, table): (String, String) = (row.get(0), row.get(1));
        let table = table.strip_prefix("app.").expect("schema");
        let times = said.iter().find(|((text, of), _)| *text == statement && *of == table).map(|(_, times)| *times);
        assert_eq!(times, Some(row.get::<_, i64>(2)), "{statement} on {table}");
    }
}
