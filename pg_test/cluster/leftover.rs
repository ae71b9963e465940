//! What an insider would like a run to leave behind, or to find: cursors, prepared transactions, settings, other runs.

use postgres::NoTls;
use postgres::error::SqlState;

use crate::expect::{db_error, expect_error, expect_message};
use crate::school::{HOME, School, ask, execute, request};

tests! {
    a_cursor_that_a_run_has_opened_ends_with_it,
    a_script_opens_no_cursor,
    a_run_is_not_kept_for_a_later_commit,
    settings_that_change_values_are_fixed,
    settings_of_extensions_and_applications_are_not_the_session_s_to_choose,
    a_run_executes_or_arms_no_other,
    a_plan_of_the_run_does_not_outlive_it,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

fn moved(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note <> ''")
}

/// The functions of a query are decided when it starts, and that is while the run is covered.
fn a_cursor_that_a_run_has_opened_ends_with_it() {
    let school = School::inactive();
    let code =
        "CREATE FUNCTION app.named() RETURNS text VOLATILE LANGUAGE sql AS 'SELECT note FROM app.scratch LIMIT 1';
        CREATE FUNCTION app.opens() RETURNS void LANGUAGE plpgsql AS $$DECLARE later refcursor := 'later'; BEGIN
            OPEN later FOR SELECT pg_read_file(app.named()); END$$;
        INSERT INTO app.scratch VALUES (1, 'PG_VERSION'); SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("code");
    let mut superuser = school.superuser();
    let op_no = request(&mut superuser, "SELECT app.opens()", "");
    school.release(&op_no);
    superuser.batch_execute("BEGIN; DECLARE own CURSOR FOR SELECT id FROM app.student").expect("one's own cursor");
    execute(&mut superuser, &op_no).expect("execute");
    superuser.batch_execute("UPDATE app.scratch SET note = 'pg_hba.conf'; FETCH own").expect("it goes on");
    let refused = db_error(superuser.simple_query("FETCH ALL FROM later"));
    assert_eq!(refused.code(), &SqlState::INVALID_CURSOR_NAME, "{refused:?}");
}

fn a_script_opens_no_cursor() {
    let school = School::active();
    let call = "SELECT steward.request($1, purpose => 'test')";
    for script in ["DECLARE c CURSOR FOR SELECT 1", "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM app.student"] {
        let refused = school.superuser().query(call, &[&script]);
        expect_error(refused, &SqlState::FEATURE_NOT_SUPPORTED, "statements that nobody approved", "");
    }
}

/// Else whoever commits it, next year, neither asks for an approval nor for a window.
fn a_run_is_not_kept_for_a_later_commit() {
    let school = School::with("enforce", &["max_prepared_transactions = 4"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    school.release(&op_no);
    chen.batch_execute("BEGIN").expect("begin");
    execute(&mut chen, &op_no).expect("execute");
    let kept = chen.batch_execute("PREPARE TRANSACTION 'later'");
    expect_error(kept, &SqlState::FEATURE_NOT_SUPPORTED, "nobody has approved it any more", "COMMIT");
    assert_eq!((moved(&school), school.ask::<i64>("SELECT count(*) FROM pg_prepared_xacts")), (0, 0));
    // In a transaction of its own the run works, and others prepare as they like.
    execute(&mut chen, &op_no).expect("execute");
    for free in [
        "BEGIN",
        "UPDATE app.student SET note = 'x' WHERE id = 99",
        "PREPARE TRANSACTION 'free'",
        "ROLLBACK PREPARED 'free'",
    ] {
        chen.batch_execute(free).expect("no operation ran in it");
    }
    assert_eq!(moved(&school), 60);
}

fn settings_that_change_values_are_fixed() {
    let school = School::active();
    let script =
        "UPDATE app.student SET note = concat_ws(' ', 0.1::float8 + 0.2::float8, 12.5::money, quote_ident('x'),
        timestamptz '2026-01-01 00:00:00 EST', xmlelement(name b, bytea 'a')) WHERE id <= 60";
    for settings in [
        "SET extra_float_digits = -10; SET xmlbinary = 'hex'; SET quote_all_identifiers = on",
        "SET lc_monetary = 'C.UTF-8'; SET timezone_abbreviations = 'Australia'",
        "SELECT 1",
    ] {
        let mut chen = school.session("region_chen");
        let op_no = request(&mut chen, script, "");
        school.release(&op_no);
        chen.batch_execute(settings).expect("settings of a session");
        execute(&mut chen, &op_no).expect("execute");
        let notes = "SELECT string_agg(DISTINCT note, ' or ') FROM app.student WHERE id <= 60";
        let note: String = school.ask(notes);
        assert!(note.starts_with("0.30000000000000004 $12.50 x 2026-01-01"), "{settings}: {note}");
        assert!(note.ends_with("<b>YQ==</b>"), "{settings}: {note}");
        assert!(!note.contains(" or "), "{settings}: {note}");
    }
}

fn settings_of_extensions_and_applications_are_not_the_session_s_to_choose() {
    let school = School::with("enforce", &["session_preload_libraries = 'auto_explain'"]);
    let set_up = format!(
        "CREATE EXTENSION pg_trgm; ALTER DATABASE {HOME} SET app.site = 'the school''s';
         ALTER ROLE region_chen SET auto_explain.log_min_duration = 123456; ALTER ROLE region_chen SET app.mine = 'given'"
    );
    school.superuser().batch_execute(&set_up).expect("set-up");
    let own = "SELECT 'a' % 'b'; ALTER ROLE region_chen SET pg_trgm.similarity_threshold = 0.8";
    school.session("region_chen").batch_execute(own).expect("one's own role");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    // What the role cannot choose is what an administrator has given it.
    let expected = "0.3 the school's 123456ms";
    let script = "UPDATE app.student SET note = concat_ws(' ', current_setting('pg_trgm.similarity_threshold'), current_setting('app.site'),
        nullif(current_setting('app.mine', true), ''), current_setting('auto_explain.log_min_duration')) WHERE id <= 60";
    let choices = "SELECT concat_ws(' ', current_setting('pg_trgm.similarity_threshold'), current_setting('app.site'),
        current_setting('app.mine', true), current_setting('auto_explain.log_min_duration'))";
    for (options, settings) in [
        ("", "SELECT 1"),
        ("", "SET pg_trgm.similarity_threshold = 0.9; SET app.site = 'mine'; SET app.mine = 'x'"),
        ("-c app.mine=y -c pg_trgm.similarity_threshold=0.7", "SET app.site = 'z'"),
        ("-c app.mine=y -c pg_trgm.similarity_threshold=0.7", "SET app.mine = 'x'; RESET pg_trgm.similarity_threshold"),
    ] {
        let mut chen = school.config("region_chen", HOME).options(options).connect(NoTls).expect("connect");
        chen.batch_execute("SELECT 'a' % 'b'").expect("the library is loaded");
        let op_no = request(&mut chen, script, "");
        school.release(&op_no);
        chen.batch_execute(settings).expect("settings of a session");
        let before: String = ask(&mut chen, choices);
        execute(&mut chen, &op_no).expect("execute");
        let note: String = school.ask("SELECT string_agg(DISTINCT note, ' or ') FROM app.student WHERE id <= 60");
        assert_eq!(note, expected, "{options} {settings}");
        assert_eq!(ask::<String>(&mut chen, choices), before, "the session's own come back");
    }
}

fn a_run_executes_or_arms_no_other() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let inner = request(&mut chen, SIXTY, "");
    school.release(&inner);
    for script in [format!("SELECT steward.execute('{inner}')"), format!("SELECT steward.arm('{inner}')")] {
        let outer = request(&mut chen, &script, "");
        school.release(&outer);
        let refused = db_error(execute(&mut chen, &outer));
        assert!(refused.message().contains("nest") || refused.message().contains("the client itself"), "{refused:?}");
    }
    // Swallowed, it has done nothing all the same.
    let block = format!(
        "DO $$BEGIN PERFORM steward.execute('{inner}'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END$$"
    );
    let outer = request(&mut chen, &block, "");
    school.release(&outer);
    execute(&mut chen, &outer).expect("the block itself");
    assert_eq!((moved(&school), school.status(&inner).as_str()), (0, "approved"));
}

/// A function's plans and expressions are set up once for a session or transaction; the approval is not theirs.
fn a_plan_of_the_run_does_not_outlive_it() {
    let school = School::inactive();
    let code =
        "CREATE FUNCTION app.reads(name text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN pg_read_file(name); END';
        CREATE FUNCTION app.sixty() RETURNS void LANGUAGE plpgsql AS
            'BEGIN UPDATE app.student SET note = ''moved'' WHERE id <= 60; END';
        SELECT steward.activate()";
    school.superuser().batch_execute(code).expect("code");
    let mut superuser = school.superuser();
    superuser.batch_execute("PREPARE again AS SELECT app.sixty()").expect("prepare");
    let op_no = request(&mut superuser, "SELECT app.reads('PG_VERSION'), app.sixty()", "");
    school.release(&op_no);
    superuser.batch_execute("BEGIN").expect("begin");
    execute(&mut superuser, &op_no).expect("execute");
    for again in ["EXECUTE again", "SELECT app.reads('pg_hba.conf')", "SELECT app.sixty()"] {
        superuser.batch_execute("SAVEPOINT s").expect("savepoint");
        let refused = db_error(superuser.simple_query(again));
        assert_eq!(refused.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{again}: {refused:?}");
        superuser.batch_execute("ROLLBACK TO s").expect("rollback");
    }
    superuser.batch_execute("COMMIT").expect("commit");
    assert_eq!(moved(&school), 60, "once");
    let second = execute(&mut superuser, &op_no);
    expect_message(
        second,
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        &format!("{op_no} is executed: it cannot be executed"),
    );
}
