//! Finding the records of a time without reading all of them.
//!
//! The chain lies in the order in which records were chained; the moment of none of them is later than its chaining, and
//! that of one that was chained at most `late` after it began is not much earlier. So a record whose own time lies before
//! `from - late` was chained before `from`, and so were all before it; and behind one whose time lies after `to + late`
//! nothing can be that began before `to`. Both places are searched for like a word in a dictionary: a few records are
//! read by their ids, whatever the length of the chain. Records between them that are late themselves only make the stretch
//! longer, never shorter.

use super::period::Period;
use super::{SEARCH, record_reading, require};
use crate::core::report::stretch::{Stretch, stretch};
use crate::error::{Fault, Outcome, answer};
use crate::own;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Value, json};

/// The ids between which the records of a time lie, for own SQL; says nothing to anybody and leaves no record.
pub fn ids(client: &mut SpiClient<'_>, period: Period, late: i64) -> Outcome<Stretch> {
    let ends = "SELECT (SELECT id FROM steward.chain ORDER BY id LIMIT 1), (SELECT id FROM steward.chain ORDER BY id DESC LIMIT 1)";
    let row = own::select(client, ends, &[])?.first();
    let (Some(oldest), Some(newest)) = row.get_two::<i64, i64>()? else { return Ok(Stretch { first: 1, last: 0 }) };
    let oldest = oldest.max(super::records::first_id(client, period)?);
    let time = |id: i64| -> Outcome<Option<i64>> {
        let at = "SELECT (extract(epoch FROM steward._record_time(record) - timestamptz '2000-01-01 00:00:00+00') * 1000000)::int8
            FROM steward.chain WHERE id = $1 LIMIT 1";
        let row = own::select(client, at, &[id.into()])?.first();
        if row.is_empty() { Ok(None) } else { Ok(row.get_one::<i64>()?) }
    };
    stretch(oldest, newest, period.from.saturating_sub(late), period.to.saturating_add(late), time)
}

#[pg_extern(sql = false)]
fn _log_ids(
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
    late: Option<Interval>,
    relation: Option<&str>,
    conditions: Option<pgrx::JsonB>,
) -> TableIterator<'static, (name!(first_id, i64), name!(last_id, i64))> {
    let found = answer((|| {
        require("search_log", &["audit"])?;
        let period = Period::of("search_log", from_time, to_time)?;
        let late = late.map(|late| late.as_micros()).filter(|late| *late >= 0);
        let late = late.ok_or_else(|| Fault::bad_argument("late must be an interval from 0 on"))?;
        let late = i64::try_from(late).unwrap_or(i64::MAX);
        let found = own::run(|client| ids(client, period, late))?;
        let asked: Value = conditions.map_or(Value::Null, |asked| asked.0);
        let details = json!({ "asked": asked, "first_id": found.first, "last_id": found.last });
        let relations = relation.map(str::to_owned).into_iter().collect();
        record_reading(SEARCH, relations, &details);
        Ok(found)
    })());
    TableIterator::once((found.first, found.last))
}
