//! What a person may still try at the second factor: each step once, and wrong codes only so many. Times are
//! microseconds since 2000-01-01 UTC. One of a million codes is right at three moments, so five guesses in a quarter of
//! an hour alone would be 175,000 a year, an even bet; twenty a day are one in fifty.

const MINUTE: i64 = 60 * 1_000_000;
/// So many wrong codes within such a time, and the next attempt has to wait.
const LIMITS: [(usize, i64); 2] = [(5, 15 * MINUTE), (REMEMBERED, 24 * 60 * MINUTE)];
/// How many wrong codes are remembered.
pub const REMEMBERED: usize = 20;

/// The past of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Neither this step nor an older one is accepted any more.
    pub last_step: i64,
    /// When wrong codes came, oldest first; 0 where there was none.
    pub failures: [i64; REMEMBERED],
}

/// The answer to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The code of this step, which is used up now.
    Accepted(i64),
    Wrong,
    /// Not even looked at before this moment.
    Wait(i64),
}

impl Attempts {
    /// As it was kept; of more failures than are remembered the newest count.
    pub fn new(last_step: i64, failures: &[i64]) -> Attempts {
        let mut attempts = Attempts { last_step, failures: [0; REMEMBERED] };
        failures.iter().for_each(|time| attempts.count(*time));
        attempts
    }

    /// Decides one attempt and remembers it. `steps`: the steps that the code belongs to, oldest first.
    pub fn judge(&mut self, now: i64, steps: &[i64]) -> Verdict {
        if let Some(until) = self.wait_until(now) {
            return Verdict::Wait(until);
        }
        match steps.iter().find(|step| **step > self.last_step) {
            Some(step) => {
                self.last_step = *step;
                Verdict::Accepted(*step)
            }
            None => {
                self.count(now);
                Verdict::Wrong
            }
        }
    }

    /// When the next attempt is allowed; None: at once. A right code forgives nothing: between two of its owner's an
    /// attacker would have his guesses back.
    pub fn wait_until(&self, now: i64) -> Option<i64> {
        let ends = LIMITS.map(|(count, term)| self.failures[REMEMBERED - count].saturating_add(term));
        ends.into_iter().filter(|end| *end > now).max()
    }

    /// Whether forgetting this could make a difference.
    pub fn matters(&self, now: i64, step: i64) -> bool {
        let longest = LIMITS.map(|(_, term)| term).into_iter().max().unwrap_or(i64::MAX);
        self.last_step >= step - 2 || self.failures[REMEMBERED - 1].saturating_add(longest) > now
    }

    fn count(&mut self, time: i64) {
        self.failures.rotate_left(1);
        self.failures[REMEMBERED - 1] = time;
    }
}
