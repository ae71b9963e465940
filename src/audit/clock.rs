//! The sequencer's clock. What the sequencer itself chains bears the time of sealing, which never goes down; a clock that
//! was set, or that stands still, is a record. Elsewhere in the sequencer only [`steady`] measures how long something
//! took: it goes on whatever is done to the machine's clock.

use super::incarnation::HEAD_FILE;
use super::positions::{self, Rows};
use super::sequencer::server_record;
use crate::core::chain::{Head, utc};
use crate::core::clock::{Clock, Step};
use crate::core::record::{Outcome as Result, Record};
use crate::error::{Fault, Outcome};
use crate::own;
use crate::shared::Shared;
use pgrx::Uuid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;

/// Both clocks are read within so many microseconds of each other, or again.
const APART: i64 = 100_000;
/// So often at the most, on a machine that does not get to it.
const READINGS: usize = 100;

/// Microseconds since the machine was booted, asleep or not.
pub(super) fn steady() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safe: fills its argument; this clock exists wherever PostgreSQL runs on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

/// Both clocks at one moment.
fn both() -> (i64, i64) {
    let mut reading = (0, 0);
    for _ in 0..READINGS {
        let before = steady();
        // Safe: reads the clock.
        reading = (unsafe { pg_sys::GetCurrentTimestamp() }, steady());
        if reading.1 - before <= APART {
            break;
        }
    }
    reading
}

/// The clock as this server's life knows it, and the time that was sealed last: what the ledger's row says, or the head
/// file, whichever is later.
pub(super) fn open(client: &mut SpiClient<'_>, shared: &Shared, head: &Head) -> Outcome<Clock> {
    let sql = "SELECT sealed_at FROM steward.ledger WHERE ledger = $1";
    let row = own::query(client, sql, &[Uuid::from_bytes(head.ledger).into()])?.first();
    let told = if row.is_empty() { None } else { row.get_one::<TimestampWithTimeZone>()? };
    let kept = fs::read_to_string(HEAD_FILE).ok();
    let kept = kept.and_then(|line| Head::parse_with_time(line.trim_end_matches('\n'))).map(|(_, time)| time);
    // Infinite is what somebody wrote there while the library was not loaded.
    let told = told.map(i64::from).filter(|time| ![i64::MIN, i64::MAX].contains(time));
    let sealed = told.max(kept).unwrap_or(i64::MIN);
    let begin = shared.clock_begin.load(SeqCst);
    Ok(Clock::new((begin != 0).then_some(begin), sealed))
}

/// The record of a step, if there was one since the last look.
pub(super) fn look(clock: &mut Clock) -> Option<Record> {
    let (now, steady) = both();
    let Step { expected, found, by_steady } = clock.look(now, steady)?;
    warning!("pg_steward: the clock shows {} and should show {}", utc(found), utc(expected));
    let details = json!({
        "clock": utc(found), "expected": utc(expected), "by_ms": found.saturating_sub(expected) / 1_000,
        "told_by": if by_steady { "monotonic clock" } else { "last sealed record" }, "sealed_at": utc(clock.sealed()),
    });
    Some(server_record("CLOCK STEP", Result::Failure, details))
}

/// Remembers what was sealed last, in the transaction that chains it.
pub(super) fn save(client: &mut SpiClient<'_>, head: &Head, sealed: i64) -> Outcome<()> {
    let at = TimestampWithTimeZone::try_from(sealed).map_err(|_| Fault::internal("the clock is out of range"))?;
    let sql = "UPDATE steward.ledger SET sealed_at = $1 WHERE ledger = $2 AND sealed_at IS DISTINCT FROM $1";
    let arguments = [at.into(), Uuid::from_bytes(head.ledger).into()];
    positions::change(client, &Rows::of(&head.ledger), |client| own::execute(client, sql, &arguments).map(drop))
}

/// After the commit: the next sequencer of this server's life goes by the same clock.
pub(super) fn keep(clock: &Clock, shared: &Shared) {
    if let Some(begin) = clock.begin() {
        shared.clock_begin.store(begin, SeqCst);
    }
}
