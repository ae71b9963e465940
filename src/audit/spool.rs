//! The spool as the sequencer reads it: which bytes of which lane file are new, what is torn, damaged, missing or from
//! another cluster. Whatever is not whole is said in a note, which is chained like a record; nothing is passed over.
//!
//! This server's lanes are known from shared memory, so an idle lane costs no system call. Directories of earlier
//! starts (a crash leaves one, and so does a clean stop) are read to their end at the start and then removed.

use super::lane;
use super::sequencer::server_record;
use crate::core::frame::{Frames, HEADER_LEN, Header, HeaderError, Tail};
use crate::core::record::{Outcome, Record};
use crate::shared::Shared;
use pgrx::pg_sys;
use serde_json::json;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

pub(super) type Id = [u8; 16];

/// How far a lane file is chained: a row of `steward.spool_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub file_id: Id,
    pub boot: Id,
    pub slot: u32,
    pub generation: u32,
    pub byte_offset: u64,
    pub next_counter: u64,
}

impl Position {
    /// Before a file is read. The id, until the header tells it, is one that no other file of this start has.
    fn start(boot: Id, slot: u32, generation: u32, next_counter: u64) -> Position {
        let place = u128::from(slot) << 32 | u128::from(generation);
        let file_id = (u128::from_be_bytes(boot) ^ place).to_be_bytes();
        Position { file_id, boot, slot, generation, byte_offset: 0, next_counter }
    }
}

/// What one round takes from the spool. Files may be removed and the spool may move on once it is committed.
#[derive(Default)]
pub(super) struct Harvest {
    pub records: Vec<Vec<u8>>,
    pub notes: Vec<Record>,
    pub positions: Vec<Position>,
    /// Files that are chained to their end and get no more, each with its id if it has a header.
    pub finished: Vec<(PathBuf, Option<Id>)>,
    /// Files that nobody can read; they are kept, renamed.
    pub unreadable: Vec<PathBuf>,
    /// Records lost for want of a place to write them: slot and number.
    pub lost: Vec<(u32, u64)>,
    pub more: bool,
    bytes: usize,
}

impl Harvest {
    fn note(&mut self, what: &str, details: serde_json::Value) {
        self.notes.push(server_record(what, Outcome::Failure, details));
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.notes.is_empty() && self.positions.is_empty() && self.lost.is_empty()
    }
}

/// The sequencer's view of the spool.
pub(super) struct Spool {
    boot: Id,
    system_identifier: u64,
    /// Of this server start: the position in each slot's newest known file.
    lanes: HashMap<u32, Position>,
    /// Of earlier starts and other clusters, by file.
    earlier: HashMap<Id, Position>,
    /// Files of earlier starts that are still to be read, oldest generation of a slot first.
    waiting: Vec<PathBuf>,
    /// Rows of `spool_offset` whose file is gone.
    forgotten: Vec<Id>,
    /// The slot the next round begins with, so that busy lanes cannot starve others.
    first_slot: u32,
    /// Directories of earlier starts found when the sequencer started.
    pub earlier_starts: usize,
}

impl Spool {
    /// `known`: the rows of `spool_offset`.
    pub fn open(boot: Id, known: Vec<Position>) -> io::Result<Spool> {
        // Safe: reads shared control data.
        let system_identifier = unsafe { pg_sys::GetSystemIdentifier() };
        let (own, earlier): (Vec<_>, Vec<_>) = known.into_iter().partition(|position| position.boot == boot);
        let mut spool = Spool {
            boot,
            system_identifier,
            lanes: HashMap::new(),
            earlier: earlier.into_iter().map(|position| (position.file_id, position)).collect(),
            waiting: Vec::new(),
            forgotten: Vec::new(),
            first_slot: 1,
            earlier_starts: 0,
        };
        for position in own {
            spool.adopt(position)?;
        }
        spool.find_earlier_files()?;
        Ok(spool)
    }

    /// A row of this start found when the sequencer restarts: only the newest file of a slot is still of interest.
    fn adopt(&mut self, position: Position) -> io::Result<()> {
        let mut older = position;
        match self.lanes.get_mut(&position.slot) {
            Some(newest) if newest.generation >= position.generation => (),
            Some(newest) => older = std::mem::replace(newest, position),
            None => {
                self.lanes.insert(position.slot, position);
                return Ok(());
            }
        }
        remove(&lane::directory(&self.boot).join(lane::file_name(older.slot, older.generation)))?;
        self.forgotten.push(older.file_id);
        Ok(())
    }

    fn find_earlier_files(&mut self) -> io::Result<()> {
        let own = lane::directory(&self.boot);
        for directory in list(Path::new(lane::SPOOL))? {
            if directory == own || !directory.is_dir() {
                continue;
            }
            self.earlier_starts += 1;
            let mut files: Vec<_> =
                list(&directory)?.into_iter().filter_map(|file| Some((place(&file)?, file))).collect();
            // Taken from the end, so the last here is the first to be read.
            files.sort_by(|a, b| b.0.cmp(&a.0));
            self.waiting.extend(files.into_iter().map(|(_, file)| file));
        }
        if self.waiting.is_empty() {
            self.leave_earlier_starts()?;
        }
        Ok(())
    }

    /// Everything new: about `max_bytes`, never half a record. Nothing in `self` changes until `commit`.
    pub fn harvest(&self, shared: &Shared, max_bytes: usize) -> io::Result<Harvest> {
        let mut harvest = Harvest::default();
        let mut earlier = self.earlier.clone();
        for path in self.waiting.iter().rev() {
            if harvest.bytes >= max_bytes {
                harvest.more = true;
                break;
            }
            self.harvest_earlier(path, &mut earlier, &mut harvest)?;
        }
        let slots = shared.lane_count;
        for slot in (0..slots).map(|step| (self.first_slot + step) % slots) {
            self.harvest_lane(shared, slot, max_bytes, &mut harvest)?;
        }
        Ok(harvest)
    }

    /// One lane of this server start, file by file up to the one that is being written.
    fn harvest_lane(&self, shared: &Shared, slot: u32, max_bytes: usize, harvest: &mut Harvest) -> io::Result<()> {
        let Some(lane) = shared.lane(slot) else { return Ok(()) };
        let lost = lane.lost.load(SeqCst);
        if lost > 0 {
            harvest.lost.push((slot, lost));
        }
        let mut position = self.lanes.get(&slot).copied().unwrap_or_else(|| Position::start(self.boot, slot, 0, 0));
        // A file is finished only with a position in the next one: the slot's newest row carries its counter on.
        let mut left = None;
        loop {
            let (generation, length) = newest(lane);
            let limit = if position.generation == generation { Some(length) } else { None };
            if limit.is_some_and(|limit| limit <= position.byte_offset) {
                return Ok(());
            }
            if harvest.bytes >= max_bytes {
                harvest.more = true;
                return Ok(());
            }
            let path = lane::directory(&self.boot).join(lane::file_name(slot, position.generation));
            let before = position;
            read_lane(&path, &mut position, limit, harvest)?;
            if position != before {
                harvest.positions.push(position);
                harvest.finished.extend(left.take());
            }
            if limit.is_some() {
                return Ok(());
            }
            left = Some((path, Some(position.file_id)));
            position = Position::start(self.boot, slot, position.generation + 1, position.next_counter);
        }
    }

    /// One file of an earlier start, to its end.
    fn harvest_earlier(&self, path: &Path, known: &mut HashMap<Id, Position>, harvest: &mut Harvest) -> io::Result<()> {
        let Some(file) = open(path)? else { return Ok(()) };
        let size = file.metadata()?.len();
        let header = match read_header(&file)? {
            Ok(header) => header,
            Err(HeaderError::Incomplete) => {
                if size > 0 {
                    harvest.note("TORN SPOOL", json!({ "file": shown(path), "offset": 0, "bytes": size }));
                }
                harvest.finished.push((path.to_owned(), None));
                return Ok(());
            }
            Err(error) => {
                harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": error.to_string(), "bytes": size }));
                harvest.unreadable.push(path.to_owned());
                return Ok(());
            }
        };
        let boot = boot_of(path).unwrap_or_default();
        let mut position = known.get(&header.file_id).copied().unwrap_or_else(|| Position {
            file_id: header.file_id,
            boot,
            slot: header.slot,
            generation: header.generation,
            byte_offset: HEADER_LEN as u64,
            next_counter: expected_counter(known, boot, &header),
        });
        if header.system_identifier != self.system_identifier {
            if !known.contains_key(&header.file_id) {
                let from = header.system_identifier.to_string();
                harvest.note("FOREIGN SPOOL", json!({ "file": shown(path), "system_identifier": from, "bytes": size }));
                harvest.positions.push(position);
                known.insert(header.file_id, position);
            }
            return Ok(());
        }
        if position.byte_offset < size {
            let bytes = read_range(&file, position.byte_offset, size)?;
            if let Some(tail) = take_frames(&bytes, &mut position, path, harvest) {
                let (Tail::Incomplete { offset } | Tail::Corrupt { offset }) = tail;
                harvest.note("TORN SPOOL", json!({ "file": shown(path), "offset": offset, "bytes": size - offset }));
                position.byte_offset = size;
            }
            harvest.positions.push(position);
        }
        known.insert(position.file_id, position);
        harvest.finished.push((path.to_owned(), Some(position.file_id)));
        Ok(())
    }

    /// Rows of `spool_offset` that the next round can delete.
    pub fn forgotten(&self) -> &[Id] {
        &self.forgotten
    }

    /// The round is committed: moves on and removes what is finished. `forgot` rows were deleted in it.
    pub fn commit(&mut self, shared: &Shared, harvest: Harvest, forgot: usize) -> io::Result<()> {
        self.forgotten.drain(..forgot);
        self.first_slot = (self.first_slot + 1) % shared.lane_count;
        for (slot, lost) in harvest.lost {
            if let Some(lane) = shared.lane(slot) {
                lane.lost.fetch_sub(lost, SeqCst);
            }
        }
        for position in harvest.positions {
            if position.boot == self.boot {
                self.lanes.insert(position.slot, position);
            } else {
                self.earlier.insert(position.file_id, position);
            }
        }
        for path in &harvest.unreadable {
            fs::rename(path, path.with_extension("unreadable"))?;
        }
        for (path, file_id) in &harvest.finished {
            remove(path)?;
            self.forgotten.extend(file_id);
        }
        if !self.waiting.is_empty() && !harvest.more {
            self.waiting.clear();
            self.leave_earlier_starts()?;
        }
        Ok(())
    }

    /// All earlier files are read. A directory that still holds something (a foreign or unreadable file) stays, and so
    /// do the rows of lane files in it.
    fn leave_earlier_starts(&mut self) -> io::Result<()> {
        let own = lane::directory(&self.boot);
        let mut earlier = std::mem::take(&mut self.earlier);
        for directory in list(Path::new(lane::SPOOL))?.into_iter().filter(|directory| *directory != own) {
            for file in list(&directory)? {
                if place(&file).is_some()
                    && let Some(file) = open(&file)?
                    && let Ok(header) = read_header(&file)?
                {
                    earlier.remove(&header.file_id);
                }
            }
            let _stays_if_not_empty = fs::remove_dir(&directory);
        }
        self.forgotten.extend(earlier.into_keys());
        Ok(())
    }
}

/// Generation and length that belong together, though the backend may be changing files right now.
fn newest(lane: &crate::shared::Lane) -> (u32, u64) {
    loop {
        let generation = lane.generation.load(SeqCst);
        let length = lane.length.load(SeqCst);
        if lane.generation.load(SeqCst) == generation {
            return (generation, length);
        }
    }
}

/// Reads a file of this server start from the position to `limit`, or to its end if nobody writes it any more. Up to
/// there every frame was whole once, so anything else is damage.
fn read_lane(path: &Path, position: &mut Position, limit: Option<u64>, harvest: &mut Harvest) -> io::Result<()> {
    let Some(file) = open(path)? else {
        harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": "the file is missing" }));
        position.byte_offset = limit.unwrap_or(position.byte_offset);
        return Ok(());
    };
    let limit = limit.map_or_else(|| file.metadata().map(|metadata| metadata.len()), Ok)?;
    let header = match read_header(&file)? {
        Ok(header) => header,
        Err(error) => {
            harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": error.to_string(), "bytes": limit }));
            position.byte_offset = limit;
            return Ok(());
        }
    };
    if position.byte_offset != 0 && position.file_id != header.file_id {
        harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": "the file was replaced" }));
        position.byte_offset = 0;
    }
    position.file_id = header.file_id;
    position.byte_offset = position.byte_offset.max(HEADER_LEN as u64);
    let bytes = read_range(&file, position.byte_offset, limit)?;
    take_frames(&bytes, position, path, harvest);
    if position.byte_offset != limit {
        let gone = json!({ "file": shown(path), "reason": "the file is damaged", "offset": position.byte_offset, "limit": limit });
        harvest.note("UNREADABLE", gone);
        position.byte_offset = limit;
    }
    Ok(())
}

/// Takes whole frames and moves the position; a gap in the counters is a note. Returns what stopped it.
fn take_frames(bytes: &[u8], position: &mut Position, path: &Path, harvest: &mut Harvest) -> Option<Tail> {
    for frame in Frames::new(bytes, position.byte_offset) {
        let frame = match frame {
            Ok(frame) => frame,
            Err(tail) => return Some(tail),
        };
        if frame.counter < position.next_counter {
            harvest.note(
                "UNREADABLE",
                json!({ "file": shown(path), "reason": "a frame is repeated", "counter": frame.counter }),
            );
        } else {
            if frame.counter > position.next_counter {
                let missing = frame.counter - position.next_counter;
                harvest.notes.push(lost(missing, json!({ "file": shown(path), "before_counter": frame.counter })));
            }
            harvest.records.push(frame.payload.to_vec());
            harvest.bytes += frame.payload.len();
            position.next_counter = frame.counter + 1;
        }
        position.byte_offset = frame.next_offset;
    }
    None
}

/// A LOST(n) record.
pub(super) fn lost(records: u64, details: serde_json::Value) -> Record {
    let mut record = server_record("LOST", Outcome::Failure, details);
    record.rows = i64::try_from(records).ok();
    record
}

/// The counter a file of an earlier start must begin with: where the generation before it ended.
fn expected_counter(known: &HashMap<Id, Position>, boot: Id, header: &Header) -> u64 {
    let before = known.values().filter(|position| {
        position.boot == boot && position.slot == header.slot && position.generation < header.generation
    });
    before.max_by_key(|position| position.generation).map_or(0, |position| position.next_counter)
}

fn read_header(file: &File) -> io::Result<Result<Header, HeaderError>> {
    let bytes = read_range(file, 0, HEADER_LEN as u64)?;
    Ok(Header::decode(&bytes))
}

/// The bytes from `start` to `end`, fewer if the file is shorter.
fn read_range(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; end.saturating_sub(start) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    absent_as_none(File::open(path))
}

fn remove(path: &Path) -> io::Result<()> {
    absent_as_none(fs::remove_file(path)).map(drop)
}

fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = absent_as_none(fs::read_dir(directory))? else { return Ok(Vec::new()) };
    entries.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// Slot and generation of a lane file's name.
fn place(path: &Path) -> Option<(u32, u32)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".lane")?;
    let (slot, generation) = name.split_once('-')?;
    Some((slot.parse().ok()?, generation.parse().ok()?))
}

/// The server start whose directory a file lies in.
fn boot_of(path: &Path) -> Option<Id> {
    let name = path.parent()?.file_name()?.to_str()?;
    u128::from_str_radix(name, 16).ok().map(u128::to_be_bytes)
}

/// A path as records show it.
fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Files of the spool and their bytes, foreign and unreadable ones included.
pub(super) fn size() -> io::Result<(i32, i64)> {
    let (mut files, mut bytes) = (0, 0);
    for directory in list(Path::new(lane::SPOOL))? {
        for file in list(&directory)? {
            if let Some(metadata) = absent_as_none(fs::metadata(&file))? {
                files += 1;
                bytes += metadata.len() as i64;
            }
        }
    }
    Ok((files, bytes))
}
