//! Alerts: each rule speaks of what it says and of nothing else, once and in time; somebody else answers, with a result.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls};

use crate::expect::{db_error, expect_error};
use crate::school::{School, ask};

tests! {
    a_day_at_school_raises_what_it_should_and_nothing_else,
    the_fifty_first_statement_of_an_hour_is_one_too_many,
    nested_statements_that_repeat_count_each,
    an_application_may_do_as_much_as_it_likes,
    the_night_is_that_of_the_policy_s_zone,
    what_comes_again_is_counted_not_told_again,
    listeners_learn_of_an_alert_within_two_seconds,
    an_alert_is_answered_by_somebody_else_and_closed_with_a_result,
    an_alert_that_nobody_answers_is_told_again,
    a_rolled_back_statement_has_its_alert,
    a_rule_of_one_s_own,
    a_rule_that_is_off_is_silent,
    only_those_who_may_see_alerts_see_them,
    rules_are_set_by_the_policy_only,
    an_auditor_adds_rules_and_weakens_none,
    bad_rules_are_refused,
    a_rule_on_what_nobody_records_is_asked_about,
    alerts_survive_a_crash_and_are_raised_once,
    an_open_transaction_on_an_alert_stops_neither_the_chain_nor_other_alerts,
    nobody_answers_by_way_of_another_s_view,
    a_check_that_did_not_come_is_told,
    what_comes_long_after_an_answer_is_a_new_alert,
    injected_sql_is_suspected_once_of_each_person,
    syntax_errors_one_after_the_other_are_told,
    rows_of_an_hour_are_counted_together,
    rows_that_an_aggregate_shows_in_one_are_rows_read,
    rows_that_a_cursor_returned_count_however_it_ends,
}

/// A school in which it is this hour now, active.
fn school_at(hour: i64) -> School {
    let school = night_or_day(hour);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn night_or_day(hour: i64) -> School {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let behind = (seconds / 3600 % 24) as i64 - hour;
    let behind = (behind + 36) % 24 - 12;
    // POSIX counts to the west.
    let school = School::with("enforce", &[&format!("steward.time_zone = 'Etc/GMT{behind:+}'")]);
    // Setting up may take long on a busy machine, and may be at night elsewhere.
    school.flush_audit();
    school.superuser().batch_execute("DELETE FROM steward._alert").expect("a clean start");
    school
}

/// All alerts so far: rule, subject and how often. Any statement may be slow on a busy machine: see `slow`.
#[track_caller]
fn alerts(school: &School) -> Vec<String> {
    told(school, "rule !~ 'slow_statement'")
}

/// Those about somebody's slow statements.
#[track_caller]
fn slow(school: &School, subject: &str) -> Vec<String> {
    told(school, &format!("rule ~ 'slow_statement' AND subject = '{subject}'"))
}

#[track_caller]
fn told(school: &School, which: &str) -> Vec<String> {
    school.flush_audit();
    let query = format!("SELECT concat_ws(' ', rule, subject, times) FROM steward.alert WHERE {which} ORDER BY 1");
    school.superuser().query(&query, &[]).expect("alerts").iter().map(|row| row.get(0)).collect()
}

fn read(session: &mut Client, times: usize) {
    for n in 0..times {
        session.query("SELECT name FROM app.student WHERE id = $1", &[&(n as i32)]).expect("read");
    }
}

fn a_day_at_school_raises_what_it_should_and_nothing_else() {
    let school = school_at(12);
    let mut teacher = school.session("teacher_wang");
    read(&mut teacher, 40);
    teacher.batch_execute("UPDATE app.student SET note = 'here' WHERE id = 7").expect("important at most");
    assert!(teacher.batch_execute("UPDATE app.student SET note = 'all of them'").is_err());
    let mut clerk = school.session("clerk_zhao");
    read(&mut clerk, 20);
    assert!(clerk.batch_execute("TRUNCATE app.guardian").is_err());
    school.operate("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    let mut reviewer = school.session("reviewer_sun");
    reviewer.query("SELECT *, pg_sleep(0.02) FROM app.student", &[]).expect("slow");
    assert_eq!(alerts(&school), ["without_approval Wang 1", "without_approval Zhao 1"]);
    assert_eq!(slow(&school, "Sun"), ["slow_statement Sun 1", "very_slow_statement Sun 1"]);
}

fn the_fifty_first_statement_of_an_hour_is_one_too_many() {
    let school = school_at(12);
    let mut teacher = school.session("teacher_wang");
    read(&mut teacher, 50);
    assert_eq!(alerts(&school), [""; 0]);
    // Another login of the same person would count alike; another person does not.
    read(&mut school.session("clerk_zhao"), 30);
    assert_eq!(alerts(&school), [""; 0]);
    read(&mut teacher, 1);
    assert_eq!(alerts(&school), ["many_operations Wang 1"]);
    read(&mut teacher, 5);
    assert_eq!(alerts(&school), ["many_operations Wang 6"]);
}

/// What repeats inside a statement is one record of so many.
fn nested_statements_that_repeat_count_each() {
    let school = school_at(12);
    let mut teacher = school.session("teacher_wang");
    let block = |times: i32| {
        format!(
            "DO $$ DECLARE n int; BEGIN FOR i IN 1..{times} LOOP SELECT count(*) INTO n FROM app.student; END LOOP; END $$"
        )
    };
    teacher.batch_execute(&block(40)).expect("forty are none too many");
    assert_eq!(alerts(&school), [""; 0]);
    teacher.batch_execute(&block(1000)).expect("a thousand");
    assert_eq!(alerts(&school), ["many_operations Wang 1"]);
}

fn an_application_may_do_as_much_as_it_likes() {
    let school = night_or_day(1);
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE app LOGIN; GRANT SELECT ON app.student TO app;
            SELECT steward.register_person('The application', 'service', roles => '{app}'); SELECT steward.activate()",
        )
        .expect("service");
    read(&mut school.session("app"), 80);
    let found = alerts(&school);
    assert!(found.iter().all(|alert| !alert.contains("application")), "{found:?}");
}

fn the_night_is_that_of_the_policy_s_zone() {
    let day = school_at(12);
    let mut teacher = day.session("teacher_wang");
    // The session's own zone says nothing.
    teacher.batch_execute("SET TimeZone = 'Etc/GMT+11'").expect("zone");
    read(&mut teacher, 3);
    assert_eq!(alerts(&day), [""; 0]);
    drop(day);
    let night = school_at(1);
    read(&mut night.session("teacher_wang"), 3);
    let found = alerts(&night);
    assert!(found.contains(&"off_hours Wang 3".to_string()), "{found:?}");
    assert!(found.iter().all(|alert| alert.starts_with("off_hours ")), "{found:?}");
}

fn what_comes_again_is_counted_not_told_again() {
    let school = school_at(12);
    let mut listener = school.superuser();
    listener.batch_execute("LISTEN steward_alert").expect("listen");
    let mut clerk = school.session("clerk_zhao");
    for _ in 0..4 {
        assert!(clerk.batch_execute("TRUNCATE app.guardian").is_err());
        school.flush_audit();
    }
    let mut told = listener.notifications();
    let mut told = told
        .timeout_iter(Duration::from_secs(3))
        .map(|told| Ok(told.payload().to_owned()))
        .collect::<Vec<_>>()
        .expect("told");
    told.retain(|told| told.contains("without_approval"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(!told[0].contains("Zhao"), "anybody may listen: {told:?}");
    assert!(alerts(&school).contains(&"without_approval Zhao 4".to_string()));
}

fn listeners_learn_of_an_alert_within_two_seconds() {
    let school = school_at(12);
    let mut listener = school.superuser();
    listener.batch_execute("LISTEN steward_alert").expect("listen");
    let mut clerk = school.session("clerk_zhao");
    school.flush_audit();
    let began = Instant::now();
    assert!(clerk.batch_execute("TRUNCATE app.guardian").is_err());
    let told = listener.notifications().timeout_iter(Duration::from_secs(20)).next().expect("connection");
    let told = told.expect("a notification");
    // Patient with a busy machine; the figure itself is printed.
    println!("count: alert: told {} ms after the statement", began.elapsed().as_millis());
    assert!(told.payload().contains("\"event\":\"raised\""), "{}", told.payload());
}

fn an_alert_is_answered_by_somebody_else_and_closed_with_a_result() {
    let school = school_at(12);
    let mut officer = school.session("security_han");
    assert!(officer.batch_execute("TRUNCATE app.guardian").is_err());
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    assert_eq!(alerts(&school), ["without_approval Han 1", "without_approval Zhao 1"]);
    let number = |subject: &str| {
        school.ask::<i64>(&format!(
            "SELECT id FROM steward.alert WHERE rule = 'without_approval' AND subject = '{subject}'"
        ))
    };
    let (own, other) = (number("Han"), number("Zhao"));
    let denied = &SqlState::INSUFFICIENT_PRIVILEGE;
    expect_error(officer.execute("SELECT steward.acknowledge($1, 'fine')", &[&own]), denied, "Somebody else", "");
    expect_error(officer.execute("SELECT steward.close_alert($1, 'fine')", &[&own]), denied, "Somebody else", "");
    let early = officer.execute("SELECT steward.close_alert($1, 'fine')", &[&other]);
    expect_error(early, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "steward.acknowledge");
    expect_error(
        officer.execute("SELECT steward.acknowledge($1, ' ')", &[&other]),
        &SqlState::INVALID_PARAMETER_VALUE,
        "",
        "",
    );
    let response: bool = officer
        .query_one("SELECT steward.acknowledge($1, 'asking her') < interval '5 min'", &[&other])
        .expect("ack")
        .get(0);
    assert!(response);
    let again = officer.execute("SELECT steward.acknowledge($1, 'again')", &[&other]);
    expect_error(again, &SqlState::UNDEFINED_OBJECT, "", "close_alert");
    let empty = officer.execute("SELECT steward.close_alert($1, '')", &[&other]);
    expect_error(empty, &SqlState::INVALID_PARAMETER_VALUE, "", "");
    officer.execute("SELECT steward.close_alert($1, 'a slip of the mouse')", &[&other]).expect("close");
    let closed: String = ask(
        &mut officer,
        &format!(
            "SELECT concat_ws('; ', acknowledged_by, note, closed_by, result, late) FROM steward.alert WHERE id = {other}"
        ),
    );
    assert_eq!(closed, "Han; asking her; Han; a slip of the mouse; f");
    // What comes after that is a new case.
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    assert_eq!(alerts(&school), ["without_approval Han 1", "without_approval Zhao 1", "without_approval Zhao 1"]);
    assert_eq!(school.records("operation_type IN ('acknowledge', 'close_alert') AND result = 'SUCCESS'"), 2);
}

fn an_alert_that_nobody_answers_is_told_again() {
    let school = night_or_day(12);
    let mut officer = school.superuser();
    officer
        .batch_execute("SELECT steward.set_alert_rule('looks', 'minor', operation_types => '{SELECT}')")
        .expect("rule");
    read(&mut school.session("clerk_zhao"), 1);
    assert_eq!(alerts(&school), ["looks Zhao 1"]);
    officer
        .batch_execute("LISTEN steward_alert; SELECT steward.confirm_delivery(id) FROM steward.alert")
        .expect("sent");
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM steward.alert_outbox"), 0);
    // As if it had been raised a while ago. Not active yet, the policy lets its owner do that.
    officer.batch_execute("UPDATE steward._alert SET raised_at = raised_at - interval '14 min 50 s'").expect("earlier");
    let told = officer
        .notifications()
        .timeout_iter(Duration::from_secs(60))
        .filter(|told| Ok(told.payload().contains("escalated")))
        .next();
    assert!(told.expect("connection").is_some(), "nobody was told");
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM steward.alert_outbox WHERE escalated_at IS NOT NULL"), 1);
    assert!(ask::<bool>(&mut officer, "SELECT late FROM steward.alert"));
    // And again, every hour.
    let sent = "SELECT steward.confirm_delivery(id) FROM steward.alert_outbox";
    officer.batch_execute(sent).expect("sent");
    let told = officer.notifications().timeout_iter(Duration::from_secs(12)).next();
    assert!(told.expect("connection").is_none(), "it was told again at once");
    officer
        .batch_execute("UPDATE steward._alert SET escalated_at = escalated_at - interval '61 min'")
        .expect("earlier");
    let told = officer.notifications().timeout_iter(Duration::from_secs(60)).next().expect("connection");
    assert!(told.is_some_and(|told| told.payload().contains("escalated")), "nobody was told again");
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM steward.alert_outbox"), 1);
    school.flush_audit();
    assert_eq!(school.records("operation_type = 'confirm_delivery' AND details LIKE '%\"alert\"%'"), 2);
}

fn a_rolled_back_statement_has_its_alert() {
    let school = school_at(12);
    let mut teacher = school.session("teacher_wang");
    teacher
        .batch_execute("DO $$ BEGIN BEGIN UPDATE app.student SET note = 'all'; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END $$")
        .expect("swallowed");
    assert_eq!(alerts(&school), ["without_approval Wang 1"]);
}

fn a_rule_of_one_s_own() {
    let school = night_or_day(12);
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "SELECT steward.set_alert_rule('clerks_write', 'major', kinds => '{statement}', operation_types => '{UPDATE,DELETE}',
                posts => '{teacher}', more_than => 2, within => '10 min')",
        )
        .expect("rule");
    let mut teacher = school.session("teacher_wang");
    for n in 0..5 {
        teacher.batch_execute(&format!("UPDATE app.student SET note = '{n}' WHERE id = {n}")).expect("update");
        school
            .session("region_chen")
            .batch_execute(&format!("UPDATE app.student SET note = '{n}' WHERE id = {n}"))
            .expect("update");
    }
    assert_eq!(alerts(&school), ["clerks_write Wang 3"]);
    let seen: String = school.ask("SELECT concat_ws(' ', level, operation_type, relation) FROM steward.alert");
    assert_eq!(seen, "major UPDATE app.student");
}

fn a_rule_that_is_off_is_silent() {
    let school = night_or_day(1);
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "SELECT steward.set_alert_rule('off_hours', 'important', from_time => '22:00', to_time => '07:00', enabled => false);
            SELECT steward.drop_alert_rule('many_operations')",
        )
        .expect("rules");
    school.flush_audit();
    let before = alerts(&school).len();
    read(&mut school.session("teacher_wang"), 60);
    assert_eq!(alerts(&school).len(), before);
}

fn only_those_who_may_see_alerts_see_them() {
    let school = school_at(12);
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    assert_eq!(alerts(&school).len(), 1);
    for (login, sees) in
        [("auditor_qian", 1), ("security_han", 1), ("teacher_wang", 0), ("clerk_zhao", 0), ("reviewer_sun", 0)]
    {
        let mut session = school.session(login);
        assert_eq!(
            ask::<i64>(&mut session, "SELECT count(*) FROM steward.alert WHERE rule = 'without_approval'"),
            sees,
            "{login}"
        );
        assert_eq!(
            ask::<i64>(&mut session, "SELECT count(*) FROM steward.alert_outbox WHERE rule = 'without_approval'"),
            sees,
            "{login}"
        );
        if sees == 0 {
            for call in [
                "SELECT steward.acknowledge(1, 'x')",
                "SELECT steward.close_alert(1, 'x')",
                "SELECT steward.confirm_delivery(1)",
            ] {
                expect_error(session.execute(call, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "audit or configure", "");
            }
        }
    }
}

fn rules_are_set_by_the_policy_only() {
    let school = school_at(12);
    for login in ["postgres", "security_han", "auditor_qian"] {
        let mut session = school.session(login);
        for call in [
            "SELECT steward.set_alert_rule('without_approval', 'minor', enabled => false)",
            "SELECT steward.drop_alert_rule('without_approval')",
            "DELETE FROM steward.alert_rule",
            "DELETE FROM steward._alert",
            "UPDATE steward._alert SET closed_at = now()",
            "UPDATE steward.alert SET times = 1",
            "ALTER TABLE steward._alert DISABLE TRIGGER ALL",
        ] {
            assert!(session.execute(call, &[]).is_err(), "{login}: {call}");
        }
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.alert_rule WHERE enabled"), 31);
}

/// Manual 2.1: «设置监控规则» is the auditor's.
fn an_auditor_adds_rules_and_weakens_none() {
    let school = school_at(12);
    let mut auditor = school.session("auditor_qian");
    let set = "SELECT steward.set_alert_rule('clerks', 'major', operation_types => '{SELECT}', posts => '{clerk}')";
    auditor.execute(set, &[]).expect("a rule of the own");
    read(&mut school.session("clerk_zhao"), 1);
    assert_eq!(alerts(&school), ["clerks Zhao 1"]);
    auditor.execute("SELECT steward.set_alert_rule('clerks', 'minor', posts => '{clerk}')", &[]).expect("changed");
    for call in [
        "SELECT steward.set_alert_rule('without_approval', 'important', more_than => 1000)",
        "SELECT steward.set_alert_rule('off_hours', 'minor', enabled => false)",
        "SELECT steward.drop_alert_rule('many_operations')",
    ] {
        expect_error(auditor.execute(call, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    for (arguments, says) in [
        ("'clerks', 'grave'", "minor important major"),
        ("'clerks', 'minor', from_time => '15:00:10', to_time => '15:00:20'", ""),
        ("'clerks', 'minor', from_time => '23:59:40', to_time => '00:00'", ""),
    ] {
        let call = format!("SELECT steward.set_alert_rule({arguments})");
        expect_error(auditor.execute(&call, &[]), &SqlState::INVALID_PARAMETER_VALUE, says, "");
    }
    let mut clerk = school.session("clerk_zhao");
    expect_error(
        clerk.execute("SELECT steward.drop_alert_rule('clerks')", &[]),
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "",
        "",
    );
    auditor.execute("SELECT steward.drop_alert_rule('clerks')", &[]).expect("dropped");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.alert_rule"), 31);
    assert_eq!(
        school.records(
            "operation_type IN ('set_alert_rule', 'drop_alert_rule') AND person = 'Qian' AND result = 'SUCCESS'"
        ),
        3
    );
}

fn bad_rules_are_refused() {
    let school = School::inactive();
    let mut officer = school.superuser();
    for rule in [
        "'', 'minor'",
        "'x', 'dreadful'",
        "'x', NULL",
        "'x', 'minor', kinds => '{dance}'",
        "'x', 'minor', results => '{MAYBE}'",
        "'x', 'minor', from_time => '22:00'",
        "'x', 'minor', from_time => '22:00', to_time => '22:00'",
        "'x', 'minor', posts => '{wizard}'",
        "'x', 'minor', posts => '{NULL}'",
        "'x', 'minor', more_than => -1",
        "'x', 'minor', within => '0'",
        "'x', 'minor', within => '300000 years'",
        "'x', 'minor', more_than => 1001",
        "repeat('x', 101), 'minor'",
        "'x', 'minor', longer_than => '-1 s'",
    ] {
        let error = db_error(officer.execute(&format!("SELECT steward.set_alert_rule({rule})"), &[]));
        assert_ne!(error.code(), &SqlState::INTERNAL_ERROR, "{rule}: {error:?}");
    }
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM steward.alert_rule WHERE name = 'x'"), 0);
    let none = officer.execute("SELECT steward.drop_alert_rule('x')", &[]);
    expect_error(none, &SqlState::UNDEFINED_OBJECT, "", "steward.alert_rule");
}

fn a_rule_on_what_nobody_records_is_asked_about() {
    let school = School::inactive();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut config = school.config("postgres", crate::school::HOME);
    let notices = heard.clone();
    config.notice_callback(move |notice| notices.lock().expect("notices").push(notice.message().to_owned()));
    let mut officer = config.connect(NoTls).expect("connection");
    let mut asked = |types: &str| -> Vec<String> {
        let rule = format!("SELECT steward.set_alert_rule('x', 'minor', operation_types => '{{{types}}}')");
        officer.batch_execute(&rule).expect("a rule");
        std::mem::take(&mut *heard.lock().expect("notices"))
    };
    assert_eq!(asked("SELCT,UPDATE,MISPELT"), ["no record of operation type SELCT, MISPELT is known"]);
    // The rule that is replaced does not vouch for itself.
    assert_eq!(asked("SELCT"), ["no record of operation type SELCT is known"]);
    // Commands, what other rules speak of, and what was recorded.
    assert_eq!(asked("SELECT,DROP TABLE,MISSING JOURNAL,HEAD MISMATCH"), [""; 0]);
    school.flush_audit();
    assert_eq!(asked("set_alert_rule,SERVER START"), [""; 0]);
}

fn alerts_survive_a_crash_and_are_raised_once() {
    let mut school = school_at(12);
    let mut clerk = school.session("clerk_zhao");
    for _ in 0..3 {
        assert!(clerk.batch_execute("TRUNCATE app.guardian").is_err());
    }
    drop(clerk);
    school.kill_9_postmaster();
    school.start();
    let found = alerts(&school);
    assert!(found.contains(&"without_approval Zhao 3".to_string()), "{found:?}");
}

fn an_open_transaction_on_an_alert_stops_neither_the_chain_nor_other_alerts() {
    let school = school_at(12);
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    assert_eq!(alerts(&school).len(), 1);
    let mut slow = school.superuser();
    slow.batch_execute("BEGIN; SELECT steward.confirm_delivery(id) FROM steward.alert")
        .expect("a mailer that takes its time");
    let sequencer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_steward sequencer'";
    let before: i32 = school.ask(sequencer);
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    assert!(school.session("teacher_wang").batch_execute("TRUNCATE app.guardian").is_err());
    assert_eq!(alerts(&school), ["without_approval Wang 1", "without_approval Zhao 1"]);
    slow.batch_execute("COMMIT").expect("commit");
    let counted = "SELECT times FROM steward.alert WHERE subject = 'Zhao'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while school.ask::<i64>(counted) < 2 {
        assert!(Instant::now() < deadline, "what met the lock is never counted");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(school.ask::<i32>(sequencer), before, "the sequencer ended");
}

fn nobody_answers_by_way_of_another_s_view() {
    let school = night_or_day(12);
    school
        .superuser()
        .batch_execute(
            "CREATE FUNCTION app.tidy() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                PERFORM steward.acknowledge(1, 'fine'); PERFORM steward.close_alert(1, 'fine'); RETURN 1; END $$;
            CREATE VIEW app.report AS SELECT app.tidy(); GRANT SELECT ON app.report TO PUBLIC; SELECT steward.activate()",
        )
        .expect("trap");
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    assert_eq!(alerts(&school).len(), 1);
    let trap = school.session("auditor_qian").execute("SELECT * FROM app.report", &[]);
    expect_error(trap, &SqlState::INSUFFICIENT_PRIVILEGE, "does not count", "");
}

/// A missed run is itself an alert.
fn a_check_that_did_not_come_is_told() {
    let school = night_or_day(12);
    let mut officer = school.superuser();
    officer.batch_execute("SELECT * FROM steward.daily_check()").expect("run");
    officer.batch_execute("UPDATE steward._check_run SET ended_at = ended_at - interval '26 hours'").expect("long ago");
    let missed = "SELECT count(*) FROM steward.alert WHERE rule = 'missed_check' AND subject = 'daily_check'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while school.ask::<i64>(missed) == 0 {
        assert!(Instant::now() < deadline, "nobody was told");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn what_comes_long_after_an_answer_is_a_new_alert() {
    let school = night_or_day(12);
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "SELECT steward.set_alert_rule('looks', 'minor', operation_types => '{SELECT}', within => '10 s')",
        )
        .expect("rule");
    read(&mut school.session("clerk_zhao"), 1);
    assert_eq!(alerts(&school), ["looks Zhao 1"]);
    officer.execute("SELECT steward.acknowledge((SELECT id FROM steward.alert), 'seen')", &[]).expect("acknowledge");
    read(&mut school.session("clerk_zhao"), 1);
    assert_eq!(alerts(&school), ["looks Zhao 2"]);
    officer
        .batch_execute("UPDATE steward._alert SET acknowledged_at = acknowledged_at - interval '1 min'")
        .expect("a minute ago");
    read(&mut school.session("clerk_zhao"), 1);
    assert_eq!(alerts(&school), ["looks Zhao 1", "looks Zhao 2"]);
}

fn injected_sql_is_suspected_once_of_each_person() {
    let school = school_at(12);
    let injected = "SELECT name FROM app.student WHERE name = 'Tom-7' OR 'x' = 'x' --' AND id = 7";
    let mut teacher = school.session("teacher_wang");
    for _ in 0..3 {
        teacher.batch_execute(injected).expect("nothing is refused");
    }
    school.session("clerk_zhao").batch_execute(injected).expect("clerk");
    teacher.batch_execute("SELECT name FROM app.student WHERE 1 = 1 AND id = 7 OR id = 8").expect("harmless");
    assert_eq!(alerts(&school), ["injection_pattern Wang 1", "injection_pattern Zhao 1"]);
    let told =
        "SELECT string_agg(concat_ws('; ', user_id, statement, details::json->>'patterns'), E'\n' ORDER BY user_id)
        FROM steward.audit_log WHERE operation_type = 'INJECTION PATTERN'";
    let expected = |login| format!(r#"{login}; SELECT name FROM app.student WHERE name = ? OR ? = ?; ["tautology"]"#);
    assert_eq!(school.ask::<String>(told), format!("{}\n{}", expected("clerk_zhao"), expected("teacher_wang")));
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn syntax_errors_one_after_the_other_are_told() {
    let school = school_at(12);
    let mut teacher = school.session("teacher_wang");
    let mut probe = |times: usize| {
        for _ in 0..times {
            assert!(teacher.batch_execute("SELECT name FROM app.student WHERE id = 7'").is_err());
        }
    };
    probe(4);
    // What a function of somebody else's makes of its text is not the client's.
    let mut clerk = school.session("clerk_zhao");
    for _ in 0..6 {
        assert!(clerk.batch_execute("DO $$ BEGIN EXECUTE 'SELEC 1'; END $$").is_err());
    }
    assert_eq!(alerts(&school), [""; 0]);
    probe(3);
    assert_eq!(alerts(&school), ["syntax_errors Wang 1"]);
}

fn rows_of_an_hour_are_counted_together() {
    let school = night_or_day(12);
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "SELECT steward.set_alert_rule('copies', 'minor', operation_types => '{SELECT}', more_rows => 25);
            SELECT steward.drop_alert_rule('many_rows')",
        )
        .expect("rule");
    let mut teacher = school.session("teacher_wang");
    let mut look = |rows: usize| {
        let found = teacher.query(&format!("SELECT name FROM app.student LIMIT {rows}"), &[]).expect("read");
        assert_eq!(found.len(), rows);
    };
    look(15);
    look(10);
    school.session("clerk_zhao").query("SELECT name FROM app.student LIMIT 20", &[]).expect("somebody else");
    assert_eq!(alerts(&school), [""; 0]);
    look(1);
    assert_eq!(alerts(&school), ["copies Wang 1"]);
    let both = "SELECT steward.set_alert_rule('x', 'minor', more_rows => 5, more_than => 5)";
    assert_eq!(db_error(officer.execute(both, &[])).code(), &SqlState::CHECK_VIOLATION);
}

/// One row may carry a thousand numbers; one that tells how many there are, or the highest, does not.
fn rows_that_an_aggregate_shows_in_one_are_rows_read() {
    let school = night_or_day(12);
    let mut officer = school.superuser();
    let set_up = "CREATE AGGREGATE app.every(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
        CREATE FUNCTION app.names() RETURNS json LANGUAGE plpgsql AS
            'BEGIN RETURN (SELECT json_agg(name) FROM app.student WHERE id <= 30); END';
        GRANT EXECUTE ON FUNCTION app.names() TO PUBLIC;
        SELECT steward.set_alert_rule('copies', 'minor', operation_types => '{SELECT}', more_rows => 25);
        SELECT steward.drop_alert_rule('many_rows')";
    officer.batch_execute(set_up).expect("set-up");
    let workers = "SET force_parallel_mode = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
        SET min_parallel_table_scan_size = 0";
    let mut teacher = school.session("teacher_wang");
    let read = |teacher: &mut Client, statement: &str| -> Option<i64> {
        let rows = teacher.simple_query(statement).expect(statement);
        assert!(rows.len() > 1, "{statement}");
        school.flush_audit();
        let last = "SELECT (details::jsonb ->> 'rows_read')::bigint FROM steward.audit_log
            WHERE operation_type = 'SELECT' AND table_name = 'app.student' ORDER BY id DESC LIMIT 1";
        school.superuser().query_one(last, &[]).expect("a record").get(0)
    };
    for (statement, expected) in [
        ("SELECT string_agg(name, ',') FROM app.student WHERE id <= 20", Some(20)),
        ("SELECT length(string_agg(name, ',')) FROM app.student WHERE id <= 20", Some(20)),
        ("SELECT array_agg(name) FROM app.student WHERE id <= 20", Some(20)),
        ("SELECT json_agg(s) FROM app.student s WHERE id <= 20", Some(20)),
        ("SELECT xmlagg(xmlelement(name n, name)) FROM app.student WHERE id <= 20", Some(20)),
        ("SELECT app.every(name) FROM app.student WHERE id <= 20", Some(20)),
        ("SELECT id % 2, string_agg(name, ',') FROM app.student WHERE id <= 20 GROUP BY 1", Some(20)),
        ("SELECT string_agg(name, ',') OVER () FROM app.student WHERE id <= 20 LIMIT 1", Some(20)),
        ("SELECT x FROM (SELECT string_agg(name, ',') AS x FROM app.student WHERE id <= 20 OFFSET 0) AS y", Some(20)),
        (
            "WITH y AS MATERIALIZED (SELECT string_agg(name, ',') AS x FROM app.student WHERE id <= 20) SELECT x FROM y",
            Some(20),
        ),
        ("SELECT (SELECT string_agg(name, ',') FROM app.student WHERE id <= 20)", Some(20)),
        (
            "SELECT string_agg(name, ',') FROM app.student WHERE id <= 10 UNION ALL
            SELECT string_agg(name, ',') FROM app.student WHERE id BETWEEN 11 AND 20",
            Some(20),
        ),
        ("SELECT count(*) FROM app.student WHERE id <= 20", None),
        ("SELECT max(name), sum(id), avg(id), bool_or(id > 3), min(note) FROM app.student WHERE id <= 20", None),
        ("SELECT name FROM app.student WHERE id <= 20", None),
        ("SELECT string_agg(name, ',') FROM app.student WHERE id = 1", None),
    ] {
        assert_eq!(read(&mut teacher, statement), expected, "{statement}");
        let mut beside = school.session("teacher_wang");
        beside.batch_execute(workers).expect("settings");
        assert_eq!(read(&mut beside, statement), expected, "with workers: {statement}");
    }
    // What repeats within a statement is one record, with the sum.
    let often = "DO $$ BEGIN FOR i IN 1..100 LOOP PERFORM string_agg(name, ',') FROM app.student WHERE id <= i; END LOOP; END $$";
    teacher.batch_execute(often).expect(often);
    school.flush_audit();
    let folded =
        "operation_type = 'SELECT' AND repeats = 100 AND (details::jsonb ->> 'rows_read')::int = 5050 AND rows = 100";
    assert_eq!(school.records(folded), 1);
    // The alert goes by them.
    officer.batch_execute("DELETE FROM steward._alert").expect("a clean start");
    let mut clerk = school.session("clerk_zhao");
    clerk.query("SELECT app.names()", &[]).expect("names");
    assert_eq!(told(&school, "subject = 'Zhao' AND rule = 'copies'"), ["copies Zhao 1"]);
}

/// In portions, and in a block that is rolled back: the client has its rows.
fn rows_that_a_cursor_returned_count_however_it_ends() {
    let school = night_or_day(12);
    let open = "DECLARE c CURSOR FOR SELECT name FROM app.student ORDER BY id";
    let gathered = "DECLARE c CURSOR FOR SELECT string_agg(name, ',') FROM app.student GROUP BY id % 4";
    for (declare, end, expected) in [
        (open, "CLOSE c; COMMIT", (20, None)),
        (open, "COMMIT", (20, None)),
        (open, "ROLLBACK", (20, None)),
        (open, "SELECT 1 / 0", (20, None)),
        // The third run sends ten rows, and then fails.
        (
            "DECLARE c CURSOR FOR SELECT name, 1 / (31 - id) FROM app.student ORDER BY id",
            "FETCH ALL FROM c",
            (30, None),
        ),
        (gathered, "CLOSE c; COMMIT", (4, Some(200))),
        (gathered, "ROLLBACK", (4, Some(200))),
    ] {
        let mut teacher = school.session("teacher_wang");
        teacher.batch_execute(&format!("BEGIN; {declare}; FETCH 10 FROM c; FETCH 10 FROM c")).expect("rows");
        // Some of these ends are errors.
        let _one_is_an_error = teacher.batch_execute(end);
        let _nothing_is_open = teacher.batch_execute("ROLLBACK");
        drop(teacher);
        school.flush_audit();
        let last = "SELECT rows, (details::jsonb ->> 'rows_read')::bigint FROM steward.audit_log
            WHERE operation_type = 'SELECT' AND table_name = 'app.student' ORDER BY id DESC LIMIT 1";
        let row = school.superuser().query_one(last, &[]).expect("a record");
        let found: (Option<i64>, Option<i64>) = (row.get(0), row.get(1));
        assert_eq!(found, (Some(expected.0), expected.1), "{declare}; {end}");
    }
    // A session that is ended with its cursor open.
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(&format!("BEGIN; {open}; FETCH 40 FROM c")).expect("rows");
    drop(teacher);
    crate::failover::wait_until(&school, "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'teacher_wang'");
    school.flush_audit();
    assert_eq!(school.records("operation_type = 'SELECT' AND table_name = 'app.student' AND rows = 40"), 1);
}
