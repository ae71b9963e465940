//! Reading a table in the order of its ids, forwards or backwards, from any id on.
//!
//! Everything here goes by what the scan's snapshot sees: those rows lie in the order of their ids, from page to page, if
//! nothing is marked. Rows of others, of rounds that failed or are not committed yet, may lie between them and say nothing.

use super::{mark, page};
use page::Row;
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, check_for_interrupts};

/// Guesses that a search begins with.
const GUESSES: i32 = 6;

/// A scan between two calls.
struct Scan {
    heap: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    /// The ids asked for: from, to.
    from: i64,
    to: i64,
    /// Any conditions at all; a row without an id fulfils none.
    conditions: bool,
    /// The last page on which something is seen, if there is one, once it was looked for. The
    /// snapshot sees the same for as long as the scan lives.
    newest: Option<Option<Page>>,
    /// None of what is asked for lies before the first page or behind the last.
    first: i64,
    last: i64,
    /// The page whose rows are at hand.
    block: i64,
    rows: Vec<Row>,
    /// The row that was returned last; -1 or the number of rows beside them.
    at: isize,
    placed: bool,
}

/// A page on which something is seen: the id of its last row, and how many there are.
#[derive(Clone, Copy)]
struct Page {
    block: i64,
    id: i64,
    rows: i64,
}

#[pg_guard]
pub unsafe extern "C-unwind" fn begin(index: pg_sys::Relation, keys: i32, orders: i32) -> pg_sys::IndexScanDesc {
    // Safe: the descriptor and what hangs on it are freed with the memory context of the query, also after an error.
    unsafe {
        let scan = pg_sys::RelationGetIndexScan(index, keys, orders);
        let state = Scan {
            heap: std::ptr::null_mut(),
            snapshot: std::ptr::null_mut(),
            from: i64::MIN,
            to: i64::MAX,
            conditions: false,
            newest: None,
            first: 0,
            last: -1,
            block: 0,
            rows: Vec::new(),
            at: -1,
            placed: false,
        };
        (*scan).opaque = PgMemoryContexts::CurrentMemoryContext.leak_and_drop_on_delete(state).cast();
        scan
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn again(
    scan: pg_sys::IndexScanDesc,
    keys: pg_sys::ScanKey,
    _count: i32,
    _orders: pg_sys::ScanKey,
    _order_count: i32,
) {
    // Safe: as many keys as the scan was begun for.
    unsafe {
        let count = (*scan).numberOfKeys as usize;
        if !keys.is_null() && count > 0 {
            std::ptr::copy(keys, (*scan).keyData, count);
        }
        let state = &mut *(*scan).opaque.cast::<Scan>();
        let keys = if count > 0 { std::slice::from_raw_parts((*scan).keyData, count) } else { &[] };
        (state.from, state.to) = range(keys);
        state.conditions = count > 0;
        state.placed = false;
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn next(scan: pg_sys::IndexScanDesc, direction: pg_sys::ScanDirection::Type) -> bool {
    // Safe: called between `again` and `end`, with the table open and a snapshot that outlives the scan.
    unsafe {
        let forward = direction != pg_sys::ScanDirection::BackwardScanDirection;
        let Some(row) = place(scan, forward).step(forward) else { return false };
        (*scan).xs_heaptid = row.place;
        (*scan).xs_recheck = false;
        true
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn bitmap(scan: pg_sys::IndexScanDesc, found: *mut pg_sys::TIDBitmap) -> i64 {
    let mut count = 0;
    // Safe: as above. A bitmap scan knows the table by its id alone.
    unsafe {
        let table = pg_sys::IndexGetRelation((*(*scan).indexRelation).rd_id, false);
        (*scan).heapRelation = pg_sys::table_open(table, pg_sys::NoLock as i32);
        while let Some(mut row) = place(scan, true).step(true) {
            pg_sys::tbm_add_tuples(found, &mut row.place, 1, false);
            count += 1;
        }
        pg_sys::table_close((*scan).heapRelation, pg_sys::NoLock as i32);
        (*scan).heapRelation = std::ptr::null_mut();
    }
    count
}

#[pg_guard]
pub unsafe extern "C-unwind" fn end(scan: pg_sys::IndexScanDesc) {
    // Safe: the state itself goes with its memory context.
    unsafe { (*(*scan).opaque.cast::<Scan>()).rows = Vec::new() }
}

/// What the conditions leave of all ids; nothing if the first is higher than the second.
fn range(keys: &[pg_sys::ScanKeyData]) -> (i64, i64) {
    const NOTHING: (i64, i64) = (i64::MAX, i64::MIN);
    let (mut from, mut to) = (i64::MIN, i64::MAX);
    for key in keys {
        if key.sk_flags as u32 & pg_sys::SK_ISNULL != 0 {
            return NOTHING;
        }
        let value = key.sk_argument.value();
        let value = match key.sk_subtype {
            pg_sys::INT2OID => i64::from(value as i16),
            pg_sys::INT4OID => i64::from(value as i32),
            _ => value as i64,
        };
        let (above, below) = match u32::from(key.sk_strategy) {
            pg_sys::BTLessStrategyNumber => (Some(i64::MIN), value.checked_sub(1)),
            pg_sys::BTLessEqualStrategyNumber => (Some(i64::MIN), Some(value)),
            pg_sys::BTEqualStrategyNumber => (Some(value), Some(value)),
            pg_sys::BTGreaterEqualStrategyNumber => (Some(value), Some(i64::MAX)),
            pg_sys::BTGreaterStrategyNumber => (value.checked_add(1), Some(i64::MAX)),
            _ => (None, None),
        };
        let (Some(above), Some(below)) = (above, below) else { return NOTHING };
        (from, to) = (from.max(above), to.min(below));
    }
    (from, to)
}

/// The scan's state, beside the first row that it is to return.
unsafe fn place<'a>(scan: pg_sys::IndexScanDesc, forward: bool) -> &'a mut Scan {
    // Safe: made by `begin`, and used by one call at a time.
    unsafe {
        let state = &mut *(*scan).opaque.cast::<Scan>();
        if !state.placed {
            (state.heap, state.snapshot) = ((*scan).heapRelation, (*scan).xs_snapshot);
            (state.first, state.last, state.block) = (0, -1, 0);
            state.rows.clear();
            if state.from <= state.to {
                let seen_once = (*state.snapshot).snapshot_type != pg_sys::SnapshotType::SNAPSHOT_MVCC;
                if seen_once || mark::is_disordered((*scan).indexRelation) {
                    state.sort()
                } else {
                    state.search(forward)
                }
            }
            state.at = if forward { -1 } else { state.rows.len() as isize };
            state.placed = true;
        }
        state
    }
}

impl Scan {
    /// The next row in that direction.
    unsafe fn step(&mut self, forward: bool) -> Option<Row> {
        loop {
            let at = (self.at + if forward { 1 } else { -1 }).clamp(-1, self.rows.len() as isize);
            self.at = at;
            if let Some(row) = usize::try_from(at).ok().and_then(|at| self.rows.get(at)) {
                return Some(*row);
            }
            if if forward { self.block >= self.last } else { self.block <= self.first } {
                return None;
            }
            // Safe: a page of the table.
            unsafe { self.load(if forward { self.block + 1 } else { self.block - 1 }) };
            self.at = if forward { -1 } else { self.rows.len() as isize };
        }
    }

    /// Goes to the first page that may hold what is asked for, or to the last.
    unsafe fn search(&mut self, forward: bool) {
        // Safe: pages of the table.
        unsafe {
            let Some(newest) = self.newest() else {
                self.rows.clear();
                return;
            };
            self.last = newest.block;
            if forward {
                self.block = self.first_page(self.from, newest);
                self.first = self.block;
            } else {
                let beyond = if self.to == i64::MAX { newest.block } else { self.first_page(self.to + 1, newest) };
                self.last = beyond.min(newest.block);
                self.block = self.last;
            }
            if self.block <= newest.block {
                self.load(self.block);
            } else {
                self.rows.clear();
            }
        }
    }

    /// The first page whose last row has this id or a higher one; behind the newest if there is none. Ids have no gaps and
    /// records are of one length or another, so a guess is mostly near; where guesses fail, the rest is halved.
    unsafe fn first_page(&mut self, id: i64, newest: Page) -> i64 {
        if id == i64::MIN {
            return 0;
        }
        if id > newest.id {
            return newest.block + 1;
        }
        let (mut low, mut high) = (0, newest.block);
        let (mut from, mut rows_per_page) = (Some(newest), newest.rows.max(1));
        for probe in 0.. {
            if low >= high {
                break;
            }
            let guess = from
                .filter(|_| probe < GUESSES)
                .map(|near| near.block.saturating_sub(near.id.saturating_sub(id) / rows_per_page));
            let at = guess.unwrap_or(low + (high - low) / 2).clamp(low, high - 1);
            // What lies between the page that is found and the one that was asked for holds nothing that is seen.
            // Safe: pages of the table.
            let Some(found) = (unsafe { self.last_row(low, at) }) else {
                low = at + 1;
                continue;
            };
            if found.id < id {
                low = at + 1;
            } else if self.rows.first().is_some_and(|row| row.id <= Some(id)) {
                return found.block;
            } else {
                high = found.block;
            }
            (from, rows_per_page) = (Some(found), found.rows.max(1));
        }
        low
    }

    /// The last page from `low` to `high` on which something is seen; its rows are at hand. A NULL is nothing to go by.
    unsafe fn last_row(&mut self, low: i64, high: i64) -> Option<Page> {
        for block in (low..=high).rev() {
            check_for_interrupts!();
            // Safe: a page of the table.
            unsafe { page::read(self.heap, Some(self.snapshot), block as u32, &mut self.rows) };
            if let Some(id) = self.rows.last().and_then(|row| row.id) {
                return Some(Page { block, id, rows: self.rows.len() as i64 });
            }
        }
        None
    }

    /// The last page on which something is seen.
    unsafe fn newest(&mut self) -> Option<Page> {
        if let Some(newest) = self.newest {
            return newest;
        }
        // Safe: the table is open.
        let newest = unsafe {
            let pages = pg_sys::RelationGetNumberOfBlocksInFork(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM);
            self.last_row(0, i64::from(pages) - 1)
        };
        self.newest = Some(newest);
        newest
    }

    /// Takes in what is asked for of a page, and notes whether the rows beyond it are not.
    unsafe fn load(&mut self, block: i64) {
        check_for_interrupts!();
        // Safe: a page of the table.
        unsafe { page::read(self.heap, Some(self.snapshot), block as u32, &mut self.rows) };
        self.block = block;
        if self.rows.first().is_some_and(|row| row.id < Some(self.from)) {
            self.first = self.first.max(block);
        }
        if self.rows.last().is_some_and(|row| row.id > Some(self.to)) {
            self.last = self.last.min(block);
        }
        let (from, to, all) = (Some(self.from), Some(self.to), !self.conditions);
        self.rows.retain(|row| all || row.id.is_some() && row.id >= from && row.id <= to);
    }

    /// For a table that does not lie in its order: everything that is asked for, sorted.
    unsafe fn sort(&mut self) {
        let mut all = Vec::new();
        // Safe: pages of the table.
        unsafe {
            let pages = pg_sys::RelationGetNumberOfBlocksInFork(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM);
            for block in 0..i64::from(pages) {
                self.load(block);
                all.append(&mut self.rows);
            }
        }
        all.sort_by(Row::compare);
        self.rows = all;
        // One page, so to say.
        (self.first, self.last, self.block) = (0, 0, 0);
    }
}
