//! Parallel queries: a statement is one record, whoever runs its plan, with the rows that came out of it; and what a
//! function does in a parallel worker is decided and recorded like anything else.

use postgres::Client;

use crate::expect::{expect_bulk_refused, expect_refused};
use crate::school::{School, ask};

tests! {
    a_parallel_statement_is_recorded_once,
    a_parallel_statement_without_its_leader_is_recorded_once,
    a_parallel_statement_that_fails_in_a_worker_is_recorded_once,
    row_limits_hold_where_parallel_plans_feed_a_write,
    an_export_of_a_parallel_plan_is_recorded_once,
    what_a_function_reads_in_a_worker_is_recorded,
    what_a_function_may_not_do_is_refused_in_a_worker,
    a_changed_identity_in_a_worker_is_recorded_as_the_login,
}

/// Makes every plan parallel that can be.
const PARALLEL: &str = "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
    SET max_parallel_workers_per_gather = 2; SET force_parallel_mode = off";
/// Runs a plan that could be run by a worker in one, whatever it costs.
const IN_WORKER: &str = "SET force_parallel_mode = on";

/// A table of some pages under policy, so that several processes have something to do.
fn school() -> School {
    let school = School::with("enforce", &["max_parallel_workers = 4", "max_worker_processes = 12"]);
    let big = "CREATE TABLE app.big (id int PRIMARY KEY, note text NOT NULL);
        INSERT INTO app.big SELECT n, repeat('x', 200) FROM generate_series(1, 20000) AS n; ANALYZE app.big;
        GRANT SELECT, INSERT, UPDATE, DELETE ON app.big TO teacher_wang; SELECT steward.protect('app.big');
        GRANT CREATE ON SCHEMA app TO teacher_wang; SELECT steward.activate()";
    school.superuser().batch_execute(big).expect("app.big");
    school
}

fn session(school: &School, more: &str) -> Client {
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute(&format!("{PARALLEL}; {more}")).expect("settings");
    teacher
}

/// The statement must have a parallel plan, and workers that run it.
#[track_caller]
fn is_parallel(session: &mut Client, statement: &str) {
    let plan = session.query(&format!("EXPLAIN (ANALYZE, COSTS OFF) {statement}"), &[]).expect("explain");
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Workers Launched: 2") || plan.contains("Workers Launched: 1"), "{plan}");
}

/// Records of a teacher's statement with this text, and the rows they tell of.
#[track_caller]
fn recorded(school: &School, text: &str) -> Vec<(String, Option<i64>, Option<i64>)> {
    school.flush_audit();
    let sql = "SELECT result, rows, repeats FROM steward.audit_log
        WHERE user_id = 'teacher_wang' AND person = 'Wang' AND statement = $1 AND operation_type <> 'EXPLAIN' ORDER BY id";
    let rows = school.superuser().query(sql, &[&text]).expect("audit_log");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn success(rows: i64) -> (String, Option<i64>, Option<i64>) {
    ("SUCCESS".to_owned(), Some(rows), None)
}

fn a_parallel_statement_is_recorded_once() {
    let school = school();
    once_each(&school, "SET parallel_leader_participation = on");
}

fn a_parallel_statement_without_its_leader_is_recorded_once() {
    let school = school();
    once_each(&school, "SET parallel_leader_participation = off");
}

#[track_caller]
fn once_each(school: &School, setting: &str) {
    let mut teacher = session(school, setting);
    let rows = "SELECT id FROM app.big WHERE note <> 'y'";
    let sum = "SELECT count(*) FROM app.big";
    let joined = "SELECT a.id FROM app.big a JOIN app.big b USING (id) WHERE b.note <> 'z'";
    for statement in [rows, sum, joined] {
        is_parallel(&mut teacher, statement);
    }
    assert_eq!(teacher.query(rows, &[]).expect("rows").len(), 20_000);
    assert_eq!(ask::<i64>(&mut teacher, sum), 20_000);
    assert_eq!(teacher.query(joined, &[]).expect("joined").len(), 20_000);
    // Prepared on the server, more often than it takes for a generic plan, and in a block.
    teacher.batch_execute(&format!("PREPARE p AS {sum} WHERE id > 0; BEGIN")).expect("prepare");
    for _ in 0..7 {
        teacher.batch_execute("EXECUTE p").expect("execute");
    }
    teacher.batch_execute("COMMIT").expect("commit");
    drop(teacher);
    assert_eq!(recorded(school, "SELECT id FROM app.big WHERE note <> ?"), [success(20_000)]);
    // EXPLAIN ANALYZE runs the statement as well: its record has the text of the command.
    assert_eq!(recorded(school, sum), [success(1)]);
    let joined = "SELECT a.id FROM app.big a JOIN app.big b USING (id) WHERE b.note <> ?";
    assert_eq!(recorded(school, joined), [success(20_000)]);
    let prepared = "PREPARE p AS SELECT count(*) FROM app.big WHERE id > ?";
    // EXECUTE runs what another message brought: like everything nested, repetitions are one record.
    assert_eq!(recorded(school, prepared), [("SUCCESS".to_owned(), Some(7), Some(7))]);
    let explained = "user_id = 'teacher_wang' AND statement LIKE 'EXPLAIN%' AND result = 'SUCCESS'
        AND table_name = 'app.big' AND operation_type = 'SELECT'";
    assert_eq!(school.records(explained), 3);
}

fn a_parallel_statement_that_fails_in_a_worker_is_recorded_once() {
    let school = school();
    let mut teacher = session(&school, "SET parallel_leader_participation = off");
    let failing = teacher.batch_execute("SELECT id FROM app.big WHERE 1 / (id - 15000) = 7");
    assert_eq!(failing.expect_err("division by zero").code().map(|code| code.code()), Some("22012"));
    drop(teacher);
    school.flush_audit();
    let sql = "SELECT string_agg(result || sqlstate, ' ') FROM steward.audit_log
        WHERE user_id = 'teacher_wang' AND statement LIKE 'SELECT id FROM app.big WHERE%'";
    assert_eq!(school.ask::<String>(sql), "FAILURE22012");
}

/// Writes have no parallel plans here, but what they read may have, in functions and in statements before them.
fn row_limits_hold_where_parallel_plans_feed_a_write() {
    let school = school();
    let mut teacher = session(&school, "SET parallel_leader_participation = off");
    let of_parallel =
        "UPDATE app.big SET note = 'moved' WHERE id IN (SELECT id FROM app.big WHERE note <> 'y' LIMIT 60)";
    expect_bulk_refused(teacher.batch_execute(of_parallel), "app.big");
    expect_bulk_refused(teacher.batch_execute("DELETE FROM app.big WHERE id % 100 = 0"), "app.big");
    let block = "DO $$ DECLARE n int; BEGIN
            FOR n IN SELECT id FROM app.big WHERE note <> 'y' ORDER BY id LIMIT 60 LOOP
                UPDATE app.big SET note = 'moved' WHERE id = n;
            END LOOP;
        END $$";
    expect_bulk_refused(teacher.batch_execute(block), "app.big");
    teacher.batch_execute(IN_WORKER).expect("set");
    expect_bulk_refused(teacher.batch_execute(of_parallel), "app.big");
    teacher
        .batch_execute("UPDATE app.big SET note = 'few' WHERE id IN (SELECT id FROM app.big ORDER BY id LIMIT 49)")
        .expect("49 rows");
    drop(teacher);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.big WHERE note = 'moved'"), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.big"), 20_000);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'bulk_write' AND table_name = 'app.big' AND rows = 50"), 4);
    assert_eq!(school.records("operation_type = 'UPDATE' AND result = 'SUCCESS' AND rows = 49"), 1);
}

fn an_export_of_a_parallel_plan_is_recorded_once() {
    let school = school();
    let mut teacher = session(&school, "SET parallel_leader_participation = off");
    teacher.batch_execute("CREATE TABLE app.copied AS SELECT id FROM app.big WHERE note <> 'y'").expect("export");
    drop(teacher);
    let exported = recorded(&school, "CREATE TABLE app.copied AS SELECT id FROM app.big WHERE note <> ?");
    assert_eq!(exported.len(), 1, "{exported:?}");
    assert_eq!(school.records("statement LIKE 'CREATE TABLE app.copied%' AND tier = 'important'"), 1);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.copied"), 20_000);
}

/// A function that says of itself that it may run in a worker.
const READER: &str = "CREATE FUNCTION app.peek(which int) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$ BEGIN RETURN (SELECT name FROM app.student WHERE id = which); END $$";

/// Its plan holds no protected table; the worker alone sees what the function reads.
fn what_a_function_reads_in_a_worker_is_recorded() {
    let school = school();
    let mut teacher = session(&school, IN_WORKER);
    teacher.batch_execute(READER).expect("function");
    assert_eq!(ask::<String>(&mut teacher, "SELECT app.peek(7)"), "student 7");
    teacher.batch_execute("SET force_parallel_mode = off; SET parallel_leader_participation = off").expect("set");
    let many = "SELECT count(app.peek(s.id)) FROM app.scratch s";
    school.superuser().batch_execute("INSERT INTO app.scratch SELECT n, repeat('x', 200) FROM generate_series(1, 5000) AS n; ANALYZE app.scratch").expect("rows");
    is_parallel(&mut teacher, many);
    teacher.query(many, &[]).expect("many");
    drop(teacher);
    let read = "table_name = 'app.student' AND user_id = 'teacher_wang' AND person = 'Wang' AND result = 'SUCCESS'";
    school.flush_audit();
    let times = format!("SELECT sum(coalesce(repeats, 1))::bigint FROM steward.audit_log WHERE {read}");
    assert_eq!(school.ask::<Option<i64>>(&times), Some(1 + 2 * 5_000));
}

/// What nobody may do without an approval is not done by a worker either.
fn what_a_function_may_not_do_is_refused_in_a_worker() {
    let school = school();
    let target = school.file("data/stolen");
    let copy = format!(
        "CREATE FUNCTION app.steal() RETURNS int LANGUAGE plpgsql PARALLEL SAFE
         AS $$ BEGIN COPY app.student TO PROGRAM 'cat > {}'; RETURN 1; END $$",
        target.display()
    );
    let read = "CREATE FUNCTION app.read() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
        AS $$ BEGIN RETURN (SELECT pg_read_file('postgresql.conf')); END $$";
    let mut superuser = school.superuser();
    superuser.batch_execute(&copy).expect("function");
    superuser.batch_execute(read).expect("function");
    superuser.batch_execute(IN_WORKER).expect("set");
    expect_refused(superuser.query("SELECT app.steal()", &[]));
    expect_refused(superuser.query("SELECT app.read()", &[]));
    assert!(!target.exists(), "the table was copied to a file");
    assert_eq!(school.records("result = 'DENIED' AND user_id = 'postgres' AND operation_type LIKE 'COPY%'"), 1);
    assert_eq!(school.records("result = 'DENIED' AND user_id = 'postgres' AND operation_type LIKE 'pg_read_file%'"), 1);
}

fn a_changed_identity_in_a_worker_is_recorded_as_the_login() {
    let school = school();
    let mut superuser = school.superuser();
    superuser.batch_execute(READER).expect("function");
    superuser.batch_execute(IN_WORKER).expect("set");
    superuser.batch_execute("SET SESSION AUTHORIZATION clerk_zhao").expect("set");
    assert_eq!(ask::<String>(&mut superuser, "SELECT app.peek(7)"), "student 7");
    drop(superuser);
    let read = "table_name = 'app.student' AND operation_type = 'SELECT'";
    assert_eq!(school.records(&format!("{read} AND user_id = 'clerk_zhao'")), 0);
    assert_eq!(school.records(&format!("{read} AND user_id = 'postgres' AND effective_user = 'clerk_zhao'")), 1);
}
