//! Rows that logical replication applies here. The apply worker has no plan and calls no hook of the executor, so what
//! it did is read from the server's own row counters before its transaction commits: recorded, or refused as a whole.
//!
//! A refused transaction is tried again by its worker until the policy lets it pass (a rule with the subscription's owner
//! among its `except_roles`) or the subscription is disabled.

use super::facts::Deed;
use super::statement::Source;
use super::{executor, judge, rows, standing_aside, utility};
use crate::audit::buffer;
use crate::backend::backend_local;
use crate::cache::{self, Member, Policy};
use crate::core::rule::{ColumnSet, Command, Group};
use crate::raw;
use std::cell::Cell;
use std::rc::Rc;

const APPLY: &str = "APPLY";
/// The one table that our own code writes while a worker applies: the row trigger, for what is applied.
const ROW_IMAGES: &str = "steward.row_image";

backend_local! {
    /// Rows that our trigger wrote there in this transaction.
    static IMAGES: Cell<u64> = const { Cell::new(0) };
}

/// The row trigger has kept an image.
pub fn kept_image() {
    IMAGES.set(IMAGES.get() + 1);
}

pub fn transaction_ended() {
    IMAGES.set(0);
}

/// Whether this process applies changes of a publisher.
pub fn is_worker() -> bool {
    // Safe: plain getter.
    unsafe { raw::IsLogicalWorker() }
}

/// PRE_COMMIT of such a process: judges what its transaction did to protected tables. Raises where that is refused.
pub fn before_commit() {
    if !is_worker() || standing_aside() || !cache::at_home() {
        return;
    }
    let policy = cache::policy();
    // Safe: null stands for a statement without text.
    let source = unsafe { Source::new(std::ptr::null(), -1, 0) };
    refuse_own(&policy, &source);
    for member in policy.roots() {
        let touched = rows::touched(&member.root);
        let truncated = rows::truncated(&member.root);
        if touched == 0 && !truncated {
            continue;
        }
        let deeds = [deed(member, truncated)];
        let judgement = judge::judge(&policy, &deeds);
        judge::enforce(&policy, &deeds, &judgement, APPLY, &source);
        let raised = executor::check_limits(&judgement.limits, &source);
        let (tier, rule) = raised.unwrap_or_else(|| (judgement.tier, judgement.rule.to_owned()));
        let mut record = judge::record(APPLY, judge::relations(&deeds), tier, &rule, &source);
        record.rows = Some(touched as i64);
        buffer::push(record);
    }
}

/// Nothing of schema steward comes from a publisher: neither policy nor records nor secrets.
fn refuse_own(policy: &Policy, source: &Source<'_>) {
    for (relation, kind) in policy.own_relations() {
        let rows = rows::touched_alone(relation);
        if rows == 0 && !rows::truncated_alone(relation) {
            continue;
        }
        let name = utility::relation_name(relation);
        if name != ROW_IMAGES || rows > IMAGES.get() || rows::truncated_alone(relation) {
            judge::guard_own(kind, &name, APPLY, source);
        }
    }
}

/// Which columns the publisher sent is not known here: all count.
fn deed(member: &Rc<Member>, truncated: bool) -> Deed {
    let mut columns = ColumnSet::default();
    member.columns().iter().for_each(|column| columns.insert(column.number));
    let group = if truncated { Group::Ddl } else { Group::Write };
    Deed { command: Command { tag: APPLY, group }, relation: Some(member.clone()), columns }
}
