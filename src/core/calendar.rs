//! Which days are free: weekends, but for what the calendar says otherwise. Holidays are free, and the weekends that make
//! up for them (调休) are not. Pure.

use std::collections::HashMap;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1440 * MINUTE;

/// Days that are not what their day of the week says; days since 2000-01-01, which was a Saturday.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calendar(HashMap<i32, bool>);

/// When something happened, as far as rules ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Of the day.
    pub minute: u16,
    /// On a day on which nobody works.
    pub free: bool,
}

impl Calendar {
    /// Of days and whether they are free.
    pub fn new(days: impl IntoIterator<Item = (i32, bool)>) -> Calendar {
        Calendar(days.into_iter().collect())
    }

    pub fn is_free(&self, day: i32) -> bool {
        self.0.get(&day).copied().unwrap_or(day.rem_euclid(7) < 2)
    }

    /// Of a local time, in microseconds since 2000-01-01.
    pub fn moment(&self, local: i64) -> Moment {
        let minute = (local.rem_euclid(DAY) / MINUTE) as u16;
        Moment { minute, free: self.is_free(local.div_euclid(DAY) as i32) }
    }
}
