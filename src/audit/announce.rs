//! What the sequencer itself has to say at a start, and when the chain is not what it was left as.

use super::sequencer::server_record;
use super::spool::Spool;
use super::{epoch, incarnation, ledger, offset, start};
use crate::core::chain::Head;
use crate::core::record::{Outcome as Result, Record};
use crate::error::Outcome;
use crate::operation::disarm;
use crate::own;
use crate::settings::{self, Mode};
use crate::shared::Shared;
use pgrx::Uuid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::fs;

/// The first records after a start. `continues`: a record before them names the ancestor of the chain, which begins now.
pub(super) fn announcements(
    client: &mut SpiClient<'_>,
    shared: &Shared,
    spool: &Spool,
    head: &Head,
    continues: bool,
) -> Outcome<Vec<Record>> {
    let boot = Uuid::from_bytes(shared.boot_id);
    let arrived = "UPDATE steward.ledger AS own SET boot = $1 FROM steward.ledger AS before
        WHERE own.ledger = $2 AND before.ledger = $2 AND own.boot IS DISTINCT FROM $1 RETURNING before.boot";
    let arrived = own::query(client, arrived, &[boot.into(), Uuid::from_bytes(head.ledger).into()])?.first();
    let first_of_server = !arrived.is_empty();
    if first_of_server && let Some(before) = arrived.get_one::<Uuid>()? {
        epoch::leave(client, &head.ledger, before.as_bytes(), head.id)?;
    }
    let what = if first_of_server { "SERVER START" } else { "SEQUENCER START" };
    let started = own::query(client, "SELECT pg_postmaster_start_time()::text", &[])?.first().get_one::<String>()?;
    let mut details = json!({
        "boot": ledger::uuid_text(&shared.boot_id), "started_at": started, "mode": mode_name(settings::configured_mode()),
        "spools_of_earlier_starts": spool.earlier_starts,
    });
    if first_of_server {
        details["last_stop"] = shared.start.last_stop().into();
        details["recovery"] = shared.start.recovery().into();
        offset::trim(client, shared.boot_id)?;
        disarm::recover(client)?;
    }
    let mut records = vec![server_record(what, Result::Success, details)];
    let moved = incarnation::incarnation(client, &shared.start, head)?;
    let kept = fs::read_to_string(incarnation::HEAD_FILE).ok();
    if let Some(reason) = ledger::contradicts(client, kept.as_deref(), head)? {
        warning!("pg_steward: {reason}; the chain ends at {}", head.id);
        let reason =
            if moved.is_some() || continues { format!("{reason}; see INCARNATION") } else { reason.to_owned() };
        records.push(mismatch(&reason, kept.as_deref(), head));
    }
    records.extend(moved);
    if first_of_server {
        records.extend(start::crash_boundaries(head.id));
    }
    records.extend(incarnation::ancestor(client, head, false)?);
    Ok(records)
}

pub(super) fn mismatch(reason: &str, kept: Option<&str>, head: &Head) -> Record {
    let details = json!({ "reason": reason, "kept": kept.map(str::trim_end), "found_id": head.id });
    server_record("HEAD MISMATCH", Result::Failure, details)
}

pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Observe => "observe",
        Mode::Warn => "warn",
        Mode::Enforce => "enforce",
    }
}
