//! What comes after a run: the review by somebody else, and what the sequencer writes down when it meets a record,
//! because the transaction it tells of was undone or had no operation.

use super::checklist::{self, Due};
use super::{
    Entry, Operation, actor, arm, disarm, expected_rows, follow, next_number, numbered, own_act, push, require_factor,
};
use crate::backend::backend_local;
use crate::break_glass::{incident, keep, review as emergency};
use crate::cache::{self, Person};
use crate::core::operation::Step;
use crate::core::record::{Kind, Outcome as Ending, Record};
use crate::core::script::{digest, hex};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::{legible, one_text, required};
use crate::{factor, own, session, settings, shared};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::cell::RefCell;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

#[pg_extern(sql = false)]
fn review(op_no: Option<&str>, verdict: Option<&str>, comment: Option<&str>) {
    answer((|| {
        let op_no = numbered(op_no)?;
        legible("comment", comment.unwrap_or(""))?;
        let comment = match verdict {
            Some("accepted") => comment,
            Some("rejected") => Some(required("comment", comment)?),
            _ => return Err(Fault::bad_argument("a verdict is accepted or rejected")),
        };
        let verdict = verdict.unwrap_or_default();
        let reviewer = actor("REVIEW", op_no, "approve")?;
        own_act("REVIEW", op_no)?;
        let operation = Operation::lock(op_no)?;
        require_factor("REVIEW", op_no, operation.tier, &reviewer)?;
        operation.separate(Step::Review, "REVIEW", &reviewer)?;
        let status = operation.after(operation.reviewing(verdict == "accepted")?, "reviewed")?;
        let window = emergency::check(op_no, &reviewer)?;
        // Nobody can keep others from saying no.
        if verdict == "accepted" {
            checklist::require(&operation, Due::Review, None)?;
            expected_rows::check_review(op_no, comment)?;
            window.as_ref().map_or(Ok(()), |_| incident::check(op_no, &reviewer))?;
        }
        own::run(|client| {
            let update = "UPDATE steward._operation SET status = $2, reviewed_by = $3, reviewed_at = clock_timestamp(), review_verdict = $4,
                    review_due = CASE WHEN $2 IN ('approved', 'failed') THEN NULL ELSE review_due END
                WHERE op_no = $1";
            own::execute(
                client,
                update,
                &[op_no.into(), status.name().into(), reviewer.name.as_str().into(), verdict.into()],
            )?;
            Entry {
                op_no,
                event: "REVIEW",
                person: Some(&reviewer.name),
                login: &session::login_name(),
                comment,
                digest: Some(&operation.digest),
                details: Some(json!({ "verdict": verdict, "runs": operation.runs_done })),
            }
            .write(client)?;
            operation.reseal(client, status, false)
        })?;
        let mut details = json!({ "verdict": verdict, "comment": comment, "runs": operation.runs_done });
        details["digest"] = hex(&operation.digest).into();
        if let Some(window) = window {
            details["pre_image"] = emergency::seal(&window)?;
        }
        push("REVIEW", &operation, details);
        Ok(())
    })())
}

/// Called by the sequencer for every record before it is chained, in its own transaction. Never waits for a lock that
/// somebody's transaction holds; a record that says nothing to operations costs a few comparisons.
pub fn on_record(client: &mut SpiClient<'_>, record: &mut Record) -> Outcome<()> {
    match (record.kind, record.operation_type.as_str(), record.outcome) {
        (Kind::Operation, "EXECUTE", Ending::Failure) => follow::on_record(client, record, follow::FAIL),
        (Kind::Operation, "EXECUTE", Ending::RolledBack) => follow::mention(client, record, "ROLLED BACK"),
        (Kind::Operation, arm::DISARM, Ending::Failure) => disarm::on_record(client, record),
        (Kind::Operation, follow::EXPIRE, _) => follow::on_record(client, record, follow::EXPIRE),
        (Kind::Operation, what, Ending::Success) if keep::follows(what) => keep::on_record(client, record),
        (Kind::Login, factor::VERIFY, _) => factor::keep::on_record(client, record),
        (Kind::Statement, _, Ending::Success)
            if record.tier == Some(Tier::Important) && record.op_no.is_none() && shared::active() =>
        {
            open_review(client, record)
        }
        _ => Ok(()),
    }
}

/// A review that this transaction of the sequencer has opened or found; forgotten with the transaction.
struct Opened {
    transaction: u64,
    person: String,
    rule: Option<String>,
    hour: i64,
    op_no: String,
}

backend_local! {
    static OPENED: RefCell<Option<Opened>> = const { RefCell::new(None) };
}

/// Important work is reviewed afterwards: one review for each statement; for the post `service` one for each rule and
/// hour, or an application would fill the queue.
pub fn open_review(client: &mut SpiClient<'_>, record: &mut Record) -> Outcome<()> {
    let Some(person) = record.person.as_deref().and_then(super::person_named) else { return Ok(()) };
    let Some(within) = cache::policy().tier_policy(Tier::Important, &person.post).review_within_s else {
        return Ok(());
    };
    if person.post != "service" {
        record.op_no = insert_review(client, record, &person, within)?;
        return Ok(());
    }
    // Safe: plain getter.
    let transaction = unsafe { pg_sys::GetTopFullTransactionIdIfAny().value };
    let hour = record.time.div_euclid(HOUR);
    let same = |opened: &Opened| {
        opened.transaction == transaction
            && opened.hour == hour
            && opened.person == person.name
            && opened.rule == record.rule
    };
    record.op_no =
        OPENED.with_borrow(|opened| opened.as_ref().filter(|opened| same(opened)).map(|opened| opened.op_no.clone()));
    if record.op_no.is_none() {
        record.op_no = match find_review(client, record, &person, hour)? {
            Some(op_no) => Some(op_no),
            None => insert_review(client, record, &person, within)?,
        };
        let opened = record.op_no.clone().filter(|_| transaction != 0);
        let opened = opened.map(|op_no| Opened {
            transaction,
            person: person.name.clone(),
            rule: record.rule.clone(),
            hour,
            op_no,
        });
        OPENED.with_borrow_mut(|known| *known = opened);
    }
    Ok(())
}

/// Microseconds since 2000 as a timestamp: `$1` of the queries below.
macro_rules! moment {
    ($microseconds:literal) => {
        concat!("(timestamptz '2000-01-01 00:00:00+00' + ", $microseconds, "::bigint * interval '1 microsecond')")
    };
}

fn find_review(client: &mut SpiClient<'_>, record: &Record, person: &Person, hour: i64) -> Outcome<Option<String>> {
    let find = concat!(
        "SELECT op_no FROM steward._operation WHERE origin = 'statement' AND status = 'executed' AND applicant = $3
            AND rule IS NOT DISTINCT FROM $4 AND executed_at >= ",
        moment!("$1"),
        " AND executed_at < ",
        moment!("$2"),
        " ORDER BY executed_at LIMIT 1"
    );
    one_text(
        client,
        find,
        &[(hour * HOUR).into(), ((hour + 1) * HOUR).into(), person.name.as_str().into(), record.rule.clone().into()],
    )
}

/// None before the activation and where the person has no row: a record is never lost for its review.
fn insert_review(client: &mut SpiClient<'_>, record: &Record, person: &Person, within: i64) -> Outcome<Option<String>> {
    let insert = concat!(
        "INSERT INTO steward._operation (op_no, origin, script, digest, tier, rule, purpose, applicant, applicant_login, database,
            system_identifier, not_before, not_after, runs_allowed, runs_done, approvals_needed, witness_needed, status,
            executed_by, executed_at, rows_done, review_due)
        SELECT $2, 'statement', $3, $4, 'important', $5, 'important work, reviewed afterwards', name, $6, current_database(),
            (SELECT system_identifier::text FROM pg_control_system()), ",
        moment!("$1"),
        ", 'infinity', 1, 1, 0, false, 'executed', name, ",
        moment!("$1"),
        ", $7, clock_timestamp() + make_interval(secs => $8) FROM steward.person WHERE name = $9 RETURNING op_no"
    );
    // Setting the policy up is not reviewed, even where its records are chained after the activation.
    let day = concat!(
        "SELECT to_char(",
        moment!("$1"),
        " AT TIME ZONE $2, 'YYYYMMDD') FROM steward.activation WHERE activated_at <= ",
        moment!("$1")
    );
    let arguments = [record.time.into(), settings::time_zone().into()];
    let Some(day) = one_text(client, day, &arguments)? else { return Ok(None) };
    let op_no = next_number(client, &day)?;
    let script = record.statement.as_deref().unwrap_or(&record.operation_type);
    let sha = digest(script);
    let inserted = one_text(
        client,
        insert,
        &[
            record.time.into(),
            op_no.as_str().into(),
            script.into(),
            sha.to_vec().into(),
            record.rule.clone().into(),
            record.user_id.as_str().into(),
            record.rows.into(),
            (within as f64).into(),
            person.name.as_str().into(),
        ],
    )?;
    if inserted.is_some() {
        Entry {
            op_no: &op_no,
            event: "EXECUTE",
            person: Some(&person.name),
            login: &record.user_id,
            comment: Some("without an operation; its tier demands a review afterwards"),
            digest: Some(&sha),
            details: Some(json!({ "rows": record.rows, "relations": record.relations })),
        }
        .write(client)?;
    }
    Ok(inserted)
}
