//! How many rows of the journal were committed. Backends count beside the journal, in a small file of this server start that
//! is mapped into memory: an addition per transaction, and what was counted outlives a crash of the server (not one of the
//! machine: then it says less). The sequencer counts what it takes, in the transaction that takes it. A row that was
//! counted and never taken was deleted in between, and that is a record.
//!
//! Never counted too much: only after the commit, and only what a crash cannot take back, so neither what is prepared nor what
//! commits with `synchronous_commit = off`. Such rows bear no name, and their deletion does not show here.

use super::journal::Taken;
use super::sequencer::server_record;
use super::start::Start;
use crate::core::record::{Outcome as Result, Record};
use crate::error::Outcome;
use crate::{own, state_file};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::SeqCst};

const MAGIC: u64 = u64::from_be_bytes(*b"PGSTJRNL");

/// The file of one server start, in the machine's byte order: it is read by the machine that wrote it.
#[repr(C)]
struct Counter {
    magic: u64,
    /// The start's name in the journal's rows.
    name: u64,
    /// When it began, microseconds since 2000-01-01 UTC.
    began: i64,
    rows: AtomicU64,
}

const LENGTH: usize = size_of::<Counter>();

/// Mapped by the postmaster before any backend starts; backends inherit it. Null: nothing is counted.
static COUNTER: AtomicPtr<Counter> = AtomicPtr::new(std::ptr::null_mut());

fn counter() -> Option<&'static Counter> {
    // Safe: null, or a mapping that stays as long as any process that has it.
    unsafe { COUNTER.load(SeqCst).as_ref() }
}

fn directory() -> io::Result<PathBuf> {
    let directory = state_file::directory()?.join("journal");
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&directory)?;
    Ok(directory)
}

/// Begins to count for a server start. In the postmaster, when shared memory is made. What came with a copy of another
/// data directory says nothing about this one.
pub fn begin(boot: &[u8; 16], start: &Start) {
    COUNTER.store(std::ptr::null_mut(), SeqCst);
    let begun = (|| {
        if start.took_over() {
            fs::remove_dir_all(directory()?)?;
        }
        map(boot)
    })();
    match begun {
        Ok(counter) => COUNTER.store(counter, SeqCst),
        Err(error) => warning!("pg_steward: rows of the journal are not counted: {error}"),
    }
}

fn map(boot: &[u8; 16]) -> io::Result<*mut Counter> {
    // 0 stands for none.
    let name = u32::from_be_bytes([boot[0], boot[1], boot[2], boot[3]]).max(1);
    // Safe: reads the clock.
    let began = unsafe { pg_sys::GetCurrentTimestamp() };
    let path = directory()?.join(format!("{name:08x}"));
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let fields = [MAGIC.to_ne_bytes(), u64::from(name).to_ne_bytes(), began.to_ne_bytes(), 0_u64.to_ne_bytes()];
    file.write_all(&fields.concat())?;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // Safe: a new mapping of a file of that length, which outlives the descriptor.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, file.as_raw_fd(), 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(place.cast()) }
}

/// The name that rows which this transaction writes now bear; 0 if they will not be counted.
pub(super) fn name() -> u32 {
    // Safe: a plain global.
    let durable = unsafe { pg_sys::synchronous_commit } > pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_OFF as i32;
    counter().filter(|_| durable).map_or(0, |counter| counter.name as u32)
}

/// COMMIT: so many rows with a name are there to be taken. Must not raise.
pub(super) fn committed(rows: u64) {
    if let Some(counter) = counter() {
        counter.rows.fetch_add(rows, SeqCst);
    }
}

/// What was counted in this server start, to be read before the snapshot in which rows are taken.
pub(super) fn so_far() -> i64 {
    counter().map_or(0, |counter| counter.rows.load(SeqCst) as i64)
}

/// What an earlier server start has counted.
struct Former {
    name: u32,
    began: i64,
    rows: i64,
    path: PathBuf,
}

fn former() -> io::Result<Vec<Former>> {
    let own = counter().map_or(0, |counter| counter.name);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory()?)? {
        let path = entry?.path();
        let bytes = fs::read(&path).unwrap_or_default();
        let field = |at: usize| bytes.get(at * 8..at * 8 + 8)?.try_into().ok().map(u64::from_ne_bytes);
        // One that the machine's crash has left empty, or that is none, says nothing: as if it had counted nothing.
        let rows = if field(0) == Some(MAGIC) { field(3).unwrap_or_default() } else { 0 };
        let (name, began) = (field(1).unwrap_or_default(), field(2).unwrap_or_default());
        if name != own {
            found.push(Former { name: name as u32, began: began as i64, rows: rows as i64, path });
        }
    }
    Ok(found)
}

/// The sequencer's side.
#[derive(Default)]
pub(super) struct JournalCount {
    /// Rows taken, by the name they bear, as the table has it. None before it was read.
    taken: Option<BTreeMap<u32, i64>>,
    /// The last round found no row that was counted.
    quiet: bool,
    /// What earlier starts have counted was compared.
    settled: bool,
    /// Their files, to be removed once that is committed.
    over: Vec<PathBuf>,
}

impl JournalCount {
    /// Counts what was taken, and says what was counted (`so_far`, before) and is gone.
    pub fn compare(&mut self, client: &mut SpiClient<'_>, rows: &Taken, so_far: i64) -> Outcome<Vec<Record>> {
        let mut missing = Vec::new();
        if self.taken.is_none() {
            self.taken = Some(read(client)?);
        }
        let Some(taken) = &mut self.taken else { return Ok(missing) };
        let before = taken.clone();
        let own = counter().map_or(0, |counter| counter.name as u32);
        for (name, count) in &rows.counted {
            *taken.entry(*name).or_default() += count;
        }
        // One that was created in this start does not know what others have counted before, until nothing waits: not even a
        // commit whose rows were taken and that has not counted them yet.
        let unknown = match counter() {
            Some(counter) => !before.contains_key(&own) && counter.began < created(client)?,
            None => false,
        };
        if unknown {
            taken.remove(&own);
        }
        let quiet = rows.counted.is_empty();
        let still_quiet = std::mem::replace(&mut self.quiet, quiet) && quiet;
        if rows.more {
            save(client, &before, taken)?;
            return Ok(missing);
        }
        if unknown {
            if still_quiet {
                taken.insert(own, so_far);
            }
        } else if counter().is_some()
            && let known = taken.entry(own).or_default()
            && so_far > *known
        {
            missing.push(record(so_far, *known, own));
            *known = so_far;
        }
        if !self.settled {
            match former() {
                Ok(former) => {
                    let since = created(client)?;
                    // What another installation has counted, this one does not know.
                    let known = |former: &Former| former.began >= since || before.contains_key(&former.name);
                    taken.retain(|name, _| *name == own || former.iter().any(|former| former.name == *name));
                    for former in former {
                        let count = taken.entry(former.name).or_default();
                        if known(&former) && former.rows > *count {
                            missing.push(record(former.rows, *count, former.name));
                        }
                        *count = former.rows.max(*count);
                        self.over.push(former.path);
                    }
                }
                // Nothing else waits for that.
                Err(error) => warning!("pg_steward: the former counts of journal rows cannot be read: {error}"),
            }
            self.settled = true;
        }
        save(client, &before, taken)?;
        Ok(missing)
    }

    /// After the commit.
    pub fn follow_up(&mut self) {
        for path in self.over.drain(..) {
            if let Err(error) = fs::remove_file(&path) {
                warning!("pg_steward: the file \"{}\" could not be removed: {error}", path.display());
            }
        }
    }
}

fn read(client: &mut SpiClient<'_>) -> Outcome<BTreeMap<u32, i64>> {
    let mut taken = BTreeMap::new();
    for row in own::select(client, "SELECT start, rows FROM steward.journal_taken", &[])? {
        if let (Some(start), Some(rows)) = (row.get::<i64>(1)?, row.get::<i64>(2)?) {
            taken.insert(start as u32, rows);
        }
    }
    Ok(taken)
}

fn save(client: &mut SpiClient<'_>, before: &BTreeMap<u32, i64>, taken: &BTreeMap<u32, i64>) -> Outcome<()> {
    let sql = "INSERT INTO steward.journal_taken (start, rows) VALUES ($1, $2)
        ON CONFLICT (start) DO UPDATE SET rows = EXCLUDED.rows";
    for name in before.keys().filter(|name| !taken.contains_key(name)) {
        own::execute(client, "DELETE FROM steward.journal_taken WHERE start = $1", &[i64::from(*name).into()])?;
    }
    for (name, rows) in taken.iter().filter(|(name, rows)| before.get(name) != Some(rows)) {
        own::execute(client, sql, &[i64::from(*name).into(), (*rows).into()])?;
    }
    Ok(())
}

/// When the extension was created here.
fn created(client: &mut SpiClient<'_>) -> Outcome<i64> {
    let row = own::select(client, "SELECT installed_at FROM steward.installation", &[])?.first();
    let since = if row.is_empty() { None } else { row.get_one::<TimestampWithTimeZone>()? };
    Ok(since.map_or(i64::MAX, Into::into))
}

fn record(counted: i64, taken: i64, name: u32) -> Record {
    let details = json!({
        "rows": counted - taken, "counted": counted, "taken": taken, "server_start": format!("{name:08x}"),
    });
    server_record("MISSING JOURNAL", Result::Failure, details)
}
