//! Cancelled, timed out and terminated while something waits: the statement fails with its SQLSTATE, the record says so,
//! nothing is doubled, and whoever waited is free again.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::account::{self, check};
use crate::expect::expect_bulk_refused;
use crate::fault::{Paused, Random, report, scaled, wait_for};
use crate::school::{School, execute};

tests! {
    a_waiting_flush_can_be_cancelled_and_terminated,
    an_update_that_waits_for_a_lock_fails_on_record,
    a_bulk_update_cancelled_before_its_denial_is_a_failure,
    a_denial_cut_short_anywhere_is_on_record_once,
    a_write_cut_short_anywhere_is_on_record_once,
    a_commit_does_not_wait_for_the_sequencer,
    a_verification_can_be_cancelled,
    an_execution_that_waits_for_another_can_be_ended,
    work_of_a_terminated_session_is_rolled_back_on_record,
}

const CANCEL: &str = "pg_cancel_backend";
const TERMINATE: &str = "pg_terminate_backend";
/// How a waiting statement is ended, and its SQLSTATE.
const ENDS: [(&str, SqlState); 3] =
    [(CANCEL, SqlState::QUERY_CANCELED), (TERMINATE, SqlState::ADMIN_SHUTDOWN), ("timeout", SqlState::QUERY_CANCELED)];

/// Ends a statement once it waits: by a function of the server, or by its own timeout. Returns the SQLSTATE it got.
#[track_caller]
fn end_while_waiting(school: &School, mut session: Client, statement: &str, end: &str) -> SqlState {
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    if end == "timeout" {
        session.batch_execute("SET statement_timeout = '400 ms'").expect("set");
    }
    let waits = format!(
        "SELECT FROM pg_stat_activity WHERE pid = {pid} AND state = 'active' AND wait_event_type IN ('Lock', 'Extension')"
    );
    let error = thread::scope(|scope| {
        let waiting = scope.spawn(|| session.batch_execute(statement).expect_err("the statement was ended"));
        if end != "timeout" {
            let mut operator = school.superuser();
            wait_for(school, "a waiting statement", || operator.query_opt(&waits, &[]).expect("pg_stat_activity"));
            operator.execute(&format!("SELECT {end}({pid})"), &[]).expect(end);
        }
        waiting.join().expect("session")
    });
    // A client whose session is taken away may see the connection end before it sees why.
    let unseen = || (error.is_closed() && end == TERMINATE).then_some(SqlState::ADMIN_SHUTDOWN);
    error.code().cloned().or_else(unseen).unwrap_or_else(|| panic!("{end}: {error:?}"))
}

fn a_waiting_flush_can_be_cancelled_and_terminated() {
    let school = account::school(&[]);
    {
        let _paused = Paused::between_rounds(&school);
        for (end, code) in ENDS {
            let session = school.session("teacher_wang");
            assert_eq!(end_while_waiting(&school, session, "SELECT steward.flush_audit('1 min')", end), code, "{end}");
        }
    }
    check(&school);
}

fn an_update_that_waits_for_a_lock_fails_on_record() {
    let school = account::school(&[]);
    let mut holder = school.session("region_chen");
    holder.batch_execute("BEGIN; UPDATE app.student SET note = 'held' WHERE id = 7").expect("lock");
    for (end, code) in ENDS {
        let update = "UPDATE app.student SET note = 'late' WHERE id = 7";
        let session = school.session("teacher_wang");
        assert_eq!(end_while_waiting(&school, session, update, end), code, "{end}");
    }
    let failed = "user_id = 'teacher_wang' AND operation_type = 'UPDATE' AND result = 'FAILURE'";
    assert_eq!(school.records(&format!("{failed} AND sqlstate = '57014'")), 2);
    assert_eq!(school.records(&format!("{failed} AND sqlstate = '57P01'")), 1);
    assert_eq!(school.records("user_id = 'teacher_wang' AND operation_type = 'UPDATE'"), 3);
    check(&school);
}

fn a_bulk_update_cancelled_before_its_denial_is_a_failure() {
    let school = account::school(&[]);
    let mut holder = school.session("region_chen");
    holder.batch_execute("BEGIN; UPDATE app.student SET note = 'held' WHERE id = 30").expect("lock");
    let bulk = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
    let session = school.session("teacher_wang");
    assert_eq!(end_while_waiting(&school, session, bulk, CANCEL), SqlState::QUERY_CANCELED);
    assert_eq!(school.records("user_id = 'teacher_wang' AND result = 'FAILURE' AND sqlstate = '57014'"), 1);
    assert_eq!(school.records("result = 'DENIED'"), 0);
    // Undisturbed, the same statement is denied.
    holder.batch_execute("ROLLBACK").expect("rollback");
    expect_bulk_refused(school.session("teacher_wang").batch_execute(bulk), "app.student");
    assert_eq!(school.records("user_id = 'teacher_wang' AND operation_type = 'UPDATE'"), 2);
    check(&school);
}

/// How a statement ended whose session was cancelled at a random moment.
#[derive(Debug, Default)]
struct Ends {
    done: i64,
    denied: i64,
    cancelled: i64,
}

/// Runs a statement many times and cancels it at random moments around the time it takes undisturbed.
fn cut_short(school: &School, statement: &str, random: &mut Random) -> Ends {
    let mut session = school.session("teacher_wang");
    let token = session.cancel_token();
    let mut ends = Ends::default();
    let begin = Instant::now();
    drop(session.batch_execute(statement));
    let usual = begin.elapsed().as_micros() as u64;
    for _ in 0..scaled(40, 3_000) {
        let moment = Duration::from_micros(random.below(usual * 2));
        let result = thread::scope(|scope| {
            let canceller = scope.spawn(|| {
                thread::sleep(moment);
                token.cancel_query(postgres::NoTls).expect("cancel")
            });
            let result = session.batch_execute(statement);
            canceller.join().expect("canceller");
            result
        });
        match result.map_err(|error| error.code().cloned()) {
            Ok(()) => ends.done += 1,
            Err(Some(SqlState::INSUFFICIENT_PRIVILEGE)) => ends.denied += 1,
            Err(Some(SqlState::QUERY_CANCELED)) => ends.cancelled += 1,
            Err(other) => panic!("{statement}: {other:?}"),
        }
        settle(&mut session);
    }
    ends
}

/// A cancel that came too late for its statement must not hit the next one.
fn settle(session: &mut Client) {
    drop(session.batch_execute("SELECT pg_sleep(0.002)"));
}

fn a_denial_cut_short_anywhere_is_on_record_once() {
    let mut random = Random::announced("a denial cut short");
    let school = account::school(&[]);
    let bulk = "UPDATE app.student SET note = 'moved' WHERE id <= 60 AND pg_sleep(0.0001) IS NOT NULL";
    let ends = cut_short(&school, bulk, &mut random);
    assert_eq!(ends.done, 0, "{ends:?}");
    // One more ran before, undisturbed.
    assert_eq!(school.records("user_id = 'teacher_wang' AND result = 'DENIED'"), ends.denied + 1);
    let failed = school.records("user_id = 'teacher_wang' AND result = 'FAILURE' AND sqlstate = '57014'");
    // A cancel before the statement was planned leaves nothing to record.
    assert!(failed <= ends.cancelled, "{failed} failures, {ends:?}");
    let records = school.records("user_id = 'teacher_wang' AND operation_type = 'UPDATE'");
    assert_eq!(records, ends.denied + 1 + failed);
    check(&school);
    report(&format!("a denial cut short: {ends:?}, {failed} failures on record, 0 lost, 0 doubled"));
}

fn a_write_cut_short_anywhere_is_on_record_once() {
    let mut random = Random::announced("a write cut short");
    let school = account::school(&[]);
    let write = "INSERT INTO app.tally (client, sequence) SELECT pg_sleep(0.0001)::text || n, txid_current()
        FROM generate_series(1, 60) AS n";
    let ends = cut_short(&school, write, &mut random);
    let insert = "user_id = 'teacher_wang' AND operation_type = 'INSERT'";
    let written = school.records(&format!("{insert} AND result = 'SUCCESS'"));
    assert_eq!(written, ends.done + 1, "{ends:?}");
    // Cancelled while it ran, or when it was done and not yet committed.
    let undone = school.records(&format!("{insert} AND result IN ('FAILURE', 'ROLLED_BACK')"));
    assert!(undone <= ends.cancelled, "{undone} undone, {ends:?}");
    assert_eq!(school.records(insert), written + undone);
    check(&school);
    report(&format!("a write cut short: {ends:?}, {undone} on record, 0 lost, 0 doubled"));
}

fn a_commit_does_not_wait_for_the_sequencer() {
    let school = account::school(&[]);
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("SET statement_timeout = '5 s'").expect("set");
    {
        let _paused = Paused::between_rounds(&school);
        teacher
            .batch_execute("BEGIN; INSERT INTO app.tally (client, sequence) VALUES ('c', 1); COMMIT")
            .expect("commit");
    }
    assert_eq!(school.records("operation_type = 'INSERT' AND result = 'SUCCESS' AND table_name = 'app.tally'"), 1);
    check(&school);
}

fn a_verification_can_be_cancelled() {
    let school = account::school(&[]);
    let mut teacher = school.session("teacher_wang");
    for id in 0..1_500 {
        teacher.query("SELECT name FROM app.student WHERE id = $1", &[&(id % 200)]).expect("select");
    }
    check(&school);
    let mut auditor = school.superuser();
    auditor.batch_execute("SET statement_timeout = '2 ms'").expect("set");
    let cancelled = auditor.batch_execute("SELECT steward.verify_chain()").expect_err("not in two milliseconds");
    assert_eq!(cancelled.code(), Some(&SqlState::QUERY_CANCELED));
    check(&school);
}

fn an_execution_that_waits_for_another_can_be_ended() {
    let school = account::school(&[]);
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'approved' WHERE id <= 60");
    school.release(&op_no);
    let mut first = school.session("region_chen");
    first.batch_execute("BEGIN").expect("begin");
    execute(&mut first, &op_no).expect("execute");
    for (end, code) in ENDS {
        let second = school.session("region_chen");
        let call = format!("SELECT * FROM steward.execute('{op_no}')");
        assert_eq!(end_while_waiting(&school, second, &call, end), code, "{end}");
    }
    first.batch_execute("COMMIT").expect("the first goes on");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'approved'"), 60);
    assert_eq!(school.records("operation_type = 'UPDATE' AND result = 'SUCCESS' AND rows = 60"), 1);
    assert_eq!(school.records("operation_type = 'UPDATE'"), 1);
    check(&school);
}

fn work_of_a_terminated_session_is_rolled_back_on_record() {
    let school = account::school(&[]);
    let mut teacher = school.session("teacher_wang");
    let pid: i32 = teacher.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    let work =
        "BEGIN; INSERT INTO app.tally (client, sequence) VALUES ('t', 1); SELECT name FROM app.student WHERE id = 7";
    teacher.batch_execute(work).expect("work");
    school.ask::<bool>(&format!("SELECT pg_terminate_backend({pid}, 5000)"));
    let mine = "user_id = 'teacher_wang'";
    assert_eq!(school.records(&format!("{mine} AND operation_type = 'INSERT' AND result = 'ROLLED_BACK'")), 1);
    assert_eq!(school.records(&format!("{mine} AND operation_type = 'SELECT'")), 1);
    assert_eq!(school.records(&format!("{mine} AND operation_type = 'INSERT'")), 1);
    check(&school);
}
