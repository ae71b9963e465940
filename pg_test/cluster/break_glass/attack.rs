//! Attacks on emergency windows: hiding one, prolonging one, using somebody else's.

use std::thread::sleep;
use std::time::Duration;

use super::{Emergency, NOT_NOW, REASON, REFUSED, SIXTY, end, not_opened, open};
use crate::expect::expect_refused;
use crate::fault::wait_for;
use crate::school::{ask, request};
use crate::second_factor::verify;
use postgres::Client;

tests! {
    an_error_after_the_opening_hides_nothing,
    it_is_no_part_of_a_transaction,
    it_is_no_part_of_a_statement_that_writes,
    what_is_done_in_it_is_not_prepared,
    the_end_comes_in_the_middle_of_a_transaction,
    a_prepared_statement_ends_with_the_window,
    a_pool_hands_no_window_on,
    another_role_ends_it,
    somebody_elses_function_neither_opens_nor_uses_one,
    a_worker_opens_none,
    a_suspended_person_has_none,
    a_killed_server_keeps_the_review_and_not_the_window,
    a_second_window_does_not_follow_without_a_new_code,
    a_window_is_not_reviewed_by_its_second_person,
    signatures_of_a_rule_are_not_lifted_by_an_emergency,
    a_window_takes_no_operation_over,
    an_armed_session_opens_no_window,
    a_cursor_is_not_read_on_after_the_window,
    masks_and_scopes_hold_in_a_window,
    a_locked_row_does_not_keep_the_end_from_being_written,
    a_locked_row_puts_the_opening_off,
}

/// Who may open one alone: the engineer, and a superuser.
fn everybody(emergency: &Emergency) -> [(&'static str, Client); 2] {
    [("ops_zheng", emergency.zheng(0)), ("postgres", emergency.active.stepped_up("postgres", 0))]
}

fn an_error_after_the_opening_hides_nothing() {
    let emergency = Emergency::new();
    let school = emergency.school();
    for (login, mut session) in everybody(&emergency) {
        let call = format!("SELECT 1 / (length(steward.break_glass('{REASON}')) - length('OP-20261122-0001'))");
        session.batch_execute(&call).expect_err("division by zero");
        let opened = format!("operation_type = 'BREAK GLASS' AND result = 'SUCCESS' AND user_id = '{login}'");
        assert_eq!(school.records(&opened), 1);
        let waiting = format!(
            "SELECT count(*) FROM steward._operation WHERE origin = 'break_glass' AND status = 'executed'
                AND applicant_login = '{login}'"
        );
        assert_eq!(school.ask::<i64>(&waiting), 1, "{login}");
        // It is open, as its record says.
        session.batch_execute(SIXTY).expect("in the window");
        end(&mut session);
    }
}

fn it_is_no_part_of_a_transaction() {
    let emergency = Emergency::new();
    let call = format!("SELECT steward.break_glass('{REASON}')");
    for (login, mut session) in everybody(&emergency) {
        for block in [format!("BEGIN; {call}"), format!("{call}; {SIXTY}"), format!("BEGIN; SAVEPOINT s; {call}")] {
            not_opened(session.batch_execute(&block), REFUSED, "no part of a transaction");
            session.batch_execute("ROLLBACK").expect("rollback");
        }
        let denied = format!("operation_type = 'BREAK GLASS' AND result = 'DENIED' AND user_id = '{login}'");
        assert_eq!(emergency.school().records(&denied), 3, "{login}");
        // An end that is rolled back is an end.
        open(&mut session, "").expect("by itself");
        session.batch_execute("BEGIN; SELECT steward.end_break_glass(); ROLLBACK").expect("end");
        expect_refused(session.batch_execute(SIXTY));
    }
    assert_eq!(emergency.moved(), 0);
}

fn it_is_no_part_of_a_statement_that_writes() {
    let emergency = Emergency::new();
    let mut zheng = emergency.zheng(0);
    let inside = format!(
        "WITH u AS (UPDATE app.student SET note = 'moved' RETURNING 1) SELECT steward.break_glass('{REASON}', '15 min')"
    );
    not_opened(zheng.batch_execute(&inside), REFUSED, "no part of another statement");
    assert_eq!(emergency.moved(), 0);
}

fn what_is_done_in_it_is_not_prepared() {
    let emergency = Emergency::new();
    let mut zheng = emergency.zheng(0);
    open(&mut zheng, "").expect("break glass");
    let prepared = zheng.batch_execute(&format!("BEGIN; {SIXTY}; PREPARE TRANSACTION 'later'"));
    assert_eq!(prepared.expect_err("not prepared").code().map(|code| code.code()), Some("0A000"));
    assert_eq!(emergency.moved(), 0);
    end(&mut zheng);
}

fn the_end_comes_in_the_middle_of_a_transaction() {
    let emergency = Emergency::new();
    let mut zheng = emergency.zheng(0);
    let op_no = open(&mut zheng, ", '2 s'").expect("break glass");
    zheng.batch_execute(&format!("BEGIN; {SIXTY}; SAVEPOINT s")).expect("in the window");
    sleep(Duration::from_millis(2_100));
    expect_refused(zheng.batch_execute("DELETE FROM app.guardian"));
    zheng.batch_execute("ROLLBACK TO s; COMMIT").expect("what was done in time stays");
    let block = "DO $$BEGIN PERFORM pg_sleep(0.1); UPDATE app.student SET note = 'late' WHERE id <= 60; END$$";
    expect_refused(zheng.batch_execute(block));
    assert_eq!(emergency.moved(), 60);
    assert_eq!(emergency.school().records(&format!("op_no = '{op_no}' AND operation_type = 'END BREAK GLASS'")), 1);
}

fn a_prepared_statement_ends_with_the_window() {
    let emergency = Emergency::new();
    let mut zheng = emergency.zheng(0);
    open(&mut zheng, ", '2 s'").expect("break glass");
    let prepared = zheng.prepare("UPDATE app.student SET note = $1 WHERE id <= 60").expect("prepare");
    for _ in 0..6 {
        zheng.execute(&prepared, &[&"moved"]).expect("in the window");
    }
    sleep(Duration::from_millis(2_100));
    expect_refused(zheng.execute(&prepared, &[&"late"]));
    assert_eq!(emergency.moved(), 60);
}

fn a_pool_hands_no_window_on() {
    let emergency = Emergency::new();
    let (mut zheng, op_no) = emergency.open(0);
    zheng.batch_execute("DISCARD PLANS").expect("not a new user");
    zheng.batch_execute(SIXTY).expect("in the window");
    zheng.batch_execute("DISCARD ALL").expect("as a pool does");
    expect_refused(zheng.batch_execute(SIXTY));
    assert_eq!(emergency.school().records(&format!("op_no = '{op_no}' AND details LIKE '%DISCARD ALL%'")), 1);
}

fn another_role_ends_it() {
    let emergency = Emergency::new();
    for (steps, change) in [
        (-1, "SET ROLE teacher_wang"),
        (0, "SET SESSION AUTHORIZATION teacher_wang"),
        (1, "SELECT set_config('role', 'teacher_wang', false)"),
    ] {
        let mut wu = emergency.active.stepped_up("postgres", steps);
        open(&mut wu, "").expect("break glass");
        wu.batch_execute(change).expect("a superuser may");
        expect_refused(wu.batch_execute(SIXTY));
        // There is no way back into it.
        wu.batch_execute("RESET ROLE; RESET SESSION AUTHORIZATION").expect("reset");
        expect_refused(wu.batch_execute(SIXTY));
    }
    assert_eq!(emergency.moved(), 0);
    assert_eq!(emergency.school().records("operation_type = 'END BREAK GLASS' AND details LIKE '%another role%'"), 3);
}

fn somebody_elses_function_neither_opens_nor_uses_one() {
    let emergency = Emergency::with(
        "CREATE FUNCTION app.helper() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
            $$BEGIN RETURN steward.break_glass('the canteens cannot take cards'); END$$;
         ALTER FUNCTION app.helper() OWNER TO ops_zheng;
         CREATE FUNCTION app.bulk() RETURNS void LANGUAGE sql SECURITY DEFINER AS
            $$UPDATE app.student SET note = 'moved' WHERE id <= 60$$;
         ALTER FUNCTION app.bulk() OWNER TO ops_zheng;",
    );
    let mut teacher = emergency.active.stepped_up("teacher_wang", 0);
    not_opened(teacher.batch_execute("SELECT app.helper()"), REFUSED, "the capability break_glass is missing");
    // Zheng is led to call it.
    let mut zheng = emergency.zheng(0);
    let call = "SELECT app.helper() -- steward.break_glass(";
    not_opened(zheng.batch_execute(call), REFUSED, "the client itself must call it");
    open(&mut zheng, "").expect("break glass");
    expect_refused(teacher.batch_execute("SELECT app.bulk()"));
    zheng.batch_execute("SELECT app.bulk()").expect("in Zheng's own session");
    assert_eq!(emergency.moved(), 60);
}

fn a_worker_opens_none() {
    let emergency = Emergency::with(
        "CREATE FUNCTION app.in_worker() RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS
            $$BEGIN RETURN steward.break_glass('the canteens cannot take cards'); END$$;",
    );
    let mut zheng = emergency.zheng(0);
    zheng.batch_execute("SET force_parallel_mode = on").expect("settings");
    zheng.batch_execute("SELECT app.in_worker() -- steward.break_glass(").expect_err("refused");
    expect_refused(zheng.batch_execute(SIXTY));
    assert_eq!(emergency.school().records("operation_type = 'BREAK GLASS' AND result = 'SUCCESS'"), 0);
}

fn a_suspended_person_has_none() {
    let emergency = Emergency::new();
    let school = emergency.school();
    let (mut zheng, _) = emergency.open(-1);
    zheng.batch_execute(SIXTY).expect("in the window");
    let mut wu = emergency.active.stepped_up("postgres", 0);
    let script = "SELECT steward.suspend_person('Zheng', 'has left')";
    let op_no = crate::school::request(&mut wu, script, "");
    let digest = school.digest(&op_no);
    for (login, step) in [("reviewer_sun", "approve"), ("region_liu", "confirm")] {
        let call = format!("SELECT steward.{step}('{op_no}', '{digest}')");
        emergency.active.stepped_up(login, 0).batch_execute(&call).expect(step);
    }
    crate::school::execute(&mut wu, &op_no).expect("suspend");
    zheng.batch_execute(SIXTY).expect_err("the session is over");
    let waiting = "SELECT count(*) FROM steward.operation WHERE origin = 'break_glass' AND status = 'executed'";
    assert_eq!(school.ask::<i64>(waiting), 1, "the review stays");
}

fn a_killed_server_keeps_the_review_and_not_the_window() {
    let mut emergency = Emergency::new();
    let (mut zheng, op_no) = emergency.open(0);
    zheng.batch_execute(&format!("BEGIN; {SIXTY}")).expect("in the window");
    emergency.active.school.kill_9_postmaster();
    emergency.active.school.start();
    let school = emergency.school();
    assert_eq!(school.status(&op_no), "executed");
    assert_eq!(emergency.moved(), 0);
    expect_refused(school.session("ops_zheng").batch_execute(SIXTY));
    // What was tried is on record all the same.
    assert_eq!(school.records(&format!("op_no = '{op_no}' AND operation_type = 'BEGIN STATEMENT'")), 1);
    assert_eq!(school.records(&format!("op_no = '{op_no}' AND operation_type = 'BREAK GLASS'")), 1);
}

fn a_second_window_does_not_follow_without_a_new_code() {
    let emergency = Emergency::new();
    let (mut zheng, _) = emergency.open(-1);
    end(&mut zheng);
    not_opened(open(&mut zheng, ""), NOT_NOW, "the second factor is missing");
    verify(&mut zheng, &emergency.zheng.code(0)).expect("a new code");
    open(&mut zheng, "").expect("with a new code");
}

fn a_window_is_not_reviewed_by_its_second_person() {
    let emergency = Emergency::with("SELECT steward.set_post('ops', '{apply,witness,break_glass,never_alone}');");
    let mut zheng = emergency.zheng(0);
    let op_no = open(&mut zheng, "").expect("asked");
    let digest = emergency.school().digest(&op_no);
    let mut sun = emergency.active.stepped_up("reviewer_sun", 0);
    sun.batch_execute(&format!("SELECT steward.confirm('{op_no}', '{digest}')")).expect("confirm");
    open(&mut zheng, "").expect("opened");
    assert_eq!(ask::<i64>(&mut zheng, "SELECT count(*) FROM app.student"), 200);
    end(&mut zheng);
    emergency.school().flush_audit();
    let review = format!("SELECT steward.review('{op_no}', 'accepted', 'fine')");
    expect_refused(sun.batch_execute(&review));
    emergency.active.stepped_up("reviewer_zhou", 0).batch_execute(&review).expect("somebody else");
}

/// A window lifts what a tier demands; who must sign what a rule matches is demanded beyond that.
fn signatures_of_a_rule_are_not_lifted_by_an_emergency() {
    let emergency = Emergency::with(
        "SELECT steward.set_approval('critical', 1, '{person:Zhou}', rule => 'structure');
        CREATE FUNCTION app.empty(name text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN EXECUTE 'TRUNCATE ' || name; END$$;",
    );
    let (mut zheng, op_no) = emergency.open(0);
    let guardians = emergency.school().ask::<i64>("SELECT count(*) FROM app.guardian");
    for attack in [
        "TRUNCATE app.guardian",
        "DO $$BEGIN EXECUTE 'TRUNC' || 'ATE app.guardian'; END$$",
        "SELECT app.empty('app.guardian')",
        "BEGIN; SELECT 1; TRUNCATE app.guardian; COMMIT",
    ] {
        let error = crate::expect::db_error(zheng.batch_execute(attack));
        assert_eq!(error.code(), REFUSED, "{attack}: {error:?}");
        zheng.batch_execute("ROLLBACK").expect("ROLLBACK is never blocked");
    }
    assert_eq!(emergency.school().ask::<i64>("SELECT count(*) FROM app.guardian"), guardians);
    // What no signature hangs on is what an emergency is for.
    zheng.batch_execute(SIXTY).expect("in the window");
    end(&mut zheng);
    assert_eq!(emergency.moved(), 60);
    assert_eq!(
        emergency.school().records("result = 'DENIED' AND operation_type = 'TRUNCATE TABLE' AND user_id = 'ops_zheng'"),
        4
    );
    assert_eq!(emergency.school().status(&op_no), "executed");
}
/// A critical operation of Zheng's, approved and confirmed, and his session, armed for it once `first` was done.
fn armed_after(emergency: &Emergency, script: &str, first: impl FnOnce(&mut Client)) -> (Client, String) {
    let mut zheng = emergency.zheng(-1);
    let op_no = request(&mut zheng, script, "");
    let digest = emergency.school().digest(&op_no);
    for (login, step) in [("reviewer_sun", "approve"), ("region_liu", "confirm")] {
        let vote = format!("SELECT steward.{step}('{op_no}', '{digest}')");
        emergency.active.stepped_up(login, 0).batch_execute(&vote).unwrap_or_else(|error| panic!("{step}: {error:?}"));
    }
    first(&mut zheng);
    zheng.batch_execute(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    (zheng, op_no)
}

fn images(emergency: &Emergency, op_no: &str) -> i64 {
    emergency
        .school()
        .ask(&format!("SELECT coalesce(sum(images), 0)::int8 FROM steward.pre_image WHERE op_no = '{op_no}'"))
}

/// What was approved is on record and kept as the operation's; what comes after it as the window's.
fn a_window_takes_no_operation_over() {
    let emergency = Emergency::new();
    let mut window = String::new();
    let (mut zheng, op_no) = armed_after(&emergency, SIXTY, |zheng| {
        verify(zheng, &emergency.zheng.code(0)).expect("a new code");
        window = open(zheng, "").expect("break glass");
    });
    zheng.batch_execute(SIXTY).expect("the operation's statement");
    assert_eq!((emergency.moved(), images(&emergency, &op_no)), (60, 60));
    zheng.batch_execute("UPDATE app.student SET note = 'later' WHERE id > 140").expect("the window's statement");
    end(&mut zheng);
    emergency.school().flush_audit();
    emergency.review(&window, 1);
    assert_eq!((images(&emergency, &op_no), images(&emergency, &window)), (60, 60), "each its own");
    let records = |op_no: &str| emergency.school().records(&format!("op_no = '{op_no}' AND operation_type = 'UPDATE'"));
    assert_eq!((records(&op_no), records(&window)), (1, 1));
    assert_eq!(emergency.school().status(&op_no), "executed");
}

/// Else whatever stands in the way of the next statement would be lifted by whoever sends it.
fn an_armed_session_opens_no_window() {
    let emergency = Emergency::new();
    let script = format!("SELECT 1; {SIXTY}");
    let (mut zheng, op_no) = armed_after(&emergency, &script, |_| ());
    zheng.simple_query("SELECT 1").expect("the first");
    expect_refused(open(&mut zheng, ""));
    expect_refused(zheng.batch_execute(SIXTY));
    assert_eq!(emergency.moved(), 0);
    let opened = format!("op_no <> '{op_no}' AND operation_type = 'BREAK GLASS' AND result = 'SUCCESS'");
    assert_eq!(emergency.school().records(&opened), 0);
}

/// Whoever opened it reports it, ends it, and keeps that transaction open: its review would not begin before the longest
/// term is over.
fn a_locked_row_does_not_keep_the_end_from_being_written() {
    let emergency = Emergency::new();
    let school = emergency.school();
    let (mut zheng, op_no) = emergency.open(0);
    let report = format!("SELECT steward.report_incident('{op_no}', $f${}$f$)", super::incident::form(school));
    zheng.batch_execute(&format!("BEGIN; {report}; SELECT steward.end_break_glass()")).expect("over");
    school.flush_audit();
    let over = format!("SELECT not_after <= clock_timestamp() FROM steward._operation WHERE op_no = '{op_no}'");
    assert!(!school.ask::<bool>(&over), "the row is locked");
    zheng.batch_execute("COMMIT").expect("commit");
    wait_for(school, "the end of the window", || school.ask::<bool>(&over).then_some(()));
    // The term of the review began when it ended, not fifteen minutes after its opening.
    let term = format!(
        "SELECT review_due - not_after = (SELECT review_within FROM steward.tier_policy WHERE tier = 'critical' AND post = '')
         FROM steward._operation WHERE op_no = '{op_no}'"
    );
    assert!(school.ask::<bool>(&term));
    emergency.review(&op_no, 1);
}

/// The second person has confirmed, and somebody's transaction holds the row.
fn a_locked_row_puts_the_opening_off() {
    let emergency = Emergency::with("SELECT steward.set_post('ops', '{apply,witness,break_glass,never_alone}');");
    let school = emergency.school();
    let mut zheng = emergency.zheng(-1);
    let op_no = open(&mut zheng, "").expect("asked");
    let confirm = format!("SELECT steward.confirm('{op_no}', '{}')", school.digest(&op_no));
    emergency.active.stepped_up("region_liu", 0).batch_execute(&confirm).expect("the second person");
    let mut holder = school.session("ops_zheng");
    holder.batch_execute(&format!("BEGIN; SELECT steward.cancel('{op_no}')")).expect("cancel");
    let opening = std::thread::spawn(move || (open(&mut zheng, ""), zheng));
    let put_off = format!(
        "SELECT count(*) FROM steward._operation_event WHERE op_no = '{op_no}' AND event = 'BREAK GLASS' AND details ? 'put_off'"
    );
    wait_for(school, "the opening to be put off", || (school.ask::<i64>(&put_off) == 1).then_some(()));
    holder.batch_execute("ROLLBACK").expect("rollback");
    let (opened, mut zheng) = opening.join().expect("no panic");
    assert_eq!(opened.expect("opened"), op_no);
    assert_eq!(school.status(&op_no), "executed", "its review waits");
    zheng.batch_execute(SIXTY).expect("in the window");
    end(&mut zheng);
    school.flush_audit();
    emergency.review(&op_no, 1);
}

/// Whatever it reads: what begins in a window ends with it, by FETCH and as a portal of the protocol.
fn a_cursor_is_not_read_on_after_the_window() {
    let emergency = Emergency::new();
    let (mut zheng, _) = emergency.open(0);
    let held = zheng.batch_execute("DECLARE held CURSOR WITH HOLD FOR SELECT id_card FROM app.student");
    assert_eq!(held.expect_err("not held").code().map(|code| code.code()), Some("0A000"));
    let mut transaction = zheng.transaction().expect("begin");
    transaction.batch_execute("DECLARE c CURSOR FOR SELECT id_card FROM app.student").expect("a cursor");
    let portal = transaction.bind("SELECT id_card FROM app.student", &[]).expect("a portal");
    assert_eq!(transaction.query("FETCH 10 FROM c", &[]).expect("in the window").len(), 10);
    assert_eq!(transaction.query_portal(&portal, 10).expect("in the window").len(), 10);
    transaction.batch_execute("SELECT steward.end_break_glass()").expect("end");
    for read_on in ["cursor", "portal"] {
        transaction.batch_execute("SAVEPOINT s").expect("savepoint");
        let read = match read_on {
            "cursor" => transaction.query("FETCH 10 FROM c", &[]),
            _ => transaction.query_portal(&portal, 10),
        };
        let error = expect_refused(read);
        assert!(error.message().contains("begun in an emergency window"), "{read_on}: {error:?}");
        transaction.batch_execute("ROLLBACK TO s").expect("never blocked");
    }
    // What begins after it is judged for itself.
    transaction.batch_execute("DECLARE d CURSOR FOR SELECT id_card FROM app.student").expect("a cursor");
    assert_eq!(transaction.query("FETCH 10 FROM d", &[]).expect("a read is normal").len(), 10);
    transaction.rollback().expect("rollback");
    assert_eq!(emergency.school().records("result = 'DENIED' AND rule = 'break_glass' AND user_id = 'ops_zheng'"), 2);
}

/// A window lifts what a tier demands. What somebody's role sees is another matter: neither masks nor scopes are lifted,
/// and what would lift them stays refused.
fn masks_and_scopes_hold_in_a_window() {
    let emergency = Emergency::with(
        "SELECT steward.set_mask('ops_zheng', 'id_card'); SELECT steward.set_scope('ops_zheng', 'app.student', 'school_id', 'school');
         SELECT steward.set_attribute('Zheng', 'school', '{1}');",
    );
    let seen = "SELECT count(*) || ' ' || string_agg(id_card, ' ' ORDER BY id) FROM app.student";
    let mut zheng = emergency.zheng(0);
    let before: String = ask(&mut zheng, seen);
    assert!(before.starts_with("50 ") && !before.contains("ID"), "{before}");
    open(&mut zheng, "").expect("break glass");
    assert_eq!(ask::<String>(&mut zheng, seen), before);
    assert_eq!(zheng.execute(SIXTY, &[]).expect("in the window"), 15, "those of the own school");
    end(&mut zheng);
    let mut wu = emergency.active.stepped_up("postgres", 0);
    open(&mut wu, "").expect("break glass");
    for lifting in [
        "SELECT steward.drop_mask('ops_zheng', 'id_card')",
        "SELECT steward.drop_scope('ops_zheng', 'app.student', 'school_id')",
        "SELECT steward.set_attribute('Zheng', 'school', '{1,2,3,4}')",
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card IS NULL",
        "ALTER TABLE app.student DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE app.student NO FORCE ROW LEVEL SECURITY",
        "ALTER ROLE ops_zheng BYPASSRLS",
        "DO $$ BEGIN EXECUTE (SELECT format('DROP POLICY %I ON app.student', polname) FROM pg_policy
            WHERE polrelid = 'app.student'::regclass AND NOT polpermissive LIMIT 1); END $$",
    ] {
        expect_refused(wu.batch_execute(lifting));
    }
    assert_eq!(ask::<String>(&mut emergency.school().session("ops_zheng"), seen), before.replace("moved", ""));
}
