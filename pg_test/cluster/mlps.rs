//! `mlps_report`: whether each verdict follows the facts. One school goes through the changes of a year, and each change turns
//! the verdicts that rest on it, and is undone where the next one needs that.

use std::collections::BTreeMap;
use std::time::Duration;

use postgres::Client;

use crate::cluster::library_dir;
use crate::fault::Paused;
use crate::school::{School, ask};

tests! {
    a_changed_fact_changes_its_verdict,
    the_first_login_of_the_cluster_is_seen,
    a_changed_library_is_noticed,
    a_stopped_sequencer_leaves_a_gap,
}

/// Every verdict by its code.
fn verdicts(session: &mut Client) -> BTreeMap<String, String> {
    let rows =
        session.query("SELECT code, verdict, facts, query FROM steward.mlps_report()", &[]).expect("mlps_report");
    rows.iter()
        .map(|row| {
            let (code, verdict): (String, String) = (row.get(0), row.get(1));
            let (facts, query): (String, Option<String>) = (row.get(2), row.get(3));
            assert!(!facts.is_empty() && (query.is_some() || verdict == "organisational"), "{code}");
            (code, verdict)
        })
        .collect()
}

const SUPERUSER: &str = "postgres";
const OFFICER: &str = "security_han";
const AUDITOR: &str = "auditor_qian";
/// The superuser, by an approved operation.
const APPROVED: &str = "";

/// Codes with the verdicts before and after a change.
type Turned = &'static [(&'static str, &'static str, &'static str)];

/// Who does what, and which verdicts that turns.
const YEAR: &[(&str, &str, Turned)] = &[
    (SUPERUSER, "SELECT steward.accept_configuration()", &[("L3-CES1-24", "fails", "partly")]),
    (
        SUPERUSER,
        "SELECT steward.daily_check()",
        &[
            ("8.1.10.8 b", "partly", "conforms"),
            ("8.1.7.5", "fails", "partly"),
            ("L3-CES1-14", "fails", "partly"),
            ("L3-CES1-26", "fails", "partly"),
        ],
    ),
    (SUPERUSER, "SELECT steward.set_form('incident', true)", &[("8.1.10.12", "partly", "conforms")]),
    (
        SUPERUSER,
        "SELECT steward.open_incident('important', 'the card machine was open')",
        &[("8.1.10.12", "conforms", "partly")],
    ),
    (SUPERUSER, "GRANT SELECT ON app.student TO PUBLIC", &[("L3-CES1-05", "partly", "fails")]),
    (SUPERUSER, "REVOKE SELECT ON app.student FROM PUBLIC", &[("L3-CES1-05", "fails", "partly")]),
    (
        SUPERUSER,
        "SELECT steward.set_mask('clerk_zhao', 'id_card')",
        &[("L3-CES1-11", "fails", "partly"), ("L3-CES1-35", "fails", "partly")],
    ),
    (
        SUPERUSER,
        "SELECT steward.set_scope('teacher_wang', 'app.student', 'school_id', 'school')",
        &[("L3-CES1-10", "partly", "conforms")],
    ),
    (
        SUPERUSER,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card IS NULL",
        &[
            ("L3-CES1-10", "conforms", "partly"),
            ("L3-CES1-34", "partly", "fails"),
            ("L3-CES1-33", "partly", "not_applicable"),
        ],
    ),
    (
        SUPERUSER,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card IS 'id_card'",
        &[("L3-CES1-34", "fails", "partly")],
    ),
    (SUPERUSER, "CREATE EXTENSION pgcrypto", &[("L3-CES1-17", "conforms", "partly")]),
    (SUPERUSER, "CREATE ROLE nobody_s LOGIN", &[("L3-CES1-07", "partly", "fails")]),
    (SUPERUSER, "CREATE ROLE dba SUPERUSER LOGIN", &[("L3-CES1-08", "conforms", "fails")]),
    (
        SUPERUSER,
        "DROP ROLE dba; DROP ROLE nobody_s",
        &[("L3-CES1-08", "fails", "conforms"), ("L3-CES1-07", "fails", "partly")],
    ),
    (
        SUPERUSER,
        "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'x'",
        &[("L3-CES1-28", "unknown", "fails"), ("L3-CES1-32", "partly", "fails"), ("8.1.10.9 a, b", "partly", "fails")],
    ),
    (SUPERUSER, "SET password_encryption = 'scram-sha-256'; DROP ROLE old", &[("L3-CES1-28", "fails", "unknown")]),
    (
        SUPERUSER,
        "SELECT steward.set_tier_policy('critical', pre_image => false)",
        &[("8.1.10.10 c", "partly", "fails")],
    ),
    (SUPERUSER, "SELECT steward.set_tier_policy('critical', pre_image => true)", &[("8.1.10.10 c", "fails", "partly")]),
    (
        SUPERUSER,
        "ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf(), pg_sleep(1)",
        &[("L3-CES1-33", "partly", "fails"), ("8.1.10.8 b", "conforms", "conforms")],
    ),
    (
        SUPERUSER,
        "ALTER SYSTEM RESET autovacuum; SELECT pg_reload_conf(), pg_sleep(1); SELECT steward.drop_scope('teacher_wang', 'app.student'); SELECT steward.unprotect(relation) FROM steward.protected",
        &[("L3-CES1-12", "conforms", "fails"), ("L3-CES1-10", "conforms", "fails"), ("L3-CES1-20", "partly", "fails")],
    ),
    (
        SUPERUSER,
        "SELECT steward.protect('app.student'); SELECT steward.set_check('numbers', 'app.student', 'unique', '{phone}')",
        &[("L3-CES1-12", "fails", "conforms"), ("L3-CES1-20", "fails", "conforms")],
    ),
    (
        SUPERUSER,
        "SELECT steward.register_backup('full', 'b1', '/backup', false, 1000, repeat('5f', 32), '0/1000000',
            pg_current_wal_lsn(), now() - interval '5 min', now())",
        &[("L3-CES1-14", "partly", "conforms"), ("L3-CES1-29", "fails", "partly")],
    ),
    (
        SUPERUSER,
        "SELECT steward.register_backup('full', 'b1', '/far', true, 1000, repeat('5f', 32), '0/1000000',
            pg_current_wal_lsn(), now() - interval '5 min', now())",
        &[("L3-CES1-30", "fails", "partly")],
    ),
    (
        OFFICER,
        r#"SELECT steward.add_record('restore_drill', 'restore', jsonb_build_object('backup', 'b1', 'began_at', '2026-01-01',
            'ready_at', '2026-01-01', 'verified', 'count', 'result', 'success'))"#,
        &[("L3-CES1-29", "partly", "conforms")],
    ),
    (
        OFFICER,
        r#"SELECT steward.add_record('procedure', 'backup', '{"version": "1", "document": "/srv"}')"#,
        &[("8.1.10.11", "fails", "conforms")],
    ),
    (
        OFFICER,
        r#"SELECT steward.add_record('plan', 'emergency', '{"version": "1", "document": "/srv"}')"#,
        &[("8.1.10.13", "fails", "partly")],
    ),
    (
        OFFICER,
        r#"SELECT steward.add_record('drill', 'emergency',
            '{"scenario": "disk", "participants": "Wu", "result": "success", "findings": "none"}')"#,
        &[("8.1.10.13", "partly", "conforms")],
    ),
    (
        OFFICER,
        r#"SELECT steward.add_record('assessment', 'database',
            '{"assessor": "an institute", "findings": 0, "open": 0, "report": "/srv"}')"#,
        &[("8.1.7.3 c", "partly", "conforms")],
    ),
    (
        AUDITOR,
        r#"SELECT steward.add_record('audit_report', 'monthly',
            '{"from": "2026-10-01", "until": "2026-11-01", "digest": "d", "location": "/srv"}')"#,
        &[("8.1.10.6 e, f", "partly", "conforms")],
    ),
    (
        AUDITOR,
        r#"SELECT steward.add_record('exam', 'Wang', '{"score": 91, "result": "passed"}')"#,
        &[("8.1.8.3", "fails", "partly")],
    ),
    (
        SUPERUSER,
        "SELECT steward.drop_alert_rule(name) FROM steward.alert_rule",
        &[("L3-CES1-22", "conforms", "fails"), ("8.1.5.4 f", "conforms", "fails")],
    ),
    (
        SUPERUSER,
        "SELECT steward.register_person('Zhao', 'clerk', valid_until => now() - interval '1 hour')",
        &[("8.1.8.2 a", "conforms", "fails")],
    ),
    (
        SUPERUSER,
        "SELECT steward.suspend_person('Han', 'left')",
        &[("8.1.7.1 c", "conforms", "fails"), ("8.1.7.2 b", "conforms", "fails"), ("8.1.5.3 a, b", "partly", "fails")],
    ),
    (
        SUPERUSER,
        "ALTER ROLE security_han LOGIN; SELECT steward.register_person('Han', 'security_officer', roles => '{security_han}')",
        &[("8.1.7.1 c", "fails", "conforms"), ("8.1.5.3 a, b", "fails", "partly")],
    ),
    (SUPERUSER, "SELECT steward.suspend_person('Qian', 'left')", &[("8.1.5.2 a, b", "conforms", "fails")]),
    (
        SUPERUSER,
        "ALTER ROLE auditor_qian LOGIN; SELECT steward.register_person('Qian', 'auditor', roles => '{auditor_qian}')",
        &[("8.1.5.2 a, b", "fails", "conforms")],
    ),
    // A query that cannot be made leaves the point unknown.
    (SUPERUSER, "ALTER VIEW steward.privilege_drift RENAME TO gone", &[("L3-CES1-35", "partly", "unknown")]),
    (SUPERUSER, "ALTER VIEW steward.gone RENAME TO privilege_drift", &[("L3-CES1-35", "unknown", "partly")]),
    (
        SUPERUSER,
        "SELECT steward.set_login_limit(lock_for => '15 min'), steward.activate()",
        &[
            ("L3-CES1-02", "fails", "conforms"),
            ("L3-CES1-09", "fails", "conforms"),
            ("L3-CES1-15", "partly", "conforms"),
            ("8.1.5.1 a, b", "partly", "conforms"),
            ("8.1.5.3 a, b", "partly", "conforms"),
            ("8.1.7.3 a, b", "fails", "conforms"),
            ("8.1.10.6 b", "fails", "partly"),
            ("8.1.10.6 g, h, i", "fails", "partly"),
            ("8.1.10.10 a, b", "partly", "conforms"),
        ],
    ),
    (
        APPROVED,
        "SELECT steward.deactivate()",
        &[
            ("8.1.7.3 a, b", "conforms", "fails"),
            ("L3-CES1-09", "conforms", "fails"),
            ("L3-CES1-15", "conforms", "partly"),
        ],
    ),
    (
        SUPERUSER,
        "SELECT steward.set_checklist('critical', 'critical_operation', true); SELECT steward.set_form('role_grant', true); SELECT steward.activate()",
        &[("8.1.10.6 g, h, i", "fails", "conforms"), ("8.1.10.6 b", "fails", "conforms")],
    ),
];

fn a_changed_fact_changes_its_verdict() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    school.flush_audit();
    let mut before = verdicts(&mut superuser);
    assert!(before.len() >= 50 && before["L3-CES1-23"] == "organisational");
    for &(login, change, turned) in YEAR {
        for (code, was, _) in turned {
            assert_eq!(before[*code], *was, "{code} before: {change}");
        }
        match login {
            APPROVED => drop(school.operate_by(&["reviewer_sun", "reviewer_zhou"], change)),
            // One by one: ALTER SYSTEM runs in no transaction block.
            SUPERUSER => change.split("; ").for_each(|statement| {
                superuser.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
            }),
            login => record(&school, login, change),
        }
        before = verdicts(&mut superuser);
        for (code, _, is) in turned {
            assert_eq!(before[*code], *is, "{code} after: {change}");
        }
    }
}

/// Puts something on record, and has another person confirm it where its kind asks for that.
fn record(school: &School, login: &str, call: &str) {
    let id: i64 = ask(&mut school.session(login), call);
    if school.ask::<bool>(&format!("SELECT status = 'unconfirmed' FROM steward.record WHERE id = {id}")) {
        let confirmed = school.session("reviewer_sun").batch_execute(&format!("SELECT steward.confirm_record({id})"));
        confirmed.expect("confirmed");
    }
}

fn the_first_login_of_the_cluster_is_seen() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    assert_eq!(verdicts(&mut superuser)["L3-CES1-06"], "fails");
    superuser.batch_execute("CREATE ROLE dba SUPERUSER LOGIN").expect("another superuser");
    drop(superuser);
    let mut dba = school.session("dba");
    dba.batch_execute("ALTER ROLE postgres RENAME TO keeper").expect("renamed");
    assert_eq!(verdicts(&mut dba)["L3-CES1-06"], "conforms");
    dba.batch_execute("ALTER ROLE keeper RENAME TO postgres; ALTER ROLE postgres NOLOGIN").expect("closed");
    assert_eq!(verdicts(&mut dba)["L3-CES1-06"], "conforms");
    dba.batch_execute("ALTER ROLE postgres LOGIN").expect("open");
    assert_eq!(verdicts(&mut dba)["L3-CES1-06"], "fails");
}

fn a_changed_library_is_noticed() {
    let copy = std::env::temp_dir().join(format!("pg_steward_library_{}.so", std::process::id()));
    std::fs::copy(library_dir().join("auto_explain.so"), &copy).expect("copy");
    let preloaded = format!("shared_preload_libraries = '{}, pg_steward'", copy.display());
    let school = School::with("enforce", &[&preloaded]);
    let mut superuser = school.superuser();
    let drift = format!(
        "SELECT count(*) FROM steward.integrity_issues i, unnest(i.sample) line
            WHERE i.check_name = 'configuration_drift' AND i.status = 'open' AND line = 'changed: library {}'",
        copy.display()
    );
    superuser.batch_execute("SELECT steward.accept_configuration()").expect("accepted");
    let accepted = "SELECT count(*) FROM steward._configuration WHERE kind = 'library' AND length(value) = 64";
    assert_eq!(ask::<i64>(&mut superuser, accepted), 2);
    // What follows the end of a library is read by nobody, so that the server runs on.
    let mut file = std::fs::OpenOptions::new().append(true).open(&copy).expect("open");
    std::io::Write::write_all(&mut file, b"x").expect("changed");
    superuser.batch_execute("SELECT * FROM steward.daily_check()").expect("check");
    let noticed: i64 = ask(&mut superuser, &drift);
    std::fs::remove_file(&copy).expect("remove");
    assert_eq!(noticed, 1);
}

fn a_stopped_sequencer_leaves_a_gap() {
    let school = School::with("enforce", &["steward.heartbeat_interval = '1s'"]);
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    school.flush_audit();
    let facts = "SELECT verdict || ' ' || facts FROM steward.mlps_report() WHERE code = 'L3-CES1-15'";
    assert_eq!(verdicts(&mut superuser)["L3-CES1-15"], "conforms", "{}", ask::<String>(&mut superuser, facts));
    school.flush_audit();
    let paused = Paused::between_rounds(&school);
    std::thread::sleep(Duration::from_secs(13));
    drop(paused);
    drop(school.session("teacher_wang"));
    school.flush_audit();
    assert_eq!(verdicts(&mut superuser)["L3-CES1-15"], "partly");
}
