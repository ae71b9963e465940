//! Taking the policy out again, in order or not: nobody is left before a policy that is active and can approve nothing.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use postgres::error::SqlState;

use crate::expect::{db_error, expect_error};
use crate::failover::wait_until;
use crate::fault::{sequencer, wait_for};
use crate::school::{HOME, School};

tests! {
    a_policy_that_is_dropped_in_mode_off_is_not_active_any_more,
    a_database_that_is_dropped_in_mode_off_leaves_no_activation,
    where_the_policy_is_gone_but_active_the_way_out_is_told,
    a_deactivated_database_is_dropped_with_force,
    the_extension_is_not_dropped_in_a_circle_with_the_sequencer,
    a_question_of_an_auditor_does_not_keep_the_extension,
    nobody_keeps_the_extension_from_the_sequencer,
    a_table_that_gets_row_images_does_not_keep_the_extension,
    a_drop_that_is_refused_keeps_nothing_from_the_sequencer,
}

const OFF: &str = "steward.mode = 'off'";
const ENFORCE: &str = "steward.mode = 'enforce'";

fn restart_with(school: &mut School, setting: &str) {
    school.stop();
    school.configure(&[setting]);
    school.start();
}

/// What a start and the databases beside the governed one go by.
fn wait_until_inactive(school: &School) {
    let file = school.data().join("pg_steward/state");
    wait_for(school, "the end of the activation", || {
        (fs::read_to_string(&file).expect("the state file") == "inactive\n").then_some(())
    });
}

fn warnings(school: &School, words: &str) -> usize {
    let log = fs::read_to_string(school.log()).expect("log");
    log.lines().filter(|line| line.contains("WARNING") && line.contains(words)).count()
}

fn a_policy_that_is_dropped_in_mode_off_is_not_active_any_more() {
    let mut school = School::active();
    restart_with(&mut school, OFF);
    school.superuser().batch_execute("DROP EXTENSION pg_steward CASCADE").expect("nothing is decided");
    wait_until_inactive(&school);
    restart_with(&mut school, ENFORCE);
    school.superuser().batch_execute("CREATE ROLE guest; CREATE EXTENSION pg_steward").expect("nothing governs");
    school.connect("postgres", "postgres").batch_execute("CREATE ROLE other").expect("nothing governs");
}

fn a_database_that_is_dropped_in_mode_off_leaves_no_activation() {
    let mut school = School::active();
    restart_with(&mut school, OFF);
    let drop = format!("DROP DATABASE {HOME} WITH (FORCE)");
    school.connect("postgres", "postgres").batch_execute(&drop).expect("nothing is decided");
    wait_until_inactive(&school);
    restart_with(&mut school, ENFORCE);
    school.connect("postgres", "postgres").batch_execute("CREATE ROLE guest").expect("nothing governs");
}

/// The library was out of the server meanwhile, so nothing could follow.
fn where_the_policy_is_gone_but_active_the_way_out_is_told() {
    let mut school = School::active();
    restart_with(&mut school, "shared_preload_libraries = ''");
    school.superuser().batch_execute("DROP EXTENSION pg_steward CASCADE").expect("no library is there to refuse it");
    restart_with(&mut school, "shared_preload_libraries = 'pg_steward'");
    wait_for(&school, "the warning", || (warnings(&school, "the policy is active, but there is no") > 0).then_some(()));
    for (database, statement) in
        [(HOME, "CREATE ROLE guest"), (HOME, "CREATE EXTENSION pg_steward"), ("postgres", "CREATE ROLE guest")]
    {
        let refused = school.connect("postgres", database).batch_execute(statement);
        let error = expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, HOME, "steward.mode = 'off'");
        assert!(error.message().contains("nothing is left that could approve"), "{database}: {error:?}");
    }
    // The way out.
    restart_with(&mut school, OFF);
    wait_until_inactive(&school);
    restart_with(&mut school, ENFORCE);
    school.superuser().batch_execute("CREATE ROLE guest; CREATE EXTENSION pg_steward").expect("nothing governs");
}

fn a_deactivated_database_is_dropped_with_force() {
    let school = School::active();
    school.operate("postgres", "SELECT steward.deactivate()");
    let mut elsewhere = school.connect("postgres", "postgres");
    // The server waits for those who are on their way out; the sequencer stays.
    let error = db_error(elsewhere.batch_execute(&format!("DROP DATABASE {HOME}")));
    assert_eq!(error.code(), &SqlState::OBJECT_IN_USE, "{error:?}");
    elsewhere.batch_execute(&format!("DROP DATABASE {HOME} WITH (FORCE)")).expect("the sequencer gives way");
    elsewhere.batch_execute("CREATE ROLE guest").expect("nothing governs");
    wait_for(&school, "the warning", || (warnings(&school, "does not exist") > 0).then_some(()));
    elsewhere.batch_execute(&format!("CREATE DATABASE {HOME}")).expect("a new one");
    let set_up = "CREATE EXTENSION pg_steward; CREATE TABLE t (); SELECT steward.protect('t')";
    school.superuser().batch_execute(set_up).expect("is governed again");
    school.flush_audit();
}

/// It waits for the sequencer's transaction before it holds any table that this one may still ask for.
fn the_extension_is_not_dropped_in_a_circle_with_the_sequencer() {
    let school = School::inactive();
    let mut holder = school.superuser();
    holder.batch_execute("BEGIN; LOCK TABLE steward._alert").expect("lock");
    let waits = "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND backend_type LIKE 'pg_steward sequencer%'";
    wait_until(&school, waits);
    // So that it gives up no sooner than told.
    let worker = sequencer(&school);
    school.signal("STOP", worker);
    assert!(school.ask::<bool>(waits), "the sequencer has given up already");
    let mut dropping = school.superuser();
    let pid: i32 = dropping.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0);
    let drop = std::thread::spawn(move || dropping.batch_execute("DROP EXTENSION pg_steward CASCADE"));
    wait_until(&school, &format!("SELECT count(*) > 0 FROM pg_locks WHERE pid = {pid} AND NOT granted"));
    let held = format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND relation IN (SELECT oid FROM pg_class
            WHERE relnamespace = 'steward'::regnamespace) AND mode = 'AccessExclusiveLock'"
    );
    assert_eq!(school.ask::<i64>(&held), 0, "before the sequencer's transaction has ended");
    holder.batch_execute("COMMIT").expect("commit");
    school.signal("CONT", worker);
    drop.join().expect("thread").expect("dropped");
}

fn a_question_of_an_auditor_does_not_keep_the_extension() {
    let school = School::inactive();
    let slow = "SELECT count(*) FROM pg_class a, pg_class b, pg_class c, pg_class d, pg_class e";
    let set = "SELECT steward.set_alert_query('slow', 'minor', $1, timeout => '1 min')";
    school.session("auditor_qian").execute(set, &[&slow]).expect("a question");
    let asking = "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE backend_type = 'pg_steward alert query' AND relation = 'pg_class'::regclass";
    wait_until(&school, asking);
    let drop = "SET lock_timeout = '20s'; DROP EXTENSION pg_steward CASCADE";
    school.superuser().batch_execute(drop).expect("nobody holds it");
    assert!(school.ask::<bool>(asking), "the worker has ended before");
}

/// Commands that lock the extension for as long as their transaction lasts, by whoever owns what they are about.
const DEPENDS: &[&str] = &[
    "ALTER FUNCTION mine.one() DEPENDS ON EXTENSION pg_steward",
    "ALTER FUNCTION mine.one() NO DEPENDS ON EXTENSION pg_steward",
    "ALTER ROUTINE mine.one() DEPENDS ON EXTENSION pg_steward",
    "ALTER INDEX mine.t_pkey DEPENDS ON EXTENSION pg_steward",
    "ALTER TRIGGER t ON mine.t DEPENDS ON EXTENSION pg_steward",
    "ALTER MATERIALIZED VIEW mine.v DEPENDS ON EXTENSION pg_steward",
    "DO $$ BEGIN EXECUTE 'ALTER FUNCTION mine.one() DEPENDS ON EXTENSION pg_steward'; END $$",
];

const MINE: &str = "CREATE SCHEMA mine AUTHORIZATION teacher_wang; SET ROLE teacher_wang;
    CREATE FUNCTION mine.one() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TABLE mine.t (i int PRIMARY KEY); CREATE MATERIALIZED VIEW mine.v AS SELECT 1 AS one;
    CREATE TRIGGER t AFTER INSERT ON mine.t EXECUTE FUNCTION mine.one()";

/// Nothing that the sequencer would wait for. After an error the client may hear of it before the locks are given back.
#[track_caller]
fn expect_no_lock(school: &School, pid: i32, what: &str) {
    let held = format!(
        "SELECT coalesce(string_agg(mode, ' '), '') FROM pg_locks WHERE pid = {pid} AND locktype = 'object'
            AND classid = 'pg_extension'::regclass AND mode = 'AccessExclusiveLock'"
    );
    let mut found = String::new();
    for _ in 0..100 {
        found = school.ask(&held);
        if found.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{what}: {found}");
}

fn pid_of(session: &mut postgres::Client) -> i32 {
    session.query_one("SELECT pg_backend_pid()", &[]).expect("pid").get(0)
}

/// The sequencer needs the extension in each of its transactions: nobody else keeps it.
fn nobody_keeps_the_extension_from_the_sequencer() {
    let school = School::with("enforce", &[]);
    school.superuser().batch_execute(MINE).expect("what a teacher owns");
    for activated in [false, true] {
        if activated {
            school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
        }
        for (login, statement) in
            DEPENDS.iter().flat_map(|statement| [("teacher_wang", statement), ("postgres", statement)])
        {
            let mut session = school.session(login);
            let pid = pid_of(&mut session);
            session.batch_execute("BEGIN").expect("begin");
            if login == "postgres" && !activated {
                // A restore says so.
                session.batch_execute(statement).expect(statement);
                session.batch_execute("ROLLBACK").expect("rollback");
                continue;
            }
            let error = db_error(session.batch_execute(statement));
            assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{activated}: {login}: {statement}: {error:?}");
            expect_no_lock(&school, pid, &format!("{activated}: {login}: {statement}"));
        }
    }
}

/// Nor does the policy's own work, however long its transaction lasts.
fn a_table_that_gets_row_images_does_not_keep_the_extension() {
    let school = School::inactive();
    let mut owner = school.superuser();
    let pid = pid_of(&mut owner);
    let begin =
        "BEGIN; CREATE TABLE app.plain (i int PRIMARY KEY); SELECT steward.protect('app.plain', row_images => true);
        CREATE TABLE app.child () INHERITS (app.plain)";
    owner.batch_execute(begin).expect("images");
    expect_no_lock(&school, pid, begin);
    school.flush_audit();
    owner.batch_execute("COMMIT").expect("commit");
    let depends = "SELECT count(*) FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND deptype = 'x'
        AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_steward')
        AND objid IN (SELECT oid FROM pg_trigger WHERE tgrelid IN ('app.plain'::regclass, 'app.child'::regclass))";
    assert_eq!(school.ask::<i64>(depends), 2);
    owner.batch_execute("DROP EXTENSION pg_steward CASCADE").expect("dropped");
    let triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN ('app.plain'::regclass, 'app.child'::regclass)";
    assert_eq!(school.ask::<i64>(triggers), 0);
}

/// Who has no right to drop it waits for it all the same, and gives it back at once.
fn a_drop_that_is_refused_keeps_nothing_from_the_sequencer() {
    let school = School::inactive();
    let worker = sequencer(&school);
    for swallowed in [
        "BEGIN; SAVEPOINT s; DROP EXTENSION pg_steward",
        "BEGIN; SAVEPOINT s; DROP EXTENSION pg_steward CASCADE",
        "BEGIN; DO $$ BEGIN DROP EXTENSION pg_steward; END $$",
        "BEGIN; COMMENT ON EXTENSION pg_steward IS 'mine'",
        "BEGIN; ALTER EXTENSION pg_steward UPDATE",
        "BEGIN; ALTER EXTENSION pg_steward ADD TABLE app.student",
    ] {
        let mut teacher = school.session("teacher_wang");
        let pid = pid_of(&mut teacher);
        db_error(teacher.batch_execute(swallowed));
        expect_no_lock(&school, pid, swallowed);
        teacher.batch_execute("ROLLBACK").expect("rollback");
        let caught = format!(
            "BEGIN; DO $$ BEGIN EXECUTE '{}'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
            swallowed.rsplit("; ").next().expect("a statement").replace('\'', "''")
        );
        if !swallowed.contains("END $$") {
            teacher.batch_execute(&caught).expect("swallowed");
            expect_no_lock(&school, pid, &caught);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut teacher = school.session("teacher_wang");
                while !stop.load(SeqCst) {
                    db_error(teacher.batch_execute("DROP EXTENSION pg_steward CASCADE"));
                }
            });
        }
        for _ in 0..10 {
            school
                .session("teacher_wang")
                .batch_execute("UPDATE app.student SET note = 'x' WHERE id = 1")
                .expect("update");
            school.flush_audit();
        }
        stop.store(true, SeqCst);
    });
    assert_eq!(sequencer(&school), worker, "it had to begin anew");
    let updates = "operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'SUCCESS'";
    assert_eq!(school.records(updates), 10);
}
