//! Roles, settings and files belong to the whole cluster, so no other database is a way around.

use crate::expect::{db_error, expect_refused};
use crate::school::{School, ask};
use crate::way_around::attack::{ROLES, everything};
use postgres::error::SqlState;

tests! {
    cluster_wide_commands_are_refused_elsewhere,
    the_extension_cannot_be_created_elsewhere,
    ordinary_work_elsewhere_is_free,
    before_activation_other_databases_are_free,
}

fn cluster_wide_commands_are_refused_elsewhere() {
    let school = School::active();
    let before = everything(&mut school.superuser());
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
        for who in ROLES {
            let error = expect_refused(school.connect(who, "postgres").batch_execute(statement));
            assert!(error.hint().unwrap_or("").contains("school"), "{who}: {statement}: {error:?}");
        }
    }
    for who in ROLES {
        assert_eq!(school.records(&format!("user_id = '{who}' AND result = 'DENIED' AND rule = 'home_database'")), 14);
    }
    assert_eq!(everything(&mut school.superuser()), before);
}

fn the_extension_cannot_be_created_elsewhere() {
    let school = School::active();
    for database in ["postgres", "template1"] {
        for who in ROLES {
            let mut elsewhere = school.connect(who, database);
            let error = db_error(elsewhere.batch_execute("CREATE EXTENSION pg_steward"));
            let expected = [&SqlState::INSUFFICIENT_PRIVILEGE, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
            assert!(expected.contains(&error.code()), "{who}: {error:?}");
            let installed = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_steward'";
            assert_eq!(ask::<i64>(&mut elsewhere, installed), 0);
        }
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
