//! The tables beside the chain that say where its parts are: `definition`, `segment` and `ledger`. What was recorded is in
//! the chain alone, so a wrong row here changes no record; but what is not found is not shown, and what a row says to be
//! in a file may be nowhere. So each is compared with what the chain itself says, by the same snapshot.
//!
//! What the chain does not say, the sequencer has left beside it: when a segment was closed, what it knows of earlier server
//! starts, how far journal and spool are chained, when a file was removed (`positions`). What an archived PRUNE or genesis
//! record says, only its file does.

use super::definitions::Definitions;
use super::{Task, disk, stored_hash};
use crate::audit::archive::{self, hex};
use crate::audit::{positions, retention, segment};
use crate::core::chain::{Hash, Head, Verdict};
use crate::core::record::Record;
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::Uuid;
use pgrx::spi::SpiClient;
use serde_json::Value;

/// Where a table does not say what the chain says.
pub(super) struct Difference {
    pub table: &'static str,
    /// The first record that is concerned.
    pub id: i64,
    pub detail: String,
    pub hint: &'static str,
}

impl Difference {
    fn of(table: &'static str, id: i64, detail: impl Into<String>) -> Difference {
        let hint = "Somebody changed the table while pg_steward was not loaded. Keep a copy of it, and verify the archive files \
                    with steward-witness verify.";
        Difference { table, id, detail: detail.into(), hint }
    }

    pub fn warn(self) {
        Fault::corrupted(format!("table steward.{} is not what the chain says", self.table))
            .detail(format!("{} The chain itself is whole.", self.detail))
            .hint(self.hint)
            .warn();
    }
}

/// The first difference, after the chain was read and found whole. What concerns no single range only once it was read to
/// its end.
pub(super) fn compare(
    client: &mut SpiClient<'_>,
    task: &Task,
    definitions: Definitions,
    read: &Verdict,
) -> Outcome<Option<Difference>> {
    let found = definitions.compare(client, task, read)?;
    if found.is_some() || task.last.is_some() {
        return Ok(found);
    }
    let oldest = own::select(client, "SELECT id FROM steward.chain ORDER BY id LIMIT 1", &[])?.first();
    let oldest = if oldest.is_empty() { 1 } else { oldest.get_one::<i64>()?.unwrap_or(1) };
    let Some(found) = ledger(client, task, oldest, read.to_id.unwrap_or_default())? else {
        return match segments(client, oldest)? {
            None => left(client, task, read),
            found => Ok(found),
        };
    };
    Ok(Some(found))
}

/// What the sequencer goes by is as it left it.
fn left(client: &mut SpiClient<'_>, task: &Task, read: &Verdict) -> Outcome<Option<Difference>> {
    // Before the first record nothing was left.
    let Some(newest) = read.to_id else { return Ok(None) };
    let Some(table) = positions::altered(client, &task.ledger.id)?.into_iter().next() else { return Ok(None) };
    let detail = "The rows are not those that the sequencer left there, by the digest in steward.installation: what was \
                  deleted from journal or spool at the same time may not be missed.";
    Ok(Some(Difference::of(table, newest + 1, detail)))
}

/// A row of `steward.segment`.
struct Closed {
    number: i32,
    first_id: i64,
    last_id: i64,
    last_hash: Option<Hash>,
    /// Of its first and last record, microseconds since 1970.
    times: [Option<i64>; 2],
    file: Option<String>,
    sha256: Option<Vec<u8>>,
    bytes: Option<i64>,
    prune_after: Option<i64>,
    prune_id: Option<i64>,
    /// Microseconds since 1970.
    archived_at: Option<i64>,
    purged: bool,
    /// Its table is there.
    online: bool,
    /// The sequencer has found the PURGE record.
    purge_named: bool,
}

fn closed(client: &mut SpiClient<'_>) -> Outcome<Vec<Closed>> {
    let sql = "SELECT number, first_id, last_id, last_hash, CASE WHEN isfinite(first_time) THEN (extract(epoch FROM first_time) * 1000000)::bigint END,
            CASE WHEN isfinite(last_time) THEN (extract(epoch FROM last_time) * 1000000)::bigint END, file, file_sha256, file_bytes, prune_after,
            prune_id, CASE WHEN isfinite(archived_at) THEN (extract(epoch FROM archived_at) * 1000000)::bigint END, purged_at IS NOT NULL,
            EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = $1 AND c.relname = 'chain_' || number), purge_id IS NOT NULL
        FROM steward.segment ORDER BY number";
    let mut rows = Vec::new();
    for row in own::select(client, sql, &[disk::chain().into()])? {
        rows.push(Closed {
            number: row.get(1)?.unwrap_or_default(),
            first_id: row.get(2)?.unwrap_or_default(),
            last_id: row.get(3)?.unwrap_or_default(),
            last_hash: row.get::<Vec<u8>>(4)?.and_then(|hash| hash.try_into().ok()),
            times: [row.get(5)?, row.get(6)?],
            file: row.get(7)?,
            sha256: row.get(8)?,
            bytes: row.get(9)?,
            prune_after: row.get(10)?,
            prune_id: row.get(11)?,
            archived_at: row.get(12)?,
            purged: row.get(13)? == Some(true),
            online: row.get(14)? == Some(true),
            purge_named: row.get(15)? == Some(true),
        });
    }
    Ok(rows)
}

/// Each row follows the one before it, and the chain says the same of where it ends and where it was archived to.
fn segments(client: &mut SpiClient<'_>, oldest: i64) -> Outcome<Option<Difference>> {
    let (mut number, mut first_id) = (1, 1);
    for row in closed(client)? {
        let id = row.first_id.min(first_id).max(1);
        let wrong = |what: &str| Ok(Some(Difference::of("segment", id, format!("Of segment {} {what}.", row.number))));
        if (row.number, row.first_id) != (number, first_id) || row.last_id < row.first_id {
            return wrong("the bounds do not follow those of the one before");
        }
        let ends = [(row.first_id, None, row.times[0]), (row.last_id, Some(row.last_hash), row.times[1])];
        for (id, hash, time) in ends {
            match agrees(client, id, hash, time)? {
                Some(true) => {}
                // Archived.
                None if id < oldest => {}
                _ => return wrong("the first or the last record is another"),
            }
        }
        if !row.online && row.prune_id.is_none() {
            return wrong("the table is gone, and no PRUNE record is named");
        }
        if let Some(what) = archived(client, &row, oldest)? {
            return wrong(what);
        }
        (number, first_id) = (row.number + 1, row.last_id + 1);
    }
    let open = "SELECT max(CASE WHEN c.relname ~ '^chain_[1-9][0-9]{0,8}$' THEN substr(c.relname, 7)::int END)
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1";
    let open = own::select(client, open, &[disk::chain().into()])?.first().get_one::<i32>()?;
    let missing = || Difference::of("segment", first_id, format!("Segment {number} is closed and has no row."));
    Ok(open.is_some_and(|open| open != number).then(missing))
}

/// Whether a record has this hash and time; None if it is not online.
fn agrees(client: &mut SpiClient<'_>, id: i64, hash: Option<Option<Hash>>, time: Option<i64>) -> Outcome<Option<bool>> {
    let sql = "SELECT CASE WHEN isfinite(steward._record_time(record)) THEN (extract(epoch FROM steward._record_time(record)) * 1000000)::bigint END IS NOT DISTINCT FROM $2
        FROM steward.chain WHERE id = $1 LIMIT 1";
    let row = own::select(client, sql, &[id.into(), time.into()])?.first();
    if row.is_empty() {
        return Ok(None);
    }
    let same_time = row.get_one::<bool>()? == Some(true);
    let same_hash = match hash {
        Some(hash) => stored_hash(client, id)? == Some(hash.unwrap_or_default()),
        None => true,
    };
    Ok(Some(same_time && same_hash))
}

/// What is wrong with what a row says of its archive file.
fn archived(client: &mut SpiClient<'_>, row: &Closed, oldest: i64) -> Outcome<Option<&'static str>> {
    let facts = [row.file.is_some(), row.sha256.is_some(), row.bytes.is_some(), row.prune_after.is_some()];
    if facts.iter().any(|fact| *fact != row.archived_at.is_some())
        || row.prune_id.is_some() && row.archived_at.is_none()
    {
        return Ok(Some("it is half archived"));
    }
    if row.purged {
        if row.online {
            return Ok(Some("the file is said to be removed, and the table is there"));
        }
        if !row.purge_named && !was_purged(client, row)? {
            return Ok(Some("the file is said to be removed, and no PURGE record says so"));
        }
        if let Some(what) = put_back(row) {
            return Ok(Some(what));
        }
    }
    if row.archived_at.is_none() {
        return Ok(None);
    }
    let told = match row.prune_id {
        Some(id) => match record(client, id)? {
            Some(record) => Some(record),
            // Only the archive file that holds the record can tell.
            None => return Ok((id >= oldest || id <= row.last_id).then_some("the PRUNE record is not in the chain")),
        },
        None => prune(client, row)?,
    };
    match told {
        Some(told) => Ok((!is_told(&told, row)).then_some("the PRUNE record says something else")),
        // It waits in the journal, perhaps.
        None if something_waits(client)? => Ok(None),
        None => Ok(Some("no PRUNE record says that it was archived")),
    }
}

/// What is wrong with a file that was purged and is there again. The one that was archived, put back from a backup, is as
/// good as it was: its digest is in the PRUNE record.
fn put_back(row: &Closed) -> Option<&'static str> {
    let file = row.file.as_ref()?;
    let found = archive::digest_of(file)?;
    if row.sha256.as_deref() != Some(&found[..]) {
        return Some("the file was purged, and another one has its name: move it out of pg_steward/archive");
    }
    Fault::wrong_state(format!("the archive file \"{file}\" was purged and is there again"))
        .detail("It is the one that was archived: its digest is that of the PRUNE record.")
        .hint("SELECT * FROM steward.purge_archive(); removes it again if its offline term is over.")
        .notice();
    None
}

fn was_purged(client: &mut SpiClient<'_>, row: &Closed) -> Outcome<bool> {
    let Some(file) = &row.file else { return Ok(false) };
    Ok(retention::purge_of(client, file, row.last_id)?.is_some())
}

fn record(client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<Vec<u8>>> {
    let row = own::select(client, "SELECT record FROM steward.chain WHERE id = $1 LIMIT 1", &[id.into()])?.first();
    if row.is_empty() { Ok(None) } else { Ok(row.get_one()?) }
}

/// The PRUNE record of a segment whose row does not name it yet.
fn prune(client: &mut SpiClient<'_>, row: &Closed) -> Outcome<Option<Vec<u8>>> {
    let sql = "SELECT record FROM steward.chain WHERE id > $1 AND steward._record_text(record, 9) = $2 ORDER BY id";
    let after = row.prune_after.unwrap_or(row.last_id);
    for found in own::select(client, sql, &[after.into(), segment::PRUNE.into()])? {
        let record = found.get::<Vec<u8>>(1)?.unwrap_or_default();
        if segment::pruned_to(&record).is_some_and(|(to_id, _)| to_id == row.last_id) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn is_told(record: &[u8], row: &Closed) -> bool {
    let Some((to_id, hash)) = segment::pruned_to(record) else { return false };
    let details = details(record);
    let sha256 = row.sha256.as_deref().map(hex);
    let times = [details["first_time_us"].as_i64(), details["last_time_us"].as_i64()];
    to_id == row.last_id
        && times == row.times
        && Some(hash) == row.last_hash
        && details["from_id"].as_i64() == Some(row.first_id)
        && details["file"].as_str() == row.file.as_deref()
        && details["sha256"].as_str() == sha256.as_deref()
        && details["bytes"].as_i64() == row.bytes
        && details["after_id"].as_i64() == row.prune_after
        && details["archived_at_us"].as_i64() == row.archived_at
}

fn details(record: &[u8]) -> Value {
    let details = Record::decode(record).ok().and_then(|record| record.details);
    details.and_then(|details| serde_json::from_str(&details).ok()).unwrap_or_default()
}

/// Whether committed records are on their way to the chain.
fn something_waits(client: &mut SpiClient<'_>) -> Outcome<bool> {
    let waiting = "SELECT FROM steward.journal_0 UNION ALL SELECT FROM steward.journal_1
        UNION ALL SELECT FROM steward.journal_2 LIMIT 1";
    Ok(!own::select(client, waiting, &[])?.is_empty())
}

/// The ledger's row is there and the newest, names the ancestor that the chain names, and a head that the chain had.
fn ledger(client: &mut SpiClient<'_>, task: &Task, oldest: i64, newest: i64) -> Outcome<Option<Difference>> {
    let sql = "SELECT own.ancestor::text, own.ancestor_head, own.head,
            EXISTS (SELECT FROM steward.ledger o WHERE o.ledger <> $1 AND o.ledger IS DISTINCT FROM own.ancestor
                AND o.started_at >= own.started_at), own.system_identifier
        FROM steward.ledger own WHERE own.ledger = $1";
    let row = own::select(client, sql, &[Uuid::from_bytes(task.ledger.id).into()])?.first();
    let wrong = |id: i64, what: &str| Ok(Some(Difference::of("ledger", id, what)));
    if row.is_empty() {
        return wrong(1, "The row of this chain is missing.");
    }
    if row.get::<bool>(4)? != Some(false) {
        return wrong(1, "It names a newer chain, of which there is no record.");
    }
    let ancestor = (row.get::<String>(1)?, row.get::<String>(2)?);
    let (head, cluster) = (row.get::<String>(3)?, row.get::<String>(5)?);
    if oldest == 1 {
        let genesis = details(&record(client, 1)?.unwrap_or_default());
        if genesis["system_identifier"].as_str() != cluster.as_deref() {
            return wrong(1, "It names another cluster.");
        }
        if !names(client, &ancestor)? {
            return wrong(1, "It names another ancestor.");
        }
    }
    let Some(line) = head else { return Ok(None) };
    let Some(head) = Head::parse(&line).filter(|head| head.ledger == task.ledger.id && head.id > 0) else {
        return wrong(1, "Its head is no checkpoint of this chain.");
    };
    let stored = stored_hash(client, head.id)?;
    if head.id > newest || stored.is_some_and(|hash| hash != head.hash) || stored.is_none() && head.id >= oldest {
        return wrong(head.id, "The chain does not hold the head that was last written to the server log.");
    }
    Ok(None)
}

/// How far from its beginning a chain is searched for an ancestor that nobody claims.
const BEGINNING: i64 = 100;

/// Whether an INCARNATION record names this ancestor and its head, or none does where there is no ancestor. It is among the
/// first records, or later where the rows of a restored dump came after the chain had begun.
fn names(client: &mut SpiClient<'_>, ancestor: &(Option<String>, Option<String>)) -> Outcome<bool> {
    let mut until = BEGINNING;
    loop {
        let sql = "SELECT record FROM steward.chain WHERE id <= $1 AND steward._record_text(record, 9) = 'INCARNATION'";
        let mut named = (None, None);
        for row in own::select(client, sql, &[until.into()])? {
            let details = details(&row.get::<Vec<u8>>(1)?.unwrap_or_default());
            let text = |key: &str| details[key].as_str().map(str::to_owned);
            if !details["ancestor"].is_null() {
                named = (text("ancestor"), text("ancestor_head"));
            }
        }
        if named == *ancestor || ancestor.0.is_none() || until == i64::MAX {
            return Ok(named == *ancestor);
        }
        until = i64::MAX;
    }
}
