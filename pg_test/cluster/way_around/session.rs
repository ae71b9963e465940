//! Transactions and sessions: what must always work (ROLLBACK, isolation levels), what must not (cheating with commits,
//! locks on the records), and what outlives a session.

use super::attack::{Allowed, BULK_UPDATE, ROLES, Refused, SIXTY, attack, watch};
use super::wire::Wire;
use crate::expect::{db_error, expect_bulk_refused, expect_refused};
use crate::school::{HOME, School, ask};
use postgres::error::SqlState;

tests! {
    rollback_is_never_blocked,
    the_isolation_level_is_set_by_the_first_statement,
    commits_inside_a_procedure_do_not_reset_the_count,
    commits_inside_a_block_do_not_reset_the_count,
    savepoints_do_not_reset_the_count,
    chained_transactions_count_apart,
    locks_on_own_tables,
    a_prepared_statement_after_a_rule_has_changed,
    a_prepared_statement_executed_and_explained,
    a_generic_plan_of_twenty_executions,
    a_statement_prepared_before_the_activation,
    two_phases,
    discarding_everything_changes_nothing,
    an_own_table_in_the_way_of_a_name,
    a_deferred_trigger_at_commit,
    statements_on_a_replication_connection,
}

fn rollback_is_never_blocked() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        session.batch_execute("BEGIN; SAVEPOINT a").expect("begin");
        expect_refused(session.batch_execute(SIXTY));
        let aborted = db_error(session.batch_execute("SELECT 1"));
        assert_eq!(aborted.code(), &SqlState::IN_FAILED_SQL_TRANSACTION);
        session.batch_execute("ROLLBACK TO a").expect("to the savepoint");
        expect_refused(session.batch_execute("TRUNCATE app.guardian"));
        session.batch_execute("ROLLBACK").expect("rollback");
        session.batch_execute("BEGIN").expect("begin");
        expect_refused(session.batch_execute(SIXTY));
        session.batch_execute("COMMIT").expect("which rolls back");
        expect_refused(session.batch_execute(SIXTY));
        session.batch_execute("ABORT").expect("outside a block a warning");
        for (relation, rule, times) in [("app.student", "bulk_write", 3), ("app.guardian", "structure", 1)] {
            let denied =
                format!("user_id = '{who}' AND result = 'DENIED' AND table_name = '{relation}' AND rule = '{rule}'");
            assert_eq!(school.records(&denied), times, "{who}: {relation}");
        }
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
}

fn the_isolation_level_is_set_by_the_first_statement() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        for level in ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"] {
            session.batch_execute("BEGIN").expect("begin");
            session.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}, READ ONLY")).expect("first");
            let shown: String = ask(&mut session, "SELECT current_setting('transaction_isolation')");
            assert_eq!(shown.to_uppercase(), level);
            session.batch_execute("SELECT count(*) FROM app.student; COMMIT").expect("read");
        }
        session.batch_execute("START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE").expect("start");
        session.batch_execute("SELECT 1 FROM app.student; COMMIT").expect("read");
    }
}

fn commits_inside_a_procedure_do_not_reset_the_count() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE PROCEDURE app.batches() LANGUAGE plpgsql AS $$ BEGIN FOR batch IN 0..3 LOOP
                UPDATE app.student SET note = 'x' WHERE id BETWEEN batch * 49 + 1 AND batch * 49 + 49;
                COMMIT;
             END LOOP; END $$; SELECT steward.activate()",
        )
        .expect("set-up");
    for who in ROLES {
        expect_bulk_refused(school.session(who).batch_execute("CALL app.batches()"), "app.student");
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'x'"), 49);
        assert_eq!(school.records(&format!("user_id = '{who}' AND result = 'DENIED' AND rule = 'bulk_write'")), 1);
    }
}

fn commits_inside_a_block_do_not_reset_the_count() {
    let school = School::active();
    let block = "DO $$ BEGIN FOR n IN 1..60 LOOP UPDATE app.student SET note = 'x' WHERE id = n;
        IF n % 7 = 0 THEN ROLLBACK; ELSIF n % 5 = 0 THEN COMMIT; END IF; END LOOP; END $$";
    for who in ROLES {
        let mut session = school.session(who);
        // What was rolled back does not count, so this one passes its sixty single rows or is stopped; never more than 49
        // are there in the end, and every row that is there is on record.
        drop(session.batch_execute(block));
        let written = school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'x'");
        assert!((1..=49).contains(&written), "{written}");
        school.flush_audit();
        let recorded = format!(
            "SELECT sum(rows)::bigint FROM steward.audit_log WHERE user_id = '{who}'
                AND operation_type = 'UPDATE' AND result = 'SUCCESS' AND table_name = 'app.student'"
        );
        assert_eq!(school.ask::<i64>(&recorded), written, "{who}");
    }
}

fn savepoints_do_not_reset_the_count() {
    let school = School::active();
    let steps = "BEGIN; UPDATE app.student SET note = 'x' WHERE id <= 30; SAVEPOINT a;
        UPDATE app.student SET note = 'x' WHERE id BETWEEN 31 AND 45; RELEASE a; SAVEPOINT b;
        UPDATE app.student SET note = 'x' WHERE id BETWEEN 46 AND 60; COMMIT";
    attack(&school, steps, Refused, BULK_UPDATE);
}

/// COMMIT AND CHAIN ends the transaction; in one message of the client the rows go on counting.
fn chained_transactions_count_apart() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        for range in ["id <= 40", "id BETWEEN 41 AND 80"] {
            session.batch_execute("BEGIN").expect("begin");
            session.batch_execute(&format!("UPDATE app.student SET note = '{who}' WHERE {range}")).expect("forty rows");
            session.batch_execute("COMMIT AND CHAIN").expect("chain");
            session.batch_execute("COMMIT").expect("commit");
        }
        assert_eq!(school.ask::<i64>(&format!("SELECT count(*) FROM app.student WHERE note = '{who}'")), 80);
        let written = format!("user_id = '{who}' AND operation_type = 'UPDATE' AND result = 'SUCCESS' AND rows = 40");
        assert_eq!(school.records(&written), 2, "{who}");
    }
}

fn locks_on_own_tables() {
    let school = School::active();
    for table in ["steward.chain", "steward.journal_0", "steward.journal_1", "steward.rule"] {
        for mode in ["ACCESS EXCLUSIVE", "EXCLUSIVE", "ROW SHARE"] {
            attack(
                &school,
                &format!("BEGIN; LOCK TABLE {table} IN {mode} MODE"),
                Refused,
                ["LOCK TABLE", table, "critical", "audit"],
            );
        }
    }
    let read = "BEGIN; LOCK TABLE steward.rule IN ACCESS SHARE MODE; COMMIT";
    school.superuser().batch_execute(read).expect("what every reader takes, pg_dump above all");
}

const RULE: &str =
    "SELECT steward.set_rule('frozen', 'critical', commands => '{UPDATE}', relation_pattern => 'student')";

fn a_prepared_statement_after_a_rule_has_changed() {
    let school = School::active();
    let mut sessions: Vec<_> = ROLES.iter().map(|who| school.session(who)).collect();
    for session in &mut sessions {
        session
            .batch_execute("PREPARE one AS UPDATE app.student SET note = $1 WHERE id = 1; EXECUTE one('before')")
            .expect("normal work");
    }
    school.operate("security_han", RULE);
    for session in &mut sessions {
        expect_refused(session.batch_execute("EXECUTE one('after')"));
        expect_refused(session.batch_execute("EXPLAIN ANALYZE EXECUTE one('after')"));
    }
    assert_eq!(school.ask::<String>("SELECT note FROM app.student WHERE id = 1"), "before");
    for who in ROLES {
        let denied =
            "operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'DENIED' AND rule = 'frozen'";
        assert_eq!(school.records(&format!("user_id = '{who}' AND {denied}")), 2, "{who}");
    }
}

fn a_prepared_statement_executed_and_explained() {
    let school = School::active();
    for run in ["EXECUTE many", "EXPLAIN ANALYZE EXECUTE many", "DO 'BEGIN EXECUTE ''EXECUTE many''; END'"] {
        attack(&school, &format!("PREPARE many AS {SIXTY}; {run}"), Refused, BULK_UPDATE);
    }
    let table = "PREPARE look AS SELECT phone FROM app.student; CREATE TEMP TABLE loot AS EXECUTE look";
    attack(&school, table, Allowed, ["SELECT", "app.student", "important", "export"]);
}

fn a_generic_plan_of_twenty_executions() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        let one = session.prepare("UPDATE app.student SET note = 'x' WHERE id = $1").expect("prepare");
        for id in 1..=20 {
            session.execute(&one, &[&id]).expect("one row");
        }
        let seen = "operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'SUCCESS' AND rows = 1";
        assert_eq!(school.records(&format!("user_id = '{who}' AND {seen}")), 20, "{who}");
    }
}

fn a_statement_prepared_before_the_activation() {
    let school = School::inactive();
    let mut sessions: Vec<_> = ROLES.iter().map(|who| school.session(who)).collect();
    for session in &mut sessions {
        session.batch_execute(&format!("PREPARE many AS {SIXTY}")).expect("prepare");
    }
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    for (session, who) in sessions.iter_mut().zip(ROLES) {
        watch(&school, who, Refused, BULK_UPDATE, || session.batch_execute("EXECUTE many"));
    }
}

fn two_phases() {
    let school = School::with("enforce", &["max_prepared_transactions = 4"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let prepared = format!("BEGIN; {SIXTY}; PREPARE TRANSACTION 'many'");
    attack(&school, &prepared, Refused, BULK_UPDATE);
    let few = "BEGIN; UPDATE app.student SET note = 'x' WHERE id = 1; PREPARE TRANSACTION 'one'";
    // Somebody else ends it: the change is still the one's who made it.
    for who in ROLES {
        school.session(who).batch_execute(few).expect("one row");
        school.superuser().batch_execute("COMMIT PREPARED 'one'").expect("commit");
        let change = format!("user_id = '{who}' AND operation_type = 'UPDATE' AND result = 'SUCCESS' AND rows = 1");
        assert_eq!(school.records(&change), 1, "{who}");
    }
}

fn discarding_everything_changes_nothing() {
    let school = School::active();
    for who in ROLES {
        let mut session = school.session(who);
        for statement in ["DISCARD ALL", "DISCARD PLANS", "RESET ALL"] {
            session.batch_execute(statement).expect("always allowed");
        }
        watch(&school, who, Refused, BULK_UPDATE, || session.batch_execute(SIXTY));
    }
}

/// A table, function or operator of one's own that is found first does not stand in for what the policy looks up.
fn an_own_table_in_the_way_of_a_name() {
    let school = School::active();
    let decoy = "CREATE TEMP TABLE student (id int); SET search_path = pg_temp, app;
        CREATE FUNCTION pg_temp.approve(text) RETURNS int LANGUAGE sql AS 'SELECT 1'";
    for who in ROLES {
        let mut session = school.session(who);
        session.batch_execute(decoy).expect("of the session alone");
        session.batch_execute("INSERT INTO student SELECT generate_series(1, 100)").expect("the temporary table");
        watch(&school, who, Refused, BULK_UPDATE, || session.batch_execute(SIXTY));
    }
}

/// What a trigger does at the very end is part of the transaction like everything else.
fn a_deferred_trigger_at_commit() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE TABLE app.door (id int);
             CREATE FUNCTION app.late() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN UPDATE app.student SET note = ''x'' WHERE id <= 60; RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.door DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION app.late();
             GRANT ALL ON app.door TO teacher_wang; SELECT steward.activate()",
        )
        .expect("set-up");
    attack(&school, "BEGIN; INSERT INTO app.door VALUES (1); COMMIT", Refused, BULK_UPDATE);
}

fn statements_on_a_replication_connection() {
    let school = School::inactive();
    school.superuser().batch_execute("ALTER ROLE teacher_wang REPLICATION; SELECT steward.activate()").expect("set-up");
    for who in ROLES {
        let mut wire = Wire::connect(&school, who, HOME, &[("replication", "database")]).expect("a walsender");
        let refused = wire.query(SIXTY).expect_err("refused");
        assert!(refused.starts_with("42501 critical statement refused"), "{refused}");
        let denied =
            "result = 'DENIED' AND rule = 'bulk_write' AND table_name = 'app.student' AND operation_type = 'UPDATE'";
        assert_eq!(school.records(&format!("user_id = '{who}' AND {denied}")), 1, "{who}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}
