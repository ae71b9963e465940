//! Reviews that nobody has made in time: they are told once, and they stop what their applicant wants to do next, if the
//! policy says so. What is asked here is the table and the clock, never whether somebody was told.

use super::{Entry, denied, record_denial, step_record};
use crate::alert::listeners;
use crate::audit::buffer;
use crate::cache::{self, Person};
use crate::core::record::Outcome as Ending;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::texts;
use crate::policy::{changed, require_privilege};
use crate::{own, session, settings};
use pgrx::prelude::*;
use serde_json::json;

/// Its step in records and in the trail.
const OVERDUE: &str = "REVIEW OVERDUE";

/// What has run, and waits for its review longer than its term: runs that are left excuse nobody.
macro_rules! overdue {
    () => {
        "review_due < clock_timestamp() AND runs_done > 0
            AND status IN ('executed', 'approved', 'failed', 'armed')"
    };
}

/// Refuses a step in important and critical work of somebody with too many overdue reviews. The post service goes on:
/// nobody may lock an application out by leaving its reviews alone.
pub fn check_applicant(step: &str, op_no: &str, tier: Tier, applicant: &Person) -> Outcome<()> {
    if tier < Tier::Important || applicant.post == "service" {
        return Ok(());
    }
    let owed = own::run(|client| {
        let blocks = "SELECT overdue::text FROM steward.review_block";
        let Some(limit) = texts(client, blocks, &[])?.into_iter().next() else { return Ok(Vec::new()) };
        let limit: usize = limit.parse().map_err(|_| Fault::internal("a row of review_block does not read back"))?;
        let owed = concat!(
            "SELECT op_no FROM steward._operation WHERE applicant = $1 AND ",
            overdue!(),
            " ORDER BY review_due, op_no"
        );
        let owed = texts(client, owed, &[applicant.name.as_str().into()])?;
        Ok(if owed.len() >= limit { owed } else { Vec::new() })
    })?;
    let Some(first) = owed.first() else { return Ok(()) };
    let mut reviewers: Vec<String> = cache::policy()
        .everybody()
        .into_iter()
        .filter(|person| person.may("approve"))
        .map(|person| person.name.clone())
        .filter(|name| *name != applicant.name)
        .collect();
    reviewers.sort();
    let verb = step.to_lowercase();
    let fault = Fault::wrong_state(format!("{verb} refused: reviews of {} are overdue", applicant.name))
        .detail(format!("Not reviewed in time: {}.", owed.join(", ")))
        .hint(format!("{} can review: SELECT steward.review('{first}', 'accepted', '…');", reviewers.join(", ")));
    record_denial(step, op_no, "reviews are overdue", &fault);
    Err(fault)
}

/// An operation whose review has just become overdue.
struct Due {
    op_no: String,
    tier: Option<Tier>,
    applicant: String,
    due: String,
}

#[pg_extern(sql = false)]
fn check_reviews() -> i64 {
    answer((|| {
        // Safe: looks up the role that authenticated.
        let privileged = unsafe { pg_sys::superuser_arg(session::login()) };
        let person = session::person();
        if !privileged && !person.is_some_and(|person| person.may("approve") || person.may("audit")) {
            return Err(denied(
                "CHECK REVIEWS",
                "",
                "check of reviews refused: it is for those who approve or audit".to_owned(),
            ));
        }
        tell_overdue()
    })())
}

/// Tells of reviews that are overdue, once; how many.
pub fn tell_overdue() -> Outcome<i64> {
    let told = own::run(tell)?;
    for due in &told {
        let mut record = step_record(OVERDUE, &due.op_no);
        record.tier = due.tier;
        record.outcome = Ending::Failure;
        record.details = Some(json!({ "applicant": due.applicant, "due": due.due }).to_string());
        buffer::push(record);
    }
    Ok(told.len() as i64)
}

/// Marks what is newly overdue, so that it is told once, however many ask at the same time. What somebody's transaction
/// holds is told the next time. Whoever listens learns the number alone: anybody may listen.
fn tell(client: &mut pgrx::spi::SpiClient<'_>) -> Outcome<Vec<Due>> {
    let mark = concat!(
        "UPDATE steward._operation SET review_alerted_at = clock_timestamp() WHERE op_no IN (SELECT op_no
            FROM steward._operation WHERE review_alerted_at IS NULL AND ",
        overdue!(),
        " FOR NO KEY UPDATE SKIP LOCKED) RETURNING op_no, tier::text, applicant,
            coalesce(to_char(review_due AT TIME ZONE $1, 'YYYY-MM-DD HH24:MI:SS ') || $1, review_due::text)"
    );
    let mut found = Vec::new();
    for row in own::query(client, mark, &[settings::time_zone().into()])? {
        found.push(Due {
            op_no: row.get(1)?.unwrap_or_default(),
            tier: row.get::<String>(2)?.as_deref().and_then(Tier::from_name),
            applicant: row.get(3)?.unwrap_or_default(),
            due: row.get(4)?.unwrap_or_default(),
        });
    }
    for due in &found {
        let payload = json!({ "alert": OVERDUE, "op_no": due.op_no, "due": due.due }).to_string();
        listeners::notify_in(client, &[payload])?;
        Entry {
            op_no: &due.op_no,
            event: OVERDUE,
            person: None,
            login: &session::login_name(),
            comment: None,
            digest: None,
            details: Some(json!({ "due": due.due })),
        }
        .write(client)?;
    }
    Ok(found)
}

#[pg_extern(sql = false)]
fn set_review_block(overdue: Option<i32>) {
    answer((|| {
        require_privilege("set_review_block")?;
        let overdue = overdue.filter(|overdue| (0..=1000).contains(overdue));
        let overdue = overdue.ok_or_else(|| Fault::bad_argument("overdue reviews are 1 to 1000, or 0 for never"))?;
        own::run(|client| {
            own::execute(client, "DELETE FROM steward.review_block", &[])?;
            let row = "INSERT INTO steward.review_block (overdue) SELECT $1 WHERE $1 > 0";
            own::execute(client, row, &[overdue.into()]).map(drop)
        })?;
        changed("set_review_block", "review_block")
    })())
}
