//! Masks: which columns a role does not see clear. `policy` knows the rules and answers for a role, `set` is their SQL
//! functions. What a mask makes of a value is `core::mask`, which rules win is `core::mask_rule`, and how a statement
//! comes to show masks instead of values is `watch::planner`.
//!
//! Never here: plan or parse nodes.

pub mod policy;
mod set;

pub use policy::{Column, Masks};

use crate::cache;
use crate::core::mask_rule::Verdict;
use pgrx::pg_sys;

/// What a role sees of a column now; None: the value itself.
#[allow(dead_code)] // asked by `steward.access` and the generated views
pub fn column(role: pg_sys::Oid, relation: pg_sys::Oid, number: i16) -> Option<Verdict> {
    let policy = cache::policy();
    let columns = policy.masks()?.of(role, relation)?;
    columns.iter().find(|column| column.number == number).map(|column| column.verdict)
}
