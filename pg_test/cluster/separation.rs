//! Separation of duties: who may not take which step, whatever role they put on.

use postgres::error::{DbError, SqlState};

use crate::expect::{db_error, expect_error};
use crate::school::{School, execute, request};

tests! {
    nobody_approves_their_own_request,
    nobody_approves_their_own_request_as_another_role,
    nobody_approves_their_own_request_by_session_authorization,
    nobody_approves_their_own_request_by_a_definers_function,
    a_login_that_changes_hands_takes_no_vote_along,
    nobody_confirms_their_own_request,
    the_approver_is_not_the_second_person,
    one_person_approves_once,
    two_logins_of_one_person_are_one_person,
    a_post_without_the_capability_cannot_apply,
    a_post_without_the_capability_cannot_approve,
    a_superuser_cannot_approve_for_the_reviewers,
    a_suspended_approver_does_not_count,
    nobody_requests_in_a_role_they_are_not_a_member_of,
    only_the_applicant_executes,
    nobody_votes_by_calling_somebody_elses_function,
    the_state_of_the_trail_is_for_auditors,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

/// The vote of this login is refused with 42501.
#[track_caller]
fn refused(school: &School, login: &str, step: &str, op_no: &str) -> DbError {
    let vote = school.vote(login, step, op_no);
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "", "")
}

fn nobody_approves_their_own_request() {
    let school = School::active();
    // The security officer may both apply and approve, so only the person is in the way.
    let op_no = school.request("security_han", SIXTY);
    refused(&school, "security_han", "approve", &op_no);
    let op_no = school.request("region_chen", SIXTY);
    refused(&school, "region_chen", "approve", &op_no);
    assert_eq!(school.status(&op_no), "submitted");
    assert!(school.records("result = 'DENIED' AND user_id = 'region_chen'") >= 1);
}

fn nobody_approves_their_own_request_as_another_role() {
    let school = School::inactive();
    // That the GRANT itself is refused is told in `exclusive`; here somebody has taken the pair out.
    let joined =
        "DELETE FROM steward.exclusive_capability; GRANT reviewer_sun TO region_chen; SELECT steward.activate()";
    school.superuser().batch_execute(joined).expect("one role in the other");
    let op_no = school.request("region_chen", SIXTY);
    let digest = school.digest(&op_no);
    let mut chen = school.session("region_chen");
    chen.batch_execute("SET ROLE reviewer_sun").expect("set role");
    let vote = chen.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    let mut superuser = school.superuser();
    superuser.batch_execute("SET SESSION AUTHORIZATION reviewer_sun").expect("set session authorization");
    let vote = superuser.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    assert_eq!(school.status(&op_no), "submitted");
}

/// A superuser may become anybody for PostgreSQL; here the login that authenticated stays who it is.
fn nobody_approves_their_own_request_by_session_authorization() {
    let school = School::inactive();
    let powerful = "CREATE ROLE han_admin LOGIN SUPERUSER;
        SELECT steward.register_person('Han', NULL, roles => '{security_han, han_admin}'); SELECT steward.activate()";
    school.superuser().batch_execute(powerful).expect("a second login");
    let op_no = school.request("security_han", SIXTY);
    let digest = school.digest(&op_no);
    let mut han = school.session("han_admin");
    for disguise in
        ["SET ROLE reviewer_sun", "SET SESSION AUTHORIZATION reviewer_sun", "SET SESSION AUTHORIZATION postgres"]
    {
        han.batch_execute(disguise).expect("a superuser may");
        let vote = han.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
        expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "Han filed it", "");
        han.batch_execute("RESET SESSION AUTHORIZATION; RESET ROLE").expect("reset");
    }
    assert_eq!(school.status(&op_no), "submitted");
}

fn nobody_approves_their_own_request_by_a_definers_function() {
    let school = School::active();
    let op_no = school.request("security_han", SIXTY);
    let digest = school.digest(&op_no);
    let lend = "CREATE SCHEMA lent; CREATE FUNCTION lent.vote(text, text) RETURNS void LANGUAGE sql SECURITY DEFINER
        AS 'SELECT steward.approve($1, $2)'; ALTER FUNCTION lent.vote OWNER TO reviewer_sun";
    school.operate("postgres", &format!("{lend}; GRANT USAGE ON SCHEMA lent TO PUBLIC"));
    for login in ["security_han", "region_liu"] {
        let vote = school.session(login).query("SELECT lent.vote($1, $2)", &[&op_no, &digest]);
        expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    assert_eq!(school.status(&op_no), "submitted");
}

/// Delegating one's login is no way either: who acts through it is the person it belongs to now.
fn a_login_that_changes_hands_takes_no_vote_along() {
    let school = School::active();
    let op_no = school.request("security_han", SIXTY);
    let handed = "SELECT steward.register_person('Sun', NULL, roles => '{}');
        SELECT steward.register_person('Han', NULL, roles => '{security_han, reviewer_sun}')";
    let mut superuser = school.superuser();
    let hand_over = request(&mut superuser, handed, "");
    school.vote("reviewer_zhou", "approve", &hand_over).expect("approve");
    school.vote("security_han", "approve", &hand_over).expect("approve");
    school.vote("region_liu", "confirm", &hand_over).expect("confirm");
    execute(&mut superuser, &hand_over).expect("hand over");
    let vote = refused(&school, "reviewer_sun", "approve", &op_no);
    assert!(vote.detail().unwrap_or("").contains("Han filed it"), "{vote:?}");
    school.vote("reviewer_zhou", "approve", &op_no).expect("another person");
}

fn nobody_confirms_their_own_request() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    refused(&school, "region_chen", "confirm", &op_no);
}

fn the_approver_is_not_the_second_person() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    refused(&school, "reviewer_sun", "confirm", &op_no);
    school.vote("reviewer_zhou", "confirm", &op_no).expect("another reviewer may");
}

fn one_person_approves_once() {
    let school = School::inactive();
    school.superuser().batch_execute("SELECT steward.set_tier_policy('critical', approvals => 2)").expect("policy");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &op_no).expect("first approval");
    refused(&school, "reviewer_sun", "approve", &op_no);
    assert_eq!(school.status(&op_no), "submitted");
    school.vote("reviewer_zhou", "approve", &op_no).expect("second approval");
    assert_eq!(school.status(&op_no), "approved");
    // Once approved there is nothing left to approve.
    let late = db_error(school.vote("security_han", "approve", &op_no));
    assert_eq!(late.code(), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{late:?}");
}

fn two_logins_of_one_person_are_one_person() {
    let school = School::inactive();
    let second_login = "CREATE ROLE sun_private LOGIN;
        SELECT steward.register_person('Sun', 'reviewer', roles => '{reviewer_sun, sun_private}');
        SELECT steward.set_tier_policy('critical', approvals => 2);
        SELECT steward.activate()";
    school.superuser().batch_execute(second_login).expect("second login");
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &op_no).expect("first approval");
    refused(&school, "sun_private", "approve", &op_no);
    school.vote("reviewer_zhou", "approve", &op_no).expect("second approval");
    refused(&school, "sun_private", "confirm", &op_no);
}

fn a_post_without_the_capability_cannot_apply() {
    let school = School::active();
    for login in ["clerk_zhao", "auditor_qian"] {
        let call = "SELECT steward.request('SELECT 1', purpose => 'x')";
        let filed = school.session(login).query(call, &[]);
        expect_error(filed, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
}

fn a_post_without_the_capability_cannot_approve() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let digest = school.digest(&op_no);
    for login in ["teacher_wang", "region_liu", "clerk_zhao", "auditor_qian"] {
        let call = "SELECT steward.approve($1, $2)";
        let vote = school.session(login).query(call, &[&op_no, &digest]);
        expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    assert_eq!(school.status(&op_no), "submitted");
}

fn a_superuser_cannot_approve_for_the_reviewers() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    refused(&school, "postgres", "approve", &op_no);
}

fn a_suspended_approver_does_not_count() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    let suspend = school.request("postgres", "SELECT steward.suspend_person('Sun', 'left the office')");
    school.vote("reviewer_zhou", "approve", &suspend).expect("approve");
    school.vote("region_liu", "confirm", &suspend).expect("confirm");
    execute(&mut school.superuser(), &suspend).expect("suspend");
    drop(school.vote("region_liu", "confirm", &op_no));
    db_error(execute(&mut school.session("region_chen"), &op_no));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
}

fn nobody_requests_in_a_role_they_are_not_a_member_of() {
    let school = School::active();
    let call = "SELECT steward.request('SELECT 1', purpose => 'x', run_as => 'postgres')";
    let filed = school.session("region_chen").query(call, &[]);
    expect_error(filed, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn only_the_applicant_executes() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    for login in ["teacher_wang", "reviewer_sun", "postgres"] {
        let run = execute(&mut school.session(login), &op_no);
        expect_error(run, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
}

/// A function, a view and a block that vote for whoever uses them: a vote is the person's own call.
fn nobody_votes_by_calling_somebody_elses_function() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let digest = school.digest(&op_no);
    school
        .superuser()
        .batch_execute(&format!(
            "CREATE FUNCTION app.report() RETURNS text LANGUAGE plpgsql
                AS $f$BEGIN PERFORM steward.approve('{op_no}', '{digest}'); RETURN 'all is well'; END$f$;
             CREATE FUNCTION app.summary() RETURNS void LANGUAGE sql AS $f$SELECT steward.approve('{op_no}', '{digest}')$f$;
             CREATE VIEW app.overview AS SELECT steward.approve('{op_no}', '{digest}') IS NULL AS done"
        ))
        .expect("functions and views are free");
    school.operate("postgres", "GRANT SELECT ON app.overview TO reviewer_sun");
    let mut reviewer = school.session("reviewer_sun");
    for lure in [
        "SELECT app.report()".to_string(),
        "SELECT app.summary()".to_string(),
        "SELECT * FROM app.overview".to_string(),
        format!("DO $d$BEGIN PERFORM steward.approve('{op_no}', '{digest}'); END$d$"),
    ] {
        expect_error(reviewer.batch_execute(&lure), &SqlState::INSUFFICIENT_PRIVILEGE, "must see", "steward.approve");
    }
    assert_eq!(school.status(&op_no), "submitted");
    let own = format!("SELECT steward.approve('{op_no}', '{digest}')");
    reviewer.batch_execute(&own).expect("typed by the person");
    assert_eq!(school.status(&op_no), "approved");
}

/// The function behind the view must be open to all, since a view calls it with its reader's rights; it asks for itself.
fn the_state_of_the_trail_is_for_auditors() {
    let school = School::inactive();
    let open = "CREATE VIEW app.open AS SELECT * FROM steward.audit_status; GRANT SELECT ON app.open TO PUBLIC;
        CREATE FUNCTION app.lent() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
            AS 'SELECT last_id FROM steward._audit_status()'";
    school.superuser().batch_execute(open).expect("ways around");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    for login in ["clerk_zhao", "teacher_wang", "reviewer_sun", "region_liu", "security_han"] {
        for way in ["steward.audit_status", "steward._audit_status()", "app.open"] {
            let asked = school.session(login).query(&format!("SELECT * FROM {way}"), &[]);
            expect_error(asked, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
        }
        for trail in
            ["audit_log", "audit_logs", "audit_archive", "_definition", "chain", "definition", "export_chain(1)"]
        {
            let asked = school.session(login).query(&format!("SELECT * FROM steward.{trail}"), &[]);
            expect_error(asked, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
        }
    }
    let mut auditor = school.session("auditor_qian");
    for way in ["steward.audit_status", "steward._audit_status()", "steward.audit_log", "steward.audit_logs"] {
        auditor.query(&format!("SELECT * FROM {way} LIMIT 1"), &[]).unwrap_or_else(|error| panic!("{way}: {error:?}"));
    }
    // Whoever lends rights of their own answers for it.
    school.session("clerk_zhao").query("SELECT app.lent()", &[]).expect("the definer may");
    // Not the other way round: an auditor in the role of somebody else is that somebody.
    let mut superuser = school.superuser();
    superuser.batch_execute("SET ROLE clerk_zhao").expect("set role");
    let asked = superuser.query("SELECT * FROM steward._audit_status()", &[]);
    expect_error(asked, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    // Who is no auditor any more sees it no more, in an open session either.
    school.operate("postgres", "SELECT steward.register_person('Qian', 'clerk')");
    for way in ["steward.audit_status", "steward._audit_status()"] {
        let asked = auditor.query(&format!("SELECT * FROM {way}"), &[]);
        expect_error(asked, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
}
