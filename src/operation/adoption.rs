//! A step may change code that the next steps depend on: what it was approved to make is what they find. What somebody
//! else changes meanwhile is not. The relations are held before the step, so that nobody can; functions have no lock, so
//! those that have changed must have been written by this transaction.

use super::{Operation, dependency};
use crate::error::Outcome;
use crate::own;
use crate::person::{one_text, texts};
use pgrx::pg_sys;

/// With their partitions, in an order that all steps have in common.
const RELATIONS: &str = "SELECT DISTINCT t.oid::text FROM steward._operation_dependency d,
        to_regclass(regexp_replace(d.object, '^(table|view|materialized view) ', '')) AS r(oid),
        LATERAL (SELECT r.oid::oid UNION SELECT p.relid::oid FROM pg_partition_tree(r.oid) p) t(oid)
    WHERE d.op_no = $1 AND d.object ~ '^(table|view|materialized view) ' AND t.oid IS NOT NULL ORDER BY 1";

/// Changed objects that this transaction did not change. An event trigger is nobody's: it could have been anybody.
const FOREIGN: &str = "SELECT string_agg(title, ' ') FROM unnest($1::text[]) AS title WHERE NOT coalesce(CASE
        WHEN title LIKE 'function %' THEN
            (SELECT p.xmin = pg_current_xact_id()::xid FROM pg_proc p WHERE p.oid = to_regprocedure(substr(title, 10)))
        WHEN title ~ '^(table|view|materialized view) ' THEN
            EXISTS (SELECT FROM steward._operation_dependency d WHERE d.op_no = $2 AND d.object = title)
            OR (SELECT c.xmin = pg_current_xact_id()::xid FROM pg_class c
                WHERE c.oid = to_regclass(regexp_replace(title, '^(table|view|materialized view) ', '')))
        END, false)";

/// Before the step: from here on nobody else changes the relations, and nobody has.
pub fn hold(operation: &Operation) -> Outcome<()> {
    let relations = own::run(|client| texts(client, RELATIONS, &[operation.op_no.as_str().into()]))?;
    for relation in relations.iter().filter_map(|oid| oid.parse::<u32>().ok()) {
        // Safe: waits like any statement; the lock ends with the transaction. It excludes every other command that
        // defines something, and no reader or writer of rows.
        unsafe { pg_sys::LockRelationOid(pg_sys::Oid::from(relation), pg_sys::ShareUpdateExclusiveLock as i32) };
    }
    dependency::check(operation)
}

/// After the step: what it changed is what the operation depends on from now on. The names of it.
pub fn adopt(operation: &Operation) -> Outcome<Vec<String>> {
    let changed = dependency::changed(operation)?;
    let there = changed.iter().filter(|(_, how)| *how != dependency::GONE);
    let there: Vec<String> = there.map(|(object, _)| object.clone()).collect();
    let op_no = operation.op_no.as_str();
    if own::run(|client| one_text(client, FOREIGN, &[there.into(), op_no.into()]))?.is_some() {
        return Err(dependency::refusal(op_no, &changed));
    }
    own::run(|client| dependency::write(client, op_no, &operation.script))?;
    Ok(changed.into_iter().map(|(object, how)| format!("{object} {how}")).collect())
}
