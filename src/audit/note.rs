//! How records leave a backend. `note` is for what must stand whatever becomes of the transaction: denials, attempts,
//! decisions, written before the answer.
//!
//! A record travels as `u32 epoch ‖ record`: the epoch says to which ledger's definitions it refers.

use super::dictionary::{self, References};
use super::lane::{self, Durability};
use crate::core::record::{Draft, Record};
use crate::error::Fault;
use crate::session;
use sha2::{Digest, Sha256};

/// Longest record, bytes: far below a spool frame, so that no record can take the others of its transaction along.
const RECORD_BYTES: usize = 64 << 10;
/// What stays of each name in a record that was too long.
const NAME_CHARACTERS: usize = 200;

/// Records ready to travel, one after the other.
pub struct Parcel {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Default for Parcel {
    fn default() -> Parcel {
        Parcel { bytes: Vec::with_capacity(256), ends: Vec::with_capacity(4) }
    }
}

impl Parcel {
    /// Adds a record. Free text of a too long one gives way to its digest and length.
    pub fn add(&mut self, draft: &Draft) {
        self.add_referring(draft, dictionary::references(draft));
    }

    /// As `add`, with all its content: what is durable by itself must be readable by itself.
    pub fn add_whole(&mut self, draft: &Draft) {
        self.add_referring(draft, References { epoch: 0, who: None, what: None });
    }

    fn add_referring(&mut self, draft: &Draft, References { epoch, who, what }: References) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&epoch.to_be_bytes());
        draft.encode_into(&mut self.bytes, who, what);
        if self.bytes.len() - start > RECORD_BYTES {
            self.bytes.truncate(start + 4);
            shortened(draft).encode_into(&mut self.bytes, None, None);
        }
        self.ends.push(self.bytes.len());
    }

    /// The records, each with its epoch before it.
    pub fn records(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]).collect()
    }
}

fn shortened(draft: &Draft) -> Draft {
    let mut bytes = Vec::new();
    draft.encode_into(&mut bytes, None, None);
    let Ok(record) = Record::decode(&bytes) else { unreachable!("what was just encoded decodes") };
    let cut = |text: &String| text.chars().take(NAME_CHARACTERS).collect::<String>();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let details = serde_json::json!({ "too_long": true, "bytes": bytes.len(), "sha256": sha256 });
    Draft::of(&Record {
        operation_type: cut(&record.operation_type),
        relations: record.relations.iter().take(50).map(cut).collect(),
        rule: record.rule.as_ref().map(cut),
        op_no: record.op_no.as_ref().map(cut),
        person: record.person.as_ref().map(cut),
        statement: record.statement.filter(|statement| statement.len() <= RECORD_BYTES / 4),
        details: Some(details.to_string()),
        ..record
    })
}

/// Stamps a record and appends it to this backend's lane now. Raises 58030 if it cannot be written: what cannot be
/// recorded does not happen.
pub fn note(mut record: Record, durability: Durability) {
    session::stamp(&mut record);
    if let Err(error) = append(&record, durability) {
        Fault::io("audit record cannot be written")
            .detail(format!("The spool of pg_steward answered: {error}."))
            .hint("Free space on the data directory's file system, then repeat the statement.")
            .raise();
    }
}

/// Appends a stamped record to this backend's lane now. Never raises.
pub fn append(record: &Record, durability: Durability) -> std::io::Result<()> {
    let mut parcel = Parcel::default();
    parcel.add_whole(&Draft::of(record));
    lane::append(&parcel.records(), durability)
}
