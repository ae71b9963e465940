//! What a role sees, column by column, as privileges, mask rules and row security stand now.

use super::{Texts, require_insight, texts};
use crate::error::{Fault, Outcome, answer};
use crate::{own, session};
use pgrx::prelude::*;

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn access(
    role: Option<pg_sys::Oid>,
) -> TableIterator<
    'static,
    (
        name!(table_name, Option<String>),
        name!(column_name, Option<String>),
        name!(class, Option<String>),
        name!(access, Option<String>),
        name!(why, Option<String>),
        name!(sample, Option<String>),
    ),
> {
    let columns = answer(columns(role));
    TableIterator::new(
        columns
            .into_iter()
            .map(|[table, column, class, access, why, sample]| (table, column, class, access, why, sample)),
    )
}

fn columns(role: Option<pg_sys::Oid>) -> Outcome<Vec<Texts<6>>> {
    let role = role.ok_or_else(|| Fault::bad_argument("which role?").hint("SELECT * FROM steward.access('clerk');"))?;
    if !session::has_role(role.to_u32()) {
        require_insight("access")?;
    }
    let known = "SELECT rolname::text FROM pg_roles WHERE oid = $1";
    if own::run(|client| texts::<1>(client, known, &[role.into()]))?.is_empty() {
        return Err(Fault::unknown("there is no such role").hint("SELECT rolname FROM pg_roles;"));
    }
    own::run(|client| texts::<6>(client, include_str!("report.sql"), &[role.into()]))
}
