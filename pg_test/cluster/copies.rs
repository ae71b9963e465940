//! Copies of the data directory, whole or in part: no lane is chained twice, and a chain that goes on elsewhere says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::cluster::{Cluster, succeed};
use crate::dump::dump;
use crate::failover::{moves, nothing_lost_nothing_doubled, wait_until};
use crate::school::{HOME, School, settings};

tests! {
    a_spool_directory_that_comes_back_is_not_chained_twice,
    of_a_longer_copy_only_the_rest_is_taken,
    a_spool_directory_under_another_name_is_known,
    a_restored_base_backup_goes_on,
    a_point_in_time_recovery_continues_the_chain,
    a_new_ledger_takes_no_record_of_the_one_before,
    the_spool_of_another_cluster_is_noted_once_and_left_alone,
    an_unreadable_spool_file_is_noted_once_and_set_aside,
    a_lane_that_cannot_be_read_does_not_stop_the_sequencer,
    positions_of_the_oldest_starts_are_forgotten,
    a_chain_survives_pg_upgrade,
    a_restored_dump_goes_on_with_an_incarnation_and_verifies,
    an_extension_created_again_goes_on_with_an_incarnation_and_verifies,
}

const READ: &str = "SELECT name FROM app.student WHERE id = 7";
const READS: &str = "user_id = 'clerk_zhao' AND operation_type = 'SELECT' AND result = 'SUCCESS'";

fn read(school: &School, times: usize) {
    let mut clerk = school.session("clerk_zhao");
    for _ in 0..times {
        clerk.query(READ, &[]).expect("select");
    }
}

fn spool(school: &Cluster) -> PathBuf {
    school.data().join("pg_steward/spool")
}

/// Puts a copy of the directory in the place of the other, with its owner.
pub fn put(school: &Cluster, from: &std::path::Path, to: &std::path::Path) {
    let mut copy = school.server_program("/bin/cp");
    copy.args(["--archive", "--no-target-directory"]).arg(from).arg(to);
    succeed(copy);
}

/// The only directory in the spool.
fn only_start(school: &Cluster) -> PathBuf {
    let mut starts = fs::read_dir(spool(school)).expect("spool").map(|entry| entry.expect("spool").path());
    let start = starts.next().expect("a server start");
    assert_eq!(starts.next(), None);
    start
}

/// Cuts bytes off the end of every lane file of a server start; how many files there were.
fn shorten(start: &std::path::Path, bytes: u64) -> usize {
    let files: Vec<_> = fs::read_dir(start).expect("spool").map(|entry| entry.expect("spool").path()).collect();
    for path in &files {
        let file = fs::OpenOptions::new().write(true).open(path).expect("lane");
        let length = file.metadata().expect("lane").len();
        file.set_len(length.saturating_sub(bytes)).expect("lane");
    }
    files.len()
}

fn a_spool_directory_that_comes_back_is_not_chained_twice() {
    let mut school = School::active();
    read(&school, 3);
    assert_eq!(school.records(READS), 3);
    school.stop();
    let start = only_start(&school);
    let saved = school.file("saved");
    put(&school, &start, &saved);
    school.start();
    assert_eq!(school.records(READS), 3);
    assert!(!start.exists(), "what is chained is removed");
    // Whole, as an older backup brings it along; then shorter, as it was copied while the server wrote it.
    for bytes in [0, 10] {
        shorten(&saved, bytes);
        school.stop();
        put(&school, &saved, &start);
        school.start();
        assert_eq!(school.records(READS), 3);
        assert!(!start.exists(), "a copy is removed");
    }
    assert_eq!(school.records("operation_type = 'COPIED SPOOL' AND (details::jsonb ->> 'files')::int > 0"), 1);
    assert_eq!(school.records("operation_type IN ('LOST', 'TORN SPOOL', 'UNREADABLE')"), 0);
}

fn of_a_longer_copy_only_the_rest_is_taken() {
    let mut school = School::active();
    read(&school, 3);
    school.stop();
    let start = only_start(&school);
    let saved = school.file("saved");
    put(&school, &start, &saved);
    // A base backup that caught the files earlier, in the middle of a frame; and the dead server's own files later.
    shorten(&start, 10);
    school.start();
    let before = school.records(READS);
    assert!(before <= 3);
    let torn = school.records("operation_type = 'TORN SPOOL'");
    school.stop();
    put(&school, &saved, &start);
    school.start();
    assert_eq!(school.records(READS), 3);
    assert_eq!(school.records("operation_type IN ('LOST', 'UNREADABLE')"), 0);
    assert_eq!(school.records("operation_type = 'TORN SPOOL'"), torn);
}

fn a_spool_directory_under_another_name_is_known() {
    let mut school = School::active();
    read(&school, 3);
    assert_eq!(school.records(READS), 3);
    school.stop();
    put(&school, &only_start(&school), &spool(&school).join("backup"));
    school.start();
    assert_eq!(school.records(READS), 3);
    // Of the running start as well.
    read(&school, 2);
    assert_eq!(school.records(READS), 5);
    put(&school, &only_start(&school), &spool(&school).join("0123"));
    let sequencer: i32 = school.ask("SELECT sequencer_pid FROM steward.audit_status");
    school.superuser().query("SELECT pg_terminate_backend($1)", &[&sequencer]).expect("terminate");
    wait_until(&school, &format!("SELECT sequencer_alive AND sequencer_pid <> {sequencer} FROM steward.audit_status"));
    assert_eq!(school.records(READS), 5);
    assert!(!spool(&school).join("0123").exists());
}

fn a_restored_base_backup_goes_on() {
    let mut school = School::active();
    read(&school, 3);
    let mut copy = School::of(school.base_backup(&[]));
    school.flush_audit();
    school.stop();
    copy.start();
    nothing_lost_nothing_doubled(&copy);
    assert_eq!(copy.records(READS), 3);
    let start = "operation_type = 'SERVER START' AND details::jsonb ->> 'last_stop' = 'copied from a running server'";
    assert_eq!(copy.records(start), 1);
    assert_eq!(copy.records("operation_type = 'CRASH BOUNDARY'"), 0);
}

fn a_point_in_time_recovery_continues_the_chain() {
    let archive = std::env::temp_dir().join(format!("pgs-{}-archive", std::process::id()));
    let store = format!("archive_command = 'mkdir -p {0} && cp %p {0}/%f'", archive.display());
    let mut school = School::with("enforce", &["archive_mode = on", &store]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    read(&school, 1);
    let restore = format!("restore_command = 'cp {}/%f %p'", archive.display());
    let target =
        ["archive_mode = off", &restore, "recovery_target_name = 'noon'", "recovery_target_action = 'promote'"];
    let mut copy = School::of(school.base_backup(&target));
    read(&school, 2);
    school.flush_audit();
    school.superuser().batch_execute("SELECT pg_create_restore_point('noon')").expect("restore point");
    read(&school, 4);
    school.flush_audit();
    school.superuser().batch_execute("SELECT pg_switch_wal()").expect("switch");
    // The head file, written once a second, knows the later life.
    sleep(Duration::from_millis(1_500));
    wait_until(
        &school,
        "SELECT last_archived_wal IS NOT NULL AND last_archived_wal >= '000000010000000000000002'
        FROM pg_stat_archiver",
    );
    school.stop();
    let head = fs::read_to_string(school.data().join("pg_steward/head")).expect("head");
    copy.data_file("pg_steward/head", &head);
    copy.data_file("recovery.signal", "");
    copy.start();
    wait_until(&copy, "SELECT NOT pg_is_in_recovery()");
    nothing_lost_nothing_doubled(&copy);
    assert_eq!(copy.records(READS), 3);
    assert_eq!(moves(&copy, "point-in-time recovery", 1, 2), 1);
    let explained = "operation_type = 'HEAD MISMATCH' AND details::jsonb ->> 'reason' LIKE '%; see INCARNATION'";
    assert_eq!(copy.records(explained), 1);
    fs::remove_dir_all(archive).expect("archive");
}

fn a_new_ledger_takes_no_record_of_the_one_before() {
    let mut school = School::active();
    read(&school, 3);
    assert_eq!(school.records(READS), 3);
    school.operate("postgres", "DROP EXTENSION pg_steward CASCADE");
    let set_up = "CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')";
    school.superuser().batch_execute(set_up).expect("a new start");
    read(&school, 2);
    wait_until(&school, "SELECT sequencer_alive AND coalesce(last_id, 0) > 0 FROM steward.audit_status");
    assert_eq!(school.records(READS), 2);
    school.restart();
    assert_eq!(school.records(READS), 2);
    // What lay in the lanes of the running start was set aside, once.
    assert_eq!(school.records("operation_type = 'FORMER SPOOL' AND (details::jsonb ->> 'records')::int >= 3"), 1);
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn an_unreadable_spool_file_is_noted_once_and_set_aside() {
    let mut school = School::active();
    read(&school, 3);
    assert_eq!(school.records(READS), 3);
    school.stop();
    // A directory opens as a file and cannot be read.
    let mut directory = school.server_program("/bin/mkdir");
    directory.arg(only_start(&school).join("7-0.lane"));
    succeed(directory);
    school.start();
    wait_until(&school, "SELECT sequencer_alive FROM steward.audit_status");
    assert_eq!(school.records("operation_type = 'UNREADABLE'"), 1);
    school.restart();
    read(&school, 2);
    assert_eq!(school.records(READS), 5);
    assert_eq!(school.records("operation_type = 'UNREADABLE'"), 1);
    assert_eq!(school.records("operation_type = 'SEQUENCER START'"), 0, "the sequencer went on");
}

fn the_spool_of_another_cluster_is_noted_once_and_left_alone() {
    let mut other = Cluster::empty(&settings("enforce").each_ref().map(String::as_str));
    other.start();
    other.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {HOME}")).expect("database");
    let mut other = School::set_up(other);
    read(&other, 2);
    other.stop();
    let mut school = School::active();
    read(&school, 3);
    school.stop();
    let place = spool(&school).join(only_start(&other).file_name().expect("name"));
    put(&school, &only_start(&other), &place);
    for _ in 0..2 {
        school.start();
        assert_eq!(school.records(READS), 3);
        assert_eq!(school.records("operation_type = 'FOREIGN SPOOL'"), 1);
        school.stop();
    }
    assert!(place.exists(), "it is not ours to remove");
}

fn a_lane_that_cannot_be_read_does_not_stop_the_sequencer() {
    let mut school = School::active();
    let mut clerk = school.session("clerk_zhao");
    clerk.query(READ, &[]).expect("select");
    assert_eq!(school.records(READS), 1);
    let files: Vec<_> =
        fs::read_dir(only_start(&school)).expect("spool").map(|file| file.expect("file").path()).collect();
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o000)).expect("permissions");
    }
    // The session has its lane open and goes on writing; only the sequencer cannot follow.
    clerk.query(READ, &[]).expect("select");
    wait_until(&school, "SELECT count(*) > 0 FROM steward.audit_log WHERE operation_type = 'UNREADABLE'");
    clerk.query(READ, &[]).expect("select");
    clerk.batch_execute("SELECT steward.flush_audit()").expect("the sequencer goes on");
    drop(clerk);
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id = 1").expect("update");
    assert_eq!(school.records("operation_type = 'UPDATE' AND table_name = 'app.student'"), 1);
    assert_eq!(school.records("operation_type = 'SEQUENCER START'"), 0, "no new start");
    // Each login writes to the lane of its slot, so more than one of them may be met; each is said once.
    let twice = "SELECT count(*) - count(DISTINCT details::json ->> 'file') FROM steward.audit_log WHERE operation_type = 'UNREADABLE'";
    assert_eq!(school.ask::<i64>(twice), 0, "said once");
    // They are kept for people.
    school.restart();
    school.flush_audit();
    let kept = files.iter().filter(|file| file.with_extension("unreadable").exists()).count();
    assert!(kept > 0, "no file was kept");
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn positions_of_the_oldest_starts_are_forgotten() {
    let mut school = School::active();
    read(&school, 1);
    school.flush_audit();
    school.stop();
    // Only a server without the library lets somebody write there.
    school.configure(&["shared_preload_libraries = ''"]);
    school.start();
    let many = "INSERT INTO steward.spool_offset (boot, slot, generation, byte_offset, next_counter, chained_at)
        SELECT gen_random_uuid(), slot, 0, 64, 0, now() - n * interval '1 day'
        FROM generate_series(1, 1200) AS n, generate_series(1, 2) AS slot";
    school.superuser().batch_execute(many).expect("rows");
    school.stop();
    school.configure(&["shared_preload_libraries = 'pg_steward'"]);
    school.start();
    school.flush_audit();
    let left = "SELECT count(DISTINCT boot), min(chained_at) > now() - interval '1001 days' FROM steward.spool_offset";
    let left = school.superuser().query_one(left, &[]).expect("rows");
    assert!((1000..=1001).contains(&left.get::<_, i64>(0)), "{} starts", left.get::<_, i64>(0));
    assert!(left.get::<_, bool>(1), "the oldest go first");
}

fn a_chain_survives_pg_upgrade() {
    let mut school = School::active();
    read(&school, 3);
    school.flush_audit();
    let before: i64 = school.ask("SELECT last_id FROM steward.audit_status");
    school.stop();
    let mut upgraded = School::of(Cluster::empty(&settings("enforce").each_ref().map(String::as_str)));
    let mut upgrade = upgraded.server_program("pg_upgrade");
    let bin = upgrade.get_program().to_owned();
    let bin = PathBuf::from(bin);
    let bin = bin.parent().expect("bin");
    upgrade.arg("--old-bindir").arg(bin).arg("--new-bindir").arg(bin).args(["--username", "postgres"]);
    upgrade.arg("--old-datadir").arg(school.data()).arg("--new-datadir").arg(upgraded.data());
    succeed(upgrade);
    // State, head and what is not chained yet travel with the administrator.
    put(&upgraded, &school.data().join("pg_steward"), &upgraded.data().join("pg_steward"));
    upgraded.start();
    nothing_lost_nothing_doubled(&upgraded);
    assert_eq!(upgraded.records(READS), 3);
    assert_eq!(moves(&upgraded, "pg_upgrade or pg_resetwal", 1, 1), 1);
    assert!(upgraded.ask::<i64>("SELECT last_id FROM steward.audit_status") > before);
    assert_eq!(upgraded.records("operation_type IN ('HEAD MISMATCH', 'FOREIGN SPOOL', 'STATE RECONCILED')"), 0);
    let label = "SELECT count(*) FROM pg_seclabel WHERE provider = 'pg_steward' AND label = 'id_card'";
    assert_eq!(upgraded.ask::<i64>(label), 1);
    let bulk = upgraded.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id <= 60");
    crate::expect::expect_bulk_refused(bulk, "app.student");
    assert_eq!(upgraded.ask::<String>("SELECT current_database()::text"), HOME);
}

/// The chain's second record says where it goes on, behind the ancestor's last record, and the chain is whole.
#[track_caller]
fn goes_on_behind(school: &School, reason: &str, ancestor: &str, head: &str, [old, new]: [&str; 2]) {
    let words: Vec<&str> = head.split(' ').collect();
    let incarnation = format!(
        "operation_type = 'INCARNATION' AND id = 2 AND result = 'SUCCESS' AND details::jsonb @> '{{\"reason\": \"{reason}\",
            \"ancestor\": \"{ancestor}\", \"ancestor_head\": \"{head}\", \"last_id\": {}, \"last_hash\": \"{}\",
            \"old_system_identifier\": \"{old}\", \"system_identifier\": \"{new}\"}}'
         AND details::jsonb ->> 'ledger' = (SELECT ledger::text FROM steward.ledger WHERE ancestor IS NOT NULL)",
        words[2], words[3],
    );
    assert_eq!(school.records(&incarnation), 1);
    assert_eq!(school.records("operation_type = 'INCARNATION'"), 1);
    assert_eq!(school.records("operation_type = 'GENESIS' AND id = 1"), 1);
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn cluster_of(school: &School) -> String {
    school.ask("SELECT system_identifier::text FROM pg_control_system()")
}

fn a_restored_dump_goes_on_with_an_incarnation_and_verifies() {
    let school = School::active();
    school.flush_audit();
    wait_until(&school, "SELECT head IS NOT NULL FROM steward.ledger");
    let (ledger, head): (String, String) =
        (school.ask("SELECT ledger::text FROM steward.ledger"), school.ask("SELECT head FROM steward.ledger"));
    let [roles, database] = dump(&school);
    // With a system identifier of its own.
    let mut copy = Cluster::empty(&settings("enforce").each_ref().map(String::as_str));
    copy.start();
    copy.psql_file("postgres", "postgres", &roles);
    copy.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {HOME}")).expect("database");
    let mut copy = School::of(copy);
    copy.psql_file("postgres", HOME, &database);
    wait_until(&copy, "SELECT coalesce(last_id, 0) > 0 FROM steward.audit_status");
    let clusters = [cluster_of(&school), cluster_of(&copy)];
    let clusters = clusters.each_ref().map(String::as_str);
    assert_ne!(clusters[0], clusters[1]);
    goes_on_behind(&copy, "restored dump", &ledger, &head, clusters);
    assert_eq!(copy.records("operation_type = 'HEAD MISMATCH'"), 0);
    // It is said once.
    copy.restart();
    goes_on_behind(&copy, "restored dump", &ledger, &head, clusters);
}

fn an_extension_created_again_goes_on_with_an_incarnation_and_verifies() {
    let school = School::active();
    school.flush_audit();
    let ledger: String = school.ask("SELECT ledger::text FROM steward.ledger");
    let filed: String = school.ask("SELECT steward.chain_head()");
    sleep(Duration::from_millis(1_200));
    school.operate("postgres", "DROP EXTENSION pg_steward CASCADE");
    let set_up = "CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')";
    school.superuser().batch_execute(set_up).expect("a new start");
    wait_until(&school, "SELECT sequencer_alive AND coalesce(last_id, 0) > 0 FROM steward.audit_status");
    // The end of the old chain, or of a second before.
    let head: String = school.ask("SELECT ancestor_head FROM steward.ledger");
    let id = |line: &str| line.split(' ').nth(2).expect("an id").parse::<i64>().expect("an id");
    assert!(head.starts_with(&format!("pg_steward/1 {ledger} ")) && id(&head) >= id(&filed), "{head} after {filed}");
    let cluster = cluster_of(&school);
    goes_on_behind(&school, "extension or database created again", &ledger, &head, [&cluster, &cluster]);
    let explained = "operation_type = 'HEAD MISMATCH' AND details::jsonb ->> 'reason' LIKE '%; see INCARNATION'";
    assert_eq!(school.records(explained), 1);
}
