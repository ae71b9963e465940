//! Every situation of the gate has one answer.

use crate::core::gate::{Decision, Demand, Situation, decide};
use crate::core::tier::Tier;

const TIERS: [Tier; 3] = [Tier::Normal, Tier::Important, Tier::Critical];

fn situation(active: bool, enforcing: bool, cover: Option<Tier>) -> Situation {
    Situation { active, enforcing, cover }
}

#[test]
fn nothing_is_refused_before_activation_or_outside_enforce() {
    for tier in TIERS {
        for (active, enforcing) in [(false, false), (false, true), (true, false)] {
            let decision = decide(tier, Demand { needs_operation: true }, situation(active, enforcing, None));
            assert_eq!(decision, Decision::Tolerate);
        }
    }
}

#[test]
fn a_tier_that_needs_an_operation_is_refused_without_one() {
    for tier in TIERS {
        let decision = decide(tier, Demand { needs_operation: true }, situation(true, true, None));
        assert_eq!(decision, Decision::RefuseUncovered);
    }
}

#[test]
fn a_tier_that_needs_none_runs() {
    for tier in TIERS {
        assert_eq!(decide(tier, Demand { needs_operation: false }, situation(true, true, None)), Decision::Allow);
    }
}

#[test]
fn a_cover_reaches_up_to_its_own_tier_and_no_further() {
    for cover in TIERS {
        for tier in TIERS {
            let decision = decide(tier, Demand { needs_operation: true }, situation(true, true, Some(cover)));
            let expected = if cover >= tier { Decision::Allow } else { Decision::RefuseBeyondCover(cover) };
            assert_eq!(decision, expected, "{tier:?} under {cover:?}");
        }
    }
}
