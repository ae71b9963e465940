//! One lane file as the sequencer reads it: its header, its whole frames, and what is wrong with the rest. A gap in the
//! counters, a repeated frame, damage: each is a note, which is chained like a record.

use super::sequencer::server_record;
use crate::core::frame::{self, Frames, HEADER_LEN, Header, HeaderError, Tail};
use crate::core::record::{Outcome, Record, Split};
use serde_json::json;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(super) type Id = [u8; 16];

/// How far a lane is chained: a row of `steward.spool_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub boot: Id,
    pub slot: u32,
    /// The newest file that was read; all before it are done with.
    pub generation: u32,
    pub byte_offset: u64,
    pub next_counter: u64,
}

impl Position {
    /// Before a file is read.
    pub fn start(boot: Id, slot: u32, generation: u32, next_counter: u64) -> Position {
        Position { boot, slot, generation, byte_offset: 0, next_counter }
    }

    /// The lane it belongs to: server start and slot.
    pub fn lane(&self) -> (Id, u32) {
        (self.boot, self.slot)
    }
}

/// What one round takes from the spool. Files may be removed and the spool may move on once it is committed.
#[derive(Default)]
pub(super) struct Harvest {
    pub records: Vec<Vec<u8>>,
    pub notes: Vec<Record>,
    pub positions: Vec<Position>,
    /// Files that are chained to their end and get no more.
    pub finished: Vec<PathBuf>,
    /// Files that nobody can read; they are kept, renamed.
    pub unreadable: Vec<PathBuf>,
    /// Files of this start that cannot be read: slot and generation.
    pub blind: Vec<(u32, u32)>,
    /// Records lost for want of a place to write them: slot and number.
    pub lost: Vec<(u32, u64)>,
    /// Places of the ring that were taken out.
    pub ring: Vec<usize>,
    /// Files that hold less than what is chained of their lane, and their bytes.
    pub copied: (u64, u64),
    /// Records from before the extension was created here.
    pub former: u64,
    pub more: bool,
    pub bytes: usize,
}

impl Harvest {
    pub fn note(&mut self, what: &str, details: serde_json::Value) {
        self.notes.push(server_record(what, Outcome::Failure, details));
    }

    /// One note for all files of a kind that were set aside.
    pub fn sum_up(&mut self) {
        if self.copied.0 > 0 {
            let why = "what they hold is chained: copies made with the data directory, or left by a crash";
            self.note("COPIED SPOOL", json!({ "files": self.copied.0, "bytes": self.copied.1, "reason": why }));
        }
        if self.former > 0 {
            let why = "written before the extension was created here: they belong to an earlier ledger";
            self.note("FORMER SPOOL", json!({ "records": self.former, "reason": why }));
        }
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
    since: i64,
    harvest: &mut Harvest,
) -> io::Result<()> {
    let Some(file) = open(path)? else {
        harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": "the file is missing" }));
        position.byte_offset = limit.unwrap_or(position.byte_offset);
        return Ok(());
    };
    let limit = limit.map_or_else(|| file.metadata().map(|metadata| metadata.len()), Ok)?;
    let expected = frame::file_id(&position.boot, position.slot, position.generation);
    let reason = match read_header(&file)? {
        Ok(header) if header.file_id == expected => {
            position.byte_offset = position.byte_offset.max(HEADER_LEN as u64);
            let bytes = read_range(&file, position.byte_offset, limit)?;
            take_frames(&bytes, position, path, Cut::of(&header, since), harvest);
            "the file is damaged".to_owned()
        }
        Ok(_) => "the file was replaced".to_owned(),
        Err(error) => error.to_string(),
    };
    if position.byte_offset != limit {
        let offset = position.byte_offset;
        let gone = json!({ "file": shown(path), "reason": reason, "offset": offset, "limit": limit });
        harvest.note("UNREADABLE", gone);
        position.byte_offset = limit;
    }
    Ok(())
}

/// Records older than this are not taken: they are an earlier ledger's. None for a file that cannot hold any.
#[derive(Clone, Copy)]
pub(super) struct Cut(Option<i64>);

impl Cut {
    pub fn of(header: &Header, since: i64) -> Cut {
        Cut((header.created < since).then_some(since))
    }

    fn excludes(self, record: &[u8]) -> bool {
        self.0.is_some_and(|since| time(record).is_some_and(|time| time < since))
    }
}

/// The time of a record that came as `u32 epoch ‖ record`.
fn time(bytes: &[u8]) -> Option<i64> {
    Some(Split::new(bytes.get(4..)?).ok()?.time)
}

/// Takes whole frames and moves the position; a gap in the counters is a note. Returns what stopped it.
pub(super) fn take_frames(
    bytes: &[u8],
    position: &mut Position,
    path: &Path,
    cut: Cut,
    harvest: &mut Harvest,
) -> Option<Tail> {
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
            if cut.excludes(frame.payload) {
                harvest.former += 1;
            } else {
                harvest.records.push(frame.payload.to_vec());
            }
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

/// Whether another attempt may succeed: the machine is short of something. Anything else (a bad sector, a file without
/// permission, a directory in its place) would fail for ever.
pub(super) fn passing(error: &io::Error) -> bool {
    const SHORTAGES: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN];
    error.raw_os_error().is_some_and(|number| SHORTAGES.contains(&number))
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
