//! `steward.restore`: undoes the last run of an operation from its images, latest change first. It changes rows as the
//! caller's role and under the policy, like any other statement of the operation that calls it; only what rebuilds a
//! table is the extension's own doing.

use super::deferred::{self, Statements};
use super::row_restore::{RowImage, Table, Undone};
use super::table_restore::{TableImage, complete, rebuild, refill};
use super::{Run, digest, text};
use crate::core::script::hex;
use crate::error::{Fault, Outcome, answer};
use crate::operation::{cover, numbered, unknown};
use crate::{own, policy};
use pgrx::prelude::*;
use serde_json::json;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Images that are read at once.
const BATCH: i32 = 1000;

/// Rows that were brought back whole, and rows of which something was changed since and stays.
#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub restored: i64,
    pub skipped: i64,
}

impl Count {
    pub fn add(&mut self, whole: bool) {
        *(if whole { &mut self.restored } else { &mut self.skipped }) += 1;
    }
}

#[pg_extern(sql = false)]
fn restore(op_no: Option<&str>) -> TableIterator<'static, (name!(restored, i64), name!(skipped, i64))> {
    let count = answer(restore_operation(op_no));
    TableIterator::once((count.restored, count.skipped))
}

fn restore_operation(op_no: Option<&str>) -> Outcome<Count> {
    policy::require_configuration("restore")?;
    let op_no = numbered(op_no)?;
    let run = last_run(op_no)?;
    let (count, returned) = deferred::together(|| undo(&run))?;
    complete(&returned)?;
    own::run(|client| {
        let done = "UPDATE steward.pre_image SET restored_at = clock_timestamp(), restored_by = $3, restored = $4, skipped = $5
            WHERE op_no = $1 AND run = $2";
        let by = cover::current().map(|cover| cover.op_no.clone());
        let (number, restored, skipped) = (run.number.into(), count.restored.into(), count.skipped.into());
        own::execute(client, done, &[run.op_no.as_str().into(), number, by.into(), restored, skipped])
    })?;
    // Called by an operation, whose result the caller does not see.
    notice!(
        "pg_steward: {op_no}: {} rows restored, {} skipped because they were changed since",
        count.restored,
        count.skipped
    );
    let details = json!({ "restored": count.restored, "skipped": count.skipped });
    policy::changed_with("restore", op_no, Some(details.to_string()))?;
    Ok(count)
}

/// What was brought back, and the tables that returned.
fn undo(run: &Run) -> Outcome<(Count, Vec<TableImage>)> {
    let mut count = Count::default();
    let (mut tables, mut returned, mut referred) = (HashMap::new(), Vec::new(), Vec::new());
    let mut before = i64::MAX;
    loop {
        // A table that returns from its copy has its rows first, then what the run did to them earlier.
        let next_table = next_table(run, before)?;
        let down_to = next_table.as_ref().map_or(0, |image| image.id);
        while let Some(last) = restore_rows(run, before, down_to, &mut tables, &mut count, &mut referred)? {
            before = last;
        }
        let Some(image) = next_table else { break };
        before = image.id;
        if restore_table(&image, &mut tables, &mut count)? {
            returned.push(image);
        }
    }
    remove_free(referred, &tables, &mut count)?;
    Ok((count, returned))
}

/// Inserted rows that others referred to when their turn came: what has gone since then may have been among those.
fn remove_free(
    mut referred: Vec<RowImage>,
    tables: &HashMap<pg_sys::Oid, Option<Table>>,
    count: &mut Count,
) -> Outcome<()> {
    let _exact = text::Exact::enter();
    Spi::connect_mut(|_| {
        let mut statements = Statements::default();
        loop {
            let mut left = Vec::new();
            let waiting = referred.len();
            // The other way round each time: of rows that refer to each other, the first is free at one of the ends.
            for image in referred.into_iter().rev() {
                match tables.get(&image.relation).and_then(Option::as_ref) {
                    Some(table) => match image.undo(table, &mut statements)? {
                        Undone::Referred => left.push(image),
                        undone => count.add(undone == Undone::Whole),
                    },
                    None => count.add(false),
                }
            }
            if left.is_empty() || left.len() == waiting {
                count.skipped += left.len() as i64;
                return Ok(());
            }
            referred = left;
        }
    })
}

/// The last run of an operation that nobody has restored yet, whose images are as they were when it ended: runs and steps
/// are undone one by one, backwards.
fn last_run(op_no: &str) -> Outcome<Run> {
    own::run(|client| {
        if own::query(client, "SELECT 1 FROM steward._operation WHERE op_no = $1", &[op_no.into()])?.is_empty() {
            return Err(unknown(op_no));
        }
        let last = "SELECT run, images, sha256, restored_at IS NOT NULL, purged_at IS NOT NULL, coalesce(restored_by, 'somebody')
            FROM steward.pre_image WHERE op_no = $1 ORDER BY restored_at IS NOT NULL, run DESC LIMIT 1 FOR UPDATE";
        let row = own::query(client, last, &[op_no.into()])?.first();
        let Some(number) = (!row.is_empty()).then(|| row.get::<i32>(1)).transpose()?.flatten() else {
            return Err(Fault::wrong_state(format!("{op_no} has no pre-image"))
                .detail("It has not run, or its tier demanded none when it ran.")
                .hint("SELECT tier, post, pre_image FROM steward.tier_policy;"));
        };
        if row.get::<bool>(4)? != Some(false) {
            let by = row.get::<String>(6)?.unwrap_or_default();
            return Err(Fault::wrong_state(format!("{op_no} is restored already")).detail(format!("By {by}.")));
        }
        if row.get::<bool>(5)? != Some(false) {
            return Err(Fault::wrong_state(format!("the pre-image of {op_no} is gone"))
                .detail("Images are kept for the term row_images.")
                .hint("SELECT row_images FROM steward.retention_policy;"));
        }
        let run = Run { op_no: op_no.to_owned(), number };
        let (images, sha256) = digest(client, &run)?;
        if row.get::<i64>(2)? != Some(images) || row.get::<Vec<u8>>(3)?.as_deref() != Some(&sha256[..]) {
            return Err(Fault::corrupted(format!("the pre-image of {op_no} is not what its run has written"))
                .detail(format!("There are {images} images with digest {}.", hex(&sha256)))
                .hint("Its EXECUTE record in steward.audit_log has number and digest of the true ones."));
        }
        Ok(run)
    })
}

/// Undoes row changes with ids below `before` and above `down_to`, at most a batch. The lowest id, None if there was none.
fn restore_rows(
    run: &Run,
    before: i64,
    down_to: i64,
    tables: &mut HashMap<pg_sys::Oid, Option<Table>>,
    count: &mut Count,
    referred: &mut Vec<RowImage>,
) -> Outcome<Option<i64>> {
    let batch = own::run(|client| {
        let batch =
            "SELECT id, relation, table_name, command, keys, columns, old_values, new_values FROM steward.row_image
            WHERE op_no = $1 AND run = $2 AND id < $3 AND id > $4 ORDER BY id DESC LIMIT $5";
        let bounds = [run.op_no.as_str().into(), run.number.into(), before.into(), down_to.into(), BATCH.into()];
        let mut images = Vec::new();
        for row in own::select(client, batch, &bounds)? {
            images.push(RowImage {
                id: row.get(1)?.unwrap_or_default(),
                relation: row.get(2)?.unwrap_or(pg_sys::InvalidOid),
                table_name: row.get(3)?.unwrap_or_default(),
                command: row.get(4)?.unwrap_or_default(),
                keys: row.get::<i32>(5)?.unwrap_or_default() as usize,
                columns: row.get(6)?.unwrap_or_default(),
                old: row.get(7)?,
                new: row.get(8)?,
            });
        }
        Ok(images)
    })?;
    for image in &batch {
        if let Entry::Vacant(unknown) = tables.entry(image.relation) {
            unknown.insert(Table::find(image.relation)?);
        }
    }
    let _exact = text::Exact::enter();
    Spi::connect_mut(|_| {
        let mut statements = Statements::default();
        let last = batch.last().map(|image| image.id);
        for image in batch {
            match tables.get(&image.relation).and_then(Option::as_ref) {
                Some(table) => match image.undo(table, &mut statements)? {
                    Undone::Referred => referred.push(image),
                    undone => count.add(undone == Undone::Whole),
                },
                None => count.add(false),
            }
        }
        Ok(last)
    })
}

fn next_table(run: &Run, before: i64) -> Outcome<Option<TableImage>> {
    own::run(|client| {
        let next =
            "SELECT id, relation, table_name, command, copy, rows, definition, fittings, foreign_keys, rights, protected, row_images
            FROM steward.table_image WHERE op_no = $1 AND run = $2 AND id < $3 ORDER BY id DESC LIMIT 1";
        let row = own::select(client, next, &[run.op_no.as_str().into(), run.number.into(), before.into()])?.first();
        if row.is_empty() {
            return Ok(None);
        }
        Ok(Some(TableImage {
            id: row.get(1)?.unwrap_or_default(),
            relation: row.get(2)?.unwrap_or(pg_sys::InvalidOid),
            table_name: row.get(3)?.unwrap_or_default(),
            command: row.get(4)?.unwrap_or_default(),
            copy: row.get(5)?,
            rows: row.get(6)?.unwrap_or_default(),
            definition: row.get(7)?.unwrap_or_default(),
            fittings: row.get(8)?.unwrap_or_default(),
            foreign_keys: row.get(9)?.unwrap_or_default(),
            rights: row.get(10)?.unwrap_or_default(),
            protected: row.get(11)? == Some(true),
            row_images: row.get(12)? == Some(true),
        }))
    })
}

/// True if the table was dropped and is back.
fn restore_table(
    image: &TableImage,
    tables: &mut HashMap<pg_sys::Oid, Option<Table>>,
    count: &mut Count,
) -> Outcome<bool> {
    match (image.command.as_str(), &image.copy) {
        ("TRUNCATE", Some(copy)) => {
            if let Entry::Vacant(unknown) = tables.entry(image.relation) {
                unknown.insert(Table::find(image.relation)?);
            }
            let table = tables.get(&image.relation).and_then(Option::as_ref);
            let back = table.map_or(Ok(0), |table| refill(table, copy))?;
            count.restored += back;
            count.skipped += image.rows - back;
            Ok(false)
        }
        ("DROP TABLE", Some(copy)) => match rebuild(image, copy)? {
            Some(relation) => {
                tables.insert(image.relation, Table::find(relation)?);
                count.restored += image.rows;
                Ok(true)
            }
            None => {
                count.skipped += image.rows;
                Ok(false)
            }
        },
        // Nothing was taken away: what is left to say stands in steward.table_image.
        (_, None) => Ok(false),
        (command, Some(copy)) => {
            Err(Fault::unsupported(format!("{command} on {} cannot be restored by itself", image.table_name))
                .detail(format!("What it was like is in steward.table_image, id {}. Its rows are in {copy}.", image.id))
                .hint("Write the script that brings it back and file it with steward.request(script, purpose)."))
        }
    }
}
