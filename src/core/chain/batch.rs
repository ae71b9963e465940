//! A run of stored records in one piece of memory, which any thread can check by itself: that each is true, has a known
//! format and follows the one before it. Whether its first record follows what was read before is the verifier's to say.

use super::super::record;
use super::{Hash, Ledger, leaf, link};

/// Records of one batch: enough that handing it over costs nothing, few enough for a processor's cache.
const ROWS: usize = 1024;
/// A batch takes no more records once it has so many bytes, and keeps no more memory when it is used again.
const BYTES: usize = 1 << 20;

/// Stored records, copied one after another. Memory is kept for the next use.
#[derive(Default)]
pub struct Batch {
    rows: Vec<Place>,
    bytes: Vec<u8>,
}

/// Where a record lies: its bytes from `start`, then its `prev_hash` and its `hash`.
struct Place {
    id: i64,
    start: usize,
    prev: usize,
    hash: usize,
    end: usize,
}

/// A record as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) id: i64,
    pub(super) record: &'a [u8],
    pub(super) prev: &'a [u8],
    pub(super) hash: &'a [u8],
}

impl Batch {
    /// Copies a stored record to the end.
    pub fn push(&mut self, id: i64, record: &[u8], prev_hash: &[u8], hash: &[u8]) {
        let start = self.bytes.len();
        for part in [record, prev_hash, hash] {
            self.bytes.extend_from_slice(part);
        }
        let prev = start + record.len();
        self.rows.push(Place { id, start, prev, hash: prev + prev_hash.len(), end: self.bytes.len() });
    }

    /// Whether it should be checked before more is put in.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROWS || self.bytes.len() >= BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes all records out.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
        self.bytes.shrink_to(2 * BYTES);
    }

    /// Whether its records are consecutive, true links of this ledger in a known format, each following the one before.
    pub fn is_whole(&self, ledger: &Ledger) -> bool {
        let mut before: Option<(i64, Hash)> = None;
        (0..self.rows.len()).map(|at| self.row(at)).all(|row| {
            let (Ok(prev), Ok(hash)) = (Hash::try_from(row.prev), Hash::try_from(row.hash)) else { return false };
            let follows = before.is_none_or(|(id, hash)| id.checked_add(1) == Some(row.id) && hash == prev);
            before = Some((row.id, hash));
            follows && link(ledger, row.id, &prev, &leaf(row.record)) == hash && record::check(row.record).is_ok()
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The record at that place, counted from 0.
    pub(super) fn row(&self, at: usize) -> Stored<'_> {
        let Place { id, start, prev, hash, end } = self.rows[at];
        let bytes = &self.bytes;
        Stored { id, record: &bytes[start..prev], prev: &bytes[prev..hash], hash: &bytes[hash..end] }
    }
}
