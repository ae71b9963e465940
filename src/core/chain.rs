//! The hash chain: what links a record to the one before it, the head that is kept elsewhere, and the
//! verifier. Hashes are SHA-256 under a tag of their own, so that no value of one kind passes for another:
//!
//! ```text
//! leaf         = H(0x00 ‖ record)
//! hash         = H(0x02 ‖ ledger(16) ‖ id(8, big-endian) ‖ prev_hash(32) ‖ leaf(32))
//! genesis_prev = H(0x04 ‖ ledger(16) ‖ params)                    prev_hash of record 1
//! ```
//!
//! The verifier is here and nowhere else; nothing here repairs a chain.

mod batch;
mod damage;
mod head;
mod order;
mod parallel;
mod verifier;

pub use batch::Batch;
pub use head::{Head, utc};
pub use order::{Disorder, Order};
pub use parallel::Parallel;
pub use verifier::{Kind, Verdict, Verifier};

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];
/// The random identity of a chain.
pub type Ledger = [u8; 16];

/// The hash of a record's canonical bytes.
pub fn leaf(record: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(record).finalize().into()
}

/// The hash of the chain's link `id`: this is the stored `hash`, and the next record's `prev_hash`.
pub fn link(ledger: &Ledger, id: i64, prev_hash: &Hash, leaf: &Hash) -> Hash {
    let mut bytes = [0; 89];
    bytes[0] = 0x02;
    bytes[1..17].copy_from_slice(ledger);
    bytes[17..25].copy_from_slice(&id.to_be_bytes());
    bytes[25..57].copy_from_slice(prev_hash);
    bytes[57..].copy_from_slice(leaf);
    Sha256::digest(bytes).into()
}

/// The `prev_hash` of record 1, which binds the chain to its ledger and the parameters it began with.
pub fn genesis_prev(ledger: &Ledger, params: &[u8]) -> Hash {
    Sha256::new().chain_update([0x04]).chain_update(ledger).chain_update(params).finalize().into()
}
