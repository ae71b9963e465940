//! Every situation of the gate has one answer.

use crate::core::gate::{Cover, Decision, Demand, Lack, Situation, decide, step_up_seconds};
use crate::core::tier::Tier;

const TIERS: [Tier; 3] = [Tier::Normal, Tier::Important, Tier::Critical];
const NOTHING: Demand = Demand {
    approvals: 0,
    witness: false,
    operation: false,
    accompanied: false,
    second_factor: false,
    idle_timeout: None,
};

fn enforced(cover: Option<Cover>) -> Situation {
    Situation { active: true, enforcing: true, cover, idle: 0, stepped_up: false, window: false }
}

/// Every demand there can be, with up to two approvals.
fn demands() -> impl Iterator<Item = Demand> {
    (0..24).map(|number| Demand {
        approvals: number / 8,
        witness: number & 1 != 0,
        operation: number & 2 != 0,
        accompanied: number & 4 != 0,
        idle_timeout: None,
        second_factor: false,
    })
}

fn covers() -> impl Iterator<Item = Cover> {
    TIERS
        .into_iter()
        .flat_map(|tier| (0..6).map(move |number| Cover { tier, approvals: number / 2, witnessed: number & 1 != 0 }))
}

#[test]
fn nothing_is_refused_before_activation_or_outside_enforce() {
    for (active, enforcing) in [(false, false), (false, true), (true, false)] {
        for (tier, demand) in TIERS.into_iter().flat_map(|tier| demands().map(move |demand| (tier, demand))) {
            for cover in covers().map(Some).chain([None]) {
                let decision = decide(
                    tier,
                    demand,
                    Situation { active, enforcing, cover, idle: 0, stepped_up: false, window: false },
                );
                assert!(matches!(decision, Decision::Allow | Decision::Tolerate), "{decision:?}");
            }
        }
    }
}

#[test]
fn what_nobody_demands_anything_of_runs() {
    for tier in TIERS {
        assert_eq!(decide(tier, NOTHING, enforced(None)), Decision::Allow);
        for cover in covers() {
            assert_eq!(decide(tier, NOTHING, enforced(Some(cover))), Decision::Allow);
        }
    }
}

#[test]
fn a_tier_that_needs_an_operation_is_refused_without_one() {
    let needs = |demand: &Demand| demand.approvals > 0 || demand.witness || demand.operation;
    for demand in demands().filter(needs) {
        for tier in TIERS {
            assert_eq!(decide(tier, demand, enforced(None)), Decision::RefuseUncovered, "{demand:?}");
        }
    }
}

#[test]
fn who_never_acts_alone_is_refused_whatever_the_tier() {
    for tier in TIERS {
        let demand = Demand { accompanied: true, ..NOTHING };
        assert_eq!(decide(tier, demand, enforced(None)), Decision::RefuseAlone);
        let alone = Cover { tier: Tier::Critical, approvals: 9, witnessed: false };
        assert_eq!(decide(tier, demand, enforced(Some(alone))), Decision::RefuseBeyondCover(alone, Lack::Witness));
        // The second person is what is missing, not a higher tier.
        let normal = Cover { tier: Tier::Normal, approvals: 0, witnessed: true };
        assert_eq!(decide(tier, demand, enforced(Some(normal))), Decision::Allow);
    }
}

#[test]
fn a_cover_reaches_as_far_as_its_tier_its_approvals_and_its_witness() {
    for cover in covers() {
        for tier in TIERS {
            for demand in demands().filter(|demand| *demand != NOTHING) {
                let tier_holds = cover.tier >= tier || demand == Demand { accompanied: true, ..NOTHING };
                let approvals_hold = cover.approvals >= demand.approvals;
                let witness_holds = cover.witnessed || !(demand.witness || demand.accompanied);
                let decision = decide(tier, demand, enforced(Some(cover)));
                let allowed = tier_holds && approvals_hold && witness_holds;
                assert_eq!(decision == Decision::Allow, allowed, "{tier:?} {demand:?} under {cover:?}: {decision:?}");
            }
        }
    }
}

#[test]
fn a_session_idle_beyond_the_term_is_refused_whatever_covers_it() {
    for (tier, demand) in TIERS.into_iter().flat_map(|tier| demands().map(move |demand| (tier, demand))) {
        for cover in covers().map(Some).chain([None]) {
            let demand = Demand { idle_timeout: Some(900), ..demand };
            let idle = Situation { idle: 901, ..enforced(cover) };
            assert_eq!(decide(tier, demand, idle), Decision::RefuseIdle { idle: 901, term: 900 });
            assert_eq!(decide(tier, demand, Situation { active: false, ..idle }), Decision::Tolerate);
            let in_time = Situation { idle: 900, ..idle };
            assert_eq!(decide(tier, demand, in_time), decide(tier, Demand { idle_timeout: None, ..demand }, in_time));
        }
    }
}

const FACTOR: Demand = Demand { second_factor: true, ..NOTHING };

#[test]
fn a_demanded_second_factor_is_waited_for() {
    for tier in TIERS {
        let stepped_up = Situation { stepped_up: true, ..enforced(None) };
        assert_eq!(decide(tier, FACTOR, enforced(None)), Decision::RefuseFactor);
        assert_eq!(decide(tier, FACTOR, stepped_up), Decision::Allow);
        assert_eq!(decide(tier, FACTOR, Situation { enforcing: false, ..enforced(None) }), Decision::Tolerate);
        // It takes the place of no operation and of nobody.
        let (operation, alone) = (Demand { operation: true, ..FACTOR }, Demand { accompanied: true, ..FACTOR });
        assert_eq!(decide(tier, operation, stepped_up), Decision::RefuseUncovered);
        assert_eq!(decide(tier, alone, stepped_up), Decision::RefuseAlone);
    }
}

#[test]
fn a_cover_brings_the_second_factor_of_its_own_tier() {
    for cover in covers() {
        for tier in TIERS {
            let expected = if cover.tier >= tier { Decision::Allow } else { Decision::RefuseFactor };
            assert_eq!(decide(tier, FACTOR, enforced(Some(cover))), expected, "{tier:?} under {cover:?}");
        }
    }
}

#[test]
fn the_riskier_the_tier_the_shorter_a_second_factor_serves() {
    assert_eq!(TIERS.map(step_up_seconds), [3600, 1800, 900]);
}
