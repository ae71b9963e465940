//! Whether the place of a row is taken. ON CONFLICT DO NOTHING says so for most tables; it cannot where a key is
//! deferrable, nor where the table has rules, which a restore leaves out. There each key is asked by itself.

use crate::error::Outcome;
use crate::own;
use pgrx::pg_sys::Oid;

/// The unique keys that must be asked, each as the names of its columns. None: ON CONFLICT asks them all.
#[derive(Default)]
pub struct Keys(Option<Vec<Vec<String>>>);

impl Keys {
    pub fn of(relation: Oid) -> Outcome<Keys> {
        let asked = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = $1 AND NOT indimmediate)
            OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = $1 AND ev_type IN ('2', '3'))";
        let keys = "SELECT array_agg(a.attname::text) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
                AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
            WHERE i.indrelid = $1 AND i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL GROUP BY i.indexrelid";
        own::run(|client| {
            if own::select(client, asked, &[relation.into()])?.first().get_one::<bool>()? != Some(true) {
                return Ok(Keys(None));
            }
            let mut found = Vec::new();
            for row in own::select(client, keys, &[relation.into()])? {
                found.extend(row.get::<Vec<String>>(1)?);
            }
            Ok(Keys(Some(found)))
        })
    }

    /// The end of an INSERT … SELECT into `table` of what `value` gives for each column. What = of pg_catalog does not
    /// compare is compared as text.
    pub fn unless_taken(
        &self,
        table: &str,
        comparable: impl Fn(&str) -> bool,
        value: impl Fn(&str) -> String,
    ) -> String {
        let Some(keys) = &self.0 else { return " ON CONFLICT DO NOTHING".to_owned() };
        let same = |name: &String| {
            let (column, value) = (format!("k.{}", pgrx::spi::quote_identifier(name)), value(name));
            if comparable(name) {
                return format!("{column} OPERATOR(pg_catalog.=) {value}");
            }
            format!(
                "{column} IS DISTINCT FROM NULL
                    AND ROW({column})::pg_catalog.text OPERATOR(pg_catalog.=) ROW({value})::pg_catalog.text"
            )
        };
        let free: Vec<String> = keys
            .iter()
            .map(|key| {
                let same: Vec<String> = key.iter().map(same).collect();
                format!("NOT EXISTS (SELECT FROM ONLY {table} k WHERE {})", same.join(" AND "))
            })
            .collect();
        if free.is_empty() { String::new() } else { format!(" WHERE {}", free.join(" AND ")) }
    }
}
