//! The second factor: a code of an authenticator (TOTP), verified once in a session before risky work.
//!
//! `enrol` makes a secret and shows it once, `verify` takes a code, `step_up` remembers in this process that one was
//! right. `key` is the file whose key seals the secrets, `memory` the shared memory that no rollback undoes, and `keep`
//! the sequencer's side, which brings what memory knows over a restart. Codes and times are `core::totp` and
//! `core::attempts`. A secret or a code must never stand in a record, an error, a setting or a log line.

mod enrol;
pub mod keep;
pub mod key;
pub mod memory;
pub mod step_up;
mod verify;

use crate::audit::lane::Durability;
use crate::audit::note::note;
use crate::cache::{self, Person, Policy};
use crate::core::gate::step_up_seconds;
use crate::core::record::{Kind, Outcome as Ending, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::settings::{Mode, database};
use crate::{session, shared};
use pgrx::pg_sys;
use serde_json::json;
use std::rc::Rc;

/// The record of a code that was looked at: a success, or the failure that is counted.
pub const VERIFY: &str = "VERIFY TOTP";
/// Applications have nobody with a telephone, and an attacker could lock them out.
const SERVICE: &str = "service";
/// For a DETAIL.
pub const MISSING: &str = "Second factor missing: no code was verified in this session, or too long ago.";

/// The HINT where a second factor is missing.
pub fn next_command() -> &'static str {
    match session::person() {
        Some(person) if person.enrolled_at.is_none() => "SELECT steward.enroll_totp();",
        _ => "SELECT steward.verify_totp('…');",
    }
}

/// Why a person may not take a step in work of this tier now; None: nothing is missing.
pub fn missing(step: &str, tier: Tier, person: &Person) -> Option<Fault> {
    let demanded = cache::policy().tier_policy(tier, &person.post).second_factor;
    let enforced = shared::active() && shared::mode() == Mode::Enforce;
    if !demanded || !enforced || step_up::holds(tier, person) {
        return None;
    }
    let minutes = step_up_seconds(tier) / 60;
    let fault = Fault::wrong_state(format!("{} refused: the second factor is missing", step.to_lowercase()));
    Some(fault.detail(format!("{MISSING} For {} work it holds {minutes} minutes.", tier.name())).hint(next_command()))
}

/// Whether a person takes part in operations and their post's tiers demand a second factor.
pub fn needs_one(policy: &Policy, person: &Person) -> bool {
    let acts = ["apply", "approve", "witness", "configure", "break_glass"];
    acts.iter().any(|capability| person.may(capability)) && policy.demands_second_factor(&person.post)
}

/// The person whose second factor this session enrols or verifies.
fn subject(step: &str) -> Outcome<Rc<Person>> {
    if !cache::at_home() || cache::policy_relation().is_none() {
        return Err(
            Fault::wrong_state("the policy lives in the home database").hint(format!("\\connect {}", database()))
        );
    }
    // Safe: reads shared control data, and whether a client is connected to this process.
    let (standby, alone) = unsafe { (pg_sys::RecoveryInProgress(), pg_sys::MyProcPort.is_null()) };
    if standby {
        return Err(Fault::wrong_state("a standby knows no second factor")
            .detail("It could not tell which codes were used on the primary."));
    }
    let verb = step.to_lowercase();
    if alone {
        return Err(denied(step, format!("{verb} refused: nobody is connected to this process")));
    }
    let Some(person) = session::person().filter(|person| person.usable()) else {
        let login = session::login_name();
        return Err(denied(step, format!("{verb} refused: no person is registered for login \"{login}\"")));
    };
    if person.post == SERVICE {
        return Err(denied(step, format!("{verb} refused: the post {SERVICE} has no second factor")).detail(
            "What an application does is decided by its rules; nobody stands behind it with an authenticator.",
        ));
    }
    Ok(person)
}

/// Records a refusal durably, whatever becomes of the transaction.
fn denied(step: &str, message: String) -> Fault {
    let fault = Fault::refused(message.clone());
    let mut record = Record::new(Kind::Login, step);
    record.outcome = Ending::Denied;
    record.sqlstate = Some(fault.sqlstate());
    record.details = Some(json!({ "reason": message }).to_string());
    note(record, Durability::Flushed);
    fault
}

/// Random bytes of the server's strong source.
fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    // Safe: fills the array.
    match unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), N) } {
        true => Ok(bytes),
        false => Err(Fault::internal("the server has no random numbers")),
    }
}
