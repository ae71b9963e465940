//! Numbers that come more than once, in pieces or whole.

use crate::core::repeats::repeated;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn of(pieces: &[Vec<i64>], most: usize) -> Option<Vec<i64>> {
    let sorted = pieces.iter().map(|piece| {
        let mut piece = piece.clone();
        piece.sort_unstable();
        piece.into_iter()
    });
    repeated(sorted.collect(), most)
}

#[test]
fn a_number_counts_once_wherever_it_comes() {
    assert_eq!(of(&[], 5), Some(vec![]));
    assert_eq!(of(&[vec![], vec![1, 2, 3]], 5), Some(vec![]));
    assert_eq!(of(&[vec![3, 1, 3, 3]], 5), Some(vec![3]));
    assert_eq!(of(&[vec![1, 2], vec![2, 4], vec![4, 1]], 5), Some(vec![1, 2, 4]));
    assert_eq!(of(&[vec![i64::MIN, i64::MAX], vec![i64::MAX, i64::MIN]], 5), Some(vec![i64::MIN, i64::MAX]));
}

#[test]
fn more_than_asked_for_are_too_many() {
    let pieces = [vec![1, 1, 2, 2], vec![3, 3, 3]];
    assert_eq!(of(&pieces, 3), Some(vec![1, 2, 3]));
    assert_eq!(of(&pieces, 2), None);
    assert_eq!(of(&[vec![7, 7]], 0), None);
    assert_eq!(of(&[vec![7, 8]], 0), Some(vec![]));
}

proptest! {
    #[test]
    fn as_counted_by_hand(pieces in prop::collection::vec(prop::collection::vec(-20i64..20, 0..30), 0..6)) {
        let mut counts = BTreeMap::new();
        for number in pieces.iter().flatten() {
            *counts.entry(*number).or_insert(0) += 1;
        }
        let wanted: Vec<i64> = counts.into_iter().filter(|(_, count)| *count > 1).map(|(number, _)| number).collect();
        prop_assert_eq!(of(&pieces, 100), Some(wanted));
    }
}
