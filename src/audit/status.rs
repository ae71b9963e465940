//! What the audit views are made of: single fields of a stored record, without decoding the rest, and the state of the
//! trail. A record that cannot be read shows NULL; only `verify_chain` says what is wrong with it.

use super::{spool, verify};
use crate::core::record::{self, Field, Kind, Outcome, Record};
use crate::core::tier::Tier;
use crate::error::{self, Fault, Outcome as Fallible};
use crate::{own, shared};
use pgrx::datum::{Inet, Interval, TimestampWithTimeZone};
use pgrx::prelude::*;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::atomic::Ordering::SeqCst;

fn field(number: i32) -> Option<Field> {
    Field::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

fn find(record: &[u8], number: i32) -> Option<(Field, &[u8])> {
    let field = field(number)?;
    Some((field, record::find_field(record, field).ok()??))
}

/// A text field; kind, tier and outcome by their names.
#[pg_extern(sql = false)]
fn _record_text(record: &[u8], number: i32) -> Option<String> {
    let (field, value) = find(record, number)?;
    match field {
        Field::Kind => Kind::from_u8(*value.first()?).map(|kind| kind.name().into()),
        Field::Tier => Tier::from_u8(*value.first()?).map(|tier| tier.name().into()),
        Field::Outcome => Outcome::from_u8(*value.first()?).map(|outcome| outcome.name().into()),
        Field::Relations => None,
        _ => std::str::from_utf8(value).ok().map(str::to_owned),
    }
}

/// A number field.
#[pg_extern(sql = false)]
fn _record_bigint(record: &[u8], number: i32) -> Option<i64> {
    let (_, value) = find(record, number)?;
    value.try_into().ok().map(i64::from_be_bytes)
}

/// The time of the record, if it is one that PostgreSQL can show.
#[pg_extern(sql = false)]
fn _record_time(record: &[u8]) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(_record_bigint(record, Field::Time as i32)?).ok()
}

/// The client's address, if it is one.
#[pg_extern(sql = false)]
fn _record_inet(record: &[u8]) -> Option<Inet> {
    let address = _record_text(record, Field::ClientIp as i32)?;
    // An IPv6 zone names an interface of the server, not the client.
    let address = address.split('%').next()?;
    address.parse::<IpAddr>().ok().map(|address| Inet(address.to_string()))
}

#[pg_extern(sql = false)]
fn _record_texts(record: &[u8], number: i32) -> Option<Vec<String>> {
    let (field, value) = find(record, number)?;
    let texts = (field == Field::Relations).then(|| record::list(value).ok())??;
    Some(texts.into_iter().map(str::to_owned).collect())
}

/// The first relation.
#[pg_extern(sql = false)]
fn _record_table(record: &[u8]) -> Option<String> {
    let (_, value) = find(record, Field::Relations as i32)?;
    record::list(value).ok()?.first().map(|name| (*name).to_owned())
}

/// Everything else of a record as one JSON text: the manual's column `details`.
#[pg_extern(sql = false)]
fn _record_details(record: &[u8]) -> Option<String> {
    let record = Record::decode(record).ok()?;
    let own = record.details.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
    let parts: [(&str, Option<Value>); 14] = [
        ("outcome", Some(record.outcome.name().into())),
        ("tier", record.tier.map(|tier| tier.name().into())),
        ("rule", record.rule.map(Value::from)),
        ("op_no", record.op_no.map(Value::from)),
        ("person", record.person.map(Value::from)),
        ("effective_user", record.effective_user.map(Value::from)),
        ("application_name", record.application_name.map(Value::from)),
        ("sqlstate", record.sqlstate.map(Value::from)),
        ("rows", record.rows.map(Value::from)),
        ("repeats", record.repeats.map(Value::from)),
        ("duration_us", record.duration_us.map(Value::from)),
        ("relations", (record.relations.len() > 1).then(|| record.relations.into())),
        ("statement", record.statement.map(Value::from)),
        ("details", own),
    ];
    let present: Map<String, Value> =
        parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Some(Value::Object(present).to_string())
}

/// The columns of `steward.audit_status`, in order.
type StatusRow = (
    bool,
    Option<i32>,
    Option<Interval>,
    Option<i64>,
    Option<TimestampWithTimeZone>,
    i64,
    i32,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<TimestampWithTimeZone>,
);

const STATUS: &str = "SELECT
    (SELECT clock_timestamp() - state_change FROM pg_stat_activity WHERE pid = $1),
    (SELECT id FROM steward.chain ORDER BY id DESC LIMIT 1),
    (SELECT steward._record_time(record) FROM steward.chain ORDER BY id DESC LIMIT 1),
    pg_total_relation_size('steward.journal_0') + pg_total_relation_size('steward.journal_1'),
    (SELECT coalesce(sum(byte_offset), 0)::bigint FROM steward.spool_offset)";

#[allow(clippy::type_complexity)] // the columns must stand in the signature
#[pg_extern(sql = false)]
fn _audit_status() -> TableIterator<
    'static,
    (
        name!(sequencer_alive, bool),
        name!(sequencer_pid, Option<i32>),
        name!(lag, Option<Interval>),
        name!(last_id, Option<i64>),
        name!(last_chained_at, Option<TimestampWithTimeZone>),
        name!(journal_bytes, i64),
        name!(spool_files, i32),
        name!(spool_bytes, i64),
        name!(spool_pending_bytes, i64),
        name!(lost, i64),
        name!(last_verified_id, Option<i64>),
        name!(last_verified_at, Option<TimestampWithTimeZone>),
    ),
> {
    TableIterator::once(error::answer(status()))
}

fn status() -> Fallible<StatusRow> {
    let pid = shared::get().map(|shared| shared.sequencer_pid.load(SeqCst)).filter(|pid| *pid > 0);
    let lost = shared::get().map_or(0, |shared| {
        (0..shared.lane_count).filter_map(|slot| shared.lane(slot)).map(|lane| lane.lost.load(SeqCst)).sum::<u64>()
    });
    let (files, bytes) = spool::size().map_err(|error| Fault::io(format!("the spool cannot be read: {error}")))?;
    let verified = verify::kept(verify::VERIFIED_FILE);
    own::run(|client| {
        let row = own::query(client, STATUS, &[pid.into()])?.first();
        let chained: i64 = row.get(5)?.unwrap_or_default();
        Ok((
            pid.is_some(),
            pid,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?.unwrap_or_default(),
            files,
            bytes,
            (bytes - chained).max(0),
            lost as i64,
            verified.as_ref().map(|(id, _)| *id),
            verified.and_then(|(_, time)| time),
        ))
    })
}
