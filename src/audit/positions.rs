//! What the sequencer goes by and no record repeats: how far journal and spool are chained, which server starts and
//! clusters the chain lived through, when its segments were closed and their files removed. Somebody who changes such a row
//! while the library is not loaded could hide with it what was deleted. So `steward.installation` keeps a digest of these
//! rows, which changes in the transaction that changes them. A verification compares the two; so does the sequencer when it
//! starts, and then says what it found in a record and goes on with what there is.
//!
//! The digest of a table is the XOR of those of its rows: who changes a few of many reads only these. It is beside the rows
//! that it proves, and proves nothing against somebody who computes it anew.

use super::sequencer::server_record;
use crate::core::chain::{self, Hash};
use crate::core::record::{Outcome as Result, Record};
use crate::error::Outcome;
use crate::own;
use pgrx::Uuid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

/// Rows that have a digest, all of a table or those that a change is about.
pub(super) enum Rows {
    Taken,
    /// All lanes, or those of these server starts.
    Lanes(Option<Vec<Uuid>>),
    /// The row of this chain; a restored dump may bring others.
    Ledger(Uuid),
    Segments,
    Installation,
}

/// How many tables have digests.
const TABLES: usize = 5;
type Digests = [Hash; TABLES];

impl Rows {
    fn all(ledger: &chain::Ledger) -> [Rows; TABLES] {
        [Rows::Taken, Rows::Lanes(None), Rows::of(ledger), Rows::Segments, Rows::Installation]
    }

    /// The row of a chain.
    pub fn of(ledger: &chain::Ledger) -> Rows {
        Rows::Ledger(Uuid::from_bytes(*ledger))
    }

    fn place(&self) -> usize {
        match self {
            Rows::Taken => 0,
            Rows::Lanes(_) => 1,
            Rows::Ledger(_) => 2,
            Rows::Segments => 3,
            Rows::Installation => 4,
        }
    }

    fn table(&self) -> &'static str {
        ["journal_taken", "spool_offset", "ledger", "segment", "installation"][self.place()]
    }

    fn digest(&self, client: &mut SpiClient<'_>) -> Outcome<Hash> {
        let mut digest = Hash::default();
        let rows = match self {
            Rows::Taken => own::select(client, "SELECT sha256(record_send(r)) FROM steward.journal_taken r", &[])?,
            Rows::Lanes(boots) => own::select(
                client,
                "SELECT sha256(record_send(r)) FROM steward.spool_offset r WHERE $1 IS NULL OR boot = ANY ($1)",
                &[boots.clone().into()],
            )?,
            Rows::Ledger(id) => own::select(
                client,
                "SELECT sha256(record_send(r)) FROM steward.ledger r WHERE ledger = $1",
                &[(*id).into()],
            )?,
            // What else is in these rows the chain says. When a file was removed counts once the record of it was found.
            Rows::Segments => own::select(
                client,
                "SELECT sha256(record_send(ROW(number, closed_at, closed_xid, purge_id,
                    CASE WHEN purge_id IS NOT NULL THEN purged_at END))) FROM steward.segment",
                &[],
            )?,
            Rows::Installation => {
                own::select(client, "SELECT sha256(timestamptz_send(installed_at)) FROM steward.installation", &[])?
            }
        };
        for row in rows {
            add(&mut digest, row.get::<&[u8]>(1)?.unwrap_or_default());
        }
        Ok(digest)
    }
}

fn add(digest: &mut Hash, row: &[u8]) {
    digest.iter_mut().zip(row).for_each(|(byte, other)| *byte ^= other);
}

/// Changes rows, and their digest with them. In the sequencer.
pub(super) fn change<T>(
    client: &mut SpiClient<'_>,
    rows: &Rows,
    change: impl FnOnce(&mut SpiClient<'_>) -> Outcome<T>,
) -> Outcome<T> {
    let before = rows.digest(client)?;
    let value = change(client)?;
    let after = rows.digest(client)?;
    // There are none before the chain begins.
    if before != after
        && let Some(mut digests) = kept(client)?
    {
        let digest = &mut digests[rows.place()];
        add(digest, &before);
        add(digest, &after);
        keep(client, &digests)?;
    }
    Ok(value)
}

/// The digests of all rows as they are now, at the end of the first round after a start.
pub(crate) fn renew(client: &mut SpiClient<'_>, ledger: &chain::Ledger) -> Outcome<()> {
    let digests = standing(client, ledger)?;
    keep(client, &digests)
}

/// The tables whose rows are not those that the sequencer left.
pub(super) fn altered(client: &mut SpiClient<'_>, ledger: &chain::Ledger) -> Outcome<Vec<&'static str>> {
    let kept = kept(client)?;
    let standing = standing(client, ledger)?;
    let differs = |rows: &Rows| kept.is_none_or(|kept| kept[rows.place()] != standing[rows.place()]);
    Ok(Rows::all(ledger).iter().filter(|rows| differs(rows)).map(Rows::table).collect())
}

/// The record of such tables, if there are any: what was deleted from journal or spool may not be missed.
pub(super) fn compare(client: &mut SpiClient<'_>, ledger: &chain::Ledger) -> Outcome<Option<Record>> {
    let tables = altered(client, ledger)?;
    if tables.is_empty() {
        return Ok(None);
    }
    warning!("pg_steward: not as the sequencer left them: {}", tables.join(", "));
    let tables: Vec<String> = tables.iter().map(|table| format!("steward.{table}")).collect();
    Ok(Some(server_record("POSITIONS ALTERED", Result::Failure, json!({ "tables": tables }))))
}

fn standing(client: &mut SpiClient<'_>, ledger: &chain::Ledger) -> Outcome<Digests> {
    let mut digests = Digests::default();
    for rows in Rows::all(ledger) {
        digests[rows.place()] = rows.digest(client)?;
    }
    Ok(digests)
}

/// None if there are none, or something else lies in their place.
fn kept(client: &mut SpiClient<'_>) -> Outcome<Option<Digests>> {
    let row = own::select(client, "SELECT positions FROM steward.installation", &[])?.first();
    let kept = if row.is_empty() { None } else { row.get_one::<Vec<u8>>()? };
    let digests = kept.as_deref().map(|kept| kept.as_chunks::<{ size_of::<Hash>() }>());
    Ok(digests.and_then(|(digests, rest)| if rest.is_empty() { digests.try_into().ok() } else { None }))
}

fn keep(client: &mut SpiClient<'_>, digests: &Digests) -> Outcome<()> {
    own::execute(client, "UPDATE steward.installation SET positions = $1", &[digests.concat().into()]).map(drop)
}
