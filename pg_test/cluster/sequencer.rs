//! A sequencer that stands still, or that somebody tries to stop with a lock: nobody waits for it, nothing is lost.

use std::thread::sleep;
use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;

use crate::account::{self, check, check_accounts};
use crate::expect::{expect_bulk_refused, expect_refused};
use crate::fault::{Paused, Random, report, scaled, sequencer, wait_for, wait_for_recovery};
use crate::school::School;
use crate::storm::{Load, decide_what_is_in_doubt, weather};

tests! {
    a_sequencer_that_was_ended_leaves_no_lock_behind,
    writers_do_not_notice_a_sequencer_that_stands_still,
    a_sequencer_struck_down_while_it_drains_a_backlog_doubles_nothing,
    nobody_can_lock_the_sequencer_out,
    readers_of_the_trail_do_not_stop_it,
    locks_on_the_trail_do_not_hang_a_denial,
}

/// Where records are on their way, and where they end.
const TRAIL: [&str; 10] = [
    "steward.chain",
    "steward.chain_1",
    "steward.segment",
    "steward.definition",
    "steward.journal_0",
    "steward.journal_1",
    "steward.journal_2",
    "steward.journal_taken",
    "steward.spool_offset",
    "steward.ledger",
];

fn writers_do_not_notice_a_sequencer_that_stands_still() {
    let mut random = Random::announced("a sequencer that stands still");
    let mut school = account::school(&["max_prepared_transactions = 64"]);
    let pause = Duration::from_secs(scaled(2, 120));
    let accounts = weather(&mut school, "paused", &mut random, |school| {
        let _paused = Paused::between_rounds(school);
        sleep(pause);
        Load::Stops
    });
    // The backlog of minutes is worth more than one patience of flush_audit.
    school.superuser().batch_execute("SELECT steward.flush_audit('5 min')").expect("the backlog is drained");
    let checked = check_accounts(&school, &accounts);
    report(&format!("sequencer paused: {pause:?}, {} records checked, 0 losses, 0 duplicates", checked.records));
}

/// What strikes the sequencer; some of it makes the postmaster start everything anew.
const SIGNALS: [(&str, Load); 4] =
    [("TERM", Load::Stops), ("KILL", Load::EndsByItself), ("INT", Load::Stops), ("QUIT", Load::EndsByItself)];

fn a_sequencer_struck_down_while_it_drains_a_backlog_doubles_nothing() {
    let mut random = Random::announced("a sequencer struck down while it drains");
    let mut school = account::school(&["max_prepared_transactions = 64"]);
    let rounds = scaled(4, 40);
    let mut records = 0;
    for round in 0..rounds {
        let moment = Duration::from_micros(random.below(60_000));
        let accounts = weather(&mut school, &format!("drain{round}"), &mut random, |school| {
            let worker = sequencer(school);
            let paused = Paused::new(school, worker);
            sleep(Duration::from_millis(scaled(600, 2_000)));
            drop(paused);
            sleep(moment);
            let (signal, load) = SIGNALS[round % SIGNALS.len()];
            school.signal(signal, worker);
            load
        });
        drop(wait_for_recovery(&school));
        wait_for(&school, "the sequencer's return", || {
            school.superuser().execute("SELECT steward.flush_audit()", &[]).ok()
        });
        decide_what_is_in_doubt(&school, &mut random);
        records = check_accounts(&school, &accounts).records;
    }
    report(&format!(
        "sequencer struck down while draining: {rounds} rounds, {records} records checked, 0 losses, 0 duplicates"
    ));
}

fn nobody_can_lock_the_sequencer_out() {
    let school = account::school(&[]);
    let mut attacker = school.superuser();
    for table in TRAIL {
        for attempt in [
            format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
            format!("LOCK TABLE {table} IN ROW EXCLUSIVE MODE"),
            format!("LOCK TABLE {table} IN ROW SHARE MODE"),
            format!("SELECT FROM {table} FOR UPDATE"),
            format!("SELECT FROM {table} FOR KEY SHARE"),
            format!("VACUUM FULL {table}"),
            format!("REINDEX TABLE {table}"),
            format!("CREATE INDEX ON {table} ((1))"),
            format!("TRUNCATE {table}"),
            format!("ALTER TABLE {table} SET (fillfactor = 50)"),
        ] {
            let refused = attacker.batch_execute(&attempt);
            assert!(refused.is_err(), "{attempt} was not refused");
            expect_refused(refused);
        }
    }
    check(&school);
}

/// Locks as pg_dump holds them, for as long as the transaction is open.
fn hold_the_trail(school: &School) -> Client {
    let mut holder = school.superuser();
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("begin");
    for table in TRAIL {
        holder.batch_execute(&format!("LOCK TABLE {table} IN ACCESS SHARE MODE")).expect("as pg_dump does");
    }
    holder
}

fn readers_of_the_trail_do_not_stop_it() {
    let mut random = Random::announced("readers of the trail");
    let mut school = account::school(&["max_prepared_transactions = 64"]);
    let reader = hold_the_trail(&school);
    let moment = Duration::from_millis(scaled(500, 5_000));
    let accounts = weather(&mut school, "read", &mut random, |_| {
        sleep(moment);
        Load::Stops
    });
    check_accounts(&school, &accounts);
    drop(reader);
    check_accounts(&school, &accounts);
}

fn locks_on_the_trail_do_not_hang_a_denial() {
    let school = account::school(&[]);
    let _reader = hold_the_trail(&school);
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("SET statement_timeout = '5 s'").expect("set");
    {
        let _paused = Paused::new(&school, sequencer(&school));
        expect_bulk_refused(teacher.batch_execute("UPDATE app.student SET note = 'x' WHERE id <= 60"), "app.student");
        teacher.query("SELECT name FROM app.student WHERE id = 7", &[]).expect("a read");
        teacher.batch_execute("INSERT INTO app.tally (client, sequence) VALUES ('t', 1)").expect("a write");
        // Whoever asks for the trail itself is told in time, and by a cancel that works.
        teacher.batch_execute("SET statement_timeout = '200 ms'").expect("set");
        let waited = teacher.batch_execute("SELECT steward.flush_audit()").expect_err("nobody chains");
        assert_eq!(waited.code(), Some(&SqlState::QUERY_CANCELED));
    }
    check(&school);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'bulk_write'"), 1);
}

/// Somebody else may get its place in shared memory before the next one does.
fn a_sequencer_that_was_ended_leaves_no_lock_behind() {
    let school = account::school(&[]);
    for _ in 0..3 {
        let ended = sequencer(&school);
        school.signal("TERM", ended);
        wait_for(&school, "the end of this one", || {
            school
                .ask::<bool>(&format!("SELECT sequencer_pid IS DISTINCT FROM {ended} FROM steward.audit_status"))
                .then_some(())
        });
        school.flush_audit();
    }
    let log = std::fs::read_to_string(school.log()).expect("log");
    assert!(!log.contains("is already held"), "{log}");
}
