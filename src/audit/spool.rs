//! The spool as the sequencer reads it: which bytes of which lane file are new, what is torn, damaged, missing or from
//! another cluster. Whatever is not whole is said in a note, which is chained like a record; nothing is passed over.
//!
//! This server's lanes are known from shared memory, so an idle lane costs no system call. Directories of earlier
//! starts (a crash leaves one, and so does a clean stop) are read to their end at the start and then removed.
//!
//! Of a copy that a base backup, pg_rewind or a restore brought along, only what is not chained yet is taken. So the spool
//! of a dead server may also be put by hand into the directory of the one that took over: the sequencer's next start takes
//! from it exactly what is missing.

use super::earlier::{self, Known, Origin};
use super::lane;
use super::lane_file::{Harvest, Position, list, passing, place, read_lane, remove, shown};
use crate::shared::Shared;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

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
            earlier::harvest(&self.origin, path, &mut earlier, &mut harvest)?;
        }
        let slots = shared.lane_count;
        for slot in (0..slots).map(|step| (self.first_slot + step) % slots) {
            self.harvest_lane(shared, slot, max_bytes, &mut harvest)?;
        }
        for (place, record) in shared.ring.full() {
            harvest.records.push(record);
            harvest.ring.push(place);
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

    /// The round is committed: moves on and removes what is finished. The first error, after everything was tried.
    pub fn commit(&mut self, shared: &Shared, harvest: Harvest) -> io::Result<()> {
        self.first_slot = (self.first_slot + 1) % shared.lane_count;
        shared.ring.free(&harvest.ring);
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

pub(super) fn set_aside(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == SET_ASIDE)
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
