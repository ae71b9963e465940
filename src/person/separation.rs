//! Capabilities that exclude each other, as pairs in `steward.exclusive_capability`. A person holds those of the own post
//! and of every post whose roles their logins reach by memberships. A registration or a GRANT that brings a pair together
//! is refused; what came about otherwise is found by `steward.separation_issues()`.

use super::texts;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::settings::Mode;
use crate::watch::judge;
use crate::watch::statement::Source;
use crate::{cache, own, shared};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// Person, the two capabilities, how each is held, and why they exclude each other.
type Issue = (String, String, String, String, String);

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn separation_issues() -> TableIterator<
    'static,
    (name!(person, String), name!(one, String), name!(other, String), name!(held, String), name!(reason, String)),
> {
    TableIterator::new(answer(own::run(all)))
}

fn all(client: &mut SpiClient<'_>) -> Outcome<Vec<Issue>> {
    let issues = "SELECT person, one, other, held, reason FROM steward._separation_issue ORDER BY 1, 2, 3, 4";
    let mut found = Vec::new();
    for row in own::select(client, issues, &[])? {
        let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
        found.push((text(1)?, text(2)?, text(3)?, text(4)?, text(5)?));
    }
    Ok(found)
}

/// One sentence for each issue.
pub fn sentences(client: &mut SpiClient<'_>) -> Outcome<Vec<String>> {
    let sentences = "SELECT format('%s would hold %s and %s, which exclude each other: %s.', person, one, other, held)
        FROM steward._separation_issue ORDER BY person, one, other, held";
    texts(client, sentences, &[])
}

/// What a change added to the issues that were there before it: those it does not have to answer for.
pub fn added(before: &[String], after: Vec<String>) -> Vec<String> {
    after.into_iter().filter(|issue| !before.contains(issue)).collect()
}

/// 55000 with the pairs that a change of persons or posts brings together.
pub fn refuse(added: &[String]) -> Outcome<()> {
    if added.is_empty() {
        return Ok(());
    }
    Err(Fault::wrong_state("duties that must be separated would meet in one person")
        .detail(added.join("\n"))
        .hint("SELECT one, other, reason FROM steward.exclusive_capability;"))
}

/// 55000 for a post whose every holder would have a pair, also while nobody holds it.
pub fn refuse_post(client: &mut SpiClient<'_>, post: &str) -> Outcome<()> {
    let pairs = "SELECT format('It would hold %s and %s, which exclude each other: %s', x.one, x.other, x.reason)
        FROM steward.exclusive_capability x JOIN steward.post p ON p.name = $1 AND p.name <> ALL (x.except_posts)
            AND ARRAY[x.one, x.other] <@ p.capabilities::text[] ORDER BY x.one, x.other";
    let pairs = texts(client, pairs, &[post.into()])?;
    if pairs.is_empty() {
        return Ok(());
    }
    Err(Fault::wrong_state(format!("duties that must be separated would meet in post \"{post}\""))
        .detail(pairs.join("\n"))
        .hint("SELECT one, other, reason FROM steward.exclusive_capability;"))
}

/// The issues before a command on roles; None where nothing is refused.
pub fn before_command() -> Option<Vec<String>> {
    let enforced = shared::active() && shared::mode() == Mode::Enforce && cache::policy_relation().is_some();
    enforced.then(|| answer(own::run(sentences)))
}

/// What a command on roles has added to them.
pub fn after_command(before: &[String]) -> Vec<String> {
    // Safe: makes the command's own changes visible to the look that follows.
    unsafe { pg_sys::CommandCounterIncrement() };
    added(before, answer(own::run(sentences)))
}

/// Refuses a command on roles, on record; what it did goes with its transaction.
pub fn deny(added: &[String], tag: &str, source: &Source<'_>) -> ! {
    judge::deny(
        judge::record(tag, Vec::new(), Tier::Critical, "separation", source),
        Fault::refused("statement refused: duties that must be separated would meet in one person")
            .detail(added.join("\n"))
            .hint("SELECT one, other, reason FROM steward.exclusive_capability;"),
    )
}
