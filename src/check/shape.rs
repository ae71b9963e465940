//! A table as a check reads it: its columns and what names a row, by the catalog's own quoted names.

use super::question::SAMPLE;
use crate::error::{Fault, Outcome};
use crate::own;
use crate::person::{one_text, texts};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// A table, names quoted; its rows are called `r`.
pub struct Shape {
    pub name: String,
    pub columns: Vec<Column>,
    /// Text that names a row; values of classed columns are hidden.
    pub key: String,
}

/// A column that a check is about.
pub struct Column {
    pub name: String,
    pub type_name: String,
    /// The function by which its type is hashed: equal values have equal hashes. Empty: one that takes another type.
    hash: Option<String>,
}

/// A column by its name. Its type is the one beneath all domains, and must be the server's own: what a type of
/// somebody else's runs when it is read, cast, hashed or compared must not run as own SQL.
const COLUMNS: &str = "WITH RECURSIVE base(type, under) AS (
        SELECT oid, oid FROM pg_type UNION ALL SELECT b.type, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.under WHERE t.typtype = 'd')
    SELECT quote_ident(a.attname), CASE WHEN t.oid < 16384 THEN format_type(t.oid, NULL) END, w.name,
        (SELECT CASE WHEN f.proargtypes[0] = o.opcintype THEN format('pg_catalog.%I', f.proname) ELSE '' END
            FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
            JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amprocnum = 2
                AND p.amproclefttype = o.opcintype AND p.amprocrighttype = o.opcintype
            JOIN pg_proc f ON f.oid = p.amproc AND f.oid < 16384 AND f.pronamespace = 'pg_catalog'::regnamespace
            WHERE o.opcdefault AND o.opcintype = CASE t.oid WHEN 'varchar'::regtype THEN 'text'::regtype ELSE t.oid END)
    FROM unnest($2::text[]) WITH ORDINALITY w(name, n)
    LEFT JOIN pg_attribute a ON a.attrelid = $1::oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN base b ON b.type = a.atttypid LEFT JOIN pg_type t ON t.oid = b.under
    WHERE t.typtype IS DISTINCT FROM 'd' ORDER BY w.n";
const KEY: &str = "SELECT string_agg(CASE WHEN l.label IS NULL AND a.atttypid < 16384
            THEN format('r.%I::text', a.attname) ELSE '''***''' END, ' || '','' || ' ORDER BY k.n)
    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, n)
    JOIN pg_attribute a ON a.attnum = k.attnum
    LEFT JOIN pg_seclabel l ON l.objoid = a.attrelid AND l.classoid = 'pg_class'::regclass AND l.objsubid = a.attnum
        AND l.provider = 'pg_steward'
    WHERE i.indrelid = $1::oid AND i.indisprimary AND a.attrelid = i.indrelid";

pub fn shape(client: &mut SpiClient<'_>, relation: pg_sys::Oid, columns: &[String]) -> Outcome<Shape> {
    let name =
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = $1::oid AND c.relkind IN ('r', 'p') AND n.nspname NOT IN ('steward', 'pg_catalog', 'pg_toast')";
    let name = one_text(client, name, &[relation.into()])?.ok_or_else(|| {
        Fault::wrong_object(
            "a check is about a table or a partitioned table, and none of the policy's or the server's own",
        )
    })?;
    let mut found = Vec::new();
    for row in own::select(client, COLUMNS, &[relation.into(), columns.to_vec().into()])? {
        let missing = || {
            Fault::unknown(format!("{name} has no such column"))
                .detail(format!("Columns asked for: {}.", columns.join(", ")))
        };
        let column = row.get::<String>(1)?.ok_or_else(missing)?;
        let foreign = || {
            Fault::unsupported(format!("column {column} of {name} has a type of somebody else's"))
                .hint("A check of kind expression is evaluated with the rights of who sets it.")
        };
        let type_name = row.get::<String>(2)?.ok_or_else(foreign)?;
        found.push(Column { name: format!("r.{column}"), type_name, hash: row.get(4)? });
    }
    let key = one_text(client, KEY, &[relation.into()])?.unwrap_or_else(|| "r.ctid::text".to_owned());
    Ok(Shape { name, columns: found, key })
}

/// The table and columns of `schema.table(column, …)`.
pub fn target(client: &mut SpiClient<'_>, parameter: &str) -> Outcome<Shape> {
    let wrong = || Fault::bad_argument("a reference reads schema.table(column, …)");
    let (table, columns) =
        parameter.trim().strip_suffix(')').and_then(|text| text.split_once('(')).ok_or_else(wrong)?;
    let oid = one_text(client, "SELECT to_regclass($1)::oid::text", &[table.trim().into()])?;
    let oid = oid.and_then(|oid| oid.parse::<u32>().ok());
    let oid = oid.ok_or_else(|| Fault::unknown(format!("there is no table {}", table.trim())))?;
    let names = "SELECT (parse_ident(w.name))[1] FROM unnest($1::text[]) WITH ORDINALITY w(name, n) ORDER BY n";
    let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
    let columns = texts(client, names, &[columns.into()])?;
    shape(client, pg_sys::Oid::from(oid), &columns)
}

impl Shape {
    /// Condition: no column is NULL.
    pub fn present(&self) -> String {
        self.columns.iter().map(|column| format!("{} IS NOT NULL", column.name)).collect::<Vec<_>>().join(" AND ")
    }

    /// A number that rows with equal values have in common; None where values of a type cannot be hashed. It need not be
    /// secret: whoever finds other values of the same number makes a check slower, not wrong.
    pub fn hash(&self) -> Option<String> {
        let functions = self.columns.iter().map(|column| column.hash.as_deref()).collect::<Option<Vec<_>>>()?;
        let names = || self.columns.iter().map(|column| column.name.as_str());
        if functions.contains(&"") {
            return Some(format!(
                "pg_catalog.hash_record_extended(ROW({}), 0)",
                names().collect::<Vec<_>>().join(", ")
            ));
        }
        let of_all =
            names().zip(functions).fold("0".to_owned(), |seed, (name, function)| format!("{function}({name}, {seed})"));
        Some(of_all)
    }

    /// How many rows have the values of another, and the keys of some: the first and the last of those that are equal.
    /// `narrowed`: only among rows with a hash of `$1`.
    pub fn doubles(&self, narrowed: bool) -> String {
        let (name, key, present) = (&self.name, &self.key, self.present());
        let hashed = self.hash().filter(|_| narrowed).map(|hash| format!(" AND {hash} = ANY ($1::bigint[])"));
        let columns: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        format!(
            "SELECT (sum(d.n) OVER ())::bigint, d.keys FROM (
                SELECT count(*) AS n, min({key}) || CASE count(*) WHEN 2 THEN ' = ' ELSE ' = … = ' END || max({key}) AS keys
                FROM {name} r WHERE {present}{} GROUP BY {} HAVING count(*) > 1) d ORDER BY d.keys LIMIT {SAMPLE}",
            hashed.unwrap_or_default(),
            columns.join(", ")
        )
    }
}
