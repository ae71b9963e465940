//! `steward.set_attribute`: what a person is allowed, for good.

use super::{EVERYTHING, changed, command};
use crate::core::array::is_value_of;
use crate::core::script::hidden_character;
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, required};
use crate::{own, policy};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

#[pg_extern(sql = false)]
fn set_attribute(person: Option<&str>, attribute: Option<&str>, allowed_values: Option<Vec<Option<String>>>) {
    answer((|| {
        policy::require_privilege("set_attribute")?;
        let person = required("person", person)?;
        let attribute = name(attribute)?;
        let values = listed(allowed_values)?;
        if values.len() > 1 && values.iter().any(|value| value == EVERYTHING) {
            return Err(Fault::bad_argument("'*' stands alone: it allows every value").hint("allowed_values => '{*}'"));
        }
        own::run(|client| {
            known_person(client, person)?;
            // One after the other: the types that scopes expect must not change in between.
            own::execute(client, "LOCK TABLE steward.scope IN SHARE ROW EXCLUSIVE MODE", &[])?;
            let types = types(client, attribute, None)?;
            types.iter().try_for_each(|type_name| fit(attribute, &values, type_name))?;
            if values.is_empty() {
                let gone = "DELETE FROM steward.person_attribute WHERE person = $1 AND attribute = $2";
                own::execute(client, gone, &[person.into(), attribute.into()])?;
            } else {
                let row = "INSERT INTO steward.person_attribute (person, attribute, allowed_values) VALUES ($1, $2, $3)
                    ON CONFLICT (person, attribute) DO UPDATE SET allowed_values = EXCLUDED.allowed_values";
                own::execute(client, row, &[person.into(), attribute.into(), values.clone().into()])?;
            }
            command::apply_all(client)
        })?;
        let everything = values.iter().any(|value| value == EVERYTHING);
        let details =
            json!({ "person": person, "attribute": attribute, "values": values.len(), "everything": everything });
        changed("set_attribute", attribute, details)
    })())
}

/// An attribute's name.
pub fn name(attribute: Option<&str>) -> Outcome<&str> {
    let wrong = || {
        Fault::bad_argument("an attribute is a lower-case name")
            .detail("Letters a-z, digits and underscores, beginning with a letter, at most 63 bytes.")
            .hint("attribute => 'school'")
    };
    let attribute = attribute.ok_or_else(wrong)?;
    let mut characters = attribute.chars();
    let fits = attribute.len() <= 63
        && characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == '_');
    if fits { Ok(attribute) } else { Err(wrong()) }
}

/// Each value once; none is NULL, and all of it is visible to who approves it.
pub fn listed(values: Option<Vec<Option<String>>>) -> Outcome<Vec<String>> {
    let values: Option<Vec<String>> = values.unwrap_or_default().into_iter().collect();
    let mut values = values.ok_or_else(|| Fault::bad_argument("a value must not be NULL"))?;
    if values.iter().any(|value| hidden_character(value).is_some()) {
        return Err(Fault::bad_argument("a value contains a hidden character"));
    }
    values.sort();
    values.dedup();
    Ok(values)
}

/// Refuses values that are none of a type.
pub fn fit(attribute: &str, values: &[String], type_name: &str) -> Outcome<()> {
    match values.iter().find(|value| *value != EVERYTHING && !is_value_of(type_name, value)) {
        None => Ok(()),
        Some(_) => Err(Fault::bad_argument(format!("a value of \"{attribute}\" is none of type {type_name}"))
            .detail("A scope compares it with a column of that type.")
            .hint("SELECT * FROM steward.scope;")),
    }
}

/// The types that scopes expect of an attribute; of one table, or of all.
pub fn types(client: &mut SpiClient<'_>, attribute: &str, relation: Option<pg_sys::Oid>) -> Outcome<Vec<String>> {
    let types = "SELECT DISTINCT coalesce(type, 'that is gone') FROM steward._scope_value
        WHERE attribute = $1 AND ($2 IS NULL OR relation::oid = $2)";
    crate::person::texts(client, types, &[attribute.into(), relation.into()])
}

pub fn known_person(client: &mut SpiClient<'_>, person: &str) -> Outcome<()> {
    match one_text(client, "SELECT name FROM steward.person WHERE name = $1", &[person.into()])? {
        Some(_) => Ok(()),
        None => Err(Fault::unknown(format!("person \"{person}\" is not registered"))
            .hint("SELECT steward.register_person(name, post, roles => '{login}');")),
    }
}
