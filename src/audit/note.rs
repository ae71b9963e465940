//! Records that must stand whatever becomes of the transaction: denials, attempts, decisions. Written before the answer.

use super::lane::{self, Durability};
use crate::core::record::Record;
use crate::error::Fault;
use crate::session;
use sha2::{Digest, Sha256};

/// Longest record, bytes: far below a spool frame, so that no record can take the others of its transaction along.
const RECORD_BYTES: usize = 64 << 10;
/// What stays of each name in a record that was too long.
const NAME_CHARACTERS: usize = 200;

/// The canonical bytes of a record. Free text of a too long one gives way to its digest and length.
pub fn encode(record: &Record) -> Vec<u8> {
    let bytes = record.encode();
    if bytes.len() <= RECORD_BYTES {
        return bytes;
    }
    let cut = |text: &String| text.chars().take(NAME_CHARACTERS).collect::<String>();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let details = serde_json::json!({ "too_long": true, "bytes": bytes.len(), "sha256": sha256 });
    let short = Record {
        operation_type: cut(&record.operation_type),
        relations: record.relations.iter().take(50).map(cut).collect(),
        rule: record.rule.as_ref().map(cut),
        op_no: record.op_no.as_ref().map(cut),
        person: record.person.as_ref().map(cut),
        details: Some(details.to_string()),
        ..record.clone()
    };
    short.encode()
}

/// Stamps a record and appends it to this backend's lane now. Raises 58030 if it cannot be written: what cannot be
/// recorded does not happen.
pub fn note(mut record: Record, durability: Durability) {
    session::stamp(&mut record);
    if let Err(error) = lane::append(&[&encode(&record)], durability) {
        Fault::io("audit record cannot be written")
            .detail(format!("The spool of pg_steward answered: {error}."))
            .hint("Free space on the data directory's file system, then repeat the statement.")
            .raise();
    }
}
