//! The files of earlier server starts and of other clusters: left by a stop or a crash, copied with the data directory, or
//! put there by hand. A file is known by what its header says (server start, slot, generation), not by where it lies, and
//! the table remembers how far each lane was chained, also when its files are gone: only what is not chained yet is taken.

use super::lane_file::{Cut, Harvest, Id, Position, open, passing, read_header, read_range, shown, take_frames};
use crate::core::frame::{HEADER_LEN, Header, HeaderError, Tail};
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Positions by server start and slot.
pub(super) type Known = HashMap<(Id, u32), Position>;

/// Whose records this chain takes.
pub(super) struct Origin {
    /// The running server start.
    pub boot: Id,
    /// System identifiers that the ledger lived under; lanes of others are foreign.
    pub clusters: Vec<u64>,
    /// When the extension was created here: older records belong to an earlier ledger.
    pub since: i64,
}

/// One file of an earlier start, to its end. One that can never be read is noted and set aside.
pub(super) fn harvest(origin: &Origin, path: &Path, known: &mut Known, harvest: &mut Harvest) -> io::Result<()> {
    match read(origin, path, known, harvest) {
        Err(error) if !passing(&error) => {
            harvest.note("UNREADABLE", json!({ "file": shown(path), "reason": error.to_string() }));
            harvest.unreadable.push(path.to_owned());
            Ok(())
        }
        result => result,
    }
}

fn read(origin: &Origin, path: &Path, known: &mut Known, harvest: &mut Harvest) -> io::Result<()> {
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
    if !origin.clusters.contains(&header.system_identifier) {
        foreign(path, &header, known, harvest);
        return Ok(());
    }
    match resume(known.get(&(header.boot(), header.slot)), &header, size) {
        Some(position) if header.boot() != origin.boot => {
            let position = take_rest(origin, &file, path, &header, position, size, harvest)?;
            known.insert(position.lane(), position);
        }
        _ => harvest.copied = (harvest.copied.0 + 1, harvest.copied.1 + size),
    }
    harvest.finished.push(path.to_owned());
    Ok(())
}

/// Everything behind the position. A torn end stays behind it too: the file may be a copy, and the original longer.
fn take_rest(
    origin: &Origin,
    file: &File,
    path: &Path,
    header: &Header,
    mut position: Position,
    size: u64,
    harvest: &mut Harvest,
) -> io::Result<Position> {
    if position.byte_offset < size {
        let bytes = read_range(file, position.byte_offset, size)?;
        if let Some(tail) = take_frames(&bytes, &mut position, path, Cut::of(header, origin.since), harvest) {
            let (Tail::Incomplete { offset } | Tail::Corrupt { offset }) = tail;
            harvest.note("TORN SPOOL", json!({ "file": shown(path), "offset": offset, "bytes": size - offset }));
        }
        harvest.positions.push(position);
    }
    Ok(position)
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
