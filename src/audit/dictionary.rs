//! Definitions: what repeats in the records of a session (who) and of a statement (what) is chained once, as a record of
//! its own, and referred to by its id from then on. The sequencer alone defines; a backend refers to what it finds in
//! shared memory and otherwise writes the content itself, so nothing depends on it.

use super::entry::Entry;
use super::epoch;
use super::ledger::Ledger;
use super::segment;
use super::sequencer::server_record;
use crate::backend::NumberMap;
use crate::core::record::{Draft, Field, Kind, Outcome as Result, Part, Record, Side, Split, Value, find_in_body};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::own;
use crate::shared::{self, DEFINITIONS, Definitions, Shared};
use pgrx::spi::SpiClient;
use sha2::{Digest, Sha256};
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

/// How many places are looked at from a key's own place on.
const PROBES: usize = 16;
/// Definitions of one segment: half of the places, so that most keys are found at once.
const CAPACITY: usize = DEFINITIONS / 2;
/// Contents seen once that are remembered: what comes only once is not worth a definition.
const SEEN_ONCE: usize = 20_000;
/// A longer content is no application's everyday statement.
const LONGEST: usize = 8 << 10;

/// The ids that stand for the two sides of a record in this epoch, where they are defined.
pub struct References {
    pub epoch: u32,
    pub who: Option<i64>,
    pub what: Option<i64>,
}

/// What a backend may refer to now. Reads shared memory only; for callbacks that must not raise.
pub fn references(draft: &Draft) -> References {
    let Some(shared) = shared::get() else { return References { epoch: 0, who: None, what: None } };
    let table = &shared.definitions;
    // Before the ids are read: they belong to this epoch or to a later one, which the sequencer then refuses.
    let epoch = table.epoch.load(SeqCst);
    // What a transaction that drops the extension records is read by another ledger, if by any.
    let refers = epoch != 0 && draft.kind == Kind::Statement && !crate::activation::drops_extension();
    let defined = |part| if refers { table.find(part) } else { None };
    References { epoch, who: defined(&draft.who), what: defined(&draft.what) }
}

impl Definitions {
    fn key(&self, body: &[u8]) -> u128 {
        let digest = Sha256::new().chain_update(self.secret).chain_update(body).finalize();
        // 0 means that the key is not known.
        digest[..16].try_into().map_or(1, u128::from_be_bytes).max(1)
    }

    fn find(&self, part: &Part) -> Option<i64> {
        let generation = self.generation.load(SeqCst);
        let mut known = part.known.get();
        if known.generation == generation && known.id != 0 {
            return Some(known.id);
        }
        if known.key == 0 {
            known.key = self.key(&part.body);
        }
        let found = self.look_up(known.key);
        fence(Acquire);
        if self.generation.load(SeqCst) != generation {
            // The place may have been taken away and given to this key while it was read: the id may be another's.
            return None;
        }
        known.generation = generation;
        known.id = found.unwrap_or_default();
        part.known.set(known);
        found
    }

    fn look_up(&self, key: u128) -> Option<i64> {
        let (high, low) = halves(key);
        for place in places(key) {
            let definition = &self.places[place];
            let id = definition.id.load(Acquire);
            if id == 0 {
                return None;
            }
            if definition.key[0].load(Relaxed) == high && definition.key[1].load(Relaxed) == low {
                return Some(id);
            }
        }
        None
    }

    /// One writer: the sequencer. False if there is no room near the key's place.
    fn insert(&self, key: u128, id: i64) -> bool {
        let Some(place) = places(key).find(|place| self.places[*place].id.load(Relaxed) == 0) else { return false };
        let definition = &self.places[place];
        let (high, low) = halves(key);
        // Whoever sees the new key must see that the former generation has ended.
        definition.key[0].store(high, Release);
        definition.key[1].store(low, Release);
        definition.id.store(id, Release);
        true
    }

    /// Forgets everything. A backend that has just read an id may still refer to it: that definition stays in the chain.
    pub(super) fn clear(&self, epoch: u32) {
        self.epoch.store(0, SeqCst);
        for definition in &self.places {
            definition.id.store(0, SeqCst);
        }
        self.generation.fetch_add(1, SeqCst);
        self.epoch.store(epoch, SeqCst);
    }
}

fn halves(key: u128) -> (u64, u64) {
    ((key >> 64) as u64, key as u64)
}

fn places(key: u128) -> impl Iterator<Item = usize> {
    (0..PROBES).map(move |step| (key as usize + step) % DEFINITIONS)
}

/// The tier that the side what of a record gives.
pub(super) fn tier_of(what: &[u8]) -> Option<Tier> {
    match find_in_body(what, Field::Tier) {
        Ok(Some(Value::Byte(tier))) => Tier::from_u8(tier),
        _ => None,
    }
}

/// The sequencer's own view. It dies with a failed round, as the worker does, and is read again from the chain.
pub(super) struct Dictionary {
    pub epoch: u32,
    /// Each segment defines anew: it may be archived before the records that would refer to it.
    segment: i32,
    /// The first id of the segment.
    first_id: i64,
    ids: HashMap<u128, i64>,
    /// Content by id, older segments' included as they are asked for.
    bodies: NumberMap<i64, Vec<u8>>,
    seen: HashSet<u128>,
    /// Of the definitions that were asked for it.
    tiers: NumberMap<i64, Option<Tier>>,
    /// Defined in this round, for everybody once it is committed.
    fresh: Vec<(u128, i64)>,
}

impl crate::alert::watch::Definitions for Dictionary {
    fn content(&mut self, client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<&[u8]>> {
        self.body(client, id)
    }
}

impl Dictionary {
    /// Reads the definitions of the open segment, and shows them to everybody.
    pub fn open(client: &mut SpiClient<'_>, shared: &Shared, ledger: &Ledger, segment: i32) -> Outcome<Dictionary> {
        let (epoch, first_id) = (epoch::current(ledger, shared), segment::first_id(client)?);
        let mut dictionary = Dictionary {
            epoch,
            segment,
            first_id,
            ids: HashMap::new(),
            bodies: NumberMap::default(),
            seen: HashSet::new(),
            tiers: NumberMap::default(),
            fresh: Vec::new(),
        };
        shared.definitions.clear(epoch);
        segment::definitions_renewed(client)?;
        let sql =
            "SELECT c.id, c.record FROM steward.definition d JOIN steward.chain c ON c.id = d.id WHERE d.id >= $1";
        for row in own::query(client, sql, &[first_id.into()])? {
            let (Some(id), Some(record)) = (row.get::<i64>(1)?, row.get::<Vec<u8>>(2)?) else { continue };
            // What does not read as a definition defines nothing.
            let Some(body) = Record::decode(&record).ok().and_then(|record| record.body) else { continue };
            let key = shared.definitions.key(&body);
            if dictionary.ids.insert(key, id).is_none() {
                shared.definitions.insert(key, id);
            }
            dictionary.bodies.insert(id, body);
        }
        Ok(dictionary)
    }

    /// After the commit: backends may refer to what the round defined.
    pub fn publish(&mut self, shared: &Shared) {
        for (key, id) in self.fresh.drain(..) {
            shared.definitions.insert(key, id);
        }
    }

    /// Remembers what the round defined, in its transaction.
    pub fn save(&self, client: &mut SpiClient<'_>) -> Outcome<()> {
        if !self.fresh.is_empty() {
            let ids: Vec<i64> = self.fresh.iter().map(|(_, id)| *id).collect();
            own::execute(
                client,
                "INSERT INTO steward.definition SELECT unnest($1) ON CONFLICT DO NOTHING",
                &[ids.into()],
            )?;
        }
        Ok(())
    }

    /// Whether it holds the definitions of this ledger's open segment.
    pub fn is_of(&self, shared: &Shared, ledger: &Ledger, segment: i32) -> bool {
        self.epoch == epoch::current(ledger, shared) && self.segment == segment
    }

    /// What a definition defines; None if that record is gone or is no definition (any more): whoever damaged the chain
    /// must not stop it.
    pub fn body(&mut self, client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<&[u8]>> {
        let body = match self.bodies.entry(id) {
            Occupied(known) => known.into_mut(),
            Vacant(unknown) => {
                let sql = "SELECT record FROM steward.chain WHERE id = $1 LIMIT 1";
                let row = own::select(client, sql, &[id.into()])?.first();
                let record = if row.is_empty() { None } else { row.get_one::<Vec<u8>>()? };
                match record.and_then(|record| Record::decode(&record).ok()).and_then(|record| record.body) {
                    Some(body) => unknown.insert(body),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(body))
    }

    /// A record with its sides, decoded; None if a definition of it cannot be read.
    pub fn resolved(&mut self, client: &mut SpiClient<'_>, bytes: &[u8]) -> Outcome<Option<Record>> {
        let Ok(mut record) = Record::decode(bytes) else { return Ok(None) };
        for id in [record.who, record.what].into_iter().flatten() {
            match self.body(client, id)? {
                Some(body) if record.resolve(body).is_ok() => (),
                _ => return Ok(None),
            }
        }
        Ok(Some(record))
    }

    /// The tier that a definition gives to its records.
    pub fn tier(&mut self, client: &mut SpiClient<'_>, what: i64) -> Outcome<Option<Tier>> {
        if let Some(tier) = self.tiers.get(&what) {
            return Ok(*tier);
        }
        let tier = self.body(client, what)?.and_then(tier_of);
        self.tiers.insert(what, tier);
        Ok(tier)
    }

    /// The record as the chain keeps it, with references where they save room. `define` chains a new definition, which
    /// comes before the record, and returns its id. Only statements are worth it; others are few.
    pub fn compact(
        &mut self,
        client: &mut SpiClient<'_>,
        shared: &Shared,
        entry: Entry,
        mut define: impl FnMut(&Record) -> i64,
    ) -> Outcome<Vec<u8>> {
        if entry.kind != Kind::Statement || entry.refers_to.is_some_and(|id| id >= self.first_id) {
            return Ok(entry.bytes);
        }
        let split = Split::new(&entry.bytes).map_err(|error| Fault::internal(format!("own record: {error}")))?;
        let mut out = Vec::with_capacity(entry.bytes.len());
        let mut sides = [split.who, split.what];
        for side in &mut sides {
            *side = match *side {
                Side::Defined(id) if id >= self.first_id => Side::Defined(id),
                Side::Defined(id) => {
                    let Some(body) = self.body(client, id)?.map(<[u8]>::to_vec) else {
                        return Ok(Entry::unreadable(&entry.bytes, "an older segment").bytes);
                    };
                    Side::Defined(self.redefine(shared, &body, &mut define))
                }
                Side::Own(body) => self.define(shared, body, &mut define).map_or(*side, Side::Defined),
            };
        }
        split.join(&mut out, sides[0], sides[1]);
        Ok(out)
    }

    /// The id that stands for a content. At its second sight it is defined, while there is room.
    fn define(&mut self, shared: &Shared, body: &[u8], define: &mut impl FnMut(&Record) -> i64) -> Option<i64> {
        let key = shared.definitions.key(body);
        if let Some(id) = self.ids.get(&key) {
            return Some(*id);
        }
        if self.ids.len() >= CAPACITY || body.len() > LONGEST {
            return None;
        }
        if self.seen.len() > SEEN_ONCE {
            self.seen.clear();
        }
        if self.seen.insert(key) {
            return None;
        }
        self.seen.remove(&key);
        Some(self.redefine(shared, body, define))
    }

    /// The id that stands for a content in this segment, defined now if it is not yet.
    fn redefine(&mut self, shared: &Shared, body: &[u8], define: &mut impl FnMut(&Record) -> i64) -> i64 {
        let key = shared.definitions.key(body);
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let mut record = server_record("DEFINITION", Result::Success, serde_json::Value::Null);
        record.kind = Kind::Definition;
        record.details = None;
        record.body = Some(body.to_vec());
        let id = define(&record);
        self.ids.insert(key, id);
        self.bodies.insert(id, body.to_vec());
        self.fresh.push((key, id));
        id
    }
}
