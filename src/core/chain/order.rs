//! Puts records that are read in the order of the disk back into the order of their ids.
//!
//! A table is filled in the order of ids but for small records, which may find room in an earlier page. Those that are
//! read too early wait here, in bounded memory. Whatever is more than that (an id twice, a gap, no end of it) is
//! disorder, and says nothing about the chain: it must be read again by an index or a sort.

use std::collections::BTreeMap;

/// Bytes of records that may wait, with what a map needs for each.
const WAITING_BYTES: usize = 32 << 20;
const NODE_BYTES: usize = 64;

/// The records cannot be put into order here.
#[derive(Debug, PartialEq, Eq)]
pub struct Disorder;

/// Passes records on in the order `due`, `due + 1`, …
pub struct Order {
    due: i64,
    waiting: BTreeMap<i64, Waiting>,
    bytes: usize,
}

/// A record's bytes, then `prev_hash` from `prev` and `hash` from `hash` on.
struct Waiting {
    bytes: Box<[u8]>,
    prev: usize,
    hash: usize,
}

impl Order {
    /// `first` is the id of the first record.
    pub fn new(first: i64) -> Order {
        Order { due: first, waiting: BTreeMap::new(), bytes: 0 }
    }

    /// Takes the next record as it is read, and passes on to `each` what is due now.
    pub fn push(
        &mut self,
        id: i64,
        record: &[u8],
        prev_hash: &[u8],
        hash: &[u8],
        mut each: impl FnMut(i64, &[u8], &[u8], &[u8]),
    ) -> Result<(), Disorder> {
        if id != self.due {
            return self.keep(id, [record, prev_hash, hash]);
        }
        each(id, record, prev_hash, hash);
        self.due = id.checked_add(1).ok_or(Disorder)?;
        while let Some(next) = self.waiting.first_entry().filter(|next| *next.key() == self.due) {
            let Waiting { bytes, prev, hash } = next.remove();
            self.bytes -= bytes.len() + NODE_BYTES;
            each(self.due, &bytes[..prev], &bytes[prev..hash], &bytes[hash..]);
            self.due = self.due.checked_add(1).ok_or(Disorder)?;
        }
        Ok(())
    }

    /// After the last record: nothing may wait for one that did not come.
    pub fn finish(self) -> Result<(), Disorder> {
        if self.waiting.is_empty() { Ok(()) } else { Err(Disorder) }
    }

    fn keep(&mut self, id: i64, parts: [&[u8]; 3]) -> Result<(), Disorder> {
        let bytes = parts.concat().into_boxed_slice();
        self.bytes += bytes.len() + NODE_BYTES;
        let (prev, hash) = (parts[0].len(), parts[0].len() + parts[1].len());
        let early = id > self.due && self.bytes <= WAITING_BYTES;
        if early && self.waiting.insert(id, Waiting { bytes, prev, hash }).is_none() { Ok(()) } else { Err(Disorder) }
    }
}
