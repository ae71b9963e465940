//! A long transaction writes its records to the journal before its end. What becomes of them when that fails in the
//! middle: every statement that was begun is on record, none as a success.
//!
//! A sequence counts the statements: no rollback takes its numbers back.

use postgres::Client;
use postgres::error::SqlState;

use crate::account::{self, check};
use crate::expect::expect_error;
use crate::fault::{Random, report, scaled, wait_for, wait_for_process};
use crate::school::School;
use crate::trail::{load, unload};

tests! {
    a_long_transaction_that_is_cancelled_is_on_record,
    a_block_that_is_cancelled_leaves_the_rest_of_its_transaction,
    a_write_out_that_is_cancelled_while_it_waits_leaves_nothing,
    a_long_transaction_holds_one_journal,
    a_reader_of_a_journal_s_long_records_does_not_end_the_sequencer,
}

/// A school with the sequence.
pub fn school(more: &[&str]) -> School {
    let school = account::school(more);
    let sequence = "CREATE SEQUENCE app.asked; GRANT USAGE ON SEQUENCE app.asked TO teacher_wang";
    school.superuser().batch_execute(sequence).expect("sequence");
    school
}

/// Statements that differ from each other, one row each.
pub fn different_statements(count: i64) -> String {
    format!(
        "FOR i IN 1..{count} LOOP
            EXECUTE format('INSERT INTO app.tally AS t%s (client, sequence) VALUES (''d'', nextval(''app.asked''))', i);
        END LOOP;"
    )
}

/// More than are ever reached.
const ENDLESS: i64 = 10_000_000;

/// Statements on rows of the client `d` that were begun, and those that are on record as failed or rolled back.
#[track_caller]
pub fn begun_and_recorded(school: &School) -> (i64, i64) {
    school.flush_audit();
    let begun = school.ask("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM app.asked");
    let recorded = "SELECT coalesce(sum(coalesce(repeats, 1)), 0)::bigint FROM steward.audit_log
        WHERE user_id = 'teacher_wang' AND (operation_type = 'INSERT' AND table_name = 'app.tally' AND result = 'FAILURE'
            OR result = 'ROLLED_BACK')";
    (begun, school.ask(recorded))
}

/// Each round may have ended between the beginning of a statement and its number, or before the first one.
#[track_caller]
fn agree(school: &School, rounds: i64) {
    let (begun, recorded) = begun_and_recorded(school);
    assert!((begun..=begun + rounds).contains(&recorded), "{begun} statements begun, {recorded} on record");
    assert_eq!(school.records("operation_type = 'LOST'"), 0);
    check(school);
}

fn a_long_transaction_that_is_cancelled_is_on_record() {
    let mut random = Random::announced("a long transaction that is cancelled");
    let school = school(&[]);
    let mut teacher = school.session("teacher_wang");
    let rounds = scaled(10, 200);
    for round in 0..rounds {
        // The first is long enough for a write-out on any machine.
        let timeout = if round == 0 { 5_000 } else { 50 + random.below(700) };
        teacher.batch_execute(&format!("SET statement_timeout = '{timeout} ms'")).expect("set");
        let block = format!("DO $$ BEGIN {} END $$", different_statements(ENDLESS));
        expect_error(teacher.batch_execute(&block), &SqlState::QUERY_CANCELED, "", "");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.tally"), 0);
    agree(&school, rounds);
    let counted = school.records("operation_type = 'ROLLBACK'");
    let (begun, _) = begun_and_recorded(&school);
    report(&format!("cancelled: {rounds} transactions of {begun} statements, {counted} of them partly journalled"));
    assert!(counted > 0, "no transaction was long enough to be written out");
}

/// The exception block goes with its records, whether journalled or not; the transaction around it stays with its own.
fn a_block_that_is_cancelled_leaves_the_rest_of_its_transaction() {
    let mut random = Random::announced("a block that is cancelled");
    let school = school(&[]);
    let mut teacher = school.session("teacher_wang");
    let rounds = scaled(8, 100);
    for round in 1..=rounds {
        let timeout = 50 + random.below(700);
        teacher.batch_execute(&format!("SET statement_timeout = '{timeout} ms'")).expect("set");
        let block = format!(
            "DO $$ BEGIN
                INSERT INTO app.tally (client, sequence) VALUES ('before', {round});
                BEGIN {} EXCEPTION WHEN query_canceled THEN NULL; END;
                INSERT INTO app.tally (client, sequence) VALUES ('after', {round});
            END $$",
            different_statements(ENDLESS)
        );
        teacher.batch_execute(&block).expect("the block catches the cancel");
    }
    let kept = format!("SELECT count(*) = 2 * {rounds} AND count(*) FILTER (WHERE client = 'd') = 0 FROM app.tally");
    assert!(school.ask::<bool>(&kept));
    agree(&school, rounds);
}

/// An old prepared transaction holds the journals, which only somebody without the library can bring about. The cancel
/// comes exactly where the records are written out.
fn a_write_out_that_is_cancelled_while_it_waits_leaves_nothing() {
    let mut school = school(&["max_prepared_transactions = 4"]);
    school.flush_audit();
    unload(&mut school);
    let hold = "BEGIN; LOCK TABLE steward.journal_0, steward.journal_1, steward.journal_2 IN SHARE MODE;
        PREPARE TRANSACTION 'held'";
    school.superuser().batch_execute(hold).expect("hold");
    load(&mut school);
    let mut teacher = school.session("teacher_wang");
    let block = format!("DO $$ BEGIN {} END $$", different_statements(ENDLESS));
    let working = std::thread::spawn(move || (teacher.batch_execute(&block), teacher));
    let pid = wait_for_process(&school, "usename = 'teacher_wang' AND wait_event_type = 'Lock'");
    assert!(school.ask::<bool>(&format!("SELECT pg_cancel_backend({pid})")));
    let (cancelled, mut teacher) = working.join().expect("the session");
    expect_error(cancelled, &SqlState::QUERY_CANCELED, "", "");
    // A denial needs no journal.
    let bulk = teacher.batch_execute("UPDATE app.student SET note = 'x' WHERE id <= 60");
    crate::expect::expect_bulk_refused(bulk, "app.student");
    school.superuser().batch_execute("ROLLBACK PREPARED 'held'").expect("release");
    agree(&school, 1);
    let (begun, _) = begun_and_recorded(&school);
    assert!(begun > 1_000, "{begun} statements before the first write-out");
    assert_eq!(school.records("operation_type = 'ROLLBACK'"), 0, "nothing was journalled");
    assert_eq!(school.records("result = 'DENIED' AND rule = 'bulk_write'"), 1);
    teacher.batch_execute("INSERT INTO app.tally (client, sequence) VALUES ('e', 1)").expect("the session goes on");
    check(&school);
}

/// Long records, as much as a journal takes before the next one has its turn; then that turn.
fn journals_take_turns(school: &School, applicant: &mut Client) {
    let long = "SELECT count(steward.request('SELECT 1', purpose =>
            (SELECT string_agg(md5((n * j)::text), '') FROM generate_series(1, 1800) j)))
        FROM generate_series(1, 22) n";
    applicant.batch_execute(long).expect("filed");
    school.flush_audit();
    school.flush_audit();
}

/// Where a journal keeps its long records has a lock of its own. Whoever holds it keeps that journal from being emptied, and
/// the sequencer from nothing.
fn a_reader_of_a_journal_s_long_records_does_not_end_the_sequencer() {
    let school = school(&[]);
    let sequencer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_steward sequencer'";
    let mut reader = school.superuser();
    let toast = "SELECT string_agg(format('SELECT count(*) FROM %s', reltoastrelid::regclass), '; ') FROM pg_class
        WHERE relname IN ('journal_0', 'journal_1', 'journal_2')";
    let reads: String = crate::school::ask(&mut reader, toast);
    reader.batch_execute(&format!("BEGIN; {reads}")).expect("read");
    let mut chen = school.session("region_chen");
    journals_take_turns(&school, &mut chen);
    let before: i32 = school.ask(sequencer);
    for _ in 0..5 {
        journals_take_turns(&school, &mut chen);
    }
    assert_eq!(school.ask::<i32>(sequencer), before, "the sequencer ended");
    reader.batch_execute("COMMIT").expect("commit");
    let size =
        "SELECT sum(pg_table_size(oid))::bigint FROM pg_class WHERE relname IN ('journal_0', 'journal_1', 'journal_2')";
    wait_for(&school, "emptied journals", || {
        school.flush_audit();
        (school.ask::<i64>(size) < 2 << 20).then_some(())
    });
    assert_eq!(school.records("operation_type = 'LOST'"), 0);
}

/// It is written out many times while the journals take turns. One stays held by it; the others are emptied as ever.
fn a_long_transaction_holds_one_journal() {
    let school = school(&[]);
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("BEGIN").expect("begin");
    let pid: i32 = crate::school::ask(&mut teacher, "SELECT pg_backend_pid()");
    let held = format!(
        "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
         WHERE l.pid = {pid} AND c.relname LIKE 'journal%'"
    );
    let mut chen = school.session("region_chen");
    let mut turn = || journals_take_turns(&school, &mut chen);
    let mut kept = Vec::new();
    for round in 0..3 {
        if round > 0 {
            turn();
        }
        teacher.batch_execute(&format!("DO $$ BEGIN {} END $$", different_statements(4_000))).expect("written out");
        kept.push(school.ask::<Option<String>>(&held).expect("a journal"));
    }
    assert!(kept[0].starts_with("journal_") && kept.iter().all(|journal| *journal == kept[0]), "{kept:?}");
    let size = |which: &str| {
        let sum = "SELECT sum(pg_table_size(oid))::bigint FROM pg_class WHERE relname IN ('journal_0', 'journal_1', 'journal_2')";
        school.ask::<i64>(&format!("{sum} AND relname {which} '{}'", kept[0]))
    };
    assert!(size("=") > 1 << 20, "the journals took no turns");
    // The one of the second turn is empty again.
    wait_for(&school, "an emptied journal", || {
        school.flush_audit();
        (size("<>") < 1 << 20).then_some(())
    });
    teacher.batch_execute("COMMIT").expect("commit");
    assert_eq!(school.records("operation_type = 'LOST'"), 0);
    let recorded = "SELECT sum(coalesce(repeats, 1))::bigint FROM steward.audit_log
        WHERE table_name = 'app.tally' AND operation_type = 'INSERT' AND result = 'SUCCESS'";
    assert_eq!(school.ask::<i64>(recorded), 12_000);
}
