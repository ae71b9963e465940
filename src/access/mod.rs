//! Who may see and do what: the matrix of privileges, the native floor beneath the masks, and what is there now.
//!
//! Masks themselves are put into plans elsewhere; what is here works where no hook does. The views of
//! `sql/permission.sql` say what the catalog and the matrix differ in. Never here: a decision about a statement.

pub mod accepted;
mod lint;
mod permission;
mod plan;
mod report;

pub use lint::ways_around;

use crate::error::{Fault, Outcome};
use crate::{cache, session};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::SpiClient;

/// Gate of what only looks: superusers, and persons whose post may configure or audit.
fn require_insight(function: &str) -> Outcome<()> {
    if !cache::at_home() || cache::policy_relation().is_none() {
        return Err(Fault::wrong_state("the policy lives in the home database")
            .hint(format!("\\connect {}", crate::settings::database())));
    }
    let allowed = |person: &cache::Person| person.may("configure") || person.may("audit");
    // Safe: reads the current role.
    if unsafe { pg_sys::superuser() } || session::person().is_some_and(|person| allowed(&person)) {
        return Ok(());
    }
    Err(Fault::refused(format!("steward.{function} is not yours to call"))
        .detail("It shows what others may see: only superusers and persons whose post may configure or audit call it.")
        .hint("SELECT * FROM steward.post;"))
}

/// A row of text columns.
type Texts<const N: usize> = [Option<String>; N];

/// The rows of a query whose columns are all text.
fn texts<const N: usize>(
    client: &mut SpiClient<'_>,
    query: &str,
    arguments: &[DatumWithOid<'_>],
) -> Outcome<Vec<Texts<N>>> {
    let mut rows = Vec::new();
    for row in client.update(query, None, arguments)? {
        let mut texts = [const { None }; N];
        for (column, text) in texts.iter_mut().enumerate() {
            *text = row.get::<String>(column + 1)?;
        }
        rows.push(texts);
    }
    Ok(rows)
}
