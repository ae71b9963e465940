//! One operation, several demands: whichever way it runs (whole, armed, step by step, on a schedule), nothing that is asked of
//! one way is spared another.

use postgres::error::SqlState;

use crate::expect::{db_error, expect_error};
use crate::school::{School, execute, request};

tests! {
    an_armed_run_waits_for_its_window,
    an_armed_run_needs_the_signatures_set_since,
    an_armed_run_needs_its_boxes,
    a_script_that_is_armed_has_no_steps_and_no_schedule,
    a_stepwise_operation_is_not_armed,
    an_armed_grant_says_what_its_form_says,
    a_standing_operation_waits_for_its_window,
    a_step_waits_for_the_signatures_set_since,
}

const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const FULL: &str = "VACUUM FULL app.student";
const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

/// A window of critical work that is shut now and will be for hours: on another day of the week.
const SHUT: &str = "SELECT steward.set_window('later', 'critical',
    ARRAY[extract(isodow FROM clock_timestamp() AT TIME ZONE current_setting('steward.time_zone') + interval '3 days')::int],
    '00:00', '24:00')";

fn arm(session: &mut postgres::Client, op_no: &str) -> Result<(), postgres::Error> {
    session.batch_execute(&format!("SELECT steward.arm('{op_no}')"))
}

/// Files and releases, then changes the policy by an operation of its own.
fn released_before(school: &School, script: &str, more: &str, change: &str) -> (postgres::Client, String) {
    let mut session = school.superuser();
    let op_no = request(&mut session, script, more);
    school.approve(&op_no);
    school.operate("postgres", change);
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    (session, op_no)
}

fn an_armed_run_waits_for_its_window() {
    let school = School::active();
    let (mut session, op_no) = released_before(&school, FULL, "", SHUT);
    let refused = expect_error(arm(&mut session, &op_no), NOT_READY, "opens next at", "steward.");
    assert!(refused.message().contains("outside its maintenance window"), "{refused:?}");
    assert_eq!(school.status(&op_no), "approved");
}

fn an_armed_run_needs_the_signatures_set_since() {
    let school = School::active();
    let change = "SELECT steward.set_approval('critical', 1, '{person:Zhou}')";
    let (mut session, op_no) = released_before(&school, FULL, "", change);
    let refused = db_error(arm(&mut session, &op_no));
    assert_eq!(refused.code(), NOT_READY, "{refused:?}");
    assert!(refused.detail().is_some_and(|detail| detail.contains("Still open")), "{refused:?}");
}

fn an_armed_run_needs_its_boxes() {
    let school = School::active();
    let change = "SELECT steward.set_checklist('critical', 'critical_operation', true)";
    let (mut session, op_no) = released_before_unconfirmed(&school, change);
    let refused = db_error(arm(&mut session, &op_no));
    assert_eq!(refused.code(), NOT_READY, "{refused:?}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("steward.answer")), "{refused:?}");
}

/// As `released_before`, confirmed before the change.
fn released_before_unconfirmed(school: &School, change: &str) -> (postgres::Client, String) {
    let mut session = school.superuser();
    let op_no = request(&mut session, FULL, "");
    school.release(&op_no);
    school.operate("postgres", change);
    (session, op_no)
}

fn a_script_that_is_armed_has_no_steps_and_no_schedule() {
    let school = School::active();
    for more in ["stepwise => true", "runs => 3, every => '1 hour', expected_rows => 1"] {
        let call = format!("SELECT steward.request('{FULL}', 'cluster test', {more})");
        let refused = db_error(school.superuser().batch_execute(&call));
        assert_eq!(refused.code(), &SqlState::FEATURE_NOT_SUPPORTED, "{more}: {refused:?}");
        assert!(refused.message().contains("neither stepwise nor standing"), "{refused:?}");
    }
}

fn a_stepwise_operation_is_not_armed() {
    let school = School::active();
    let mut session = school.superuser();
    let op_no = request(&mut session, SIXTY, ", stepwise => true");
    school.approve(&op_no);
    let digest = school.digest(&op_no);
    let confirm = format!("SELECT steward.confirm('{op_no}', '{digest}', 1)");
    school.session("region_liu").batch_execute(&confirm).expect("confirm");
    let refused = db_error(arm(&mut session, &op_no));
    assert_eq!(refused.code(), &SqlState::FEATURE_NOT_SUPPORTED, "{refused:?}");
    assert_eq!(execute(&mut session, &op_no).expect("the step"), 60);
}

fn an_armed_grant_says_what_its_form_says() {
    let school = School::inactive();
    let demand = "SELECT steward.set_form('role_grant', true); SELECT steward.activate()";
    school.superuser().batch_execute(demand).expect("set-up");
    let mut session = school.superuser();
    let script = "VACUUM FULL app.student; GRANT TRUNCATE ON app.student TO security_han";
    let op_no = request(&mut session, script, "");
    school.release(&op_no);
    arm(&mut session, &op_no).expect("arm");
    session.batch_execute(FULL).expect("the first statement");
    session.batch_execute("GRANT TRUNCATE ON app.student TO security_han").expect("the form that the policy wrote");
    assert!(school.ask::<bool>("SELECT has_table_privilege('security_han', 'app.student', 'TRUNCATE')"));
    // Nobody signed a form for anything else.
    let other = "SELECT steward.request('VACUUM FULL app.student; GRANT TRUNCATE ON app.student TO security_han; GRANT INSERT ON app.student TO reviewer_sun', 'x')";
    let refused = db_error(school.superuser().batch_execute(other));
    assert_eq!(refused.code(), &SqlState::INVALID_PARAMETER_VALUE, "{refused:?}");
}

fn a_standing_operation_waits_for_its_window() {
    let school = School::active();
    let more = ", runs => 5, every => '1 second', expected_rows => 60";
    let (mut session, op_no) = released_before(&school, SIXTY, more, SHUT);
    expect_error(execute(&mut session, &op_no), NOT_READY, "opens next at", "steward.execute");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'moved'"), 0);
}

fn a_step_waits_for_the_signatures_set_since() {
    let school = School::active();
    let mut session = school.superuser();
    let op_no = request(&mut session, SIXTY, ", stepwise => true");
    school.approve(&op_no);
    school.operate("postgres", "SELECT steward.set_approval('critical', 1, '{person:Zhou}')");
    let digest = school.digest(&op_no);
    let confirm = format!("SELECT steward.confirm('{op_no}', '{digest}', 1)");
    school.session("region_liu").batch_execute(&confirm).expect("confirm");
    let refused = db_error(execute(&mut session, &op_no));
    assert!(refused.detail().is_some_and(|detail| detail.contains("Still open")), "{refused:?}");
    let approve = format!("SELECT steward.approve('{op_no}', '{digest}')");
    school.session("reviewer_zhou").batch_execute(&approve).expect("the missing signature");
    assert_eq!(execute(&mut session, &op_no).expect("the step"), 60);
}
