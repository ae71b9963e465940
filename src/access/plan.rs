//! From the matrix to GRANT, REVOKE and row security: what is to be done, and doing it.

use super::{Texts, require_insight, texts};
use crate::audit::buffer;
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::policy::{changed, require_privilege};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// Taking a grant option back takes along what hung on it, so the next look may find more; never this often.
const ROUNDS: usize = 4;

/// Table, role, command and reason of each step.
const PLAN: &str = "SELECT relation::regclass::text, role, command, reason FROM steward._plan
    ORDER BY phase, relation::regclass::text, role, command";

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn plan() -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(table_name, Option<String>),
        name!(role_id, Option<String>),
        name!(command, Option<String>),
        name!(reason, Option<String>),
    ),
> {
    let steps = answer(require_insight("plan").and_then(|()| own::run(|client| texts::<4>(client, PLAN, &[]))));
    let numbered = steps.into_iter().zip(1..);
    TableIterator::new(numbered.map(|([table, role, command, reason], step)| (step, table, role, command, reason)))
}

#[pg_extern(sql = false)]
fn apply() -> TableIterator<'static, (name!(step, i32), name!(table_name, String), name!(command, String))> {
    let done = answer(apply_all());
    TableIterator::new(done.into_iter().zip(1..).map(|((table, command), step)| (step, table, command)))
}

fn apply_all() -> Outcome<Vec<(String, String)>> {
    require_privilege("apply")?;
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let commands = own::run(pending)?;
        if commands.is_empty() {
            changed("apply", "role_permission")?;
            return Ok(done);
        }
        for (table, command) in commands {
            own::run(|client| own::execute(client, &command, &[]).map(drop))?;
            record(&table, &command);
            done.push((table, command));
        }
    }
    Err(Fault::wrong_state("the matrix could not be applied: something is left to do each time")
        .detail("Somebody else grants privileges on the same tables at this moment.")
        .hint("SELECT * FROM steward.plan();"))
}

/// Table and command of each step that is one. The text is made by the server from the catalog, every name quoted.
fn pending(client: &mut SpiClient<'_>) -> Outcome<Vec<(String, String)>> {
    let steps: Vec<Texts<4>> = texts(client, PLAN, &[])?;
    let command = |[table, _, command, _]: Texts<4>| Some((table.unwrap_or_default(), command?));
    Ok(steps.into_iter().filter_map(command).collect())
}

/// Each command is on record as it was run; names are no values.
fn record(table: &str, command: &str) {
    let tag = command.split(' ').next().unwrap_or_default();
    let mut record = Record::new(Kind::Policy, tag);
    record.tier = Some(Tier::Critical);
    record.rule = Some("privilege".to_owned());
    record.relations = vec![table.to_owned()];
    record.statement = Some(command.to_owned());
    buffer::push(record);
}
