//! A record between its source and the chain: read, seen by the reviews, never passed over.

use super::dictionary::{self, Dictionary};
use super::epoch::Epochs;
use super::sequencer::server_record;
use crate::alert::watch::{SUSPICION, Watch};
use crate::core::batch::Content;
use crate::core::injection::Patterns;
use crate::core::record::{Kind, Outcome as Result, Record, Side, Split, seal, sealed_time};
use crate::core::tier::Tier;
use crate::error::Outcome;
use crate::login::attempt as login;
use crate::operation::{put_off, review};
use crate::own;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use sha2::{Digest, Sha256};

/// How much of what cannot be read is kept.
const KEPT_BYTES: usize = 4 << 10;

/// A record on its way to the chain, in canonical bytes.
pub(super) struct Entry {
    pub bytes: Vec<u8>,
    /// When it happened.
    pub time: i64,
    pub kind: Kind,
    /// The older of the two definitions, if it refers to one on both sides.
    pub refers_to: Option<i64>,
    /// A success without an operation: its tier may demand a review.
    plain: bool,
    tier: TierOf,
}

/// The tier of a record, or the definition that knows it.
enum TierOf {
    Own(Option<Tier>),
    Defined(i64),
}

impl Entry {
    /// Puts the time of sealing into what the sequencer itself wrote, before alerts tell of it.
    pub(super) fn seal(&mut self, time: i64) {
        if sealed_time(&self.bytes).is_some() {
            seal(&mut self.bytes, time);
            self.time = time;
        }
    }

    pub fn of(record: &Record) -> Entry {
        let plain = record.outcome == Result::Success && record.op_no.is_none();
        let tier = TierOf::Own(record.tier);
        Entry { bytes: record.encode(), time: record.time, kind: record.kind, refers_to: None, plain, tier }
    }

    /// What came as `u32 epoch ‖ record`. What does not read as a record, or refers to definitions of another history, is
    /// not passed over: a record with its digest stands for it.
    pub fn read(mut bytes: Vec<u8>, epochs: &Epochs, source: &str) -> Entry {
        let whole = || {
            let (came, record) = bytes.split_first_chunk::<4>()?;
            let split = Split::new(record).ok()?;
            let known = [split.who, split.what].into_iter().all(|side| match side {
                Side::Own(_) => true,
                Side::Defined(id) => epochs.admits(u32::from_be_bytes(*came), id),
            });
            let refers_to = match (split.who, split.what) {
                (Side::Defined(who), Side::Defined(what)) => Some(who.min(what)),
                _ => None,
            };
            if !known {
                return None;
            }
            let plain = split.outcome == Result::Success && !split.has_op_no;
            let tier = match split.what {
                Side::Defined(id) => TierOf::Defined(id),
                Side::Own(body) => TierOf::Own(dictionary::tier_of(body)),
            };
            Some(Entry { bytes: Vec::new(), time: split.time, kind: split.kind, refers_to, plain, tier })
        };
        match whole() {
            Some(entry) => {
                bytes.drain(..4);
                Entry { bytes, ..entry }
            }
            None => Entry::unreadable(&bytes, source),
        }
    }

    pub fn unreadable(bytes: &[u8], source: &str) -> Entry {
        let (sha256, hex) = kept(bytes);
        let details = json!({ "from": source, "sha256": sha256, "bytes": bytes.len(), "record": hex });
        Entry::of(&server_record("UNREADABLE", Result::Failure, details))
    }

    /// What is said of a row of the journal that is not as it was written. Its records follow, as far as they can be read:
    /// they bear this transaction, and are not to be trusted.
    pub fn damaged(row: &[u8], content: &Content) -> Entry {
        let (sha256, hex) = kept(row);
        let details = json!({
            "xid": content.xid, "part": content.part, "records": content.records.len(),
            "sha256": sha256, "bytes": row.len(), "row": hex,
        });
        Entry::of(&server_record("DAMAGED JOURNAL", Result::Failure, details))
    }

    /// Whether a review, or the second factor, has something to say to it.
    fn concerns_reviews(&self, client: &mut SpiClient<'_>, dictionary: &mut Dictionary) -> Outcome<bool> {
        Ok(match self.kind {
            Kind::Operation | Kind::Login => true,
            Kind::Statement if self.plain => {
                let tier = match self.tier {
                    TierOf::Own(tier) => tier,
                    TierOf::Defined(id) => dictionary.tier(client, id)?,
                };
                tier == Some(Tier::Important)
            }
            _ => false,
        })
    }
}

/// The digest of what cannot be read, and its beginning in hexadecimal digits.
fn kept(bytes: &[u8]) -> (String, String) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (hex(&Sha256::digest(bytes)), hex(&bytes[..bytes.len().min(KEPT_BYTES)]))
}

/// Lets the reviews see what concerns them before it is hashed. What fails there must not stop the chain: then each
/// record gets an attempt of its own, and one that fails again is chained as it came.
pub(super) fn review_all(
    client: &mut SpiClient<'_>,
    dictionary: &mut Dictionary,
    entries: &mut [Entry],
) -> Outcome<()> {
    let mut came = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.concerns_reviews(client, dictionary)? {
            match dictionary.resolved(client, &entry.bytes)? {
                Some(record) => came.push((index, record)),
                None => warning!("pg_steward: a record is chained without its review: its definition cannot be read"),
            }
        }
    }
    if came.is_empty() {
        return Ok(());
    }
    let mut seen: Vec<Record> = came.iter().map(|(_, record)| record.clone()).collect();
    if attempt(|client| seen.iter_mut().try_for_each(|record| look(client, record))).is_err() {
        for (seen, (_, came)) in seen.iter_mut().zip(&came) {
            *seen = came.clone();
            if let Err(reason) = attempt(|client| look(client, seen)) {
                warning!("pg_steward: a record is chained without its review: {reason}");
                *seen = came.clone();
            }
        }
    }
    for ((index, came), seen) in came.iter().zip(seen) {
        if *came != seen {
            entries[*index] = Entry::of(&seen);
        }
    }
    Ok(())
}

/// Lets the alert rules see every record, and adds what they suspect. What fails there must not stop the chain either.
pub(super) fn raise_alerts(dictionary: &mut Dictionary, alerts: &mut Watch, entries: &mut Vec<Entry>) {
    let mut more = Vec::new();
    let seen = attempt(|client| {
        alerts.begin();
        entries.iter().try_for_each(|entry| alerts.see(client, &entry.bytes, dictionary))?;
        for (bytes, patterns) in alerts.suspected() {
            if let Some(record) = dictionary.resolved(client, &bytes)? {
                let entry = Entry::of(&suspicion(&record, patterns));
                alerts.see(client, &entry.bytes, dictionary)?;
                more.push(entry);
            }
        }
        Ok(())
    });
    if let Err(reason) = seen {
        warning!("pg_steward: the alert rules were not asked about {} records: {reason}", entries.len());
    }
    entries.append(&mut more);
    alerts.raise();
}

/// Who sent what from where, and what it looks like.
fn suspicion(record: &Record, patterns: Patterns) -> Record {
    let told = Record::new(Kind::Server, SUSPICION);
    Record {
        time: record.time,
        user_id: record.user_id.clone(),
        effective_user: record.effective_user.clone(),
        person: record.person.clone(),
        client_ip: record.client_ip.clone(),
        application_name: record.application_name.clone(),
        database: record.database.clone(),
        relations: record.relations.clone(),
        tier: record.tier,
        outcome: record.outcome,
        statement: record.statement.clone(),
        backend: record.backend,
        details: Some(json!({ "patterns": patterns.names(), "statement": record.operation_type }).to_string()),
        ..told
    }
}

/// What records asked for and could not be done at once, because somebody's transaction was in the way.
pub(super) fn catch_up() {
    if !put_off::is_due() {
        return;
    }
    let mut found = false;
    for catch_up in put_off::ALL {
        let mut done = false;
        let tried = attempt(|client| {
            done = catch_up(client)?;
            Ok(())
        });
        if let Err(reason) = &tried {
            warning!("pg_steward: what an operation has become is put off: {reason}");
        }
        found |= done || tried.is_err();
    }
    put_off::looked(found);
}

/// What the sequencer adds to a record, or does about it.
fn look(client: &mut SpiClient<'_>, record: &mut Record) -> Outcome<()> {
    if record.kind == Kind::Login && record.person.is_none() {
        login::name_person(client, record)?;
    }
    review::on_record(client, record)
}

/// Own SQL whose failure costs no record.
fn attempt(body: impl FnOnce(&mut SpiClient<'_>) -> Outcome<()>) -> std::result::Result<(), String> {
    own::attempt(body).map_err(|undone| undone.message)
}
