//! What a check asks by itself: SQL made of the catalog's own quoted names, and parameters. Counts rows, and shows the keys of a few.
//!
//! A user's condition (kind `expression`) never runs as own SQL: it is evaluated with the rights of who set the check,
//! under the policy like any statement, and cannot write.

use super::attempt::attempt;
use super::shape::{Shape, shape, target};
use crate::core::check::{Kind, bounds};
use crate::error::{Fault, Outcome};
use crate::operation::environment::Environment;
use crate::own;
use crate::watch::expression;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// A row of `steward.integrity_check`.
#[derive(Clone)]
pub struct Check {
    pub name: String,
    pub relation: pg_sys::Oid,
    pub kind: Kind,
    pub kind_name: String,
    pub columns: Vec<String>,
    pub parameter: Option<String>,
    pub owner: pg_sys::Oid,
}

/// Queries of one check. Arguments are text.
pub struct Question {
    /// How many issues.
    count: String,
    /// The keys of some of the rows concerned, as text.
    sample: Option<String>,
    arguments: Vec<String>,
    /// As whom it is asked; None: as own SQL.
    asker: Option<pg_sys::Oid>,
}

/// Milliseconds that reading a condition may take.
const PARSE_LIMIT: i32 = 60_000;

/// Keys shown of an issue.
pub const SAMPLE: usize = 5;

/// The text of a condition that is true for rows which are issues.
pub fn bad(client: &mut SpiClient<'_>, check: &Check, shape: &Shape, arguments: &mut Vec<String>) -> Outcome<String> {
    let parameter = check.parameter.as_deref().unwrap_or_default();
    let mut argument = |value: &str| {
        arguments.push(value.to_owned());
        format!("${}", arguments.len())
    };
    let (column, type_name) = shape
        .columns
        .first()
        .map(|column| (&column.name, &column.type_name))
        .ok_or_else(|| Fault::internal("a check without columns"))?;
    Ok(match check.kind {
        Kind::Format => format!("NOT steward._matches({column}::text, {})", argument(parameter)),
        Kind::Checksum => format!("NOT steward._has_check_digit({column}::text, {})", argument(parameter)),
        Kind::Range => {
            let (low, high) = bounds(parameter).ok_or_else(|| Fault::bad_argument("a range is low..high"))?;
            let low = low.map(|low| format!("{column} < {}::{type_name}", argument(low)));
            let high = high.map(|high| format!("{column} > {}::{type_name}", argument(high)));
            low.into_iter().chain(high).collect::<Vec<_>>().join(" OR ")
        }
        Kind::Reference => {
            let target = target(client, parameter)?;
            if target.columns.len() != shape.columns.len() {
                return Err(Fault::bad_argument("a reference needs as many columns on both sides"));
            }
            let equal = shape.columns.iter().zip(&target.columns).map(|(ours, theirs)| {
                // Both sides were made with the alias r.
                format!("t{} = {}", &theirs.name[1..], ours.name)
            });
            format!(
                "{} AND NOT EXISTS (SELECT FROM {} t WHERE {})",
                shape.present(),
                target.name,
                equal.collect::<Vec<_>>().join(" AND ")
            )
        }
        // On a line of its own: it may end in a comment.
        Kind::Expression => format!("NOT ({parameter}\n)"),
        Kind::Unique | Kind::Freshness => return Err(Fault::internal("no check of single rows")),
    })
}

impl Question {
    /// The question of one check.
    pub fn of(check: &Check) -> Outcome<Question> {
        own::run(|client| {
            let shape = shape(client, check.relation, &check.columns)?;
            let (name, key) = (&shape.name, &shape.key);
            let mut arguments = Vec::new();
            let (count, sample) = match check.kind {
                Kind::Unique => (shape.doubles(false), None),
                Kind::Freshness => {
                    arguments.push(check.parameter.clone().unwrap_or_default());
                    let column = &shape.columns[0].name;
                    let newest = format!("coalesce(max({column})::timestamptz, '-infinity')");
                    (format!("SELECT ({newest} < clock_timestamp() - $1::interval)::int::bigint FROM {name} r"), None)
                }
                _ => {
                    let bad = bad(client, check, &shape, &mut arguments)?;
                    (
                        format!("SELECT count(*) FROM {name} r WHERE {bad}"),
                        Some(format!("SELECT {key} FROM {name} r WHERE {bad}")),
                    )
                }
            };
            let asker = (check.kind == Kind::Expression).then_some(check.owner);
            Ok(Question { count, sample, arguments, asker })
        })
    }

    /// How many issues there are.
    pub fn count(&self) -> Outcome<i64> {
        self.ask(&self.count, |rows| Ok(rows.first().get::<i64>(1)?.unwrap_or(0)))
    }

    /// Keys of some of the rows concerned.
    pub fn sample(&self) -> Outcome<Vec<String>> {
        let Some(sample) = &self.sample else { return Ok(Vec::new()) };
        self.ask(&format!("{sample} LIMIT {SAMPLE}"), |rows| {
            rows.map(|row| Ok(row.get::<String>(1)?.unwrap_or_else(|| "NULL".to_owned()))).collect()
        })
    }

    fn ask<T>(&self, query: &str, read: impl FnOnce(pgrx::spi::SpiTupleTable<'_>) -> Outcome<T>) -> Outcome<T> {
        let arguments: Vec<DatumWithOid<'_>> = self.arguments.iter().map(|text| text.as_str().into()).collect();
        match self.asker {
            None => {
                own::require_hooks()?;
                own::run(|client| read(own::select(client, query, &arguments)?))
            }
            Some(asker) => {
                let _environment = Environment::enter(asker);
                // Ends with the environment's own settings.
                own::pin(&[(c"transaction_read_only", c"on")]);
                Spi::connect(|client| read(client.select(query, None, &arguments)?))
            }
        }
    }
}

/// Plans what a new check would read: what PostgreSQL has against it is said now, not in the night.
pub fn try_out(check: &Check) -> Outcome<()> {
    if check.kind == Kind::Expression {
        let condition = check.parameter.as_deref().unwrap_or_default();
        // A syntax error would point into the caller's statement, where that place is something else.
        attempt(PARSE_LIMIT, || expression::require_single(condition)).map_err(|reason| {
            Fault::bad_argument("the condition is not a single expression").detail(format!("{reason}."))
        })?;
    }
    let question = Question::of(check)?;
    question.ask(&format!("EXPLAIN {}", question.count), |_| Ok(()))
}
