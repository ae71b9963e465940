//! Which tables a command takes data from: those that it names, those that inherit from them, and those whose rows hold
//! values of a type that it alters.

use crate::error::Outcome;
use crate::{cache, own};
use pgrx::pg_sys::Oid;
use pgrx::spi::{SpiClient, SpiTupleTable};

/// Tables in whose rows the row type of this relation lies, at any depth; a typed table is of it altogether.
pub fn holders(client: &mut SpiClient<'_>, relation: Oid) -> Outcome<Vec<Oid>> {
    let holders = "WITH RECURSIVE part(type, inside) AS (
            SELECT typbasetype, oid FROM pg_type WHERE typbasetype <> 0
            UNION ALL SELECT typelem, oid FROM pg_type WHERE typelem <> 0
            UNION ALL SELECT rngsubtype, rngtypid FROM pg_range UNION ALL SELECT rngsubtype, rngmultitypid FROM pg_range
            UNION ALL SELECT a.atttypid, c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                WHERE a.attnum > 0 AND NOT a.attisdropped AND c.reltype <> 0),
        holds(type) AS (SELECT reltype FROM pg_class WHERE oid = $1 AND reltype <> 0
            UNION SELECT p.inside FROM holds h JOIN part p ON p.type = h.type)
        SELECT c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p')
            AND (c.reltype IN (SELECT type FROM holds) OR c.reloftype IN (SELECT type FROM holds))";
    rows(own::select(client, holders, &[relation.into()])?)
}

/// These tables and what inherits from those `with_children`, as far as they are protected; first what inherits, so that a
/// restore, which begins at the end, finds the parent there.
pub fn trees(client: &mut SpiClient<'_>, named: &[Oid], with_children: &[Oid]) -> Outcome<Vec<Oid>> {
    let trees = "WITH RECURSIVE tree(relation, depth) AS (
            SELECT r, 0 FROM unnest($1::oid[]) r
            UNION ALL SELECT i.inhrelid, t.depth + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation
                WHERE t.depth > 0 OR t.relation = ANY ($2::oid[]))
        SELECT relation FROM tree GROUP BY relation ORDER BY max(depth) DESC, relation";
    let mut found = rows(own::select(client, trees, &[named.to_vec().into(), with_children.to_vec().into()])?)?;
    let policy = cache::policy();
    found.retain(|relation| policy.protected(*relation).is_some());
    Ok(found)
}

fn rows(table: SpiTupleTable<'_>) -> Outcome<Vec<Oid>> {
    let mut found = Vec::new();
    for row in table {
        found.extend(row.get::<Oid>(1)?);
    }
    Ok(found)
}
