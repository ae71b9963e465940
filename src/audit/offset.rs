//! The rows of `steward.spool_offset`: how far each lane file is chained, in the transaction that chains it.

use super::lane_file::{Id, Position};
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::Uuid;
use pgrx::spi::SpiClient;
use std::collections::HashMap;

/// All rows.
pub(super) fn positions(client: &mut SpiClient<'_>) -> Outcome<Vec<Position>> {
    let sql = "SELECT file_id, boot, slot, generation, byte_offset, next_counter FROM steward.spool_offset";
    let mut positions = Vec::new();
    for row in own::query(client, sql, &[])? {
        let bad = || Fault::corrupted("a row of steward.spool_offset does not read back");
        let number = |column| row.get::<i64>(column)?.and_then(|value| u64::try_from(value).ok()).ok_or_else(bad);
        let small = |column| row.get::<i32>(column)?.and_then(|value| u32::try_from(value).ok()).ok_or_else(bad);
        let id = |column| Ok::<_, Fault>(*row.get::<Uuid>(column)?.ok_or_else(bad)?.as_bytes());
        positions.push(Position {
            file_id: id(1)?,
            boot: id(2)?,
            slot: small(3)?,
            generation: small(4)?,
            byte_offset: number(5)?,
            next_counter: number(6)?,
        });
    }
    Ok(positions)
}

/// Writes how far the round came.
pub(super) fn save(client: &mut SpiClient<'_>, positions: &[Position]) -> Outcome<()> {
    // A copied file may occur twice; its last position counts.
    let latest: HashMap<_, _> = positions.iter().map(|position| (position.file_id, *position)).collect();
    if latest.is_empty() {
        return Ok(());
    }
    let each = || latest.values();
    own::execute(
        client,
        "INSERT INTO steward.spool_offset (file_id, boot, slot, generation, byte_offset, next_counter)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6)
         ON CONFLICT (file_id) DO UPDATE SET byte_offset = excluded.byte_offset, next_counter = excluded.next_counter",
        &[
            each().map(|position| Uuid::from_bytes(position.file_id)).collect::<Vec<_>>().into(),
            each().map(|position| Uuid::from_bytes(position.boot)).collect::<Vec<_>>().into(),
            each().map(|position| position.slot as i32).collect::<Vec<_>>().into(),
            each().map(|position| position.generation as i32).collect::<Vec<_>>().into(),
            each().map(|position| position.byte_offset as i64).collect::<Vec<_>>().into(),
            each().map(|position| position.next_counter as i64).collect::<Vec<_>>().into(),
        ],
    )
    .map(drop)
}

/// Deletes the rows of files that are gone; their number, as asked.
pub(super) fn forget(client: &mut SpiClient<'_>, files: &[Id]) -> Outcome<usize> {
    if !files.is_empty() {
        let ids: Vec<Uuid> = files.iter().copied().map(Uuid::from_bytes).collect();
        own::execute(client, "DELETE FROM steward.spool_offset WHERE file_id = ANY($1)", &[ids.into()])?;
    }
    Ok(files.len())
}
