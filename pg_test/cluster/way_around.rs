//! Attempts to get past the policy by a path that nothing else here takes.

pub mod apply;
pub mod attack;
pub mod catalog;
pub mod copy;
pub mod cron;
pub mod cursor;
pub mod fastpath;
pub mod function;
pub mod held;
pub mod loopback;
pub mod named;
pub mod plan;
pub mod planning;
pub mod replication;
pub mod role;
pub mod session;
pub mod setting;
pub mod unseen;
pub mod wire;

use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::{School, request};
use attack::{Allowed, BULK_UPDATE, ROLES, Refused, SIXTY, attack, attack_as, watch};
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
    nothing_is_put_where_own_sql_looks_names_up,
    the_catalog_is_not_filled_or_emptied_by_hand,
    what_runs_inside_an_allowed_command_is_decided_by_itself,
    elements_of_create_schema_are_decided,
    a_protected_table_is_not_hung_under_another,
    renaming_a_language_does_not_hide_native_code,
    types_defaults_and_sequences_are_structure_of_their_table,
    a_login_without_a_person_does_normal_work_only,
    reads_inside_a_foreign_key_action_are_recorded,
    a_query_that_looks_like_a_key_check_is_recorded,
    what_a_rolled_back_prepared_transaction_read_is_on_record,
    a_prepare_that_fails_is_on_record_as_failed,
    runs_of_two_operations_are_not_folded_into_one,
    an_open_session_is_recorded_under_its_new_name,
    reads_of_a_long_transaction_outlive_its_rollback,
    a_record_of_any_size_takes_no_other_record_along,
    publishing_a_protected_table_is_an_export,
    locking_a_view_does_not_reach_the_records,
    a_session_setting_through_its_view_is_free,
}

fn row_counting_cannot_be_switched_off_in_a_session() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        for set in ["SET track_counts = off", "SELECT set_config('track_counts', 'off', false)"] {
            expect_error(session.batch_execute(set), &SqlState::CANT_CHANGE_RUNTIME_PARAM, "", "");
        }
        watch(&school, who, Refused, BULK_UPDATE, || session.batch_execute(SIXTY));
    }
}

fn shared_catalogs_are_no_way_around_from_another_database() {
    let school = School::active();
    let elsewhere = |who: &str, statement: &str| school.connect(who, "postgres").batch_execute(statement);
    for statement in [
        "UPDATE pg_authid SET rolsuper = true WHERE rolname = 'clerk_zhao'",
        "INSERT INTO pg_auth_members VALUES (10, 10, 10, true)",
        "DELETE FROM pg_db_role_setting",
    ] {
        ROLES.iter().for_each(|who| drop(expect_refused(elsewhere(who, statement))));
    }
    ROLES.iter().for_each(|who| assert_eq!(school.records(&format!("user_id = '{who}' AND result = 'DENIED'")), 3));
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

fn nothing_is_put_where_own_sql_looks_names_up() {
    let school = School::active();
    school
        .superuser()
        .batch_execute("CREATE FUNCTION app.lie(t steward.tier) RETURNS text LANGUAGE sql AS $$SELECT 'normal'$$")
        .expect("a function of an ordinary schema");
    for statement in [
        "CREATE CAST (steward.tier AS text) WITH FUNCTION app.lie(steward.tier)",
        "ALTER TYPE steward.tier RENAME VALUE 'critical' TO 'x'",
        "CREATE FUNCTION pg_catalog.array_to_json(text[]) RETURNS json LANGUAGE sql AS $$SELECT '[]'::json$$",
        "CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql \
            AS $$SELECT '2026-01-01'::timestamptz$$",
        "ALTER FUNCTION pg_catalog.now() RENAME TO now2",
        "CREATE OPERATOR pg_catalog.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
        "CREATE TABLE steward.foo AS SELECT 1",
        "SET search_path = steward; CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SET search_path = steward; CREATE TYPE evil AS (a int)",
    ] {
        expect_refused(school.superuser().batch_execute(statement));
        // Some of it PostgreSQL itself refuses an ordinary role.
        let ordinary = school.session("teacher_wang").batch_execute(statement);
        expect_error(ordinary, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    assert_eq!(school.records("user_id = 'postgres' AND result = 'DENIED'"), 9);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_class WHERE relname IN ('foo', 'evil')"), 0);
}

fn the_catalog_is_not_filled_or_emptied_by_hand() {
    let school = School::active();
    for database in ["school", "postgres"] {
        let mut superuser = school.connect("postgres", database);
        superuser.batch_execute("SET allow_system_table_mods = on").expect("a superuser may");
        let mut teacher = school.connect("teacher_wang", database);
        for statement in ["COPY pg_auth_members FROM STDIN", "TRUNCATE pg_seclabel", "TRUNCATE pg_db_role_setting"] {
            expect_refused(superuser.batch_execute(statement));
            expect_refused(teacher.batch_execute(statement));
        }
    }
    ROLES.iter().for_each(|who| assert_eq!(school.records(&format!("user_id = '{who}' AND result = 'DENIED'")), 6));
    assert!(school.ask::<i64>("SELECT count(*) FROM pg_seclabel") > 0);
}

fn what_runs_inside_an_allowed_command_is_decided_by_itself() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE TABLE app.door (id int PRIMARY KEY);
             ALTER TABLE app.card_transaction ADD door int REFERENCES app.door;
             CREATE FUNCTION app.empty() RETURNS void LANGUAGE plpgsql AS 'BEGIN TRUNCATE app.door CASCADE; END';
             CREATE FUNCTION app.innocent(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
                AS 'BEGIN PERFORM app.empty(); RETURN 1; END';
             SELECT steward.activate()",
        )
        .expect("set-up");
    expect_refused(superuser.batch_execute("CREATE INDEX through ON app.student (app.innocent(id))"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.card_transaction"), 200);
}

fn elements_of_create_schema_are_decided() {
    let school = School::active();
    let mut superuser = school.superuser();
    for statement in [
        "CREATE SCHEMA evil GRANT ALL ON TABLE app.student TO PUBLIC",
        "CREATE SCHEMA evil GRANT SELECT ON TABLE steward.chain TO PUBLIC",
        "CREATE SCHEMA evil CREATE TABLE child () INHERITS (app.student)",
    ] {
        expect_refused(superuser.batch_execute(statement));
    }
    superuser.batch_execute("CREATE SCHEMA good CREATE TABLE t (id int)").expect("an ordinary schema");
}

fn a_protected_table_is_not_hung_under_another() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE TABLE app.up (LIKE app.guardian) PARTITION BY LIST (name);
             CREATE TABLE app.parent (id int);
             CREATE TABLE app.kid () INHERITS (app.parent)",
        )
        .expect("set-up");
    let child = superuser.batch_execute("SELECT steward.protect('app.kid')");
    expect_error(child, &SqlState::WRONG_OBJECT_TYPE, "through the parent", "app.parent");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    expect_refused(superuser.batch_execute("ALTER TABLE app.up ATTACH PARTITION app.guardian DEFAULT"));
}

fn renaming_a_language_does_not_hide_native_code() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("ALTER LANGUAGE c RENAME TO cc; SELECT steward.activate()").expect("before activate()");
    for (statement, operation) in [
        ("CREATE FUNCTION app.f() RETURNS int LANGUAGE cc AS 'x', 'y'", "CREATE FUNCTION"),
        ("ALTER LANGUAGE internal RENAME TO inside", "ALTER LANGUAGE"),
        ("ALTER LANGUAGE cc OWNER TO teacher_wang", "ALTER LANGUAGE"),
    ] {
        attack(&school, statement, Refused, [operation, "", "critical", "config"]);
    }
}

fn types_defaults_and_sequences_are_structure_of_their_table() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE TYPE app.mood AS ENUM ('good', 'bad');
             CREATE TYPE app.free AS ENUM ('a');
             CREATE FUNCTION app.usual() RETURNS app.mood LANGUAGE sql AS $$SELECT 'good'::app.mood$$;
             ALTER TABLE app.student ADD mood app.mood DEFAULT app.usual();
             ALTER TABLE app.guardian ADD number int GENERATED ALWAYS AS IDENTITY;
             CREATE SEQUENCE app.free_sequence;
             SELECT steward.activate()",
        )
        .expect("set-up");
    expect_refused(superuser.batch_execute("ALTER TYPE app.mood RENAME VALUE 'good' TO 'terrible'"));
    expect_refused(superuser.batch_execute("DROP FUNCTION app.usual() CASCADE"));
    expect_refused(superuser.batch_execute("ALTER SEQUENCE app.guardian_number_seq RESTART WITH 1"));
    superuser.batch_execute("ALTER TYPE app.free RENAME VALUE 'a' TO 'b'").expect("a type of no protected table");
    superuser.batch_execute("ALTER SEQUENCE app.free_sequence RESTART").expect("a sequence of no protected table");
}

fn a_login_without_a_person_does_normal_work_only() {
    let school = School::active();
    school.operate(
        "postgres",
        "CREATE ROLE ghost LOGIN; GRANT USAGE ON SCHEMA app TO ghost; GRANT ALL ON app.student TO ghost;
         CREATE ROLE phantom LOGIN SUPERUSER",
    );
    for who in ["ghost", "phantom"] {
        let few = "UPDATE app.student SET note = 'x' WHERE id = 1";
        attack_as(&school, who, few, Allowed, ["UPDATE", "app.student", "normal", "write"]);
        let important = "UPDATE app.student SET id_card = 'x' WHERE id = 1";
        attack_as(&school, who, important, Refused, ["UPDATE", "app.student", "important", "sensitive_column"]);
        attack_as(&school, who, SIXTY, Refused, BULK_UPDATE);
    }
}

fn reads_inside_a_foreign_key_action_are_recorded() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    chen.batch_execute(
        "CREATE TEMP TABLE p (id int PRIMARY KEY);
         CREATE TEMP TABLE c (id int REFERENCES p ON DELETE CASCADE);
         CREATE TEMP TABLE loot (x text);
         INSERT INTO p VALUES (1); INSERT INTO c VALUES (1);
         CREATE FUNCTION pg_temp.t() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN INSERT INTO loot SELECT id_card FROM app.student; RETURN OLD; END';
         CREATE TRIGGER t BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION pg_temp.t();
         DELETE FROM p",
    )
    .expect("reading is allowed");
    assert_eq!(school.records("user_id = 'region_chen' AND statement ILIKE '%loot%' AND result = 'SUCCESS'"), 1);
}

fn reads_of_a_long_transaction_outlive_its_rollback() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    // Each text is near the longest that a record keeps, so that their sum is more than a transaction keeps in memory.
    let columns: String = (0..60).map(|n| format!(", name AS column_{n}_{}", "y".repeat(40))).collect();
    let long = format!("SELECT id{columns} FROM app.student WHERE id = 2");
    chen.batch_execute("BEGIN; CREATE TEMP TABLE w (x int)").expect("a transaction that writes");
    chen.batch_execute("SELECT id_card AS first_secret FROM app.student WHERE id = 1").expect("a read");
    for _ in 0..400 {
        chen.batch_execute(&long).expect("a long read");
    }
    chen.batch_execute("ROLLBACK").expect("rollback");
    assert_eq!(school.records("statement LIKE '%first_secret%'"), 1);
    assert_eq!(school.records("statement LIKE '%column_59_%'"), 400);
}

/// A purpose longer than a spool frame would have lost the records of the whole transaction.
/// A trigger inside a foreign key's action runs under the flag of the server's own look-ups, and a cast runs functions.
fn a_query_that_looks_like_a_key_check_is_recorded() {
    let school = School::active();
    looks_like_a_key_check(&school, "teacher_wang");
    // In the owner's name the server looks up as well, in exactly these words.
    looks_like_a_key_check(&school, "postgres");
}

fn looks_like_a_key_check(school: &School, who: &str) {
    let mut session = school.session(who);
    session
        .batch_execute(
            "CREATE TEMP TABLE loot (phone text);
            CREATE FUNCTION pg_temp.keep(text) RETURNS boolean LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO pg_temp.loot VALUES ($1); RETURN true; END $$;
            CREATE DOMAIN pg_temp.d AS text CHECK (pg_temp.keep(VALUE));
            CREATE TEMP TABLE p (id int PRIMARY KEY);
            CREATE TEMP TABLE c (id int REFERENCES p ON DELETE CASCADE);
            CREATE FUNCTION pg_temp.same(text) RETURNS SETOF int LANGUAGE sql AS
                $$SELECT 1 FROM ONLY \"app\".\"student\" x WHERE \"phone\" OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x$$;
            CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                EXECUTE 'SELECT 1 FROM ONLY app.student x WHERE x.phone::pg_temp.d IS NULL FOR KEY SHARE OF x';
                EXECUTE 'SELECT 1 FROM ONLY \"app\".\"student\" x WHERE \"phone\" OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x'
                    USING '13800000001'::text;
                PERFORM pg_temp.same('13800000001');
                RETURN OLD; END $$;
            CREATE TRIGGER look BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION pg_temp.look();
            INSERT INTO p VALUES (1); INSERT INTO c VALUES (1);
            DELETE FROM p",
        )
        .expect("the attack runs");
    // Equal ones are one record, which says how many they are.
    let reads = |condition: &str| {
        school.flush_audit();
        let sum = "SELECT coalesce(sum(coalesce(repeats, 1)), 0)::int8 FROM steward.audit_log";
        school.ask::<i64>(&format!("{sum} WHERE operation_type = 'SELECT' AND user_id = '{who}' AND {condition}"))
    };
    assert_eq!(reads("table_name = 'app.student'"), 3, "{who}");
    // The server's own look-ups are no statements of anybody.
    session
        .batch_execute(
            "BEGIN; INSERT INTO app.guardian VALUES (900, 1, 'g'); DELETE FROM app.guardian WHERE id = 900; COMMIT",
        )
        .expect("insert");
    assert_eq!(reads("statement LIKE 'SELECT ? FROM ONLY%'"), 3, "{who}");
}

fn what_a_rolled_back_prepared_transaction_read_is_on_record() {
    let school = School::with("enforce", &["max_prepared_transactions = 2"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    ROLES.iter().for_each(|who| prepared_read(&school, who));
}

fn prepared_read(school: &School, who: &str) {
    let mut session = school.session(who);
    session
        .batch_execute(
            "BEGIN;
            DO $$ BEGIN PERFORM phone AS hidden_read FROM app.student WHERE id = 1; END $$;
            UPDATE app.student SET note = 'x' WHERE id = 2;
            PREPARE TRANSACTION 'gone'",
        )
        .expect("prepare");
    session.batch_execute("ROLLBACK PREPARED 'gone'").expect("rollback");
    for what in [
        "statement LIKE '%hidden_read%'",
        "operation_type = 'PREPARE TRANSACTION' AND 'app.student' = ANY (relations) AND details LIKE '%gone%'",
        "operation_type = 'ROLLBACK PREPARED' AND details LIKE '%gone%'",
    ] {
        assert_eq!(school.records(&format!("user_id = '{who}' AND {what}")), 1, "{who}: {what}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

/// That it was prepared is on record before it is; what then fails is on record as well.
fn a_prepare_that_fails_is_on_record_as_failed() {
    let school = School::with("enforce", &["max_prepared_transactions = 4"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    for who in ROLES {
        let mut session = school.session(who);
        let work = "BEGIN; CREATE TEMP TABLE t (n int); UPDATE app.student SET note = 'x' WHERE id = 2";
        let failed = session.batch_execute(&format!("{work}; PREPARE TRANSACTION 'never'"));
        expect_error(failed, &SqlState::FEATURE_NOT_SUPPORTED, "", "");
        session.batch_execute("ROLLBACK").expect("rollback");
        let prepare =
            format!("user_id = '{who}' AND operation_type = 'PREPARE TRANSACTION' AND details LIKE '%never%'");
        assert_eq!(school.records(&format!("{prepare} AND result = 'FAILURE'")), 1, "{who}");
        assert_eq!(school.records(&prepare), 2, "{who}: the intent, and its end");
        let kept = "BEGIN; UPDATE app.student SET note = 'y' WHERE id = 3; PREPARE TRANSACTION 'kept'";
        session.batch_execute(kept).expect("prepared");
        session.batch_execute("COMMIT PREPARED 'kept'").expect("committed");
        session.batch_execute("BEGIN; SELECT 1; ROLLBACK").expect("another transaction");
        let kept = format!("user_id = '{who}' AND operation_type = 'PREPARE TRANSACTION' AND details LIKE '%kept%'");
        assert_eq!(school.records(&kept), 1, "{who}");
    }
}

fn runs_of_two_operations_are_not_folded_into_one() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let script = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
    let numbers = [request(&mut chen, script, ""), request(&mut chen, script, "")];
    numbers.iter().for_each(|number| school.release(number));
    let calls = numbers.each_ref().map(|number| format!("SELECT steward.execute('{number}');"));
    chen.batch_execute(&format!("BEGIN; {} COMMIT", calls.join(" "))).expect("both run");
    for number in numbers {
        let own = format!("op_no = '{number}' AND operation_type = 'UPDATE' AND rows = 60 AND repeats IS NULL");
        assert_eq!(school.records(&own), 1);
    }
}

/// Otherwise the acts of one login could be laid to another that has taken its former name.
fn an_open_session_is_recorded_under_its_new_name() {
    let school = School::inactive();
    let mut open = school.session("teacher_wang");
    let read = "SELECT name FROM app.student WHERE id = 1";
    open.batch_execute(read).expect("select");
    school.superuser().batch_execute("ALTER ROLE teacher_wang RENAME TO teacher_li").expect("rename");
    for _ in 0..2 {
        open.batch_execute(read).expect("select");
    }
    let reads = |user: &str| school.records(&format!("operation_type = 'SELECT' AND user_id = '{user}'"));
    assert_eq!((reads("teacher_wang"), reads("teacher_li")), (1, 2));
}

fn a_record_of_any_size_takes_no_other_record_along() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    chen.batch_execute(
        "BEGIN;
         SELECT id_card AS hidden_read FROM app.student WHERE id = 1;
         SELECT steward.request('UPDATE app.student SET note = note', purpose => repeat('x', 20000000));
         ROLLBACK",
    )
    .expect("a long purpose");
    // Its rows were given: no rollback takes that back.
    assert_eq!(school.records("statement LIKE '%hidden_read%' AND result = 'SUCCESS'"), 1);
    assert_eq!(school.records("operation_type = 'REQUEST' AND result = 'ROLLED_BACK' AND details LIKE '%sha256%'"), 1);
    assert_eq!(school.records("operation_type = 'LOST'"), 0);
}

fn publishing_a_protected_table_is_an_export() {
    let school = School::with("enforce", &["wal_level = logical"]);
    school
        .superuser()
        .batch_execute(
            "ALTER TABLE app.guardian OWNER TO teacher_wang; GRANT CREATE ON DATABASE school TO teacher_wang;
            SELECT steward.activate()",
        )
        .expect("set-up");
    for who in ROLES {
        let said = ["CREATE PUBLICATION", "app.guardian", "important", "export"];
        attack_as(&school, who, &format!("CREATE PUBLICATION {who} FOR TABLE app.guardian"), Allowed, said);
    }
    let own = ["CREATE PUBLICATION", "steward.chain", "critical", "audit"];
    attack(&school, "CREATE PUBLICATION own FOR TABLE steward.chain", Refused, own);
    let every = ["CREATE PUBLICATION", "", "critical", "config"];
    attack(&school, "CREATE PUBLICATION every FOR ALL TABLES", Refused, every);
}

fn locking_a_view_does_not_reach_the_records() {
    let school = School::active();
    school.superuser().batch_execute("CREATE VIEW public.lv AS SELECT batch FROM steward.journal_0").expect("a view");
    let lock = "BEGIN; LOCK TABLE public.lv IN ACCESS EXCLUSIVE MODE";
    attack(&school, lock, Refused, ["LOCK TABLE", "", "critical", "config"]);
}

fn a_session_setting_through_its_view_is_free() {
    let school = School::active();
    let set = "UPDATE pg_settings SET setting = '1MB' WHERE name = 'work_mem'";
    school.superuser().batch_execute(set).expect("a setting of this session");
}
