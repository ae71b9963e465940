//! Executing an operation by its number: everything is checked anew under the row lock, then the stored bytes run as
//! `run_as` under a cover, in the caller's transaction. The attempt is on record before, its failure whatever happens.

use super::checklist::{self, Due};
use super::environment::Environment;
use super::leftover::{self, Cursors};
use super::request::check_membership;
use super::{
    CONFIRMATION_MINUTES, Entry, Operation, actor, adoption, cover, denied, dependency, expected_rows, numbered,
    person_named, push, require_client, require_factor, requirement, review_queue, role_form, step_record, window,
};
use crate::audit::lane::Durability;
use crate::audit::note::{self, note};
use crate::cache::{self, Person};
use crate::core::gate;
use crate::core::operation::{Event, Status, Step, conflict};
use crate::core::record::{Outcome as Ending, Record};
use crate::core::script::hex;
use crate::error::{Fault, Outcome, answer};
use crate::export::form::Export;
use crate::watch::dry_run::{self, Step as Statement};
use crate::watch::named_rule::Closed;
use crate::watch::rows;
use crate::{image, own, session};
use pgrx::prelude::*;
use serde_json::json;
use std::ffi::{CStr, CString};
use std::rc::Rc;
use std::time::Instant;

/// What one statement did: its place, its text, the rows it reports and its duration in milliseconds.
type Done = (i32, String, i64, f64);

/// The result is announced before anything runs: a script may drop the extension, and this function with it.
#[pg_extern(sql = false)]
fn execute(op_no: Option<&str>, call: pg_sys::FunctionCallInfo) {
    // Safe: a set-returning function is called with a ReturnSetInfo; its tuplestore lives until the caller has read it.
    unsafe {
        pg_sys::InitMaterializedSRF(call, 0);
        let result = (*call).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        for (step, statement, rows, duration) in answer(execute_operation(op_no)) {
            let values = [step.into_datum(), statement.into_datum(), rows.into_datum(), duration.into_datum()];
            let mut values = values.map(|value| value.unwrap_or(pg_sys::Datum::from(0)));
            pg_sys::tuplestore_putvalues(
                (*result).setResult,
                (*result).setDesc,
                values.as_mut_ptr(),
                [false; 4].as_mut_ptr(),
            );
        }
    }
}

fn execute_operation(op_no: Option<&str>) -> Outcome<Vec<Done>> {
    let op_no = numbered(op_no)?;
    let executor = actor("EXECUTE", op_no, "apply")?;
    if let Some(cover) = cover::current() {
        return Err(Fault::wrong_state("an operation is being executed already: executions do not nest")
            .detail(format!("{} is running in this session.", cover.op_no)));
    }
    note(step_record("BEGIN EXECUTE", op_no), Durability::Flushed);
    // What the session has deferred so far runs now, outside the cover.
    perform(c"SET CONSTRAINTS ALL IMMEDIATE")?;
    let operation = Operation::lock(op_no)?;
    let status = check(&operation, &executor)?;
    let run_as = operation.run_as.ok_or_else(|| Fault::wrong_state(format!("{op_no} has no script to run")))?;
    let statements = read_again(&operation, run_as, false)?;
    check_rules(&operation, &statements)?;
    let policy = own::run(dependency::policy_version)?;
    let alters_code = statements.iter().any(|statement| statement.scopes || adoption::may_define(statement));
    let held = alters_code.then(|| adoption::hold(&operation, dependency::filed(op_no)?)).transpose()?;
    let attempt = Attempt::begin(&operation);
    let begun = Instant::now();
    // As it begins: what the script makes of the policy concerns the next one.
    let images = operation.restorable_run();
    let export = operation.export();
    let guards = (images.clone(), export.clone());
    let (done, touched) = run(&operation, &executor, run_as, &statements, guards)?;
    let made = unchanged_by_others(&operation, held)?;
    let rows = done.iter().map(|(_, _, rows, _)| rows).sum();
    let changing = done.iter().zip(&statements).filter(|(_, statement)| !statement.returns_rows);
    let changed = changing.map(|((_, _, rows, _), _)| rows).sum();
    // What only reads is not expected to touch anything.
    let writes = touched > 0 || statements.iter().any(|step| !step.returns_rows || step.changes || step.opaque);
    let missing = operation.rows_missing(touched).filter(|_| writes);
    // An operation may have removed the extension: then the records alone tell of it.
    let mut pre_image = None;
    if cache::policy_relation().is_some() {
        pre_image =
            write_down(&operation, &executor, status, Rows { reported: rows, changed, touched, missing }, images)?;
    }
    let mut details = json!({ "digest": hex(&operation.digest), "status": status.name(), "duration_ms": begun.elapsed().as_millis() as u64, "rows": rows, "policy": policy });
    if let Some((images, sha256)) = pre_image {
        details["pre_image"] = json!({ "images": images, "sha256": hex(&sha256) });
    }
    if let Some(changes) = made {
        details["changes"] = json!(changes);
    }
    if let Some(export) = export {
        details["export"] = export.told();
    }
    operation.tell_missing(missing);
    push("EXECUTE", &operation, operation.told(expected_rows::told(details, missing)));
    leftover::ran();
    attempt.succeeded();
    Ok(done)
}

/// What an operation depends on may not have changed while it ran, but by itself. What it has changed of that, if it may
/// change code: the next steps go on from there, the next runs of a whole script need to be approved anew.
fn unchanged_by_others(operation: &Operation, held: Option<adoption::Held>) -> Outcome<Option<Vec<String>>> {
    let Some(held) = held else { return dependency::check(operation).map(|()| None) };
    // It may have removed the extension.
    if cache::policy_relation().is_none() {
        return Ok(None);
    }
    let settled = adoption::settle(operation, &held)?;
    let told = settled.told();
    if operation.course.stepwise() {
        own::run(|client| dependency::write(client, &operation.op_no, settled.now))?;
    }
    Ok((!told.is_empty()).then_some(told))
}

/// Which statements a run covers, and the rules that are closed to it: those whose windows are `shut`, and those whose
/// signatures it does not have.
pub fn reach(operation: &Operation, shut: Vec<Closed>) -> Outcome<(gate::Cover, Vec<Closed>)> {
    let mut closed = operation.unsigned_rules()?;
    closed.extend(shut);
    let reach = gate::Cover {
        tier: operation.tier,
        approvals: operation.covering_approvals(&mut closed),
        witnessed: unconfirmed(operation)?.is_none(),
    };
    Ok((reach, closed))
}

/// What the rules that match the script ask: their signatures, and their windows.
pub fn check_rules(operation: &Operation, statements: &[Statement]) -> Outcome<()> {
    let rules = requirement::rules(statements, operation.expected_rows);
    operation.check_signed(&rules, statements.iter().map(|statement| statement.approvals).max().unwrap_or(0))?;
    window::check_open(operation, &rules)
}

/// Everything an approval is bound to, as it is now. The status after the run.
pub fn check(operation: &Operation, executor: &Person) -> Outcome<Status> {
    let op_no = &operation.op_no;
    operation.check_integrity("EXECUTE")?;
    operation.check_sealed("EXECUTE")?;
    operation.check_told("EXECUTE")?;
    // At the runs of a standing operation nobody sits who could type a code: who filed and who approved it did.
    if !operation.course.standing() {
        require_client("EXECUTE", op_no)?;
        require_factor("EXECUTE", op_no, operation.tier, executor)?;
    }
    operation.separate(Step::Execute, "EXECUTE", executor)?;
    operation.check_frozen()?;
    check_database(operation)?;
    review_queue::check_applicant("EXECUTE", op_no, operation.tier, executor)?;
    if operation.standing() == Status::Submitted {
        return Err(approval_missing(operation, operation.approvals_needed()));
    }
    let left = operation.runs_allowed.saturating_sub(operation.runs_done + 1);
    let status = operation.after(Event::Execute { left, review: operation.review_within_s().is_some() }, "executed")?;
    if let Some(fault) = operation.not_yet() {
        return Err(fault);
    }
    operation.too_soon()?;
    if operation.approvals_given() < operation.approvals_needed() {
        return Err(approval_missing(operation, operation.approvals_needed()));
    }
    check_confirmation(operation)?;
    let run_as = operation.run_as.unwrap_or(pg_sys::InvalidOid);
    check_membership("EXECUTE", op_no, run_as)?;
    dependency::check(operation)?;
    checklist::require(operation, Due::Execute, None)?;
    Ok(status)
}

fn check_database(operation: &Operation) -> Outcome<()> {
    let identity = "SELECT current_database()::text, system_identifier::text FROM pg_control_system()";
    let here = own::run(|client| Ok(own::query(client, identity, &[])?.first().get_two::<String, String>()?))?;
    if here == (Some(operation.database.clone()), Some(operation.system_identifier.clone())) {
        return Ok(());
    }
    Err(denied("EXECUTE", &operation.op_no, format!("{} was approved for another database", operation.op_no))
        .detail(format!("It belongs to database {} of system {}.", operation.database, operation.system_identifier)))
}

pub fn approval_missing(operation: &Operation, needed: u32) -> Fault {
    let given = operation.approvals_given();
    let rows = match operation.row_standing() {
        Ok(rows) => rows,
        Err(fault) => return fault,
    };
    let open = if rows.open.is_empty() { String::new() } else { format!(" Still open: {}.", rows.open.join("; ")) };
    Fault::wrong_state(format!("{} is not approved", operation.op_no))
        .detail(format!(
            "Approvals that count: {given} of {needed}.{open}{}",
            operation.void_approvals(&rows.filled_by)
        ))
        .hint(format!(
            "An approver reads steward.show('{0}') and calls: SELECT steward.approve('{0}', '{1}');",
            operation.op_no,
            operation.short_digest()
        ))
}

/// Refuses where a second person is needed and none stands by.
pub fn check_confirmation(operation: &Operation) -> Outcome<()> {
    let detail = unconfirmed(operation)?.filter(|_| operation.witness_needed());
    let Some(detail) = detail else { return Ok(()) };
    Err(Fault::wrong_state(format!("{} needs the confirmation of a second person", operation.op_no))
        .detail(detail)
        .hint(format!("The second person calls, in a session of their own: {}", operation.confirm_call())))
}

/// Why no second person stands by, as a sentence. A confirmation counts while it is fresh and the person could still
/// give it.
pub fn unconfirmed(operation: &Operation) -> Outcome<Option<String>> {
    let Some(name) = operation.parts.witness.as_deref() else {
        return Ok(Some("Nobody has confirmed this run.".to_owned()));
    };
    let counts = operation.confirmation_counts()?;
    Ok(Some(match person_named(name) {
        _ if !counts && operation.course.standing() => {
            format!("{name} confirmed it before the approvals that count now.")
        }
        _ if !counts => {
            format!("The confirmation by {name} is used up or older than {CONFIRMATION_MINUTES} minutes.")
        }
        _ if conflict(Step::Confirm, name, &operation.parts).is_some() => {
            format!("{name} acts in another step of it.")
        }
        Some(person) if person.may("witness") && operation.witness_stands_by(&person) => return Ok(None),
        Some(person) if !person.usable() => format!("{name} is suspended or past valid_until."),
        Some(person) if person.may("witness") => format!("{name} was suspended after confirming it."),
        _ => format!("{name} may no longer confirm."),
    }))
}

/// Splits the stored script and judges it by the policy of today. `armed`: its statements come one by one.
pub fn read_again(operation: &Operation, run_as: pg_sys::Oid, armed: bool) -> Outcome<Vec<Statement>> {
    let statements = {
        let _surroundings = Environment::enter(run_as);
        operation.due(dry_run::examine(&operation.script)?)?
    };
    for statement in &statements {
        if let Err(reason) = if armed { &statement.armable } else { &statement.runnable } {
            let fault = Fault::unsupported(format!("step {} cannot run this way", statement.number));
            let fault = fault.detail(format!("{reason}."));
            let other = statement.armable.is_ok();
            return Err(if other { fault.hint(format!("SELECT steward.arm('{}');", operation.op_no)) } else { fault });
        }
        // What could not be judged yet is judged by the hooks when it runs.
        if statement.tier > operation.tier && statement.decision != "unknown" {
            return Err(denied(
                "EXECUTE",
                &operation.op_no,
                format!("{} was approved as {} only", operation.op_no, operation.tier.name()),
            )
            .detail(format!(
                "Step {} is {} by rule \"{}\" now.",
                statement.number,
                statement.tier.name(),
                statement.rule
            ))
            .hint("File it again with steward.request(script, purpose)."));
        }
        if statement.approvals > operation.approvals_given() {
            return Err(approval_missing(operation, statement.approvals));
        }
    }
    Ok(statements)
}

/// Runs these statements under the cover: what each did, and how many rows they touched in all. Guards end in the reverse
/// order of their names, errors included.
fn run(
    operation: &Operation,
    executor: &Person,
    run_as: pg_sys::Oid,
    statements: &[Statement],
    (images, export): (Option<image::Run>, Option<Rc<Export>>),
) -> Outcome<(Vec<Done>, u64)> {
    let policy = cache::policy();
    let touched = || policy.roots().map(|member| rows::touched(&member.root)).sum::<u64>();
    let before = touched();
    let (reach, closed) = reach(operation, window::shut_rules(operation)?)?;
    let cover = cover::Cover {
        op_no: operation.op_no.clone(),
        reach,
        rights_only: role_form::stands_alone(&operation.op_no)?,
        person: executor.name.clone(),
        images,
        export,
        functions: dependency::functions(&operation.script, &dependency::filed(&operation.op_no)?)?,
        closed,
    };
    cover::make_everything_anew();
    let _cover = cover::begin(cover).ok_or_else(|| Fault::internal("a cover stands where none may"))?;
    let _surroundings = Environment::enter(run_as);
    let cursors = Cursors::before()?;
    let mut done = Vec::with_capacity(statements.len());
    let mut reported = 0;
    for statement in statements {
        let text = CString::new(statement.statement.as_str())
            .map_err(|_| Fault::bad_argument("a script contains no zero byte"))?;
        let begun = Instant::now();
        let rows = perform(&text)?;
        if !statement.returns_rows {
            reported += rows;
        }
        done.push((statement.number, statement.statement.clone(), rows as i64, milliseconds(begun)));
    }
    // Nothing that the script deferred may run after the cover has ended.
    perform(c"SET CONSTRAINTS ALL IMMEDIATE")?;
    cursors.close_others()?;
    // What the statements say, and rows of protected tables: those of functions, CTEs and cascades included.
    let touched = reported.max(touched().saturating_sub(before));
    operation.check_rows(touched)?;
    Ok((done, touched))
}

/// To the microsecond: more digits would be noise.
fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_micros() as f64 / 1000.0
}

/// One statement through SPI; rows of a query are counted and thrown away. Its errors are none of ours and pass.
fn perform(statement: &CStr) -> Outcome<u64> {
    Spi::connect_mut(|_| {
        // Safe: connected to SPI; the options live through the call.
        unsafe {
            let options = pg_sys::SPIExecuteOptions {
                params: std::ptr::null_mut(),
                read_only: false,
                allow_nonatomic: false,
                must_return_tuples: false,
                tcount: 0,
                dest: pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
                owner: std::ptr::null_mut(),
            };
            let code = pg_sys::SPI_execute_extended(statement.as_ptr(), &options);
            if code < 0 {
                return Err(Fault::unsupported(format!("the statement cannot run in an operation (SPI {code})")));
            }
            Ok(pg_sys::SPI_processed)
        }
    })
}

/// Rows of a run: those that its statements report, those of them that change something, and those that it really touched on
/// protected tables, or reports, if that is more; and those that it was expected to touch beside these.
struct Rows {
    reported: i64,
    changed: i64,
    touched: u64,
    missing: Option<i64>,
}

/// What this run leaves in the tables, with the rows of all statements and of those that are no queries; number and digest of its images, if it had to keep them.
fn write_down(
    operation: &Operation,
    executor: &Person,
    status: Status,
    Rows { reported: rows, changed, touched, missing }: Rows,
    images: Option<image::Run>,
) -> Outcome<Option<(i64, [u8; 32])>> {
    // Runs that are left need a confirmation of their own, unless nobody could give it.
    let update = "UPDATE steward._operation SET status = $2, runs_done = runs_done + 1, executed_by = $3,
            executed_at = clock_timestamp(), rows_done = coalesce(rows_done, 0) + $4,
            review_due = coalesce(review_due, clock_timestamp() + make_interval(secs => $5)),
            confirmed_at = CASE WHEN every IS NULL AND runs_done + 1 < runs_allowed THEN NULL ELSE confirmed_at END,
            rows_touched = rows_touched + $6
        WHERE op_no = $1 AND status IN ('approved', 'failed') AND runs_done < runs_allowed RETURNING op_no";
    let within = operation.review_within_s().map(|seconds| seconds as f64);
    let details = json!({ "rows": rows, "changed": changed, "status": status.name() });
    own::run(|client| {
        let arguments = [
            operation.op_no.as_str().into(),
            status.name().into(),
            executor.name.as_str().into(),
            rows.into(),
            within.into(),
            (touched as i64).into(),
        ];
        if own::query(client, update, &arguments)?.is_empty() {
            return Err(Fault::wrong_state(format!("{} was changed by its own script", operation.op_no)));
        }
        Entry {
            op_no: &operation.op_no,
            event: "EXECUTE",
            person: Some(&executor.name),
            login: &session::login_name(),
            comment: None,
            digest: Some(&operation.digest),
            details: Some(operation.told(expected_rows::told(details, missing))),
        }
        .write(client)?;
        operation.reseal(client, status, false)?;
        images.map(|run| image::seal(client, &run)).transpose()
    })
}

/// A run that has begun. Unless it succeeds, its failure is recorded although its transaction is undone; the sequencer
/// sets the status.
struct Attempt {
    failure: Option<Record>,
}

impl Attempt {
    /// Stamps the record now: after an error nothing may be looked up any more.
    fn begin(operation: &Operation) -> Attempt {
        let mut record = step_record("EXECUTE", &operation.op_no);
        record.tier = Some(operation.tier);
        record.outcome = Ending::Failure;
        session::stamp(&mut record);
        Attempt { failure: Some(record) }
    }

    fn succeeded(mut self) {
        self.failure = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(mut record) = self.failure.take() {
            // Safe: reads the clock.
            record.time = unsafe { pg_sys::GetCurrentTimestamp() };
            // The lane counts what it could not write; raising is impossible here.
            let _counted_as_lost = note::append(&record, Durability::Flushed);
        }
    }
}
