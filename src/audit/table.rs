//! Adds rows at the end of a segment of the chain, as COPY does: many at a time, without a plan. Neither triggers nor rules
//! of the table have a say.

use super::order;
use crate::core::chain::Hash;
use crate::core::record::{Kind, is_of_kind};
use pgrx::pg_sys;
use pgrx::varlena::set_varsize_4b;
use std::ffi::{c_int, c_void};

/// Rows that are handed over at once: a few pages. Each needs a slot, which the server keeps account of.
const ROWS: usize = 250;

// Called for every row: within one guard for many rows instead of one for each call.
unsafe extern "C-unwind" {
    fn palloc(size: usize) -> *mut c_void;
    fn MakeSingleTupleTableSlot(
        shape: pg_sys::TupleDesc,
        operations: *const pg_sys::TupleTableSlotOps,
    ) -> *mut pg_sys::TupleTableSlot;
    fn ExecStoreVirtualTuple(slot: *mut pg_sys::TupleTableSlot) -> *mut pg_sys::TupleTableSlot;
    fn heap_multi_insert(
        relation: pg_sys::Relation,
        slots: *mut *mut pg_sys::TupleTableSlot,
        count: c_int,
        command: pg_sys::CommandId,
        options: c_int,
        state: pg_sys::BulkInsertState,
    );
    fn ExecInsertIndexTuples(
        target: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
        update: bool,
        no_duplicate_error: bool,
        conflict: *mut bool,
        arbiters: *mut pg_sys::List,
    ) -> *mut pg_sys::List;
    fn ReScanExprContext(context: *mut pg_sys::ExprContext);
    fn MakePerTupleExprContext(estate: *mut pg_sys::EState) -> *mut pg_sys::ExprContext;
}

/// A row of the chain.
pub(super) struct Row<'a> {
    pub id: i64,
    pub record: &'a [u8],
    pub prev_hash: Hash,
    pub hash: Hash,
}

/// Columns of the chain's table.
const COLUMNS: usize = 4;

/// Inserts the rows in their order. Needs a transaction; raises what an insertion raises.
pub(super) fn insert<'a>(table: pg_sys::Oid, rows: impl Iterator<Item = Row<'a>>) {
    // Safe: the table is a segment of the chain, whose columns are the four of `Row`; slots, executor state and context
    // live as long as this call, and an error frees them with the transaction.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let estate = pg_sys::CreateExecutorState();
        let target = pgrx::PgBox::<pg_sys::ResultRelInfo>::alloc_node(pg_sys::NodeTag::T_ResultRelInfo).into_pg();
        pg_sys::InitResultRelInfo(target, relation, 1, std::ptr::null_mut(), 0);
        pg_sys::ExecOpenIndices(target, false);
        order::leave_out(target);
        let steps_only = has_steps_only(target);
        let mut inserter = Inserter { relation, estate, target, steps_only, slots: Vec::new(), indexed: Vec::new() };
        let mut context = pgrx::PgMemoryContexts::new("rows of the chain");
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            // An error inside passes no frame that has something to drop.
            context.switch_to(|_| {
                pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    rows.by_ref().take(ROWS).for_each(|row| inserter.fill(&row));
                    inserter.insert();
                });
            });
            context.reset();
        }
        for slot in inserter.slots {
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        pg_sys::ExecCloseIndices(target);
        pg_sys::FreeExecutorState(estate);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
}

/// Whether no index is open but that of the steps of operations, which is partial: all other records need not be shown to it.
unsafe fn has_steps_only(target: *mut pg_sys::ResultRelInfo) -> bool {
    // Safe: the table's indexes are open, but those that were let go.
    unsafe {
        let table = pgrx::PgRelation::from_pg((*target).ri_RelationDesc);
        let steps = format!("{}_operation", table.name());
        (0..(*target).ri_NumIndices as usize).all(|nth| {
            let index = *(*target).ri_IndexRelationDescs.add(nth);
            index.is_null()
                || pgrx::PgRelation::from_pg(index).name() == steps
                    && !(**(*target).ri_IndexRelationInfo.add(nth)).ii_Predicate.is_null()
        })
    }
}

struct Inserter {
    relation: pg_sys::Relation,
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    steps_only: bool,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    /// Of each slot that is filled: whether indexes are to know of its row.
    indexed: Vec<bool>,
}

impl Inserter {
    /// Puts a row into the next slot; its values are made in the current memory context.
    unsafe fn fill(&mut self, row: &Row<'_>) {
        // Safe: a virtual slot of the table's shape has room for its columns.
        unsafe {
            if self.slots.len() == self.indexed.len() {
                let shape = (*self.relation).rd_att;
                // The slots outlive the context of one batch.
                let before = pg_sys::MemoryContextSwitchTo((*self.estate).es_query_cxt);
                self.slots.push(MakeSingleTupleTableSlot(shape, &raw const pg_sys::TTSOpsVirtual));
                pg_sys::MemoryContextSwitchTo(before);
            }
            let slot = self.slots[self.indexed.len()];
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, COLUMNS);
            values[0] = pg_sys::Datum::from(row.id);
            values[1] = bytea(row.record);
            values[2] = bytea(&row.prev_hash);
            values[3] = bytea(&row.hash);
            std::slice::from_raw_parts_mut((*slot).tts_isnull, COLUMNS).fill(false);
            ExecStoreVirtualTuple(slot);
        }
        self.indexed.push(!self.steps_only || is_of_kind(row.record, Kind::Operation));
    }

    /// Inserts what is filled in, and empties the slots. Always behind the last page: what lies there in the order of
    /// the chain is read in that order.
    unsafe fn insert(&mut self) {
        // Safe: the slots hold rows of this table.
        unsafe {
            heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.indexed.len() as c_int,
                pg_sys::GetCurrentCommandId(true),
                pg_sys::TABLE_INSERT_SKIP_FSM as c_int,
                std::ptr::null_mut(),
            );
            for (slot, indexed) in self.slots.iter().zip(&self.indexed) {
                if *indexed {
                    let none = std::ptr::null_mut();
                    ExecInsertIndexTuples(self.target, *slot, self.estate, false, false, none, none.cast());
                    ReScanExprContext(MakePerTupleExprContext(self.estate));
                }
                if let Some(clear) = (*(**slot).tts_ops).clear {
                    clear(*slot);
                }
            }
        }
        self.indexed.clear();
    }
}

/// A bytea in the current memory context.
unsafe fn bytea(bytes: &[u8]) -> pg_sys::Datum {
    // Safe: as many bytes are written as are allocated.
    unsafe {
        let size = pg_sys::VARHDRSZ + bytes.len();
        let value = palloc(size).cast::<pg_sys::varlena>();
        set_varsize_4b(value, size as i32);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast::<u8>().add(pg_sys::VARHDRSZ), bytes.len());
        pg_sys::Datum::from(value)
    }
}
