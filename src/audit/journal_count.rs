//! How many rows of the journal were committed. Backends count beside the journal: in shared memory, and in a file of this
//! server start, so that what was counted outlives a crash of the server. The sequencer counts what it takes, in the
//! transaction that takes it. A row that was counted and never taken was deleted in between, and that is a record.
//!
//! Never counted too much: only after the commit. Of what commits with `synchronous_commit = off` the file says where it
//! ends in the WAL; after a crash it counts only if the WAL is known to have been on disk so far. What is prepared is
//! counted by itself (`prepared`). Only rows of the governed database count, each under its oid.
//!
//! A file that is not as it was written is a record, and the count goes on in a new one.

mod file;
mod prepared;

use super::clock::steady;
use super::incarnation::HEAD_FILE;
use super::journal::Taken;
use super::positions::{self, Rows};
use super::sequencer::{server_record, transaction};
use super::start::Start;
use crate::core::record::{Outcome as Result, Record};
use crate::error::{Fault, Outcome};
use crate::own;
use crate::shared::{self, Shared};
use file::{Entry, Flaw};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use prepared::Prepared;
use serde_json::json;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// Microseconds between two looks at this start's file.
const LOOK_INTERVAL: i64 = 1_000_000;
/// What stands in the table for a start whose rows were compared for good.
const SETTLED: i64 = i64::MAX;

/// This server start. Part of shared memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Begun {
    /// Its name in the journal's rows; 0 stands for none.
    name: u32,
    /// Microseconds since 2000-01-01 UTC.
    began: i64,
}

/// What the backend of a slot has counted, those before it included. Part of shared memory; only it writes there.
#[repr(C)]
pub struct Slot {
    database: AtomicU32,
    _pad: AtomicU32,
    certain: AtomicU64,
    rows: AtomicU64,
    position: AtomicU64,
}

impl Slot {
    fn load(&self) -> Entry {
        Entry {
            database: self.database.load(SeqCst),
            certain: self.certain.load(SeqCst),
            rows: self.rows.load(SeqCst),
            position: self.position.load(SeqCst),
        }
    }

    fn store(&self, entry: &Entry) {
        self.database.store(entry.database, SeqCst);
        self.certain.store(entry.certain, SeqCst);
        self.position.store(entry.position, SeqCst);
        self.rows.store(entry.rows, SeqCst);
    }
}

fn entries(shared: &Shared) -> Vec<Entry> {
    (0..shared.lane_count).filter_map(|slot| shared.lane(slot)).map(|lane| lane.counted.load()).collect()
}

/// Begins to count for a server start. In the postmaster, when shared memory is made. What came with a copy of another
/// data directory says nothing about this one.
pub fn begin(boot: &[u8; 16], start: &Start, slots: u32) -> Begun {
    let name = u32::from_be_bytes([boot[0], boot[1], boot[2], boot[3]]).max(1);
    // Safe: reads the clock.
    let begun = Begun { name, began: unsafe { pg_sys::GetCurrentTimestamp() } };
    prepared::clean_up();
    let written = || -> io::Result<()> {
        if start.took_over() {
            fs::remove_dir_all(file::directory()?)?;
        }
        file::replace(&begun, &vec![Entry::default(); slots as usize])
    };
    if let Err(error) = written() {
        warning!("pg_steward: the file that counts rows of the journal cannot be written: {error}");
    }
    begun
}

/// The name that rows which this transaction writes now bear; 0 if they will not be counted.
pub(super) fn name() -> u32 {
    if crate::cache::at_home() { shared::get().map_or(0, |shared| shared.journal_count.name) } else { 0 }
}

/// COMMIT: so many rows with a name are there to be taken. Must not raise.
pub(super) fn committed(rows: u64) {
    // Safe: plain globals of this backend.
    let (slot, database) = unsafe { (u32::try_from(pg_sys::MyBackendId).unwrap_or(0), pg_sys::MyDatabaseId.to_u32()) };
    let Some(shared) = shared::get().filter(|_| slot != file::SEQUENCER) else { return };
    let Some(lane) = shared.lane(slot) else { return };
    let counted = lane.counted.load();
    let mut entry = if counted.database == database { counted } else { Entry { database, ..Entry::default() } };
    entry.rows += rows;
    // Safe: plain globals of the backend that has just committed, and a reading of shared state.
    unsafe {
        if pg_sys::synchronous_commit > pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_OFF as i32 {
            entry.certain = entry.rows;
        } else {
            if pg_sys::GetFlushRecPtr(std::ptr::null_mut()) >= entry.position {
                entry.certain = entry.rows - rows;
            }
            entry.position = pg_sys::XactLastCommitEnd;
        }
    }
    // What could not be written the sequencer finds.
    let generation = shared.journal_count_file.load(SeqCst);
    let _found_later = file::write(&shared.journal_count, generation, slot, &entry);
    lane.counted.store(&entry);
}

/// Where the extension begins to compare: what was counted in this server start, before it was created, in a journal that is
/// gone. Nobody else counts meanwhile: its tables were locked when they were dropped. What this transaction itself has
/// written there is not counted at its commit.
#[pg_extern(sql = false)]
fn _journal_counted() -> TableIterator<'static, (name!(start, i64), name!(rows, i64))> {
    // Safe: a plain global of this backend.
    if !unsafe { pg_sys::creating_extension } {
        Fault::wrong_state("steward._journal_counted() is for the installation script").raise();
    }
    super::buffer::forget_journalled();
    let counted = shared::get().filter(|_| name() != 0).map(|shared| (i64::from(name()), rows_here(shared)));
    TableIterator::new(counted)
}

/// Of this server start, in this database.
fn rows_here(shared: &Shared) -> i64 {
    // Safe: a plain global.
    let database = unsafe { pg_sys::MyDatabaseId.to_u32() };
    let own = |entry: &Entry| entry.database == database;
    let rows: u64 = entries(shared).iter().filter(|entry| own(entry)).map(|entry| entry.rows).sum();
    rows as i64
}

/// PRE_PREPARE: so many rows of this transaction are to be taken if it is committed. May raise.
pub(super) fn prepares(xid: u64, rows: u64) {
    if rows > 0 && crate::cache::at_home() {
        crate::error::answer(prepared::write(xid, rows));
    }
}

/// What is counted, to be read before the snapshot in which rows are taken.
pub(super) struct Counted {
    /// In this server start.
    rows: i64,
    prepared: BTreeMap<u64, Prepared>,
    /// All that were prepared when rows were taken: some are prepared and committed between the two.
    files: OnceCell<BTreeSet<u64>>,
}

impl Counted {
    pub fn so_far(shared: &Shared) -> Counted {
        let rows = rows_here(shared);
        let waits = fs::read_dir("pg_steward/journal/prepared").is_ok_and(|mut files| files.next().is_some());
        let prepared = if waits { transaction(prepared::read) } else { BTreeMap::new() };
        Counted { rows, prepared, files: OnceCell::new() }
    }

    /// To be asked once there is a snapshot: a transaction that is seen in it had its file before.
    fn was_prepared(&self, xid: u64) -> bool {
        self.prepared.contains_key(&xid) || self.files.get_or_init(prepared::files).contains(&xid)
    }

    /// Whose count a row is in: a start's name, or minus a prepared transaction's id; 0 for none.
    pub fn key(&self, xid: u64, name: u32) -> i64 {
        if self.was_prepared(xid) { -(xid as i64) } else { i64::from(name) }
    }
}

/// What an earlier server start has counted.
struct Former {
    name: i64,
    began: i64,
    rows: i64,
    /// Nothing of another database, which may be governed again.
    over: bool,
    path: PathBuf,
    flaw: Option<Flaw>,
}

fn former(own: u32) -> io::Result<Vec<Former>> {
    // Safe: a plain global.
    let database = unsafe { pg_sys::MyDatabaseId.to_u32() };
    let mut found = Vec::new();
    for entry in fs::read_dir(file::directory()?)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let Some(name) = u32::from_str_radix(&name, 16).ok().filter(|known| format!("{known:08x}") == name) else {
            continue;
        };
        if name == own {
            continue;
        }
        let file::Content { began, entries, flaw } = file::content(name);
        let flushed = entries.first().map_or(0, |sequencer| sequencer.position);
        let counted = |entry: &Entry| if entry.position <= flushed { entry.rows } else { entry.certain };
        let rows: u64 = entries.iter().filter(|entry| entry.database == database).map(counted).sum();
        let over = entries.iter().all(|entry| [0, database].contains(&entry.database));
        found.push(Former { name: name.into(), began, rows: rows as i64, over, path: file::path(name), flaw });
    }
    Ok(found)
}

/// The sequencer's side.
#[derive(Default)]
pub(super) struct JournalCount {
    /// Rows taken, by whose count they are in, as the table has it. None before it was read.
    taken: Option<BTreeMap<i64, i64>>,
    /// What earlier starts have counted. None before it was read.
    former: Option<Vec<Former>>,
    /// What earlier starts have counted was compared.
    settled: bool,
    /// Files to be removed once that is committed.
    over: Vec<PathBuf>,
    looked_at: i64,
    /// The last look found this start's file altered.
    suspected: bool,
    /// This start's file is to be written anew once it is on record why.
    damaged: bool,
    /// That could not be done, and was told.
    complained: bool,
}

impl JournalCount {
    /// Counts what was taken, and says what was counted and is gone.
    pub fn compare(
        &mut self,
        client: &mut SpiClient<'_>,
        shared: &Shared,
        rows: &Taken,
        counted: &Counted,
    ) -> Outcome<Vec<Record>> {
        let mut said = Vec::new();
        let own = i64::from(shared.journal_count.name);
        if self.taken.is_none() {
            self.taken = Some(read(client)?);
        }
        if self.former.is_none() {
            self.former = Some(former(shared.journal_count.name).unwrap_or_else(|error| {
                said.push(damaged(&PathBuf::from("pg_steward/journal"), file::flaw(&error)));
                Vec::new()
            }));
        }
        let (Some(taken), Some(former)) = (&mut self.taken, &self.former) else { return Ok(said) };
        let before = taken.clone();
        let known = |key: i64| key < 0 || key == own || !self.settled && former.iter().any(|former| former.name == key);
        for (key, count) in rows.counted.iter().filter(|(key, _)| known(**key)) {
            let taken = taken.entry(*key).or_default();
            *taken = taken.saturating_add(*count);
        }
        if rows.more {
            save(client, &before, taken)?;
            return Ok(said);
        }
        let since = created(client)?;
        let known = taken.entry(own).or_default();
        if counted.rows > *known {
            said.push(missing(counted.rows, *known, json!({ "server_start": start_name(own) })));
            *known = counted.rows;
        }
        said.extend(settle_prepared(taken, counted, since, &mut self.over));
        if !std::mem::replace(&mut self.settled, true) {
            // Without the head file this is another data directory with the same tables, which is said elsewhere.
            let complete = !shared.start.took_over() && Path::new(HEAD_FILE).exists();
            said.extend(settle(taken, former, &before, own, since, complete));
            self.over.extend(former.iter().filter(|former| former.over).map(|former| former.path.clone()));
        }
        save(client, &before, taken)?;
        said.extend(self.look(shared));
        Ok(said)
    }

    /// Looks whether this start's file is as it was written.
    fn look(&mut self, shared: &Shared) -> Option<Record> {
        let now = steady();
        if now - self.looked_at < LOOK_INTERVAL || self.damaged {
            return None;
        }
        self.looked_at = now;
        let flaw = file::check(shared);
        let suspected = std::mem::replace(&mut self.suspected, flaw.is_some());
        let flaw = flaw.filter(|flaw| suspected || !file::may_pass(flaw))?;
        self.damaged = true;
        if self.complained { None } else { Some(damaged(&file::path(shared.journal_count.name), flaw)) }
    }

    /// After the commit.
    pub fn follow_up(&mut self, shared: &Shared) {
        for path in self.over.drain(..) {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                warning!("pg_steward: the file \"{}\" could not be removed: {error}", path.display());
            }
        }
        let begun = &shared.journal_count;
        if std::mem::take(&mut self.damaged) {
            let replaced = file::replace(begun, &entries(shared));
            if let Err(error) = &replaced
                && !self.complained
            {
                warning!("pg_steward: the file that counts rows of the journal cannot be written: {error}");
            }
            self.complained = replaced.is_err();
            shared.journal_count_file.fetch_add(1, SeqCst);
        }
        self.publish_flushed(shared);
    }

    /// How far the WAL is on disk: asynchronous commits before that have happened for good.
    fn publish_flushed(&mut self, shared: &Shared) {
        let Some(lane) = shared.lane(file::SEQUENCER) else { return };
        // Safe: reads shared state, outside recovery.
        let position = unsafe { pg_sys::GetFlushRecPtr(std::ptr::null_mut()) };
        if lane.counted.position.swap(position, SeqCst) != position {
            let generation = shared.journal_count_file.load(SeqCst);
            // What could not be written the next look finds, or it counts less.
            let _less = file::write(&shared.journal_count, generation, file::SEQUENCER, &lane.counted.load());
        }
    }
}

/// Compares what earlier starts have counted. A file that should be there is missed only where it is `complete`.
fn settle(
    taken: &mut BTreeMap<i64, i64>,
    former: &[Former],
    before: &BTreeMap<i64, i64>,
    own: i64,
    since: i64,
    complete: bool,
) -> Vec<Record> {
    let mut said = Vec::new();
    let there = |key: i64| former.iter().any(|former| former.name == key);
    for (key, _) in before.iter().filter(|(key, rows)| **key > 0 && **key != own && **rows != SETTLED) {
        if complete && !there(*key) {
            said.push(damaged(&file::path(*key as u32), "absent"));
        }
    }
    taken.retain(|key, _| *key < 0 || *key == own || there(*key));
    for former in former {
        // What another installation has counted, this one does not know.
        let known = former.began >= since || before.contains_key(&former.name);
        let count = taken.entry(former.name).or_default();
        if let Some(flaw) = former.flaw.filter(|_| *count != SETTLED) {
            said.push(damaged(&former.path, flaw));
        }
        if known && former.rows > *count {
            said.push(missing(former.rows, *count, json!({ "server_start": start_name(former.name) })));
        }
        *count = SETTLED;
    }
    said
}

/// Compares what prepared transactions have counted that have ended.
fn settle_prepared(
    taken: &mut BTreeMap<i64, i64>,
    counted: &Counted,
    since: i64,
    over: &mut Vec<PathBuf>,
) -> Vec<Record> {
    let mut said = Vec::new();
    taken.retain(|key, _| *key >= 0 || counted.was_prepared(key.unsigned_abs()));
    for (xid, prepared) in &counted.prepared {
        let Some(committed) = prepared.committed else { continue };
        let count = taken.entry(-(*xid as i64)).or_default();
        if let Some(flaw) = prepared.flaw.filter(|_| *count != SETTLED) {
            said.push(damaged(&prepared.path, flaw));
        }
        if committed && prepared.rows > *count && prepared.at >= since {
            said.push(missing(prepared.rows, *count, json!({ "prepared_transaction": xid })));
        }
        *count = SETTLED;
        over.push(prepared.path.clone());
    }
    said
}

fn read(client: &mut SpiClient<'_>) -> Outcome<BTreeMap<i64, i64>> {
    let mut taken = BTreeMap::new();
    for row in own::select(client, "SELECT start, rows FROM steward.journal_taken", &[])? {
        if let (Some(start), Some(rows)) = (row.get::<i64>(1)?, row.get::<i64>(2)?) {
            taken.insert(start, rows);
        }
    }
    Ok(taken)
}

fn save(client: &mut SpiClient<'_>, before: &BTreeMap<i64, i64>, taken: &BTreeMap<i64, i64>) -> Outcome<()> {
    let sql = "INSERT INTO steward.journal_taken (start, rows) VALUES ($1, $2)
        ON CONFLICT (start) DO UPDATE SET rows = EXCLUDED.rows";
    if before == taken {
        return Ok(());
    }
    positions::change(client, &Rows::Taken, |client| {
        for key in before.keys().filter(|key| !taken.contains_key(key)) {
            own::execute(client, "DELETE FROM steward.journal_taken WHERE start = $1", &[(*key).into()])?;
        }
        for (key, rows) in taken.iter().filter(|(key, rows)| before.get(key) != Some(rows)) {
            own::execute(client, sql, &[(*key).into(), (*rows).into()])?;
        }
        Ok(())
    })
}

/// When the extension was created here.
fn created(client: &mut SpiClient<'_>) -> Outcome<i64> {
    let row = own::select(client, "SELECT installed_at FROM steward.installation", &[])?.first();
    let since = if row.is_empty() { None } else { row.get_one::<TimestampWithTimeZone>()? };
    Ok(since.map_or(i64::MAX, Into::into))
}

fn start_name(key: i64) -> String {
    format!("{key:08x}")
}

/// The record of rows that were counted and are gone.
fn missing(counted: i64, taken: i64, mut details: serde_json::Value) -> Record {
    (details["rows"], details["counted"], details["taken"]) = (json!(counted - taken), json!(counted), json!(taken));
    server_record("MISSING JOURNAL", Result::Failure, details)
}

/// The record of a file of counts that is not as it was written: rows that were deleted before may not be missed.
fn damaged(path: &Path, flaw: Flaw) -> Record {
    let details = json!({ "file": path.display().to_string(), "found": flaw });
    server_record("DAMAGED COUNT", Result::Failure, details)
}
