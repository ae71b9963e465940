//! Names that mean something else a moment later, verbs that do what another name says, roles and labels that open what
//! others close.

use super::attack::ROLES;
use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::{School, ask};
use postgres::error::SqlState;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

tests! {
    a_table_dropped_while_its_name_is_decided,
    names_of_own_elements_and_of_kept_plans_mean_what_they_did,
    a_verb_that_does_what_another_is_forbidden,
    copy_while_triggers_are_off,
    a_grant_among_the_elements_of_a_schema,
    a_member_taken_out_of_a_role_that_sees_less,
    a_label_on_a_child_that_is_read_through_its_parent,
    a_schema_with_a_dot_in_its_name,
    an_index_of_the_catalog_made_anew,
    a_query_that_is_nested_deeply_is_planned_at_once,
}

fn school_with(set_up: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(set_up).expect("set-up");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

/// Runs a command that names `student` without a schema, while another session drops the first table of that name on the
/// search path.
fn while_it_is_dropped(school: &School, who: &str, command: &str) -> Result<(), postgres::Error> {
    let mut other = school.session(who);
    other.batch_execute("CREATE TABLE mine.student (LIKE app.student)").expect("a table");
    other.batch_execute("BEGIN; DROP TABLE mine.student").expect("nobody's business");
    let mut session = school.session(who);
    session.batch_execute("SET search_path = mine, app, steward").expect("set");
    let pid: i32 = ask(&mut session, "SELECT pg_backend_pid()");
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            if command.ends_with("FROM stdin") {
                let mut lines = session.copy_in(command)?;
                lines.write_all(b"").and_then(|()| lines.flush()).expect("no line");
                lines.finish().map(drop)
            } else if command.ends_with("TO stdout") {
                let read = session.copy_out(command)?.read_to_end(&mut Vec::new());
                read.map(drop)
                    .map_err(|error| *error.into_inner().expect("of the server").downcast().expect("its error"))
            } else {
                session.batch_execute(command)
            }
        });
        let waits = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted");
        let mut waiting = (0..100).map(|_| {
            thread::sleep(Duration::from_millis(50));
            school.ask::<i64>(&waits)
        });
        assert!(waiting.any(|count| count > 0) || run.is_finished(), "{command}");
        other.batch_execute("COMMIT").expect("dropped");
        run.join().expect("no panic")
    })
}

/// The hooks decide on the first table; the server would look the name up again and find the protected one.
fn a_table_dropped_while_its_name_is_decided() {
    let school = school_with(
        "CREATE SCHEMA mine AUTHORIZATION teacher_wang; GRANT ALL ON app.student TO teacher_wang;
         ALTER TABLE app.student OWNER TO teacher_wang; GRANT USAGE ON SCHEMA app TO teacher_wang",
    );
    let shape = "SELECT string_agg(a.attname || a.atttypid, ',') || c.relrowsecurity || c.relnamespace::regnamespace
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.oid = 'app.student'::regclass AND a.attnum > 0
        GROUP BY c.oid";
    let before: String = school.ask(shape);
    let changed = "table_name = 'app.student' AND result = 'SUCCESS' AND tier <> 'normal'";
    let changes = school.records(changed);
    let commands = [
        "COPY student TO stdout",
        "COPY student FROM stdin",
        "ALTER TABLE student ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE student ALTER COLUMN note TYPE varchar USING 'gone'",
        "ALTER TABLE student RENAME TO pupil",
        "ALTER TABLE student SET SCHEMA mine",
        "TRUNCATE student CASCADE",
        "CREATE TABLE mine.child () INHERITS (student)",
        "CREATE INDEX ON student ((upper(note)))",
    ];
    for who in ROLES {
        for command in commands {
            let Err(error) = while_it_is_dropped(&school, who, command) else { panic!("{who}: {command} passed") };
            let error = db_error::<()>(Err(error));
            let missing = [SqlState::UNDEFINED_TABLE, SqlState::T_R_DEADLOCK_DETECTED];
            assert!(missing.contains(error.code()), "{who}: {command}: {error:?}");
        }
    }
    assert_eq!(school.ask::<String>(shape), before);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = ''"), 200);
    assert_eq!(school.records(changed), changes);
}

fn names_of_own_elements_and_of_kept_plans_mean_what_they_did() {
    let school = school_with("CREATE SCHEMA mine; CREATE TABLE mine.student (id int)");
    let mut session = school.superuser();
    // The table of the new schema, not the protected one of the same name.
    session
        .batch_execute(
            "SET search_path = app; CREATE SCHEMA fresh CREATE TABLE student (id int) CREATE INDEX ON student (id);
             SET search_path = mine; CREATE TEMP TABLE student (id int); TRUNCATE student; ALTER TABLE student ADD b int;
             DROP TABLE student; COMMENT ON TABLE student IS 'mine'",
        )
        .expect("nobody's business");
    // A plan that is kept meets the path of each of its runs.
    session
        .batch_execute(
            "CREATE FUNCTION mine.empty() RETURNS void LANGUAGE plpgsql AS 'BEGIN TRUNCATE student; END';
             INSERT INTO mine.student VALUES (1); SELECT mine.empty()",
        )
        .expect("the unprotected one");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM mine.student"), 0);
    expect_refused(session.batch_execute("SET search_path = app; SELECT mine.empty()"));
    session.batch_execute("SET search_path = mine; SELECT mine.empty()").expect("and back");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student"), 200);
}

fn a_verb_that_does_what_another_is_forbidden() {
    let school = school_with(
        r#"ALTER TABLE app.entry ALTER id SET GENERATED BY DEFAULT; INSERT INTO app.entry VALUES (7, 1);
        SELECT steward.set_rule('no_update', 'critical', commands => '{UPDATE}', relation_pattern => '^app[.]entry$');
        SELECT steward.set_rule('no_delete', 'critical', commands => '{DELETE}', relation_pattern => '^app[.]entry$');
        SELECT steward.set_rule('no_insert', 'critical', commands => '{INSERT}', relation_pattern => '^app[.]guardian$')"#,
    );
    for who in ROLES {
        let mut session = school.session(who);
        for attack in [
            "INSERT INTO app.entry VALUES (7, 2) ON CONFLICT (id) DO UPDATE SET client = 3",
            "MERGE INTO app.entry e USING (SELECT 7 AS id) n ON e.id = n.id WHEN MATCHED THEN UPDATE SET client = 3",
            "MERGE INTO app.entry e USING (SELECT 7 AS id) n ON e.id = n.id WHEN MATCHED THEN DELETE",
            "MERGE INTO app.guardian g USING (SELECT 999 AS id) n ON g.id = n.id
                WHEN NOT MATCHED THEN INSERT VALUES (999, 1, 'x')",
        ] {
            expect_refused(session.batch_execute(attack));
        }
        // An error in COPY leaves this client's session behind.
        let mut copying = school.session(who);
        let copied = copying.copy_in("COPY app.guardian FROM stdin").map(|lines| lines.finish());
        expect_refused(copied.and_then(|finished| finished));
        session
            .batch_execute("INSERT INTO app.entry VALUES (8, 1) ON CONFLICT DO NOTHING")
            .expect("nothing forbids it");
    }
    assert_eq!(school.ask::<i32>("SELECT client FROM app.entry WHERE id = 7"), 1);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
}

fn copy_while_triggers_are_off() {
    let school = School::active();
    let mut session = school.superuser();
    session.batch_execute("SET session_replication_role = replica").expect("for the session");
    let copied = session.copy_in("COPY app.guardian FROM stdin").and_then(|mut lines| {
        lines.write_all(b"900\t12345\tnobody's\n").expect("a line");
        lines.finish()
    });
    let error = expect_refused(copied);
    assert!(error.detail().unwrap_or("").contains("structure"), "{error:?}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE id = 900"), 0);
}

fn a_grant_among_the_elements_of_a_schema() {
    let school =
        school_with("ALTER TABLE app.guardian OWNER TO teacher_wang; GRANT CREATE ON DATABASE school TO teacher_wang");
    for who in ROLES {
        let mut session = school.session(who);
        for attack in [
            "CREATE SCHEMA another CREATE TABLE kid () INHERITS (app.guardian) GRANT SELECT ON app.guardian TO clerk_zhao",
            "CREATE SCHEMA another CREATE TABLE kid () INHERITS (app.guardian) GRANT SELECT ON kid TO clerk_zhao",
            "CREATE SCHEMA another CREATE INDEX ON steward.chain (id) GRANT SELECT ON app.guardian TO clerk_zhao",
        ] {
            expect_refused(session.batch_execute(attack));
        }
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_inherits WHERE inhparent = 'app.guardian'::regclass"), 0);
}

/// Masks, scopes and limits hold for members: leaving the role is like dropping them, and so is joining an exempted one.
fn a_member_taken_out_of_a_role_that_sees_less() {
    let school = school_with(
        "CREATE ROLE less; CREATE ROLE below; GRANT less TO below; GRANT below TO clerk_zhao; GRANT less TO teacher_wang;
         CREATE ROLE more; CREATE ROLE free; GRANT free TO clerk_zhao;
         SELECT steward.set_mask('less', 'id_card');
         SELECT steward.exempt_mask('more', 'id_card', now() + interval '1 hour', 'an audit')",
    );
    let seen = |who: &str| ask::<String>(&mut school.session(who), "SELECT id_card FROM app.student WHERE id = 7");
    assert_ne!(seen("clerk_zhao"), "ID7");
    for who in ROLES {
        let mut session = school.session(who);
        for attack in [
            "REVOKE less FROM teacher_wang",
            "REVOKE below FROM clerk_zhao",
            "GRANT more TO clerk_zhao",
            "DROP ROLE below",
            "CREATE ROLE fresh IN ROLE more",
            "ALTER GROUP below DROP USER clerk_zhao",
        ] {
            let error = db_error(session.batch_execute(attack));
            assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{who}: {attack}: {error:?}");
            assert!(who != "postgres" || error.message().contains("critical"), "{attack}: {error:?}");
        }
    }
    assert_ne!(seen("clerk_zhao"), "ID7");
    assert_ne!(seen("teacher_wang"), "ID7");
    school.superuser().batch_execute("REVOKE free FROM clerk_zhao").expect("account work, as ever");
}

fn a_label_on_a_child_that_is_read_through_its_parent() {
    let school = school_with(
        "CREATE TABLE app.contact (id int, phone text, extra text);
         CREATE TABLE app.contact_a (own text) INHERITS (app.contact);
         CREATE TABLE app.contact_b (own text) INHERITS (app.contact);
         INSERT INTO app.contact_a VALUES (1, '13800001234', 'e', 'o'); INSERT INTO app.contact_b VALUES (2, '13800005678', 'e', 'clear');
         GRANT SELECT ON app.contact, app.contact_a, app.contact_b TO clerk_zhao;
         SECURITY LABEL FOR pg_steward ON COLUMN app.contact_a.phone IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN app.contact_a.own IS 'name';
         SELECT steward.protect('app.contact'); SELECT steward.set_mask('clerk_zhao', 'phone');
         SELECT steward.set_mask('clerk_zhao', 'name')",
    );
    let mut clerk = school.session("clerk_zhao");
    let mut seen = |query: &str| ask::<String>(&mut clerk, query);
    assert_eq!(seen("SELECT string_agg(phone, ' ' ORDER BY id) FROM app.contact"), "138****1234 138****5678");
    assert_eq!(seen("SELECT phone FROM app.contact_a"), "138****1234");
    assert_eq!(seen("SELECT own FROM app.contact_b"), "clear", "a column of its own, which has that name by chance");
    // A labelled table that is hung under another.
    school
        .superuser()
        .batch_execute(
            "CREATE TABLE app.above (phone text); GRANT SELECT ON app.above TO clerk_zhao;
             CREATE TABLE app.below (phone text); INSERT INTO app.below VALUES ('13800009999')",
        )
        .expect("tables outside the policy");
    school.operate("postgres", "SECURITY LABEL FOR pg_steward ON COLUMN app.below.phone IS 'phone'");
    school.superuser().batch_execute("ALTER TABLE app.below INHERIT app.above").expect("nobody's business");
    assert_eq!(seen("SELECT max(phone) FROM app.above"), "138****9999");
}

fn a_schema_with_a_dot_in_its_name() {
    let school = school_with(
        r#"CREATE SCHEMA "a.b"; CREATE TABLE "a.b".secret (id int); SELECT steward.protect('"a.b".secret')"#,
    );
    let mut session = school.superuser();
    for attack in [r#"ALTER SCHEMA "a.b" RENAME TO plain"#, r#"DROP SCHEMA "a.b" CASCADE"#] {
        expect_refused(session.batch_execute(attack));
    }
    session.batch_execute(r#"CREATE PUBLICATION p FOR TABLES IN SCHEMA "a.b""#).expect("an export, on record");
    let export = "operation_type = 'CREATE PUBLICATION' AND tier = 'important' AND rule = 'export'";
    assert_eq!(school.records(export), 1);
}

fn an_index_of_the_catalog_made_anew() {
    let school = School::active();
    let mut session = school.superuser();
    for attack in ["REINDEX SCHEMA steward", "REINDEX SYSTEM school", "REINDEX DATABASE school"] {
        expect_refused(session.batch_execute(attack));
    }
    session.batch_execute("REINDEX TABLE app.student").expect("upkeep");
    session.batch_execute("REINDEX SCHEMA app").expect("upkeep");
    let hangs = r#"ALTER TRIGGER "RI_steward_row_image" ON app.student NO DEPENDS ON EXTENSION pg_steward"#;
    expect_refused(session.batch_execute(hangs));
    expect_error(session.batch_execute("REINDEX TABLE app.nothing"), &SqlState::UNDEFINED_TABLE, "", "");
}

/// Each sub-query is looked at once: else every level would double the time, and WITH the memory.
fn a_query_that_is_nested_deeply_is_planned_at_once() {
    let school = school_with("SELECT steward.set_mask('clerk_zhao', 'id_card')");
    let nested = (0..40).fold("SELECT 1 AS a".to_owned(), |query, level| {
        format!("SELECT (SELECT 1) AS a FROM ({query}) x{level} OFFSET 0")
    });
    let doubled: String = (1..40)
        .map(|n| format!(", c{n} AS MATERIALIZED (SELECT a.p || b.p AS p FROM c{0} a, c{0} b)", n - 1))
        .collect();
    let first = "c0 AS MATERIALIZED (SELECT name AS p FROM app.student LIMIT 1)";
    let write = format!("EXPLAIN INSERT INTO kept (p) WITH {first}{doubled} SELECT p FROM c39");
    let mut session = school.session("clerk_zhao");
    session.batch_execute("SET statement_timeout = '20s'; CREATE TEMP TABLE kept (p text)").expect("set");
    for query in [nested, write] {
        session.batch_execute(&query).expect("planned");
    }
}
