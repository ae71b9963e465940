//! Roles that change within a session, and commands that show how many rows a mask hides (cases 24, 30, 31).

use super::{desk, desk_with, refused, shown, tells};
use crate::expect::db_error;

tests! {
    explain_shows_the_plan_and_counts_nothing,
    a_cursor_opened_by_another_role,
    a_pooled_login_that_takes_its_role_off,
}

/// Case 24.
fn explain_shows_the_plan_and_counts_nothing() {
    let school = desk_with("SELECT steward.protect('desk.student')");
    let mut clerk = school.session("cs");
    let query = "SELECT id FROM desk.student WHERE phone LIKE '138%7'";
    let plan = shown(&mut clerk, &format!("EXPLAIN (VERBOSE, COSTS OFF) {query}"));
    assert!(plan.contains("phone partial") && !tells(&plan), "{plan}");
    clerk.batch_execute(&format!("PREPARE p AS {query}; CREATE TEMP TABLE own (id int)")).expect("prepare");
    for statement in [
        query,
        "SELECT count(*) FROM desk.student WHERE school_id = 4",
        "UPDATE desk.student SET note = 'x' WHERE phone = '13800000007'",
        "EXECUTE p",
        "CREATE TEMP TABLE copied AS SELECT id FROM desk.student WHERE name = 'student 7'",
        "SELECT FROM own WHERE EXISTS (SELECT FROM desk.student WHERE phone = '13800000007')",
    ] {
        refused(&mut clerk, &format!("EXPLAIN (ANALYZE, TIMING OFF) {statement}"), "EXPLAIN ANALYZE");
    }
    assert_eq!(school.records("user_id = 'cs' AND result = 'DENIED' AND rule = 'mask'"), 6);
    shown(&mut clerk, "EXPLAIN ANALYZE SELECT FROM own; EXPLAIN (ANALYZE off) SELECT phone FROM desk.student");
    // What a function reads is not counted in the plan of its call.
    clerk
        .batch_execute("CREATE FUNCTION desk.look() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT phone FROM desk.student WHERE id = 7); END'")
        .expect("function");
    shown(&mut clerk, "EXPLAIN ANALYZE SELECT desk.look()");
    shown(&mut school.session("teacher"), &format!("EXPLAIN ANALYZE {query}"));
}

/// Case 30: what was opened clear is read clear, as the server has it, or not at all.
fn a_cursor_opened_by_another_role() {
    let school = desk_with(
        "CREATE FUNCTION desk.opened() RETURNS refcursor LANGUAGE plpgsql SECURITY DEFINER AS
            'DECLARE c refcursor := ''lent''; BEGIN OPEN c FOR SELECT phone FROM desk.student WHERE id = 7; RETURN c; END';
         ALTER FUNCTION desk.opened() OWNER TO app_owner",
    );
    let open = "DECLARE c CURSOR FOR SELECT phone FROM desk.student WHERE id = 7";
    let held = open.replace("FOR SELECT", "WITH HOLD FOR SELECT");
    let mut superuser = school.superuser();
    assert_eq!(shown(&mut superuser, &format!("BEGIN; {open}; SET LOCAL ROLE cs; FETCH c; COMMIT")), "13800000007");
    school.configure(&["steward.deny_role_switch = on"]);
    school.reload();
    // A session reads the file between two statements.
    while shown(&mut superuser, "SHOW steward.deny_role_switch") != "on" {}
    for ways in [
        format!("BEGIN; {open}; SET LOCAL ROLE cs; FETCH c"),
        format!("BEGIN; {open}; SELECT set_config('role', 'cs', true); FETCH c"),
        format!("BEGIN; {open}; SET LOCAL SESSION AUTHORIZATION cs; MOVE c"),
        format!("BEGIN; {held}; COMMIT; BEGIN; SET LOCAL ROLE cs; FETCH c"),
    ] {
        refused(&mut superuser, &ways, "a cursor that another role has opened");
        superuser.batch_execute("ROLLBACK; CLOSE ALL").expect("rollback");
    }
    let mut clerk = school.session("cs");
    refused(&mut clerk, "BEGIN; SELECT desk.opened(); FETCH lent", "a cursor that another role has opened");
    clerk.batch_execute("ROLLBACK").expect("rollback");
    // One's own goes on, masks may be read by those who see more, and what is not masked by anybody.
    assert_eq!(shown(&mut clerk, &format!("BEGIN; {open}; FETCH c; COMMIT")), "138****0007");
    assert_eq!(shown(&mut clerk, &format!("BEGIN; {held}; COMMIT; FETCH c; CLOSE c")), "138****0007");
    assert_eq!(
        shown(&mut superuser, &format!("BEGIN; SET LOCAL ROLE cs; {open}; RESET ROLE; FETCH c; COMMIT")),
        "138****0007"
    );
    assert_eq!(shown(&mut superuser, "BEGIN; DECLARE c CURSOR FOR SELECT 1; SET LOCAL ROLE cs; FETCH c; COMMIT"), "1");
    assert!(school.records("user_id = 'cs' AND result = 'DENIED' AND rule = 'mask'") >= 1);
}

/// Case 31: the login itself may read nothing, or is masked; and a way to a clear role is named.
fn a_pooled_login_that_takes_its_role_off() {
    let school = desk();
    school
        .superuser()
        .batch_execute("CREATE ROLE pool LOGIN NOINHERIT IN ROLE cs; CREATE ROLE lax LOGIN IN ROLE cs, teacher; GRANT USAGE ON SCHEMA desk TO pool")
        .expect("logins");
    let phone = "SELECT phone FROM desk.student WHERE id = 7";
    let mut pool = school.session("pool");
    assert_eq!(shown(&mut pool, &format!("SET ROLE cs; {phone}")), "138****0007");
    refused(&mut pool, &format!("RESET ROLE; {phone}"), "permission denied");
    school.superuser().batch_execute("GRANT SELECT ON desk.student TO pool").expect("grant");
    // A member of a masked role is masked, whether it inherits or not.
    assert_eq!(shown(&mut pool, &format!("SET ROLE cs; RESET ROLE; {phone}")), "138****0007");
    let mut lax = school.session("lax");
    assert_eq!(shown(&mut lax, phone), "138****0007");
    assert_eq!(shown(&mut lax, &format!("SET ROLE teacher; {phone}")), "13800000007");
    let named = "SELECT command FROM steward.lint() WHERE kind = 'set_role' AND role_id = 'lax'";
    assert_eq!(shown(&mut school.superuser(), named), "REVOKE teacher FROM lax");
    db_error(pool.simple_query("SET ROLE teacher"));
}
