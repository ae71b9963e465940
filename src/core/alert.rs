//! Alert rules: which records one speaks of, and when so many of one person's are too many. Pure. Manual 5.1, requirements
//! 66 to 69.

use super::record::{Kind, Outcome};
use super::tier::Tier;
use std::collections::VecDeque;

/// A condition over the stream of records. Whatever is empty or None holds for every record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    pub name: String,
    /// `minor`, `important` or `major`.
    pub level: String,
    pub kinds: Vec<Kind>,
    pub operation_types: Vec<String>,
    pub outcomes: Vec<Outcome>,
    pub min_tier: Option<Tier>,
    /// Microseconds that a statement takes at least.
    pub longer_than: Option<i64>,
    /// Minutes of the day, from and to (excluded), in the policy's zone; to before from goes over midnight.
    pub hours: Option<(u16, u16)>,
    pub posts: Vec<String>,
    pub except_posts: Vec<String>,
    /// So many within `within` are none too many; 0: each is one.
    pub more_than: usize,
    /// Microseconds.
    pub within: i64,
}

impl Rule {
    /// Whether it speaks of what somebody of this post does; None: of nobody who is registered.
    pub fn concerns_post(&self, post: Option<&str>) -> bool {
        let among = |posts: &[String]| post.is_some_and(|post| posts.iter().any(|one| one == post));
        (self.posts.is_empty() || among(&self.posts)) && !among(&self.except_posts)
    }

    /// Whether it speaks of such an act.
    pub fn concerns_act(&self, operation_type: &str, tier: Option<Tier>) -> bool {
        (self.operation_types.is_empty() || self.operation_types.iter().any(|one| one == operation_type))
            && self.min_tier.is_none_or(|least| tier.is_some_and(|tier| tier >= least))
    }

    /// Whether it speaks of a record of this kind that ended so.
    pub fn concerns_ending(&self, kind: Kind, outcome: Outcome) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.outcomes.is_empty() || self.outcomes.contains(&outcome))
    }

    /// Whether it speaks of this minute of the day.
    pub fn concerns_minute(&self, minute: u16) -> bool {
        self.hours.is_none_or(|(from, to)| match from <= to {
            true => (from..to).contains(&minute),
            false => minute >= from || minute < to,
        })
    }
}

/// When one subject's last records of one rule were, in order: as many as are none too many, and one.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<i64>);

impl Recent {
    /// Takes the next record in; true if it is one too many. Times come almost in order: the place is near the end.
    pub fn exceeds(&mut self, rule: &Rule, time: i64) -> bool {
        let place = self.0.iter().rposition(|earlier| *earlier <= time).map_or(0, |place| place + 1);
        self.0.insert(place, time);
        if self.0.len() <= rule.more_than {
            return false;
        }
        if self.0.len() > rule.more_than + 1 {
            self.0.pop_front();
        }
        let span = self.0.back().zip(self.0.front()).map_or(0, |(last, first)| last - first);
        rule.more_than == 0 || span <= rule.within
    }

    /// Nothing of it counts any more.
    pub fn is_over(&self, rule: &Rule, now: i64) -> bool {
        self.0.back().is_none_or(|last| now - last > rule.within)
    }
}
