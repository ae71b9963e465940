//! The spool as the sequencer reads it: which bytes of which lane file are new, what is torn, damaged, missing or from
//! another cluster. Whatever is not whole is said in a note, which is chained like a record; nothing is passed over.
//!
//! This server's lanes are known from shared memory, so an idle lane costs no system call. Directories of earlier
//! starts (a crash leaves one, and so does a clean stop) are read to their end at the start and then removed.

use super::lane;
use super::lane_file::{
    Harvest, Id, Position, absent_as_none, boot_of, list, open, place, read_header, read_lane, read_range, remove,
    shown, take_frames,
};
use crate::core::frame::{HEADER_LEN, Header, HeaderError, Tail};
use crate::shared::Shared;
use pgrx::pg_sys;
use serde_json::json;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

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
            if let Entry::Vacant(unknown) = known.entry(header.file_id) {
                let from = header.system_identifier.to_string();
                harvest.note("FOREIGN SPOOL", json!({ "file": shown(path), "system_identifier": from, "bytes": size }));
                harvest.positions.push(position);
                unknown.insert(position);
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

/// The counter a file of an earlier start must begin with: where the generation before it ended.
fn expected_counter(known: &HashMap<Id, Position>, boot: Id, header: &Header) -> u64 {
    let before = known.values().filter(|position| {
        position.boot == boot && position.slot == header.slot && position.generation < header.generation
    });
    before.max_by_key(|position| position.generation).map_or(0, |position| position.next_counter)
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
