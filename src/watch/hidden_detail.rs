//! DETAILs with values. The server tells whoever violates a constraint which key or row it was, unless row security holds
//! for them; whoever has masks is told nothing instead. While a statement runs this is done where the error is raised, so
//! that nobody catches it with its values; a constraint that is deferred fails when the transaction commits and nothing of
//! ours runs, so there it is done where the error leaves.
//!
//! Which key violates a constraint may be one of another table, by a cascade: what counts is whether the role has masks.

use super::transaction;
use crate::backend::backend_local;
use crate::{cache, raw};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};

static mut NEXT_LOG: pg_sys::emit_log_hook_type = None;

unsafe extern "C-unwind" {
    fn errdetail_internal(format: *const c_char, ...) -> c_int;
    #[link_name = "pstrdup"]
    fn core_pstrdup(text: *const c_char) -> *mut c_char;
}

backend_local! {
    /// Somebody with masks has done something in this transaction.
    static DUE: Cell<bool> = const { Cell::new(false) };
}

const INSTEAD: &CStr = c"Values are masked for this role.";

/// Integrity constraints and checks of views, as the server packs the first two characters of an SQLSTATE.
const CLASSES_WITH_VALUES: [c_int; 2] = [2 | 3 << 6, 4 | 4 << 6];

pub fn init() {
    // Safe: plain hook pointers, set while the postmaster preloads and kept for the chain.
    unsafe {
        NEXT_LOG = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(on_log);
    }
}

/// Something is about to be written, or a command run: for the rest of the transaction its errors may tell values.
pub fn consider(policy: &cache::Policy) {
    // Safe: plain getters. Whoever calls a function that runs as somebody else gets its errors.
    let roles = unsafe { [raw::GetUserId(), raw::GetOuterUserId()] };
    if !DUE.get() && policy.masks().is_some_and(|masks| roles.iter().any(|role| masks.has(*role))) {
        DUE.set(true);
        transaction::concern();
    }
}

/// For plain frames.
pub fn is_due() -> bool {
    DUE.get()
}

/// Whether a plan writes for somebody who may have masks, for plain frames.
pub unsafe fn concerns(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: ExecutorStart gets a complete QueryDesc; plain getters.
    unsafe {
        let reads = (*query).operation == pg_sys::CmdType::CMD_SELECT && !(*(*query).plannedstmt).hasModifyingCTE;
        !reads && !DUE.get() && !super::standing_aside() && {
            let roles = [raw::GetUserId(), raw::GetOuterUserId()];
            cache::if_fresh(|policy| policy.masks_nothing_of(roles)) != Some(true)
        }
    }
}

/// Before a plan that writes, for plain frames: nothing where there are no masks.
pub unsafe fn writes(query: *mut pg_sys::QueryDesc) {
    // Safe: as above, inside a transaction.
    unsafe {
        if concerns(query) {
            consider_now();
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn consider_now() {
    consider(&cache::policy());
}

/// Called while an error is raised.
pub unsafe fn hide(code: c_int) {
    if DUE.get() && CLASSES_WITH_VALUES.contains(&(code & 0xfff)) {
        // Safe: the text replaces the DETAIL of the error on top of the server's stack.
        unsafe { errdetail_internal(c"%s".as_ptr(), INSTEAD.as_ptr()) };
    }
}

/// An error leaves: for the log and for the client. A plain frame, in the memory of the error.
unsafe extern "C-unwind" fn on_log(error: *mut pg_sys::ErrorData) {
    // Safe: the server passes the error that it is about to report; below ERROR it frees the text itself.
    unsafe {
        let told = DUE.get()
            && (*error).elevel >= pg_sys::PGERROR as c_int
            && !(*error).detail.is_null()
            && CLASSES_WITH_VALUES.contains(&((*error).sqlerrcode & 0xfff));
        if told {
            (*error).detail = core_pstrdup(INSTEAD.as_ptr());
        }
        if let Some(next) = NEXT_LOG {
            next(error);
        }
    }
}

pub fn transaction_ended() {
    DUE.set(false);
}
