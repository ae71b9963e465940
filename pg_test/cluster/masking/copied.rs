//! Copies of a masked table: new tables, COPY, dumps (cases 5, 7, 8).

use super::{desk, desk_with, refused, shown, tells};
use std::io::Read;

tests! {
    a_new_table_holds_masks,
    a_copy_to_the_client,
    a_copy_without_a_plan_keeps_odd_names,
    a_dump,
}

/// Case 5.
fn a_new_table_holds_masks() {
    let school = desk();
    let mut clerk = school.session("cs");
    for (make, table) in [
        ("CREATE TEMP TABLE a AS SELECT * FROM desk.student", "a"),
        ("SELECT * INTO TEMP b FROM desk.student", "b"),
        ("CREATE TABLE desk.c AS TABLE desk.student", "desk.c"),
        ("CREATE MATERIALIZED VIEW desk.d AS SELECT * FROM desk.student", "desk.d"),
        ("CREATE TEMP TABLE e (LIKE desk.student); INSERT INTO e SELECT * FROM desk.student", "e"),
        ("PREPARE p AS SELECT * FROM desk.student; CREATE TABLE desk.f AS EXECUTE p", "desk.f"),
    ] {
        clerk.batch_execute(make).unwrap_or_else(|error| panic!("{make}: {error:?}"));
        let rows = shown(&mut clerk, &format!("TABLE {table}"));
        assert!(!tells(&rows) && rows.contains("138****"), "{make}");
    }
    // The owner looks as well: what is stored is the mask.
    let stored = "SELECT count(*) FROM desk.c WHERE phone LIKE '138****%'";
    assert_eq!(shown(&mut school.superuser(), stored), "100");
    for insert in [
        "CREATE TABLE desk.mine (phone text); INSERT INTO desk.mine SELECT phone FROM desk.student",
        "CREATE TABLE desk.mine (phone text); INSERT INTO desk.mine SELECT (s).phone FROM (SELECT s FROM desk.student s) x",
        "CREATE TABLE desk.mine (phone text); WITH x AS (SELECT phone FROM desk.student) INSERT INTO desk.mine SELECT * FROM x",
        "CREATE TABLE desk.mine (phone text); INSERT INTO desk.mine VALUES ((SELECT phone FROM desk.student WHERE id = 7))",
        "CREATE TABLE desk.mine (phone text); INSERT INTO desk.mine SELECT '' UNION SELECT phone FROM desk.student",
        "CREATE TABLE desk.mine (phone text); WITH x AS (SELECT phone FROM desk.student), y AS (INSERT INTO desk.mine SELECT * FROM x) SELECT 1",
    ] {
        refused(&mut clerk, insert, "would store a mask");
    }
    // What is not masked is stored as ever, also by way of a view or a sub-query that shows more.
    clerk
        .batch_execute(
            "CREATE TABLE desk.mine (id int); CREATE VIEW desk.all AS SELECT * FROM desk.student;
             INSERT INTO desk.mine SELECT id FROM desk.all;
             INSERT INTO desk.mine SELECT a.id FROM desk.student a JOIN desk.student b USING (id) WHERE a.phone = b.phone;
             INSERT INTO desk.mine SELECT id FROM desk.student WHERE phone LIKE '138%' ORDER BY phone",
        )
        .expect("numbers");
}

fn copied(school: &crate::school::School, login: &str, copy: &str) -> String {
    let mut session = school.session(login);
    let mut rows = String::new();
    session.copy_out(copy).unwrap_or_else(|error| panic!("{copy}: {error:?}")).read_to_string(&mut rows).expect("rows");
    rows
}

/// Case 7.
fn a_copy_to_the_client() {
    let school = desk();
    for copy in [
        "COPY desk.student TO STDOUT",
        "COPY desk.student (phone, id) TO STDOUT",
        "COPY desk.student TO STDOUT (FORMAT csv, HEADER)",
        "COPY (SELECT * FROM desk.student) TO STDOUT",
        "COPY (TABLE desk.student) TO STDOUT CSV",
        "COPY (UPDATE desk.student SET note = '' RETURNING phone) TO STDOUT",
    ] {
        let rows = copied(&school, "cs", copy);
        assert!(!tells(&rows) && rows.contains("138****"), "{copy}: {rows}");
    }
    let header = copied(&school, "cs", "COPY desk.student TO STDOUT (FORMAT csv, HEADER)");
    assert!(header.starts_with("id,school_id,name,id_card,phone,score,note\n"), "{header}");
    assert!(copied(&school, "teacher", "COPY desk.student TO STDOUT").contains("13800000007"));
    let mut clerk = school.session("cs");
    assert!(clerk.batch_execute("COPY desk.student TO PROGRAM 'cat'").is_err());
}

/// Case 7, without row security, which makes a query of it by itself.
fn a_copy_without_a_plan_keeps_odd_names() {
    let school = desk_with(
        "CREATE TABLE desk.\"odd \"\"one\" (id int, gone int, \"we ird\"\"x\" text, twice int GENERATED ALWAYS AS (id * 2) STORED);
         ALTER TABLE desk.\"odd \"\"one\" DROP COLUMN gone;
         INSERT INTO desk.\"odd \"\"one\" VALUES (7, '13800000007'); GRANT SELECT ON desk.\"odd \"\"one\" TO cs, teacher;
         CREATE TABLE desk.heir () INHERITS (desk.\"odd \"\"one\"); INSERT INTO desk.heir VALUES (8, '13800000008');
         SECURITY LABEL FOR pg_steward ON COLUMN desk.\"odd \"\"one\".\"we ird\"\"x\" IS 'phone'",
    );
    for (columns, masked, clear) in [
        ("", "7\t138****0007\n", "7\t13800000007\n"),
        ("(\"we ird\"\"x\", id)", "138****0007\t7\n", "13800000007\t7\n"),
    ] {
        let copy = format!("COPY desk.\"odd \"\"one\" {columns} TO STDOUT");
        assert_eq!(copied(&school, "cs", &copy), masked);
        assert_eq!(copied(&school, "teacher", &copy), clear);
    }
}

/// Case 8.
fn a_dump() {
    let school = desk();
    let dump = |login: &str, more: &str| {
        let mut dump = school.client_program("pg_dump");
        dump.args(["-U", login, "-d", crate::school::HOME, "-t", "desk.student", "--data-only"])
            .args(more.split_whitespace());
        let output = dump.output().expect("pg_dump");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for more in ["", "--inserts", "--enable-row-security", "--enable-row-security --inserts"] {
        let (_, rows) = dump("cs", more);
        assert!(!tells(&rows), "{more}: {rows}");
    }
    let (done, rows) = dump("cs", "--enable-row-security");
    assert!(done && rows.contains("138****"), "{rows}");
    assert!(dump("app_owner", "").1.contains("13800000007"));
}
