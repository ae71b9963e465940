//! Functions with effects that no plan shows: by their own name, by an alias, from other functions, from other databases.

use super::attack::{Allowed, ROLES, Refused, Said, attack, attack_as};
use crate::expect::{expect_error, expect_refused};
use crate::school::{School, execute, request};
use postgres::Client;
use postgres::error::SqlState;

tests! {
    reading_a_file,
    listing_a_directory,
    a_file_into_a_large_object,
    a_large_object_into_a_file,
    writing_large_objects_is_on_record,
    an_alias_in_language_internal,
    an_alias_in_language_c,
    an_alias_of_set_config_does_not_touch_our_settings,
    a_call_inside_another_function_or_view,
    writing_a_file_with_adminpack,
    another_session_through_dblink,
    another_session_through_an_alias_of_dblink,
    reloading_the_configuration,
    ending_other_sessions,
    promoting_and_pausing,
    replication_slots,
    a_stream_of_changes,
    a_slot_that_loads_a_library,
    messages_in_the_log_of_changes,
    raw_pages,
    rows_changed_below_the_executor,
    what_backups_call_is_open,
    moving_the_number_of_operations,
    functions_from_another_database,
    a_rule_may_name_any_c_function,
    an_operation_may_call_them,
    what_an_operation_was_allowed_ends_with_it,
    a_dropped_rule_leaves_them_critical,
}

const ACCESS: [&str; 2] = ["critical", "server_access"];

fn access(symbol: &'static str) -> Said {
    let [tier, rule] = ACCESS;
    [symbol, "", tier, rule]
}

/// A school with these extensions, made before the policy was active, and then these statements.
fn school_with(extensions: &[&str], set_up: &str) -> School {
    let school = School::inactive();
    let mut superuser = school.superuser();
    for extension in extensions {
        superuser.batch_execute(&format!("CREATE EXTENSION {extension}")).expect("contrib is installed");
    }
    superuser.batch_execute(set_up).expect("set-up");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn reading_a_file() {
    let school = school_with(
        &[],
        "GRANT pg_read_server_files TO teacher_wang;
        GRANT EXECUTE ON FUNCTION pg_read_file(text), pg_read_binary_file(text) TO teacher_wang",
    );
    attack(&school, "SELECT pg_read_file('postgresql.conf')", Refused, access("pg_read_file_all"));
    attack(&school, "SELECT pg_read_binary_file('global/pg_filenode.map')", Refused, access("pg_read_binary_file_all"));
    let tricky = "SELECT * FROM app.scratch WHERE note = pg_read_file('postgresql.conf') OR id = 0";
    attack(&school, tricky, Refused, access("pg_read_file_all"));
}

fn listing_a_directory() {
    let school = school_with(&[], "GRANT EXECUTE ON FUNCTION pg_ls_dir(text), pg_stat_file(text) TO teacher_wang");
    attack(&school, "SELECT pg_ls_dir('.')", Refused, access("pg_ls_dir_1arg"));
    attack(&school, "SELECT pg_stat_file('postgresql.conf')", Refused, access("pg_stat_file_1arg"));
}

fn a_file_into_a_large_object() {
    let school = school_with(&[], "GRANT EXECUTE ON FUNCTION lo_import(text) TO teacher_wang");
    attack(&school, "SELECT lo_import('/etc/passwd')", Refused, access("be_lo_import"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_largeobject_metadata"), 0);
}

fn a_large_object_into_a_file() {
    let school = school_with(
        &[],
        "SELECT lo_from_bytea(4711, 'x'); GRANT EXECUTE ON FUNCTION lo_export(oid, text) TO teacher_wang;
         GRANT SELECT ON LARGE OBJECT 4711 TO teacher_wang",
    );
    let file = school.file("data/stolen");
    attack(&school, &format!("SELECT lo_export(4711, '{}')", file.display()), Refused, access("be_lo_export"));
    assert!(!file.exists());
}

fn writing_large_objects_is_on_record() {
    let school = School::active();
    let mine = "FROM pg_largeobject_metadata WHERE lomowner = current_user::regrole";
    for (statement, symbol) in [
        (
            "SELECT lo_from_bytea(0, convert_to(phone, 'UTF8')) FROM app.student WHERE id = 1".to_owned(),
            "be_lo_from_bytea",
        ),
        (format!("SELECT lo_put(oid, 0, 'x') {mine}"), "be_lo_put"),
        (format!("SELECT lo_unlink(oid) {mine}"), "be_lo_unlink"),
    ] {
        attack(&school, &statement, Allowed, [symbol, "", "normal", "write"]);
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_largeobject_metadata"), 0);
}

fn an_alias_in_language_internal() {
    let school = school_with(
        &[],
        "CREATE FUNCTION app.innocent(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all';
         CREATE FUNCTION app.bye(int, bigint) RETURNS bool LANGUAGE internal AS 'pg_terminate_backend'",
    );
    attack(&school, "SELECT app.innocent('postgresql.conf')", Refused, access("pg_read_file_all"));
    let said = ["pg_terminate_backend", "", "important", "server_control"];
    attack(&school, "SELECT app.bye(0, 0)", Allowed, said);
    for language in ["internal", "c"] {
        let alias = format!("CREATE FUNCTION app.other(text) RETURNS text LANGUAGE {language} AS 'pg_read_file_all'");
        attack(&school, &alias, Refused, ["CREATE FUNCTION", "", "critical", "config"]);
    }
}

fn an_alias_in_language_c() {
    let school = school_with(
        &["dblink"],
        "CREATE FUNCTION app.harmless(text, text) RETURNS text LANGUAGE c AS '$libdir/dblink', 'dblink_exec'",
    );
    let call = "SELECT app.harmless('dbname=school', 'DELETE FROM app.guardian')";
    attack(&school, call, Refused, access("dblink_exec"));
}

/// What it sets is judged where it takes effect; settings of the policy cannot be set by anybody in a session.
fn an_alias_of_set_config_does_not_touch_our_settings() {
    let school = school_with(
        &[],
        "CREATE FUNCTION app.put(text, text, bool) RETURNS text LANGUAGE internal AS 'set_config_by_name';
         GRANT SET ON PARAMETER session_replication_role TO teacher_wang",
    );
    for who in ROLES {
        let mut session = school.session(who);
        for setting in ["steward.mode", "track_counts", "session_preload_libraries"] {
            let put = session.query("SELECT app.put($1, 'off', false)", &[&setting]);
            expect_error(put, &SqlState::CANT_CHANGE_RUNTIME_PARAM, "", "");
        }
    }
    let replica = "SELECT app.put('session_replication_role', 'replica', false);
        DELETE FROM app.student WHERE id = 7";
    attack(&school, replica, Refused, ["DELETE", "app.student", "critical", "structure"]);
}

fn a_call_inside_another_function_or_view() {
    let school = school_with(
        &[],
        "CREATE VIEW app.harmless AS SELECT pg_read_file('postgresql.conf') AS text;
         CREATE FUNCTION app.assign() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
            'DECLARE x text; BEGIN x := pg_read_file(''postgresql.conf''); RETURN x; END';
         CREATE FUNCTION app.sql() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT text FROM app.harmless';
         GRANT SELECT ON app.harmless TO teacher_wang; GRANT EXECUTE ON FUNCTION pg_read_file(text) TO teacher_wang",
    );
    for call in ["SELECT app.assign()", "SELECT app.sql()", "DO 'BEGIN PERFORM app.assign(); END'"] {
        attack(&school, call, Refused, access("pg_read_file_all"));
    }
    attack(&school, "SELECT * FROM app.harmless", Refused, access("pg_read_file_all"));
}

fn writing_a_file_with_adminpack() {
    let school = school_with(
        &["adminpack"],
        "GRANT pg_write_server_files TO teacher_wang;
        GRANT EXECUTE ON FUNCTION pg_file_write(text, text, bool), pg_file_unlink(text) TO teacher_wang",
    );
    attack(&school, "SELECT pg_file_write('evil', 'x', false)", Refused, access("pg_file_write_v1_1"));
    attack(&school, "SELECT pg_file_unlink('PG_VERSION')", Refused, access("pg_file_unlink_v1_1"));
    assert!(!school.file("data/evil").exists() && school.file("data/PG_VERSION").exists());
}

fn another_session_through_dblink() {
    let school = school_with(&["dblink"], "GRANT EXECUTE ON FUNCTION dblink_connect_u(text) TO teacher_wang");
    let to = format!("host={} dbname=school user=reviewer_sun", school.file("").display());
    for (call, symbol) in [
        (format!("SELECT dblink_connect('{to}')"), "dblink_connect"),
        (format!("SELECT dblink_connect_u('{to}')"), "dblink_connect"),
        (format!("SELECT dblink_exec('{to}', 'DELETE FROM app.guardian')"), "dblink_exec"),
        (format!("SELECT * FROM dblink('{to}', 'SELECT 1') AS t(x int)"), "dblink_record"),
    ] {
        attack(&school, &call, Refused, access(symbol));
    }
}

fn another_session_through_an_alias_of_dblink() {
    let school = school_with(
        &["dblink"],
        "CREATE FUNCTION app.ask(text, text) RETURNS SETOF record LANGUAGE c AS '$libdir/dblink', 'dblink_record'",
    );
    attack(&school, "SELECT * FROM app.ask('dbname=school', 'SELECT 1') AS t(x int)", Refused, access("dblink_record"));
}

fn reloading_the_configuration() {
    let school = school_with(&[], "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO teacher_wang");
    attack(&school, "SELECT pg_reload_conf()", Refused, ["pg_reload_conf", "", "critical", "config"]);
}

fn ending_other_sessions() {
    let school = school_with(&[], "GRANT pg_signal_backend TO teacher_wang");
    let said = ["pg_terminate_backend", "", "important", "server_control"];
    attack(&school, "SELECT pg_terminate_backend(0)", Allowed, said);
    // The sequencer is nobody's session: it comes back, and loses nothing.
    let pid = |school: &School| school.ask::<i32>("SELECT sequencer_pid FROM steward.audit_status");
    let sequencer = pid(&school);
    let end = format!("SELECT pg_terminate_backend({sequencer})");
    let mut superuser = school.superuser();
    superuser.batch_execute(&end).expect("important work is reviewed afterwards");
    assert_eq!(school.records("operation_type = 'pg_terminate_backend' AND user_id = 'postgres'"), 2);
    assert_ne!(pid(&school), sequencer, "the sequencer was ended and came back");
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn promoting_and_pausing() {
    let school =
        school_with(&[], "GRANT EXECUTE ON FUNCTION pg_promote(bool, int), pg_wal_replay_pause() TO teacher_wang");
    // Not in recovery: the calls fail after they were judged.
    for (call, symbol) in [("pg_promote()", "pg_promote"), ("pg_wal_replay_pause()", "pg_wal_replay_pause")] {
        for who in ROLES {
            let failed = school.session(who).batch_execute(&format!("SELECT {call}"));
            expect_error(failed, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
            let record = format!("operation_type = '{symbol}' AND rule = 'server_control' AND user_id = '{who}'");
            assert_eq!(school.records(&record), 1, "{who}: {call}");
        }
    }
}

fn replication_slots() {
    let school = school_with(&[], "ALTER ROLE teacher_wang REPLICATION");
    let slots = [
        ("pg_create_physical_replication_slot('s', true)", "pg_create_physical_replication_slot"),
        ("pg_drop_replication_slot('s')", "pg_drop_replication_slot"),
    ];
    for who in ROLES {
        for (call, symbol) in slots {
            let said = [symbol, "", "important", "server_control"];
            attack_as(&school, who, &format!("SELECT {call}"), Allowed, said);
        }
    }
    // Nobody answers for a login without a person.
    school.operate("postgres", "CREATE ROLE ghost LOGIN REPLICATION");
    let slot = "SELECT pg_create_physical_replication_slot('s')";
    let said = ["pg_create_physical_replication_slot", "", "important", "server_control"];
    attack_as(&school, "ghost", slot, Refused, said);
}

fn a_stream_of_changes() {
    let school = School::with("enforce", &["wal_level = logical"]);
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT pg_create_logical_replication_slot('s', 'test_decoding')").expect("a slot");
    superuser.batch_execute("ALTER ROLE teacher_wang REPLICATION; SELECT steward.activate()").expect("activate");
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id = 1").expect("update");
    let read = "SELECT data FROM pg_logical_slot_get_changes('s', NULL, NULL)";
    let said = ["pg_logical_slot_get_changes", "", "important", "export"];
    attack(&school, read, Allowed, said);
}

/// The name of an output plugin is the name of a library.
fn a_slot_that_loads_a_library() {
    let school = School::with("enforce", &["wal_level = logical"]);
    school.superuser().batch_execute("ALTER ROLE teacher_wang REPLICATION; SELECT steward.activate()").expect("set-up");
    let slot = "SELECT pg_create_logical_replication_slot('s', '/tmp/evil')";
    attack(&school, slot, Refused, access("pg_create_logical_replication_slot"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_replication_slots"), 0);
}

fn messages_in_the_log_of_changes() {
    let school = School::active();
    let emit = "SELECT pg_logical_emit_message(false, 'pg_steward', 'x')";
    attack(&school, emit, Allowed, ["pg_logical_emit_message_text", "", "normal", "upkeep"]);
    // The chain does not listen to the log of changes.
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn raw_pages() {
    let school = school_with(
        &["pageinspect"],
        "CREATE FUNCTION app.page(text, bigint) RETURNS bytea LANGUAGE c AS '$libdir/pageinspect', 'get_raw_page_1_9'",
    );
    attack(&school, "SELECT get_raw_page('app.student', 0)", Refused, access("get_raw_page_1_9"));
    let index = "SELECT * FROM bt_page_items('app.student_pkey', 1)";
    attack(&school, index, Refused, access("bt_page_items_1_9"));
    attack(&school, "SELECT app.page('app.student', 0)", Refused, access("get_raw_page_1_9"));
}

fn rows_changed_below_the_executor() {
    let school = school_with(
        &["pg_surgery", "pg_visibility"],
        "GRANT EXECUTE ON FUNCTION heap_force_kill(regclass, tid[]), heap_force_freeze(regclass, tid[]),
            pg_truncate_visibility_map(regclass) TO teacher_wang",
    );
    let kill = "SELECT heap_force_kill('app.student', ARRAY['(0,1)']::tid[])";
    attack(&school, kill, Refused, access("heap_force_kill"));
    let freeze = "SELECT heap_force_freeze('app.student', ARRAY['(0,1)']::tid[])";
    attack(&school, freeze, Refused, access("heap_force_freeze"));
    let hide = "SELECT pg_truncate_visibility_map('app.student')";
    attack(&school, hide, Refused, access("pg_truncate_visibility_map"));
}

fn what_backups_call_is_open() {
    let school = school_with(
        &[],
        "GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_create_restore_point(text), pg_backup_start(text, bool)
            TO teacher_wang",
    );
    for (call, symbol) in [
        ("pg_switch_wal()", "pg_switch_wal"),
        ("pg_create_restore_point('p')", "pg_create_restore_point"),
        ("pg_backup_start('b', true)", "pg_backup_start"),
    ] {
        let said = [symbol, "", "normal", "upkeep"];
        attack(&school, &format!("SELECT {call}"), Allowed, said);
    }
}

/// Wherever somebody puts the sequence, no number is given twice and none is the last.
fn moving_the_number_of_operations() {
    let school = School::active();
    let script = "UPDATE app.student SET note = 'x' WHERE id = 1";
    let first = school.request("region_chen", script);
    let mut superuser = school.superuser();
    let mut numbers = vec![first];
    for value in ["1", "9223372036854775807", "1"] {
        superuser
            .batch_execute(&format!("SELECT setval('steward.operation_number', {value})"))
            .expect("no hook sees what a function is called with");
        numbers.push(school.request("region_chen", script));
    }
    let given = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), given, "{numbers:?}");
    let ordinary = school.session("teacher_wang").batch_execute("SELECT setval('steward.operation_number', 1)");
    expect_error(ordinary, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    expect_refused(superuser.batch_execute("ALTER SEQUENCE steward.operation_number RESTART"));
    expect_refused(superuser.batch_execute("DROP SEQUENCE steward.operation_number CASCADE"));
}

fn functions_from_another_database() {
    let school = School::inactive();
    let mut elsewhere = school.connect("postgres", "postgres");
    elsewhere
        .batch_execute(
            "CREATE EXTENSION dblink; ALTER ROLE teacher_wang REPLICATION; GRANT pg_read_server_files TO teacher_wang;
             GRANT EXECUTE ON FUNCTION pg_read_file(text), pg_reload_conf(), lo_import(text), pg_switch_wal() TO teacher_wang",
        )
        .expect("nothing protected is here");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    for who in ROLES {
        let mut elsewhere = school.connect(who, "postgres");
        functions_refused(&school, who, &mut elsewhere);
    }
}

fn functions_refused(school: &School, who: &str, elsewhere: &mut Client) {
    for call in [
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT pg_reload_conf()",
        "SELECT lo_import('/etc/passwd')",
        "SELECT dblink_exec('dbname=school', 'DELETE FROM app.guardian')",
        "SELECT pg_terminate_backend(0)",
        "SELECT pg_create_physical_replication_slot('s')",
    ] {
        let error = expect_refused(elsewhere.batch_execute(call));
        assert!(error.hint().unwrap_or("").contains("school"), "{call}: {error:?}");
    }
    elsewhere.batch_execute("SELECT lo_create(0); SELECT pg_switch_wal()").expect("of this database alone");
    assert_eq!(school.records(&format!("user_id = '{who}' AND result = 'DENIED' AND rule = 'home_database'")), 6);
}

fn a_rule_may_name_any_c_function() {
    let school = School::active();
    let mut open = school.session("teacher_wang");
    open.batch_execute("SELECT pg_sleep(0)").expect("nobody's business");
    school
        .operate("security_han", "SELECT steward.set_rule('no_sleep', 'critical', commands => '{FUNCTION pg_sleep}')");
    let error = expect_refused(open.batch_execute("SELECT pg_sleep(0)"));
    assert!(error.detail().unwrap_or("").contains("no_sleep"), "{error:?}");
    attack(&school, "SELECT pg_sleep(0)", Refused, ["pg_sleep", "", "critical", "no_sleep"]);
}

fn an_operation_may_call_them() {
    let school = School::active();
    let script = "SELECT pg_read_file('PG_VERSION')";
    let op_no = school.operate("postgres", script);
    let record = format!("op_no = '{op_no}' AND operation_type = 'pg_read_file_all' AND result = 'SUCCESS'");
    assert_eq!(school.records(&record), 1);
    let tier = format!("SELECT tier || ' ' || rule FROM steward.classify($${script}$$)");
    assert_eq!(school.ask::<String>(&tier), "critical server_access");
}

fn a_dropped_rule_leaves_them_critical() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("SELECT steward.drop_rule('server_control'); SELECT steward.activate()")
        .expect("rule");
    let said = ["pg_terminate_backend", "", "critical", "unmatched"];
    attack(&school, "SELECT pg_terminate_backend(0)", Refused, said);
}

/// PL/pgSQL sets an expression up once in a transaction; the approval is for one run.
fn what_an_operation_was_allowed_ends_with_it() {
    let school = school_with(
        &[],
        "CREATE FUNCTION app.assign(file text) RETURNS text LANGUAGE plpgsql AS 'DECLARE x text; BEGIN x := pg_read_file(file); RETURN x; END';
         CREATE FUNCTION app.answer(file text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN pg_read_file(file); END';
         CREATE FUNCTION app.failing(file text) RETURNS text LANGUAGE plpgsql AS 'DECLARE x text; BEGIN x := pg_read_file(file); RAISE division_by_zero; END'",
    );
    for function in ["app.assign", "app.answer"] {
        let mut superuser = school.superuser();
        let op_no = request(&mut superuser, &format!("SELECT {function}('PG_VERSION')"), "");
        school.release(&op_no);
        // With another search_path than that of operations the expression would be set up anew.
        superuser.batch_execute("SET search_path = pg_catalog, pg_temp; BEGIN").expect("begin");
        execute(&mut superuser, &op_no).expect("the operation may call it");
        expect_refused(superuser.batch_execute(&format!("SELECT {function}('postgresql.conf')")));
        superuser.batch_execute("ROLLBACK").expect("rollback");
        // In the same statement as well.
        let both = format!("SELECT count(*), {function}('postgresql.conf') FROM steward.execute('{op_no}')");
        expect_refused(superuser.batch_execute(&both));
    }
    let mut superuser = school.superuser();
    let op_no = request(&mut superuser, "SELECT app.failing('PG_VERSION')", "");
    school.release(&op_no);
    superuser.batch_execute("SET search_path = pg_catalog, pg_temp; BEGIN; SAVEPOINT s").expect("begin");
    expect_error(execute(&mut superuser, &op_no), &SqlState::DIVISION_BY_ZERO, "", "");
    superuser.batch_execute("ROLLBACK TO s").expect("rollback");
    expect_refused(superuser.batch_execute("SELECT app.failing('postgresql.conf')"));
}
