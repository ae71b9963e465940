//! A chain that goes on elsewhere: after a promotion, a point-in-time recovery, a restore or pg_upgrade the same ledger has
//! another timeline or another cluster; after pg_dump and restore, or where the extension was created again, another
//! ledger goes on behind it. That is a record; and what the ledger knows of its clusters tells which spool lanes are its
//! own.
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

/// The operation type of a record of a move.
const INCARNATION: &str = "INCARNATION";
/// Where the end of the chain is kept beside the tables.
pub(super) const HEAD_FILE: &str = "pg_steward/head";

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
    Ok(Some(server_record(INCARNATION, Result::Success, details)))
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

/// The chain that this one goes on behind, if it is known and not on record yet: a restored dump brought its row; else,
/// where the new one begins, the head file of this data directory still tells of it. A parallel restore may bring the row
/// after the new chain has begun: then it is found later.
pub(super) fn ancestor(client: &mut SpiClient<'_>, head: &Head, begins: bool) -> Outcome<Option<Record>> {
    let id = Uuid::from_bytes(head.ledger);
    let sql = "UPDATE steward.ledger AS own SET ancestor = old.ledger, ancestor_head = old.head
        FROM (SELECT ledger, started_at, head, timeline,
                coalesce(clusters[cardinality(clusters)], system_identifier) AS system_identifier
            FROM steward.ledger WHERE ledger <> $1 ORDER BY started_at DESC LIMIT 1) AS old
        WHERE own.ledger = $1 AND own.ancestor IS NULL AND ($2 OR old.started_at < own.started_at)
        RETURNING old.ledger::text, old.head, old.system_identifier, old.timeline";
    let row = own::query(client, sql, &[id.into(), begins.into()])?.first();
    if !row.is_empty() {
        let ancestor = row.get::<String>(1)?.unwrap_or_default();
        let (line, cluster, timeline) = (row.get::<String>(2)?, row.get::<String>(3)?, row.get::<i64>(4)?);
        return Ok(Some(continued("restored dump", &ancestor, line.as_deref(), cluster, timeline, head)));
    }
    let Some((former, line)) = begins.then(former_head).flatten().filter(|(former, _)| former.ledger != head.ledger)
    else {
        return Ok(None);
    };
    let ancestor = ledger::uuid_text(&former.ledger);
    let sql = "UPDATE steward.ledger SET ancestor = $2, ancestor_head = $3 WHERE ledger = $1";
    own::execute(client, sql, &[id.into(), Uuid::from_bytes(former.ledger).into(), line.clone().into()])?;
    let cluster = Some(here().0.to_string());
    Ok(Some(continued("extension or database created again", &ancestor, Some(&line), cluster, None, head)))
}

/// What the head file says, with its line.
fn former_head() -> Option<(Head, String)> {
    let line = fs::read_to_string(HEAD_FILE).ok()?.trim_end_matches('\n').to_owned();
    Some((Head::parse(&line)?, line))
}

/// The record of a chain that goes on behind another ledger's. The ancestor's end is the last that is known of it.
fn continued(
    reason: &str,
    ancestor: &str,
    line: Option<&str>,
    old_cluster: Option<String>,
    old_timeline: Option<i64>,
    head: &Head,
) -> Record {
    let (cluster, timeline) = here();
    let last = line.and_then(Head::parse);
    let details = json!({
        "reason": reason, "ancestor": ancestor, "ancestor_head": line,
        "old_system_identifier": old_cluster, "system_identifier": cluster.to_string(),
        "old_timeline": old_timeline, "timeline": timeline, "ledger": ledger::uuid_text(&head.ledger),
        "last_id": last.map(|last| last.id), "last_hash": last.map(|last| hex(&last.hash)),
    });
    server_record(INCARNATION, Result::Success, details)
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
