//! Enrolment: the secret is made here, shown once to the person it belongs to, and stored sealed. While the policy is
//! active nobody enrols twice: a lost authenticator is taken away in an approved operation first.

use super::{key, random, subject};
use crate::audit::buffer;
use crate::core::record::{Kind, Record};
use crate::core::seal::{NONCE_BYTES, seal};
use crate::core::tier::Tier;
use crate::core::totp::{SECRET_BYTES, uri};
use crate::error::{Fault, Outcome, answer};
use crate::person::required;
use crate::watch::statement::client_calls;
use crate::{own, policy, settings, shared};
use pgrx::prelude::*;
use serde_json::json;

const ENROL: &str = "ENROLL TOTP";

#[pg_extern(sql = false)]
fn enroll_totp() -> String {
    answer(enrol())
}

fn enrol() -> Outcome<String> {
    let person = subject(ENROL)?;
    if !client_calls("enroll_totp", "") {
        return Err(super::denied(ENROL, "enrolment refused: the client itself must call it".to_owned())
            .detail("What a function, view or block is answered could be kept by whoever wrote it.")
            .hint("SELECT steward.enroll_totp();"));
    }
    let key = key::read()?;
    let (secret, nonce) = (random::<SECRET_BYTES>()?, random::<NONCE_BYTES>()?);
    let sealed =
        seal(&key, &nonce, &person.name, &secret).ok_or_else(|| Fault::internal("a secret cannot be sealed"))?;
    // Set-up may be repeated; afterwards the first one stands.
    let insert = match shared::active() {
        true => {
            "INSERT INTO steward._second_factor (person, sealed) VALUES ($1, $2) ON CONFLICT (person) DO NOTHING RETURNING 1"
        }
        false => {
            "INSERT INTO steward._second_factor (person, sealed) VALUES ($1, $2) ON CONFLICT (person)
                DO UPDATE SET sealed = excluded.sealed, enrolled_at = clock_timestamp() RETURNING 1"
        }
    };
    let enrolled = own::run(|client| own::execute(client, insert, &[person.name.as_str().into(), sealed.into()]))?;
    if enrolled == 0 {
        let script = format!("SELECT steward.reset_totp('{}')", person.name.replace('\'', "''"));
        return Err(Fault::wrong_state(format!("{} has enrolled a second factor already", person.name))
            .detail("A new one is enrolled only after the old one was taken away in an approved operation.")
            .hint(format!("SELECT steward.request($s${script}$s$, purpose => '…');")));
    }
    record("enroll_totp", &person.name)?;
    Ok(uri(&format!("pg_steward {}", settings::database()), &person.name, &secret))
}

#[pg_extern(sql = false)]
fn reset_totp(person: Option<&str>) {
    answer((|| {
        policy::require_configuration("reset_totp")?;
        let name = required("person", person)?;
        let delete = "DELETE FROM steward._second_factor WHERE person = $1 RETURNING 1";
        if own::run(|client| own::execute(client, delete, &[name.into()]))? == 0 {
            return Err(Fault::unknown(format!("{name} has no second factor")).hint("SELECT name FROM steward.person;"));
        }
        record("reset_totp", name)
    })())
}

/// The change rides with its transaction, and every session hears of it: what was stepped up by the old one ends.
fn record(operation_type: &str, person: &str) -> Outcome<()> {
    let mut record = Record::new(Kind::Policy, operation_type);
    record.tier = Some(Tier::Critical);
    record.details = Some(json!({ "person": person }).to_string());
    buffer::push(record);
    own::policy_changed()
}
