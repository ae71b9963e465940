//! What ends soon or is over, told once: each new line of `steward._reminder` is a record in the chain, where alert rules
//! see it.

use super::_may_see_records;
use crate::audit::buffer;
use crate::core::record::{Kind, Outcome as Ending, Record};
use crate::error::{Fault, Outcome, answer};
use crate::{cache, own, session, settings};
use pgrx::prelude::*;
use serde_json::json;

/// A stage of a term is told once, however often the term is asked for; what is over or missing is told every day.
const NEW: &str = "WITH told AS (INSERT INTO steward._reminded (kind, subject, stage, day)
        SELECT DISTINCT kind, subject, stage, CASE WHEN stage IN ('overdue', 'missing') THEN (clock_timestamp() AT TIME ZONE $1)::date
            ELSE (due_at AT TIME ZONE $1)::date END
        FROM steward._reminder ON CONFLICT DO NOTHING RETURNING kind, subject, stage, day)
    SELECT kind, subject, stage, day::text FROM told ORDER BY kind, subject";

#[pg_extern(sql = false)]
fn check_records() -> i64 {
    answer((|| {
        if !cache::at_home() || cache::policy_relation().is_none() {
            return Err(Fault::wrong_state("records are kept in the home database")
                .hint(format!("\\connect {}", settings::database())));
        }
        let service = session::person().is_some_and(|person| person.post == "service");
        if !service && !_may_see_records() {
            return Err(Fault::refused("steward.check_records is not yours to call")
                .detail("It is for superusers, persons with the capability audit, approve or configure, and the post service.")
                .hint("SELECT * FROM steward.post;"));
        }
        tell()
    })())
}

/// Tells what is new; how much that is. Who asks for it is the caller's to judge.
pub fn tell() -> Outcome<i64> {
    own::run(|client| {
        let mut told = 0;
        for row in own::query(client, NEW, &[settings::time_zone().into()])? {
            let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
            buffer::push(record(&text(1)?, &text(2)?, &text(3)?, &text(4)?));
            told += 1;
        }
        Ok(told)
    })
}

/// The operation types of what is over or missing, and of what ends soon.
pub const TOLD: [&str; 2] = ["OVERDUE", "REMINDER"];

fn record(kind: &str, subject: &str, stage: &str, day: &str) -> Record {
    let over = matches!(stage, "overdue" | "missing");
    let mut record = Record::new(Kind::Policy, TOLD[usize::from(!over)]);
    if over {
        record.outcome = Ending::Failure;
    }
    record.relations = vec![format!("{kind}: {subject}")];
    record.details = Some(json!({ "kind": kind, "subject": subject, "stage": stage, "day": day }).to_string());
    record
}
