//! What is wrong with the scopes as they stand: ways around them, policies that are not in the catalog, persons who see
//! nothing. Each is a query over the catalog, so that it says what is, not what was set.

use crate::access::accepted::{self, Acceptance, Way};
use crate::error::{Outcome, answer};
use crate::own;
use crate::person::texts;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// A finding: which issue, about what, and in which way.
pub struct Finding {
    pub issue: &'static str,
    pub object: String,
    pub detail: String,
}

/// Roles that read a scoped table and are not limited on it, with the tables of its tree.
const CLEAR: &str = "WITH RECURSIVE tree(root, relation) AS (SELECT DISTINCT relation::oid, relation::oid FROM steward.scope
        UNION SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation),
    clear(role, root) AS (SELECT DISTINCT r.oid, t.root FROM tree t CROSS JOIN pg_roles r
        WHERE NOT r.rolsuper AND r.rolname NOT LIKE 'pg\\_%' AND (has_any_column_privilege(r.oid, t.relation, 'SELECT'))
        AND (r.rolbypassrls OR NOT EXISTS (SELECT FROM steward.scope s WHERE s.relation::oid = t.root AND pg_has_role(r.oid, s.role::oid, 'USAGE'))))";

/// Issue and query; a query gives object and detail.
pub const QUERIES: [(&str, &str); 14] = [
    ("not_in_force", "SELECT relation::regclass::text, command FROM steward._scope_command WHERE NOT in_force ORDER BY 1, 2"),
    (
        "column_gone",
        "SELECT s.relation::text, format('scope %s compares what is gone or of another type: nobody sees anything', s.id)
         FROM steward.scope s WHERE steward._scope_type(s.relation, s.column_name) IS NULL
            OR s.via IS NOT NULL AND steward._scope_type(s.via, s.via_column) IS NULL
            OR s.assigned_column IS NOT NULL AND steward._scope_type(s.via, s.assigned_column) IS NULL ORDER BY 1, 2",
    ),
    (
        "role_gone",
        "SELECT s.relation::text, format('scope %s is about a role that does not exist', s.id)
         FROM steward.scope s WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = s.role::oid) ORDER BY 1, 2",
    ),
    (
        "mapping_unprotected",
        "SELECT DISTINCT s.via::text, format('whoever writes it decides what %s sees of %s, without a record', s.role, s.relation)
         FROM steward.scope s WHERE s.via IS NOT NULL AND NOT EXISTS (SELECT FROM steward.protected p WHERE p.relation = s.via) ORDER BY 1, 2",
    ),
    (
        "bypasses_rls",
        "SELECT r.rolname::text, CASE WHEN r.rolsuper THEN 'superuser: row-level security does not limit it'
            ELSE 'BYPASSRLS: row-level security does not limit it' END
         FROM pg_roles r WHERE r.rolcanlogin AND (r.rolsuper OR r.rolbypassrls) AND EXISTS (SELECT FROM steward.scope) ORDER BY 1",
    ),
    (
        "reaches_clear_role",
        "SELECT DISTINCT r.rolname::text, format('as %I it reads %s without a scope', c.rolname, k.root::regclass)
         FROM clear k JOIN pg_roles c ON c.oid = k.role
            JOIN pg_roles r ON r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, c.oid, 'MEMBER')
         WHERE EXISTS (SELECT FROM steward.scope s WHERE s.relation::oid = k.root AND pg_has_role(r.oid, s.role::oid, 'MEMBER')) ORDER BY 1, 2",
    ),
    (
        "acts_for_another",
        "SELECT DISTINCT r.rolname::text, format('SET ROLE %I sees what %s may see', o.rolname, l.person)
         FROM steward.person_login l JOIN pg_roles o ON o.oid = l.role::oid
            JOIN pg_roles r ON r.oid <> o.oid AND r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, o.oid, 'MEMBER')
         WHERE EXISTS (SELECT FROM steward.person_attribute h WHERE h.person = l.person)
            AND NOT EXISTS (SELECT FROM steward.person_login m WHERE m.role::oid = r.oid AND m.person = l.person) ORDER BY 1, 2",
    ),
    (
        "pool_sees_rows",
        "SELECT DISTINCT r.rolname::text, format('RESET ROLE reads %s without a scope, and it acts for persons', k.root::regclass)
         FROM clear k JOIN pg_roles r ON r.oid = k.role AND r.rolcanlogin
         WHERE EXISTS (SELECT FROM steward.person_login l WHERE l.role::oid <> r.oid AND pg_has_role(r.oid, l.role::oid, 'MEMBER')) ORDER BY 1, 2",
    ),
    (
        "owner_rights_view",
        "SELECT DISTINCT v.oid::regclass::text, format('shows %s with the rights of %I, whom no scope limits, to %s', t.root::regclass, o.rolname, s.role)
         FROM tree t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.relation AND d.classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class AND v.relkind = 'v'
            JOIN pg_roles o ON o.oid = v.relowner
            JOIN steward.scope s ON s.relation::oid = t.root AND has_any_column_privilege(s.role::oid, v.oid, 'SELECT')
         WHERE NOT coalesce(v.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1', 'security_invoker=yes'], false)
            AND (o.rolsuper OR o.rolbypassrls OR NOT pg_has_role(o.oid, s.role::oid, 'USAGE')) ORDER BY 1, 2",
    ),
    (
        "materialized_view",
        "SELECT DISTINCT v.oid::regclass::text, format('keeps rows of %s, readable for %s', t.root::regclass, s.role)
         FROM tree t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.relation AND d.classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class AND v.relkind = 'm'
            JOIN steward.scope s ON s.relation::oid = t.root AND has_any_column_privilege(s.role::oid, v.oid, 'SELECT') ORDER BY 1, 2",
    ),
    (
        "definer_function",
        "SELECT DISTINCT p.oid::regprocedure::text, format('runs with the rights of %I, who reads %s, for %s', o.rolname, s.relation, s.role)
         FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner
            JOIN steward.scope s ON has_function_privilege(s.role::oid, p.oid, 'EXECUTE')
         WHERE p.prosecdef AND p.pronamespace <> 'steward'::regnamespace AND has_any_column_privilege(o.oid, s.relation::oid, 'SELECT')
            AND (o.rolsuper OR o.rolbypassrls OR NOT pg_has_role(o.oid, s.role::oid, 'USAGE')
                OR EXISTS (SELECT FROM steward.person_login l WHERE l.role::oid = o.oid)) ORDER BY 1, 2",
    ),
    (
        "privilege_beside_rows",
        "SELECT DISTINCT t.relation::regclass::text, format('%s has %s, which no scope limits', s.role, g.privilege)
         FROM tree t JOIN steward.scope s ON s.relation::oid = t.root
            CROSS JOIN unnest(ARRAY['TRUNCATE', 'TRIGGER', 'REFERENCES']) AS g(privilege)
         WHERE has_table_privilege(s.role::oid, t.relation, g.privilege) ORDER BY 1, 2",
    ),
    (
        "sees_nothing",
        "SELECT DISTINCT p.name, format('no value of \"%s\", which limits %s on %s', s.attribute, s.role, s.relation)
         FROM steward.scope s JOIN steward.person_login l ON pg_has_role(l.role::oid, s.role::oid, 'USAGE')
            JOIN pg_roles r ON r.oid = l.role::oid AND NOT r.rolsuper
            JOIN steward.person p ON p.name = l.person AND p.suspended_at IS NULL
         WHERE s.attribute IS NOT NULL AND NOT EXISTS (SELECT FROM steward.person_attribute h WHERE h.person = p.name AND h.attribute = s.attribute)
            AND NOT EXISTS (SELECT FROM steward.temporary_grant g WHERE g.person = p.name AND g.attribute = s.attribute
                AND g.relation = s.relation AND g.ended_at IS NULL AND g.until > clock_timestamp()) ORDER BY 1, 2",
    ),
    (
        "no_index",
        "SELECT DISTINCT s.relation::text, format('no index begins with %I: what the scope of %s allows is found by reading the whole table', s.column_name, s.role)
         FROM steward.scope s JOIN pg_attribute a ON a.attrelid = s.relation::oid AND a.attname = s.column_name
         WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = s.relation::oid AND i.indkey[0] = a.attnum AND i.indpred IS NULL AND i.indisvalid) ORDER BY 1, 2",
    ),
];

/// Every finding; none is the good answer.
pub fn findings(client: &mut SpiClient<'_>) -> Outcome<Vec<Finding>> {
    let mut found = Vec::new();
    for (issue, query) in QUERIES {
        let query = if query.contains("tree t") || query.contains("clear k") {
            format!("{CLEAR} {query}")
        } else {
            query.to_owned()
        };
        for row in own::select(client, &query, &[])? {
            let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
            found.push(Finding { issue, object: text(1)?, detail: text(2)? });
        }
    }
    Ok(found)
}

/// One sentence for each command that the catalog does not have: for `activate()`.
pub fn drift(client: &mut SpiClient<'_>) -> Outcome<Vec<String>> {
    let sentences =
        "SELECT DISTINCT format('The scopes of %s are not in force: call steward.set_scope again.', root::regclass)
        FROM steward._scope_command WHERE NOT in_force ORDER BY 1";
    texts(client, sentences, &[])
}

/// Scopes that are not what was set: nobody accepts them.
pub fn is_drift(issue: &str) -> bool {
    matches!(issue, "not_in_force" | "column_gone" | "role_gone")
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn scope_issues() -> TableIterator<
    'static,
    (
        name!(issue, String),
        name!(object, String),
        name!(detail, String),
        name!(accepted_by, Option<String>),
        name!(accepted_until, Option<TimestampWithTimeZone>),
        name!(accepted_reason, Option<String>),
    ),
> {
    answer(super::require_reader("scope_issues"));
    let ways = answer(own::run(|client| {
        let found = findings(client)?.into_iter().map(Way::of_scope).collect();
        accepted::mark(client, found)
    }));
    TableIterator::new(ways.into_iter().map(|Way { kind, object, why, accepted, .. }| {
        let (by, until, reason) = Acceptance::columns(accepted);
        (kind, object, why, by, until, reason)
    }))
}
