//! One round of the sequencer: what is new in journal and spool goes to the end of the chain, in one transaction with
//! the proof that it was taken. Then, after the commit, the files and shared counters that depend on it.

use super::announce::{announcements, mismatch, mode_name};
use super::clock;
use super::dictionary::Dictionary;
use super::entry::{Entry, catch_up, raise_alerts, review_all};
use super::epoch::Epochs;
use super::heartbeat::Heartbeat;
use super::journal_count::{Counted, JournalCount};
use super::lane_file::{self, Harvest};
use super::ledger::{self, Ledger};
use super::positions::{self, Rows};
use super::sequencer::{server_record, transaction};
use super::spool::Spool;
use super::{home, incarnation, journal, offset, segment, start};
use crate::alert::condition::Conditions;
use crate::alert::{listeners, query::Queries, watch::Watch};
use crate::core::chain::Head;
use crate::core::clock::Clock;
use crate::core::record::{Outcome as Result, Record, seal, sealed_time};
use crate::error::{Fault, Outcome};
use crate::login::keeper::Keeper;
use crate::settings::{self, Mode};
use crate::shared::Shared;
use crate::{own, state_file};
use pgrx::Uuid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::sync::atomic::Ordering::SeqCst;

/// Bytes of records that one round takes from each source: a bound for memory, not for the chain.
const ROUND_BYTES: usize = 8 << 20;
/// Microseconds between two head files.
const HEAD_FILE_INTERVAL: i64 = 1_000_000;
const HEAD_FILE: &str = "head";
/// Longer ago than any interval.
const NEVER: i64 = i64::MIN / 2;

/// The sequencer's memory between rounds. All of it can be found again from the tables.
pub(super) struct Rounds {
    /// The extension this memory belongs to; another oid means it was dropped and created again.
    extension: pg_sys::Oid,
    spool: Option<Spool>,
    ledger: Option<Ledger>,
    dictionary: Option<Dictionary>,
    clock: Option<Clock>,
    /// The head of the last committed round.
    head: Option<Head>,
    /// Told about this start of server and sequencer.
    announced: bool,
    /// The table of activations was compared with shared memory and the state file.
    settled: bool,
    heartbeat: Heartbeat,
    /// Notes for the next round.
    notes: Vec<Record>,
    filed: Option<Head>,
    /// By the steady clock, as the next.
    filed_at: i64,
    logged: Option<Head>,
    logged_at: i64,
    head_file_failed: bool,
    epochs: Option<Epochs>,
    journal_count: JournalCount,
    segments: segment::Care,
    logins: Keeper,
    alerts: Watch,
    conditions: Conditions,
    queries: Queries,
}

/// What a transaction did that must be followed up after its commit.
struct Done {
    harvest: Harvest,
    head: Head,
    more: bool,
}

impl Rounds {
    pub fn new() -> Rounds {
        segment::forget();
        Rounds {
            extension: pg_sys::InvalidOid,
            spool: None,
            ledger: None,
            dictionary: None,
            clock: None,
            head: None,
            announced: false,
            settled: false,
            heartbeat: Heartbeat::new(),
            notes: Vec::new(),
            filed: None,
            filed_at: NEVER,
            logged: None,
            logged_at: NEVER,
            head_file_failed: false,
            epochs: None,
            journal_count: JournalCount::default(),
            segments: segment::Care::default(),
            logins: Keeper::default(),
            alerts: Watch::default(),
            conditions: Conditions::default(),
            queries: Queries::default(),
        }
    }

    /// One round; true if there is more to do at once.
    pub fn run(&mut self, shared: &Shared) -> bool {
        // First: the commit of a round may wait for a standby, which logs in by what this writes.
        self.look_after_logins(shared);
        let ticket = shared.flush_requested.load(SeqCst);
        report(pg_sys::BackendState::STATE_RUNNING);
        let counted = Counted::so_far(shared);
        let done = transaction(|| self.chain_what_is_new(shared, &counted));
        let more = match done {
            Some(done) => self.follow_up(shared, done, ticket),
            None => false,
        };
        self.publish(!more);
        self.look_after_logins(shared);
        self.tend_alerts();
        listeners::notify();
        report(pg_sys::BackendState::STATE_IDLE);
        more
    }

    /// What logins are judged by is kept where they look.
    pub fn look_after_logins(&mut self, shared: &Shared) {
        self.logins.look(shared);
    }

    fn tend_alerts(&mut self) {
        if self.ledger.is_some() {
            let (alerts, queries) = (&mut self.alerts, &mut self.queries);
            transaction(|| {
                alerts.tend();
                queries.look();
                Ok(())
            });
            queries.launch();
        }
    }

    /// Chained with the next round.
    pub fn mode_changed(&mut self, from: Mode, to: Mode) {
        if from != to {
            let in_force = crate::shared::mode();
            home::tell_mode_that_waits();
            let details = json!({ "from": mode_name(from), "to": mode_name(to), "in_force": mode_name(in_force) });
            self.notes.push(server_record("MODE CHANGED", Result::Success, details));
        }
    }

    fn chain_what_is_new(&mut self, shared: &Shared, counted: &Counted) -> Outcome<Option<Done>> {
        // Safe: a catalog look-up inside a transaction.
        let extension = unsafe { pg_sys::get_extension_oid(c"pg_steward".as_ptr(), true) };
        if extension == pg_sys::InvalidOid || !journal::exists() {
            self.say_goodbye();
            home::without_extension(shared);
            shared.chained.store(false, SeqCst);
            shared.definitions.clear(0);
            *self = Rounds::new();
            return Ok(None);
        }
        if extension != self.extension {
            self.say_goodbye();
            shared.definitions.clear(0);
            *self = Rounds { extension, ..Rounds::new() };
            shared.gone.store(false, SeqCst);
            home::compare_versions()?;
            home::tell_mode_that_waits();
        }
        own::run(|client| {
            self.compare_activation(shared);
            let Some((ledger, genesis)) = self.ledger(client)? else {
                shared.chained.store(false, SeqCst);
                return Ok(None);
            };
            let begins = genesis.is_some();
            let altered = if self.announced || begins { None } else { positions::compare(client, &ledger.id)? };
            if self.spool.is_none() {
                let origin = incarnation::origin(client, shared.boot_id, &ledger.id)?;
                self.spool = Some(Spool::open(origin, offset::positions(client, None)?).map_err(spool_fault)?);
            }
            let mut dictionary = self.dictionary(client, shared, &ledger)?;
            let Some(spool) = &self.spool else { return Err(Fault::internal("the spool is not open")) };
            let taken = journal::take(ROUND_BYTES, |xid, name| counted.key(xid, name));
            let mut harvest = spool.harvest(shared, ROUND_BYTES).map_err(spool_fault)?;
            let mut head = ledger::head(client, &ledger)?;
            let mut clock = match self.clock {
                Some(clock) => clock,
                None => clock::open(client, shared, &head)?,
            };
            let mut first: Vec<Record> = genesis.into_iter().collect();
            if begins {
                first.extend(incarnation::ancestor(client, &head, true)?);
            }
            let step = clock::look(&mut clock);
            if !self.announced {
                let continues = first.len() > 1;
                first.extend(announcements(client, shared, spool, &head, continues)?);
                first.extend(altered);
            }
            first.extend(step);
            if let Some(mismatch) = self.moved(&head) {
                first.push(mismatch);
            }
            first.extend(self.journal_count.compare(client, shared, &taken, counted)?);
            let idle = taken.records.is_empty() && taken.damaged.is_empty() && harvest.is_empty();
            let idle = idle && first.is_empty() && self.notes.is_empty();
            first.extend(self.heartbeat.due(client, &head, idle)?);
            first.extend(self.conditions.due(clock.lasting()));
            catch_up();
            self.clock = Some(clock);
            if idle && first.is_empty() {
                self.dictionary = Some(dictionary);
                self.conditions.is_behind(false);
                return Ok(Some(Done { harvest, head, more: false }));
            }
            let epochs = match self.epochs.take() {
                Some(epochs) => epochs,
                None => Epochs::read(client, &ledger, shared)?,
            };
            let more = taken.more || harvest.more;
            self.conditions.is_behind(more);
            first.append(&mut self.notes);
            let mut entries: Vec<Entry> = first.iter().map(Entry::of).collect();
            let told = entries.len();
            entries.extend(harvest.notes.iter().map(Entry::of));
            entries.extend(
                harvest.lost.iter().map(|(slot, lost)| Entry::of(&lane_file::lost(*lost, json!({ "slot": slot })))),
            );
            for (row, content) in taken.damaged {
                entries.push(Entry::damaged(&row, &content));
                entries.extend(content.records.into_iter().map(|bytes| Entry::read(bytes, &epochs, "damaged journal")));
            }
            entries.extend(taken.records.into_iter().map(|bytes| Entry::read(bytes, &epochs, "journal")));
            let read = std::mem::take(&mut harvest.records);
            entries.extend(read.into_iter().map(|bytes| Entry::read(bytes, &epochs, "spool")));
            entries.iter_mut().for_each(|entry| entry.seal(clock.sealed()));
            entries[told..].sort_by_key(|entry| entry.time);
            review_all(client, &mut dictionary, &mut entries)?;
            raise_alerts(&mut dictionary, &mut self.alerts, &mut entries);
            let mut records = compacted(client, shared, &mut dictionary, head.id, entries)?;
            records.iter_mut().for_each(|record| seal(record, clock.sealed()));
            if records.iter().any(|record| sealed_time(record).is_some()) {
                clock::save(client, &head, clock.sealed())?;
            }
            ledger::append(&ledger, &mut head, &records)?;
            dictionary.save(client)?;
            self.dictionary = Some(dictionary);
            offset::save(client, &harvest.positions)?;
            if !self.announced {
                positions::renew(client, &ledger.id)?;
            }
            self.ledger = Some(ledger);
            self.epochs = Some(epochs);
            Ok(Some(Done { harvest, head, more }))
        })
    }

    /// Takes out the definitions of the open segment; the round puts them back.
    fn dictionary(&mut self, client: &mut SpiClient<'_>, shared: &Shared, ledger: &Ledger) -> Outcome<Dictionary> {
        let segment = segment::open_number().ok_or_else(segment::gone)?;
        match self.dictionary.take() {
            Some(dictionary) if dictionary.is_of(shared, ledger, segment) => Ok(dictionary),
            _ => Dictionary::open(client, shared, ledger, segment),
        }
    }

    /// The extension was dropped: its last head is all that is left of the chain. The next one goes on behind it.
    fn say_goodbye(&self) {
        if let Some(head) = self.head.filter(|head| head.id > 0) {
            // Safe: reads the clock.
            let line = head.checkpoint(unsafe { pg_sys::GetCurrentTimestamp() });
            log!("pg_steward last chain head: {line}");
            if let Err(error) = state_file::replace(HEAD_FILE, format!("{line}\n").as_bytes()) {
                warning!("pg_steward: the head file could not be written: {error}");
            }
        }
    }

    /// Once after a start: the table says whether the policy is active. Under a lock that keeps `activate()` and
    /// `deactivate()` out, who publish before they let go of theirs: what is read here cannot be old when it is published.
    fn compare_activation(&mut self, shared: &Shared) {
        // Safe: inside the round's transaction, with whose end the lock ends.
        let locked = unsafe {
            let schema = pg_sys::get_namespace_oid(c"steward".as_ptr(), false);
            let table = pg_sys::get_relname_relid(c"activation".as_ptr(), schema);
            !self.settled && pg_sys::ConditionalLockRelationOid(table, pg_sys::ShareLock as pg_sys::LOCKMODE)
        };
        if !locked {
            return;
        }
        let active = !own::latest_rows(c"SELECT 1 FROM steward.activation").is_empty();
        let file = if active { state_file::State::Active } else { state_file::State::Inactive };
        if shared.doubtful.load(SeqCst) || shared.active.load(SeqCst) != active || state_file::read() != file {
            let details = json!({ "active": active, "by": "steward.activation" });
            self.notes.push(server_record("STATE RECONCILED", Result::Success, details));
            settle_activation(shared, active, "steward.activation says so");
        }
        self.settled = true;
    }

    /// The ledger, with its genesis record if it begins now. None while nothing is protected and nobody has a second
    /// factor: the chain begins then.
    fn ledger(&self, client: &mut SpiClient<'_>) -> Outcome<Option<(Ledger, Option<Record>)>> {
        if let Some(ledger) = &self.ledger {
            return Ok(Some((ledger.clone(), None)));
        }
        if !own::query(client, "SELECT FROM steward.chain LIMIT 1", &[])?.is_empty() {
            let ledger = ledger::current(client)?.ok_or_else(|| {
                Fault::corrupted("table steward.ledger is empty and the chain does not say its ledger")
                    .hint("Nothing can be chained before the row is restored; records wait in journal and spool.")
            })?;
            return Ok(Some((ledger, None)));
        }
        let begun = "SELECT FROM steward.protected UNION ALL SELECT FROM steward._second_factor LIMIT 1";
        if own::query(client, begun, &[])?.is_empty() {
            return Ok(None);
        }
        ledger::start(client).map(|(ledger, genesis)| Some((ledger, Some(genesis))))
    }

    /// Said if the end of the chain is not where the last round left it.
    fn moved(&self, head: &Head) -> Option<Record> {
        let last = self.head.filter(|last| last != head)?;
        warning!("pg_steward: the chain ends at {} but was left at {}", head.id, last.id);
        // Safe: reads the clock.
        let kept = last.checkpoint(unsafe { pg_sys::GetCurrentTimestamp() });
        Some(mismatch("the chain changed while the sequencer ran", Some(&kept), head))
    }

    /// After the commit. True if there is more to do at once.
    fn follow_up(&mut self, shared: &Shared, done: Done, ticket: u64) -> bool {
        if !self.announced
            && let Err(error) = start::forget_crashes()
        {
            warning!("pg_steward: a chained mark of a crash could not be removed: {error}");
        }
        self.announced = true;
        if let Some(clock) = &self.clock {
            clock::keep(clock, shared);
        }
        if self.head != Some(done.head) {
            self.heartbeat.chained();
        }
        self.head = Some(done.head);
        self.journal_count.follow_up(shared);
        shared.chained_id.store(done.head.id as u64, SeqCst);
        shared.chained.store(true, SeqCst);
        if let Some(dictionary) = &mut self.dictionary {
            dictionary.publish(shared);
        }
        if let Some(spool) = &mut self.spool
            && let Err(error) = spool.commit(shared, done.harvest)
        {
            // The table knows how far the files are chained, so nothing is chained twice; the next start removes them.
            warning!("pg_steward: a chained spool file could not be removed: {error}");
        }
        if !done.more {
            shared.factors.settle(&shared.start);
            shared.flush_done.fetch_max(ticket, SeqCst);
        }
        done.more
    }

    /// Puts the head where a later start, and people outside the database, can compare it.
    fn publish(&mut self, complete: bool) {
        let Some(head) = self.head else { return };
        // Safe: reads the clock.
        let (now, steady) = (unsafe { pg_sys::GetCurrentTimestamp() }, clock::steady());
        if self.filed != Some(head) && steady - self.filed_at >= HEAD_FILE_INTERVAL {
            match state_file::replace(HEAD_FILE, format!("{}\n", head.checkpoint(now)).as_bytes()) {
                Ok(()) => {
                    self.filed = Some(head);
                    self.head_file_failed = false;
                }
                Err(error) if !self.head_file_failed => {
                    self.head_file_failed = true;
                    warning!("pg_steward: the head file could not be written: {error}");
                }
                Err(_) => (),
            }
            self.filed_at = steady;
        }
        if head.id > 0 && steady - self.logged_at >= settings::checkpoint_interval_s() * 1_000_000 {
            let line = head.checkpoint(now);
            log!("pg_steward chain head: {line}");
            if self.logged != Some(head) {
                transaction(|| own::run(|client| keep_head(client, &head, line)));
                self.logged = Some(head);
            }
            self.logged_at = steady;
        }
        transaction(journal::rotate);
        self.segments.look(&head, complete);
    }
}

/// The records as they are chained after `last_id`, each new definition before the first record that refers to it.
fn compacted(
    client: &mut SpiClient<'_>,
    shared: &Shared,
    dictionary: &mut Dictionary,
    last_id: i64,
    entries: Vec<Entry>,
) -> Outcome<Vec<Vec<u8>>> {
    let mut records: Vec<Vec<u8>> = Vec::with_capacity(entries.len());
    for entry in entries {
        let record = dictionary.compact(client, shared, entry, |definition| {
            records.push(definition.encode());
            last_id + records.len() as i64
        })?;
        records.push(record);
    }
    Ok(records)
}

fn report(state: pg_sys::BackendState::Type) {
    // Safe: the time of the last change to idle is what `audit_status` shows as the lag.
    unsafe { pg_sys::pgstat_report_activity(state, c"chaining audit records".as_ptr()) }
}

/// The table wins, once it is read.
pub(super) fn settle_activation(shared: &Shared, active: bool, why: &str) {
    log!("pg_steward: the policy is {}: {why}", if active { "active" } else { "not active" });
    shared.active.store(active, SeqCst);
    match state_file::write(active) {
        Ok(()) => shared.doubtful.store(false, SeqCst),
        Err(error) => warning!("pg_steward: the state file could not be written: {error}"),
    }
}

/// A dump carries this line, so that a restored database can name the head of its ancestor.
fn keep_head(client: &mut SpiClient<'_>, head: &Head, line: String) -> Outcome<()> {
    let id = Uuid::from_bytes(head.ledger);
    let sql = "UPDATE steward.ledger SET head = $1 WHERE ledger = $2";
    let arguments = [line.into(), id.into()];
    positions::change(client, &Rows::of(&head.ledger), |client| own::execute(client, sql, &arguments).map(drop))
}

fn spool_fault(error: std::io::Error) -> Fault {
    Fault::io(format!("the spool cannot be read: {error}"))
        .hint("Records wait in journal and spool; the sequencer tries again.")
}
