//! Privileges: the matrix, the floor beneath the masks, what a role sees, ways around that exist.

pub mod accepted;
pub mod floor;
pub mod lint;
pub mod matrix;
pub mod report;

use crate::school::School;

/// What `steward.plan()` would run.
pub fn plan(school: &School) -> Vec<String> {
    let commands = "SELECT command FROM steward.plan() WHERE command IS NOT NULL ORDER BY step";
    school.superuser().query(commands, &[]).expect("plan").iter().map(|row| row.get(0)).collect()
}

/// Runs set-up calls of a policy that is not active, as the superuser.
#[track_caller]
pub fn set_up(school: &School, calls: &str) {
    school.superuser().batch_execute(calls).unwrap_or_else(|error| panic!("{calls}: {error:?}"));
}

/// Applies the matrix and the floor.
#[track_caller]
pub fn apply(school: &School) {
    set_up(school, "SELECT count(*) FROM steward.apply()");
    assert_eq!(plan(school), Vec::<String>::new(), "applied twice, nothing is left");
}
