//! Turning the policy off, as a whole or in a part, gives everybody what nobody had: it takes the signatures of a privilege.

use crate::expect::expect_refused;
use crate::school::{School, execute, request};

tests! {
    turning_the_policy_off_takes_two_approvals,
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
