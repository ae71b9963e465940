//! Verification, chain heads and `flush_audit`: what people ask of the trail. Works, flushing excepted, also where the
//! library was not preloaded, so that a copy can be examined elsewhere.

use super::ledger::{self, Ledger};
use crate::core::chain::{Head, Verdict, Verifier};
use crate::error::{self, Fault, Outcome};
use crate::shared::{self, Shared};
use crate::{own, state_file};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::sync::atomic::Ordering::SeqCst;

/// Records fetched at a time.
const FETCH: i64 = 2_000;
/// Milliseconds between two looks of a waiting `flush_audit`.
const FLUSH_POLL: i64 = 5;
/// Holds the checkpoint line of the newest head that was verified from the beginning of the chain.
pub(super) const VERIFIED_FILE: &str = "verified";

#[allow(clippy::type_complexity)] // the columns must stand in the signature
#[pg_extern(sql = false)]
fn verify_chain(
    from_id: Option<i64>,
    to_id: Option<i64>,
    anchor: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(ok, bool),
        name!(checked, i64),
        name!(from_id, Option<i64>),
        name!(to_id, Option<i64>),
        name!(kind, &'static str),
        name!(first_bad_id, Option<i64>),
        name!(anchored_to, Option<String>),
    ),
> {
    let verdict = error::answer(verify(from_id, to_id, anchor));
    let anchored_to = anchor.filter(|_| verdict.anchored).map(str::to_owned);
    TableIterator::once((
        verdict.ok,
        verdict.checked,
        verdict.from_id,
        verdict.to_id,
        verdict.kind.name(),
        verdict.first_bad_id,
        anchored_to,
    ))
}

fn verify(from_id: Option<i64>, to_id: Option<i64>, anchor: Option<&str>) -> Outcome<Verdict> {
    let first = from_id.unwrap_or(1);
    let last = to_id.unwrap_or(i64::MAX);
    if first < 1 || last < first {
        return Err(Fault::bad_argument("from_id must be 1 or more and not beyond to_id"));
    }
    let anchor = anchor.map(parse_anchor).transpose()?;
    if anchor.is_some_and(|head| head.id > last) {
        return Err(Fault::bad_argument("the anchor lies beyond to_id")
            .hint("Verify up to the anchor's id or further, or leave to_id away."));
    }
    own::run(|client| {
        let ledger = match ledger::current(client)? {
            Some(ledger) => ledger,
            // Without any ledger there is no chain, or none that can be right; the anchor's name is as good as any.
            None => Ledger { id: anchor.map_or([0; 16], |head| head.ledger), system_identifier: String::new() },
        };
        let start = stored_hash(client, first - 1)?;
        let mut verifier = Verifier::new(ledger.id, ledger.genesis_prev(), first, start, anchor);
        let newest = push_all(client, &mut verifier, first, last)?;
        let verdict = verifier.finish();
        if let (true, 1, Some((id, hash))) = (verdict.ok, first, newest) {
            remember(&Head { ledger: ledger.id, id, hash });
        }
        Ok(verdict)
    })
}

fn parse_anchor(line: &str) -> Outcome<Head> {
    Head::parse(line).ok_or_else(|| {
        Fault::bad_argument("the anchor is not a checkpoint line")
            .hint("Pass a line that steward.chain_head() returned, unchanged.")
    })
}

fn stored_hash(client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<[u8; 32]>> {
    let row = client.select("SELECT hash FROM steward.chain WHERE id = $1 LIMIT 1", None, &[id.into()])?.first();
    if row.is_empty() {
        return Ok(None);
    }
    // A hash of a wrong length is followed by nothing.
    Ok(row.get_one::<Vec<u8>>()?.map(|hash| hash.try_into().unwrap_or_default()))
}

/// Feeds the stored records to the verifier, in constant memory, as this statement's snapshot sees them. Returns id and
/// hash of the last.
fn push_all(
    client: &mut SpiClient<'_>,
    verifier: &mut Verifier,
    first: i64,
    last: i64,
) -> Outcome<Option<(i64, [u8; 32])>> {
    let sql = "SELECT id, record, prev_hash, hash FROM steward.chain WHERE id BETWEEN $1 AND $2 ORDER BY id";
    let mut cursor = client.try_open_cursor(sql, &[first.into(), last.into()])?;
    let mut newest = None;
    loop {
        let rows = cursor.fetch(FETCH)?;
        if rows.is_empty() {
            return Ok(newest);
        }
        for row in rows {
            // A NULL cannot be stored unless a constraint was taken away: then it is a wrong value like any other.
            let id = row.get::<i64>(1)?.unwrap_or_default();
            let bytes = |column| Ok::<_, Fault>(row.get::<&[u8]>(column)?.unwrap_or_default());
            let hash = bytes(4)?;
            verifier.push(id, bytes(2)?, bytes(3)?, hash);
            newest = Some((id, hash.try_into().unwrap_or_default()));
        }
        pgrx::check_for_interrupts!();
    }
}

/// Only told to `audit_status`; a server that cannot write (a standby's disk, say) has verified all the same.
fn remember(head: &Head) {
    // Safe: reads the clock.
    let line = head.checkpoint(unsafe { pg_sys::GetCurrentTimestamp() });
    if let Err(error) = state_file::replace(VERIFIED_FILE, format!("{line}\n").as_bytes()) {
        log!("pg_steward: the last verified head could not be kept: {error}");
    }
}

#[pg_extern(sql = false)]
fn chain_head() -> String {
    let head = error::answer(own::run(|client| match ledger::current(client)? {
        Some(ledger) => ledger::head(client, &ledger).map(Some),
        None => Ok(None),
    }));
    match head.filter(|head| head.id > 0) {
        // Safe: reads the clock.
        Some(head) => head.checkpoint(unsafe { pg_sys::GetCurrentTimestamp() }),
        None => Fault::wrong_state("there is no audit chain yet").detail(NO_CHAIN).raise(),
    }
}

const NO_CHAIN: &str = "The chain begins with the first table that steward.protect() puts under policy.";

#[pg_extern(sql = false)]
fn flush_audit(timeout: Option<Interval>) -> bool {
    error::answer(flush(timeout.map_or(10_000_000, |timeout| timeout.as_micros())));
    true
}

fn flush(timeout_us: i128) -> Outcome<()> {
    let shared = shared::get().ok_or_else(|| {
        Fault::wrong_state("pg_steward is not preloaded")
            .hint("Add pg_steward to shared_preload_libraries and restart the server.")
    })?;
    // Safe: reads shared state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return Err(Fault::wrong_state("nothing is chained during recovery")
            .hint("Call steward.flush_audit() on the primary server."));
    }
    // The tables are asked only before the first round: a lock on them must not outlast the timeout.
    if shared.chained_id.load(SeqCst) == 0 && !chain_expected()? {
        return Err(Fault::wrong_state("there is no audit chain yet").detail(NO_CHAIN));
    }
    let ticket = shared.flush_requested.fetch_add(1, SeqCst) + 1;
    // Safe: reads the clock.
    let clock = || i128::from(unsafe { pg_sys::GetCurrentTimestamp() });
    let end = clock() + timeout_us.max(0);
    while shared.flush_done.load(SeqCst) < ticket {
        if clock() >= end {
            return Err(late(shared));
        }
        shared::wake_sequencer();
        wait();
    }
    Ok(())
}

/// Whether the sequencer has reason to chain: there is a chain, or one is about to begin.
fn chain_expected() -> Outcome<bool> {
    let sql = "SELECT FROM steward.chain UNION ALL SELECT FROM steward.protected LIMIT 1";
    own::run(|client| Ok(!own::query(client, sql, &[])?.is_empty()))
}

fn late(shared: &Shared) -> Fault {
    let fault = Fault::wrong_state("the audit records are not chained yet");
    if shared.sequencer_pid.load(SeqCst) > 0 {
        fault
            .detail("The sequencer runs, but it did not get through within the timeout.")
            .hint("See steward.audit_status and the server log; a lock that somebody holds on tables of schema steward stops it.")
    } else {
        fault
            .detail("The sequencer does not run. Records are kept in journal and spool until it does.")
            .hint("See the server log for lines of \"pg_steward sequencer\"; it restarts by itself every second.")
    }
}

/// Sleeps a little, and heeds cancel and shutdown. The sequencer sets no latch of ours, so this looks again by itself.
fn wait() {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // Safe: this process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, FLUSH_POLL, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// The time of a checkpoint line kept in a file of the extension's directory, with its id.
pub(super) fn kept(name: &str) -> Option<(i64, Option<TimestampWithTimeZone>)> {
    let line = std::fs::read_to_string(std::path::Path::new("pg_steward").join(name)).ok()?;
    let line = line.strip_suffix('\n')?;
    let head = Head::parse(line)?;
    Some((head.id, line.rsplit(' ').next().and_then(|time| time.parse().ok())))
}
