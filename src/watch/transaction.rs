//! Transaction callbacks: where it is known what became of the work.
//!
//! At COMMIT and ABORT nothing may raise (PostgreSQL would panic): only lanes are written there.

use super::{apply, executor, hidden_detail, reading, rows};
use crate::audit::buffer;
use crate::audit::lane::Durability;
use crate::audit::note::{append, note};
use crate::backend::backend_local;
use crate::core::record::{Kind, Outcome, Record};
use crate::operation::armed;
use crate::{raw, session};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};

backend_local! {
    /// Something of this transaction is kept here, in the buffer or by the hooks.
    static CONCERNED: Cell<bool> = const { Cell::new(false) };
    /// The first transaction of this process was looked at.
    static STARTED: Cell<bool> = const { Cell::new(false) };
    /// Global id of the PREPARE TRANSACTION that is on its way.
    static GID: RefCell<String> = const { RefCell::new(String::new()) };
    /// What is to be recorded if it fails after all: stamped, since nothing can be looked up then.
    static FAILURE: RefCell<Option<Record>> = const { RefCell::new(None) };
}

pub fn init() {
    // Safe: registered once in the postmaster; backends inherit the list.
    unsafe {
        pg_sys::RegisterXactCallback(Some(on_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(on_subtransaction), std::ptr::null_mut());
    }
}

/// Transaction control is never decided; only what becomes of prepared transactions is on record.
pub unsafe fn notice(statement: &pg_sys::TransactionStmt) {
    use pg_sys::TransactionStmtKind::*;
    if statement.gid.is_null() {
        return;
    }
    // Safe: a C string of the parser.
    let gid = unsafe { CStr::from_ptr(statement.gid) }.to_string_lossy().into_owned();
    match statement.kind {
        TRANS_STMT_PREPARE => GID.with_borrow_mut(|known| *known = gid),
        TRANS_STMT_COMMIT_PREPARED => ended_by("COMMIT PREPARED", &gid),
        TRANS_STMT_ROLLBACK_PREPARED => ended_by("ROLLBACK PREPARED", &gid),
        _ => (),
    }
}

/// Who ended a prepared transaction, and how: its own records are its session's.
fn ended_by(tag: &str, gid: &str) {
    // Safe: plain getter. Without a transaction nobody can be looked up, and the command itself will fail.
    if unsafe { raw::IsTransactionState() } && !super::standing_aside() && crate::cache::at_home() {
        let mut record = Record::new(Kind::Statement, tag);
        record.details = Some(serde_json::json!({ "gid": gid }).to_string());
        buffer::push(record);
    }
}

/// This transaction holds something of ours: its end is looked at.
pub fn concern() {
    CONCERNED.set(true);
}

/// A transaction that holds nothing ends without further ado: a plain frame, before any guard.
unsafe extern "C-unwind" fn on_transaction(event: pg_sys::XactEvent::Type, argument: *mut c_void) {
    if CONCERNED.get() || apply::is_worker() || armed::is_armed() {
        // Safe: as the server calls it.
        unsafe { end(event, argument) }
    }
    if !STARTED.get() {
        STARTED.set(true);
        // Safe: as above.
        unsafe { first(event, argument) }
    }
}

/// The first transaction of this process is about to end.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn first(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT {
        super::login::worker_begins();
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT => {
            apply::before_commit();
            before_commit(false);
        }
        XACT_EVENT_PRE_PREPARE => {
            crate::activation::before_prepare();
            crate::person::last::before_prepare();
            crate::break_glass::window::before_prepare();
            crate::operation::leftover::before_prepare();
            apply::before_commit();
            note_prepared();
            before_commit(true);
        }
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_PARALLEL_COMMIT => {
            super::login::committed();
            FAILURE.with_borrow_mut(|kept| *kept = None);
            if event == XACT_EVENT_COMMIT {
                buffer::count_journalled();
            }
            buffer::after_commit();
            armed::after_commit();
            crate::activation::after_commit();
            crate::person::leaver::after_commit();
            ended();
        }
        XACT_EVENT_ABORT | XACT_EVENT_PARALLEL_ABORT => {
            note_failure();
            buffer::after_abort();
            armed::after_abort();
            crate::activation::after_abort();
            crate::person::leaver::after_abort();
            super::utility::transaction_aborted();
            ended();
        }
        _ => {}
    }
}

fn before_commit(prepares: bool) {
    crate::activation::before_commit();
    rows::carry();
    armed::before_commit();
    buffer::before_commit(prepares);
}

fn ended() {
    executor::transaction_ended();
    rows::transaction_ended();
    reading::transaction_ended();
    hidden_detail::transaction_ended();
    apply::transaction_ended();
    crate::person::last::transaction_ended();
    // A command that commits while it runs has its record still to come.
    CONCERNED.set(!buffer::is_idle());
}

/// A prepared transaction's outcome is open: that it was prepared is on record whatever comes, before it is. Should that
/// fail (a number in use, a temporary table), its failure follows.
fn note_prepared() {
    if !buffer::is_idle() {
        let mut record = Record::new(Kind::Statement, "PREPARE TRANSACTION");
        let (statements, relations) = buffer::before_prepare();
        let gid = GID.with_borrow(Clone::clone);
        record.relations = relations;
        record.details = Some(serde_json::json!({ "gid": gid, "statements": statements }).to_string());
        let mut failure = record.clone();
        failure.outcome = Outcome::Failure;
        session::stamp(&mut failure);
        note(record, Durability::Flushed);
        FAILURE.with_borrow_mut(|kept| *kept = Some(failure));
    }
}

/// It could not be prepared. Must not raise.
fn note_failure() {
    if let Some(mut failure) = FAILURE.with_borrow_mut(Option::take) {
        // Safe: reads the clock.
        failure.time = unsafe { raw::GetCurrentTimestamp() };
        // The lane counts what it could not write.
        let _counted_as_lost = append(&failure, Durability::Flushed);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    use pg_sys::SubXactEvent::*;
    match event {
        SUBXACT_EVENT_PRE_COMMIT_SUB => buffer::before_subtransaction_commit(),
        SUBXACT_EVENT_COMMIT_SUB => buffer::after_subtransaction_commit(subtransaction, parent),
        SUBXACT_EVENT_ABORT_SUB => {
            buffer::subtransaction_aborted(subtransaction);
            executor::subtransaction_aborted(subtransaction);
            rows::subtransaction_aborted(subtransaction);
            reading::subtransaction_aborted(subtransaction);
            crate::person::leaver::subtransaction_aborted(subtransaction);
            super::utility::subtransaction_aborted(subtransaction);
        }
        _ => {}
    }
}
