//! A day of the e-card platform, with the pack's own data: work passes, attacks are refused, all of it is recorded
//! and verifies. What each file should come to is told in the pack's `traffic/expected.md`.

use std::path::PathBuf;

use postgres::Client;

use crate::cluster::{Cluster, succeed};
use crate::school::{HOME, ask, settings};

tests! {
    a_day_of_work_passes_and_verifies,
    every_attack_is_refused_and_recorded,
}

/// The day's work, in this order; each file is the login that runs it.
const WORK: [&str; 7] =
    ["teacher_wang", "clerk_zhao", "region_chen", "app_service", "parent_xu", "job_nightly", "auditor_qian"];

/// A file of the e-card pack.
fn pack(name: &str) -> PathBuf {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells where the crate is");
    PathBuf::from(root).join("sql/packs/education_ecard").join(name)
}

/// A cluster with the whole pack loaded and active, and a session of the superuser.
pub fn platform() -> (Cluster, Client) {
    platform_with("")
}

/// The same with a further policy, set before the activation.
pub fn platform_with(policy: &str) -> (Cluster, Client) {
    let settings = settings("enforce");
    let cluster = Cluster::with_home(&settings.each_ref().map(String::as_str));
    cluster.psql_file("postgres", HOME, &pack("load.sql"));
    let mut superuser = cluster.connect("postgres", HOME);
    // The demo types codes; here the traffic is what matters.
    superuser.batch_execute("SELECT steward.set_tier_policy('critical', second_factor => false)").expect("no codes");
    superuser.batch_execute("SELECT steward.set_tier_policy('important', second_factor => false)").expect("no codes");
    superuser.batch_execute(policy).expect("policy");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    (cluster, superuser)
}

/// Runs an attack to its end, whatever is refused on the way; what psql printed.
fn attack(cluster: &Cluster, login: &str, file: &str) -> String {
    let mut psql = cluster.client_program("psql");
    psql.args(["-X", "-q", "-A", "-t", "-U", login, "-d", HOME, "-f"]).arg(pack(file));
    succeed(psql)
}

/// Records that match, everything so far included.
pub fn records(superuser: &mut Client, condition: &str) -> i64 {
    assert!(ask::<bool>(superuser, "SELECT steward.flush_audit()"));
    ask(superuser, &format!("SELECT count(*) FROM steward.audit_log WHERE {condition}"))
}

#[track_caller]
pub fn chain_verifies(superuser: &mut Client) {
    assert!(ask::<bool>(superuser, "SELECT steward.flush_audit()"));
    let verdict = superuser.query_one("SELECT ok, kind, first_bad_id FROM steward.verify_chain()", &[]);
    let verdict = verdict.expect("verify_chain");
    let (ok, kind): (bool, String) = (verdict.get(0), verdict.get(1));
    assert!(ok, "{kind} at {:?}", verdict.get::<_, Option<i64>>(2));
}

fn a_day_of_work_passes_and_verifies() {
    let (cluster, mut superuser) = platform();
    for login in WORK {
        cluster.psql_file(login, HOME, &pack(&format!("traffic/{login}.sql")));
    }
    assert_eq!(records(&mut superuser, "result = 'DENIED'"), 0, "a day of work meets no refusal");
    assert_eq!(records(&mut superuser, "operation_type = 'INJECTION PATTERN'"), 0, "nor suspicion");
    for login in ["teacher_wang", "clerk_zhao", "region_chen", "app_service", "parent_xu", "job_nightly"] {
        assert!(records(&mut superuser, &format!("user_id = '{login}' AND result = 'SUCCESS'")) > 0, "{login}");
    }
    // What failed for PostgreSQL's own reasons is on record too.
    assert_eq!(records(&mut superuser, "result = 'FAILURE' AND sqlstate = '23514'"), 1);
    assert!(records(&mut superuser, "result = 'ROLLED_BACK' AND user_id = 'teacher_wang'") >= 1);
    chain_verifies(&mut superuser);
}

fn every_attack_is_refused_and_recorded() {
    let (cluster, mut superuser) = platform();
    let students = "SELECT md5(string_agg(s::text, ',' ORDER BY student_id)) FROM app.student AS s";
    let before: String = ask(&mut superuser, students);

    attack(&cluster, "teacher_wang", "traffic/attack_bulk_phone.sql");
    assert_eq!(records(&mut superuser, "result = 'DENIED' AND user_id = 'teacher_wang' AND rule = 'bulk_write'"), 9);
    attack(&cluster, "region_chen", "traffic/attack_swallowed_denial.sql");
    assert_eq!(records(&mut superuser, "result = 'DENIED' AND user_id = 'region_chen'"), 6);
    attack(&cluster, "postgres", "traffic/attack_audit_log.sql");
    attack(&cluster, "postgres", "traffic/attack_superuser.sql");
    assert!(records(&mut superuser, "result = 'DENIED' AND user_id = 'postgres' AND person = '吴建平'") >= 20);

    assert_eq!(ask::<String>(&mut superuser, students), before, "no student was changed");
    assert_eq!(ask::<i64>(&mut superuser, "SELECT count(*) FROM app.guardian WHERE phone = '19999999999'"), 0);
    assert_eq!(ask::<i64>(&mut superuser, "SELECT count(*) FROM pg_roles WHERE rolname = 'mallory'"), 0);
    chain_verifies(&mut superuser);
}
