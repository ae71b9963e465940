//! `steward.set_scope` and `steward.drop_scope`.

use super::attribute::{self, fit};
use super::{changed, command};
use crate::core::script::hidden_character;
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, optional, texts};
use crate::watch::utility::relation_name;
use crate::{cache, own, policy};
use pgrx::AnyElement;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::ffi::CStr;

/// The rows that a scope maps through.
struct Via {
    relation: Oid,
    column: String,
    assigned: Option<String>,
    condition: Option<(String, String)>,
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn set_scope(
    role: Option<pg_sys::Oid>,
    relation: Option<pg_sys::Oid>,
    column_name: Option<AnyElement>,
    attribute: Option<&str>,
    via: Option<pg_sys::Oid>,
    via_column: Option<AnyElement>,
    assigned_column: Option<AnyElement>,
    condition_column: Option<AnyElement>,
    condition_value: Option<&str>,
) {
    answer((|| {
        policy::require_privilege("set_scope")?;
        let role = role.ok_or_else(|| Fault::bad_argument("which role?"))?;
        let relation = relation.ok_or_else(|| Fault::bad_argument("which table?"))?;
        let column = name(column_name).ok_or_else(|| Fault::bad_argument("which column?"))?;
        let attribute = attribute.map(|given| attribute::name(Some(given))).transpose()?;
        let (via_column, assigned) = (name(via_column), name(assigned_column));
        let condition = match (name(condition_column), condition_value) {
            (None, None) => None,
            (Some(column), Some(value)) if hidden_character(value).is_none() => Some((column, value.to_owned())),
            _ => return Err(Fault::bad_argument("a condition is a column and a visible value")),
        };
        let via = match via {
            Some(relation) => {
                Some(Via { relation, column: via_column.unwrap_or_else(|| column.clone()), assigned, condition })
            }
            None if via_column.is_some() || assigned.is_some() || condition.is_some() => {
                return Err(Fault::bad_argument("via which table?").hint("via => 'schema.table'"));
            }
            None => None,
        };
        own::run(|client| store(client, role, relation, &column, attribute, via.as_ref()))?;
        let table = relation_name(relation);
        let details = json!({ "role": role_name(role)?, "column": column, "attribute": attribute,
            "via": via.map(|via| relation_name(via.relation)) });
        changed("set_scope", &table, details)
    })())
}

fn store(
    client: &mut SpiClient<'_>,
    role: Oid,
    relation: Oid,
    column: &str,
    attribute: Option<&str>,
    via: Option<&Via>,
) -> Outcome<()> {
    own::execute(client, "LOCK TABLE steward.scope IN SHARE ROW EXCLUSIVE MODE", &[])?;
    check_role(client, role)?;
    check_relation(client, relation)?;
    column_type(client, relation, column)?;
    match (attribute, via) {
        (Some(_), None) => {}
        (Some(_), Some(Via { assigned: Some(_), .. })) | (None, Some(Via { assigned: None, .. })) => {}
        (None, None) => return Err(Fault::bad_argument("which attribute?").hint("attribute => 'school'")),
        (Some(_), Some(_)) => {
            return Err(Fault::bad_argument("which column of the mapping table has the attribute's values?")
                .hint("assigned_column => 'clerk'"));
        }
        (None, Some(_)) => {
            return Err(
                Fault::bad_argument("assigned_column has values of which attribute?").hint("attribute => 'school'")
            );
        }
    }
    if let Some(via) = via {
        check_mapping(client, role, relation, via, column)?;
    }
    // For pg_dump and for people: numbers begin anew where they ended.
    let row = "INSERT INTO steward.scope (id, role, relation, column_name, attribute, via, via_column, assigned_column,
            condition_column, condition_value)
        SELECT coalesce(max(id), 0) + 1, $1::oid::regrole, $2::oid::regclass, $3::name, $4, $5::oid::regclass, $6::name,
            $7::name, $8::name, $9 FROM steward.scope
        ON CONFLICT (role, relation, column_name, (coalesce(attribute, '')), (coalesce(via::oid, 0))) DO UPDATE
            SET via_column = EXCLUDED.via_column, assigned_column = EXCLUDED.assigned_column,
                condition_column = EXCLUDED.condition_column, condition_value = EXCLUDED.condition_value";
    let condition = via.and_then(|via| via.condition.as_ref());
    own::execute(
        client,
        row,
        &[
            role.into(),
            relation.into(),
            column.into(),
            optional(attribute),
            via.map(|via| via.relation).into(),
            optional(via.map(|via| via.column.as_str())),
            optional(via.and_then(|via| via.assigned.as_deref())),
            optional(condition.map(|(column, _)| column.as_str())),
            optional(condition.map(|(_, value)| value.as_str())),
        ],
    )?;
    if let Some(attribute) = attribute {
        check_values(client, attribute, relation)?;
    }
    check_query(client, relation)?;
    command::apply_all(client)
}

/// Row-level security never limits these: a scope on them would only look like one.
fn check_role(client: &mut SpiClient<'_>, role: Oid) -> Outcome<()> {
    let kind = "SELECT CASE WHEN rolsuper OR rolbypassrls THEN 'unlimited' WHEN rolname LIKE 'pg\\_%' THEN 'reserved' ELSE 'fit' END
        FROM pg_roles WHERE oid = $1";
    match one_text(client, kind, &[role.into()])?.as_deref() {
        Some("fit") => Ok(()),
        Some("unlimited") => Err(Fault::bad_argument("row-level security does not limit this role")
            .detail("Superusers and roles with BYPASSRLS see every row.")
            .hint("ALTER ROLE … NOBYPASSRLS;")),
        Some(_) => Err(Fault::bad_argument("predefined roles are not scoped")),
        None => Err(Fault::unknown("that role does not exist")),
    }
}

fn check_relation(client: &mut SpiClient<'_>, relation: Oid) -> Outcome<()> {
    let name = relation_name(relation);
    if cache::policy().protected(relation).is_none_or(|member| member.root.oid != relation) {
        return Err(Fault::wrong_state(format!("{name} is not protected"))
            .detail("Scopes are kept on protected tables: what would take them away is critical there.")
            .hint(format!("SELECT steward.protect('{name}');")));
    }
    let dormant = "WITH RECURSIVE tree(relation) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation)
        SELECT c.oid::regclass::text FROM tree t JOIN pg_class c ON c.oid = t.relation JOIN pg_policy p ON p.polrelid = c.oid
        WHERE NOT c.relrowsecurity AND p.polname !~ '^steward_' LIMIT 1";
    match one_text(client, dormant, &[relation.into()])? {
        None => Ok(()),
        Some(table) => Err(Fault::wrong_state(format!("{table} has policies that are not in force"))
            .detail("Enabling row-level security for a scope would wake them.")
            .hint("DROP POLICY, or ALTER TABLE … ENABLE ROW LEVEL SECURITY, first.")),
    }
}

/// As what a column is compared.
fn column_type(client: &mut SpiClient<'_>, relation: Oid, column: &str) -> Outcome<String> {
    let table = relation_name(relation);
    let exists = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1 AND attname = $2 AND attnum > 0 AND NOT attisdropped";
    let Some(shown) = one_text(client, exists, &[relation.into(), column.into()])? else {
        return Err(Fault::no_column(format!("column \"{column}\" of {table} does not exist")));
    };
    let known = one_text(client, "SELECT steward._scope_type($1, $2::name)", &[relation.into(), column.into()])?;
    known.ok_or_else(|| {
        Fault::unsupported(format!("a scope cannot compare column \"{column}\" of type {shown}")).detail(
            "Columns of scopes are smallint, integer, bigint, text, varchar, char, uuid, or a domain over one of them.",
        )
    })
}

fn check_mapping(client: &mut SpiClient<'_>, role: Oid, relation: Oid, via: &Via, column: &str) -> Outcome<()> {
    let table = relation_name(via.relation);
    // Safe: a syscache look-up. No code of anybody's may run in it: neither a view's nor another server's.
    let kind = unsafe { pg_sys::get_rel_relkind(via.relation) } as u8;
    if !matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE) || table.starts_with("steward.") {
        return Err(Fault::wrong_object(format!("{table} is no table that a scope can lead through")));
    }
    if column_type(client, relation, column)? != column_type(client, via.relation, &via.column)? {
        return Err(Fault::bad_argument(format!(
            "\"{column}\" and \"{}\" of {table} are of different types",
            via.column
        )));
    }
    if let Some((condition, _)) = &via.condition {
        let plain = "SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1
            AND a.attname = $2 AND NOT a.attisdropped AND (t.typtype = 'e' OR t.typnamespace = 'pg_catalog'::regnamespace)";
        if one_text(client, plain, &[via.relation.into(), condition.as_str().into()])?.is_none() {
            return Err(Fault::no_column(format!(
                "column \"{condition}\" of {table} does not exist or is of a user's type"
            )));
        }
    }
    if let Some(assigned) = &via.assigned {
        return column_type(client, via.relation, assigned).map(drop);
    }
    let limits = "SELECT 'yes' FROM steward.scope WHERE role::oid = $1 AND relation::oid = $2 LIMIT 1";
    if one_text(client, limits, &[role.into(), via.relation.into()])?.is_none() {
        return Err(Fault::wrong_state(format!("no scope limits the role on {table}"))
            .detail("Without attribute a scope allows what the role's scopes on the mapping table let it see.")
            .hint(format!("SELECT steward.set_scope(role, '{table}', …);")));
    }
    let circle = "WITH RECURSIVE led(relation, depth) AS (SELECT $2::oid, 1 UNION
            SELECT s.via::oid, l.depth + 1 FROM led l JOIN steward.scope s ON s.relation::oid = l.relation AND s.role::oid = $1
            WHERE s.attribute IS NULL AND l.depth < 8)
        SELECT 'yes' FROM led WHERE relation = $3 OR depth >= 8 LIMIT 1";
    match one_text(client, circle, &[role.into(), via.relation.into(), relation.into()])? {
        None => Ok(()),
        Some(_) => Err(Fault::bad_argument("scopes would lead in a circle, or through more than seven tables")),
    }
}

/// Everybody's values of the attribute must be of the type that the scope compares.
fn check_values(client: &mut SpiClient<'_>, attribute: &str, relation: Oid) -> Outcome<()> {
    for type_name in attribute::types(client, attribute, Some(relation))? {
        let values = "SELECT DISTINCT unnest(allowed_values) FROM steward.person_attribute WHERE attribute = $1
            UNION SELECT unnest(allowed_values) FROM steward.temporary_grant WHERE attribute = $1 AND ended_at IS NULL AND until > clock_timestamp()";
        fit(attribute, &texts(client, values, &[attribute.into()])?, &type_name)?;
    }
    Ok(())
}

/// The mapping queries must be able to run, so that no reader is the first to find out: a condition's value may be none of
/// its column's type.
fn check_query(client: &mut SpiClient<'_>, relation: Oid) -> Outcome<()> {
    own::require_hooks()?;
    let queries = "SELECT mapping FROM steward._scope_mapping WHERE mapping IS NOT NULL AND relation::oid = $1";
    for query in texts(client, queries, &[relation.into()])? {
        // Every argument is an array without elements.
        let planned = (1..=9).rev().fold(query, |query, number| query.replace(&format!("${number}"), "'{}'"));
        client.select(&format!("{planned} LIMIT 0"), None, &[])?;
    }
    Ok(())
}

#[pg_extern(sql = false)]
fn drop_scope(
    role: Option<pg_sys::Oid>,
    relation: Option<pg_sys::Oid>,
    column_name: Option<AnyElement>,
    attribute: Option<&str>,
) {
    answer((|| {
        policy::require_privilege("drop_scope")?;
        let role = role.ok_or_else(|| Fault::bad_argument("which role?"))?;
        let relation = relation.ok_or_else(|| Fault::bad_argument("which table?"))?;
        let column = name(column_name);
        own::run(|client| {
            own::execute(client, "LOCK TABLE steward.scope IN SHARE ROW EXCLUSIVE MODE", &[])?;
            let gone = "DELETE FROM steward.scope WHERE role::oid = $1 AND relation::oid = $2
                AND ($3 IS NULL OR column_name = $3::name) AND ($4 IS NULL OR attribute = $4) RETURNING 1";
            let arguments = [role.into(), relation.into(), optional(column.as_deref()), optional(attribute)];
            if own::execute(client, gone, &arguments)? == 0 {
                return Err(Fault::unknown("there is no such scope").hint("SELECT * FROM steward.scope;"));
            }
            let led = "SELECT relation::text FROM steward.scope s WHERE role::oid = $1 AND attribute IS NULL AND via::oid = $2
                AND NOT EXISTS (SELECT FROM steward.scope o WHERE o.role = s.role AND o.relation = s.via) LIMIT 1";
            if let Some(table) = one_text(client, led, &[role.into(), relation.into()])? {
                return Err(Fault::wrong_state(format!("the scope of the role on {table} leads through this one"))
                    .hint(format!("SELECT steward.drop_scope(role, '{table}');")));
            }
            command::apply_all(client)
        })?;
        let details = json!({ "role": role_name(role)?, "column": column, "attribute": attribute });
        changed("drop_scope", &relation_name(relation), details)
    })())
}

/// An argument of type name.
fn name(argument: Option<AnyElement>) -> Option<String> {
    // Safe: declared name, which is a zero-terminated string of fixed length that lives as long as the call.
    argument.map(|name| unsafe { CStr::from_ptr(name.datum().cast_mut_ptr()).to_string_lossy().into_owned() })
}

fn role_name(role: Oid) -> Outcome<String> {
    Ok(crate::session::role_name(role).to_string())
}
