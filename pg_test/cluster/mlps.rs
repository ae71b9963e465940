//! `mlps_report`: whether each verdict follows the facts. One school goes through the changes of a year, and each change turns
//! the verdicts that rest on it, and is undone where the next one needs that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postgres::{Client, Row};

use crate::cluster::library_dir;
use crate::fault::{Paused, wait_for};
use crate::login::{address, certificate};
use crate::school::{School, ask};
use crate::second_factor::Phone;

tests! {
    a_changed_fact_changes_its_verdict,
    every_point_is_turned_here_or_answered_by_people,
    what_the_network_sees_changes_its_verdicts,
    servers_that_cannot_be_had_here_are_judged_too,
    the_first_login_of_the_cluster_is_seen,
    a_changed_library_is_noticed,
    a_stopped_sequencer_leaves_a_gap,
}

/// Verdict, facts and query by code.
type Report = BTreeMap<String, (String, String, Option<String>)>;

fn report(session: &mut Client) -> Report {
    let rows =
        session.query("SELECT code, verdict, facts, query FROM steward.mlps_report()", &[]).expect("mlps_report");
    let answered = |row: &Row| (row.get(0), (row.get(1), row.get(2), row.get(3)));
    let report: Report = rows.iter().map(answered).collect();
    for (code, (verdict, facts, query)) in &report {
        assert!(!facts.is_empty() && (query.is_none()) == (verdict == "organisational"), "{code}");
    }
    report
}

/// Every verdict by its code.
fn verdicts(session: &mut Client) -> BTreeMap<String, String> {
    report(session).into_iter().map(|(code, (verdict, ..))| (code, verdict)).collect()
}

/// The verdicts before and after a change; facts that say the same of both explain neither.
fn expect_turned(change: &str, before: &Report, after: &Report, turned: Turned) {
    for &(code, was, is) in turned {
        let ((verdict, facts, _), (now, facts_now, _)) = (&before[code], &after[code]);
        assert_eq!((verdict.as_str(), now.as_str()), (was, is), "{code}: {change}\n{facts}\n{facts_now}");
        assert!(was == is || facts != facts_now, "{code}: {change} is not among the facts: {facts}");
    }
}

const SUPERUSER: &str = "postgres";
const OFFICER: &str = "security_han";
const AUDITOR: &str = "auditor_qian";
/// The superuser, by an approved operation.
const APPROVED: &str = "";

/// The same, of what it did last.
const RESTORED: &str = "restored";

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
    (SUPERUSER, "GRANT SELECT (name), UPDATE (name) ON app.student TO PUBLIC", &[("L3-CES1-05", "partly", "fails")]),
    (SUPERUSER, "REVOKE SELECT (name), UPDATE (name) ON app.student FROM PUBLIC", &[("L3-CES1-05", "fails", "partly")]),
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
    (SUPERUSER, "ALTER TABLE app.student DISABLE ROW LEVEL SECURITY", &[("L3-CES1-10", "conforms", "partly")]),
    (SUPERUSER, "ALTER TABLE app.student ENABLE ROW LEVEL SECURITY", &[("L3-CES1-10", "partly", "conforms")]),
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
    (
        SUPERUSER,
        "CREATE ROLE dba SUPERUSER; CREATE ROLE between; GRANT dba TO between; GRANT between TO nobody_s",
        &[("L3-CES1-08", "conforms", "fails")],
    ),
    (SUPERUSER, "DROP ROLE between, dba", &[("L3-CES1-08", "fails", "conforms")]),
    (SUPERUSER, "GRANT pg_execute_server_program TO clerk_zhao", &[("L3-CES1-08", "conforms", "partly")]),
    (SUPERUSER, "REVOKE pg_execute_server_program FROM clerk_zhao", &[("L3-CES1-08", "partly", "conforms")]),
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
    // What cannot be looked at is not checked.
    (
        SUPERUSER,
        "ALTER TABLE app.student RENAME phone TO number; SELECT steward.daily_check()",
        &[("L3-CES1-20", "conforms", "partly")],
    ),
    (
        SUPERUSER,
        "ALTER TABLE app.student RENAME number TO phone; SELECT steward.daily_check()",
        &[("L3-CES1-20", "partly", "conforms")],
    ),
    (
        SUPERUSER,
        "UPDATE steward._check_run SET ended_at = now() - interval '3 days'",
        &[("8.1.10.8 b", "conforms", "partly")],
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
        "SELECT steward.drop_alert_rule('chain_changed')",
        &[("L3-CES1-22", "conforms", "partly"), ("8.1.5.4 f", "conforms", "partly")],
    ),
    (
        SUPERUSER,
        "SELECT steward.drop_alert_rule(name) FROM steward.alert_rule",
        &[("L3-CES1-22", "partly", "fails"), ("8.1.5.4 f", "partly", "fails")],
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
    (
        SUPERUSER,
        "INSERT INTO steward.role_term (op_no, grantee, until, role)
            VALUES ('OP-1', 'clerk_zhao', now() - interval '1 hour', 'region_liu')",
        &[("8.1.8.4", "partly", "fails")],
    ),
    (SUPERUSER, "UPDATE steward.role_term SET ended_at = now()", &[("8.1.8.4", "fails", "partly")]),
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
    // A run that only says the word restores nothing.
    (
        APPROVED,
        "UPDATE app.student SET note = 'steward.restore(' WHERE id <= 60",
        &[("8.1.10.10 c", "partly", "partly"), ("8.1.10.10 a, b", "conforms", "conforms")],
    ),
    (RESTORED, "", &[("8.1.10.10 c", "partly", "conforms")]),
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
    let mut school = School::inactive();
    let mut superuser = school.superuser();
    school.flush_audit();
    let mut before = report(&mut superuser);
    expect_answered_in_psql(&mut superuser, &before);
    let mut last = String::new();
    for &(login, change, turned) in YEAR {
        let approved = |script: &str| school.operate(SUPERUSER, script);
        match login {
            APPROVED => last = approved(change),
            RESTORED => last = approved(&format!("SELECT * FROM steward.restore('{last}')")),
            // One by one: ALTER SYSTEM runs in no transaction block.
            SUPERUSER => change.split("; ").for_each(|statement| {
                superuser.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
            }),
            login => record(&school, login, change),
        }
        let after = report(&mut superuser);
        expect_turned(change, &before, &after, turned);
        before = after;
    }
    drop(superuser);
    for &(change, turned) in WITHOUT_LIBRARY {
        without_library(&mut school, change);
        let after = report(&mut school.superuser());
        expect_turned(change, &before, &after, turned);
        before = after;
    }
}

/// An assessor who runs a query reads what the report says; the trail has grown since.
fn expect_answered_in_psql(superuser: &mut Client, report: &Report) {
    let words = |facts: &str| facts.replace(|c: char| c.is_ascii_digit(), "");
    for (code, (verdict, facts, query)) in report {
        let Some(query) = query else { continue };
        let row = superuser.query_one(query, &[]).unwrap_or_else(|error| panic!("{code}: {error:?}"));
        assert_eq!((row.get(0), words(row.get(1))), (verdict.as_str(), words(facts)), "{code}");
    }
}

/// What only a superuser who took the library out of postgresql.conf can do.
const WITHOUT_LIBRARY: &[(&str, Turned)] = &[
    (
        "DELETE FROM steward.chain_1 WHERE id IN (SELECT id FROM steward._definition);
        INSERT INTO steward.segment (number, first_id, last_id, last_hash, closed_at, purged_at)
            VALUES (0, 0, 0, '', now() - interval '5 months', now())",
        &[("L3-CES1-13", "conforms", "fails"), ("8.1.5.4 d", "conforms", "partly")],
    ),
    (
        "ALTER TABLE steward.retention_policy DROP CONSTRAINT legal_minimum;
        UPDATE steward.retention_policy SET offline = '5 months'",
        &[("L3-CES1-14", "conforms", "fails"), ("8.1.5.4 d", "partly", "fails")],
    ),
];

fn without_library(school: &mut School, change: &str) {
    let restart = |school: &mut School, libraries: &str| {
        school.stop();
        school.configure(&[&format!("shared_preload_libraries = '{libraries}'")]);
        school.start();
    };
    restart(school, "");
    school.superuser().batch_execute(change).expect("no library is there to refuse it");
    restart(school, "pg_steward");
}

/// Who answers, where no query can.
const ORGANISATIONAL: &[&str] = &["L3-CES1-23"];

fn every_point_is_turned_here_or_answered_by_people() {
    let school = School::inactive();
    let verdicts = verdicts(&mut school.superuser());
    let year = YEAR.iter().map(|(.., turned)| *turned);
    let network = NETWORK.iter().map(|(_, turned)| *turned);
    let without_library = WITHOUT_LIBRARY.iter().map(|(_, turned)| *turned);
    let turned: BTreeSet<&str> = year
        .chain(network)
        .chain(without_library)
        .chain([STANDBY, FIRST_LOGIN, PATCHED])
        .flatten()
        .filter(|(_, was, is)| was != is)
        .map(|(code, ..)| *code)
        .collect();
    let known: BTreeSet<&str> = turned.iter().chain(ORGANISATIONAL).copied().collect();
    assert_eq!(known.len(), turned.len() + ORGANISATIONAL.len(), "what people answer, no change of the server turns");
    assert_eq!(verdicts.keys().map(String::as_str).collect::<BTreeSet<&str>>(), known);
    for (code, verdict) in &verdicts {
        assert_eq!(verdict == "organisational", ORGANISATIONAL.contains(&code.as_str()), "{code}");
    }
}

/// How what is seen of the network is changed.
enum Change {
    Sql(&'static str),
    /// Lines of postgresql.conf; ADDRESS is one of its own. The server starts anew.
    Settings(&'static [&'static str]),
    Hba(&'static str),
}

const NETWORK: &[(Change, Turned)] = &[
    (
        Change::Settings(&["listen_addresses = 'ADDRESS'"]),
        &[
            ("L3-CES1-03", "not_applicable", "fails"),
            ("L3-CES1-25", "not_applicable", "fails"),
            ("L3-CES1-27", "not_applicable", "fails"),
        ],
    ),
    (
        Change::Settings(&["listen_addresses = 'ADDRESS, ::'", "ssl = on"]),
        &[
            ("L3-CES1-03", "fails", "conforms"),
            ("L3-CES1-18", "conforms", "partly"),
            ("L3-CES1-25", "fails", "conforms"),
            ("L3-CES1-27", "fails", "conforms"),
        ],
    ),
    (
        Change::Hba("local all all scram-sha-256\nhost all all 0.0.0.0/0 scram-sha-256\n"),
        &[
            // Nobody comes in without a password any more, and new ones are checked.
            ("L3-CES1-01", "fails", "conforms"),
            ("L3-CES1-03", "conforms", "partly"),
            ("L3-CES1-19", "partly", "fails"),
            ("L3-CES1-25", "conforms", "partly"),
            ("L3-CES1-27", "conforms", "partly"),
        ],
    ),
    (
        Change::Hba(
            "local all all scram-sha-256\nhostnossl all all 127.0.0.1/0 scram-sha-256\nhostnossl all all ::1/0 scram-sha-256\n",
        ),
        &[("L3-CES1-03", "partly", "partly"), ("L3-CES1-19", "fails", "fails"), ("L3-CES1-27", "partly", "partly")],
    ),
    (
        Change::Hba("local all all scram-sha-256\nhostssl all all 10.0.0.0/8 scram-sha-256\n"),
        &[
            ("L3-CES1-03", "partly", "conforms"),
            ("L3-CES1-19", "fails", "partly"),
            ("L3-CES1-25", "partly", "conforms"),
            ("L3-CES1-27", "partly", "conforms"),
        ],
    ),
    (Change::Sql("CREATE ROLE lasting LOGIN PASSWORD 'Blue-7-Lanterns'"), &[("L3-CES1-01", "conforms", "partly")]),
    (Change::Sql("ALTER ROLE lasting VALID UNTIL 'tomorrow'"), &[("L3-CES1-01", "partly", "conforms")]),
    (
        Change::Sql(
            "SELECT steward.set_login_policy(l.role, addresses => '{127.0.0.0/8}') FROM steward.person_login l
            JOIN steward.person p ON p.name = l.person JOIN steward.post o ON o.name = p.post WHERE o.administrator",
        ),
        &[("L3-CES1-19", "partly", "conforms")],
    ),
    // Everywhere is no network, and a superuser is an administrator, whoever that may be.
    (
        Change::Sql("SELECT steward.set_login_policy('security_han', addresses => '{127.0.0.0/8,0.0.0.0/0}')"),
        &[("L3-CES1-19", "conforms", "partly")],
    ),
    (
        Change::Sql("SELECT steward.set_login_policy('security_han', addresses => '{10.0.0.0/8}')"),
        &[("L3-CES1-19", "partly", "conforms")],
    ),
    (Change::Sql("CREATE ROLE dba SUPERUSER LOGIN"), &[("L3-CES1-19", "conforms", "partly")]),
    (
        Change::Hba("hostssl all all 10.0.0.0/8 cert\n"),
        &[("L3-CES1-04", "fails", "fails"), ("L3-CES1-01", "conforms", "conforms")],
    ),
    (
        Change::Sql(
            "DROP ROLE dba; DROP ROLE lasting; SELECT steward.set_tier_policy('important', second_factor => true);
            SELECT steward.set_tier_policy('critical', second_factor => true); SELECT steward.activate()",
        ),
        &[("L3-CES1-04", "fails", "conforms")],
    ),
    (
        Change::Hba("hostssl all all 10.0.0.0/8 scram-sha-256\nlocal replication all trust\n"),
        &[("L3-CES1-04", "conforms", "partly"), ("L3-CES1-01", "conforms", "fails")],
    ),
];

const STANDBY: Turned = &[("L3-CES1-31", "fails", "conforms")];

fn what_the_network_sees_changes_its_verdicts() {
    let preloaded = "shared_preload_libraries = 'pg_steward, passwordcheck'";
    let mut school = School::with("enforce", &[preloaded]);
    let key = school.private_file("steward.key", &"0123456789abcdef".repeat(4));
    school.configure(&[&format!("steward.key_file = '{}'", key.display())]);
    school.restart();
    certificate(&school);
    let address = address();
    let mut superuser = school.superuser();
    for login in
        ["postgres", "reviewer_sun", "reviewer_zhou", "region_chen", "region_liu", "security_han", "teacher_wang"]
    {
        Phone::enrolled(&mut school.session(login));
    }
    let mut before = report(&mut superuser);
    for (change, turned) in NETWORK {
        match change {
            Change::Sql(statements) => {
                statements.split("; ").for_each(|one| superuser.batch_execute(one).expect(one));
            }
            Change::Settings(lines) => {
                drop(superuser);
                lines.iter().for_each(|line| school.configure(&[&line.replace("ADDRESS", &address)]));
                school.restart();
                superuser = school.superuser();
            }
            Change::Hba(lines) => {
                school.data_file("pg_hba.conf", lines);
                school.reload();
            }
        }
        let after = report(&mut superuser);
        let change = match change {
            Change::Sql(text) | Change::Hba(text) => *text,
            Change::Settings(lines) => lines[0],
        };
        expect_turned(change, &before, &after, turned);
        before = after;
    }
}

fn a_standby_is_seen(school: &School, superuser: &mut Client) {
    let before = report(superuser);
    // What keeps WAL in files takes over nothing, whatever it calls itself.
    let mut receiver = school.client_program("pg_receivewal");
    let kept = school.file("received");
    std::fs::create_dir(&kept).expect("a directory");
    receiver.env("PGAPPNAME", "standby1").arg("-D").arg(&kept);
    let mut receiver = receiver.spawn().expect("pg_receivewal");
    let receiving =
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = 'standby1'";
    wait_for(school, "pg_receivewal", || (ask::<i64>(superuser, receiving) == 1).then_some(()));
    assert_eq!(verdicts(superuser)["L3-CES1-31"], "fails");
    receiver.kill().expect("kill");
    receiver.wait().expect("its end");
    wait_for(school, "its end", || (ask::<i64>(superuser, receiving) == 0).then_some(()));
    let standby = school.standby(&[]);
    let following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL";
    wait_for(school, "the standby", || (ask::<i64>(superuser, following) == 1).then_some(()));
    let after = report(superuser);
    expect_turned("a standby", &before, &after, STANDBY);
    drop(standby);
}

const PATCHED: Turned = &[("L3-CES1-21", "partly", "fails"), ("L3-CES1-21", "fails", "unknown")];

/// What a server says of itself takes the place of what this one says, in the query.
fn servers_that_cannot_be_had_here_are_judged_too() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let report = report(&mut superuser);
    let mut verdict = |code: &str, said: &str, instead: &str| -> String {
        let query = report[code].2.as_ref().expect("its query");
        assert_eq!(query.matches(said).count(), 1, "{code}");
        ask(&mut superuser, &query.replace(said, instead))
    };
    let (code, ..) = PATCHED[0];
    let of_versions = ["150099", "150001", "130001"].map(|n| verdict(code, "current_setting('server_version_num')", n));
    assert_eq!(of_versions.each_ref().map(String::as_str), [PATCHED[0].1, PATCHED[0].2, PATCHED[1].2]);
    // Whoever listens to itself only sends nothing that others could read.
    for code in ["L3-CES1-03", "L3-CES1-25", "L3-CES1-27"] {
        for (listens, is) in [("localhost, ::1", "not_applicable"), ("localhost, 10.0.0.1", "fails"), ("*", "fails")] {
            assert_eq!(verdict(code, "current_setting('listen_addresses')", &format!("'{listens}'")), is, "{code}");
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

const FIRST_LOGIN: Turned = &[("L3-CES1-06", "fails", "conforms")];

fn the_first_login_of_the_cluster_is_seen() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    a_standby_is_seen(&school, &mut superuser);
    let before = report(&mut superuser);
    superuser.batch_execute("CREATE ROLE dba SUPERUSER LOGIN").expect("another superuser");
    drop(superuser);
    let mut dba = school.session("dba");
    dba.batch_execute("ALTER ROLE postgres RENAME TO keeper").expect("renamed");
    expect_turned("renamed", &before, &report(&mut dba), FIRST_LOGIN);
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
