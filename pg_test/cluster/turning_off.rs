//! Turning the policy off, as a whole or in a part, gives everybody what nobody had: it takes the signatures of a privilege.

use postgres::error::SqlState;

use crate::expect::{db_error, expect_refused};
use crate::school::{School, execute, request};

tests! {
    turning_the_policy_off_takes_two_approvals,
    demanding_less_takes_two_approvals,
    no_spelling_demands_less_with_one_approval,
    a_demand_that_two_approved_is_changed,
    one_approval_and_a_block_do_not_turn_it_off,
    an_approved_end_is_carried_out,
}

/// Each leaves less demanded than before.
const OFF: [&str; 6] = [
    "SELECT steward.deactivate()",
    "DROP EXTENSION pg_steward CASCADE",
    "SELECT steward.unprotect('app.student')",
    "SELECT steward.set_tier_policy('critical', approvals => 0, witness => false)",
    "SELECT steward.drop_rule('bulk_write')",
    "SELECT steward.set_rule('bulk_write', 'normal', commands => '{WRITE}', note => 'faster')",
];

/// Demands beside the tiers' own: who signs, when it may run, which boxes, whose reviews stop them, how long an emergency is.
const LESS: [&str; 7] = [
    "SELECT steward.set_approval('critical', 1, '{post:reviewer}', rule => 'bulk_write')",
    "SELECT steward.drop_approval('critical', 1, 'bulk_write')",
    "SELECT steward.set_window('always', 'critical', '{1,2,3,4,5,6,7}', '00:00', '24:00')",
    "SELECT steward.drop_window('always')",
    "SELECT steward.set_checklist('critical', 'critical_operation', false)",
    "SELECT steward.set_review_block(0)",
    "SELECT steward.set_break_glass_limit('8 hours')",
];

/// An active school that demands something of each kind.
fn demanding() -> School {
    let school = School::inactive();
    let demands = "SELECT steward.set_approval('critical', 1, '{person:Zhou}', rule => 'bulk_write');
        SELECT steward.set_window('always', 'critical', '{1,2,3,4,5,6,7}', '00:00', '24:00');
        SELECT steward.set_review_block(3); SELECT steward.activate()";
    school.superuser().batch_execute(demands).expect("demands");
    school
}

fn demands(school: &School) -> String {
    school.ask(
        "SELECT concat_ws(' ', (SELECT count(*) FROM steward.approval_rule), (SELECT count(*) FROM steward.maintenance_window),
            (SELECT count(*) FROM steward.checklist_policy WHERE demanded), (SELECT overdue FROM steward.review_block),
            (SELECT max_duration FROM steward.break_glass_limit))",
    )
}

fn demanding_less_takes_two_approvals() {
    let school = demanding();
    let mut superuser = school.superuser();
    for script in LESS {
        let op_no = request(&mut superuser, script, "");
        let needed = superuser.query_one("SELECT approvals_needed FROM steward.show($1)", &[&op_no]).expect("show");
        assert_eq!(needed.get::<_, i32>(0), 2, "{script}");
        school.vote("reviewer_sun", "approve", &op_no).expect("approve");
        assert!(school.vote("region_liu", "confirm", &op_no).is_err(), "{script} waits for its second approval");
        assert!(execute(&mut superuser, &op_no).is_err(), "one approval is enough for {script}");
    }
    assert_eq!(demands(&school), "1 1 0 3 01:00:00");
}

/// However the call is spelled: nothing foresees it in a block or in a function, so its run is refused.
fn no_spelling_demands_less_with_one_approval() {
    let school = demanding();
    let mut superuser = school.superuser();
    let helper = "CREATE FUNCTION app.helper(script text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$BEGIN EXECUTE script; END$f$";
    superuser.batch_execute(helper).expect("a function of nobody's concern");
    for script in LESS {
        let call = script.trim_start_matches("SELECT ");
        for spelling in [
            format!("DO $b$BEGIN EXECUTE $s${script}$s$; END$b$"),
            format!("DO $b$BEGIN PERFORM {call}; END$b$"),
            format!("SELECT app.helper($s${script}$s$)"),
        ] {
            let op_no = request(&mut superuser, &spelling, "");
            school.vote("reviewer_sun", "approve", &op_no).expect("approve");
            school.vote("region_liu", "confirm", &op_no).expect("confirm");
            let error = expect_refused(execute(&mut superuser, &op_no));
            assert!(error.message().contains("has 1 of 2 approvals"), "{spelling}: {error:?}");
        }
        for foreseen in [
            format!("SELECT x FROM (VALUES (1)) v(n), LATERAL (SELECT {call} AS x) c"),
            format!("WITH c AS MATERIALIZED (SELECT {call} AS x) SELECT x FROM c"),
            format!("INSERT INTO app.scratch (id) SELECT 1 WHERE ({call}) IS NOT NULL"),
        ] {
            let op_no = request(&mut superuser, &foreseen, "");
            let needed = superuser.query_one("SELECT approvals_needed FROM steward.show($1)", &[&op_no]).expect("show");
            assert_eq!(needed.get::<_, i32>(0), 2, "{foreseen}");
        }
        // Not at all without an operation, whoever calls.
        for login in ["postgres", "security_han", "reviewer_sun", "region_chen"] {
            let error = db_error(school.session(login).batch_execute(script));
            assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{login}: {script}: {error:?}");
        }
    }
    assert_eq!(demands(&school), "1 1 0 3 01:00:00");
}

fn a_demand_that_two_approved_is_changed() {
    let school = demanding();
    for script in LESS {
        school.operate("postgres", script);
    }
    assert_eq!(demands(&school), "0 0 0 08:00:00");
}

fn turning_the_policy_off_takes_two_approvals() {
    let school = School::active();
    let mut superuser = school.superuser();
    for script in OFF {
        let op_no = request(&mut superuser, script, "");
        let needed = superuser.query_one("SELECT approvals_needed FROM steward.show($1)", &[&op_no]).expect("show");
        // What a rule was is only seen when the new one takes its place.
        let foreseen = if script.contains("set_rule") { 1 } else { 2 };
        assert_eq!(needed.get::<_, i32>(0), foreseen, "{script}");
        school.vote("reviewer_sun", "approve", &op_no).expect("approve");
        // Where it is foreseen, there is nothing to confirm yet.
        assert_eq!(school.vote("region_liu", "confirm", &op_no).is_ok(), foreseen == 1, "{script}");
        assert!(execute(&mut superuser, &op_no).is_err(), "one approval is enough for {script}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.protected WHERE relation = 'app.student'::regclass"), 1);
    assert_eq!(
        school.ask::<i64>("SELECT count(*) FROM steward.rule WHERE name = 'bulk_write' AND tier = 'critical'"),
        1
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.activation"), 1);
}

/// What a block does cannot be foreseen, so it is filed with one approval; the run is refused.
fn one_approval_and_a_block_do_not_turn_it_off() {
    let school = School::active();
    let mut superuser = school.superuser();
    for script in OFF {
        let block = format!("DO $b$BEGIN EXECUTE $s${script}$s$; END$b$");
        let op_no = request(&mut superuser, &block, "");
        school.vote("reviewer_sun", "approve", &op_no).expect("approve");
        school.vote("region_liu", "confirm", &op_no).expect("confirm");
        let error = expect_refused(execute(&mut superuser, &op_no));
        assert!(error.message().contains("has 1 of 2 approvals"), "{script}: {error:?}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.activation"), 1);
}

fn an_approved_end_is_carried_out() {
    let school = School::active();
    let mut superuser = school.superuser();
    for script in [OFF[2], OFF[4], OFF[0]] {
        let op_no = request(&mut superuser, script, ", approvals => 2");
        school.release(&op_no);
        execute(&mut superuser, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
    }
    school.superuser().batch_execute("TRUNCATE app.guardian").expect("nothing is refused any more");
}
