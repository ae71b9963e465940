//! The policies that scopes compile to, as commands: what must be in the catalog, whether it is, and bringing it there.

use crate::error::{Outcome, answer};
use crate::own;
use crate::person::texts;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// A command, and whether the catalog has what it says.
pub struct Command {
    /// The table or partition, quoted.
    pub relation: String,
    pub command: String,
    pub in_force: bool,
}

/// The commands of a protected table with its partitions, or of all; in the order in which they run.
pub fn commands(client: &mut SpiClient<'_>, relation: Option<Oid>) -> Outcome<Vec<Command>> {
    let query = "SELECT relation::regclass::text, command, in_force FROM steward._scope_command
        WHERE $1 IS NULL OR root = $1 OR relation = $1 ORDER BY root, step, relation::regclass::text, id";
    let mut found = Vec::new();
    for row in own::select(client, query, &[relation.into()])? {
        let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
        let in_force = row.get::<bool>(3)?.unwrap_or(false);
        found.push(Command { relation: text(1)?, command: text(2)?, in_force });
    }
    Ok(found)
}

/// Brings every scope into force, where it is not.
pub fn apply_all(client: &mut SpiClient<'_>) -> Outcome<()> {
    let lacking = "SELECT command FROM steward._scope_command WHERE NOT in_force ORDER BY root, step, relation, id";
    apply(client, lacking, &[])
}

/// Tables have come to be partitions or children of these: what is scoped there is scoped in them.
pub fn adopt(roots: &[Oid]) -> Outcome<()> {
    let policy = crate::cache::policy();
    if !policy.has_scopes() {
        return Ok(());
    }
    let scoped: Vec<Oid> = roots.iter().copied().filter(|root| policy.scopes().is_scoped(*root)).collect();
    if scoped.is_empty() { Ok(()) } else { own::run(|client| apply(client, NEW, &[scoped.into()])) }
}

/// Only tables without any policy of ours: what somebody changed in the others is drift, to be seen and not undone by the way.
const NEW: &str = "SELECT command FROM steward._scope_command c WHERE NOT in_force AND root = ANY ($1) AND relation <> root
    AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.relation AND p.polname ~ '^steward_') ORDER BY root, step, relation, id";

/// The commands are made of the catalog's own quoted names.
fn apply(client: &mut SpiClient<'_>, lacking: &str, arguments: &[DatumWithOid<'_>]) -> Outcome<()> {
    let commands = texts(client, lacking, arguments)?;
    commands.iter().try_for_each(|command| own::execute(client, command, &[]).map(drop))
}

#[pg_extern(sql = false)]
fn scope_commands(
    relation: Option<pg_sys::Oid>,
) -> TableIterator<'static, (name!(relation_name, String), name!(command, String), name!(in_force, bool))> {
    answer(super::require_reader("scope_commands"));
    let found = answer(own::run(|client| commands(client, relation)));
    TableIterator::new(found.into_iter().map(|found| (found.relation, found.command, found.in_force)))
}
