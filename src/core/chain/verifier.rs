//! Reads a chain in id order, in constant memory, and tells whether it is whole.
//!
//! As long as every record carries the next id, the hash of the record before it and its own right hash, only
//! that is checked. At the first one that does not, [`Damage`] takes over and the rest of the chain serves to
//! say what was done. A good verdict is given only for a chain without any exception.

use super::super::record;
use super::damage::{Damage, RECENT, Recent, Row};
use super::{Batch, Hash, Head, Ledger, leaf, link};

/// What a verification found. See `damage` for how kinds are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Whole, and equal to the anchor.
    Ok,
    /// Whole as far as it can be seen without an anchor, or with one before the checked range (then not ok).
    NotAnchored,
    Edited,
    Missing,
    Inserted,
    Reordered,
    /// Ends before the anchor.
    Truncated,
    /// Two records claim one predecessor, or the chain is not the anchor's.
    Forked,
    UnknownFormat,
    /// Sealed before the record that is sealed before it.
    Backdated,
    /// The chain is whole, but its tables are not as they were created. Not the verifier's to say: it sees no table.
    AlteredTable,
    /// The chain is whole; a table that says where its parts are is not what the chain says.
    Catalog,
    /// There was nothing to check.
    Empty,
}

impl Kind {
    /// The name as SQL shows it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ok => "ok",
            Kind::NotAnchored => "not_anchored",
            Kind::Edited => "edited",
            Kind::Missing => "missing",
            Kind::Inserted => "inserted",
            Kind::Reordered => "reordered",
            Kind::Truncated => "truncated",
            Kind::Forked => "forked",
            Kind::UnknownFormat => "unknown_format",
            Kind::Backdated => "backdated",
            Kind::AlteredTable => "altered_table",
            Kind::Catalog => "catalog",
            Kind::Empty => "empty",
        }
    }
}

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Consistent, and equal to the anchor if one was given. False for zero records.
    pub ok: bool,
    /// Records read.
    pub checked: i64,
    /// First and last id read.
    pub from_id: Option<i64>,
    pub to_id: Option<i64>,
    pub kind: Kind,
    /// The first id at which the chain is not what it was; for `truncated` the first that is gone.
    pub first_bad_id: Option<i64>,
    /// Whether the anchor's record was found with the anchor's hash, in an intact chain.
    pub anchored: bool,
}

/// What is known of the anchor so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchor {
    None,
    /// Its id was not read yet.
    Ahead(Head),
    Equal(Head),
    Differs(Head),
    /// It lies before the range, so nothing can be said.
    OutOfReach,
}

/// Verifies records `expected_first`, `expected_first + 1`, … as they are pushed.
pub struct Verifier {
    ledger: Ledger,
    next_id: i64,
    /// The hash the next record must carry as its `prev_hash`; unknown only at the start of a range.
    prev: Option<Hash>,
    recent: Recent,
    checked: i64,
    from_id: Option<i64>,
    to_id: Option<i64>,
    unknown_format: Option<i64>,
    /// The last time of sealing.
    sealed: i64,
    backdated: Option<i64>,
    anchor: Anchor,
    damage: Option<Damage>,
}

impl Verifier {
    /// A verifier for the records of `ledger` from id `expected_first` on.
    ///
    /// Record 1 must follow `genesis_prev`. A later first record must follow `start_prev`, the hash of the record
    /// before it; if that is not given, its `prev_hash` is believed. `anchor` must lie in the range (or directly
    /// before it), so a caller that reads up to some id passes no anchor beyond that: it would be `truncated`.
    pub fn new(
        ledger: Ledger,
        genesis_prev: Hash,
        expected_first: i64,
        start_prev: Option<Hash>,
        anchor: Option<Head>,
    ) -> Verifier {
        let before = expected_first.saturating_sub(1);
        let start = if expected_first == 1 { Some(genesis_prev) } else { start_prev };
        let (anchor, prev) = match anchor {
            None => (Anchor::None, start),
            Some(head) if head.ledger != ledger => (Anchor::Differs(Head { id: expected_first, ..head }), start),
            Some(head) if head.id < before => (Anchor::OutOfReach, start),
            Some(head) if head.id > before => (Anchor::Ahead(head), start),
            Some(head) if start.is_none_or(|hash| hash == head.hash) => (Anchor::Equal(head), Some(head.hash)),
            Some(head) => (Anchor::Differs(head), start),
        };
        let mut recent = Recent::new();
        if let Some(hash) = prev {
            recent.remember(before, hash);
        }
        Verifier {
            ledger,
            next_id: expected_first,
            prev,
            recent,
            checked: 0,
            from_id: None,
            to_id: None,
            unknown_format: None,
            sealed: i64::MIN,
            backdated: None,
            anchor,
            damage: None,
        }
    }

    /// Takes the next stored record, in ascending order of ids. `prev_hash` and `hash` are as stored.
    pub fn push(&mut self, id: i64, record: &[u8], prev_hash: &[u8], hash: &[u8]) {
        self.checked += 1;
        self.from_id.get_or_insert(id);
        self.to_id = Some(id);
        let leaf = leaf(record);
        let (stored_prev, stored_hash) = (Hash::try_from(prev_hash), Hash::try_from(hash));
        if self.damage.is_none()
            && id == self.next_id
            // No chain gets as far as the last id there is; refused, as nothing could follow it.
            && id < i64::MAX
            && let (Ok(prev), Ok(hash)) = (stored_prev, stored_hash)
            && self.prev.is_none_or(|expected| expected == prev)
            && link(&self.ledger, id, &prev, &leaf) == hash
        {
            return self.accept(id, record, prev, hash);
        }
        let row = Row { id, prev: stored_prev.unwrap_or_default(), hash: stored_hash.unwrap_or_default(), leaf };
        match &mut self.damage {
            Some(damage) => damage.observe(row),
            None => {
                let prev = self.prev.unwrap_or(row.prev);
                let recent = std::mem::take(&mut self.recent);
                self.damage = Some(Damage::new(self.ledger, self.next_id, prev, recent, row));
            }
        }
    }

    /// Takes a batch of records as if they were pushed one by one. `whole` is what [`Batch::is_whole`] said of it for
    /// this verifier's ledger.
    pub fn push_batch(&mut self, batch: &Batch, whole: bool) {
        if whole && self.is_joined_by(batch) {
            return self.accept_batch(batch);
        }
        for row in (0..batch.len()).map(|at| batch.row(at)) {
            self.push(row.id, row.record, row.prev, row.hash);
        }
    }

    /// The ledger whose chain is verified.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Records read.
    pub fn checked(&self) -> i64 {
        self.checked
    }

    /// The last record, as long as nothing is found.
    pub fn head(&self) -> Option<Head> {
        let hash = self.prev.filter(|_| self.damage.is_none())?;
        Some(Head { ledger: self.ledger, id: self.to_id?, hash })
    }

    /// Whether a batch that is whole goes on where the verifier is.
    fn is_joined_by(&self, batch: &Batch) -> bool {
        if batch.is_empty() || self.damage.is_some() {
            return false;
        }
        let (first, last) = (batch.row(0), batch.row(batch.len() - 1));
        first.id == self.next_id && last.id < i64::MAX && self.prev.is_none_or(|expected| expected == first.prev)
    }

    fn accept_batch(&mut self, batch: &Batch) {
        let (first, last) = (batch.row(0), batch.row(batch.len() - 1));
        self.checked += batch.len() as i64;
        self.from_id.get_or_insert(first.id);
        self.to_id = Some(last.id);
        if self.prev.is_none() {
            self.recent.remember(first.id.saturating_sub(1), first.prev.try_into().unwrap_or_default());
        }
        if let Anchor::Ahead(head) = self.anchor
            && (first.id..=last.id).contains(&head.id)
        {
            let same = batch.row((head.id - first.id) as usize).hash == head.hash;
            self.anchor = if same { Anchor::Equal(head) } else { Anchor::Differs(head) };
        }
        for row in (0..batch.len()).map(|at| batch.row(at)) {
            self.look_at_time(row.id, row.record);
        }
        for at in batch.len().saturating_sub(RECENT as usize)..batch.len() {
            let row = batch.row(at);
            self.recent.remember(row.id, row.hash.try_into().unwrap_or_default());
        }
        self.prev = last.hash.try_into().ok();
        self.next_id = last.id + 1;
    }

    fn accept(&mut self, id: i64, record: &[u8], prev: Hash, hash: Hash) {
        if self.prev.is_none() {
            self.recent.remember(id.saturating_sub(1), prev);
        }
        if self.unknown_format.is_none() && record::check(record).is_err() {
            self.unknown_format = Some(id);
        }
        self.look_at_time(id, record);
        if let Anchor::Ahead(head) = self.anchor
            && head.id == id
        {
            self.anchor = if head.hash == hash { Anchor::Equal(head) } else { Anchor::Differs(head) };
        }
        self.recent.remember(id, hash);
        self.prev = Some(hash);
        self.next_id = id + 1;
    }

    /// What was sealed must not have been sealed before what is already there.
    fn look_at_time(&mut self, id: i64, record: &[u8]) {
        if let Some(time) = record::sealed_time(record) {
            if time < self.sealed {
                self.backdated.get_or_insert(id);
            }
            self.sealed = self.sealed.max(time);
        }
    }

    /// The verdict on everything pushed. Of several findings the one with the lowest id counts.
    pub fn finish(self) -> Verdict {
        let Some(to_id) = self.to_id else {
            return self.verdict(Kind::Empty, None);
        };
        let vouched = match self.anchor {
            Anchor::Equal(head) => Some(head.id),
            _ => None,
        };
        let damage = self.damage.as_ref().map(|damage| damage.judge(vouched));
        let unknown = self.unknown_format.map(|id| (Kind::UnknownFormat, id));
        let backdated = self.backdated.map(|id| (Kind::Backdated, id));
        let fork = match self.anchor {
            Anchor::Differs(head) => Some((Kind::Forked, head.id)),
            _ => None,
        };
        if let Some((kind, id)) = [damage, unknown, backdated, fork].into_iter().flatten().min_by_key(|(_, id)| *id) {
            return self.verdict(kind, Some(id));
        }
        match self.anchor {
            Anchor::Ahead(_) => self.verdict(Kind::Truncated, Some(to_id.saturating_add(1))),
            Anchor::Equal(_) => self.verdict(Kind::Ok, None),
            _ => self.verdict(Kind::NotAnchored, None),
        }
    }

    fn verdict(&self, kind: Kind, first_bad_id: Option<i64>) -> Verdict {
        Verdict {
            ok: kind == Kind::Ok || kind == Kind::NotAnchored && self.anchor == Anchor::None,
            checked: self.checked,
            from_id: self.from_id,
            to_id: self.to_id,
            kind,
            first_bad_id,
            anchored: kind == Kind::Ok,
        }
    }
}
