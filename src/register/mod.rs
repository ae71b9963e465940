//! The register: what the manual wants on record beside operations. One engine for all kinds whose shape is the same
//! (`entry`), and small ones for incidents and recertifications. Who acts is the person behind the login, never an argument;
//! every call is in the audit chain, and a row is never changed but by a confirmation or a withdrawal, once.

pub mod backup;
pub mod capability;
pub mod entry;
pub mod incident;
pub mod kind;
pub mod recertification;
pub mod reminder;

use crate::audit::buffer;
use crate::cache::Person;
use crate::core::record::{Kind, Record};
use crate::core::register::CONFIRMERS;
use crate::error::{Fault, Outcome};
use crate::operation::denied;
use crate::own;
use crate::session;
use crate::watch::lone_call::is_alone;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::Value;
use std::rc::Rc;

#[pg_extern(sql = false)]
fn _may_see_records() -> bool {
    // Safe: looks up the role that authenticated.
    let superuser = unsafe { pg_sys::superuser_arg(session::login()) };
    superuser || session::person().is_some_and(|person| sees(&person))
}

/// Whether somebody's post looks after the register.
fn sees(person: &Person) -> bool {
    CONFIRMERS.iter().any(|capability| person.may(capability))
}

/// The person who acts.
fn actor(function: &str) -> Outcome<Rc<Person>> {
    session::person().filter(|person| person.usable()).ok_or_else(|| {
        refused(function, "nobody stands behind this login")
            .hint("SELECT steward.register_person(name, post, roles => '{login}');")
    })
}

/// A refusal, which is on record before it is raised.
fn refused(function: &str, why: &str) -> Fault {
    let fault = denied(&function.to_uppercase().replace('_', " "), "", format!("{function} refused: {why}"));
    fault.hint("SELECT name, capabilities FROM steward.post;")
}

/// Who takes a number keeps the next one waiting until the transaction ends: it must end at once.
fn by_itself(function: &str, call: pg_sys::FunctionCallInfo) -> Outcome<()> {
    if is_alone(call) {
        return Ok(());
    }
    Err(Fault::wrong_state(format!("{function} runs in a transaction of its own"))
        .detail("Others wait for the number that it takes; what stands around it could keep them waiting.")
        .hint(format!("Send SELECT steward.{function}(…) as a statement of its own, whole, without BEGIN.")))
}

/// Takes a lock of the register: waits a moment for others, and not until they please.
fn lock(statement: &str, arguments: &[DatumWithOid<'_>]) -> Outcome<()> {
    own::lock(statement, arguments, "steward._record")
}

/// A record that rides with the transaction.
fn note(function: &str, about: &str, details: Value) {
    let mut record = Record::new(Kind::Policy, function);
    record.relations = vec![about.to_owned()];
    record.details = Some(details.to_string());
    buffer::push(record);
}
