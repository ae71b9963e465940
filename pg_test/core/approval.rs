//! Approval by relation: who is meant, which rows hold, and that one person fills one place.

use crate::core::approval::{Kin, Row, Who, fill, in_force};
use crate::core::tier::Tier;
use proptest::prelude::*;

fn kin<'a>(name: &'a str, department: Option<&'a str>, supervisor: Option<&'a str>) -> Kin<'a> {
    Kin { name, post: "reviewer", department, supervisor }
}

fn row(step: i32, who: &[&str]) -> Row {
    let who = who.iter().map(|text| Who::parse(text).expect("an element")).collect();
    Row { tier: Tier::Critical, rule: None, step, who, capability: "approve".into() }
}

#[test]
fn elements_read_back_and_nothing_else_is_one() {
    for text in ["supervisor", "department", "post:reviewer", "person:Sun", "person:a:b"] {
        assert_eq!(Who::parse(text).expect(text).to_string(), text);
    }
    for text in ["", "Supervisor", "post", "post:", "person:", "role:x", " supervisor", "supervisor:x"] {
        assert_eq!(Who::parse(text), None, "{text:?}");
    }
}

#[test]
fn nobody_is_meant_for_an_own_operation() {
    let own = kin("Chen", Some("North"), Some("Chen"));
    for who in ["supervisor", "department", "post:reviewer", "person:Chen"] {
        assert!(!Who::parse(who).expect(who).is(own, own), "{who}");
    }
}

#[test]
fn a_missing_department_is_nobodys() {
    let nowhere = kin("Sun", None, None);
    assert!(!Who::Department.is(nowhere, kin("Chen", None, None)));
    assert!(Who::Department.is(kin("Sun", Some("North"), None), kin("Chen", Some("North"), None)));
    assert!(!Who::Department.is(kin("Sun", Some("North"), None), kin("Chen", Some("Nort"), None)));
}

#[test]
fn a_row_holds_from_its_tier_on() {
    let important = Row { tier: Tier::Important, ..row(1, &["supervisor"]) };
    assert!(!important.concerns(Tier::Normal, &[]));
    assert!(important.concerns(Tier::Important, &[]));
    assert!(important.concerns(Tier::Critical, &[]), "a riskier script needs no fewer signatures");
    let named = Row { rule: Some("bulk_write".into()), ..important };
    assert!(!named.concerns(Tier::Critical, &["write".into()]));
    assert!(named.concerns(Tier::Critical, &["write".into(), "bulk_write".into()]));
}

#[test]
fn what_was_filed_is_never_lowered_and_what_rises_holds() {
    let (narrow, wide) = (row(1, &["supervisor"]), row(1, &["supervisor", "department"]));
    let (second, other) = (row(2, &["department"]), row(1, &["person:Sun"]));
    let weaker = Row { capability: "apply".into(), ..narrow.clone() };
    let of = |rows: &[&Row]| rows.iter().map(|row| (*row).clone()).collect::<Vec<Row>>();
    for (filed, today, holds, what) in [
        (&narrow, None, vec![&narrow], "dropped later"),
        (&narrow, Some(&wide), vec![&narrow], "widened later"),
        (&wide, Some(&narrow), vec![&narrow], "narrowed later"),
        (&narrow, Some(&second), vec![&narrow, &second], "added later"),
        (&narrow, Some(&other), vec![&narrow, &other], "replaced later"),
        (&narrow, Some(&weaker), vec![&narrow, &weaker], "another capability"),
    ] {
        let today: Vec<&Row> = today.into_iter().collect();
        assert_eq!(in_force(&of(&[filed]), &of(&today)), of(&holds), "{what}");
    }
}

#[test]
fn one_person_fills_one_place() {
    assert_eq!(fill(2, 1, &|_, _| true), [Some(0), None]);
    // The first candidate fits both places, the second only the first: the first has to move.
    let fits = |place, candidate| candidate == 0 || place == 0;
    assert_eq!(fill(2, 2, &fits), [Some(1), Some(0)]);
    assert!(fill(0, 3, &|_, _| true).is_empty());
}

/// The most places that any choice fills, by trying them all.
fn most(fits: &[Vec<bool>], place: usize, free: &mut [bool]) -> usize {
    let Some(candidates) = fits.get(place) else { return 0 };
    let mut best = most(fits, place + 1, free);
    for candidate in 0..free.len() {
        if free[candidate] && candidates[candidate] {
            free[candidate] = false;
            best = best.max(1 + most(fits, place + 1, free));
            free[candidate] = true;
        }
    }
    best
}

proptest! {
    /// As many places are filled as any choice could fill, by different candidates who fit.
    #[test]
    fn the_choice_is_the_best_there_is(
        fits in (0usize..5).prop_flat_map(|candidates| {
            prop::collection::vec(prop::collection::vec(any::<bool>(), candidates..=candidates), 0..5)
        }),
    ) {
        let candidates = fits.first().map_or(0, Vec::len);
        let filled = fill(fits.len(), candidates, &|place, candidate| fits[place][candidate]);
        let mut fillers: Vec<usize> = filled.iter().flatten().copied().collect();
        prop_assert_eq!(fillers.len(), most(&fits, 0, &mut vec![true; candidates]));
        for (place, filler) in filled.iter().enumerate() {
            prop_assert!(filler.is_none_or(|filler| fits[place][filler]));
        }
        fillers.sort_unstable();
        fillers.dedup();
        prop_assert_eq!(fillers.len(), filled.iter().flatten().count(), "nobody twice");
    }

    /// One more candidate opens no place that was filled, and fills at most one.
    #[test]
    fn one_more_signature_never_takes_one_away(
        fits in prop::collection::vec(prop::collection::vec(any::<bool>(), 4), 0..5),
    ) {
        let filled = |candidates| {
            let choice = fill(fits.len(), candidates, &|place, candidate| fits[place][candidate]);
            choice.iter().map(Option::is_some).collect::<Vec<bool>>()
        };
        let (fewer, more) = (filled(3), filled(4));
        prop_assert!(fewer.iter().zip(&more).all(|(before, after)| !before || *after), "{:?} {:?}", fewer, more);
        let count = |all: &[bool]| all.iter().filter(|filled| **filled).count();
        prop_assert!(count(&more) <= count(&fewer) + 1);
    }
}
