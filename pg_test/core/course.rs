//! When a standing operation may run again, and how long its approvals count, whatever the clock does.

use crate::core::course::{APPROVAL_DAYS, Course, RENEWAL_DAYS};
use proptest::prelude::*;

const DAY: i64 = 24 * 3600 * 1_000_000;

fn standing(every: i64, last_run: Option<i64>, now: i64) -> Course {
    Course::Standing { every, last_run, now }
}

#[test]
fn runs_keep_their_distance() {
    assert_eq!(standing(10, None, 0).too_soon(), None, "the first run waits for nothing");
    assert_eq!(standing(10, Some(100), 109).too_soon(), Some(110));
    assert_eq!(standing(10, Some(100), 110).too_soon(), None);
    assert_eq!(standing(10, Some(i64::MAX), 0).too_soon(), Some(i64::MAX));
}

#[test]
fn an_approval_counts_a_year_and_is_renewed_in_its_last_days() {
    let at = |days: i64| standing(1, None, days * DAY);
    assert!(!at(APPROVAL_DAYS - RENEWAL_DAYS - 1).renewable(0));
    assert!(at(APPROVAL_DAYS - RENEWAL_DAYS).renewable(0));
    assert!(!at(APPROVAL_DAYS - 1).lapsed(0));
    assert!(at(APPROVAL_DAYS).lapsed(0) && at(APPROVAL_DAYS).renewable(0));
}

#[test]
fn approvals_of_other_operations_do_not_age() {
    for course in [Course::Whole, Course::Stepwise { confirmed: None, touched: 3 }] {
        assert!(!course.lapsed(i64::MIN) && !course.renewable(i64::MIN));
        assert_eq!(course.too_soon(), None);
    }
}

#[test]
fn only_steps_add_up() {
    assert_eq!(Course::Stepwise { confirmed: Some(2), touched: 7 }.touched(), 7);
    assert_eq!(standing(1, Some(1), 2).touched(), 0);
    assert_eq!(Course::Whole.touched(), 0);
}

proptest! {
    /// Nothing that is refused becomes possible by setting the clock back.
    #[test]
    fn a_clock_that_goes_back_helps_nobody(every in 1..=366 * DAY, last_run in 0..=i64::MAX / 4, approved_at in 0..=i64::MAX / 4,
            now in 0..=i64::MAX / 4, back in 0..=i64::MAX / 4) {
        let (before, after) = (standing(every, Some(last_run), now), standing(every, Some(last_run), now - back));
        prop_assert!(before.too_soon().is_none() || after.too_soon() == before.too_soon());
        // An approval that was over at the last run stays over.
        let then = standing(every, Some(last_run), last_run);
        prop_assert!(!then.lapsed(approved_at) || after.lapsed(approved_at));
    }
}
