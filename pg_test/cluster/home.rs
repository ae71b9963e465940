//! What the server says of itself where the policy cannot work as it was meant: no governed database, a library that is not
//! the last or not the extension's, a mode that waits.

use std::fs;
use std::sync::{Arc, Mutex};

use postgres::error::SqlState;
use postgres::{Client, NoTls};

use crate::cluster::Cluster;
use crate::expect::expect_error;
use crate::fault::wait_for;
use crate::school::{HOME, School, ask, settings};

tests! {
    a_governed_database_that_does_not_exist_is_told_again_and_again,
    an_extension_of_another_version_than_the_library_is_told,
    a_library_that_is_preloaded_later_is_told,
    the_line_to_add_keeps_what_is_preloaded,
    a_mode_that_waits_for_a_restart_is_not_reported,
}

/// The lines of the server's log with these words, each with the two that follow it.
fn told(cluster: &Cluster, words: &str) -> Vec<String> {
    let log = fs::read_to_string(cluster.log()).expect("log");
    let lines: Vec<&str> = log.lines().collect();
    let begins = (0..lines.len()).filter(|at| lines[*at].contains("WARNING") && lines[*at].contains(words));
    begins.map(|at| lines[at..lines.len().min(at + 3)].join("\n")).collect()
}

/// In the measure of the heartbeat, which is what such a server lacks.
fn a_governed_database_that_does_not_exist_is_told_again_and_again() {
    let mut lines = settings("enforce").to_vec();
    lines.extend(["steward.database = 'shcool'", "steward.heartbeat_interval = 1"].map(str::to_owned));
    let cluster = Cluster::new(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let mut session = cluster.connect("postgres", "postgres");
    wait_for(&cluster, "three warnings", || (told(&cluster, "\"shcool\" does not exist").len() >= 3).then_some(()));
    let said = &told(&cluster, "\"shcool\" does not exist")[0];
    assert!(said.contains("nothing is governed") && said.contains("CREATE DATABASE"), "{said}");
    session.batch_execute("CREATE DATABASE shcool").expect("a typo that came true");
    let set_up = "CREATE EXTENSION pg_steward; CREATE TABLE t (); SELECT steward.protect('t')";
    let mut superuser = cluster.connect("postgres", "shcool");
    superuser.batch_execute(set_up).expect("governed");
    assert!(ask::<bool>(&mut superuser, "SELECT steward.flush_audit('75 s')"));
}

fn an_extension_of_another_version_than_the_library_is_told() {
    let mut school = School::inactive();
    school.restart();
    school.flush_audit();
    const WORDS: &str = "extension pg_steward is of version";
    assert!(told(&school, WORDS).is_empty(), "{:?}", told(&school, WORDS));
    let older =
        "SET allow_system_table_mods = on; UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'pg_steward'";
    school.superuser().batch_execute(older).expect("as a library is that was installed anew");
    school.restart();
    wait_for(&school, "the warning", || (!told(&school, WORDS).is_empty()).then_some(()));
    let said = &told(&school, WORDS)[0];
    assert!(said.contains("0.0.9") && said.contains("ALTER EXTENSION pg_steward UPDATE"), "{said}");
}

/// The session hears what it is told.
fn listening(school: &School) -> (Client, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&heard);
    let mut config = school.config("postgres", HOME);
    config.notice_callback(move |notice| {
        let said = format!("{}: {} {}", notice.severity(), notice.message(), notice.hint().unwrap_or(""));
        keep.lock().expect("notices").push(said);
    });
    (config.connect(NoTls).expect("connect"), heard)
}

fn a_library_that_is_preloaded_later_is_told() {
    const WORDS: &str = "pg_steward is not the last of shared_preload_libraries";
    const LINE: &str = "shared_preload_libraries = 'auto_explain, pg_stat_statements, pg_steward'";
    let later = "shared_preload_libraries = 'auto_explain, pg_steward, pg_stat_statements'";
    let mut school = School::with("enforce", &[later]);
    let said = told(&school, WORDS);
    assert_eq!(said.len(), 1, "once at a start: {said:?}");
    assert!(said[0].contains(LINE), "{said:?}");
    let (mut session, heard) = listening(&school);
    session.batch_execute("SELECT steward.activate()").expect("it is told, not refused");
    let heard = heard.lock().expect("notices").join("\n");
    assert!(heard.contains("WARNING: ") && heard.contains(WORDS) && heard.contains(LINE), "{heard}");
    let found = "SELECT object || ' -> ' || command FROM steward.lint() WHERE kind = 'preload_order'";
    let expected = "library pg_stat_statements -> ALTER SYSTEM SET shared_preload_libraries = 'auto_explain', 'pg_stat_statements', 'pg_steward'";
    assert_eq!(school.ask::<String>(found), expected);
    let command: String = school.ask("SELECT command FROM steward.lint() WHERE kind = 'preload_order'");
    drop(session);
    school.operate("postgres", "SELECT steward.deactivate()");
    school.superuser().batch_execute(&command).expect("the command can be run");
    school.restart();
    assert_eq!(told(&school, WORDS).len(), 2, "by the first start and the activation");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.lint() WHERE kind = 'preload_order'"), 0);
}

fn the_line_to_add_keeps_what_is_preloaded() {
    let cluster = Cluster::new(&["shared_preload_libraries = 'pg_stat_statements, $libdir/auto_explain'"]);
    let created = cluster.connect("postgres", "postgres").batch_execute("CREATE EXTENSION pg_steward");
    let line = "shared_preload_libraries = 'pg_stat_statements, $libdir/auto_explain, pg_steward'";
    expect_error(created, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", line);
}

fn a_mode_that_waits_for_a_restart_is_not_reported() {
    let school = School::active();
    let state = "SELECT mode || ' ' || active FROM steward.audit_status";
    assert_eq!(school.ask::<String>(state), "enforce true");
    // The sequencer runs: it hears of the change, and is not started with it.
    school.flush_audit();
    school.configure(&["steward.mode = 'off'"]);
    school.reload();
    wait_for(&school, "the warning", || {
        (!told(&school, "steward.mode waits for a restart: enforce holds").is_empty()).then_some(())
    });
    assert_eq!(school.ask::<String>("SHOW steward.mode"), "off", "what is configured");
    assert_eq!(school.ask::<String>(state), "enforce true", "what holds");
    let points = "SELECT concat(string_agg(code || ': ' || facts, E'\\n')) FROM steward.mlps_report()
        WHERE facts ~ '(, mode|Policy enforced): (off|f)'";
    assert_eq!(school.ask::<String>(points), "");
    assert_eq!(school.records("operation_type = 'MODE CHANGED' AND details::jsonb ->> 'in_force' = 'enforce'"), 1);
}
