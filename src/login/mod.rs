//! Logins: what is recorded of them, which are refused, and what too many failures lead to. The hooks are in
//! `watch::login`; what runs in them waits for nobody and asks neither catalog nor tables.
//!
//! Three things are at hand there. The rows of the policy that concern logins, in a file that the sequencer keeps after
//! them (`policy`): where it cannot be read nobody but the server's own user comes in. The counts of failures,
//! in shared memory, which no rollback can undo; the sequencer writes them to a file, from which a start takes them
//! (`failures`), and which logins exist (`known`). And a place for records of processes that have no lane yet (`ring`).
//! What is refused over and over is recorded as one (`repeats`). What a login does with the replication protocol, which no
//! statement's hook sees, is judged here too (`replication`).

pub mod attempt;
pub mod failures;
pub mod idle;
pub mod keeper;
mod known;
pub mod policy;
pub mod repeats;
pub mod replication;
pub mod ring;
mod set;
pub mod syntax;

pub use attempt::Attempt;

use crate::settings::Mode;
use crate::shared;
use std::sync::atomic::Ordering::SeqCst;

/// Whether logins are recorded: there is a chain that takes the records, and the mode is not `off`.
pub fn recorded() -> bool {
    shared::get().is_some_and(|shared| shared.chained.load(SeqCst)) && shared::mode() != Mode::Off
}

/// Whether what the policy says to logins holds.
pub fn enforced() -> bool {
    shared::active() && shared::mode() == Mode::Enforce
}
