//! Refused logins come as often as somebody likes who knows no password. Of one kind some are recorded each by itself
//! within a minute; those that follow are counted, and one record tells how many they were: the first of the next minute,
//! or the sequencer's where none comes. In shared memory, by plain atomics; a crash of the server takes along what was
//! counted and not told.

use super::replication;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Kinds that are counted at a time; others are recorded each by itself.
const PLACES: usize = 64;
/// Microseconds.
const MINUTE: i64 = 60 * 1_000_000;
/// Records of one kind within a minute.
const EACH: u32 = 10;

/// One kind of refusal.
#[repr(C)]
struct Place {
    /// 0: the place is free.
    key: AtomicU64,
    /// When its minute began.
    since: AtomicI64,
    recorded: AtomicU32,
    /// Counted and not told yet.
    counted: AtomicU32,
    /// Which of `RULES`.
    rule: AtomicU32,
    _pad: AtomicU32,
}

#[repr(C)]
pub struct Repeats {
    places: [Place; PLACES],
}

/// The rules that refuse logins, and commands of replication.
pub const RULES: [&str; 5] = ["blocked_address", "login_address", "login_tls", "login_failures", replication::RULE];

impl Repeats {
    /// One more refusal of a kind. Some: it is recorded, and tells of so many before it; None: it is only counted.
    pub fn one_more(&self, key: u64, rule: &str, now: i64) -> Option<u32> {
        let Some(place) = self.claim(key, now) else { return Some(0) };
        let number = RULES.iter().position(|known| *known == rule).unwrap_or_default();
        place.rule.store(number as u32, SeqCst);
        if is_over(place.since.load(SeqCst), now) {
            place.since.store(now, SeqCst);
            place.recorded.store(1, SeqCst);
            return Some(place.counted.swap(0, SeqCst));
        }
        if place.recorded.fetch_add(1, SeqCst) < EACH {
            return Some(0);
        }
        place.recorded.store(EACH, SeqCst);
        place.counted.fetch_add(1, SeqCst);
        None
    }

    /// Takes what was counted in minutes that are over: rules, and how many refusals. For the sequencer.
    pub fn take(&self, now: i64) -> Vec<(&'static str, u32)> {
        let over = self.places.iter().filter(|place| is_over(place.since.load(SeqCst), now));
        let counted =
            over.map(|place| (RULES[place.rule.load(SeqCst) as usize % RULES.len()], place.counted.swap(0, SeqCst)));
        counted.filter(|(_, counted)| *counted > 0).collect()
    }

    /// The place of a kind; a free one, or one whose minute is over and told.
    fn claim(&self, key: u64, now: i64) -> Option<&Place> {
        let own = self.places.iter().find(|place| place.key.load(SeqCst) == key);
        own.or_else(|| {
            self.places.iter().find(|place| {
                let before = place.key.load(SeqCst);
                let unused = is_over(place.since.load(SeqCst), now) && place.counted.load(SeqCst) == 0;
                unused && place.key.compare_exchange(before, key, SeqCst, SeqCst).is_ok()
            })
        })
    }
}

/// A clock that was set back ends the minute too.
fn is_over(since: i64, now: i64) -> bool {
    !(0..MINUTE).contains(&(now - since))
}
