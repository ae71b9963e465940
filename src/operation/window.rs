//! Maintenance windows: when an operation may begin to run. By the server's clock at the moment of the call, in
//! `steward.time_zone`, never by the session's zone or the transaction's beginning.

use super::Operation;
use crate::cache;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::person::{one_text, texts};
use crate::watch::named_rule::Closed;
use crate::{own, settings};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

/// A tier or rule none of whose windows is open in a span of time.
struct Shut {
    /// `critical` or `rule "bulk_write"`.
    of: String,
    rule: Option<String>,
    /// When the next one opens, for people.
    opens: String,
}

/// A window recurs every week, so nine days hold its next opening and the one that may still last.
const SHUT: &str = "WITH span AS (SELECT CASE WHEN isfinite($3::timestamptz) THEN greatest($3, clock_timestamp()) ELSE clock_timestamp() END AS since,
        greatest($4::timestamptz, clock_timestamp()) AS until),
    concerned AS (SELECT w.*, coalesce('rule \"' || w.rule || '\"', w.tier::text) AS target
        FROM steward.maintenance_window w WHERE w.tier <= $1::steward.tier OR w.rule = ANY ($2)),
    term AS (SELECT c.target, c.rule, (day + c.from_time) AT TIME ZONE $5 AS opens,
            (day + c.to_time + CASE WHEN c.to_time < c.from_time THEN interval '1 day' ELSE interval '0' END) AT TIME ZONE $5 AS closes
        FROM concerned c, span, generate_series(-1, 8) n, LATERAL (SELECT (since AT TIME ZONE $5)::date + n) AS d(day)
        WHERE extract(isodow FROM day)::int = ANY (c.days))
    SELECT t.target, t.rule, to_char(min(t.opens) FILTER (WHERE t.opens > since) AT TIME ZONE $5, 'YYYY-MM-DD HH24:MI:SS ') || $5
    FROM term t, span GROUP BY t.target, t.rule HAVING NOT bool_or(t.opens <= until AND t.closes > since) ORDER BY 1";

/// What is shut all through a span; None: at this moment.
fn shut(
    tier: Option<Tier>,
    rules: &[String],
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
) -> Outcome<Vec<Shut>> {
    let tier = tier.map(|tier| tier.name().to_owned());
    let arguments: [DatumWithOid<'_>; 5] =
        [tier.into(), rules.to_vec().into(), since.into(), until.into(), settings::time_zone().into()];
    own::run(|client| {
        let mut found = Vec::new();
        for row in own::query(client, SHUT, &arguments)? {
            let (of, opens) = (row.get(1)?.unwrap_or_default(), row.get(3)?.unwrap_or_default());
            found.push(Shut { of, rule: row.get(2)?, opens });
        }
        Ok(found)
    })
}

impl Shut {
    fn next(&self) -> String {
        format!("The maintenance window of {} opens next at {}.", self.of, self.opens)
    }
}

/// Refuses a request whose term reaches into no window: it could never run.
pub fn check_term(
    tier: Tier,
    rules: &[String],
    not_before: Option<TimestampWithTimeZone>,
    not_after: Option<TimestampWithTimeZone>,
) -> Outcome<()> {
    match shut(Some(tier), rules, not_before, not_after)?.first() {
        None => Ok(()),
        Some(shut) => Err(Fault::wrong_state("the term reaches into no maintenance window")
            .detail(shut.next())
            .hint("Choose another not_before and not_after: SELECT * FROM steward.maintenance_window;")),
    }
}

/// Refuses a run outside the windows of its tier and of the rules that match it.
pub fn check_open(operation: &Operation, rules: &[String]) -> Outcome<()> {
    match shut(Some(operation.tier), rules, None, None)?.first() {
        None => Ok(()),
        Some(shut) => Err(Fault::wrong_state(format!("{} is outside its maintenance window", operation.op_no))
            .detail(shut.next())
            .hint(format!("Then: SELECT * FROM steward.execute('{}');", operation.op_no))),
    }
}

/// The windows as they are set: a run that has begun is finished, but not against windows that were set since.
pub fn edition() -> Outcome<String> {
    let windows =
        "SELECT coalesce(md5(string_agg(w::text, ' ' ORDER BY w::text)), '') FROM steward.maintenance_window w";
    own::run(|client| Ok(one_text(client, windows, &[])?.unwrap_or_default()))
}

/// Rules whose windows are shut now: what they match is closed to a run, however it was hidden.
pub fn shut_rules(operation: &Operation) -> Outcome<Vec<Closed>> {
    let named = "SELECT DISTINCT rule FROM steward.maintenance_window WHERE rule IS NOT NULL";
    let named = own::run(|client| texts(client, named, &[]))?;
    let policy = cache::policy();
    let reached: Vec<String> = named.into_iter().filter(|rule| !operation.stays_below(&policy, rule)).collect();
    let closed = |shut: Shut| {
        let why = shut.next();
        shut.rule.map(|rule| Closed { rule, why })
    };
    Ok(shut(None, &reached, None, None)?.into_iter().filter_map(closed).collect())
}
