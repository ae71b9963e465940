//! A hot standby cannot write the chain. What is read there is kept in its own spool and enters the chain at its
//! promotion. Until then the spool only grows, so it has a limit (`steward.standby_spool_limit`); what happens at the limit
//! is `steward.standby_spool_policy`. It can be drained without a promotion: restart the standby, move the directories of
//! its earlier starts into the primary's `pg_steward/spool`, and end the primary's sequencer, which comes back and takes them.
//!
//! The worker that is the sequencer elsewhere looks once a second: at the size of the spool, so that no statement has to,
//! and at the activation, which reaches a standby as a row only.

use super::lane::{self, Durability};
use super::lane_file::{self, list, open, read_header};
use super::sequencer::transaction;
use super::{journal, note, round};
use crate::error::Fault;
use crate::settings::{self, StandbySpool};
use crate::shared::{self, Shared};
use crate::{own, state_file};
use pgrx::pg_sys;
use pgrx::warning;
use serde_json::json;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Milliseconds between two looks: so much later may a limit act.
pub(super) const LOOK_INTERVAL: i64 = 1_000;

/// What a read may do, in shared memory.
const ROOM: u32 = 0;
const REFUSED: u32 = 1;
const COUNTED: u32 = 2;

/// One look of the worker. False once this server is no standby (any more).
pub(super) fn watch(shared: &Shared) -> bool {
    // Safe: reads shared control data.
    if !unsafe { pg_sys::RecoveryInProgress() } {
        shared.standby_spool.store(ROOM, SeqCst);
        return false;
    }
    follow_activation(shared);
    match bytes_kept(&shared.boot_id) {
        Ok(bytes) => set_room(shared, bytes),
        Err(error) => warning!("pg_steward: the size of the spool is not known: {error}"),
    }
    write_losses(shared);
    true
}

/// For a read of protected tables: raises 53100 on a standby whose spool is full.
pub fn admit_read() {
    if shared::get().is_some_and(|shared| shared.standby_spool.load(Relaxed) == REFUSED) {
        Fault::no_space("protected tables cannot be read on this standby: its spool is full")
            .detail(format!(
                "What is read here is kept until the promotion; steward.standby_spool_limit is {} MB.",
                settings::standby_spool_limit_mb().unwrap_or_default()
            ))
            .hint("Read on the primary, promote this standby, drain its spool, or raise steward.standby_spool_limit.")
            .raise()
    }
}

/// Whether records of reads are only counted.
pub fn counts_only() -> bool {
    shared::get().is_some_and(|shared| shared.standby_spool.load(Relaxed) == COUNTED)
}

fn set_room(shared: &Shared, bytes: u64) {
    let full = settings::standby_spool_limit_mb().is_some_and(|limit| bytes >= limit << 20);
    let room = match settings::standby_spool_policy() {
        _ if !full => ROOM,
        StandbySpool::Refuse => REFUSED,
        StandbySpool::Count => COUNTED,
    };
    if shared.standby_spool.swap(room, SeqCst) != room && room != ROOM {
        warning!("pg_steward: the spool of this standby is full ({bytes} bytes)");
    }
}

/// Bytes of lanes that were written on a standby: by this start or an earlier one, not by the primary before the copy.
fn bytes_kept(boot: &[u8; 16]) -> io::Result<u64> {
    let own = lane::directory(boot);
    let mut bytes = 0;
    for directory in list(Path::new(lane::SPOOL))? {
        for path in list(&directory).unwrap_or_default() {
            if directory == own || written_on_standby(&path) {
                bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            }
        }
    }
    Ok(bytes)
}

fn written_on_standby(path: &Path) -> bool {
    let header = open(path).ok().flatten().and_then(|file| read_header(&file).ok());
    matches!(header, Some(Ok(header)) if header.timeline == 0)
}

/// Counts of lost records live in shared memory, which a standby may lose long before its promotion: they become a
/// record in the worker's own lane.
fn write_losses(shared: &Shared) {
    let slots = || (0..shared.lane_count).filter_map(|slot| Some((slot, shared.lane(slot)?)));
    for (slot, lane) in slots() {
        let lost = lane.lost.load(SeqCst);
        let record = || lane_file::lost(lost, json!({ "slot": slot, "on": "standby" }));
        // What cannot be written now is still counted, and so is this attempt: never too few.
        if lost > 0 && note::append(&record(), Durability::Flushed).is_ok() {
            lane.lost.fetch_sub(lost, SeqCst);
        }
    }
}

/// The row is the truth. A standby learns of it here; its state file and the other databases follow.
fn follow_activation(shared: &Shared) {
    let active = transaction(|| {
        if !journal::exists() {
            return Ok(false);
        }
        own::run(|client| Ok(!own::query(client, "SELECT FROM steward.activation LIMIT 1", &[])?.is_empty()))
    });
    let file = if active { state_file::State::Active } else { state_file::State::Inactive };
    if shared.doubtful.load(SeqCst) || shared.active.load(SeqCst) != active || state_file::read() != file {
        round::settle_activation(shared, active, "steward.activation says so");
    }
}
