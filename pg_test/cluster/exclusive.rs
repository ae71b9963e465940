//! Duties that exclude each other never meet in one person: not by registration, not by GRANT, and what came about
//! otherwise is found. Rights themselves are given with two approvals.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, execute, request};

tests! {
    a_grant_that_joins_exclusive_duties_is_refused,
    no_spelling_of_a_membership_is_left_out,
    memberships_through_group_roles_count,
    a_membership_without_inheritance_counts,
    a_refusal_that_a_block_swallows_leaves_no_membership,
    a_grant_inside_one_post_passes,
    a_registration_that_joins_exclusive_duties_is_refused,
    a_post_with_exclusive_capabilities_is_refused,
    activation_lists_duties_that_meet,
    the_daily_check_finds_what_came_about_otherwise,
    the_pairs_are_data,
    nobody_changes_the_pairs_once_the_policy_is_active,
    a_grant_needs_two_approvals,
    a_grant_in_a_block_needs_two_approvals,
    a_registration_needs_two_approvals,
    a_rule_that_demands_approvals_is_not_changed_with_fewer,
    more_approvals_can_be_asked_for,
    an_account_of_a_teacher_needs_no_approval,
}

const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

/// A fully approved and confirmed script of the superuser is refused for the duties it joins.
#[track_caller]
fn joins(school: &School, script: &str, detail: &str) {
    let mut superuser = school.superuser();
    let op_no = request(&mut superuser, script, ", approvals => 2");
    school.release(&op_no);
    let error = expect_error(execute(&mut superuser, &op_no), REFUSED, detail, "steward.exclusive_capability");
    assert!(error.message().contains("duties that must be separated"), "{error:?}");
}

fn memberships(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM pg_auth_members WHERE member >= 16384")
}

fn a_grant_that_joins_exclusive_duties_is_refused() {
    let school = School::active();
    joins(
        &school,
        "GRANT reviewer_sun TO region_chen",
        "Chen would hold apply and approve, which exclude each other: apply by post region_admin, approve by role reviewer_sun of post reviewer.",
    );
    joins(&school, "GRANT region_chen TO reviewer_sun", "Sun would hold apply and approve");
    joins(&school, "GRANT security_han TO auditor_qian", "Qian would hold audit and configure");
    joins(&school, "GRANT security_han TO region_chen", "apply by post region_admin, approve by role security_han");
    assert_eq!(memberships(&school), 0);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'separation' AND operation_type = 'GRANT ROLE'"), 4);
}

fn no_spelling_of_a_membership_is_left_out() {
    let school = School::active();
    for script in [
        "CREATE ROLE bridge IN ROLE reviewer_sun ROLE region_chen",
        "CREATE ROLE bridge IN ROLE reviewer_sun ADMIN region_chen",
        "CREATE GROUP bridge USER region_chen; GRANT reviewer_sun TO bridge",
        "ALTER GROUP reviewer_sun ADD USER region_chen",
        "GRANT reviewer_sun, reviewer_zhou TO clerk_zhao, region_chen WITH ADMIN OPTION",
        "DO $$BEGIN EXECUTE 'GRANT reviewer_sun TO region_chen'; END$$",
    ] {
        joins(&school, script, "Chen would hold apply and approve");
    }
    assert_eq!(memberships(&school), 0);
}

fn memberships_through_group_roles_count() {
    let school = School::inactive();
    let groups = "CREATE ROLE reviewers; CREATE ROLE office; GRANT reviewers TO office;
        SELECT steward.set_post('reviewer', roles => '{reviewers}'); SELECT steward.activate()";
    school.superuser().batch_execute(groups).expect("groups");
    joins(&school, "GRANT office TO region_chen", "approve by role reviewers of post reviewer");
    school.operate("postgres", "CREATE ROLE floor; GRANT floor TO region_chen");
    joins(&school, "GRANT office TO floor", "Chen would hold apply and approve");
    school.operate("postgres", "GRANT office TO reviewer_sun");
}

fn a_membership_without_inheritance_counts() {
    let school = School::inactive();
    let apart = "ALTER ROLE region_chen NOINHERIT; SELECT steward.activate()";
    school.superuser().batch_execute(apart).expect("noinherit");
    joins(&school, "GRANT reviewer_sun TO region_chen", "Chen would hold apply and approve");
}

fn a_refusal_that_a_block_swallows_leaves_no_membership() {
    let school = School::active();
    let mut superuser = school.superuser();
    let swallowed = "DO $$BEGIN GRANT reviewer_sun TO region_chen; EXCEPTION WHEN OTHERS THEN NULL; END$$";
    let op_no = request(&mut superuser, swallowed, ", approvals => 2");
    school.release(&op_no);
    execute(&mut superuser, &op_no).expect("the block itself ends well");
    assert_eq!(memberships(&school), 0);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'separation'"), 1);
}

fn a_grant_inside_one_post_passes() {
    let school = School::active();
    school.operate("postgres", "GRANT region_liu TO region_chen; GRANT clerk_zhao TO teacher_wang");
    assert_eq!(memberships(&school), 2);
}

fn a_registration_that_joins_exclusive_duties_is_refused() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("CREATE ROLE deputy LOGIN; GRANT region_chen TO deputy").expect("a login");
    let twice = superuser.batch_execute("SELECT steward.register_person('Deputy', 'auditor', roles => '{deputy}')");
    expect_error(twice, NOT_READY, "Deputy would hold audit and apply", "steward.exclusive_capability");
    // The other way round: the login was there first, its role gets a person now.
    superuser.batch_execute("CREATE ROLE office LOGIN; GRANT office TO auditor_qian").expect("a role");
    let twice = superuser.batch_execute("SELECT steward.register_person('Office', 'ops', roles => '{office}')");
    expect_error(twice, NOT_READY, "Qian would hold audit and apply", "");
    superuser
        .batch_execute("SELECT steward.register_person('Deputy', 'teacher', roles => '{deputy}')")
        .expect("apply and apply");
}

fn a_post_with_exclusive_capabilities_is_refused() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let king = "SELECT steward.set_post('auditor', '{audit,configure}')";
    expect_error(superuser.batch_execute(king), NOT_READY, "Qian would hold audit and configure", "");
    // Nobody holds it yet: whoever is registered on it would.
    let both = superuser.batch_execute("SELECT steward.set_post('bad', '{approve,audit}')");
    expect_error(both, NOT_READY, "It would hold audit and approve", "exclusive_capability");
    superuser
        .batch_execute("SELECT steward.set_post('security_officer', '{apply,approve,configure}')")
        .expect("by design");
    let bad = superuser.batch_execute("SELECT steward.set_post('auditor', '{audit,fly}')");
    expect_error(bad, &SqlState::INVALID_PARAMETER_VALUE, "apply approve witness", "");
}

fn activation_lists_duties_that_meet() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("GRANT reviewer_sun TO region_chen").expect("nothing is refused before activate()");
    let refused = superuser.batch_execute("SELECT steward.activate()");
    expect_error(refused, NOT_READY, "Chen would hold apply and approve", "");
    superuser.batch_execute("REVOKE reviewer_sun FROM region_chen; SELECT steward.activate()").expect("activate");
}

fn the_daily_check_finds_what_came_about_otherwise() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let issues =
        "SELECT coalesce(string_agg(person || ' ' || one || ' ' || other, ','), '') FROM steward.separation_issues()";
    assert_eq!(ask::<String>(&mut superuser, issues), "");
    superuser.batch_execute("GRANT reviewer_sun TO region_chen").expect("grant");
    assert_eq!(ask::<String>(&mut superuser, issues), "Chen apply approve");
    assert_eq!(ask::<String>(&mut school.session("auditor_qian"), issues), "Chen apply approve", "auditors ask too");
    let stranger = school.session("clerk_zhao").query(issues, &[]);
    expect_error(stranger, REFUSED, "", "");
    superuser.batch_execute("SELECT steward.suspend_person('Chen', 'x')").expect("suspend");
    assert_eq!(ask::<String>(&mut superuser, issues), "", "who may do nothing holds nothing");
}

fn the_pairs_are_data() {
    let school = School::inactive();
    let pair =
        "INSERT INTO steward.exclusive_capability VALUES ('apply', 'witness', 'of our own', '{region_admin,ops}');
        SELECT steward.activate()";
    school.superuser().batch_execute(pair).expect("a pair");
    joins(&school, "GRANT region_liu TO teacher_wang", "Wang would hold apply and witness");
}

fn nobody_changes_the_pairs_once_the_policy_is_active() {
    let school = School::active();
    for login in ["postgres", "security_han"] {
        let mut session = school.session(login);
        let gone = session.batch_execute("DELETE FROM steward.exclusive_capability");
        expect_error(gone, REFUSED, "", "");
    }
    let op_no = school
        .superuser()
        .query("SELECT steward.request('DELETE FROM steward.exclusive_capability', purpose => 'x')", &[]);
    assert!(op_no.is_err(), "no operation can cover it");
}

fn a_grant_needs_two_approvals() {
    let school = School::active();
    let mut superuser = school.superuser();
    let op_no = request(&mut superuser, "GRANT region_liu TO region_chen", "");
    let needed = superuser.query_one("SELECT approvals_needed, rule FROM steward.show($1)", &[&op_no]).expect("show");
    assert_eq!((needed.get(0), needed.get(1)), (2, "privilege"));
    school.vote("reviewer_sun", "approve", &op_no).expect("the first");
    assert_eq!(school.status(&op_no), "submitted");
    expect_error(execute(&mut superuser, &op_no), NOT_READY, "1 of 2", "steward.approve");
    expect_error(school.vote("reviewer_sun", "approve", &op_no), REFUSED, "one person approves once", "");
    school.vote("security_han", "approve", &op_no).expect("the security officer");
    expect_error(school.vote("security_han", "confirm", &op_no), REFUSED, "", "");
    school.vote("region_liu", "confirm", &op_no).expect("the second person");
    execute(&mut superuser, &op_no).expect("execute");
    assert_eq!(memberships(&school), 1);
}

/// What a block does is only seen when it runs: the operation's one approval does not reach that far.
fn a_grant_in_a_block_needs_two_approvals() {
    let school = School::active();
    let mut superuser = school.superuser();
    let block = "DO $$BEGIN EXECUTE 'GRANT region_liu TO region_chen'; END$$";
    let op_no = request(&mut superuser, block, "");
    school.release(&op_no);
    let error = expect_refused(execute(&mut superuser, &op_no));
    assert!(error.message().contains("has 1 of 2 approvals"), "{error:?}");
    assert_eq!(memberships(&school), 0);
    let op_no = request(&mut superuser, block, ", approvals => 2");
    school.release(&op_no);
    execute(&mut superuser, &op_no).expect("with as many as it takes");
    assert_eq!(memberships(&school), 1);
}

fn a_registration_needs_two_approvals() {
    let school = School::active();
    let mut superuser = school.superuser();
    let promotion = "SELECT steward.register_person('Wang', 'reviewer')";
    let op_no = request(&mut superuser, promotion, "");
    let needed = superuser.query_one("SELECT approvals_needed FROM steward.show($1)", &[&op_no]).expect("show");
    assert_eq!(needed.get::<_, i32>(0), 2);
    let hidden = request(&mut superuser, &format!("DO $$BEGIN PERFORM {}; END$$", &promotion[7..]), "");
    school.release(&hidden);
    let error = expect_refused(execute(&mut superuser, &hidden));
    assert!(error.message().contains("has 1 of 2 approvals"), "{error:?}");
    assert_eq!(school.ask::<String>("SELECT post FROM steward.person WHERE name = 'Wang'"), "teacher");
}

fn a_rule_that_demands_approvals_is_not_changed_with_fewer() {
    let school = School::active();
    let mut superuser = school.superuser();
    let drop_rule = "SELECT steward.drop_rule('privilege')";
    let weaker = "SELECT steward.set_rule('privilege', 'critical', commands => '{PRIVILEGE}', note => 'one is enough')";
    let op_no = request(&mut superuser, weaker, "");
    school.release(&op_no);
    expect_error(execute(&mut superuser, &op_no), REFUSED, "demands 2 approvals", "approvals =>");
    let hidden = request(&mut superuser, &format!("DO $$BEGIN PERFORM {}; END$$", &drop_rule[7..]), "");
    school.release(&hidden);
    let error = expect_refused(execute(&mut superuser, &hidden));
    assert!(error.message().contains("has 1 of 2 approvals"), "{error:?}");
    assert_eq!(school.ask::<i32>("SELECT approvals FROM steward.rule WHERE name = 'privilege'"), 2);
    let op_no = request(&mut superuser, drop_rule, "");
    school.release(&op_no);
    execute(&mut superuser, &op_no).expect("with as many as it demands");
}

fn more_approvals_can_be_asked_for() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, "UPDATE app.student SET note = 'x' WHERE id <= 60", ", approvals => 2");
    school.vote("reviewer_sun", "approve", &op_no).expect("the first");
    assert_eq!(school.status(&op_no), "submitted");
    let nobody = chen.query("SELECT steward.request('SELECT 1', purpose => 'x', approvals => 4)", &[]);
    expect_error(nobody, NOT_READY, "there is not a fourth approver", "");
    let bad = chen.query("SELECT steward.request('SELECT 1', purpose => 'x', approvals => 10)", &[]);
    expect_error(bad, &SqlState::INVALID_PARAMETER_VALUE, "", "");
}

fn an_account_of_a_teacher_needs_no_approval() {
    let school = School::active();
    school.superuser().batch_execute("GRANT clerk_zhao TO teacher_wang").expect("important, reviewed afterwards");
    assert_eq!(memberships(&school), 1);
}
