//! The rows of `steward.spool_offset`: how far each lane is chained, in the transaction that chains it. A row outlives its
//! file and its server start, so that a copy of the file that turns up later is known and resumed where the lane was left.

use super::lane_file::{Id, Position};
use super::positions::{self, Rows};
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::Uuid;
use pgrx::spi::SpiClient;
use std::collections::HashMap;

/// Server starts whose rows are kept. A copy of an older one would pass for new: it must have lain unused that long.
const BOOTS_KEPT: i64 = 1_000;

/// The rows of these server starts, or all.
pub(super) fn positions(client: &mut SpiClient<'_>, boots: Option<Vec<Id>>) -> Outcome<Vec<Position>> {
    let sql = "SELECT boot, slot, generation, byte_offset, next_counter FROM steward.spool_offset
        WHERE $1 IS NULL OR boot = ANY ($1)";
    let boots: Option<Vec<Uuid>> = boots.map(|boots| boots.into_iter().map(Uuid::from_bytes).collect());
    let mut positions = Vec::new();
    for row in own::query(client, sql, &[boots.into()])? {
        let bad = || Fault::corrupted("a row of steward.spool_offset does not read back");
        let number = |column| row.get::<i64>(column)?.and_then(|value| u64::try_from(value).ok()).ok_or_else(bad);
        let small = |column| row.get::<i32>(column)?.and_then(|value| u32::try_from(value).ok()).ok_or_else(bad);
        positions.push(Position {
            boot: *row.get::<Uuid>(1)?.ok_or_else(bad)?.as_bytes(),
            slot: small(2)?,
            generation: small(3)?,
            byte_offset: number(4)?,
            next_counter: number(5)?,
        });
    }
    Ok(positions)
}

/// Writes how far the round came.
pub(super) fn save(client: &mut SpiClient<'_>, positions: &[Position]) -> Outcome<()> {
    // A lane may occur twice, with two of its files; its last position counts.
    let latest: HashMap<_, _> = positions.iter().map(|position| (position.lane(), *position)).collect();
    if latest.is_empty() {
        return Ok(());
    }
    let each = || latest.values();
    let boots = each().map(|position| Uuid::from_bytes(position.boot)).collect::<Vec<_>>();
    let arguments = [
        boots.clone().into(),
        each().map(|position| position.slot as i32).collect::<Vec<_>>().into(),
        each().map(|position| position.generation as i32).collect::<Vec<_>>().into(),
        each().map(|position| position.byte_offset as i64).collect::<Vec<_>>().into(),
        each().map(|position| position.next_counter as i64).collect::<Vec<_>>().into(),
    ];
    let sql = "INSERT INTO steward.spool_offset (boot, slot, generation, byte_offset, next_counter)
         SELECT * FROM unnest($1, $2, $3, $4, $5)
         ON CONFLICT (boot, slot) DO UPDATE SET generation = excluded.generation, byte_offset = excluded.byte_offset,
             next_counter = excluded.next_counter, chained_at = excluded.chained_at";
    positions::change(client, &Rows::Lanes(Some(boots)), |client| own::execute(client, sql, &arguments).map(drop))
}

/// Deletes the rows of the oldest server starts, so that the table stays small. `own` is the running one. In the
/// first round after a start, which makes all digests anew.
pub(super) fn trim(client: &mut SpiClient<'_>, own: Id) -> Outcome<()> {
    let sql = "DELETE FROM steward.spool_offset WHERE boot IN (SELECT boot FROM steward.spool_offset
        WHERE boot <> $1 GROUP BY boot ORDER BY max(chained_at) DESC OFFSET $2)";
    own::execute(client, sql, &[Uuid::from_bytes(own).into(), BOOTS_KEPT.into()]).map(drop)
}
