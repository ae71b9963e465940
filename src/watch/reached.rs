//! While an approval covers what runs, no function begins that the operation was not seen to reach. What it reaches is found
//! by names when it is filed; whatever a body makes up while it runs (EXECUTE, a name from a table) is found here instead.
//! The server asks this hook wherever it makes a function ready or puts its body in the place of the call: in expressions,
//! operators, casts, checks, triggers. The server's own functions and those of libraries are left to their rules (`function`).

use super::{catalog, standing_aside};
use crate::error::Fault;
use crate::operation::cover;
use crate::raw;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, c_int};

static mut NEXT: pg_sys::needs_fmgr_hook_type = None;

/// Installs the hook. Only while preloading.
pub fn init() {
    // Safe: plain hook pointer, kept for the chain.
    unsafe {
        NEXT = pg_sys::needs_fmgr_hook;
        pg_sys::needs_fmgr_hook = Some(on_lookup);
    }
}

/// Asked for each function that is not built in. Whether its calls are to be watched is the business of others.
unsafe extern "C-unwind" fn on_lookup(function: Oid) -> bool {
    if cover::stands() && function.to_u32() >= pg_sys::FirstNormalObjectId {
        // Safe: inside a transaction; nothing here waits to be dropped.
        unsafe { require(function) }
    }
    // Safe: the hook that was there before.
    unsafe { NEXT.is_some_and(|next| next(function)) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn require(function: Oid) {
    let Some(cover) = cover::current() else { return };
    if cover.functions.binary_search(&function.to_u32()).is_ok() || standing_aside() || is_let_through(function) {
        return;
    }
    let op_no = cover.op_no.clone();
    drop(cover);
    Fault::refused(format!("{op_no} was not seen to reach function {}", signature(function)))
        .detail("What an operation runs is found by name when it is filed; the name of this function stands neither in its script nor in anything that this reaches.")
        .hint("If it is meant to run, name it in the script, a comment is enough, and file it again: SELECT steward.request(script, purpose);")
        .raise()
}

/// Of the server, of a library, of the policy, or made by this transaction: then the operation has made it.
fn is_let_through(function: Oid) -> bool {
    // Safe: a syscache entry, read while it is held; xmin is in the copy's header.
    unsafe {
        let row = raw::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as c_int, pg_sys::Datum::from(function));
        if row.is_null() {
            return false;
        }
        let form = pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_proc>();
        let native = matches!((*form).prolang, catalog::LANGUAGE_INTERNAL | catalog::LANGUAGE_C);
        let ours = (*form).pronamespace == raw::get_namespace_oid(c"steward".as_ptr(), true);
        let header = (*row).t_data;
        let frozen = u32::from((*header).t_infomask) & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN;
        let made_now = !frozen && pg_sys::TransactionIdIsCurrentTransactionId((*header).t_choice.t_heap.t_xmin);
        raw::ReleaseSysCache(row);
        native || ours || made_now
    }
}

fn signature(function: Oid) -> String {
    // Safe: a string in the current memory context.
    unsafe { CStr::from_ptr(pg_sys::format_procedure_qualified(function)).to_string_lossy().into_owned() }
}
