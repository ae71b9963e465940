//! How an operation runs: in one piece, one statement at a time, or again and again as a standing operation. Facts about
//! numbers and moments; what is stored and locked belongs to `crate::operation`.
//!
//! Moments and spans are microseconds, moments since 2000-01-01 UTC. A span has no days and months, whose length would
//! depend on a time zone.

use std::ops::RangeInclusive;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 3600 * SECOND;

/// So long an approval of a standing operation counts.
pub const APPROVAL_DAYS: i64 = 365;
/// So long before that ends it may be given anew, and is asked for.
pub const RENEWAL_DAYS: i64 = 30;
/// What may lie between two runs of a standing operation.
pub const SPANS: RangeInclusive<i64> = SECOND..=366 * DAY;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Every run is the whole script.
    Whole,
    /// Every run is the next statement of the script, and takes a confirmation of its own.
    Stepwise {
        /// The step that the last confirmation is for.
        confirmed: Option<u32>,
        /// Rows that the steps so far have touched.
        touched: u64,
    },
    /// Every run is the whole script, by a scheduler at whose side nobody stands: the approvals, which end by themselves,
    /// and the confirmation after them count for every run.
    Standing {
        /// What must lie between two runs.
        every: i64,
        /// When the last run ended.
        last_run: Option<i64>,
        now: i64,
    },
}

impl Course {
    pub fn stepwise(self) -> bool {
        matches!(self, Course::Stepwise { .. })
    }

    pub fn standing(self) -> bool {
        matches!(self, Course::Standing { .. })
    }

    /// When the next run may begin, if that is not yet. A clock that was set back makes it later, never earlier.
    pub fn too_soon(self) -> Option<i64> {
        match self {
            Course::Standing { every, last_run: Some(last_run), now } => {
                Some(last_run.saturating_add(every)).filter(|next| *next > now)
            }
            _ => None,
        }
    }

    /// Whether an approval of that moment is over. It is never earlier than the last run, whatever the clock says.
    pub fn lapsed(self, approved_at: i64) -> bool {
        self.age(approved_at).is_some_and(|age| age >= APPROVAL_DAYS * DAY)
    }

    /// Whether an approval of that moment may be given anew.
    pub fn renewable(self, approved_at: i64) -> bool {
        self.age(approved_at).is_some_and(|age| age >= (APPROVAL_DAYS - RENEWAL_DAYS) * DAY)
    }

    /// None: approvals of such an operation do not age.
    fn age(self, approved_at: i64) -> Option<i64> {
        match self {
            Course::Standing { last_run, now, .. } => {
                Some(now.max(last_run.unwrap_or(now)).saturating_sub(approved_at))
            }
            _ => None,
        }
    }

    /// Rows that count towards the limit before the next run has touched any.
    pub fn touched(self) -> u64 {
        match self {
            Course::Stepwise { touched, .. } => touched,
            _ => 0,
        }
    }
}
