//! The records of the running transaction. They wait here until it is known what became of the work: written to the
//! journal with the commit, or to the spool lane when there is no commit to ride on (reads, failures, rollbacks).
//!
//! Filled by the hooks, emptied by the transaction callbacks. No cross-hook stack: every entry is found by its own key,
//! so suspended portals and errors in between leave nothing inconsistent.

use super::lane::{self, Durability};
use super::note::Parcel;
use super::{journal, journal_count, outcome};
use crate::backend::backend_local;
use crate::break_glass::window;
use crate::core::record::{Draft, Kind, Outcome, Part, ROWS_READ, Record};
use crate::core::tier::Tier;
use crate::raw;
use crate::settings::{ReadDurability, read_durability};
use pgrx::pg_sys;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

/// Bytes of finished records after which a transaction writes out what it has.
const WRITE_OUT_BYTES: usize = 1 << 20;
/// What an entry takes, its shared sides apart.
const ENTRY_BYTES: usize = size_of::<Entry>() + 64;
/// How many finished entries are looked at to fold a repeated nested statement into one.
const FOLD_WINDOW: usize = 8;

/// What an entry stands for: the QueryDesc of a plan, or a running utility command.
pub type Key = usize;

struct Entry {
    draft: Draft,
    key: Key,
    running: bool,
    nested: bool,
    /// A utility command: some commit by themselves while they run.
    outlives_commit: bool,
    /// Nothing that a rollback could take back.
    reads: bool,
    started: Instant,
    /// Subtransaction it began in: aborted ones are later ones too.
    subtransaction: u32,
    settled: bool,
    /// Rows read of protected tables, where an aggregate may show them in fewer.
    read: Option<i64>,
    /// Rows returned in the run that an error has broken off.
    broken_off: i64,
}

/// Records that a subtransaction has journalled already: its rollback takes them along.
struct WrittenOut {
    subtransaction: u32,
    records: i64,
    /// Rows of the journal that are to be counted.
    rows: u64,
    first: Draft,
}

backend_local! {
    static ENTRIES: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
    static RUNNING: Cell<u32> = const { Cell::new(0) };
    static WRITTEN_OUT: RefCell<Vec<WrittenOut>> = const { RefCell::new(Vec::new()) };
    /// The transaction's last records are in the journal, in so many rows that are to be counted.
    static JOURNALLED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A record of something finished whose result is the transaction's own.
pub fn push(mut record: Record) {
    crate::session::stamp(&mut record);
    enter(Draft::of(&record), 0, false, false, false, false);
}

/// Something begins now; `finish` completes its record.
pub fn begin(draft: Draft, key: Key, nested: bool, reads: bool) {
    enter(draft, key, true, nested, false, reads);
    RUNNING.set(RUNNING.get() + 1);
}

/// As `begin`, for a utility command. VACUUM and CREATE INDEX CONCURRENTLY commit while they run: their record waits.
pub fn begin_utility(draft: Draft, key: Key, nested: bool) {
    enter(draft, key, true, nested, true, false);
    RUNNING.set(RUNNING.get() + 1);
}

fn enter(draft: Draft, key: Key, running: bool, nested: bool, outlives_commit: bool, reads: bool) {
    crate::watch::transaction::concern();
    // Safe: plain getter inside a transaction.
    let subtransaction = unsafe { raw::GetCurrentSubTransactionId() };
    let started = Instant::now();
    let entry = Entry {
        draft,
        key,
        running,
        nested,
        outlives_commit,
        reads,
        started,
        subtransaction,
        settled: false,
        read: None,
        broken_off: 0,
    };
    ENTRIES.with_borrow_mut(|entries| entries.push(entry));
}

/// Whether something recorded is running: then errors are worth noticing.
pub fn something_runs() -> bool {
    RUNNING.get() > 0
}

/// Whether this key's entry is running.
pub fn runs(key: Key) -> bool {
    something_runs()
        && ENTRIES.with_borrow(|entries| entries.iter().rev().any(|entry| entry.running && entry.key == key))
}

/// Raises the tier of a running entry once counted rows say so.
pub fn raise_tier(key: Key, tier: Tier, rule: &str) {
    with_running(key, |entry| {
        let mut record = Record::new(Kind::Statement, "");
        if record.resolve(&entry.draft.what.body).is_ok() {
            (record.tier, record.rule) = (Some(tier), Some(rule.to_owned()));
            entry.draft.what = Rc::new(Part::what(&record));
        }
    });
}

/// The tier of a running entry.
pub fn tier(key: Key) -> Option<Tier> {
    let body = with_running(key, |entry| entry.draft.what.clone())?;
    let mut record = Record::new(Kind::Statement, "");
    record.resolve(&body.body).ok()?;
    record.tier
}

/// Completes a running entry; without one nothing happens.
pub fn finish(key: Key, rows: Option<i64>) {
    with_running(key, |entry| entry.draft.rows = rows);
    complete(key);
}

/// A query has run, or a portion of it: a cursor is read in many.
pub fn ran(key: Key, rows: i64) {
    with_running(key, |entry| {
        entry.draft.rows = Some(entry.draft.rows.unwrap_or(0) + rows);
        entry.broken_off = 0;
    });
}

/// So many rows were read so far to return them.
pub fn has_read(key: Key, rows: i64) {
    with_running(key, |entry| entry.read = Some(rows));
}

/// An error leaves a run, which has returned so many rows. Must not raise.
pub fn broke_off(key: Key, rows: i64) {
    ENTRIES.with(|entries| {
        if let Ok(mut entries) = entries.try_borrow_mut()
            && let Some(entry) = entries.iter_mut().rev().find(|entry| entry.running && entry.key == key)
        {
            entry.broken_off = rows;
        }
    });
}

/// The same as `finish` for a query, whose runs were counted; one that never ran has returned nothing.
pub fn finish_as_counted(key: Key) {
    with_running(key, |entry| *entry.draft.rows.get_or_insert(0));
    complete(key);
}

fn complete(key: Key) {
    let finished = with_running(key, |entry| {
        entry.running = false;
        let duration = entry.started.elapsed().as_micros() as i64;
        entry.draft.duration_us = Some(duration);
        crate::login::idle::active_until(entry.draft.time + duration);
        (entry.nested, entry.reads)
    });
    let Some((nested, reads)) = finished else { return };
    RUNNING.set(RUNNING.get().saturating_sub(1));
    // Safe: plain getter.
    let in_block = || unsafe { raw::IsTransactionBlock() };
    if nested {
        ENTRIES.with_borrow_mut(fold_last);
    } else if reads && in_block() {
        // The client has its rows, and the transaction may go on for hours, or end with the process.
        write_reads();
    }
    write_out_if_large();
}

/// Writes the finished reads to the lane: what was read was read, whatever becomes of the transaction.
fn write_reads() {
    let finished = |entry: &mut Entry| !entry.running && entry.reads;
    let reads: Vec<Entry> = ENTRIES.with_borrow_mut(|entries| entries.extract_if(.., finished).collect());
    spool(reads.iter());
}

/// Forgets a running entry that turned out to be none of ours to record (it is recorded as a denial).
pub fn forget(key: Key) {
    ENTRIES.with_borrow_mut(|entries| {
        if let Some(position) = entries.iter().rposition(|entry| entry.running && entry.key == key) {
            entries.remove(position);
            RUNNING.set(RUNNING.get().saturating_sub(1));
        }
    });
}

fn with_running<T>(key: Key, body: impl FnOnce(&mut Entry) -> T) -> Option<T> {
    ENTRIES
        .with_borrow_mut(|entries| entries.iter_mut().rev().find(|entry| entry.running && entry.key == key).map(body))
}

/// A repeated nested statement becomes a count in the record of its first run.
fn fold_last(entries: &mut Vec<Entry>) {
    let Some((last, earlier)) = entries.split_last_mut() else { return };
    if last.running {
        return;
    }
    let same = |entry: &&mut Entry| {
        entry.nested
            && !entry.running
            && !entry.settled
            && entry.subtransaction == last.subtransaction
            && entry.draft.op_no == last.draft.op_no
            && entry.draft.what == last.draft.what
            && entry.draft.details == last.draft.details
            && entry.draft.who == last.draft.who
    };
    let Some(first) = earlier.iter_mut().rev().take(FOLD_WINDOW).find(same) else { return };
    first.read = first.read.into_iter().chain(last.read).reduce(|one, other| one + other);
    let (first, last) = (&mut first.draft, &last.draft);
    first.repeats = Some(first.repeats.unwrap_or(1) + last.repeats.unwrap_or(1));
    first.rows = Some(first.rows.unwrap_or(0) + last.rows.unwrap_or(0));
    first.duration_us = Some(first.duration_us.unwrap_or(0) + last.duration_us.unwrap_or(0));
    entries.pop();
}

/// A subtransaction is undone: what it had running failed, what it had finished is rolled back.
pub fn subtransaction_aborted(subtransaction: u32) {
    ENTRIES.with_borrow_mut(|entries| {
        for entry in entries.iter_mut().filter(|entry| entry.subtransaction >= subtransaction && !entry.settled) {
            settle(entry);
        }
        entries.extend(gone(subtransaction));
    });
    outcome::forget_error();
    write_out_if_large();
}

/// What stands for the journalled records that went with the rollback of this subtransaction, if there are any.
fn gone(subtransaction: u32) -> Option<Entry> {
    let gone: Vec<WrittenOut> = WRITTEN_OUT
        .with_borrow_mut(|written| written.extract_if(.., |part| part.subtransaction >= subtransaction).collect());
    let first = gone.first()?.first.clone();
    let what = Rc::new(Part::what(&Record::new(Kind::Server, "ROLLBACK")));
    let draft = Draft {
        kind: Kind::Server,
        what,
        outcome: Outcome::RolledBack,
        repeats: Some(gone.iter().map(|part| part.records).sum()),
        details: Some(r#"{"note":"earlier records of a long transaction went with its rollback"}"#.to_owned()),
        ..first
    };
    Some(Entry {
        draft,
        key: 0,
        running: false,
        nested: false,
        outlives_commit: false,
        reads: true,
        started: Instant::now(),
        // Nothing can take it back.
        subtransaction: 1,
        settled: true,
        read: None,
        broken_off: 0,
    })
}

fn settle(entry: &mut Entry) {
    entry.settled = true;
    // What failed or was undone stays so, whatever becomes of the transaction.
    entry.reads = true;
    entry.draft.outcome = if entry.running { Outcome::Failure } else { Outcome::RolledBack };
    if entry.running {
        entry.running = false;
        // The client has them.
        let rows = entry.draft.rows.unwrap_or(0) + entry.broken_off;
        entry.draft.rows = (rows > 0).then_some(rows);
        entry.draft.sqlstate = outcome::sqlstate();
        entry.draft.duration_us = Some(entry.started.elapsed().as_micros() as i64);
        RUNNING.set(RUNNING.get().saturating_sub(1));
    }
}

/// A long transaction does not keep all its records in memory. Finished reads go to the lane: what was read was read,
/// whatever becomes of the transaction. Finished writes of the current subtransaction (and of those that ended in it)
/// go to the journal, where a rollback of this subtransaction takes them along, and no other can.
fn write_out_if_large() {
    let size = ENTRIES.with_borrow(Vec::len) * ENTRY_BYTES;
    if size >= WRITE_OUT_BYTES {
        write_out();
    }
}

/// PRE_COMMIT of a subtransaction: its last chance to journal in its own name.
pub fn before_subtransaction_commit() {
    write_out_if_large();
}

/// COMMIT of a subtransaction: what it has journalled is its parent's. Must not raise.
pub fn after_subtransaction_commit(subtransaction: u32, parent: u32) {
    WRITTEN_OUT.with_borrow_mut(|written| {
        while let Some(part) = written.pop_if(|part| part.subtransaction >= subtransaction) {
            add_written_out(written, WrittenOut { subtransaction: parent, ..part });
        }
    });
}

fn add_written_out(written: &mut Vec<WrittenOut>, part: WrittenOut) {
    match written.last_mut() {
        Some(last) if last.subtransaction == part.subtransaction => {
            last.records += part.records;
            last.rows += part.rows;
        }
        _ => written.push(part),
    }
}

fn write_out() {
    // Safe: plain getters.
    let (current, xid) = unsafe { (raw::GetCurrentSubTransactionId(), raw::GetTopFullTransactionIdIfAny().value) };
    // Nothing can be written while a parallel query runs.
    let writes = unsafe { raw::IsTransactionState() && !pg_sys::IsInParallelMode() };
    let journals = xid != 0 && writes && journal::exists();
    write_reads();
    let due = |entry: &Entry| journals && !entry.running && entry.subtransaction >= current && !entry.settled;
    let parcel = ENTRIES.with_borrow_mut(|entries| parcel(entries.iter_mut().filter(|entry| due(entry)), xid));
    // An error leaves everything where it is.
    let Some(rows) = journal::write(&parcel.records()) else { return };
    let writes: Vec<Entry> = ENTRIES.with_borrow_mut(|entries| entries.extract_if(.., |entry| due(entry)).collect());
    let Some(first) = writes.first().map(|entry| entry.draft.clone()) else { return };
    let records = writes.iter().map(|entry| entry.draft.repeats.unwrap_or(1)).sum();
    let part = WrittenOut { subtransaction: current, records, rows, first };
    WRITTEN_OUT.with_borrow_mut(|written| add_written_out(written, part));
}

fn parcel<'a>(entries: impl Iterator<Item = &'a mut Entry>, xid: u64) -> Parcel {
    let mut parcel = Parcel::default();
    for entry in entries {
        entry.draft.xid.get_or_insert(xid);
        parcel.add(&entry.told());
    }
    parcel
}

impl Entry {
    /// What goes on record: with the rows read, where they are more.
    fn told(&self) -> Cow<'_, Draft> {
        match self.read.filter(|read| *read > self.draft.rows.unwrap_or(0)) {
            Some(read) => Cow::Owned(self.draft.clone().with_detail(ROWS_READ, read)),
            None => Cow::Borrowed(&self.draft),
        }
    }

    /// Its record is not due with this commit: the command goes on in a transaction of its own.
    fn waits(&self) -> bool {
        self.running && self.outlives_commit
    }
}

/// PRE_PREPARE: what was read is on record whatever comes; and what the transaction is about.
pub fn before_prepare() -> (i64, Vec<String>) {
    write_reads();
    let mut relations: Vec<String> = Vec::new();
    let written: i64 = WRITTEN_OUT.with_borrow(|written| written.iter().map(|part| part.records).sum());
    let waiting = ENTRIES.with_borrow(|entries| {
        for entry in entries {
            let mut record = Record::new(Kind::Statement, "");
            let read = record.resolve(&entry.draft.what.body);
            relations.extend(record.relations.into_iter().filter(|_| read.is_ok()));
        }
        entries.iter().map(|entry| entry.draft.repeats.unwrap_or(1)).sum::<i64>()
    });
    relations.sort_unstable();
    relations.dedup();
    (written + waiting, relations)
}

/// PRE_COMMIT and PRE_PREPARE: the records ride with the transaction's own commit. May raise, and then nothing commits.
/// What becomes of a prepared transaction nobody knows: its rows are counted by themselves.
pub fn before_commit(prepares: bool) {
    // Safe: plain getter; zero means the transaction wrote nothing.
    let xid = unsafe { raw::GetTopFullTransactionIdIfAny().value };
    JOURNALLED.set(None);
    let due = || ENTRIES.with_borrow(|entries| entries.iter().any(|entry| !entry.waits()));
    if xid != 0 && due() && journal::exists() {
        let parcel = ENTRIES.with_borrow_mut(|entries| parcel(entries.iter_mut().filter(|entry| !entry.waits()), xid));
        JOURNALLED.set(journal::write(&parcel.records()));
    }
    if prepares {
        journal_count::prepares(xid, journalled());
    }
}

/// Rows of the journal that this transaction has written and that are to be counted.
fn journalled() -> u64 {
    let written_out: u64 = WRITTEN_OUT.with_borrow(|written| written.iter().map(|part| part.rows).sum());
    written_out + JOURNALLED.get().unwrap_or_default()
}

/// What this transaction has journalled so far is in a table that is gone.
pub(super) fn forget_journalled() {
    WRITTEN_OUT.with_borrow_mut(|written| written.iter_mut().for_each(|part| part.rows = 0));
}

/// COMMIT, before `after_commit`: the sequencer can take what was journalled. Must not raise.
pub fn count_journalled() {
    let rows = journalled();
    if rows > 0 {
        journal_count::committed(rows);
    }
}

/// COMMIT (or PREPARE): what did not ride with it goes to the lane. Must not raise.
pub fn after_commit() {
    if JOURNALLED.get().is_none() {
        ENTRIES.with_borrow(|entries| spool(entries.iter().filter(|entry| !entry.waits())));
    }
    let mut waiting =
        ENTRIES.with_borrow_mut(|entries| entries.extract_if(.., |entry| entry.waits()).collect::<Vec<_>>());
    // The next transaction numbers its subtransactions anew.
    waiting.iter_mut().for_each(|entry| entry.subtransaction = 1);
    clear();
    RUNNING.set(waiting.len() as u32);
    ENTRIES.with_borrow_mut(|entries| entries.append(&mut waiting));
}

/// Whether the transaction has recorded nothing yet.
pub fn is_idle() -> bool {
    ENTRIES.with_borrow(Vec::is_empty) && WRITTEN_OUT.with_borrow(Vec::is_empty)
}

/// ABORT: everything is undone. Must not raise.
pub fn after_abort() {
    ENTRIES.with_borrow_mut(|entries| {
        entries.iter_mut().filter(|entry| !entry.settled).for_each(settle);
        entries.extend(gone(0));
        spool(entries.iter());
    });
    clear();
}

/// Writes entries to the lane; what cannot be written is counted there as lost.
fn spool<'a>(entries: impl Iterator<Item = &'a Entry>) {
    if super::standby::counts_only() {
        return lane::count(entries.count());
    }
    let mut parcel = Parcel::default();
    entries.for_each(|entry| parcel.add(&entry.told()));
    let durability = match read_durability() {
        ReadDurability::Buffered if !window::was_opened() => Durability::Buffered,
        _ => Durability::Flushed,
    };
    // The lane counts what it could not write; the sequencer chains that count.
    let _counted_as_lost = lane::append(&parcel.records(), durability);
}

fn clear() {
    ENTRIES.with_borrow_mut(|entries| {
        entries.clear();
        entries.shrink_to(FOLD_WINDOW * 8);
    });
    WRITTEN_OUT.with_borrow_mut(Vec::clear);
    RUNNING.set(0);
    outcome::forget_error();
    JOURNALLED.set(None);
}
