//! Sessions that were idle too long: what their tier's term closes stays closed, whatever the session does to keep itself
//! alive, until somebody logs in anew.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::{DbError, SqlState};

use crate::expect::{expect_error, expect_refused};
use crate::failover::wait_until;
use crate::school::{School, ask};

tests! {
    an_idle_session_is_closed_to_what_is_risky,
    nothing_that_keeps_a_connection_alive_keeps_the_session,
    a_pause_cannot_be_undone_by_later_work,
    an_idle_session_is_ended_at_its_next_statement_on_record,
    a_held_transaction_and_an_open_cursor_end_with_the_session,
    a_suspended_portal_does_not_go_on_after_a_pause,
    a_session_that_works_is_not_idle,
    an_application_has_no_term,
    an_approved_operation_does_not_run_in_an_abandoned_session,
    installed_terms_are_those_of_the_manual,
    nobody_is_refused_before_activation,
}

/// Terms short enough to wait for.
const TERMS: &str = "SELECT steward.set_tier_policy('critical', idle_timeout => '1 s');
    SELECT steward.set_tier_policy('important', idle_timeout => '1 s');
    SELECT steward.set_tier_policy('normal', idle_timeout => '4 s')";

/// Longer than the term of important and critical statements, shorter than that of normal ones.
const PAUSE: Duration = Duration::from_millis(1_500);
/// Longer than every term.
const LONG_PAUSE: Duration = Duration::from_millis(4_500);

/// An important statement.
const IMPORTANT: &str = "UPDATE app.student SET id_card = id_card || 'x' WHERE id = 7";
const NORMAL: &str = "SELECT name FROM app.student WHERE id = 7";

fn school() -> School {
    let school = School::inactive();
    school.superuser().batch_execute(TERMS).expect("terms");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school.flush_audit();
    school
}

#[track_caller]
fn expect_idle<T>(result: Result<T, postgres::Error>) -> DbError {
    let error = expect_error(result, &SqlState::INSUFFICIENT_PRIVILEGE, "The session was idle for", "\\connect");
    assert!(error.message().ends_with("statement refused: the session was idle too long"), "{error:?}");
    error
}

/// The statement ends the session, and that is on record. What the server says last may be lost with the connection.
#[track_caller]
fn expect_ended<T>(school: &School, session: &mut Client, before: i64, result: Result<T, postgres::Error>) {
    let error = result.err().expect("the session must end");
    assert!(error.code().is_none_or(|code| code.code() == "57P01"), "{error:?}");
    assert!(session.batch_execute("SELECT 1").is_err(), "the session goes on");
    assert_eq!(school.records(ENDED), before + 1);
}

/// Records of sessions that were ended.
const ENDED: &str = "result = 'DENIED' AND rule = 'idle_timeout' AND sqlstate = '57P01' AND user_id = 'teacher_wang'";

fn an_idle_session_is_closed_to_what_is_risky() {
    let school = school();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(IMPORTANT).expect("in time");
    sleep(PAUSE);
    expect_idle(teacher.batch_execute(IMPORTANT));
    expect_idle(teacher.batch_execute("TRUNCATE app.student CASCADE"));
    let told = "result = 'DENIED' AND rule = 'idle_timeout' AND sqlstate = '42501' AND user_id = 'teacher_wang'
        AND (details::json ->> 'idle_s')::int >= 1 AND (details::json ->> 'term_s')::int = 1";
    assert_eq!(school.records(told), 2);
    assert_eq!(school.ask::<String>("SELECT id_card FROM app.student WHERE id = 7"), "ID7x");
    // A new login is a new session: now it is only the approval that is missing.
    let mut again = school.session("teacher_wang");
    again.batch_execute(IMPORTANT).expect("a new session");
    let refused = expect_refused(again.batch_execute("TRUNCATE app.student CASCADE"));
    assert!(refused.message().contains("no approved operation"), "{refused:?}");
}

fn nothing_that_keeps_a_connection_alive_keeps_the_session() {
    let school = school();
    let keep_alives = [
        "",
        ";",
        "SELECT 1",
        "BEGIN; ROLLBACK",
        "BEGIN; COMMIT",
        "SAVEPOINT s",
        "SET application_name = 'busy'",
        "SET idle_session_timeout = 0",
        "SHOW ALL",
        "DISCARD ALL",
        "RESET ALL",
        "SET ROLE NONE",
        "SELECT count(*) FROM app.scratch",
        "SELECT count(*) FROM pg_class",
        "LISTEN x",
        "EXPLAIN SELECT 1",
        "DO $$ BEGIN END $$",
        "TRUNCATE app.student CASCADE",
        "this is no SQL",
    ];
    thread::scope(|scope| {
        for keep_alive in keep_alives {
            let mut teacher = school.session("teacher_wang");
            teacher.batch_execute(IMPORTANT).expect("in time");
            scope.spawn(move || {
                let end = Instant::now() + PAUSE;
                while Instant::now() < end {
                    // Some of them fail, and that is no sign of life either.
                    let _whatever = teacher.batch_execute(keep_alive);
                    sleep(Duration::from_millis(100));
                }
                expect_idle(teacher.batch_execute(IMPORTANT));
            });
        }
    });
    let settings: i64 = school.ask("SELECT count(*) FROM pg_settings WHERE name LIKE 'steward.%idle%'");
    assert_eq!(settings, 0);
}

fn a_pause_cannot_be_undone_by_later_work() {
    let school = school();
    let mut teacher = school.session("teacher_wang");
    sleep(PAUSE);
    for _ in 0..3 {
        teacher.query(NORMAL, &[]).expect("the term of normal statements is longer");
        expect_idle(teacher.batch_execute(IMPORTANT));
    }
    teacher.batch_execute("DISCARD ALL").expect("discard");
    expect_idle(teacher.batch_execute(IMPORTANT));
}

fn an_idle_session_is_ended_at_its_next_statement_on_record() {
    let school = school();
    let mut teacher = school.session("teacher_wang");
    teacher.query(NORMAL, &[]).expect("in time");
    sleep(LONG_PAUSE);
    teacher.batch_execute("SELECT 1").expect("what is nobody's business is not looked at");
    let result = teacher.query(NORMAL, &[]);
    expect_ended(&school, &mut teacher, 0, result);
    wait_until(
        &school,
        "SELECT EXISTS (SELECT FROM steward.audit_log WHERE operation_type = 'LOGOUT' AND user_id = 'teacher_wang')",
    );
}

fn a_held_transaction_and_an_open_cursor_end_with_the_session() {
    let school = school();
    let mut holder = school.session("teacher_wang");
    holder.batch_execute(&format!("BEGIN; {IMPORTANT}")).expect("in time");
    sleep(PAUSE);
    expect_idle(holder.batch_execute(IMPORTANT));
    drop(holder);
    assert_eq!(school.ask::<String>("SELECT id_card FROM app.student WHERE id = 7"), "ID7");
    for (ended, option) in [(0, ""), (1, "WITH HOLD")] {
        let mut reader = school.session("teacher_wang");
        reader
            .batch_execute(&format!("BEGIN; DECLARE c CURSOR {option} FOR SELECT name FROM app.student"))
            .expect("cursor");
        if !option.is_empty() {
            reader.batch_execute("COMMIT").expect("commit");
        }
        assert_eq!(reader.query("FETCH 3 FROM c", &[]).expect("in time").len(), 3);
        sleep(LONG_PAUSE);
        let result = reader.query("FETCH 3 FROM c", &[]);
        expect_ended(&school, &mut reader, ended, result);
    }
}

fn a_suspended_portal_does_not_go_on_after_a_pause() {
    let school = school();
    let mut reader = school.session("teacher_wang");
    let mut transaction = reader.transaction().expect("begin");
    let portal = transaction.bind("SELECT name FROM app.student", &[]).expect("portal");
    assert_eq!(transaction.query_portal(&portal, 5).expect("in time").len(), 5);
    sleep(Duration::from_millis(1_000));
    // To read on is to work.
    assert_eq!(transaction.query_portal(&portal, 5).expect("in time").len(), 5);
    sleep(LONG_PAUSE);
    assert!(transaction.query_portal(&portal, 5).is_err(), "the session must end");
    assert_eq!(school.records(ENDED), 1);
}

fn a_session_that_works_is_not_idle() {
    let school = school();
    let mut teacher = school.session("teacher_wang");
    // A statement on record that takes longer than the term: the pause begins when it ends.
    teacher.batch_execute("SELECT pg_sleep(2) FROM app.student WHERE id = 7").expect("a long statement");
    teacher.batch_execute(IMPORTANT).expect("no pause");
    let end = Instant::now() + PAUSE;
    while Instant::now() < end {
        teacher.query(NORMAL, &[]).expect("work");
        sleep(Duration::from_millis(200));
    }
    teacher.batch_execute(IMPORTANT).expect("no pause");
}

fn an_application_has_no_term() {
    let school = School::inactive();
    let set_up = "CREATE ROLE svc LOGIN; GRANT SELECT, UPDATE ON app.student TO svc;
        SELECT steward.register_person('Portal', 'service', roles => '{svc}')";
    school.superuser().batch_execute(&format!("{set_up}; {TERMS}; SELECT steward.activate()")).expect("set-up");
    let mut portal = school.session("svc");
    sleep(LONG_PAUSE);
    portal.query(NORMAL, &[]).expect("an application waits for its users");
    portal.batch_execute(IMPORTANT).expect("for important work too");
}

fn an_approved_operation_does_not_run_in_an_abandoned_session() {
    let school = school();
    let mut applicant = school.session("region_chen");
    let op_no = crate::school::request(&mut applicant, "UPDATE app.student SET note = 'x' WHERE id <= 60", "");
    school.release(&op_no);
    sleep(PAUSE);
    let refused = crate::school::execute(&mut applicant, &op_no).expect_err("an abandoned session");
    assert!(
        refused.to_string().contains("idle too long") || format!("{refused:?}").contains("idle too long"),
        "{refused:?}"
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'x'"), 0);
}

fn installed_terms_are_those_of_the_manual() {
    let school = School::inactive();
    let mut session = school.superuser();
    let minutes = |session: &mut Client, tier: &str| -> i32 {
        ask(
            session,
            &format!(
                "SELECT (extract(epoch FROM idle_timeout) / 60)::int FROM steward.tier_policy WHERE tier = '{tier}' AND post = ''"
            ),
        )
    };
    assert_eq!(minutes(&mut session, "critical"), 15);
    assert_eq!(minutes(&mut session, "important"), 30);
    assert_eq!(minutes(&mut session, "normal"), 60);
    session.batch_execute("SELECT steward.set_tier_policy('normal', idle_timeout => '0')").expect("no term");
    let none: bool = ask(&mut session, "SELECT idle_timeout IS NULL FROM steward.tier_policy WHERE tier = 'normal'");
    assert!(none);
    let negative = session.batch_execute("SELECT steward.set_tier_policy('normal', idle_timeout => '-1 s')");
    expect_error(negative, &SqlState::INVALID_PARAMETER_VALUE, "", "");
}

fn nobody_is_refused_before_activation() {
    let school = School::inactive();
    school.superuser().batch_execute(TERMS).expect("terms");
    let mut teacher = school.session("teacher_wang");
    sleep(PAUSE);
    teacher.batch_execute(IMPORTANT).expect("nothing is refused yet");
}
