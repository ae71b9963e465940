//! A backend's own spool lane: the file that takes what no commit will carry (reads, failures, denials, rollbacks).
//!
//! Called in error and commit callbacks and while locks of others are held, so nothing here raises, takes a lock,
//! allocates in PostgreSQL's memory or waits for anybody. One slot has one writer at a time: its backend.

use crate::backend::backend_local;
use crate::core::frame::{self, Header};
use crate::shared::{self, Lane, Shared};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

/// Where the spool lies in the data directory: a directory for each server start, a file for each slot and generation.
pub(super) const SPOOL: &str = "pg_steward/spool";
/// A longer file is left to the sequencer, and the slot goes on in its next generation.
const ROTATE_AT: u64 = 8 << 20;
/// Bytes that a lane keeps on the disk beyond its end.
const RESERVE: u64 = 64 << 10;

/// How far a record must have got before `append` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a crash of PostgreSQL, not of the machine.
    Buffered,
    /// Survives a crash of the machine.
    Flushed,
}

/// Appends records to this backend's lane, all or none. On an error they are counted in shared memory and chained
/// later as LOST(n), except after a failed flush: then they are in the file but may not outlive the machine.
pub fn append(records: &[&[u8]], durability: Durability) -> io::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let shared = shared::get().ok_or_else(|| io::Error::other("pg_steward is not preloaded"))?;
    // Safe: a plain global of this backend.
    let slot = u32::try_from(unsafe { pg_sys::MyBackendId }).unwrap_or(0);
    let own = if slot == 0 { None } else { shared.lane(slot) };
    let Some(lane) = own else {
        // No backend has slot 0; its counter stands for all processes without a lane.
        count_lost(shared.lane(0), records.len());
        return Err(io::Error::other("this process has no spool lane"));
    };
    WRITER.with_borrow_mut(|writer| {
        writer.write(shared, slot, lane, records).inspect_err(|_| count_lost(Some(lane), records.len()))?;
        if durability == Durability::Flushed { writer.flush(&shared.boot_id) } else { Ok(()) }
    })
}

/// Whether this backend could still record what it is about to do: its lane is open and its reserve is whole.
pub fn check_room() -> io::Result<()> {
    let shared = shared::get().ok_or_else(|| io::Error::other("pg_steward is not preloaded"))?;
    // Safe: a plain global of this backend.
    let slot = u32::try_from(unsafe { pg_sys::MyBackendId }).unwrap_or(0);
    let Some(lane) = shared.lane(slot).filter(|_| slot > 0) else {
        return Err(io::Error::other("this process has no spool lane"));
    };
    WRITER.with_borrow_mut(|writer| {
        writer.make_ready(shared, slot, lane)?;
        writer.reserve(lane.length.load(SeqCst))
    })
}

/// Counts records of this backend that are not to be written.
pub fn count(records: usize) {
    // Safe: a plain global of this backend.
    let slot = u32::try_from(unsafe { pg_sys::MyBackendId }).unwrap_or(0);
    count_lost(shared::get().and_then(|shared| shared.lane(slot)), records);
}

fn count_lost(lane: Option<&Lane>, records: usize) {
    if let Some(lane) = lane {
        lane.lost.fetch_add(records as u64, SeqCst);
    }
}

/// The directory of one server start.
pub(crate) fn directory(boot: &[u8; 16]) -> PathBuf {
    Path::new(SPOOL).join(format!("{:032x}", u128::from_be_bytes(*boot)))
}

/// The file of a slot and generation in a directory of the spool.
pub(crate) fn file_name(slot: u32, generation: u32) -> String {
    format!("{slot}-{generation}.lane")
}

struct Open {
    generation: u32,
    file: File,
    /// The directory entry was synced by this process.
    entry_synced: bool,
    /// Up to here the file has its place on the disk.
    reserved: u64,
}

struct Writer {
    open: Option<Open>,
    buffer: Vec<u8>,
}

backend_local! {
    static WRITER: RefCell<Writer> = const { RefCell::new(Writer { open: None, buffer: Vec::new() }) };
}

impl Writer {
    fn write(&mut self, shared: &Shared, slot: u32, lane: &Lane, records: &[&[u8]]) -> io::Result<()> {
        self.make_ready(shared, slot, lane)?;
        let length = lane.length.load(SeqCst);
        let counter = lane.next_counter.load(SeqCst);
        self.buffer.clear();
        if length == 0 {
            self.buffer.extend_from_slice(&header(&shared.boot_id, slot, lane.generation.load(SeqCst)).encode());
        }
        for (counter, record) in (counter..).zip(records) {
            frame::append_frame(&mut self.buffer, counter, record).map_err(io::Error::other)?;
        }
        // On a full disk what is left of the reserve takes the record all the same.
        let _full = self.reserve(length);
        let Some(Open { file, .. }) = &mut self.open else { return Err(io::Error::other("spool file is not open")) };
        if let Err(error) = file.write_all(&self.buffer) {
            if file.set_len(length).is_err() {
                // What was half written stays, so its counters must not be used again.
                lane.next_counter.store(counter + records.len() as u64, SeqCst);
                next_generation(lane);
            }
            return Err(error);
        }
        lane.next_counter.store(counter + records.len() as u64, SeqCst);
        lane.length.store(length + self.buffer.len() as u64, SeqCst);
        Ok(())
    }

    /// Keeps place on the disk for the records of an abort, which cannot be refused: bytes behind the file's end that a
    /// full disk has left. A file system that cannot do this has no reserve.
    fn reserve(&mut self, length: u64) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Err(io::Error::other("spool file is not open")) };
        if length + RESERVE / 2 < open.reserved {
            return Ok(());
        }
        let (start, more) = (open.reserved.max(length), length + RESERVE - open.reserved.max(length));
        // Safe: allocates blocks of an open file; its size and content stay.
        let answer = unsafe {
            libc::fallocate(open.file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, start as libc::off_t, more as libc::off_t)
        };
        let error = io::Error::last_os_error();
        if answer == 0 || error.raw_os_error() == Some(libc::EOPNOTSUPP) {
            open.reserved = length + RESERVE;
            return Ok(());
        }
        Err(error)
    }

    fn flush(&mut self, boot: &[u8; 16]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Err(io::Error::other("spool file is not open")) };
        open.file.sync_data()?;
        if !open.entry_synced {
            sync_directory(&directory(boot))?;
            open.entry_synced = true;
        }
        Ok(())
    }

    /// Opens the file that the next record goes to.
    fn make_ready(&mut self, shared: &Shared, slot: u32, lane: &Lane) -> io::Result<()> {
        if lane.length.load(SeqCst) > ROTATE_AT {
            next_generation(lane);
        }
        self.open(&shared.boot_id, slot, lane)
    }

    /// Makes the slot's current generation the open file, its end where the lane says that whole frames end.
    fn open(&mut self, boot: &[u8; 16], slot: u32, lane: &Lane) -> io::Result<()> {
        let generation = lane.generation.load(SeqCst);
        if self.open.as_ref().is_some_and(|open| open.generation == generation) {
            return Ok(());
        }
        self.open = None;
        let file = open_file(boot, &file_name(slot, generation))?;
        let (size, length) = (file.metadata()?.len(), lane.length.load(SeqCst));
        if size > length {
            file.set_len(length)?;
        } else if size < length {
            // Somebody cut it. The sequencer sees what is missing; new records need a sound file.
            next_generation(lane);
            return self.open(boot, slot, lane);
        }
        self.open = Some(Open { generation, file, entry_synced: false, reserved: 0 });
        Ok(())
    }
}

/// The length goes first: a reader must never see the new generation with the old file's length.
fn next_generation(lane: &Lane) {
    lane.length.store(0, SeqCst);
    lane.generation.fetch_add(1, SeqCst);
}

fn open_file(boot: &[u8; 16], name: &str) -> io::Result<File> {
    let directory = directory(boot);
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(directory.join(name));
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directory(&directory)?;
            open()
        }
        other => other,
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
    directory
        .ancestors()
        .skip(1)
        .try_for_each(|above| sync_directory(if above.as_os_str().is_empty() { Path::new(".") } else { above }))
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn header(boot: &[u8; 16], slot: u32, generation: u32) -> Header {
    // Safe: getters of shared control data that neither wait nor raise. In recovery there is no insertion timeline.
    unsafe {
        Header {
            file_id: frame::file_id(boot, slot, generation),
            system_identifier: pg_sys::GetSystemIdentifier(),
            timeline: if pg_sys::RecoveryInProgress() { 0 } else { pg_sys::GetWALInsertionTimeLine() },
            database: pg_sys::MyDatabaseId.to_u32(),
            created: pg_sys::GetCurrentTimestamp(),
            slot,
            generation,
        }
    }
}
