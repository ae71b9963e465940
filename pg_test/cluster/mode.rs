//! Modes and activation: when something is refused, and when it is only recorded.

use std::sync::{Arc, Mutex};

use postgres::NoTls;
use postgres::error::SqlState;

use crate::expect::{expect_bulk_refused, expect_error};
use crate::school::{HOME, School};

tests! {
    a_parallel_worker_does_not_end_the_mode_off,
    before_activation_everything_is_recorded_and_nothing_refused,
    before_activation_the_trail_is_closed_already,
    observe_records_and_refuses_nothing,
    warn_warns_and_refuses_nothing,
    off_decides_and_records_nothing,
    leaving_enforce_needs_a_restart,
    entering_enforce_needs_only_a_reload,
    activation_outlives_a_restart,
    activation_needs_an_auditor,
    activation_needs_an_approver_beside_every_applicant,
    activation_needs_a_person_behind_every_login,
    deactivation_needs_an_operation,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

/// A school in this mode whose policy was activated.
fn active_in(mode: &str) -> School {
    let school = School::with(mode, &[]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn before_activation_everything_is_recorded_and_nothing_refused() {
    let school = School::inactive();
    // The school's own set-up is on record already.
    let utility = "operation_type IN ('TRUNCATE TABLE', 'CREATE ROLE') AND result = 'SUCCESS'";
    let before = school.records(utility);
    school.session("teacher_wang").batch_execute(SIXTY).expect("nothing is refused yet");
    school.superuser().batch_execute("CREATE ROLE guest; TRUNCATE app.guardian").expect("nothing is refused yet");
    let update = "result = 'SUCCESS' AND operation_type = 'UPDATE' AND rows = 60 AND tier = 'critical'";
    assert_eq!(school.records(update), 1);
    assert_eq!(school.records(utility), before + 2);
    assert_eq!(school.records("result = 'DENIED'"), 0);
}

fn before_activation_the_trail_is_closed_already() {
    let school = School::inactive();
    let deleted = school.superuser().batch_execute("DELETE FROM steward.chain");
    expect_error(deleted, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn observe_records_and_refuses_nothing() {
    let school = active_in("observe");
    school.session("teacher_wang").batch_execute(SIXTY).expect("observed, not refused");
    assert_eq!(school.records("result = 'SUCCESS' AND rows = 60 AND rule = 'bulk_write'"), 1);
}

fn warn_warns_and_refuses_nothing() {
    let school = active_in("warn");
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    let mut config = school.config("teacher_wang", HOME);
    config.notice_callback(move |notice| heard.lock().expect("notices").push(notice));
    config.connect(NoTls).expect("connect").batch_execute(SIXTY).expect("warned, not refused");
    let notices = notices.lock().expect("notices");
    let about_bulk = |notice: &&postgres::error::DbError| notice.detail().unwrap_or("").contains("bulk_write");
    let warning = notices.iter().find(about_bulk).unwrap_or_else(|| panic!("{notices:?}"));
    assert_eq!(warning.severity(), "WARNING");
}

fn off_decides_and_records_nothing() {
    let school = active_in("off");
    school.session("teacher_wang").batch_execute(SIXTY).expect("off");
    let recorded = "SELECT count(*) FROM steward.audit_log WHERE operation_type = 'UPDATE'";
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(school.ask::<i64>(recorded), 0);
}

fn leaving_enforce_needs_a_restart() {
    let mut school = School::active();
    school.configure(&["steward.mode = 'observe'"]);
    school.reload();
    std::thread::sleep(std::time::Duration::from_millis(500));
    expect_bulk_refused(school.session("teacher_wang").batch_execute(SIXTY), "app.student");
    school.restart();
    school.session("teacher_wang").batch_execute(SIXTY).expect("observed, not refused");
}

fn entering_enforce_needs_only_a_reload() {
    let school = active_in("observe");
    let mut open = school.session("teacher_wang");
    open.batch_execute(SIXTY).expect("observed, not refused");
    school.configure(&["steward.mode = 'enforce'"]);
    school.reload();
    std::thread::sleep(std::time::Duration::from_secs(1));
    expect_bulk_refused(open.batch_execute(SIXTY), "app.student");
}

fn activation_outlives_a_restart() {
    let mut school = School::active();
    school.restart();
    expect_bulk_refused(school.session("teacher_wang").batch_execute(SIXTY), "app.student");
    school.kill_9_postmaster();
    school.start();
    expect_bulk_refused(school.session("teacher_wang").batch_execute(SIXTY), "app.student");
}

/// After this change of the set-up, activation is refused and says why.
#[track_caller]
fn activation_refused(change: &str, detail: &str) {
    let school = School::inactive();
    school.superuser().batch_execute(change).expect(change);
    let activated = school.superuser().batch_execute("SELECT steward.activate()");
    expect_error(activated, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, detail, "");
    school.session("teacher_wang").batch_execute(SIXTY).expect("still not active");
}

fn activation_needs_an_auditor() {
    activation_refused("SELECT steward.suspend_person('Qian', 'left')", "auditor");
}

fn activation_needs_an_approver_beside_every_applicant() {
    // Han may approve, but not what Han applies for.
    let change = "SELECT steward.suspend_person('Sun', 'left'), steward.suspend_person('Zhou', 'left')";
    activation_refused(change, "Han");
}

fn activation_needs_a_person_behind_every_login() {
    activation_refused("CREATE ROLE nobody_knows LOGIN", "nobody_knows");
}

fn deactivation_needs_an_operation() {
    let school = School::active();
    let alone = school.session("security_han").batch_execute("SELECT steward.deactivate()");
    expect_error(alone, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    school.operate("postgres", "SELECT steward.deactivate()");
    school.session("teacher_wang").batch_execute(SIXTY).expect("the policy is not active any more");
}

fn a_parallel_worker_does_not_end_the_mode_off() {
    let school = School::with("off", &["min_parallel_table_scan_size = 0", "parallel_setup_cost = 0"]);
    let built =
        "CREATE TABLE app.big AS SELECT n FROM generate_series(1, 200000) n; ALTER TABLE app.big ADD PRIMARY KEY (n);
        SELECT count(*) FROM app.big";
    school.superuser().batch_execute(built).expect("workers");
    school.session("teacher_wang").batch_execute("SELECT * FROM app.student").expect("read");
    assert_eq!(school.records("operation_type = 'SELECT'"), 0);
}
