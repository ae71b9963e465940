//! What the tests of faults share: random numbers from a printed seed, the length of a run, signals to a server's
//! processes, and the waits for them.
//!
//! `make test-long` sets `STEWARD_TEST_LONG`; a failed run is repeated with `STEWARD_TEST_SEED` and the seed it printed.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postgres::{Client, NoTls};

use crate::cluster::Cluster;
use crate::school::{HOME, School};

/// How long anything may take that is waited for; far above what it does take.
const PATIENCE: Duration = Duration::from_secs(60);

/// `short` in `make test`, `long` in `make test-long`.
pub fn scaled<T>(short: T, long: T) -> T {
    if std::env::var_os("STEWARD_TEST_LONG").is_some() { long } else { short }
}

/// A line of figures: the runner shows lines that begin so.
pub fn report(line: &str) {
    println!("count: {line}");
}

/// SplitMix64: the same numbers for the same seed, on every machine.
pub struct Random(u64);

impl Random {
    /// From `STEWARD_TEST_SEED`, or from the clock; prints it with the test's name.
    pub fn announced(test: &str) -> Random {
        let seed = match std::env::var("STEWARD_TEST_SEED") {
            Ok(seed) => seed.parse().expect("STEWARD_TEST_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos().into(),
        };
        report(&format!("{test}: STEWARD_TEST_SEED={seed}"));
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One more source of numbers, for a thread of its own.
    pub fn branch(&mut self) -> Random {
        Random(self.next())
    }
}

/// Repeats `look` until it finds something.
#[track_caller]
pub fn wait_for<T>(school: &Cluster, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", school.log_tail());
        sleep(Duration::from_millis(20));
    }
}

/// Waits until the postmaster, which restarts its processes by itself, takes connections again.
#[track_caller]
pub fn wait_for_recovery(school: &School) -> Client {
    // Whoever connects before the postmaster has noticed the dead process is thrown out with the others.
    let lasting = |mut session: Client| {
        sleep(Duration::from_millis(200));
        session.batch_execute("SELECT 1").is_ok().then_some(session)
    };
    wait_for(school, "recovery", || school.config("postgres", HOME).connect(NoTls).ok().and_then(lasting))
}

/// The id of a process of the server that matches a condition on pg_stat_activity. A worker may still be starting. Each
/// look is a new connection: before version 16 a postmaster that hears of a dead worker at the wrong moment sleeps for a
/// minute before it starts it again, unless somebody connects.
#[track_caller]
pub fn wait_for_process(school: &School, which: &str) -> i32 {
    let query = format!("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ({which}) LIMIT 1");
    let look = || school.superuser().query_opt(&query, &[]).expect("pg_stat_activity").map(|row| row.get(0));
    wait_for(school, which, look)
}

/// The sequencer's process.
pub const SEQUENCER: &str = "backend_type = 'pg_steward sequencer'";

#[track_caller]
pub fn sequencer(school: &School) -> i32 {
    wait_for_process(school, SEQUENCER)
}

/// A process that does nothing until this is dropped.
pub struct Paused<'a> {
    school: &'a School,
    pid: i32,
}

impl Paused<'_> {
    /// The sequencer, between two rounds: in the middle of one it may hold a lock of the server's own, past which nobody gets.
    #[track_caller]
    pub fn between_rounds(school: &School) -> Paused<'_> {
        let pid = sequencer(school);
        school.flush_audit();
        let idle = "SELECT state = 'idle' AND state_change < clock_timestamp() - interval '5 ms' FROM pg_stat_activity WHERE pid = ";
        wait_for(school, "the end of a round", || school.ask::<bool>(&format!("{idle}{pid}")).then_some(()));
        Paused::new(school, pid)
    }

    #[track_caller]
    pub fn new(school: &School, pid: i32) -> Paused<'_> {
        school.signal("STOP", pid);
        Paused { school, pid }
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.school.signal("CONT", self.pid);
    }
}
