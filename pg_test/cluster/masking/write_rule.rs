//! What a masked role may write, as its rule says: `write => 'guard'`, `'deny'` or `'allow'`. The default, guard, is what
//! `written` tests.

use std::io::Write as _;

use postgres::error::SqlState;

use super::{desk, desk_with, refused, shown};
use crate::expect::{db_error, expect_refused};
use crate::school::{School, execute, request};

tests! {
    nothing_is_written_into_a_denied_column,
    what_the_database_writes_by_itself_is_not_denied,
    a_date_that_is_its_own_mask_is_stored_where_a_rule_allows_it,
    letting_more_be_written_takes_two_approvals,
    a_denied_column_is_shown_and_an_allowed_one_is_found,
}

const DENIED: &str = "writes to a masked column";
const DENY: &str = "SELECT steward.set_mask('cs', 'phone', write => 'deny')";

fn nothing_is_written_into_a_denied_column() {
    let school = desk_with(
        "ALTER TABLE desk.student DISABLE ROW LEVEL SECURITY; SELECT steward.protect('desk.student');
         CREATE VIEW desk.pupil AS SELECT id, school_id, name, phone AS number, note FROM desk.student; GRANT ALL ON desk.pupil TO cs;
         CREATE TABLE desk.part (id int, phone text) PARTITION BY LIST (id); CREATE TABLE desk.part_1 PARTITION OF desk.part DEFAULT;
         GRANT ALL ON desk.part, desk.part_1 TO cs; SECURITY LABEL FOR pg_steward ON COLUMN desk.part.phone IS 'phone';
         CREATE FUNCTION desk.ring(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN UPDATE desk.student SET phone = $1 WHERE id = 7; END'",
    );
    let mut clerk = school.session("cs");
    clerk.batch_execute("PREPARE kept AS UPDATE desk.student SET phone = $1 WHERE id = 9").expect("not denied yet");
    for number in 0..7 {
        clerk.batch_execute(&format!("EXECUTE kept('1390000000{number}')")).expect("not denied yet");
    }
    clerk.batch_execute("SELECT desk.ring('13900000077'); SELECT desk.ring('13800000007')").expect("not denied yet");
    school.superuser().batch_execute(DENY).expect("deny");
    for write in [
        "INSERT INTO desk.student VALUES (300, 1, 'x', NULL, '13900000300')",
        "INSERT INTO desk.student (id, school_id, name, phone) VALUES (300, 1, 'x', NULL)",
        "INSERT INTO desk.student (id, school_id, name, phone) VALUES (300, 1, 'x', DEFAULT)",
        "INSERT INTO desk.student (id, school_id, name, phone) SELECT 300, 1, 'x', '13900000300'",
        "INSERT INTO desk.student (id, school_id, name) VALUES (7, 1, 'x') ON CONFLICT (id) DO UPDATE SET phone = '1'",
        "WITH x AS (INSERT INTO desk.student (id, school_id, name, phone) VALUES (300, 1, 'x', '1') RETURNING id) SELECT * FROM x",
        "UPDATE desk.student SET phone = '13900000007' WHERE id = 7",
        "UPDATE desk.student SET phone = '138****0007' WHERE id = 7",
        "UPDATE desk.student SET phone = NULL WHERE false",
        "UPDATE desk.student SET phone = DEFAULT WHERE id = 7",
        "UPDATE desk.student SET phone = phone",
        "UPDATE desk.student SET (note, phone) = ('x', 'y') WHERE id = 7",
        "UPDATE desk.student SET phone = coalesce(NULL, phone)",
        "UPDATE desk.pupil SET number = '1' WHERE id = 7",
        "INSERT INTO desk.pupil (id, school_id, name, number) VALUES (300, 1, 'x', '1')",
        "MERGE INTO desk.student t USING generate_series(7, 7) g ON t.id = g WHEN MATCHED THEN UPDATE SET phone = '1'",
        "MERGE INTO desk.student t USING generate_series(300, 300) g ON t.id = g WHEN NOT MATCHED THEN INSERT VALUES (g, 1, 'x', NULL, '1')",
        "INSERT INTO desk.part VALUES (1, '1')",
        "UPDATE desk.part_1 SET phone = '1'",
        "EXECUTE kept('13900000009')",
        "SELECT desk.ring('13900000007')",
    ] {
        refused(&mut clerk, write, DENIED);
    }
    for target in ["desk.student", "desk.student (id, school_id, name, phone)", "desk.part", "desk.part_1"] {
        refused(&mut clerk, &format!("COPY {target} FROM STDIN"), DENIED);
    }
    // The rest of the row is the role's to write, and what it writes says nothing of the column.
    let mut rest = clerk.copy_in("COPY desk.student (id, school_id, name) FROM STDIN").expect("no phone");
    rest.write_all(b"301\t1\tx\n").expect("a line");
    assert_eq!(rest.finish().expect("copied"), 1);
    for (write, returned) in [
        ("INSERT INTO desk.student (id, school_id, name) VALUES (302, 1, 'x') RETURNING id", "302"),
        ("UPDATE desk.student SET note = 'x' WHERE id = 7 RETURNING phone", "138****0007"),
        (
            "INSERT INTO desk.student (id, school_id, name) VALUES (7, 1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'y' RETURNING id",
            "7",
        ),
        ("UPDATE desk.pupil SET note = 'z' WHERE id = 7 RETURNING number", "138****0007"),
        ("DELETE FROM desk.student WHERE id = 302 RETURNING id", "302"),
    ] {
        assert_eq!(shown(&mut clerk, write), returned, "{write}");
    }
    shown(&mut school.session("teacher"), "UPDATE desk.student SET phone = '13900000008' WHERE id = 8");
    let phones = "SELECT string_agg(phone, ',' ORDER BY id) FROM desk.student WHERE id IN (7, 8, 9)";
    assert_eq!(shown(&mut school.superuser(), phones), "13800000007,13900000008,13900000006");
    let denied = "user_id = 'cs' AND result = 'DENIED' AND rule = 'mask' AND table_name = 'desk.student'";
    assert!(school.records(&format!("{denied} AND operation_type = 'UPDATE'")) >= 8);
    assert_eq!(school.records(&format!("{denied} AND operation_type = 'COPY'")), 2);
    assert_eq!(school.records(&format!("{denied} AND statement LIKE '%13900000%'")), 0, "the value is nowhere");
}

/// Defaults and cascades are the owner's doing.
fn what_the_database_writes_by_itself_is_not_denied() {
    let school = desk_with(
        "ALTER TABLE desk.student ALTER phone SET DEFAULT '13700000000';
         CREATE TABLE desk.contact (id int PRIMARY KEY, phone text REFERENCES desk.student (phone) ON UPDATE CASCADE);
         ALTER TABLE desk.contact OWNER TO app_owner; INSERT INTO desk.contact VALUES (1, '13800000007');
         SECURITY LABEL FOR pg_steward ON COLUMN desk.contact.phone IS 'phone';
         SELECT steward.set_mask(role, 'phone', write => 'deny') FROM unnest('{cs,app_owner}'::regrole[]) role",
    );
    shown(&mut school.session("cs"), "INSERT INTO desk.student (id, school_id, name) VALUES (300, 1, 'x')");
    shown(&mut school.session("teacher"), "UPDATE desk.student SET phone = '13900000007' WHERE id = 7");
    let stored = "SELECT (SELECT phone FROM desk.student WHERE id = 300), (SELECT phone FROM desk.contact)";
    assert_eq!(shown(&mut school.superuser(), stored), "13700000000|13900000007");
    refused(&mut school.session("app_owner"), "UPDATE desk.contact SET phone = NULL", DENIED);
}

fn a_date_that_is_its_own_mask_is_stored_where_a_rule_allows_it() {
    let school = desk_with(
        "ALTER TABLE desk.student ADD born date DEFAULT '2010-03-07', ADD born_text text DEFAULT '2010-03-07';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.student.born IS 'birth_date';
         SECURITY LABEL FOR pg_steward ON COLUMN desk.student.born_text IS 'birth_date';
         SELECT steward.set_mask('cs', 'birth_date')",
    );
    let mut clerk = school.session("cs");
    let writes = [
        "UPDATE desk.student SET born = '2010-01-01', born_text = '2010' WHERE id = 7",
        "INSERT INTO desk.student (id, school_id, name, born) VALUES (7, 1, '', '2010-01-01') ON CONFLICT (id) DO UPDATE SET born = EXCLUDED.born",
        "MERGE INTO desk.student t USING generate_series(7, 7) g ON t.id = g WHEN MATCHED THEN UPDATE SET born = '2010-01-01'",
    ];
    let stored = "SELECT born, born_text FROM desk.student WHERE id = 7";
    for (rule, born) in [("guard", "2010-03-07"), ("allow", "2010-01-01")] {
        let set = format!("SELECT steward.set_mask('cs', 'birth_date', write => '{rule}')");
        school.superuser().batch_execute(&set).expect("set");
        for write in writes {
            shown(&mut clerk, write);
            let kept = format!("{born}|2010-03-07");
            assert_eq!(shown(&mut school.superuser(), stored), kept, "{rule}: {write}");
            shown(&mut school.superuser(), "UPDATE desk.student SET born = '2010-03-07' WHERE id = 7");
        }
    }
    // What the role does not see is copied nowhere all the same, and the strictest of several rules counts.
    refused(&mut clerk, "UPDATE desk.student SET note = born::text", "would store a mask");
    refused(&mut clerk, "UPDATE desk.student SET born = born + 1", "would store a mask");
    shown(&mut clerk, "UPDATE desk.student SET born = coalesce(NULL, born) WHERE id = 7");
    assert_eq!(shown(&mut school.superuser(), stored), "2010-03-07|2010-03-07");
    let strict = "CREATE ROLE desks; GRANT desks TO cs; SELECT steward.set_mask('desks', '*', write => 'deny')";
    school.superuser().batch_execute(strict).expect("a second rule");
    refused(&mut clerk, writes[0], DENIED);
}

fn letting_more_be_written_takes_two_approvals() {
    let school = School::inactive();
    let set_up = "SELECT steward.set_mask('clerk_zhao', 'phone', 'hide', write => 'deny'); SELECT steward.activate()";
    school.superuser().batch_execute(set_up).expect("set-up");
    let mut applicant = school.superuser();
    for write in ["guard", "allow"] {
        let script = format!("SELECT steward.set_mask('clerk_zhao', 'phone', 'hide', write => '{write}')");
        expect_refused(applicant.batch_execute(&script));
        let op_no = request(&mut applicant, &script, ", approvals => 2");
        school.release(&op_no);
        execute(&mut applicant, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        // Stricter again, with one.
        school.operate("postgres", "SELECT steward.set_mask('clerk_zhao', 'phone', 'hide', write => 'deny')");
    }
    let one = request(&mut applicant, "SELECT steward.set_mask('clerk_zhao', 'phone', 'hide', write => 'allow')", "");
    let needed = format!("SELECT approvals_needed FROM steward.show('{one}')");
    if school.ask::<i32>(&needed) == 1 {
        school.vote("reviewer_sun", "approve", &one).expect("approve");
        school.vote("region_liu", "confirm", &one).expect("confirm");
        assert!(expect_refused(execute(&mut applicant, &one)).message().contains("1 of 2 approvals"));
    }
    assert_eq!(school.ask::<String>("SELECT write FROM steward.mask_rule"), "deny");
    for write in ["guard", "allow", "deny"] {
        let record = format!(
            "operation_type = 'set_mask' AND tier = 'critical' AND details::jsonb @> '{{\"write\": \"{write}\"}}'"
        );
        assert!(school.records(&record) >= 1, "{write}");
    }
}

fn a_denied_column_is_shown_and_an_allowed_one_is_found() {
    let school = desk();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "SECURITY LABEL FOR pg_steward ON COLUMN desk.student.score IS 'score'; SELECT steward.protect('desk.student');
             SELECT steward.set_mask('cs', 'score', write => 'allow')",
        )
        .expect("allow");
    superuser.batch_execute(DENY).expect("deny");
    let why = |column: &str| format!("SELECT why FROM steward.access('cs') WHERE column_name = '{column}'");
    assert!(
        shown(&mut superuser, &why("phone")).contains("partial, write deny"),
        "{}",
        shown(&mut superuser, &why("phone"))
    );
    assert!(shown(&mut superuser, &why("score")).contains("partial, write allow"));
    assert!(!shown(&mut superuser, &why("name")).contains("write"));
    let found = "SELECT object, role_id, command FROM steward.lint() WHERE kind = 'masked_write'";
    let line = shown(&mut superuser, found);
    assert!(line.starts_with("desk.student.score|cs|SELECT steward.set_mask('cs', 'score', 'partial'"), "{line}");
    // A domain over a domain is what they are made of.
    superuser
        .batch_execute(
            "CREATE DOMAIN desk.mark AS int; CREATE DOMAIN desk.grade AS desk.mark CHECK (value < 1000); CREATE DOMAIN desk.word AS text;
             ALTER TABLE desk.student ADD grade desk.grade, ADD word desk.word; GRANT INSERT (grade, word) ON desk.student TO cs;
             SECURITY LABEL FOR pg_steward ON COLUMN desk.student.grade IS 'score';
             SECURITY LABEL FOR pg_steward ON COLUMN desk.student.word IS 'score'",
        )
        .expect("domains");
    let objects = "SELECT string_agg(object, ' ' ORDER BY object) FROM steward.lint() WHERE kind = 'masked_write'";
    assert_eq!(shown(&mut superuser, objects), "desk.student.grade desk.student.score");
    superuser.batch_execute(line.rsplit('|').next().expect("a command")).expect("the command");
    assert_eq!(shown(&mut superuser, found), "");
    for (call, words) in [
        ("set_mask('cs', 'phone', write => 'never')", "no way to treat what is written"),
        ("set_mask('cs', 'phone', write => NULL)", "write"),
        ("set_mask('cs', 'phone', 'none', write => 'deny')", "masks nothing"),
    ] {
        let error = db_error(superuser.batch_execute(&format!("SELECT steward.{call}")));
        assert!(
            error.code() == &SqlState::INVALID_PARAMETER_VALUE && error.message().contains(words),
            "{call}: {error:?}"
        );
    }
}
