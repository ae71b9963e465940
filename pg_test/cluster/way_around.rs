//! Attempts to get past the policy by a path that nothing else here takes.

use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::School;
use postgres::error::SqlState;

tests! {
    row_counting_cannot_be_switched_off_in_a_session,
    shared_catalogs_are_no_way_around_from_another_database,
    a_child_or_a_foreign_key_is_a_change_of_the_protected_table,
    with_replica_role_a_single_row_is_structure,
    an_alias_of_a_file_function_is_that_function,
    set_session_authorization_does_not_change_the_person,
    a_prepared_statement_meets_a_policy_made_after_it,
    a_rename_does_not_lose_the_protection,
    an_updatable_view_and_a_rule_lead_to_the_same_table,
    a_returning_cursor_that_stops_at_fifty_rows_is_refused,
    a_trigger_that_catches_its_errors_does_not_hide_the_rows_of_a_copy,
}

fn row_counting_cannot_be_switched_off_in_a_session() {
    let school = School::active();
    let mut superuser = school.superuser();
    expect_error(superuser.batch_execute("SET track_counts = off"), &SqlState::CANT_CHANGE_RUNTIME_PARAM, "", "");
    let set = superuser.batch_execute("SELECT set_config('track_counts', 'off', false)");
    expect_error(set, &SqlState::CANT_CHANGE_RUNTIME_PARAM, "", "");
    expect_refused(superuser.batch_execute("UPDATE app.student SET note = 'x' WHERE id <= 50"));
}

fn shared_catalogs_are_no_way_around_from_another_database() {
    let school = School::active();
    let mut elsewhere = school.connect("postgres", "postgres");
    for statement in [
        "UPDATE pg_authid SET rolsuper = true WHERE rolname = 'clerk_zhao'",
        "INSERT INTO pg_auth_members VALUES (10, 10, 10, true)",
        "DELETE FROM pg_db_role_setting",
    ] {
        expect_refused(elsewhere.batch_execute(statement));
    }
    assert!(!school.ask::<bool>("SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk_zhao'"));
}

fn a_child_or_a_foreign_key_is_a_change_of_the_protected_table() {
    let school = School::active();
    let mut superuser = school.superuser();
    superuser.batch_execute("CREATE TABLE app.pupil (LIKE app.student)").expect("a copy of the shape is free");
    for statement in [
        "ALTER TABLE app.pupil INHERIT app.student",
        "CREATE TABLE app.child () INHERITS (app.student)",
        "CREATE TABLE app.visit (student_id int REFERENCES app.student)",
        "ALTER TABLE app.pupil ADD FOREIGN KEY (id) REFERENCES app.student",
    ] {
        expect_refused(superuser.batch_execute(statement));
    }
}

fn with_replica_role_a_single_row_is_structure() {
    let school = School::active();
    let mut superuser = school.superuser();
    superuser.batch_execute("SET session_replication_role = replica").expect("a session setting");
    expect_refused(superuser.batch_execute("DELETE FROM app.student WHERE id = 200"));
    superuser.batch_execute("RESET session_replication_role").expect("reset");
    superuser.batch_execute("UPDATE app.student SET note = 'x' WHERE id = 200").expect("one row is normal work");
}

fn an_alias_of_a_file_function_is_that_function() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let alias = "CREATE FUNCTION app.innocent(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all'";
    superuser.batch_execute(alias).expect("before activate()");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    expect_refused(superuser.batch_execute("SELECT app.innocent('postgresql.conf')"));
    expect_refused(superuser.batch_execute("SELECT pg_read_file('postgresql.conf')"));
    expect_refused(superuser.batch_execute(&alias.replace("innocent", "another")));
}

fn set_session_authorization_does_not_change_the_person() {
    let school = School::active();
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'x'");
    let digest = school.digest(&op_no);
    let mut superuser = school.superuser();
    superuser.batch_execute("SET SESSION AUTHORIZATION reviewer_sun").expect("a superuser may");
    let vote = superuser.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    assert_eq!(school.status(&op_no), "submitted");
}

fn a_prepared_statement_meets_a_policy_made_after_it() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let touch = teacher.prepare("UPDATE app.student SET note = $1 WHERE id = 1").expect("prepare");
    teacher.execute(&touch, &[&"before"]).expect("normal work");
    school.operate(
        "security_han",
        "SELECT steward.set_rule('frozen', 'critical', commands => '{UPDATE}', relation_pattern => 'student')",
    );
    expect_refused(teacher.execute(&touch, &[&"after"]));
}

fn a_rename_does_not_lose_the_protection() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("ALTER TABLE app.student RENAME TO pupil").expect("before activate()");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    expect_refused(superuser.batch_execute("UPDATE app.pupil SET note = 'x' WHERE id <= 50"));
    expect_refused(superuser.batch_execute("TRUNCATE app.pupil CASCADE"));
}

fn an_updatable_view_and_a_rule_lead_to_the_same_table() {
    let school = School::active();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE VIEW app.pupil AS SELECT id, note FROM app.student;
             CREATE TABLE app.door (id int);
             CREATE RULE through AS ON INSERT TO app.door DO ALSO UPDATE app.student SET note = 'rule' WHERE id <= 50;",
        )
        .expect("nothing protected is changed yet");
    expect_refused(superuser.batch_execute("UPDATE app.pupil SET note = 'view' WHERE id <= 50"));
    expect_refused(superuser.batch_execute("INSERT INTO app.door VALUES (1)"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

fn a_returning_cursor_that_stops_at_fifty_rows_is_refused() {
    let school = School::active();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE FUNCTION app.some() RETURNS void LANGUAGE plpgsql AS $f$
             DECLARE r record;
             BEGIN
                 FOR r IN UPDATE app.student SET note = 'loop' WHERE id <= 60 RETURNING id LOOP
                     NULL;
                 END LOOP;
             END $f$",
        )
        .expect("a function");
    let error = db_error(superuser.batch_execute("SELECT app.some()"));
    assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{error:?}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

/// A trigger runs commands of its own inside a COPY, and fails and recovers: the COPY is counted all the same.
fn a_trigger_that_catches_its_errors_does_not_hide_the_rows_of_a_copy() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE FUNCTION app.busy() RETURNS trigger LANGUAGE plpgsql AS $f$
             BEGIN
                 LOCK TABLE app.card_transaction IN ACCESS SHARE MODE;
                 BEGIN
                     PERFORM 1 / 0;
                 EXCEPTION WHEN division_by_zero THEN
                     NULL;
                 END;
                 RETURN NEW;
             END $f$;
             CREATE TRIGGER busy BEFORE INSERT ON app.guardian FOR EACH ROW EXECUTE FUNCTION app.busy();
             SELECT steward.activate()",
        )
        .expect("set-up");
    let mut copy = superuser.copy_in("COPY app.guardian FROM STDIN").expect("copy begins");
    for id in 1001..=1060 {
        std::io::Write::write_all(&mut copy, format!("{id}\t1\tg\n").as_bytes()).expect("a row");
    }
    let error = db_error(copy.finish());
    assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{error:?}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE id > 1000"), 0);
}
