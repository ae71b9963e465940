//! The spool as the sequencer reads it: which bytes of which lane file are new, what is torn, damaged, missing or from
//! another cluster. Whatever is not whole is said in a note, which is chained like a record; nothing is passed over.
//!
//! This server's lanes are known from shared memory, so an idle lane costs no system call. Directories of earlier
//! starts (a crash leaves one, and so does a clean stop) are read to their end at the start and then removed.
//!
//! A file is known by what its header says (server start, slot, generation), not by where it lies. The table remembers how
//! far each lane was chained, also when its files are gone: of a copy that a base backup, pg_rewind or a restore brought
//! along, only what is not chained yet is taken. So the spool of a dead server may also be put by hand into the directory
//! of the one that took over: the next start takes from it exactly what is missing.

use super::lane;
use super::lane_file::{
    Cut, Harvest, Id, Position, absent_as_none, boot_of, list, open, passing, place, read_header, read_lane,
    read_range, remove, shown, take_frames,
};
use crate::core::frame::{HEADER_LEN, Header, HeaderError, Tail};
use crate::shared::Shared;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

/// Positions by server start and slot.
type Known = HashMap<(Id, u32), Position>;

/// Whose records this chain takes.
pub(super) struct Origin {
    /// The running server start.
    pub boot: Id,
    /// System identifiers that the ledger lived under; lanes of others are foreign.
    pub clusters: Vec<u64>,
    /// When the extension was created here: older records belong to an earlier ledger.
    pub since: i64,
}

/// The sequencer's view of the spool.
pub(super) struct Spool {
    origin: Origin,
    /// Of this server start: the position in each slot's newest known file.
    lanes: HashMap<u32, Position>,
    /// Of earlier starts and other clusters.
    earlier: Known,
    /// Files of earlier starts that are still to be read, oldest generation of a slot first.
    waiting: Vec<PathBuf>,
    /// Files of this start that cannot be read, slot and generation: that is said once.
    blind: HashSet<(u32, u32)>,
    /// The slot the next round begins with, so that busy lanes cannot starve others.
    first_slot: u32,
    /// Directories of earlier starts found when the sequencer started.
    pub earlier_starts: usize,
}

impl Spool {
    /// `known`: the rows of `spool_offset`.
    pub fn open(origin: Origin, known: Vec<Position>) -> io::Result<Spool> {
        let (own, earlier): (Vec<_>, Vec<_>) = known.into_iter().partition(|position| position.boot == origin.boot);
        let mut spool = Spool {
            origin,
            lanes: own.into_iter().map(|position| (position.slot, position)).collect(),
            earlier: earlier.into_iter().map(|position| (position.lane(), position)).collect(),
            waiting: Vec::new(),
            blind: HashSet::new(),
            first_slot: 1,
            earlier_starts: 0,
        };
        spool.remove_leftovers()?;
        spool.find_earlier_files()?;
        Ok(spool)
    }

    /// Files of this start that were chained to their end, but not removed when the sequencer last ended.
    fn remove_leftovers(&self) -> io::Result<()> {
        for file in list(&lane::directory(&self.origin.boot))? {
            let Some((slot, generation)) = place(&file) else { continue };
            if self.lanes.get(&slot).is_some_and(|position| generation < position.generation) {
                remove(&file)?;
            }
        }
        Ok(())
    }

    fn find_earlier_files(&mut self) -> io::Result<()> {
        let own = lane::directory(&self.origin.boot);
        for directory in list(Path::new(lane::SPOOL))? {
            if directory == own || !directory.is_dir() || set_aside(&directory) {
                continue;
            }
            self.earlier_starts += 1;
            let mut files: Vec<_> = match list(&directory) {
                Ok(files) => files.into_iter().filter_map(|file| Some((place(&file)?, file))).collect(),
                Err(error) if passing(&error) => return Err(error),
                // Reading it as a file will fail too, and that is noted.
                Err(_) => vec![((0, 0), directory)],
            };
            // Taken from the end, so the last here is the first to be read.
            files.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
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
        let mut earlier = if self.waiting.is_empty() { Known::new() } else { self.earlier.clone() };
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
        harvest.sum_up();
        Ok(harvest)
    }

    /// One lane of this server start, file by file up to the one that is being written.
    fn harvest_lane(&self, shared: &Shared, slot: u32, max_bytes: usize, harvest: &mut Harvest) -> io::Result<()> {
        let Some(lane) = shared.lane(slot) else { return Ok(()) };
        let lost = lane.lost.load(SeqCst);
        if lost > 0 {
            harvest.lost.push((slot, lost));
        }
        let mut position =
            self.lanes.get(&slot).copied().unwrap_or_else(|| Position::start(self.origin.boot, slot, 0, 0));
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
            let path = lane::directory(&self.origin.boot).join(lane::file_name(slot, position.generation));
            let before = position;
            self.read_own(&path, &mut position, limit, harvest)?;
            if position != before {
                harvest.positions.push(position);
                if let Some((path, generation)) = left.take() {
                    self.leave(path, (slot, generation), harvest);
                }
            }
            if limit.is_some() {
                return Ok(());
            }
            left = Some((path, position.generation));
            position = Position::start(self.origin.boot, slot, position.generation + 1, position.next_counter);
        }
    }

    /// Reads on in a file of this start. What cannot be read is noted once and passed.
    fn read_own(
        &self,
        path: &Path,
        position: &mut Position,
        limit: Option<u64>,
        harvest: &mut Harvest,
    ) -> io::Result<()> {
        let before = *position;
        match read_lane(path, position, limit, self.origin.since, harvest) {
            Err(error) if !passing(&error) => {
                *position = before;
                let (file, offset) = ((position.slot, position.generation), position.byte_offset);
                if !self.blind.contains(&file) && !harvest.blind.contains(&file) {
                    let reason = error.to_string();
                    harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": reason, "offset": offset }));
                    harvest.blind.push(file);
                }
                position.byte_offset = limit.unwrap_or(offset + 1);
                Ok(())
            }
            result => result,
        }
    }

    /// A file of this start that gets no more: removed, or kept for people if it could not be read.
    fn leave(&self, path: PathBuf, file: (u32, u32), harvest: &mut Harvest) {
        if self.blind.contains(&file) || harvest.blind.contains(&file) {
            harvest.unreadable.push(path);
        } else {
            harvest.finished.push(path);
        }
    }

    /// One file of an earlier start, to its end. One that can never be read is noted and set aside.
    fn harvest_earlier(&self, path: &Path, known: &mut Known, harvest: &mut Harvest) -> io::Result<()> {
        match self.read_earlier(path, known, harvest) {
            Err(error) if !passing(&error) => {
                harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": error.to_string() }));
                harvest.unreadable.push(path.to_owned());
                Ok(())
            }
            result => result,
        }
    }

    fn read_earlier(&self, path: &Path, known: &mut Known, harvest: &mut Harvest) -> io::Result<()> {
        let Some(file) = open(path)? else { return Ok(()) };
        let size = file.metadata()?.len();
        let header = match read_header(&file)? {
            Ok(header) => header,
            Err(HeaderError::Incomplete) => {
                if size > 0 {
                    harvest.note("TORN SPOOL", json!({ "file": shown(path), "offset": 0, "bytes": size }));
                }
                harvest.finished.push(path.to_owned());
                return Ok(());
            }
            Err(error) => {
                harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": error.to_string(), "bytes": size }));
                harvest.unreadable.push(path.to_owned());
                return Ok(());
            }
        };
        if !self.origin.clusters.contains(&header.system_identifier) {
            foreign(path, &header, known, harvest);
            return Ok(());
        }
        match resume(known.get(&(header.boot(), header.slot)), &header, size) {
            Some(position) if header.boot() != self.origin.boot => {
                let position = self.take_rest(&file, path, &header, position, size, harvest)?;
                known.insert(position.lane(), position);
            }
            _ => harvest.copied = (harvest.copied.0 + 1, harvest.copied.1 + size),
        }
        harvest.finished.push(path.to_owned());
        Ok(())
    }

    /// Everything behind the position. A torn end stays behind it too: the file may be a copy, and the original longer.
    fn take_rest(
        &self,
        file: &File,
        path: &Path,
        header: &Header,
        mut position: Position,
        size: u64,
        harvest: &mut Harvest,
    ) -> io::Result<Position> {
        if position.byte_offset < size {
            let bytes = read_range(file, position.byte_offset, size)?;
            if let Some(tail) = take_frames(&bytes, &mut position, path, Cut::of(header, self.origin.since), harvest) {
                let (Tail::Incomplete { offset } | Tail::Corrupt { offset }) = tail;
                harvest.note("TORN SPOOL", json!({ "file": shown(path), "offset": offset, "bytes": size - offset }));
            }
            harvest.positions.push(position);
        }
        Ok(position)
    }

    /// The round is committed: moves on and removes what is finished. The first error, after everything was tried.
    pub fn commit(&mut self, shared: &Shared, harvest: Harvest) -> io::Result<()> {
        self.first_slot = (self.first_slot + 1) % shared.lane_count;
        for (slot, lost) in harvest.lost {
            if let Some(lane) = shared.lane(slot) {
                lane.lost.fetch_sub(lost, SeqCst);
            }
        }
        for position in harvest.positions {
            if position.boot == self.origin.boot {
                self.lanes.insert(position.slot, position);
            } else {
                self.earlier.insert(position.lane(), position);
            }
        }
        self.blind.extend(harvest.blind);
        let mut done = Ok(());
        for path in &harvest.unreadable {
            done = done.and(fs::rename(path, path.with_extension(SET_ASIDE)));
        }
        for path in &harvest.finished {
            done = done.and(remove(path));
        }
        if !self.waiting.is_empty() && !harvest.more {
            self.waiting.clear();
            done = done.and(self.leave_earlier_starts());
        }
        done
    }

    /// All earlier files are read. A directory that still holds something (a foreign or unreadable file) stays.
    fn leave_earlier_starts(&mut self) -> io::Result<()> {
        self.earlier = Known::new();
        let own = lane::directory(&self.origin.boot);
        for directory in list(Path::new(lane::SPOOL))?.into_iter().filter(|directory| *directory != own) {
            let _stays_if_not_empty = fs::remove_dir(&directory);
        }
        Ok(())
    }
}

/// How unreadable files and directories are renamed.
const SET_ASIDE: &str = "unreadable";

fn set_aside(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == SET_ASIDE)
}

/// Where to go on in a file, given how far its lane is chained; None if nothing in it is new.
fn resume(known: Option<&Position>, header: &Header, size: u64) -> Option<Position> {
    let start = Position {
        byte_offset: HEADER_LEN as u64,
        ..Position::start(header.boot(), header.slot, header.generation, known.map_or(0, |known| known.next_counter))
    };
    match known {
        Some(known) if header.generation < known.generation => None,
        Some(known) if header.generation == known.generation => (known.byte_offset <= size).then_some(*known),
        _ => Some(start),
    }
}

/// Another cluster's file is left where it is, and noted once for each of that cluster's starts.
fn foreign(path: &Path, header: &Header, known: &mut Known, harvest: &mut Harvest) {
    if !known.keys().any(|(boot, _)| *boot == header.boot()) {
        let from = header.system_identifier.to_string();
        harvest.note("FOREIGN SPOOL", json!({ "file": shown(path), "system_identifier": from }));
    }
    let position = Position { byte_offset: HEADER_LEN as u64, ..Position::start(header.boot(), header.slot, 0, 0) };
    if known.insert(position.lane(), position).is_none() {
        harvest.positions.push(position);
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

/// The server starts that have a directory in the spool.
pub(super) fn boots() -> io::Result<Vec<Id>> {
    Ok(list(Path::new(lane::SPOOL))?.iter().filter_map(|directory| boot_of(&directory.join("0-0.lane"))).collect())
}

/// Files of the spool, their bytes, and those of them that are not chained; foreign and unreadable files included.
/// `known`: the rows of `spool_offset` of the starts that `boots` tells.
pub(super) fn size(known: &[Position]) -> io::Result<(i32, i64, i64)> {
    let known: Known = known.iter().map(|position| (position.lane(), *position)).collect();
    let (mut files, mut bytes, mut pending) = (0, 0, 0);
    for directory in list(Path::new(lane::SPOOL))?.into_iter().filter(|directory| !set_aside(directory)) {
        for file in list(&directory)? {
            if let Some(metadata) = absent_as_none(fs::metadata(&file))? {
                files += 1;
                bytes += metadata.len() as i64;
                pending += metadata.len().saturating_sub(chained(&file, &known)) as i64;
            }
        }
    }
    Ok((files, bytes, pending))
}

/// How many bytes of a file are chained, by its name.
fn chained(file: &Path, known: &Known) -> u64 {
    let position = boot_of(file)
        .zip(place(file))
        .and_then(|(boot, (slot, generation))| known.get(&(boot, slot)).map(|position| (generation, position)));
    match position {
        Some((generation, position)) if generation < position.generation => u64::MAX,
        Some((generation, position)) if generation == position.generation => position.byte_offset,
        _ => 0,
    }
}
