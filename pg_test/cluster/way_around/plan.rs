//! Statements whose text or command tag does not say what they do: decided on the plan.

use super::attack::{
    Allowed, BULK_UPDATE, Forbidden, ROLES, Refused, SIXTY, STRUCTURE, Swallowed, attack, attack_as, watch,
};
use crate::expect::expect_error;
use crate::school::{School, request};
use postgres::error::SqlState;

tests! {
    a_data_modifying_cte,
    a_merge,
    a_select_for_update_is_a_read,
    a_security_definer_function,
    a_trigger_of_a_table_that_is_free,
    a_rewrite_rule,
    an_updatable_view,
    a_view_with_a_trigger_instead,
    a_direct_write_to_a_partition,
    a_partition_whose_detachment_was_interrupted,
    a_truncate_that_cascades,
    an_explain_that_executes,
    an_insert_from_a_protected_table,
    a_table_made_of_a_protected_one,
    a_refreshed_materialized_view,
    a_missing_privilege,
    a_missing_privilege_that_is_caught,
    a_denial_that_is_caught,
    a_foreign_key_that_cascades,
    a_constraint_that_fails_at_commit,
    a_parallel_plan_is_counted_once,
    a_function_that_reads_in_a_parallel_worker,
    a_query_inside_an_xml_function,
}

/// A school whose policy is active after these statements of the superuser.
fn school_with(set_up: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(set_up).expect("set-up");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn a_data_modifying_cte() {
    let school = School::active();
    let update = "WITH x AS (UPDATE app.student SET note = 'x' WHERE id <= 60 RETURNING id) SELECT count(*) FROM x";
    attack(&school, update, Refused, BULK_UPDATE);
    let few = "WITH x AS (UPDATE app.student SET id_card = id_card WHERE id = 1 RETURNING id) SELECT * FROM x";
    attack(&school, few, Allowed, ["SELECT", "app.student", "important", "sensitive_column"]);
}

fn a_merge() {
    let school = School::active();
    let bulk = "MERGE INTO app.student s USING generate_series(1, 60) n ON s.id = n WHEN MATCHED THEN DELETE";
    attack(&school, bulk, Refused, ["MERGE", "app.student", "critical", "bulk_write"]);
    let few = "MERGE INTO app.guardian s USING generate_series(1, 3) n ON s.id = n WHEN MATCHED THEN DELETE";
    attack_as(&school, "teacher_wang", few, Allowed, ["MERGE", "app.guardian", "normal", "write"]);
    let more = "MERGE INTO app.guardian s USING generate_series(4, 6) n ON s.id = n WHEN MATCHED THEN DELETE";
    attack_as(&school, "postgres", more, Allowed, ["MERGE", "app.guardian", "normal", "write"]);
}

fn a_select_for_update_is_a_read() {
    let school = School::active();
    attack(&school, "SELECT 1 FROM app.student FOR UPDATE", Allowed, ["SELECT", "app.student", "normal", "read"]);
}

fn a_security_definer_function() {
    let school = school_with(
        "CREATE FUNCTION app.move() RETURNS void LANGUAGE sql SECURITY DEFINER
            AS 'UPDATE app.student SET note = ''x'' WHERE id <= 60'",
    );
    attack(&school, "SELECT app.move()", Refused, BULK_UPDATE);
    // Even who may not touch the table himself, and it is he who stands in the record.
    attack_as(&school, "auditor_qian", "SELECT app.move()", Refused, BULK_UPDATE);
    assert_eq!(school.records("user_id = 'auditor_qian' AND effective_user = 'postgres'"), 1);
}

/// Its function writes what is protected: that is decided as if it had been typed.
fn a_trigger_of_a_table_that_is_free() {
    let school = school_with(
        "CREATE FUNCTION app.moves() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN UPDATE app.student SET note = ''x'' WHERE id <= 60; RETURN NEW; END';
        GRANT INSERT ON app.scratch TO teacher_wang, region_chen;
        CREATE TRIGGER moves AFTER INSERT ON app.scratch FOR EACH ROW EXECUTE FUNCTION app.moves()",
    );
    attack(&school, "INSERT INTO app.scratch VALUES (1, '')", Refused, BULK_UPDATE);
}

fn a_rewrite_rule() {
    let school = school_with(
        "CREATE RULE also AS ON INSERT TO app.scratch DO ALSO UPDATE app.student SET note = 'x' WHERE id <= 60;
         CREATE TABLE app.door (id int);
         CREATE RULE instead AS ON DELETE TO app.door DO INSTEAD DELETE FROM app.guardian;
         GRANT ALL ON app.door, app.scratch TO teacher_wang",
    );
    attack(&school, "INSERT INTO app.scratch VALUES (1)", Refused, BULK_UPDATE);
    attack(&school, "DELETE FROM app.door", Refused, ["DELETE", "app.guardian", "critical", "bulk_write"]);
}

fn an_updatable_view() {
    let school = school_with(
        "CREATE VIEW app.pupil AS SELECT id, note FROM app.student;
         GRANT ALL ON app.pupil TO teacher_wang, clerk_zhao",
    );
    let update = "UPDATE app.pupil SET note = 'x' WHERE id <= 60";
    attack(&school, update, Refused, BULK_UPDATE);
    // The view's owner has the right that its user lacks; the rule is the same.
    attack_as(&school, "clerk_zhao", update, Refused, BULK_UPDATE);
}

fn a_view_with_a_trigger_instead() {
    let school = school_with(
        "CREATE VIEW app.pupil AS SELECT id, note FROM app.student;
         CREATE FUNCTION app.through() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN UPDATE app.student SET note = NEW.note WHERE id = OLD.id; RETURN NEW; END';
         CREATE TRIGGER through INSTEAD OF UPDATE ON app.pupil FOR EACH ROW EXECUTE FUNCTION app.through();
         GRANT ALL ON app.pupil TO teacher_wang",
    );
    attack(&school, "UPDATE app.pupil SET note = 'x' WHERE id <= 60", Refused, BULK_UPDATE);
}

fn a_direct_write_to_a_partition() {
    let school = School::active();
    let bulk = "DELETE FROM app.card_transaction_2026_10";
    attack(&school, bulk, Refused, ["DELETE", "app.card_transaction", "critical", "bulk_write"]);
    let few = "UPDATE app.card_transaction_2026_10 SET amount = 0 WHERE id = 1";
    attack(&school, few, Allowed, ["UPDATE", "app.card_transaction", "normal", "write"]);
}

/// Between its two transactions, or after the second has failed, the partition still holds the table's rows.
fn a_partition_whose_detachment_was_interrupted() {
    let school = School::inactive();
    let mut reader = school.superuser();
    reader.batch_execute("BEGIN; SELECT count(*) FROM app.card_transaction").expect("a lock");
    let detach = "ALTER TABLE app.card_transaction DETACH PARTITION app.card_transaction_2026_10 CONCURRENTLY";
    let mut superuser = school.superuser();
    superuser.batch_execute("SET statement_timeout = '1s'").expect("set");
    expect_error(superuser.batch_execute(detach), &SqlState::QUERY_CANCELED, "", "");
    reader.batch_execute("COMMIT").expect("commit");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), 1);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let bulk = "DELETE FROM app.card_transaction_2026_10";
    attack(&school, bulk, Refused, ["DELETE", "app.card_transaction", "critical", "bulk_write"]);
    let dropped = "DROP TABLE app.card_transaction_2026_10";
    attack_as(&school, "postgres", dropped, Refused, ["DROP TABLE", "app.card_transaction", "critical", "structure"]);
    let few = "UPDATE app.card_transaction_2026_10 SET amount = 0 WHERE id = 31";
    attack(&school, few, Allowed, ["UPDATE", "app.card_transaction", "normal", "write"]);
    // The run keeps what it changes, and can be undone.
    let op_no = school.operate("region_chen", bulk);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.card_transaction_2026_10"), 0);
    school.operate("region_chen", &format!("SELECT steward.restore('{op_no}')"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.card_transaction_2026_10"), 110);
    // It is detached by an operation that is armed, and then it is a table of its own.
    let finish = "ALTER TABLE app.card_transaction DETACH PARTITION app.card_transaction_2026_10 FINALIZE";
    school.operate("postgres", finish);
    let mut armed = school.superuser();
    let other = detach.replace("2026_10", "2026_11");
    let op_no = request(&mut armed, &other, "");
    school.release(&op_no);
    armed.batch_execute(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    armed.batch_execute(&other).expect("detach");
    assert_eq!(school.status(&op_no), "executed");
}

fn a_truncate_that_cascades() {
    let school = school_with(
        "CREATE TABLE app.door (id int PRIMARY KEY);
         ALTER TABLE app.guardian ADD door int REFERENCES app.door;
         GRANT ALL ON ALL TABLES IN SCHEMA app TO teacher_wang",
    );
    let [tier, rule] = STRUCTURE;
    attack(&school, "TRUNCATE app.door CASCADE", Refused, ["TRUNCATE TABLE", "app.guardian", tier, rule]);
}

fn an_explain_that_executes() {
    let school = School::active();
    attack(&school, &format!("EXPLAIN ANALYZE {SIXTY}"), Refused, BULK_UPDATE);
    attack(&school, &format!("EXPLAIN {SIXTY}"), Allowed, ["UPDATE", "app.student", "normal", "read"]);
}

fn an_insert_from_a_protected_table() {
    let school = school_with("GRANT ALL ON app.scratch TO teacher_wang");
    let copy = "INSERT INTO app.scratch SELECT id, phone FROM app.student";
    attack(&school, copy, Allowed, ["INSERT", "app.student", "important", "export"]);
}

fn a_table_made_of_a_protected_one() {
    let school = school_with("GRANT CREATE ON SCHEMA app TO teacher_wang");
    let said = ["SELECT", "app.student", "important", "export"];
    for (who, name) in [("teacher_wang", "a"), ("postgres", "b")] {
        attack_as(&school, who, &format!("CREATE TABLE app.{name}1 AS SELECT * FROM app.student"), Allowed, said);
        attack_as(&school, who, &format!("SELECT * INTO app.{name}2 FROM app.student"), Allowed, said);
    }
}

fn a_refreshed_materialized_view() {
    let school = school_with(
        "CREATE MATERIALIZED VIEW app.picture AS SELECT id, phone FROM app.student;
         ALTER MATERIALIZED VIEW app.picture OWNER TO teacher_wang",
    );
    let said = ["SELECT", "app.student", "important", "export"];
    attack(&school, "REFRESH MATERIALIZED VIEW app.picture", Allowed, said);
}

fn a_missing_privilege() {
    let school = School::active();
    let one = "UPDATE app.student SET note = 'x' WHERE id = 1";
    let said = ["UPDATE", "app.student", "normal", "write"];
    attack_as(&school, "clerk_zhao", one, Forbidden, said);
    // A superuser lacks one only in the role of somebody who does.
    attack_as(&school, "postgres", &format!("SET ROLE clerk_zhao; {one}"), Forbidden, said);
}

fn a_missing_privilege_that_is_caught() {
    let school = School::active();
    let caught = "DO $$ BEGIN UPDATE app.student SET note = 'x' WHERE id = 1;
        EXCEPTION WHEN OTHERS THEN NULL; END $$";
    for who in ["clerk_zhao", "postgres"] {
        school.session(who).batch_execute(&format!("SET ROLE clerk_zhao; {caught}")).expect("the error is caught");
        let failed = "result = 'FAILURE' AND sqlstate = '42501' AND table_name = 'app.student'
            AND operation_type = 'UPDATE' AND tier = 'normal' AND rule = 'write'";
        assert_eq!(school.records(&format!("user_id = '{who}' AND {failed}")), 1, "{who}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

fn a_denial_that_is_caught() {
    let school = School::active();
    let caught = format!("DO $$ BEGIN {SIXTY}; EXCEPTION WHEN OTHERS THEN NULL; END $$");
    attack(&school, &caught, Swallowed, BULK_UPDATE);
}

fn a_foreign_key_that_cascades() {
    let school = School::active();
    // Student 200 has sixty guardians.
    let said = ["DELETE", "app.guardian", "critical", "bulk_write"];
    attack(&school, "DELETE FROM app.student WHERE id = 200", Refused, said);
}

fn a_constraint_that_fails_at_commit() {
    let school =
        school_with("ALTER TABLE app.guardian ALTER CONSTRAINT guardian_student_id_fkey DEFERRABLE INITIALLY DEFERRED");
    for who in ROLES {
        let late = "INSERT INTO app.guardian VALUES (900, 900, 'nobody')";
        let failed = school.session(who).batch_execute(late).expect_err("the constraint");
        assert_eq!(failed.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION));
        let record = format!(
            "user_id = '{who}' AND operation_type = 'INSERT' AND result = 'ROLLED_BACK' AND table_name = 'app.guardian'
            AND tier = 'normal' AND rule = 'write'"
        );
        assert_eq!(school.records(&record), 1, "{who}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE id = 900"), 0);
}

const PARALLEL: &str = "SET force_parallel_mode = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
    SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;";

fn a_parallel_plan_is_counted_once() {
    let school = School::active();
    let read = format!("{PARALLEL} SELECT count(*) FROM app.student WHERE note = ''");
    attack(&school, &read, Allowed, ["SELECT", "app.student", "normal", "read"]);
}

/// A function that is said to be safe for parallel workers is run by one, and reads there.
fn a_function_that_reads_in_a_parallel_worker() {
    let school = school_with(
        "CREATE FUNCTION app.look(int) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS
            'BEGIN RETURN (SELECT phone FROM app.student WHERE id = $1); END';
         CREATE FUNCTION app.file(int) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS
            'BEGIN RETURN left(pg_read_file(''postgresql.conf''), 1); END';
         INSERT INTO app.scratch SELECT n, 'x' FROM generate_series(1, 20) n;
         GRANT ALL ON app.scratch TO teacher_wang; GRANT pg_read_server_files TO teacher_wang;
         GRANT EXECUTE ON FUNCTION pg_read_file(text) TO teacher_wang",
    );
    for who in ROLES {
        let mut session = school.session(who);
        session.batch_execute(PARALLEL).expect("settings");
        let look = "SELECT count(app.look(id)) FROM app.scratch";
        let plan: Vec<String> =
            session.query(&format!("EXPLAIN {look}"), &[]).expect("explain").iter().map(|row| row.get(0)).collect();
        assert!(plan.iter().any(|line| line.contains("Gather")), "{plan:?}");
        assert_eq!(session.query_one(look, &[]).expect("look").get::<_, i64>(0), 20);
        let reads = format!(
            "user_id = '{who}' AND operation_type = 'SELECT' AND table_name = 'app.student' AND statement LIKE '%phone%'"
        );
        school.flush_audit();
        let read: i64 =
            school.ask(&format!("SELECT sum(coalesce(repeats, 1))::bigint FROM steward.audit_log WHERE {reads}"));
        assert_eq!(read, 20, "{who}: every look is on record, in whichever process it happened");
    }
    let file = format!("{PARALLEL} SELECT count(app.file(id)) FROM app.scratch");
    attack(&school, &file, Refused, ["pg_read_file_all", "", "critical", "server_access"]);
}

fn a_query_inside_an_xml_function() {
    let school = School::active();
    for who in ROLES {
        watch(&school, who, Allowed, ["SELECT", "app.student", "normal", "read"], || {
            let mut session = school.session(who);
            session.batch_execute("SELECT length(query_to_xml('SELECT phone FROM app.student', true, true, '')::text)")
        });
    }
}
