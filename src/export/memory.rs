//! How many rows each person has read within the hour, in shared memory: all sessions add to one sum, and no rollback
//! takes off it. Lost with the server.

use crate::{raw, session, shared};
use pgrx::pg_sys;
use sha2::{Digest, Sha256};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

/// Persons with limits who read within one hour.
const PLACES: usize = 4096;
/// An hour and the slice that has begun.
const SLICES: usize = 13;
/// Five minutes in microseconds.
const SLICE: i64 = 300 * 1_000_000;

/// Rows of five minutes.
#[repr(C)]
struct Slice {
    /// Which five minutes since 2000.
    number: AtomicI64,
    rows: AtomicI64,
}

/// One person, or a login without one.
#[repr(C)]
struct Place {
    /// Digest of the name; 0: free.
    key: AtomicU64,
    slices: [Slice; SLICES],
}

impl Place {
    fn rows(&self, now: i64) -> i64 {
        let recent = self.slices.iter().filter(|slice| slice.number.load(SeqCst) > now - SLICES as i64);
        recent.map(|slice| slice.rows.load(SeqCst).max(0)).sum()
    }

    /// The slice that rows of now go to.
    fn slice(&self, now: i64) -> &Slice {
        let slice = &self.slices[now.rem_euclid(SLICES as i64) as usize];
        if slice.number.load(SeqCst) != now {
            slice.rows.store(0, SeqCst);
            slice.number.store(now, SeqCst);
        }
        slice
    }
}

/// Part of shared memory.
#[repr(C)]
pub struct Readers {
    lock: UnsafeCell<pg_sys::LWLock>,
    places: [Place; PLACES],
}

impl Readers {
    /// Once, while shared memory is made.
    pub fn init(&mut self) {
        // Safe: the postmaster is alone; the memory is zeroed.
        unsafe { pg_sys::LWLockInitialize(self.lock.get(), pg_sys::LWLockNewTrancheId()) }
    }

    /// The place of a person: their own, a free one, or one whose person has not read for an hour. Under the lock.
    fn place(&self, key: u64, now: i64) -> Option<&Place> {
        let start = key as usize % PLACES;
        let mut around = self.places[start..].iter().chain(&self.places[..start]);
        let mut spare = None;
        let own = around.find(|place| {
            let found = place.key.load(SeqCst);
            if spare.is_none() && (found == 0 || place.rows(now) == 0) {
                spare = Some(*place);
            }
            found == key || found == 0
        });
        let place = own.filter(|place| place.key.load(SeqCst) == key).or(spare)?;
        place.key.store(key, SeqCst);
        Some(place)
    }
}

/// Why no rows can be had.
pub enum Refused {
    /// Those of the hour are used up: so many.
    Read(u64),
    /// Nobody else can be counted now.
    Full,
}

/// Rows that this session may read; what is not read is given back.
pub struct Reserved {
    pub rows: u64,
    slice: &'static Slice,
}

impl Reserved {
    /// Never raises; a slice that has become another's by now is an hour old and unread.
    pub fn give_back(self, rows: u64) {
        self.slice.rows.fetch_sub(rows.min(self.rows) as i64, SeqCst);
    }
}

/// Takes up to `wanted` rows of the person of this session out of those that an hour allows.
pub fn reserve(allowed: u64, wanted: u64) -> Result<Reserved, Refused> {
    let Some(shared) = shared::get() else { return Err(Refused::Full) };
    let readers = &shared.readers;
    let key = key();
    // Safe: reads the clock.
    let now = unsafe { raw::GetCurrentTimestamp() } / SLICE;
    // Safe: initialised with shared memory, which never moves; released below, and nothing in between raises.
    unsafe { pg_sys::LWLockAcquire(readers.lock.get(), pg_sys::LWLockMode::LW_EXCLUSIVE) };
    let reserved = match readers.place(key, now) {
        None => Err(Refused::Full),
        Some(place) => {
            let read = place.rows(now) as u64;
            match allowed.saturating_sub(read).min(wanted) {
                0 => Err(Refused::Read(read)),
                rows => {
                    let slice = place.slice(now);
                    slice.rows.fetch_add(rows as i64, SeqCst);
                    Ok(Reserved { rows, slice })
                }
            }
        }
    };
    // Safe: held since above.
    unsafe { pg_sys::LWLockRelease(readers.lock.get()) };
    reserved
}

/// Whom rows are counted for: the person, or the login that nobody stands behind.
fn key() -> u64 {
    let name = match session::person() {
        Some(person) => format!("person {}", person.name),
        None => format!("login {}", session::login().to_u32()),
    };
    let digest = Sha256::digest(name.as_bytes());
    u64::from_be_bytes(std::array::from_fn(|byte| digest[byte])).max(1)
}
