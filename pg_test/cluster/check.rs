//! Integrity checks: each kind finds what it should and nothing else, one that fails passes for no good one, and nobody
//! reads through them what they may not read.

use postgres::Client;
use postgres::error::SqlState;

use crate::cluster::{extension_dir, library_dir};
use crate::expect::db_error;
use crate::school::{School, ask};
use crate::trail::tamper;

tests! {
    every_kind_finds_its_rows_and_no_others,
    the_manual_s_checks_find_what_the_manual_s_queries_find,
    what_is_found_is_one_case_until_it_is_gone,
    a_case_ends_with_its_check,
    no_rows_are_written_for_nothing,
    a_check_that_fails_fails_alone_and_is_no_good_one,
    a_check_that_takes_too_long_is_given_up,
    a_cancelled_run_is_cancelled,
    a_writer_does_not_wait_for_a_run,
    an_expression_has_the_rights_of_who_set_it,
    an_expression_whose_owner_does_not_see_all_is_not_made,
    an_expression_cannot_write,
    an_expression_is_one_expression,
    samples_show_no_classed_value,
    odd_names_are_quoted,
    no_code_of_a_type_runs_as_own_sql,
    checks_are_set_by_the_policy_only,
    bad_checks_are_refused,
    only_those_who_may_see_findings_see_them,
    a_job_of_the_application_may_run_the_checks,
    the_policy_s_own_checks_find_what_is_wrong,
    another_configuration_is_noticed,
    two_runs_do_not_meet,
    equal_keys_are_found_whatever_their_number_and_type,
    patterns_say_the_same_of_every_value,
    another_session_sees_how_far_a_run_is,
    a_run_keeps_no_lock_and_counts_as_a_verification,
    columns_that_look_as_if_they_needed_a_class_are_found,
    ways_around_and_scopes_that_drift_are_found,
    what_an_intruder_changed_in_our_own_objects_is_found,
    a_table_that_cannot_be_looked_at_costs_itself_only,
    a_library_on_the_path_is_the_one_that_the_server_found,
    an_update_is_listed_and_hides_no_change,
    settings_of_a_session_change_no_digest_of_our_own_objects,
    keys_in_many_pieces_are_found,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;

/// The statement fails with this SQLSTATE and these words.
#[track_caller]
fn fails<T>(result: Result<T, postgres::Error>, state: &SqlState, says: &str) {
    let error = db_error(result);
    assert_eq!(error.code(), state, "{error:?}");
    assert!(error.message().contains(says), "no {says:?}: {error:?}");
}

/// Runs all checks and returns what one of them found; -1: could not be made.
#[track_caller]
fn found(session: &mut Client, check: &str) -> i64 {
    let row =
        session.query_one("SELECT coalesce(issues, -1) FROM steward.daily_check() WHERE check_name = $1", &[&check]);
    row.unwrap_or_else(|error| panic!("{check}: {error:?}")).get(0)
}

#[track_caller]
fn set(session: &mut Client, check: &str) {
    session
        .batch_execute(&format!("SELECT steward.set_check({check})"))
        .unwrap_or_else(|error| panic!("{check}: {error:?}"));
}

fn every_kind_finds_its_rows_and_no_others() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "CREATE TABLE app.pupil (id int PRIMARY KEY, card text, phone varchar(20), score numeric, school int, seen timestamptz, pair int);
            INSERT INTO app.pupil SELECT n, '440524188001010014', '13800000000', n, 1, now(), n FROM generate_series(1, 20) n;
            UPDATE app.pupil SET card = '440524188001010015' WHERE id = 3;
            UPDATE app.pupil SET card = NULL, phone = NULL, score = NULL, school = NULL WHERE id = 4;
            UPDATE app.pupil SET phone = '1380000000' WHERE id IN (5, 6);
            UPDATE app.pupil SET score = 101 WHERE id = 7;
            UPDATE app.pupil SET score = -1 WHERE id = 8;
            UPDATE app.pupil SET school = 99 WHERE id = 9;
            UPDATE app.pupil SET pair = 2 WHERE id = 1",
        )
        .expect("table");
    for check in [
        "'twins', 'app.pupil', 'unique', '{pair}'",
        "'triplets', 'app.pupil', 'unique', '{pair,id}'",
        "'phones', 'app.pupil', 'format', '{phone}', '^1[3-9]\\d{9}$'",
        "'cards', 'app.pupil', 'checksum', '{card}', 'id_card'",
        "'scores', 'app.pupil', 'range', '{score}', '0..100'",
        "'low_scores', 'app.pupil', 'range', '{score}', '0..'",
        "'schools', 'app.pupil', 'reference', '{school}', 'app.school(id)'",
        "'fresh', 'app.pupil', 'freshness', '{seen}', '1 hour'",
        "'parity', 'app.pupil', 'expression', '{id,pair}', 'id = pair OR id = 1'",
    ] {
        set(&mut officer, check);
    }
    let findings = |session: &mut Client| {
        let rows = session.query("SELECT check_name, issues FROM steward.daily_check() JOIN steward.integrity_check ON name = check_name ORDER BY 1", &[]);
        let rows = rows.expect("daily_check");
        rows.iter()
            .map(|row| format!("{}={:?}", row.get::<_, String>(0), row.get::<_, Option<i64>>(1)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        findings(&mut officer),
        "cards=Some(1) fresh=Some(0) low_scores=Some(1) parity=Some(0) phones=Some(2) schools=Some(1) scores=Some(2) triplets=Some(0) twins=Some(2)"
    );
    let sample: Vec<String> =
        ask(&mut officer, "SELECT sample FROM steward.integrity_issues WHERE check_name = 'phones'");
    assert_eq!(sample, ["5", "6"]);
    let sample: Vec<String> =
        ask(&mut officer, "SELECT sample FROM steward.integrity_issues WHERE check_name = 'twins'");
    assert_eq!(sample, ["1 = 2"]);
    officer.batch_execute("UPDATE app.pupil SET seen = now() - interval '2 hours'").expect("update");
    assert_eq!(found(&mut officer, "fresh"), 1);
    for ahead in ["now() + interval '1 year'", "'infinity'"] {
        officer.batch_execute(&format!("UPDATE app.pupil SET seen = {ahead} WHERE id = 3")).expect("update");
        assert_eq!(
            found(&mut officer, "fresh"),
            2,
            "a row of the future is an issue, and the others are as old as before"
        );
    }
    officer.batch_execute("TRUNCATE app.pupil").expect("truncate");
    let findings = findings(&mut officer);
    assert!(findings.contains("fresh=Some(1)") && findings.matches("Some(0)").count() == 8, "{findings}");
}

/// Manual 6.1. Its format check takes nine characters; what it meant are phone numbers.
fn the_manual_s_checks_find_what_the_manual_s_queries_find() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "ALTER TABLE app.student DROP CONSTRAINT student_id_card_key, DROP CONSTRAINT student_phone_format;
            UPDATE app.student SET id_card = 'ID7' WHERE id IN (8, 9);
            UPDATE app.student SET phone = '12345' WHERE id = 10;
            SELECT steward.set_check('duplicate_id_card', 'app.student', 'unique', '{id_card}');
            SELECT steward.set_check('invalid_phone', 'app.student', 'format', '{phone}', '^1[3-9]\\d{9}$')",
        )
        .expect("set-up");
    let by_hand = "SELECT count(*) FROM app.student WHERE id_card IN (SELECT id_card FROM app.student GROUP BY id_card HAVING count(*) > 1)";
    assert_eq!(ask::<i64>(&mut officer, by_hand), 3);
    assert_eq!(found(&mut officer, "duplicate_id_card"), 3);
    assert_eq!(found(&mut officer, "invalid_phone"), 1);
}

fn what_is_found_is_one_case_until_it_is_gone() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute("CREATE TABLE app.t (id int PRIMARY KEY, n int); INSERT INTO app.t VALUES (1, 5), (2, 6)")
        .expect("t");
    set(&mut officer, "'low', 'app.t', 'range', '{n}', '..4'");
    assert_eq!((found(&mut officer, "low"), found(&mut officer, "low")), (2, 2));
    let case = "SELECT string_agg(concat_ws(' ', check_name, status, issue_count, last_run_id > run_id, fixer), ';' ORDER BY id)
        FROM steward.integrity_issues WHERE check_name = 'low'";
    assert_eq!(ask::<String>(&mut officer, case), "low open 2 t");
    officer.batch_execute("DELETE FROM app.t WHERE id = 1").expect("delete");
    assert_eq!(found(&mut officer, "low"), 1);
    assert_eq!(ask::<String>(&mut officer, case), "low open 1 t");
    officer
        .batch_execute("SELECT steward.close_issue(id, 'corrected by hand') FROM steward.integrity_issues WHERE check_name = 'low'")
        .expect("close");
    assert_eq!(ask::<String>(&mut officer, case), "low fixed 1 t Wu");
    // It was not: the next run says so.
    assert_eq!(found(&mut officer, "low"), 1);
    officer.batch_execute("DELETE FROM app.t").expect("delete");
    assert_eq!(found(&mut officer, "low"), 0);
    assert_eq!(ask::<String>(&mut officer, case), "low fixed 1 t Wu;low gone 1 t");
    let again = officer.execute("SELECT steward.close_issue(1, 'again')", &[]);
    fails(again, &SqlState::UNDEFINED_OBJECT, "no such open issue");
    let empty = officer.execute("SELECT steward.close_issue(1, ' ')", &[]);
    fails(empty, BAD, "result must not be empty");
}

/// The manual's own version writes a row for 0.
fn a_case_ends_with_its_check() {
    let school = School::inactive();
    let mut officer = school.superuser();
    set(&mut officer, "'named', 'app.student', 'format', '{name}', '^x'");
    assert_eq!(found(&mut officer, "named"), 200);
    officer.batch_execute("SELECT steward.drop_check('named')").expect("drop_check");
    let case = "SELECT concat_ws(' ', status, result, ended_at IS NOT NULL) FROM steward.integrity_issues WHERE check_name = 'named'";
    assert_eq!(ask::<String>(&mut officer, case), "gone the check was dropped t");
    officer.batch_execute("SELECT * FROM steward.daily_check()").expect("daily_check");
    let report: String = ask(
        &mut officer,
        "SELECT steward.security_report(now() - interval '1 day', now() + interval '1 day', 'markdown', 'en')",
    );
    assert!(report.lines().any(|line| line.contains("named") && line.contains("dropped")), "{report}");
}

fn no_rows_are_written_for_nothing() {
    let school = School::inactive();
    let mut officer = school.superuser();
    set(&mut officer, "'ids', 'app.student', 'unique', '{id}'");
    assert_eq!(found(&mut officer, "ids"), 0);
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM steward.integrity_issues WHERE check_name = 'ids'"), 0);
    assert_eq!(ask::<i64>(&mut officer, "SELECT issues FROM steward.check_result WHERE check_name = 'ids'"), 0);
    assert!(!ask::<bool>(&mut officer, "SELECT overdue FROM steward.check_status"));
    assert_eq!(
        school
            .records("operation_type = 'daily_check' AND result = 'FAILURE' AND details LIKE '%login_without_person%'"),
        0
    );
}

fn a_check_that_fails_fails_alone_and_is_no_good_one() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "CREATE TABLE app.t (id int PRIMARY KEY, n text, m text); INSERT INTO app.t VALUES (1, 'x', 'x')",
        )
        .expect("t");
    set(&mut officer, "'n', 'app.t', 'format', '{n}', '^y$'");
    set(&mut officer, "'m', 'app.t', 'format', '{m}', '^x$'");
    set(&mut officer, "'cast', 'app.t', 'expression', '{n}', 'n::int > 0'");
    officer.batch_execute("ALTER TABLE app.t DROP COLUMN n; ALTER TABLE app.t ADD COLUMN o int").expect("alter");
    officer.batch_execute("DELETE FROM app.t; INSERT INTO app.t (id, m) VALUES (1, 'x')").expect("rows");
    assert_eq!((found(&mut officer, "n"), found(&mut officer, "m"), found(&mut officer, "cast")), (-1, 0, -1));
    let failure: String = ask(&mut officer, "SELECT failure FROM steward.check_result WHERE check_name = 'n' LIMIT 1");
    assert!(failure.contains("no such column"), "{failure}");
    // That is a finding, and its case is open until the check can be made.
    assert_eq!(found(&mut officer, "failed_check"), 2);
    let case = "SELECT array_to_string(sample, ';') FROM steward.integrity_issues WHERE check_name = 'failed_check' AND status = 'open'";
    let sample: String = ask(&mut officer, case);
    assert!(sample.contains("n: ") && sample.contains("no such column") && sample.contains("cast: "), "{sample}");
    assert!(school.records("operation_type = 'daily_check' AND result = 'FAILURE'") > 0);
    officer.batch_execute("DROP TABLE app.t").expect("drop");
    assert_eq!((found(&mut officer, "n"), found(&mut officer, "m")), (-1, -1));
}

fn a_check_that_takes_too_long_is_given_up() {
    let school = School::inactive();
    let mut officer = school.superuser();
    let slow = "'slow', 'app.student', 'expression', '{id}', 'pg_sleep(60) IS NOT NULL', '300 ms'";
    set(&mut officer, slow);
    set(&mut officer, "'ids', 'app.student', 'unique', '{id}'");
    assert_eq!(found(&mut officer, "slow"), -1);
    let failure: String = ask(&mut officer, "SELECT failure FROM steward.check_result WHERE check_name = 'slow'");
    assert!(failure.contains("took longer"), "{failure}");
    assert_eq!(ask::<i64>(&mut officer, "SELECT issues FROM steward.check_result WHERE check_name = 'ids'"), 0);
    // The timer of the check is no timer of the session.
    officer.batch_execute("SELECT pg_sleep(1)").expect("nothing cancels it");
}

fn a_cancelled_run_is_cancelled() {
    let school = School::inactive();
    let mut officer = school.superuser();
    set(&mut officer, "'slow', 'app.student', 'expression', '{id}', 'pg_sleep(60) IS NOT NULL'");
    officer.batch_execute("SET statement_timeout = '1 s'").expect("set");
    let run = officer.query("SELECT * FROM steward.daily_check()", &[]);
    fails(run, &SqlState::QUERY_CANCELED, "statement timeout");
    officer.batch_execute("RESET statement_timeout").expect("reset");
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM steward.check_run"), 0);
    assert!(ask::<bool>(&mut officer, "SELECT overdue FROM steward.check_status"));
}

fn a_writer_does_not_wait_for_a_run() {
    let school = School::inactive();
    set(&mut school.superuser(), "'slow', 'app.student', 'expression', '{id}', 'id > 1 OR pg_sleep(4) IS NOT NULL'");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| found(&mut school.superuser(), "slow"));
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while school.ask::<i64>(asleep) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let mut writer = school.superuser();
        writer.batch_execute("SET lock_timeout = '1 s'; UPDATE app.student SET note = 'written'").expect("no wait");
        assert_eq!(school.ask::<i64>(asleep), 1, "the run is still under way");
        assert_eq!(run.join().expect("run"), 0);
    });
}

fn an_expression_has_the_rights_of_who_set_it() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute("CREATE TABLE app.secret (id int PRIMARY KEY); INSERT INTO app.secret VALUES (1)")
        .expect("secret");
    let mut han = school.session("security_han");
    set(&mut han, "'peep', 'app.student', 'expression', '{id}', 'id > 0'");
    let secret = "SELECT steward.set_check('peep', 'app.secret', 'expression', '{id}', 'id > 0')";
    fails(han.execute(secret, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "permission denied for table secret");
    let inner =
        "SELECT steward.set_check('peep', 'app.student', 'expression', '{id}', 'NOT EXISTS (SELECT FROM app.secret)')";
    fails(han.execute(inner, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "permission denied for table secret");
    // Who loses the right loses it in the checks too.
    officer.batch_execute("REVOKE SELECT ON app.student FROM security_han").expect("revoke");
    assert_eq!(found(&mut officer, "peep"), -1);
}

/// Rows that its owner does not see, and masks, would make it find too little.
fn an_expression_whose_owner_does_not_see_all_is_not_made() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "GRANT USAGE ON SCHEMA app TO security_han; GRANT SELECT ON app.student TO security_han;
            UPDATE app.student SET note = 'wrong' WHERE id <= 2",
        )
        .expect("set-up");
    let mut han = school.session("security_han");
    set(&mut han, "'notes', 'app.student', 'expression', '{note}', $q$note <> 'wrong'$q$");
    assert_eq!(found(&mut officer, "notes"), 2);
    officer
        .batch_execute("ALTER TABLE app.student ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        .expect("no rows");
    assert_eq!(found(&mut officer, "notes"), -1);
    assert!(found(&mut officer, "failed_check") >= 1);
    officer
        .batch_execute(
            "ALTER TABLE app.student DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
            SECURITY LABEL FOR pg_steward ON COLUMN app.student.note IS 'note'; SELECT steward.set_mask('security_han', 'note', 'hide')",
        )
        .expect("a mask");
    assert_eq!(found(&mut officer, "notes"), -1);
    let issue: String =
        ask(&mut officer, "SELECT sample::text FROM steward.integrity_issues WHERE check_name = 'failed_check'");
    assert!(issue.contains("sees masks"), "{issue}");
}

fn an_expression_cannot_write() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "CREATE FUNCTION app.innocent(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO app.scratch VALUES ($1); RETURN true; END $$;
            CREATE FUNCTION app.unlock(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                SET LOCAL transaction_read_only = off; INSERT INTO app.scratch VALUES ($1); RETURN true; END $$",
        )
        .expect("functions");
    for (name, expression) in
        [("writes", "app.innocent(id)"), ("unlocks", "app.unlock(id)"), ("counts", "setval('app.entry_id_seq', 7) > 0")]
    {
        set(&mut officer, &format!("'{name}', 'app.student', 'expression', '{{id}}', $q${expression}$q$"));
        assert_eq!(found(&mut officer, name), -1, "{name}");
    }
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM app.scratch"), 0);
    officer.batch_execute("INSERT INTO app.scratch VALUES (1)").expect("the session may write as before");
}

fn an_expression_is_one_expression() {
    let school = School::inactive();
    let mut officer = school.superuser();
    for expression in [
        "true) OR (true",
        "true\n) UNION SELECT count(*) FROM app.student WHERE (true",
        "true; DROP TABLE app.scratch",
        "true FROM app.student",
        "true, false",
        "true WHERE true",
        "true ORDER BY 1",
        "true INTO x",
    ] {
        let set = format!("SELECT steward.set_check('x', 'app.student', 'expression', '{{id}}', $q${expression}$q$)");
        assert!(officer.execute(&set, &[]).is_err(), "{expression}");
    }
    set(&mut officer, "'x', 'app.student', 'expression', '{id}', 'id < 200 -- not the last'");
    assert_eq!(found(&mut officer, "x"), 1);
}

fn samples_show_no_classed_value() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "CREATE TABLE app.card (id_card text, n int, PRIMARY KEY (id_card, n)); INSERT INTO app.card VALUES ('440524188001010015', 7);
            SELECT steward.protect('app.card');
            SECURITY LABEL FOR pg_steward ON COLUMN app.card.id_card IS 'id_card'",
        )
        .expect("card");
    set(&mut officer, "'cards', 'app.card', 'checksum', '{id_card}', 'id_card'");
    assert_eq!(found(&mut officer, "cards"), 1);
    // Nor does the message of a condition that breaks at one.
    set(&mut officer, "'broken', 'app.card', 'expression', '{id_card}', '(id_card || ''x'')::numeric > 0'");
    assert_eq!(found(&mut officer, "broken"), -1);
    let told = "SELECT string_agg(failure, ' ') FROM steward.check_result WHERE check_name = 'broken'";
    let failure: String = ask(&mut officer, told);
    assert!(failure.contains("invalid input syntax") && !failure.contains("440524"), "{failure}");
    let shown = "SELECT count(*) FROM steward.integrity_issues WHERE sample::text LIKE '%440524%'";
    assert_eq!(ask::<i64>(&mut officer, shown), 0);
    let sample: Vec<String> =
        ask(&mut officer, "SELECT sample FROM steward.integrity_issues WHERE check_name = 'cards'");
    assert_eq!(sample, ["***,7"]);
}

fn odd_names_are_quoted() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            r#"CREATE SCHEMA "we""ird"; CREATE TABLE "we""ird"."t) --" ("a "" b" int PRIMARY KEY, "身份证号" "varchar"(20), "x y" timestamp);
            INSERT INTO "we""ird"."t) --" VALUES (1, 'x', '2020-01-01')"#,
        )
        .expect("table");
    let table = r#""we""ird"."t) --""#;
    set(&mut officer, &format!("'one', '{table}', 'checksum', ARRAY['身份证号'], 'id_card'"));
    set(&mut officer, &format!("'two', '{table}', 'range', ARRAY['x y'], '2026-01-01..'"));
    set(&mut officer, &format!("'three', '{table}', 'reference', ARRAY['a \" b'], '{table}(\"a \"\" b\")'"));
    assert_eq!((found(&mut officer, "one"), found(&mut officer, "two"), found(&mut officer, "three")), (1, 1, 0));
}

fn checks_are_set_by_the_policy_only() {
    let school = School::active();
    for login in ["postgres", "security_han", "teacher_wang"] {
        let mut session = school.session(login);
        for call in [
            "SELECT steward.set_check('x', 'app.student', 'unique', '{id}')",
            "SELECT steward.drop_check('x')",
            "SELECT steward.accept_configuration()",
        ] {
            fails(session.execute(call, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "");
        }
    }
    let mut officer = school.superuser();
    for write in [
        "DELETE FROM steward.integrity_check",
        "DELETE FROM steward._integrity_issue",
        "UPDATE steward._check_run SET ended_at = now()",
        "DELETE FROM steward.integrity_issues",
    ] {
        assert!(officer.execute(write, &[]).is_err(), "{write}");
    }
    school.operate("postgres", "SELECT steward.set_check('ids', 'app.student', 'unique', '{id}')");
    assert_eq!(found(&mut officer, "ids"), 0);
    school.operate("postgres", "SELECT steward.drop_check('ids')");
}

fn bad_checks_are_refused() {
    let school = School::inactive();
    let mut officer = school.superuser();
    for (check, state, says) in [
        ("'', 'app.student', 'unique', '{id}'", BAD, "name must not be empty"),
        ("'x', NULL, 'unique', '{id}'", BAD, "relation must not be NULL"),
        ("'x', 'app.student', 'clever', '{id}'", BAD, "no kind of check"),
        ("'x', 'app.student', 'unique', '{}'", BAD, "at least one column"),
        ("'x', 'app.student', 'range', '{id,name}', '1..2'", BAD, "exactly one column"),
        ("'x', 'app.student', 'unique', '{nope}'", &SqlState::UNDEFINED_OBJECT, "no such column"),
        ("'x', 'app.student', 'unique', '{id}', 'y'", BAD, "takes no parameter"),
        ("'x', 'app.student', 'format', '{name}', '('", BAD, "does not compile"),
        ("'x', 'app.student', 'format', '{name}'", BAD, "a regular expression"),
        ("'x', 'app.student', 'range', '{id}', '7'", BAD, "low..high"),
        ("'x', 'app.student', 'range', '{id}', 'a..b'", &SqlState::INVALID_TEXT_REPRESENTATION, "integer"),
        ("'x', 'app.student', 'checksum', '{id_card}', 'shoe_size'", BAD, "id_card or bank_card"),
        ("'x', 'app.student', 'reference', '{school_id}', 'app.school'", BAD, "schema.table(column, …)"),
        ("'x', 'app.student', 'reference', '{school_id}', 'app.nowhere(id)'", &SqlState::UNDEFINED_OBJECT, "no table"),
        ("'x', 'app.student', 'reference', '{school_id}', 'app.school(id, name)'", BAD, "as many columns"),
        ("'x', 'app.student', 'range', '{id}', '10..0'", BAD, "no parameter for this check"),
        ("'x', 'app.student', 'freshness', '{id}', 'bogus'", BAD, "no parameter for this check"),
        ("'x', 'app.student', 'freshness', '{id}', '-1 day'", BAD, "no parameter for this check"),
        ("'x', 'app.student', 'freshness', '{id}', '1 day'", &SqlState::CANNOT_COERCE, "cannot cast"),
        ("'x', 'app.student', 'unique', '{id}', NULL, '0'", BAD, "longer than nothing"),
        ("'x', 'steward.person', 'unique', '{name}'", &SqlState::WRONG_OBJECT_TYPE, "none of the policy's"),
        ("'x', 'pg_authid', 'format', '{rolpassword}', '^S'", &SqlState::WRONG_OBJECT_TYPE, "the server's own"),
        ("'audit_chain', 'app.student', 'unique', '{id}'", BAD, "the policy's own"),
    ] {
        fails(officer.execute(&format!("SELECT steward.set_check({check})"), &[]), state, says);
    }
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM steward.integrity_check"), 0);
}

fn only_those_who_may_see_findings_see_them() {
    let school = School::inactive();
    let mut officer = school.superuser();
    set(&mut officer, "'named', 'app.student', 'format', '{name}', '^x'");
    assert_eq!(found(&mut officer, "named"), 200);
    for (login, sees) in
        [("auditor_qian", 1), ("reviewer_sun", 1), ("security_han", 1), ("teacher_wang", 0), ("clerk_zhao", 0)]
    {
        let mut session = school.session(login);
        let cases = "SELECT count(*) FROM steward.integrity_issues WHERE check_name = 'named'";
        assert_eq!(ask::<i64>(&mut session, cases), sees, "{login}");
        let run = session.query("SELECT * FROM steward.daily_check()", &[]);
        assert_eq!(run.is_ok(), sees == 1, "{login}");
        if sees == 0 {
            fails(run, &SqlState::INSUFFICIENT_PRIVILEGE, "not yours to call");
            fails(
                session.execute("SELECT * FROM steward._integrity_issue", &[]),
                &SqlState::INSUFFICIENT_PRIVILEGE,
                "",
            );
        }
    }
}

fn a_job_of_the_application_may_run_the_checks() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("CREATE ROLE nightly LOGIN; SELECT steward.register_person('Nightly jobs', 'service', roles => '{nightly}')")
        .expect("service");
    set(&mut school.superuser(), "'ids', 'app.student', 'unique', '{id}'");
    let mut job = school.session("nightly");
    assert_eq!(found(&mut job, "ids"), 0);
    assert_eq!(ask::<i64>(&mut job, "SELECT count(*) FROM steward.check_result"), 0, "it learns counts alone");
}

fn the_policy_s_own_checks_find_what_is_wrong() {
    let school = School::inactive();
    let mut officer = school.superuser();
    for check in [
        "audit_chain",
        "separation_of_duties",
        "login_without_person",
        "weak_password",
        "lapsed_right",
        "overdue_review",
        "forged_operation",
        "foreign_object",
    ] {
        assert_eq!(found(&mut officer, check), 0, "{check}");
    }
    officer
        .batch_execute(
            "CREATE ROLE stranger LOGIN; CREATE ROLE weak LOGIN PASSWORD 'md58e33fa7eed03aaff5b1ee9ba3c6c2b5b'",
        )
        .expect("roles");
    assert_eq!(found(&mut officer, "login_without_person"), 2);
    assert_eq!(found(&mut officer, "weak_password"), 1);
    // The tests' own clusters trust whoever comes.
    assert!(found(&mut officer, "weak_authentication") > 0);
    let sample: Vec<String> =
        ask(&mut officer, "SELECT sample FROM steward.integrity_issues WHERE check_name = 'login_without_person'");
    assert_eq!(sample, ["stranger", "weak"]);
}

fn another_configuration_is_noticed() {
    let school = School::inactive();
    let mut officer = school.superuser();
    assert!(found(&mut officer, "configuration_drift") > 100, "nobody has accepted anything yet");
    assert!(ask::<i64>(&mut officer, "SELECT steward.accept_configuration()") > 100);
    assert_eq!(found(&mut officer, "configuration_drift"), 0);
    officer
        .batch_execute("ALTER SYSTEM SET work_mem = '9 MB'")
        .and_then(|()| officer.batch_execute("ALTER SYSTEM SET checkpoint_timeout = '7 min'"))
        .and_then(|()| officer.batch_execute("ALTER ROLE teacher_wang SET search_path = nowhere"))
        .and_then(|()| officer.batch_execute("SELECT pg_reload_conf()"))
        .expect("other settings");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let mut officer = school.superuser();
    assert_eq!(found(&mut officer, "configuration_drift"), 3);
    let sample: Vec<String> = ask(
        &mut officer,
        "SELECT sample FROM steward.integrity_issues WHERE check_name = 'configuration_drift' AND status = 'open'",
    );
    assert!(sample.iter().any(|line| line == "changed: setting checkpoint_timeout"), "{sample:?}");
    assert!(sample.iter().any(|line| line == "not accepted: setting work_mem (file)"), "{sample:?}");
    assert!(sample.iter().any(|line| line.contains("teacher_wang in every database: search_path")), "{sample:?}");
}

fn two_runs_do_not_meet() {
    let school = School::inactive();
    let (mut one, mut other) = (school.superuser(), school.superuser());
    one.batch_execute("BEGIN; SELECT * FROM steward.daily_check()").expect("run");
    let second = other.query("SELECT * FROM steward.daily_check()", &[]);
    fails(second, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "another run");
    one.batch_execute("COMMIT").expect("commit");
    assert_eq!(found(&mut other, "audit_chain"), 0);
    // A job that was kept out shows.
    assert_eq!(school.records("operation_type = 'daily_check' AND details LIKE '%lock timeout%'"), 1);
}

/// A domain's condition is a function of somebody's, and own SQL is a superuser's, outside the policy.
fn no_code_of_a_type_runs_as_own_sql() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "CREATE FUNCTION app.valid(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                IF current_query() LIKE '%steward%' THEN INSERT INTO app.scratch VALUES ($1, current_user); END IF; RETURN true; END $$;
            CREATE DOMAIN app.score AS int CHECK (app.valid(VALUE));
            CREATE TYPE app.pair AS (a int, b int);
            CREATE TABLE app.exam (id app.score PRIMARY KEY, score app.score, both_of app.pair)",
        )
        .expect("exam");
    // In a message of its own, which does not say what the function looks for.
    officer.batch_execute("INSERT INTO app.exam VALUES (1, 500, '(1,2)')").expect("a row");
    set(&mut officer, "'scores', 'app.exam', 'range', '{score}', '0..100'");
    assert_eq!(found(&mut officer, "scores"), 1);
    assert_eq!(ask::<i64>(&mut officer, "SELECT count(*) FROM app.scratch"), 0);
    let pair = officer.execute("SELECT steward.set_check('x', 'app.exam', 'unique', '{both_of}')", &[]);
    fails(pair, &SqlState::FEATURE_NOT_SUPPORTED, "somebody else's");
    // An enum's owner may have written its cast to text.
    officer
        .batch_execute("CREATE TYPE app.mood AS ENUM ('good'); ALTER TABLE app.exam ADD mood app.mood")
        .expect("mood");
    let mood = officer.execute("SELECT steward.set_check('x', 'app.exam', 'format', '{mood}', '^g')", &[]);
    fails(mood, &SqlState::FEATURE_NOT_SUPPORTED, "somebody else's");
}

/// By the database's own word: how many rows are equal to another in these columns.
fn equal_rows(session: &mut Client, columns: &str) -> i64 {
    let present = columns.split(',').map(|column| format!("{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
    ask(
        session,
        &format!(
            "SELECT coalesce(sum(n), 0)::bigint FROM (SELECT count(*) n FROM app.many WHERE {present} GROUP BY {columns} HAVING count(*) > 1) d"
        ),
    )
}

/// More keys than the memory holds, and types whose equal values are not written alike.
fn equal_keys_are_found_whatever_their_number_and_type() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "CREATE COLLATION app.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            CREATE DOMAIN app.code AS varchar(20);
            CREATE TABLE app.many (id int PRIMARY KEY, key text, code app.code, folded text COLLATE app.caseless, amount numeric,
                fixed char(8), day date, ratio float8, tags int[], bits bit(4), empty text);
            INSERT INTO app.many SELECT n, 'k' || n, 'c' || n, CASE WHEN n % 2 = 0 THEN 'A' ELSE 'a' END || n / 2, n, n::text,
                '2000-01-01'::date + n % 50, n, ARRAY[n], (n % 16)::bit(4), NULL FROM generate_series(1, 300000) n;
            UPDATE app.many SET key = 'k7', code = 'c7', amount = 7.00, fixed = '7', tags = '{7}' WHERE id IN (150000, 299999);
            UPDATE app.many SET key = 'k9' WHERE id = 200000;
            UPDATE app.many SET ratio = '-0' WHERE id = 11; UPDATE app.many SET ratio = 0 WHERE id = 12;
            UPDATE app.many SET key = NULL WHERE id BETWEEN 20 AND 30;
            SET maintenance_work_mem = '1MB'",
        )
        .expect("many");
    let columns = ["key", "code", "folded", "amount", "fixed", "ratio", "tags", "bits", "empty", "day,code", "day,key"];
    for column in columns {
        set(&mut officer, &format!("'u {column}', 'app.many', 'unique', '{{{column}}}'"));
    }
    assert_eq!(found(&mut officer, "u key"), 5);
    for column in columns {
        let wanted = equal_rows(&mut officer, column);
        let told = format!("SELECT issues FROM steward.check_result WHERE check_name = 'u {column}'");
        assert_eq!(ask::<i64>(&mut officer, &told), wanted, "{column}");
    }
    let sample = |session: &mut Client, check: &str| -> Vec<String> {
        ask(session, &format!("SELECT sample FROM steward.integrity_issues WHERE check_name = '{check}'"))
    };
    assert_eq!(sample(&mut officer, "u key"), ["150000 = … = 7", "200000 = 9"]);
    assert_eq!(sample(&mut officer, "u ratio"), ["11 = 12"]);
    // Nobody else's statement is a pass.
    let alone = officer.query("SELECT steward._take_key(0, 1)", &[]);
    fails(alone, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "no check takes keys now");
    fails(
        school.session("security_han").query("SELECT steward._take_key(0, 1)", &[]),
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "permission denied",
    );
}

/// Whether a pattern fits into a table of states or not.
fn patterns_say_the_same_of_every_value() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "CREATE TABLE app.word (id int PRIMARY KEY, word text);
            INSERT INTO app.word VALUES (1, '13800000000'), (2, '１3800000000'), (3, '1380000000０'), (4, ''), (5, E'13800000000\n'),
                (6, '张三'), (7, 'x 13800000000'), (8, NULL), (9, 'naïve'), (10, '23800000000')",
        )
        .expect("words");
    for (name, pattern, wrong) in [
        ("phone", "^1[3-9]\\d{9}$", "{2,4,5,6,7}"),
        ("anywhere", "\\d{11}", "{4,6,9}"),
        ("boundary", "^\\w+\\b$", "{4,5,7}"),
        ("large", "^(?:\\w{1,8}\\s?){0,9}$", "{}"),
        ("none", "^$", "{1,2,3,5,6}"),
    ] {
        set(&mut officer, &format!("'{name}', 'app.word', 'format', '{{word}}', $p${pattern}$p$"));
        let found = found(&mut officer, name);
        let sample = format!(
            "SELECT coalesce((SELECT sample FROM steward.integrity_issues WHERE check_name = '{name}'), '{{}}')::text"
        );
        assert_eq!(ask::<String>(&mut officer, &sample), wrong, "{name}: {found}");
    }
}

fn another_session_sees_how_far_a_run_is() {
    let school = School::inactive();
    let mut officer = school.superuser();
    set(&mut officer, "'ids', 'app.student', 'unique', '{id}'");
    set(&mut officer, "'schläft', 'app.student', 'expression', '{id}', 'id > 1 OR pg_sleep(3) IS NOT NULL'");
    let under_way = "SELECT count(*) FROM steward.check_progress";
    assert_eq!(school.ask::<i64>(under_way), 0);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| found(&mut school.superuser(), "schläft"));
        while school.ask::<i64>("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 0 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let seen = "SELECT check_name || ' ' || relation || ' ' || done FROM steward.check_progress WHERE percent < 50";
        let seen: String = ask(&mut school.session("teacher_wang"), seen);
        assert_eq!(seen, "schläft app.student 1");
        assert_eq!(run.join().expect("run"), 0);
    });
    assert_eq!(school.ask::<i64>(under_way), 0);
}

fn a_run_keeps_no_lock_and_counts_as_a_verification() {
    let school = School::inactive();
    let mut officer = school.superuser();
    set(&mut officer, "'ids', 'app.student', 'unique', '{id}'");
    school.flush_audit();
    let verified = "SELECT coalesce(last_verified_id, 0) FROM steward.audit_status";
    assert_eq!(school.ask::<i64>(verified), 0);
    officer.batch_execute("BEGIN; SELECT * FROM steward.daily_check()").expect("run");
    let held = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'app'::regnamespace";
    assert_eq!(ask::<i64>(&mut officer, held), 0, "whoever alters a table need not wait for the other checks");
    officer.batch_execute("COMMIT").expect("commit");
    let first: i64 = school.ask(verified);
    assert!(first > 0, "a run verifies, and that is kept");
    officer.batch_execute("UPDATE app.student SET note = 'more' WHERE id = 1").expect("work");
    school.flush_audit();
    assert_eq!(found(&mut officer, "audit_chain"), 0);
    assert!(school.ask::<i64>(verified) > first);
    // What a transaction may have changed in the chain itself is not vouched for: it may be taken back.
    school.flush_audit();
    let before: i64 = school.ask(verified);
    let locked = "BEGIN; LOCK TABLE steward.chain IN ROW EXCLUSIVE MODE; SELECT * FROM steward.daily_check(); ROLLBACK";
    if officer.batch_execute(locked).is_ok() {
        assert_eq!(school.ask::<i64>(verified), before);
    } else {
        officer.batch_execute("ROLLBACK").expect("rollback");
    }
}

fn columns_that_look_as_if_they_needed_a_class_are_found() {
    let school = School::inactive();
    let mut officer = school.superuser();
    let before = found(&mut officer, "unlabelled_column");
    officer
        .batch_execute(
            "CREATE TABLE app.guest (id int PRIMARY KEY, citizen_id text, remark text);
            INSERT INTO app.guest SELECT n, 'x', '1380000' || lpad(n::text, 4, '0') FROM generate_series(1, 20) n",
        )
        .expect("guest");
    assert_eq!(found(&mut officer, "unlabelled_column"), before + 2);
    let told = "SELECT string_agg(s, ' ') FROM steward.integrity_issues, unnest(sample) s
        WHERE check_name = 'unlabelled_column' AND status = 'open' AND NOT s ~ '1380000'";
    assert!(ask::<String>(&mut officer, told).contains("app.guest.remark") || before > 3);
    // The post of the night's jobs may ask it too.
    officer
        .batch_execute(
            "SECURITY LABEL FOR pg_steward ON COLUMN app.guest.citizen_id IS 'id_card';
            SECURITY LABEL FOR pg_steward ON COLUMN app.guest.remark IS 'phone';
            CREATE ROLE nightly LOGIN; SELECT steward.register_person('Nightly jobs', 'service', roles => '{nightly}')",
        )
        .expect("labels");
    assert_eq!(found(&mut school.session("nightly"), "unlabelled_column"), before);
}

fn ways_around_and_scopes_that_drift_are_found() {
    let school = School::inactive();
    let mut officer = school.superuser();
    let before = found(&mut officer, "way_around");
    officer.batch_execute("CREATE ROLE passer BYPASSRLS").expect("role");
    assert_eq!(found(&mut officer, "way_around"), before + 1);
    assert_eq!((found(&mut officer, "scope_drift"), found(&mut officer, "scope_issue")), (0, 0));
    officer
        .batch_execute("CREATE ROLE teacher; GRANT SELECT ON app.student TO teacher; GRANT teacher TO teacher_wang")
        .and_then(|()| {
            officer.batch_execute("SELECT steward.set_scope('teacher', 'app.student', 'school_id', 'school')")
        })
        .expect("set_scope");
    assert_eq!(found(&mut officer, "scope_drift"), 0);
    assert!(found(&mut officer, "scope_issue") > 0, "teachers without a school see nothing");
    officer.batch_execute("ALTER POLICY steward_scope_1 ON app.student USING (true)").expect("alter");
    assert!(found(&mut officer, "scope_drift") > 0);
    let told: String = ask(
        &mut officer,
        "SELECT sample::text FROM steward.integrity_issues WHERE check_name = 'scope_drift' AND status = 'open'",
    );
    assert!(told.contains("app.student"), "{told}");
}

/// With the library taken out of postgresql.conf nothing stops a superuser.
fn what_an_intruder_changed_in_our_own_objects_is_found() {
    let mut school = School::inactive();
    assert_eq!((found(&mut school.superuser(), "own_object"), found(&mut school.superuser(), "own_privilege")), (0, 0));
    tamper(
        &mut school,
        "CREATE OR REPLACE FUNCTION steward._dense(expression text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
            SET search_path = pg_catalog, pg_temp AS $$ SELECT ''::text $$;
        ALTER EXTENSION pg_steward DROP VIEW steward.check_status; DROP VIEW steward.check_status;
        CREATE OR REPLACE VIEW steward.verify_progress AS SELECT NULL::int AS pid, 0::bigint AS done, 0::bigint AS total, 0::numeric AS percent;
        CREATE TRIGGER quiet BEFORE INSERT ON steward._integrity_issue FOR EACH ROW WHEN (false) EXECUTE FUNCTION suppress_redundant_updates_trigger();
        CREATE RULE nothing AS ON DELETE TO steward.person DO INSTEAD NOTHING;
        ALTER TABLE steward._check_result DROP CONSTRAINT _check_result_check;
        ALTER TABLE steward.rule OWNER TO clerk_zhao;
        GRANT UPDATE ON steward.person TO teacher_wang;
        GRANT SELECT (record) ON steward.chain TO clerk_zhao;
        GRANT EXECUTE ON FUNCTION steward._take_key TO PUBLIC; GRANT EXECUTE ON FUNCTION steward.activate TO clerk_zhao;
        REVOKE EXECUTE ON FUNCTION steward.daily_check FROM PUBLIC",
    );
    let mut officer = school.superuser();
    assert!(found(&mut officer, "own_object") >= 7);
    assert_eq!(found(&mut officer, "own_privilege"), 5);
    let told = "SELECT sample FROM steward.integrity_issues WHERE check_name = 'own_privilege' AND status = 'open'";
    assert_eq!(
        ask::<Vec<String>>(&mut officer, told),
        [
            "EXECUTE on function steward._take_key(integer,bigint) was granted to PUBLIC",
            "EXECUTE on function steward.activate() was granted to clerk_zhao",
            "EXECUTE on function steward.daily_check() was revoked from PUBLIC",
            "SELECT on table column steward.chain.record was granted to clerk_zhao",
            "UPDATE on table steward.person was granted to teacher_wang",
        ]
    );
    // A case shows five of them.
    let all: Vec<String> = officer
        .query(include_str!("../../src/check/own_object.sql"), &[])
        .expect("own_object")
        .iter()
        .map(|row| row.get(0))
        .collect();
    for told in [
        "function steward._dense(text) was changed",
        "view steward.check_status is missing",
        "view steward.verify_progress was changed",
        "trigger quiet on steward._integrity_issue was added",
        "rule nothing on steward.person was added",
        "constraint _check_result_check on steward._check_result is missing",
        "table steward.rule was changed",
    ] {
        assert!(all.iter().any(|line| line == told), "{told}: {all:#?}");
    }
    // The list of what was installed is of no use to who shortens it.
    let before: i64 = found(&mut officer, "own_object");
    drop(officer);
    tamper(&mut school, "DELETE FROM steward._own_object WHERE identity LIKE '%_allowed%'");
    assert!(found(&mut school.superuser(), "own_object") > before);
}

fn a_table_that_cannot_be_looked_at_costs_itself_only() {
    let school = School::inactive();
    let mut officer = school.superuser();
    let before = found(&mut officer, "unlabelled_column");
    officer
        .batch_execute(
            "CREATE TABLE app.aside (remark text); CREATE TABLE app.behind (remark text);
            CREATE MATERIALIZED VIEW app.empty AS SELECT remark AS \"13812345678\" FROM app.aside WITH NO DATA;
            INSERT INTO app.behind SELECT '1380000' || lpad(n::text, 4, '0') FROM generate_series(1, 20) n",
        )
        .expect("tables");
    let mut holder = school.superuser();
    holder.batch_execute("BEGIN; LOCK TABLE app.aside IN ACCESS EXCLUSIVE MODE").expect("lock");
    // One that has no rows yet, one that is locked, and what lies behind them.
    assert_eq!(found(&mut officer, "unlabelled_column"), before + 3);
    let told: Vec<String> = officer
        .query(
            "SELECT concat_ws(' ', kind, object, why) FROM steward.lint(sample => true)
            WHERE kind = 'not_looked_at' OR object LIKE 'app.behind%' ORDER BY 1",
            &[],
        )
        .expect("lint")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        told,
        [
            "look_alike_values app.behind.remark has no class, but most of its values that were looked at are like phone",
            "not_looked_at app.aside its values could not be looked at: canceling statement due to lock timeout",
            "not_looked_at app.empty its values could not be looked at: materialized view \"…\" has not been populated",
        ]
    );
    holder.batch_execute("ROLLBACK").expect("rollback");
    assert_eq!(found(&mut officer, "unlabelled_column"), before + 2);
}

/// The path of the server's start counts, whatever a session says it is.
fn a_library_on_the_path_is_the_one_that_the_server_found() {
    let directory = std::env::temp_dir().join(format!("pg_steward_path_{}", std::process::id()));
    let [real, pristine] = ["real", "pristine"].map(|name| directory.join(name));
    for place in [&real, &pristine] {
        std::fs::create_dir_all(place).expect("directory");
        std::fs::copy(library_dir().join("auto_explain.so"), place.join("explain_apart.so")).expect("copy");
    }
    let school = School::with(
        "enforce",
        &[
            "shared_preload_libraries = 'explain_apart, pg_steward'",
            &format!("dynamic_library_path = '{}:$libdir'", real.display()),
        ],
    );
    let mut officer = school.superuser();
    officer.batch_execute("SELECT steward.accept_configuration()").expect("accepted");
    let digests = "SELECT count(*) FROM steward._configuration WHERE kind = 'library' AND length(value) = 64";
    let accepted: i64 = ask(&mut officer, digests);
    let mut file = std::fs::OpenOptions::new().append(true).open(real.join("explain_apart.so")).expect("open");
    std::io::Write::write_all(&mut file, b"x").expect("changed");
    officer
        .batch_execute(&format!("ALTER ROLE postgres SET dynamic_library_path = '{}'", pristine.display()))
        .expect("a path of one's own");
    let mut officer = school.superuser();
    found(&mut officer, "configuration_drift");
    let sample: Vec<String> = ask(
        &mut officer,
        "SELECT sample FROM steward.integrity_issues WHERE check_name = 'configuration_drift' AND status = 'open'",
    );
    drop((officer, school));
    std::fs::remove_dir_all(&directory).expect("remove");
    assert_eq!(accepted, 2);
    let changed = format!("changed: library {}/explain_apart.so", real.display());
    assert!(sample.contains(&changed), "{sample:?}");
}

/// A script beside the server's own, gone with this.
struct Script(std::path::PathBuf);

impl Script {
    fn new(from: &str, to: &str, sql: &str) -> Script {
        let file = extension_dir().join(format!("pg_steward--{from}--{to}.sql"));
        std::fs::write(&file, sql).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Script(file)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn an_update_is_listed_and_hides_no_change() {
    let mut school = School::inactive();
    let mut officer = school.superuser();
    let version: String = ask(&mut officer, "SELECT extversion FROM pg_extension WHERE extname = 'pg_steward'");
    let pid = std::process::id();
    let [next, last] = ["next", "last"].map(|name| format!("{name}{pid}"));
    let changes = "CREATE FUNCTION steward._new() RETURNS int LANGUAGE sql AS 'SELECT 1';
        REVOKE ALL ON FUNCTION steward._new() FROM PUBLIC;
        CREATE OR REPLACE VIEW steward.verify_progress AS SELECT NULL::int AS pid, 0::bigint AS done, 0::bigint AS total, 0::numeric AS percent;";
    let _scripts = [Script::new(&version, &next, changes), Script::new(&next, &last, "DROP FUNCTION steward._new();")];
    let listed = "SELECT count(*) FROM steward._own_object WHERE identity = 'steward._new()'";
    officer.batch_execute(&format!("ALTER EXTENSION pg_steward UPDATE TO '{next}'")).expect("update");
    assert_eq!((found(&mut officer, "own_object"), ask::<i64>(&mut officer, listed)), (0, 1));
    let recorded = format!(
        "operation_type = 'UPDATE EXTENSION' AND details::jsonb @> '{{\"from\": \"{version}\", \"to\": \"{next}\"}}'"
    );
    assert_eq!(school.records(&recorded), 1);
    drop(officer);
    tamper(
        &mut school,
        "CREATE OR REPLACE FUNCTION steward._dense(expression text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
            SET search_path = pg_catalog, pg_temp AS $$ SELECT ''::text $$",
    );
    let mut officer = school.superuser();
    for update in [format!("UPDATE TO '{last}'"), "UPDATE".to_owned(), format!("UPDATE TO '{next}'")] {
        let error = db_error(officer.batch_execute(&format!("ALTER EXTENSION pg_steward {update}")));
        assert_eq!(error.code(), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error:?}");
        assert_eq!(error.detail(), Some("1: function steward._dense(text) was changed."));
    }
    assert_eq!(found(&mut officer, "own_object"), 1);
}

/// Whoever installs, checks or updates does it with settings of their own, and the database may have some for everybody.
fn settings_of_a_session_change_no_digest_of_our_own_objects() {
    let settings = [
        ("quote_all_identifiers", "on", "off"),
        ("intervalstyle", "sql_standard", "postgres"),
        ("datestyle", "German", "ISO, MDY"),
        ("timezone", "Asia/Shanghai", "UTC"),
        ("extra_float_digits", "-10", "1"),
        ("bytea_output", "escape", "hex"),
        ("standard_conforming_strings", "off", "on"),
    ];
    let school = School::inactive();
    for (name, other, _) in settings {
        let mut session = school.superuser();
        session.batch_execute(&format!("SET {name} = '{other}'")).expect("set");
        assert_eq!(found(&mut session, "own_object"), 0, "{name}");
    }
    let with = |value: fn(&(&str, &str, &str)) -> String| settings.iter().map(value).collect::<String>();
    let others = with(|(name, other, _)| format!("SET {name} = '{other}';"));
    let usual = with(|(name, _, usual)| format!("SET {name} = '{usual}';"));
    let mut session = school.superuser();
    let anew = "DROP EXTENSION pg_steward CASCADE; CREATE EXTENSION pg_steward;";
    session.batch_execute(&format!("{others} {anew} {usual}")).expect("installed");
    assert_eq!(found(&mut school.superuser(), "own_object"), 0);
    let version: String = ask(&mut session, "SELECT extversion FROM pg_extension WHERE extname = 'pg_steward'");
    let next = format!("styled{}", std::process::id());
    let _script = Script::new(&version, &next, "");
    session.batch_execute(&format!("{others} ALTER EXTENSION pg_steward UPDATE TO '{next}'")).expect("updated");
    assert_eq!(found(&mut school.superuser(), "own_object"), 0);
}

/// As little memory as the server allows, and more keys than a merge takes pieces.
fn keys_in_many_pieces_are_found() {
    let school = School::inactive();
    let mut officer = school.superuser();
    officer
        .batch_execute(
            "SET maintenance_work_mem = '1MB'; CREATE TABLE app.many (a int, b int, c int, d int, e int, f int, g int, h int,
                i int, j int, k int, l int, m int, n int, o int, p int);
            INSERT INTO app.many SELECT n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n / 2 FROM generate_series(2, 150001) n",
        )
        .expect("table");
    for column in "abcdefghijklmnop".chars() {
        set(&mut officer, &format!("'many_{column}', 'app.many', 'unique', '{{{column}}}'"));
    }
    let wrong: String = ask(
        &mut officer,
        "SELECT string_agg(check_name || '=' || coalesce(issues, -1), ' ') FROM steward.daily_check()
        WHERE check_name LIKE 'many\\__' AND issues IS DISTINCT FROM 0",
    );
    assert_eq!(wrong, "many_p=150000");
}
