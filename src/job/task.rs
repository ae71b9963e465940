//! What each job does, by its name. The functions are those behind the SQL functions of the same names, without the
//! question who calls: that is `run_job`'s.

use crate::audit::{archive, retention, verify};
use crate::check::run as check;
use crate::core::chain::{Kind, Verdict};
use crate::error::{Fault, Outcome};
use crate::image;
use crate::operation::review_queue;
use crate::person::term;
use crate::register::reminder;
use serde_json::{Value, json};

/// What a job does to what there is, which decides who may run it and for how long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It looks, and tells: that goes on when the term of the jobs' login is over.
    Looks,
    /// It takes back what has lapsed.
    TakesBack,
    /// It takes records, images or files away, as old as the policy lets them become.
    Removes,
}

pub struct Task {
    pub name: &'static str,
    pub work: Work,
    /// Returns what is told in the record of the run.
    pub run: fn() -> Outcome<Value>,
}

/// In the order of their names, as in steward.job.
const TASKS: [Task; 9] = [
    Task { name: "archive_audit", work: Work::Removes, run: archive_audit },
    Task { name: "check_records", work: Work::Looks, run: || Ok(json!({ "told": reminder::tell()? })) },
    Task { name: "check_reviews", work: Work::Looks, run: || Ok(json!({ "told": review_queue::tell_overdue()? })) },
    Task { name: "daily_check", work: Work::Looks, run: daily_check },
    Task { name: "purge_archive", work: Work::Removes, run: || Ok(json!({ "files": retention::purge()? })) },
    Task { name: "purge_images", work: Work::Removes, run: || Ok(json!({ "images": image::purge()? })) },
    Task { name: "revoke_lapsed", work: Work::TakesBack, run: || Ok(json!({ "revoked": term::revoke()? })) },
    Task { name: "verify_chain", work: Work::Looks, run: || verified(verify::verify(None, None, None)?) },
    Task { name: "verify_new", work: Work::Looks, run: || verified(verify::verify_since_last()?) },
];

/// The job of this name, exactly.
pub fn named(name: Option<&str>) -> Outcome<&'static Task> {
    let name = name.ok_or_else(|| Fault::bad_argument("name must not be NULL").hint("SELECT * FROM steward.job;"))?;
    TASKS.iter().find(|task| task.name == name).ok_or_else(|| {
        let known = TASKS.each_ref().map(|task| task.name).join(" ");
        Fault::unknown("there is no such job").detail(format!("Jobs are: {known}.")).hint("SELECT * FROM steward.job;")
    })
}

impl Task {
    /// A number of its own.
    pub fn number(&self) -> u32 {
        TASKS.iter().position(|task| task.name == self.name).map_or(u32::MAX, |place| place as u32)
    }
}

fn archive_audit() -> Outcome<Value> {
    let archived = archive::archive(None)?;
    Ok(json!({ "segments": archived.len() }))
}

/// Issues that are found are no failure of the job: they have records and alerts of their own.
fn daily_check() -> Outcome<Value> {
    let (run, failed, issues) = check::all()?;
    Ok(json!({ "run": run, "failed": failed, "issues": issues }))
}

/// A chain that is not right is a failure, which must show wherever jobs are watched.
fn verified(verdict: Verdict) -> Outcome<Value> {
    if verdict.ok || verdict.kind == Kind::Empty {
        return Ok(json!({ "checked": verdict.checked, "to_id": verdict.to_id }));
    }
    let place = verdict.first_bad_id.map_or_else(String::new, |id| format!(" at record {id}"));
    Err(Fault::corrupted(format!("the audit chain is {}{place}", verdict.kind.name())))
}
