//! Alert rules: what they speak of, and how many are too many.

use crate::core::alert::{Recent, Rule};
use crate::core::calendar::{Calendar, Moment};
use crate::core::record::{Kind, Outcome};
use crate::core::tier::Tier;

const MINUTE: i64 = 60_000_000;

#[test]
fn the_fifty_first_within_an_hour_is_one_too_many() {
    let rule = Rule { more_than: 50, within: 60 * MINUTE, ..Rule::default() };
    let mut recent = Recent::default();
    let alarms = (0..120).filter(|n| recent.exceeds(&rule, n * MINUTE, 1, 1)).count();
    // One a minute: any sixty-one minutes hold 51 of them from the 51st on.
    assert_eq!(alarms, 70);
    let mut slow = Recent::default();
    assert!((0..500).all(|n| !slow.exceeds(&rule, n * 2 * MINUTE, 1, 1)), "30 an hour are none too many");
    let mut burst = Recent::default();
    assert!((0..50).all(|_| !burst.exceeds(&rule, 7, 1, 1)));
    assert!(burst.exceeds(&rule, 7, 1, 1));
}

#[test]
fn a_rule_without_a_number_speaks_of_each() {
    let rule = Rule::default();
    let mut recent = Recent::default();
    assert!(recent.exceeds(&rule, 0, 1, 1) && recent.exceeds(&rule, 1_000 * MINUTE, 1, 1));
}

/// On a day of work.
fn at(minute: u16) -> Moment {
    Moment { minute, free: false }
}

#[test]
fn the_night_goes_over_midnight() {
    let night = Rule { hours: Some((22 * 60, 7 * 60)), ..Rule::default() };
    for (minute, night_time) in
        [(0, true), (419, true), (420, false), (720, false), (1319, false), (1320, true), (1439, true)]
    {
        assert_eq!(night.concerns_moment(at(minute)), night_time, "{minute}");
    }
    let noon = Rule { hours: Some((720, 780)), ..Rule::default() };
    assert!(noon.concerns_moment(at(720)) && !noon.concerns_moment(at(780)) && !noon.concerns_moment(at(0)));
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

#[test]
fn rows_are_counted_over_the_rule_s_time() {
    let rule = Rule { more_rows: Some(100), within: 60 * MINUTE, ..Rule::default() };
    let mut recent = Recent::default();
    assert!(!recent.exceeds(&rule, 0, 1, 60) && !recent.exceeds(&rule, MINUTE, 1, 40), "a hundred are none too many");
    assert!(!recent.exceeds(&rule, 2 * MINUTE, 1, 0), "no row is none too many");
    assert!(recent.exceeds(&rule, 3 * MINUTE, 1, 1));
    assert!(!recent.exceeds(&rule, 61 * MINUTE, 1, 50), "the first ones are an hour ago");
    assert!(!recent.is_over(&rule, 100 * MINUTE) && recent.is_over(&rule, 121 * MINUTE));
    assert!(Recent::default().exceeds(&rule, 0, 1, 101));
    // What comes late counts where it belongs.
    let mut late = Recent::default();
    assert!(!late.exceeds(&rule, 10 * MINUTE, 1, 60) && late.exceeds(&rule, 2 * MINUTE, 1, 60));
}

#[test]
fn a_weekend_that_makes_up_for_a_holiday_is_worked() {
    // 2026-10-01 is a holiday, a Thursday; the Saturday after next, the 10th, is worked.
    let (thursday, saturday) = (9770, 9779);
    let calendar = Calendar::new([(thursday, true), (saturday, false)]);
    assert!(calendar.is_free(thursday) && !calendar.is_free(thursday + 1) && calendar.is_free(thursday + 2));
    assert!(!calendar.is_free(saturday) && calendar.is_free(saturday + 1));
    let weekdays: Vec<bool> = (-1..8).map(|day| Calendar::default().is_free(day)).collect();
    assert_eq!(weekdays, [false, true, true, false, false, false, false, false, true]);
    let day = 1440 * MINUTE;
    assert_eq!(calendar.moment(i64::from(thursday) * day - 1), Moment { minute: 1439, free: false });
    assert_eq!(calendar.moment(i64::from(thursday) * day), Moment { minute: 0, free: true });
    assert_eq!(calendar.moment(-1), Moment { minute: 1439, free: false }, "1999-12-31 was a Friday");
}

#[test]
fn free_days_count_beside_the_hours() {
    let free = |minute| Moment { minute, free: true };
    let rule = Rule { hours: Some((22 * 60, 7 * 60)), free_days: true, ..Rule::default() };
    assert!(rule.concerns_moment(free(720)) && rule.concerns_moment(at(0)) && !rule.concerns_moment(at(720)));
    let only = Rule { free_days: true, ..Rule::default() };
    assert!(only.concerns_moment(free(720)) && !only.concerns_moment(at(0)));
    let hours = Rule { hours: Some((22 * 60, 7 * 60)), ..Rule::default() };
    assert!(!hours.concerns_moment(free(720)));
}
