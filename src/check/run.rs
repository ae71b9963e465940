//! A run: every check once, each in a subtransaction of its own, then what was found. One check that fails or takes too
//! long neither ends the run nor passes for a good one.

use super::attempt::{attempt, look};
use super::progress::Progress;
use super::question::{Check, Question, SAMPLE};
use super::register::{self, Attested};
use super::{_may_see_checks, pass, server};
use crate::alert::answer::own_act;
use crate::audit::lane::Durability;
use crate::audit::{buffer, note::note};
use crate::core::check::Kind;
use crate::core::job::without_quoted;
use crate::core::record::{Kind as RecordKind, Outcome as Ending, Record};
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, optional, required};
use crate::{cache, own, session};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::json;
use std::time::Instant;

/// For the policy's own checks, in milliseconds.
const OWN_LIMIT: i32 = 10 * 60 * 1000;

/// What one check came to.
struct Result {
    check: String,
    relation: Option<pg_sys::Oid>,
    issues: std::result::Result<i64, String>,
    sample: Vec<String>,
    seconds: f64,
}

#[pg_extern(sql = false)]
fn daily_check() -> TableIterator<'static, (name!(check_name, String), name!(issues, Option<i64>))> {
    let results = answer((|| {
        let service = session::person().is_some_and(|person| person.post == "service");
        allowed("daily_check", _may_see_checks() || service)?;
        Ok(make_all()?.1)
    })());
    TableIterator::new(results.into_iter().map(|result| (result.check, result.issues.ok())))
}

/// Makes every check: the number of the run, how many checks could not be made, how many issues there are.
pub fn all() -> Outcome<(i64, usize, i64)> {
    let (run, results) = make_all()?;
    let failed = results.iter().filter(|result| result.issues.is_err()).count();
    Ok((run, failed, results.iter().filter_map(|result| result.issues.as_ref().ok()).sum()))
}

fn make_all() -> Outcome<(i64, Vec<Result>)> {
    one_at_a_time()?;
    let began = now()?;
    let wanted = wanted()?;
    let mut progress = Progress::begin(wanted.len() + server::names().count());
    let mut results = made(wanted, &mut progress);
    let mut attested = None;
    for name in server::names() {
        progress.next(name, None, 1);
        results.push(own_result(name, &mut attested));
    }
    drop(progress);
    results.push(failures(&results));
    let run = write_down(&began, &results, attested)?;
    for result in &results {
        if let Err(failure) = &result.issues {
            Fault::remark(format!("check {} could not be made: {failure}", result.check)).warn();
        }
    }
    Ok((run, results))
}

/// Two would open two cases of one check. That a run could not begin is on record: a job that is kept out must show.
fn one_at_a_time() -> Outcome<()> {
    let lock = "LOCK TABLE steward._check_run IN SHARE UPDATE EXCLUSIVE MODE";
    own::attempt(|client| {
        // Autovacuum gives way within that time.
        own::pin(&[(c"lock_timeout", c"5s")]);
        own::execute(client, lock, &[])
    })
    .map_err(|undone| {
        undone.pass_on_cancellation();
        let mut record = Record::new(RecordKind::Policy, "daily_check");
        record.outcome = Ending::Failure;
        record.details = Some(json!({ "failed": undone.message }).to_string());
        note(record, Durability::Flushed);
        Fault::wrong_state("another run of the checks is under way")
            .detail(undone.message)
            .hint("SELECT * FROM steward.check_run;")
    })?;
    Ok(())
}

fn allowed(function: &str, allowed: bool) -> Outcome<()> {
    if !cache::at_home() || cache::policy_relation().is_none() {
        return Err(Fault::wrong_state("checks are made in the home database")
            .hint(format!("\\connect {}", crate::settings::database())));
    }
    if allowed {
        return Ok(());
    }
    Err(Fault::refused(format!("steward.{function} is not yours to call"))
        .detail("It is for superusers and for persons with the capability audit, approve or configure.")
        .hint("SELECT * FROM steward.post;"))
}

fn now() -> Outcome<String> {
    own::run(|client| Ok(one_text(client, "SELECT clock_timestamp()::text", &[])?.unwrap_or_default()))
}

/// A check and how many milliseconds it may take.
type Limited = (Check, i32);

fn wanted() -> Outcome<Vec<Limited>> {
    let checks = "SELECT name, relation::oid::text, kind, columns::text[], parameter, owner::oid::text,
        least(extract(epoch FROM timeout) * 1000, 2147483647)::int FROM steward.integrity_check ORDER BY relation::oid, name";
    own::run(|client| {
        let mut found = Vec::new();
        for row in own::select(client, checks, &[])? {
            let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
            let oid = |text: String| pg_sys::Oid::from(text.parse::<u32>().unwrap_or(0));
            let kind_name = text(3)?;
            let kind = Kind::from_name(&kind_name);
            let check = Check {
                name: text(1)?,
                relation: oid(text(2)?),
                kind: kind.ok_or_else(|| Fault::internal("a row of integrity_check does not read back"))?,
                kind_name,
                columns: row.get(4)?.unwrap_or_default(),
                parameter: row.get(5)?,
                owner: oid(text(6)?),
            };
            found.push((check, row.get(7)?.unwrap_or(0)));
        }
        Ok(found)
    })
}

/// Those that can take one pass over their table together. If that fails, each is asked alone, so that only the one that
/// fails counts as failed.
fn made(wanted: Vec<Limited>, progress: &mut Progress) -> Vec<Result> {
    let (together, alone): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(check, _)| check.kind.shares_a_pass());
    let mut results = Vec::new();
    for of_one_table in together.chunk_by(|(one, _), (other, _)| one.relation == other.relation) {
        let names: Vec<&str> = of_one_table.iter().map(|(check, _)| check.name.as_str()).collect();
        progress.next(&names.join(", "), Some(of_one_table[0].0.relation), names.len());
        match together_made(of_one_table) {
            Some(found) if of_one_table.len() > 1 => results.extend(found),
            _ => results.extend(of_one_table.iter().map(single)),
        }
    }
    for limited in &alone {
        progress.next(&limited.0.name, Some(limited.0.relation), 1);
        results.push(single(limited));
    }
    results
}

fn together_made(checks: &[Limited]) -> Option<Vec<Result>> {
    if checks.len() < 2 {
        return None;
    }
    let began = Instant::now();
    let limit = checks.iter().fold(0, |sum: i32, (_, limit)| sum.saturating_add(*limit));
    let of_one_table: Vec<&Check> = checks.iter().map(|(check, _)| check).collect();
    let counts = look(limit, || pass::make(&of_one_table)).ok()?;
    let seconds = began.elapsed().as_secs_f64();
    let found = |((check, limit), counted): (&Limited, &pass::Counted)| {
        let mut result = result(&check.name, Some(check.relation), look(*limit, || counted.found(check)), began);
        result.seconds = result.seconds.max(seconds);
        result
    };
    Some(checks.iter().zip(&counts).map(found).collect())
}

fn single((check, limit): &Limited) -> Result {
    let began = Instant::now();
    let asked = || {
        let question = Question::of(check)?;
        let count = question.count()?;
        Ok((count, if count > 0 { question.sample()? } else { Vec::new() }))
    };
    let found = match check.kind {
        // What somebody's condition does is on record like any statement of theirs, and no look of the policy's.
        Kind::Expression => attempt(*limit, asked),
        kind if kind.shares_a_pass() => look(*limit, || pass::alone(check)),
        _ => look(*limit, asked),
    };
    result(&check.name, Some(check.relation), found, began)
}

fn own_result(name: &'static str, attested: &mut Option<Attested>) -> Result {
    let began = Instant::now();
    let prepared = match name {
        register::NAME => attempt(OWN_LIMIT, register::read_on).map(|read| *attested = Some(read)),
        _ => Ok(()),
    };
    let asked = || {
        let mut issues = server::issues(name)?;
        let count = issues.len() as i64;
        issues.truncate(SAMPLE);
        Ok((count, issues))
    };
    let found = prepared.and_then(|()| look(OWN_LIMIT, asked));
    result(name, None, found, began)
}

fn result(
    check: &str,
    relation: Option<pg_sys::Oid>,
    found: std::result::Result<(i64, Vec<String>), String>,
    began: Instant,
) -> Result {
    let (issues, sample) = match found {
        Ok((count, sample)) => (Ok(count), sample),
        // A message may quote a value of the table.
        Err(failure) => (Err(without_quoted(&failure)), Vec::new()),
    };
    Result { check: check.to_owned(), relation, issues, sample, seconds: began.elapsed().as_secs_f64() }
}

/// A check that could not be made is a finding itself, with a case that stays open until all are made.
fn failures(results: &[Result]) -> Result {
    let failed =
        results.iter().filter_map(|result| Some(format!("{}: {}", result.check, result.issues.as_ref().err()?)));
    let mut sample: Vec<String> = failed.collect();
    let count = sample.len() as i64;
    sample.truncate(SAMPLE);
    Result { check: server::FAILED.to_owned(), relation: None, issues: Ok(count), sample, seconds: 0.0 }
}

const RUN: &str = "INSERT INTO steward._check_run (began_at, ended_at, login)
    VALUES ($1::timestamptz, clock_timestamp(), $2) RETURNING id::text";
const RESULT: &str =
    "INSERT INTO steward._check_result (run_id, check_name, issues, failure, seconds) VALUES ($1, $2, $3, $4, $5)";
/// A case that is open goes on; what is found no more is gone.
const ISSUE: &str = "INSERT INTO steward._integrity_issue AS i
        (check_name, relation, run_id, last_run_id, issue_count, sample, found_at)
    VALUES ($2, $3::oid::regclass::text, $1, $1, $4, $5, clock_timestamp())
    ON CONFLICT (check_name) WHERE status = 'open' DO UPDATE
    SET last_run_id = excluded.last_run_id, issue_count = excluded.issue_count, sample = excluded.sample";
const GONE: &str = "UPDATE steward._integrity_issue SET status = 'gone', ended_at = clock_timestamp(), last_run_id = $1
    WHERE status = 'open' AND check_name = $2";

fn write_down(began: &str, results: &[Result], attested: Option<Attested>) -> Outcome<i64> {
    let run = own::run(|client| {
        let run = one_text(client, RUN, &[began.into(), session::login_name().into()])?;
        let run: i64 = run.and_then(|run| run.parse().ok()).ok_or_else(|| Fault::internal("a run without a number"))?;
        for result in results {
            let (issues, failure) = match &result.issues {
                Ok(issues) => (Some(*issues), None),
                Err(failure) => (None, Some(failure.as_str())),
            };
            let check = result.check.as_str();
            let row: [DatumWithOid<'_>; 5] =
                [run.into(), check.into(), issues.into(), optional(failure), result.seconds.into()];
            own::execute(client, RESULT, &row)?;
            match issues {
                Some(0) => drop(own::execute(client, GONE, &[run.into(), check.into()])?),
                Some(issues) => {
                    let case: [DatumWithOid<'_>; 5] =
                        [run.into(), check.into(), result.relation.into(), issues.into(), result.sample.clone().into()];
                    own::execute(client, ISSUE, &case)?;
                }
                None => {}
            }
        }
        Ok(run)
    })?;
    let failed: Vec<&str> = results.iter().filter(|r| r.issues.is_err()).map(|r| r.check.as_str()).collect();
    let found: serde_json::Map<_, _> = results
        .iter()
        .filter_map(|result| Some((result.check.clone(), json!(result.issues.as_ref().ok().filter(|n| **n > 0)?))))
        .collect();
    let mut record = Record::new(RecordKind::Policy, "daily_check");
    if !failed.is_empty() || !found.is_empty() {
        record.outcome = Ending::Failure;
    }
    let register = attested.map(|read| json!({ "through": read.through, "sha256": read.sha256 }));
    let details = json!({ "run": run, "issues": found, "failed": failed, "register": register });
    record.details = Some(details.to_string());
    buffer::push(record);
    Ok(run)
}

#[pg_extern(sql = false)]
fn close_issue(id: Option<i64>, text: Option<&str>) {
    answer((|| {
        allowed("close_issue", _may_see_checks())?;
        own_act("close_issue")?;
        let text = required("result", text)?;
        let fixer = session::person().map_or_else(session::login_name, |person| person.name.clone());
        let close = "UPDATE steward._integrity_issue SET status = 'fixed', ended_at = clock_timestamp(), fixer = $2, result = $3
            WHERE id = $1 AND status = 'open' RETURNING check_name";
        let closed = own::run(|client| one_text(client, close, &[id.into(), fixer.as_str().into(), text.into()]))?;
        let closed = closed.ok_or_else(|| {
            Fault::unknown("there is no such open issue")
                .hint("SELECT id, check_name, sample FROM steward.integrity_issues WHERE status = 'open';")
        })?;
        let mut record = Record::new(RecordKind::Policy, "close_issue");
        record.details = Some(json!({ "issue": id, "check": closed }).to_string());
        buffer::push(record);
        Ok(())
    })())
}
