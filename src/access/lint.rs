//! Ways around masks, scopes and privileges, as the catalog stands now. The questions are in `lint.sql`; values of
//! columns without a class are looked at here, since each table is a query of its own.

use super::accepted::{self, Acceptance, Way};
use super::{Texts, require_insight, texts};
use crate::check::attempt::look;
use crate::core::job::without_quoted;
use crate::error::{Outcome, answer};
use crate::{own, preload};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// Values of a column that are looked at.
const VALUES: i32 = 1000;

/// What values of a class look like: of this share of them, in percent, a column is believed to hold the class.
const SHARE: i32 = 60;
const LOOKS: [(&str, &str); 4] = [
    ("id_card", r"^\s*[1-9]\d{5}(18|19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])\d{3}[\dXx]\s*$"),
    ("phone", r"^\s*(\+?86|0086)?[ -]?1[3-9]\d{9}\s*$"),
    ("email", r"^\s*[^@\s]+@[^@\s]+\.[A-Za-z]{2,}\s*$"),
    ("bank_card", r"^\s*(62|4\d|5[1-5])\d{2}([ -]?\d{4}){2,3}([ -]?\d{1,3})?\s*$"),
];

/// How long a table may hold up the others, in milliseconds: by its lock, and by what it takes to read it.
const LOCK: &CStr = c"1s";
const READING: i32 = 60_000;
/// For all tables: what is left then is told too, within the time of the check.
const ALL: Duration = Duration::from_secs(8 * 60);
/// The kind of a table that could not be looked into.
const NOT_LOOKED_AT: &str = "not_looked_at";

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn lint(
    sample: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(kind, String),
        name!(object, String),
        name!(role_id, Option<String>),
        name!(why, String),
        name!(command, Option<String>),
        name!(accepted_by, Option<String>),
        name!(accepted_until, Option<TimestampWithTimeZone>),
        name!(accepted_reason, Option<String>),
    ),
> {
    let found = answer(findings(sample == Some(true)));
    TableIterator::new(found.into_iter().map(|Way { kind, object, role, why, command, accepted }| {
        let (by, until, reason) = Acceptance::columns(accepted);
        (kind, object, role, why, command, by, until, reason)
    }))
}

fn findings(sample: bool) -> Outcome<Vec<Way>> {
    require_insight("lint")?;
    own::run(|client| {
        let found = every(client, sample)?;
        accepted::mark(client, found)
    })
}

/// Every way around, by the catalog and, if asked for, by values.
pub fn every(client: &mut SpiClient<'_>, sample: bool) -> Outcome<Vec<Way>> {
    let mut found = texts(client, include_str!("lint.sql"), &[])?;
    found.extend(preload::later().iter().map(|library| preloaded_later(library)));
    if sample {
        found.extend(look_alike_values(client)?);
    }
    Ok(found.into_iter().map(Way::of_texts).collect())
}

/// Kinds that are about columns which look as if they needed a class.
const UNLABELLED: [&str; 5] = ["look_alike", "look_alike_values", NOT_LOOKED_AT, "copy", "foreign_table"];

/// For the daily check, whoever may call it, what nobody has accepted: columns that look as if they needed a class, by
/// name or by values, or all other ways around.
pub fn ways_around(client: &mut SpiClient<'_>, unlabelled: bool) -> Outcome<Vec<String>> {
    let found = every(client, unlabelled)?.into_iter();
    let mut found: Vec<Way> = found.filter(|way| UNLABELLED.contains(&way.kind.as_str()) == unlabelled).collect();
    // A case keeps a few only: what nobody could look at first.
    found.sort_by_key(|way| way.kind != NOT_LOOKED_AT);
    let ways = accepted::mark(client, found)?;
    Ok(ways.iter().filter(|way| way.accepted.is_none()).map(Way::told).collect())
}

/// Table and column, quoted, of what has no class and may hold any: tables of users, types of the server alone, whose
/// text is made by nobody's code.
const COLUMNS: &str = "SELECT a.attrelid::regclass::text, quote_ident(a.attname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname NOT IN ('steward', 'pg_catalog', 'information_schema')
        AND a.attnum > 0 AND NOT a.attisdropped
        AND a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'int8'::regtype, 'numeric'::regtype)
        AND NOT EXISTS (SELECT FROM steward._class k WHERE (k.relation, k.attnum) = (a.attrelid, a.attnum))
    ORDER BY 1, a.attnum";

/// A table that is locked or cannot be read costs itself only.
fn look_alike_values(client: &mut SpiClient<'_>) -> Outcome<Vec<Texts<5>>> {
    own::require_hooks()?;
    let (mut found, began) = (Vec::new(), Instant::now());
    let columns: Vec<(String, String)> = texts(client, COLUMNS, &[])?
        .into_iter()
        .map(|[table, column]| (table.unwrap_or_default(), column.unwrap_or_default()))
        .collect();
    for of_one_table in columns.chunk_by(|(one, _), (other, _)| one == other) {
        let table = &of_one_table[0].0;
        if began.elapsed() > ALL {
            found.push(not_looked_at(table, "no time was left"));
            continue;
        }
        let looked = look(READING, || {
            own::run(|client| {
                own::pin(&[(c"lock_timeout", LOCK)]);
                of_one_table.iter().map(|(table, column)| looks_like(client, table, column)).collect()
            })
        });
        found
            .extend(looked.map_or_else(|failure| vec![not_looked_at(table, &failure)], |looks: Vec<_>| looks.concat()));
    }
    Ok(found)
}

/// The classes that values of a column look like. Both names were quoted by the server.
fn looks_like(client: &mut SpiClient<'_>, table: &str, column: &str) -> Outcome<Vec<Texts<5>>> {
    let (classes, patterns): (Vec<_>, Vec<_>) = LOOKS.into_iter().unzip();
    let values = format!(
        "SELECT l.class FROM (SELECT {column}::text AS value FROM {table} WHERE {column} IS NOT NULL LIMIT {VALUES}) v,
            unnest($1, $2) l(class, pattern)
         GROUP BY 1 HAVING count(*) FILTER (WHERE v.value ~ l.pattern) * 100 >= count(*) * {SHARE}"
    );
    let looks: Vec<Texts<1>> = texts(client, &values, &[classes.into(), patterns.into()])?;
    let told = |[class]: Texts<1>| {
        let class = class.unwrap_or_default();
        [
            Some("look_alike_values".to_owned()),
            Some(format!("{table}.{column}")),
            None,
            Some(format!("has no class, but most of its values that were looked at are like {class}")),
            Some(format!("SECURITY LABEL FOR pg_steward ON COLUMN {table}.{column} IS '{class}'")),
        ]
    };
    Ok(looks.into_iter().map(told).collect())
}

fn preloaded_later(library: &str) -> Texts<5> {
    [
        Some("preload_order".to_owned()),
        Some(format!("library {library}")),
        None,
        Some("is preloaded after pg_steward, so its hooks are called before the policy's".to_owned()),
        Some(preload::command()),
    ]
}

fn not_looked_at(table: &str, failure: &str) -> Texts<5> {
    [
        Some(NOT_LOOKED_AT.to_owned()),
        Some(table.to_owned()),
        None,
        // A message may quote a value of the table.
        Some(format!("its values could not be looked at: {}", without_quoted(failure))),
        Some("SELECT * FROM steward.lint(sample => true)".to_owned()),
    ]
}
