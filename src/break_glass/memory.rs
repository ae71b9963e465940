//! Who has a window open now, in shared memory: one person has one, in whichever session. Lost with the server, and so
//! are the sessions.

use crate::shared;
use pgrx::pg_sys;
use sha2::{Digest, Sha256};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering::SeqCst};

/// Windows that can be open at once.
const PLACES: usize = 64;

/// One window. Taken under the lock only, given back without it.
#[repr(C)]
struct Place {
    /// Process of the session; 0: free.
    pid: AtomicI32,
    /// Microseconds since 2000-01-01 UTC.
    until: AtomicI64,
    /// Digest of the person's name.
    key: AtomicU64,
}

/// Part of shared memory.
#[repr(C)]
pub struct Windows {
    lock: UnsafeCell<pg_sys::LWLock>,
    places: [Place; PLACES],
}

impl Windows {
    /// Once, while shared memory is made.
    pub fn init(&mut self) {
        // Safe: the postmaster is alone; the memory is zeroed.
        unsafe { pg_sys::LWLockInitialize(self.lock.get(), pg_sys::LWLockNewTrancheId()) }
    }
}

impl Place {
    /// A session that ended without giving its place back has none.
    fn is_taken(&self, now: i64) -> bool {
        let pid = self.pid.load(SeqCst);
        // Safe: looks the process up in the array of processes.
        pid != 0 && self.until.load(SeqCst) > now && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
    }
}

/// Why there is no place.
pub enum Taken {
    /// The person has a window already.
    ByThePerson,
    /// Too many others have.
    ByOthers,
}

/// The place of this session, until it is dropped or kept.
#[must_use = "the place is given back when the claim is dropped"]
pub struct Claim(());

impl Claim {
    /// The window is open: `release` gives the place back.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        release();
    }
}

/// Takes a place for a window of this person in this session.
pub fn claim(person: &str, now: i64, until: i64) -> Result<Claim, Taken> {
    let Some(shared) = shared::get() else { return Err(Taken::ByOthers) };
    let windows = &shared.windows;
    let key = key_of(person);
    // Safe: initialised with shared memory, which never moves; released below, and nothing in between raises.
    unsafe { pg_sys::LWLockAcquire(windows.lock.get(), pg_sys::LWLockMode::LW_EXCLUSIVE) };
    let taken = windows.places.iter().filter(|place| place.is_taken(now));
    let result = match taken.map(|place| place.key.load(SeqCst)).any(|other| other == key) {
        true => Err(Taken::ByThePerson),
        false => match windows.places.iter().find(|place| !place.is_taken(now)) {
            None => Err(Taken::ByOthers),
            Some(free) => {
                free.key.store(key, SeqCst);
                free.until.store(until, SeqCst);
                // Safe: this process's id.
                free.pid.store(unsafe { pg_sys::MyProcPid }, SeqCst);
                Ok(Claim(()))
            }
        },
    };
    // Safe: held since above.
    unsafe { pg_sys::LWLockRelease(windows.lock.get()) };
    result
}

/// Gives this session's place back. Never raises.
pub fn release() {
    let Some(shared) = shared::get() else { return };
    // Safe: this process's id.
    let own = unsafe { pg_sys::MyProcPid };
    for place in &shared.windows.places {
        // Of another it is not taken: then the exchange fails, as it should.
        place.pid.compare_exchange(own, 0, SeqCst, SeqCst).ok();
    }
}

fn key_of(person: &str) -> u64 {
    let digest = Sha256::digest(person.as_bytes());
    u64::from_be_bytes(std::array::from_fn(|byte| digest[byte]))
}
