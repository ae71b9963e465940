//! Two changes of persons at once take away no more than one after the other, and none is left to another session's word.

use std::thread::JoinHandle;

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::expect_error;
use crate::failover::wait_until;
use crate::school::{School, ask, execute, request};

tests! {
    two_suspensions_at_once_leave_a_superuser_s_login,
    two_suspensions_at_once_leave_somebody_to_undo_them,
    a_snapshot_from_before_does_not_hide_the_other_suspension,
    the_last_who_could_undo_it_keep_their_posts,
    a_suspended_superuser_is_no_other_one,
    a_suspension_is_not_prepared,
}

const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

/// Files a suspension as this login, approved by somebody who stays, and confirmed.
#[track_caller]
fn suspension(school: &School, login: &str, person: &str) -> String {
    let script = format!("SELECT steward.suspend_person('{person}', 'left the office')");
    let op_no = request(&mut school.session(login), &script, "");
    let approver = if login == "security_han" { "reviewer_sun" } else { "security_han" };
    school.vote(approver, "approve", &op_no).expect("approve");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    op_no
}

/// Executes in a session that `begin` has prepared, while another transaction holds the lock.
fn waiting(school: &School, login: &str, begin: &str, op_no: &str) -> JoinHandle<Result<i64, postgres::Error>> {
    let mut session = school.session(login);
    session.batch_execute(begin).expect("begin");
    let op_no = op_no.to_owned();
    let run = std::thread::spawn(move || {
        let done = execute(&mut session, &op_no)?;
        session.batch_execute("COMMIT")?;
        Ok(done)
    });
    wait_until(school, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted");
    run
}

fn commit(mut session: Client) {
    session.batch_execute("COMMIT").expect("commit");
}

fn open_superusers(school: &School) -> i64 {
    ask(&mut school.session("region_chen"), "SELECT count(*) FROM pg_roles WHERE rolsuper AND rolcanlogin")
}

/// A school with a second superuser, whose person is Second.
fn with_second() -> School {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE second SUPERUSER LOGIN; SELECT steward.register_person('Second', 'ops', roles => '{second}');
            SELECT steward.activate()",
        )
        .expect("a second superuser");
    school
}

fn two_suspensions_at_once_leave_a_superuser_s_login() {
    let school = with_second();
    let of_second = suspension(&school, "security_han", "Second");
    let of_wu = suspension(&school, "security_han", "Wu");
    let mut first = school.session("security_han");
    first.batch_execute("BEGIN").expect("begin");
    execute(&mut first, &of_second).expect("suspend");
    let second = waiting(&school, "security_han", "BEGIN", &of_wu);
    commit(first);
    second.join().expect("no panic").expect("suspended, but the login stays");
    assert_eq!(open_superusers(&school), 1, "somebody can still open the server");
}

fn two_suspensions_at_once_leave_somebody_to_undo_them() {
    let school = School::active();
    // A registration takes two approvals: of Sun, Zhou and Han one may go.
    let of_sun = suspension(&school, "postgres", "Sun");
    let of_zhou = suspension(&school, "postgres", "Zhou");
    let mut first = school.superuser();
    first.batch_execute("BEGIN").expect("begin");
    execute(&mut first, &of_sun).expect("suspend");
    let second = waiting(&school, "postgres", "BEGIN", &of_zhou);
    commit(first);
    expect_error(second.join().expect("no panic"), NOT_NOW, "Too few persons", "register_person");
    let left = "SELECT count(*) FROM steward.person WHERE suspended_at IS NOT NULL";
    assert_eq!(school.ask::<i64>(left), 1);
}

fn a_snapshot_from_before_does_not_hide_the_other_suspension() {
    let school = with_second();
    let of_second = suspension(&school, "security_han", "Second");
    let of_wu = suspension(&school, "security_han", "Wu");
    let mut first = school.session("security_han");
    first.batch_execute("BEGIN").expect("begin");
    execute(&mut first, &of_second).expect("suspend");
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1";
    let second = waiting(&school, "security_han", begin, &of_wu);
    commit(first);
    // Either it cannot be serialised, or it has seen the other; never are both closed.
    let _either = second.join().expect("no panic");
    assert!(open_superusers(&school) >= 1, "somebody can still open the server");
}

fn the_last_who_could_undo_it_keep_their_posts() {
    let school = School::active();
    school.operate_by(&["security_han"], "SELECT steward.suspend_person('Sun', 'left the office')");
    let mut superuser = school.superuser();
    for script in [
        "SELECT steward.suspend_person('Zhou', 'left the office')",
        "SELECT steward.register_person('Zhou', 'clerk')",
        "SELECT steward.register_person('Zhou', NULL, valid_until => clock_timestamp() - interval '1 s')",
    ] {
        let op_no = request(&mut superuser, script, ", approvals => 2");
        for approver in ["reviewer_zhou", "security_han"] {
            school.vote(approver, "approve", &op_no).expect("approve");
        }
        school.vote("region_liu", "confirm", &op_no).expect("confirm");
        expect_error(execute(&mut superuser, &op_no), NOT_NOW, "Too few persons", "");
    }
    school.operate_by(&["reviewer_zhou", "security_han"], "SELECT steward.register_person('Zhao', 'reviewer')");
    school.operate_by(&["security_han"], "SELECT steward.suspend_person('Zhou', 'left the office')");
}

/// Somebody has opened the login of a suspended superuser again; who logs in with it runs nothing.
fn a_suspended_superuser_is_no_other_one() {
    let school = with_second();
    let (of_second, of_wu) = (suspension(&school, "security_han", "Second"), suspension(&school, "security_han", "Wu"));
    execute(&mut school.session("security_han"), &of_second).expect("suspend");
    school.operate("postgres", "ALTER ROLE second LOGIN");
    execute(&mut school.session("security_han"), &of_wu).expect("suspend");
    let open = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolsuper AND rolcanlogin";
    let open: String = ask(&mut school.session("region_chen"), open);
    assert_eq!(open, "postgres second", "the last one is not closed");
}

fn a_suspension_is_not_prepared() {
    let school = School::with("enforce", &["max_prepared_transactions = 5"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let mut teacher = school.session("teacher_wang");
    let op_no = suspension(&school, "security_han", "Wang");
    let mut han = school.session("security_han");
    han.batch_execute("BEGIN").expect("begin");
    execute(&mut han, &op_no).expect("suspend");
    let prepared = han.batch_execute("PREPARE TRANSACTION 'later'");
    let refused = expect_error(prepared, &SqlState::FEATURE_NOT_SUPPORTED, "", "");
    assert!(refused.message().contains("cannot be prepared"), "{refused:?}");
    teacher.batch_execute("UPDATE app.student SET note = 'here' WHERE id = 1").expect("nobody is suspended");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_prepared_xacts"), 0);
    execute(&mut han, &op_no).expect("without that it runs");
}
