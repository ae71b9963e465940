//! Numbers that come more than once, in pieces or whole.

use crate::core::repeats::{FLOOR, MERGED, Merged, due, kept, repeated};
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

/// The levels of the pieces after so many were written, and the most that ever were at a time.
fn written(count: usize) -> (Vec<u32>, usize) {
    let (mut levels, mut most) = (Vec::new(), 0);
    for _ in 0..count {
        levels.push(0);
        most = most.max(levels.len());
        while let Some(alike) = due(&levels) {
            let level = levels[levels.len() - alike];
            levels.truncate(levels.len() - alike);
            levels.push(level + 1);
        }
    }
    (levels, most)
}

/// However little memory there is: never more pieces than each power allows, and the one that is made.
#[test]
fn pieces_stay_few_whatever_the_memory() {
    for (count, powers) in [(1, 1), (15, 1), (16, 2), (255, 2), (256, 3), (100_000, 5), (1_048_575, 5)] {
        let (levels, most) = written(count);
        assert!(most <= (MERGED - 1) * powers + 1, "{count}: {most} at a time");
        let whole: usize = levels.iter().map(|level| MERGED.pow(*level)).sum();
        assert_eq!(whole, count, "none is lost: {levels:?}");
    }
    assert_eq!(kept(0, 1), FLOOR);
    assert_eq!(kept(1 << 20, 1_000), FLOOR, "as many checks as there may be");
    assert_eq!(kept(64 << 20, 2), 4 << 20);
    assert_eq!(kept(1 << 20, 0), 1 << 17);
}

proptest! {
    #[test]
    fn merged_is_sorted_and_whole(pieces in prop::collection::vec(prop::collection::vec(-20i64..20, 0..30), 0..20)) {
        let mut wanted: Vec<i64> = pieces.iter().flatten().copied().collect();
        wanted.sort_unstable();
        let sorted = pieces.into_iter().map(|mut piece| { piece.sort_unstable(); piece.into_iter() });
        prop_assert_eq!(Merged::of(sorted.collect()).collect::<Vec<_>>(), wanted);
    }

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
