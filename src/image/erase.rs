//! Images of one row that somebody has a right to have erased. What is left of them is that they were erased: the chain
//! holds no values, so it verifies as before, and a run whose images are gone in part can be restored no more.

use crate::audit::buffer;
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::operation::form;
use crate::person::{one_text, texts};
use crate::watch::utility::relation_name;
use crate::{own, policy};
use pgrx::JsonB;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

#[pg_extern(sql = false)]
fn erase_images(relation: Option<pg_sys::Oid>, key: Option<JsonB>) -> i64 {
    answer(erase(relation, key))
}

/// What was erased: images of single rows, and rows in copies of tables.
struct Erased {
    images: usize,
    copied: usize,
}

fn erase(relation: Option<pg_sys::Oid>, key: Option<JsonB>) -> Outcome<i64> {
    policy::require_privilege("erase_images")?;
    form::demand_erasure()?;
    let (Some(relation), Some(JsonB(key))) = (relation, key) else {
        return Err(Fault::bad_argument("which table, and which row?").hint(EXAMPLE));
    };
    let fields = key.as_object().filter(|fields| !fields.is_empty() && !fields.values().any(|value| value.is_null()));
    let fields = fields.ok_or_else(|| Fault::bad_argument("a key is an object of columns and values").hint(EXAMPLE))?;
    let name = relation_name(relation);
    let columns: Vec<String> = fields.keys().cloned().collect();
    let key = key.to_string();
    let erased = own::run(|client| {
        check_columns(client, relation, &name, columns)?;
        let (images, copied) = (erase_rows(client, relation, &key)?, erase_from_copies(client, relation, &key)?);
        Ok(Erased { images, copied })
    })?;
    let mut record = Record::new(Kind::Policy, "erase_images");
    record.tier = Some(Tier::Critical);
    record.relations = vec![name];
    // Not whose: that would keep what is to be forgotten.
    record.details = Some(serde_json::json!({ "images": erased.images, "rows_of_copies": erased.copied }).to_string());
    buffer::push(record);
    Ok((erased.images + erased.copied) as i64)
}

const EXAMPLE: &str = r#"SELECT steward.erase_images('app.student', '{"id": 7}');"#;

/// The columns must find the images of updates too, which hold the key and what was changed.
fn check_columns(client: &mut SpiClient<'_>, relation: pg_sys::Oid, name: &str, columns: Vec<String>) -> Outcome<()> {
    let key = "SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = $1 AND i.indisprimary";
    let key = one_text(client, key, &[relation.into()])?.unwrap_or_default();
    let mut given = columns;
    given.sort();
    if given.join(", ") == key {
        return Ok(());
    }
    Err(Fault::bad_argument(format!("the key of {name} is another"))
        .detail(format!("Rows are found by the primary key: {key}."))
        .hint(EXAMPLE))
}

/// The table with all that inherits from it.
const TREE: &str = "WITH RECURSIVE tree(relation) AS (SELECT $1::oid
    UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation)";

fn erase_rows(client: &mut SpiClient<'_>, relation: pg_sys::Oid, key: &str) -> Outcome<usize> {
    let rows = format!(
        "{TREE}, gone AS (
            DELETE FROM steward.row_image i WHERE i.relation IN (SELECT relation FROM tree) AND NOT EXISTS (
                SELECT FROM jsonb_each_text($2::jsonb) k WHERE NOT EXISTS (
                    SELECT FROM unnest(i.columns) WITH ORDINALITY c(name, place) WHERE c.name = k.key
                        AND k.value IN (i.old_values[c.place], i.new_values[c.place])))
            RETURNING op_no, run),
        told AS (UPDATE steward.pre_image p SET purged_at = now() FROM gone g
            WHERE (p.op_no, p.run) = (g.op_no, g.run) AND p.purged_at IS NULL)
        SELECT 'gone' FROM gone"
    );
    Ok(texts(client, &rows, &arguments(relation, key))?.len())
}

/// Copies have types of the server alone, so nobody's code runs here.
fn erase_from_copies(client: &mut SpiClient<'_>, relation: pg_sys::Oid, key: &str) -> Outcome<usize> {
    let copies = format!(
        "{TREE} SELECT copy FROM steward.table_image WHERE relation IN (SELECT relation FROM tree) AND copy IS NOT NULL"
    );
    let mut erased = 0;
    for copy in texts(client, &copies, &[relation.into()])? {
        let rows = format!(
            "DELETE FROM {copy} t WHERE NOT EXISTS (SELECT FROM jsonb_each_text($1::jsonb) k
                WHERE to_jsonb(t) ->> k.key IS DISTINCT FROM k.value) RETURNING 1"
        );
        let gone = own::execute(client, &rows, &[key.into()])?;
        if gone > 0 {
            let told = "UPDATE steward.pre_image p SET purged_at = now() FROM steward.table_image i
                WHERE i.copy = $1 AND (p.op_no, p.run) = (i.op_no, i.run) AND p.purged_at IS NULL";
            own::execute(client, told, &[copy.as_str().into()])?;
        }
        erased += gone;
    }
    Ok(erased)
}

fn arguments<'a>(relation: pg_sys::Oid, key: &'a str) -> [DatumWithOid<'a>; 2] {
    [relation.into(), key.into()]
}
