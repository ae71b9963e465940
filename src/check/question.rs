//! What a check asks by itself: SQL made of the catalog's own quoted names, and parameters. Counts rows, and shows the keys of a few.
//!
//! A user's condition (kind `expression`) never runs as own SQL: it is evaluated with the rights of who set the check,
//! under the policy like any statement, and cannot write.

use super::attempt::attempt;
use super::shape::{Shape, shape, target};
use crate::core::check::{Kind, bounds};
use crate::error::{Fault, Outcome};
use crate::operation::environment::Environment;
use crate::watch::expression;
use crate::{cache, own, session};
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
    relation: pg_sys::Oid,
}

/// Milliseconds that reading a condition may take.
const PARSE_LIMIT: i32 = 60_000;

/// How far ahead of the clock a value may be and still be the newest: zones, and clocks of others.
const AHEAD: &str = "interval '1 day'";

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
                    let (column, type_name) = (&shape.columns[0].name, &shape.columns[0].type_name);
                    // What lies in the future says nothing of now, and is an issue itself. An index serves both questions.
                    let future = format!("{column} > (statement_timestamp() + {AHEAD})::{type_name}");
                    let newest = format!(
                        "SELECT max({column})::timestamptz FROM {name} r WHERE {column} <= (statement_timestamp() + {AHEAD})::{type_name}"
                    );
                    let count = format!(
                        "SELECT (coalesce(({newest}), '-infinity') < clock_timestamp() - $1::interval)::int::bigint
                            + (SELECT count(*) FROM {name} r WHERE {future})"
                    );
                    (count, Some(format!("SELECT {key} FROM {name} r WHERE {future}")))
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
            Ok(Question { count, sample, arguments, asker, relation: check.relation })
        })
    }

    /// Of masks nothing can be said: a condition on them is another condition.
    fn require_clear(&self, asker: pg_sys::Oid) -> Outcome<()> {
        let policy = cache::policy();
        if policy.masks().is_none_or(|masks| masks.of(asker, self.relation).is_none()) {
            return Ok(());
        }
        Err(Fault::wrong_state(format!(
            "role {} sees masks where the condition asks for values",
            session::role_name(asker)
        ))
        .hint("Let somebody set the check who sees the table clear: SELECT steward.set_check(…);"))
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
                self.require_clear(asker)?;
                let _environment = Environment::enter(asker);
                // Ends with the environment's own settings. Rows that the asker may not see are an error, not nothing.
                own::pin(&[(c"transaction_read_only", c"on"), (c"row_security", c"off")]);
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
    require_sense(check)?;
    let question = Question::of(check)?;
    question.ask(&format!("EXPLAIN {}", question.count), |_| Ok(()))
}

/// A parameter that no value could fulfil, or that every one does, is a mistake.
fn require_sense(check: &Check) -> Outcome<()> {
    let parameter = check.parameter.as_deref().unwrap_or_default();
    let senseless =
        |why: &str| Err(Fault::bad_argument(format!("\"{parameter}\" is no parameter for this check")).detail(why));
    match check.kind {
        Kind::Freshness => {
            let positive = "SELECT $1::interval > interval '0'";
            let read = || {
                own::run(|client| Ok(own::select(client, positive, &[parameter.into()])?.first().get_one::<bool>()?))
            };
            match attempt(PARSE_LIMIT, read) {
                Ok(Some(true)) => Ok(()),
                Ok(_) => senseless("An interval longer than nothing is wanted, as in '1 day'."),
                Err(reason) => senseless(&format!("{reason}.")),
            }
        }
        Kind::Range => {
            let Some((Some(low), Some(high))) = bounds(parameter) else { return Ok(()) };
            let in_order = own::run(|client| {
                let shape = shape(client, check.relation, &check.columns)?;
                let type_name = shape.columns.first().map(|column| column.type_name.clone()).unwrap_or_default();
                let in_order = format!("SELECT $1::{type_name} <= $2::{type_name}");
                Ok(own::select(client, &in_order, &[low.into(), high.into()])?.first().get_one::<bool>()?)
            })?;
            if in_order == Some(true) { Ok(()) } else { senseless("The lower bound stands first, as in 0..100.") }
        }
        _ => Ok(()),
    }
}
