//! The jobs of the daily work: run by pg_cron in both of its modes, by hand, at the wrong time and by the wrong people.

use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::fault::wait_for;
use crate::school::{School, ask};

tests! {
    nobody_else_runs_a_job_or_says_when,
    a_failure_is_kept_and_its_work_is_not,
    the_second_of_two_says_so_and_ends,
    a_job_without_success_becomes_overdue,
    the_approval_of_the_jobs_stands_for_a_time,
    pg_cron_is_set_up_once_and_in_plain_sql_alike,
    pg_cron_runs_the_whole_night_in_both_of_its_modes,
}

const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const NIGHT: &str =
    "CREATE ROLE job_night LOGIN; SELECT steward.register_person('Night jobs', 'service', roles => '{job_night}')";

#[track_caller]
fn set_up(school: &School, statements: &str) {
    school.superuser().batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

fn run(session: &mut Client, job: &str) -> Result<bool, postgres::Error> {
    session.query_one("SELECT steward.run_job($1)", &[&job]).map(|row| row.get(0))
}

/// One column of the state of a job, as text.
#[track_caller]
fn state(school: &School, job: &str, column: &str) -> Option<String> {
    school.ask(&format!("SELECT {column}::text FROM steward.job_state WHERE name = '{job}'"))
}

fn nobody_else_runs_a_job_or_says_when() {
    let school = School::inactive();
    set_up(&school, NIGHT);
    set_up(
        &school,
        "CREATE ROLE app_card LOGIN; SELECT steward.register_person('Cards', 'service', roles => '{app_card}');
        SELECT steward.set_job_login('job_night'); SELECT steward.activate()",
    );
    // People, another service, and whoever only plays the login.
    for login in ["teacher_wang", "reviewer_sun", "auditor_qian", "app_card"] {
        for job in ["verify_new", "purge_images"] {
            expect_error(run(&mut school.session(login), job), REFUSED, "", "");
        }
    }
    let denied = "operation_type = 'run_job' AND result = 'DENIED' AND user_id IN ('teacher_wang', 'app_card')";
    assert_eq!(school.records(denied), 4);
    for play in ["SET ROLE job_night", "SET SESSION AUTHORIZATION job_night", "SELECT 1"] {
        let mut superuser = school.superuser();
        superuser.batch_execute(play).expect(play);
        for job in ["purge_images", "purge_archive", "archive_audit"] {
            expect_refused(run(&mut superuser, job));
        }
    }
    let mut night = school.session("job_night");
    for name in ["VERIFY_NEW", "verify_new ", "verify_new'); SELECT ('", "pg_sleep", "../verify_new", ""] {
        expect_error(run(&mut night, name), &SqlState::UNDEFINED_OBJECT, "Jobs are: archive_audit", "steward.job");
    }
    expect_error(night.batch_execute("SELECT steward.run_job(NULL)"), BAD, "", "");
    // The permission is for the job, in a transaction of its own, and for nothing else.
    assert!(run(&mut night, "purge_images").expect("its own"));
    for statement in [
        "SELECT steward.purge_images()",
        "SELECT steward.archive_audit()",
        "SELECT steward.set_job('verify_new', enabled => false)",
    ] {
        expect_error(night.batch_execute(statement), REFUSED, "", "");
    }
    night.batch_execute("BEGIN").expect("BEGIN");
    expect_error(run(&mut night, "verify_new"), NOT_NOW, "", "without BEGIN");
    night.batch_execute("ROLLBACK").expect("ROLLBACK");
    // Nothing that could undo its state after it has run.
    for around in [
        "DO $$BEGIN PERFORM steward.run_job('verify_new'); RAISE 'undone'; END$$",
        "SELECT 1 / (steward.run_job('verify_new')::int - 1)",
        "SELECT steward.run_job('verify_new'), 1 / extract(hour FROM now() - now())",
        "SELECT steward.run_job('verify_new') FROM generate_series(1, 2)",
        "SELECT steward.run_job('verify_new'); SELECT 1 / 0",
    ] {
        expect_error(night.batch_execute(around), NOT_NOW, "", "without BEGIN");
    }
    assert!(run(&mut night, "verify_new").expect("prepared"));
    night.batch_execute("select  steward.run_job( 'verify_new' ) AS ok;").expect("as a message");
    let mut superuser = school.superuser();
    for change in [
        "UPDATE steward.job SET enabled = false",
        "UPDATE steward.job SET max_age = '100 years'",
        "INSERT INTO steward.job VALUES ('pg_sleep', '* * * * *', '', '1 day')",
        "UPDATE steward._job_state SET last_success = 'infinity'",
        "INSERT INTO steward.job_login (role) VALUES ('app_card')",
        "UPDATE steward.job_login SET role = 'app_card'",
        "CREATE OR REPLACE VIEW steward.job_state AS SELECT 1",
        "DROP TRIGGER make_way ON steward.job",
        "SELECT steward.set_job('verify_new', enabled => false)",
        "SELECT steward.set_job_login('app_card')",
        "SELECT steward.schedule_jobs('app_card')",
        "SELECT steward.unschedule_jobs()",
    ] {
        expect_refused(superuser.batch_execute(change));
    }
    school.operate("postgres", "SELECT steward.run_job('purge_images')");
    // Approved, it takes as many as a privilege does; and a person who left takes the jobs along.
    school.operate("postgres", "SELECT steward.set_job('verify_new', '*/30 * * * *', '3 hours')");
    assert_eq!(state(&school, "verify_new", "schedule").as_deref(), Some("*/30 * * * *"));
    school.operate("postgres", "SELECT steward.suspend_person('Night jobs', 'left')");
    assert!(run(&mut night, "purge_images").is_err());
}

fn a_failure_is_kept_and_its_work_is_not() {
    let school = School::inactive();
    set_up(
        &school,
        "INSERT INTO steward._operation (op_no, origin, script, digest, tier, purpose, applicant, applicant_login, database,
            system_identifier, not_before, not_after, runs_allowed, runs_done, approvals_needed, witness_needed, status,
            executed_at, review_due)
        VALUES ('OP-1', 'statement', 'x', sha256('x'), 'important', 'x', 'Chen', 'region_chen', 'school', '1',
            now() - interval '2 days', now() + interval '1 day', 1, 1, 0, false, 'executed', now() - interval '2 days',
            now() - interval '1 day');
        ALTER TABLE steward._operation_event ADD CONSTRAINT \"13812345678\" CHECK (event <> 'REVIEW OVERDUE')",
    );
    let told = "SELECT count(*) FROM steward._operation WHERE review_alerted_at IS NOT NULL";
    let mut superuser = school.superuser();
    assert!(!run(&mut superuser, "check_reviews").expect("no error: it would undo the state"));
    assert_eq!(school.ask::<i64>(told), 0, "its work is undone");
    let error = state(&school, "check_reviews", "last_error").expect("a failure");
    assert_eq!(error, "23514: new row for relation \"…\"");
    assert_eq!(state(&school, "check_reviews", "last_success"), None);
    assert!(state(&school, "check_reviews", "last_start").is_some());
    let failed = "operation_type = 'JOB' AND result = 'FAILURE' AND sqlstate = '23514' AND details::json->>'job' = 'check_reviews'";
    assert_eq!(school.records(failed), 1);
    let alert = "SELECT concat_ws(' ', level, operation_type, times) FROM steward.alert WHERE rule = 'failed_job'";
    assert_eq!(school.ask::<String>(alert), "important JOB 1");
    set_up(&school, "ALTER TABLE steward._operation_event DROP CONSTRAINT \"13812345678\"");
    assert!(run(&mut superuser, "check_reviews").expect("run"));
    assert_eq!((school.ask::<i64>(told), state(&school, "check_reviews", "last_error")), (1, None));
    // A time limit is a failure like others.
    set_up(
        &school,
        "SELECT steward.set_check('slow', 'app.student', 'expression', '{note}', 'pg_sleep(9) IS NOT NULL')",
    );
    superuser.batch_execute("SET statement_timeout = '1s'").expect("SET");
    assert!(!run(&mut superuser, "daily_check").expect("no error"));
    let error = state(&school, "daily_check", "last_error").expect("a failure");
    assert!(error.starts_with("57014: canceling statement due to statement timeout"), "{error}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward._check_run"), 0);
    // A chain that is not right is no success: the head that was verified last was never there.
    assert!(run(&mut superuser, "verify_new").expect("run"));
    assert!(school.ask::<bool>("SELECT last_verified_id > 0 FROM steward.audit_status"), "what was verified is kept");
    let damaged = school.file("data/pg_steward/verified");
    std::fs::write(&damaged, "nonsense\n").expect("file");
    assert!(!run(&mut superuser, "verify_new").expect("no error"));
    assert!(state(&school, "verify_new", "last_error").expect("a failure").starts_with("XX001: "));
    assert_eq!(school.records("operation_type = 'BEGIN JOB'"), 5);
}

fn the_second_of_two_says_so_and_ends() {
    let school = School::inactive();
    set_up(
        &school,
        "SELECT steward.set_check('slow', 'app.school', 'expression', '{name}', 'pg_sleep(1) IS NOT NULL')",
    );
    let mut first = school.superuser();
    let first = spawn(move || run(&mut first, "daily_check"));
    let begun = "operation_type = 'BEGIN JOB' AND details LIKE '%daily_check%'";
    wait_for(&school, "the first run", || (school.records(begun) == 1).then_some(()));
    let mut second = school.superuser();
    expect_error(run(&mut second, "daily_check"), NOT_NOW, "One run at a time.", "job_state");
    assert!(run(&mut second, "revoke_lapsed").expect("another job goes on"));
    assert!(first.join().expect("no panic").expect("a run"));
    assert_eq!(school.records("operation_type = 'JOB' AND result = 'FAILURE' AND details LIKE '%under way%'"), 1);
    assert_eq!(state(&school, "daily_check", "last_error"), None);
}

fn a_job_without_success_becomes_overdue() {
    let school = School::inactive();
    set_up(&school, "SELECT steward.set_job('revoke_lapsed', max_age => '2 seconds')");
    let overdue = |school: &School| state(school, "revoke_lapsed", "overdue");
    wait_for(&school, "the term", || (overdue(&school).as_deref() == Some("true")).then_some(()));
    assert_eq!(state(&school, "daily_check", "overdue").as_deref(), Some("false"));
    assert!(run(&mut school.superuser(), "revoke_lapsed").expect("run"));
    assert_eq!(overdue(&school).as_deref(), Some("false"));
    sleep(Duration::from_millis(2100));
    assert_eq!(overdue(&school).as_deref(), Some("true"));
    set_up(&school, "SELECT steward.set_job('revoke_lapsed', enabled => false)");
    assert_eq!(overdue(&school).as_deref(), Some("false"));
    expect_error(run(&mut school.superuser(), "revoke_lapsed"), NOT_NOW, "", "enabled => true");
    set_up(&school, "SELECT steward.set_job('revoke_lapsed', enabled => true, max_age => '1 hour')");
    assert_eq!(overdue(&school).as_deref(), Some("false"), "it has the whole term again");
    let mut superuser = school.superuser();
    for bad in ["'revoke_lapsed', '@reboot'", "'revoke_lapsed', max_age => '-1 day'", "'revoke_lapsed', '60 * * * *'"] {
        expect_error(superuser.batch_execute(&format!("SELECT steward.set_job({bad})")), BAD, "", "");
    }
    // A login of another post, a superuser's, and one whose post was changed behind.
    for login in ["teacher_wang", "postgres"] {
        let call = format!("SELECT steward.set_job_login('{login}')");
        expect_error(superuser.batch_execute(&call), BAD, "", "'service'");
    }
    set_up(
        &school,
        &format!(
            "{NIGHT}; SELECT steward.set_job_login('job_night'); SELECT steward.register_person('Night jobs', 'clerk')"
        ),
    );
    expect_error(
        superuser.batch_execute("SELECT steward.activate()"),
        NOT_NOW,
        "run by login job_night, which is not",
        "",
    );
}

/// As that of a standing operation: it is told before it ends, ends by itself, and is renewed by the same approvals.
fn the_approval_of_the_jobs_stands_for_a_time() {
    let school = School::inactive();
    set_up(&school, NIGHT);
    let mut superuser = school.superuser();
    for until in ["now() - interval '1 s'", "now() + interval '3 years'", "'infinity'", "'-infinity'"] {
        let call = format!("SELECT steward.set_job_login('job_night', {until})");
        expect_error(superuser.batch_execute(&call), BAD, "stands for a time", "");
    }
    set_up(&school, "SELECT steward.set_job_login('job_night')");
    let year =
        "SELECT until BETWEEN now() + interval '364 days' AND now() + interval '366 days' FROM steward.job_login";
    assert!(school.ask::<bool>(year));
    let mut night = school.session("job_night");
    assert!(run(&mut night, "purge_images").expect("appointed"));
    let reminder =
        "SELECT string_agg(concat_ws(' ', subject, stage), ', ') FROM steward.reminder WHERE kind = 'job_login'";
    assert_eq!(school.ask::<Option<String>>(reminder), None);
    set_up(&school, "SELECT steward.set_job_login('job_night', now() + interval '5 days')");
    assert_eq!(school.ask::<Option<String>>(reminder).as_deref(), Some("job_night 7 days"));
    // Not active yet, the policy lets its owner do that.
    set_up(&school, "UPDATE steward.job_login SET until = clock_timestamp()");
    expect_error(superuser.batch_execute("SELECT steward.activate()"), NOT_NOW, "by login job_night until 20", "");
    set_up(
        &school,
        "UPDATE steward.job_login SET until = clock_timestamp() + interval '4 s'; SELECT steward.activate()",
    );
    assert!(run(&mut night, "purge_images").expect("while it stands"));
    sleep(Duration::from_millis(4100));
    for job in ["archive_audit", "purge_archive", "purge_images", "revoke_lapsed"] {
        expect_error(run(&mut night, job), REFUSED, "needs an approval that stands", "set_job_login('job_night')");
    }
    assert_eq!(school.records("operation_type = 'run_job' AND result = 'DENIED' AND user_id = 'job_night'"), 4);
    // What looks and tells goes on, and tells of that too.
    for job in ["verify_new", "verify_chain", "check_reviews", "check_records", "daily_check"] {
        assert!(run(&mut night, job).expect(job), "{job}: {:?}", state(&school, job, "last_error"));
    }
    assert_eq!(school.ask::<Option<String>>(reminder).as_deref(), Some("job_night overdue"));
    let found = "SELECT sample[1] FROM steward.integrity_issues WHERE check_name = 'lapsed_right' AND status = 'open'";
    assert!(school.ask::<String>(found).starts_with("job login job_night: jobs that remove or take back anything"));
    wait_for(&school, "the alert", || {
        let told = "SELECT count(*) FROM steward.alert WHERE rule = 'record_overdue'";
        (school.ask::<i64>(told) > 0).then_some(())
    });
    expect_refused(superuser.batch_execute("SELECT steward.set_job_login('job_night')"));
    expect_refused(superuser.batch_execute("UPDATE steward.job_login SET until = '2999-01-01'"));
    school.operate("postgres", "SELECT steward.set_job_login('job_night')");
    assert!(run(&mut night, "purge_images").expect("renewed"));
}

/// With pg_cron preloaded, its tables meant for this database.
fn with_pg_cron(workers: &str, database: &str) -> School {
    let school = School::with(
        "enforce",
        &[
            "shared_preload_libraries = 'pg_cron,pg_steward'",
            &format!("cron.database_name = '{database}'"),
            &format!("cron.use_background_workers = {workers}"),
        ],
    );
    school.configure(&[&format!("cron.host = '{}'", school.file("").display())]);
    school
}

fn pg_cron_is_set_up_once_and_in_plain_sql_alike() {
    let schedule = "SELECT steward.schedule_jobs('job_night')";
    let none = School::inactive();
    set_up(&none, NIGHT);
    expect_error(
        none.superuser().batch_execute(schedule),
        NOT_NOW,
        "",
        "shared_preload_libraries = 'pg_cron, pg_steward'",
    );
    drop(none);
    let mut school = with_pg_cron("on", "postgres");
    set_up(&school, NIGHT);
    expect_error(school.superuser().batch_execute(schedule), NOT_NOW, "\"postgres\"", "cron.database_name = 'school'");
    school.configure(&["cron.database_name = 'school'"]);
    school.restart();
    expect_error(school.superuser().batch_execute(schedule), NOT_NOW, "", "CREATE EXTENSION pg_cron;");
    set_up(&school, "CREATE EXTENSION pg_cron");
    expect_error(
        school.superuser().batch_execute("SELECT steward.schedule_jobs()"),
        NOT_NOW,
        "",
        "schedule_jobs('job_night')",
    );
    let jobs = |school: &School, columns: &str| {
        school.ask::<String>(&format!(
            "SELECT coalesce(json_agg(j ORDER BY jobname), '[]')::text FROM (SELECT {columns} FROM cron.job) j"
        ))
    };
    let what = "jobname, schedule, command, nodename, nodeport, database, username, active";
    let all: i64 = school.ask("SELECT count(*) FROM steward.job WHERE enabled");
    assert_eq!((school.ask::<i64>(schedule), all >= 8), (all, true));
    let made = jobs(&school, what);
    // Again, which makes no term longer, by whatever login; and after somebody meddled.
    let left = "SELECT until < now() + interval '6 days' FROM steward.job_login";
    set_up(&school, "SELECT steward.set_job_login('job_night', now() + interval '5 days')");
    assert_eq!(school.ask::<i64>("SELECT steward.schedule_jobs()"), all);
    assert_eq!((school.ask::<i64>(schedule), school.ask::<bool>(left)), (all, true));
    let another =
        "CREATE ROLE job_day LOGIN; SELECT steward.register_person('Day jobs', 'service', roles => '{job_day}')";
    set_up(&school, &format!("{another}; SELECT steward.schedule_jobs('job_day')"));
    assert!(school.ask::<bool>(left));
    assert_eq!((school.ask::<i64>(schedule), school.ask::<bool>(left)), (all, true));
    set_up(&school, "UPDATE steward.job_login SET until = clock_timestamp()");
    expect_error(school.superuser().batch_execute(schedule), BAD, "stands for a time", "set_job_login('job_night'");
    set_up(&school, "SELECT steward.set_job_login('job_night')");
    assert_eq!(school.ask::<i64>("SELECT steward.schedule_jobs()"), all);
    let numbered = jobs(&school, "jobid, jobname");
    assert_eq!(school.ask::<i64>("SELECT steward.schedule_jobs()"), all);
    assert_eq!(jobs(&school, "jobid, jobname"), numbered);
    set_up(
        &school,
        "UPDATE cron.job SET command = 'SELECT 1', schedule = '0 0 1 1 *' WHERE jobname = 'steward: daily_check';
        UPDATE cron.job SET username = 'postgres' WHERE jobname = 'steward: verify_new';
        SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = 'steward: purge_images'",
    );
    assert_eq!(school.ask::<i64>(schedule), all);
    assert_eq!(jobs(&school, what), made);
    // A job that is not enabled is not scheduled; jobs of others stay.
    set_up(
        &school,
        "SELECT cron.schedule('mine', '0 0 * * *', 'SELECT 1'); SELECT steward.set_job('purge_images', enabled => false)",
    );
    assert_eq!(school.ask::<i64>(schedule), all - 1);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM cron.job"), all);
    set_up(&school, "SELECT steward.set_job('purge_images', enabled => true)");
    assert_eq!(school.ask::<i64>("SELECT steward.unschedule_jobs()"), all - 1);
    set_up(&school, "SELECT cron.unschedule('mine'); SELECT steward.set_job_login(NULL)");
    assert_eq!(jobs(&school, what), "[]");
    set_up(&school, include_str!("../../sql/pg_cron.sql"));
    assert_eq!(jobs(&school, what), made);
    assert_eq!(school.ask::<String>("SELECT role::text FROM steward.job_login"), "job_night");
}

/// What a night does, all at once and every minute; both servers wait for the same one. A job that is not in pg_cron any
/// more does not run, which the server tells.
fn pg_cron_runs_the_whole_night_in_both_of_its_modes() {
    let schools = ["on", "off"].map(|workers| {
        let mut school = with_pg_cron(workers, "school");
        // pg_cron starts each job of the minute in a worker of its own.
        school.configure(&["max_worker_processes = 24"]);
        school.restart();
        let every_minute = "SELECT steward.set_job(name, '* * * * *') FROM steward.job;
            SELECT steward.set_job('verify_chain', max_age => '10 seconds')";
        set_up(&school, &format!("CREATE EXTENSION pg_cron; {NIGHT}; {every_minute}; SELECT steward.activate()"));
        school.operate("postgres", "SELECT steward.schedule_jobs('job_night')");
        let gone = "SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = 'steward: verify_chain'";
        school.superuser().batch_execute(gone).expect("a superuser can do that");
        (workers, school)
    });
    let deadline = Instant::now() + Duration::from_secs(100);
    for (workers, school) in &schools {
        let waiting = "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM steward.job_state WHERE last_success IS NULL";
        while school.ask::<String>(waiting) != "verify_chain" {
            let late = school.ask::<String>(waiting);
            assert!(Instant::now() < deadline, "pg_cron did not come ({workers}) for {late}\n{}", school.log_tail());
            sleep(Duration::from_millis(500));
        }
        let state = "SELECT string_agg(concat_ws(' ', name, last_end >= last_start, last_error), ', ' ORDER BY name)
            FROM steward.job_state WHERE last_success IS NOT NULL";
        assert_eq!(
            school.ask::<String>(state),
            "archive_audit t, check_records t, check_reviews t, daily_check t, purge_archive t, purge_images t, \
             revoke_lapsed t, verify_new t",
            "{workers}"
        );
        let steps = "operation_type IN ('BEGIN JOB', 'JOB')";
        let by_night = format!("{steps} AND user_id = 'job_night' AND person = 'Night jobs' AND result = 'SUCCESS'");
        assert!(school.records(&by_night) >= 16, "{workers}");
        assert_eq!(school.records(&format!("{steps} AND NOT ({by_night})")), 0, "{workers}");
        let as_client = "operation_type = 'JOB' AND application_name = 'pg_cron'";
        assert_eq!(school.records(as_client) > 0, *workers == "off");
        assert!(
            school.ask::<bool>("SELECT last_verified_id > 0 FROM steward.audit_status"),
            "a verification counts ({workers})"
        );
        // What did not run is told, and nothing else is.
        let missed =
            "SELECT string_agg(concat_ws(' ', level, subject), ', ') FROM steward.alert WHERE rule = 'missed_job'";
        let missed = wait_for(school, "an alert of the missed run", || school.ask::<Option<String>>(missed));
        assert_eq!(missed, "important verify_chain", "{workers}");
        assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.alert WHERE rule = 'failed_job'"), 0, "{workers}");
        // The way that pg_cron goes is open to nobody for anything else.
        let mut night = school.session("job_night");
        for statement in ["SELECT steward.purge_images()", "DELETE FROM app.student"] {
            expect_error(night.batch_execute(statement), REFUSED, "", "");
        }
        assert_eq!(ask::<String>(&mut night, "SELECT steward.current_person()"), "Night jobs");
    }
}
