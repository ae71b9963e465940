//! Each step once, and only so many wrong codes.

use crate::core::attempts::{Attempts, REMEMBERED, Typed, Verdict};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Some day of 2026.
const NOW: i64 = 849_000_000_000_000;

const SECOND: i64 = 1_000_000;

fn fresh() -> Attempts {
    Attempts::new(0, &[])
}

fn typed(at: i64, steps: &[i64]) -> Typed {
    Typed { at, steps: steps.to_vec() }
}

/// One code, with nothing typed before it.
fn judge(attempts: &mut Attempts, at: i64, steps: &[i64]) -> Verdict {
    attempts.judge(&typed(at, steps), None)
}

/// Somebody has guessed too often.
fn too_many() -> Attempts {
    Attempts::new(90, &[NOW; 5])
}

/// Two codes after too many wrong ones: what the second is told, if so much time lies between them.
fn pair(first: &[i64], second: &[i64], pause: i64) -> Verdict {
    let mut attempts = too_many();
    let first = typed(NOW, first);
    assert_eq!(attempts.judge(&first, None), Verdict::OneMore);
    attempts.judge(&typed(NOW + pause, second), Some(&first))
}

#[test]
fn a_step_is_accepted_once_and_older_ones_never_again() {
    let mut attempts = fresh();
    assert_eq!(judge(&mut attempts, NOW, &[100]), Verdict::Accepted(100));
    for used in [99, 100] {
        assert_eq!(judge(&mut attempts, NOW, &[used]), Verdict::Wrong);
    }
    assert_eq!(judge(&mut attempts, NOW, &[101]), Verdict::Accepted(101));
}

/// One of a million codes stands for two steps at once.
#[test]
fn a_code_of_two_steps_counts_for_the_one_that_is_left() {
    let mut attempts = fresh();
    assert_eq!(judge(&mut attempts, NOW, &[100, 101]), Verdict::Accepted(100));
    assert_eq!(judge(&mut attempts, NOW, &[100, 101]), Verdict::Accepted(101));
    assert_eq!(judge(&mut attempts, NOW, &[100, 101]), Verdict::Wrong);
}

#[test]
fn after_five_wrong_codes_one_right_code_is_not_enough() {
    let mut attempts = fresh();
    for second in 0..5 {
        assert_eq!(judge(&mut attempts, NOW + second * SECOND, &[]), Verdict::Wrong);
    }
    let until = NOW + 15 * MINUTE;
    assert_eq!(judge(&mut attempts, NOW + MINUTE, &[100]), Verdict::OneMore);
    assert_eq!(judge(&mut attempts, until - 1, &[100]), Verdict::OneMore);
    assert_eq!(judge(&mut attempts, until, &[100]), Verdict::Accepted(100));
}

/// Whoever has the authenticator is never locked out, however often somebody else guesses.
#[test]
fn after_too_many_wrong_codes_two_successive_ones_are_enough() {
    assert_eq!(pair(&[100], &[101], 30 * SECOND), Verdict::Accepted(101));
    // One code may stand for several steps.
    assert_eq!(pair(&[99, 100], &[98, 101], 30 * SECOND), Verdict::Accepted(101));
    let mut attempts = too_many();
    let first = typed(NOW, &[100]);
    for _ in 0..1000 {
        assert_eq!(judge(&mut attempts, NOW, &[]), Verdict::OneMore);
    }
    assert_eq!(attempts.judge(&typed(NOW + 30 * SECOND, &[101]), Some(&first)), Verdict::Accepted(101));
    assert_eq!(
        attempts.judge(&typed(NOW + 60 * SECOND, &[102]), None),
        Verdict::OneMore,
        "what came in between counts"
    );
}

#[test]
fn a_pair_is_two_right_codes_that_follow_each_other() {
    for (first, second) in [(&[][..], &[101][..]), (&[100], &[]), (&[100], &[102]), (&[101], &[100]), (&[100], &[100])]
    {
        assert_eq!(pair(first, second, 30 * SECOND), Verdict::OneMore, "{first:?} {second:?}");
    }
    assert_eq!(pair(&[90], &[91], 30 * SECOND), Verdict::OneMore, "a used code is no half of a pair");
    assert_eq!(pair(&[91], &[92], 30 * SECOND), Verdict::Accepted(92));
}

/// Both guessed in one breath would be a million million guesses a day.
#[test]
fn the_second_code_takes_its_time_and_not_too_long() {
    for pause in [-SECOND, 0, 5 * SECOND - 1, 2 * MINUTE + 1] {
        assert_eq!(pair(&[100], &[101], pause), Verdict::OneMore, "{pause}");
    }
    for pause in [5 * SECOND, 2 * MINUTE] {
        assert_eq!(pair(&[100], &[101], pause), Verdict::Accepted(101), "{pause}");
    }
}

#[test]
fn wrong_codes_from_before_an_enrolment_do_not_count() {
    let mut attempts = Attempts::new(0, &[NOW - 3, NOW - 2, NOW - 1, NOW, NOW + 1]);
    assert!(attempts.are_too_many(NOW + 2));
    attempts.forget_before(NOW);
    assert!(!attempts.are_too_many(NOW + 2));
    assert_eq!(attempts.failures[REMEMBERED - 3..], [0, NOW, NOW + 1]);
    for _ in 0..3 {
        assert_eq!(judge(&mut attempts, NOW + 2, &[]), Verdict::Wrong);
    }
    assert_eq!(judge(&mut attempts, NOW + 3, &[7]), Verdict::OneMore);
}

#[test]
fn a_right_code_forgives_nothing() {
    let mut attempts = fresh();
    for step in 1..=4 {
        assert_eq!(judge(&mut attempts, NOW, &[]), Verdict::Wrong);
        assert_eq!(judge(&mut attempts, NOW, &[step]), Verdict::Accepted(step));
    }
    assert_eq!(judge(&mut attempts, NOW, &[]), Verdict::Wrong);
    assert_eq!(judge(&mut attempts, NOW, &[5]), Verdict::OneMore);
}

#[test]
fn twenty_wrong_codes_are_a_day_s_worth() {
    let mut attempts = fresh();
    let (mut tried, mut now) = (0, NOW);
    while now < NOW + DAY {
        match judge(&mut attempts, now, &[]) {
            Verdict::Wrong => tried += 1,
            Verdict::OneMore => now += MINUTE,
            Verdict::Accepted(step) => panic!("accepted {step}"),
        }
    }
    assert_eq!(tried, REMEMBERED);
}

#[test]
fn a_clock_that_was_set_back_opens_nothing() {
    let mut attempts = Attempts::new(100, &[NOW; 5]);
    assert_eq!(judge(&mut attempts, NOW - DAY, &[99]), Verdict::OneMore);
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
