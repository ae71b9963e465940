//! Transactions that are long: in time, which pins what VACUUM and the journals may forget, and in statements, which must
//! neither fail nor fill the backend's memory.

use std::fs;
use std::time::Instant;

use postgres::Client;

use crate::account::{self, check};
use crate::fault::{report, scaled};
use crate::school::{School, ask};

tests! {
    the_sequencer_keeps_up_while_an_old_snapshot_is_held,
    the_sequencer_keeps_up_while_a_prepared_transaction_is_in_doubt,
    one_statement_repeated_in_one_block_is_few_records,
    different_statements_in_one_block_are_all_recorded,
    a_thousand_savepoints_are_recorded,
    exception_blocks_in_one_block_are_all_recorded,
    rolled_back_exception_blocks_are_all_recorded,
    a_long_transaction_that_rolls_back_is_on_record,
}

/// What a backend may take at most, its part of the shared buffers included.
const MEMORY_MB: u64 = 300;

/// Runs a script in a session of its own, prints what it took, and asserts the bound of memory.
#[track_caller]
fn run(school: &School, name: &str, script: &str) {
    let mut teacher = school.session("teacher_wang");
    let pid: i32 = ask(&mut teacher, "SELECT pg_backend_pid()");
    // A cost that grows with the square of the statements would take hours: then the test fails instead.
    teacher.batch_execute("SET statement_timeout = '15 min'").expect("set");
    let begin = Instant::now();
    teacher.batch_execute(script).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let (took, memory) = (begin.elapsed(), peak_memory_mb(pid));
    report(&format!("{name}: {:.1} s, {memory} MB", took.as_secs_f64()));
    assert!(memory < MEMORY_MB, "{name} took {memory} MB");
    flush(school);
}

/// The most memory that a process ever had.
fn peak_memory_mb(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status of the backend");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// A million records need more than one patience.
fn flush(school: &School) {
    school.superuser().batch_execute("SELECT steward.flush_audit('10 min')").expect("flush_audit");
}

/// Records of rows of `app.tally` with this result, and the statements they stand for.
fn recorded(school: &School, result: &str) -> (i64, i64) {
    let sql = format!(
        "SELECT count(*), coalesce(sum(coalesce(repeats, 1)), 0)::bigint FROM steward.audit_log
         WHERE operation_type = 'INSERT' AND table_name = 'app.tally' AND result = '{result}'"
    );
    let row = school.superuser().query_one(&sql, &[]).expect("audit_log");
    (row.get(0), row.get(1))
}

/// Statements that were rolled back. Those that were journalled early went with the rollback; a record counts them.
fn rolled_back(school: &School) -> i64 {
    let sql =
        "SELECT coalesce(sum(coalesce(repeats, 1)), 0)::bigint FROM steward.audit_log WHERE result = 'ROLLED_BACK'";
    school.ask(sql)
}

fn the_sequencer_keeps_up_while_an_old_snapshot_is_held() {
    let school = account::school(&[]);
    let mut old = school.session("postgres");
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM app.scratch").expect("snapshot");
    keeps_up(&school, "an old snapshot");
    drop(old);
}

/// It holds a lock on the journal that has its records, besides an old snapshot.
fn the_sequencer_keeps_up_while_a_prepared_transaction_is_in_doubt() {
    let school = account::school(&["max_prepared_transactions = 4"]);
    let prepare = "BEGIN; INSERT INTO app.tally (client, sequence) VALUES ('p', 1); PREPARE TRANSACTION 'in doubt'";
    school.session("teacher_wang").batch_execute(prepare).expect("prepare");
    keeps_up(&school, "in doubt");
    school.session("teacher_wang").batch_execute("COMMIT PREPARED 'in doubt'").expect("commit");
    check(&school);
}

/// Taken rows are emptied out of the journals although something old could still see them.
#[track_caller]
fn keeps_up(school: &School, name: &str) {
    let batch: i64 = scaled(8_000, 20_000);
    let mut teacher = school.session("teacher_wang");
    for number in 0..5 {
        write_singly(&mut teacher, number * batch, batch);
        flush(school);
        let begin = Instant::now();
        flush(school);
        report(&format!("{name}: after {} records an idle round takes {:?}", (number + 1) * batch, begin.elapsed()));
    }
    let journals: i64 = school.ask("SELECT journal_bytes FROM steward.audit_status");
    check(school);
    assert_eq!(recorded(school, "SUCCESS").1, 5 * batch);
    report(&format!("{name}: {journals} bytes of journals after {} records", 5 * batch));
    // One that is held, two that take turns; without turns it would be nearly twice as much for each record.
    assert!(journals < 5 * batch * 90, "{journals} bytes of journals");
}

/// One transaction for each row.
fn write_singly(session: &mut Client, first: i64, rows: i64) {
    let block = format!(
        "DO $$ BEGIN FOR i IN 1..{rows} LOOP
            INSERT INTO app.tally (client, sequence) VALUES ('single', {first} + i); COMMIT;
        END LOOP; END $$"
    );
    session.batch_execute(&block).expect("single rows");
}

fn one_statement_repeated_in_one_block_is_few_records() {
    let school = account::school(&[]);
    let rows = scaled(20_000, 1_000_000);
    let block = format!(
        "DO $$ BEGIN FOR i IN 1..{rows} LOOP INSERT INTO app.tally (client, sequence) VALUES ('do', i); END LOOP; END $$"
    );
    run(&school, &format!("{rows} times one statement"), &block);
    let (records, statements) = recorded(&school, "SUCCESS");
    assert_eq!(statements, rows);
    assert!(records < rows / 1000, "{records} records");
    check(&school);
}

fn different_statements_in_one_block_are_all_recorded() {
    let school = account::school(&[]);
    let rows = scaled(20_000, 1_000_000);
    let block = format!(
        "DO $$ BEGIN FOR i IN 1..{rows} LOOP
            EXECUTE format('INSERT INTO app.tally AS t%s (client, sequence) VALUES (''do'', %s)', i, i);
        END LOOP; END $$"
    );
    run(&school, &format!("{rows} different statements"), &block);
    assert_eq!(recorded(&school, "SUCCESS"), (rows, rows));
    check(&school);
}

fn a_thousand_savepoints_are_recorded() {
    let school = account::school(&[]);
    let savepoints = (1..=1000).map(|i| {
        let undo = if i % 10 == 0 { format!("ROLLBACK TO s{i};") } else { String::new() };
        format!("SAVEPOINT s{i}; INSERT INTO app.tally (client, sequence) VALUES ('s', {i}); {undo}\n")
    });
    run(&school, "1000 savepoints", &format!("BEGIN; {} COMMIT", savepoints.collect::<String>()));
    assert_eq!(recorded(&school, "SUCCESS").1, 900);
    assert_eq!(recorded(&school, "ROLLED_BACK").1, 100);
    check(&school);
}

fn exception_blocks_in_one_block_are_all_recorded() {
    let school = account::school(&[]);
    let rows = scaled(50_000, 1_000_000);
    let block = format!(
        "DO $$ BEGIN FOR i IN 1..{rows} LOOP
            BEGIN INSERT INTO app.tally (client, sequence) VALUES ('do', i); EXCEPTION WHEN division_by_zero THEN NULL; END;
        END LOOP; END $$"
    );
    run(&school, &format!("{rows} exception blocks"), &block);
    assert_eq!(recorded(&school, "SUCCESS").1, rows);
    check(&school);
}

fn rolled_back_exception_blocks_are_all_recorded() {
    let school = account::school(&[]);
    let rows = scaled(20_000, 1_000_000);
    let block = format!(
        "DO $$ BEGIN FOR i IN 1..{rows} LOOP
            BEGIN
                INSERT INTO app.tally (client, sequence) VALUES ('do', i);
                IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
            EXCEPTION WHEN division_by_zero THEN NULL; END;
        END LOOP; END $$"
    );
    run(&school, &format!("{rows} exception blocks, every second rolled back"), &block);
    assert_eq!(recorded(&school, "SUCCESS").1, rows / 2);
    assert_eq!(rolled_back(&school), rows / 2);
    check(&school);
}

fn a_long_transaction_that_rolls_back_is_on_record() {
    let school = account::school(&[]);
    let rows = scaled(20_000, 1_000_000);
    let block = format!(
        "BEGIN;
        DO $$ BEGIN FOR i IN 1..{rows} LOOP
            EXECUTE format('INSERT INTO app.tally AS t%s (client, sequence) VALUES (''do'', %s)', i, i);
        END LOOP; END $$;
        ROLLBACK"
    );
    run(&school, &format!("{rows} different statements rolled back"), &block);
    assert_eq!(rolled_back(&school), rows);
    assert_eq!(recorded(&school, "SUCCESS").1, 0);
    check(&school);
}
