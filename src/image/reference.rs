//! Who refers to a row. An inserted row that a colleague's rows refer to by now is not taken out again: what the foreign
//! key does then, deleting those rows perhaps, is nobody's wish.

use super::deferred::{Argument, Statements};
use super::role;
use crate::error::Outcome;
use crate::own;
use pgrx::pg_sys::{self, Oid};

/// A foreign key that points at a table.
pub struct Reference {
    /// Of the table that has the key.
    owner: Oid,
    /// Finds a row that refers to the values of `columns`, its parameters.
    look: String,
    columns: Vec<String>,
    /// The table points at itself: one more parameter is the row that does not count.
    itself: bool,
}

impl Reference {
    /// The foreign keys that point at a table. One that a partition has from its parent is looked up at the parent.
    pub fn to(relation: Oid) -> Outcome<Vec<Reference>> {
        // Written as foreign keys themselves write it. Each operator compares what is referred to with what refers.
        let references = r#"SELECT c.relowner, format('SELECT 1 FROM %s"%s"."%s" x WHERE %s%s FOR KEY SHARE OF x',
                CASE c.relkind WHEN 'r' THEN 'ONLY ' END, replace(n.nspname, '"', '""'), replace(c.relname, '"', '""'),
                string_agg(CASE WHEN o.oprname = '=' AND s.nspname = 'pg_catalog'
                    THEN format('"%s" OPERATOR(pg_catalog.=) $%s', replace(f.attname, '"', '""'), u.n)
                    ELSE format('$%s OPERATOR(%I.%s) %I', u.n, s.nspname, o.oprname, f.attname) END, ' AND ' ORDER BY u.n),
                CASE WHEN k.conrelid = k.confrelid THEN format(' AND x.ctid OPERATOR(pg_catalog.<>) $%s', count(*) + 1) END),
                array_agg(p.attname::text ORDER BY u.n), k.conrelid = k.confrelid
            FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                CROSS JOIN LATERAL unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u(refers, referred, operator, n)
                JOIN pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = u.refers
                JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = u.referred
                JOIN pg_operator o ON o.oid = u.operator JOIN pg_namespace s ON s.oid = o.oprnamespace
            WHERE k.contype = 'f' AND k.confrelid = $1
                AND NOT EXISTS (SELECT FROM pg_constraint r WHERE r.oid = k.conparentid AND r.confrelid = k.confrelid)
            GROUP BY k.oid, k.conrelid, k.confrelid, c.relowner, c.relkind, c.relname, n.nspname"#;
        own::run(|client| {
            let mut found = Vec::new();
            for row in own::select(client, references, &[relation.into()])? {
                found.push(Reference {
                    owner: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                    look: row.get(2)?.unwrap_or_default(),
                    columns: row.get(3)?.unwrap_or_default(),
                    itself: row.get(4)? == Some(true),
                });
            }
            Ok(found)
        })
    }

    /// Whether any row refers to this one, also one that was committed after the transaction's snapshot. The row is locked,
    /// so none can begin to.
    pub fn exists(
        &self,
        place: Argument,
        value: impl Fn(&str) -> Option<Argument>,
        statements: &mut Statements,
    ) -> Outcome<bool> {
        // A column that the image has not: unknown, so something may refer to it.
        let Some(mut arguments) = self.columns.iter().map(|name| value(name)).collect::<Option<Vec<Argument>>>() else {
            return Ok(true);
        };
        arguments.extend(self.itself.then_some(place));
        role::as_key(self.owner, || Ok(statements.look(&self.look, &arguments)?.rows > 0))
    }
}
