//! Attacks on the audit trail, A1 to A17, each with the verdict it must get and the first bad id. What no verification
//! inside the database can find, since the intruder may write all of it, is asserted as such: the anchor finds it.
//! A13 (one value passing for another) is in the pure tests of the chain.

use std::path::{Path, PathBuf};
use std::process::Command;

use postgres::error::SqlState;

use crate::cluster::succeed;
use crate::expect::{expect_bulk_refused, expect_error};
use crate::fault::sequencer;
use crate::school::{School, ask};
use crate::trail::{Trail, anchor, intruder, load, school_with_history, unload, verdict, verify, work};

tests! {
    a1_an_edited_record_is_found,
    a2_an_edited_prev_hash_is_found,
    a3_a_deleted_record_is_found,
    a4_a_forged_or_repeated_record_is_found,
    a5_reordered_records_are_found,
    a6_a_cut_tail_is_found_by_the_anchor,
    a7_a_cut_beginning_is_found,
    a8_a_fork_is_found,
    a9_a_rewritten_chain_is_found_by_the_anchor,
    a10_an_edited_head_is_found,
    a11_a_backdated_record_shows_in_the_order_of_ids,
    a11_what_the_sequencer_sealed_and_somebody_backdated_is_found,
    a12_an_edited_spool_file_leaves_a_record,
    a12_an_edited_journal_row_leaves_a_record,
    a12_a_deleted_journal_row_is_missed,
    a14_a_restored_backup_is_found_by_the_anchor_and_says_so_itself,
    a14_a_recreated_extension_is_another_chain,
    a15_no_log_setting_hides_a_denial,
    a15_a_stopped_sequencer_shows,
    a16_a_byte_changed_in_the_tables_file_is_found,
    a16_a_changed_table_is_found,
    a16_a_row_hidden_from_the_index_is_found,
    a17_a_verification_of_nothing_or_of_too_little_is_not_ok,
}

const FIFTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 50";

fn a1_an_edited_record_is_found() {
    let mut trail = Trail::new();
    trail.found("UPDATE steward.chain SET record = pg_temp.other(record) WHERE id = 20", "edited", 20);
    // With its own hash recomputed: the next record does not follow it.
    let sealed = "UPDATE steward.chain SET record = pg_temp.other(record),
        hash = pg_temp.link(id, prev_hash, pg_temp.other(record)) WHERE id = 20";
    trail.found(sealed, "edited", 20);
    // With all hashes recomputed to the end.
    let last = trail.last;
    let resealed = "UPDATE steward.chain SET record = pg_temp.other(record) WHERE id = 20; SELECT pg_temp.reseal(20)";
    trail.found_by_anchor_only(resealed, "forked", last);
    // A record of an unknown format, and one that is none.
    trail.found("UPDATE steward.chain SET record = set_byte(record, 0, 255) WHERE id = 20", "edited", 20);
    let unknown = "UPDATE steward.chain SET record = set_byte(record, 0, 2) WHERE id = 20; SELECT pg_temp.reseal(20)";
    let [without, _] = trail.verdicts(unknown);
    assert_eq!((without.ok, without.kind.as_str(), without.first_bad_id), (false, "unknown_format", Some(20)));
    // It cannot be shown either, but the view must not hide the records around it.
    let readable = "SELECT count(*) FROM steward.audit_log WHERE id < 20";
    assert_eq!(trail.after(unknown, |session| ask::<i64>(session, readable)), 19);
}

fn a2_an_edited_prev_hash_is_found() {
    let mut trail = Trail::new();
    trail.found("UPDATE steward.chain SET prev_hash = sha256(prev_hash) WHERE id = 20", "edited", 20);
    trail.found("UPDATE steward.chain SET prev_hash = sha256(prev_hash) WHERE id = 1", "edited", 1);
    let last = trail.last;
    trail.found(&format!("UPDATE steward.chain SET prev_hash = sha256(prev_hash) WHERE id = {last}"), "edited", last);
}

fn a3_a_deleted_record_is_found() {
    let mut trail = Trail::new();
    trail.found("DELETE FROM steward.chain WHERE id = 20", "missing", 20);
    trail.found("DELETE FROM steward.chain WHERE id BETWEEN 20 AND 29", "missing", 20);
    trail.found("DELETE FROM steward.chain WHERE id = 20; SELECT pg_temp.pull(21)", "missing", 20);
    let joined = "DELETE FROM steward.chain WHERE id = 20; SELECT pg_temp.pull(21);
        UPDATE steward.chain SET prev_hash = (SELECT hash FROM steward.chain WHERE id = 19) WHERE id = 20";
    trail.found(joined, "missing", 20);
}

fn a4_a_forged_or_repeated_record_is_found() {
    let mut trail = Trail::new();
    let last = trail.last;
    let forged = "SELECT pg_temp.push(21); INSERT INTO steward.chain
        SELECT 21, pg_temp.other(record), hash, pg_temp.link(21, hash, pg_temp.other(record)) FROM steward.chain WHERE id = 20";
    trail.found(forged, "inserted", 21);
    let repeated = "SELECT pg_temp.push(21); INSERT INTO steward.chain
        SELECT 21, record, prev_hash, hash FROM steward.chain WHERE id = 20";
    trail.found(repeated, "inserted", 21);
    let behind = format!(
        "INSERT INTO steward.chain SELECT {last} + 1, record, prev_hash, hash FROM steward.chain WHERE id = 20"
    );
    trail.found(&behind, "inserted", last + 1);
    // Where no record can be: before the first, and without an id.
    for id in ["0", "-7", "NULL"] {
        let outside = format!(
            "SELECT pg_temp.unguard(); INSERT INTO steward.chain SELECT {id}, record, prev_hash, hash FROM steward.chain WHERE id = 20"
        );
        for verdict in trail.verdicts(&outside) {
            assert_eq!((verdict.ok, verdict.kind.as_str()), (false, "inserted"), "{id}: {verdict:?}");
        }
    }
}

fn a5_reordered_records_are_found() {
    let mut trail = Trail::new();
    let swapped = "UPDATE steward.chain AS a SET record = b.record, prev_hash = b.prev_hash, hash = b.hash
        FROM steward.chain AS b WHERE (a.id, b.id) IN ((20, 21), (21, 20))";
    trail.found(swapped, "reordered", 20);
    trail.found(&swapped.replace("21", "45"), "reordered", 20);
    let payloads = "UPDATE steward.chain AS a SET record = b.record
        FROM steward.chain AS b WHERE (a.id, b.id) IN ((20, 21), (21, 20))";
    trail.found(payloads, "reordered", 20);
    let permuted = "UPDATE steward.chain AS a SET record = b.record, prev_hash = b.prev_hash, hash = b.hash
        FROM steward.chain AS b WHERE a.id BETWEEN 20 AND 24 AND b.id = 20 + (a.id - 18) % 5";
    trail.found(permuted, "reordered", 20);
}

fn a6_a_cut_tail_is_found_by_the_anchor() {
    let mut trail = Trail::new();
    let last = trail.last;
    let cut = format!("DELETE FROM steward.chain WHERE id > {last} - 10");
    trail.found_by_anchor_only(&cut, "truncated", last - 9);
    // The server's own records hold the time at which they were sealed: put in later, they would tell.
    let continued = format!(
        "{cut}; DO $$ BEGIN FOR n IN 1..60 LOOP
            PERFORM pg_temp.append(record) FROM steward.chain WHERE id = n AND substr(record, 15, 10) <> 'pg_steward';
        END LOOP; END $$"
    );
    trail.found_by_anchor_only(&continued, "forked", last);
    // Nothing at all is not ok in any case.
    for verdict in trail.verdicts("DELETE FROM steward.chain") {
        assert_eq!((verdict.ok, verdict.checked, verdict.kind.as_str()), (false, 0, "empty"));
    }
}

fn a7_a_cut_beginning_is_found() {
    let mut trail = Trail::new();
    trail.found("DELETE FROM steward.chain WHERE id <= 20", "missing", 1);
    trail.found("DELETE FROM steward.chain WHERE id = 1", "missing", 1);
    // Moved to the front, with the genesis's prev_hash: still nothing that was record 1.
    let renumbered = "CREATE TEMP TABLE genesis AS SELECT prev_hash FROM steward.chain WHERE id = 1;
        DELETE FROM steward.chain WHERE id <= 20; UPDATE steward.chain SET id = -id; UPDATE steward.chain SET id = -id - 20;
        UPDATE steward.chain SET prev_hash = (SELECT prev_hash FROM genesis) WHERE id = 1";
    let [without, with] = trail.verdicts(renumbered);
    assert_eq!((without.ok, without.first_bad_id), (false, Some(1)), "{without:?}");
    assert_eq!((with.ok, with.first_bad_id), (false, Some(1)), "{with:?}");
}

fn a8_a_fork_is_found() {
    let mut trail = Trail::new();
    let branch = "SELECT pg_temp.unguard(); INSERT INTO steward.chain SELECT id, pg_temp.other(record), prev_hash,
        pg_temp.link(id, prev_hash, pg_temp.other(record)) FROM steward.chain WHERE id = 20";
    // Which of the two comes first is the disk's order; the other one forks, or is edited if it came first.
    for verdict in trail.verdicts(branch) {
        assert!(!verdict.ok && ["forked", "edited"].contains(&verdict.kind.as_str()), "{verdict:?}");
        assert_eq!(verdict.first_bad_id, Some(20), "{verdict:?}");
    }
    // Two auditors are shown two histories of the same length: each one's anchor refuses the other.
    let (genuine, last) = (trail.anchor.clone(), trail.last);
    let rewritten = "UPDATE steward.chain SET record = pg_temp.other(record) WHERE id = 5; SELECT pg_temp.reseal(5);
        SELECT pg_temp.cover_up()";
    let other: String = trail.after(rewritten, |session| ask(session, "SELECT steward.chain_head()"));
    assert_ne!(other, genuine);
    let refuses = |session: &mut _, line: &str| {
        let verdict = verdict(session, &format!("verify_chain({})", anchor(line)));
        assert_eq!((verdict.ok, verdict.kind.as_str(), verdict.first_bad_id), (false, "forked", Some(last)));
    };
    trail.after("SELECT 1", |session| refuses(session, &other));
    trail.after(rewritten, |session| refuses(session, &genuine));
    trail.after(rewritten, |session| assert!(verdict(session, &format!("verify_chain({})", anchor(&other))).ok));
}

fn a9_a_rewritten_chain_is_found_by_the_anchor() {
    let mut trail = Trail::new();
    let last = trail.last;
    let all = "UPDATE steward.chain SET record = pg_temp.other(record) WHERE id > 1; SELECT pg_temp.reseal(2)";
    trail.found_by_anchor_only(all, "forked", last);
    // A record taken out and everything behind it rewritten: the chain also ends early.
    let shorter = "DELETE FROM steward.chain WHERE id = 20; SELECT pg_temp.pull(21); SELECT pg_temp.reseal(20)";
    trail.found_by_anchor_only(shorter, "truncated", last);
}

fn a10_an_edited_head_is_found() {
    let mut trail = Trail::new();
    let last = trail.last;
    let hash = format!("UPDATE steward.chain SET hash = sha256(hash) WHERE id = {last}");
    trail.found(&hash, "edited", last);
    let sealed = format!(
        "UPDATE steward.chain SET record = pg_temp.other(record),
            hash = pg_temp.link(id, prev_hash, pg_temp.other(record)) WHERE id = {last}"
    );
    trail.found_by_anchor_only(&sealed, "forked", last);
    // The head that the ledger's row carries for a dump must be one that the chain had; the rest is as the sequencer left it.
    for changed in ["head = translate(head, 'ab', 'ba')", "boot = NULL"] {
        for verdict in trail.verdicts(&format!("UPDATE steward.ledger SET {changed}")) {
            assert_eq!((verdict.ok, verdict.kind.as_str()), (false, "catalog"), "{changed}: {verdict:?}");
        }
    }
    // What record 1 is bound to is not.
    for bound in ["ledger = gen_random_uuid()", "system_identifier = '1'"] {
        for verdict in trail.verdicts(&format!("UPDATE steward.ledger SET {bound}")) {
            assert_eq!((verdict.ok, verdict.first_bad_id), (false, Some(1)), "{bound}: {verdict:?}");
        }
    }
}

/// A clock that goes back is no damage of the chain: id order is chain order. It shows as a time before the one of the
/// record in front, and against the times of the checkpoint lines that were kept.
fn a11_a_backdated_record_shows_in_the_order_of_ids() {
    let mut trail = Trail::new();
    let backdated = "SELECT pg_temp.append(overlay(record PLACING int8send(0) FROM 5 FOR 8))
        FROM steward.chain ORDER BY id DESC LIMIT 1";
    let back = "SELECT count(*) FROM (SELECT operation_time < lag(operation_time) OVER (ORDER BY id) - interval '1 hour' AS back
        FROM steward.audit_log) AS step WHERE back";
    let [without, with] = trail.verdicts(backdated);
    assert!(without.ok && with.ok && with.kind == "ok", "{with:?}");
    assert_eq!(trail.after("SELECT 1", |session| ask::<i64>(session, back)), 0);
    assert_eq!(trail.after(backdated, |session| ask::<i64>(session, back)), 1);
}

fn a11_what_the_sequencer_sealed_and_somebody_backdated_is_found() {
    let mut trail = Trail::new();
    // The links are right again: nothing else is wrong.
    let backdated =
        "UPDATE steward.chain SET record = overlay(record PLACING int8send(0) FROM 5 FOR 8) WHERE id = 20; ";
    let last = "SELECT max(id) FROM steward.audit_log WHERE user_id = 'pg_steward'";
    let sealed = trail.after("SELECT 1", |session| ask::<i64>(session, last));
    assert!(sealed > 20);
    let reseal = format!("{backdated}SELECT pg_temp.reseal(20)").replace("20", &sealed.to_string());
    trail.found(&reseal, "backdated", sealed);
    // Forward is no better: then what was sealed next is before it.
    let first = "UPDATE steward.chain SET record = overlay(record PLACING int8send(4102444800000000) FROM 5 FOR 8)
        WHERE id = 1; UPDATE steward.chain SET hash = pg_temp.link(1, prev_hash, record) WHERE id = 1;
        SELECT pg_temp.reseal(2)";
    trail.found(first, "backdated", 2);
}

/// What is done now waits in spool and journal: the sequencer stands still until the server is killed.
pub fn crash_unchained(school: &mut School, work: impl FnOnce(&School)) {
    school.flush_audit();
    let worker = sequencer(school);
    school.signal("STOP", worker);
    work(school);
    school.kill_9_postmaster();
    school.signal("KILL", worker);
}

/// Files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found
}

/// Where a needle begins in a haystack.
fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Flips a bit of the only record with this word that waits in a lane of the stopped server.
pub fn edit_lane(school: &School, word: &str) {
    let denied = |bytes: &[u8]| position(bytes, word.as_bytes());
    let lanes: Vec<_> =
        files(&school.file("data/pg_steward")).into_iter().filter(|file| file.extension().is_some()).collect();
    let mut edited = 0;
    for lane in lanes {
        let mut bytes = std::fs::read(&lane).expect("lane");
        if let Some(at) = denied(&bytes) {
            bytes[at] ^= 1;
            std::fs::write(&lane, bytes).expect("lane");
            edited += 1;
        }
    }
    assert_eq!(edited, 1, "the denial waits in one lane");
}

fn a12_an_edited_spool_file_leaves_a_record() {
    let mut school = School::active();
    crash_unchained(&mut school, |school| {
        expect_bulk_refused(school.session("teacher_wang").batch_execute(FIFTY), "app.student");
    });
    edit_lane(&school, "bulk_write");
    school.start();
    assert_eq!(school.records("rule = 'bulk_write'"), 0);
    assert_eq!(school.records("operation_type = 'TORN SPOOL' AND result = 'FAILURE'"), 1);
    assert!(verify(&school, "").ok);
}

/// Does something to the journals of a server that crashed before what these statements recorded was chained, while the
/// library is not loaded.
pub fn attack_the_journal(school: &mut School, statements: &[&str], attack: &str) {
    crash_unchained(school, |school| {
        let mut teacher = school.session("teacher_wang");
        statements.iter().for_each(|statement| teacher.batch_execute(statement).expect(statement));
    });
    attack_waiting(school, statements.len(), attack);
}

/// Does something to the journals of a stopped server in which so many rows wait.
pub fn attack_waiting(school: &mut School, rows: usize, attack: &str) {
    school.configure(&["shared_preload_libraries = ''"]);
    school.start();
    let waiting = "SELECT count(*) FROM (TABLE steward.journal_0 UNION ALL TABLE steward.journal_1
        UNION ALL TABLE steward.journal_2) AS waiting";
    assert_eq!(school.ask::<i64>(waiting), rows as i64, "what waits in the journals");
    for which in 0..3 {
        school.superuser().batch_execute(&attack.replace('#', &which.to_string())).expect("attack");
    }
    load(school);
}

/// What the trail says of journals, in the order it was said.
pub fn said_of_journals(school: &School) -> Vec<String> {
    school.flush_audit();
    let said = "SELECT concat_ws(' ', operation_type, details::jsonb ->> 'rows', details::jsonb ->> 'records')
        FROM steward.audit_log WHERE operation_type LIKE '% JOURNAL' AND result = 'FAILURE' ORDER BY id";
    school.superuser().query(said, &[]).expect("records").iter().map(|row| row.get(0)).collect()
}

pub const TOUCH: &str = "UPDATE app.student SET note = 'x' WHERE id = 1";

/// An edit that does not put the row's checksum right shows. One that does, needs no more than that, and only a witness that
/// has seen the row could tell: the window is the sequencer's interval.
fn a12_an_edited_journal_row_leaves_a_record() {
    let mut school = School::active();
    let update = "operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'SUCCESS'";
    // A bit of the record itself, which is read all the same: it is there, and so is what is wrong with it.
    let edit = "UPDATE steward.journal_# SET batch = set_bit(batch, 8 * length(batch) - 8, 1 - get_bit(batch, 8 * length(batch) - 8))";
    attack_the_journal(&mut school, &[TOUCH], edit);
    assert_eq!(said_of_journals(&school), ["DAMAGED JOURNAL 1"]);
    let named = "SELECT count(*) FROM steward.audit_log d JOIN steward.chain c ON
            steward._record_bigint(c.record, 21) = (d.details::jsonb ->> 'xid')::bigint
        WHERE d.operation_type = 'DAMAGED JOURNAL' AND length(d.details::jsonb ->> 'sha256') = 64";
    let unreadable = "operation_type = 'UNREADABLE' AND details::jsonb ->> 'from' = 'damaged journal'";
    assert_eq!(school.ask::<i64>(named) + school.records(unreadable), 1, "its record is kept, or what is left of it");
    let before = school.records(update);
    // One that is no row any more.
    attack_the_journal(&mut school, &[TOUCH], "UPDATE steward.journal_# SET batch = '\\xdeadbeef'");
    assert_eq!(school.records(update), before);
    assert_eq!(said_of_journals(&school)[1..].iter().filter(|said| said.starts_with("DAMAGED JOURNAL 0")).count(), 1);
    assert!(verify(&school, "").ok, "the chain itself is whole");
}

/// What transactions end in otherwise is no such gap: `crash` and `failover` find no record of one.
fn a12_a_deleted_journal_row_is_missed() {
    let mut school = School::active();
    let delete = "DELETE FROM steward.journal_# WHERE ctid = (SELECT max(ctid) FROM steward.journal_#)";
    attack_the_journal(&mut school, &[TOUCH, TOUCH, TOUCH], delete);
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
    attack_the_journal(&mut school, &[TOUCH, TOUCH], "TRUNCATE steward.journal_#");
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1", "MISSING JOURNAL 2"]);
    // Nothing is said of what nobody touched, nor twice.
    attack_the_journal(&mut school, &[TOUCH, TOUCH], "SELECT 1");
    school.restart();
    assert_eq!(said_of_journals(&school).len(), 2);
    assert!(verify(&school, "").ok, "the chain itself is whole");
}

/// A copy of the data directory beside it.
fn copy(school: &School, from: &str, to: &str) {
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(school.file(from)).arg(school.file(to));
    succeed(cp);
}

fn a14_a_restored_backup_is_found_by_the_anchor_and_says_so_itself() {
    let mut school = school_with_history();
    school.stop();
    copy(&school, "data", "backup");
    school.start();
    work(&school, 10);
    let line: String = school.ask("SELECT steward.chain_head()");
    let last: i64 = line.split(' ').nth(2).and_then(|id| id.parse().ok()).expect("the head's id");
    assert!(verify(&school, "").ok);
    school.stop();
    let (data, backup) = (school.file("data"), school.file("backup"));
    // What the extension keeps beside the tables is still there, as after a restore of the tables alone.
    let kept = ["head", "verified"].map(|name| std::fs::read(data.join("pg_steward").join(name)).expect(name));
    std::fs::remove_dir_all(&data).expect("data");
    std::fs::rename(&backup, &data).expect("backup");
    for (name, content) in ["head", "verified"].into_iter().zip(kept) {
        std::fs::write(data.join("pg_steward").join(name), content).expect(name);
    }
    school.start();
    school.flush_audit();
    let restored: i64 = school.ask("SELECT max(id) FROM steward.chain");
    let cut = verify(&school, &anchor(&line));
    // Looking adds records of its own.
    assert!(cut.checked >= restored, "{cut:?}");
    assert_eq!((cut.ok, cut.kind.as_str(), cut.first_bad_id), (false, "truncated", Some(cut.checked + 1)), "{cut:?}");
    assert_eq!(verdict(&mut school.superuser(), "verify_new()").kind, "truncated");
    let says = "operation_type = 'HEAD MISMATCH' AND details LIKE '%shorter than the head file%'";
    assert_eq!(school.records(says), 1);
    // It goes on, and is another history from then on.
    work(&school, 20);
    let forked = verify(&school, &anchor(&line));
    assert_eq!((forked.ok, forked.kind.as_str(), forked.first_bad_id), (false, "forked", Some(last)), "{forked:?}");
    assert!(verify(&school, "").ok);
}

fn a14_a_recreated_extension_is_another_chain() {
    let school = school_with_history();
    let line: String = school.ask("SELECT steward.chain_head()");
    assert!(verify(&school, "").ok);
    school.operate("postgres", "DROP EXTENSION pg_steward CASCADE");
    let again = "CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')";
    school.superuser().batch_execute(again).expect("again");
    school.flush_audit();
    let other = verify(&school, &anchor(&line));
    assert_eq!((other.ok, other.kind.as_str(), other.first_bad_id), (false, "forked", Some(1)), "{other:?}");
    assert_eq!(verdict(&mut school.superuser(), "verify_new()").kind, "forked");
}

fn a15_no_log_setting_hides_a_denial() {
    let school = School::active();
    let mut superuser = school.superuser();
    superuser.batch_execute("SET log_min_messages = 'panic'; SET client_min_messages = 'error'").expect("set");
    superuser.batch_execute("SET log_min_error_statement = 'panic'").expect("set");
    expect_bulk_refused(superuser.batch_execute(FIFTY), "app.student");
    assert_eq!(school.records("user_id = 'postgres' AND result = 'DENIED' AND rule = 'bulk_write'"), 1);
}

fn a15_a_stopped_sequencer_shows() {
    let school = school_with_history();
    let pid: i32 = school.ask("SELECT sequencer_pid FROM steward.audit_status");
    let signal = |name: &str| {
        let mut kill = Command::new("kill");
        kill.args([name, &pid.to_string()]);
        succeed(kill);
    };
    signal("-STOP");
    // Writers go on; only the waiting one is told.
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'y' WHERE id = 1").expect("update");
    let late = school.superuser().query("SELECT steward.flush_audit('1500 ms')", &[]);
    let lag: bool = school.ask("SELECT lag > interval '1 second' FROM steward.audit_status");
    signal("-CONT");
    expect_error(late, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "timeout", "");
    assert!(lag, "audit_status shows no lag");
    assert_eq!(school.records("operation_type = 'UPDATE' AND user_id = 'teacher_wang'"), 31);
}

fn a16_a_byte_changed_in_the_tables_file_is_found() {
    let mut school = school_with_history();
    let mut session = school.superuser();
    session.batch_execute("CHECKPOINT").expect("checkpoint");
    let path: String = ask(&mut session, "SELECT pg_relation_filepath('steward.chain_1')");
    let record: Vec<u8> = ask(&mut session, "SELECT record FROM steward.chain WHERE id = 20");
    drop(session);
    school.stop();
    let file = school.file("data").join(path);
    let mut bytes = std::fs::read(&file).expect("table");
    let at = position(&bytes, &record).expect("the record is stored plainly");
    bytes[at + record.len() - 1] ^= 1;
    std::fs::write(&file, bytes).expect("table");
    school.start();
    let verdict = verify(&school, "");
    assert_eq!((verdict.ok, verdict.kind.as_str(), verdict.first_bad_id), (false, "edited", Some(20)), "{verdict:?}");
}

fn a16_a_changed_table_is_found() {
    let mut trail = Trail::new();
    // A forged table beside the genuine one.
    let attached = "CREATE TABLE app.forged () INHERITS (steward.chain); INSERT INTO app.forged
        SELECT id, pg_temp.other(record), prev_hash, hash FROM steward.chain_1 WHERE id = 20";
    for verdict in trail.verdicts(attached) {
        assert_eq!((verdict.ok, verdict.first_bad_id), (false, Some(20)), "{verdict:?}");
    }
    let last = trail.last;
    let behind = format!(
        "CREATE TABLE app.forged () INHERITS (steward.chain);
         INSERT INTO app.forged SELECT {last} + 1, record, prev_hash, hash FROM steward.chain_1 WHERE id = 20"
    );
    trail.found(&behind, "inserted", last + 1);
    // A part of the genuine one put elsewhere, and taken away.
    let detached = "CREATE TABLE app.part () INHERITS (steward.chain);
        INSERT INTO app.part SELECT * FROM steward.chain_1 WHERE id BETWEEN 20 AND 29;
        DELETE FROM steward.chain_1 WHERE id BETWEEN 20 AND 29";
    trail.found(detached, "altered_table", 20);
    trail.found(&format!("{detached}; ALTER TABLE app.part NO INHERIT steward.chain"), "missing", 20);
    // What is altered besides is in `altered`.
}

fn a16_a_row_hidden_from_the_index_is_found() {
    let mut school = school_with_history();
    let hide = |ready: bool| {
        format!(
            "UPDATE pg_index SET indisready = {ready}, indisvalid = {ready} WHERE indrelid = 'steward.chain_1'::regclass;"
        )
    };
    let last: i64 = school.ask("SELECT max(id) FROM steward.chain");
    unload(&mut school);
    let mut session = intruder(&school);
    session.batch_execute(&hide(false)).expect("hide");
    session
        .batch_execute("INSERT INTO steward.chain_1 SELECT 20, pg_temp.other(record), prev_hash, hash FROM steward.chain WHERE id = 20")
        .expect("insert");
    session.batch_execute(&hide(true)).expect("show");
    session.batch_execute("SET enable_seqscan = off").expect("set");
    assert_eq!(ask::<i64>(&mut session, "SELECT count(*) FROM steward.chain WHERE id = 20"), 1, "the index hides it");
    let verdict = verdict(&mut session, "verify_chain()");
    assert!(!verdict.ok && verdict.checked > last && verdict.first_bad_id == Some(20), "{verdict:?}");
}

fn a17_a_verification_of_nothing_or_of_too_little_is_not_ok() {
    let mut trail = Trail::new();
    let (line, last) = (trail.anchor.clone(), trail.last);
    let mut asked = |call: &str| trail.after("SELECT 1", |session| verdict(session, call));
    let nothing = asked("verify_chain(from_id => 1000000)");
    assert_eq!((nothing.ok, nothing.checked, nothing.kind.as_str()), (false, 0, "empty"));
    // Without an anchor the verdict says so; with one before the range nothing can be said.
    assert_eq!(asked("verify_chain()").kind, "not_anchored");
    assert_eq!(asked(&format!("verify_chain({last}, {last})")).kind, "not_anchored");
    let early: String = trail.after(&format!("DELETE FROM steward.chain WHERE id > {last} - 20"), |session| {
        ask(session, "SELECT steward.chain_head()")
    });
    let unreached = trail
        .after("SELECT 1", |session| verdict(session, &format!("verify_chain(from_id => {last}, {})", anchor(&early))));
    assert_eq!((unreached.ok, unreached.kind.as_str(), unreached.anchored_to), (false, "not_anchored", None));
    let beyond = trail.after("SELECT 1", |session| {
        session.query(&format!("SELECT * FROM steward.verify_chain(to_id => 5, {})", anchor(&line)), &[])
    });
    expect_error(beyond, &SqlState::INVALID_PARAMETER_VALUE, "", "");
    // A range that begins behind the damage sees what it follows; it says what it has read.
    let edited = "UPDATE steward.chain SET hash = sha256(hash) WHERE id = 19";
    let behind = trail.after(edited, |session| verdict(session, "verify_chain(from_id => 20)"));
    assert!(!behind.ok && behind.checked == last - 19, "{behind:?}");
}
