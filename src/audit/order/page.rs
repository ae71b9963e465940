//! One page of a table: the rows on it that a snapshot sees, with their ids.

use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;
use std::cmp::Ordering;

/// The column that is indexed: always the table's first, a bigint.
pub const ID: i16 = 1;

/// No page holds more rows: each has a header and a line pointer.
const MAX_ROWS: usize = (pg_sys::BLCKSZ as usize - 24) / (24 + 4);

// Called for every page or row: within one guard for the whole page instead of one for each call.
unsafe extern "C-unwind" {
    fn ReadBuffer(relation: pg_sys::Relation, block: pg_sys::BlockNumber) -> pg_sys::Buffer;
    fn LockBuffer(buffer: pg_sys::Buffer, mode: i32);
    fn UnlockReleaseBuffer(buffer: pg_sys::Buffer);
    fn HeapTupleSatisfiesVisibility(
        tuple: pg_sys::HeapTuple,
        snapshot: pg_sys::Snapshot,
        buffer: pg_sys::Buffer,
    ) -> bool;
    fn heap_get_root_tuples(page: pg_sys::Page, roots: *mut pg_sys::OffsetNumber);
}

/// A row, and where an index says it is: at the head of its chain of updates on the page.
#[derive(Clone, Copy)]
pub struct Row {
    /// None: it is NULL, which the chain forbids.
    pub id: Option<i64>,
    pub place: pg_sys::ItemPointerData,
}

impl Row {
    /// As a btree sorts: NULL comes last.
    pub fn compare(&self, other: &Row) -> Ordering {
        (self.id.is_none(), self.id).cmp(&(other.id.is_none(), other.id))
    }
}

/// Fills `rows` with what the snapshot sees on a page, in the order of ids. No snapshot: with whatever lies there, dead or
/// alive.
pub unsafe fn read(
    heap: pg_sys::Relation,
    snapshot: Option<pg_sys::Snapshot>,
    block: pg_sys::BlockNumber,
    rows: &mut Vec<Row>,
) {
    rows.clear();
    rows.reserve(MAX_ROWS);
    // Safe: the relation is open and locked. An error inside passes no frame that has something to drop, and there is
    // room for every row.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| collect(heap, snapshot, block, rows)) };
    rows.sort_unstable_by(Row::compare);
}

unsafe fn collect(
    heap: pg_sys::Relation,
    snapshot: Option<pg_sys::Snapshot>,
    block: pg_sys::BlockNumber,
    rows: &mut Vec<Row>,
) {
    // Safe: the page is read under its lock, each row in the bounds that its line pointer gives.
    unsafe {
        let buffer = ReadBuffer(heap, block);
        LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let page = pg_sys::BufferGetPage(buffer);
        let count = if pg_sys::PageIsNew(page) { 0 } else { pg_sys::PageGetMaxOffsetNumber(page) };
        let mut roots: Option<[pg_sys::OffsetNumber; MAX_ROWS]> = None;
        let mut tuple = pg_sys::HeapTupleData { t_tableOid: (*heap).rd_id, ..Default::default() };
        for offset in 1..=count {
            let item = pg_sys::PageGetItemId(page, offset);
            if (*item).lp_flags() != pg_sys::LP_NORMAL {
                continue;
            }
            tuple.t_data = pg_sys::PageGetItem(page, item).cast();
            tuple.t_len = (*item).lp_len();
            item_pointer_set_all(&mut tuple.t_self, block, offset);
            if snapshot.is_some_and(|snapshot| !HeapTupleSatisfiesVisibility(&mut tuple, snapshot, buffer)) {
                continue;
            }
            let mut place = tuple.t_self;
            if u32::from((*tuple.t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0 {
                let roots = roots.get_or_insert_with(|| {
                    let mut roots = [0; MAX_ROWS];
                    heap_get_root_tuples(page, roots.as_mut_ptr());
                    roots
                });
                item_pointer_set_all(&mut place, block, roots[usize::from(offset) - 1]);
            }
            rows.push(Row { id: id(tuple.t_data), place });
        }
        UnlockReleaseBuffer(buffer);
    }
}

/// The first column, which is of fixed length and so begins where the row's values do; None where it is NULL or was added
/// after the row.
unsafe fn id(tuple: pg_sys::HeapTupleHeader) -> Option<i64> {
    // Safe: a stored row of a table whose first column is a bigint.
    unsafe {
        let has_nulls = u32::from((*tuple).t_infomask) & pg_sys::HEAP_HASNULL != 0;
        let columns = u32::from((*tuple).t_infomask2) & pg_sys::HEAP_NATTS_MASK;
        if columns == 0 || has_nulls && *(*tuple).t_bits.as_ptr() & 1 == 0 {
            return None;
        }
        Some(tuple.cast::<u8>().add(usize::from((*tuple).t_hoff)).cast::<i64>().read())
    }
}
