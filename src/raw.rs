//! Plain getters of the server, as the linker knows them. The bindings' own declarations set up an exit for errors at
//! each call; these can raise none, and statements ask them many times.

#![allow(non_snake_case)] // the server's own names

use pgrx::pg_sys::{
    Bitmapset, Datum, FullTransactionId, HeapTuple, List, Oid, PgStat_TableStatus, SubTransactionId, TimestampTz,
};
use std::ffi::{c_char, c_int};

unsafe extern "C-unwind" {
    pub fn GetAuthenticatedUserId() -> Oid;
    pub fn GetCurrentStatementStartTimestamp() -> TimestampTz;
    pub fn GetCurrentSubTransactionId() -> SubTransactionId;
    pub fn GetCurrentTimestamp() -> TimestampTz;
    pub fn GetOuterUserId() -> Oid;
    pub fn GetSessionUserId() -> Oid;
    pub fn GetTopFullTransactionIdIfAny() -> FullTransactionId;
    pub fn GetUserId() -> Oid;
    pub fn InNoForceRLSOperation() -> bool;
    pub fn IsLogicalWorker() -> bool;
    pub fn IsTransactionBlock() -> bool;
    pub fn IsTransactionState() -> bool;
    /// Only flags the plans and expressions that this backend keeps.
    pub fn ResetPlanCache();
    pub fn SPI_inside_nonatomic_context() -> bool;
    /// Sets a flag and sends SIGUSR1.
    pub fn SendPostmasterSignal(reason: c_int);
    pub fn bms_next_member(set: *const Bitmapset, before: c_int) -> c_int;
    pub fn find_tabstat_entry(relation: Oid) -> *mut PgStat_TableStatus;
    // Look-ups, whose errors (no memory) pass the frames of callers untouched: these hold nothing to drop.
    pub fn ReleaseSysCache(row: HeapTuple);
    pub fn SearchSysCache1(cache: c_int, key: Datum) -> HeapTuple;
    pub fn find_all_inheritors(relation: Oid, lock: c_int, parents: *mut *mut List) -> *mut List;
    pub fn get_func_namespace(function: Oid) -> Oid;
    pub fn get_namespace_oid(name: *const c_char, missing_ok: bool) -> Oid;
    pub fn get_rel_relkind(relation: Oid) -> c_char;
    pub fn has_subclass(relation: Oid) -> bool;
}
