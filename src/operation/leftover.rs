//! What a run leaves behind in its session: nothing that would go on without its approval. A cursor that a function of the
//! script has opened is decided when it opens, and would work when the client fetches from it; a prepared transaction
//! would come into force whenever somebody says so, whatever has become of the approval, the term and the window by then.

use crate::backend::backend_local;
use crate::error::{Fault, Outcome};
use crate::own;
use crate::person::texts;
use pgrx::pg_sys;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::CString;

/// The cursors that were open before a run.
pub struct Cursors(BTreeSet<String>);

impl Cursors {
    pub fn before() -> Outcome<Cursors> {
        open().map(Cursors)
    }

    /// Those that the run has opened are closed with it.
    pub fn close_others(&self) -> Outcome<()> {
        for name in open()?.difference(&self.0) {
            let name = CString::new(name.as_str()).map_err(|_| Fault::internal("a cursor's name has a zero byte"))?;
            // Safe: a portal of this session, or null; none of them is running between two statements.
            unsafe {
                let portal = pg_sys::SPI_cursor_find(name.as_ptr());
                if !portal.is_null() {
                    pg_sys::SPI_cursor_close(portal);
                }
            }
        }
        Ok(())
    }
}

fn open() -> Outcome<BTreeSet<String>> {
    own::run(|client| Ok(texts(client, "SELECT name FROM pg_cursors", &[])?.into_iter().collect()))
}

backend_local! {
    /// The last transaction of this session that ran an operation; 0: none did.
    static RAN_IN: Cell<u32> = const { Cell::new(0) };
}

fn transaction() -> u32 {
    // Safe: plain getter.
    unsafe { pg_sys::GetTopTransactionIdIfAny() }.into_inner()
}

/// An operation has run in this transaction.
pub fn ran() {
    RAN_IN.set(transaction());
}

/// PREPARE TRANSACTION.
pub fn before_prepare() {
    if transaction() != 0 && RAN_IN.get() == transaction() {
        Fault::unsupported("cannot PREPARE a transaction that has executed an operation")
            .detail("It would be committed when nobody has approved it any more.")
            .hint("COMMIT;")
            .raise();
    }
}
