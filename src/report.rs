//! Reports and searches over the audit trail: `records` reads a period in one pass, `gather` asks the rest, `core::report`
//! makes a document of it. `mlps` answers an assessor's control points, `search` finds records by time.
//!
//! Who reads the trail is on record: every call here notes itself before it answers, whatever becomes of its transaction.

mod gather;
mod genuine;
mod mlps;
mod period;
mod records;
mod search;
mod security;

use crate::audit::lane::Durability;
use crate::audit::note::note;
use crate::core::record::{Kind, Record};
use crate::error::{Fault, Outcome};
use crate::{cache, session};
use pgrx::pg_sys;
use serde_json::Value;

/// The operation type of the record that a security report leaves.
const SECURITY: &str = "SECURITY REPORT";
/// … and those of the others.
const MLPS: &str = "MLPS REPORT";
const SEARCH: &str = "SEARCH LOG";

/// Superusers, and persons whose post gives one of these capabilities, in the home database.
fn require(function: &str, capabilities: &[&str]) -> Outcome<()> {
    if !cache::at_home() || cache::policy_relation().is_none() {
        return Err(Fault::wrong_state("the trail lies in the home database")
            .hint(format!("\\connect {}", crate::settings::database())));
    }
    let may = |person: &cache::Person| capabilities.iter().any(|capability| person.may(capability));
    // Safe: looks up the role that authenticated.
    if unsafe { pg_sys::superuser_arg(session::login()) } || session::person().is_some_and(|person| may(&person)) {
        return Ok(());
    }
    Err(Fault::refused(format!("steward.{function} is not yours to call"))
        .detail(format!("It is for superusers and for persons with the capability {}.", capabilities.join(" or ")))
        .hint("SELECT * FROM steward.post;"))
}

/// Puts the reading on record.
fn record_reading(operation_type: &str, relations: Vec<String>, details: &Value) {
    let mut record = Record::new(Kind::Policy, operation_type);
    record.relations = relations;
    record.details = Some(details.to_string());
    note(record, Durability::Flushed);
}
