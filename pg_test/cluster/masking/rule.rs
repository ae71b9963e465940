//! The rules themselves: who may change them, with how many approvals, and what is refused.

use super::{desk, shown};
use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::{School, execute, request};
use postgres::error::SqlState;

tests! {
    nobody_else_sets_a_mask,
    weakening_a_rule_takes_two_approvals,
    a_first_rule_takes_one,
    wrong_arguments,
    every_change_is_on_record,
    a_dump_carries_the_rules,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;

fn nobody_else_sets_a_mask() {
    let school = desk();
    for call in [
        "set_mask('cs', 'phone', 'none')",
        "drop_mask('cs', 'phone')",
        "exempt_mask('cs', 'phone', now() + '1 day', 'me')",
    ] {
        for login in ["cs", "app_owner", "teacher"] {
            let error = db_error(school.session(login).simple_query(&format!("SELECT steward.{call}")));
            assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{login}: {call}");
        }
    }
    let school = School::active();
    let mut superuser = school.superuser();
    for call in [
        "SELECT steward.set_mask('clerk_zhao', 'phone')",
        "SELECT steward.drop_mask('clerk_zhao', 'phone')",
        "SELECT steward.exempt_mask('clerk_zhao', 'phone', now() + '1 day', 'me')",
        "DELETE FROM steward.mask_rule",
        "INSERT INTO steward.mask_exemption VALUES ('clerk_zhao', '*', 'infinity', 'me', 'me')",
        "TRUNCATE steward.mask_rule",
        "DROP TABLE steward.mask_rule",
    ] {
        expect_refused(superuser.batch_execute(call));
    }
}

fn weakening_a_rule_takes_two_approvals() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("SELECT steward.set_mask('clerk_zhao', 'phone', 'hide'); SELECT steward.activate()")
        .expect("set-up");
    for script in [
        "SELECT steward.set_mask('clerk_zhao', 'phone', 'partial')",
        "SELECT steward.set_mask('clerk_zhao', 'phone', 'hide', predicate => 'equal')",
        "SELECT steward.set_mask('clerk_zhao', 'phone', 'none')",
        "SELECT steward.drop_mask('clerk_zhao', 'phone')",
        "SELECT steward.exempt_mask('clerk_zhao', 'phone', now() + '1 day', 'head of the desk')",
    ] {
        let mut applicant = school.superuser();
        let op_no = request(&mut applicant, script, ", approvals => 1");
        let needed: i32 =
            crate::school::ask(&mut applicant, &format!("SELECT approvals_needed FROM steward.show('{op_no}')"));
        if needed == 1 {
            school.vote("reviewer_sun", "approve", &op_no).expect("approve");
            school.vote("region_liu", "confirm", &op_no).expect("confirm");
            let error = expect_refused(execute(&mut applicant, &op_no));
            assert!(error.message().contains("1 of 2 approvals"), "{script}: {error:?}");
        } else {
            assert_eq!(needed, 2, "{script}");
        }
        let op_no = request(&mut school.superuser(), script, ", approvals => 2");
        school.release(&op_no);
        execute(&mut applicant, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        school.superuser().batch_execute("SELECT 1").expect("the session goes on");
        let again = "SELECT steward.set_mask('clerk_zhao', 'phone', 'hide')";
        school.operate("postgres", again);
    }
}

fn a_first_rule_takes_one() {
    let school = School::active();
    school.operate("postgres", "SELECT steward.set_mask('clerk_zhao', 'id_card')");
    let card = "SELECT id_card FROM app.student WHERE id = 7";
    assert_ne!(shown(&mut school.session("clerk_zhao"), card), "ID7");
    assert_eq!(shown(&mut school.session("teacher_wang"), card), "ID7");
    // Stricter is not weaker.
    school.operate("postgres", "SELECT steward.set_mask('clerk_zhao', 'id_card', 'hide', predicate => 'deny')");
}

fn wrong_arguments() {
    let school = desk();
    let mut superuser = school.superuser();
    for (call, hint) in [
        ("set_mask('cs', 'phone', 'blur')", "partial hide"),
        ("set_mask('cs', 'Phone')", "'phone'"),
        ("set_mask('cs', NULL)", ""),
        ("set_mask(NULL, 'phone')", ""),
        ("set_mask('cs', 'phone', 'partial', -1)", ""),
        ("set_mask('cs', 'phone', 'partial', 3, 65)", ""),
        ("set_mask('cs', 'phone', 'hide', 3)", ""),
        ("set_mask('cs', 'phone', predicate => 'like')", "masked equal deny"),
        ("exempt_mask('cs', 'phone', now() + '2 years', 'long')", "1 year"),
        ("exempt_mask('cs', 'phone', 'infinity', 'for ever')", "1 year"),
        ("exempt_mask('cs', 'phone', now() + '1 day', '')", ""),
        ("exempt_mask('cs', 'phone', NULL, 'why')", ""),
    ] {
        expect_error(superuser.batch_execute(&format!("SELECT steward.{call}")), BAD, "", hint);
    }
    let unknown = &SqlState::UNDEFINED_OBJECT;
    expect_error(superuser.batch_execute("SELECT steward.drop_mask('cs', 'email')"), unknown, "", "mask_rule");
    expect_error(
        superuser.batch_execute("SELECT steward.set_mask(4294967294::oid::regrole, 'phone')"),
        unknown,
        "",
        "",
    );
}

fn every_change_is_on_record() {
    let school = desk();
    school.superuser().batch_execute("SELECT steward.exempt_mask('cs', 'phone', now() + '1 day', 'a reason'); SELECT steward.drop_mask('cs', 'name')").expect("changes");
    for (call, words) in [
        ("set_mask", "{\"role\": \"cs\", \"class\": \"phone\", \"mask\": \"partial\"}"),
        ("exempt_mask", "{\"reason\": \"a reason\"}"),
        ("drop_mask", "{\"class\": \"name\"}"),
    ] {
        assert_eq!(
            school.records(&format!("operation_type = '{call}' AND tier = 'critical' AND details::jsonb @> '{words}'")),
            1,
            "{call}"
        );
    }
}

fn a_dump_carries_the_rules() {
    let school = desk();
    school
        .superuser()
        .batch_execute("SELECT steward.exempt_mask('teacher', '*', now() + '1 day', 'a reason')")
        .expect("exempt");
    let mut dump = school.client_program("pg_dump");
    dump.args(["-d", crate::school::HOME, "--data-only", "-t", "steward.mask_*"]);
    let dump = String::from_utf8_lossy(&dump.output().expect("pg_dump").stdout).into_owned();
    assert!(dump.contains("cs\tphone\tpartial") && dump.contains("teacher\t*"), "{dump}");
}
