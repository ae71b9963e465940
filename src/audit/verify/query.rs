//! Reads records in the order of their ids by a query: a part of the chain by the index, or all of one that is not stored
//! in that order by a sort. An index is not asked for all, since a forged record may be hidden from it.

use super::progress::Progress;
use super::{Reader, Task};
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::spi::SpiClient;

/// Records fetched at a time.
const FETCH: i64 = 2_000;

/// Pushes the records of the task, in constant memory, as this statement's snapshot sees them.
pub(super) fn read(client: &mut SpiClient<'_>, task: &Task, reader: &mut Reader, progress: &Progress) -> Outcome<()> {
    if task.is_whole() {
        refuse_indexes();
    }
    let last = task.last.unwrap_or(i64::MAX);
    let mut cursor = if task.from_oldest {
        // What lies before the first record was put there.
        let sql = "SELECT id, record, prev_hash, hash FROM steward.chain WHERE id <= $1 OR id IS NULL ORDER BY id";
        client.try_open_cursor(sql, &[last.into()])?
    } else {
        let sql = "SELECT id, record, prev_hash, hash FROM steward.chain WHERE id BETWEEN $1 AND $2 ORDER BY id";
        client.try_open_cursor(sql, &[task.first.into(), last.into()])?
    };
    loop {
        let rows = cursor.fetch(FETCH)?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            // A NULL cannot be stored unless a constraint was taken away: then it is a wrong value like any other.
            let id = row.get::<i64>(1)?.unwrap_or_default();
            let bytes = |column| Ok::<_, Fault>(row.get::<&[u8]>(column)?.unwrap_or_default());
            reader.push(id, bytes(2)?, bytes(3)?, bytes(4)?);
        }
        progress.report(reader.checked());
        pgrx::check_for_interrupts!();
    }
}

/// A forged record may be hidden from them.
fn refuse_indexes() {
    own::pin(&[
        (c"enable_indexscan", c"off"),
        (c"enable_bitmapscan", c"off"),
        (c"enable_seqscan", c"on"),
        (c"enable_sort", c"on"),
    ]);
}
