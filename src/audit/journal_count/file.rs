//! The files that counts outlive a crash in: `pg_steward/journal/NAME` for each server start. A head, and an entry for each
//! backend's slot, in the machine's byte order: they are read by the machine that wrote them.
//!
//! Read and written, never mapped: whoever truncates one stops nobody. Checksums tell an accident or a careless hand, not
//! somebody who writes them too.

use super::Begun;
use crate::backend::backend_local;
use crate::shared::Shared;
use crate::state_file;
use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

const MAGIC: [u8; 8] = *b"PGSTCNT1";
/// Octets of the head, and of an entry. No sector has part of one.
const ENTRY: usize = 32;
/// The sequencer's, which no backend has.
pub const SEQUENCER: u32 = 0;

/// What a slot has counted, of the database that its rows are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub database: u32,
    /// Rows that no crash takes back.
    pub certain: u64,
    /// With those of asynchronous commits.
    pub rows: u64,
    /// Where the last of those ends in the WAL; in the sequencer's entry how far the WAL is on disk.
    pub position: u64,
}

impl Entry {
    /// `key` says where it belongs.
    pub fn encode(&self, key: u64) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..4].copy_from_slice(&self.database.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.certain.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.rows.to_ne_bytes());
        bytes[24..].copy_from_slice(&self.position.to_ne_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&key.to_ne_bytes()), &bytes);
        bytes[4..8].copy_from_slice(&checksum.to_ne_bytes());
        bytes
    }

    /// One that nobody has written yet counts nothing. None: it is not as it was written.
    pub fn decode(bytes: &[u8], key: u64) -> Option<Entry> {
        let bytes: [u8; ENTRY] = bytes.try_into().ok()?;
        let (half, whole) =
            (|at: usize| bytes[at..at + 4].try_into().ok(), |at: usize| bytes[at..at + 8].try_into().ok());
        let entry = Entry {
            database: u32::from_ne_bytes(half(0)?),
            certain: u64::from_ne_bytes(whole(8)?),
            rows: u64::from_ne_bytes(whole(16)?),
            position: u64::from_ne_bytes(whole(24)?),
        };
        (bytes == [0; ENTRY] || entry.encode(key) == bytes).then_some(entry)
    }
}

/// What is said of a file that is not as it was written.
pub type Flaw = &'static str;

const ABSENT: Flaw = "absent";
const TRUNCATED: Flaw = "truncated";
const ALTERED: Flaw = "altered";
const UNREADABLE: Flaw = "unreadable";

pub fn flaw(error: &io::Error) -> Flaw {
    if error.kind() == io::ErrorKind::NotFound { ABSENT } else { UNREADABLE }
}

/// Where the files are, created when missing.
pub fn directory() -> io::Result<PathBuf> {
    let directory = state_file::directory()?.join("journal");
    DirBuilder::new().mode(0o700).recursive(true).create(&directory)?;
    Ok(directory)
}

/// The file of a start.
pub fn path(name: u32) -> PathBuf {
    PathBuf::from("pg_steward/journal").join(format!("{name:08x}"))
}

fn key(name: u32, slot: u32) -> u64 {
    u64::from(name) << 32 | u64::from(slot)
}

fn head(begun: &Begun, slots: u32) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&begun.name.to_ne_bytes());
    bytes[12..16].copy_from_slice(&slots.to_ne_bytes());
    bytes[16..24].copy_from_slice(&begun.began.to_ne_bytes());
    let checksum = crc32c::crc32c(&bytes[..24]);
    bytes[24..28].copy_from_slice(&checksum.to_ne_bytes());
    bytes
}

/// Writes a start's file anew, durably, in the place of what is there.
pub fn replace(begun: &Begun, entries: &[Entry]) -> io::Result<()> {
    let directory = directory()?;
    let mut content = head(begun, entries.len() as u32).to_vec();
    for (slot, entry) in (0..).zip(entries).filter(|(_, entry)| **entry != Entry::default()) {
        content.resize(ENTRY * (1 + slot as usize), 0);
        content.extend(entry.encode(key(begun.name, slot)));
    }
    content.resize(ENTRY * (1 + entries.len()), 0);
    let aside = directory.join("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(&aside, path(begun.name))?;
    File::open(&directory)?.sync_all()
}

backend_local! {
    /// This process's own, and which one of those that took each other's place.
    static OPEN: RefCell<Option<(u32, File)>> = const { RefCell::new(None) };
}

/// Writes the entry of a slot, whose only writer the caller is. Must not raise.
pub fn write(begun: &Begun, generation: u32, slot: u32, entry: &Entry) -> io::Result<()> {
    OPEN.with_borrow_mut(|open| {
        if open.as_ref().is_none_or(|(known, _)| *known != generation) {
            *open = None;
            *open = Some((generation, open_file(path(begun.name), true)?));
        }
        let Some((_, file)) = open else { return Err(io::Error::other("the file of counts is not open")) };
        file.write_all_at(&entry.encode(key(begun.name, slot)), (ENTRY * (1 + slot as usize)) as u64)
    })
}

/// Never waits for what somebody put in the file's place.
fn open_file(path: PathBuf, writes: bool) -> io::Result<File> {
    OpenOptions::new().read(!writes).write(writes).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)
}

/// At most so many octets of a file.
pub fn read(path: PathBuf, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path, false)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file says.
pub struct Content {
    pub began: i64,
    pub entries: Vec<Entry>,
    pub flaw: Option<Flaw>,
}

/// A start's file, as far as it is one: what is missing counts less, never more.
pub fn content(name: u32) -> Content {
    /// No server has more backends.
    const MOST: usize = ENTRY << 19;
    let flawed = |flaw| Content { began: i64::MIN, entries: Vec::new(), flaw: Some(flaw) };
    let bytes = match read(path(name), MOST) {
        Ok(bytes) => bytes,
        Err(error) => return flawed(flaw(&error)),
    };
    let Some((first, rest)) = bytes.split_first_chunk::<ENTRY>() else { return flawed(TRUNCATED) };
    let number = |at: usize| first[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
    let began = first[16..24].try_into().map_or(0, i64::from_ne_bytes);
    let slots = number(12);
    if head(&Begun { name, began }, slots) != *first {
        return flawed(ALTERED);
    }
    let mut flaw = match rest.len().cmp(&(slots as usize * ENTRY)) {
        std::cmp::Ordering::Less => Some(TRUNCATED),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(ALTERED),
    };
    let mut entries = Vec::new();
    for (slot, bytes) in (0..slots).zip(rest.chunks(ENTRY)) {
        let entry = Entry::decode(bytes, key(name, slot));
        flaw = flaw.or(if entry.is_none() { Some(ALTERED) } else { None });
        entries.push(entry.unwrap_or_default());
    }
    Content { began, entries, flaw }
}

/// What is wrong with the file of this start. A backend writes there before it counts in shared memory, so the file never
/// says less than what was counted before it was read.
pub fn check(shared: &Shared) -> Option<Flaw> {
    let before = super::entries(shared);
    let Content { began, entries, flaw } = content(shared.journal_count.name);
    let less = |(before, entry): (&Entry, &Entry)| {
        before.rows > 0 && (entry.database != before.database || entry.rows < before.rows)
    };
    let other = began != shared.journal_count.began || entries.len() != before.len();
    flaw.or((other || before.iter().zip(&entries).any(less)).then_some(ALTERED))
}

/// Whether one look may be wrong: an entry that is being written may be read in part.
pub fn may_pass(flaw: Flaw) -> bool {
    flaw == ALTERED
}
