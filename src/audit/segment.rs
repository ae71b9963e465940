//! Where the chain is stored: inheritance children of `steward.chain`, one after another. The highest is open and takes
//! the new records; the sequencer closes it when it is full or old. Whole closed ones are archived by `archive`.
//! Never here: a record changed, moved or dropped.

use super::clock::steady;
use super::positions::{self, Rows};
use super::retention::Purges;
use super::sequencer::transaction;
use super::{archive, ledger};
use crate::backend::backend_local;
use crate::cache::columns;
use crate::core::chain::{Hash, Head};
use crate::core::record::{Kind, Record};
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::cell::Cell;
use std::ffi::CString;

/// The operation type of the record that says a segment was archived.
pub(super) const PRUNE: &str = "PRUNE";
/// Microseconds between two looks at the open segment.
const LOOK_INTERVAL: i64 = 1_000_000;
/// Records chained between two looks, from which on the sequencer is too busy to read a closed segment again.
const BUSY: i64 = 10_000;
/// Records of a new segment that tell the planner what they are like.
const SAMPLED: i64 = 1_000;

/// The open segment, as a process knows it: a number that only grows, and its table.
#[derive(Clone, Copy)]
struct Open {
    number: i32,
    table: pg_sys::Oid,
}

backend_local! {
    // Kept by the sequencer alone, which alone closes segments.
    static OPEN: Cell<Option<Open>> = const { Cell::new(None) };
    /// The archived segment whose missing file was told to the log.
    static COMPLAINED: Cell<i32> = const { Cell::new(0) };
}

/// The table that takes new records. Remembered until [`forget`]; found by name, the highest number.
pub(crate) fn open_relation() -> Option<pg_sys::Oid> {
    open().map(|open| open.table)
}

/// The number of the open segment.
pub(super) fn open_number() -> Option<i32> {
    open().map(|open| open.number)
}

/// The first id of the open segment.
pub(super) fn first_id(client: &mut SpiClient<'_>) -> Outcome<i64> {
    let next = "SELECT coalesce(max(last_id), 0) + 1 FROM steward.segment";
    Ok(own::query(client, next, &[])?.first().get_one::<i64>()?.unwrap_or(1))
}

fn open() -> Option<Open> {
    OPEN.get().or_else(|| {
        OPEN.set(highest());
        OPEN.get()
    })
}

/// The extension was dropped or created again, or a segment was closed.
pub(super) fn forget() {
    OPEN.set(None);
}

fn highest() -> Option<Open> {
    let rows = own::latest_rows(
        c"SELECT c.oid::text, substr(c.relname, 7) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('steward.chain') AND c.relname ~ '^chain_[1-9][0-9]{0,8}$'
            AND c.relnamespace = to_regnamespace('steward')
        ORDER BY length(c.relname) DESC, c.relname DESC LIMIT 1",
    );
    let row = rows.first()?;
    let (table, number) = (row[0].as_ref()?.parse::<u32>().ok()?, row[1].as_ref()?.parse().ok()?);
    Some(Open { number, table: table.into() })
}

/// Said where records cannot be chained because their table is gone.
pub(super) fn gone() -> Fault {
    Fault::corrupted("the chain has no open segment")
        .detail("No table steward.chain_N inherits from steward.chain.")
        .hint("Nothing can be chained before a table is restored; records wait in journal and spool.")
}

/// The name of a segment's table.
pub(super) fn name(number: i32) -> String {
    format!("steward.chain_{number}")
}

/// The sequencer's memory of when it looked after the segments.
#[derive(Default)]
pub(super) struct Care {
    looked_at: i64,
    looked_id: i64,
    /// The segment that the planner knows of.
    sampled: i32,
    /// The open segment, and when it was first seen with a record, by the steady clock.
    filled: Option<(i32, i64)>,
    /// Every transaction before this one had ended at the last look, and the rounds since then have left nothing behind.
    taken_before: Option<String>,
    purges: Purges,
}

impl Care {
    /// Closes the open segment if it is due and drops an archived one; else gives a closed one its bounds. After a round,
    /// outside its transaction; a lock that is not free is tried again at the next look.
    pub fn look(&mut self, head: &Head, complete: bool) {
        if !complete {
            self.taken_before = None;
        }
        let now = steady();
        if now - self.looked_at < LOOK_INTERVAL {
            return;
        }
        let busy = head.id - self.looked_id > BUSY;
        (self.looked_at, self.looked_id) = (now, head.id);
        let closed = transaction(|| own::run(|client| self.close_if_due(client, now)));
        if closed {
            forget();
        }
        // Also where every look finds a segment to close.
        let dropped = transaction(|| own::run(|client| drop_archived(client, self.taken_before.as_deref())));
        if !closed && !dropped {
            if !busy {
                transaction(|| own::run(bound_one));
            }
            transaction(|| own::run(|client| self.sample(client, head)));
        }
        transaction(|| own::run(|client| self.purges.look(client, head)));
        self.taken_before = if complete { transaction(|| own::run(oldest_transaction)) } else { None };
    }

    /// True if the open segment was closed.
    fn close_if_due(&mut self, client: &mut SpiClient<'_>, now: i64) -> Outcome<bool> {
        let Some(open) = open() else { return Ok(false) };
        let since = self.filled.filter(|(number, _)| *number == open.number).map(|(_, since)| since);
        let Some(due) = is_due(client, &open, now - since.unwrap_or(now))? else { return Ok(false) };
        self.filled = Some((open.number, since.unwrap_or(now)));
        if due { close(client, &open) } else { Ok(false) }
    }

    /// Tells the planner that ids are distinct, which no constraint says, as soon as there is something to sample: not
    /// when autovacuum comes by, nor never where it is off.
    fn sample(&mut self, client: &mut SpiClient<'_>, head: &Head) -> Outcome<()> {
        let Some(Open { number, .. }) = open().filter(|open| open.number != self.sampled) else { return Ok(()) };
        if head.id - first_id(client)? < SAMPLED {
            return Ok(());
        }
        self.sampled = number;
        let known = "SELECT FROM pg_statistic WHERE starelid = $1::regclass LIMIT 1";
        if own::select(client, known, &[name(number).into()])?.is_empty() {
            define(&format!("ANALYZE (SKIP_LOCKED) {} (id)", name(number)))?;
        }
        Ok(())
    }
}

fn oldest_transaction(client: &mut SpiClient<'_>) -> Outcome<Option<String>> {
    let xmin = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
    Ok(own::select(client, xmin, &[])?.first().get_one::<String>()?)
}

/// From here on nobody refers to the definitions of closed segments any more, except who has begun before: who may have
/// looked one up before they were taken away has an older transaction id than the next one. This transaction's own is no
/// such bound, it may be older than theirs.
pub(super) fn definitions_renewed(client: &mut SpiClient<'_>) -> Outcome<()> {
    // Safe: reads shared state.
    let next = unsafe { pg_sys::ReadNextFullTransactionId().value }.to_string();
    let renewed = "UPDATE steward.segment SET closed_xid = $1::xid8 WHERE closed_xid IS NULL";
    let arguments = [next.into()];
    positions::change(client, &Rows::Segments, |client| own::execute(client, renewed, &arguments).map(drop))
}

/// Whether the open segment is full or old; None while it is empty. Its first record tells when it began, except where the
/// clock was set forward and back: until that time has come, what has `elapsed` by the steady clock tells.
fn is_due(client: &mut SpiClient<'_>, open: &Open, elapsed: i64) -> Outcome<Option<bool>> {
    let table = name(open.number);
    let due = format!(
        "SELECT coalesce(last.id - first.id + 1 >= p.segment_records, false)
            OR coalesce(steward._record_time(first.record) < now() - p.segment_age, false)
            OR extract(epoch FROM p.segment_age) * 1000000 < $1
        FROM steward.retention_policy p,
            LATERAL (SELECT id, record FROM {table} ORDER BY id LIMIT 1) first,
            LATERAL (SELECT id FROM {table} ORDER BY id DESC LIMIT 1) last"
    );
    let due = own::query(client, &due, &[elapsed.into()])?.first();
    if due.is_empty() { Ok(None) } else { Ok(due.get_one()?) }
}

/// True if nobody was in the way.
fn close(client: &mut SpiClient<'_>, open: &Open) -> Outcome<bool> {
    let (number, closed) = (open.number, name(open.number));
    if !lock(c"chain", pg_sys::ShareUpdateExclusiveLock) {
        return Ok(false);
    }
    let row = format!(
        "INSERT INTO steward.segment (number, first_id, last_id, first_time, last_time, last_hash, closed_at)
        SELECT $1, first.id, last.id, steward._record_time(first.record), steward._record_time(last.record), last.hash,
            clock_timestamp()
        FROM (SELECT id, record FROM {closed} ORDER BY id LIMIT 1) first,
            (SELECT id, record, hash FROM {closed} ORDER BY id DESC LIMIT 1) last
        ON CONFLICT (number) DO UPDATE SET first_id = EXCLUDED.first_id, last_id = EXCLUDED.last_id,
            first_time = EXCLUDED.first_time, last_time = EXCLUDED.last_time, last_hash = EXCLUDED.last_hash,
            closed_at = EXCLUDED.closed_at, closed_xid = NULL"
    );
    let arguments = [number.into()];
    positions::change(client, &Rows::Segments, |client| own::execute(client, &row, &arguments))?;
    create(client, number + 1)?;
    // Every session must know the new table before it decides again. The old one's cached shape changes as well.
    // Safe: queues a transactional invalidation message for an existing relation.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(open.table) };
    own::policy_changed().map(|()| true)
}

/// A new, empty segment, which belongs to the extension and to nobody else.
fn create(client: &mut SpiClient<'_>, number: i32) -> Outcome<()> {
    let table = name(number);
    define(&format!("CREATE TABLE {table} () INHERITS (steward.chain) USING heap"))?;
    define(&format!("CREATE INDEX chain_{number}_order ON {table} USING steward_order (id)"))?;
    define(&format!(
        "CREATE INDEX chain_{number}_operation ON {table} (steward._record_text(record, 14))
            WHERE steward._record_text(record, 1) = 'operation'"
    ))?;
    close_to_all(client, &table)?;
    define(&format!("COMMENT ON TABLE {table} IS 'Segment {number} of steward.chain.'"))?;
    define(&format!("ALTER EXTENSION pg_steward ADD TABLE {table}"))
}

/// Takes back what default privileges have granted on a new table.
pub(crate) fn close_to_all(client: &mut SpiClient<'_>, table: &str) -> Outcome<()> {
    let grants = "SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ')
        FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1::regclass AND a.grantee <> c.relowner";
    let granted = own::query(client, grants, &[table.into()])?.first().get_one::<String>()?;
    match granted {
        Some(grantees) => define(&format!("REVOKE ALL ON {table} FROM {grantees}")),
        None => Ok(()),
    }
}

/// One step towards the CHECK that lets the planner leave a closed segment out: added first, then proved, each in a
/// transaction of its own, so that readers are kept out for a moment only.
fn bound_one(client: &mut SpiClient<'_>) -> Outcome<()> {
    let unbound = "SELECT s.number, s.first_id, s.last_id, c.oid IS NOT NULL FROM steward.segment s
        LEFT JOIN pg_constraint c ON c.conrelid = to_regclass('steward.chain_' || s.number) AND c.conname = 'bounds'
        WHERE s.archived_at IS NULL AND c.convalidated IS NOT TRUE
            AND to_regclass('steward.chain_' || s.number) IS NOT NULL
        ORDER BY s.number LIMIT 1";
    let row = own::query(client, unbound, &[])?.first();
    let Some(number) = (!row.is_empty()).then(|| row.get::<i32>(1)).transpose()?.flatten() else { return Ok(()) };
    let (first, last) = (row.get::<i64>(2)?.unwrap_or_default(), row.get::<i64>(3)?.unwrap_or_default());
    let added = row.get::<bool>(4)? == Some(true);
    let mode = if added { pg_sys::ShareUpdateExclusiveLock } else { pg_sys::AccessExclusiveLock };
    let Ok(relation) = CString::new(format!("chain_{number}")) else { return Ok(()) };
    if !lock(&relation, mode) {
        return Ok(());
    }
    let table = name(number);
    if added {
        define(&format!("ALTER TABLE {table} VALIDATE CONSTRAINT bounds"))
    } else {
        let check = format!("CHECK (id BETWEEN {first} AND {last})");
        define(&format!("ALTER TABLE {table} ADD CONSTRAINT bounds {check} NOT VALID"))
    }
}

/// Drops the oldest segment if it was archived and the chain says so. True if it did.
fn drop_archived(client: &mut SpiClient<'_>, taken_before: Option<&str>) -> Outcome<bool> {
    // Skipped while an archiver holds it: nothing is waited for. A transaction as old as the segment may have records
    // that refer to definitions in it.
    let oldest = "SELECT number, last_id, file, file_bytes, prune_id, prune_after FROM steward.segment
        WHERE number = (SELECT min(number) FROM steward.segment WHERE to_regclass('steward.chain_' || number) IS NOT NULL)
            AND closed_xid <= $1::xid8 FOR UPDATE SKIP LOCKED";
    let Some(taken_before) = taken_before else { return Ok(false) };
    let row = own::query(client, oldest, &[taken_before.into()])?.first();
    if row.is_empty() {
        return Ok(false);
    }
    // Without a file it is not archived yet.
    let (Some(number), Some(last_id)) = (row.get::<i32>(1)?, row.get::<i64>(2)?) else { return Ok(false) };
    let (Some(file), Some(bytes)) = (row.get::<String>(3)?, row.get::<i64>(4)?) else { return Ok(false) };
    if row.get::<i64>(5)?.is_none() {
        let Some(id) = find_prune(client, last_id, row.get::<i64>(6)?.unwrap_or(last_id))? else { return Ok(false) };
        let told = "UPDATE steward.segment SET prune_id = $2 WHERE number = $1";
        own::execute(client, told, &[number.into(), id.into()])?;
    }
    if !archive::is_kept(&file, bytes) {
        if COMPLAINED.get() != number {
            COMPLAINED.set(number);
            warning!("pg_steward: segment {number} of the chain stays, its archive file \"{file}\" is not there");
        }
        return Ok(false);
    }
    let Ok(relation) = CString::new(format!("chain_{number}")) else { return Ok(false) };
    if !lock(&relation, pg_sys::AccessExclusiveLock) {
        return Ok(false);
    }
    let table = name(number);
    define(&format!("ALTER EXTENSION pg_steward DROP TABLE {table}"))?;
    define(&format!("DROP TABLE {table}"))?;
    own::execute(client, "DELETE FROM steward.definition WHERE id <= $1", &[last_id.into()])?;
    own::policy_changed().map(|()| true)
}

/// The id of the PRUNE record of the segment that ends with `last_id`, if it is chained.
fn find_prune(client: &mut SpiClient<'_>, last_id: i64, after: i64) -> Outcome<Option<i64>> {
    let records =
        "SELECT id, record FROM steward.chain WHERE id > $1 AND steward._record_text(record, 9) = $2 ORDER BY id";
    for row in own::query(client, records, &[after.into(), PRUNE.into()])? {
        let pruned = row.get::<Vec<u8>>(2)?.and_then(|record| pruned_to(&record));
        if pruned.is_some_and(|(to_id, _)| to_id == last_id) {
            return Ok(row.get(1)?);
        }
    }
    Ok(None)
}

/// Where the stored chain was cut off: the last archived record before the first one online, if a PRUNE record of the
/// online chain confirms that everything up to it was archived. None for a chain that begins with record 1, or should.
pub(crate) fn cut(client: &mut SpiClient<'_>) -> Outcome<Option<Head>> {
    let newest = "SELECT s.last_id, p.record FROM (SELECT id FROM steward.chain ORDER BY id LIMIT 1) c
        JOIN steward.segment s ON s.last_id < c.id JOIN steward.chain p ON p.id = s.prune_id
        ORDER BY s.last_id DESC LIMIT 1";
    let row = own::select(client, newest, &[])?.first();
    if row.is_empty() {
        return Ok(None);
    }
    let (id, record) = row.get_two::<i64, Vec<u8>>()?;
    let pruned = record.and_then(|record| pruned_to(&record)).filter(|(to_id, _)| Some(*to_id) == id);
    let (Some((id, hash)), Some(ledger)) = (pruned, ledger::current(client)?) else { return Ok(None) };
    Ok(Some(Head { ledger: ledger.id, id, hash }))
}

/// Id and hash of the last record that a PRUNE record tells of.
pub(super) fn pruned_to(record: &[u8]) -> Option<(i64, Hash)> {
    let record = Record::decode(record).ok()?;
    if record.kind != Kind::Policy || record.operation_type != PRUNE {
        return None;
    }
    let details: serde_json::Value = serde_json::from_str(record.details.as_deref()?).ok()?;
    let hash = details["last_hash"].as_str()?;
    let (pairs, []) = hash.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    Some((details["to_id"].as_i64()?, bytes?.try_into().ok()?))
}

/// Locks a table of schema `steward` to the end of the transaction, if nobody is in the way.
fn lock(relation: &std::ffi::CStr, mode: u32) -> bool {
    // Safe: catalog cache look-ups and a lock inside a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"steward".as_ptr(), true);
        let table = pg_sys::get_relname_relid(relation.as_ptr(), schema);
        table != pg_sys::InvalidOid && lock_whole(table, mode)
    }
}

/// With where it keeps its long values, which whoever takes or empties the table would wait for. False: not free now.
pub(super) fn lock_whole(table: pg_sys::Oid, mode: u32) -> bool {
    let free = |table| {
        // Safe: inside a transaction; nothing is waited for, and what is held goes with it.
        unsafe { pg_sys::ConditionalLockRelationOid(table, mode as i32) }
    };
    free(table) && columns::toast_of(table).is_none_or(free)
}

/// Runs a command of data definition as part of another one: neither event triggers nor the hooks of other libraries,
/// which may fail, have a say in whether the chain goes on.
pub(crate) fn define(command: &str) -> Outcome<()> {
    let text = CString::new(command).map_err(|_| Fault::internal("a command with a zero byte"))?;
    // Safe: inside `own::run`, with an active snapshot; the parse tree lives in the current memory context.
    unsafe {
        let statements = pg_sys::pg_parse_query(text.as_ptr());
        let raw = pg_sys::list_nth(statements, 0).cast::<pg_sys::RawStmt>();
        let mut planned = PgBox::<pg_sys::PlannedStmt>::alloc_node(pg_sys::NodeTag::T_PlannedStmt);
        planned.commandType = pg_sys::CmdType::CMD_UTILITY;
        planned.utilityStmt = (*raw).stmt;
        planned.stmt_location = -1;
        pg_sys::standard_ProcessUtility(
            planned.as_ptr(),
            text.as_ptr(),
            false,
            pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            pg_sys::None_Receiver,
            std::ptr::null_mut(),
        );
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}
