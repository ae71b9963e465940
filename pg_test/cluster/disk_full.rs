//! A full disk: what must be on record is refused, what need not be goes on and is counted; once there is room the count
//! is chained as LOST, nothing hangs, and every committed change has its record.

use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;

use crate::account::{self, check};
use crate::cluster::succeed;
use crate::expect::{expect_bulk_refused, expect_error};
use crate::fault::{report, wait_for, wait_for_recovery};
use crate::school::{School, execute};
use crate::trail::unload;
use crate::write_out;

tests! {
    a_full_spool_refuses_denials_and_counts_reads,
    a_full_spool_refuses_what_is_more_than_normal_and_nothing_else,
    a_lane_that_is_due_to_rotate_is_no_room,
    a_full_data_directory_refuses_writes_and_counts_reads,
    full_journals_refuse_writes_and_lose_no_record,
    a_server_that_a_full_disk_brought_down_comes_back_with_its_records,
}

/// Room for the data directory of a test, and for its WAL.
const MEGABYTES: u32 = 128;

/// The statement was refused for want of room, or for want of an operation and is on record.
#[track_caller]
fn expect_no_room<T>(result: Result<T, postgres::Error>, or: &[SqlState]) {
    let error = result.err().expect("the statement succeeded, but nobody may record it");
    let error = error.as_db_error().unwrap_or_else(|| panic!("the connection failed: {error:?}"));
    if [SqlState::IO_ERROR, SqlState::DISK_FULL].contains(error.code()) {
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no HINT: {error:?}");
    } else {
        assert!(or.contains(error.code()), "{error:?}");
    }
}

fn read(session: &mut Client, times: i32) {
    for id in 1..=times {
        session.query("SELECT name FROM app.student WHERE id = $1", &[&id]).expect("a read goes on");
    }
}

/// Refused whether or not there is room; the record of the refusal may not fit.
fn ask_for_too_much(session: &mut Client, times: i32) {
    for _ in 0..times {
        let bulk = session.batch_execute("UPDATE app.student SET note = 'moved' WHERE id <= 60");
        expect_no_room(bulk, &[SqlState::INSUFFICIENT_PRIVILEGE]);
    }
}

/// Records that were lost, as the chain says.
fn lost(school: &School) -> i64 {
    school.flush_audit();
    school.ask("SELECT coalesce(sum(rows), 0)::bigint FROM steward.audit_log WHERE operation_type = 'LOST'")
}

/// A school whose spool alone lies on a small disk.
fn school_with_small_spool() -> School {
    let mut school = account::school(&[]);
    // The first record that needs it makes the spool.
    read(&mut school.session("region_liu"), 1);
    school.stop();
    school.put_on_small_disk("data/pg_steward/spool", MEGABYTES / 8);
    school.start();
    school
}

fn a_full_spool_refuses_denials_and_counts_reads() {
    let school = school_with_small_spool();
    let (mut clerk, mut teacher) = (school.session("clerk_zhao"), school.session("teacher_wang"));
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'approved' WHERE id <= 60");
    school.release(&op_no);
    read(&mut clerk, 5);
    school.flush_audit();
    school.small_disk().fill();

    read(&mut clerk, 100);
    // A session without a lane file of its own.
    read(&mut school.session("clerk_zhao"), 10);
    ask_for_too_much(&mut teacher, 20);
    // More sessions than there ever were: the last has a slot without a lane, and so without a reserve.
    let others: Vec<Client> = (0..8).map(|_| school.session("region_liu")).collect();
    expect_no_room(execute(&mut school.session("region_chen"), &op_no), &[]);
    drop(others);

    school.small_disk().free();
    let lost = lost(&school);
    let reads = school.records("operation_type = 'SELECT' AND user_id = 'clerk_zhao' AND result = 'SUCCESS'");
    let denials = school.records("result = 'DENIED' AND user_id = 'teacher_wang'");
    report(&format!("spool full: 136 events, {reads} reads and {denials} denials on record, LOST({lost})"));
    // The attempt to execute is the one that is neither. Logins and ends of the ten late sessions may be among the lost.
    assert!((135..=156).contains(&(reads + denials + lost)), "{reads} reads, {denials} denials, {lost} lost");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    assert_eq!(school.ask::<i64>("SELECT lost FROM steward.audit_status"), 0);
    check(&school);
    read(&mut clerk, 1);
    expect_no_room(teacher.batch_execute("TRUNCATE app.student"), &[SqlState::INSUFFICIENT_PRIVILEGE]);
    assert_eq!(school.records("result = 'DENIED' AND user_id = 'teacher_wang'"), denials + 1);
}

/// A change of a sensitive column: important, so it runs without an approval.
const IMPORTANT: &str = "UPDATE app.student SET id_card = id_card || '-new' WHERE id = 3";
const NORMAL: &str = "UPDATE app.student SET note = note || '.' WHERE id = 4";

#[track_caller]
fn expect_no_space<T>(result: Result<T, postgres::Error>) {
    let error = expect_error(result, &SqlState::DISK_FULL, "spool", "Free space");
    assert!(error.message().contains("refused"), "{error:?}");
}

fn a_full_spool_refuses_what_is_more_than_normal_and_nothing_else() {
    let school = school_with_small_spool();
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'approved' WHERE id <= 60");
    school.release(&op_no);
    // This session has its lane since its login, and the reserve in it; the others find no room for one.
    let mut early = school.session("teacher_wang");
    read(&mut early, 1);
    school.flush_audit();
    school.small_disk().fill();
    let mut late = school.session("teacher_wang");
    let mut region = school.session("region_chen");

    expect_no_space(late.batch_execute(IMPORTANT));
    // An attempt to execute is itself a record.
    expect_no_room(execute(&mut region, &op_no), &[]);
    late.batch_execute(NORMAL).expect("normal work goes on");
    read(&mut late, 10);
    late.batch_execute(&format!("BEGIN; {NORMAL}; SELECT name FROM app.student WHERE id = 4; COMMIT"))
        .expect("a block");
    // While the reserve is whole there is room for what may follow; reads use it up.
    early.batch_execute(IMPORTANT).expect("the reserve is whole");
    let mut used = 0;
    let refused = loop {
        match early.batch_execute(IMPORTANT) {
            Ok(()) => read(&mut early, 20),
            refused => break refused,
        }
        used += 20;
        assert!(used < 5_000, "the reserve never ends");
    };
    expect_no_space(refused);
    early.batch_execute(NORMAL).expect("normal work goes on");
    read(&mut early, 10);

    school.small_disk().free();
    late.batch_execute(IMPORTANT).expect("there is room");
    execute(&mut region, &op_no).expect("there is room");
    let changed: String = school.ask("SELECT id_card FROM app.student WHERE id = 3");
    let important = school.records("operation_type = 'UPDATE' AND tier = 'important' AND result = 'SUCCESS'");
    assert_eq!(changed.matches("-new").count() as i64, important, "{changed}");
    assert!(important >= 3);
    let normal =
        "operation_type = 'UPDATE' AND tier = 'normal' AND result = 'SUCCESS' AND statement LIKE '%note || ?%'";
    assert_eq!(school.records(normal), 3);
    let lost = lost(&school);
    let reads = school.records("operation_type = 'SELECT' AND user_id = 'teacher_wang' AND result = 'SUCCESS'");
    report(&format!("spool full: {used} reads used the reserve up, {reads} reads on record, LOST({lost})"));
    check(&school);
}

/// The next record goes to another file, which has no reserve: the one in the full file is not the one that counts.
fn a_lane_that_is_due_to_rotate_is_no_room() {
    let school = school_with_small_spool();
    let mut teacher = school.session("teacher_wang");
    // Long texts fill a lane; each differs, or it would be defined.
    let columns = (0..400).map(|n| format!("name AS n{n}")).collect::<Vec<_>>().join(", ");
    let spool = school.data().join("pg_steward/spool");
    let longest = || {
        let starts = std::fs::read_dir(&spool).expect("spool").map(|start| start.expect("start").path());
        let lanes = starts.flat_map(|start| std::fs::read_dir(start).into_iter().flatten());
        lanes.filter_map(|lane| lane.ok()?.metadata().ok()).map(|lane| lane.len()).max().unwrap_or_default()
    };
    let mut number = 0;
    while longest() <= 8 << 20 {
        number += 1;
        assert!(number < 20_000, "the lane does not grow");
        let long = format!("SELECT s{number}.id, {columns} FROM app.student AS s{number} WHERE id = 7");
        teacher.query(&long, &[]).expect("a read");
    }
    school.small_disk().fill();
    expect_no_space(teacher.batch_execute(IMPORTANT));
    teacher.batch_execute(NORMAL).expect("normal work goes on");
    school.small_disk().free();
    teacher.batch_execute(IMPORTANT).expect("there is room");
    check(&school);
}

/// Rows that are there before the disk is full: the tables then have pages with some room.
const ROWS_BEFORE: i64 = 50;

/// A school whose whole data directory lies on a small disk.
fn school_on_small_disk(settings: &[&str]) -> School {
    let mut school = account::school(settings);
    let mut teacher = school.session("teacher_wang");
    for number in 1..=ROWS_BEFORE {
        let row = format!("INSERT INTO app.tally (client, sequence) VALUES ('before', {number})");
        teacher.batch_execute(&row).expect("there is room");
    }
    school.flush_audit();
    school.stop();
    school.put_on_small_disk("data", MEGABYTES);
    school.start();
    school
}

/// Writes single rows until there is no room. Returns how many were committed.
fn write_until_full(session: &mut Client) -> i64 {
    for number in 1..100_000_i64 {
        let row = format!("INSERT INTO app.tally (client, sequence) VALUES ('full', {number})");
        if let Err(error) = session.batch_execute(&row) {
            expect_no_room::<()>(Err(error), &[]);
            return number - 1;
        }
    }
    panic!("the disk does not fill");
}

fn a_full_data_directory_refuses_writes_and_counts_reads() {
    let school = school_on_small_disk(&[]);
    let (mut clerk, mut teacher) = (school.session("clerk_zhao"), school.session("teacher_wang"));
    read(&mut clerk, 5);
    school.flush_audit();
    school.small_disk().fill();

    let committed = write_until_full(&mut teacher);
    read(&mut clerk, 100);
    ask_for_too_much(&mut teacher, 20);
    // An important statement: recorded with its transaction, or not done.
    let sensitive = teacher.batch_execute("UPDATE app.student SET id_card = 'ID-new' WHERE id = 3");
    let changed = sensitive.is_ok();
    if !changed {
        expect_no_room(sensitive, &[]);
    }
    // The sequencer cannot chain either; it tries again and nobody waits for it.
    teacher.batch_execute("SET statement_timeout = '5 s'").expect("set");
    drop(teacher.batch_execute("SELECT steward.flush_audit('2 s')"));

    school.small_disk().free();
    let drained = || school.superuser().query_one("SELECT steward.flush_audit('2 s')", &[]).ok();
    wait_for(&school, "the sequencer after the disk was full", drained);
    let lost = lost(&school);
    let reads = school.records("operation_type = 'SELECT' AND user_id = 'clerk_zhao' AND result = 'SUCCESS'");
    let denials = school.records("result = 'DENIED' AND user_id = 'teacher_wang'");
    // A statement that should be denied at its 50th row may find no room for its first.
    let failures = school.records("result = 'FAILURE' AND user_id = 'teacher_wang' AND operation_type = 'UPDATE'");
    report(&format!(
        "data directory full: {committed} rows, {reads} reads, {denials} denials, {failures} failures on record, LOST({lost})"
    ));
    // Some of them may be among the lost.
    assert!(
        reads + denials + failures + lost >= 125,
        "{reads} reads, {denials} denials, {failures} failures, {lost} lost"
    );
    assert!(reads <= 105 && denials <= 20, "{reads} reads, {denials} denials");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.tally"), ROWS_BEFORE + committed);
    let updates = school.records("operation_type = 'UPDATE' AND result = 'SUCCESS' AND user_id = 'teacher_wang'");
    assert_eq!(updates, i64::from(changed));
    check(&school);
    teacher.batch_execute("INSERT INTO app.tally (client, sequence) VALUES ('after', 1)").expect("there is room");
    check(&school);
}

fn a_server_that_a_full_disk_brought_down_comes_back_with_its_records() {
    let mut school = school_on_small_disk(&["max_wal_size = '32MB'", "min_wal_size = '32MB'"]);
    let (mut teacher, mut filler) = (school.session("teacher_wang"), school.superuser());
    school.flush_audit();
    school.small_disk().fill();
    let mut committed = 0;
    // WAL has nowhere to go: PostgreSQL ends with a PANIC.
    for number in 1..1_000 {
        let row = format!("INSERT INTO app.tally (client, sequence) VALUES ('w', {number})");
        committed += i64::from(teacher.batch_execute(&row).is_ok());
        if filler.batch_execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))").is_err() {
            break;
        }
    }
    assert!(filler.batch_execute("SELECT").is_err(), "the server goes on without WAL");
    std::thread::sleep(Duration::from_secs(1));
    school.small_disk().free();
    if !school.is_running() {
        school.start();
    }
    drop(wait_for_recovery(&school));
    let checked = check(&school);
    let rows: i64 = school.ask("SELECT count(*) FROM app.tally");
    // The last one may have been committed without an answer.
    let answered = ROWS_BEFORE + committed;
    assert!((answered..=answered + 1).contains(&rows), "{answered} committed, {rows} there");
    report(&format!("WAL full: {rows} rows, {} records checked, 0 losses, 0 duplicates", checked.records));
}

/// The journals alone are on a disk that is full; data, WAL and spool have room.
fn full_journals_refuse_writes_and_lose_no_record() {
    let mut school = write_out::school(&[]);
    school.flush_audit();
    unload(&mut school);
    let mut directory = school.server_program("/bin/mkdir");
    directory.arg(school.file("journals"));
    succeed(directory);
    let place = school.file("journals");
    let mut superuser = school.superuser();
    superuser.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", place.display())).expect("tablespace");
    for number in 0..3 {
        let moved = format!("ALTER TABLE steward.journal_{number} SET TABLESPACE small");
        superuser.batch_execute(&moved).expect("move");
    }
    drop(superuser);
    school.stop();
    school.put_on_small_disk("journals", 4);
    school.configure(&["shared_preload_libraries = 'pg_steward'"]);
    school.start();
    school.flush_audit();
    school.small_disk().fill();
    let mut teacher = school.session("teacher_wang");
    let mut refusals = 0;
    for round in 0..4 {
        let block = format!("DO $$ BEGIN {} END $$", write_out::different_statements(20_000));
        let full = teacher.batch_execute(&block);
        expect_error(full, &SqlState::DISK_FULL, "", "");
        refusals += 1;
        // In a block of its own the rest of the transaction fails as well, at its end: its records have no room either.
        let survivor = format!(
            "DO $$ BEGIN
                INSERT INTO app.tally (client, sequence) VALUES ('before', {round});
                BEGIN {} EXCEPTION WHEN disk_full THEN NULL; END;
            END $$",
            write_out::different_statements(20_000)
        );
        match teacher.batch_execute(&survivor) {
            Ok(()) => (),
            refused => drop(expect_error(refused, &SqlState::DISK_FULL, "", "")),
        }
        teacher.query("SELECT name FROM app.student WHERE id = 7", &[]).expect("a read goes on");
        let bulk = teacher.batch_execute("UPDATE app.student SET note = 'x' WHERE id <= 60");
        expect_bulk_refused(bulk, "app.student");
    }
    school.small_disk().free();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.tally WHERE client = 'd'"), 0);
    // The rows around the blocks are no numbered statements.
    let (begun, recorded) = write_out::begun_and_recorded(&school);
    assert!((begun..=begun + 8 + 4).contains(&recorded), "{begun} statements begun, {recorded} on record");
    assert_eq!(school.records("operation_type = 'LOST'"), 0);
    assert_eq!(school.records("operation_type = 'SELECT' AND table_name = 'app.student' AND result = 'SUCCESS'"), 4);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'bulk_write'"), 4);
    check(&school);
    report(&format!("journals full: {refusals} transactions of {begun} statements, {recorded} of them on record"));
    teacher.batch_execute("INSERT INTO app.tally (client, sequence) VALUES ('e', 1)").expect("there is room");
    check(&school);
}
