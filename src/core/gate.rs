//! From a verdict to a decision. Pure and total: every situation has one answer, and it is here.

use super::tier::Tier;

/// What the policy demands before a deed of some tier may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Approvals and a witness need an operation; review comes afterwards and needs none.
    pub needs_operation: bool,
}

/// The server's and the session's state when a deed is judged.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Policy is activated.
    pub active: bool,
    /// Mode `enforce` (otherwise nothing is refused).
    pub enforcing: bool,
    /// Tier of the approved operation that is being executed, if one is.
    pub cover: Option<Tier>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Would be refused if the policy were active and enforced.
    Tolerate,
    /// No approved operation covers it.
    RefuseUncovered,
    /// An operation is being executed, but it was approved as a lower tier.
    RefuseBeyondCover(Tier),
}

/// Decides one deed.
pub fn decide(tier: Tier, demand: Demand, situation: Situation) -> Decision {
    let refusal = match situation.cover {
        Some(covered) if covered >= tier => return Decision::Allow,
        _ if !demand.needs_operation => return Decision::Allow,
        Some(covered) => Decision::RefuseBeyondCover(covered),
        None => Decision::RefuseUncovered,
    };
    if situation.active && situation.enforcing { refusal } else { Decision::Tolerate }
}
