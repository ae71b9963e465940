//! The jobs of the daily work: `steward.run_job(name)` is what every scheduler calls. What a job does is fixed in `task`;
//! `set` changes when it is due and which login runs it, `cron` hands the jobs to pg_cron.
//!
//! Jobs are no operations: what an approver reads of an operation is its script, and that of a job is in the library, where
//! nobody changes it. What is approved is who runs them, as a standing operation for a time and with as many approvals as a
//! privilege; a purge of one's own is a standing operation, which pg_cron executes by its number.
//!
//! A job must leave its trace whatever becomes of it: it runs in a subtransaction, and the transaction around it, which
//! is nobody else's, keeps its state. Never here: text of a table that is executed.

mod cron;
pub mod set;
mod task;

use crate::audit::lane::Durability;
use crate::audit::{buffer, note::note};
use crate::core::job::without_quoted;
use crate::core::record::{Kind, Outcome as Ending, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::operation::cover;
use crate::own::{self, Undone};
use crate::person::optional;
use crate::watch::statement::{Source, inside_language};
use crate::watch::{judge, lone_call::is_alone};
use crate::{cache, policy, raw, session};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::time::Instant;
use task::{Task, Work};

/// The steps of a run in the records.
const BEGIN: &str = "BEGIN JOB";
const END: &str = "JOB";

#[pg_extern(sql = false)]
fn run_job(name: Option<&str>, call: pg_sys::FunctionCallInfo) -> bool {
    answer(run(name, call))
}

fn run(name: Option<&str>, call: pg_sys::FunctionCallInfo) -> Outcome<bool> {
    let task = task::named(name)?;
    if !cache::at_home() || cache::policy_relation().is_none() {
        return Err(Fault::wrong_state("jobs run in the home database")
            .hint(format!("\\connect {}", crate::settings::database())));
    }
    admit(task)?;
    by_itself(call)?;
    if !holds(ENABLED, task.name.into())? {
        return Err(Fault::wrong_state(format!("job {} is not enabled", task.name))
            .hint(format!("SELECT steward.set_job('{}', enabled => true);", task.name)));
    }
    one_at_a_time(task)?;
    note(record(BEGIN, task), Durability::Flushed);
    // Safe: reads the clock.
    let (began, clock) = (unsafe { raw::GetCurrentTimestamp() }, Instant::now());
    // A cancellation too is a failure of the job: nothing is begun after it but the line that says so.
    let ended = own::subtransaction(task.run);
    let seconds = clock.elapsed().as_secs_f64();
    match ended {
        Ok(result) => succeeded(task, began, seconds, result).map(|()| true),
        Err(undone) => failed(task, began, seconds, &undone).map(|()| false),
    }
}

const ENABLED: &str = "SELECT EXISTS (SELECT FROM steward.job WHERE name = $1 AND enabled)";
const APPOINTED: &str = "SELECT EXISTS (SELECT FROM steward.job_login WHERE role::oid = $1)";
const LAPSED: &str =
    "SELECT EXISTS (SELECT FROM steward.job_login WHERE role::oid = $1 AND until <= clock_timestamp())";

/// What is asked before the job only reads: a transaction that has an id keeps no verification.
fn holds(question: &str, subject: DatumWithOid<'static>) -> Outcome<bool> {
    own::run(|client| Ok(own::select(client, question, &[subject])?.first().get_one::<bool>()?.unwrap_or(false)))
}

/// Who may run it. What removes something is critical work, but for the login that `set_job_login` was approved for:
/// that approval is the standing one, for as long as it stands, and the job does no more than the terms of retention say.
/// What only looks needs no standing approval: a term that is forgotten must not end the checks as well.
fn admit(task: &Task) -> Outcome<()> {
    let person = session::person().filter(|person| person.usable());
    if person.as_ref().is_some_and(|person| person.post == "service") && holds(APPOINTED, session::login().into())? {
        if task.work != Work::Looks && holds(LAPSED, session::login().into())? {
            refuse_lapsed(task);
        }
        return Ok(());
    }
    if task.work == Work::Removes {
        return policy::require_configuration("run_job");
    }
    // Safe: looks up the role that authenticated.
    let superuser = unsafe { pg_sys::superuser_arg(session::login()) };
    if superuser || person.is_some_and(|person| person.post == "ops" || person.may("configure")) {
        return Ok(());
    }
    // Safe: the client's own message, or null.
    let source = unsafe { Source::new(pg_sys::debug_query_string, -1, 0) };
    judge::deny(
        judge::record("run_job", Vec::new(), Tier::Normal, "job", &source),
        Fault::refused("steward.run_job is not yours to call")
            .detail("It is for the login of steward.job_login, for persons of the post ops or with the capability configure, and for superusers.")
            .hint("SELECT * FROM steward.job_login;"),
    )
}

fn refuse_lapsed(task: &Task) -> ! {
    // Safe: the client's own message, or null.
    let source = unsafe { Source::new(pg_sys::debug_query_string, -1, 0) };
    let login = session::login_name();
    judge::deny(
        judge::record("run_job", Vec::new(), Tier::Critical, "job", &source),
        Fault::refused(format!("job {} stands still: the term of the jobs' login is over", task.name))
            .detail("Only jobs that look and tell go on; what removes or takes back anything needs an approval that stands.")
            .hint(format!("SELECT steward.request($s$SELECT steward.set_job_login('{login}')$s$, purpose => '…');")),
    )
}

/// Around it nothing may stand that could undo its state, or keep its lock when it is done: it is the client's whole
/// statement, or a step of an approved operation.
fn by_itself(call: pg_sys::FunctionCallInfo) -> Outcome<()> {
    // Safe: reads the state of the transaction.
    let step = cover::current().is_some() && inside_language() && unsafe { !raw::IsTransactionBlock() };
    if step || is_alone(call) {
        return Ok(());
    }
    Err(Fault::wrong_state("a job runs in a transaction of its own")
        .detail("What stands around it could undo what is known of its run.")
        .hint("Send SELECT steward.run_job('…') as a statement of its own, whole, without BEGIN."))
}

/// The second one says so and ends. No row is locked for that, which would give the transaction an id.
fn one_at_a_time(task: &Task) -> Outcome<()> {
    // Safe: look-ups by name.
    let table =
        unsafe { pg_sys::get_relname_relid(c"job".as_ptr(), pg_sys::get_namespace_oid(c"steward".as_ptr(), false)) };
    let tag = pg_sys::LOCKTAG {
        // Safe: the database of this session.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: table.to_u32(),
        locktag_field3: task.number(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // Safe: a lock of the transaction, on an object that no SQL command can name; nothing is waited for.
    let taken = unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, true) };
    if taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
        return Ok(());
    }
    let mut record = record(END, task);
    record.outcome = Ending::Failure;
    record.details = Some(json!({ "job": task.name, "failed": "it is under way already" }).to_string());
    note(record, Durability::Flushed);
    Err(Fault::wrong_state(format!("job {} is under way already", task.name))
        .detail("One run at a time.")
        .hint("SELECT * FROM steward.job_state;"))
}

fn succeeded(task: &Task, began: i64, seconds: f64, result: Value) -> Outcome<()> {
    write_down(task, began, None)?;
    let mut record = record(END, task);
    record.details = Some(json!({ "job": task.name, "seconds": seconds, "result": result }).to_string());
    buffer::push(record);
    Ok(())
}

fn failed(task: &Task, began: i64, seconds: f64, undone: &Undone) -> Outcome<()> {
    let reason = format!("{}: {}", undone.sqlstate, without_quoted(&undone.message));
    write_down(task, began, Some(&reason))?;
    let mut record = record(END, task);
    record.outcome = Ending::Failure;
    record.sqlstate = Some(undone.sqlstate.clone());
    record.details = Some(json!({ "job": task.name, "seconds": seconds, "failed": reason }).to_string());
    buffer::push(record);
    Fault::remark(format!("job {} failed: {reason}", task.name))
        .detail("What it had done is undone; the failure is on record.")
        .hint("SELECT * FROM steward.job_state;")
        .warn();
    Ok(())
}

fn write_down(task: &Task, began: i64, failure: Option<&str>) -> Outcome<()> {
    let state = "INSERT INTO steward._job_state AS s (name, last_start, last_end, last_success, last_error)
        VALUES ($1, timestamptz '2000-01-01 00:00:00+00' + $2 * interval '1 microsecond', clock_timestamp(), CASE WHEN $3 IS NULL THEN clock_timestamp() END, $3)
        ON CONFLICT (name) DO UPDATE SET last_start = excluded.last_start, last_end = excluded.last_end,
            last_success = coalesce(excluded.last_success, s.last_success), last_error = excluded.last_error";
    let row: [DatumWithOid<'_>; 3] = [task.name.into(), began.into(), optional(failure)];
    own::run(|client| own::execute(client, state, &row).map(drop))
}

fn record(step: &str, task: &Task) -> Record {
    let mut record = Record::new(Kind::Policy, step);
    record.details = Some(json!({ "job": task.name }).to_string());
    record
}
