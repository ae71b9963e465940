//! What a check reads: SQL made of the catalog's own quoted names, and parameters. Counts rows, and shows the keys of a few.
//!
//! A user's condition (kind `expression`) never runs as own SQL: it is evaluated with the rights of who set the check,
//! under the policy like any statement, and cannot write.

use super::attempt::attempt;
use crate::core::check::{Kind, bounds};
use crate::error::{Fault, Outcome};
use crate::operation::environment::Environment;
use crate::own;
use crate::person::{one_text, texts};
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

/// Queries of one check or of several that share a pass over their table. Arguments are text.
pub struct Question {
    /// One column for each check: how many issues.
    pub count: String,
    /// The keys of some of the rows concerned, as text; for a single check only.
    pub sample: Option<String>,
    arguments: Vec<String>,
    /// As whom it is asked; None: as own SQL.
    asker: Option<pg_sys::Oid>,
}

/// Milliseconds that reading a condition may take.
const PARSE_LIMIT: i32 = 60_000;

/// Keys shown of an issue.
pub const SAMPLE: usize = 5;

/// A table as the catalog describes it, names quoted.
struct Shape {
    name: String,
    columns: Vec<(String, String)>,
    /// Text that names a row `r`; values of classed columns are hidden.
    key: String,
}

/// A column by its name. Its type is the one beneath all domains, and must be the server's own: what a type of
/// somebody else's runs when it is read, cast or compared must not run as own SQL.
const COLUMNS: &str = "WITH RECURSIVE base(type, under) AS (
        SELECT oid, oid FROM pg_type UNION ALL SELECT b.type, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.under WHERE t.typtype = 'd')
    SELECT quote_ident(a.attname), CASE WHEN t.oid < 16384 THEN format_type(t.oid, NULL) END, w.name
    FROM unnest($2::text[]) WITH ORDINALITY w(name, n)
    LEFT JOIN pg_attribute a ON a.attrelid = $1::oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN base b ON b.type = a.atttypid LEFT JOIN pg_type t ON t.oid = b.under
    WHERE t.typtype IS DISTINCT FROM 'd' ORDER BY w.n";
const KEY: &str = "SELECT string_agg(CASE WHEN l.label IS NULL AND a.atttypid < 16384
            THEN format('r.%I::text', a.attname) ELSE '''***''' END, ' || '','' || ' ORDER BY k.n)
    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, n)
    JOIN pg_attribute a ON a.attnum = k.attnum
    LEFT JOIN pg_seclabel l ON l.objoid = a.attrelid AND l.classoid = 'pg_class'::regclass AND l.objsubid = a.attnum
        AND l.provider = 'pg_steward'
    WHERE i.indrelid = $1::oid AND i.indisprimary AND a.attrelid = i.indrelid";

fn shape(client: &mut SpiClient<'_>, relation: pg_sys::Oid, columns: &[String]) -> Outcome<Shape> {
    let name =
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = $1::oid AND c.relkind IN ('r', 'p') AND n.nspname NOT IN ('steward', 'pg_catalog', 'pg_toast')";
    let name = one_text(client, name, &[relation.into()])?.ok_or_else(|| {
        Fault::wrong_object(
            "a check is about a table or a partitioned table, and none of the policy's or the server's own",
        )
    })?;
    let mut found = Vec::new();
    for row in own::select(client, COLUMNS, &[relation.into(), columns.to_vec().into()])? {
        let missing = || {
            Fault::unknown(format!("{name} has no such column"))
                .detail(format!("Columns asked for: {}.", columns.join(", ")))
        };
        let column = row.get::<String>(1)?.ok_or_else(missing)?;
        let foreign = || {
            Fault::unsupported(format!("column {column} of {name} has a type of somebody else's"))
                .hint("A check of kind expression is evaluated with the rights of who sets it.")
        };
        found.push((format!("r.{column}"), row.get::<String>(2)?.ok_or_else(foreign)?));
    }
    let key = one_text(client, KEY, &[relation.into()])?.unwrap_or_else(|| "r.ctid::text".to_owned());
    Ok(Shape { name, columns: found, key })
}

/// The text of a condition that is true for rows which are issues.
fn bad(client: &mut SpiClient<'_>, check: &Check, shape: &Shape, arguments: &mut Vec<String>) -> Outcome<String> {
    let parameter = check.parameter.as_deref().unwrap_or_default();
    let mut argument = |value: &str| {
        arguments.push(value.to_owned());
        format!("${}", arguments.len())
    };
    let (column, type_name) = shape.columns.first().ok_or_else(|| Fault::internal("a check without columns"))?;
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
            let present = shape.columns.iter().map(|(column, _)| format!("{column} IS NOT NULL"));
            let equal = shape.columns.iter().zip(&target.columns).map(|((ours, _), (theirs, _))| {
                // Both sides were made with the alias r.
                format!("t{} = {ours}", &theirs[1..])
            });
            format!(
                "{} AND NOT EXISTS (SELECT FROM {} t WHERE {})",
                present.collect::<Vec<_>>().join(" AND "),
                target.name,
                equal.collect::<Vec<_>>().join(" AND ")
            )
        }
        // On a line of its own: it may end in a comment.
        Kind::Expression => format!("NOT ({parameter}\n)"),
        Kind::Unique | Kind::Freshness => return Err(Fault::internal("no check of single rows")),
    })
}

/// The table and columns of `schema.table(column, …)`.
fn target(client: &mut SpiClient<'_>, parameter: &str) -> Outcome<Shape> {
    let wrong = || Fault::bad_argument("a reference reads schema.table(column, …)");
    let (table, columns) =
        parameter.trim().strip_suffix(')').and_then(|text| text.split_once('(')).ok_or_else(wrong)?;
    let oid = one_text(client, "SELECT to_regclass($1)::oid::text", &[table.trim().into()])?;
    let oid = oid.and_then(|oid| oid.parse::<u32>().ok());
    let oid = oid.ok_or_else(|| Fault::unknown(format!("there is no table {}", table.trim())))?;
    let names = "SELECT (parse_ident(w.name))[1] FROM unnest($1::text[]) WITH ORDINALITY w(name, n) ORDER BY n";
    let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
    let columns = texts(client, names, &[columns.into()])?;
    shape(client, pg_sys::Oid::from(oid), &columns)
}

impl Question {
    /// The question of one check.
    pub fn of(check: &Check) -> Outcome<Question> {
        own::run(|client| {
            let shape = shape(client, check.relation, &check.columns)?;
            let (name, key) = (&shape.name, &shape.key);
            let mut arguments = Vec::new();
            let (count, sample) = match check.kind {
                Kind::Unique => {
                    let columns: Vec<&str> = shape.columns.iter().map(|(column, _)| column.as_str()).collect();
                    let present = columns.iter().map(|column| format!("{column} IS NOT NULL"));
                    let groups = format!(
                        "FROM {name} r WHERE {} GROUP BY {} HAVING count(*) > 1",
                        present.collect::<Vec<_>>().join(" AND "),
                        columns.join(", ")
                    );
                    (
                        format!("SELECT coalesce(sum(d.n), 0)::bigint FROM (SELECT count(*) AS n {groups}) d"),
                        Some(format!("SELECT array_to_string((array_agg({key} ORDER BY {key}))[1:3], ' = ') {groups}")),
                    )
                }
                Kind::Freshness => {
                    arguments.push(check.parameter.clone().unwrap_or_default());
                    let column = &shape.columns[0].0;
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

    /// One pass over a table for several checks of single rows.
    pub fn of_many(checks: &[&Check]) -> Outcome<Question> {
        own::run(|client| {
            let mut arguments = Vec::new();
            let mut counts = Vec::new();
            let mut name = String::new();
            for check in checks {
                let shape = shape(client, check.relation, &check.columns)?;
                let bad = bad(client, check, &shape, &mut arguments)?;
                counts.push(format!("count(*) FILTER (WHERE {bad})"));
                name = shape.name;
            }
            let count = format!("SELECT {} FROM {name} r", counts.join(", "));
            Ok(Question { count, sample: None, arguments, asker: None })
        })
    }

    /// How many issues each of its checks has.
    pub fn counts(&self) -> Outcome<Vec<i64>> {
        self.ask(&self.count, |rows| {
            let row = rows.first();
            let columns = row.columns()?;
            (1..=columns).map(|column| Ok(row.get::<i64>(column)?.unwrap_or(0))).collect()
        })
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
            None => own::run(|client| read(own::select(client, query, &arguments)?)),
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
