//! The commands of the replication protocol, by which all data leave at once: each is on record before it runs, whatever
//! is done to the settings of the log, and who has no licence of the policy copies nothing.

use super::wire::{Wire, error};
use crate::expect::expect_error;
use crate::failover::wait_until;
use crate::fault::wait_for;
use crate::school::{HOME, School};
use postgres::error::SqlState;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

tests! {
    a_slot_loads_no_library_of_the_callers,
    every_command_is_on_record_whatever_the_log_is_told,
    without_a_licence_nothing_is_copied,
    what_cannot_be_recorded_is_not_copied,
    who_replicates_needs_a_licence_before_the_policy_is_active,
}

/// `mirror` may replicate, `copier` and the superuser `root` have the attribute only.
const PERSONS: &str = "CREATE ROLE mirror LOGIN REPLICATION; CREATE ROLE copier LOGIN REPLICATION; CREATE ROLE root LOGIN SUPERUSER;
    SELECT steward.register_person('Bao', 'ops', roles => '{mirror}'), steward.register_person('Pi', 'ops', roles => '{copier}'),
        steward.register_person('Gen', 'ops', roles => '{root}'), steward.set_login_policy('mirror', replication => true)";

fn school(lines: &[&str], more: &str) -> School {
    let school = School::with("enforce", &[&["wal_level = logical"], lines].concat());
    school.superuser().batch_execute(PERSONS).expect("persons");
    school.superuser().batch_execute(more).expect("set-up");
    school
}

/// A walsender: of one database, or physical.
#[track_caller]
fn walsender(school: &School, who: &str, kind: &str, options: &str) -> Wire {
    let more = [("replication", kind), ("options", options), ("application_name", "copies")];
    Wire::connect(school, who, HOME, &more).unwrap_or_else(|error| panic!("{who}: {error}"))
}

fn commands(school: &School, who: &str, more: &str) -> i64 {
    school.records(&format!(
        "user_id = '{who}' AND (details::json ->> 'replication')::boolean AND operation_type NOT LIKE 'LOG%' AND {more}"
    ))
}

/// The licence is in the file that logins are judged by.
fn licensed(school: &School, roles: usize) {
    let file = school.data().join("pg_steward/logins");
    wait_for(school, "the licence", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        (text.matches("\"replication\" : true").count() == roles).then_some(())
    });
}

fn program(school: &School, name: &str, who: &str, arguments: &[&str]) -> Command {
    let mut command = school.server_program(name);
    command.args(["--port=5432", "--username", who, "--no-password", "--host"]).arg(school.file("")).args(arguments);
    command
}

/// The superuser mutes the log by every setter there is; whoever is no superuser cannot.
fn every_command_is_on_record_whatever_the_log_is_told() {
    let mute = "ALTER ROLE mirror SET log_min_messages = panic; ALTER ROLE root SET log_min_messages = panic;
        ALTER DATABASE school SET log_replication_commands = off; SELECT steward.set_login_policy('root', replication => true);
        SELECT steward.activate()";
    let school = school(&["log_min_messages = fatal", "log_replication_commands = off"], mute);
    licensed(&school, 3);
    let target = school.file("mirror").display().to_string();
    let backup = ["--checkpoint=fast", "--no-sync", "--wal-method=none", "--label=nightly", "--pgdata", &target];
    let done = program(&school, "pg_basebackup", "mirror", &backup).output().expect("pg_basebackup");
    assert!(done.status.success(), "{done:?}");
    let kept = "operation_type = 'BASE_BACKUP' AND result = 'SUCCESS' AND person = 'Bao' AND client_ip IS NULL
        AND application_name = 'pg_basebackup' AND details::json ->> 'command' LIKE '%nightly%'";
    assert_eq!(commands(&school, "mirror", kept), 1);
    // What the log is told is what it says.
    assert!(!fs::read_to_string(school.log()).expect("log").contains("received replication command"));

    let end: String = school.ask("SELECT pg_current_wal_flush_lsn()::text");
    let wal = school.file("wal").display().to_string();
    fs::create_dir(&wal).expect("directory");
    fs::set_permissions(&wal, Permissions::from_mode(0o777)).expect("permissions");
    let streaming = ["--no-loop", "--endpos", &end, "--directory", &wal];
    let received = program(&school, "pg_receivewal", "mirror", &streaming).output().expect("pg_receivewal");
    assert!(received.status.success(), "{received:?}");
    assert_eq!(commands(&school, "mirror", "operation_type = 'START_REPLICATION'"), 1);

    let options = "-c log_min_messages=panic -c log_replication_commands=off -c client_min_messages=error";
    let mut wire = walsender(&school, "root", "database", options);
    let identify = |wire: &mut Wire| wire.query("IDENTIFY_SYSTEM").expect("answered");
    identify(&mut wire);
    let mutings = [
        "SET log_replication_commands = off; SET log_min_messages = panic",
        "RESET ALL",
        "DISCARD ALL",
        "SELECT set_config('log_min_messages', 'panic', false), set_config('log_replication_commands', 'off', false)",
        "BEGIN; SET LOCAL log_min_messages = panic; SET LOCAL log_replication_commands = off",
        "ROLLBACK",
    ];
    for (number, muting) in (2..).zip(mutings) {
        wire.query(muting).unwrap_or_else(|error| panic!("{muting}: {error}"));
        identify(&mut wire);
        assert_eq!(commands(&school, "root", "operation_type = 'IDENTIFY_SYSTEM'"), number, "{muting}");
    }
    // Read by a walsender that is there, just before the command.
    school.configure(&["log_min_messages = panic", "log_replication_commands = off"]);
    school.reload();
    wait_until(&school, "SELECT current_setting('log_min_messages') = 'panic'");
    identify(&mut wire);
    assert_eq!(commands(&school, "root", "operation_type = 'IDENTIFY_SYSTEM'"), 8);
    wire.query("CREATE_REPLICATION_SLOT \"slot\" TEMPORARY LOGICAL test_decoding").expect("a slot");
    let start = "START_REPLICATION SLOT \"slot\" LOGICAL 0/0 (\"include-xids\" 'a secret')";
    // It fails, and is on record: before it runs nobody knows.
    assert!(wire.query(start).expect_err("no boolean").starts_with("22023"));
    let slot =
        "operation_type = 'CREATE_REPLICATION_SLOT' AND statement LIKE '%\"slot\" TEMPORARY LOGICAL test_decoding'
        AND (details::json ->> 'command') LIKE 'CREATE%' AND application_name = 'copies'";
    assert_eq!(commands(&school, "root", slot), 1);
    assert_eq!(
        commands(&school, "root", "operation_type = 'START_REPLICATION' AND statement LIKE '%include-xids%'"),
        1
    );
    assert_eq!(commands(&school, "root", "concat(statement, details) LIKE '%secret%'"), 0);
    assert!(!fs::read_to_string(school.log()).expect("log").contains("received replication command"));
}

/// Refused before anything is done, in a session that goes on; superusers too, and in every kind of walsender.
fn without_a_licence_nothing_is_copied() {
    let school = school(&[], "SELECT steward.activate()");
    licensed(&school, 2);
    let server: i32 = school.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
    for (who, kind) in [("copier", "true"), ("root", "true"), ("root", "database")] {
        let mut wire = walsender(&school, who, kind, "");
        for command in [
            "BASE_BACKUP",
            "BASE_BACKUP (TARGET 'server', TARGET_DETAIL '/tmp/nowhere')",
            "START_REPLICATION PHYSICAL 0/1000000 TIMELINE 1",
            "CREATE_REPLICATION_SLOT \"slot\" PHYSICAL",
            " \n\tDROP_REPLICATION_SLOT \"slot\"",
        ] {
            wire.send(b'Q', &[command.as_bytes(), b"\0"].concat());
            let refused = error(&wire.until(b"WHZ")).unwrap_or_else(|| panic!("{who}: {command} went on"));
            assert_eq!(refused, format!("42501 role \"{who}\" may not replicate: the policy does not let it"));
            wire.query("IDENTIFY_SYSTEM").expect("the session goes on");
        }
        if kind == "database" {
            wire.query("BEGIN").expect("begin");
            assert!(wire.query("CREATE_REPLICATION_SLOT \"slot\" TEMPORARY LOGICAL test_decoding").is_err());
            assert!(wire.query("IDENTIFY_SYSTEM").expect_err("aborted").starts_with("25P02"));
            wire.query("ROLLBACK").expect("rollback");
        }
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_replication_slots"), 0);
    let denied = "result = 'DENIED' AND rule = 'replication' AND sqlstate = '42501'";
    assert_eq!(commands(&school, "copier", denied), 5);
    // Ten each by itself within a minute, the eleventh with the next.
    assert_eq!(commands(&school, "root", denied), 10);
    let told = "SELECT count(*) > 0 FROM steward.alert WHERE rule = 'replication_refused' AND level = 'major' AND subject = 'Pi'";
    wait_until(&school, told);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.alert WHERE rule = 'permission_failures'"), 0);
    let after: i32 = school.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
    assert_eq!(after, server, "a crash starts every process anew");

    // The licence is policy: nobody gives it alone, and a membership passes it on.
    let licence = "SELECT steward.set_login_policy('copier', replication => true)";
    for who in ["root", "copier"] {
        expect_error(school.session(who).batch_execute(licence), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    let write = "UPDATE steward.login_policy SET replication = true";
    expect_error(school.session("root").batch_execute(write), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    school.operate("postgres", licence);
    licensed(&school, 3);
    walsender(&school, "copier", "true", "").query("CREATE_REPLICATION_SLOT \"slot\" PHYSICAL").expect("licensed");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_replication_slots"), 1);
    school.operate("postgres", &licence.replace("true", "false"));
    licensed(&school, 2);
    assert!(walsender(&school, "copier", "true", "").query("DROP_REPLICATION_SLOT \"slot\"").is_err());
}

/// The spool cannot be written for a moment.
fn what_cannot_be_recorded_is_not_copied() {
    let school = school(&[], "SELECT steward.activate()");
    licensed(&school, 2);
    let mut wire = walsender(&school, "mirror", "true", "");
    let spool = school.data().join("pg_steward/spool");
    let set = |directory: u32, file: u32| {
        for start in fs::read_dir(&spool).expect("the spool").map(|start| start.expect("entry").path()) {
            for lane in fs::read_dir(&start).into_iter().flatten().map(|lane| lane.expect("entry").path()) {
                fs::set_permissions(lane, Permissions::from_mode(file)).expect("permissions");
            }
            fs::set_permissions(&start, Permissions::from_mode(directory)).expect("permissions");
        }
    };
    // A session without a lane, beside one that has its own open.
    set(0o500, 0o400);
    let mut other = walsender(&school, "mirror", "true", "");
    let refused = other.query("CREATE_REPLICATION_SLOT \"unseen\" PHYSICAL");
    set(0o700, 0o600);
    assert!(refused.as_ref().is_err_and(|error| error.starts_with("58030")), "{refused:?}");
    wire.query("CREATE_REPLICATION_SLOT \"seen\" PHYSICAL").expect("a slot");
    other.query("CREATE_REPLICATION_SLOT \"later\" PHYSICAL").expect("a slot");
    let slots = "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots";
    assert_eq!(school.ask::<String>(slots), "later seen");
    assert_eq!(commands(&school, "mirror", "operation_type = 'CREATE_REPLICATION_SLOT' AND result = 'SUCCESS'"), 2);
}

/// Otherwise the activation would end a stream that somebody relies on. In set-up everybody copies, on record.
fn who_replicates_needs_a_licence_before_the_policy_is_active() {
    let school = school(&[], "");
    school.flush_audit();
    let mut wire = walsender(&school, "copier", "true", "");
    let position: String = school.ask("SELECT pg_current_wal_flush_lsn()::text");
    wire.send(b'Q', format!("START_REPLICATION PHYSICAL {position}\0").as_bytes());
    assert_eq!(error(&wire.until(b"WE")), None);
    assert_eq!(commands(&school, "copier", "operation_type = 'START_REPLICATION' AND result = 'SUCCESS'"), 1);
    let mut officer = school.superuser();
    let (lack, next) = ("Login copier replicates", "set_login_policy('copier', replication => true)");
    let refused = officer.batch_execute("SELECT steward.activate()");
    expect_error(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, lack, next);
    officer.batch_execute("SELECT steward.set_login_policy('copier', replication => true)").expect("a licence");
    officer.batch_execute("SELECT steward.activate()").expect("activate");
}

fn a_slot_loads_no_library_of_the_callers() {
    let school = school(&[], "SELECT steward.set_login_policy('root', replication => true); SELECT steward.activate()");
    licensed(&school, 3);
    let mut wire = walsender(&school, "root", "database", "");
    for plugin in ["/usr/lib/postgresql/15/lib/auto_explain", "auto_explain"] {
        let refused = wire.query(&format!("CREATE_REPLICATION_SLOT \"slot\" TEMPORARY LOGICAL \"{plugin}\""));
        let refused = refused.expect_err(plugin);
        assert_eq!(refused, format!("42501 a replication slot may not load the library \"{plugin}\""));
    }
    let denied = "operation_type = 'CREATE_REPLICATION_SLOT' AND result = 'DENIED' AND sqlstate = '42501'";
    assert_eq!(commands(&school, "root", denied), 2);
}
