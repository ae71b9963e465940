//! A standby takes over: the chain goes on there, says so, and holds what was read on the standby before.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use crate::cluster::{Cluster, succeed};
use crate::expect::{db_error, expect_error};
use crate::fault::{Random, report, scaled};
use crate::school::{HOME, School, ask};

tests! {
    failovers_under_load_lose_and_double_no_record,
    an_asynchronous_standby_promoted_under_load_continues_the_chain,
    a_synchronous_standby_promoted_under_load_has_every_acknowledged_row_on_record,
    a_rewound_primary_takes_over_again_and_doubles_nothing,
    a_switchover_and_back_doubles_nothing,
    the_spool_of_a_lost_primary_is_taken_and_never_misread,
    what_happens_on_a_standby_enters_the_chain_at_its_promotion,
    a_restarted_standby_keeps_what_was_read_before,
    a_full_spool_refuses_reads_on_a_standby,
    a_full_spool_counts_reads_on_a_standby_if_told_to,
    the_spool_of_a_standby_can_be_drained_into_the_primary,
    an_activation_reaches_the_standby,
}

/// An active school whose chain has begun.
fn primary() -> School {
    let school = School::active();
    wait_until(&school, "SELECT sequencer_alive FROM steward.audit_status");
    school.flush_audit();
    school
}

/// Eight clients, each committing one row of `app.entry` and reading it back, until the server is gone.
pub fn load(school: &School) -> Child {
    let script = school.file("failover.sql");
    let statements =
        "INSERT INTO app.entry (client) VALUES (:client_id);\nSELECT name FROM app.student WHERE id = 3;\n";
    fs::write(&script, statements).expect("script");
    let mut pgbench = school.client_program("pgbench");
    pgbench.args(["-n", "-c", "8", "-j", "2", "-T", "60", "-M", "prepared", "-U", "teacher_wang", "-f"]);
    pgbench.arg(script).arg(HOME).stdout(Stdio::null()).stderr(Stdio::null());
    pgbench.spawn().expect("pgbench")
}

/// No record says that anything of these kinds happened.
#[track_caller]
fn nothing_of(school: &School, kinds: &str) {
    school.flush_audit();
    let told = format!(
        "SELECT string_agg(operation_type || ' ' || details, E'\\n') FROM steward.audit_log WHERE operation_type IN ({kinds})"
    );
    assert_eq!(school.ask::<Option<String>>(&told), None);
}

/// Waits until a query in the governed database is true: longer than the minute that PostgreSQL 15's postmaster can sleep
/// when a worker ends just before it falls asleep.
#[track_caller]
pub fn wait_until(school: &School, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !school.ask::<bool>(condition) {
        assert!(Instant::now() < deadline, "not within 90 s: {condition}\n{}", school.log_tail());
        sleep(Duration::from_millis(50));
    }
}

fn has_committed(school: &School, rows: i64) {
    wait_until(school, &format!("SELECT count(*) >= {rows} FROM app.entry"));
}

/// One record per committed row, and a chain that verifies; how many records it has.
#[track_caller]
pub fn nothing_lost_nothing_doubled(school: &School) -> i64 {
    wait_until(school, "SELECT sequencer_alive FROM steward.audit_status");
    let condition = "operation_type = 'INSERT' AND table_name = 'app.entry' AND result = 'SUCCESS'";
    let records = school.records(condition);
    assert_eq!(records, school.ask::<i64>("SELECT count(*) FROM app.entry"), "records against committed rows");
    // A record names its backend and its moment, so two equal ones are one that was chained twice.
    let doubled = "SELECT count(*) FROM (SELECT FROM steward.chain GROUP BY record HAVING count(*) > 1) AS doubled";
    assert_eq!(school.ask::<i64>(doubled), 0, "records chained twice");
    nothing_of(
        school,
        "'LOST', 'UNREADABLE', 'FOREIGN SPOOL', 'DAMAGED JOURNAL', 'MISSING JOURNAL', 'DAMAGED COUNT', 'POSITIONS ALTERED'",
    );
    let verdict = school.superuser().query_one("SELECT ok, kind, checked FROM steward.verify_chain()", &[]);
    let verdict = verdict.expect("verify_chain");
    assert!(verdict.get::<_, bool>(0), "{}", verdict.get::<_, String>(1));
    verdict.get(2)
}

/// How many moves of the chain are on record, with this reason and these timelines.
#[track_caller]
pub fn moves(school: &School, reason: &str, old_timeline: i32, timeline: i32) -> i64 {
    school.records(&format!(
        "operation_type = 'INCARNATION' AND details::jsonb @> '{{\"reason\": \"{reason}\",
            \"old_timeline\": {old_timeline}, \"timeline\": {timeline}}}'
         AND details::jsonb ->> 'last_hash' = (SELECT encode(hash, 'hex') FROM steward.chain c
            WHERE c.id = (details::jsonb ->> 'last_id')::bigint)"
    ))
}

/// Waits until the standby has replayed everything that the primary has committed.
#[track_caller]
pub fn catch_up(primary: &School, standby: &School) {
    let position: String = primary.ask("SELECT pg_current_wal_lsn()::text");
    wait_until(standby, &format!("SELECT pg_last_wal_replay_lsn() >= '{position}'"));
}

/// Each round a new standby of the server that took over last, asynchronous and synchronous in turns, takes over itself.
fn failovers_under_load_lose_and_double_no_record() {
    let mut random = Random::announced("failovers under load");
    let rounds = scaled(1, 6);
    let (mut primary, mut records) = (primary(), 0);
    for (round, timeline) in (0..rounds).zip(1..) {
        let standby = School::of(primary.standby(&[]));
        let synchronous = round % 2 == 1;
        if synchronous {
            primary.configure(&["synchronous_standby_names = 'standby'", "synchronous_commit = remote_apply"]);
            primary.reload();
            wait_until(&primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
        }
        let before: i64 = primary.ask("SELECT count(*) FROM app.entry");
        let mut pgbench = load(&primary);
        has_committed(&standby, before + 200);
        sleep(Duration::from_millis(random.below(1_500)));
        // What a session of a synchronous primary can see is committed on the standby.
        let acknowledged = if synchronous { primary.ask("SELECT count(*) FROM app.entry") } else { before };
        primary.kill_9_postmaster();
        pgbench.wait().expect("pgbench");
        standby.configure(&["synchronous_standby_names = ''"]);
        standby.reload();
        standby.promote();
        records = nothing_lost_nothing_doubled(&standby);
        assert!(standby.ask::<i64>("SELECT count(*) FROM app.entry") >= acknowledged, "round {round}");
        assert_eq!(moves(&standby, "promotion", timeline, timeline + 1), 1, "round {round}");
        primary = standby;
    }
    report(&format!("failovers under load: {rounds} rounds, {records} records checked, 0 losses, 0 duplicates"));
}

fn an_asynchronous_standby_promoted_under_load_continues_the_chain() {
    let mut primary = primary();
    let mut pgbench = load(&primary);
    has_committed(&primary, 200);
    // The base backup copies lanes that are being written.
    let standby = School::of(primary.standby(&[]));
    has_committed(&standby, primary.ask::<i64>("SELECT count(*) FROM app.entry") + 200);
    primary.kill_9_postmaster();
    pgbench.wait().expect("pgbench");
    standby.promote();
    standby.session("teacher_wang").batch_execute("INSERT INTO app.entry (client) VALUES (9)").expect("insert");
    nothing_lost_nothing_doubled(&standby);
    assert_eq!(moves(&standby, "promotion", 1, 2), 1);
    // What came in lanes with the base backup was chained before it, unless the sequencer had just emptied them all.
    assert!(standby.records("operation_type = 'COPIED SPOOL'") <= 1);
    assert!(standby.records("operation_type = 'SELECT' AND user_id = 'teacher_wang'") > 200);
}

fn a_synchronous_standby_promoted_under_load_has_every_acknowledged_row_on_record() {
    let mut primary = primary();
    let standby = School::of(primary.standby(&[]));
    primary.configure(&["synchronous_standby_names = 'standby'", "synchronous_commit = remote_apply"]);
    primary.reload();
    wait_until(&primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
    let mut pgbench = load(&primary);
    has_committed(&standby, 200);
    // What a session of the primary can see is committed on the standby.
    let acknowledged: i64 = primary.ask("SELECT count(*) FROM app.entry");
    primary.kill_9_postmaster();
    pgbench.wait().expect("pgbench");
    standby.configure(&["synchronous_standby_names = ''"]);
    standby.reload();
    standby.promote();
    nothing_lost_nothing_doubled(&standby);
    assert!(standby.records("operation_type = 'INSERT' AND table_name = 'app.entry'") >= acknowledged);
    assert_eq!(moves(&standby, "promotion", 1, 2), 1);
}

fn a_rewound_primary_takes_over_again_and_doubles_nothing() {
    let mut first = School::with("enforce", &["wal_log_hints = on", "wal_keep_size = '256MB'"]);
    first.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    wait_until(&first, "SELECT sequencer_alive FROM steward.audit_status");
    first.flush_audit();
    let mut second = School::of(first.standby(&[]));
    let mut pgbench = load(&first);
    has_committed(&second, 200);
    first.kill_9_postmaster();
    pgbench.wait().expect("pgbench");
    second.promote();
    second.session("clerk_zhao").query("SELECT name FROM app.student WHERE id = 1", &[]).expect("select");
    nothing_lost_nothing_doubled(&second);
    second.stop();
    first.rewind(&second);
    second.start();
    first.follow(&second);
    first.start();
    let mut pgbench = load(&second);
    has_committed(&first, second.ask::<i64>("SELECT count(*) FROM app.entry") + 100);
    second.kill_9_postmaster();
    pgbench.wait().expect("pgbench");
    first.promote();
    nothing_lost_nothing_doubled(&first);
    assert_eq!(first.records("user_id = 'clerk_zhao' AND operation_type = 'SELECT'"), 1);
    assert_eq!(moves(&first, "promotion", 1, 2), 1);
    assert_eq!(moves(&first, "promotion", 2, 3), 1);
}

const READ: &str = "SELECT name FROM app.student WHERE id = 7";
const READS: &str = "user_id = 'clerk_zhao' AND operation_type = 'SELECT' AND result = 'SUCCESS'";

#[track_caller]
fn read(school: &School) {
    school.session("clerk_zhao").query(READ, &[]).expect("select");
}

fn a_switchover_and_back_doubles_nothing() {
    let mut first = primary();
    let mut second = School::of(first.standby(&[]));
    read(&first);
    read(&second);
    first.stop();
    second.promote();
    wait_until(&second, "SELECT sequencer_alive FROM steward.audit_status");
    second.session("teacher_wang").batch_execute("INSERT INTO app.entry (client) VALUES (9)").expect("insert");
    // What the first had not chained when it stopped waits in its spool, as do its reads as a standby.
    first.follow(&second);
    first.start();
    read(&first);
    catch_up(&second, &first);
    second.stop();
    first.promote();
    nothing_lost_nothing_doubled(&first);
    assert_eq!(first.records(READS), 3);
    assert_eq!(moves(&first, "promotion", 1, 2), 1);
    assert_eq!(moves(&first, "promotion", 2, 3), 1);
}

/// Ends the sequencer, which comes back and looks at the spool anew.
#[track_caller]
pub fn restart_sequencer(school: &School) {
    let sequencer: i32 = school.ask("SELECT sequencer_pid FROM steward.audit_status");
    school.superuser().query("SELECT pg_terminate_backend($1)", &[&sequencer]).expect("terminate");
    wait_until(school, &format!("SELECT sequencer_alive AND sequencer_pid <> {sequencer} FROM steward.audit_status"));
}

/// Copies the whole spool of one server into that of another. A standby has old copies of its primary's lanes, which must
/// not be put over those that are being written.
fn hand_over(from: &School, to: &School) {
    let spool = |cluster: &Cluster| cluster.data().join("pg_steward/spool");
    let mut copy = to.server_program("/bin/cp");
    copy.args(["--recursive", "--update"]).arg("--no-target-directory").arg(spool(from)).arg(spool(to));
    succeed(copy);
}

/// What the standby did not receive is lost with the primary, definitions included; its spool is not. A record that refers
/// to a lost definition must not be read with the one that has its id now.
fn the_spool_of_a_lost_primary_is_taken_and_never_misread() {
    let mut primary = School::with("enforce", &["steward.sequencer_interval = '60s'"]);
    primary.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    wait_until(&primary, "SELECT sequencer_alive FROM steward.audit_status");
    primary.flush_audit();
    let mut standby = School::of(primary.standby(&["steward.sequencer_interval = '200ms'"]));
    catch_up(&primary, &standby);
    standby.stop();
    let mut clerk = primary.session("clerk_zhao");
    let mut read_thrice = || (0..3).for_each(|_| drop(clerk.query(READ, &[]).expect("select")));
    read_thrice();
    primary.flush_audit();
    read_thrice();
    primary.kill_9_postmaster();
    standby.start();
    standby.promote();
    wait_until(&standby, "SELECT sequencer_alive FROM steward.audit_status");
    let mut teacher = standby.session("teacher_wang");
    for _ in 0..5 {
        teacher.query(READ, &[]).expect("select");
        standby.flush_audit();
    }
    hand_over(&primary, &standby);
    restart_sequencer(&standby);
    assert_eq!(standby.records(READS), 3, "read before anything was defined");
    assert_eq!(standby.records("operation_type = 'UNREADABLE'"), 3, "read after it");
    assert_eq!(standby.records("operation_type = 'SELECT' AND user_id = 'teacher_wang'"), 5);
    assert!(standby.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn what_happens_on_a_standby_enters_the_chain_at_its_promotion() {
    let primary = primary();
    let standby = School::of(primary.standby(&[]));
    catch_up(&primary, &standby);
    read(&standby);
    let update = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
    expect_error(standby.session("teacher_wang").batch_execute(update), &SqlState::READ_ONLY_SQL_TRANSACTION, "", "");
    let export = "COPY app.student TO PROGRAM 'cat > /dev/null'";
    expect_error(standby.superuser().batch_execute(export), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    db_error(standby.superuser().batch_execute("SELECT steward.flush_audit()"));
    assert!(standby.ask::<bool>("SELECT NOT sequencer_alive AND spool_pending_bytes > 0 FROM steward.audit_status"));
    assert!(standby.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
    drop(primary);
    standby.promote();
    wait_until(&standby, "SELECT sequencer_alive FROM steward.audit_status");
    assert_eq!(standby.records(READS), 1);
    assert_eq!(standby.records("operation_type = 'UPDATE' AND result = 'FAILURE' AND sqlstate = '25006'"), 1);
    assert_eq!(standby.records("operation_type LIKE 'COPY%' AND result = 'DENIED'"), 1);
    nothing_lost_nothing_doubled(&standby);
}

fn a_restarted_standby_keeps_what_was_read_before() {
    let primary = primary();
    let mut standby = School::of(primary.standby(&[]));
    catch_up(&primary, &standby);
    read(&standby);
    standby.restart();
    read(&standby);
    standby.kill_9_postmaster();
    standby.start();
    read(&standby);
    standby.promote();
    wait_until(&standby, "SELECT sequencer_alive FROM steward.audit_status");
    assert_eq!(standby.records(READS), 3);
    assert_eq!(standby.records("operation_type = 'CRASH BOUNDARY'"), 1);
    nothing_of(&standby, "'LOST', 'TORN SPOOL', 'UNREADABLE'");
}

fn a_full_spool_refuses_reads_on_a_standby() {
    let primary = primary();
    let standby = School::of(primary.standby(&["steward.standby_spool_limit = 0"]));
    let mut clerk = standby.session("clerk_zhao");
    let deadline = Instant::now() + Duration::from_secs(30);
    let refusal = loop {
        match clerk.query(READ, &[]) {
            Ok(_) => assert!(Instant::now() < deadline, "the limit does not act\n{}", standby.log_tail()),
            refused => break refused,
        }
        sleep(Duration::from_millis(50));
    };
    expect_error(refusal, &SqlState::DISK_FULL, "steward.standby_spool_limit is 0 MB", "promote this standby");
    expect_error(clerk.query("COPY app.student TO STDOUT", &[]), &SqlState::DISK_FULL, "", "");
    clerk.query("SELECT count(*) FROM app.scratch", &[]).expect("what is not protected is not concerned");
    read(&primary);
    standby.configure(&["steward.standby_spool_limit = 10"]);
    standby.reload();
    let deadline = Instant::now() + Duration::from_secs(30);
    while clerk.query(READ, &[]).is_err() {
        assert!(Instant::now() < deadline, "the new limit does not act\n{}", standby.log_tail());
        sleep(Duration::from_millis(50));
    }
}

fn a_full_spool_counts_reads_on_a_standby_if_told_to() {
    let primary = primary();
    let settings = ["steward.standby_spool_limit = 0", "steward.standby_spool_policy = 'count'"];
    let mut standby = School::of(primary.standby(&settings));
    // The limit acts within a second or two.
    sleep(Duration::from_secs(3));
    for _ in 0..5 {
        read(&standby);
    }
    sleep(Duration::from_secs(2));
    // The count survives the server start it was made in.
    standby.restart();
    standby.promote();
    wait_until(&standby, "SELECT sequencer_alive FROM steward.audit_status");
    assert_eq!(standby.records(READS), 0);
    standby.flush_audit();
    let lost = "SELECT sum(rows)::bigint FROM steward.audit_log WHERE operation_type = 'LOST'";
    assert_eq!(standby.ask::<Option<i64>>(lost), Some(5));
}

fn the_spool_of_a_standby_can_be_drained_into_the_primary() {
    let primary = primary();
    let mut standby = School::of(primary.standby(&[]));
    catch_up(&primary, &standby);
    read(&standby);
    standby.restart();
    read(&standby);
    // Copied, not moved: what is chained already is known when the standby is promoted later.
    hand_over(&standby, &primary);
    restart_sequencer(&primary);
    assert_eq!(primary.records(READS), 2);
    read(&standby);
    catch_up(&primary, &standby);
    drop(primary);
    standby.promote();
    wait_until(&standby, "SELECT sequencer_alive FROM steward.audit_status");
    assert_eq!(standby.records(READS), 3);
    nothing_lost_nothing_doubled(&standby);
}

fn an_activation_reaches_the_standby() {
    let primary = School::inactive();
    let standby = School::of(primary.standby(&[]));
    primary.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    catch_up(&primary, &standby);
    let export = "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'";
    let deadline = Instant::now() + Duration::from_secs(30);
    for database in [HOME, "postgres"] {
        let mut superuser = standby.connect("postgres", database);
        while superuser.batch_execute(export).is_ok() {
            assert!(Instant::now() < deadline, "the standby tolerates it\n{}", standby.log_tail());
            sleep(Duration::from_millis(100));
        }
        assert!(ask::<bool>(&mut superuser, "SELECT pg_is_in_recovery()"));
    }
}
