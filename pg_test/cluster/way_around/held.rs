//! What somebody takes and never lets go: locks, rows, portals, the queue of notifications. Others wait a moment or as long
//! as they say themselves; the policy decides and the chain goes on all the while.

use super::attack::ROLES;
use super::wire::{Wire, error};
use crate::expect::{expect_bulk_refused, expect_error, expect_refused};
use crate::school::{HOME, School};
use postgres::error::SqlState;
use std::time::{Duration, Instant};

tests! {
    a_lock_on_a_protected_table,
    a_call_of_the_register_that_is_never_fetched,
    an_alert_that_is_never_let_go,
    a_cursor_over_the_records,
    a_full_queue_of_notifications,
}

fn a_lock_on_a_protected_table() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("GRANT ALL ON app.student TO teacher_wang; SELECT steward.activate()")
        .expect("set-up");
    for (holder, other) in [("teacher_wang", "postgres"), ("postgres", "teacher_wang")] {
        let mut held = school.session(holder);
        held.batch_execute("BEGIN; LOCK TABLE app.student IN ACCESS EXCLUSIVE MODE").expect("upkeep");
        // A new session, which has to read the policy first.
        let mut session = school.session(other);
        session.batch_execute("SET lock_timeout = '300ms'").expect("set");
        for statement in ["SELECT count(*) FROM app.student", "UPDATE app.student SET note = 'x' WHERE id <= 60"] {
            expect_error(session.batch_execute(statement), &SqlState::LOCK_NOT_AVAILABLE, "", "");
        }
        // Everything else goes on: other tables, denials, operations, and the chain.
        session.batch_execute("UPDATE app.guardian SET name = 'x' WHERE id = 1").expect("another table");
        expect_bulk_refused(session.batch_execute("UPDATE app.guardian SET name = 'x' WHERE id <= 60"), "app.guardian");
        expect_refused(session.batch_execute("TRUNCATE app.guardian"));
        assert!(school.records(&format!("user_id = '{other}' AND result = 'DENIED'")) >= 2);
        held.batch_execute("ROLLBACK").expect("rollback");
        session.batch_execute("SELECT count(*) FROM app.student").expect("free again");
        let lock =
            "operation_type = 'LOCK TABLE' AND table_name = 'app.student' AND tier = 'normal' AND rule = 'upkeep'";
        assert_eq!(school.records(&format!("user_id = '{holder}' AND {lock}")), 1, "{holder}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

/// Executes a statement for one row and neither fetches on nor says that it is done; the error, if there is one.
fn one_row_of(wire: &mut Wire, statement: &str) -> Option<String> {
    wire.send(b'P', &[&b"\0"[..], statement.as_bytes(), b"\0\0\0"].concat());
    wire.send(b'B', b"portal\0\0\0\0\0\0\0\0");
    wire.send(b'E', &[&b"portal\0"[..], &1_i32.to_be_bytes()[..]].concat());
    // Flush: the answer without an end of the transaction.
    wire.send(b'H', b"");
    error(&wire.until(b"sCE"))
}

const RULES: &str = r#"SELECT steward.add_record('rules_of_use', 'Wang', '{"version": "1"}')"#;

/// A portal that is run for one row of its one row is not at its end, and neither is its transaction.
fn a_call_of_the_register_that_is_never_fetched() {
    let school = School::active();
    for (who, person) in ROLES.into_iter().zip(["Wang", "Wu"]) {
        let mut wire = Wire::connect(&school, who, HOME, &[]).expect("connection");
        let refused = one_row_of(&mut wire, &RULES.replace("Wang", person)).expect("refused");
        assert!(refused.contains("runs in a transaction of its own"), "{refused}");
        // Nobody waits for it.
        let began = Instant::now();
        school.session("security_han").batch_execute(&RULES.replace("Wang", "Han")).expect("nobody holds the register");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        // Fetched whole it is no cursor.
        drop(wire);
        school.session(who).query(&RULES.replace("Wang", person), &[]).expect("one's own");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.record WHERE kind = 'rules_of_use'"), 4);
}

/// Whoever answers an alert and leaves the transaction open keeps others waiting for a moment only.
fn an_alert_that_is_never_let_go() {
    let school = School::active();
    expect_refused(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian"));
    school.flush_audit();
    let alert: i64 = school.ask("SELECT id FROM steward.alert WHERE rule = 'without_approval' AND subject = 'Zhao'");
    let acknowledge = format!("SELECT steward.acknowledge({alert}, 'seen')");
    kept_for_a_moment(&school, "security_han", "postgres", &acknowledge);
    kept_for_a_moment(&school, "postgres", "security_han", &acknowledge);
    // Who has gone holds nothing any more.
    school.session("security_han").batch_execute(&acknowledge).expect("free again");
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

/// One calls it and leaves the portal and its transaction open; the other is told so within seconds.
#[track_caller]
fn kept_for_a_moment(school: &School, holder: &str, other: &str, call: &str) {
    let mut wire = Wire::connect(school, holder, HOME, &[]).expect("connection");
    wire.query("BEGIN").expect("begin");
    assert_eq!(one_row_of(&mut wire, call), None, "{holder}: {call}");
    let began = Instant::now();
    let held = school.session(other).batch_execute(call);
    expect_error(held, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "holds it", "pg_terminate_backend");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

fn a_cursor_over_the_records() {
    let school = School::active();
    for holder in ["auditor_qian", "postgres"] {
        let views = ["steward.audit_log", "steward.operation", "steward.record", "steward.alert", "steward.incident"];
        let _held = views.map(|view| {
            let mut wire = Wire::connect(&school, holder, HOME, &[]).expect("connection");
            assert_eq!(one_row_of(&mut wire, &format!("SELECT * FROM {view}")), None, "{holder}: {view}");
            wire
        });
        // Work, registers, operations and their records go on.
        school.session("teacher_wang").batch_execute(RULES).expect("the register");
        school.operate("region_chen", "UPDATE app.student SET note = 'x' WHERE id <= 60");
        assert!(school.records("operation_type = 'UPDATE' AND result = 'SUCCESS' AND rows = 60") >= 1);
    }
}

/// A listener that never reads lets the queue run full, which takes 8 GB: here the server says that it is, and refuses.
fn a_full_queue_of_notifications() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS 'SELECT 0.95::float8';
             CREATE OR REPLACE FUNCTION pg_catalog.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS
                $$BEGIN RAISE program_limit_exceeded USING MESSAGE = 'too many notifications in the NOTIFY queue'; END$$;
             SELECT steward.set_tier_policy('critical', review_within => '1 second'); SELECT steward.activate()",
        )
        .expect("set-up");
    let mut listener = school.superuser();
    listener.batch_execute("LISTEN steward_alert; BEGIN; SELECT 1").expect("never reads");
    for (who, person) in ROLES.into_iter().zip(["Wang", "Wu"]) {
        expect_refused(school.session(who).batch_execute("TRUNCATE app.guardian"));
        school.flush_audit();
        let raised =
            format!("SELECT count(*) FROM steward.alert WHERE rule = 'without_approval' AND subject = '{person}'");
        assert_eq!(school.ask::<i64>(&raised), 1, "{who}");
    }
    // A review that is overdue is told in the client's own transaction.
    let op_no = crate::review_queue::overdue(&school);
    school.session("auditor_qian").batch_execute("SELECT steward.check_reviews()").expect("does not fail");
    assert_eq!(school.records(&format!("operation_type = 'REVIEW OVERDUE' AND op_no = '{op_no}'")), 1);
    school
        .session("teacher_wang")
        .batch_execute("UPDATE app.student SET note = 'x' WHERE id = 1")
        .expect("work goes on");
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}
