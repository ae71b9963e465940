//! Attempts to see more than a scope allows.

use postgres::error::SqlState;
use std::io::Read;

use super::{active, inactive, students};
use crate::expect::{db_error, expect_error};
use crate::school::ask;

tests! {
    no_setting_widens_a_scope,
    row_security_off_is_an_error,
    copy_gives_scoped_rows_and_takes_none,
    truncate_is_no_delete_without_scope,
    foreign_keys_tell_nothing_of_other_schools,
    a_cascade_reaches_rows_that_nobody_sees,
    a_leaking_function_sees_own_rows_alone,
    statistics_and_errors_show_no_rows,
    what_policies_call_answers_to_nobody_else,
    a_plan_made_by_another_role_is_not_reused,
    a_pool_acts_for_the_person_it_puts_on,
    ways_around_are_listed,
    owners_are_limited_as_members,
    parallel_workers_see_the_same_rows,
    without_the_library_nothing_is_seen,
    scopes_hold_in_every_mode,
    a_standby_shows_the_same_rows,
    a_new_member_sees_nothing_at_once,
}

const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

fn no_setting_widens_a_scope() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    for setting in [
        "SET app.school_id = '2'",
        "SET steward.school = '2'",
        "SELECT set_config('steward.person', 'Li', false)",
        "SET application_name = 'teacher_li'",
        "SET search_path = pg_temp, app, pg_catalog",
        "SET plan_cache_mode = force_generic_plan",
        "SET session_replication_role = replica",
        "SET ROLE teacher_li",
        "SET SESSION AUTHORIZATION teacher_li",
        "LOAD 'pg_steward'",
        "DISCARD ALL",
        "CREATE TEMP TABLE scope AS SELECT 2 AS id; CREATE FUNCTION pg_temp._allowed_integer(int) RETURNS int[] LANGUAGE sql AS 'SELECT ARRAY[2]'",
    ] {
        // Whether it is allowed or not.
        let _either = wang.batch_execute(setting);
        assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.student WHERE school_id <> 1"), 0, "{setting}");
        assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.student"), 50, "{setting}");
    }
}

fn row_security_off_is_an_error() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("SET row_security = off").expect("set");
    expect_error(wang.batch_execute("SELECT count(*) FROM app.student"), REFUSED, "", "");
    let error = db_error(wang.batch_execute("COPY app.student TO STDOUT"));
    assert_eq!(error.code(), REFUSED, "{error:?}");
}

fn copy_gives_scoped_rows_and_takes_none() {
    let school = active("GRANT pg_read_all_data TO teacher");
    let mut wang = school.session("teacher_wang");
    for copy in ["COPY app.student (school_id) TO STDOUT", "COPY (SELECT school_id FROM app.student) TO STDOUT"] {
        let mut text = String::new();
        wang.copy_out(copy).expect("copy").read_to_string(&mut text).expect("rows");
        assert_eq!(text.lines().count(), 50, "{copy}");
        assert!(text.lines().all(|line| line == "1"), "{copy}");
    }
    let loaded = wang.copy_in("COPY app.student FROM STDIN").map(drop);
    assert_eq!(db_error(loaded).code(), &SqlState::FEATURE_NOT_SUPPORTED);
}

fn truncate_is_no_delete_without_scope() {
    let school = active("GRANT TRUNCATE ON app.student, app.guardian TO teacher");
    let mut wang = school.session("teacher_wang");
    expect_error(wang.batch_execute("TRUNCATE app.student CASCADE"), REFUSED, "", "");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student"), 200);
    let found = "SELECT count(*) FROM steward.scope_issues() WHERE issue = 'privilege_beside_rows' AND detail LIKE 'teacher has TRUNCATE%'";
    assert_eq!(school.ask::<i64>(found), 1);
}

fn foreign_keys_tell_nothing_of_other_schools() {
    let school = active(
        "SELECT steward.set_scope('teacher', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id')",
    );
    let mut wang = school.session("teacher_wang");
    // Student 1 exists elsewhere, student 5000 nowhere: the answers do not differ.
    let mut answers = [1, 5000].map(|student| {
        let error = db_error(wang.batch_execute(&format!("INSERT INTO app.guardian VALUES (900, {student}, 'x')")));
        (error.code().clone(), error.message().to_owned(), error.detail().map(str::to_owned))
    });
    assert_eq!(answers[0].0, *REFUSED);
    let [one, other] = &mut answers;
    assert_eq!(one, other);
    wang.batch_execute("INSERT INTO app.guardian VALUES (901, 4, 'x')").expect("of the own school");
    let duplicate = db_error(wang.batch_execute("INSERT INTO app.student VALUES (1000, 1, 'x', 'ID1', '13800001000')"));
    assert_eq!(duplicate.code(), &SqlState::UNIQUE_VIOLATION);
    assert!(duplicate.detail().is_none(), "the row of another school is not shown: {duplicate:?}");
}

fn a_cascade_reaches_rows_that_nobody_sees() {
    let school = active(
        "SELECT steward.set_scope('teacher', 'app.guardian', 'id', 'guardian'); SELECT steward.set_attribute('Wang', 'guardian', '{64}')",
    );
    let mut wang = school.session("teacher_wang");
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.guardian WHERE student_id = 100"), 0);
    wang.batch_execute("DELETE FROM app.student WHERE id = 100").expect("keys are whole, whatever is seen");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian WHERE student_id = 100"), 0);
}

fn a_leaking_function_sees_own_rows_alone() {
    let school = active("GRANT CREATE ON SCHEMA app TO teacher_wang");
    let mut wang = school.session("teacher_wang");
    wang.batch_execute(
        "CREATE TABLE app.seen (school int);
         CREATE FUNCTION app.leak(int) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
            $$BEGIN INSERT INTO app.seen VALUES ($1); RETURN true; END$$",
    )
    .expect("a function");
    for query in [
        "SELECT count(*) FROM app.student WHERE app.leak(school_id)",
        "SELECT count(*) FROM app.student s JOIN app.school c ON c.id = s.school_id WHERE app.leak(s.school_id)",
        "SELECT count(*) FROM (SELECT * FROM app.student OFFSET 0) s WHERE app.leak(school_id)",
        "UPDATE app.student SET note = note WHERE app.leak(school_id) AND id = 1",
    ] {
        wang.batch_execute(query).expect(query);
    }
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.seen WHERE school <> 1"), 0);
}

fn statistics_and_errors_show_no_rows() {
    let school = active("ANALYZE app.student");
    let mut wang = school.session("teacher_wang");
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM pg_stats WHERE tablename = 'student'"), 0);
    let error = db_error(wang.batch_execute("UPDATE app.student SET phone = 'x' WHERE id = 4"));
    assert_eq!((error.code(), error.detail()), (&SqlState::CHECK_VIOLATION, None));
    let error = db_error(wang.batch_execute(
        "SELECT 1 / (school_id - 2) FROM app.student WHERE id = 1; SELECT school_id / 0 FROM app.student WHERE id = 4",
    ));
    assert_eq!(error.code(), &SqlState::DIVISION_BY_ZERO, "the first finds no row to divide by");
}

fn what_policies_call_answers_to_nobody_else() {
    let school = active("");
    let allowed = "SELECT steward._allowed_integer(1)";
    assert_eq!(ask::<Vec<i32>>(&mut school.session("teacher_wang"), allowed), [1]);
    for login in ["clerk_zhao", "reviewer_sun"] {
        assert!(ask::<Vec<i32>>(&mut school.session(login), allowed).is_empty(), "{login}");
    }
    let mut wang = school.session("teacher_wang");
    for number in [0, -1, 2, i32::MAX] {
        assert!(ask::<Vec<i32>>(&mut wang, &format!("SELECT steward._allowed_integer({number})")).is_empty());
        assert!(!ask::<bool>(&mut wang, &format!("SELECT steward._allows_everything({number})")));
    }
    // Another type's function on the same scope shows nothing that is not allowed anyway.
    assert_eq!(ask::<Vec<String>>(&mut wang, "SELECT steward._allowed_text(1)"), ["1"]);
}

fn a_plan_made_by_another_role_is_not_reused() {
    let school = inactive("GRANT teacher_wang TO region_chen; ALTER ROLE region_chen NOINHERIT");
    let mut chen = school.session("region_chen");
    let prepared = chen.prepare("SELECT count(*) FROM app.student").expect("prepare");
    let count = |chen: &mut postgres::Client| chen.query_one(&prepared, &[]).expect("count").get::<_, i64>(0);
    (0..7).for_each(|_| assert_eq!(count(&mut chen), 200));
    chen.batch_execute("SET ROLE teacher_wang").expect("set role");
    (0..7).for_each(|_| assert_eq!(count(&mut chen), 50));
    chen.batch_execute("RESET ROLE").expect("reset role");
    assert_eq!(count(&mut chen), 200);
}

fn a_pool_acts_for_the_person_it_puts_on() {
    let school = inactive(
        "CREATE ROLE pool LOGIN NOINHERIT; GRANT teacher_wang, teacher_li TO pool;
         SELECT steward.register_person('Shop', 'service', roles => '{pool}')",
    );
    let mut pool = school.session("pool");
    let schools = "SELECT string_agg(DISTINCT school_id::text, ',') FROM app.student";
    pool.batch_execute("SET ROLE teacher_wang").expect("set role");
    assert_eq!(ask::<String>(&mut pool, schools), "1");
    pool.batch_execute("BEGIN; SET LOCAL ROLE teacher_li").expect("set local role");
    assert_eq!(ask::<String>(&mut pool, schools), "2");
    pool.batch_execute("COMMIT").expect("commit");
    assert_eq!(ask::<String>(&mut pool, schools), "1");
    // An injected RESET ROLE leaves a login that may nothing.
    pool.batch_execute("RESET ROLE").expect("reset role");
    expect_error(pool.batch_execute(schools), REFUSED, "", "");
    let issues = "SELECT count(*) FROM steward.scope_issues() WHERE issue = 'pool_sees_rows'";
    assert_eq!(school.ask::<i64>(issues), 0);
    assert_eq!(
        school.ask::<i64>(
            "SELECT count(*) FROM steward.scope_issues() WHERE issue = 'acts_for_another' AND object = 'pool'"
        ),
        2
    );
    school.superuser().batch_execute("GRANT SELECT ON app.student TO pool").expect("grant");
    assert_eq!(school.ask::<i64>(issues), 1, "what RESET ROLE reaches now");
}

fn ways_around_are_listed() {
    let school = inactive("");
    let found = |issue: &str| {
        school.ask::<i64>(&format!("SELECT count(*) FROM steward.scope_issues() WHERE issue = '{issue}'"))
    };
    assert_eq!(found("bypasses_rls"), 1, "the superuser");
    assert_eq!(found("no_index"), 1);
    for (issue, cause) in [
        ("owner_rights_view", "CREATE VIEW app.v AS SELECT * FROM app.student; GRANT SELECT ON app.v TO teacher"),
        (
            "materialized_view",
            "CREATE MATERIALIZED VIEW app.m AS SELECT * FROM app.student; GRANT SELECT ON app.m TO teacher",
        ),
        (
            "definer_function",
            "CREATE FUNCTION app.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.student'",
        ),
        (
            "reaches_clear_role",
            "CREATE ROLE clear_reader; GRANT SELECT ON app.student TO clear_reader; ALTER ROLE teacher_li NOINHERIT; GRANT clear_reader TO teacher_li",
        ),
        ("privilege_beside_rows", "GRANT TRIGGER ON app.student TO teacher"),
        ("sees_nothing", "SELECT steward.set_attribute('Wang', 'school', NULL)"),
    ] {
        assert_eq!(found(issue), 0, "{issue}");
        school.superuser().batch_execute(cause).unwrap_or_else(|error| panic!("{cause}: {error:?}"));
        assert!(found(issue) > 0, "{issue}");
    }
    let other = "DROP FUNCTION app.f; CREATE FUNCTION app.g() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.student';
        ALTER ROLE teacher_li INHERIT; ALTER FUNCTION app.g OWNER TO teacher_li";
    school.superuser().batch_execute(other).expect("with the eyes of another teacher");
    assert!(found("definer_function") > 0);
    school.superuser().batch_execute("ALTER VIEW app.v SET (security_invoker = true)").expect("alter");
    assert_eq!(found("owner_rights_view"), 0);
    school.superuser().batch_execute("SELECT steward.set_attribute('Wang', 'school', '{1}')").expect("attribute");
    assert_eq!(ask::<i64>(&mut school.session("teacher_wang"), "SELECT count(*) FROM app.v"), 50);
}

fn owners_are_limited_as_members() {
    let school = inactive("ALTER TABLE app.student OWNER TO teacher_wang; GRANT CREATE ON SCHEMA app TO teacher_wang");
    let mut wang = school.session("teacher_wang");
    assert_eq!(students(&mut wang), 50, "FORCE covers the owner");
    expect_error(wang.batch_execute("SET row_security = off; SELECT count(*) FROM app.student"), REFUSED, "", "");
}

fn parallel_workers_see_the_same_rows() {
    let school = active(
        "INSERT INTO app.student SELECT n, 1 + n % 4, 'p', 'ID' || n, '13800009999' FROM generate_series(1001, 21000) n; ANALYZE app.student",
    );
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2")
        .expect("set");
    let plan: Vec<String> = wang
        .query("EXPLAIN (COSTS off) SELECT count(*) FROM app.student", &[])
        .expect("explain")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(plan.join("\n").contains("Gather"), "{plan:?}");
    assert_eq!(students(&mut wang), 5050);
    wang.batch_execute("SET parallel_leader_participation = off").expect("set");
    assert_eq!(students(&mut wang), 5050);
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.student WHERE school_id <> 1"), 0);
}

fn without_the_library_nothing_is_seen() {
    let mut school = inactive("");
    school.configure(&["shared_preload_libraries = ''"]);
    school.restart();
    let mut wang = school.session("teacher_wang");
    assert_eq!(students(&mut wang), 0);
    wang.batch_execute("LOAD 'pg_steward'").expect_err("no library of one's own choice");
    assert_eq!(students(&mut wang), 0);
    assert_eq!(students(&mut school.session("clerk_zhao")), 200);
}

fn scopes_hold_in_every_mode() {
    for mode in ["off", "observe", "warn"] {
        let mut school = inactive("");
        school.configure(&[&format!("steward.mode = '{mode}'")]);
        school.restart();
        assert_eq!(students(&mut school.session("teacher_wang")), 50, "{mode}");
    }
}

fn a_standby_shows_the_same_rows() {
    let school = inactive(
        "SELECT steward.set_scope('teacher', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id')",
    );
    let standby = school.standby(&[]);
    let mut wang = standby.connect("teacher_wang", crate::school::HOME);
    assert_eq!(students(&mut wang), 50);
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.guardian"), 60 + 25);
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.student WHERE school_id = 2"), 0);
    assert!(wang.query("SELECT * FROM app.student WHERE id = 1", &[]).expect("hidden").is_empty());
}

fn a_new_member_sees_nothing_at_once() {
    let school = inactive("");
    let mut zhao = school.session("clerk_zhao");
    let prepared = zhao.prepare("SELECT count(*) FROM app.student").expect("prepare");
    let mut count = || zhao.query_one(&prepared, &[]).expect("count").get::<_, i64>(0);
    (0..7).for_each(|_| assert_eq!(count(), 200));
    school.superuser().batch_execute("GRANT teacher TO clerk_zhao").expect("grant");
    assert_eq!(count(), 0);
    school.superuser().batch_execute("REVOKE teacher FROM clerk_zhao").expect("revoke");
    assert_eq!(count(), 200);
}
