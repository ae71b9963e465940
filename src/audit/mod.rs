//! The audit trail: the transaction's buffer, the journal that commits with it, the spool lanes for what has no commit,
//! the sequencer that chains both, and verification.

mod announce;
pub mod archive;
mod backlog;
pub mod buffer;
mod clock;
mod dictionary;
mod earlier;
mod entry;
mod epoch;
mod export;
pub mod flush;
mod heartbeat;
pub mod home;
mod incarnation;
pub mod journal;
pub mod journal_count;
pub mod lane;
mod lane_file;
pub mod ledger;
pub mod note;
mod offset;
mod order;
pub mod outcome;
pub mod positions;
pub mod retention;
mod round;
pub mod segment;
pub mod sequencer;
mod spool;
pub mod standby;
pub mod start;
pub mod status;
mod table;
pub mod verify;
