//! Each step once, and only so many wrong codes.

use crate::core::attempts::{Attempts, REMEMBERED, Verdict};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Some day of 2026.
const NOW: i64 = 849_000_000_000_000;

fn fresh() -> Attempts {
    Attempts::new(0, &[])
}

#[test]
fn a_step_is_accepted_once_and_older_ones_never_again() {
    let mut attempts = fresh();
    assert_eq!(attempts.judge(NOW, &[100]), Verdict::Accepted(100));
    for used in [99, 100] {
        assert_eq!(attempts.judge(NOW, &[used]), Verdict::Wrong);
    }
    assert_eq!(attempts.judge(NOW, &[101]), Verdict::Accepted(101));
}

/// One of a million codes stands for two steps at once.
#[test]
fn a_code_of_two_steps_counts_for_the_one_that_is_left() {
    let mut attempts = fresh();
    assert_eq!(attempts.judge(NOW, &[100, 101]), Verdict::Accepted(100));
    assert_eq!(attempts.judge(NOW, &[100, 101]), Verdict::Accepted(101));
    assert_eq!(attempts.judge(NOW, &[100, 101]), Verdict::Wrong);
}

#[test]
fn after_five_wrong_codes_not_even_a_right_one_is_looked_at() {
    let mut attempts = fresh();
    for second in 0..5 {
        assert_eq!(attempts.judge(NOW + second * 1_000_000, &[]), Verdict::Wrong);
    }
    let until = NOW + 15 * MINUTE;
    assert_eq!(attempts.judge(NOW + MINUTE, &[100]), Verdict::Wait(until));
    assert_eq!(attempts.judge(until - 1, &[100]), Verdict::Wait(until));
    assert_eq!(attempts.judge(until, &[100]), Verdict::Accepted(100));
}

#[test]
fn a_right_code_forgives_nothing() {
    let mut attempts = fresh();
    for step in 1..=4 {
        assert_eq!(attempts.judge(NOW, &[]), Verdict::Wrong);
        assert_eq!(attempts.judge(NOW, &[step]), Verdict::Accepted(step));
    }
    assert_eq!(attempts.judge(NOW, &[]), Verdict::Wrong);
    assert_eq!(attempts.judge(NOW, &[5]), Verdict::Wait(NOW + 15 * MINUTE));
}

#[test]
fn twenty_wrong_codes_are_a_day_s_worth() {
    let mut attempts = fresh();
    let (mut tried, mut now) = (0, NOW);
    while now < NOW + DAY {
        match attempts.judge(now, &[]) {
            Verdict::Wrong => tried += 1,
            Verdict::Wait(until) => now = until,
            Verdict::Accepted(step) => panic!("accepted {step}"),
        }
    }
    assert_eq!(tried, REMEMBERED);
}

#[test]
fn a_clock_that_was_set_back_opens_nothing() {
    let mut attempts = Attempts::new(100, &[NOW; 5]);
    assert_eq!(attempts.judge(NOW - DAY, &[99]), Verdict::Wait(NOW + 15 * MINUTE));
}

#[test]
fn of_what_was_kept_the_newest_counts() {
    let times: Vec<i64> = (0..30).map(|number| NOW + number).collect();
    let attempts = Attempts::new(7, &times);
    assert_eq!(attempts.failures[..], times[10..]);
    assert_eq!(attempts.last_step, 7);
}

#[test]
fn only_what_makes_no_difference_may_be_forgotten() {
    assert!(!fresh().matters(NOW, 100));
    assert!(!Attempts::new(97, &[NOW - DAY]).matters(NOW, 100));
    assert!(Attempts::new(98, &[]).matters(NOW, 100));
    assert!(Attempts::new(0, &[NOW - DAY + 1]).matters(NOW, 100));
}
