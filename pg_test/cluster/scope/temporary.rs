//! Temporary grants: capped, never extended, and over at their moment in every open session.

use std::thread::sleep;
use std::time::Duration;

use postgres::error::SqlState;

use super::{active, inactive, students};
use crate::expect::expect_error;
use crate::school::{ask, execute, request};

tests! {
    a_grant_lapses_inside_an_open_session,
    a_grant_lapses_inside_an_open_transaction,
    a_grant_is_for_one_table,
    the_term_is_capped,
    a_grant_is_not_extended,
    an_ended_grant_is_over,
    grants_are_seen_by_their_person,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

fn grant(values: &str, until: &str) -> String {
    format!(
        "SELECT steward.grant_temporarily('Wang', 'app.student', 'school', '{values}', clock_timestamp() + interval '{until}', 'a colleague is ill')"
    )
}

fn a_grant_lapses_inside_an_open_session() {
    let school = inactive("");
    let mut wang = school.session("teacher_wang");
    let prepared = wang.prepare("SELECT count(*) FROM app.student").expect("prepare");
    let mut count = || wang.query_one(&prepared, &[]).expect("count").get::<_, i64>(0);
    (0..7).for_each(|_| assert_eq!(count(), 50));
    school.superuser().batch_execute(&grant("{2,3}", "3 seconds")).expect("grant");
    assert_eq!(count(), 150);
    sleep(Duration::from_millis(3_200));
    assert_eq!(count(), 50);
}

fn a_grant_lapses_inside_an_open_transaction() {
    let school = inactive("");
    school.superuser().batch_execute(&grant("{2}", "3 seconds")).expect("grant");
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("begin");
    assert_eq!(students(&mut wang), 100);
    sleep(Duration::from_millis(3_200));
    assert_eq!(students(&mut wang), 50);
    expect_error(
        wang.batch_execute("INSERT INTO app.student VALUES (1000, 2, 'new', 'ID1000', '13800001000')"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "",
        "",
    );
}

fn a_grant_is_for_one_table() {
    let school = inactive("SELECT steward.set_scope('teacher', 'app.guardian', 'id', 'school')");
    school.superuser().batch_execute(&grant("{2}", "1 hour")).expect("grant");
    let mut wang = school.session("teacher_wang");
    assert_eq!(students(&mut wang), 100);
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.guardian"), 1, "guardian 1");
    assert_eq!(students(&mut school.session("teacher_li")), 50, "nobody else has it");
}

fn the_term_is_capped() {
    let school = inactive("SELECT steward.set_temporary_grant_limit('2 hours')");
    let mut superuser = school.superuser();
    expect_error(superuser.batch_execute(&grant("{2}", "2 hours 1 minute")), BAD, "The longest term is 02:00:00", "");
    expect_error(superuser.batch_execute(&grant("{2}", "-1 second")), BAD, "", "");
    let forever = "SELECT steward.grant_temporarily('Wang', 'app.student', 'school', '{2}', 'infinity', 'for good')";
    expect_error(superuser.batch_execute(forever), BAD, "", "");
    expect_error(superuser.batch_execute(&grant("{*}", "1 hour")), BAD, "Everything is never granted", "");
    expect_error(superuser.batch_execute(&grant("{two}", "1 hour")), BAD, "", "");
    expect_error(superuser.batch_execute(&grant("{}", "1 hour")), BAD, "", "");
    let elsewhere =
        "SELECT steward.grant_temporarily('Wang', 'app.guardian', 'school', '{2}', now() + interval '1 hour', 'x')";
    expect_error(superuser.batch_execute(elsewhere), &SqlState::UNDEFINED_OBJECT, "", "");
    superuser.batch_execute(&grant("{2}", "1 hour 59 minutes")).expect("within the term");
}

fn a_grant_is_not_extended() {
    let school = active("");
    let mut superuser = school.superuser();
    let second = request(&mut superuser, &grant("{2,3}", "1 hour"), "");
    school.release(&second);
    let op_no = school.operate("postgres", &grant("{2}", "8 seconds"));
    let early = execute(&mut superuser, &second);
    expect_error(early, NOT_READY, "When it is over", "");
    while school.ask::<bool>("SELECT EXISTS (SELECT FROM steward.temporary_grant WHERE until > clock_timestamp())") {
        sleep(Duration::from_millis(200));
    }
    // Over, and applied for anew.
    school.operate("postgres", &grant("{2,3}", "1 hour"));
    assert_eq!(students(&mut school.session("teacher_wang")), 150);
    assert_eq!(school.records(&format!("operation_type = 'grant_temporarily' AND op_no = '{op_no}'")), 1);
    // An operation that runs often grants once.
    let often = request(&mut superuser, &grant("{4}", "1 second"), ", runs => 2");
    school.release(&often);
    execute(&mut superuser, &often).expect("the first run");
    sleep(Duration::from_millis(1_200));
    school.vote("region_liu", "confirm", &often).expect("each run has its second person");
    expect_error(execute(&mut superuser, &often), NOT_READY, "a new operation", "");
}

fn an_ended_grant_is_over() {
    let school = active("");
    school.operate("postgres", &grant("{2}", "1 hour"));
    let mut wang = school.session("teacher_wang");
    assert_eq!(students(&mut wang), 100);
    school.operate("postgres", "SELECT steward.end_temporary_grant(1)");
    assert_eq!(students(&mut wang), 50);
    let mut superuser = school.superuser();
    let again = request(&mut superuser, "SELECT steward.end_temporary_grant(1)", "");
    school.release(&again);
    expect_error(execute(&mut superuser, &again), &SqlState::UNDEFINED_OBJECT, "", "");
}

fn grants_are_seen_by_their_person() {
    let school = active("");
    school.operate("postgres", &grant("{2}", "1 hour"));
    let count = "SELECT count(*) FROM steward.temporary_access WHERE in_force";
    for (login, seen) in
        [("teacher_wang", 1), ("teacher_li", 0), ("clerk_zhao", 0), ("auditor_qian", 1), ("security_han", 1)]
    {
        assert_eq!(ask::<i64>(&mut school.session(login), count), seen, "{login}");
    }
}
