//! From a verdict to a decision. Pure and total: every situation has one answer, and it is here.

use super::tier::Tier;

/// What the policy demands before a deed of some tier may run. A review comes afterwards and is no demand here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Approvals by others, before.
    pub approvals: u32,
    /// A second person at the run.
    pub witness: bool,
    /// An operation even where nobody has to agree: somebody must answer for it.
    pub operation: bool,
    /// It is a write of somebody whose post never acts alone: a second person at the run, whatever the tier.
    pub accompanied: bool,
    /// How long the session may have been idle, microseconds; None: without limit.
    pub idle_timeout: Option<i64>,
}

impl Demand {
    /// What the tier and its rules ask of everybody in that post.
    fn needs_operation(self) -> bool {
        self.approvals > 0 || self.witness || self.operation
    }
}

/// What the operation that is being executed has behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover {
    /// It was approved for statements up to this tier.
    pub tier: Tier,
    /// Approvals that count.
    pub approvals: u32,
    /// A second person stands by.
    pub witnessed: bool,
}

/// What an operation lacks for a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    Tier,
    Approvals,
    Witness,
}

impl Cover {
    /// None: the deed is covered.
    pub fn lacks(self, tier: Tier, demand: Demand) -> Option<Lack> {
        if self.tier < tier && demand.needs_operation() {
            Some(Lack::Tier)
        } else if self.approvals < demand.approvals {
            Some(Lack::Approvals)
        } else if (demand.witness || demand.accompanied) && !self.witnessed {
            Some(Lack::Witness)
        } else {
            None
        }
    }
}

/// The server's and the session's state when a deed is judged.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Policy is activated.
    pub active: bool,
    /// Mode `enforce` (otherwise nothing is refused).
    pub enforcing: bool,
    /// The approved operation that is being executed, if one is.
    pub cover: Option<Cover>,
    /// The session's longest pause, microseconds.
    pub idle: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Would be refused if the policy were active and enforced.
    Tolerate,
    /// No approved operation covers it.
    RefuseUncovered,
    /// Its tier needs none, but this person's post never acts alone.
    RefuseAlone,
    /// An operation is being executed, but it does not reach as far as this.
    RefuseBeyondCover(Cover, Lack),
    /// The session was idle for longer than the tier's term; both in microseconds.
    RefuseIdle {
        idle: i64,
        term: i64,
    },
}

/// Decides one deed.
pub fn decide(tier: Tier, demand: Demand, situation: Situation) -> Decision {
    let refusal = match situation.cover {
        // Nobody may be sitting there any more, whatever was approved for who sat there.
        _ if demand.idle_timeout.is_some_and(|term| situation.idle > term) => {
            Decision::RefuseIdle { idle: situation.idle, term: demand.idle_timeout.unwrap_or_default() }
        }
        Some(cover) => match cover.lacks(tier, demand) {
            None => return Decision::Allow,
            Some(lack) => Decision::RefuseBeyondCover(cover, lack),
        },
        None if demand.needs_operation() => Decision::RefuseUncovered,
        None if demand.accompanied => Decision::RefuseAlone,
        None => return Decision::Allow,
    };
    if situation.active && situation.enforcing { refusal } else { Decision::Tolerate }
}
