//! What a security report says beside the records: alerts, checks, reviews, the state of the chain. Each is one query over
//! the period.

use super::period::Period;
use crate::audit::flush;
use crate::core::report::security::{AlertRule, Chain, Check, Found};
use crate::error::Outcome;
use crate::settings::{self, Mode};
use crate::{audit, own, shared};
use pgrx::datum::DatumWithOid;
use pgrx::spi::SpiHeapTupleData;
use std::sync::atomic::Ordering::SeqCst;

/// Microseconds that a report waits for what is not chained yet.
const PATIENCE: i128 = 5_000_000;

const ALERTS: &str = "SELECT rule, min(level), count(*),
        count(*) FILTER (WHERE acknowledged_at IS NULL),
        count(*) FILTER (WHERE coalesce(acknowledged_at, clock_timestamp()) - raised_at > interval '15 minutes'),
        count(*) FILTER (WHERE closed_at IS NULL),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM acknowledged_at - raised_at))::float8,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM acknowledged_at - raised_at))::float8
    FROM steward._alert WHERE raised_at >= $1 AND raised_at < $2 GROUP BY rule ORDER BY count(*) DESC, rule COLLATE \"C\"";

const ALERT_DAYS: &str = "SELECT (raised_at AT TIME ZONE $3)::date - date '1970-01-01',
        count(*) FILTER (WHERE level = 'minor'), count(*) FILTER (WHERE level = 'important'),
        count(*) FILTER (WHERE level = 'major')
    FROM steward._alert WHERE raised_at >= $1 AND raised_at < $2 GROUP BY 1 ORDER BY 1";

const CHECKS: &str = "SELECT s.check_name, count(*), count(*) FILTER (WHERE s.failure IS NOT NULL),
        sum(s.issues) FILTER (WHERE r.last = 1)::bigint, bool_or(r.last = 1)
    FROM (SELECT id, row_number() OVER (ORDER BY ended_at DESC, id DESC) AS last FROM steward._check_run
        WHERE ended_at >= $1 AND ended_at < $2) r JOIN steward._check_result s ON s.run_id = r.id GROUP BY 1 ORDER BY s.check_name COLLATE \"C\"";

/// Of those on which the extension was there: what lies before is said by itself.
const DAYS_WITHOUT_CHECK: &str = "SELECT count(*) FROM generate_series(
        (greatest($1, (SELECT installed_at FROM steward.installation)) AT TIME ZONE $3)::date::timestamp,
        least($2 - interval '1 microsecond', clock_timestamp()) AT TIME ZONE $3, interval '1 day') day
    WHERE NOT EXISTS (SELECT FROM steward._check_run r
        WHERE r.ended_at AT TIME ZONE $3 >= day AND r.ended_at AT TIME ZONE $3 < day + interval '1 day')";

const OVERDUE: &str = "SELECT count(*) FROM steward._operation WHERE review_due < clock_timestamp() AND runs_done > 0
    AND status IN ('executed', 'approved', 'failed', 'armed')";

const OFF_HOURS: &str = "SELECT (extract(epoch FROM from_time) / 60)::int, (extract(epoch FROM to_time) / 60)::int
    FROM steward.alert_rule WHERE name = 'off_hours' AND from_time IS NOT NULL";
/// Manual 5.1, where no rule says otherwise.
const DEFAULT_OFF_HOURS: (u16, u16) = (22 * 60, 7 * 60);

const ARCHIVED: &str = "SELECT first_id, last_id FROM steward.segment
    WHERE to_regclass('steward.chain_' || number) IS NULL AND closed_at >= $1 AND coalesce(first_time, '-infinity') < $2
    ORDER BY first_id";

const BEGAN: &str = "SELECT coalesce((SELECT first_time FROM steward.segment ORDER BY first_id LIMIT 1),
        (SELECT steward._record_time(record) FROM steward.chain ORDER BY id LIMIT 1))";

/// Begin and end of the period; with the zone where days are counted.
fn arguments<'a>(period: Period, zone: bool) -> Outcome<Vec<DatumWithOid<'a>>> {
    let (from, to) = period.bounds()?;
    let mut arguments: Vec<DatumWithOid<'a>> = vec![from.into(), to.into()];
    if zone {
        arguments.push(settings::time_zone().into());
    }
    Ok(arguments)
}

fn rows<T>(
    sql: &str,
    arguments: &[DatumWithOid<'_>],
    of: impl Fn(&SpiHeapTupleData<'_>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    own::run(|client| {
        let mut rows = Vec::new();
        for row in client.select(sql, None, arguments)? {
            rows.push(of(&row)?);
        }
        Ok(rows)
    })
}

fn figure(row: &SpiHeapTupleData<'_>, column: usize) -> Outcome<u64> {
    Ok(row.get::<i64>(column)?.unwrap_or_default().max(0) as u64)
}

fn text(row: &SpiHeapTupleData<'_>, column: usize) -> Outcome<String> {
    Ok(row.get::<String>(column)?.unwrap_or_default())
}

pub fn alerts(period: Period) -> Outcome<Vec<AlertRule>> {
    rows(ALERTS, &arguments(period, false)?, |row| {
        Ok(AlertRule {
            rule: text(row, 1)?,
            level: text(row, 2)?,
            alerts: figure(row, 3)?,
            unanswered: figure(row, 4)?,
            late: figure(row, 5)?,
            open: figure(row, 6)?,
            median: row.get(7)?,
            p95: row.get(8)?,
        })
    })
}

pub fn alert_days(period: Period) -> Outcome<Vec<(i32, [u64; 3])>> {
    rows(ALERT_DAYS, &arguments(period, true)?, |row| {
        Ok((row.get::<i32>(1)?.unwrap_or_default(), [figure(row, 2)?, figure(row, 3)?, figure(row, 4)?]))
    })
}

pub fn checks(period: Period) -> Outcome<Vec<Check>> {
    rows(CHECKS, &arguments(period, false)?, |row| {
        let found = match (row.get::<bool>(5)?, row.get::<i64>(4)?) {
            (Some(true), Some(issues)) => Found::Issues(issues.max(0) as u64),
            (Some(true), None) => Found::NotMade,
            _ => Found::Dropped,
        };
        Ok(Check { name: text(row, 1)?, runs: figure(row, 2)?, failed: figure(row, 3)?, found })
    })
}

pub fn days_without_check(period: Period) -> Outcome<u64> {
    Ok(rows(DAYS_WITHOUT_CHECK, &arguments(period, true)?, |row| figure(row, 1))?.first().copied().unwrap_or(0))
}

pub fn overdue_reviews() -> Outcome<u64> {
    Ok(rows(OVERDUE, &[], |row| figure(row, 1))?.first().copied().unwrap_or(0))
}

pub fn off_hours() -> Outcome<(u16, u16)> {
    let hours = rows(OFF_HOURS, &[], |row| {
        let minute = |column| row.get::<i32>(column).map(|minute| minute.unwrap_or_default().clamp(0, 1440) as u16);
        Ok((minute(1)?, minute(2)?))
    })?;
    Ok(hours.first().copied().unwrap_or(DEFAULT_OFF_HOURS))
}

/// Waits a moment for what is not chained yet. False: it goes on without.
pub fn all_is_chained() -> Outcome<bool> {
    match flush::wait(PATIENCE) {
        Ok(()) => Ok(true),
        Err(fault) if fault.sqlstate() == "55000" => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// The last record that the sequencer is known to have chained.
pub fn chained() -> i64 {
    shared::get().map_or(0, |shared| shared.chained_id.load(SeqCst) as i64)
}

/// The chain, whose end is known already.
pub fn chain(period: Period, complete: bool, head: Option<(i64, String)>, read_from: i64) -> Outcome<Chain> {
    let verified = audit::verify::kept();
    let archived = rows(ARCHIVED, &arguments(period, false)?, |row| {
        Ok((row.get::<i64>(1)?.unwrap_or_default(), row.get::<i64>(2)?.unwrap_or_default()))
    })?;
    let began =
        rows(BEGAN, &[], |row| Ok(row.get::<pgrx::datum::TimestampWithTimeZone>(1)?))?.into_iter().next().flatten();
    Ok(Chain {
        last_id: head.as_ref().map_or(0, |(id, _)| *id),
        head: head.map(|(_, line)| line),
        read_from,
        verified: verified.map(|(id, time)| (id, time.map(Into::into))),
        failed: audit::verify::found(),
        archived,
        began: began.map(Into::into),
        complete,
        active: shared::active(),
        mode: mode().to_owned(),
    })
}

fn mode() -> &'static str {
    match shared::mode() {
        Mode::Off => "off",
        Mode::Observe => "observe",
        Mode::Warn => "warn",
        Mode::Enforce => "enforce",
    }
}
