//! Ways around masks, scopes and privileges, as the catalog stands now. The questions are in `lint.sql`; values of
//! columns without a class are looked at here, since each table is a query of its own.

use super::{Texts, require_insight, texts};
use crate::error::{Outcome, answer};
use crate::own;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

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

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn lint(
    sample: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(kind, Option<String>),
        name!(object, Option<String>),
        name!(role_id, Option<String>),
        name!(why, Option<String>),
        name!(command, Option<String>),
    ),
> {
    let found = answer(findings(sample == Some(true)));
    TableIterator::new(found.into_iter().map(|[kind, object, role, why, command]| (kind, object, role, why, command)))
}

fn findings(sample: bool) -> Outcome<Vec<Texts<5>>> {
    require_insight("lint")?;
    own::run(|client| every(client, sample))
}

fn every(client: &mut SpiClient<'_>, sample: bool) -> Outcome<Vec<Texts<5>>> {
    let mut found = texts(client, include_str!("lint.sql"), &[])?;
    if sample {
        found.extend(look_alike_values(client)?);
    }
    Ok(found)
}

/// Kinds that are about columns which look as if they needed a class.
const UNLABELLED: [&str; 4] = ["look_alike", "look_alike_values", "copy", "foreign_table"];

/// For the daily check, whoever may call it: columns that look as if they needed a class, by name or by values, or all
/// other ways around.
pub fn ways_around(client: &mut SpiClient<'_>, unlabelled: bool) -> Outcome<Vec<String>> {
    let of_columns = |kind: &Option<String>| UNLABELLED.contains(&kind.as_deref().unwrap_or_default());
    // The login of a superuser or a standby is somebody's, or the check of logins tells of it.
    let known = |kind: &Option<String>| matches!(kind.as_deref(), Some("superuser" | "replication"));
    let found = every(client, unlabelled)?.into_iter();
    let found = found.filter(|[kind, ..]| of_columns(kind) == unlabelled && !known(kind));
    let told = |[kind, object, role, why, _]: Texts<5>| {
        let who = role.map(|role| format!(" ({role})")).unwrap_or_default();
        format!("{} {}{who}: {}", kind.unwrap_or_default(), object.unwrap_or_default(), why.unwrap_or_default())
    };
    Ok(found.map(told).collect())
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

fn look_alike_values(client: &mut SpiClient<'_>) -> Outcome<Vec<Texts<5>>> {
    own::require_hooks()?;
    let mut found = Vec::new();
    let (classes, patterns): (Vec<_>, Vec<_>) = LOOKS.into_iter().unzip();
    let columns: Vec<Texts<2>> = texts(client, COLUMNS, &[])?;
    for [table, column] in columns {
        let (table, column) = (table.unwrap_or_default(), column.unwrap_or_default());
        // Both names were quoted by the server.
        let values = format!(
            "SELECT l.class, count(*)::text FROM (SELECT {column}::text AS value FROM {table} WHERE {column} IS NOT NULL LIMIT {VALUES}) v,
                unnest($1, $2) l(class, pattern)
             GROUP BY 1 HAVING count(*) FILTER (WHERE v.value ~ l.pattern) * 100 >= count(*) * {SHARE}"
        );
        let mut tell = |why, command| {
            found.push([
                Some("look_alike_values".to_owned()),
                Some(format!("{table}.{column}")),
                None,
                Some(why),
                command,
            ]);
        };
        // One table that cannot be looked into hides nothing of the others.
        let looks = own::look(|| {
            own::run(|client| texts::<2>(client, &values, &[classes.clone().into(), patterns.clone().into()]))
        });
        match looks {
            Err(undone) => {
                undone.pass_on_cancellation();
                tell(format!("cannot be looked into: {}", undone.message), None);
            }
            Ok(looks) => looks.into_iter().for_each(|[class, count]| {
                let (class, count) = (class.unwrap_or_default(), count.unwrap_or_default());
                tell(
                    format!("has no class, but most of {count} values that were looked at are like {class}"),
                    Some(format!("SECURITY LABEL FOR pg_steward ON COLUMN {table}.{column} IS '{class}'")),
                );
            }),
        }
    }
    Ok(found)
}
