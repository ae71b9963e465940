//! A14: the chain goes back. A stale standby takes over, an old copy is restored, the server's counters are reset: what was
//! recorded since is gone, and the chain inside the database is whole all the same. An anchor or the witness must see it;
//! the chain itself says what it can know, and nothing of the lost history is read as if it were this one's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use postgres::error::SqlState;

use crate::cluster::succeed;
use crate::copies::put;
use crate::expect::expect_error;
use crate::failover::{catch_up, moves, restart_sequencer, wait_until};
use crate::retention::archive;
use crate::school::{HOME, School, ask};
use crate::trail::{Verdict, anchor, school_with_history, verify, work};
use crate::witness::Watched;

tests! {
    a14_a_stale_standby_that_is_promoted_is_found_by_anchor_and_witness,
    a14_an_old_base_backup_is_found_by_anchor_and_witness,
    a14_an_old_copy_overwrites_no_archive_of_the_lost_history,
    a14_the_spool_of_a_lost_history_is_never_misread,
    a14_a_write_ahead_log_that_was_reset_is_found_by_the_anchor,
    a14_a_transaction_counter_that_was_set_back_is_found_by_the_anchor,
    a14_another_system_identifier_is_on_record,
}

/// The verdict must be this kind of damage.
#[track_caller]
fn found(verdict: &Verdict, kind: &str, first_bad_id: i64) {
    assert!(!verdict.ok && verdict.anchored_to.is_none(), "{verdict:?}");
    assert_eq!((verdict.kind.as_str(), verdict.first_bad_id), (kind, Some(first_bad_id)), "{verdict:?}");
}

/// The checkpoint line of the chain's end, and its id.
#[track_caller]
fn head(school: &School) -> (String, i64) {
    school.flush_audit();
    let line: String = school.ask("SELECT steward.chain_head()");
    let id = line.split(' ').nth(2).and_then(|word| word.parse().ok()).expect("an id");
    (line, id)
}

/// The file of the head is written once a second.
fn wait_for_head_file() {
    sleep(Duration::from_millis(1_500));
}

/// Works until the chain is longer than it was when it was lost.
#[track_caller]
fn outgrow(school: &School, id: i64) {
    while school.ask::<i64>("SELECT max(id) FROM steward.chain") <= id {
        work(school, 10);
    }
}

/// What stood in the chain behind `restored` is gone: truncated first, then another history.
#[track_caller]
fn is_another_history(school: &School, line: &str, last: i64) {
    let restored = head(school).1;
    assert!(restored < last, "nothing is missing: the chain ends at {restored}, it ended at {last}");
    found(&verify(school, &anchor(line)), "truncated", restored + 1);
    assert!(verify(school, "").ok, "inside the database nothing is wrong");
    outgrow(school, last);
    found(&verify(school, &anchor(line)), "forked", last);
    assert!(verify(school, "").ok, "inside the database nothing is wrong");
}

fn a14_a_stale_standby_that_is_promoted_is_found_by_anchor_and_witness() {
    let mut watched = Watched::new(School::inactive());
    let mut standby = School::of(watched.school.standby(&[]));
    catch_up(&watched.school, &standby);
    standby.stop();
    work(&watched.school, 20);
    watched.look();
    let (line, last) = head(&watched.school);
    watched.school.stop();
    // Nobody is there that could tell it what it missed.
    standby.start();
    standby.promote();
    wait_until(&standby, "SELECT sequencer_alive FROM steward.audit_status");
    standby.flush_audit();
    let restored = head(&standby).1;
    watched.alarmed_at(&standby, "truncated", &format!("the chain ends at {restored}"));
    is_another_history(&standby, &line, last);
    watched.alarmed_at(&standby, "rewritten", "is not the one that was seen");
    assert_eq!(moves(&standby, "promotion", 1, 2), 1);
}

fn a14_an_old_base_backup_is_found_by_anchor_and_witness() {
    let mut watched = Watched::new(School::inactive());
    let mut old = School::of(watched.school.base_backup(&[]));
    work(&watched.school, 20);
    watched.look();
    let (line, last) = head(&watched.school);
    wait_for_head_file();
    watched.school.stop();
    // The head that was kept beside the tables is put back as well, as from a newer backup of the files.
    let kept = fs::read_to_string(watched.school.data().join("pg_steward/head")).expect("head");
    old.data_file("pg_steward/head", &kept);
    old.start();
    old.flush_audit();
    assert_eq!(old.records("operation_type = 'SERVER START' AND details LIKE '%copied from a running server%'"), 1);
    assert_eq!(old.records("operation_type = 'HEAD MISMATCH' AND details LIKE '%shorter than the head file%'"), 1);
    let restored = head(&old).1;
    watched.alarmed_at(&old, "truncated", &format!("the chain ends at {restored}"));
    is_another_history(&old, &line, last);
    watched.alarmed_at(&old, "rewritten", "is not the one that was seen");
}

/// The data directory as it is, beside itself; the server is stopped.
fn copy_data(school: &School, to: &str) -> PathBuf {
    let copy = school.file(to);
    put(school, &school.data(), &copy);
    copy
}

/// Puts the old copy in the place of the data directory, which is kept aside.
fn restore(school: &School, copy: &Path) -> PathBuf {
    let aside = school.file("lost");
    fs::rename(school.data(), &aside).expect("aside");
    fs::rename(copy, school.data()).expect("restore");
    aside
}

/// Closes the open segment with exactly this record, so that its file is named alike in every history.
#[track_caller]
fn close_segment_at(school: &School, id: i64) {
    let mut teacher = school.session("teacher_wang");
    let mut one = || {
        teacher.batch_execute("UPDATE app.student SET note = 'one' WHERE id = 1").expect("update");
        school.flush_audit();
    };
    // Reading the chain itself would be one more record.
    while head(school).1 < id {
        one();
    }
    assert_eq!(head(school).1, id);
    let closed: i64 = school.ask("SELECT count(*) FROM steward.segment");
    set_segment_records(school, 10);
    wait_until(school, &format!("SELECT count(*) > {closed} FROM steward.segment"));
    set_segment_records(school, 1_000_000);
    one();
}

/// By hand, which is no record, as long as nothing is active.
fn set_segment_records(school: &School, records: i64) {
    let set = format!("UPDATE steward.retention_policy SET segment_records = {records}");
    school.superuser().batch_execute(&set).expect("retention_policy");
}

fn a14_an_old_copy_overwrites_no_archive_of_the_lost_history() {
    let mut school = School::inactive();
    // Segments are closed where this says so and nowhere else.
    let terms = "SELECT steward.set_retention(online => '1 second', segment_records => 1000000)";
    school.superuser().batch_execute(terms).expect("set_retention");
    close_segment_at(&school, head(&school).1 + 12);
    let border = head(&school).1 + 50;
    school.stop();
    let copy = copy_data(&school, "copy");
    school.start();
    close_segment_at(&school, border);
    sleep(Duration::from_millis(1100));
    let lost = archive(&school);
    let contents: Vec<Vec<u8>> = lost.iter().map(|file| fs::read(file).expect("archive")).collect();
    let (line, last) = head(&school);
    school.stop();
    let aside = restore(&school, &copy);
    put(&school, &aside.join("pg_steward/archive"), &school.data().join("pg_steward/archive"));
    school.start();
    close_segment_at(&school, border);
    is_another_history(&school, &line, last);
    sleep(Duration::from_millis(1100));
    let present = archive(&school);
    for (file, content) in lost.iter().zip(&contents) {
        assert!(fs::read(file).expect("archive") == *content, "{} was overwritten", file.display());
    }
    // The same records have the same file, other records another one.
    assert!(lost.len() == 2 && present.len() == 2, "{lost:?} {present:?}");
    assert!(lost[0] == present[0] && lost[1] != present[1], "{lost:?} {present:?}");
    // Both histories are there for whoever compares them.
    let witness = |files: &[&PathBuf]| {
        let output = Command::new(env!("CARGO_BIN_EXE_steward-witness")).arg("verify").args(files).output();
        output.expect("steward-witness").status.code()
    };
    assert_eq!(witness(&[&lost[0], &lost[1]]), Some(0));
    assert_eq!(witness(&[&present[0], &present[1]]), Some(0));
    assert_eq!(witness(&[&lost[0], &lost[1], &present[1]]), Some(1));
}

/// The ids of the lost definitions are given anew, on the same timeline of the same cluster. What the lost server left in
/// its spool refers to the former ones.
fn a14_the_spool_of_a_lost_history_is_never_misread() {
    let mut school = School::with("enforce", &["steward.sequencer_interval = '60s'"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school.flush_audit();
    school.stop();
    let copy = copy_data(&school, "copy");
    school.start();
    let read = |school: &School, login: &str, statement: &str| {
        let mut session = school.session(login);
        for _ in 0..4 {
            session.query(statement, &[]).expect("select");
            school.flush_audit();
        }
        session
    };
    // Read often enough to be defined; then once more, and that waits in the spool.
    let lost = "SELECT name FROM app.student WHERE id = 7";
    let mut clerk = read(&school, "clerk_zhao", lost);
    for _ in 0..3 {
        clerk.query(lost, &[]).expect("select");
    }
    school.kill_9_postmaster();
    drop(clerk);
    let aside = restore(&school, &copy);
    school.start();
    for column in ["id", "phone", "note", "school_id", "id_card"] {
        drop(read(
            &school,
            "teacher_wang",
            &format!("SELECT {column} FROM app.guardian JOIN app.student USING (id) WHERE id = 7"),
        ));
    }
    let spool = |data: &Path| data.join("pg_steward/spool");
    let mut hand_over = school.server_program("/bin/cp");
    hand_over.arg("--recursive").arg("--no-target-directory").arg(spool(&aside)).arg(spool(&school.data()));
    succeed(hand_over);
    restart_sequencer(&school);
    let of_clerk =
        school.records("user_id = 'clerk_zhao' AND operation_type = 'SELECT' AND table_name = 'app.student'");
    let unreadable = school.records("operation_type = 'UNREADABLE' AND result = 'FAILURE'");
    // What was read before anything was defined has its content with it.
    assert!(of_clerk >= 1 && of_clerk + unreadable == 7, "{of_clerk} read right, {unreadable} unreadable");
    assert_eq!(school.records("user_id = 'teacher_wang' AND operation_type = 'SELECT'"), 20);
    assert_eq!(school.records("user_id LIKE '%missing%' OR operation_type LIKE '%missing%'"), 0);
    assert!(verify(&school, "").ok);
}

/// pg_resetwal on the stopped server.
#[track_caller]
fn reset(school: &School, arguments: &[&str]) {
    // Left by a crash; pg_resetwal asks for its removal.
    fs::remove_file(school.data().join("postmaster.pid")).ok();
    let mut reset = school.server_program("pg_resetwal");
    reset.args(arguments).arg(school.data());
    succeed(reset);
}

fn a14_a_write_ahead_log_that_was_reset_is_found_by_the_anchor() {
    let mut school =
        School::with("enforce", &["checkpoint_timeout = '1h'", "autovacuum = off", "bgwriter_lru_maxpages = 0"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    work(&school, 10);
    school.superuser().batch_execute("CHECKPOINT").expect("checkpoint");
    let (_, checkpointed) = head(&school);
    work(&school, 20);
    let (line, last) = head(&school);
    wait_for_head_file();
    school.kill_9_postmaster();
    // What was committed since the checkpoint is in the log only, and that is thrown away.
    reset(&school, &["--force"]);
    school.start();
    wait_until(&school, "SELECT sequencer_alive FROM steward.audit_status");
    let restored: i64 = school.ask("SELECT max(id) FROM steward.chain");
    assert!((checkpointed - 10..last).contains(&restored), "{checkpointed}, {restored}, {last}");
    let verdict = verify(&school, &anchor(&line));
    assert!(!verdict.ok, "{verdict:?}");
    assert!(school.records("operation_type = 'HEAD MISMATCH'") >= 1);
}

/// Rows of transactions that are to come are not seen; the chain looks cut, and cannot go on over them.
fn a14_a_transaction_counter_that_was_set_back_is_found_by_the_anchor() {
    let mut school = school_with_history();
    let then: i64 = school.ask("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 2");
    work(&school, 20);
    let (line, last) = head(&school);
    school.stop();
    reset(&school, &["-x", &then.to_string()]);
    school.start();
    let mut session = school.superuser();
    let seen: i64 = ask(&mut session, "SELECT max(id) FROM steward.chain");
    assert!(seen < last, "the chain ends at {seen}");
    found(&verify(&school, &anchor(&line)), "truncated", seen + 1);
    // Nor does anybody say that all is chained.
    let flushed = session.query("SELECT steward.flush_audit('3 s')", &[]);
    expect_error(flushed, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "sequencer", "log");
}

fn a14_another_system_identifier_is_on_record() {
    let mut school = school_with_history();
    let (line, _) = head(&school);
    let next: String = school.ask("SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000)::text");
    let oid: String = school.ask("SELECT (max(oid)::bigint + 10000)::text FROM pg_class");
    let before: String = school.ask("SELECT system_identifier::text FROM pg_control_system()");
    school.stop();
    fs::write(school.data().join("global/pg_control"), "").expect("pg_control");
    reset(&school, &["--force", "-x", &next, "-o", &oid, "-l", "0000000100000000000000FF"]);
    school.start();
    let after: String = school.ask("SELECT system_identifier::text FROM pg_control_system()");
    assert_ne!(before, after);
    let said = format!(
        "operation_type = 'INCARNATION' AND details::jsonb @> '{{\"reason\": \"pg_upgrade or pg_resetwal\",
            \"old_system_identifier\": \"{before}\", \"system_identifier\": \"{after}\"}}'"
    );
    assert_eq!(school.records(&said), 1);
    // Nothing was lost, and the chain goes on.
    work(&school, 5);
    let verdict = verify(&school, &anchor(&line));
    assert!(verdict.ok && verdict.kind == "ok", "{verdict:?}");
    assert_eq!(school.ask::<String>("SELECT current_database()::text"), HOME);
}
