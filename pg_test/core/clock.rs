//! A11: what the sequencer says about a clock that was set, that stands still, or that is behind what is sealed.

use crate::core::clock::{Clock, Step, TOLERANCE};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const BOOT: i64 = 800_000_000 * SECOND;

/// A clock that was looked at ten seconds after the boot.
fn looked_at() -> Clock {
    let mut clock = Clock::new(None, i64::MIN);
    assert_eq!(clock.look(BOOT + 10 * SECOND, 10 * SECOND), None);
    clock
}

#[test]
fn a_clock_that_nobody_touches_makes_no_step() {
    let mut clock = looked_at();
    for second in 11..10_000 {
        let jitter = (second * 7_919) % TOLERANCE;
        assert_eq!(clock.look(BOOT + second * SECOND + jitter, second * SECOND), None);
    }
    // The machine slept: the steady clock counted that.
    assert_eq!(clock.look(BOOT + 100 * HOUR, 100 * HOUR), None);
}

#[test]
fn a_clock_that_is_set_is_told_once_and_each_way() {
    let mut clock = looked_at();
    for (by, at) in [(-HOUR, 20), (HOUR, 30)] {
        let expected = BOOT + at * SECOND;
        let found = expected + by;
        assert_eq!(clock.look(found, at * SECOND), Some(Step { expected, found, by_steady: true }));
        assert_eq!(clock.look(found + SECOND, (at + 1) * SECOND), None);
        // Set right again.
        assert!(clock.look(expected + 2 * SECOND, (at + 2) * SECOND).is_some());
    }
}

#[test]
fn a_step_within_the_tolerance_is_none_and_one_beyond_is() {
    for direction in [-1, 1] {
        let mut clock = looked_at();
        assert_eq!(clock.look(BOOT + 20 * SECOND + direction * TOLERANCE, 20 * SECOND), None);
        assert!(clock.look(BOOT + 20 * SECOND + direction * (TOLERANCE + 1), 20 * SECOND).is_some());
    }
}

#[test]
fn a_clock_that_goes_slowly_or_stands_still_is_told_as_soon_as_it_strayed() {
    let mut clock = looked_at();
    let told = (1..=100).filter(|second| clock.look(BOOT + 10 * SECOND, (10 + second) * SECOND).is_some()).count();
    assert_eq!(told, 16, "once in six seconds");
    let mut clock = looked_at();
    let slow = |second: i64| BOOT + 10 * SECOND + second * SECOND / 2;
    assert!((1..=100).any(|second| clock.look(slow(second), (10 + second) * SECOND).is_some()));
}

#[test]
fn a_clock_behind_the_last_sealed_record_is_told_at_the_first_look() {
    let sealed = BOOT + HOUR;
    let mut clock = Clock::new(None, sealed);
    let step = Step { expected: sealed, found: BOOT, by_steady: false };
    assert_eq!(clock.look(BOOT, SECOND), Some(step));
    assert_eq!(clock.look(BOOT + SECOND, 2 * SECOND), None);
    assert_eq!(Clock::new(None, sealed).look(sealed - TOLERANCE, SECOND), None);
    // Time went by while nothing ran: nobody can tell that from a step.
    assert_eq!(Clock::new(None, sealed).look(sealed + 1_000 * HOUR, SECOND), None);
}

#[test]
fn what_an_earlier_sequencer_knew_counts() {
    let begin = looked_at().begin();
    let found = BOOT + HOUR;
    let step = Step { expected: BOOT + 20 * SECOND, found, by_steady: true };
    assert_eq!(Clock::new(begin, i64::MIN).look(found, 20 * SECOND), Some(step));
}

#[test]
fn the_time_of_sealing_never_goes_down() {
    let mut clock = looked_at();
    let mut last = clock.sealed();
    for (now, steady) in
        [(BOOT + 30 * SECOND, 30), (BOOT - HOUR, 31), (BOOT, 32), (BOOT + 29 * SECOND, 33), (BOOT + HOUR, 34)]
    {
        clock.look(now, steady * SECOND);
        assert!(clock.sealed() >= last && clock.sealed() >= now);
        last = clock.sealed();
    }
    assert_eq!(last, BOOT + HOUR);
    assert_eq!(Clock::new(None, BOOT).sealed(), BOOT);
}

#[test]
fn what_lasts_goes_on_at_the_steady_pace_whatever_is_done_to_the_clock() {
    let mut clock = looked_at();
    let mut last = clock.lasting();
    assert_eq!(last, BOOT + 10 * SECOND);
    for steady in 11..200 {
        // Set back an hour, then a stand-still, then as if nothing had been.
        let now = match steady {
            ..60 => BOOT - HOUR + steady * SECOND,
            60..120 => BOOT - HOUR,
            _ => BOOT + steady * SECOND,
        };
        clock.look(now, steady * SECOND);
        assert_eq!(clock.lasting() - last, SECOND, "{steady}");
        last = clock.lasting();
    }
    // Forward counts, and is not taken back.
    clock.look(BOOT + HOUR, 200 * SECOND);
    clock.look(BOOT + 201 * SECOND, 201 * SECOND);
    assert_eq!(clock.lasting(), BOOT + HOUR + SECOND);
    // Set back before the start: from what was sealed on, and not standing there.
    let mut clock = Clock::new(None, BOOT + HOUR);
    for steady in 1..10 {
        clock.look(BOOT, steady * SECOND);
        assert_eq!(clock.lasting(), BOOT + HOUR + (steady - 1) * SECOND);
    }
}

#[test]
fn times_at_the_end_of_what_can_be_counted_stop_nothing() {
    for now in [i64::MIN, 0, i64::MAX] {
        let mut clock = Clock::new(Some(i64::MAX - 1), i64::MIN);
        clock.look(now, i64::MAX);
        clock.look(now, 0);
        assert!(clock.sealed() >= now);
    }
}
