//! `pg_steward/verified` in the data directory: the checkpoint line of the last head that a good verification reached
//! without a gap from the oldest record on. It tells `verify_new` where to go on. It lies with the database, so it is
//! compared with the chain but proves nothing: only a checkpoint kept elsewhere is an anchor.

use super::disk::Table;
use super::{Task, stored_hash};
use crate::core::chain::Head;
use crate::error::{Fault, Outcome};
use crate::state_file;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::io::ErrorKind;
use std::path::Path;

const FILE: &str = "verified";

/// The head that was verified last; none before the first verification.
pub(super) fn head() -> Outcome<Option<Head>> {
    match std::fs::read_to_string(path()) {
        Ok(text) => {
            text.strip_suffix('\n').and_then(Head::parse).filter(|head| head.id > 0).map(Some).ok_or_else(|| {
                Fault::corrupted("file pg_steward/verified does not hold the head that was verified last").hint(
                "Somebody changed it. Verify with steward.verify_chain(anchor => …) and a checkpoint kept elsewhere.",
            )
            })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::io(format!("file pg_steward/verified cannot be read: {error}"))),
    }
}

/// Id and time of the last good verification, for `audit_status`.
pub(crate) fn kept() -> Option<(i64, Option<TimestampWithTimeZone>)> {
    let line = std::fs::read_to_string(path()).ok()?;
    let line = line.strip_suffix('\n')?;
    let head = Head::parse(line)?;
    Some((head.id, line.rsplit(' ').next().and_then(|time| time.parse().ok())))
}

/// Keeps `reached`, the end of a good verification (`to_end`: there is nothing after it). A record that was verified
/// before and is not in the chain any more is not forgotten over that, unless an anchor from outside vouches for the
/// chain as far as that, or the chain is another one. Whether the chain holds what was verified before.
pub(super) fn replace(
    client: &mut SpiClient<'_>,
    task: &Task,
    reached: &Head,
    to_end: bool,
    anchor: Option<Head>,
) -> Outcome<bool> {
    // What this transaction itself has changed in the chain is not there if it rolls back.
    if task.tables.iter().any(Table::may_be_changed_here) {
        return Ok(false);
    }
    // An unreadable file is replaced: `verify_new` refuses it until then.
    let before = head().ok().flatten().filter(|before| before.ledger == reached.ledger);
    if let Some(before) = before.filter(|before| anchor.is_none_or(|anchor| anchor.id < before.id)) {
        let gone = before.id > reached.id && to_end
            || (task.oldest..=reached.id).contains(&before.id) && stored_hash(client, before.id)? != Some(before.hash);
        if gone {
            warning!("pg_steward: the chain does not hold the record {} that was verified last", before.id);
        }
        if gone || before.id > reached.id {
            return Ok(!gone);
        }
    }
    write(reached);
    Ok(true)
}

/// A server that cannot write (its disk is full, say) has verified all the same.
fn write(head: &Head) {
    // Safe: reads the clock.
    let line = head.checkpoint(unsafe { pg_sys::GetCurrentTimestamp() });
    if let Err(error) = state_file::replace(FILE, format!("{line}\n").as_bytes()) {
        log!("pg_steward: the last verified head could not be kept: {error}");
    }
}

fn path() -> std::path::PathBuf {
    Path::new("pg_steward").join(FILE)
}
