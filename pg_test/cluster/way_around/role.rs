//! Roles put on and taken off: whatever the session calls itself, the login that authenticated stands in the record and
//! is compared with other persons.

use super::attack::{Allowed, BULK_UPDATE, Refused, SIXTY, attack, attack_as, watch};
use crate::expect::expect_error;
use crate::school::{HOME, School};
use postgres::NoTls;
use postgres::error::SqlState;

tests! {
    set_role_keeps_the_login_in_the_record,
    set_session_authorization_keeps_the_login_in_the_record,
    a_role_in_the_connection_s_options,
    a_role_set_by_a_function,
    set_config_of_the_role,
    becoming_the_approver_in_every_way,
    a_membership_given_to_oneself,
    a_password_of_somebody_else,
}

/// teacher_wang may put on region_chen.
fn school() -> School {
    let school = School::inactive();
    school.superuser().batch_execute("GRANT region_chen TO teacher_wang; SELECT steward.activate()").expect("set-up");
    school
}

fn recorded(school: &School, login: &str, role: &str) -> i64 {
    school.records(&format!("user_id = '{login}' AND effective_user = '{role}' AND result = 'DENIED'"))
}

fn set_role_keeps_the_login_in_the_record() {
    let school = school();
    let attack = format!("SET ROLE region_chen; {SIXTY}");
    for who in ["teacher_wang", "postgres"] {
        attack_as(&school, who, &attack, Refused, BULK_UPDATE);
        assert_eq!(recorded(&school, who, "region_chen"), 1);
    }
}

fn set_session_authorization_keeps_the_login_in_the_record() {
    let school = school();
    let attack = format!("SET SESSION AUTHORIZATION region_chen; {SIXTY}");
    attack_as(&school, "postgres", &attack, Refused, BULK_UPDATE);
    assert_eq!(recorded(&school, "postgres", "region_chen"), 1);
    let as_teacher = school.session("teacher_wang").batch_execute(&attack);
    expect_error(as_teacher, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn a_role_in_the_connection_s_options() {
    let school = school();
    for who in ["teacher_wang", "postgres"] {
        let mut config = school.config(who, HOME);
        let mut session = config.options("-c role=region_chen").connect(NoTls).expect("a member");
        watch(&school, who, Refused, BULK_UPDATE, || session.batch_execute(SIXTY));
        assert_eq!(recorded(&school, who, "region_chen"), 1);
    }
}

fn a_role_set_by_a_function() {
    let school = school();
    let function = format!(
        "CREATE FUNCTION pg_temp.as_chen() RETURNS void LANGUAGE plpgsql SET role TO region_chen
            AS 'BEGIN {} END'; SELECT pg_temp.as_chen()",
        SIXTY.replace('\'', "''") + ";"
    );
    for who in ["teacher_wang", "postgres"] {
        attack_as(&school, who, &function, Refused, BULK_UPDATE);
        assert_eq!(recorded(&school, who, "region_chen"), 1);
    }
}

fn set_config_of_the_role() {
    let school = school();
    for who in ["teacher_wang", "postgres"] {
        let set = format!("SELECT set_config('role', 'region_chen', false); {SIXTY}");
        attack_as(&school, who, &set, Refused, BULK_UPDATE);
        assert_eq!(recorded(&school, who, "region_chen"), 1);
    }
}

/// The vote of an approver is refused in whatever way somebody else has become the approver.
fn becoming_the_approver_in_every_way() {
    // Who applies cannot be a member of the approver's role in the first place.
    let school = School::inactive();
    school.superuser().batch_execute("GRANT reviewer_sun TO region_chen").expect("before the policy is active");
    let excluded = school.superuser().batch_execute("SELECT steward.activate()");
    expect_error(excluded, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "exclude each other", "");
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let vote = format!("SELECT steward.approve('{op_no}', '{}')", school.digest(&op_no));
    for (who, become_sun) in [
        ("postgres", "SELECT set_config('role', 'reviewer_sun', false)"),
        ("postgres", "SET ROLE reviewer_sun"),
        ("postgres", "SET SESSION AUTHORIZATION reviewer_sun"),
        ("postgres", "SELECT set_config('session_authorization', 'reviewer_sun', false)"),
    ] {
        let mut session = school.session(who);
        session.batch_execute(become_sun).expect("the role may be put on");
        expect_error(session.batch_execute(&vote), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
        assert_eq!(school.status(&op_no), "submitted", "{who}: {become_sun}");
    }
    let mut config = school.config("postgres", HOME);
    let mut session = config.options("-c session_authorization=reviewer_sun").connect(NoTls).expect("a superuser");
    expect_error(session.batch_execute(&vote), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    assert_eq!(school.status(&op_no), "submitted");
    let denied = "user_id = 'postgres' AND operation_type = 'APPROVE' AND result = 'DENIED'";
    assert_eq!(school.records(denied), 5, "the login stands in the record");
}

fn a_membership_given_to_oneself() {
    let school = School::active();
    for who in ["teacher_wang", "postgres"] {
        let grant = format!("GRANT reviewer_sun TO {who}");
        attack_as(&school, who, &grant, Refused, ["GRANT ROLE", "", "critical", "privilege"]);
        let inherit = format!("CREATE ROLE fresh LOGIN IN ROLE pg_write_all_data ADMIN {who}");
        attack_as(&school, who, &inherit, Refused, ["CREATE ROLE", "", "critical", "privilege"]);
    }
    let own = "ALTER ROLE teacher_wang PASSWORD NULL";
    attack_as(&school, "teacher_wang", own, Allowed, ["ALTER ROLE", "", "normal", "upkeep"]);
}

fn a_password_of_somebody_else() {
    let school = School::active();
    for role in ["reviewer_sun", "security_han"] {
        let password = format!("ALTER ROLE {role} PASSWORD 'known'");
        attack(&school, &password, Refused, ["ALTER ROLE", "", "critical", "privilege"]);
    }
}
