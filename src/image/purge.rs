//! The end of an image whose term is over.

use crate::audit::segment::define;
use crate::error::{Outcome, answer};
use crate::{own, policy};
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn purge_images() -> i64 {
    answer(policy::require_configuration("purge_images").and_then(|()| purge()))
}

/// Removes images whose term is over; how many.
pub fn purge() -> Outcome<i64> {
    let purged = own::run(|client| {
        let over = "taken_at < now() - (SELECT row_images FROM steward.retention_policy)";
        let mut copies = Vec::new();
        let tables = format!("DELETE FROM steward.table_image WHERE {over} RETURNING copy");
        let gone = own::query(client, &tables, &[])?;
        let mut purged = gone.len();
        for row in gone {
            copies.extend(row.get::<String>(1)?);
        }
        purged += own::execute(client, &format!("DELETE FROM steward.row_image WHERE {over}"), &[])?;
        let told = format!("UPDATE steward.pre_image SET purged_at = now() WHERE {over} AND purged_at IS NULL");
        own::execute(client, &told, &[])?;
        for copy in copies {
            define(&format!("ALTER EXTENSION pg_steward DROP TABLE {copy}"))?;
            define(&format!("DROP TABLE {copy}"))?;
        }
        Ok(purged as i64)
    })?;
    policy::changed("purge_images", "steward.row_image")?;
    Ok(purged)
}
