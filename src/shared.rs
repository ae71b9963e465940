//! Shared memory: what must be known in every database and must survive a rollback. Filled at server start from the
//! fsynced state file; lost with the server, so nothing here is the only copy of a record.
//!
//! Everything is a plain atomic: no lock, so error paths may read and write it.

use crate::audit::start::Start;
use crate::factor::memory::Factors;
use crate::settings::{self, Mode};
use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

/// One backend slot's spool lane: written by the one backend that owns the slot, read by the sequencer.
#[repr(C)]
pub struct Lane {
    /// Counter of the next frame; never reused within a boot.
    pub next_counter: AtomicU64,
    /// Bytes of whole frames in the current file.
    pub length: AtomicU64,
    /// Which file of this slot is current (files rotate by size).
    pub generation: AtomicU32,
    _pad: AtomicU32,
    /// Records that could not be written and are not yet chained as LOST(n).
    pub lost: AtomicU64,
    /// Rows of the journal.
    pub counted: crate::audit::journal_count::Slot,
}

/// A definition in the chain that backends may refer to.
#[repr(C)]
pub struct Definition {
    /// Digest of its content.
    pub key: [AtomicU64; 2],
    /// Its id in the chain; 0: the place is free. Written last.
    pub id: AtomicI64,
}

/// Places for definitions; a power of two.
pub const DEFINITIONS: usize = 8192;

/// What the sequencer has defined, for all backends to look up. Lost with the server and filled again from the chain.
#[repr(C)]
pub struct Definitions {
    /// Random. Keys are digests under it, so that nobody can choose two contents of one key.
    pub secret: [u8; 16],
    /// Which ledger the ids belong to: the first bytes of its id; 0 while there is none.
    pub epoch: AtomicU32,
    /// Counts the times that definitions were taken away.
    pub generation: AtomicU32,
    pub places: [Definition; DEFINITIONS],
}

#[repr(C)]
pub struct Shared {
    /// Random for each initialisation of shared memory; names this boot's spool directory.
    pub boot_id: [u8; 16],
    /// 1 from `activate()` on, in every database.
    pub active: AtomicBool,
    /// True once the mode was `enforce` in this server's life: only a restart leaves it.
    pub enforced: AtomicBool,
    /// The state file existed but could not be read: active counts until the sequencer has looked.
    pub doubtful: AtomicBool,
    /// The sequencer found no home database, or no extension in it.
    pub gone: AtomicBool,
    /// Which of the two journals takes new rows (0 or 1).
    pub journal: AtomicU32,
    /// Oid of the home database once the sequencer or a session has resolved it; 0 before.
    pub home: AtomicU32,
    /// The sequencer's pid; 0 while it does not run.
    pub sequencer_pid: AtomicI32,
    /// Tickets of `flush_audit()`: the sequencer answers the newest it saw before a round.
    pub flush_requested: AtomicU64,
    pub flush_done: AtomicU64,
    /// The clock at the moment when the steady one began, microseconds; 0 before the sequencer has looked.
    pub clock_begin: AtomicI64,
    /// Last id the sequencer committed to the chain.
    pub chained_id: AtomicU64,
    pub definitions: Definitions,
    /// There is a chain, or it is about to begin: records of logins will be taken.
    pub chained: AtomicBool,
    /// Failures of logins in a row.
    pub logins: crate::login::failures::Table,
    /// Refused logins that are counted instead of recorded.
    pub refusals: crate::login::repeats::Repeats,
    /// Records of processes that have no lane.
    pub ring: crate::login::ring::Ring,
    /// How this server start began.
    pub start: Start,
    /// Under which name rows of the journal are counted.
    pub journal_count: crate::audit::journal_count::Begun,
    /// How often the file of their counts was written anew.
    pub journal_count_file: AtomicU32,
    /// What reads may do on a standby; see `audit::standby`.
    pub standby_spool: AtomicU32,
    /// Used steps and wrong codes of the second factor.
    pub factors: Factors,
    /// Emergency windows that are open.
    pub windows: crate::break_glass::memory::Windows,
    /// Rows that persons with a limit have read.
    pub readers: crate::export::memory::Readers,
    pub lane_count: u32,
}

static mut SHARED: *mut Shared = std::ptr::null_mut();
static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// Installs the two shared memory hooks. Only while preloading.
pub fn init() {
    // Safe: plain hook pointers, set while the postmaster preloads and kept for the chain.
    unsafe {
        NEXT_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

fn size() -> usize {
    // Backend ids run from 1 to MaxBackends.
    // Safe: a plain global, set before shared memory is requested.
    size_of::<Shared>() + (unsafe { pg_sys::MaxBackends } as usize + 1) * size_of::<Lane>()
}

unsafe extern "C-unwind" fn request() {
    // Safe: in the hook by which the server lets libraries ask for memory.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        pg_sys::RequestAddinShmemSpace(size());
    }
}

unsafe extern "C-unwind" fn startup() {
    // Safe: in the hook by which the server lets libraries find their memory.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
        let mut found = false;
        // Safe: the postmaster is alone here; the segment is zeroed by us before anybody sees it.
        let shared = pg_sys::ShmemInitStruct(c"pg_steward".as_ptr(), size(), &mut found).cast::<Shared>();
        if !found {
            std::ptr::write_bytes(shared.cast::<u8>(), 0, size());
            (*shared).lane_count = pg_sys::MaxBackends as u32 + 1;
            pg_sys::pg_strong_random((*shared).boot_id.as_mut_ptr().cast(), 16);
            pg_sys::pg_strong_random((*shared).definitions.secret.as_mut_ptr().cast(), 16);
            (*shared).definitions.generation.store(1, SeqCst);
            (*shared).start = Start::look();
            (*shared).journal_count =
                crate::audit::journal_count::begin(&(*shared).boot_id, &(*shared).start, (*shared).lane_count);
            (*shared).chained.store(std::path::Path::new("pg_steward/head").exists(), SeqCst);
            crate::login::failures::restore(&mut (*shared).logins);
            (*shared).factors.init();
            (*shared).windows.init();
            (*shared).readers.init();
            let state = crate::state_file::read();
            (*shared).active.store(state != crate::state_file::State::Inactive, SeqCst);
            (*shared).doubtful.store(state == crate::state_file::State::Unreadable, SeqCst);
        }
        SHARED = shared;
    }
}

/// None where the library was not preloaded.
pub fn get() -> Option<&'static Shared> {
    // Safe: set once before any backend starts, never moved.
    unsafe { SHARED.as_ref() }
}

impl Shared {
    /// The lane of a slot, None if the slot is unknown.
    pub fn lane(&self, slot: u32) -> Option<&Lane> {
        // Safe: `size` reserved `lane_count` lanes right behind the header.
        (slot < self.lane_count).then(|| unsafe { &*(self as *const Shared).add(1).cast::<Lane>().add(slot as usize) })
    }
}

/// The mode that holds: the configured one, but `enforce` once seen stays until a restart.
pub fn mode() -> Mode {
    let configured = settings::configured_mode();
    let Some(shared) = get() else { return Mode::Off };
    // A parallel worker takes its leader's settings over one by one, each from its default, which is `enforce`.
    // Safe: plain backend state.
    if configured == Mode::Enforce && unsafe { pg_sys::ParallelWorkerNumber } < 0 {
        // Asked at each statement: a store would take the line away from all other backends.
        if !shared.enforced.load(SeqCst) {
            shared.enforced.store(true, SeqCst);
        }
        return Mode::Enforce;
    }
    if shared.enforced.load(SeqCst) { Mode::Enforce } else { configured }
}

/// True from `activate()` on, in every database of the cluster.
pub fn active() -> bool {
    get().is_some_and(|shared| shared.active.load(SeqCst))
}

/// Wakes the sequencer; nothing happens while it does not run.
pub fn wake_sequencer() {
    let pid = get().map_or(0, |shared| shared.sequencer_pid.load(SeqCst));
    if pid != 0 {
        // Safe: a PGPROC never moves; at worst the latch of a process that took the slot over is set.
        unsafe {
            let process = pg_sys::BackendPidGetProc(pid);
            if !process.is_null() {
                pg_sys::SetLatch(&raw mut (*process).procLatch);
            }
        }
    }
}
