//! What is set up while the policy is switched on is either part of what the activation checks, or refused like everything
//! after it: no change of the policy slips through between.

use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::School;

tests! {
    an_activation_waits_for_what_is_being_set_up,
    what_is_set_up_during_an_activation_is_refused_after_it,
    an_activation_that_is_taken_back_lets_set_up_go_on,
    an_activation_sees_what_it_waited_for,
    two_activations_do_not_stand_in_each_others_way,
}

/// Each changes the policy, by function or by hand.
const CHANGES: [&str; 12] = [
    "SELECT steward.set_rule('lax', 'normal', commands => '{TRUNCATE TABLE}')",
    "SELECT steward.drop_rule('bulk_write')",
    "SELECT steward.set_tier_policy('critical', approvals => 0)",
    "SELECT steward.register_person('Mallory', 'security_officer')",
    "SELECT steward.set_post('parent', '{apply}')",
    "SELECT steward.unprotect('app.student')",
    "SELECT steward.protect('app.scratch')",
    "SELECT steward.set_form('role_grant', false)",
    "SELECT steward.set_review_block(9)",
    "UPDATE steward.rule SET tier = 'normal' WHERE name = 'bulk_write'",
    "INSERT INTO steward.person (name, post) VALUES ('Mallory', 'security_officer')",
    "DELETE FROM steward.approval_rule",
];

/// Runs in a session of its own, which waits for a lock before this returns.
fn waiting(school: &School, call: &str) -> JoinHandle<Result<(), postgres::Error>> {
    let mut session = school.superuser();
    let backend: i32 = session.query_one("SELECT pg_backend_pid()", &[]).expect("a backend").get(0);
    let call = call.to_owned();
    let runs = spawn(move || session.batch_execute(&call));
    let waits = format!("SELECT count(*) FROM pg_locks WHERE pid = {backend} AND NOT granted");
    let deadline = Instant::now() + Duration::from_secs(30);
    while school.ask::<i64>(&waits) == 0 {
        assert!(Instant::now() < deadline && !runs.is_finished(), "it does not wait");
        sleep(Duration::from_millis(20));
    }
    runs
}

fn begun(school: &School, call: &str) -> Client {
    let mut session = school.superuser();
    session.batch_execute("BEGIN").expect("begin");
    session.batch_execute(call).unwrap_or_else(|error| panic!("{call}: {error:?}"));
    session
}

fn active(school: &School) -> bool {
    school.ask("SELECT EXISTS (SELECT FROM steward.activation)")
}

fn an_activation_waits_for_what_is_being_set_up() {
    let school = School::inactive();
    for change in CHANGES {
        let mut other = begun(&school, change);
        let activation = waiting(&school, "BEGIN; SELECT steward.activate(); ROLLBACK");
        other.batch_execute("ROLLBACK").expect("the next one begins anew");
        activation.join().expect("no panic").unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let mut other = begun(&school, CHANGES[0]);
    let activation = waiting(&school, "SELECT steward.activate()");
    assert!(!active(&school));
    other.batch_execute("COMMIT").expect("part of what is activated");
    activation.join().expect("no panic").expect("activated");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.rule WHERE name = 'lax'"), 1);
}

fn what_is_set_up_during_an_activation_is_refused_after_it() {
    let school = School::inactive();
    let state = "SELECT md5(concat((SELECT string_agg(r::text, ',' ORDER BY r.name) FROM steward.rule r),
        (SELECT string_agg(t::text, ',' ORDER BY t.tier, t.post) FROM steward.tier_policy t),
        (SELECT string_agg(p::text, ',' ORDER BY p.name) FROM steward.person p), (SELECT string_agg(o::text, ',' ORDER BY o.name) FROM steward.post o),
        (SELECT string_agg(relation::text, ',' ORDER BY 1) FROM steward.protected), (SELECT string_agg(f::text, ',' ORDER BY f.form) FROM steward.form_policy f),
        (SELECT string_agg(b::text, ',') FROM steward.review_block b)))";
    let before: String = school.ask(state);
    let mut activating = begun(&school, "SELECT steward.activate()");
    let changes: Vec<_> = CHANGES.iter().map(|change| (change, waiting(&school, change))).collect();
    activating.batch_execute("COMMIT").expect("activated");
    for (change, runs) in changes {
        let error = db_error(runs.join().expect("no panic"));
        assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{change}: {error:?}");
    }
    assert_eq!(school.ask::<String>(state), before);
    assert_eq!(
        school.records("result = 'DENIED' AND tier = 'critical' AND user_id = 'postgres'"),
        CHANGES.len() as i64
    );
}

fn an_activation_that_is_taken_back_lets_set_up_go_on() {
    let school = School::inactive();
    let mut activating = begun(&school, "SELECT steward.activate()");
    let change = waiting(&school, CHANGES[0]);
    activating.batch_execute("ROLLBACK").expect("rollback");
    change.join().expect("no panic").expect("not active");
    assert!(!active(&school));
    school.superuser().batch_execute("SELECT steward.activate()").expect("later");
    expect_refused(school.superuser().batch_execute("SELECT steward.drop_rule('lax')"));
}

fn an_activation_sees_what_it_waited_for() {
    let school = School::inactive();
    let mut other = begun(&school, "SELECT steward.suspend_person('Qian', 'has left')");
    let activation = waiting(&school, "SELECT steward.activate()");
    other.batch_execute("COMMIT").expect("the only auditor has left");
    let refused = activation.join().expect("no panic");
    expect_error(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "There is no auditor", "register_person");
    assert!(!active(&school));
}

fn two_activations_do_not_stand_in_each_others_way() {
    let school = School::inactive();
    let mut first = begun(&school, "SELECT steward.activate()");
    let second = waiting(&school, "SELECT steward.activate()");
    first.batch_execute("COMMIT").expect("activated");
    expect_refused(second.join().expect("no panic"));
    assert!(active(&school));
}
