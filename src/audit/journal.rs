//! The journal: records that live and die with the transaction that wrote them. A backend adds rows to one of a few
//! tables without an index; the sequencer takes them out again, and empties the other tables when nobody uses them.
//!
//! A row is a `core::batch` of `u32 epoch ‖ record`, under the full transaction id.

use super::{journal_count, segment};
use crate::backend::backend_local;
use crate::core::batch::{self, Batch, Content};
use crate::error::Outcome;
use crate::{own, raw, shared};
use pgrx::pg_sys;
use pgrx::varlena::{set_varsize_4b, varlena_to_byte_slice};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::sync::atomic::Ordering::SeqCst;

/// Three, so that a transaction that stays open, or prepared, on one of them leaves two to take turns.
const TABLES: [&CStr; 3] = [c"journal_0", c"journal_1", c"journal_2"];
const TRUNCATE: [&str; 3] =
    ["TRUNCATE ONLY steward.journal_0", "TRUNCATE ONLY steward.journal_1", "TRUNCATE ONLY steward.journal_2"];
/// A row is closed before it grows beyond this; a single longer record gets a row of its own.
const BATCH_MAX: usize = 256 << 10;
/// What a record takes in memory beside its bytes, at least.
const RECORD_BYTES: usize = 8;
/// A journal with more pages is emptied as soon as it can be.
const ROTATE_AT_PAGES: u32 = (1 << 20) / pg_sys::BLCKSZ;

// Called for every row: within one guard for several calls instead of one for each.
unsafe extern "C-unwind" {
    fn palloc(size: usize) -> *mut c_void;
    fn pfree(pointer: *mut c_void);
    fn heap_form_tuple(shape: pg_sys::TupleDesc, values: *mut pg_sys::Datum, nulls: *mut bool) -> pg_sys::HeapTuple;
    fn heap_freetuple(row: pg_sys::HeapTuple);
    fn heap_deform_tuple(
        row: pg_sys::HeapTuple,
        shape: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
    fn heap_getnext(scan: pg_sys::TableScanDesc, direction: pg_sys::ScanDirection::Type) -> pg_sys::HeapTuple;
    fn simple_heap_insert(relation: pg_sys::Relation, row: pg_sys::HeapTuple);
    fn simple_heap_delete(relation: pg_sys::Relation, place: pg_sys::ItemPointer);
    fn pg_detoast_datum_packed(value: *mut pg_sys::varlena) -> *mut pg_sys::varlena;
}

backend_local! {
    /// The tables, as far as they were looked up.
    static KNOWN: Cell<[pg_sys::Oid; TABLES.len()]> = const { Cell::new([pg_sys::InvalidOid; TABLES.len()]) };
    /// The transaction that wrote last, the part number of its next row, and the table that it writes to: one that is
    /// written out many times holds one journal until it ends, not each in turn.
    static PART: Cell<(u64, u32, usize)> = const { Cell::new((0, 0, 0)) };
}

/// A journal is dropped or created, or anything may have changed. Runs inside invalidation processing.
pub fn forget(relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || KNOWN.get().contains(&relation) {
        KNOWN.set([pg_sys::InvalidOid; TABLES.len()]);
    }
}

/// Whether the extension's journal is in this database. Needs a transaction.
pub fn exists() -> bool {
    table(current()).is_some()
}

fn current() -> usize {
    shared::get().map_or(0, |shared| shared.journal.load(SeqCst) as usize % TABLES.len())
}

fn table(which: usize) -> Option<pg_sys::Oid> {
    let known = KNOWN.get()[which];
    if known != pg_sys::InvalidOid {
        return Some(known);
    }
    let found = look_up(which)?;
    let mut tables = KNOWN.get();
    tables[which] = found;
    KNOWN.set(tables);
    Some(found)
}

fn look_up(which: usize) -> Option<pg_sys::Oid> {
    // Safe: catalog cache look-ups inside a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"steward".as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            return None;
        }
        let table = pg_sys::get_relname_relid(TABLES[which].as_ptr(), schema);
        (table != pg_sys::InvalidOid).then_some(table)
    }
}

/// Adds encoded records to the journal in the current transaction, in order. For the pre-commit callback: no SPI, no
/// snapshot, no user code. Raises what a heap insertion raises; None if the journal is not there. Otherwise how many rows
/// are to be counted when the transaction commits: all, or none where nobody counts.
pub fn write(records: &[&[u8]]) -> Option<u64> {
    if records.is_empty() {
        return None;
    }
    let count = journal_count::name();
    let mut rows = 1;
    // Safe: inside a transaction that may write. The lock is kept to its end, so that an emptied journal has no writer.
    unsafe {
        let xid = match raw::GetTopFullTransactionIdIfAny().value {
            0 => pg_sys::GetTopFullTransactionId().value,
            known => known,
        };
        let which = if PART.get().0 == xid { PART.get().2 } else { current() };
        let relation = open(which)?;
        let mut batch = start_batch(xid, which, count);
        for record in records {
            if !batch.has_room(record, BATCH_MAX) {
                insert(relation, batch.bytes());
                batch = start_batch(xid, which, count);
                rows += 1;
            }
            batch.push(record);
        }
        insert(relation, batch.bytes());
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    Some(if count == 0 { 0 } else { rows })
}

/// A journal to write to. One that another session has just dropped is looked up again.
unsafe fn open(which: usize) -> Option<pg_sys::Relation> {
    for _ in 0..2 {
        let table = table(which)?;
        // Safe: locks before it looks, and answers null for a table that is gone.
        let relation = unsafe { pg_sys::try_table_open(table, pg_sys::RowExclusiveLock as i32) };
        if relation.is_null() {
            forget(table);
        } else if unsafe { is_as_created(relation) } {
            return Some(relation);
        } else {
            // Safe: just opened.
            unsafe { pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32) };
            return None;
        }
    }
    None
}

/// Whether its one column is a bytea: what is formed and read here has no room for more. Somebody may have altered it while
/// the library was not loaded; verification tells of that.
unsafe fn is_as_created(relation: pg_sys::Relation) -> bool {
    // Safe: an open relation, whose descriptor stays while it is open.
    unsafe {
        let columns = (*(*relation).rd_att).attrs.as_slice((*(*relation).rd_att).natts as usize);
        columns.len() == 1 && columns[0].atttypid == pg_sys::BYTEAOID && !columns[0].attisdropped
    }
}

/// The journals that are gone, or not as they were created: nothing is written to them and nothing is taken out of them. Needs
/// a transaction.
pub(crate) fn altered() -> Vec<String> {
    let altered = |which: &usize| match table(*which) {
        None => true,
        // Safe: inside a transaction; answers null for a table that is gone.
        Some(table) => unsafe {
            let relation = pg_sys::try_table_open(table, pg_sys::AccessShareLock as i32);
            let sound = !relation.is_null() && is_as_created(relation);
            if !relation.is_null() {
                pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            }
            !sound
        },
    };
    let name = |which: usize| format!("steward.{}", TABLES[which].to_string_lossy());
    (0..TABLES.len()).filter(altered).map(name).collect()
}

fn start_batch<'a>(xid: u64, which: usize, count: u32) -> Batch<'a> {
    let (last, next, _) = PART.get();
    let part = if last == xid { next } else { 0 };
    PART.set((xid, part + 1, which));
    Batch::new(xid, part, count)
}

unsafe fn insert(relation: pg_sys::Relation, batch: &[u8]) {
    // Safe: as below. An error inside passes no frame that has something to drop.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| insert_row(relation, batch)) }
}

unsafe fn insert_row(relation: pg_sys::Relation, batch: &[u8]) {
    // Safe: `relation` is the open journal, whose one column is a bytea; everything formed here is freed here.
    unsafe {
        let size = pg_sys::VARHDRSZ + batch.len();
        let value = palloc(size).cast::<pg_sys::varlena>();
        set_varsize_4b(value, size as i32);
        std::ptr::copy_nonoverlapping(batch.as_ptr(), value.cast::<u8>().add(pg_sys::VARHDRSZ), batch.len());
        let (mut datum, mut is_null) = (pg_sys::Datum::from(value), false);
        let row = heap_form_tuple((*relation).rd_att, &mut datum, &mut is_null);
        simple_heap_insert(relation, row);
        heap_freetuple(row);
        pfree(value.cast());
    }
}

/// What the sequencer took out of the journals.
#[derive(Default)]
pub(crate) struct Taken {
    /// In the order of transactions, and of writing within each.
    pub records: Vec<Vec<u8>>,
    /// Rows that are not as they were written: as they are, and what can be made of them.
    pub damaged: Vec<(Vec<u8>, Content)>,
    /// Rows by whose count they are in.
    pub counted: BTreeMap<i64, i64>,
    /// A limit was reached before the end of a journal.
    pub more: bool,
}

/// Deletes committed rows of the journals and returns their records: about `max_bytes`, never half a row. `count` says, of a
/// row's transaction and name, whose count it is in.
pub(crate) fn take(max_bytes: usize, count: impl Fn(u64, u32) -> i64) -> Taken {
    let mut taken = Taken::default();
    let mut batches = Vec::new();
    let mut left = max_bytes;
    for table in (0..TABLES.len()).filter_map(table) {
        taken.more |= visit(table, |row| {
            let batch = batch::read(row);
            let size: usize = batch.records.iter().map(|record| record.len() + RECORD_BYTES).sum();
            left = left.saturating_sub(size.max(row.len()));
            if batch.count != 0 {
                *taken.counted.entry(count(batch.xid, batch.count)).or_default() += 1;
            }
            if batch.intact {
                batches.push(batch);
            } else {
                taken.damaged.push((row.to_vec(), batch));
            }
            left > 0
        });
    }
    batches.sort_by_key(|batch| (batch.xid, batch.part));
    taken.records = batches.into_iter().flat_map(|batch| batch.records).collect();
    taken
}

/// Hands each visible row to `each` and deletes it; stops early, and returns true, when `each` returns false.
fn visit(table: pg_sys::Oid, mut each: impl FnMut(&[u8]) -> bool) -> bool {
    let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
        | pg_sys::ScanOptions::SO_ALLOW_STRAT
        | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
    // Safe: a transaction with an active snapshot is open; row and value are used before the scan moves on.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if !is_as_created(relation) {
            pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
            return false;
        }
        let (none, unshared) = (std::ptr::null_mut(), std::ptr::null_mut());
        let scan = pg_sys::heap_beginscan(relation, pg_sys::GetActiveSnapshot(), 0, none, unshared, flags);
        let mut stopped = false;
        let mut row = pg_sys::ffi::pg_guard_ffi_boundary(|| Row::next(relation, scan));
        while let Some(found) = row.filter(|_| !stopped) {
            // A NULL, which nothing of ours writes, is a damaged row like any other.
            stopped = !each(if found.value.is_null() { &[] } else { varlena_to_byte_slice(found.value) });
            row = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                found.delete(relation);
                Row::next(relation, scan)
            });
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        stopped
    }
}

/// A row of a journal, and its value. Its functions run under the guard of `visit`, and hold nothing to drop.
#[derive(Clone, Copy)]
struct Row {
    row: pg_sys::HeapTuple,
    stored: *mut pg_sys::varlena,
    value: *mut pg_sys::varlena,
}

impl Row {
    unsafe fn next(relation: pg_sys::Relation, scan: pg_sys::TableScanDesc) -> Option<Row> {
        // Safe: the scan of this relation is open; the row stays where it is until the scan moves on.
        unsafe {
            let row = heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if row.is_null() {
                return None;
            }
            let (mut datum, mut is_null) = (pg_sys::Datum::from(0), true);
            heap_deform_tuple(row, (*relation).rd_att, &mut datum, &mut is_null);
            let stored: *mut pg_sys::varlena = if is_null { std::ptr::null_mut() } else { datum.cast_mut_ptr() };
            let value = if is_null { stored } else { pg_detoast_datum_packed(stored) };
            Some(Row { row, stored, value })
        }
    }

    unsafe fn delete(self, relation: pg_sys::Relation) {
        // Safe: as above.
        unsafe {
            if self.value != self.stored {
                pfree(self.value.cast());
            }
            simple_heap_delete(relation, &mut (*self.row).t_self);
        }
    }
}

/// Lets backends write to an empty journal once this one has grown, and empties those they left as soon as their last
/// writers have ended. Never waits: a lock that is not free is tried again after the next round. Needs a transaction of
/// its own, since what it empties must have been taken and committed before.
pub(super) fn rotate() -> Outcome<()> {
    let Some(shared) = shared::get() else { return Ok(()) };
    let used = current();
    let tables: Vec<(usize, pg_sys::Oid)> =
        (0..TABLES.len()).filter_map(|which| Some((which, table(which)?))).collect();
    let large = |which: usize| tables.iter().any(|(known, table)| *known == which && pages(*table) > ROTATE_AT_PAGES);
    for (which, table) in tables.iter().filter(|(which, _)| *which != used) {
        if large(*which) {
            empty(*which, *table)?;
        }
    }
    if large(used)
        && let Some((next, _)) = tables.iter().find(|(which, _)| *which != used && !large(*which))
    {
        shared.journal.store(*next as u32, SeqCst);
    }
    Ok(())
}

/// With those of its TOAST table, where long rows are.
fn pages(table: pg_sys::Oid) -> u32 {
    // Safe: inside a transaction; the lock conflicts with no writer.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        let toast = (*(*relation).rd_rel).reltoastrelid;
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        // What somebody keeps locked is as large as it may be.
        let free = |toast| pg_sys::ConditionalLockRelationOid(toast, pg_sys::AccessShareLock as i32);
        if toast == pg_sys::InvalidOid || !free(toast) { pages } else { pages + self::pages(toast) }
    }
}

fn empty(which: usize, table: pg_sys::Oid) -> Outcome<()> {
    // Safe: inside a transaction with an active snapshot, which is replaced for the second look.
    unsafe {
        if !segment::lock_whole(table, pg_sys::AccessExclusiveLock) {
            return Ok(());
        }
        // Nobody writes any more; a row that was committed meanwhile is still to be taken.
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let clean = is_empty(table);
        pg_sys::PopActiveSnapshot();
        if !clean {
            return Ok(());
        }
    }
    own::run(|client| own::execute(client, TRUNCATE[which], &[]).map(drop))
}

unsafe fn is_empty(table: pg_sys::Oid) -> bool {
    let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
        | pg_sys::ScanOptions::SO_ALLOW_STRAT
        | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
    // Safe: called by `empty` under its lock and snapshot.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::NoLock as i32);
        let (none, unshared) = (std::ptr::null_mut(), std::ptr::null_mut());
        let scan = pg_sys::heap_beginscan(relation, pg_sys::GetActiveSnapshot(), 0, none, unshared, flags);
        let row = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        row.is_null()
    }
}
