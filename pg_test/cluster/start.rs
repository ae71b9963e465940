//! What the chain says about starts, crashes and idle time.

use std::thread::sleep;
use std::time::Duration;

use crate::cluster::{Cluster, succeed};
use crate::failover::wait_until;
use crate::school::{HOME, School, settings};

tests! {
    a_clean_start_says_so_and_nothing_is_missing,
    a_crash_of_the_server_has_a_boundary_behind_which_nothing_is_missing,
    a_crash_of_the_machine_has_a_boundary_that_names_what_may_be_missing,
    a_killed_backend_is_a_crash_too,
    idle_time_is_sealed,
    an_ancestor_that_is_restored_late_is_named_later,
}

const BOUNDARIES: &str = "operation_type = 'CRASH BOUNDARY'";

fn starts(school: &School, last_stop: &str) -> i64 {
    let details = format!("details::jsonb ->> 'last_stop' = '{last_stop}'");
    school.records(&format!("operation_type = 'SERVER START' AND {details}"))
}

fn boundaries(school: &School, machine_restarted: bool) -> i64 {
    let details = format!("(details::jsonb ->> 'machine_restarted')::boolean = {machine_restarted}");
    school.records(&format!("{BOUNDARIES} AND {details} AND details::jsonb ? 'may_be_missing'"))
}

fn a_clean_start_says_so_and_nothing_is_missing() {
    let mut school = School::active();
    assert_eq!(starts(&school, "shut down"), 1);
    school.restart();
    assert_eq!(starts(&school, "shut down"), 2);
    assert_eq!(school.records(BOUNDARIES), 0);
}

fn a_crash_of_the_server_has_a_boundary_behind_which_nothing_is_missing() {
    let mut school = School::active();
    school.kill_9_postmaster();
    school.start();
    assert_eq!(starts(&school, "crashed"), 1);
    assert_eq!(boundaries(&school, false), 1);
    // It is said once.
    school.restart();
    assert_eq!(school.records(BOUNDARIES), 1);
}

fn a_crash_of_the_machine_has_a_boundary_that_names_what_may_be_missing() {
    let mut school = School::active();
    school.kill_9_postmaster();
    school.data_file("pg_steward/machine", "the kernel that ran before\n");
    school.start();
    assert_eq!(boundaries(&school, true), 1);
    // A restart of the machine in order loses nothing.
    school.stop();
    school.data_file("pg_steward/machine", "another kernel\n");
    school.start();
    assert_eq!(school.records(BOUNDARIES), 1);
}

fn a_killed_backend_is_a_crash_too() {
    let school = School::active();
    let mut victim = school.session("teacher_wang");
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    school.kill_9(pid);
    // The postmaster restarts all its processes by itself.
    while victim.batch_execute("SELECT 1").is_ok() {
        sleep(Duration::from_millis(20));
    }
    while school.config("postgres", HOME).connect(postgres::NoTls).is_err() {
        sleep(Duration::from_millis(50));
    }
    wait_until(&school, "SELECT sequencer_alive FROM steward.audit_status");
    assert_eq!(boundaries(&school, false), 1);
}

fn idle_time_is_sealed() {
    let school = School::with("enforce", &["steward.heartbeat_interval = 1"]);
    sleep(Duration::from_secs(6));
    let mut superuser = school.superuser();
    let beats = "SELECT count(*), max(operation_time - before) < interval '3 s' FROM (
        SELECT operation_type, operation_time, lag(operation_time) OVER (ORDER BY id) AS before
        FROM steward.audit_log) AS record WHERE operation_type = 'HEARTBEAT'";
    let row = superuser.query_one(beats, &[]).expect("heartbeats");
    assert!((3..=7).contains(&row.get::<_, i64>(0)), "{} heartbeats in six seconds", row.get::<_, i64>(0));
    assert!(row.get::<_, bool>(1), "a heartbeat came late");
    // None while it is switched off, and none while there is work.
    school.configure(&["steward.heartbeat_interval = 0"]);
    school.reload();
    sleep(Duration::from_secs(1));
    let before = school.records("operation_type = 'HEARTBEAT'");
    sleep(Duration::from_secs(3));
    assert_eq!(school.records("operation_type = 'HEARTBEAT'"), before);
}

fn an_ancestor_that_is_restored_late_is_named_later() {
    let school = School::active();
    school.flush_audit();
    let ledger: String = school.ask("SELECT ledger::text FROM steward.ledger");
    let dump = school.file("ledger.sql");
    let mut pg_dump = school.client_program("pg_dump");
    pg_dump.arg("--extension=pg_steward").arg(HOME);
    let text = succeed(pg_dump);
    // A parallel restore may bring this table's rows last.
    let begin = text.find("COPY steward.ledger ").expect("the ledger is dumped");
    let end = begin + text[begin..].find("\\.\n").expect("end of the rows") + 3;
    std::fs::write(&dump, &text[begin..end]).expect("dump");

    let mut copy = School::of(Cluster::with_home(&settings("enforce").each_ref().map(String::as_str)));
    let begin = "CREATE EXTENSION pg_steward; CREATE TABLE t (id int); SELECT steward.protect('t')";
    copy.superuser().batch_execute(begin).expect("a chain begins");
    wait_until(&copy, "SELECT coalesce(last_id, 0) > 0 FROM steward.audit_status");
    copy.psql_file("postgres", HOME, &dump);
    copy.restart();
    let named = format!(
        "operation_type = 'INCARNATION' AND details::jsonb @> '{{\"ancestor\": \"{ledger}\", \"reason\": \"restored dump\"}}'"
    );
    assert_eq!(copy.records(&named), 1);
    copy.restart();
    assert_eq!(copy.records(&named), 1);
    assert_eq!(copy.ask::<i64>("SELECT count(*) FROM steward.ledger WHERE ancestor::text IS NOT NULL"), 1);
}
