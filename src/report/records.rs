//! One pass over the records of a period.
//!
//! Records lie in the order in which they were chained, which is later than when they began: by hours for a long
//! transaction, by days for what comes from a standby. What is sure is that none was chained before it began. So everything
//! is read from the first segment on that was still open when the period began, to the end of the chain.

use super::period::Period;
use crate::core::record::{self, Field, Kind, Record, Value};
use crate::core::report::figures::Figures;
use crate::core::report::security::is_off_hours;
use crate::core::report::zone::Zone;
use crate::error::Outcome;
use crate::own;
use pgrx::pg_sys;
use pgrx::spi::SpiClient;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

/// Records fetched at a time.
const FETCH: i64 = 2_000;

/// The first record that a period may have, as far as segments tell.
pub fn first_id(client: &mut SpiClient<'_>, period: Period) -> Outcome<i64> {
    let (from, _) = period.bounds()?;
    let first = "SELECT coalesce((SELECT min(first_id) FROM steward.segment WHERE closed_at >= $1),
        (SELECT max(last_id) + 1 FROM steward.segment), 1)";
    Ok(own::select(client, first, &[from.into()])?.first().get_one::<i64>()?.unwrap_or(1))
}

/// What was read, and from which record on; 0 for none.
pub struct Counted {
    pub figures: Figures,
    pub read_from: i64,
}

/// Counts the records of the period up to `last`.
pub fn count(period: Period, last: i64, zone: &Zone, off_hours: (u16, u16)) -> Outcome<Counted> {
    own::run(|client| {
        let first = first_id(client, period)?;
        let mut counter = Counter {
            period,
            zone,
            off_hours,
            counted: Counted { figures: Figures::default(), read_from: 0 },
            definitions: HashMap::new(),
            missing: Vec::new(),
        };
        let sql = "SELECT id, record FROM steward.chain WHERE id BETWEEN $1 AND $2 ORDER BY id";
        let cursor = client.try_open_cursor(sql, &[first.into(), last.into()])?.detach_into_name();
        while read_some(client, &cursor, &mut counter)? {
            // Not kept for the end: a long transaction may have left a million of them.
            for record in std::mem::take(&mut counter.missing) {
                counter.look_up(client, record)?;
            }
            pgrx::check_for_interrupts!();
        }
        Ok(counter.counted)
    })
}

/// False at the end.
fn read_some(client: &mut SpiClient<'_>, cursor: &str, counter: &mut Counter<'_>) -> Outcome<bool> {
    let mut cursor = client.find_cursor(cursor)?;
    let rows = cursor.fetch(FETCH)?;
    let some = !rows.is_empty();
    for row in rows {
        let id = row.get::<i64>(1)?.unwrap_or_default();
        counter.see(id, row.get::<&[u8]>(2)?.unwrap_or_default());
    }
    // Dropped, it would be closed.
    if some {
        cursor.detach_into_name();
    }
    Ok(some)
}

struct Counter<'a> {
    period: Period,
    zone: &'a Zone,
    off_hours: (u16, u16),
    counted: Counted,
    /// Bodies of definitions by their ids.
    definitions: HashMap<i64, Rc<[u8]>>,
    /// Records whose definition lies before what was read.
    missing: Vec<Record>,
}

impl Counter<'_> {
    fn see(&mut self, id: i64, bytes: &[u8]) {
        if self.counted.read_from == 0 {
            self.counted.read_from = id;
        }
        if record::is_definition(bytes) {
            if let Ok(Some(Value::Bytes(body))) = record::find_field(bytes, Field::Body) {
                self.definitions.insert(id, body.into());
            }
            return;
        }
        match record::find_field(bytes, Field::Time) {
            Ok(Some(Value::Int(time))) if !self.period.holds(time) => {}
            Ok(Some(_)) => match Record::decode(bytes) {
                Ok(record) => self.take(record),
                Err(_) => self.counted.figures.unreadable += 1,
            },
            _ => self.counted.figures.unreadable += 1,
        }
    }

    fn take(&mut self, mut record: Record) {
        for id in [record.who, record.what].into_iter().flatten() {
            let Some(body) = self.definitions.get(&id) else { return self.missing.push(record) };
            // One that does not read leaves the reference in place, which is counted.
            let _ = record.resolve(&body.clone());
        }
        self.add(&record);
    }

    fn add(&mut self, record: &Record) {
        if record.kind != Kind::Definition {
            let local = self.zone.local(record.time);
            self.counted.figures.add(record, local, is_off_hours(local.minute, self.off_hours));
        }
    }

    /// A transaction that is older than the segment of its records refers to definitions of the segment before.
    fn look_up(&mut self, client: &mut SpiClient<'_>, mut record: Record) -> Outcome<()> {
        for id in [record.who, record.what].into_iter().flatten() {
            let body = match self.definitions.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                // Empty: looked for, and not there.
                Entry::Vacant(place) => place.insert(definition(client, id)?.unwrap_or_default()),
            };
            if !body.is_empty() {
                let _ = record.resolve(body);
            }
        }
        self.add(&record);
        Ok(())
    }
}

fn definition(client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<Rc<[u8]>>> {
    let row = own::select(client, "SELECT record FROM steward.chain WHERE id = $1 LIMIT 1", &[id.into()])?.first();
    let found = if row.is_empty() { None } else { row.get_one::<Vec<u8>>()? };
    Ok(found.filter(|bytes| record::is_definition(bytes)).and_then(|bytes| {
        match record::find_field(&bytes, Field::Body) {
            Ok(Some(Value::Bytes(body))) => Some(body.into()),
            _ => None,
        }
    }))
}

/// The newest record of the chain and its checkpoint line; none without a chain.
pub fn head() -> Outcome<Option<(i64, String)>> {
    own::run(|client| {
        let newest = "SELECT id, steward.chain_head() FROM steward.chain ORDER BY id DESC LIMIT 1";
        let row = own::select(client, newest, &[])?.first();
        if row.is_empty() {
            return Ok(None);
        }
        let (id, line) = row.get_two::<i64, String>()?;
        Ok(id.zip(line))
    })
}

/// Now, microseconds since 2000-01-01 UTC.
pub fn now() -> i64 {
    // Safe: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
