//! How much the spool holds, and how much of it is not chained: for `steward.audit_status`.

use super::earlier::Known;
use super::lane;
use super::lane_file::{Id, Position, absent_as_none, boot_of, list, place};
use super::spool::set_aside;
use std::fs;
use std::io;
use std::path::Path;

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
