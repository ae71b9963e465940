//! When a segment of the chain may go: only the oldest, only when its file is there, and only when nothing that is still
//! to be chained refers to what it defines.

use std::thread::sleep;
use std::time::Duration;

use crate::retention::{fill_segment, small_segments, wait_until, wait_until_offline};
use crate::school::{School, ask};
use crate::trail::verify;

tests! {
    a_prepared_transaction_keeps_the_segment_that_its_records_refer_to,
    what_a_long_transaction_has_written_out_keeps_its_segment,
    a_segment_is_not_dropped_before_an_older_one,
    a_segment_waits_for_every_transaction_that_may_know_its_definitions,
}

/// The number of the segment that takes records now.
#[track_caller]
fn open_segment(school: &School) -> i64 {
    school.ask("SELECT count(*) + 1 FROM steward.segment")
}

/// Three more segments are closed, beyond the online term, and written to files; what the sequencer drops of them is seen
/// afterwards.
#[track_caller]
fn archive_three(school: &School) {
    for _ in 0..3 {
        fill_segment(school, 12);
    }
    sleep(Duration::from_millis(1100));
    school.superuser().batch_execute("SELECT steward.archive_audit()").expect("archive_audit");
    wait_until(school, "SELECT count(*) >= 3 AND bool_and(file IS NOT NULL) FROM steward.audit_archive");
}

/// Long enough for the sequencer to look at the segments twice; how many of the three from this one on are there.
#[track_caller]
fn online_after_a_while(school: &School, first: i64) -> i64 {
    sleep(Duration::from_millis(2500));
    school.ask(&format!(
        "SELECT count(*) FROM generate_series({first}, {first} + 2) AS n
         WHERE to_regclass('steward.chain_' || n) IS NOT NULL"
    ))
}

#[track_caller]
fn verifies(school: &School) {
    let verdict = verify(school, "");
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!(
        school.records("operation_type = 'UNREADABLE' OR user_id LIKE '%missing%' OR operation_type LIKE '%missing%'"),
        0
    );
}

const REPEATED: &str = "UPDATE app.student SET phone = '13900000000' WHERE id = 9";

fn a_prepared_transaction_keeps_the_segment_that_its_records_refer_to() {
    let mut school = School::with("enforce", &["max_prepared_transactions = 4"]);
    small_segments(&school);
    let mut teacher = school.session("teacher_wang");
    // Both sides are defined by now, so what is prepared refers to them.
    for _ in 0..3 {
        teacher.batch_execute(REPEATED).expect("update");
        school.flush_audit();
    }
    assert_eq!(school.records("operation_type = 'DEFINITION' AND details LIKE '%phone%'"), 1);
    let first = open_segment(&school);
    teacher.batch_execute(&format!("BEGIN; {REPEATED}; PREPARE TRANSACTION 'kept'")).expect("prepare");
    drop(teacher);
    archive_three(&school);
    assert_eq!(online_after_a_while(&school, first), 3);
    // Neither a restart nor a crash forgets it.
    school.restart();
    assert_eq!(online_after_a_while(&school, first), 3);
    school.kill_9_postmaster();
    school.start();
    assert_eq!(online_after_a_while(&school, first), 3);
    school.superuser().batch_execute("COMMIT PREPARED 'kept'").expect("commit");
    wait_until_offline(&school);
    assert_eq!(online_after_a_while(&school, first), 0);
    let readable =
        "user_id = 'teacher_wang' AND operation_type = 'UPDATE' AND statement LIKE '%SET phone = ? WHERE id = ?'";
    assert_eq!(school.records(readable), 1);
    verifies(&school);
}

/// Its records lie in the journal, invisible, while the segment is archived.
fn what_a_long_transaction_has_written_out_keeps_its_segment() {
    const STATEMENTS: i64 = 12_000;
    let school = School::inactive();
    small_segments(&school);
    let mut teacher = school.session("teacher_wang");
    for _ in 0..3 {
        teacher.batch_execute(REPEATED).expect("update");
        school.flush_audit();
    }
    let written_out = format!(
        "BEGIN; {REPEATED};
        DO $$ BEGIN FOR i IN 1..{STATEMENTS} LOOP
            EXECUTE format('UPDATE app.student AS t%s SET note = ''x'' WHERE id = -1', i);
        END LOOP; END $$"
    );
    let first = open_segment(&school);
    teacher.batch_execute(&written_out).expect("long transaction");
    let journal: i64 = school.ask("SELECT journal_bytes FROM steward.audit_status");
    assert!(journal > 200_000, "nothing was written out: {journal} bytes");
    archive_three(&school);
    assert_eq!(online_after_a_while(&school, first), 3);
    teacher.batch_execute("COMMIT").expect("commit");
    drop(teacher);
    wait_until_offline(&school);
    let readable = "user_id = 'teacher_wang' AND operation_type = 'UPDATE' AND person = 'Wang' AND statement LIKE 'UPDATE app.student AS t%'";
    assert_eq!(school.records(readable), STATEMENTS);
    verifies(&school);
}

fn a_segment_is_not_dropped_before_an_older_one() {
    let school = School::inactive();
    small_segments(&school);
    fill_segment(&school, 12);
    let first = 1;
    // A lock on the first alone, of a reader that holds no snapshot; the others nobody needs.
    let mut reader = school.superuser();
    let mut reading = reader.transaction().expect("begin");
    reading.batch_execute("SELECT count(*) FROM steward.chain_1").expect("read");
    archive_three(&school);
    assert_eq!(online_after_a_while(&school, first), 3);
    // Without its file the first stays as well, and so do the others.
    let file: String = ask(&mut school.superuser(), "SELECT file FROM steward.audit_archive WHERE number = 1");
    let path = school.data().join("pg_steward/archive").join(file);
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).expect("rename");
    reading.commit().expect("commit");
    assert_eq!(online_after_a_while(&school, first), 3);
    std::fs::rename(&aside, &path).expect("rename");
    wait_until_offline(&school);
    assert_eq!(online_after_a_while(&school, first), 0);
    verifies(&school);
}

/// The sequencer's own transaction may be older than one that has looked a definition up in the meantime.
fn a_segment_waits_for_every_transaction_that_may_know_its_definitions() {
    let school = School::inactive();
    small_segments(&school);
    for _ in 0..3 {
        fill_segment(&school, 12);
    }
    let behind =
        "SELECT count(*), count(*) FILTER (WHERE closed_xid::text::bigint > xmin::text::bigint) FROM steward.segment
        WHERE closed_xid IS NOT NULL";
    let row = school.superuser().query_one(behind, &[]).expect("segments");
    let (closed, behind): (i64, i64) = (row.get(0), row.get(1));
    assert!(closed >= 3 && closed == behind, "{behind} of {closed} lie behind the transaction that closed them");
}
