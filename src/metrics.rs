//! `steward.metrics`: the state of the server in numbers, cheap enough to be asked every few seconds. Never here: a name of
//! a person, login or table, or anything of a statement: whoever watches the machine may read it.

use crate::audit::status;
use crate::core::metrics::{Subject, Window};
use crate::core::record::{Field, Outcome as Ending, Value, find_field, find_in_body};
use crate::error::{Outcome, answer};
use crate::settings::Mode;
use crate::{own, raw, shared};
use pgrx::JsonB;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Value as Json, json};
use std::collections::HashMap;

/// Records that are read at most, however many there were in the last minutes.
const NEWEST: i64 = 10_000;
/// How old they may be, microseconds.
const WINDOW: i64 = 5 * 60 * 1_000_000;

/// A name, a value and what distinguishes it from others of the name.
type Metric = (String, f64, Json);

#[pg_extern(sql = false)]
fn _metrics() -> TableIterator<'static, (name!(name, String), name!(value, f64), name!(labels, JsonB))> {
    let metrics = answer(status::require_view("metrics").and_then(|()| collect()));
    TableIterator::new(metrics.into_iter().map(|(name, value, labels)| (name, value, JsonB(labels))))
}

fn collect() -> Outcome<Vec<Metric>> {
    let mut metrics = Vec::new();
    let last_id = trail(&mut metrics)?;
    own::run(|client| {
        of_tables(client, &mut metrics)?;
        // Safe: reads the clock.
        let now = unsafe { raw::GetCurrentTimestamp() };
        of_window(&mut window(client, last_id, now)?, now, &mut metrics);
        Ok(metrics)
    })
}

fn plain(name: &str, value: f64) -> Metric {
    (name.to_owned(), value, json!({}))
}

/// The audit trail: is it alive, how far is it. Returns the id of the last record.
fn trail(metrics: &mut Vec<Metric>) -> Outcome<i64> {
    let (alive, _, lag, last_id, chained_at, journal, files, bytes, pending, lost, verified, verified_at, failed) =
        status::measure()?;
    // Safe: reads the clock.
    let now = unsafe { raw::GetCurrentTimestamp() };
    let age = |time: Option<TimestampWithTimeZone>| {
        time.map_or(f64::NAN, |time| (now - pg_sys::TimestampTz::from(time)) as f64 / 1e6)
    };
    metrics.extend([
        plain("policy_active", f64::from(shared::active())),
        plain("policy_enforced", f64::from(shared::active() && shared::mode() == Mode::Enforce)),
        plain("sequencer_up", f64::from(alive)),
        plain("chain_lag_seconds", lag.map_or(f64::NAN, |lag| lag.as_micros() as f64 / 1e6)),
        plain("chain_last_id", last_id.unwrap_or(0) as f64),
        plain("chain_last_age_seconds", age(chained_at)),
        plain("journal_bytes", journal as f64),
        plain("spool_files", f64::from(files)),
        plain("spool_bytes", bytes as f64),
        plain("spool_pending_bytes", pending as f64),
        plain("lost_records", lost as f64),
        plain("verified_last_id", verified.unwrap_or(0) as f64),
        plain("verified_age_seconds", age(verified_at)),
        plain("verification_failed", f64::from(failed.is_some())),
    ]);
    Ok(last_id.unwrap_or(0))
}

/// Name, value, label and its value, of what stands in tables and views of the server.
const TABLES: &str = "
    SELECT 'reviews_open', count(*)::float8, NULL, NULL FROM steward._operation
        WHERE status IN ('executed', 'approved', 'failed') AND runs_done > 0 AND review_due IS NOT NULL
    UNION ALL SELECT 'reviews_overdue', count(*), NULL, NULL FROM steward._operation
        WHERE status IN ('executed', 'approved', 'failed') AND runs_done > 0 AND review_due < clock_timestamp()
    UNION ALL SELECT 'operations', count(o.op_no), 'status', s FROM unnest(ARRAY['submitted', 'approved', 'armed', 'executed',
            'closed', 'rejected', 'cancelled', 'expired', 'failed']) s
        LEFT JOIN LATERAL (SELECT op_no, CASE WHEN status IN ('submitted', 'approved', 'failed') AND not_after <= clock_timestamp()
                AND runs_done = 0 THEN 'expired' ELSE status END AS status FROM steward._operation
            WHERE origin = 'request' AND created_at > clock_timestamp() - interval '30 days' OFFSET 0) o ON o.status = s GROUP BY s
    UNION ALL SELECT 'approval_seconds', coalesce(percentile_cont(q) WITHIN GROUP (ORDER BY took), 'NaN'), 'quantile', q::text
        FROM (VALUES (0.5), (0.95)) quantile (q) LEFT JOIN (SELECT extract(epoch FROM max(e.at) - o.created_at)::float8 AS took
            FROM steward._operation o JOIN steward._operation_event e ON e.op_no = o.op_no AND e.event = 'APPROVE'
            WHERE o.origin = 'request' AND o.created_at > clock_timestamp() - interval '30 days' AND o.status <> 'submitted'
            GROUP BY o.op_no) approved ON true GROUP BY q
    UNION ALL SELECT 'alerts_open', count(a.level), 'level', l FROM unnest(ARRAY['minor', 'important', 'major']) l
        LEFT JOIN steward._alert a ON a.level = l AND a.closed_at IS NULL GROUP BY l
    UNION ALL SELECT 'alerts_unacknowledged', count(*), NULL, NULL FROM steward._alert
        WHERE acknowledged_at IS NULL AND raised_at < clock_timestamp() - interval '15 minutes'
    UNION ALL SELECT 'job_age_seconds', coalesce(extract(epoch FROM clock_timestamp() - last_success), 'NaN'), 'job', name
        FROM steward.job_state
    UNION ALL SELECT 'job_overdue', overdue::int, 'job', name FROM steward.job_state
    UNION ALL SELECT 'job_failed', (last_error IS NOT NULL)::int, 'job', name FROM steward.job_state
    UNION ALL SELECT 'check_issues_open', count(*), NULL, NULL FROM steward._integrity_issue WHERE status = 'open'
    UNION ALL SELECT 'replication_standbys', count(*), NULL, NULL FROM pg_stat_replication WHERE state = 'streaming'
    UNION ALL SELECT 'replication_lag_seconds', coalesce(extract(epoch FROM max(replay_lag)), 0), NULL, NULL FROM pg_stat_replication
    UNION ALL SELECT 'server_uptime_seconds', extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()), NULL, NULL";

fn of_tables(client: &mut SpiClient<'_>, metrics: &mut Vec<Metric>) -> Outcome<()> {
    for row in own::select(client, TABLES, &[])? {
        let text = |column: usize| row.get::<String>(column);
        let labels = match (text(3)?, text(4)?) {
            (Some(label), Some(value)) => json!({ label: value }),
            _ => json!({}),
        };
        metrics.push((text(1)?.unwrap_or_default(), row.get(2)?.unwrap_or(f64::NAN), labels));
    }
    Ok(())
}

/// The newest records. The segments of the chain lie in the order of ids, so that no other is read.
fn window(client: &mut SpiClient<'_>, last_id: i64, now: i64) -> Outcome<Window> {
    own::pin(&own::BY_ID);
    let newest = "SELECT record FROM steward.chain WHERE id > $1";
    let mut records: Vec<Vec<u8>> = Vec::new();
    for row in own::select(client, newest, &[(last_id - NEWEST).into()])? {
        records.extend(row.get::<Vec<u8>>(1)?);
    }
    let mut known: HashMap<i64, Option<String>> = HashMap::new();
    let mut unread = None;
    let mut window = Window::since(now - WINDOW);
    for record in &records {
        window.see(record, &mut |id| {
            known
                .entry(id)
                .or_insert_with(|| {
                    defined(client, id).unwrap_or_else(|fault| {
                        unread = Some(fault);
                        None
                    })
                })
                .clone()
        });
    }
    unread.map_or(Ok(window), Err)
}

/// What the records that refer to this definition are about.
fn defined(client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<String>> {
    let definition = own::select(client, "SELECT record FROM steward.chain WHERE id = $1", &[id.into()])?.first();
    if definition.is_empty() {
        return Ok(None);
    }
    let definition = definition.get_one::<Vec<u8>>()?.unwrap_or_default();
    let Ok(Some(Value::Bytes(body))) = find_field(&definition, Field::Body) else { return Ok(None) };
    match find_in_body(body, Field::OperationType) {
        Ok(Some(Value::Text(text))) => Ok(Some(text.to_owned())),
        _ => Ok(None),
    }
}

fn of_window(window: &mut Window, now: i64, metrics: &mut Vec<Metric>) {
    for (subject, name) in
        [(Subject::Statement, "statement"), (Subject::Execution, "execution"), (Subject::Login, "login")]
    {
        metrics.push(("success_ratio".to_owned(), window.success(subject), json!({ "subject": name })));
        for ending in Ending::ALL {
            let labels = json!({ "subject": name, "result": ending.name() });
            metrics.push(("recent_records".to_owned(), window.count(subject, *ending) as f64, labels));
        }
    }
    for share in [0.5, 0.95] {
        let labels = json!({ "quantile": share.to_string() });
        metrics.push(("response_seconds".to_owned(), window.duration(share), labels));
    }
    metrics.extend([
        plain("abnormal_operations", window.abnormal() as f64),
        plain("window_records", window.records() as f64),
        plain("window_seconds", window.span(now) as f64 / 1e6),
    ]);
}
