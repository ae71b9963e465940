//! Rules by their names: every one that matches, not only the one that decides. Signatures and maintenance windows may
//! hang on any of them, so a run that lacks what one demands must not do what it matches, however well that was hidden
//! from the request.

use super::facts::Deed;
use super::judge;
use super::statement::Source;
use crate::cache::Policy;
use crate::core::record::Record;
use crate::core::rule;
use crate::core::tier::Tier;
use crate::error::Fault;
use crate::operation::cover::{self, Cover};
use crate::session;
use crate::settings::Mode;
use crate::shared;

/// A rule that matches.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    /// Only from so many rows on.
    pub min_rows: Option<u64>,
    /// The number of approvals that it demands.
    pub approvals: u32,
}

/// A rule whose deeds a run must not do, and why.
#[derive(Clone, Debug)]
pub struct Closed {
    pub rule: String,
    /// A sentence.
    pub why: String,
}

/// Every rule that matches any of these deeds, once each.
pub fn matching(policy: &Policy, deeds: &[Deed]) -> Vec<Named> {
    let mut found: Vec<Named> = Vec::new();
    for deed in deeds {
        let question = rule::Deed {
            command: deed.command,
            columns: &deed.columns,
            has_role: &session::has_role,
            is_role: &session::is_role,
        };
        let rules = deed.relation.as_ref().map_or(&policy.cluster_rules, |member| member.rules(&policy.rules));
        for rule in policy.rules.all(rules, &question) {
            if !found.iter().any(|known| known.name == rule.name) {
                let (name, approvals) = (rule.name.clone(), policy.signatures.number(rule));
                found.push(Named { name, min_rows: rule.min_rows, approvals });
            }
        }
    }
    found
}

/// Refuses what a rule matches that is closed to the running operation.
pub fn refuse_closed(policy: &Policy, deeds: &[Deed], source: &Source<'_>, record: impl FnOnce() -> Record) {
    let Some(cover) = cover::current().filter(|cover| !cover.closed.is_empty() && enforced()) else { return };
    let matching = matching(policy, deeds);
    let closed = cover.closed.iter().find(|closed| matching.iter().any(|rule| rule.name == closed.rule));
    if let Some(closed) = closed {
        let hint = source.request_call().unwrap_or_else(|| HINT.to_owned());
        judge::deny(record(), fault(&cover, closed).hint(hint))
    }
}

/// What a rule demands, its own change demands too: otherwise fewer could first change the rule.
pub fn refuse_change(cover: &Cover, function: &str, rule: &str) {
    let Some(closed) = cover.closed.iter().find(|closed| closed.rule == rule && enforced()) else { return };
    // Safe: the client's own message, or null.
    let source = unsafe { Source::new(pgrx::pg_sys::debug_query_string, -1, 0) };
    judge::deny(
        judge::record(function, Vec::new(), Tier::Critical, "policy_change", &source),
        fault(cover, closed).hint(HINT),
    )
}

const HINT: &str = "SELECT * FROM steward.approval_rule; SELECT * FROM steward.maintenance_window;";

fn fault(cover: &Cover, closed: &Closed) -> Fault {
    Fault::refused(format!("statement refused: {} does not reach as far as rule \"{}\"", cover.op_no, closed.rule))
        .detail(closed.why.clone())
}

fn enforced() -> bool {
    shared::active() && shared::mode() == Mode::Enforce
}
