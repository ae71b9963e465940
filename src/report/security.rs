//! `steward.security_report`: gathered, rendered, and its digest put on record before it is handed out.

use super::period::Period;
use super::{SECURITY, gather, genuine, record_reading, records, require};
use crate::core::report::security::{Material, document};
use crate::core::report::words::Language;
use crate::core::report::{html, markdown};
use crate::error::{Fault, Outcome, answer};
use crate::session;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::json;

#[pg_extern(sql = false)]
fn security_report(
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
    format: Option<&str>,
    language: Option<&str>,
) -> String {
    answer((|| {
        require("security_report", &["audit", "configure"])?;
        let period = Period::of("security_report", from_time, to_time)?;
        let render = match format {
            Some("markdown") => markdown::text,
            Some("html") => html::page,
            _ => return Err(Fault::bad_argument("the format of a report is markdown or html")),
        };
        let language = language.and_then(Language::from_code);
        let language = language.ok_or_else(|| Fault::bad_argument("the language of a report is zh or en"))?;
        let material = material(period, language)?;
        let report = render(&document(&material));
        let (from, to) = (material.from, material.to);
        let shown = |time| material.zone.shown(time);
        let details = json!({
            "sha256": genuine::digest(&report), "from": shown(from), "to": shown(to), "format": format,
            "language": language.code(), "after": material.chain.last_id,
        });
        record_reading(SECURITY, Vec::new(), &details);
        Ok(report)
    })())
}

/// All that is read while it lives is of one moment: now, not when the statement began.
struct Newest;

impl Newest {
    fn take() -> Newest {
        // Safe: inside a transaction; popped below, or by the abort.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
        Newest
    }
}

impl Drop for Newest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Safe: what `take` has pushed.
            unsafe { pg_sys::PopActiveSnapshot() }
        }
    }
}

fn material(period: Period, language: Language) -> Outcome<Material> {
    let waited = gather::all_is_chained()?;
    let _now = Newest::take();
    let head = records::head()?;
    // A snapshot of a transaction that began earlier shows less.
    let complete = waited && head.as_ref().map_or(0, |(id, _)| *id) >= gather::chained();
    let (zone, off_hours) = (period.zone()?, gather::off_hours()?);
    let last = head.as_ref().map_or(0, |(id, _)| *id);
    let counted = records::count(period, last, &zone, off_hours)?;
    Ok(Material {
        language,
        database: session::database().unwrap_or_default(),
        made_by: session::person().map_or_else(session::login_name, |person| person.name.clone()),
        made_at: records::now(),
        from: period.from,
        to: period.to,
        zone,
        off_hours,
        figures: counted.figures,
        alerts: gather::alerts(period)?,
        alert_days: gather::alert_days(period)?,
        checks: gather::checks(period)?,
        days_without_check: gather::days_without_check(period)?,
        overdue_reviews: gather::overdue_reviews()?,
        chain: gather::chain(period, complete, head, counted.read_from)?,
    })
}
