//! A12: rows of the journal are counted when they commit, whichever way, and missed when they are deleted before they are
//! chained. The files of counts can be truncated, altered and removed: that is told, and stops nobody.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::attack::{TOUCH, attack_the_journal, attack_waiting, crash_unchained, said_of_journals};
use crate::fault::sequencer;
use crate::school::{HOME, School, ask};
use crate::trail::{intruder, load, unload, verdict, verify, work};

tests! {
    a12_a_deleted_row_of_an_asynchronous_commit_is_missed,
    a12_a_deleted_row_of_a_prepared_transaction_is_missed,
    a12_another_governed_database_is_no_gap,
    a12_an_extension_created_again_begins_to_count,
    a12_a_new_extension_misses_a_row_at_once,
    a12_what_a_transaction_wrote_before_it_created_the_extension_is_no_gap,
    a12_a_damaged_file_of_counts_stops_nobody_and_is_told,
    a12_a_row_that_hides_a_deleted_one_is_found_and_told,
}

const LAST: &str = "DELETE FROM steward.journal_# WHERE ctid = (SELECT max(ctid) FROM steward.journal_#)";

fn a12_a_deleted_row_of_an_asynchronous_commit_is_missed() {
    let mut school = School::inactive();
    // The last commit, a synchronous one, has the others flushed.
    let off = format!("BEGIN; SET LOCAL synchronous_commit = off; {TOUCH}; COMMIT");
    let switched = format!("BEGIN; {TOUCH}; SET LOCAL synchronous_commit = off; COMMIT");
    let others = "DELETE FROM steward.journal_# WHERE ctid <> (SELECT max(ctid) FROM steward.journal_#)";
    attack_the_journal(&mut school, &[&off, &switched, TOUCH], others);
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 2"]);
    // What the crash itself took back is no gap: the WAL of these commits was never written.
    let walwriter: i32 = school.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
    crash_unchained(&mut school, |school| {
        school.signal("STOP", walwriter);
        let mut teacher = school.session("teacher_wang");
        (0..3).for_each(|_| teacher.batch_execute(&off.replace("'x'", "'lost'")).expect("update"));
    });
    school.signal("KILL", walwriter);
    school.start();
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 2"]);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'lost'"), 0, "nothing was lost");
    assert!(verify(&school, "").ok, "the chain itself is whole");
}

fn a12_a_deleted_row_of_a_prepared_transaction_is_missed() {
    let mut school = School::with("enforce", &["max_prepared_transactions = 5"]);
    let prepare = |school: &School, id: i32| {
        let touch = TOUCH.replace("id = 1", &format!("id = {id}"));
        let prepare = format!("BEGIN; {touch}; PREPARE TRANSACTION 'p{id}'");
        school.session("teacher_wang").batch_execute(&prepare).expect("prepare");
    };
    prepare(&school, 1);
    attack_the_journal(&mut school, &["COMMIT PREPARED 'p1'"], LAST);
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
    // In another life of the server they end either way, and nobody is suspected.
    let updates = "operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'SUCCESS'";
    let before = school.records(updates);
    prepare(&school, 2);
    prepare(&school, 3);
    attack_the_journal(&mut school, &[TOUCH], "SELECT 1");
    let ends = ["COMMIT PREPARED 'p2'", "ROLLBACK PREPARED 'p3'"];
    ends.iter().for_each(|end| school.session("teacher_wang").batch_execute(end).expect(end));
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
    assert_eq!(school.records(updates), before + 2);
    // Who is struck down while it writes leaves a part of a file and has prepared nothing.
    let files = school.data().join("pg_steward/journal/prepared");
    fs::write(files.join("0000000000000333.new"), [0; 5]).expect("a part of a file");
    school.restart();
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
    let left = fs::read_dir(files).expect("directory").count();
    assert_eq!(left, 0, "files of prepared transactions that have ended");
}

fn a12_another_governed_database_is_no_gap() {
    let mut school = School::inactive();
    school.superuser().batch_execute("CREATE DATABASE second").expect("database");
    let govern = |school: &mut School, database: &str| {
        school.configure(&[&format!("steward.database = '{database}'")]);
        school.start();
    };
    school.stop();
    govern(&mut school, "second");
    let create = "CREATE EXTENSION pg_steward; CREATE TABLE t (i int); SELECT steward.protect('t')";
    school.connect("postgres", "second").batch_execute(create).expect("extension");
    let said = |school: &School| -> i64 {
        let mut superuser = school.connect("postgres", "second");
        superuser.batch_execute("SELECT steward.flush_audit()").expect("flush_audit");
        let said =
            "SELECT count(*) FROM steward.audit_log WHERE operation_type IN ('MISSING JOURNAL', 'DAMAGED COUNT')";
        superuser.query_one(said, &[]).expect("records").get(0)
    };
    assert_eq!(said(&school), 0);
    school.stop();
    govern(&mut school, HOME);
    // Here rows wait, which are no business of the other.
    crash_unchained(&mut school, |school| school.session("teacher_wang").batch_execute(TOUCH).expect("touch"));
    govern(&mut school, "second");
    assert_eq!(said(&school), 0);
    school.stop();
    govern(&mut school, HOME);
    assert_eq!(said_of_journals(&school), [""; 0]);
    assert_eq!(school.records("operation_type = 'DAMAGED COUNT'"), 0);
}

/// What others counted before, and what commits meanwhile, is no gap of the new installation; what is deleted later is one.
fn a12_an_extension_created_again_begins_to_count() {
    let mut school = School::inactive();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(TOUCH).expect("touch");
    school.operate("postgres", "DROP EXTENSION pg_steward CASCADE");
    let again = "CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')";
    school.superuser().batch_execute(again).expect("again");
    for _ in 0..200 {
        teacher.batch_execute(TOUCH).expect("touch");
    }
    drop(teacher);
    assert_eq!(said_of_journals(&school), [""; 0]);
    attack_the_journal(&mut school, &[TOUCH, TOUCH], LAST);
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
}

/// Nothing of what the new one was to take was ever chained.
fn a12_a_new_extension_misses_a_row_at_once() {
    let mut school = School::inactive();
    school.session("teacher_wang").batch_execute(TOUCH).expect("touch");
    school.operate("postgres", "DROP EXTENSION pg_steward CASCADE");
    let worker: i32 = sequencer(&school);
    school.signal("STOP", worker);
    let again = "CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')";
    school.superuser().batch_execute(again).expect("again");
    (0..2).for_each(|_| school.session("teacher_wang").batch_execute(TOUCH).expect("touch"));
    school.kill_9_postmaster();
    school.signal("KILL", worker);
    // The protection's own, and two updates.
    attack_waiting(&mut school, 3, LAST);
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
}

fn a12_what_a_transaction_wrote_before_it_created_the_extension_is_no_gap() {
    let school = School::with("observe", &[]);
    let mut superuser = school.superuser();
    let refused = superuser.batch_execute("SELECT * FROM steward._journal_counted()");
    assert!(refused.expect_err("not for callers").to_string().contains("db error"));
    // Of different texts: the same one again would be counted in one record.
    let many = "DO $$ BEGIN FOR i IN 1..10000 LOOP
        EXECUTE format('UPDATE app.student AS s%s SET note = ''x'' WHERE id = 1', i); END LOOP; END $$";
    let again = "DROP EXTENSION pg_steward CASCADE; CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')";
    for _ in 0..2 {
        superuser.batch_execute("BEGIN").expect("begin");
        superuser.batch_execute(many).expect("updates");
        let written = "SELECT (SELECT count(*) FROM steward.journal_0) + (SELECT count(*) FROM steward.journal_1)
            + (SELECT count(*) FROM steward.journal_2)";
        assert!(superuser.query_one(written, &[]).expect("rows").get::<_, i64>(0) > 1, "nothing was written out");
        superuser.batch_execute(again).expect("again");
        superuser.batch_execute(TOUCH).expect("touch");
        superuser.batch_execute("COMMIT").expect("commit");
        school.session("teacher_wang").batch_execute(TOUCH).expect("touch");
        assert_eq!(said_of_journals(&school), [""; 0]);
    }
}

/// The file of counts of the running server: the newest.
fn newest(school: &School) -> PathBuf {
    let files = fs::read_dir(school.data().join("pg_steward/journal")).expect("directory");
    let files = files.map(|file| file.expect("file").path()).filter(|path| path.is_file());
    files.max_by_key(|path| path.metadata().expect("file").modified().expect("time")).expect("a file of counts")
}

/// Waits for what no statement need be asked about.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(100));
    }
}

fn a12_a_damaged_file_of_counts_stops_nobody_and_is_told() {
    let mut school = School::inactive();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(TOUCH).expect("touch");
    let told = |school: &School, found: &str| {
        school.records(&format!(
            "operation_type = 'DAMAGED COUNT' AND result = 'FAILURE' AND details::jsonb ->> 'found' {found}"
        ))
    };
    // While the server runs: it lies there again, as it was, and those who were connected go on.
    let path = newest(&school);
    let length = path.metadata().expect("file").len();
    fs::File::options().write(true).open(&path).expect("file").set_len(0).expect("truncate");
    teacher.batch_execute(TOUCH).expect("touch");
    wait_for("it is written anew", || path.metadata().is_ok_and(|file| file.len() == length));
    let content = fs::read(&path).expect("file");
    let file = fs::File::options().write(true).open(&path).expect("file");
    file.write_all_at(&vec![0; content.len() - 64], 64).expect("zeros");
    wait_for("it counts again", || {
        fs::read(&path).is_ok_and(|now| now.len() == content.len() && now[64..] == content[64..])
    });
    teacher.batch_execute(TOUCH).expect("touch");
    // What is written behind the end of a truncated file leaves a hole in it.
    assert_eq!((told(&school, "IN ('truncated', 'altered')"), told(&school, "= 'absent'")), (2, 0));
    drop(teacher);
    attack_the_journal(&mut school, &[TOUCH, TOUCH], LAST);
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
    // While it does not run.
    let path = newest(&school);
    school.stop();
    fs::remove_file(path).expect("remove");
    school.start();
    assert_eq!(told(&school, "= 'absent'"), 1);
    work(&school, 1);
    let path = newest(&school);
    school.stop();
    let mut content = fs::read(&path).expect("file");
    *content.iter_mut().skip(64).find(|byte| **byte != 0).expect("something was counted") ^= 1;
    fs::write(&path, content).expect("file");
    school.start();
    let altered = told(&school, "= 'altered'");
    assert!(altered > 0);
    let path = newest(&school);
    school.stop();
    fs::File::options().write(true).open(&path).expect("file").set_len(64).expect("truncate");
    school.start();
    assert!(told(&school, "= 'truncated'") > 0);
    assert_eq!(told(&school, "= 'altered'"), altered);
    assert_eq!(said_of_journals(&school), ["MISSING JOURNAL 1"]);
    school.restart();
    assert_eq!(school.records("operation_type = 'DAMAGED COUNT'"), 5);
}

/// Whoever lets the tables say that a deleted row was taken, has a verification fail, and the sequencer say so.
fn a12_a_row_that_hides_a_deleted_one_is_found_and_told() {
    let mut school = School::active();
    let hide = "WITH gone AS (DELETE FROM steward.journal_# WHERE ctid = (SELECT max(ctid) FROM steward.journal_#) RETURNING 1)
        UPDATE steward.journal_taken SET rows = rows + (SELECT count(*) FROM gone) WHERE rows < 9223372036854775807";
    attack_the_journal(&mut school, &[TOUCH, TOUCH], hide);
    assert_eq!(said_of_journals(&school), [""; 0], "it is hidden");
    let told = |school: &School, table: &str| {
        school.flush_audit();
        school.records(&format!(
            "operation_type = 'POSITIONS ALTERED' AND result = 'FAILURE' AND details::jsonb = '{{\"tables\": [\"{table}\"]}}'"
        ))
    };
    assert_eq!(told(&school, "steward.journal_taken"), 1);
    let alert = "SELECT count(*) > 0 FROM steward.alert WHERE rule = 'records_in_doubt'";
    wait_for("an alert", || school.ask(alert));
    // A lane that is said to be chained further than it was, and one that is forgotten.
    for change in ["UPDATE steward.spool_offset SET byte_offset = byte_offset + 64", "DELETE FROM steward.spool_offset"]
    {
        let before = told(&school, "steward.spool_offset");
        unload(&mut school);
        let mut session = intruder(&school);
        assert!(verdict(&mut session, "verify_chain()").ok, "nothing was changed since it was told");
        session.batch_execute(change).expect(change);
        for call in ["verify_chain()", "verify_new()"] {
            let found = verdict(&mut session, call);
            let newest: i64 = ask(&mut session, "SELECT max(id) FROM steward.chain");
            let expected = (false, "catalog", Some(newest + 1));
            assert_eq!((found.ok, found.kind.as_str(), found.first_bad_id), expected, "{change}: {call}");
        }
        load(&mut school);
        assert_eq!(told(&school, "steward.spool_offset"), before + 1, "{change}");
    }
    // It is told once, whatever happens then.
    let all = school.records("operation_type = 'POSITIONS ALTERED'");
    work(&school, 3);
    assert!(verify(&school, "").ok);
    school.restart();
    work(&school, 3);
    crash_unchained(&mut school, |school| school.session("teacher_wang").batch_execute(TOUCH).expect("touch"));
    school.start();
    work(&school, 3);
    assert!(verify(&school, "").ok);
    assert_eq!((all, school.records("operation_type = 'POSITIONS ALTERED'")), (3, 3));
}
