//! Roles, settings and files belong to the whole cluster, so no other database is a way around.

use crate::expect::{db_error, expect_refused};
use crate::school::School;
use postgres::error::SqlState;

tests! {
    cluster_wide_commands_are_refused_elsewhere,
    the_extension_cannot_be_created_elsewhere,
    ordinary_work_elsewhere_is_free,
    before_activation_other_databases_are_free,
}

fn cluster_wide_commands_are_refused_elsewhere() {
    let school = School::active();
    let mut elsewhere = school.connect("postgres", "postgres");
    for statement in [
        "CREATE ROLE intruder SUPERUSER LOGIN",
        "ALTER ROLE clerk_zhao SUPERUSER",
        "DROP ROLE auditor_qian",
        "GRANT postgres TO clerk_zhao",
        "ALTER SYSTEM SET shared_preload_libraries = ''",
        "ALTER ROLE teacher_wang SET work_mem = '8MB'",
        "ALTER DATABASE school SET session_replication_role = 'replica'",
        "DROP DATABASE school",
        "CREATE DATABASE copy TEMPLATE school",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY pg_class TO '/tmp/pg_steward_must_not_exist'",
        "CREATE FUNCTION c() RETURNS int LANGUAGE c AS 'x', 'y'",
        "LOAD 'auto_explain'",
        "CREATE PUBLICATION everything FOR ALL TABLES",
    ] {
        let error = expect_refused(elsewhere.batch_execute(statement));
        assert!(error.hint().unwrap_or("").contains("school"), "{statement}: {error:?}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_roles WHERE rolname = 'intruder'"), 0);
    assert_eq!(school.records("result = 'DENIED' AND operation_type = 'CREATE ROLE'"), 1);
}

fn the_extension_cannot_be_created_elsewhere() {
    let school = School::active();
    for database in ["postgres", "template1"] {
        let mut elsewhere = school.connect("postgres", database);
        let error = db_error(elsewhere.batch_execute("CREATE EXTENSION pg_steward"));
        let expected = [&SqlState::INSUFFICIENT_PRIVILEGE, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
        assert!(expected.contains(&error.code()), "{error:?}");
    }
}

fn ordinary_work_elsewhere_is_free() {
    let school = School::active();
    let mut elsewhere = school.connect("postgres", "postgres");
    elsewhere
        .batch_execute(
            "CREATE TABLE app_data AS SELECT n FROM generate_series(1, 500) AS n;
             UPDATE app_data SET n = n + 1;
             TRUNCATE app_data;
             DROP TABLE app_data",
        )
        .expect("nothing here is under policy");
}

fn before_activation_other_databases_are_free() {
    let school = School::inactive();
    let mut elsewhere = school.connect("postgres", "postgres");
    elsewhere.batch_execute("CREATE ROLE guest").expect("nothing is refused before activate()");
}
