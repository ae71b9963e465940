//! What the audit views are made of: single fields of a stored record, without decoding the rest, and the state of the
//! trail. A record that cannot be read shows NULL; only `verify_chain` says what is wrong with it.

use super::announce::mode_name;
use super::{backlog, offset, verify};
use crate::core::record::{self, Field, Kind, Outcome, Record, Value};
use crate::core::tier::Tier;
use crate::error::{self, Fault, Outcome as Fallible};
use crate::{own, shared};
use pgrx::datum::{Inet, Interval, TimestampWithTimeZone};
use pgrx::prelude::*;
use serde_json::{Map, Value as Json};
use std::net::IpAddr;
use std::sync::atomic::Ordering::SeqCst;

fn field(number: i32) -> Option<Field> {
    Field::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// Where a field is looked for: in a record itself, or in what a definition defines.
#[derive(Clone, Copy)]
enum Place {
    Record,
    Body,
}

fn find(place: Place, record: &[u8], field: Field) -> Option<Value<'_>> {
    match place {
        Place::Record => record::find_field(record, field).ok()?,
        Place::Body => match record::find_field(record, Field::Body).ok()? {
            Some(Value::Bytes(body)) => record::find_in_body(body, field).ok()?,
            _ => None,
        },
    }
}

fn text(place: Place, record: &[u8], number: i32) -> Option<String> {
    let field = field(number)?;
    match (field, find(place, record, field)?) {
        (Field::Kind, Value::Byte(kind)) => Kind::from_u8(kind).map(|kind| kind.name().into()),
        (Field::Tier, Value::Byte(tier)) => Tier::from_u8(tier).map(|tier| tier.name().into()),
        (Field::Outcome, Value::Byte(outcome)) => Outcome::from_u8(outcome).map(|outcome| outcome.name().into()),
        (_, Value::Text(text)) => Some(text.to_owned()),
        _ => None,
    }
}

fn texts(place: Place, record: &[u8], number: i32) -> Option<Vec<String>> {
    match find(place, record, field(number)?)? {
        Value::List(value) => Some(record::list(value).ok()?.into_iter().map(str::to_owned).collect()),
        _ => None,
    }
}

fn inet(place: Place, record: &[u8]) -> Option<Inet> {
    let address = text(place, record, Field::ClientIp as i32)?;
    // An IPv6 zone names an interface of the server, not the client.
    let address = address.split('%').next()?;
    address.parse::<IpAddr>().ok().map(|address| Inet(address.to_string()))
}

fn table(place: Place, record: &[u8]) -> Option<String> {
    texts(place, record, Field::Relations as i32)?.into_iter().next()
}

/// A text field; kind, tier and outcome by their names. The details of a definition are what it defines.
#[pg_extern(sql = false)]
fn _record_text(record: &[u8], number: i32) -> Option<String> {
    text(Place::Record, record, number).or_else(|| match find(Place::Record, record, Field::Body)? {
        Value::Bytes(body) if number == Field::Details as i32 => described(body),
        _ => None,
    })
}

/// A number field.
#[pg_extern(sql = false)]
fn _record_bigint(record: &[u8], number: i32) -> Option<i64> {
    match find(Place::Record, record, field(number)?)? {
        Value::Int(number) => Some(number),
        Value::Unsigned(number) => i64::try_from(number).ok(),
        _ => None,
    }
}

/// What is shown in place of a definition that is not found.
#[pg_extern(sql = false)]
fn _undefined(record: &[u8], number: i32) -> Option<String> {
    _record_bigint(record, number).map(|id| format!("(definition {id} is missing)"))
}

/// The time of the record, if it is one that PostgreSQL can show.
#[pg_extern(sql = false)]
fn _record_time(record: &[u8]) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(_record_bigint(record, Field::Time as i32)?).ok()
}

/// The client's address, if it is one.
#[pg_extern(sql = false)]
fn _record_inet(record: &[u8]) -> Option<Inet> {
    inet(Place::Record, record)
}

#[pg_extern(sql = false)]
fn _record_texts(record: &[u8], number: i32) -> Option<Vec<String>> {
    texts(Place::Record, record, number)
}

/// The first relation.
#[pg_extern(sql = false)]
fn _record_table(record: &[u8]) -> Option<String> {
    table(Place::Record, record)
}

#[pg_extern(sql = false)]
fn _defined_text(definition: &[u8], number: i32) -> Option<String> {
    text(Place::Body, definition, number)
}

#[pg_extern(sql = false)]
fn _defined_inet(definition: &[u8]) -> Option<Inet> {
    inet(Place::Body, definition)
}

#[pg_extern(sql = false)]
fn _defined_texts(definition: &[u8], number: i32) -> Option<Vec<String>> {
    texts(Place::Body, definition, number)
}

#[pg_extern(sql = false)]
fn _defined_table(definition: &[u8]) -> Option<String> {
    table(Place::Body, definition)
}

/// What a definition defines, as JSON.
fn described(body: &[u8]) -> Option<String> {
    let mut record = Record::new(Kind::Definition, "");
    record.resolve(body).ok()?;
    let texts: [(&str, Option<String>); 10] = [
        ("user_id", Some(record.user_id).filter(|user| !user.is_empty())),
        ("effective_user", record.effective_user),
        ("person", record.person),
        ("client_ip", record.client_ip),
        ("application_name", record.application_name),
        ("database", record.database),
        ("operation_type", Some(record.operation_type).filter(|operation| !operation.is_empty())),
        ("tier", record.tier.map(|tier| tier.name().into())),
        ("rule", record.rule),
        ("statement", record.statement),
    ];
    let mut present: Map<String, Json> =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Json::from(text?)))).collect();
    if !record.relations.is_empty() {
        present.insert("relations".to_owned(), record.relations.into());
    }
    Some(Json::Object(present).to_string())
}

/// Everything else of a record as one JSON text: the manual's column `details`.
#[pg_extern(sql = false)]
fn _record_details(record: Option<&[u8]>, who: Option<&[u8]>, what: Option<&[u8]>) -> Option<String> {
    let bytes = record?;
    let mut record = Record::decode(bytes).ok()?;
    for definition in [who, what].into_iter().flatten() {
        if let Some(Value::Bytes(body)) = find(Place::Record, definition, Field::Body) {
            record.resolve(body).ok()?;
        }
    }
    let details = _record_text(bytes, Field::Details as i32);
    let own = details.map(|text| serde_json::from_str(&text).unwrap_or(Json::String(text)));
    let parts: [(&str, Option<Json>); 14] = [
        ("outcome", Some(record.outcome.name().into())),
        ("tier", record.tier.map(|tier| tier.name().into())),
        ("rule", record.rule.map(Json::from)),
        ("op_no", record.op_no.map(Json::from)),
        ("person", record.person.map(Json::from)),
        ("effective_user", record.effective_user.map(Json::from)),
        ("application_name", record.application_name.map(Json::from)),
        ("sqlstate", record.sqlstate.map(Json::from)),
        ("rows", record.rows.map(Json::from)),
        ("repeats", record.repeats.map(Json::from)),
        ("duration_us", record.duration_us.map(Json::from)),
        ("relations", (record.relations.len() > 1).then(|| record.relations.into())),
        ("statement", record.statement.map(Json::from)),
        ("details", own),
    ];
    let present: Map<String, Json> =
        parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Some(Json::Object(present).to_string())
}

/// The mode that holds, not what is configured.
#[pg_extern(sql = false)]
fn _mode() -> &'static str {
    mode_name(shared::mode())
}

#[pg_extern(sql = false)]
fn _active() -> bool {
    shared::active()
}

/// The columns of `steward._audit_status()`, in order.
pub type StatusRow = (
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
    Option<String>,
);

const STATUS: &str = "SELECT
    (SELECT clock_timestamp() - state_change FROM pg_stat_activity WHERE pid = $1),
    (SELECT id FROM steward.chain ORDER BY id DESC LIMIT 1),
    (SELECT steward._record_time(record) FROM steward.chain ORDER BY id DESC LIMIT 1),
    pg_total_relation_size('steward.journal_0') + pg_total_relation_size('steward.journal_1')
        + pg_total_relation_size('steward.journal_2')";

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
        name!(failed_verification, Option<String>),
    ),
> {
    TableIterator::once(error::answer(require_view("audit_status").and_then(|()| measure())))
}

/// Whoever may read a view of ours may ask what it shows, and nobody else.
pub fn require_view(view: &str) -> Fallible<()> {
    let allowed = "SELECT has_table_privilege($1::oid, 'steward.' || $2, 'SELECT')";
    // Safe: plain getter; asked before the owner's rights are taken.
    let user = unsafe { pg_sys::GetUserId() };
    let allowed =
        own::run(|client| Ok(own::select(client, allowed, &[user.into(), view.into()])?.first().get_one::<bool>()?))?;
    if allowed == Some(true) {
        return Ok(());
    }
    Err(Fault::refused("the state of the audit trail is for auditors")
        .hint("SELECT steward.register_person(name, 'auditor', roles => '{login}');"))
}

/// The state of the trail, whoever asks.
pub fn measure() -> Fallible<StatusRow> {
    let pid = shared::get().map(|shared| shared.sequencer_pid.load(SeqCst)).filter(|pid| *pid > 0);
    let lost = shared::get().map_or(0, |shared| {
        (0..shared.lane_count).filter_map(|slot| shared.lane(slot)).map(|lane| lane.lost.load(SeqCst)).sum::<u64>()
    });
    let verified = verify::kept();
    own::run(|client| {
        let row = own::query(client, STATUS, &[pid.into()])?.first();
        let unreadable = |error| Fault::io(format!("the spool cannot be read: {error}"));
        let known = offset::positions(client, Some(backlog::boots().map_err(unreadable)?))?;
        let (files, bytes, pending) = backlog::size(&known).map_err(unreadable)?;
        Ok((
            pid.is_some(),
            pid,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?.unwrap_or_default(),
            files,
            bytes,
            pending,
            lost as i64,
            verified.as_ref().map(|(id, _)| *id),
            verified.and_then(|(_, time)| time),
            verify::found(),
        ))
    })
}
