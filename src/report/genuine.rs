//! `steward.check_report`: whether a text is a report that this database gave out, by the digest in the chain.

use super::{SECURITY, require};
use crate::core::record::Record;
use crate::core::report::security::{digested, made_after};
use crate::error::{Outcome, answer};
use crate::own;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use sha2::{Digest, Sha256};

/// Records fetched at a time.
const FETCH: i64 = 2_000;

/// The digest that stands in the record, hexadecimal.
pub fn digest(report: &str) -> String {
    Sha256::digest(digested(report).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is known of a text; `genuine` is None where the records that would tell are archived.
#[derive(Default)]
struct Finding {
    genuine: Option<bool>,
    id: Option<i64>,
    record: Option<Record>,
}

#[allow(clippy::type_complexity)] // the columns must stand in the signature
#[pg_extern(sql = false)]
fn check_report(
    report: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(genuine, Option<bool>),
        name!(made_at, Option<TimestampWithTimeZone>),
        name!(made_by, Option<String>),
        name!(record_id, Option<i64>),
        name!(sha256, String),
    ),
> {
    let report = report.unwrap_or_default();
    let sha256 = digest(report);
    let found = answer(find(report, &sha256));
    let (time, by) = match found.record {
        Some(record) => (record.time.try_into().ok(), Some(record.person.unwrap_or(record.user_id))),
        None => (None, None),
    };
    TableIterator::once((found.genuine, time, by, found.id, sha256))
}

/// Looks behind the record that the report itself names: wherever that points, only the true digest is an answer.
fn find(report: &str, sha256: &str) -> Outcome<Finding> {
    require("check_report", &["audit", "configure"])?;
    let Some(after) = made_after(report) else { return Ok(Finding { genuine: Some(false), ..Finding::default() }) };
    own::run(|client| {
        let oldest = own::select(client, "SELECT id FROM steward.chain ORDER BY id LIMIT 1", &[])?.first();
        let oldest = if oldest.is_empty() { 1 } else { oldest.get_one::<i64>()?.unwrap_or(1) };
        let sql = "SELECT id, record FROM steward.chain WHERE id > $1 ORDER BY id";
        let mut cursor = client.try_open_cursor(sql, &[after.into()])?;
        loop {
            let rows = cursor.fetch(FETCH)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let record = Record::decode(row.get::<&[u8]>(2)?.unwrap_or_default());
                if let Some(record) = record.ok().filter(|record| tells(record, sha256)) {
                    return Ok(Finding { genuine: Some(true), id: row.get(1)?, record: Some(record) });
                }
            }
            pgrx::check_for_interrupts!();
        }
        // The record of a report whose neighbours are archived may be among these.
        // The number is whoever's who wrote the text.
        let known = after >= oldest.saturating_sub(1);
        Ok(Finding { genuine: known.then_some(false), ..Finding::default() })
    })
}

fn tells(record: &Record, sha256: &str) -> bool {
    if record.operation_type != SECURITY {
        return false;
    }
    let details = record.details.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    details.is_some_and(|details| details["sha256"] == sha256)
}
