//! Questions of auditors: asked by a worker of its own, with the auditor's rights and nothing more; their rows are alerts,
//! and so is what fails. Nothing of them stops the chain.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use crate::expect::{db_error, expect_error};
use crate::school::{School, ask};

tests! {
    an_auditor_s_question_is_asked_with_the_auditor_s_rights,
    what_is_more_than_a_question_is_refused,
}

/// Waits until the superuser's question has this answer.
#[track_caller]
fn wait(school: &School, question: &str, answer: &str) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while school.ask::<Option<String>>(question).as_deref() != Some(answer) {
        assert!(Instant::now() < deadline, "{question}: {:?}", school.ask::<Option<String>>(question));
        sleep(Duration::from_millis(200));
    }
}

fn an_auditor_s_question_is_asked_with_the_auditor_s_rights() {
    let school = School::active();
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    school.flush_audit();
    let mut auditor = school.session("auditor_qian");
    auditor
        .batch_execute(
            "SELECT steward.set_alert_query('refused', 'minor',
                $$SELECT person, count(*) FROM steward.audit_log WHERE result = 'DENIED' GROUP BY 1 -- who$$)",
        )
        .expect("a question");
    let alerts = "SELECT string_agg(concat_ws(' ', rule, level, subject, times), ', ' ORDER BY rule, subject)
        FROM steward.alert WHERE operation_type = 'ALERT QUERY'";
    wait(&school, alerts, "refused minor Zhao 1");
    // What asks takes too long, and what fails as it runs, are told.
    for (name, query) in [
        ("slow", "SELECT count(*) FROM pg_class a, pg_class b, pg_class c, pg_class d, pg_class e"),
        ("wrong", "SELECT 1 / (count(*) - count(*)) FROM steward.audit_log"),
    ] {
        let set = "SELECT steward.set_alert_query($1, 'major', $2, timeout => '1 s')";
        auditor.execute(set, &[&name, &query]).expect("a question");
    }
    wait(&school, alerts, "refused minor Zhao 1, slow major query failed 1, wrong major query failed 1");
    let failures = "SELECT string_agg(failure, '; ' ORDER BY name) FROM steward.alert_query WHERE failure IS NOT NULL";
    assert_eq!(school.ask::<String>(failures), "took longer than 1 s; division by zero");
    // Its worker asked as the auditor, on record, and is killed without harm: that is told as well.
    let asked = "operation_type = 'WORKER START' AND user_id = 'auditor_qian'";
    assert!(school.records(asked) >= 3, "the worker acts as somebody else");
    // A login that may not log in cannot ask either.
    let owner = "SELECT string_agg(DISTINCT owner::text, ' ') FROM steward.alert_query";
    assert_eq!(school.ask::<String>(owner), "auditor_qian");
    for (login, seen) in [("auditor_qian", 3), ("security_han", 3), ("teacher_wang", 0)] {
        let mut session = school.session(login);
        assert_eq!(ask::<i64>(&mut session, "SELECT count(*) FROM steward.alert_query"), seen, "{login}");
    }
    for name in ["slow", "wrong"] {
        auditor.execute("SELECT steward.drop_alert_query($1)", &[&name]).expect("dropped");
    }
    let by_others = "SELECT steward.drop_alert_query('refused')";
    for login in ["postgres", "security_han", "teacher_wang"] {
        let refused = school.session(login).execute(by_others, &[]);
        expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn what_is_more_than_a_question_is_refused() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE FUNCTION app.trap() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM app.student; RETURN 1; END $$;
            CREATE VIEW app.report AS SELECT app.trap() AS n; GRANT SELECT ON app.report TO PUBLIC;
            CREATE DOMAIN app.odd AS int CHECK (app.trap() = VALUE); GRANT USAGE ON SCHEMA app TO PUBLIC;
            CREATE FUNCTION app.witness() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(4711); RETURN true; END $$;
            CREATE DOMAIN app.seen AS int CHECK (app.witness());
            CREATE TYPE app.pair AS (n app.seen); CREATE DOMAIN app.list AS app.seen[]; CREATE TABLE app.pairs (p app.pair, l app.list);
            CREATE FUNCTION app.same(app.pair, app.pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
            CREATE OPERATOR app.=== (LEFTARG = app.pair, RIGHTARG = app.pair, FUNCTION = app.same);
            GRANT SELECT, INSERT ON app.pairs TO PUBLIC",
        )
        .expect("traps");
    nobody_is_kept_waiting_by_a_question_that_is_held(&school);
    what_a_question_finds_has_an_end(&school);
    school.superuser().batch_execute("SELECT steward.activate()").expect("active");
    let mut auditor = school.session("auditor_qian");
    let students: i64 = school.ask("SELECT count(*) FROM app.student");
    for query in [
        "DELETE FROM steward.alert_rule",
        "SELECT 1; SELECT 2",
        "SELECT 1) q(subject); DELETE FROM app.student; SELECT * FROM (SELECT 1",
        "SELECT 1 INTO app.t",
        "SELECT name FROM steward.alert_rule FOR UPDATE",
        "WITH gone AS (DELETE FROM steward.alert_rule RETURNING name) SELECT name FROM gone",
        "SELECT app.trap()",
        "SELECT n FROM app.report",
        "SELECT name FROM app.student",
        "SELECT (SELECT max(s.name) FROM app.student s) FROM steward.alert_rule",
        "SELECT 1::app.odd",
        "SELECT pg_sleep(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_read_file('pg_hba.conf')",
        "SELECT steward.acknowledge(1, 'fine')",
        "SELECT set_config('search_path', 'app', false)",
        "SELECT pg_notify('steward_alert', 'all is well')",
        "SELECT query_to_xml('DELETE FROM app.student', true, true, '')",
        "SELECT table_to_xml('app.report', true, true, '')",
        "SELECT table_to_xmlschema('app.report', true, true, '')",
        "SELECT schema_to_xml('app', true, true, '')",
        "SELECT schema_to_xml_and_xmlschema('app', true, true, '')",
        "SELECT database_to_xml(true, true, '')",
        "SELECT query_to_xmlschema('SELECT * FROM app.report', true, true, '')",
        "SELECT domain_in('1', 'app.seen'::regtype, -1)",
        "SELECT fmgr_sql_validator('app.same(app.pair, app.pair)'::regprocedure)",
        // Constants that the analysis reads.
        "SELECT x FROM jsonb_to_record('{\"x\": \"1\"}') t(x app.seen)",
        "SELECT x FROM xmltable('/a' PASSING '<a>1</a>' COLUMNS x app.seen PATH '.') t",
        "SELECT '(1)'::app.pair",
        "SELECT app.pair '(1)'",
        "SELECT '{1}'::app.seen[]",
        "SELECT '{1}'::app._seen",
        "SELECT app._seen('{1}')",
        "SELECT app.list('{1}')",
        "SELECT school.app.list('{1}')",
        "SELECT '(1)' OPERATOR(app.===) '(1)'",
        "SELECT 1 FROM app.pairs WHERE l = '{1}'",
        "WITH new AS (INSERT INTO app.pairs (p) VALUES ('(1)') RETURNING 1) SELECT 1",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t WHERE false)
            CYCLE n SET seen TO app._seen '{1}' DEFAULT app._seen '{2}' USING path SELECT n FROM t",
        "SELECT * FROM steward.alert_rule, LATERAL app.trap()",
        "SELECT name FROM steward.alert_rule ORDER BY app.trap()",
        "TABLE nowhere",
        "EXPLAIN SELECT 1",
        "SELEC 1",
        "",
    ] {
        let refused = auditor.execute("SELECT steward.set_alert_query('bad', 'minor', $1)", &[&query]);
        let error = db_error(refused);
        assert_eq!(error.code(), &SqlState::INVALID_PARAMETER_VALUE, "{query}: {error:?}");
    }
    let question = "SELECT steward.set_alert_query('mine', 'minor', 'SELECT name FROM steward.alert_rule WHERE false'";
    for (call, code) in [
        (format!("{question}, every => '59 s')"), SqlState::CHECK_VIOLATION),
        (format!("{question}, timeout => '2 min')"), SqlState::CHECK_VIOLATION),
        (question.replace("mine", "off_hours") + ")", SqlState::INSUFFICIENT_PRIVILEGE),
        (question.replace("minor", "dreadful") + ")", SqlState::CHECK_VIOLATION),
    ] {
        assert_eq!(db_error(auditor.execute(&call, &[])).code(), &code, "{call}");
    }
    for login in ["postgres", "security_han", "teacher_wang"] {
        let refused = school.session(login).execute(&format!("{question})"), &[]);
        expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    // Two auditors at the limit at once: one finds room.
    for n in 0..9 {
        auditor.execute(&format!("{})", question.replace("mine", &format!("q{n}"))), &[]).expect("room");
    }
    let last = |name: &str| format!("{})", question.replace("mine", name));
    let mut first = school.session("auditor_qian");
    first.batch_execute(&format!("BEGIN; {}", last("a"))).expect("the tenth");
    let eleventh = std::thread::scope(|scope| {
        let waits = scope.spawn(|| school.session("auditor_qian").batch_execute(&last("b")));
        sleep(Duration::from_millis(500));
        first.batch_execute("COMMIT").expect("commit");
        waits.join().expect("no panic")
    });
    assert_eq!(db_error(eleventh.map(|()| 0)).code(), &SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.alert_query WHERE enabled"), 10);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student"), students, "a trap has sprung");
    let witness = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711";
    assert_eq!(school.ask::<i64>(witness), 0, "a CHECK was run");
}

/// Before the policy is active. Somebody's open transaction keeps that question from being asked, and no other; so does a
/// worker that hangs, for its own time and no longer.
fn nobody_is_kept_waiting_by_a_question_that_is_held(school: &School) {
    let mut auditor = school.session("auditor_qian");
    let slow = "SELECT count(*) FROM pg_class a, pg_class b, pg_class c, pg_class d, pg_class e";
    let set = "SELECT steward.set_alert_query($1, 'minor', $2, timeout => '3 s')";
    auditor.execute(set, &[&"held", &slow]).expect("a question");
    let begun =
        "SELECT string_agg(name, ' ') FROM steward.alert_query WHERE started_at IS NOT NULL AND ended_at IS NULL";
    wait(school, begun, "held");
    auditor.execute(set, &[&"free", &"SELECT 'found'"]).expect("a question");
    // While its worker is still at it, and then for as long as it takes.
    auditor.batch_execute("BEGIN; SELECT steward.drop_alert_query('held')").expect("dropped");
    let found =
        "SELECT string_agg(concat_ws(' ', rule, subject, times), ', ' ORDER BY rule, subject) FROM steward.alert
        WHERE operation_type = 'ALERT QUERY'";
    wait(school, found, "free found 1");
    // Both are due again.
    school
        .superuser()
        .batch_execute("SET lock_timeout = '1s'; UPDATE steward._alert_query_run SET started_at = started_at - interval '1 hour' WHERE name = 'free'")
        .expect("an hour later");
    wait(school, found, "free found 2");
    auditor.batch_execute("COMMIT").expect("dropped");

    auditor.execute(set, &[&"hangs", &slow]).expect("a question");
    let worker = "SELECT max(pid)::text FROM pg_stat_activity WHERE backend_type = 'pg_steward alert query'";
    let deadline = Instant::now() + Duration::from_secs(60);
    let pid = loop {
        match school.ask::<Option<String>>(worker) {
            Some(pid) => break pid,
            None => assert!(Instant::now() < deadline, "nobody asks"),
        }
    };
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status().expect("kill").success();
    assert!(signal("-STOP"));
    wait(school, found, "free found 2, hangs query failed 1");
    let failure = "SELECT failure FROM steward.alert_query WHERE name = 'hangs'";
    assert_eq!(school.ask::<String>(failure), "its worker did not come to an end");
    assert!(signal("-CONT"));
    wait(school, worker.replace("max(pid)", "count(*)").as_str(), "0");
    for name in ["free", "hangs"] {
        auditor.execute("SELECT steward.drop_alert_query($1)", &[&name]).expect("dropped");
    }
}

/// Before the policy is active: a hundred cases nobody has closed are enough, and so is one incident.
fn what_a_question_finds_has_an_end(school: &School) {
    let mut auditor = school.session("auditor_qian");
    let all = "SELECT concat(extract(epoch FROM now()), n) FROM generate_series(1, 60) n";
    auditor.execute("SELECT steward.set_alert_query('storm', 'major', $1)", &[&all]).expect("a question");
    let count =
        |condition: &str| format!("SELECT count(*)::text FROM steward.alert WHERE rule = 'storm' AND {condition}");
    let again = "UPDATE steward._alert_query_run SET started_at = started_at - interval '1 hour' WHERE name = 'storm'";
    for (alerts, overflows) in [("60", "0"), ("101", "1"), ("101", "2")] {
        wait(school, &count("true"), alerts);
        let times =
            "SELECT coalesce(sum(times), 0)::text FROM steward.alert WHERE rule = 'storm' AND subject = 'too many'";
        wait(school, times, overflows);
        school.superuser().batch_execute(again).expect("an hour later");
    }
    let incidents = "SELECT count(*) FROM steward._incident WHERE description LIKE '%storm%'";
    assert_eq!(school.ask::<i64>(incidents), 1);
    auditor.execute("SELECT steward.drop_alert_query('storm')", &[]).expect("dropped");
}
