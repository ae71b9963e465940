//! «✗单独操作»: regional administrators, reviewers and operations change nothing alone, whatever the tier.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, execute, request};

tests! {
    a_single_row_takes_a_second_person,
    no_way_of_writing_is_left_out,
    reading_and_upkeep_are_free,
    what_is_not_protected_is_free,
    a_normal_change_needs_a_confirmation_and_no_approval,
    an_important_change_needs_a_confirmation_and_no_approval,
    the_applicant_is_not_the_second_person,
    an_operation_filed_without_a_second_person_does_not_cover,
    a_function_cannot_hide_the_change,
    a_reviewer_changes_nothing_even_with_privileges,
    a_superuser_of_such_a_post_takes_another_person_by_every_way,
    who_may_act_alone_still_does,
    before_enforcement_nothing_is_refused,
}

const ONE: &str = "UPDATE app.student SET note = 'alone' WHERE id = 1";

/// The posts are what they are installed as.
fn never_alone() -> School {
    never_alone_with("SELECT 1")
}

fn never_alone_with(more: &str) -> School {
    let school = School::inactive();
    let posts = "SELECT steward.set_post('region_admin', '{apply,witness,never_alone}'),
            steward.set_post('ops', '{apply,witness,break_glass,never_alone}');
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO reviewer_sun;
        SELECT steward.activate()";
    school.superuser().batch_execute(&format!("{more}; {posts}")).expect("the installed posts");
    school
}

#[track_caller]
fn expect_alone<T>(result: Result<T, postgres::Error>, person: &str) {
    let detail = format!("{person} holds the post");
    let error = expect_error(result, &SqlState::INSUFFICIENT_PRIVILEGE, &detail, "steward.request");
    assert!(error.message().contains("second person"), "{error:?}");
    assert!(error.detail().unwrap_or("").contains("changes nothing alone"), "{error:?}");
}

fn alone(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note = 'alone'")
}

fn a_single_row_takes_a_second_person() {
    let school = never_alone();
    expect_alone(school.session("region_chen").batch_execute(ONE), "Chen");
    expect_alone(school.superuser().batch_execute(ONE), "Wu");
    assert_eq!(alone(&school), 0);
    assert_eq!(school.records("result = 'DENIED' AND tier = 'normal' AND rule = 'write'"), 2);
}

fn no_way_of_writing_is_left_out() {
    let school = never_alone();
    for login in ["region_chen", "postgres"] {
        let mut session = school.session(login);
        for statement in [
            "INSERT INTO app.entry (client) VALUES (1)",
            "DELETE FROM app.guardian WHERE id = 1",
            "MERGE INTO app.student s USING (SELECT 1 AS id) n ON s.id = n.id WHEN MATCHED THEN UPDATE SET note = 'alone'",
            "WITH w AS (UPDATE app.student SET note = 'alone' WHERE id = 1 RETURNING id) SELECT * FROM w",
            "PREPARE p AS UPDATE app.student SET note = 'alone' WHERE id = 1; EXECUTE p",
            "EXPLAIN ANALYZE UPDATE app.student SET note = 'alone' WHERE id = 1",
            "DO $$BEGIN UPDATE app.student SET note = 'alone' WHERE id = 1; END$$",
            "UPDATE app.card_transaction_2026_10 SET amount = 0 WHERE id = 30",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE; UPDATE app.student SET note = 'alone' WHERE id = 1",
        ] {
            expect_refused(session.batch_execute(statement));
        }
    }
    // An account of nobody important: no tier asks for a second person, the post does.
    expect_alone(school.superuser().batch_execute("ALTER ROLE teacher_wang CONNECTION LIMIT 3"), "Wu");
    assert_eq!(alone(&school), 0);
}

fn reading_and_upkeep_are_free() {
    let school = never_alone();
    let mut superuser = school.superuser();
    for statement in
        ["SELECT * FROM app.student", "ANALYZE app.student", "VACUUM app.student", "LOCK TABLE app.student"]
    {
        let statement =
            if statement.starts_with("LOCK") { format!("BEGIN; {statement}; COMMIT") } else { statement.into() };
        superuser.batch_execute(&statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    school.session("region_chen").batch_execute("SELECT id_card FROM app.student WHERE id = 1").expect("reading");
}

fn what_is_not_protected_is_free() {
    let school = never_alone();
    let mut chen = school.session("region_chen");
    chen.batch_execute("INSERT INTO app.scratch VALUES (1, 'x'); CREATE TEMP TABLE t AS SELECT 1 AS n").expect("free");
}

fn a_normal_change_needs_a_confirmation_and_no_approval() {
    let school = never_alone();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, ONE, ", expected_rows => 1");
    let filed = chen.query_one("SELECT tier::text, status, witness_needed FROM steward.show($1)", &[&op_no]);
    let filed = filed.expect("show");
    assert_eq!((filed.get(0), filed.get(1), filed.get(2)), ("normal", "approved", true));
    let run = execute(&mut chen, &op_no);
    expect_error(run, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "Nobody has confirmed", "steward.confirm");
    school.vote("region_liu", "confirm", &op_no).expect("the second person");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 1);
    assert_eq!(alone(&school), 1);
}

fn an_important_change_needs_a_confirmation_and_no_approval() {
    let school = never_alone();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, "UPDATE app.student SET id_card = 'ID-new' WHERE id = 1", ", expected_rows => 1");
    school.vote("region_liu", "confirm", &op_no).expect("the second person");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 1);
    assert_eq!(school.status(&op_no), "executed", "the review is still to come");
}

fn the_applicant_is_not_the_second_person() {
    let school = never_alone();
    let op_no = request(&mut school.session("region_chen"), ONE, ", expected_rows => 1");
    let vote = school.vote("region_chen", "confirm", &op_no);
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "cannot be the second person", "");
}

fn an_operation_filed_without_a_second_person_does_not_cover() {
    let school = never_alone();
    let mut teacher = school.session("teacher_wang");
    let op_no = request(&mut teacher, ONE, ", expected_rows => 1");
    school.operate("postgres", "SELECT steward.register_person('Wang', 'region_admin')");
    expect_alone(execute(&mut teacher, &op_no), "Wang");
    assert_eq!(alone(&school), 0);
}

fn a_function_cannot_hide_the_change() {
    let school = never_alone();
    let make = "CREATE FUNCTION app.harmless() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
        $f$BEGIN UPDATE app.student SET note = 'alone' WHERE id = 1; RETURN 1; END$f$";
    school.superuser().batch_execute(make).expect("functions are free");
    let mut chen = school.session("region_chen");
    expect_refused(chen.batch_execute("SELECT app.harmless()"));
    chen.batch_execute("SET ROLE region_chen").expect("set role");
    expect_refused(chen.batch_execute("SELECT app.harmless()"));
    let mut superuser = school.superuser();
    superuser.batch_execute("SET SESSION AUTHORIZATION teacher_wang").expect("set session authorization");
    expect_refused(superuser.batch_execute(ONE));
    // The operation that calls it is known by what it does when it runs.
    let op_no = request(&mut chen, "SELECT app.harmless()", "");
    school.release(&op_no);
    execute(&mut chen, &op_no).expect("with approval and second person");
    assert_eq!(alone(&school), 1);
}

fn a_reviewer_changes_nothing_even_with_privileges() {
    let school = never_alone();
    let mut sun = school.session("reviewer_sun");
    expect_alone(sun.batch_execute(ONE), "Sun");
    let filed = sun.query("SELECT steward.request($1, purpose => 'x')", &[&ONE]);
    expect_error(filed, &SqlState::INSUFFICIENT_PRIVILEGE, "does not give the capability apply", "");
}

/// Wu holds two superuser logins: neither gets around the other person, and together they are still one.
fn a_superuser_of_such_a_post_takes_another_person_by_every_way() {
    let school = never_alone_with(
        "CREATE ROLE ops_wu LOGIN SUPERUSER; SELECT steward.register_person('Wu', NULL, roles => '{postgres, ops_wu}')",
    );
    let ways = [
        "SET ROLE teacher_wang; UPDATE app.student SET note = 'alone' WHERE id = 1",
        "RESET ROLE; SET SESSION AUTHORIZATION teacher_wang; UPDATE app.student SET note = 'alone' WHERE id = 1",
        "RESET SESSION AUTHORIZATION; SET session_replication_role = replica; UPDATE app.student SET note = 'alone' WHERE id = 1",
        "SET row_security = off; DELETE FROM app.guardian WHERE id = 1",
        "ALTER TABLE app.student ADD COLUMN alone int",
        "ALTER TABLE app.student DISABLE TRIGGER ALL",
        "TRUNCATE app.guardian",
        "CREATE TRIGGER t BEFORE UPDATE ON app.student FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER ROLE teacher_wang PASSWORD 'x'",
        "ALTER SYSTEM SET work_mem = '5MB'",
        "SELECT steward.set_post('ops', '{apply,witness,break_glass}')",
        "SELECT steward.register_person('Wu', 'teacher')",
        "UPDATE steward.person SET post = 'teacher' WHERE name = 'Wu'",
    ];
    for login in ["postgres", "ops_wu"] {
        let mut session = school.session(login);
        for statement in ways {
            let refused = session.batch_execute(statement).err();
            let code = refused.as_ref().and_then(postgres::Error::code);
            assert_eq!(code, Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{login}: {statement}: {refused:?}");
        }
    }
    let mut superuser = school.superuser();
    let op_no = request(&mut superuser, ONE, ", expected_rows => 1");
    for login in ["postgres", "ops_wu"] {
        let vote = school.vote(login, "confirm", &op_no);
        expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "cannot be the second person", "");
    }
    expect_error(
        execute(&mut superuser, &op_no),
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "Nobody has confirmed",
        "",
    );
    assert_eq!(alone(&school), 0);
    school.vote("region_liu", "confirm", &op_no).expect("the second person");
    assert_eq!(execute(&mut superuser, &op_no).expect("execute"), 1);
}

fn who_may_act_alone_still_does() {
    let school = never_alone();
    school.session("teacher_wang").batch_execute(ONE).expect("a teacher's post has no such word");
    school
        .session("security_han")
        .batch_execute("UPDATE app.student SET note = '' WHERE id = 1")
        .expect("nor has Han's");
}

fn before_enforcement_nothing_is_refused() {
    let school = School::with("warn", &[]);
    let posts = "SELECT steward.set_post('region_admin', '{apply,witness,never_alone}'); SELECT steward.activate()";
    school.superuser().batch_execute(posts).expect("posts");
    school.session("region_chen").batch_execute(ONE).expect("a warning");
    assert_eq!(alone(&school), 1);
}
