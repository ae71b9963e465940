//! The records of the running transaction. They wait here until it is known what became of the work: written to the
//! journal with the commit, or to the spool lane when there is no commit to ride on (reads, failures, rollbacks).
//!
//! Filled by the hooks, emptied by the transaction callbacks. No cross-hook stack: every entry is found by its own key,
//! so suspended portals and errors in between leave nothing inconsistent.

use super::journal;
use super::lane::{self, Durability};
use super::note;
use crate::core::record::{Kind, Outcome, Record};
use crate::core::tier::Tier;
use crate::settings::{ReadDurability, read_durability};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// Bytes of finished records after which a writing transaction journals what it has.
const WRITE_OUT_BYTES: usize = 1 << 20;
/// How many finished entries are looked at to fold a repeated nested statement into one.
const FOLD_WINDOW: usize = 8;

/// What an entry stands for: the QueryDesc of a plan, or a running utility command.
pub type Key = usize;

struct Entry {
    record: Record,
    key: Key,
    running: bool,
    nested: bool,
    /// A utility command: some commit by themselves while they run.
    outlives_commit: bool,
    /// Nothing that a rollback could take back.
    reads: bool,
    fold: u64,
    started: Instant,
    /// Subtransaction it began in: aborted ones are later ones too.
    subtransaction: u32,
    settled: bool,
}

thread_local! {
    static ENTRIES: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
    static RUNNING: Cell<u32> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
    static WRITTEN_OUT: Cell<u64> = const { Cell::new(0) };
    static ERROR_CODE: Cell<i32> = const { Cell::new(0) };
    static JOURNALLED: Cell<bool> = const { Cell::new(false) };
}

/// A stamped record of something finished whose result is the transaction's own.
pub fn push(mut record: Record) {
    crate::session::stamp(&mut record);
    enter(record, 0, false, false, false, false);
}

/// A stamped record of something that begins now; `finish` completes it.
pub fn begin(record: Record, key: Key, nested: bool, reads: bool) {
    enter(record, key, true, nested, false, reads);
    RUNNING.set(RUNNING.get() + 1);
}

/// As `begin`, for a utility command. VACUUM and CREATE INDEX CONCURRENTLY commit while they run: their record waits.
pub fn begin_utility(record: Record, key: Key, nested: bool) {
    enter(record, key, true, nested, true, false);
    RUNNING.set(RUNNING.get() + 1);
}

fn enter(record: Record, key: Key, running: bool, nested: bool, outlives_commit: bool, reads: bool) {
    // Safe: plain getter inside a transaction.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let fold = fold_key(&record);
    let started = Instant::now();
    let entry =
        Entry { record, key, running, nested, outlives_commit, reads, fold, started, subtransaction, settled: false };
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
        entry.record.tier = Some(tier);
        entry.record.rule = Some(rule.to_owned());
    });
}

/// Completes a running entry; without one nothing happens.
pub fn finish(key: Key, rows: Option<i64>) {
    let fold = with_running(key, |entry| {
        entry.running = false;
        entry.record.rows = rows;
        entry.record.duration_us = Some(entry.started.elapsed().as_micros() as i64);
        entry.nested
    });
    if let Some(nested) = fold {
        RUNNING.set(RUNNING.get().saturating_sub(1));
        ENTRIES.with_borrow_mut(|entries| {
            if nested {
                fold_last(entries);
            }
        });
        write_out_if_large();
    }
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

fn fold_key(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&record.statement, &record.operation_type, &record.relations, &record.rule, &record.effective_user)
        .hash(&mut hasher);
    hasher.finish()
}

/// A repeated nested statement becomes a count in the record of its first run.
fn fold_last(entries: &mut Vec<Entry>) {
    let Some(last) = entries.last() else { return };
    if last.running || entries.len() < 2 {
        return;
    }
    let same = |entry: &Entry| {
        entry.nested
            && !entry.running
            && !entry.settled
            && entry.fold == last.fold
            && entry.subtransaction == last.subtransaction
    };
    let oldest = entries.len().saturating_sub(FOLD_WINDOW + 1);
    let Some(position) = entries[oldest..entries.len() - 1].iter().rposition(same) else { return };
    let Some(last) = entries.pop() else { return };
    let first = &mut entries[oldest + position].record;
    first.repeats = Some(first.repeats.unwrap_or(1) + 1);
    first.rows = Some(first.rows.unwrap_or(0) + last.record.rows.unwrap_or(0));
    first.duration_us = Some(first.duration_us.unwrap_or(0) + last.record.duration_us.unwrap_or(0));
}

/// Remembers the SQLSTATE of an error on its way: called from an error context callback, only stores a number.
pub fn notice_error(code: i32) {
    ERROR_CODE.set(code);
}

fn sqlstate() -> Option<String> {
    let code = ERROR_CODE.get();
    // Six bits a character, as PostgreSQL packs them.
    (code != 0).then(|| (0..5).map(|place| char::from(((code >> (6 * place)) & 0x3f) as u8 + b'0')).collect())
}

/// A subtransaction is undone: what it had running failed, what it had finished is rolled back.
pub fn subtransaction_aborted(subtransaction: u32) {
    ENTRIES.with_borrow_mut(|entries| {
        for entry in entries.iter_mut().filter(|entry| entry.subtransaction >= subtransaction && !entry.settled) {
            settle(entry);
        }
    });
    ERROR_CODE.set(0);
}

fn settle(entry: &mut Entry) {
    entry.settled = true;
    entry.record.outcome = if entry.running { Outcome::Failure } else { Outcome::RolledBack };
    if entry.running {
        entry.running = false;
        entry.record.sqlstate = sqlstate();
        entry.record.duration_us = Some(entry.started.elapsed().as_micros() as i64);
        RUNNING.set(RUNNING.get().saturating_sub(1));
    }
}

/// A long writing transaction does not keep all its records in memory: what is finished goes to the journal early, as
/// long as no subtransaction could take it back unnoticed.
fn write_out_if_large() {
    let size = ENTRIES.with_borrow(|entries| {
        entries.last().map_or(0, |entry| 256 + entry.record.statement.as_ref().map_or(0, String::len))
    });
    BYTES.set(BYTES.get() + size);
    // Safe: plain getters.
    let (level, xid) =
        unsafe { (pg_sys::GetCurrentTransactionNestLevel(), pg_sys::GetTopFullTransactionIdIfAny().value) };
    if BYTES.get() < WRITE_OUT_BYTES || level != 1 || xid == 0 || !journal::exists() {
        return;
    }
    BYTES.set(0);
    let finished: Vec<Entry> =
        ENTRIES.with_borrow_mut(|entries| entries.extract_if(.., |entry| !entry.running).collect());
    // What was read was read, whatever becomes of the transaction.
    let (reads, writes): (Vec<Entry>, Vec<Entry>) = finished.into_iter().partition(|entry| entry.reads);
    spool(reads.iter());
    WRITTEN_OUT.set(WRITTEN_OUT.get() + writes.len() as u64);
    journal::write(&encode(writes.iter().map(|entry| &entry.record), Some(xid)));
}

fn encode<'a>(records: impl Iterator<Item = &'a Record>, xid: Option<u64>) -> Vec<Vec<u8>> {
    records
        .map(|record| match xid {
            Some(_) if record.xid.is_none() => note::encode(&Record { xid, ..record.clone() }),
            _ => note::encode(record),
        })
        .collect()
}

impl Entry {
    /// Its record is not due with this commit: the command goes on in a transaction of its own.
    fn waits(&self) -> bool {
        self.running && self.outlives_commit
    }
}

/// PRE_COMMIT and PRE_PREPARE: the records ride with the transaction's own commit. May raise, and then nothing commits.
pub fn before_commit() {
    // Safe: plain getter; zero means the transaction wrote nothing.
    let xid = unsafe { pg_sys::GetTopFullTransactionIdIfAny().value };
    let due = |entry: &&Entry| !entry.waits();
    JOURNALLED.set(false);
    if !ENTRIES.with_borrow(|entries| entries.iter().any(|entry| due(&entry))) || xid == 0 || !journal::exists() {
        return;
    }
    let records =
        ENTRIES.with_borrow(|entries| encode(entries.iter().filter(due).map(|entry| &entry.record), Some(xid)));
    journal::write(&records);
    JOURNALLED.set(true);
}

/// COMMIT (or PREPARE): what did not ride with it goes to the lane. Must not raise.
pub fn after_commit() {
    if !JOURNALLED.get() {
        ENTRIES.with_borrow(|entries| spool(entries.iter().filter(|entry| !entry.waits())));
    }
    let mut waiting = ENTRIES.with_borrow_mut(std::mem::take);
    waiting.retain(Entry::waits);
    // The next transaction numbers its subtransactions anew.
    waiting.iter_mut().for_each(|entry| entry.subtransaction = 1);
    clear();
    RUNNING.set(waiting.len() as u32);
    ENTRIES.with_borrow_mut(|entries| *entries = waiting);
}

/// Whether the transaction has recorded nothing yet.
pub fn is_empty() -> bool {
    ENTRIES.with_borrow(Vec::is_empty)
}

/// ABORT: everything is undone. Must not raise.
pub fn after_abort() {
    if WRITTEN_OUT.get() > 0 {
        let mut record = Record::new(Kind::Server, "ROLLBACK");
        record.outcome = Outcome::RolledBack;
        record.repeats = Some(WRITTEN_OUT.get() as i64);
        record.details = Some(r#"{"note":"earlier records of a long transaction went with its rollback"}"#.to_owned());
        ENTRIES.with_borrow_mut(|entries| {
            if let Some(first) = entries.first() {
                record.user_id = first.record.user_id.clone();
                record.time = first.record.time;
            }
            entries.push(Entry {
                record,
                key: 0,
                running: false,
                nested: false,
                outlives_commit: false,
                reads: false,
                fold: 0,
                started: Instant::now(),
                subtransaction: 1,
                settled: true,
            });
        });
    }
    ENTRIES.with_borrow_mut(|entries| {
        entries.iter_mut().filter(|entry| !entry.settled).for_each(settle);
        spool(entries.iter());
    });
    clear();
}

/// Writes entries to the lane; what cannot be written is counted there as lost.
fn spool<'a>(entries: impl Iterator<Item = &'a Entry>) {
    let records: Vec<Vec<u8>> = entries.map(|entry| note::encode(&entry.record)).collect();
    if records.is_empty() {
        return;
    }
    let durability = match read_durability() {
        ReadDurability::Flushed => Durability::Flushed,
        ReadDurability::Buffered => Durability::Buffered,
    };
    let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    // The lane counts what it could not write; the sequencer chains that count.
    let _counted_as_lost = lane::append(&slices, durability);
}

fn clear() {
    ENTRIES.with_borrow_mut(Vec::clear);
    RUNNING.set(0);
    BYTES.set(0);
    WRITTEN_OUT.set(0);
    ERROR_CODE.set(0);
    JOURNALLED.set(false);
}
