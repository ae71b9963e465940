//! Crashes under load: every committed change has its record, none has two, the chain verifies.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::NoTls;

use crate::school::{HOME, School};

tests! {
    kill_9_of_the_postmaster_loses_and_doubles_no_record,
    kill_9_of_a_backend_loses_and_doubles_no_record,
    kill_9_of_the_sequencer_loses_and_doubles_no_record,
    a_prepared_transaction_is_recorded_when_it_commits_after_a_crash,
}

/// Crashes per test; each hits the server at another moment of its work.
const ROUNDS: u64 = 3;

/// Eight clients, each committing one row of `app.entry` at a time until the server is gone.
fn load(school: &School) -> Child {
    let script = school.file("load.sql");
    std::fs::write(&script, "INSERT INTO app.entry (client) VALUES (:client_id);\n").expect("script");
    let mut pgbench = school.client_program("pgbench");
    pgbench.args(["-n", "-c", "8", "-j", "2", "-T", "60", "-M", "prepared", "-U", "teacher_wang", "-f"]);
    pgbench.arg(script).arg(HOME).stdout(Stdio::null()).stderr(Stdio::null());
    pgbench.spawn().expect("pgbench")
}

/// Lets the load run for a while and until it has committed something.
fn under_load(school: &School, round: u64) -> Child {
    let before: i64 = school.ask("SELECT count(*) FROM app.entry");
    let pgbench = load(school);
    sleep(Duration::from_millis(600 + 370 * round));
    let deadline = Instant::now() + Duration::from_secs(30);
    while school.ask::<i64>("SELECT count(*) FROM app.entry") < before + 100 {
        assert!(Instant::now() < deadline, "the load does not commit\n{}", school.log_tail());
        sleep(Duration::from_millis(50));
    }
    pgbench
}

/// One record per committed row, each of one row, and a chain that verifies.
#[track_caller]
fn nothing_lost_nothing_doubled(school: &School) {
    let condition = "operation_type = 'INSERT' AND table_name = 'app.entry' AND result = 'SUCCESS'";
    let records = school.records(condition);
    let rows: i64 = school.ask("SELECT count(*) FROM app.entry");
    assert_eq!(records, rows, "records against committed rows");
    let recorded: i64 =
        school.ask(&format!("SELECT coalesce(sum(rows), 0)::bigint FROM steward.audit_log WHERE {condition}"));
    assert_eq!(recorded, rows, "rows on record against committed rows");
    let verdict = school.superuser().query_one("SELECT ok, kind FROM steward.verify_chain()", &[]);
    let verdict = verdict.expect("verify_chain");
    assert!(verdict.get::<_, bool>(0), "{}", verdict.get::<_, String>(1));
}

/// Waits until the postmaster, which restarts its processes by itself, takes connections again.
fn wait_for_recovery(school: &School) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while school.config("postgres", HOME).connect(NoTls).is_err() {
        assert!(Instant::now() < deadline, "no recovery\n{}", school.log_tail());
        sleep(Duration::from_millis(50));
    }
}

fn kill_9_of_the_postmaster_loses_and_doubles_no_record() {
    let mut school = School::active();
    for round in 0..ROUNDS {
        let mut pgbench = under_load(&school, round);
        school.kill_9_postmaster();
        pgbench.wait().expect("pgbench");
        school.start();
        nothing_lost_nothing_doubled(&school);
    }
}

/// The id of a process of the server that matches. A worker may still be starting.
fn wait_for_process(school: &School, which: &str) -> i32 {
    let query = format!("SELECT pid FROM pg_stat_activity WHERE {which} LIMIT 1");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(row) = school.superuser().query_opt(&query, &[]).expect("pg_stat_activity") {
            return row.get(0);
        }
        assert!(Instant::now() < deadline, "no process: {which}\n{}", school.log_tail());
        sleep(Duration::from_millis(50));
    }
}

/// Kills a process of the server under load; the postmaster then restarts all others.
fn kill_under_load(which: &str) {
    let school = School::active();
    for round in 0..ROUNDS {
        let mut pgbench = under_load(&school, round);
        school.kill_9(wait_for_process(&school, which));
        pgbench.wait().expect("pgbench");
        wait_for_recovery(&school);
        nothing_lost_nothing_doubled(&school);
    }
}

fn kill_9_of_a_backend_loses_and_doubles_no_record() {
    kill_under_load("usename = 'teacher_wang' AND backend_type = 'client backend'");
}

fn kill_9_of_the_sequencer_loses_and_doubles_no_record() {
    kill_under_load("backend_type ILIKE '%sequencer%'");
}

fn a_prepared_transaction_is_recorded_when_it_commits_after_a_crash() {
    let mut school = School::with("enforce", &["max_prepared_transactions = 4"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let mut teacher = school.session("teacher_wang");
    teacher
        .batch_execute("BEGIN; UPDATE app.student SET note = 'x' WHERE id <= 3; PREPARE TRANSACTION 'term'")
        .expect("prepare");
    school.kill_9_postmaster();
    school.start();
    let update = "operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'SUCCESS' AND rows = 3";
    assert_eq!(school.records(update), 0, "nothing is committed yet");
    school.session("teacher_wang").batch_execute("COMMIT PREPARED 'term'").expect("commit");
    assert_eq!(school.records(update), 1);
}
