//! What is refused at once, even to a superuser: structure, privileges, configuration, the trail itself.

use postgres::error::SqlState;

use crate::expect::{db_error, expect_refused};
use crate::school::School;
use crate::way_around::attack::{ROLES, everything};

tests! {
    statistics_over_what_is_no_table_are_an_error,
    structure_of_protected_tables_is_closed,
    privileges_are_closed,
    configuration_is_closed,
    the_extension_cannot_be_removed,
    the_trail_and_the_policy_cannot_be_written,
    the_view_of_the_trail_cannot_be_written,
    settings_cannot_be_changed_in_a_session,
    upkeep_is_open,
}

/// Every one of these statements is refused to a superuser, and each refusal is on record. An ordinary login is refused
/// them too, by the policy or by PostgreSQL itself. Nothing changes.
#[track_caller]
fn all_refused(statements: &[&str]) {
    let school = School::active();
    let before = everything(&mut school.superuser());
    for who in ROLES {
        let mut session = school.session(who);
        let (mut passed, mut ours) = (Vec::new(), 0);
        for statement in statements {
            match session.batch_execute(statement) {
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    ours += i64::from(error.as_db_error().is_some_and(|error| error.message().contains("refused")));
                }
                other => passed.push(format!("{statement}: {other:?}")),
            }
        }
        assert!(passed.is_empty(), "not refused to {who}:\n{}", passed.join("\n"));
        assert_eq!(school.records(&format!("result = 'DENIED' AND user_id = '{who}'")), ours, "{who}");
        assert!(who != "postgres" || ours == i64::try_from(statements.len()).expect("a short list"), "{who}: {ours}");
    }
    assert_eq!(everything(&mut school.superuser()), before);
}

fn structure_of_protected_tables_is_closed() {
    all_refused(&[
        "TRUNCATE app.guardian",
        "TRUNCATE app.student CASCADE",
        "TRUNCATE app.card_transaction_2026_10",
        "DROP TABLE app.guardian",
        "DROP SCHEMA app CASCADE",
        "ALTER TABLE app.student DISABLE TRIGGER ALL",
        "ALTER TABLE app.student ADD COLUMN x int",
        "ALTER TABLE app.student ALTER COLUMN note TYPE varchar(10)",
        "ALTER TABLE app.student RENAME TO pupil",
        "ALTER TABLE app.student SET SCHEMA public",
        "ALTER TABLE app.card_transaction DETACH PARTITION app.card_transaction_2026_10",
        "CREATE RULE quiet AS ON DELETE TO app.student DO INSTEAD NOTHING",
        "CREATE TRIGGER t BEFORE UPDATE ON app.student EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP INDEX app.student_id_card_key CASCADE",
        "VACUUM FULL app.student",
        "CLUSTER app.student USING student_pkey",
        "DROP OWNED BY postgres",
    ]);
}

fn privileges_are_closed() {
    all_refused(&[
        "GRANT SELECT ON app.student TO PUBLIC",
        "GRANT ALL ON ALL TABLES IN SCHEMA app TO PUBLIC",
        "GRANT UPDATE ON app.student TO region_liu",
        "REVOKE SELECT ON app.student FROM region_chen",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO PUBLIC",
        "CREATE ROLE intruder LOGIN",
        "CREATE ROLE intruder LOGIN SUPERUSER",
        "ALTER ROLE clerk_zhao SUPERUSER",
        "ALTER ROLE clerk_zhao CREATEROLE",
        "GRANT postgres TO clerk_zhao",
        "GRANT pg_execute_server_program TO clerk_zhao",
        "ALTER TABLE app.student OWNER TO clerk_zhao",
        "REASSIGN OWNED BY postgres TO clerk_zhao",
        "CREATE POLICY p ON app.student USING (true)",
        "ALTER TABLE app.student ENABLE ROW LEVEL SECURITY",
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card IS NULL",
    ]);
}

fn configuration_is_closed() {
    all_refused(&[
        "ALTER SYSTEM SET work_mem = '8MB'",
        "ALTER SYSTEM SET steward.mode = 'off'",
        "ALTER SYSTEM RESET ALL",
        "ALTER DATABASE school SET log_statement = 'none'",
        "ALTER ROLE teacher_wang SET search_path = app",
        "CREATE EXTENSION pg_trgm",
        "LOAD 'auto_explain'",
        "CREATE FUNCTION app.c() RETURNS int LANGUAGE c AS 'x', 'y'",
        "COPY app.scratch TO PROGRAM 'cat'",
        "COPY app.scratch FROM '/etc/hostname'",
        "CREATE PUBLICATION everything FOR ALL TABLES",
    ]);
}

fn the_extension_cannot_be_removed() {
    all_refused(&[
        "DROP EXTENSION pg_steward",
        "DROP EXTENSION pg_steward CASCADE",
        "DROP SCHEMA steward CASCADE",
        "ALTER EXTENSION pg_steward DROP TABLE steward.chain",
        "DROP FUNCTION steward.verify_chain(bigint, bigint, text)",
        "SELECT steward.unprotect('app.student')",
        "SELECT steward.set_rule('bulk_write', 'normal')",
        "SELECT steward.drop_rule('bulk_write')",
        "SELECT steward.deactivate()",
        "SELECT steward.register_person('Wu', 'security_officer', roles => '{postgres}')",
    ]);
}

fn the_trail_and_the_policy_cannot_be_written() {
    all_refused(&[
        "UPDATE steward.chain SET record = record",
        "DELETE FROM steward.chain",
        "INSERT INTO steward.chain SELECT * FROM steward.chain LIMIT 1",
        "TRUNCATE steward.chain",
        "COPY steward.chain FROM '/dev/null'",
        "ALTER TABLE steward.chain DISABLE TRIGGER ALL",
        "DROP TABLE steward.chain CASCADE",
        "LOCK TABLE steward.chain IN ACCESS EXCLUSIVE MODE",
        "CREATE RULE quiet AS ON INSERT TO steward.chain DO INSTEAD NOTHING",
        "UPDATE steward.rule SET tier = 'normal'",
        "DELETE FROM steward.rule",
        "GRANT ALL ON ALL TABLES IN SCHEMA steward TO clerk_zhao",
        "WITH gone AS (DELETE FROM steward.rule RETURNING 1) SELECT count(*) FROM gone",
        "DO $$ BEGIN DELETE FROM steward.rule; END $$",
    ]);
}

fn the_view_of_the_trail_cannot_be_written() {
    let school = School::active();
    let before = school.records("true");
    let mut superuser = school.superuser();
    for statement in ["UPDATE steward.audit_log SET result = 'SUCCESS'", "DELETE FROM steward.audit_log"] {
        // PostgreSQL itself may refuse first: the view has no table columns to write to.
        db_error(superuser.batch_execute(statement));
    }
    assert!(school.records("true") >= before);
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn settings_cannot_be_changed_in_a_session() {
    let school = School::active();
    let mut superuser = school.superuser();
    for setting in ["steward.mode = 'off'", "steward.database = 'postgres'", "steward.sequencer_interval = 60000"] {
        let error = db_error(superuser.batch_execute(&format!("SET {setting}")));
        assert_eq!(error.code(), &SqlState::CANT_CHANGE_RUNTIME_PARAM, "{error:?}");
    }
    db_error(superuser.batch_execute("SELECT set_config('steward.mode', 'off', false)"));
    let mut at_login = school.config("postgres", crate::school::HOME);
    assert!(at_login.options("-c steward.mode=off").connect(postgres::NoTls).is_err());
    expect_refused(superuser.batch_execute("TRUNCATE app.guardian"));
}

fn upkeep_is_open() {
    let school = School::active();
    let mut superuser = school.superuser();
    for statement in [
        "ANALYZE app.student",
        "VACUUM app.student",
        "REINDEX TABLE app.student",
        "CREATE INDEX student_note_idx ON app.student (note)",
        "CREATE INDEX CONCURRENTLY student_name_idx ON app.student (name)",
        "COMMENT ON TABLE app.student IS 'students'",
        "BEGIN; LOCK TABLE app.student IN SHARE MODE; ROLLBACK",
        "CREATE TABLE app.other (id int)",
        "DROP TABLE app.other",
    ] {
        superuser.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// The grammar takes any FROM; PostgreSQL refuses what is no table after the policy has looked.
fn statistics_over_what_is_no_table_are_an_error() {
    let school = School::active();
    for login in ["teacher_wang", "clerk_zhao", "postgres"] {
        let mut session = school.session(login);
        for from in [
            "x NATURAL JOIN y",
            "app.student JOIN app.guardian USING (id)",
            "(SELECT 1) q",
            "generate_series(1, 2) g",
            "LATERAL (SELECT 1) q",
        ] {
            let command = format!("CREATE STATISTICS s ON a, b FROM {from}");
            let error = session.batch_execute(&command).expect_err(&command);
            let refused = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INSUFFICIENT_PRIVILEGE];
            assert!(error.code().is_some_and(|code| refused.contains(code)), "{login}: {command}: {error:?}");
        }
    }
}
