//! Verification of the chain and its head: what an auditor asks for. Works also where the library was not preloaded, so
//! that a copy can be examined elsewhere.
//!
//! The records are read by this process and hashed by a few threads (`core::chain::Parallel`): the whole chain in the
//! order of the disk, which no index can falsify and which is fastest; a part of it, or what is in disorder, by a query
//! in the order of ids. Both see the chain's table and everything that inherits from it.

mod altered;
mod catalog;
mod definitions;
mod disk;
mod failed;
mod progress;
mod query;
mod verified;

pub(crate) use failed::kept as found;
pub(crate) use verified::kept;

use super::ledger::{self, Ledger};
use super::segment;
use crate::core::chain::{Disorder, Hash, Head, Kind, Parallel, Verdict, Verifier};
use crate::error::{self, Fault, Outcome};
use crate::own;
use altered::Altered;
use definitions::Definitions;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use progress::Progress;

/// No more threads than this, whatever the machine has: one process cannot read for more.
const MAX_THREADS: usize = 8;

/// The columns of `verify_chain` and `verify_new`, in order.
type Row = (bool, i64, Option<i64>, Option<i64>, &'static str, Option<i64>, Option<String>);

#[allow(clippy::type_complexity)] // the columns must stand in the signature
#[pg_extern(sql = false)]
fn verify_chain(
    from_id: Option<i64>,
    to_id: Option<i64>,
    anchor: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(ok, bool),
        name!(checked, i64),
        name!(from_id, Option<i64>),
        name!(to_id, Option<i64>),
        name!(kind, &'static str),
        name!(first_bad_id, Option<i64>),
        name!(anchored_to, Option<String>),
    ),
> {
    let verdict = error::answer(verify(from_id, to_id, anchor));
    TableIterator::once(row(verdict, anchor))
}

#[allow(clippy::type_complexity)] // the columns must stand in the signature
#[pg_extern(sql = false)]
fn verify_new() -> TableIterator<
    'static,
    (
        name!(ok, bool),
        name!(checked, i64),
        name!(from_id, Option<i64>),
        name!(to_id, Option<i64>),
        name!(kind, &'static str),
        name!(first_bad_id, Option<i64>),
        name!(anchored_to, Option<String>),
    ),
> {
    TableIterator::once(row(error::answer(verify_since_last()), None))
}

fn row(verdict: Verdict, anchor: Option<&str>) -> Row {
    let anchored_to = anchor.filter(|_| verdict.anchored).map(str::to_owned);
    let Verdict { ok, checked, from_id, to_id, kind, first_bad_id, .. } = verdict;
    (ok, checked, from_id, to_id, kind.name(), first_bad_id, anchored_to)
}

/// What is to be verified, and what is known of it.
struct Task {
    tables: Vec<disk::Table>,
    ledger: Ledger,
    /// Id of the first record.
    first: i64,
    /// Id of the last; none for all there are.
    last: Option<i64>,
    /// The hash that the first record follows. Unknown, its `prev_hash` is believed.
    start: Option<Hash>,
    anchor: Option<Head>,
    /// Id of the oldest record that is kept; what lies before it is archived.
    oldest: i64,
    /// From the oldest record that is kept: then no record may lie before it either.
    from_oldest: bool,
}

impl Task {
    fn is_whole(&self) -> bool {
        self.from_oldest && self.last.is_none()
    }

    /// Keeps a verdict that is not good, unless what it found can still be rolled back.
    fn keep(&self, verdict: &Verdict) {
        if !self.tables.iter().any(disk::Table::may_be_changed_here) {
            failed::keep(verdict);
        }
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.ledger.id, self.ledger.genesis_prev(), self.first, self.start, self.anchor)
    }
}

/// `verify_chain`
pub fn verify(from_id: Option<i64>, to_id: Option<i64>, anchor: Option<&str>) -> Outcome<Verdict> {
    if from_id.is_some_and(|first| first < 1) || to_id.is_some_and(|last| last < from_id.unwrap_or(1)) {
        return Err(Fault::bad_argument("from_id must be 1 or more and not beyond to_id"));
    }
    let anchor = anchor.map(parse_anchor).transpose()?;
    if let (Some(head), Some(last)) = (anchor, to_id)
        && head.id > last
    {
        return Err(Fault::bad_argument("the anchor lies beyond to_id")
            .hint("Verify up to the anchor's id or further, or leave to_id away."));
    }
    own::run(|client| {
        let (altered, _now) = (Altered::look(), Newest::snapshot()?);
        if let Some(verdict) = altered.unreadable() {
            failed::keep(&verdict);
            return Ok(verdict);
        }
        let tables = disk::tables()?;
        let ledger = match ledger::current(client)? {
            Some(ledger) => ledger,
            // Without any ledger there is no chain, or none that can be right; the anchor's name is as good as any.
            None => Ledger { id: anchor.map_or([0; 16], |head| head.ledger), system_identifier: String::new() },
        };
        let due = first_due(client, &ledger)?;
        let first = from_id.unwrap_or(due.id + 1);
        let from_oldest = first == due.id + 1;
        let start = if from_oldest { Some(due.hash) } else { stored_hash(client, first - 1)? };
        let oldest = due.id + 1;
        let task = Task { tables, ledger, first, last: to_id, start, anchor, oldest, from_oldest };
        let (verdict, head) = run(client, &task)?;
        let verdict = altered.judge(client, verdict)?;
        if let (true, true, Some(head)) = (verdict.ok, from_oldest, head) {
            let anchor = anchor.filter(|_| verdict.anchored);
            if verified::replace(client, &task, &head, to_id.is_none(), anchor)? && to_id.is_none() {
                failed::forget();
            }
        } else if anchor.is_none() {
            task.keep(&verdict);
        }
        Ok(verdict)
    })
}

/// `verify_new`: from the record that was verified last, which must still be there, to the end. Its checkpoint lies with
/// the database and is no anchor: a good verdict never says that it was one. After one that was not good, new records that
/// are whole prove nothing: then all are verified.
pub fn verify_since_last() -> Outcome<Verdict> {
    let Some(last) = verified::head()? else { return verify(None, None, None) };
    match verify_since(last)? {
        Some(verdict) if !verdict.ok || failed::kept().is_none() => Ok(verdict),
        _ => verify(None, None, None),
    }
}

/// None: that record was archived in the meantime.
fn verify_since(last: Head) -> Outcome<Option<Verdict>> {
    own::run(|client| {
        let (altered, _now) = (Altered::look(), Newest::snapshot()?);
        if let Some(verdict) = altered.unreadable() {
            failed::keep(&verdict);
            return Ok(Some(verdict));
        }
        let tables = disk::tables()?;
        let ledger = ledger::current(client)?.unwrap_or(Ledger { id: last.ledger, system_identifier: String::new() });
        let oldest = first_due(client, &ledger)?.id + 1;
        if last.ledger == ledger.id && last.id < oldest {
            return Ok(None);
        }
        let start = stored_hash(client, last.id - 1)?;
        let (first, anchor) = (last.id, Some(last));
        let task = Task { tables, ledger, first, last: None, start, anchor, oldest, from_oldest: false };
        let (mut verdict, head) = run(client, &task)?;
        if verdict.kind == Kind::Empty {
            // Nothing is left from there on: what was verified is gone.
            let newest = ledger::head(client, &task.ledger)?.id;
            let kind = if task.ledger.id == last.ledger { Kind::Truncated } else { Kind::Forked };
            verdict = Verdict { kind, first_bad_id: Some(newest + 1), ..verdict };
        }
        let verdict = altered.judge(client, verdict)?;
        if let (true, Some(head)) = (verdict.ok, head) {
            verified::replace(client, &task, &head, false, None)?;
        }
        task.keep(&verdict);
        let kind = if verdict.kind == Kind::Ok { Kind::NotAnchored } else { verdict.kind };
        Ok(Some(Verdict { kind, anchored: false, ..verdict }))
    })
}

/// The tables are locked as they are now: so their rows are read, however old the caller's snapshot is. A segment that was
/// closed or archived since then would look like damage.
struct Newest;

impl Newest {
    /// 25001 where own queries do not look at it: once a transaction has written, they take the transaction's.
    fn snapshot() -> Outcome<Newest> {
        // Safe: inside a transaction; popped when this is dropped, or by the abort.
        unsafe {
            if pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32
                && pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId
            {
                return Err(Fault::wrong_transaction("the chain cannot be verified in this transaction")
                    .detail("It is repeatable read or serializable and has written: it does not see how the tables of the audit trail are now.")
                    .hint("ROLLBACK, or COMMIT; then ask in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED;"));
            }
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        }
        Ok(Newest)
    }
}

impl Drop for Newest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Safe: pushed above, and nothing that was pushed since is left.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}

/// What the oldest record that is kept must follow: its id is one further, its `prev_hash` this hash. The genesis, or the
/// last record that was archived.
fn first_due(client: &mut SpiClient<'_>, ledger: &Ledger) -> Outcome<Head> {
    let genesis = Head { ledger: ledger.id, id: 0, hash: ledger.genesis_prev() };
    Ok(segment::cut(client)?.filter(|cut| cut.ledger == ledger.id).unwrap_or(genesis))
}

/// The verdict, and the last record if nothing is wrong.
fn run(client: &mut SpiClient<'_>, task: &Task) -> Outcome<(Verdict, Option<Head>)> {
    let newest = ledger::head(client, &task.ledger)?.id;
    let last = task.last.map_or(newest, |last| last.min(newest));
    let progress = Progress::begin(last.saturating_sub(task.first).saturating_add(1));
    let mut reader = Reader::new(task);
    if !task.is_whole() || disk::read(&task.tables, task.first, &mut reader, &progress)? == Err(Disorder) {
        reader = Reader::new(task);
        query::read(client, task, &mut reader, &progress)?;
    }
    let verifier = reader.records.into_verifier();
    progress.end();
    let head = verifier.head();
    let verdict = verifier.finish();
    if verdict.ok
        && let Some(difference) = catalog::compare(client, task, reader.definitions, &verdict)?
    {
        let first_bad_id = Some(difference.id);
        difference.warn();
        return Ok((Verdict { ok: false, kind: Kind::Catalog, first_bad_id, anchored: false, ..verdict }, head));
    }
    Ok((verdict, head))
}

/// What reading hands each record to.
struct Reader {
    records: Parallel,
    definitions: Definitions,
}

impl Reader {
    fn new(task: &Task) -> Reader {
        Reader { records: Parallel::new(task.verifier(), threads()), definitions: Definitions::default() }
    }

    fn push(&mut self, id: i64, record: &[u8], prev_hash: &[u8], hash: &[u8]) {
        self.definitions.see(id, record);
        self.records.push(id, record, prev_hash, hash);
    }

    fn checked(&self) -> i64 {
        self.records.checked()
    }
}

/// One per core; none where that would only take turns with this one.
fn threads() -> usize {
    match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => cores.get().min(MAX_THREADS),
        _ => 0,
    }
}

fn parse_anchor(line: &str) -> Outcome<Head> {
    Head::parse(line).ok_or_else(|| {
        Fault::bad_argument("the anchor is not a checkpoint line")
            .hint("Pass a line that steward.chain_head() returned, unchanged.")
    })
}

fn stored_hash(client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<Hash>> {
    let row = own::select(client, "SELECT hash FROM steward.chain WHERE id = $1 LIMIT 1", &[id.into()])?.first();
    if row.is_empty() {
        return Ok(None);
    }
    // A hash of a wrong length is followed by nothing.
    Ok(row.get_one::<Vec<u8>>()?.map(|hash| hash.try_into().unwrap_or_default()))
}

#[pg_extern(sql = false)]
fn chain_head() -> String {
    let head = error::answer(own::run(|client| match ledger::current(client)? {
        Some(ledger) => ledger::head(client, &ledger).map(Some),
        None => Ok(None),
    }));
    match head.filter(|head| head.id > 0) {
        // Safe: reads the clock.
        Some(head) => head.checkpoint(unsafe { pg_sys::GetCurrentTimestamp() }),
        None => Fault::wrong_state("there is no audit chain yet").detail(super::flush::NO_CHAIN).raise(),
    }
}
