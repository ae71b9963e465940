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
    /// Who acts must have verified a second factor in this session.
    pub second_factor: bool,
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
    /// A second factor was verified in this session, and that still holds for the tier.
    pub stepped_up: bool,
    /// An emergency window of this session reaches the deed. It began with a second factor and, where the post demands
    /// one, with a second person.
    pub window: bool,
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
    /// Nothing but a second factor is missing.
    RefuseFactor,
}

/// Decides one deed.
pub fn decide(tier: Tier, demand: Demand, situation: Situation) -> Decision {
    let refusal = match situation.cover {
        // Nobody may be sitting there any more, whatever was approved for who sat there.
        _ if demand.idle_timeout.is_some_and(|term| situation.idle > term) => {
            Decision::RefuseIdle { idle: situation.idle, term: demand.idle_timeout.unwrap_or_default() }
        }
        Some(cover) => match cover.lacks(tier, demand) {
            // It began with the second factor of its tier.
            None if cover.tier >= tier => return Decision::Allow,
            None if demand.second_factor && !situation.stepped_up => Decision::RefuseFactor,
            None => return Decision::Allow,
            Some(lack) => Decision::RefuseBeyondCover(cover, lack),
        },
        None if situation.window => return Decision::Allow,
        None if demand.needs_operation() => Decision::RefuseUncovered,
        None if demand.accompanied => Decision::RefuseAlone,
        None if demand.second_factor && !situation.stepped_up => Decision::RefuseFactor,
        None => return Decision::Allow,
    };
    if situation.active && situation.enforcing { refusal } else { Decision::Tolerate }
}

/// Seconds for which a verified second factor serves a tier, counted from the verification: the manual's idle terms of
/// 15, 30 and 60 minutes, which no statement and no keep-alive prolongs.
pub fn step_up_seconds(tier: Tier) -> i64 {
    match tier {
        Tier::Critical => 15 * 60,
        Tier::Important => 30 * 60,
        Tier::Normal => 60 * 60,
    }
}
