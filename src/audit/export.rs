//! The chain for readers outside the database: what `steward-witness` pulls. Shows stored bytes as they are and judges
//! nothing; the witness does that.

use super::{ledger, segment};
use crate::error::{self, Fault, Outcome};
use crate::{own, session, settings};
use pgrx::Uuid;
use pgrx::datum::Interval;
use pgrx::prelude::*;

/// Records fetched at a time.
const FETCH: i64 = 500;
/// Bytes of records after which a call stops.
const MAX_BYTES: usize = 16 << 20;

type Row = (i64, Vec<u8>, Vec<u8>, Vec<u8>);

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // the columns must stand in the signature
fn export_chain(
    from_id: i64,
    max_records: i32,
) -> TableIterator<'static, (name!(id, i64), name!(record, Vec<u8>), name!(prev_hash, Vec<u8>), name!(hash, Vec<u8>))> {
    TableIterator::new(error::answer(export(from_id, max_records)))
}

fn export(from_id: i64, max_records: i32) -> Outcome<Vec<Row>> {
    require_auditor("export_chain")?;
    if !(1..=100_000).contains(&max_records) {
        return Err(Fault::bad_argument("max_records is 1 to 100000"));
    }
    own::run(|client| {
        let records = "SELECT id, record, prev_hash, hash FROM steward.chain WHERE id >= $1 ORDER BY id LIMIT $2";
        let mut cursor = client.try_open_cursor(records, &[from_id.into(), i64::from(max_records).into()])?;
        let (mut all, mut bytes): (Vec<Row>, usize) = (Vec::new(), 0);
        loop {
            let rows = cursor.fetch(FETCH)?;
            if rows.is_empty() || bytes > MAX_BYTES {
                return Ok(all);
            }
            for row in rows {
                let column = |number| Ok::<_, Fault>(row.get::<Vec<u8>>(number)?.unwrap_or_default());
                let record = column(2)?;
                bytes += record.len();
                all.push((row.get(1)?.unwrap_or_default(), record, column(3)?, column(4)?));
            }
            pgrx::check_for_interrupts!();
        }
    })
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // the columns must stand in the signature
fn chain_origin() -> TableIterator<
    'static,
    (
        name!(ledger, Uuid),
        name!(system_identifier, String),
        name!(first_id, Option<i64>),
        name!(last_id, Option<i64>),
        name!(cut_hash, Option<Vec<u8>>),
        name!(heartbeat, Option<Interval>),
    ),
> {
    let origin = error::answer((|| {
        require_auditor("chain_origin")?;
        own::run(|client| {
            let Some(ledger) = ledger::current(client)? else { return Ok(None) };
            let ends = "SELECT (SELECT id FROM steward.chain ORDER BY id LIMIT 1),
                (SELECT id FROM steward.chain ORDER BY id DESC LIMIT 1)";
            let (first, last) = own::query(client, ends, &[])?.first().get_two::<i64, i64>()?;
            let cut = segment::cut(client)?.filter(|cut| Some(cut.id.saturating_add(1)) == first);
            let cut = cut.map(|cut| cut.hash.to_vec());
            // 0: there is none, and the witness must be told a term of its own.
            let heartbeat = Interval::from_seconds(settings::heartbeat_interval_s() as f64);
            Ok(Some((Uuid::from_bytes(ledger.id), ledger.system_identifier, first, last, cut, Some(heartbeat))))
        })
    })());
    TableIterator::new(origin)
}

/// The grants say so too; but a person may be past `valid_until`.
fn require_auditor(function: &str) -> Outcome<()> {
    // Safe: reads the current role.
    if unsafe { pg_sys::superuser() } || session::person().is_some_and(|person| person.may("audit")) {
        return Ok(());
    }
    Err(Fault::refused(format!("steward.{function} is for auditors"))
        .detail("Whoever calls it needs a post with the capability audit.")
        .hint("SELECT * FROM steward.post;"))
}
