//! Logins: each attempt is on record once, whatever it was; too many failures are told and, if the policy says so, lock;
//! addresses and encryption are what the policy demands; and no login waits for any of it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, NoTls};

use crate::cluster::{Cluster, succeed};
use crate::expect::{db_error, expect_bulk_refused, expect_error};
use crate::failover::wait_until;
use crate::fault::{Paused, report, wait_for_recovery};
use crate::school::{HOME, School, execute, request, settings};

tests! {
    a_login_and_its_end_are_on_record,
    a_wrong_password_is_counted_once_though_the_client_falls_back,
    who_leaves_when_asked_for_a_password_has_not_failed,
    what_authentication_does_not_see_is_a_failure_on_record,
    too_many_clients_are_on_record,
    no_log_level_mutes_a_login,
    replication_is_on_record_without_a_database,
    an_unrecorded_session_is_ended_without_harm,
    a_worker_that_never_logs_in_is_on_record,
    names_from_a_raw_start_up_packet_cannot_hurt_the_trail,
    two_hundred_failures_at_once_are_two_hundred_records,
    five_failures_in_a_row_are_told_and_a_success_ends_the_row,
    a_login_that_is_called_like_a_person_is_not_taken_for_them,
    a_locked_login_is_refused_with_the_right_password_too_until_the_lock_ends,
    neither_crash_nor_restart_forgets_failures_and_locks,
    the_last_administrator_and_services_are_never_locked,
    the_only_superuser_is_not_locked_while_somebody_else_may_configure,
    a_suspended_superuser_is_no_administrator_who_is_left,
    an_expired_superuser_is_no_administrator_who_is_left,
    denied_statements_are_told_as_failed_logins_are,
    what_others_code_is_denied_locks_nobody,
    refused_logins_are_folded,
    a_role_logs_in_only_from_its_networks,
    a_blocked_network_is_refused_until_then,
    a_network_blocked_for_ever_stays_blocked,
    a_role_that_needs_tls_is_refused_without,
    the_policy_of_logins_is_there_before_the_sequencer_is,
    without_the_policy_of_logins_nobody_but_the_servers_user_comes_in,
    a_lost_policy_of_logins_is_written_again,
    the_policy_of_logins_waits_for_no_standby,
    no_login_waits_for_a_sequencer_that_stands_still,
    what_protects_logins_is_policy,
}

/// Lines of pg_hba.conf for these tests: whoever has a password here must know it.
const HBA: &str = "local replication all trust
local all teacher_wang,security_han,svc scram-sha-256
local all reviewer_zhou reject
local all all trust
host all teacher_wang 127.0.0.0/8 scram-sha-256
";

/// A school that also listens on an address of its own, encrypted or not, with passwords for some.
struct Gate {
    school: School,
    address: String,
}

impl Gate {
    /// Set up, not active.
    fn new(lines: &[&str]) -> Gate {
        let address = address();
        let school = School::with("enforce", lines);
        certificate(&school);
        school.configure(&[&format!("listen_addresses = '{address}'"), "ssl = on"]);
        let mut gate = Gate { school, address };
        gate.school.restart();
        gate.school
            .superuser()
            .batch_execute(
                "ALTER ROLE teacher_wang PASSWORD 'right'; ALTER ROLE security_han PASSWORD 'right';
                CREATE ROLE svc LOGIN PASSWORD 'right';
                SELECT steward.register_person('Portal', 'service', roles => '{svc}')",
            )
            .expect("passwords");
        gate.school.data_file("pg_hba.conf", HBA);
        gate.school.reload();
        wait_until(&gate.school, "SELECT count(*) >= 4 FROM pg_hba_file_rules WHERE error IS NULL");
        gate.school.flush_audit();
        gate
    }

    fn active(set_up: &str) -> Gate {
        Gate::with(&[], set_up)
    }

    /// Active, with this set-up and these lines in postgresql.conf.
    fn with(lines: &[&str], set_up: &str) -> Gate {
        let gate = Gate::new(lines);
        let mut administrator = gate.school.superuser();
        administrator.batch_execute(set_up).expect("set-up");
        administrator.batch_execute("SELECT steward.activate()").expect("activate");
        gate.published();
        gate
    }

    /// What logins are judged by follows the tables within two seconds.
    fn published(&self) {
        sleep(Duration::from_millis(1_600));
        self.school.flush_audit();
    }

    /// psql over the network with these words in its connection string.
    fn psql(&self, words: &str) -> Output {
        let mut psql = self.school.client_program("psql");
        psql.env_remove("PGUSER").args(["-X", "-w", "-c", "SELECT 1"]);
        psql.arg(format!("host={} port=5432 dbname={HOME} {words}", self.address));
        psql.output().expect("psql")
    }

    /// A session over the unix socket with a password.
    fn log_in(&self, user: &str, password: &str) -> Result<Client, postgres::Error> {
        self.school.config(user, HOME).password(password).connect(NoTls)
    }

    fn fail(&self, user: &str, times: u32) {
        for _ in 0..times {
            let error = self.log_in(user, "wrong").err().expect("a wrong password");
            assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{error:?}");
        }
    }

    fn failures(&self, user: &str) -> i64 {
        let query = "SELECT coalesce(max(failures), 0) FROM steward.login_failures WHERE role::text = $1";
        self.school.superuser().query_one(query, &[&user]).expect("login_failures").get(0)
    }

    fn alerts(&self, user: &str) -> i64 {
        self.school.records(&format!("operation_type = 'LOGIN FAILURES' AND user_id = '{user}'"))
    }
}

/// An address of this machine that no other server listens on.
pub fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    format!("127.{}.{}.{number}", 1 + process / 250 % 250, 1 + process % 250)
}

/// A certificate of the server's own, as its user must have it.
pub fn certificate(school: &School) {
    let (key, certificate) = (school.data().join("server.key"), school.data().join("server.crt"));
    let mut openssl = Command::new("runuser");
    openssl.args(["-u", "postgres", "--", "openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj", "/CN=t"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).current_dir(school.data());
    succeed(openssl);
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Records of logins of this user with this result.
fn logins(school: &School, user: &str, result: &str) -> i64 {
    school.records(&format!("operation_type = 'LOGIN' AND user_id = '{user}' AND result = '{result}'"))
}

fn a_login_and_its_end_are_on_record() {
    let school = School::inactive();
    school.flush_audit();
    let before = logins(&school, "clerk_zhao", "SUCCESS");
    let mut session = school.session("clerk_zhao");
    session.batch_execute("SELECT 1").expect("select");
    sleep(Duration::from_millis(300));
    assert_eq!(logins(&school, "clerk_zhao", "SUCCESS"), before + 1, "while the session is open");
    drop(session);
    let ended = "operation_type = 'LOGOUT' AND user_id = 'clerk_zhao' AND duration_us BETWEEN 200000 AND 60000000
        AND application_name = 'cluster test' AND details::json ->> 'method' = 'trust'";
    let mut seen = 0;
    for _ in 0..100 {
        seen = school.records(ended);
        if seen == 1 {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    assert_eq!(seen, 1);
}

fn a_wrong_password_is_counted_once_though_the_client_falls_back() {
    let gate = Gate::active("");
    for mode in ["prefer", "allow"] {
        let before = logins(&gate.school, "teacher_wang", "FAILURE");
        let failures = gate.failures("teacher_wang");
        let wrong = gate.psql(&format!("user=teacher_wang password=wrong sslmode={mode}"));
        assert!(text(&wrong).matches("password authentication failed").count() >= 2, "no fallback: {}", text(&wrong));
        assert_eq!(logins(&gate.school, "teacher_wang", "FAILURE"), before + 1, "{mode}");
        assert_eq!(gate.failures("teacher_wang"), failures + 1, "{mode}");
        sleep(Duration::from_millis(2_100));
    }
    assert_eq!(gate.school.records("operation_type = 'LOGIN RETRY' AND result = 'FAILURE'"), 2);
    let right = gate.psql("user=teacher_wang password=right sslmode=prefer");
    assert!(right.status.success(), "{}", text(&right));
    assert_eq!(logins(&gate.school, "teacher_wang", "SUCCESS"), 1);
    assert_eq!(gate.failures("teacher_wang"), 0);
    let seen =
        "operation_type = 'LOGIN' AND result = 'SUCCESS' AND user_id = 'teacher_wang' AND client_ip <<= '127.0.0.0/8'
            AND (details::json ->> 'tls')::boolean AND details::json ->> 'method' = 'scram-sha-256'";
    assert_eq!(gate.school.records(seen), 1);
}

fn who_leaves_when_asked_for_a_password_has_not_failed() {
    let gate = Gate::active("");
    let before = gate.school.records("operation_type LIKE 'LOGIN%' AND user_id = 'teacher_wang'");
    let none = gate.psql("user=teacher_wang sslmode=prefer");
    assert!(text(&none).contains("no password supplied"), "{}", text(&none));
    assert_eq!(gate.school.records("operation_type LIKE 'LOGIN%' AND user_id = 'teacher_wang'"), before);
    assert_eq!(gate.failures("teacher_wang"), 0);
}

/// Attempts that cannot succeed, whatever the password: the client's words, the SQLSTATE, and how the record shows them.
const IMPOSSIBLE: [(&str, &str, &str); 5] = [
    ("reviewer_zhou", HOME, "28000"),
    ("nobody_here", HOME, "28000"),
    ("clerk_zhao", "no_such_database", "3D000"),
    ("auditor_qian", HOME, "53300"),
    ("region_liu", "template0", "55000"),
];

fn what_authentication_does_not_see_is_a_failure_on_record() {
    let gate = Gate::active("ALTER ROLE auditor_qian CONNECTION LIMIT 0");
    for (user, database, sqlstate) in IMPOSSIBLE {
        let error = gate.school.config(user, database).connect(NoTls).err().expect("no login");
        assert_eq!(error.code().map(SqlState::code), Some(sqlstate), "{error:?}");
        assert_eq!(logins(&gate.school, user, "SUCCESS"), 0, "{user}");
        let failed = format!(
            "operation_type = 'LOGIN' AND result = 'FAILURE' AND user_id = '{user}' AND sqlstate = '{sqlstate}'"
        );
        assert_eq!(gate.school.records(&failed), 1, "{user}");
        assert_eq!(gate.school.records(&format!("user_id = '{user}' AND operation_type = 'LOGOUT'")), 0, "{user}");
    }
    // Only who could not show who they are has failed in the sense of the count.
    assert_eq!(gate.failures("reviewer_zhou"), 1);
    assert_eq!(gate.failures("auditor_qian"), 0);
}

fn too_many_clients_are_on_record() {
    let school = School::with("enforce", &["max_connections = 12", "max_wal_senders = 0"]);
    school.flush_audit();
    let mut held = Vec::new();
    let refused = loop {
        match school.config("clerk_zhao", HOME).connect(NoTls) {
            Ok(session) => held.push(session),
            Err(error) => break error,
        }
        assert!(held.len() < 20, "the server has room for everybody");
    };
    assert_eq!(refused.code(), Some(&SqlState::TOO_MANY_CONNECTIONS));
    // Superusers have places of their own; when these are taken too, nobody gets as far as a slot.
    loop {
        match school.config("postgres", HOME).connect(NoTls) {
            Ok(session) => held.push(session),
            Err(error) => break assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS)),
        }
    }
    drop(held);
    sleep(Duration::from_millis(300));
    let failed = "operation_type = 'LOGIN' AND result = 'FAILURE' AND sqlstate = '53300'";
    assert_eq!(
        school.records(&format!("{failed} AND user_id = 'clerk_zhao' AND details::json ->> 'database' = '{HOME}'")),
        1
    );
    assert_eq!(school.records(&format!("{failed} AND user_id = 'postgres'")), 1);
}

fn no_log_level_mutes_a_login() {
    let gate = Gate::new(&["log_min_messages = panic"]);
    gate.fail("teacher_wang", 1);
    // The client hears of it before the process has ended, which makes the record.
    let told = "SELECT steward.flush_audit() AND (SELECT count(*) FROM steward.audit_log WHERE operation_type = 'LOGIN'
        AND user_id = 'teacher_wang' AND result = 'FAILURE') = 1";
    wait_until(&gate.school, told);
    let gone = gate.school.config("clerk_zhao", "no_such_database").connect(NoTls).err().expect("no database");
    assert_eq!(gone.code(), Some(&SqlState::UNDEFINED_DATABASE));
    let told = "SELECT steward.flush_audit() AND (SELECT count(*) FROM steward.audit_log WHERE user_id = 'clerk_zhao'
        AND result = 'FAILURE' AND sqlstate = '3D000') = 1";
    wait_until(&gate.school, told);
    assert_eq!(logins(&gate.school, "clerk_zhao", "SUCCESS"), 0);
    drop(gate.log_in("teacher_wang", "right").expect("login"));
    assert_eq!(logins(&gate.school, "teacher_wang", "SUCCESS"), 1);
}

fn replication_is_on_record_without_a_database() {
    let school = School::inactive();
    school.flush_audit();
    drop(school.base_backup(&[]));
    let record = "operation_type = 'LOGIN' AND result = 'SUCCESS' AND user_id = 'postgres' AND details::json ->> 'database' IS NULL
        AND (details::json ->> 'replication')::boolean";
    assert!(school.records(record) >= 1);
}

/// What a login's record is made of is the postmaster's memory, gone when the session works: whoever was let in before there
/// was a chain is neither looked up there when the session is ended, nor a login that fails.
fn an_unrecorded_session_is_ended_without_harm() {
    let cluster = Cluster::with_home(&settings("enforce").each_ref().map(String::as_str));
    let mut early = [cluster.connect("postgres", "postgres"), cluster.connect("postgres", "postgres")];
    let school = School::set_up(cluster);
    school.flush_audit();
    let server = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let before: i32 = school.ask(server);
    // Uses the memory that was given back, and is ended by the server.
    let work = "SET idle_in_transaction_session_timeout = '100ms'; BEGIN;
        CREATE TEMP TABLE t AS SELECT n, repeat('x', n % 3000) FROM generate_series(1, 5000) n";
    early.iter_mut().for_each(|session| session.batch_execute(work).expect("work"));
    sleep(Duration::from_millis(1_500));
    assert!(early.iter_mut().all(|session| session.batch_execute("SELECT 1").is_err()), "still there");
    assert_eq!(school.ask::<i32>(server), before, "a crash starts every process anew");
    assert_eq!(school.records("operation_type = 'LOGIN' AND result = 'FAILURE'"), 0);
}

fn a_worker_that_never_logs_in_is_on_record() {
    let school = School::with("enforce", &["wal_level = logical"]);
    let mut administrator = school.superuser();
    administrator.batch_execute("CREATE DATABASE elsewhere").expect("database");
    let source = school.file("");
    // One by one: a slot is not made in a transaction that has written.
    for statement in [
        "CREATE TABLE t (id int)",
        "CREATE PUBLICATION p FOR TABLE t",
        "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
    ] {
        school.connect("postgres", "elsewhere").batch_execute(statement).expect(statement);
    }
    administrator.batch_execute("CREATE TABLE public.t (id int)").expect("table");
    administrator
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host={} port=5432 user=postgres dbname=elsewhere' PUBLICATION p
                WITH (create_slot = false, slot_name = 's')",
            source.display()
        ))
        .expect("subscription");
    let worker = format!(
        "SELECT EXISTS (SELECT FROM steward.audit_log WHERE operation_type = 'WORKER START'
        AND user_id = 'postgres' AND details::json ->> 'database' = '{HOME}' AND details LIKE '%logical replication worker%')"
    );
    wait_until(&school, &worker);
}

/// A start-up packet of protocol 3 with these parameters; what the server answers.
fn raw(school: &School, parameters: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(name);
        body.push(0);
        body.extend_from_slice(value);
        body.push(0);
    }
    body.push(0);
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend_from_slice(&body);
    send(school, &packet)
}

fn send(school: &School, bytes: &[u8]) -> Vec<u8> {
    let mut socket = UnixStream::connect(school.file(".s.PGSQL.5432")).expect("socket");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("timeout");
    socket.write_all(bytes).expect("send");
    let mut answer = Vec::new();
    // A server that keeps silent is an answer too.
    let _silent = socket.read_to_end(&mut answer);
    answer
}

fn names_from_a_raw_start_up_packet_cannot_hurt_the_trail() {
    let school = School::inactive();
    school.flush_audit();
    let long = vec![b'x'; 9_000];
    let huge = vec![b'y'; 20_000];
    let odd: &[u8] = b"a\x01\x1b[31m\nLOG:  forged\r\xff\xfe\"'\\ \xe2\x80\xae";
    raw(&school, &[(b"user", odd), (b"database", b"school"), (b"application_name", odd)]);
    raw(&school, &[(b"user", &long), (b"database", &long)]);
    raw(&school, &[(b"user", b"ghost_one"), (b"database", odd), (b"application_name", &long)]);
    raw(&school, &[(b"user", &huge)]);
    raw(&school, &[(b"database", b"school")]);
    raw(&school, &[]);
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 64], &[0, 0, 0, 8, 0, 0, 0, 0], &[0, 0, 0, 4], &[]] {
        send(&school, garbage);
    }
    assert!(school.records("operation_type = 'LOGIN' AND result = 'FAILURE'") >= 4);
    let bad = "user_id ~ '[[:cntrl:]]' OR application_name ~ '[[:cntrl:]]' OR details ~ '[[:cntrl:]]'
        OR length(user_id) > 600 OR length(application_name) > 600 OR length(details) > 4000";
    assert_eq!(school.records(bad), 0);
    assert_eq!(school.records("user_id LIKE '%\\u{1b}%' AND (details::json ->> 'altered_names')::boolean"), 1);
    let kind: String = school.ask("SELECT kind FROM steward.verify_chain()");
    assert_eq!(kind, "not_anchored");
    assert_eq!(school.records("operation_type IN ('LOST', 'UNREADABLE')"), 0);
}

fn two_hundred_failures_at_once_are_two_hundred_records() {
    const ATTEMPTS: usize = 200;
    let gate = Gate::with(&["max_connections = 300"], "");
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..ATTEMPTS {
            scope.spawn(|| gate.log_in("teacher_wang", "wrong").err().expect("no login"));
        }
    });
    let took = begun.elapsed();
    sleep(Duration::from_millis(300));
    assert_eq!(logins(&gate.school, "teacher_wang", "FAILURE"), ATTEMPTS as i64);
    assert_eq!(gate.failures("teacher_wang"), ATTEMPTS as i64);
    assert_eq!(gate.alerts("teacher_wang"), ATTEMPTS as i64 / 5);
    assert_eq!(gate.school.records("operation_type = 'LOST'"), 0);
    report(&format!("failed logins: {ATTEMPTS} at once in {took:?}, each on record, 0 lost"));
}

fn five_failures_in_a_row_are_told_and_a_success_ends_the_row() {
    let gate = Gate::active("");
    gate.fail("teacher_wang", 4);
    assert_eq!(gate.alerts("teacher_wang"), 0);
    drop(gate.log_in("teacher_wang", "right").expect("login"));
    gate.fail("teacher_wang", 4);
    assert_eq!(gate.alerts("teacher_wang"), 0, "a success ends the row");
    gate.fail("teacher_wang", 1);
    assert_eq!(gate.alerts("teacher_wang"), 1);
    let told = "operation_type = 'LOGIN FAILURES' AND rule = 'login_failures' AND repeats = 5
        AND NOT (details::json ->> 'locked')::boolean";
    assert_eq!(gate.school.records(told), 1);
    drop(gate.log_in("teacher_wang", "right").expect("nothing is locked as installed"));
}

/// Anybody who reaches the socket can try names: Han is a person, but no login.
fn a_login_that_is_called_like_a_person_is_not_taken_for_them() {
    let gate = Gate::active("");
    for user in ["Han", "nobody_at_all", "teacher_wang"] {
        for _ in 0..5 {
            assert!(gate.log_in(user, "wrong").is_err(), "{user}");
        }
    }
    gate.school.flush_audit();
    let mut officer = gate.log_in("security_han", "right").expect("login");
    let subjects = "SELECT string_agg(subject, ', ' ORDER BY subject) FROM steward.alert WHERE rule = 'login_failures'";
    wait_until(&gate.school, "SELECT count(*) = 3 FROM steward.alert WHERE rule = 'login_failures'");
    let subjects: String = officer.query_one(subjects, &[]).expect("alerts").get(0);
    assert_eq!(subjects, "Wang, login Han, nobody_at_all");
    // Nobody is kept from answering for the person they are called like.
    let answer = "SELECT steward.acknowledge(id, 'a guess') FROM steward.alert WHERE subject = 'login Han'";
    officer.batch_execute(answer).expect("Han answers");
}

/// Five failures lock for three seconds.
const LOCK: &str = "SELECT steward.set_login_limit(lock_for => '3 s')";
/// Long enough for a restart in between.
const LONG_LOCK: &str = "SELECT steward.set_login_limit(lock_for => '10 min')";

#[track_caller]
fn expect_locked(gate: &Gate, user: &str) {
    for password in ["right", "wrong"] {
        let error = gate.log_in(user, password).err().expect("locked");
        assert_eq!(error.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{error:?}");
        let message = error.as_db_error().expect("an answer").message();
        assert!(message.contains("is locked for"), "{password}: {message}");
    }
}

fn a_locked_login_is_refused_with_the_right_password_too_until_the_lock_ends() {
    let gate = Gate::active(LOCK);
    gate.fail("teacher_wang", 5);
    let locked = Instant::now();
    expect_locked(&gate, "teacher_wang");
    drop(gate.school.session("clerk_zhao"));
    sleep(Duration::from_millis(3_200).saturating_sub(locked.elapsed()));
    drop(gate.log_in("teacher_wang", "right").expect("the lock has ended"));
    assert_eq!(gate.alerts("teacher_wang"), 1);
    let refused =
        "operation_type = 'LOGIN' AND result = 'DENIED' AND rule = 'login_failures' AND user_id = 'teacher_wang'";
    assert_eq!(gate.school.records(refused), 2);
}

fn neither_crash_nor_restart_forgets_failures_and_locks() {
    let mut gate = Gate::active(LONG_LOCK);
    gate.fail("teacher_wang", 4);
    gate.published();
    gate.school.kill_9_postmaster();
    gate.school.start();
    drop(wait_for_recovery(&gate.school));
    assert_eq!(gate.failures("teacher_wang"), 4);
    gate.fail("teacher_wang", 1);
    expect_locked(&gate, "teacher_wang");
    gate.school.restart();
    drop(wait_for_recovery(&gate.school));
    expect_locked(&gate, "teacher_wang");
    // A crash of one process takes the shared memory of all along.
    gate.published();
    let mut session = gate.school.superuser();
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    gate.school.kill_9(pid);
    sleep(Duration::from_millis(500));
    drop(wait_for_recovery(&gate.school));
    expect_locked(&gate, "teacher_wang");
    // Nor does a transaction that is rolled back; and unlocking is an approved operation.
    gate.school.operate("postgres", "SELECT steward.unlock_login('teacher_wang')");
    drop(gate.log_in("teacher_wang", "right").expect("unlocked"));
}

/// Wrong passwords of the superuser, who then comes in.
fn fail_as_superuser(gate: &Gate, times: usize) {
    gate.school.data_file("pg_hba.conf", &format!("local all postgres scram-sha-256\n{HBA}"));
    gate.school.reload();
    sleep(Duration::from_millis(500));
    for _ in 0..times {
        gate.school.config("postgres", HOME).password("wrong").connect(NoTls).err().expect("a wrong password");
    }
    gate.school.data_file("pg_hba.conf", HBA);
    gate.school.reload();
    sleep(Duration::from_millis(500));
    drop(gate.school.superuser());
}

fn the_only_superuser_is_not_locked_while_somebody_else_may_configure() {
    let gate = Gate::active(LONG_LOCK);
    fail_as_superuser(&gate, 6);
    // Nor does that protect who may only configure.
    gate.fail("security_han", 5);
    expect_locked(&gate, "security_han");
}

fn the_last_administrator_and_services_are_never_locked() {
    let gate = Gate::active(LONG_LOCK);
    gate.fail("svc", 10);
    drop(gate.log_in("svc", "right").expect("an application is never locked"));
    // The superuser is the other administrator, so this one can be locked.
    gate.fail("security_han", 5);
    expect_locked(&gate, "security_han");
    fail_as_superuser(&gate, 12);
    let told =
        "operation_type = 'LOGIN FAILURES' AND user_id = 'postgres' AND NOT (details::json ->> 'locked')::boolean";
    assert_eq!(gate.school.records(told), 2);
}

fn a_suspended_superuser_is_no_administrator_who_is_left() {
    let gate = Gate::active(LONG_LOCK);
    let mut han = gate.log_in("security_han", "right").expect("login");
    let op_no = request(&mut han, "SELECT steward.suspend_person('Wu', 'left the office')", "");
    gate.school.release(&op_no);
    execute(&mut han, &op_no).expect("suspend");
    sleep(Duration::from_millis(1_600));
    gate.fail("security_han", 6);
    drop(gate.log_in("security_han", "right").expect("the only one who could still administer is not locked"));
}

fn an_expired_superuser_is_no_administrator_who_is_left() {
    let expiring = format!(
        "{LONG_LOCK}; SELECT steward.register_person('Wu', NULL, valid_until => clock_timestamp() + interval '15 s')"
    );
    let gate = Gate::active(&expiring);
    sleep(Duration::from_millis(15_100));
    gate.fail("security_han", 6);
    drop(gate.log_in("security_han", "right").expect("the only one who could still administer is not locked"));
}

fn denied_statements_are_told_as_failed_logins_are() {
    let gate = Gate::active(LOCK);
    let mut teacher = gate.log_in("teacher_wang", "right").expect("login");
    for _ in 0..3 {
        expect_bulk_refused(teacher.batch_execute("UPDATE app.student SET note = 'x' WHERE id <= 60"), "app.student");
    }
    let told = "operation_type = 'PERMISSION FAILURES' AND user_id = 'teacher_wang'";
    assert_eq!(gate.school.records(told), 0);
    // What PostgreSQL itself denies counts as much.
    for _ in 0..2 {
        expect_error(teacher.batch_execute("TABLE pg_authid"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    assert_eq!(gate.school.records(told), 1);
    expect_locked(&gate, "teacher_wang");
    // Other errors are an application's everyday life.
    let mut clerk = gate.school.session("clerk_zhao");
    for _ in 0..6 {
        clerk.batch_execute("SELECT 1 / 0").expect_err("no number");
    }
    assert_eq!(gate.school.records("operation_type = 'PERMISSION FAILURES' AND user_id = 'clerk_zhao'"), 0);
}

/// Somebody's trigger on a table that the victim writes tries what the victim may not do, and swallows the answer.
fn what_others_code_is_denied_locks_nobody() {
    let gate = Gate::active(LOCK_LONG_WITH_TRAP);
    let mut teacher = gate.log_in("teacher_wang", "right").expect("login");
    for _ in 0..3 {
        teacher.batch_execute("INSERT INTO app.scratch VALUES (1, 'x')").expect("swallowed");
        teacher.batch_execute("SELECT app.trap()").expect("swallowed");
    }
    db_error(teacher.batch_execute("SELECT app.unswallowed()"));
    let told = "operation_type = 'PERMISSION FAILURES' AND user_id = 'teacher_wang'
        AND NOT (details::json ->> 'locked')::boolean";
    assert!(gate.school.records(told) >= 5, "it is told");
    drop(gate.log_in("teacher_wang", "right").expect("and locks nobody"));
    // Four of one's own are not yet too many, whatever came before them; the fifth is.
    for _ in 0..5 {
        drop(gate.log_in("teacher_wang", "right").expect("not yet locked"));
        expect_error(teacher.batch_execute("TRUNCATE app.student CASCADE"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    expect_locked(&gate, "teacher_wang");
}

const LOCK_LONG_WITH_TRAP: &str = "SELECT steward.set_login_limit(lock_for => '10 min');
    CREATE FUNCTION app.trap() RETURNS void LANGUAGE plpgsql AS $f$BEGIN FOR i IN 1..6 LOOP
        BEGIN TRUNCATE app.guardian; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
        BEGIN PERFORM FROM pg_authid; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END$f$;
    CREATE FUNCTION app.unswallowed() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM FROM pg_authid; END';
    CREATE FUNCTION app.on_write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM app.trap(); RETURN NEW; END';
    CREATE TRIGGER trap BEFORE INSERT ON app.scratch FOR EACH ROW EXECUTE FUNCTION app.on_write();
    GRANT TRUNCATE ON app.guardian, app.student, app.card_transaction TO teacher_wang; GRANT INSERT ON app.scratch TO teacher_wang";

/// Who knows no password must neither fill the trail nor make the disk wait.
fn refused_logins_are_folded() {
    const ATTEMPTS: i64 = 40;
    let gate = Gate::active("SELECT steward.set_login_policy('teacher_wang', addresses => '{10.0.0.0/8}')");
    for _ in 0..ATTEMPTS {
        gate.log_in("teacher_wang", "wrong").err().expect("refused");
    }
    let refused = "operation_type = 'LOGIN' AND result = 'DENIED' AND rule = 'login_address'";
    assert_eq!(gate.school.records(refused), 10, "the first of a minute");
    let rest = format!("{refused} AND repeats = {}", ATTEMPTS - 10);
    let deadline = Instant::now() + Duration::from_secs(90);
    while gate.school.records(&rest) == 0 {
        assert!(Instant::now() < deadline, "nobody tells of the others");
        sleep(Duration::from_secs(1));
    }
}

fn a_network_blocked_for_ever_stays_blocked() {
    let gate = Gate::active("SELECT steward.block_address('127.0.0.0/8', 'infinity', 'brute force')");
    expect_gate_closed(&gate, "user=teacher_wang password=right", "is blocked by the policy");
    drop(gate.log_in("teacher_wang", "right").expect("a socket is no network"));
}

#[track_caller]
fn expect_gate_closed(gate: &Gate, words: &str, why: &str) {
    let answer = gate.psql(words);
    assert!(!answer.status.success(), "{words} was let in");
    assert!(text(&answer).contains(why), "{}", text(&answer));
}

fn a_role_logs_in_only_from_its_networks() {
    // Of a role that it is a member of: its own demands and those of its groups.
    let gate = Gate::active(
        "CREATE ROLE branch; GRANT branch TO teacher_wang; CREATE ROLE \"odd\u{1}\" LOGIN IN ROLE branch;
        SELECT steward.register_person('Odd', 'teacher', roles => '{\"odd\u{1}\"}');
        SELECT steward.set_login_policy('branch', addresses => '{10.1.0.0/16,2001:db8::/32}')",
    );
    for password in ["right", "wrong"] {
        let words = format!("user=teacher_wang password={password} sslmode=disable");
        expect_gate_closed(&gate, &words, "may not log in from 127.");
    }
    let socket = gate.log_in("teacher_wang", "right").err().expect("a socket is this machine");
    assert_eq!(socket.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION));
    // A name that cannot be shown is demanded the same.
    let odd = gate.school.config("odd\u{1}", HOME).connect(NoTls).err().expect("refused");
    assert_eq!(odd.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{odd:?}");
    assert_eq!(gate.school.records("operation_type = 'LOGIN' AND result = 'DENIED' AND rule = 'login_address'"), 4);
    assert_eq!(gate.failures("teacher_wang"), 0, "who is refused has not failed");
    gate.school.operate("postgres", "SELECT steward.set_login_policy('branch', addresses => '{127.0.0.0/8}')");
    gate.published();
    let answer = gate.psql("user=teacher_wang password=right");
    assert!(answer.status.success(), "{}", text(&answer));
    drop(gate.log_in("teacher_wang", "right").expect("a socket counts as 127.0.0.1"));
}

fn a_blocked_network_is_refused_until_then() {
    let gate = Gate::active("SELECT steward.block_address('127.0.0.0/8', now() + interval '6 s', 'brute force')");
    let until = Instant::now() + Duration::from_secs(6);
    expect_gate_closed(&gate, "user=teacher_wang password=right", "is blocked by the policy");
    drop(gate.log_in("teacher_wang", "right").expect("a socket is no network"));
    sleep(until.saturating_duration_since(Instant::now()));
    let answer = gate.psql("user=teacher_wang password=right");
    assert!(answer.status.success(), "{}", text(&answer));
}

fn a_role_that_needs_tls_is_refused_without() {
    let gate = Gate::active("SELECT steward.set_login_policy('teacher_wang', tls => true)");
    expect_gate_closed(&gate, "user=teacher_wang password=right sslmode=disable", "over TLS only");
    let answer = gate.psql("user=teacher_wang password=right sslmode=require");
    assert!(answer.status.success(), "{}", text(&answer));
    drop(gate.log_in("teacher_wang", "right").expect("a socket does not leave the machine"));
}

fn the_policy_of_logins_is_there_before_the_sequencer_is() {
    let mut gate = Gate::active("SELECT steward.set_login_policy('teacher_wang', addresses => '{10.0.0.0/8}')");
    // After a restart the sequencer finds no database, so it reads no table.
    gate.school.configure(&["steward.database = 'nowhere'"]);
    gate.school.restart();
    let refused = gate.log_in("teacher_wang", "right").err().expect("refused");
    assert_eq!(refused.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION));
    drop(gate.log_in("security_han", "right").expect("nobody demands anything of Han"));
}

fn policy_file(school: &School) -> PathBuf {
    school.data().join("pg_steward/logins")
}

/// Everything that the file could have become.
fn spoil(school: &School, how: &str) {
    let file = policy_file(school);
    match how {
        "missing" => fs::remove_file(&file).expect("file"),
        "foreign" => {
            let text = fs::read(&file).expect("file");
            fs::write(&file, text).expect("file");
            chown(&file, Some(12345), Some(12345)).expect("chown");
        }
        "open to others" => {
            fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("chmod");
        }
        "a directory" => {
            fs::remove_file(&file).expect("file");
            fs::create_dir(&file).expect("directory");
        }
        "cut" => {
            let text = fs::read_to_string(&file).expect("file");
            school.data_file("pg_steward/logins", &text[..text.len() - 1]);
        }
        content => school.data_file("pg_steward/logins", content),
    }
}

/// What cannot be read demands nothing of anybody, so nobody is let in by it. The sequencer finds no database and writes
/// nothing; the way back in is the machine's owner's, also after a restart.
fn without_the_policy_of_logins_nobody_but_the_servers_user_comes_in() {
    let mut gate = Gate::active("");
    gate.school.configure(&["steward.database = 'nowhere'"]);
    gate.school.restart();
    let good = fs::read_to_string(policy_file(&gate.school)).expect("file");
    let refused = |words: &str, how: &str| {
        let answer = gate.psql(words);
        let told = text(&answer);
        assert!(!answer.status.success() && told.contains("policy of logins cannot be read"), "{how}: {told}");
    };
    let root = is_root(&gate.school);
    // Nobody else can give a file away.
    for how in
        ["", "{ torn", "{}", "cut", "open to others", "missing", "a directory", if root { "foreign" } else { "[" }]
    {
        spoil(&gate.school, how);
        // Whatever the password.
        refused("user=teacher_wang password=right", how);
        refused("user=teacher_wang password=wrong", how);
        if root {
            // A superuser over the socket, but not from a process of the server's own user.
            let error = gate.log_in("postgres", "").err().expect("refused");
            assert_eq!(error.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{how}: {error:?}");
        }
        succeed(owner(&gate.school));
        // Nor does the server's own user come in as somebody else without the password.
        let failed = owner(&gate.school).args(["-w", "-U", "teacher_wang"]).env("PGPASSWORD", "wrong").output();
        assert!(!failed.expect("psql").status.success(), "{how}");
        if how == "a directory" {
            fs::remove_dir(policy_file(&gate.school)).expect("directory");
        }
        gate.school.data_file("pg_steward/logins", &good);
        fs::set_permissions(policy_file(&gate.school), PermissionsExt::from_mode(0o600)).expect("chmod");
        let answer = gate.psql("user=teacher_wang password=right");
        assert!(answer.status.success(), "{how}: {}", text(&answer));
    }
    fs::remove_file(policy_file(&gate.school)).expect("file");
    gate.school.restart();
    let answer = gate.psql("user=teacher_wang password=right");
    assert!(text(&answer).contains("policy of logins cannot be read"), "active as before: {}", text(&answer));
    succeed(owner(&gate.school));
    // With its database the sequencer writes the file again, and everybody is let in as before.
    gate.school.configure(&[&format!("steward.database = '{HOME}'")]);
    gate.school.restart();
    sleep(Duration::from_millis(2_500));
    let answer = gate.psql("user=teacher_wang password=right");
    assert!(answer.status.success(), "{}", text(&answer));
    assert!(gate.school.records("operation_type = 'LOGIN WITHOUT POLICY' AND user_id = 'postgres'") > 0);
    let failed = "operation_type = 'LOGIN WITHOUT POLICY' AND user_id <> 'postgres'";
    assert_eq!(gate.school.records(failed), 0, "who did not come in was not let in");
}

/// The standby that a commit waits for logs in by the file: it is written before the sequencer's first commit.
fn the_policy_of_logins_waits_for_no_standby() {
    let mut school = School::active();
    school.stop();
    fs::remove_file(policy_file(&school)).expect("file");
    school.configure(&["synchronous_standby_names = 'nowhere'"]);
    school.start();
    crate::journal_count::wait_for("the policy of logins is written", || policy_file(&school).exists());
    // The round that came next waits.
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')";
    wait_until(&school, waits);
    school.configure(&["synchronous_standby_names = ''"]);
    school.reload();
    school.flush_audit();
}

/// Whether the tests run as another user than the server.
fn is_root(school: &School) -> bool {
    let user = |path: &Path| fs::metadata(path).expect("metadata").uid();
    user(&school.data()) != user(Path::new("/proc/self"))
}

/// psql of the server's own user, over the socket.
fn owner(school: &School) -> Command {
    let mut psql = school.server_program("psql");
    psql.args(["-X", "-U", "postgres", "-d", HOME, "-c", "SELECT 1"]);
    psql.arg("-h").arg(school.data().parent().expect("directory"));
    psql
}

fn a_lost_policy_of_logins_is_written_again() {
    let gate = Gate::active("SELECT steward.set_login_policy('teacher_wang', addresses => '{10.0.0.0/8}')");
    let good = fs::read_to_string(policy_file(&gate.school)).expect("file");
    for how in ["{ torn", "open to others", "missing"] {
        spoil(&gate.school, how);
        sleep(Duration::from_millis(2_500));
        assert_eq!(fs::read_to_string(policy_file(&gate.school)).expect("file"), good, "{how}");
        drop(gate.log_in("security_han", "right").unwrap_or_else(|error| panic!("{how}: {error:?}")));
        assert!(gate.log_in("teacher_wang", "right").is_err(), "{how}: not from here");
    }
    assert_eq!(gate.school.records("operation_type = 'LOGIN POLICY LOST' AND result = 'FAILURE'"), 3);
    let told = "SELECT count(*) > 0 FROM steward.alert WHERE rule = 'login_policy_lost' AND level = 'major'";
    wait_until(&gate.school, told);
}

fn no_login_waits_for_a_sequencer_that_stands_still() {
    const LOGINS: u32 = 100;
    let gate = Gate::active("");
    let time = || {
        let begun = Instant::now();
        for number in 0..LOGINS {
            drop(gate.log_in("teacher_wang", if number % 2 == 0 { "right" } else { "wrong" }));
        }
        begun.elapsed()
    };
    time();
    let running = time();
    let standing = {
        let _paused = Paused::between_rounds(&gate.school);
        time()
    };
    report(&format!(
        "logins: {:?} each while the sequencer runs, {:?} while it stands still",
        running / LOGINS,
        standing / LOGINS
    ));
    assert!(standing < running * 3 + Duration::from_millis(500), "{standing:?} instead of {running:?}");
    let attempts = "operation_type = 'LOGIN' AND user_id = 'teacher_wang'";
    assert_eq!(gate.school.records(attempts), i64::from(3 * LOGINS));
}

fn what_protects_logins_is_policy() {
    let gate = Gate::active("");
    let mut administrator = gate.school.superuser();
    for call in [
        "SELECT steward.set_login_limit(failures => 0)",
        "SELECT steward.set_login_policy('teacher_wang', addresses => '{}')",
        "SELECT steward.block_address('10.0.0.0/8', NULL, 'x')",
        "SELECT steward.unblock_address('10.0.0.0/8')",
        "SELECT steward.unlock_login('teacher_wang')",
        "UPDATE steward.login_limit SET lock_for = NULL",
        "INSERT INTO steward.login_policy VALUES ('postgres', '{10.0.0.0/8}')",
        "DELETE FROM steward.blocked_address",
        "TRUNCATE steward.login_policy",
    ] {
        expect_error(administrator.batch_execute(call), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    for call in ["SELECT steward.set_login_limit(failures => 1)", "SELECT * FROM steward.login_failures"] {
        let mut teacher = gate.log_in("teacher_wang", "right").expect("login");
        expect_error(teacher.batch_execute(call), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
}
