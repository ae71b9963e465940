//! Days and hours of a fixed time zone, from the offsets that hold in a period.

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01, from which moments are counted.
const DAYS_BEFORE_2000: i64 = 10_957;

/// A zone within a period: which offset from UTC holds from when on.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    pub name: String,
    /// Moment (microseconds since 2000-01-01 UTC) and offset (seconds east), in order. The first holds before it too.
    pub offsets: Vec<(i64, i32)>,
}

/// A moment as the zone's clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Days since 1970-01-01.
    pub day: i32,
    /// Minute of the day.
    pub minute: u16,
    /// Monday is 0.
    pub weekday: usize,
}

impl Zone {
    /// What the clocks show at a moment.
    pub fn local(&self, time: i64) -> Local {
        let after = self.offsets.partition_point(|(from, _)| *from <= time);
        let offset = self.offsets.get(after.saturating_sub(1)).map_or(0, |(_, offset)| *offset);
        let shown = time.saturating_add(i64::from(offset) * 1_000_000);
        let day = shown.div_euclid(DAY) + DAYS_BEFORE_2000;
        Local {
            day: day as i32,
            minute: (shown.rem_euclid(DAY) / 60_000_000) as u16,
            // 1970-01-01 was a Thursday.
            weekday: (day + 3).rem_euclid(7) as usize,
        }
    }

    /// A moment as `2026-11-22 09:05`.
    pub fn shown(&self, time: i64) -> String {
        let Local { day, minute, .. } = self.local(time);
        format!("{} {:02}:{:02}", date(day), minute / 60, minute % 60)
    }
}

/// A day as `2026-11-22`, proleptic Gregorian.
pub fn date(day: i32) -> String {
    // Years begin in March here, so that the leap day is the last of one; 400 years repeat.
    let from_march = i64::from(day) + 719_468;
    let era = from_march.div_euclid(146_097);
    let of_era = from_march.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}
