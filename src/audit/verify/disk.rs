//! Reads the whole chain in the order of the disk: every row version that the statement's snapshot sees, in the chain's
//! table and in all that inherit from it, with no query and no index between.
//!
//! An ERROR inside a call of PostgreSQL unwinds these frames, which ends the reader's threads; scans, pins and locks
//! PostgreSQL then gives back by itself.

use super::Reader;
use super::progress::Progress;
use crate::core::chain::{Disorder, Order};
use crate::error::{Fault, Outcome};
use pgrx::prelude::*;
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u, varlena_to_byte_slice};
use std::ffi::CStr;

const COLUMNS: [(&CStr, pg_sys::Oid); 4] = [
    (c"id", pg_sys::INT8OID),
    (c"record", pg_sys::BYTEAOID),
    (c"prev_hash", pg_sys::BYTEAOID),
    (c"hash", pg_sys::BYTEAOID),
];
// Not among the bindings. An ERROR in it must not pass Rust frames: to be called through `pg_guard_ffi_boundary` only.
unsafe extern "C-unwind" {
    fn find_all_inheritors(
        parent: pg_sys::Oid,
        lock: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
}

/// Records between two reports of progress.
const REPORT: usize = 8_192;

/// The chain's table.
pub(super) fn chain() -> pg_sys::Oid {
    // Safe: catalog cache look-ups inside a transaction.
    unsafe { pg_sys::get_relname_relid(c"chain".as_ptr(), pg_sys::get_namespace_oid(c"steward".as_ptr(), false)) }
}

/// A table that holds records, locked against changes of its shape until the end of the transaction.
pub(super) struct Table {
    oid: pg_sys::Oid,
    /// The numbers of [`COLUMNS`].
    columns: [i16; 4],
}

/// The chain's table and all that inherit from it. A relation of another shape or kind is damage that has no place in a
/// verdict: nothing in it could be read as a record.
pub(super) fn tables() -> Outcome<Vec<Table>> {
    match lock() {
        Some(oids) => oids.into_iter().map(table).collect(),
        None => Err(not_the_chain("there is no table steward.chain")),
    }
}

/// Keeps anybody from changing the shape of the chain's table and of all that inherit from it; None if it is not there.
pub(super) fn lock() -> Option<Vec<pg_sys::Oid>> {
    let lock = pg_sys::AccessShareLock as i32;
    let chain = chain();
    if chain == pg_sys::InvalidOid {
        return None;
    }
    // Safe: inside a transaction; the list is PostgreSQL's and freed with its memory context.
    unsafe {
        pg_sys::LockRelationOid(chain, lock);
        let list = pg_sys::ffi::pg_guard_ffi_boundary(|| find_all_inheritors(chain, lock, std::ptr::null_mut()));
        Some((0..(*list).length).map(|at| (*(*list).elements.add(at as usize)).oid_value).collect())
    }
}

fn table(oid: pg_sys::Oid) -> Outcome<Table> {
    // Safe: the relation is locked, so it exists.
    unsafe {
        if pg_sys::get_rel_relkind(oid) as u8 != pg_sys::RELKIND_RELATION {
            return Err(not_the_chain("something that is no table inherits from steward.chain"));
        }
        let mut columns = [0; 4];
        for (column, (name, wanted)) in columns.iter_mut().zip(COLUMNS) {
            *column = pg_sys::get_attnum(oid, name.as_ptr());
            if *column <= 0 || pg_sys::get_atttype(oid, *column) != wanted {
                return Err(not_the_chain("the columns of steward.chain are not those of the audit chain"));
            }
        }
        Ok(Table { oid, columns })
    }
}

fn not_the_chain(message: &str) -> Fault {
    Fault::corrupted(message).hint("Somebody changed the table while pg_steward was not loaded; see CREATE EXTENSION.")
}

/// Pushes every record, if they can be read in the order of ids from `first` on. Otherwise the reader has seen some.
pub(super) fn read(
    tables: &[Table],
    first: i64,
    reader: &mut Reader,
    progress: &Progress,
) -> Outcome<Result<(), Disorder>> {
    let mut order = Order::new(first);
    let mut read = 0;
    for table in in_order(tables) {
        let stopped = table.visit(|row| {
            read += 1;
            if read % REPORT == 0 {
                progress.report(reader.checked());
            }
            let Some(id) = row.id else { return false };
            let mut push = |id, record: &_, prev_hash: &_, hash: &_| reader.push(id, record, prev_hash, hash);
            order.push(id, row.record, row.prev_hash, row.hash, &mut push).is_ok()
        });
        if stopped {
            return Ok(Err(Disorder));
        }
    }
    Ok(order.finish())
}

/// The tables by their first record on disk, which in a chain that nobody touched is also the first by id.
fn in_order(tables: &[Table]) -> Vec<&Table> {
    let mut filled: Vec<(i64, &Table)> = Vec::new();
    for table in tables {
        table.visit(|row| {
            filled.push((row.id.unwrap_or_default(), table));
            false
        });
    }
    filled.sort_by_key(|(first, _)| *first);
    filled.into_iter().map(|(_, table)| table).collect()
}

/// A row as it is stored. A NULL, which the table forbids, reads as no bytes: as wrong as any.
struct Row<'a> {
    id: Option<i64>,
    record: &'a [u8],
    prev_hash: &'a [u8],
    hash: &'a [u8],
}

impl Table {
    /// Whether this transaction may have changed the table, its rows or its shape: whatever does so takes such a lock, and
    /// keeps it until the change cannot be taken back any more.
    pub(super) fn may_be_changed_here(&self) -> bool {
        let tag = pg_sys::LOCKTAG {
            // Safe: the database of this session.
            locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
            locktag_field2: self.oid.to_u32(),
            locktag_field3: 0,
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let lock = pg_sys::RowExclusiveLock as i32;
        // Safe: looks at this process's own locks.
        unsafe {
            #[cfg(any(feature = "pg15", feature = "pg16"))]
            return pg_sys::LockOrStrongerHeldByMe(&tag, lock);
            #[cfg(not(any(feature = "pg15", feature = "pg16")))]
            return pg_sys::LockHeldByMe(&tag, lock, true);
        }
    }

    /// Hands each visible row to `each`; stops early, and returns true, when `each` returns false.
    fn visit(&self, mut each: impl FnMut(Row<'_>) -> bool) -> bool {
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_STRAT
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        // Safe: a statement with an active snapshot runs, and the relation is locked. Each row and its values are used
        // before the scan moves on. The scan heeds cancel and timeouts at each page.
        unsafe {
            let relation = pg_sys::table_open(self.oid, pg_sys::NoLock as i32);
            let (none, unshared) = (std::ptr::null_mut(), std::ptr::null_mut());
            let scan = pg_sys::heap_beginscan(relation, pg_sys::GetActiveSnapshot(), 0, none, unshared, flags);
            let shape = (*relation).rd_att;
            let mut values = vec![pg_sys::Datum::from(0); (*shape).natts as usize];
            let mut nulls = vec![true; values.len()];
            let mut stopped = false;
            while !stopped {
                let row = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if row.is_null() {
                    break;
                }
                pg_sys::heap_deform_tuple(row, shape, values.as_mut_ptr(), nulls.as_mut_ptr());
                let [id, record, prev_hash, hash] = self.columns.map(|column| column as usize - 1);
                let id = (!nulls[id]).then(|| values[id].value() as i64);
                let bytes = [record, prev_hash, hash].map(|at| Bytes::of((!nulls[at]).then_some(values[at])));
                let [record, prev_hash, hash] = bytes.each_ref().map(Bytes::get);
                stopped = !each(Row { id, record, prev_hash, hash });
            }
            pg_sys::heap_endscan(scan);
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            stopped
        }
    }
}

/// A bytea value: where it is stored, or unpacked.
struct Bytes {
    value: *mut pg_sys::varlena,
    unpacked: bool,
}

impl Bytes {
    unsafe fn of(datum: Option<pg_sys::Datum>) -> Bytes {
        let Some(datum) = datum else { return Bytes { value: std::ptr::null_mut(), unpacked: false } };
        let stored: *mut pg_sys::varlena = datum.cast_mut_ptr();
        // Safe: the datum is a bytea of a live row. Most are stored plainly, which saves the call.
        let value = unsafe {
            let plain = varatt_is_4b_u(stored) || varatt_is_1b(stored) && !varatt_is_1b_e(stored);
            if plain { stored } else { pg_sys::pg_detoast_datum_packed(stored) }
        };
        Bytes { value, unpacked: value != stored }
    }

    fn get(&self) -> &[u8] {
        // Safe: not packed, and alive until this is dropped or the scan moves on.
        if self.value.is_null() { &[] } else { unsafe { varlena_to_byte_slice(self.value) } }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if self.unpacked {
            // Safe: it was allocated for this value.
            unsafe { pg_sys::pfree(self.value.cast()) }
        }
    }
}
