//! `steward.create_masking_view`: a view that shows a table with its labelled columns masked, for tools and for servers that
//! do not preload the library. It is the same for everybody who may read it.
//!
//! The view belongs to a role of its own that nobody is a member of and nobody logs in as. It may read the columns that the
//! view needs and do nothing else, and row security holds for it: who reads the view has no way from it to the table.

use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::policy::{changed, require_configuration};
use crate::watch::utility::relation_name;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// Owns every masking view of the cluster.
const OWNER: &str = "steward_masking_view";

#[pg_extern(sql = false)]
fn create_masking_view(relation: Option<pg_sys::Oid>, name: Option<&str>) -> Option<String> {
    relation.map(|relation| answer(create(relation, name)))
}

fn create(relation: pg_sys::Oid, name: Option<&str>) -> Outcome<String> {
    require_configuration("create_masking_view")?;
    let table = relation_name(relation);
    // Safe: look-ups in the catalog.
    let (kind, partition) =
        unsafe { (pg_sys::get_rel_relkind(relation) as u8, pg_sys::get_rel_relispartition(relation)) };
    // Safe: as above.
    let temporary = unsafe { pg_sys::get_rel_persistence(relation) } as u8 == pg_sys::RELPERSISTENCE_TEMP;
    let own = table.starts_with("steward.") || relation.to_u32() < pg_sys::FirstNormalObjectId || temporary;
    if !matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE) || partition || own {
        return Err(Fault::wrong_object(format!("{table} cannot be shown by a masking view"))
            .detail("Tables and partitioned tables can, not their partitions, views, temporary tables, or the catalog.")
            .hint("SELECT steward.create_masking_view('schema.table');"));
    }
    let view = own::run(|client| {
        ensure_owner(client)?;
        let view = View::of(client, relation, name)?;
        view.refuse_other(client)?;
        view.make(client)?;
        Ok(view.quoted)
    })?;
    changed("create_masking_view", &view)?;
    Ok(view)
}

/// A role that somebody else made or changed could be one that people can put on.
fn ensure_owner(client: &mut SpiClient<'_>) -> Outcome<()> {
    let found = "SELECT r.rolcanlogin OR r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
            OR EXISTS (SELECT FROM pg_auth_members m WHERE r.oid IN (m.roleid, m.member)) FROM pg_roles r WHERE r.rolname = $1";
    match own::query(client, found, &[OWNER.into()])?.next() {
        None => own::execute(client, &format!("CREATE ROLE {OWNER} NOLOGIN"), &[]).map(drop),
        Some(row) if row.get::<bool>(1)? == Some(false) => Ok(()),
        Some(_) => Err(Fault::wrong_state(format!("role \"{OWNER}\" can be more than the owner of masking views"))
            .detail("It must have no members, no memberships, no LOGIN and no other attribute.")
            .hint(format!(
                "ALTER ROLE {OWNER} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION;"
            ))),
    }
}

/// A view that is about to be made; identifiers are quoted.
struct View {
    quoted: String,
    schema: String,
    table: String,
    /// What is selected, and the columns that this reads.
    expressions: String,
    columns: Option<String>,
}

/// Name, schema, table; the SELECT list and the columns in it.
const DEFINITION: &str = r"WITH relation AS (
        SELECT c.oid, n.nspname, c.relname, coalesce($2, c.relname || '_public_view') AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1),
    columns AS (
        SELECT a.attnum, quote_ident(a.attname) AS name, l.class, t.oid AS type, t.typtype = 'd' AS is_domain,
            coalesce(nullif(t.typbasetype, 0), t.oid) IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) AS is_text,
            format_type(a.atttypid, a.atttypmod) AS typed
        FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN (SELECT relation, attnum, CASE count(*) WHEN 1 THEN min(class) ELSE 'several' END AS class
            FROM steward._labelled GROUP BY 1, 2) l ON l.relation = r.oid AND l.attnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped),
    shown AS (
        SELECT attnum, name, CASE
            WHEN class IS NULL THEN name
            WHEN is_text AND is_domain THEN format('steward.mask_value(%L, %s::pg_catalog.text)', class, name)
            WHEN is_text THEN format('steward.mask_value(%L, %s::pg_catalog.text)::%s', class, name, typed)
            WHEN class = 'birth_date' AND type IN ('date'::regtype, 'timestamp'::regtype)
                THEN format('pg_catalog.date_trunc(''year'', %s::pg_catalog.timestamp)::%s', name, typed)
            WHEN is_domain THEN 'NULL::pg_catalog.text'
            ELSE format('NULL::%s', typed) END AS expression
        FROM columns)
    SELECT (SELECT format('%I.%I', nspname, name) FROM relation), (SELECT quote_ident(nspname) FROM relation),
        (SELECT format('%I.%I', nspname, relname) FROM relation),
        string_agg(expression || ' AS ' || name, ', ' ORDER BY attnum),
        string_agg(name, ', ' ORDER BY attnum) FILTER (WHERE expression NOT LIKE 'NULL::%') FROM shown";

impl View {
    fn of(client: &mut SpiClient<'_>, relation: pg_sys::Oid, name: Option<&str>) -> Outcome<View> {
        if name.is_some_and(|name| name.is_empty() || name.len() >= pg_sys::NAMEDATALEN as usize) {
            return Err(Fault::bad_argument("a view's name has 1 to 63 bytes"));
        }
        let row = own::query(client, DEFINITION, &[relation.into(), name.into()])?.next();
        let row = row.ok_or_else(|| Fault::internal("a relation has no columns to look at"))?;
        let text = |place| Ok::<_, Fault>(row.get::<String>(place)?);
        let known = |value: Option<String>| value.ok_or_else(|| Fault::wrong_object("the table has no columns"));
        Ok(View {
            quoted: known(text(1)?)?,
            schema: known(text(2)?)?,
            table: known(text(3)?)?,
            expressions: known(text(4)?)?,
            columns: text(5)?,
        })
    }

    /// Only what this function made is replaced.
    fn refuse_other(&self, client: &mut SpiClient<'_>) -> Outcome<()> {
        let other = "SELECT 1 FROM pg_class c WHERE c.oid = to_regclass($1)
            AND (c.relkind <> 'v' OR c.relowner <> (SELECT oid FROM pg_roles WHERE rolname = $2))";
        if own::query(client, other, &[self.quoted.as_str().into(), OWNER.into()])?.is_empty() {
            return Ok(());
        }
        Err(Fault::wrong_object(format!("{} exists and is no masking view", self.quoted))
            .hint("SELECT steward.create_masking_view('schema.table', name => 'another_name');"))
    }

    fn make(&self, client: &mut SpiClient<'_>) -> Outcome<()> {
        let View { quoted, schema, table, expressions, columns } = self;
        let mut commands = vec![
            format!("GRANT USAGE ON SCHEMA {schema} TO {OWNER}"),
            // What a former version of the view needed.
            format!("REVOKE ALL ON {table} FROM {OWNER}"),
        ];
        commands.extend(columns.as_ref().map(|columns| format!("GRANT SELECT ({columns}) ON {table} TO {OWNER}")));
        commands.push(format!("CREATE OR REPLACE VIEW {quoted} AS SELECT {expressions} FROM {table}"));
        commands.push(format!("ALTER VIEW {quoted} OWNER TO {OWNER}"));
        commands.push(format!(
            "COMMENT ON VIEW {quoted} IS 'Masking view by pg_steward: labelled columns as their class shows them. Made anew by steward.create_masking_view when labels or columns change.'"
        ));
        commands.iter().try_for_each(|command| own::execute(client, command, &[]).map(drop))
    }
}
