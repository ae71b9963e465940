//! The clock that stamps what the sequencer itself chains. The machine's clock can be set; the steady one (since boot)
//! cannot. What is between the two stays the same unless somebody sets the clock, or stops it. Reads neither: the caller
//! does. All times in microseconds.

/// How far the clock may stray from the steady one, or lie behind the last sealed record, before that is a step. A leap
/// second is less, and so is what is between two readings.
pub const TOLERANCE: i64 = 5_000_000;

/// The clock was not where it had to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it had to show at the least.
    pub expected: i64,
    pub found: i64,
    /// Known by the steady clock; else by the last sealed record alone.
    pub by_steady: bool,
}

/// What is known of the clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The clock at the moment when the steady one began; None before the first look.
    begin: Option<i64>,
    sealed: i64,
    /// The furthest that the clock, or what is sealed, was ever ahead of the steady one.
    ahead: i64,
    /// The steady clock at the last look.
    steady: i64,
}

impl Clock {
    /// As an earlier life has left it: `begin` if it was on this machine since its boot, and the time of the last sealed
    /// record.
    pub fn new(begin: Option<i64>, sealed: i64) -> Clock {
        Clock { begin, sealed, ahead: i64::MIN, steady: 0 }
    }

    /// Looks at both clocks. A step is told once: from there on the clock counts as it was found.
    pub fn look(&mut self, clock: i64, steady: i64) -> Option<Step> {
        let step = match self.begin {
            Some(begin) => Step { expected: begin.saturating_add(steady), found: clock, by_steady: true },
            None => Step { expected: clock.max(self.sealed), found: clock, by_steady: false },
        };
        self.sealed = self.sealed.max(clock);
        self.ahead = self.ahead.max(self.sealed.saturating_sub(steady));
        self.steady = steady;
        let strayed = step.expected.abs_diff(clock) > TOLERANCE.unsigned_abs();
        if strayed || self.begin.is_none() {
            self.begin = Some(clock.saturating_sub(steady));
        }
        strayed.then_some(step)
    }

    /// The time of what is sealed now: never before what was sealed last, whatever the clock says.
    pub fn sealed(&self) -> i64 {
        self.sealed
    }

    /// The time of the last look, by which is told how long something lasts: it neither goes back nor stands still. Where
    /// the clock was set back it goes on with the steady one.
    pub fn lasting(&self) -> i64 {
        self.steady.saturating_add(self.ahead)
    }

    /// The clock at the moment when the steady one began.
    pub fn begin(&self) -> Option<i64> {
        self.begin
    }
}
