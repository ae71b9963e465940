//! Who opens an emergency window, when, and for how long.

use std::thread::sleep;
use std::time::Duration;

use super::{Emergency, NOT_NOW, REASON, REFUSED, SIXTY, end, not_opened, open};
use crate::expect::{expect_error, expect_refused};
use crate::school::School;
use crate::second_factor::verify;

tests! {
    without_a_code_just_typed_there_is_no_window,
    only_the_capability_opens_one,
    an_application_has_no_emergencies,
    a_reason_says_something_and_a_term_has_an_end,
    the_longest_term_is_policy,
    one_person_has_one_window,
    who_never_acts_alone_needs_a_second_person,
    a_former_window_that_nobody_reviewed_in_time_stops_the_next,
    where_nothing_is_refused_there_is_no_window,
}

fn without_a_code_just_typed_there_is_no_window() {
    let emergency = Emergency::new();
    let mut zheng = emergency.school().session("ops_zheng");
    let error = not_opened(open(&mut zheng, ""), NOT_NOW, "the second factor is missing");
    assert_eq!(error.hint(), Some("SELECT steward.verify_totp('…');"));
    assert_eq!(emergency.school().records("operation_type = 'BREAK GLASS' AND result = 'DENIED'"), 1);
    // Nor does another session's code do, nor one typed as somebody else.
    let mut other = emergency.zheng(0);
    not_opened(open(&mut zheng, ""), NOT_NOW, "the second factor is missing");
    open(&mut other, "").expect("a code and a reason");
    expect_refused(zheng.batch_execute(SIXTY));
}

fn only_the_capability_opens_one() {
    let emergency = Emergency::new();
    for login in ["teacher_wang", "reviewer_sun", "region_chen", "security_han"] {
        let mut session = emergency.active.stepped_up(login, 0);
        not_opened(open(&mut session, ""), REFUSED, "the capability break_glass is missing");
    }
    assert_eq!(emergency.school().records("operation_type = 'BREAK GLASS' AND result = 'DENIED'"), 4);
}

fn an_application_has_no_emergencies() {
    let emergency = Emergency::with(
        "CREATE ROLE app_service LOGIN; SELECT steward.set_post('service', '{apply,break_glass}');
         SELECT steward.register_person('Card platform', 'service', roles => '{app_service}');",
    );
    let mut service = emergency.school().session("app_service");
    not_opened(open(&mut service, ""), REFUSED, "the post service has no emergencies");
}

fn a_reason_says_something_and_a_term_has_an_end() {
    let emergency = Emergency::new();
    let mut zheng = emergency.zheng(0);
    let bad = &postgres::error::SqlState::INVALID_PARAMETER_VALUE;
    for call in ["'too short'", "NULL", "'   '", "repeat('long ', 300)", "E'a reason with a \\u202e hidden turn'"] {
        expect_error(zheng.batch_execute(&format!("SELECT steward.break_glass({call})")), bad, "", "");
    }
    for term in ["61 min", "0", "-5 min", "1 month", "0.2 s"] {
        expect_error(open(&mut zheng, &format!(", '{term}'")), bad, "break_glass_limit", "");
    }
    open(&mut zheng, ", '60 min'").expect("the longest term");
}

fn the_longest_term_is_policy() {
    let emergency = Emergency::with("SELECT steward.set_break_glass_limit('2 min');");
    let mut zheng = emergency.zheng(0);
    expect_error(open(&mut zheng, ""), &postgres::error::SqlState::INVALID_PARAMETER_VALUE, "", "");
    expect_refused(zheng.batch_execute("UPDATE steward.break_glass_limit SET max_duration = '8 hours'"));
    let mut superuser = emergency.school().superuser();
    expect_refused(superuser.batch_execute("SELECT steward.set_break_glass_limit('8 hours')"));
    open(&mut zheng, ", '2 min'").expect("as long as the policy says");
}

fn one_person_has_one_window() {
    let emergency = Emergency::new();
    let (mut zheng, op_no) = emergency.open(-1);
    not_opened(open(&mut zheng, ""), REFUSED, &op_no);
    let mut second = emergency.zheng(0);
    not_opened(open(&mut second, ""), NOT_NOW, "one person has one");
    expect_refused(second.batch_execute(SIXTY));
    // Somebody else is not concerned; and a session that is gone holds nothing.
    let mut wu = emergency.active.stepped_up("postgres", 0);
    open(&mut wu, "").expect("another person");
    drop(zheng);
    crate::failover::wait_until(
        emergency.school(),
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'ops_zheng'",
    );
    open(&mut second, "").expect("the other session is gone");
}

fn who_never_acts_alone_needs_a_second_person() {
    let emergency = Emergency::with("SELECT steward.set_post('ops', '{apply,witness,break_glass,never_alone}');");
    let school = emergency.school();
    let mut zheng = emergency.zheng(-1);
    let op_no = open(&mut zheng, "").expect("asked");
    assert_eq!(school.status(&op_no), "approved");
    expect_refused(zheng.batch_execute(SIXTY));
    let error = not_opened(open(&mut zheng, ""), NOT_NOW, "Nobody has confirmed");
    assert!(error.hint().is_some_and(|hint| hint.contains("steward.confirm")), "{error:?}");
    let digest = school.digest(&op_no);
    let confirm = format!("SELECT steward.confirm('{op_no}', '{digest}')");
    expect_refused(zheng.batch_execute(&confirm));
    expect_refused(emergency.active.stepped_up("teacher_wang", 0).batch_execute(&confirm));
    emergency.active.stepped_up("region_liu", 0).batch_execute(&confirm).expect("the second person");
    // Confirmed was this reason and this term.
    let other = open(&mut zheng, ", '20 min'").expect("asked anew");
    assert_ne!(other, op_no);
    let unconfirmed = open(&mut zheng, ", '20 min'");
    not_opened(unconfirmed, NOT_NOW, "Nobody has confirmed");
    let digest = school.digest(&other);
    let confirm = format!("SELECT steward.confirm('{other}', '{digest}')");
    emergency.active.stepped_up("region_liu", 1).batch_execute(&confirm).expect("the second person");
    assert_eq!(open(&mut zheng, ", '20 min'").expect("opened"), other);
    zheng.batch_execute(SIXTY).expect("in the window");
    end(&mut zheng);
    expect_refused(zheng.batch_execute("UPDATE app.student SET note = '' WHERE id = 1"));
    // Used up, like the code.
    not_opened(open(&mut zheng, ", '20 min'"), NOT_NOW, "the second factor is missing");
    verify(&mut zheng, &emergency.zheng.code(0)).expect("a code");
    assert_ne!(open(&mut zheng, ", '20 min'").expect("asked anew"), other);
    expect_refused(zheng.batch_execute(SIXTY));
    assert_eq!(emergency.moved(), 60);
}

fn a_former_window_that_nobody_reviewed_in_time_stops_the_next() {
    let emergency = Emergency::with("SELECT steward.set_tier_policy('critical', review_within => '1 s');");
    let (mut zheng, op_no) = emergency.open(-1);
    end(&mut zheng);
    sleep(Duration::from_millis(100));
    let due = format!("SELECT review_due > now() FROM steward.operation WHERE op_no = '{op_no}'");
    crate::failover::wait_until(emergency.school(), &format!("SELECT NOT ({due})"));
    let error = not_opened(open(&mut zheng, ""), NOT_NOW, "was not reviewed in time");
    assert!(error.detail().is_some_and(|detail| detail.contains(&op_no)), "{error:?}");
    emergency.review(&op_no, 0);
    verify(&mut zheng, &emergency.zheng.code(0)).expect("a code");
    open(&mut zheng, "").expect("reviewed");
}

fn where_nothing_is_refused_there_is_no_window() {
    let school = School::with("warn", &[]);
    let mut wu = school.superuser();
    not_opened(open(&mut wu, ""), NOT_NOW, "nothing is refused now");
    wu.batch_execute("SELECT steward.activate()").expect("activate");
    let call = format!("SELECT steward.break_glass('{REASON}')");
    not_opened(wu.query(&call, &[]), NOT_NOW, "nothing is refused now");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation"), 0);
}
