//! Alert rules: which records one speaks of, and when so many of one person's are too many. Pure. Manual 5.1, requirements
//! 66 to 69.

use super::calendar::Moment;
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
    /// Days on which nobody works count too, from the first to the last minute.
    pub free_days: bool,
    pub posts: Vec<String>,
    pub except_posts: Vec<String>,
    /// So many within `within` are none too many; 0: each is one.
    pub more_than: usize,
    /// So many rows within `within` are none too many; `more_than` says nothing then.
    pub more_rows: Option<i64>,
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

    /// Whether it asks when something happened.
    pub fn asks_when(&self) -> bool {
        self.hours.is_some() || self.free_days
    }

    /// Whether it speaks of such a moment.
    pub fn concerns_moment(&self, moment: Moment) -> bool {
        let within = |(from, to): (u16, u16)| match from <= to {
            true => (from..to).contains(&moment.minute),
            false => moment.minute >= from || moment.minute < to,
        };
        !self.asks_when() || self.free_days && moment.free || self.hours.is_some_and(within)
    }
}

/// The kind of a thing that a reminder tells of, of `kind: thing`.
pub fn kind_of(told: &str) -> &str {
    told.split_once(": ").map_or(told, |(kind, _)| kind)
}

/// What one subject's last records of one rule were.
#[derive(Debug, Default)]
pub struct Recent {
    times: Times,
    rows: Rows,
}

impl Recent {
    /// Takes the next record in, which stands for so many acts with so many rows in all; true if these are too many.
    pub fn exceeds(&mut self, rule: &Rule, time: i64, acts: i64, rows: i64) -> bool {
        match rule.more_rows {
            Some(most) => self.rows.exceed(rule, most, time, rows),
            None => {
                // More than are too many by themselves say nothing more.
                let acts = usize::try_from(acts).unwrap_or(1).clamp(1, rule.more_than + 1);
                rule.more_than == 0 || (0..acts).fold(false, |over, _| self.times.exceed(rule, time) || over)
            }
        }
    }

    /// Nothing of it counts any more.
    pub fn is_over(&self, rule: &Rule, now: i64) -> bool {
        self.times.are_over(rule, now) && self.rows.are_over(rule, now)
    }
}

/// When they were, in order: as many as are none too many, and one.
#[derive(Debug, Default)]
struct Times(VecDeque<i64>);

impl Times {
    /// Times come almost in order: the place is near the end.
    fn exceed(&mut self, rule: &Rule, time: i64) -> bool {
        let place = self.0.iter().rposition(|earlier| *earlier <= time).map_or(0, |place| place + 1);
        self.0.insert(place, time);
        if self.0.len() <= rule.more_than {
            return false;
        }
        if self.0.len() > rule.more_than + 1 {
            self.0.pop_front();
        }
        let span = self.0.back().zip(self.0.front()).map_or(0, |(last, first)| last - first);
        span <= rule.within
    }

    fn are_over(&self, rule: &Rule, now: i64) -> bool {
        self.0.back().is_none_or(|last| now - last > rule.within)
    }
}

/// How many rows they had, in sixtieths of the rule's time.
#[derive(Debug, Default)]
struct Rows(VecDeque<(i64, i64)>);

impl Rows {
    const PARTS: i64 = 60;

    fn part(rule: &Rule, time: i64) -> i64 {
        time.div_euclid((rule.within / Self::PARTS).max(1))
    }

    /// True if these rows are too many, or come after too many.
    fn exceed(&mut self, rule: &Rule, most: i64, time: i64, rows: i64) -> bool {
        let part = Self::part(rule, time);
        let place = self.0.iter().rposition(|(earlier, _)| *earlier <= part);
        match place.and_then(|place| self.0.get_mut(place)) {
            Some((known, sum)) if *known == part => *sum = sum.saturating_add(rows),
            _ => self.0.insert(place.map_or(0, |place| place + 1), (part, rows)),
        }
        let newest = self.0.back().map_or(part, |(newest, _)| *newest);
        self.0.retain(|(part, _)| newest - part < Self::PARTS);
        rows > 0 && self.0.iter().fold(0, |sum: i64, (_, rows)| sum.saturating_add(*rows)) > most
    }

    fn are_over(&self, rule: &Rule, now: i64) -> bool {
        self.0.back().is_none_or(|(newest, _)| Self::part(rule, now) - newest >= Self::PARTS)
    }
}
