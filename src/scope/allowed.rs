//! What policies call: the values that a scope allows the person of the current role. Called by ordinary roles in any
//! statement, so they need no privilege and answer nothing to whom the scope does not concern.

use super::{EVERYTHING, Scope, Scopes};
use crate::cache::{self, Policy};
use crate::core::array;
use crate::error::{Outcome, answer};
use crate::shared;
use pgrx::Uuid;
use pgrx::prelude::*;
use std::str::FromStr;

/// Scopes lead through each other no deeper.
const DEPTH: u32 = 8;

/// What may be seen.
pub enum Allowed {
    Everything,
    /// Rows whose column has one of these, as text.
    Values(Vec<String>),
}

/// What a scope allows the person of the current role, as the clock stands now.
pub fn by(policy: &Policy, scope: &Scope) -> Outcome<Allowed> {
    find(policy, policy.scopes(), scope, DEPTH)
}

fn find(policy: &Policy, scopes: &Scopes, scope: &Scope, depth: u32) -> Outcome<Allowed> {
    let none = || Ok(Allowed::Values(Vec::new()));
    if depth == 0 || !scope.concerns_current_role() {
        return none();
    }
    let Some(held) = scopes.held(policy)? else { return none() };
    let arguments = match &scope.attribute {
        Some(attribute) => vec![allowed(held.values(attribute, scope.relation))],
        None => {
            let sources = scope.sources.iter().filter_map(|source| scopes.get(*source));
            sources.map(|source| find(policy, scopes, source, depth - 1)).collect::<Outcome<_>>()?
        }
    };
    let nothing = |allowed: &Allowed| matches!(allowed, Allowed::Values(values) if values.is_empty());
    if arguments.is_empty() || arguments.iter().any(nothing) {
        return none();
    }
    let Some(mapping) = &scope.mapping else { return arguments.into_iter().next().map_or_else(none, Ok) };
    let literals: Vec<String> = arguments.iter().map(literal).collect();
    let literals: Vec<&str> = literals.iter().map(String::as_str).collect();
    mapping.of(scope.id, &literals).map(Allowed::Values)
}

fn allowed(values: Vec<String>) -> Allowed {
    if values.iter().any(|value| value == EVERYTHING) { Allowed::Everything } else { Allowed::Values(values) }
}

fn literal(allowed: &Allowed) -> String {
    match allowed {
        // A value like it, given beside others, cannot be meant: that would be everything.
        Allowed::Everything => "{*}".to_owned(),
        Allowed::Values(values) => array::literal(values),
    }
}

/// A server that has not preloaded the library knows no policy: nothing is allowed.
fn here(scope: i32) -> Allowed {
    if shared::get().is_none() || !cache::at_home() {
        return Allowed::Values(Vec::new());
    }
    let policy = cache::policy();
    match policy.scopes().get(scope) {
        Some(scope) => answer(by(&policy, scope)),
        None => Allowed::Values(Vec::new()),
    }
}

/// What does not read as a value of the type is none: nothing is seen by it.
fn values<T: FromStr>(scope: i32) -> Vec<T> {
    match here(scope) {
        Allowed::Everything => Vec::new(),
        Allowed::Values(values) => values.iter().filter_map(|value| value.parse().ok()).collect(),
    }
}

#[pg_extern(sql = false)]
fn _allowed_smallint(scope: i32) -> Vec<i16> {
    values(scope)
}

#[pg_extern(sql = false)]
fn _allowed_integer(scope: i32) -> Vec<i32> {
    values(scope)
}

#[pg_extern(sql = false)]
fn _allowed_bigint(scope: i32) -> Vec<i64> {
    values(scope)
}

#[pg_extern(sql = false)]
fn _allowed_text(scope: i32) -> Vec<String> {
    values(scope)
}

#[pg_extern(sql = false)]
fn _allowed_uuid(scope: i32) -> Vec<Uuid> {
    match here(scope) {
        Allowed::Everything => Vec::new(),
        Allowed::Values(values) => values.iter().filter_map(|value| array::uuid(value)).map(Uuid::from_bytes).collect(),
    }
}

#[pg_extern(sql = false)]
fn _allows_everything(scope: i32) -> bool {
    matches!(here(scope), Allowed::Everything)
}
