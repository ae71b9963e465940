//! Used steps and wrong codes in shared memory: no rollback, no cancelled statement and no new connection undoes them. A
//! restart would, so each is in the spool before its answer is given, the sequencer writes them down (`keep`), and after
//! a start nothing is decided here before it has taken all that earlier lives of the server left behind.

use crate::audit::start::Start;
use crate::core::attempts::{Attempts, REMEMBERED, Typed, Verdict};
use crate::core::totp::{newest_usable, step_at};
use crate::shared;
use pgrx::pg_sys;
use sha2::{Digest, Sha256};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Persons who tried within a day; a power of two.
const PLACES: usize = 4096;
/// Places that a person can have.
const NEAR: usize = 64;
/// Seconds from 1970 to PostgreSQL's 2000.
const UNIX_EPOCH_SECONDS: i64 = 946_684_800;

/// One person's past. Changed under the lock only.
#[repr(C)]
struct Place {
    /// Digest of the name; zero: free.
    key: [AtomicU64; 2],
    last_step: AtomicI64,
    failures: [AtomicI64; REMEMBERED],
}

/// Part of shared memory.
#[repr(C)]
pub struct Factors {
    lock: UnsafeCell<pg_sys::LWLock>,
    /// The sequencer has written down all that was tried before this start.
    settled: AtomicBool,
    /// Up to here steps may have been used where this data directory came from.
    floor: AtomicI64,
    places: [Place; PLACES],
}

impl Factors {
    /// Once, while shared memory is made.
    pub fn init(&mut self) {
        // Safe: the postmaster is alone; the memory is zeroed.
        unsafe { pg_sys::LWLockInitialize(self.lock.get(), pg_sys::LWLockNewTrancheId()) }
    }

    /// The sequencer has caught up for the first time since the start. What a primary saw after this copy of it was made
    /// is not known here, so its last steps do not count.
    pub fn settle(&self, start: &Start) {
        if !self.settled.load(SeqCst) {
            if start.took_over() {
                self.floor.store(newest_usable(step_now(clock())), SeqCst);
            }
            self.settled.store(true, SeqCst);
        }
    }

    fn place(&self, key: [u64; 2]) -> impl Iterator<Item = &Place> {
        let first = key[0] as usize;
        (first..first.wrapping_add(NEAR)).map(|number| &self.places[number % PLACES])
    }
}

impl Place {
    fn is(&self, key: [u64; 2]) -> bool {
        [self.key[0].load(Relaxed), self.key[1].load(Relaxed)] == key
    }

    fn read(&self) -> Attempts {
        let failures = std::array::from_fn(|index| self.failures[index].load(Relaxed));
        Attempts { last_step: self.last_step.load(Relaxed), failures }
    }

    fn write(&self, key: [u64; 2], attempts: &Attempts) {
        self.key.iter().zip(key).for_each(|(place, part)| place.store(part, Relaxed));
        self.last_step.store(attempts.last_step, Relaxed);
        self.failures.iter().zip(attempts.failures).for_each(|(place, time)| place.store(time, Relaxed));
    }
}

/// Holds the lock. Interrupts wait as long, and nothing in between raises.
struct Held(*mut pg_sys::LWLock);

impl Held {
    fn take(factors: &Factors) -> Held {
        let lock = factors.lock.get();
        // Safe: initialised with shared memory, which never moves; released by the Drop below.
        unsafe { pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE) };
        Held(lock)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Safe: held since `take`.
        unsafe { pg_sys::LWLockRelease(self.0) }
    }
}

/// Microseconds since 2000-01-01 UTC.
pub fn clock() -> i64 {
    // Safe: reads the clock.
    unsafe { crate::raw::GetCurrentTimestamp() }
}

/// The step of a moment.
pub fn step_now(clock: i64) -> i64 {
    step_at(clock.div_euclid(1_000_000) + UNIX_EPOCH_SECONDS)
}

/// Whether attempts can be decided yet.
pub fn settled() -> bool {
    shared::get().is_some_and(|shared| shared.factors.settled.load(SeqCst))
}

/// Decides one attempt of a person and remembers it. `kept`: what the table knows, for the first one since the start.
/// `before`: see `Attempts::judge`. None: too many others try.
pub fn judge(
    person: &str,
    enrolled_at: i64,
    kept: Attempts,
    mut typed: Typed,
    before: Option<&Typed>,
) -> Option<Verdict> {
    let factors = &shared::get()?.factors;
    let key = key_of(person);
    let (floor, now) = (factors.floor.load(SeqCst), typed.at);
    typed.steps.retain(|step| *step > floor);
    let _held = Held::take(factors);
    let own = factors.place(key).find(|place| place.is(key));
    // Free, or of somebody whose past is over.
    let unused = || factors.place(key).find(|place| !place.read().matters(now, step_now(now)));
    let (place, mut attempts) = match own {
        Some(place) => (place, place.read()),
        None => (unused()?, kept),
    };
    attempts.forget_before(enrolled_at);
    let verdict = attempts.judge(&typed, before);
    place.write(key, &attempts);
    Some(verdict)
}

fn key_of(person: &str) -> [u64; 2] {
    let digest = Sha256::digest(person.as_bytes());
    let part = |from: usize| u64::from_be_bytes(std::array::from_fn(|byte| digest[from + byte]));
    [part(0), part(8)]
}
