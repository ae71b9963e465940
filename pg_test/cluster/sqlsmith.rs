//! Random statements by sqlsmith against a governed database: whatever they do, the server lives and the chain verifies.
//! A few hundred of them in `make test`, minutes in `make test-long`.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::fault::{report, scaled};
use crate::school::School;

tests! {
    random_statements_crash_nothing_and_the_chain_verifies,
}

/// Runs sqlsmith as this login until it has sent its statements or its time is over; it reads the catalog for a while
/// before it begins. With the catalog it finds more functions to call, without it more
/// protected tables.
fn torture(school: &School, login: &str, seed: u32, catalog: bool, time: Duration) {
    let target = format!("host={} port=5432 dbname=school user={login}", school.file("").display());
    let mut sqlsmith = Command::new("sqlsmith")
        .args([
            format!("--target={target}"),
            format!("--seed={seed}"),
            format!("--max-queries={}", scaled(200, 50_000)),
        ])
        .args((!catalog).then_some("--exclude-catalog"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sqlsmith is installed by pg_test/tools");
    let end = Instant::now() + time;
    while Instant::now() < end && sqlsmith.try_wait().expect("sqlsmith").is_none() {
        sleep(Duration::from_millis(100));
    }
    sqlsmith.kill().ok();
    sqlsmith.wait().expect("sqlsmith");
}

fn random_statements_crash_nothing_and_the_chain_verifies() {
    // A parallel plan is taken wherever it can be, so that workers run under the policy too.
    let parallel = ["parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"];
    let mut school = School::with("enforce", &parallel);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    // A random join of everything with everything is none of the things to wait for.
    school.configure(&["statement_timeout = '2s'"]);
    school.reload();
    let time = Duration::from_secs(scaled(60, 120));
    let started: String = school.ask(
        "SELECT pg_postmaster_start_time()::text || pid FROM pg_stat_activity
        WHERE backend_type = 'checkpointer'",
    );
    let runs = [("teacher_wang", 4, false), ("postgres", 7, true), ("postgres", 11, false), ("teacher_wang", 13, true)];
    for (login, seed, catalog) in &runs[..scaled(2, 4)] {
        torture(&school, login, *seed, *catalog, time);
    }
    assert!(school.is_running(), "the server is gone");
    // After a crash of any backend every process is a new one.
    let lives: String = school.ask(
        "SELECT pg_postmaster_start_time()::text || pid FROM pg_stat_activity
        WHERE backend_type = 'checkpointer'",
    );
    assert_eq!(started, lives, "a backend crashed");
    let recorded = school.records("user_id IN ('teacher_wang', 'postgres')");
    let denied = school.records("result = 'DENIED'");
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
    assert!(school.records("user_id = 'teacher_wang'") > 0, "sqlsmith did not get through");
    report(&format!("sqlsmith: {recorded} records, {denied} of them denials"));
}
