//! The terms of retention, and the end of an archive file whose term is over.

use super::lane::Durability;
use super::{archive, note};
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::{own, policy};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use serde_json::json;
use std::io;

/// The operation type of the record that says an archive file was removed.
pub(super) const PURGE: &str = "PURGE";

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
    for (file, details) in &files {
        // Stands whatever becomes of this transaction: a removed file does not come back.
        let mut record = Record::new(Kind::Policy, PURGE);
        record.tier = Some(Tier::Critical);
        record.details = Some(details.to_string());
        note::note(record, Durability::Flushed);
        remove(file)?;
        let gone = "UPDATE steward.segment SET purged_at = clock_timestamp() WHERE file = $1";
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
