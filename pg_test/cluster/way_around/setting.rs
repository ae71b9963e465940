//! Settings that would switch the policy off or blind it, on every way a session can set one.

use super::attack::{BULK_UPDATE, Refused, SIXTY, attack, watch};
use super::wire::Wire;
use crate::expect::expect_error;
use crate::school::{HOME, School};
use postgres::NoTls;
use postgres::error::SqlState;

tests! {
    replica_role_in_every_way,
    the_right_to_set_a_parameter,
    messages_to_the_log_switched_off,
    settings_of_the_server_roles_and_databases,
    our_settings_in_every_way,
    libraries_in_the_connection_s_options,
    libraries_loaded_in_a_session,
    libraries_set_for_a_role,
    row_security_switched_off,
    a_placeholder_under_our_prefix,
}

const REPLICA: super::attack::Said = ["DELETE", "app.student", "critical", "structure"];
const ONE: &str = "DELETE FROM app.student WHERE id = 7";

fn replica_role_in_every_way() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("GRANT SET ON PARAMETER session_replication_role TO teacher_wang; SELECT steward.activate()")
        .expect("set-up");
    for way in [
        "SET session_replication_role = replica",
        "BEGIN; SET LOCAL session_replication_role = replica",
        "SELECT set_config('session_replication_role', 'replica', false)",
        "UPDATE pg_settings SET setting = 'replica' WHERE name = 'session_replication_role'",
        "SET session_replication_role = local",
    ] {
        attack(&school, &format!("{way}; {ONE}"), Refused, REPLICA);
    }
    let function = format!(
        "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET session_replication_role = replica AS '{ONE}';
         SELECT pg_temp.f()"
    );
    attack(&school, &function, Refused, REPLICA);
    for who in ["teacher_wang", "postgres"] {
        let mut config = school.config(who, HOME);
        let mut session = config.options("-c session_replication_role=replica").connect(NoTls).expect("granted");
        watch(&school, who, Refused, REPLICA, || session.batch_execute(ONE));
    }
}

fn the_right_to_set_a_parameter() {
    let school = School::active();
    for parameter in ["session_replication_role", "log_min_messages", "steward.mode"] {
        let grant = format!("GRANT SET, ALTER SYSTEM ON PARAMETER {parameter} TO teacher_wang");
        attack(&school, &grant, Refused, ["GRANT", "", "critical", "privilege"]);
    }
}

fn messages_to_the_log_switched_off() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "GRANT SET ON PARAMETER log_min_messages, log_min_error_statement TO teacher_wang;
             SELECT steward.activate()",
        )
        .expect("set-up");
    let mute = format!("SET log_min_messages = panic; SET log_min_error_statement = panic; {SIXTY}");
    attack(&school, &mute, Refused, BULK_UPDATE);
}

fn settings_of_the_server_roles_and_databases() {
    let school = School::active();
    for (statement, operation) in [
        ("ALTER SYSTEM SET shared_preload_libraries = ''", "ALTER SYSTEM"),
        ("ALTER SYSTEM SET session_preload_libraries = 'auto_explain'", "ALTER SYSTEM"),
        ("ALTER SYSTEM SET steward.mode = 'off'", "ALTER SYSTEM"),
        ("ALTER SYSTEM SET log_min_messages = 'panic'", "ALTER SYSTEM"),
        ("ALTER SYSTEM SET archive_command = 'cat'", "ALTER SYSTEM"),
        ("ALTER SYSTEM SET hba_file = '/tmp/hba'", "ALTER SYSTEM"),
        ("ALTER SYSTEM RESET ALL", "ALTER SYSTEM"),
        ("ALTER DATABASE school SET session_replication_role = 'replica'", "ALTER DATABASE"),
        ("ALTER ROLE ALL SET session_replication_role = 'replica'", "ALTER ROLE"),
        ("ALTER ROLE teacher_wang IN DATABASE school SET role = 'postgres'", "ALTER ROLE"),
    ] {
        attack(&school, statement, Refused, [operation, "", "critical", "config"]);
    }
    assert!(!school.file("data/postgresql.auto.conf").metadata().is_ok_and(|file| file.len() > 200));
}

const FIXED: &SqlState = &SqlState::CANT_CHANGE_RUNTIME_PARAM;

fn our_settings_in_every_way() {
    let school = School::active();
    for who in ["teacher_wang", "postgres"] {
        let mut session = school.session(who);
        for way in [
            "SET steward.mode = off",
            "SET LOCAL steward.mode = off",
            "SELECT set_config('steward.mode', 'off', false)",
            "UPDATE pg_settings SET setting = 'off' WHERE name = 'steward.mode'",
            "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SET steward.mode = off AS ''",
        ] {
            expect_error(session.batch_execute(way), FIXED, "", "");
        }
        let refused = Wire::connect(&school, who, HOME, &[("steward.mode", "off")]).err().expect("no connection");
        assert!(refused.starts_with("55P02"), "{refused}");
    }
    attack(&school, SIXTY, Refused, BULK_UPDATE);
}

/// A library that a session loads first could put its hooks before ours.
fn libraries_in_the_connection_s_options() {
    let school = School::active();
    for who in ["teacher_wang", "postgres"] {
        for setting in ["session_preload_libraries", "local_preload_libraries"] {
            for library in ["auto_explain", "/tmp/evil"] {
                let refused = Wire::connect(&school, who, HOME, &[(setting, library)]).err().expect("no connection");
                assert!(refused.starts_with("55P02"), "{who}: {setting}: {refused}");
                let options = format!("-c {setting}={library}");
                let refused = Wire::connect(&school, who, HOME, &[("options", &options)]).err().expect("no connection");
                assert!(refused.starts_with("55P02"), "{who}: {setting}: {refused}");
            }
        }
    }
}

fn libraries_loaded_in_a_session() {
    let school = School::active();
    for statement in
        ["LOAD 'auto_explain'", "LOAD '$libdir/plugins/x'", "DO $$ BEGIN EXECUTE 'LOAD ''auto_explain'''; END $$"]
    {
        attack(&school, statement, Refused, ["LOAD", "", "critical", "config"]);
    }
    for who in ["teacher_wang", "postgres"] {
        let elsewhere = school.connect(who, "postgres").batch_execute("LOAD 'auto_explain'");
        crate::expect::expect_refused(elsewhere);
    }
}

fn libraries_set_for_a_role() {
    let school = School::inactive();
    for target in ["ROLE postgres", "DATABASE school", "ROLE ALL"] {
        let set = format!("ALTER {target} SET session_preload_libraries = 'auto_explain'");
        expect_error(school.superuser().batch_execute(&set), FIXED, "", "");
    }
    let school = School::active();
    let set = "ALTER ROLE postgres SET session_preload_libraries = 'auto_explain'";
    attack(&school, set, Refused, ["ALTER ROLE", "", "critical", "config"]);
}

fn row_security_switched_off() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "ALTER TABLE app.guardian ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON app.guardian USING (id <= 3); SELECT steward.activate()",
        )
        .expect("set-up");
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("SET row_security = off").expect("a setting of the session");
    expect_error(teacher.batch_execute("SELECT * FROM app.guardian"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    let read = "user_id = 'teacher_wang' AND table_name = 'app.guardian' AND result = 'SUCCESS'";
    assert_eq!(school.records(read), 0);
}

fn a_placeholder_under_our_prefix() {
    let school = School::active();
    for who in ["teacher_wang", "postgres"] {
        let mut session = school.session(who);
        for way in ["SET steward.login = 'x'", "SELECT set_config('steward.person', 'Sun', false)"] {
            expect_error(session.batch_execute(way), &SqlState::INVALID_NAME, "", "");
        }
    }
}
