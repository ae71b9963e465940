//! A period of time, and the offsets of the policy's zone in it.

use crate::core::report::zone::Zone;
use crate::error::{Fault, Outcome};
use crate::{own, settings};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

/// The longest that a report is about: ten years, microseconds.
const LONGEST: i64 = 10 * 366 * 86_400_000_000;

/// From, and to (excluded): microseconds since 2000-01-01 UTC.
#[derive(Clone, Copy)]
pub struct Period {
    pub from: i64,
    pub to: i64,
}

impl Period {
    pub fn of(
        function: &str,
        from: Option<TimestampWithTimeZone>,
        to: Option<TimestampWithTimeZone>,
    ) -> Outcome<Period> {
        let bad = |says: &str| {
            Fault::bad_argument(says.to_owned())
                .hint(format!("SELECT * FROM steward.{function}(now() - interval '30 days', now());"))
        };
        let (Some(from), Some(to)) = (from, to) else { return Err(bad("from_time and to_time must not be NULL")) };
        let (from, to): (pg_sys::TimestampTz, pg_sys::TimestampTz) = (from.into(), to.into());
        if from >= to {
            return Err(bad("from_time must be before to_time"));
        }
        // Infinite ones too.
        if to.checked_sub(from).is_none_or(|length| length > LONGEST) {
            return Err(bad("the period must not be longer than ten years"));
        }
        Ok(Period { from, to })
    }

    pub fn holds(self, time: i64) -> bool {
        (self.from..self.to).contains(&time)
    }

    pub fn bounds(self) -> Outcome<(TimestampWithTimeZone, TimestampWithTimeZone)> {
        let moment =
            |time| TimestampWithTimeZone::try_from(time).map_err(|_| Fault::bad_argument("a time is out of range"));
        Ok((moment(self.from)?, moment(self.to)?))
    }

    /// The zone in which rules speak of hours. Clocks are changed at whole quarters of an hour.
    pub fn zone(self) -> Outcome<Zone> {
        let offsets = "WITH shown AS (
                SELECT t, extract(epoch FROM (t AT TIME ZONE $3) - (t AT TIME ZONE 'UTC'))::int AS zone
                FROM generate_series(date_trunc('hour', $1, 'UTC'), $2, interval '15 minutes') t)
            SELECT (extract(epoch FROM t - timestamptz '2000-01-01 00:00:00+00') * 1000000)::int8, zone
            FROM (SELECT t, zone, lag(zone) OVER (ORDER BY t) AS before FROM shown) s
            WHERE zone IS DISTINCT FROM before ORDER BY t";
        let name = settings::time_zone();
        let (from, to) = self.bounds()?;
        own::run(|client| {
            let mut zone = Zone { name: name.clone(), offsets: Vec::new() };
            for row in own::select(client, offsets, &[from.into(), to.into(), name.as_str().into()])? {
                zone.offsets.push((row.get(1)?.unwrap_or_default(), row.get(2)?.unwrap_or_default()));
            }
            Ok(zone)
        })
    }
}
