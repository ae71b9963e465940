//! Jobs of pg_cron, as clients of its own and as background workers: decided like their owner's statements.

use super::attack::SIXTY;
use crate::fault::wait_for;
use crate::school::School;

tests! {
    a_vote_in_somebody_elses_name_by_a_background_worker,
    an_operation_filed_in_somebody_elses_name_by_a_background_worker,
    a_run_in_somebody_elses_name_by_a_background_worker,
    a_job_that_connects_like_a_client,
    a_job_in_a_background_worker,
}

const FEW: &str = "UPDATE app.guardian SET name = 'job' WHERE id = 3";

/// Both roles have a job that writes in bulk and one that writes a row, due when the server starts.
fn jobs(workers: &str) {
    let mut school = School::with(
        "enforce",
        &[
            "shared_preload_libraries = 'pg_cron,pg_steward'",
            "cron.database_name = 'school'",
            &format!("cron.use_background_workers = {workers}"),
            "cron.log_run = off",
        ],
    );
    // A job remembers the host of the day it was made.
    school.configure(&[&format!("cron.host = '{}'", school.file("").display())]);
    school.restart();
    school
        .superuser()
        .batch_execute(
            "CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO teacher_wang; SELECT steward.activate()",
        )
        .expect("pg_cron is installed");
    for who in ["teacher_wang", "postgres"] {
        for command in [SIXTY, FEW] {
            let mut session = school.session(who);
            session.query("SELECT cron.schedule('@reboot', $1)", &[&command]).expect("a job");
        }
    }
    school.restart();
    for who in ["teacher_wang", "postgres"] {
        for said in [
            "table_name = 'app.student' AND result = 'DENIED' AND rule = 'bulk_write' AND tier = 'critical'",
            "table_name = 'app.guardian' AND result = 'SUCCESS' AND rule = 'write' AND rows = 1",
        ] {
            let record = format!("user_id = '{who}' AND operation_type = 'UPDATE' AND {said}");
            wait_for(&school, &record, || (school.records(&record) == 1).then_some(()));
        }
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note <> ''"), 0);
    let as_client = "operation_type = 'UPDATE' AND application_name = 'pg_cron'";
    assert_eq!(school.records(as_client), if workers == "off" { 4 } else { 0 });
}

fn a_job_that_connects_like_a_client() {
    jobs("off");
}

fn a_job_in_a_background_worker() {
    jobs("on");
}

/// Jobs of a background worker in the name of another, and what its session is denied: these steps are on record.
#[track_caller]
fn refused_to_a_worker(school: &mut School, login: &str, command: &str, step: &str) {
    let schedule = "SELECT cron.schedule_in_database('job', '@reboot', $1, 'school', $2)";
    school.superuser().query(schedule, &[&command, &login]).expect("a job in another's name");
    school.restart();
    let denied = format!("operation_type = '{step}' AND result = 'DENIED'");
    wait_for(school, &denied, || (school.records(&denied) >= 1).then_some(()));
}

fn with_workers() -> School {
    let school = School::with(
        "enforce",
        &[
            "shared_preload_libraries = 'pg_cron,pg_steward'",
            "cron.database_name = 'school'",
            "cron.use_background_workers = on",
        ],
    );
    school.superuser().batch_execute("CREATE EXTENSION pg_cron; SELECT steward.activate()").expect("pg_cron");
    school
}

fn status(school: &School, op_no: &str) -> String {
    school.ask(&format!("SELECT status FROM steward._operation WHERE op_no = '{op_no}'"))
}

/// A worker types nothing: whoever can write a job could vote for everybody.
fn a_vote_in_somebody_elses_name_by_a_background_worker() {
    let mut school = with_workers();
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'solo'");
    refused_to_a_worker(&mut school, "reviewer_sun", &format!("SELECT steward.approve('{op_no}', 'd')"), "APPROVE");
    assert_eq!(status(&school, &op_no), "submitted");
}

fn an_operation_filed_in_somebody_elses_name_by_a_background_worker() {
    let mut school = with_workers();
    let request = "SELECT steward.request($q$UPDATE app.student SET note = 'solo'$q$, 'a job')";
    refused_to_a_worker(&mut school, "region_chen", request, "REQUEST");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward._operation"), 0);
}

fn a_run_in_somebody_elses_name_by_a_background_worker() {
    let mut school = with_workers();
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'solo'");
    school.release(&op_no);
    refused_to_a_worker(&mut school, "region_chen", &format!("SELECT * FROM steward.execute('{op_no}')"), "EXECUTE");
    assert_eq!(status(&school, &op_no), "approved");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'solo'"), 0);
}
