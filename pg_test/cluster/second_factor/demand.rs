//! What a session may do only after a code, and what ends that.

use super::{ACTING, Active, IMPORTANT, Phone, REQUEST, SIXTY, WRONG, demanding, missing, verify};
use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::{School, execute, request};

tests! {
    important_work_needs_a_code_in_the_session,
    every_step_of_an_operation_needs_a_code,
    a_run_of_a_standing_operation_needs_no_code,
    another_identity_is_not_stepped_up,
    discard_all_ends_it,
    a_service_needs_no_code_and_has_none,
    a_policy_without_the_demand_needs_no_key,
}

fn important_work_needs_a_code_in_the_session() {
    let active = Active::new();
    let mut teacher = active.school.session("teacher_wang");
    teacher.batch_execute("UPDATE app.student SET note = 'x' WHERE id = 7").expect("normal work needs none");
    let error = missing(teacher.batch_execute(IMPORTANT));
    assert!(error.detail().is_some_and(|detail| detail.contains("sensitive_column")), "{error:?}");
    // Bulk work has its own answer, code or not.
    expect_refused(teacher.batch_execute(SIXTY));
    let prepared = teacher.prepare("UPDATE app.student SET id_card = $1 WHERE id = 7").expect("prepare");
    missing(teacher.execute(&prepared, &[&"ID-prepared"]));
    assert_eq!(active.school.records("result = 'DENIED' AND sqlstate = '55000' AND rule = 'sensitive_column'"), 2);
    verify(&mut teacher, &active.phone("teacher_wang").code(0)).expect("a right code");
    teacher.batch_execute(IMPORTANT).expect("stepped up");
    teacher.execute(&prepared, &[&"ID-prepared"]).expect("stepped up");
    expect_refused(teacher.batch_execute(SIXTY));
    // It is the session's, not the person's.
    missing(active.school.session("teacher_wang").batch_execute(IMPORTANT));
}

fn every_step_of_an_operation_needs_a_code() {
    let active = Active::new();
    let school = &active.school;
    let call = "SELECT steward.request($1, purpose => 'x')";
    missing(school.session("region_chen").query(call, &[&SIXTY]));
    let mut chen = active.stepped_up("region_chen", 0);
    let op_no = request(&mut chen, SIXTY, "");
    missing(school.vote("reviewer_sun", "approve", &op_no));
    let digest = school.digest(&op_no);
    let vote = |step: &str| format!("SELECT steward.{step}('{op_no}', '{digest}')");
    let mut sun = active.stepped_up("reviewer_sun", 0);
    sun.batch_execute(&vote("approve")).expect("approve");
    missing(school.vote("region_liu", "confirm", &op_no));
    active.stepped_up("region_liu", 0).batch_execute(&vote("confirm")).expect("confirm");
    missing(execute(&mut school.session("region_chen"), &op_no));
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
    let review = format!("SELECT steward.review('{op_no}', 'accepted', 'seen')");
    missing(school.session("reviewer_zhou").batch_execute(&review));
    sun.batch_execute(&review).expect("review");
    let denied = "result = 'DENIED' AND sqlstate = '55000'";
    let steps = format!("SELECT string_agg(operation_type, ' ' ORDER BY id) FROM steward.audit_log WHERE {denied}");
    school.flush_audit();
    assert_eq!(school.ask::<String>(&steps), "REQUEST APPROVE CONFIRM EXECUTE REVIEW");
}

/// Nobody sits there at night; but who files, approves and confirms it does.
fn a_run_of_a_standing_operation_needs_no_code() {
    let active = Active::new();
    let school = &active.school;
    let standing = ", runs => 9, every => '1 hour', expected_rows => 60";
    let call = format!("SELECT steward.request('{}', purpose => 'x'{standing})", SIXTY.replace('\'', "''"));
    missing(school.session("region_chen").query(&call, &[]));
    let op_no = request(&mut active.stepped_up("region_chen", 0), SIXTY, standing);
    let digest = school.digest(&op_no);
    for (login, step) in [("reviewer_sun", "approve"), ("region_liu", "confirm")] {
        missing(school.vote(login, step, &op_no));
        let vote = format!("SELECT steward.{step}('{op_no}', '{digest}')");
        active.stepped_up(login, 0).batch_execute(&vote).expect("with a code");
    }
    assert_eq!(execute(&mut school.session("region_chen"), &op_no).expect("by a scheduler"), 60);
}

fn another_identity_is_not_stepped_up() {
    let active = Active::new();
    let mut superuser = active.stepped_up("postgres", 0);
    superuser.batch_execute(REQUEST).expect("stepped up");
    for identity in ["ROLE teacher_wang", "SESSION AUTHORIZATION teacher_wang"] {
        superuser.batch_execute(&format!("SET {identity}")).expect("a superuser may");
        missing(superuser.batch_execute(REQUEST));
        superuser.batch_execute("RESET ROLE; RESET SESSION AUTHORIZATION").expect("reset");
        superuser.batch_execute(REQUEST).expect("himself again");
    }
    superuser.batch_execute("SELECT set_config('role', 'teacher_wang', false)").expect("another way to put it on");
    missing(superuser.batch_execute(REQUEST));
}

fn discard_all_ends_it() {
    let active = Active::new();
    let mut teacher = active.stepped_up("teacher_wang", 0);
    teacher.batch_execute("DISCARD PLANS; DISCARD TEMP").expect("not a new user");
    teacher.batch_execute(IMPORTANT).expect("stepped up");
    teacher.batch_execute("DISCARD ALL").expect("as a pool does");
    missing(teacher.batch_execute(IMPORTANT));
}

fn a_service_needs_no_code_and_has_none() {
    let school = demanding();
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE app_service LOGIN; GRANT teacher_wang TO app_service;
             SELECT steward.register_person('Card platform', 'service', roles => '{app_service}')",
        )
        .expect("the application");
    ACTING.iter().for_each(|login| drop(Phone::enrolled(&mut school.session(login))));
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let mut service = school.session("app_service");
    service.batch_execute(IMPORTANT).expect("nobody stands behind it with a telephone");
    for call in ["SELECT steward.enroll_totp()", "SELECT steward.verify_totp('123456')"] {
        let error = expect_error(service.batch_execute(call), WRONG, "", "");
        assert!(error.message().contains("the post service has no second factor"), "{error:?}");
    }
    assert_eq!(
        school.records(
            "operation_type IN ('ENROLL TOTP', 'VERIFY TOTP') AND result = 'DENIED' AND user_id = 'app_service'"
        ),
        2
    );
}

fn a_policy_without_the_demand_needs_no_key() {
    let school = School::active();
    school.session("teacher_wang").batch_execute(IMPORTANT).expect("nothing is demanded");
    // Nor can it be demanded of those who have none.
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, "SELECT steward.set_tier_policy('critical', second_factor => true)", "");
    school.release(&op_no);
    db_error(execute(&mut chen, &op_no));
    assert!(!school.ask::<bool>("SELECT bool_or(second_factor) FROM steward.tier_policy"));
}
