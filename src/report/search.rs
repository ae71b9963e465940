//! Finding the records of a time without reading all of them.
//!
//! The chain lies in the order in which records were chained; the moment of none of them is later than its chaining, and
//! that of one that was chained at most `late` after it began is not much earlier. So a record whose own time lies before
//! `from - late` was chained before `from`, and so were all before it; and behind one whose time lies after `to + late`
//! nothing can be that began before `to`. Both places are searched for like a word in a dictionary: a few records are
//! read by their ids, whatever the length of the chain. Records between them that are late themselves only make the stretch
//! longer, never shorter.
//!
//! Who and what records are about stands in definitions, of which there are few: those that fit are found first, and a
//! record is compared by its reference to them.

use super::period::Period;
use super::{SEARCH, record_reading, require};
use crate::core::report::stretch::{Stretch, stretch};
use crate::error::{Fault, Outcome, answer};
use crate::own;
use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
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

/// Who is a member of the role today. A superuser is a member of every role, and of these by a grant only.
const LOGINS: &str = "WITH RECURSIVE member(role) AS (
        SELECT r.oid FROM pg_roles r WHERE r.rolname = $1
        UNION SELECT m.member FROM member JOIN pg_auth_members m ON m.roleid = member.role)
    SELECT coalesce(array_agg(r.rolname::text), '{}') FROM member JOIN pg_roles r ON r.oid = member.role";

/// Every definition, each read by its id: there are few of them, and a join could begin at the other end.
macro_rules! definitions {
    () => {
        "SELECT coalesce(array_agg(d.id), '{}') FROM (SELECT d.id, (SELECT c.record FROM steward.chain c WHERE c.id = d.id) AS record
            FROM steward.definition d OFFSET 0) d WHERE "
    };
}

/// Those of this person and role; NULL: any.
const WHO: &str = concat!(
    definitions!(),
    "($1 IS NULL OR steward._defined_text(d.record, 5) = $1)
        AND ($2 IS NULL OR $2 IN (steward._defined_text(d.record, 3), steward._defined_text(d.record, 4))
            OR steward._defined_text(d.record, 3) = ANY ($3))"
);

/// … and of this operation, relation, tier and rule.
const WHAT: &str = concat!(definitions!(), "($1 IS NULL OR steward._defined_text(d.record, 9) = $1) AND ($2 IS NULL OR $2 = ANY (steward._defined_texts(d.record, 10)))
        AND ($3 IS NULL OR steward._defined_text(d.record, 11) = $3) AND ($4 IS NULL OR steward._defined_text(d.record, 12) = $4)");

/// The ids of a page. A record that refers to no definition tells by itself.
const PAGE: &str = "SELECT c.id FROM steward.chain c
    WHERE c.id BETWEEN $1 AND $2 AND steward._record_time(c.record) >= $3 AND steward._record_time(c.record) < $4
        AND ($5 IS NULL OR steward._record_text(c.record, 15) = $5) AND ($6 IS NULL OR steward._record_text(c.record, 14) = $6)
        AND ($7 IS NULL OR CASE WHEN steward._record_reference(c.record, 23) IS NOT NULL
            THEN steward._record_reference(c.record, 23) = ANY ($7)
            ELSE ($8 IS NULL OR steward._record_text(c.record, 5) = $8)
                AND ($9 IS NULL OR $9 IN (steward._record_text(c.record, 3), steward._record_text(c.record, 4))
                    OR steward._record_text(c.record, 3) = ANY ($10)) END)
        AND ($11 IS NULL OR CASE WHEN steward._record_reference(c.record, 24) IS NOT NULL
            THEN steward._record_reference(c.record, 24) = ANY ($11)
            ELSE ($12 IS NULL OR steward._record_text(c.record, 9) = $12)
                AND ($13 IS NULL OR $13 = ANY (steward._record_texts(c.record, 10)))
                AND ($14 IS NULL OR steward._record_text(c.record, 11) = $14)
                AND ($15 IS NULL OR steward._record_text(c.record, 12) = $15) END)
    ORDER BY c.id LIMIT $16";

fn list<'a>(client: &mut SpiClient<'a>, sql: &str, arguments: &[DatumWithOid<'a>]) -> Outcome<Vec<i64>> {
    Ok(own::select(client, sql, arguments)?.first().get_one::<Vec<i64>>()?.unwrap_or_default())
}

/// The ids of the records of a stretch and a time that fulfil these conditions, the first so many of them.
fn page(
    client: &mut SpiClient<'_>,
    stretch: Stretch,
    period: Period,
    asked: &Value,
    limit: Option<i64>,
) -> Outcome<Vec<i64>> {
    own::pin(&own::BY_ID);
    let of = |name: &str| -> Option<String> { asked.get(name)?.as_str().map(str::to_owned) };
    let (person, role) = (of("person"), of("role"));
    let (operation, relation, tier, rule) = (of("operation"), of("relation"), of("tier"), of("rule"));
    let mut logins: Vec<String> = Vec::new();
    if role.is_some() {
        logins = own::select(client, LOGINS, &[role.clone().into()])?.first().get_one()?.unwrap_or_default();
    }
    let who = match (&person, &role) {
        (None, None) => None,
        _ => Some(list(client, WHO, &[person.clone().into(), role.clone().into(), logins.clone().into()])?),
    };
    let what = match (&operation, &relation, &tier, &rule) {
        (None, None, None, None) => None,
        _ => {
            let asked = [&operation, &relation, &tier, &rule].map(|one| one.clone().into());
            Some(list(client, WHAT, &asked)?)
        }
    };
    let (from, to) = period.bounds()?;
    let first =
        asked.get("after").and_then(Value::as_i64).map_or(stretch.first, |id| stretch.first.max(id.saturating_add(1)));
    let arguments: [DatumWithOid<'_>; 16] = [
        first.into(),
        stretch.last.into(),
        from.into(),
        to.into(),
        of("result").into(),
        of("op_no").into(),
        who.into(),
        person.into(),
        role.into(),
        logins.into(),
        what.into(),
        operation.into(),
        relation.into(),
        tier.into(),
        rule.into(),
        limit.into(),
    ];
    own::select(client, PAGE, &arguments)?.map(|row| Ok(row.get::<i64>(1)?.unwrap_or_default())).collect()
}

#[pg_extern(sql = false)]
fn _log_ids(
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
    late: Option<Interval>,
    relation: Option<&str>,
    conditions: Option<pgrx::JsonB>,
    max_rows: Option<i32>,
) -> TableIterator<'static, (name!(first_id, i64), name!(last_id, i64), name!(ids, Vec<i64>))> {
    let (found, page) = answer((|| {
        require("search_log", &["audit"])?;
        let period = Period::of("search_log", from_time, to_time)?;
        let late = late.map(|late| late.as_micros()).filter(|late| *late >= 0);
        let late = late.ok_or_else(|| Fault::bad_argument("late must be an interval from 0 on"))?;
        let late = i64::try_from(late).unwrap_or(i64::MAX);
        let asked: Value = conditions.map_or(Value::Null, |asked| asked.0);
        let (found, page) = own::run(|client| {
            let found = ids(client, period, late)?;
            let page = page(client, found, period, &asked, max_rows.map(i64::from))?;
            Ok((found, page))
        })?;
        let details = json!({ "asked": asked, "first_id": found.first, "last_id": found.last });
        let relations = relation.map(str::to_owned).into_iter().collect();
        record_reading(SEARCH, relations, &details);
        Ok((found, page))
    })());
    TableIterator::once((found.first, found.last, page))
}
