//! An approval covers what the operation was seen to reach when it was filed, and nothing that turns up while it runs.

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::expect_error;
use crate::school::{School, execute, request};

tests! {
    a_function_named_at_run_time_is_not_covered,
    a_function_that_would_be_inlined_is_not_covered,
    a_trigger_of_a_table_named_at_run_time_is_not_covered,
    an_armed_session_reaches_no_more,
    a_comment_that_names_it_is_enough,
    a_body_compiled_before_the_run_means_what_it_says_now,
}

/// What nobody was asked about: `app.unseen` deletes, the trigger on `app.gate` does too.
const UNSEEN: &str = "CREATE FUNCTION app.unseen() RETURNS int LANGUAGE plpgsql
        AS 'BEGIN DELETE FROM app.guardian; RETURN 1; END';
    CREATE FUNCTION app.inline_me() RETURNS int LANGUAGE sql STABLE AS 'SELECT app.unseen()';
    CREATE FUNCTION app.on_gate() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM app.guardian; RETURN NEW; END';
    CREATE TABLE app.gate (id int); CREATE TRIGGER on_gate BEFORE INSERT ON app.gate FOR EACH ROW EXECUTE FUNCTION app.on_gate();
    GRANT ALL ON app.gate, app.guardian TO region_chen; GRANT CREATE ON SCHEMA app TO region_chen";

fn school() -> School {
    let school = School::inactive();
    school.superuser().batch_execute(UNSEEN).expect("code");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn guardians(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.guardian")
}

/// Approved and executed in this session.
#[track_caller]
fn run(school: &School, session: &mut Client, script: &str) -> Result<i64, postgres::Error> {
    let op_no = request(session, script, "");
    school.release(&op_no);
    execute(session, &op_no)
}

/// By an ordinary applicant, and by a superuser.
#[track_caller]
fn is_not_covered(script: &str, function: &str) {
    let school = school();
    let before = guardians(&school);
    for login in ["region_chen", "postgres"] {
        let refused = run(&school, &mut school.session(login), script);
        let error = expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "found by name", "a comment is enough");
        assert!(error.message().ends_with(&format!("was not seen to reach function {function}")), "{error:?}");
        assert_eq!(guardians(&school), before);
    }
    assert_eq!(school.records("operation_type = 'EXECUTE' AND result = 'FAILURE'"), 2);
}

fn a_function_named_at_run_time_is_not_covered() {
    is_not_covered("DO $$ BEGIN EXECUTE 'SELECT app.un' || 'seen()'; END $$", "app.unseen()");
}

fn a_function_that_would_be_inlined_is_not_covered() {
    is_not_covered("DO $$ BEGIN EXECUTE 'SELECT app.inl' || 'ine_me()'; END $$", "app.inline_me()");
}

fn a_trigger_of_a_table_named_at_run_time_is_not_covered() {
    is_not_covered("DO $$ BEGIN EXECUTE 'INSERT INTO app.ga' || 'te VALUES (1)'; END $$", "app.on_gate()");
}

fn an_armed_session_reaches_no_more() {
    let school = school();
    let before = guardians(&school);
    let script = "DO $$ BEGIN EXECUTE 'SELECT app.un' || 'seen()'; END $$";
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, script, "");
    school.release(&op_no);
    chen.batch_execute(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    expect_error(chen.batch_execute(script), &SqlState::INSUFFICIENT_PRIVILEGE, "found by name", "");
    assert_eq!(guardians(&school), before);
}

fn a_comment_that_names_it_is_enough() {
    let school = school();
    let script = "DO $$ BEGIN EXECUTE 'SELECT app.un' || 'seen()'; /* unseen */ END $$";
    run(&school, &mut school.session("region_chen"), script).expect("what was filed");
    assert_eq!(guardians(&school), 0);
}

/// The applicant's session compiles the function while a domain of its own stands before the approved one, and renames
/// it. The body would keep it; its check works under the approval.
fn a_body_compiled_before_the_run_means_what_it_says_now() {
    let school = school();
    let body = "DECLARE v small; BEGIN
        IF n IS NULL THEN RETURN 0; END IF;
        v := n; UPDATE app.student SET note = ''seen'' WHERE id <= v; RETURN v; END";
    let code = format!(
        "CREATE DOMAIN app.small AS int CHECK (VALUE < 1000);
        CREATE FUNCTION app.sized(n int) RETURNS int LANGUAGE plpgsql SET search_path = app AS '{body}'"
    );
    school.operate("postgres", &code);
    for login in ["region_chen", "postgres"] {
        let mut attacker = school.session(login);
        attacker
            .batch_execute(
                "CREATE DOMAIN pg_temp.small AS int CHECK (CASE WHEN VALUE IS NULL THEN true ELSE lo_create(0) > 0 END);
                SELECT app.sized(NULL); ALTER DOMAIN pg_temp.small RENAME TO hidden",
            )
            .expect("compiled");
        run(&school, &mut attacker, "SELECT app.sized(60)").expect("what was approved");
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_largeobject_metadata"), 0, "{login}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'seen'"), 60);
}
