//! Who enrols an authenticator, when, and how a lost one is replaced.

use super::{ACTING, Active, NOT_NOW, Phone, REQUEST, WRONG, demanding, give_key, verify, wrong};
use crate::expect::{expect_error, expect_refused};
use crate::school::{School, execute, request};

tests! {
    activation_needs_a_key_and_everybody_s_enrolment,
    nobody_enrols_twice_while_the_policy_is_active,
    a_lost_authenticator_is_replaced_by_an_operation,
    nobody_enrols_through_somebody_else_s_function,
}

fn activation_needs_a_key_and_everybody_s_enrolment() {
    let mut school = School::inactive();
    let mut superuser = school.superuser();
    let demand = "SELECT steward.set_tier_policy('critical', second_factor => true)";
    superuser.batch_execute(demand).expect("before activate()");
    let activate = "SELECT steward.activate()";
    expect_error(superuser.batch_execute(activate), NOT_NOW, "steward.key_file is empty", "openssl rand -hex 32");
    expect_error(superuser.batch_execute("SELECT steward.enroll_totp()"), NOT_NOW, "is empty", "steward.key_file");
    drop(superuser);
    give_key(&mut school);
    for login in ACTING.into_iter().filter(|login| !["region_liu", "reviewer_zhou"].contains(login)) {
        Phone::enrolled(&mut school.session(login));
    }
    let mut superuser = school.superuser();
    let detail = "No second factor is enrolled for Liu, Zhou.";
    expect_error(superuser.batch_execute(activate), NOT_NOW, detail, "SELECT steward.enroll_totp();");
    for login in ["region_liu", "reviewer_zhou"] {
        Phone::enrolled(&mut school.session(login));
    }
    superuser.batch_execute(activate).expect("now everybody can");
}

fn nobody_enrols_twice_while_the_policy_is_active() {
    let active = Active::new();
    let again = active.school.session("region_chen").batch_execute("SELECT steward.enroll_totp()");
    expect_error(
        again,
        NOT_NOW,
        "approved operation",
        "SELECT steward.request($s$SELECT steward.reset_totp('Chen')$s$",
    );
    let mut superuser = active.school.superuser();
    expect_refused(superuser.batch_execute("SELECT steward.reset_totp('Chen')"));
    verify(&mut superuser, &active.phone("postgres").code(0)).expect("a right code");
    expect_refused(superuser.batch_execute("SELECT steward.reset_totp('Chen')"));
    drop(active.stepped_up("region_chen", 0));
}

fn a_lost_authenticator_is_replaced_by_an_operation() {
    let active = Active::new();
    let school = &active.school;
    let mut chen = active.stepped_up("region_chen", 0);
    chen.batch_execute(REQUEST).expect("stepped up");
    let mut superuser = active.stepped_up("postgres", 0);
    let op_no = request(&mut superuser, "SELECT steward.reset_totp('Chen')", "");
    let digest = school.digest(&op_no);
    for (login, step) in [("reviewer_sun", "approve"), ("region_liu", "confirm")] {
        let vote = format!("SELECT steward.{step}('{op_no}', '{digest}')");
        active.stepped_up(login, 0).batch_execute(&vote).expect(step);
    }
    execute(&mut superuser, &op_no).expect("execute");
    // What the lost one had opened is closed, in open sessions too.
    let error = expect_error(chen.batch_execute(REQUEST), NOT_NOW, "missing", "SELECT steward.enroll_totp();");
    assert!(error.message().contains("second factor"), "{error:?}");
    let lost = active.phone("region_chen").code(1);
    expect_error(verify(&mut chen, &lost), NOT_NOW, "", "SELECT steward.enroll_totp();");
    let phone = Phone::enrolled(&mut chen);
    wrong(&mut chen, &lost);
    verify(&mut chen, &phone.code(1)).expect("the new one");
    chen.batch_execute(REQUEST).expect("stepped up");
    expect_error(chen.batch_execute("SELECT steward.enroll_totp()"), NOT_NOW, "", "");
    assert_eq!(school.records("operation_type = 'reset_totp' AND op_no IS NOT NULL AND result = 'SUCCESS'"), 1);
    assert_eq!(school.records("operation_type = 'enroll_totp' AND user_id = 'region_chen'"), 2);
}

/// Whoever wrote the function would keep the secret.
fn nobody_enrols_through_somebody_else_s_function() {
    let school = demanding();
    school
        .superuser()
        .batch_execute(
            "CREATE FUNCTION app.report() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
                AS $f$BEGIN RETURN length(steward.enroll_totp()); END$f$;
             CREATE VIEW app.overview AS SELECT steward.enroll_totp() AS secret; GRANT SELECT ON app.overview TO PUBLIC",
        )
        .expect("functions and views are free");
    let mut chen = school.session("region_chen");
    for lure in
        ["SELECT app.report()", "SELECT * FROM app.overview", "DO $d$BEGIN PERFORM steward.enroll_totp(); END$d$"]
    {
        expect_error(chen.batch_execute(lure), WRONG, "", "SELECT steward.enroll_totp();");
    }
    Phone::enrolled(&mut chen);
}
