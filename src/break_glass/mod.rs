//! Break-glass: a short time in which one session may do what otherwise takes an approved operation. No role that
//! bypasses the policy, but a capability of a post, with a second factor, a reason and a term; posts that never act alone
//! need a second person before it begins. Everything in the window is critical and on record before it runs, and somebody
//! else must review it.
//!
//! `open` asks and opens, `window` is what this session may do and until when, `memory` keeps a person to one window in
//! the whole server, `keep` is the sequencer's side (the operation, its trail, the alert), `review` what a review of it
//! needs, `incident` the record of the emergency behind it, `limit` the longest term. A rollback undoes none of it: the record is in the spool before the answer, the state
//! in this process and in shared memory. What a window never reaches is `core::emergency`.

pub mod incident;
pub mod keep;
mod limit;
pub mod memory;
mod open;
pub mod review;
pub mod window;

pub use open::forget;

/// The records that the sequencer follows.
pub const ASK: &str = "ASK BREAK GLASS";
pub const OPEN: &str = "BREAK GLASS";
pub const END: &str = "END BREAK GLASS";
/// Applications have nobody who could be asked.
const SERVICE: &str = "service";
