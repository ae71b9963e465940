//! Says what was done to a chain, from the first record that does not fit and what follows it.
//!
//! Let `a` be the id that was due, `p` the hash it had to follow, and a record be *true at* t if its stored
//! hash is `link(t, its prev_hash, its leaf)`: a genuine record that was moved is still true at its old id.
//! The whole rest of the chain is searched for the genuine record of `a`, the one that follows `p`.
//!
//! | done to the chain | seen | verdict |
//! |---|---|---|
//! | record's bytes, `hash` or `prev_hash` of k edited | due k; its hash fits once the edit is undone, or the next record follows it | edited k |
//! | k edited and its hash recomputed (even from j up to k) | k + 1 is true and follows something else | edited k |
//! | k overwritten by something else | no record for k further on, k + 1 is true | edited k |
//! | k … deleted | the due id is skipped | missing k |
//! | k … deleted, the rest renumbered | due k is true at a later id, no record for k further on | missing k |
//! | forged record, or a copy of a genuine one, put in at k, the rest renumbered | genuine k is further on; record at k is forged, or true elsewhere and still there too | inserted k |
//! | forged records that follow p put in from k on, the rest renumbered | due record is true at k and follows what k followed | inserted k |
//! | forged record or copy put in after the end | last record, neither follows p nor is true | inserted |
//! | an id that was there before | the same id again | inserted, or forked if it is true and follows the same |
//! | records k and m swapped, k … m permuted | genuine k is further on; record at k is true at a later id, or exchanging it with that one makes it so | reordered k |
//! | two records follow one predecessor | due record is true and follows an earlier one | forked at the second |
//!
//! Where two stories leave the same traces the simpler one is told: a last record with a right `prev_hash` and
//! a wrong hash is `edited` though it may be forged; if it is true but follows something else, the record before
//! it is `edited`, unless the anchor vouches for that one. Copies and shifts by more than [`REACH`] ids and forks
//! older than [`RECENT`] records may be given another kind. None of this makes a damaged chain pass.

use super::{Hash, Kind, Ledger, link};

/// How far from its place a moved record is looked for, in ids.
const REACH: i64 = 4096;
/// How many hashes of good records are remembered.
pub(super) const RECENT: i64 = 256;

/// One stored record, its bytes reduced to their leaf hash.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) prev: Hash,
    pub(super) hash: Hash,
    pub(super) leaf: Hash,
}

/// The hashes of the last good records.
#[derive(Default)]
pub(super) struct Recent {
    hashes: Vec<Hash>,
    /// The ids known: from `first` to before `end`.
    first: i64,
    end: i64,
}

impl Recent {
    pub(super) fn new() -> Recent {
        Recent { hashes: vec![[0; 32]; RECENT as usize], first: 0, end: 0 }
    }

    pub(super) fn remember(&mut self, id: i64, hash: Hash) {
        if self.end == self.first {
            self.first = id;
        }
        self.hashes[id.rem_euclid(RECENT) as usize] = hash;
        self.end = id.saturating_add(1);
        self.first = self.first.max(self.end.saturating_sub(RECENT));
    }

    fn get(&self, id: i64) -> Option<Hash> {
        (self.first..self.end).contains(&id).then(|| self.hashes[id.rem_euclid(RECENT) as usize])
    }

    fn holds(&self, hash: &Hash) -> bool {
        (self.first..self.end).any(|id| self.get(id).as_ref() == Some(hash))
    }
}

/// The first record that does not fit, and what of the following ones tells why.
pub(super) struct Damage {
    ledger: Ledger,
    due: i64,
    prev: Hash,
    recent: Recent,
    first: Row,
    next: Option<Row>,
    /// What `first` should hash to in its place.
    restored: Hash,
    /// A later record that holds the genuine record of `due`, or its hash.
    genuine: Option<Row>,
    /// Whether a later record has `first`'s hash.
    copied: bool,
}

impl Damage {
    /// `first` came where `due` had to follow `prev`.
    pub(super) fn new(ledger: Ledger, due: i64, prev: Hash, recent: Recent, first: Row) -> Damage {
        let restored = link(&ledger, due, &prev, &first.leaf);
        Damage { ledger, due, prev, recent, first, next: None, restored, genuine: None, copied: false }
    }

    /// Takes a record after the first bad one.
    pub(super) fn observe(&mut self, row: Row) {
        self.next.get_or_insert(row);
        self.copied |= row.hash == self.first.hash;
        if self.genuine.is_none() {
            let here = link(&self.ledger, self.due, &self.prev, &row.leaf);
            if here == row.hash || here == self.first.hash || self.restored == row.hash {
                self.genuine = Some(row);
            }
        }
    }

    /// What was done and the first bad id. `vouched` is the id of a record that the anchor proved.
    pub(super) fn judge(&self, vouched: Option<i64>) -> (Kind, i64) {
        let (due, first) = (self.due, &self.first);
        if first.id < due {
            self.repeated_id()
        } else if first.id > due {
            (Kind::Missing, due)
        } else if first.hash == self.restored {
            (Kind::Edited, due)
        } else if let Some(genuine) = &self.genuine {
            self.displaced(genuine)
        } else if self.true_at(first, due) {
            self.does_not_follow(vouched)
        } else if let Some(id) = self.pushed_back() {
            (Kind::Inserted, id)
        } else {
            (self.replaced(), due)
        }
    }

    /// An id at or before one that was already read.
    fn repeated_id(&self) -> (Kind, i64) {
        let row = &self.first;
        let follows_same = row.id.checked_sub(1).and_then(|id| self.recent.get(id)) == Some(row.prev);
        let is_copy = self.recent.get(row.id) == Some(row.hash);
        let fork = follows_same && !is_copy && self.true_at(row, row.id);
        (if fork { Kind::Forked } else { Kind::Inserted }, row.id)
    }

    /// The genuine record of this place stands further on: pushed there, or exchanged.
    fn displaced(&self, genuine: &Row) -> (Kind, i64) {
        let exchanged = || {
            [self.first.prev, genuine.prev].iter().any(|prev| {
                [self.first.leaf, genuine.leaf].iter().any(|leaf| {
                    let hash = link(&self.ledger, genuine.id, prev, leaf);
                    hash == self.first.hash || hash == genuine.hash
                })
            })
        };
        let reordered = !self.copied && (exchanged() || self.shift(&self.first).is_some_and(|shift| shift > 0));
        (if reordered { Kind::Reordered } else { Kind::Inserted }, self.due)
    }

    /// The record is true in itself but follows something else than the record before it.
    fn does_not_follow(&self, vouched: Option<i64>) -> (Kind, i64) {
        let (due, before) = (self.due, self.due.saturating_sub(1));
        if self.recent.holds(&self.first.prev) {
            return (Kind::Forked, due);
        }
        if let Some(next) = self.successor()
            && next.prev != self.first.hash
        {
            let kind = match self.shift(&next) {
                Some(shift) if shift > 0 => Kind::Missing,
                Some(shift) if shift < 0 => Kind::Inserted,
                _ => Kind::Edited,
            };
            return (kind, due);
        }
        if due == 1 {
            (Kind::Edited, due)
        } else if vouched != Some(before) {
            (Kind::Edited, before)
        } else if self.next.is_none() {
            (Kind::Inserted, due)
        } else {
            (Kind::Edited, due)
        }
    }

    /// The id this record had before others, each following the one before it, were put in front of it.
    fn pushed_back(&self) -> Option<i64> {
        let old = (self.recent.first + 1..self.recent.end).rev().find(|id| {
            let prev = self.recent.get(id - 1);
            prev.is_some_and(|prev| link(&self.ledger, *id, &prev, &self.first.leaf) == self.first.hash)
        })?;
        (self.recent.get(old) != Some(self.first.hash)).then_some(old)
    }

    /// The genuine record of this place is gone, and something else is here.
    fn replaced(&self) -> Kind {
        let follows = self.first.prev == self.prev;
        let next = self.successor();
        let shift = self.shift(&self.first);
        let next_shift = next.and_then(|next| self.shift(&next));
        let shifted_far = next_shift.is_none() && !follows && next.is_some_and(|next| next.prev == self.first.hash);
        if next_shift.is_some_and(|shift| shift > 0) || shifted_far {
            Kind::Missing
        } else if shift.is_some_and(|shift| shift > 0) {
            if self.copied { Kind::Edited } else { Kind::Missing }
        } else if self.next.is_none() {
            if follows && shift.is_none() { Kind::Edited } else { Kind::Inserted }
        } else if next_shift.is_some_and(|shift| shift < 0) {
            Kind::Inserted
        } else {
            Kind::Edited
        }
    }

    /// The record after the first bad one, if it has the next id.
    fn successor(&self) -> Option<Row> {
        self.next.filter(|next| next.id == self.due.saturating_add(1))
    }

    fn true_at(&self, row: &Row, id: i64) -> bool {
        link(&self.ledger, id, &row.prev, &row.leaf) == row.hash
    }

    /// By how many ids the record was moved: it is true that much further on. `None` if it is true nowhere near.
    fn shift(&self, row: &Row) -> Option<i64> {
        (0..=REACH)
            .flat_map(|distance| [distance, -distance])
            .find(|shift| row.id.checked_add(*shift).is_some_and(|id| id >= 1 && self.true_at(row, id)))
    }
}
