//! The audit trail: the transaction's buffer, the journal that commits with it, the spool lanes for what has no commit,
//! the sequencer that chains both, and verification.

pub mod buffer;
pub mod journal;
pub mod lane;
pub mod ledger;
pub mod note;
pub mod round;
pub mod sequencer;
pub mod spool;
pub mod status;
pub mod verify;
