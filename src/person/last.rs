//! What no change of persons may take away: somebody who can undo it. Such changes come one after the other, because two
//! at once could take away together what neither may take away alone; and none is prepared, because it would end by
//! another session's word, without what this one has still to do at its commit.

use crate::activation::candidates;
use crate::backend::backend_local;
use crate::cache::{self, Policy};
use crate::core::operation::missing;
use crate::core::rule::ColumnSet;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::watch::{facts::Deed, judge, transaction};
use crate::{activation, lock, own, shared};
use pgrx::pg_sys;
use std::cell::Cell;

backend_local! {
    /// This transaction changes who may do what.
    static CHANGING: Cell<bool> = const { Cell::new(false) };
}

/// From here to the end of the transaction nobody else changes who may do what, or whether the policy is active. Inside
/// `own::run`.
pub fn one_at_a_time() -> Outcome<()> {
    CHANGING.set(true);
    transaction::concern();
    // What comes after this is rarely held by anybody, and not waited for without end either.
    own::pin(&[(c"lock_timeout", lock::PATIENCE)]);
    activation::hold()
}

/// After the change: somebody can still have the operation approved that undoes it. What others have committed while this
/// one waited counts, whatever this transaction's snapshot is.
pub fn somebody_remains() -> Outcome<()> {
    if !shared::active() {
        return Ok(());
    }
    // Safe: makes the change before this call visible to the policy that is read next.
    unsafe { pg_sys::CommandCounterIncrement() };
    if can_register(&cache::policy()) {
        return Ok(());
    }
    Err(Fault::wrong_state("nobody could undo this any more")
        .detail("Too few persons would be left to file, approve and confirm a registration.")
        .hint(
            "Register who takes the duty over first: SELECT steward.register_person(name, post, roles => '{login}');",
        ))
}

fn can_register(policy: &Policy) -> bool {
    let everybody = policy.everybody();
    let candidates = candidates(&everybody);
    let deed = |command| Deed { command, relation: None, columns: ColumnSet::default() };
    let deeds: Vec<Deed> = cache::command_named("register_person").map(deed).into_iter().collect();
    let approvals = judge::judge(policy, &deeds).approvals;
    everybody.iter().filter(|person| person.may("apply")).any(|person| {
        let tier = policy.tier_policy(Tier::Critical, &person.post);
        let approvals = approvals.max(tier.approvals.max(0) as u32);
        missing(&person.name, approvals, tier.witness || person.never_alone(), &candidates).is_none()
    })
}

/// PRE_PREPARE. May raise.
pub fn before_prepare() {
    if CHANGING.get() {
        Fault::unsupported("a transaction that changes who may do what cannot be prepared").raise();
    }
}

/// COMMIT and ABORT.
pub fn transaction_ended() {
    CHANGING.set(false);
}
