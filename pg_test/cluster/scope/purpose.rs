//! Purpose binding: a clerk sees a student while an open order for a card is assigned to that clerk, and no other.

use postgres::error::SqlState;

use super::{active, inactive};
use crate::expect::expect_error;
use crate::school::{School, ask};

tests! {
    a_clerk_sees_students_of_own_open_orders,
    the_mapping_needs_no_right_of_the_clerk,
    the_mapping_uses_both_indexes,
    a_chain_of_scopes_follows_what_is_seen,
    an_old_snapshot_does_not_keep_an_order_open,
    bad_mappings_are_refused,
}

/// Orders 1 and 2 are Zhao's, 3 is another clerk's, 4 is closed.
const ORDERS: &str = "CREATE TABLE app.card_order (id int PRIMARY KEY, student_id int NOT NULL, clerk text NOT NULL, status text NOT NULL);
    CREATE INDEX ON app.card_order (clerk);
    INSERT INTO app.card_order VALUES (1, 10, 'clerk_zhao', 'open'), (2, 20, 'clerk_zhao', 'open'), (3, 30, 'other', 'open'), (4, 40, 'clerk_zhao', 'closed');
    CREATE ROLE clerk; GRANT clerk TO clerk_zhao;
    SELECT steward.set_scope('clerk', 'app.student', 'id', 'clerk', via => 'app.card_order', via_column => 'student_id',
        assigned_column => 'clerk', condition_column => 'status', condition_value => 'open');
    SELECT steward.set_attribute('Zhao', 'clerk', '{clerk_zhao}')";

const SEEN: &str = "SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM app.student";

fn seen(school: &School) -> Vec<i32> {
    ask(&mut school.session("clerk_zhao"), SEEN)
}

fn a_clerk_sees_students_of_own_open_orders() {
    let school = active(ORDERS);
    let mut zhao = school.session("clerk_zhao");
    assert_eq!(ask::<Vec<i32>>(&mut zhao, SEEN), [10, 20]);
    let mut superuser = school.superuser();
    superuser.batch_execute("UPDATE app.card_order SET status = 'closed' WHERE id = 1").expect("closed");
    assert_eq!(ask::<Vec<i32>>(&mut zhao, SEEN), [20], "the purpose is fulfilled");
    superuser.batch_execute("UPDATE app.card_order SET clerk = 'clerk_zhao' WHERE id = 3").expect("reassigned");
    assert_eq!(ask::<Vec<i32>>(&mut zhao, SEEN), [20, 30]);
    // Everybody else's order, open ones alone.
    school.operate("postgres", "SELECT steward.set_attribute('Zhao', 'clerk', '{*}'); INSERT INTO app.card_order VALUES (5, 50, 'other', 'open')");
    assert_eq!(ask::<Vec<i32>>(&mut zhao, SEEN), [20, 30, 50]);
    school.operate("postgres", "SELECT steward.set_attribute('Zhao', 'clerk', NULL)");
    assert!(ask::<Vec<i32>>(&mut zhao, SEEN).is_empty());
}

fn the_mapping_needs_no_right_of_the_clerk() {
    let school = active(ORDERS);
    let mut zhao = school.session("clerk_zhao");
    expect_error(zhao.batch_execute("SELECT * FROM app.card_order"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    assert_eq!(seen(&school), [10, 20]);
    // And it is no read of the clerk's.
    assert_eq!(school.records("user_id = 'clerk_zhao' AND result = 'SUCCESS' AND relations @> '{app.card_order}'"), 0);
    // Names in the caller's own schemas stand for nothing in it.
    school.superuser().batch_execute("GRANT TEMP ON DATABASE school TO clerk_zhao").expect("temp");
    zhao.batch_execute("CREATE TEMP TABLE card_order AS SELECT 99 AS id, 77 AS student_id, 'clerk_zhao'::text AS clerk, 'open'::text AS status;
        SET search_path = pg_temp, app, pg_catalog")
        .expect("temp");
    assert_eq!(ask::<Vec<i32>>(&mut zhao, SEEN), [10, 20]);
}

fn the_mapping_uses_both_indexes() {
    let school = active(&format!("{ORDERS}; ANALYZE app.student; ANALYZE app.card_order"));
    let mut zhao = school.session("clerk_zhao");
    zhao.batch_execute("SET enable_seqscan = off").expect("set");
    let plan: Vec<String> = zhao
        .query("EXPLAIN (COSTS off) SELECT * FROM app.student", &[])
        .expect("explain")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let plan = plan.join("\n");
    assert!(plan.contains("student_pkey") && plan.contains("Index Cond: (id = ANY ($0))"), "{plan}");
}

fn a_chain_of_scopes_follows_what_is_seen() {
    let school = active(&format!(
        "{ORDERS}; SELECT steward.set_scope('clerk', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id')"
    ));
    let mut zhao = school.session("clerk_zhao");
    let guardians = "SELECT coalesce(array_agg(DISTINCT student_id), '{}') FROM app.guardian";
    assert!(ask::<Vec<i32>>(&mut zhao, guardians).is_empty(), "students 10 and 20 have none");
    school
        .superuser()
        .batch_execute("UPDATE app.card_order SET student_id = 200 WHERE id = 2")
        .expect("another student");
    assert_eq!(ask::<Vec<i32>>(&mut zhao, guardians), [200]);
}

fn an_old_snapshot_does_not_keep_an_order_open() {
    let school = active(ORDERS);
    let mut zhao = school.session("clerk_zhao");
    zhao.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("begin");
    assert_eq!(ask::<Vec<i32>>(&mut zhao, SEEN), [10, 20]);
    school.superuser().batch_execute("UPDATE app.card_order SET status = 'closed'").expect("closed");
    assert!(ask::<Vec<i32>>(&mut zhao, SEEN).is_empty(), "a right that is gone is gone in an old snapshot too");
}

fn bad_mappings_are_refused() {
    let school = inactive(
        "CREATE TABLE app.link (a int, b text, c bigint, d date); CREATE VIEW app.link_view AS TABLE app.link",
    );
    let mut superuser = school.superuser();
    let bad = &SqlState::INVALID_PARAMETER_VALUE;
    for (arguments, code) in [
        ("'id', 'x', via => 'app.link', via_column => 'a'", bad),
        ("'id', via => 'app.link', via_column => 'a', assigned_column => 'b'", bad),
        ("'id', 'x', via_column => 'a'", bad),
        ("'id', 'x', via => 'app.link', via_column => 'c', assigned_column => 'b'", bad),
        ("'id', 'x', via => 'app.link', via_column => 'a', assigned_column => 'b', condition_column => 'd'", bad),
        ("'id', 'x', via => 'app.link', via_column => 'a', assigned_column => 'd'", &SqlState::FEATURE_NOT_SUPPORTED),
        ("'id', 'x', via => 'app.link', via_column => 'z', assigned_column => 'b'", &SqlState::UNDEFINED_COLUMN),
        ("'id', 'x', via => 'app.link_view', via_column => 'a', assigned_column => 'b'", &SqlState::WRONG_OBJECT_TYPE),
        (
            "'id', 'x', via => 'steward.person_login', via_column => 'role', assigned_column => 'person'",
            &SqlState::WRONG_OBJECT_TYPE,
        ),
        ("'id', via => 'app.link', via_column => 'a'", &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE),
        (
            "'id', 'x', via => 'app.link', via_column => 'a', assigned_column => 'b', condition_column => 'd', condition_value => 'never'",
            &SqlState::INVALID_DATETIME_FORMAT,
        ),
    ] {
        let call = format!("SELECT steward.set_scope('teacher', 'app.guardian', {arguments})");
        expect_error(superuser.batch_execute(&call), code, "", "");
    }
    // In a circle nobody would see anything.
    superuser.batch_execute("SELECT steward.set_scope('teacher', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id')").expect("one way");
    let back =
        "SELECT steward.set_scope('teacher', 'app.student', 'id', via => 'app.guardian', via_column => 'student_id')";
    expect_error(superuser.batch_execute(back), bad, "", "");
}
