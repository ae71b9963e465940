//! Records that must stand whatever becomes of the transaction: denials, attempts, decisions. Written before the answer.

use super::lane::{self, Durability};
use crate::core::record::Record;
use crate::error::Fault;
use crate::session;

/// Stamps a record and appends it to this backend's lane now. Raises 58030 if it cannot be written: what cannot be
/// recorded does not happen.
pub fn note(mut record: Record, durability: Durability) {
    session::stamp(&mut record);
    if let Err(error) = lane::append(&[&record.encode()], durability) {
        Fault::io("audit record cannot be written")
            .detail(format!("The spool of pg_steward answered: {error}."))
            .hint("Free space on the data directory's file system, then repeat the statement.")
            .raise();
    }
}
