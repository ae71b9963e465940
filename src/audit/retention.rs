//! The terms of retention, and the end of an archive file whose term is over.

use super::lane::Durability;
use super::positions::{self, Rows};
use super::{archive, flush, note};
use crate::core::chain::Head;
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::{own, policy};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io;

/// The operation type of the record that says an archive file was removed.
const PURGE: &str = "PURGE";
/// Microseconds that the records of a removal may take to be chained, before anything is removed.
const PATIENCE: i128 = 30_000_000;

#[pg_extern(sql = false)]
fn set_retention(
    online: Option<Interval>,
    offline: Option<Interval>,
    segment_records: Option<i64>,
    segment_age: Option<Interval>,
    row_images: Option<Interval>,
) {
    answer((|| {
        policy::require_configuration("set_retention")?;
        own::run(|client| {
            let terms = [online.into(), offline.into(), segment_records.into(), segment_age.into(), row_images.into()];
            let allowed = "SELECT coalesce($1, online) > '0', coalesce($2, offline) >= coalesce($1, online),
                    timestamp '2001-09-01' - coalesce($2, offline) <= timestamp '2001-03-01',
                    coalesce($3, segment_records) > 0, coalesce($4, segment_age) > '0',
                    coalesce($5, row_images) > '0'
                FROM steward.retention_policy";
            let row = own::query(client, allowed, &terms)?.first();
            for (column, wrong) in [
                (1, "the online term must be positive"),
                (2, "the offline term must not be shorter than the online one"),
                (3, "audit records are kept for six months at least, that is the law"),
                (4, "a segment holds one record at least"),
                (5, "the age of a segment must be positive"),
                (6, "the term of images must be positive"),
            ] {
                if row.get::<bool>(column)? != Some(true) {
                    return Err(Fault::bad_argument(wrong).hint("SELECT * FROM steward.retention_policy;"));
                }
            }
            let change =
                "UPDATE steward.retention_policy SET online = coalesce($1, online), offline = coalesce($2, offline),
                segment_records = coalesce($3, segment_records), segment_age = coalesce($4, segment_age),
                row_images = coalesce($5, row_images)";
            own::execute(client, change, &terms).map(drop)
        })?;
        policy::changed("set_retention", "steward.retention_policy")
    })())
}

#[pg_extern(sql = false)]
fn purge_archive() -> SetOfIterator<'static, String> {
    SetOfIterator::new(answer(policy::require_configuration("purge_archive").and_then(|()| purge())))
}

/// Removes the archive files whose term is over; their names.
pub fn purge() -> Outcome<Vec<String>> {
    let files = own::run(|client| {
        // Dropped already: a file that is the only copy of its records, and that is over. One that was put back, too.
        let over = "SELECT file, encode(file_sha256, 'hex'), first_id, last_id, purged_at IS NOT NULL
            FROM steward.segment s, steward.retention_policy p
            WHERE prune_id IS NOT NULL AND to_regclass('steward.chain_' || number) IS NULL
                AND coalesce(last_time, closed_at) < now() - offline ORDER BY number FOR UPDATE OF s";
        let mut files = Vec::new();
        for row in own::query(client, over, &[])? {
            let details = json!({
                "file": row.get::<String>(1)?, "sha256": row.get::<String>(2)?,
                "from_id": row.get::<i64>(3)?, "to_id": row.get::<i64>(4)?,
            });
            let purged = row.get::<bool>(5)? == Some(true);
            let file = row.get::<String>(1)?.filter(|file| !purged || archive::is_there(file));
            files.extend(file.map(|file| (file, details)));
        }
        Ok(files)
    })?;
    for (_, details) in &files {
        // Stands whatever becomes of this transaction: a removed file does not come back.
        let mut record = Record::new(Kind::Policy, PURGE);
        record.tier = Some(Tier::Critical);
        record.details = Some(details.to_string());
        note::note(record, Durability::Flushed);
    }
    if !files.is_empty() {
        flush::wait(PATIENCE)?;
    }
    for (file, _) in &files {
        remove(file)?;
        let gone = "UPDATE steward.segment SET purged_at = clock_timestamp() WHERE file = $1 AND purged_at IS NULL";
        own::run(|client| own::execute(client, gone, &[file.as_str().into()]).map(drop))?;
    }
    Ok(files.into_iter().map(|(file, _)| file).collect())
}

/// A file that is gone already was removed by a call that did not commit.
fn remove(file: &str) -> Outcome<()> {
    let removed = archive::directory().and_then(|directory| std::fs::remove_file(directory.join(file)));
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::io(format!("the archive file \"{file}\" cannot be removed: {error}")))
        }
        _ => Ok(()),
    }
}

/// The PURGE record of a file, among the records after this one.
pub(super) fn purge_of(client: &mut SpiClient<'_>, file: &str, after: i64) -> Outcome<Option<i64>> {
    let sql = "SELECT id, record FROM steward.chain WHERE id > $1 AND steward._record_text(record, 9) = $2 ORDER BY id";
    for row in own::select(client, sql, &[after.into(), PURGE.into()])? {
        let record = row.get::<Vec<u8>>(2)?.and_then(|record| Record::decode(&record).ok());
        let details = record.and_then(|record| serde_json::from_str::<Value>(&record.details?).ok());
        if details.is_some_and(|details| details["file"].as_str() == Some(file)) {
            return Ok(row.get(1)?);
        }
    }
    Ok(None)
}

/// The sequencer's: removed files whose record it has not found, each with the id up to which it has looked.
#[derive(Default)]
pub(super) struct Purges(HashMap<i32, i64>);

impl Purges {
    /// Names the records of files that were removed, which from then on stands as it is.
    pub fn look(&mut self, client: &mut SpiClient<'_>, head: &Head) -> Outcome<()> {
        let unnamed = "SELECT number, file, coalesce(prune_id, last_id) FROM steward.segment
            WHERE purged_at IS NOT NULL AND purge_id IS NULL AND file IS NOT NULL FOR UPDATE SKIP LOCKED";
        let named = "UPDATE steward.segment SET purge_id = $2 WHERE number = $1";
        for row in own::query(client, unnamed, &[])? {
            let (Some(number), Some(file)) = (row.get::<i32>(1)?, row.get::<String>(2)?) else { continue };
            let after = self.0.get(&number).copied().or(row.get::<i64>(3)?).unwrap_or_default();
            match purge_of(client, &file, after)? {
                Some(id) => {
                    let arguments = [number.into(), id.into()];
                    positions::change(client, &Rows::Segments, |client| own::execute(client, named, &arguments))?;
                    self.0.remove(&number);
                }
                None => drop(self.0.insert(number, head.id)),
            }
        }
        Ok(())
    }
}
