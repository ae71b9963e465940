//! What a person may still try at the second factor: each step once, and wrong codes only so many. Times are
//! microseconds since 2000-01-01 UTC. One of a million codes is right at three moments, so five guesses in a quarter of
//! an hour alone would be 175,000 a year, an even bet; twenty a day are one in fifty.
//!
//! Whoever has a person's password can use these tries up, again and again. Were no code looked at then, the thief would
//! lock the person out for ever; were tries counted for each address, a thief with many addresses had as many tries, and
//! one behind the person's own proxy locked it out all the same. So after too many wrong codes a single code is not
//! believed any more, but two of successive steps are, typed one after the other in one session, and of the first nobody
//! is told whether it was right. Its owner waits half a minute for the second. A guess at both is right in three of a
//! million million cases and takes `PAUSE`: a thief with a thousand sessions that never rest stays below one in fifty a
//! year. So wrong codes cost the owner of the authenticator one code more, and no attacker can make them cost anything else.
//!
//! Wrong codes from before an enrolment were no guesses at its secret and do not count: a reset clears them.

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// So many wrong codes within such a time, and a single code is not enough.
const LIMITS: [(usize, i64); 2] = [(5, 15 * MINUTE), (REMEMBERED, 24 * 60 * MINUTE)];
/// How many wrong codes are remembered.
pub const REMEMBERED: usize = 20;
/// The shortest time between the two codes of a pair.
const PAUSE: i64 = 5 * SECOND;
/// The longest.
const PATIENCE: i64 = 2 * MINUTE;

/// The past of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Neither this step nor an older one is accepted any more.
    pub last_step: i64,
    /// When wrong codes came, oldest first; 0 where there was none.
    pub failures: [i64; REMEMBERED],
}

/// One code as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    pub at: i64,
    /// The steps that it belongs to, oldest first; none: it is wrong.
    pub steps: Vec<i64>,
}

/// The answer to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The code of this step, which is used up now.
    Accepted(i64),
    Wrong,
    /// A single code is not enough now; whether this one was right is not told.
    OneMore,
}

impl Attempts {
    /// As it was kept; of more failures than are remembered the newest count.
    pub fn new(last_step: i64, failures: &[i64]) -> Attempts {
        let mut attempts = Attempts { last_step, failures: [0; REMEMBERED] };
        failures.iter().for_each(|time| attempts.count(*time));
        attempts
    }

    /// Decides one attempt and remembers it. `before`: the code that the same session typed before it, when that was not
    /// enough.
    pub fn judge(&mut self, typed: &Typed, before: Option<&Typed>) -> Verdict {
        if self.are_too_many(typed.at) {
            let second = before.and_then(|first| self.second_of(first, typed));
            return self.accept(second).unwrap_or(Verdict::OneMore);
        }
        let step = typed.steps.iter().copied().find(|step| *step > self.last_step);
        self.accept(step).unwrap_or_else(|| {
            self.count(typed.at);
            Verdict::Wrong
        })
    }

    /// Whether a single code is not enough. A right code forgives nothing: between two of its owner's an attacker would
    /// have his guesses back.
    pub fn are_too_many(&self, now: i64) -> bool {
        LIMITS.iter().any(|(count, term)| self.failures[REMEMBERED - count].saturating_add(*term) > now)
    }

    /// What came before this moment was no guess at the secret that is enrolled now.
    pub fn forget_before(&mut self, enrolled_at: i64) {
        self.failures.iter_mut().filter(|time| **time < enrolled_at).for_each(|time| *time = 0);
        self.failures.sort_unstable();
    }

    /// Whether forgetting this could make a difference.
    pub fn matters(&self, now: i64, step: i64) -> bool {
        let longest = LIMITS.map(|(_, term)| term).into_iter().max().unwrap_or(i64::MAX);
        self.last_step >= step - 2 || self.failures[REMEMBERED - 1].saturating_add(longest) > now
    }

    fn accept(&mut self, step: Option<i64>) -> Option<Verdict> {
        self.last_step = step?;
        step.map(Verdict::Accepted)
    }

    /// The step of the second code, if both are right, unused and successive.
    fn second_of(&self, first: &Typed, second: &Typed) -> Option<i64> {
        if !(PAUSE..=PATIENCE).contains(&(second.at - first.at)) {
            return None;
        }
        let follows = |step: &i64| *step - 1 > self.last_step && first.steps.contains(&(*step - 1));
        second.steps.iter().copied().find(follows)
    }

    fn count(&mut self, time: i64) {
        self.failures.rotate_left(1);
        self.failures[REMEMBERED - 1] = time;
    }
}
