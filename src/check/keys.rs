//! The hashes of a pass's keys: taken one by one as the rows are read, in memory up to `maintenance_work_mem` (64 kB for each
//! check at least), beyond that in sorted pieces in temporary files, which PostgreSQL removes however the pass ends. Pieces
//! are merged as they become many: each open one costs memory and a file.

use crate::backend::backend_local;
use crate::core::repeats::{MERGED, Merged, due, kept, repeated};
use crate::error::{Fault, Outcome, answer};
use crate::settings;
use pgrx::PgMemoryContexts;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::ffi::c_void;

/// Hashes that come more than once and are looked at one by one; with more, all rows are compared.
const MOST: usize = 250_000;
/// Hashes read from a file at a time.
const READ: usize = 8_192;
const SIZE: usize = size_of::<i64>();

backend_local! {
    /// For each check of the pass that takes keys, in order.
    static TAKEN: RefCell<Vec<Keys>> = const { RefCell::new(Vec::new()) };
}

struct Keys {
    hashes: Vec<i64>,
    /// How many stay in memory.
    limit: usize,
    pieces: Vec<Piece>,
}

/// Sorted hashes in a temporary file.
struct Piece {
    file: *mut pg_sys::BufFile,
    /// How often they were merged.
    level: u32,
    unread: usize,
    buffer: std::vec::IntoIter<i64>,
}

/// While a pass takes keys. It ends with this, also by an error.
pub struct Taking {
    next: usize,
}

impl Taking {
    pub fn begin(places: usize) -> Taking {
        let limit = kept(settings::maintenance_memory(), places);
        let keys = || Keys { hashes: Vec::new(), limit, pieces: Vec::new() };
        TAKEN.with(|taken| taken.replace(std::iter::repeat_with(keys).take(places).collect()));
        Taking { next: 0 }
    }

    /// The hashes that the next check took more than once; None: too many.
    pub fn next_repeated(&mut self) -> Outcome<Option<Vec<i64>>> {
        let keys = TAKEN.with_borrow_mut(|taken| taken.get_mut(self.next).map(Keys::take_out));
        self.next += 1;
        keys.map(Keys::repeated).ok_or_else(|| Fault::internal("a check that took no keys"))
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        TAKEN.with(|taken| taken.replace(Vec::new()));
    }
}

impl Keys {
    fn take_out(&mut self) -> Keys {
        Keys { hashes: std::mem::take(&mut self.hashes), limit: self.limit, pieces: std::mem::take(&mut self.pieces) }
    }

    fn push(&mut self, hash: i64) {
        if self.hashes.len() >= self.limit {
            self.hashes.sort_unstable();
            let mut piece = Piece::create(0);
            piece.append(&self.hashes);
            piece.rewind();
            self.pieces.push(piece);
            self.hashes.clear();
            self.merge();
        }
        self.hashes.push(hash);
    }

    fn merge(&mut self) {
        loop {
            let levels: Vec<u32> = self.pieces.iter().map(|piece| piece.level).collect();
            let Some(count) = due(&levels) else { return };
            let parts = self.pieces.split_off(self.pieces.len() - count);
            let mut whole = Piece::create(parts[0].level + 1);
            let files: Vec<_> = parts.iter().map(|piece| piece.file).collect();
            let mut numbers = Merged::of(parts).peekable();
            while numbers.peek().is_some() {
                let some: Vec<i64> = numbers.by_ref().take(READ * MERGED).collect();
                whole.append(&some);
            }
            whole.rewind();
            // Safe: open files, which nobody reads any more.
            files.into_iter().for_each(|file| unsafe { pg_sys::BufFileClose(file) });
            self.pieces.push(whole);
        }
    }

    fn repeated(mut self) -> Option<Vec<i64>> {
        self.hashes.sort_unstable();
        if self.pieces.is_empty() {
            return repeated(vec![self.hashes.into_iter()], MOST);
        }
        let files: Vec<_> = self.pieces.iter().map(|piece| piece.file).collect();
        self.pieces.push(Piece { file: std::ptr::null_mut(), level: 0, unread: 0, buffer: self.hashes.into_iter() });
        let found = repeated(self.pieces, MOST);
        // Safe: open files, which nobody reads any more.
        files.into_iter().for_each(|file| unsafe { pg_sys::BufFileClose(file) });
        found
    }
}

impl Piece {
    fn create(level: u32) -> Piece {
        // Safe: the file's memory is the subtransaction's, like the file itself.
        let file = unsafe { PgMemoryContexts::CurTransactionContext.switch_to(|_| pg_sys::BufFileCreateTemp(false)) };
        Piece { file, level, unread: 0, buffer: Vec::new().into_iter() }
    }

    fn append(&mut self, hashes: &[i64]) {
        let bytes = std::mem::size_of_val(hashes);
        // Safe: the pointer is that of the slice; the file may take memory of its own for each GB.
        unsafe {
            PgMemoryContexts::CurTransactionContext.switch_to(|_| {
                pg_sys::BufFileWrite(self.file, hashes.as_ptr().cast_mut().cast::<c_void>(), bytes);
            });
        }
        self.unread += hashes.len();
    }

    fn rewind(&mut self) {
        // Safe: an open file.
        if unsafe { pg_sys::BufFileSeek(self.file, 0, 0, libc::SEEK_SET) } != 0 {
            Fault::io("a temporary file of a check cannot be rewound").raise();
        }
    }

    fn read(&mut self) {
        pgrx::check_for_interrupts!();
        let mut hashes = vec![0; self.unread.min(READ)];
        let bytes = hashes.len() * SIZE;
        // Safe: as many bytes as there is room for; any bytes are numbers.
        let read = unsafe { pg_sys::BufFileRead(self.file, hashes.as_mut_ptr().cast::<c_void>(), bytes) };
        if read != bytes {
            Fault::io("a temporary file of a check has lost its end").raise();
        }
        self.unread -= hashes.len();
        self.buffer = hashes.into_iter();
    }
}

impl Iterator for Piece {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.buffer.len() == 0 && self.unread > 0 {
            self.read();
        }
        self.buffer.next()
    }
}

#[pg_extern(sql = false)]
fn _take_key(place: i32, hash: i64) -> bool {
    let taken = TAKEN.with_borrow_mut(|taken| taken.get_mut(place as usize).map(|keys| keys.push(hash)));
    answer(taken.ok_or_else(|| Fault::wrong_state("no check takes keys now")));
    false
}
