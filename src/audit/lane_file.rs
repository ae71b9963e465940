//! One lane file as the sequencer reads it: its header, its whole frames, and what is wrong with the rest. A gap in the
//! counters, a repeated frame, damage: each is a note, which is chained like a record.

use super::sequencer::server_record;
use crate::core::frame::{Frames, HEADER_LEN, Header, HeaderError, Tail};
use crate::core::record::{Outcome, Record};
use serde_json::json;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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
    pub fn start(boot: Id, slot: u32, generation: u32, next_counter: u64) -> Position {
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
    pub bytes: usize,
}

impl Harvest {
    pub fn note(&mut self, what: &str, details: serde_json::Value) {
        self.notes.push(server_record(what, Outcome::Failure, details));
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.notes.is_empty() && self.positions.is_empty() && self.lost.is_empty()
    }
}

/// Reads a file of this server start from the position to `limit`, or to its end if nobody writes it any more. Up to
/// there every frame was whole once, so anything else is damage.
pub(super) fn read_lane(
    path: &Path,
    position: &mut Position,
    limit: Option<u64>,
    harvest: &mut Harvest,
) -> io::Result<()> {
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
pub(super) fn take_frames(bytes: &[u8], position: &mut Position, path: &Path, harvest: &mut Harvest) -> Option<Tail> {
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

pub(super) fn read_header(file: &File) -> io::Result<Result<Header, HeaderError>> {
    let bytes = read_range(file, 0, HEADER_LEN as u64)?;
    Ok(Header::decode(&bytes))
}

/// The bytes from `start` to `end`, fewer if the file is shorter.
pub(super) fn read_range(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
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

pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    absent_as_none(File::open(path))
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    absent_as_none(fs::remove_file(path)).map(drop)
}

pub(super) fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = absent_as_none(fs::read_dir(directory))? else { return Ok(Vec::new()) };
    entries.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// Slot and generation of a lane file's name.
pub(super) fn place(path: &Path) -> Option<(u32, u32)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".lane")?;
    let (slot, generation) = name.split_once('-')?;
    Some((slot.parse().ok()?, generation.parse().ok()?))
}

/// The server start whose directory a file lies in.
pub(super) fn boot_of(path: &Path) -> Option<Id> {
    let name = path.parent()?.file_name()?.to_str()?;
    u128::from_str_radix(name, 16).ok().map(u128::to_be_bytes)
}

/// A path as records show it.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
