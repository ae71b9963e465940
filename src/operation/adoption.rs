//! A run may change code that its next statements depend on: what it was approved to make is what they find. What somebody
//! else changes meanwhile is not. What it depends on is held before, so that nobody can; what is new afterwards must have
//! been written by this transaction.
//!
//! The checks of a domain have neither lock nor row that would be written: one that somebody else adds meanwhile is found
//! afterwards, one that they drop is not.

use super::Operation;
use super::dependency::{self, Changes, Dependencies, GONE};
use crate::error::{Fault, Outcome};
use crate::own;
use crate::person::{one_text, texts};
use crate::watch::dry_run::Step;
use pgrx::pg_sys;
use pgrx::spi::SpiClient;

/// Whether a statement may change code: by its tag, or because nobody sees what it runs.
pub fn may_define(step: &Step) -> bool {
    ["CREATE", "ALTER", "DROP"].iter().any(|verb| step.command.starts_with(verb)) || step.is_block()
}

/// What a run depends on as it was when it began, held until its transaction ends.
pub struct Held {
    then: Dependencies,
    /// Whatever a transaction before this one wrote had been written when it was held.
    oldest: pg_sys::TransactionId,
}

/// With their partitions, in an order that all runs have in common.
const RELATIONS: &str = "SELECT DISTINCT t.oid::text FROM unnest($1::text[]) AS d(title),
        to_regclass(regexp_replace(title, '^(table|view|materialized view|composite type) ', '')) AS r(oid),
        LATERAL (SELECT r.oid::oid UNION SELECT p.relid::oid FROM pg_partition_tree(r.oid) p) t(oid)
    WHERE title ~ '^(table|view|materialized view|composite type) ' AND t.oid IS NOT NULL ORDER BY 1";

/// Other objects have no lock, but a row in the catalog that whoever changes them must write.
const ROWS: [&str; 5] = [
    "SELECT p.oid::text FROM pg_proc p WHERE p.oid = ANY (SELECT to_regprocedure(substr(title, 10))
        FROM unnest($1::text[]) AS d(title) WHERE title LIKE 'function %') ORDER BY p.oid FOR SHARE",
    "SELECT t.oid::text FROM pg_type t WHERE t.oid = ANY (SELECT to_regtype(substr(title, 6))
        FROM unnest($1::text[]) AS d(title) WHERE title LIKE 'type %') ORDER BY t.oid FOR SHARE",
    "SELECT o.oid::text FROM pg_operator o WHERE o.oid = ANY (SELECT to_regoperator(substr(title, 10))
        FROM unnest($1::text[]) AS d(title) WHERE title LIKE 'operator %') ORDER BY o.oid FOR SHARE",
    "SELECT k.oid::text FROM pg_cast k WHERE format('cast (%s AS %s)', format_type(castsource, NULL), format_type(casttarget, NULL))
        = ANY ($1::text[]) ORDER BY k.oid FOR SHARE",
    "SELECT e.oid::text FROM pg_event_trigger e WHERE 'event trigger ' || e.evtname = ANY ($1::text[]) ORDER BY e.oid FOR SHARE",
];

/// Before the run: from here on nobody else changes what it depends on, and nobody has.
pub fn hold(operation: &Operation, then: Dependencies) -> Outcome<Held> {
    let _exact = dependency::exact();
    let titles: Vec<String> = then.keys().cloned().collect();
    let (oldest, relations) = own::run(|client| {
        let oldest = "SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::numeric % 4294967296)::text";
        Ok((transaction(one_text(client, oldest, &[])?)?, texts(client, RELATIONS, &[titles.clone().into()])?))
    })?;
    for relation in relations.iter().filter_map(|oid| oid.parse::<u32>().ok()) {
        // Safe: waits like any statement; the lock ends with the transaction. It excludes every other command that
        // defines something, and no reader or writer of rows.
        unsafe { pg_sys::LockRelationOid(pg_sys::Oid::from(relation), pg_sys::ShareUpdateExclusiveLock as i32) };
    }
    own::run(|client| ROWS.iter().try_for_each(|rows| texts(client, rows, &[titles.clone().into()]).map(drop)))?;
    dependency::check_since(operation, &then)?;
    Ok(Held { then, oldest })
}

/// What wrote an object that is new: its row in the catalog.
const WRITER: &str = "SELECT coalesce(CASE
        WHEN title LIKE 'function %' THEN (SELECT p.xmin FROM pg_proc p WHERE p.oid = to_regprocedure(substr(title, 10)))
        WHEN title LIKE 'type %' THEN (SELECT t.xmin FROM pg_type t WHERE t.oid = to_regtype(substr(title, 6)))
        WHEN title LIKE 'operator %' THEN (SELECT o.xmin FROM pg_operator o WHERE o.oid = to_regoperator(substr(title, 10)))
        WHEN title LIKE 'cast %' THEN (SELECT k.xmin FROM pg_cast k
            WHERE format('cast (%s AS %s)', format_type(castsource, NULL), format_type(casttarget, NULL)) = title)
        WHEN title LIKE 'event trigger %' THEN (SELECT e.xmin FROM pg_event_trigger e WHERE 'event trigger ' || e.evtname = title)
        ELSE (SELECT c.xmin FROM pg_class c
            WHERE c.oid = to_regclass(regexp_replace(title, '^(table|view|materialized view|composite type) ', ''))) END::text, '0')
    FROM unnest($1::text[]) AS d(title)";

/// What wrote the checks of a domain: they come without a trace in its own row.
const CHECKS: &str =
    "SELECT k.xmin::text FROM pg_constraint k WHERE k.contypid = ANY (SELECT to_regtype(substr(title, 6))
    FROM unnest($1::text[]) AS d(title) WHERE title LIKE 'type %')";

/// What a run made of the things that it depends on.
pub struct Settled {
    pub changes: Changes,
    pub now: Dependencies,
}

impl Settled {
    /// For the record.
    pub fn told(&self) -> Vec<String> {
        self.changes.iter().map(|(object, how)| format!("{object} {how}")).collect()
    }
}

/// After the run, in the same transaction. Refuses what somebody else has changed.
pub fn settle(operation: &Operation, held: &Held) -> Outcome<Settled> {
    let _exact = dependency::exact();
    let now = dependency::now(&operation.script);
    let changes = dependency::changes(&held.then, &now);
    let there = changes.iter().filter(|(_, how)| *how != GONE).map(|(object, _)| object.clone());
    let (known, new): (Vec<String>, Vec<String>) = there.partition(|object| held.then.contains_key(object));
    let (new, checks) = own::run(|client| Ok((writers(client, WRITER, new)?, writers(client, CHECKS, known)?)))?;
    if new.into_iter().any(|writer| !is_ours(writer)) || checks.into_iter().any(|writer| held.missed(writer)) {
        return Err(dependency::refusal(&operation.op_no, &changes));
    }
    Ok(Settled { changes, now })
}

fn writers(client: &mut SpiClient<'_>, query: &str, titles: Vec<String>) -> Outcome<Vec<pg_sys::TransactionId>> {
    texts(client, query, &[titles.into()])?.into_iter().map(|writer| transaction(Some(writer))).collect()
}

fn transaction(text: Option<String>) -> Outcome<pg_sys::TransactionId> {
    let number = text.and_then(|text| text.parse::<u32>().ok());
    number.map(pg_sys::TransactionId::from).ok_or_else(|| Fault::internal("a transaction has no number"))
}

/// Of this transaction, subtransactions included.
fn is_ours(writer: pg_sys::TransactionId) -> bool {
    // Safe: reads backend state.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(writer) }
}

impl Held {
    /// Somebody else wrote it since.
    fn missed(&self, writer: pg_sys::TransactionId) -> bool {
        // Numbers go round.
        let since = writer.into_inner().wrapping_sub(self.oldest.into_inner()) as i32;
        since >= 0 && !is_ours(writer)
    }
}
