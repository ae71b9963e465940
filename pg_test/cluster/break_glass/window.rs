//! What an emergency window allows, what is on record of it, and what comes after.

use postgres::fallible_iterator::FallibleIterator;
use std::fs::read_to_string;
use std::time::Duration;

use super::{Emergency, NOT_NOW, REASON, SIXTY, end, open};
use crate::expect::{expect_error, expect_refused};
use crate::school::{ask, execute, request};

tests! {
    what_takes_an_operation_runs_in_the_window_and_nowhere_else,
    everything_in_it_is_critical_and_on_record_before_it_runs,
    listeners_and_the_log_are_told_at_once,
    it_waits_for_the_review_of_somebody_else,
    what_it_changed_can_be_restored,
    what_it_dropped_can_be_restored,
    what_lies_beneath_the_policy_stays_refused,
    structure_and_settings_are_reached,
}

fn what_takes_an_operation_runs_in_the_window_and_nowhere_else() {
    let emergency = Emergency::new();
    let mut zheng = emergency.zheng(0);
    expect_refused(zheng.batch_execute(SIXTY));
    open(&mut zheng, "").expect("break glass");
    zheng.batch_execute(SIXTY).expect("in the window");
    zheng.batch_execute("DO $$BEGIN UPDATE app.guardian SET name = name; END$$").expect("whatever runs it");
    expect_refused(emergency.school().session("ops_zheng").batch_execute(SIXTY));
    expect_refused(emergency.active.stepped_up("postgres", 0).batch_execute(SIXTY));
    end(&mut zheng);
    expect_refused(zheng.batch_execute(SIXTY));
    expect_error(zheng.batch_execute("SELECT steward.end_break_glass()"), NOT_NOW, "", "steward.break_glass");
    assert_eq!(emergency.moved(), 60);
}

fn everything_in_it_is_critical_and_on_record_before_it_runs() {
    let emergency = Emergency::new();
    let school = emergency.school();
    let (mut zheng, op_no) = emergency.open(0);
    zheng.batch_execute(SIXTY).expect("in the window");
    ask::<i64>(&mut zheng, "SELECT count(*) FROM app.student");
    zheng.batch_execute("INSERT INTO app.guardian VALUES (1, 1, 'taken')").expect_err("a key that is there");
    zheng.batch_execute("BEGIN; DELETE FROM app.guardian WHERE id <= 55; ROLLBACK").expect("undone");
    school.flush_audit();
    let trail = "SELECT string_agg(operation_type || ' ' || result, ', ' ORDER BY id) FROM steward.audit_log
        WHERE op_no = $1 AND tier = 'critical' AND operation_type NOT LIKE '%BREAK GLASS'";
    let trail: String = school.superuser().query_one(trail, &[&op_no]).expect("trail").get(0);
    assert_eq!(
        trail,
        "BEGIN STATEMENT SUCCESS, UPDATE SUCCESS, BEGIN STATEMENT SUCCESS, SELECT SUCCESS, BEGIN STATEMENT SUCCESS, \
         INSERT FAILURE, BEGIN STATEMENT SUCCESS, DELETE ROLLED_BACK"
    );
    assert_eq!(school.records("user_id = 'ops_zheng' AND op_no IS NULL AND table_name LIKE 'app.%'"), 0);
    end(&mut zheng);
    zheng.batch_execute("UPDATE app.student SET note = 'after' WHERE id = 1").expect("normal again");
    assert_eq!(school.records("user_id = 'ops_zheng' AND op_no IS NULL AND tier = 'normal'"), 1);
}

fn listeners_and_the_log_are_told_at_once() {
    let emergency = Emergency::new();
    let mut watcher = emergency.school().session("auditor_qian");
    watcher.batch_execute("LISTEN steward_alert").expect("listen");
    let mut wu = emergency.active.stepped_up("postgres", 0);
    // What a session could do to stay unseen.
    wu.batch_execute("SET log_min_messages = panic; SET client_min_messages = error").expect("settings");
    let op_no = open(&mut wu, "").expect("break glass");
    // At night other alerts may come first.
    let mut told = watcher.notifications();
    let mut told = told.timeout_iter(Duration::from_secs(10)).filter(|told| Ok(told.payload().contains(&op_no)));
    let told = told.next().expect("connection");
    let payload = told.expect("a notification").payload().to_owned();
    assert!(payload.contains("Wu") && !payload.contains("canteens"), "{payload}");
    let log = read_to_string(emergency.school().log()).expect("log");
    assert!(log.contains(&format!("pg_steward alert: BREAK GLASS {op_no} by Wu for 900 s: {REASON}")), "{log}");
    let record =
        format!("operation_type = 'BREAK GLASS' AND op_no = '{op_no}' AND tier = 'critical' AND person = 'Wu'");
    assert_eq!(emergency.school().records(&record), 1);
}

fn it_waits_for_the_review_of_somebody_else() {
    let emergency = Emergency::new();
    let school = emergency.school();
    let (mut zheng, op_no) = emergency.open(-1);
    assert_eq!(school.status(&op_no), "executed");
    let row = format!(
        "SELECT origin || ' ' || purpose || ' ' || (review_due > now() + interval '23 hours')::text
        FROM steward.operation WHERE op_no = '{op_no}'"
    );
    assert_eq!(school.ask::<String>(&row), format!("break_glass {REASON} true"));
    let review = format!("SELECT steward.review('{op_no}', 'accepted', 'fine')");
    let mut sun = emergency.active.stepped_up("reviewer_sun", -1);
    expect_error(sun.batch_execute(&review), NOT_NOW, "window is open", "expires_at");
    zheng.batch_execute("BEGIN; DELETE FROM app.guardian WHERE id <= 55").expect("in the window");
    end(&mut zheng);
    school.flush_audit();
    // What the window began is not over.
    expect_error(sun.batch_execute(&review), NOT_NOW, "a transaction that was begun in it is", "");
    zheng.batch_execute("COMMIT").expect("commit");
    expect_refused(zheng.batch_execute(&review));
    let waits = format!("SELECT count(*) FROM steward.inbox WHERE op_no = '{op_no}' AND waits_for = 'review'");
    assert_eq!(ask::<i64>(&mut sun, &waits), 1);
    sun.batch_execute(&review).expect("over");
    assert_eq!(school.status(&op_no), "closed");
    let events =
        format!("SELECT string_agg(event, ', ' ORDER BY n) FROM steward.operation_trail WHERE op_no = '{op_no}'");
    assert_eq!(school.ask::<String>(&events), "BREAK GLASS, END BREAK GLASS, REVIEW");
}

fn what_it_changed_can_be_restored() {
    let emergency = Emergency::new();
    let (mut zheng, op_no) = emergency.open(0);
    zheng.batch_execute(SIXTY).expect("in the window");
    end(&mut zheng);
    emergency.school().flush_audit();
    emergency.review(&op_no, 0);
    restore(&emergency, &op_no);
    assert_eq!(emergency.moved(), 0);
}

fn what_it_dropped_can_be_restored() {
    let emergency = Emergency::new();
    let mut wu = emergency.active.stepped_up("postgres", -1);
    let op_no = open(&mut wu, "").expect("break glass");
    wu.batch_execute("DROP TABLE app.guardian").expect("in the window");
    end(&mut wu);
    emergency.school().flush_audit();
    emergency.review(&op_no, 0);
    restore(&emergency, &op_no);
    assert_eq!(emergency.school().ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
}

/// By an approved operation of Wu, with fresh codes of everybody.
#[track_caller]
fn restore(emergency: &Emergency, op_no: &str) {
    let mut wu = emergency.active.stepped_up("postgres", 0);
    let restore = request(&mut wu, &format!("SELECT * FROM steward.restore('{op_no}')"), "");
    let digest = emergency.school().digest(&restore);
    for (login, step) in [("reviewer_zhou", "approve"), ("region_liu", "confirm")] {
        let call = format!("SELECT steward.{step}('{restore}', '{digest}')");
        emergency.active.stepped_up(login, 0).batch_execute(&call).expect(step);
    }
    execute(&mut wu, &restore).expect("restore");
}

fn what_lies_beneath_the_policy_stays_refused() {
    let emergency = Emergency::new();
    let mut wu = emergency.active.stepped_up("postgres", 0);
    let op_no = open(&mut wu, "").expect("break glass");
    let closed = [
        "UPDATE steward.rule SET tier = 'normal'",
        "DELETE FROM steward._operation",
        "UPDATE steward.audit_log SET person = 'Sun'",
        "TRUNCATE steward.row_image",
        "SELECT steward.deactivate()",
        "SELECT steward.set_tier_policy('critical', approvals => 0)",
        "SELECT steward.set_break_glass_limit('8 hours')",
        "SELECT steward.reset_totp('Sun')",
        "SELECT steward.register_person('Wu', 'reviewer')",
        "SELECT steward.unprotect('app.student')",
        "DROP EXTENSION pg_steward CASCADE",
        "DROP SCHEMA steward CASCADE",
        "DROP OWNED BY postgres CASCADE",
        "ALTER SYSTEM SET steward.mode = 'off'",
        "ALTER SYSTEM SET shared_preload_libraries = ''",
        "ALTER SYSTEM SET archive_command = 'rm -rf pg_steward'",
        "ALTER SYSTEM RESET ALL",
        "ALTER DATABASE school SET session_preload_libraries = 'evil'",
        "ALTER ROLE postgres SET local_preload_libraries = 'evil'",
        "COPY app.scratch TO PROGRAM 'true'",
        "COPY app.scratch FROM '/dev/null'",
        "LOAD 'plpgsql'",
        "CREATE EXTENSION dblink",
        "CREATE FUNCTION app.f(int) RETURNS int LANGUAGE internal AS 'int4abs'",
        "UPDATE pg_class SET relname = relname WHERE relname = 'student'",
        "SELECT pg_read_file('postgresql.conf')",
        "CREATE ROLE mallory SUPERUSER LOGIN",
        "GRANT reviewer_sun TO ops_zheng",
        "ALTER ROLE reviewer_sun CONNECTION LIMIT 0",
    ];
    for statement in closed {
        expect_refused(wu.batch_execute(statement));
    }
    let denied = format!("op_no = '{op_no}' AND result = 'DENIED' AND user_id = 'postgres'");
    assert!(emergency.school().records(&denied) >= closed.len() as i64);
    assert!(emergency.school().ask::<bool>("SELECT count(*) = 1 FROM steward.activation"));
}

fn structure_and_settings_are_reached() {
    let emergency = Emergency::new();
    let mut wu = emergency.active.stepped_up("postgres", 0);
    let op_no = open(&mut wu, "").expect("break glass");
    let reached = [
        "ALTER TABLE app.guardian ADD COLUMN extra int",
        "TRUNCATE app.card_transaction_2026_10",
        "ALTER SYSTEM SET work_mem = '8MB'",
        "SELECT pg_reload_conf()",
        "ALTER ROLE teacher_wang CONNECTION LIMIT 3",
        "CREATE TABLE app.copy AS SELECT * FROM app.student",
    ];
    for statement in reached {
        wu.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let begun = format!("op_no = '{op_no}' AND operation_type = 'BEGIN STATEMENT'");
    assert_eq!(emergency.school().records(&begun), reached.len() as i64);
    // None of it opens a review of its own.
    assert_eq!(emergency.school().ask::<i64>("SELECT count(*) FROM steward.operation WHERE origin = 'statement'"), 0);
}
