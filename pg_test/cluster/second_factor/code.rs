//! Codes of `oathtool` are accepted once, guesses are limited, and nothing that a session does forgets either.

use std::thread::sleep;
use std::time::Duration;

use postgres::Client;

use super::{Active, IMPORTANT, NOT_NOW, Phone, WRONG, demanding, missing, settled, steady, verify, wrong};
use crate::expect::{db_error, expect_error};
use crate::school::{HOME, School, execute, request};
use crate::trail::tamper;

tests! {
    a_code_of_oathtool_is_accepted_once,
    of_many_sessions_one_uses_a_code,
    a_used_code_stays_used_after_a_crash,
    a_used_code_stays_used_after_a_promotion,
    one_step_of_clock_skew_is_admitted,
    another_person_s_code_is_wrong,
    wrong_codes_are_counted_through_rollbacks_and_reconnects,
    wrong_codes_are_counted_through_restarts,
    a_thief_of_the_password_locks_nobody_out,
    a_reset_forgets_wrong_codes,
    a_code_that_fails_stands_in_no_log,
    processes_that_run_no_statement_keep_the_numbers_of_their_log,
    a_cancelled_statement_has_used_its_code,
    nothing_is_verified_before_the_sequencer_has_caught_up,
}

fn a_code_of_oathtool_is_accepted_once() {
    let active = Active::new();
    let code = active.phone("region_chen").code(0);
    let mut chen = active.school.session("region_chen");
    // Used up by the attempt, whatever becomes of the transaction.
    chen.batch_execute("BEGIN").expect("begin");
    verify(&mut chen, &code).expect("a right code");
    chen.batch_execute("ROLLBACK").expect("rollback");
    wrong(&mut chen, &code);
    wrong(&mut active.school.session("region_chen"), &code);
    wrong(&mut chen, &active.phone("region_chen").code(-1));
    verify(&mut chen, &active.phone("region_chen").code(1)).expect("the next one");
    let tried = "user_id = 'region_chen' AND operation_type = 'VERIFY TOTP'";
    assert_eq!(active.school.records(&format!("{tried} AND result = 'SUCCESS'")), 2);
    assert_eq!(active.school.records(&format!("{tried} AND result = 'FAILURE' AND sqlstate = '42501'")), 3);
    assert_eq!(active.school.records(&format!("statement LIKE '%{code}%' OR details LIKE '%{code}%'")), 0);
}

fn of_many_sessions_one_uses_a_code() {
    let active = Active::new();
    let code = active.phone("region_chen").code(0);
    let sessions: Vec<Client> = (0..5).map(|_| active.school.session("region_chen")).collect();
    let accepted = std::thread::scope(|scope| {
        let tries: Vec<_> = sessions
            .into_iter()
            .map(|mut session| {
                let code = &code;
                scope.spawn(move || verify(&mut session, code).is_ok())
            })
            .collect();
        tries.into_iter().map(|one| one.join().expect("a session")).filter(|accepted| *accepted).count()
    });
    assert_eq!(accepted, 1);
}

fn a_used_code_stays_used_after_a_crash() {
    let mut active = Active::new();
    let code = active.phone("teacher_wang").code(1);
    verify(&mut active.school.session("teacher_wang"), &code).expect("a right code");
    active.school.kill_9_postmaster();
    active.school.start();
    let replayed = settled(|| verify(&mut active.school.session("teacher_wang"), &code));
    expect_error(replayed, WRONG, "each code serves once", "");
    missing(active.school.session("teacher_wang").batch_execute(IMPORTANT));
    active.school.restart();
    expect_error(settled(|| verify(&mut active.school.session("teacher_wang"), &code)), WRONG, "", "");
}

/// What the primary saw last may not have reached the standby.
fn a_used_code_stays_used_after_a_promotion() {
    let mut active = Active::new();
    let mut standby = active.school.standby(&[]);
    let code = active.phone("region_chen").code(0);
    let on_standby = standby.connect("region_chen", HOME).query("SELECT steward.verify_totp($1)", &[&code]);
    expect_error(on_standby, NOT_NOW, "used on the primary", "");
    verify(&mut active.school.session("region_chen"), &code).expect("a right code");
    active.school.kill_9_postmaster();
    standby.promote();
    let replayed = settled(|| verify(&mut standby.connect("region_chen", HOME), &code));
    expect_error(replayed, WRONG, "each code serves once", "");
    standby.stop();
}

fn one_step_of_clock_skew_is_admitted() {
    let active = Active::new();
    let phone = active.phone("region_chen");
    let mut chen = active.school.session("region_chen");
    for steps in [-2, 2] {
        wrong(&mut chen, &phone.code(steps));
    }
    for steps in [-1, 0, 1] {
        verify(&mut chen, &phone.code(steps)).unwrap_or_else(|error| panic!("{steps}: {error:?}"));
    }
}

fn another_person_s_code_is_wrong() {
    let active = Active::new();
    let code = active.phone("region_liu").code(0);
    wrong(&mut active.school.session("region_chen"), &code);
    // Not even for a superuser who becomes that person.
    let mut superuser = active.school.superuser();
    superuser.batch_execute("SET SESSION AUTHORIZATION region_liu").expect("a superuser may");
    wrong(&mut superuser, &code);
    verify(&mut active.school.session("region_liu"), &code).expect("its own");
}

#[track_caller]
fn waits(school: &School, login: &str, code: &str) {
    let refused = settled(|| verify(&mut school.session(login), code));
    let error = expect_error(refused, NOT_NOW, "the next one of the authenticator", "Wait for the next code");
    assert!(error.message().contains("too many wrong codes"), "{error:?}");
}

fn wrong_codes_are_counted_through_rollbacks_and_reconnects() {
    let active = Active::new();
    for login in ["region_chen", "postgres"] {
        let phone = active.phone(login);
        let guess = phone.wrong();
        let mut session = active.school.session(login);
        session.batch_execute("BEGIN").expect("begin");
        wrong(&mut session, &guess);
        session.batch_execute("ROLLBACK").expect("rollback");
        // What somebody else's code tries in their name is no try.
        session
            .batch_execute(&format!(
                "DO $$BEGIN FOR i IN 1..9 LOOP BEGIN PERFORM steward.verify_totp('{guess}');
                    EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END$$"
            ))
            .expect("the block swallows them");
        for _ in 0..2 {
            wrong(&mut session, &guess);
        }
        wrong(&mut active.school.session(login), &guess);
        session.batch_execute("BEGIN; SAVEPOINT s").expect("begin");
        wrong(&mut session, &guess);
        session.batch_execute("ROLLBACK TO s; COMMIT").expect("rollback");
        waits(&active.school, login, &phone.code(0));
        let tries = |result: &str| {
            let tried = format!("operation_type = 'VERIFY TOTP' AND result = '{result}' AND user_id = '{login}'");
            active.school.records(&tried)
        };
        assert_eq!((tries("FAILURE"), tries("DENIED")), (5, 1), "{login}");
    }
    drop(active.stepped_up("region_liu", 0));
}

fn wrong_codes_are_counted_through_restarts() {
    let mut active = Active::new();
    let guess = active.phone("region_chen").wrong();
    for _ in 0..3 {
        wrong(&mut active.school.session("region_chen"), &guess);
    }
    active.school.kill_9_postmaster();
    active.school.start();
    expect_error(settled(|| verify(&mut active.school.session("region_chen"), &guess)), WRONG, "", "");
    active.school.restart();
    expect_error(settled(|| verify(&mut active.school.session("region_chen"), &guess)), WRONG, "", "");
    active.school.stop_immediately();
    active.school.start();
    waits(&active.school, "region_chen", &active.phone("region_chen").code(0));
}

/// Whoever has the authenticator gets in, as long as the thief may guess.
fn a_thief_of_the_password_locks_nobody_out() {
    let active = Active::new();
    let phone = active.phone("region_chen");
    let (guess, mut thief) = (phone.wrong(), active.school.session("region_chen"));
    for _ in 0..5 {
        wrong(&mut thief, &guess);
    }
    let mut chen = active.school.session("region_chen");
    steady();
    let first = db_error(verify(&mut chen, &phone.code(0)));
    let guessed = db_error(verify(&mut thief, &guess));
    assert_eq!((first.message(), first.detail()), (guessed.message(), guessed.detail()), "the answer tells nothing");
    let second = phone.code(1);
    // At once would be a guess's way, in another session another's.
    expect_error(verify(&mut active.school.session("region_chen"), &second), NOT_NOW, "", "");
    sleep(Duration::from_millis(5_200));
    verify(&mut thief, &guess).expect_err("goes on guessing");
    verify(&mut chen, &second).expect("two codes that follow each other");
    missing(thief.batch_execute(IMPORTANT));
    chen.batch_execute(IMPORTANT).expect("stepped up");
    // Each code serves once, as ever.
    expect_error(verify(&mut chen, &second), NOT_NOW, "", "");
}

fn a_reset_forgets_wrong_codes() {
    let active = Active::new();
    let guess = active.phone("region_chen").wrong();
    let mut chen = active.school.session("region_chen");
    for _ in 0..5 {
        wrong(&mut chen, &guess);
    }
    waits(&active.school, "region_chen", &active.phone("region_chen").code(0));
    let mut superuser = active.stepped_up("postgres", 0);
    let op_no = request(&mut superuser, "SELECT steward.reset_totp('Chen')", "");
    let digest = active.school.digest(&op_no);
    for (login, step) in [("reviewer_sun", "approve"), ("region_liu", "confirm")] {
        let vote = format!("SELECT steward.{step}('{op_no}', '{digest}')");
        active.stepped_up(login, 0).batch_execute(&vote).expect(step);
    }
    execute(&mut superuser, &op_no).expect("execute");
    let phone = Phone::enrolled(&mut chen);
    wrong(&mut chen, &guess);
    verify(&mut chen, &phone.code(1)).expect("what was guessed before was another secret");
}

/// Whoever reads the log must not find a code there that nobody has used.
fn a_code_that_fails_stands_in_no_log() {
    let mut school = demanding();
    school.configure(&[
        "log_statement = 'all'",
        "log_min_duration_statement = 0",
        "log_min_error_statement = debug1",
        "log_parameter_max_length_on_error = -1",
    ]);
    school.restart();
    let active = Active::of(school);
    let mut chen = active.school.session("region_chen");
    let code = active.phone("region_chen").wrong();
    for call in [
        format!("SELECT steward.verify_totp('{code}')"),
        format!("SELECT steward.verify_totp('{code}'"),
        format!("SELECT steward.verify_totp '{code}'"),
        format!("SELECT STEWARD.Verify_TOTP('{code}'), 1 / 0"),
        format!("PREPARE p AS SELECT \"steward\".\"verify_totp\"($1); EXECUTE p('{code}')"),
        format!("EXECUTE p('{code}')"),
        format!("DO $d$BEGIN EXECUTE 'SELECT steward.verify_totp(''{code}'')'; END$d$"),
        format!(
            "CREATE FUNCTION pg_temp.v(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM steward.verify_totp($1); END'; SELECT pg_temp.v('{code}')"
        ),
    ] {
        // Not each of them comes as far as a verdict.
        db_error(chen.batch_execute(&call));
    }
    db_error(chen.query("SELECT steward.verify_totp($1)", &[&code]));
    chen.batch_execute("SELECT 'the log goes on'").expect("select");
    let log = std::fs::read_to_string(active.school.log()).expect("log");
    assert!(log.contains("verify_totp") && log.contains("the log goes on"), "the log was searched");
    // As a number of its own: a longer one may hold the same digits by chance.
    let holds = |line: &&str| line.split(|c: char| !c.is_ascii_digit()).any(|number| number == code);
    let lines: Vec<&str> = log.lines().filter(holds).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

fn a_cancelled_statement_has_used_its_code() {
    let active = Active::new();
    let phone = active.phone("region_chen");
    let mut chen = active.school.session("region_chen");
    chen.batch_execute("SET statement_timeout = '300ms'").expect("set");
    for code in [phone.code(0), phone.wrong()] {
        let call = format!("SELECT steward.verify_totp('{code}'), pg_sleep(10)");
        db_error(chen.batch_execute(&call));
    }
    wrong(&mut active.school.session("region_chen"), &phone.code(0));
    assert_eq!(active.school.records("operation_type = 'VERIFY TOTP' AND result = 'SUCCESS'"), 1);
    assert_eq!(active.school.records("operation_type = 'VERIFY TOTP' AND result = 'FAILURE'"), 2);
}

/// An intruder who keeps the sequencer from its work gains nothing by a restart.
fn nothing_is_verified_before_the_sequencer_has_caught_up() {
    let mut active = Active::new();
    tamper(&mut active.school, "ALTER TABLE steward.spool_offset RENAME TO elsewhere");
    sleep(Duration::from_millis(600));
    let early = verify(&mut active.school.session("region_chen"), &active.phone("region_chen").code(0));
    expect_error(early, NOT_NOW, "has not taken over", "");
    tamper(&mut active.school, "ALTER TABLE steward.elsewhere RENAME TO spool_offset");
    let late = settled(|| verify(&mut active.school.session("region_chen"), &active.phone("region_chen").code(0)));
    late.expect("the sequencer has caught up");
}

/// What processes without a statement say (the checkpointer, the postmaster) is no statement that types a code.
fn processes_that_run_no_statement_keep_the_numbers_of_their_log() {
    let school = School::with("enforce", &["log_checkpoints = on"]);
    let mut superuser = school.superuser();
    superuser
        .batch_execute("CREATE TABLE app.more AS SELECT n FROM generate_series(1, 5000) n; CHECKPOINT")
        .expect("work");
    let complete = |log: &str| {
        log.lines().filter(|line| line.contains("checkpoint complete: wrote")).map(str::to_owned).next_back()
    };
    let line = crate::fault::wait_for(&school, "the checkpoint's line", || {
        complete(&std::fs::read_to_string(school.log()).expect("log"))
    });
    assert!(!line.contains('?'), "{line}");
    let longest = line.split(|character: char| !character.is_ascii_digit()).map(str::len).max();
    assert!(longest >= Some(3), "no longer number: {line}");
}
