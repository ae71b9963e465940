//! What no hook of a statement sees: text that is no statement, statements of a transaction that has failed, and the
//! commands of replication by who may send them. Nothing protected is changed by any of them, and what can be on record is.

use super::attack::{ROLES, everything};
use super::wire::Wire;
use crate::expect::expect_error;
use crate::school::{HOME, School};
use postgres::error::SqlState;
use std::process::Command;

tests! {
    syntax_errors_and_unknown_names,
    statements_in_a_transaction_that_has_failed,
    a_base_backup_of_the_ops_login,
    replication_slots_of_the_ops_login,
}

fn syntax_errors_and_unknown_names() {
    let school = School::active();
    let before = everything(&mut school.superuser());
    for who in ROLES {
        let mut session = school.session(who);
        for (statement, code) in [
            ("DELETE FROM app.student WHERE WHERE id < 100", SqlState::SYNTAX_ERROR),
            ("DELETE FROM app.no_such_table", SqlState::UNDEFINED_TABLE),
            ("UPDATE app.student SET no_such_column = 1", SqlState::UNDEFINED_COLUMN),
            // The whole message is read before its first statement runs.
            ("DELETE FROM app.student WHERE id < 100; DELETE FROM FROM app.student", SqlState::SYNTAX_ERROR),
        ] {
            expect_error(session.batch_execute(statement), &code, "", "");
        }
        // Nothing was reached, so nothing is on record; five errors of syntax in a row are, as one.
        let deleted = format!("user_id = '{who}' AND operation_type IN ('DELETE', 'UPDATE')");
        assert_eq!(school.records(&deleted), 0, "{who}");
        for _ in 0..6 {
            expect_error(session.batch_execute("SELECT '1' OR OR 1 = 1 --"), &SqlState::SYNTAX_ERROR, "", "");
        }
        let many = format!("user_id = '{who}' AND operation_type = 'SYNTAX ERRORS' AND result = 'FAILURE'");
        assert_eq!(school.records(&many), 1, "{who}");
    }
    assert_eq!(everything(&mut school.superuser()), before);
}

/// PostgreSQL runs none of them, so there is nothing to decide; what the transaction had read and tried stays on record.
fn statements_in_a_transaction_that_has_failed() {
    let school = School::active();
    let before = everything(&mut school.superuser());
    for who in ROLES {
        let mut session = school.session(who);
        session.batch_execute("BEGIN; SELECT phone AS seen_before FROM app.student WHERE id = 1").expect("read");
        expect_error(session.batch_execute("SELECT 1 / 0"), &SqlState::DIVISION_BY_ZERO, "", "");
        for statement in [
            super::attack::SIXTY,
            "TRUNCATE app.guardian",
            "SELECT pg_read_file('postgresql.conf')",
            "SELECT steward.deactivate()",
            "COPY app.student TO PROGRAM 'cat'",
            "SET ROLE reviewer_sun",
        ] {
            let failed = session.batch_execute(statement);
            expect_error(failed, &SqlState::IN_FAILED_SQL_TRANSACTION, "", "");
        }
        session.batch_execute("ROLLBACK").expect("always works");
        assert_eq!(school.records(&format!("user_id = '{who}' AND statement LIKE '%seen_before%'")), 1, "{who}");
        assert_eq!(school.records(&format!("user_id = '{who}' AND result = 'DENIED'")), 0, "{who}");
        session.batch_execute("SELECT 1").expect("and the session goes on");
    }
    assert_eq!(everything(&mut school.superuser()), before);
}

/// Logins of walsenders on record, of this user.
fn walsenders(school: &School, who: &str) -> i64 {
    school.records(&format!(
        "user_id = '{who}' AND operation_type = 'LOGIN' AND result = 'SUCCESS'
        AND (details::json ->> 'replication')::boolean"
    ))
}

/// The post that makes backups: an ordinary login with REPLICATION, and a superuser.
fn ops(lines: &[&str]) -> School {
    let school = School::with("enforce", lines);
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE ops_backup LOGIN REPLICATION; SELECT steward.register_person('Bao', 'ops', roles => '{ops_backup}');
            SELECT steward.set_login_policy('ops_backup', replication => true); SELECT steward.activate()",
        )
        .expect("set-up");
    school.await_licence("ops_backup");
    school
}

const OPS: [&str; 2] = ["ops_backup", "postgres"];

/// It reads everything, as backups must: the login and its command are on record, and who has no REPLICATION has none.
fn a_base_backup_of_the_ops_login() {
    let school = ops(&[]);
    for who in OPS {
        let before = walsenders(&school, who);
        let backup = school.file(&format!("backup_{who}"));
        let mut command: Command = school.server_program("pg_basebackup");
        command.args(["--checkpoint=fast", "--no-sync", "--wal-method=none", "--port=5432", "--username", who]);
        command.arg("--host").arg(school.file("")).arg("--pgdata").arg(&backup);
        let told = command.output().expect("pg_basebackup");
        assert!(told.status.success(), "{who}: {told:?}");
        assert!(backup.join("PG_VERSION").exists());
        assert_eq!(walsenders(&school, who), before + 1, "{who}");
        let copied = format!("user_id = '{who}' AND operation_type = 'BASE_BACKUP' AND result = 'SUCCESS'");
        assert_eq!(school.records(&copied), 1, "{who}");
    }
    let refused = Wire::connect(&school, "teacher_wang", HOME, &[("replication", "true")]).err().expect("no walsender");
    assert!(refused.starts_with("42501"), "{refused}");
    let failed = "user_id = 'teacher_wang' AND operation_type = 'LOGIN' AND result = 'FAILURE' AND sqlstate = '42501'";
    assert_eq!(school.records(failed), 1);
}

/// The commands of replication make slots for who has the licence, on record; the same functions in SQL are refused.
fn replication_slots_of_the_ops_login() {
    let school = ops(&["wal_level = logical"]);
    for who in OPS {
        let before = walsenders(&school, who);
        let mut wire = Wire::connect(&school, who, HOME, &[("replication", "database")]).expect("a walsender");
        wire.query("CREATE_REPLICATION_SLOT mine TEMPORARY LOGICAL test_decoding").expect("licensed");
        let made = format!("user_id = '{who}' AND operation_type = 'CREATE_REPLICATION_SLOT' AND result = 'SUCCESS'");
        assert_eq!(school.records(&made), 1, "{who}");
        assert_eq!(walsenders(&school, who), before + 1, "{who}");
        drop(wire);
        let call = "SELECT pg_create_logical_replication_slot('own', 'test_decoding', true)";
        let said = ["pg_create_logical_replication_slot", "", "critical", "server_access"];
        super::attack::attack_as(&school, who, call, super::attack::Refused, said);
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'own'"), 0);
}
