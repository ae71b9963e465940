//! Until when what a role form gives is valid: which rights of a command are new, found before it runs, and what is
//! written down of them afterwards. Rights are the same by what they are (grantee, thing, privilege, column), however a
//! command spells them; what the grantee has without an end already gets none by being granted again.

use crate::core::role_form::{Extent, added};
use crate::error::Outcome;
use crate::own;
use crate::watch::granted::{Given, Privilege, Undo};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::SpiClient;

/// A term without an end.
pub const NO_END: &str = "infinity";

/// One right of one role.
#[derive(Clone, Default)]
struct Right {
    grantee: String,
    role: Option<String>,
    relation: Option<pg_sys::Oid>,
    schema: Option<String>,
    privilege: Option<String>,
    column: Option<String>,
    attribute: Option<&'static str>,
}

/// A right that a command is about to give for a time.
pub struct Coming {
    right: Right,
    extent: Extent,
    /// The term that stands goes on for the option to pass it on, which this command does not give.
    leaves_option: bool,
}

const TABLE: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"];
const COLUMN: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "REFERENCES"];
const SEQUENCE: [&str; 3] = ["USAGE", "SELECT", "UPDATE"];
const SCHEMA: [&str; 2] = ["USAGE", "CREATE"];

/// Privileges one by one, each with its column.
fn one_by_one<'a>(
    privileges: &'a [Privilege],
    all: &'a [&'a str],
) -> impl Iterator<Item = (String, Option<String>)> + 'a {
    privileges.iter().flat_map(move |privilege| {
        let all = if privilege.columns.is_empty() { all } else { &COLUMN };
        let names = if privilege.name == "ALL" { all.to_vec() } else { vec![privilege.name.as_str()] };
        names.into_iter().flat_map(|name| {
            let columns: Vec<Option<String>> = match privilege.columns.is_empty() {
                true => vec![None],
                false => privilege.columns.iter().cloned().map(Some).collect(),
            };
            columns.into_iter().map(move |column| (name.to_owned(), column))
        })
    })
}

fn rights(given: &Given) -> Vec<Right> {
    let whose = || Right { grantee: given.granted.grantee.clone(), ..Right::default() };
    match &given.undo {
        Undo::Membership(role) => vec![Right { role: Some(role.clone()), ..whose() }],
        Undo::Attribute(attribute) => vec![Right { attribute: Some(attribute), ..whose() }],
        Undo::Relations(relations, privileges) => {
            let of = |relation: &pg_sys::Oid| {
                // Safe: a syscache look-up.
                let sequence = unsafe { pg_sys::get_rel_relkind(*relation) } as u8 == pg_sys::RELKIND_SEQUENCE;
                let all: &[&str] = if sequence { &SEQUENCE } else { &TABLE };
                let right = |(privilege, column)| Right {
                    relation: Some(*relation),
                    privilege: Some(privilege),
                    column,
                    ..whose()
                };
                one_by_one(privileges, all).map(right).collect::<Vec<_>>()
            };
            relations.iter().flat_map(of).collect()
        }
        Undo::Schemas(schemas, privileges) => {
            let of = |schema: &String| {
                let right =
                    |(privilege, _)| Right { schema: Some(schema.clone()), privilege: Some(privilege), ..whose() };
                one_by_one(privileges, &SCHEMA).map(right).collect::<Vec<_>>()
            };
            schemas.iter().flat_map(of).collect()
        }
        Undo::Unknown(_) => Vec::new(),
    }
}

/// Before the command: what of it the grantee does not have yet, or only for a time.
pub fn coming(client: &mut SpiClient<'_>, given: &[Given]) -> Outcome<Vec<Coming>> {
    let mut coming = Vec::new();
    for given in given {
        for right in rights(given) {
            let held = right.ask(client, HELD)?;
            let term = right.ask(client, TERM)?;
            if let Some(extent) = added(held, term, given.with_option) {
                let leaves_option = !given.with_option && held == Some(true) && term == Some(false);
                coming.push(Coming { right, extent, leaves_option });
            }
        }
    }
    Ok(coming)
}

impl Coming {
    /// After the command.
    pub fn keep(&self, client: &mut SpiClient<'_>, op_no: &str, until: &str) -> Outcome<()> {
        let mut arguments = Vec::from(self.right.arguments());
        arguments.extend([op_no.into(), until.into(), (self.extent == Extent::Option).into()]);
        own::execute(client, if self.leaves_option { LEAVE } else { END }, &arguments)?;
        if until == NO_END { Ok(()) } else { own::execute(client, KEEP, &arguments).map(drop) }
    }
}

impl Right {
    fn arguments(&self) -> [DatumWithOid<'static>; 7] {
        [
            self.grantee.clone().into(),
            self.role.clone().into(),
            self.relation.into(),
            self.schema.clone().into(),
            self.privilege.clone().into(),
            self.column.clone().into(),
            self.attribute.into(),
        ]
    }

    fn ask(&self, client: &mut SpiClient<'_>, question: &str) -> Outcome<Option<bool>> {
        Ok(own::query(client, question, &self.arguments())?.first().get_one::<bool>()?)
    }
}

/// Whether the grantee has the right: NULL not, false to use, true to pass on as well. Of privileges those that the owner
/// gave, since the owner's REVOKE takes no others back.
const HELD: &str = "SELECT CASE
        WHEN $2 IS NOT NULL THEN (SELECT m.admin_option FROM pg_auth_members m
            WHERE m.roleid = to_regrole(quote_ident($2)) AND m.member = g.role)
        WHEN $6 IS NOT NULL THEN (SELECT bool_or(x.is_grantable) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            CROSS JOIN aclexplode(a.attacl) x WHERE c.oid = $3::oid AND a.attname = $6 AND NOT a.attisdropped
                AND x.grantee = g.role AND x.grantor = c.relowner AND x.privilege_type = $5)
        WHEN $3::oid IS NOT NULL THEN (SELECT bool_or(x.is_grantable) FROM pg_class c
            CROSS JOIN aclexplode(coalesce(c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\", c.relowner))) x
            WHERE c.oid = $3::oid AND x.grantee = g.role AND x.grantor = c.relowner AND x.privilege_type = $5)
        WHEN $4 IS NOT NULL THEN (SELECT bool_or(x.is_grantable) FROM pg_namespace n
            CROSS JOIN aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) x
            WHERE n.nspname = $4 AND x.grantee = g.role AND x.grantor = n.nspowner AND x.privilege_type = $5)
        ELSE (SELECT nullif(CASE $7 WHEN 'SUPERUSER' THEN rolsuper WHEN 'CREATEROLE' THEN rolcreaterole
            WHEN 'CREATEDB' THEN rolcreatedb WHEN 'REPLICATION' THEN rolreplication WHEN 'BYPASSRLS' THEN rolbypassrls END, false)
            FROM pg_roles WHERE oid = g.role)
        END FROM (SELECT to_regrole(quote_ident($1))::oid) g(role)";

/// The terms that stand for a right.
macro_rules! of_right {
    () => {
        " t.ended_at IS NULL AND t.grantee = to_regrole(quote_ident($1))
        AND t.role IS NOT DISTINCT FROM to_regrole(quote_ident($2)) AND t.relation IS NOT DISTINCT FROM $3::oid::regclass
        AND t.schema IS NOT DISTINCT FROM to_regnamespace(quote_ident($4))::oid AND t.privilege IS NOT DISTINCT FROM $5
        AND t.column_name IS NOT DISTINCT FROM $6 AND t.attribute IS NOT DISTINCT FROM $7"
    };
}

/// NULL: none; true: only for the option to pass it on.
const TERM: &str = concat!("SELECT bool_and(t.option_only) FROM steward.role_term t WHERE", of_right!());

const END: &str = concat!(
    "UPDATE steward.role_term t SET ended_at = clock_timestamp(), ended_by = 'a later form: ' || $8
    WHERE $9 <> '' AND (NOT $10 OR t.option_only) AND",
    of_right!()
);

const LEAVE: &str = concat!(
    "UPDATE steward.role_term t SET option_only = true WHERE $8 <> '' AND $9 <> '' AND NOT $10 AND",
    of_right!()
);

const KEEP: &str =
    "INSERT INTO steward.role_term (op_no, grantee, until, role, relation, schema, privilege, column_name, attribute, option_only)
    VALUES ($8, to_regrole(quote_ident($1)), $9::timestamptz, to_regrole(quote_ident($2)), $3::oid::regclass,
        to_regnamespace(quote_ident($4))::oid, $5, $6, $7, $10)";
