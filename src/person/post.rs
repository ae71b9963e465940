//! Posts: what they let a person do, and which group roles are theirs.

use super::{one_text, required};
use crate::error::{Fault, Outcome, answer};
use crate::person::separation;
use crate::{own, policy};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

/// Everything a post can give.
const CAPABILITIES: [&str; 7] = ["apply", "approve", "witness", "audit", "configure", "break_glass", "never_alone"];

#[pg_extern(sql = false)]
fn set_post(
    name: Option<&str>,
    capabilities: Option<Vec<Option<String>>>,
    administrator: Option<bool>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
) {
    answer(set(name, capabilities, administrator, roles))
}

const CHANGE: &str = "UPDATE steward.post SET capabilities = coalesce($2, capabilities),
        administrator = coalesce($3, administrator), roles = coalesce($4::oid[]::regrole[], roles)
    WHERE name = $1 RETURNING name";
const ADD: &str = "INSERT INTO steward.post (name, capabilities, administrator, roles)
    VALUES ($1, coalesce($2, '{}'), coalesce($3, true), coalesce($4::oid[]::regrole[], '{}'))";

fn set(
    name: Option<&str>,
    capabilities: Option<Vec<Option<String>>>,
    administrator: Option<bool>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
) -> Outcome<()> {
    policy::require_privilege("set_post")?;
    let name = required("name", name)?;
    let unknown =
        capabilities.iter().flatten().find(|given| given.as_deref().is_none_or(|given| !CAPABILITIES.contains(&given)));
    if let Some(unknown) = unknown {
        return Err(Fault::bad_argument(format!("\"{}\" is no capability", unknown.as_deref().unwrap_or("NULL")))
            .detail(format!("Capabilities are: {}.", CAPABILITIES.join(" "))));
    }
    let roles = roles.map(|roles| roles.into_iter().collect::<Option<Vec<_>>>());
    let roles = roles.map(|roles| roles.ok_or_else(|| Fault::bad_argument("a role must not be NULL"))).transpose()?;
    own::run(|client| {
        super::last::one_at_a_time()?;
        let gone = "SELECT string_agg(r::text, ' ') FROM unnest($1::oid[]) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE oid = r)";
        if let Some(gone) = one_text(client, gone, &[roles.clone().into()])? {
            return Err(Fault::unknown(format!("role {gone} does not exist")));
        }
        let before = separation::sentences(client)?;
        let arguments: [DatumWithOid<'_>; 4] =
            [name.into(), capabilities.clone().into(), administrator.into(), roles.clone().into()];
        if own::query(client, CHANGE, &arguments)?.is_empty() {
            own::execute(client, ADD, &arguments)?;
        }
        separation::refuse(&separation::added(&before, separation::sentences(client)?))?;
        if capabilities.is_some() {
            separation::refuse_post(client, name)?;
        }
        // The rights on our own functions and views follow the post.
        let holders =
            "SELECT quote_ident(r.rolname) FROM steward.person p JOIN steward.person_login l ON l.person = p.name
            JOIN pg_roles r ON r.oid = l.role::oid WHERE p.post = $1 ORDER BY 1";
        let logins = super::texts(client, holders, &[name.into()])?;
        super::grant(client, &logins)
    })?;
    super::record("set_post", serde_json::json!({ "post": name, "capabilities": capabilities }).to_string());
    own::policy_changed()?;
    crate::activation::recheck(false)
}
