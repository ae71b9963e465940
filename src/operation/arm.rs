//! `steward.arm` and `steward.disarm`, and what a run in an armed session leaves in the tables. The run is used up when the
//! session is armed; it is given back only if its end is on record and no statement had begun.

use super::armed::{self, Armed, Statement};
use super::cover::{self, Cover};
use super::environment::Kept;
use super::execute::{check, check_rules, reach, read_again};
use super::{
    Entry, Operation, actor, adoption, denied, dependency, expected_rows, numbered, own_act, push, role_form,
    step_record, window,
};
use crate::audit::lane::Durability;
use crate::audit::note::note;
use crate::core::course::Course;
use crate::core::operation::{Event, Status, next};
use crate::core::record::{Outcome as Ending, Record};
use crate::core::script::{hex, is_sha256};
use crate::error::{Fault, Outcome, answer};
use crate::watch::dry_run::Step;
use crate::watch::statement::is_prepared;
use crate::{cache, image, own, raw, session};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Name of the record of a run that ended before it was done.
pub const DISARM: &str = "DISARM";

/// What a script needs: whether it must be sent statement by statement, and the digests of its data.
pub struct Needs {
    pub arm: bool,
    pub digests: Vec<String>,
}

/// Looks at a script that is filed, with the digests that came with it.
pub fn needs(steps: &[Step], digests: Option<Vec<Option<String>>>) -> Outcome<Needs> {
    let arm = steps.iter().any(|step| step.runnable.is_err());
    if arm && let Some((step, Err(reason))) = steps.iter().map(|s| (s, &s.armable)).find(|(_, fit)| fit.is_err()) {
        return Err(
            Fault::unsupported(format!("step {} cannot run in an operation", step.number)).detail(format!("{reason}."))
        );
    }
    let digests: Vec<String> = digests.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect();
    if let Some(bad) = digests.iter().find(|digest| !is_sha256(digest)) {
        return Err(Fault::bad_argument("data_digests are SHA-256 digests of 64 hexadecimal digits")
            .detail(format!("\"{}\" is none.", bad.chars().take(80).collect::<String>())));
    }
    let loads = steps.iter().filter(|step| step.loads_data).count();
    if loads != digests.len() {
        let given = digests.len();
        return Err(Fault::bad_argument("every COPY FROM STDIN of a script needs the digest of its data")
            .detail(format!("The script has {loads} of them and data_digests has {given} elements."))
            .hint("data_digests => '{…}' takes what sha256sum says of each file, in the order of the script."));
    }
    Ok(Needs { arm, digests: digests.iter().map(|digest| digest.to_ascii_lowercase()).collect() })
}

impl Needs {
    /// Keeps them with the operation that was just filed.
    pub fn write(&self, client: &mut SpiClient<'_>, op_no: &str) -> Outcome<()> {
        if !self.arm {
            return Ok(());
        }
        let update = "UPDATE steward._operation SET needs_arm = true, data_digests = $2 WHERE op_no = $1";
        own::execute(client, update, &[op_no.into(), self.digests.clone().into()]).map(drop)
    }
}

/// How many statements are to be sent.
#[pg_extern(sql = false)]
fn arm(op_no: Option<&str>) -> i32 {
    answer(arm_session(op_no))
}

fn arm_session(op_no: Option<&str>) -> Outcome<i32> {
    let op_no = numbered(op_no)?;
    let executor = actor("ARM", op_no, "apply")?;
    if executor.post == "service" {
        return Err(denied("ARM", op_no, "arm refused: a session of the post service belongs to a pool".to_owned())
            .hint(format!("SELECT * FROM steward.execute('{op_no}');")));
    }
    own_act("ARM", op_no)?;
    // Safe: plain getter.
    if cover::current().is_some() || armed::is_armed() || unsafe { raw::IsTransactionBlock() } {
        return Err(Fault::wrong_state("steward.arm must be called by itself, outside a transaction block")
            .detail("The run is used up when it is armed, whatever becomes of later transactions.")
            .hint("COMMIT;"));
    }
    // Else a statement without a name, prepared under other settings, would still be there.
    if is_prepared() {
        return Err(Fault::wrong_state("steward.arm cannot be called by a prepared statement")
            .detail("Most drivers have a call that sends a statement as it is.")
            .hint(format!("SELECT steward.arm('{op_no}');")));
    }
    note(step_record("BEGIN ARM", op_no), Durability::Flushed);
    let operation = Operation::lock(op_no)?;
    check(&operation, &executor)?;
    if operation.course != Course::Whole {
        return Err(Fault::unsupported(format!("{op_no} runs step by step or again and again, and not armed"))
            .hint(format!("SELECT * FROM steward.execute('{op_no}');")));
    }
    let run_as = operation.run_as.ok_or_else(|| Fault::wrong_state(format!("{op_no} has no script to run")))?;
    let identity = armed::identity();
    if identity[2..] != [run_as; 2] {
        return Err(Fault::wrong_state(format!("{op_no} runs as another role than the current one"))
            .detail("Commands that cannot run inside a function run as the session's own role.")
            .hint(format!("SET ROLE {};", pgrx::spi::quote_identifier(&*session::role_name(run_as)))));
    }
    let statements = statements(&operation, run_as)?;
    let images = operation.restorable_run();
    let policy = own::run(dependency::policy_version)?;
    let left = operation.runs_allowed.saturating_sub(operation.runs_done + 1);
    let shut = window::shut_rules(&operation)?;
    let (reach, closed) = reach(&operation, shut.clone())?;
    let export = operation.export();
    let code = dependency::filed(op_no)?;
    let cover = Cover {
        op_no: op_no.to_owned(),
        reach,
        rights_only: role_form::stands_alone(op_no)?,
        person: executor.name.clone(),
        images: images.clone(),
        export: export.clone(),
        functions: dependency::functions(&operation.script, &code)?,
        closed,
    };
    cover::make_everything_anew();
    use_up(&operation, &executor.name)?;
    let mut details = json!({ "digest": hex(&operation.digest), "policy": policy, "left": left });
    if let Some(export) = export {
        details["export"] = export.told();
    }
    push("ARM", &operation, details);
    let settings = Kept::set();
    // Safe: plain getter.
    let since = unsafe { raw::GetCurrentStatementStartTimestamp() };
    let count = statements.len() as i32;
    armed::prepare(Armed {
        failure: failure(&operation),
        person: executor.name.clone(),
        cover: RefCell::new(Rc::new(cover)),
        windows: (window::edition()?, shut),
        code: RefCell::new(code),
        held: RefCell::new(None),
        begun: Cell::new(0),
        rows: Cell::new(0),
        finished: Cell::new(false),
        operation,
        settings,
        statements,
        images,
        policy,
        identity,
        since,
    });
    Ok(count)
}

fn statements(operation: &Operation, run_as: pg_sys::Oid) -> Outcome<Vec<Statement>> {
    let steps = read_again(operation, run_as, true)?;
    check_rules(operation, &steps)?;
    let mut digests = operation.data.split(',').map(str::to_owned);
    let statements: Vec<Statement> = steps
        .into_iter()
        .map(|step| Statement {
            defines: adoption::may_define(&step) && !step.command.ends_with("INDEX") && step.command != "ALTER SYSTEM",
            comes_first: step.command == "DROP INDEX" && step.runnable.is_err(),
            data: step.loads_data.then(|| digests.next()).flatten(),
            text: step.statement,
        })
        .collect();
    Ok(statements)
}

fn use_up(operation: &Operation, executor: &str) -> Outcome<()> {
    let status = operation.after(Event::Arm, "armed")?;
    let update = "UPDATE steward._operation SET status = $2, runs_done = runs_done + 1, armed_in = $5, executed_by = $3,
            executed_at = clock_timestamp(), review_due = coalesce(review_due, clock_timestamp() + make_interval(secs => $4)),
            confirmed_at = NULL
        WHERE op_no = $1 AND status IN ('approved', 'failed') AND runs_done < runs_allowed RETURNING op_no";
    let within = operation.review_within_s().map(|seconds| seconds as f64);
    let boot = armed::boot();
    own::run(|client| {
        let arguments = [
            operation.op_no.as_str().into(),
            status.name().into(),
            executor.into(),
            within.into(),
            boot.as_str().into(),
        ];
        if own::query(client, update, &arguments)?.is_empty() {
            return Err(Fault::wrong_state(format!("{} has no run left", operation.op_no)));
        }
        Entry {
            op_no: &operation.op_no,
            event: "ARM",
            person: Some(executor),
            login: &session::login_name(),
            comment: None,
            digest: Some(&operation.digest),
            details: Some(json!({ "status": status.name() })),
        }
        .write(client)?;
        operation.reseal(client, status, false)
    })
}

fn failure(operation: &Operation) -> Record {
    let mut record = step_record(DISARM, &operation.op_no);
    record.tier = Some(operation.tier);
    record.outcome = Ending::Failure;
    session::stamp(&mut record);
    record
}

/// Ends it before all statements were sent.
#[pg_extern(sql = false)]
fn disarm() {
    answer((|| {
        if !armed::is_armed() {
            return Err(Fault::wrong_state("this session is not armed").hint("SELECT steward.arm('OP-…');"));
        }
        armed::end("disarmed");
        Ok(())
    })())
}

/// All statements of a run were executed: what it leaves in the tables, and its record.
pub fn write_down(armed: &Armed) -> Outcome<()> {
    let operation = &armed.operation;
    let rows = armed.rows.get() as i64;
    let left = operation.runs_allowed.saturating_sub(operation.runs_done + 1);
    let event = Event::Disarm { done: true, left, review: operation.review_within_s().is_some() };
    let status = next(Status::Armed, event).ok_or_else(|| Fault::internal("an armed run does not end"))?;
    // A script may have removed the extension: then the records alone tell of it.
    let removed = cache::policy_relation().is_none();
    let missing = operation.rows_missing(armed.rows.get());
    let line = expected_rows::told(json!({ "rows": rows, "status": status.name() }), missing);
    let leave = |client: &mut SpiClient<'_>| {
        let update =
            "UPDATE steward._operation SET status = $2, rows_done = coalesce(rows_done, 0) + $3, armed_in = NULL
            WHERE op_no = $1 AND status = 'armed' RETURNING op_no";
        if own::query(client, update, &[operation.op_no.as_str().into(), status.name().into(), rows.into()])?.is_empty()
        {
            return Err(Fault::wrong_state(format!("{} was taken back while it ran", operation.op_no)));
        }
        Entry {
            op_no: &operation.op_no,
            event: "EXECUTE",
            person: Some(&armed.person),
            login: &session::login_name(),
            comment: None,
            digest: Some(&operation.digest),
            details: Some(line.clone()),
        }
        .write(client)?;
        operation.reseal(client, status, false)?;
        armed.images.as_ref().map(|run| image::seal(client, run)).transpose()
    };
    let sealed = if removed { None } else { own::run(leave)? };
    let mut details = json!({ "digest": hex(&operation.digest), "status": status.name(), "rows": rows,
        "policy": armed.policy, "armed": true });
    if let Some((images, sha256)) = sealed {
        details["pre_image"] = json!({ "images": images, "sha256": hex(&sha256) });
    }
    if let Some(export) = &armed.cover.borrow().export {
        details["export"] = export.told();
    }
    operation.tell_missing(missing);
    push("EXECUTE", operation, expected_rows::told(details, missing));
    Ok(())
}
