//! A chain that goes on elsewhere: after a promotion, a point-in-time recovery, a restore or pg_upgrade the same ledger has
//! another timeline or another cluster. That is a record; and what the ledger knows of its clusters tells which spool
//! lanes are its own.
//!
//! pg_upgrade carries the tables, not the files. The way: stop the old server in order; pg_upgrade; copy `pg_steward/` from
//! the old data directory into the new one (the activation, the head, and what is not chained yet); start the new server.
//! Without the copy the first start says that the head file is missing, learns of the activation from its row, and the old
//! spool can still be put into the new one later: lanes of the ledger's former clusters are its own.

use super::earlier::Origin;
use super::ledger;
use super::sequencer::server_record;
use super::start::Start;
use crate::core::chain::{Head, Ledger};
use crate::core::record::{Outcome as Result, Record};
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::Uuid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::fs;

/// The cluster and the timeline that this server writes.
fn here() -> (u64, u32) {
    // Safe: getters of control data, outside recovery.
    unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::GetWALInsertionTimeLine()) }
}

/// Clusters and timeline that were recorded last. None where the ledger has no row.
fn recorded(client: &mut SpiClient<'_>, ledger: &Ledger) -> Outcome<Option<(Vec<String>, Option<i64>)>> {
    let sql = "SELECT coalesce(clusters, '{}'), timeline FROM steward.ledger WHERE ledger = $1";
    let row = own::query(client, sql, &[Uuid::from_bytes(*ledger).into()])?.first();
    if row.is_empty() {
        return Ok(None);
    }
    let (clusters, timeline) = row.get_two::<Vec<String>, i64>()?;
    Ok(Some((clusters.unwrap_or_default(), timeline)))
}

/// Whose spool lanes the chain takes.
pub(super) fn origin(client: &mut SpiClient<'_>, boot: [u8; 16], ledger: &Ledger) -> Outcome<Origin> {
    let former = recorded(client, ledger)?.map_or(Vec::new(), |(clusters, _)| clusters);
    let mut clusters: Vec<u64> = former.iter().filter_map(|cluster| cluster.parse().ok()).collect();
    clusters.push(here().0);
    let since = own::query(client, "SELECT installed_at FROM steward.installation", &[])?.first();
    let since = since
        .get_one::<TimestampWithTimeZone>()?
        .ok_or_else(|| Fault::corrupted("the row of steward.installation is missing"))?;
    Ok(Origin { boot, clusters, since: since.into() })
}

/// The record of a move, if cluster or timeline are not those that were recorded last. Keeps the new ones.
pub(super) fn incarnation(client: &mut SpiClient<'_>, start: &Start, head: &Head) -> Outcome<Option<Record>> {
    let Some((mut clusters, timeline)) = recorded(client, &head.ledger)? else { return Ok(None) };
    let (cluster, now) = here();
    let cluster = cluster.to_string();
    let before = clusters.last().cloned();
    if before.as_ref() == Some(&cluster) && timeline == Some(i64::from(now)) {
        return Ok(None);
    }
    clusters.retain(|known| *known != cluster);
    clusters.push(cluster.clone());
    let id = Uuid::from_bytes(head.ledger);
    let sql = "UPDATE steward.ledger SET clusters = $1, timeline = $2 WHERE ledger = $3";
    own::execute(client, sql, &[clusters.into(), i64::from(now).into(), id.into()])?;
    // Its first records say where a chain begins.
    let (Some(before), Some(timeline)) = (before, timeline) else { return Ok(None) };
    let ended = end_of_recovery(now);
    let reason = if before == cluster { reason(start, ended.as_deref()) } else { "pg_upgrade or pg_resetwal" };
    let details = json!({
        "reason": reason, "recovery": start.recovery(), "recovery_ended": ended,
        "old_system_identifier": before, "system_identifier": cluster, "old_timeline": timeline, "timeline": now,
        "ledger": ledger::uuid_text(&head.ledger), "last_id": head.id, "last_hash": hex(&head.hash),
    });
    Ok(Some(server_record("INCARNATION", Result::Success, details)))
}

/// Why there is a new timeline. The server itself writes into the timeline's history where recovery was told to end.
fn reason(start: &Start, ended: Option<&str>) -> &'static str {
    match (ended, start.recovery()) {
        (Some(text), _) if !text.contains("no recovery target specified") => "point-in-time recovery",
        (_, "standby") => "promotion",
        (_, "archive recovery") => "restore",
        _ => "promotion or restore",
    }
}

/// The last line of the timeline's history: parent timeline, position and reason.
fn end_of_recovery(timeline: u32) -> Option<String> {
    let history = fs::read_to_string(format!("pg_wal/{timeline:08X}.history")).ok()?;
    history.lines().rfind(|line| !line.trim().is_empty()).map(|line| line.replace('\t', " "))
}

/// A parallel restore may bring the ancestor's row after the new chain has begun: then it is named by a later record.
pub(super) fn late_ancestor(client: &mut SpiClient<'_>, head: &Head) -> Outcome<Option<Record>> {
    let sql = "UPDATE steward.ledger AS own SET ancestor = old.ledger, ancestor_head = old.head
        FROM (SELECT ledger, started_at, head FROM steward.ledger WHERE ledger <> $1 ORDER BY started_at DESC LIMIT 1) AS old
        WHERE own.ledger = $1 AND own.ancestor IS NULL AND old.started_at < own.started_at
        RETURNING old.ledger::text, old.head";
    let row = own::query(client, sql, &[Uuid::from_bytes(head.ledger).into()])?.first();
    if row.is_empty() {
        return Ok(None);
    }
    let (ancestor, ancestor_head) = row.get_two::<String, String>()?;
    let details = json!({ "ancestor": ancestor, "ancestor_head": ancestor_head });
    Ok(Some(server_record("ANCESTOR", Result::Success, details)))
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
