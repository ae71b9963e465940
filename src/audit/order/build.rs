//! Building the index, and hearing of rows that came on another way than through the sequencer.

use super::{mark, page};
use crate::error::Fault;
use pgrx::itemptr::item_pointer_get_both;
use pgrx::prelude::*;
use std::ffi::c_void;

/// What a build has seen: the highest id of the pages before the present one, and of this one.
struct Seen {
    before: Option<i64>,
    block: pg_sys::BlockNumber,
    highest: Option<i64>,
    rows: f64,
    disordered: bool,
}

/// Reads the whole table to see whether it lies in its order.
#[pg_guard]
pub unsafe extern "C-unwind" fn build(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // Safe: called while the index is created; the scan hands each row to `see` with the state given here.
    unsafe {
        require_ids(heap, index, info);
        let mut seen = Seen { before: None, block: 0, highest: None, rows: 0.0, disordered: false };
        if let Some(scan) = (*(*heap).rd_tableam).index_build_range_scan {
            let (all, state) = (pg_sys::InvalidBlockNumber, (&raw mut seen).cast());
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                scan(heap, index, info, false, false, true, 0, all, Some(see), state, std::ptr::null_mut())
            });
        }
        mark::create(index, seen.disordered);
        let mut result = pgrx::PgBox::<pg_sys::IndexBuildResult>::alloc0();
        result.heap_tuples = seen.rows;
        result.index_tuples = seen.rows;
        result.into_pg()
    }
}

/// The table of a segment, or one like it.
unsafe fn require_ids(heap: pg_sys::Relation, index: pg_sys::Relation, info: *mut pg_sys::IndexInfo) {
    // Safe: relations that are open, with as many attributes as they say; an index of this method has one column.
    unsafe {
        let column = (*info).ii_IndexAttrNumbers[0];
        let is_id = column == page::ID && (*(*heap).rd_att).attrs.as_slice(1)[0].atttypid == pg_sys::INT8OID;
        let whole = (*info).ii_Predicate.is_null() && *(*index).rd_indoption == 0 && !(*info).ii_Concurrent;
        if !is_id || !whole {
            Fault::unsupported("an index of this access method is on the first column of a table, a bigint")
                .detail("Neither partial nor descending nor built concurrently.")
                .raise();
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn see(
    _index: pg_sys::Relation,
    place: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    _alive: bool,
    state: *mut c_void,
) {
    // Safe: the state is what `build` gave; the row has one indexed value.
    unsafe {
        let seen = &mut *state.cast::<Seen>();
        let (block, _) = item_pointer_get_both(*place);
        if block != seen.block {
            (seen.block, seen.before) = (block, seen.highest);
        }
        let id = (!*nulls).then(|| (*values).value() as i64);
        seen.disordered |= id.is_none() || id <= seen.before;
        seen.highest = seen.highest.max(id);
        seen.rows += 1.0;
    }
}

/// Rows that do not survive a crash are no records.
#[pg_guard]
pub unsafe extern "C-unwind" fn build_empty(_index: pg_sys::Relation) {
    Fault::unsupported("an index of this access method is not for unlogged tables").raise()
}

/// A row that the sequencer has not put there.
#[pg_guard]
#[allow(clippy::too_many_arguments)] // the server's own signature
pub unsafe extern "C-unwind" fn insert(
    index: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    place: pg_sys::ItemPointer,
    heap: pg_sys::Relation,
    _unique: pg_sys::IndexUniqueCheck::Type,
    _unchanged: bool,
    _info: *mut pg_sys::IndexInfo,
) -> bool {
    // Safe: the row is on its page already, and has one indexed value.
    unsafe {
        let id = (!*nulls).then(|| (*values).value() as i64);
        if !id.is_some_and(|id| is_last(heap, *place, id)) {
            mark::set_disordered(index);
        }
    }
    false
}

/// Whether the row lies behind every other one, dead ones included, and has a higher id than the last of them. Of two who
/// add rows at one time the later sees the other's.
unsafe fn is_last(heap: pg_sys::Relation, place: pg_sys::ItemPointerData, id: i64) -> bool {
    let (block, offset) = item_pointer_get_both(place);
    let mut rows = Vec::new();
    // Safe: the table is open and locked.
    unsafe {
        if pg_sys::RelationGetNumberOfBlocksInFork(heap, pg_sys::ForkNumber::MAIN_FORKNUM) != block + 1 {
            return false;
        }
        for before in (0..=block).rev() {
            page::read(heap, None, before, &mut rows);
            rows.retain(|row| before != block || item_pointer_get_both(row.place).1 != offset);
            if let Some(last) = rows.last() {
                return last.id.is_some_and(|last| last < id);
            }
        }
    }
    true
}

/// There are no entries.
#[pg_guard]
pub unsafe extern "C-unwind" fn nothing_to_delete(
    _info: *mut pg_sys::IndexVacuumInfo,
    statistics: *mut pg_sys::IndexBulkDeleteResult,
    _dead: pg_sys::IndexBulkDeleteCallback,
    _state: *mut c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    statistics
}

#[pg_guard]
pub unsafe extern "C-unwind" fn nothing_to_clean(
    _info: *mut pg_sys::IndexVacuumInfo,
    statistics: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    statistics
}
