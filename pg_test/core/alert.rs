//! Alert rules: what they speak of, and how many are too many.

use crate::core::alert::{Recent, Rule};
use crate::core::record::{Kind, Outcome};
use crate::core::tier::Tier;

const MINUTE: i64 = 60_000_000;

#[test]
fn the_fifty_first_within_an_hour_is_one_too_many() {
    let rule = Rule { more_than: 50, within: 60 * MINUTE, ..Rule::default() };
    let mut recent = Recent::default();
    let alarms = (0..120).filter(|n| recent.exceeds(&rule, n * MINUTE)).count();
    // One a minute: any sixty-one minutes hold 51 of them from the 51st on.
    assert_eq!(alarms, 70);
    let mut slow = Recent::default();
    assert!((0..500).all(|n| !slow.exceeds(&rule, n * 2 * MINUTE)), "30 an hour are none too many");
    let mut burst = Recent::default();
    assert!((0..50).all(|_| !burst.exceeds(&rule, 7)));
    assert!(burst.exceeds(&rule, 7));
}

#[test]
fn a_rule_without_a_number_speaks_of_each() {
    let rule = Rule::default();
    let mut recent = Recent::default();
    assert!(recent.exceeds(&rule, 0) && recent.exceeds(&rule, 1_000 * MINUTE));
}

#[test]
fn the_night_goes_over_midnight() {
    let night = Rule { hours: Some((22 * 60, 7 * 60)), ..Rule::default() };
    for (minute, night_time) in
        [(0, true), (419, true), (420, false), (720, false), (1319, false), (1320, true), (1439, true)]
    {
        assert_eq!(night.concerns_minute(minute), night_time, "{minute}");
    }
    let noon = Rule { hours: Some((720, 780)), ..Rule::default() };
    assert!(noon.concerns_minute(720) && !noon.concerns_minute(780) && !noon.concerns_minute(0));
}

#[test]
fn a_rule_speaks_of_what_it_names() {
    let rule = Rule {
        kinds: vec![Kind::Statement],
        operation_types: vec!["UPDATE".into()],
        outcomes: vec![Outcome::Denied],
        min_tier: Some(Tier::Important),
        posts: vec!["teacher".into(), "clerk".into()],
        except_posts: vec!["clerk".into()],
        ..Rule::default()
    };
    assert!(rule.concerns_act("UPDATE", Some(Tier::Critical)) && !rule.concerns_act("UPDATE", Some(Tier::Normal)));
    assert!(!rule.concerns_act("UPDATE", None) && !rule.concerns_act("DELETE", Some(Tier::Critical)));
    assert!(
        rule.concerns_ending(Kind::Statement, Outcome::Denied) && !rule.concerns_ending(Kind::Login, Outcome::Denied)
    );
    assert!(rule.concerns_post(Some("teacher")) && !rule.concerns_post(Some("clerk")) && !rule.concerns_post(None));
    assert!(Rule::default().concerns_post(None));
}
