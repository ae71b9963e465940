//! Every attack on a chain with its exact verdict and first bad id, wherever in the chain it is made.

use super::{LENGTH, Row, chain, exchange, extend, forged, head, payload, renumber, verify};
use crate::core::chain::Kind;

/// Applies one attack on record `k` of a chain, for every k, and expects that kind and first bad id, with and
/// without the anchor of the genuine head.
#[track_caller]
fn attack(
    ks: std::ops::RangeInclusive<i64>,
    expected: impl Fn(i64) -> (Kind, i64),
    act: impl Fn(&mut Vec<Row>, usize),
) {
    let genuine = chain(LENGTH);
    for k in ks {
        let mut rows = genuine.clone();
        act(&mut rows, k as usize - 1);
        for anchor in [None, Some(head(&genuine[LENGTH as usize - 1]))] {
            let verdict = verify(&rows, anchor);
            let (kind, first_bad_id) = expected(k);
            assert_eq!((verdict.kind, verdict.first_bad_id), (kind, Some(first_bad_id)), "k = {k}, {anchor:?}");
            assert!(!verdict.ok && !verdict.anchored);
            assert_eq!(verdict.checked, rows.len() as i64);
        }
    }
}

fn edited(k: i64) -> (Kind, i64) {
    (Kind::Edited, k)
}

fn missing(k: i64) -> (Kind, i64) {
    (Kind::Missing, k)
}

fn inserted(k: i64) -> (Kind, i64) {
    (Kind::Inserted, k)
}

fn reordered(k: i64) -> (Kind, i64) {
    (Kind::Reordered, k)
}

#[test]
fn edited_payload() {
    attack(1..=LENGTH, edited, |rows, k| rows[k].record = payload(-7));
    attack(1..=LENGTH, edited, |rows, k| rows[k].record[8] ^= 1);
}

#[test]
fn edited_hash() {
    attack(1..=LENGTH, edited, |rows, k| rows[k].hash[31] ^= 1);
    attack(1..=LENGTH, edited, |rows, k| rows[k].hash.truncate(31));
    attack(1..=LENGTH, edited, |rows, k| rows[k].hash.clear());
}

#[test]
fn edited_prev_hash() {
    attack(1..=LENGTH, edited, |rows, k| rows[k].prev[0] ^= 1);
    attack(1..=LENGTH, edited, |rows, k| rows[k].prev.push(0));
}

#[test]
fn edited_with_its_hash_recomputed() {
    attack(1..=LENGTH - 1, edited, |rows, k| {
        rows[k].record = payload(-7);
        rows[k].seal();
    });
}

#[test]
fn overwritten_by_another_record() {
    attack(2..=LENGTH - 1, edited, |rows, k| rows[k] = Row { id: rows[k].id, ..forged(&[7; 32]) });
    attack(5..=LENGTH - 1, edited, |rows, k| rows[k] = Row { id: rows[k].id, ..rows[k - 3].clone() });
    attack(2..=LENGTH - 3, edited, |rows, k| rows[k] = Row { id: rows[k].id, ..rows[k + 2].clone() });
}

#[test]
fn deleted() {
    attack(1..=LENGTH - 1, missing, |rows, k| drop(rows.remove(k)));
    attack(1..=LENGTH - 4, missing, |rows, k| drop(rows.drain(k..k + 3)));
}

#[test]
fn deleted_and_renumbered() {
    attack(1..=LENGTH - 1, missing, |rows, k| {
        rows.remove(k);
        renumber(rows);
    });
    attack(1..=LENGTH - 4, missing, |rows, k| {
        rows.drain(k..k + 3);
        renumber(rows);
    });
    attack(2..=LENGTH - 2, missing, |rows, k| {
        rows.remove(k);
        renumber(rows);
        rows[k].prev = rows[k - 1].hash.clone();
    });
}

#[test]
fn forged_and_inserted() {
    for prev in [None, Some([7; 32])] {
        attack(1..=LENGTH, inserted, |rows, k| {
            let prev = prev.map_or(rows[k].prev.clone(), |prev| prev.to_vec());
            rows.insert(k, forged(&prev));
            renumber(rows);
        });
    }
    attack(1..=LENGTH, inserted, |rows, k| {
        (0..3).for_each(|_| rows.insert(k, forged(&[7; 32])));
        renumber(rows);
    });
}

#[test]
fn forged_with_a_right_hash_and_inserted() {
    for links in [1, 3] {
        attack(1..=LENGTH, inserted, |rows, k| {
            let mut longer = rows[..k].to_vec();
            (0..links).for_each(|number| extend(&mut longer, payload(-number)));
            longer.extend_from_slice(&rows[k..]);
            *rows = longer;
            renumber(rows);
        });
    }
    attack(1..=LENGTH, inserted, |rows, k| {
        let mut forged = forged(&rows[k].prev);
        forged.id = k as i64 + 1;
        forged.seal();
        rows[k].prev = forged.hash.clone();
        rows.insert(k, forged);
        renumber(rows);
    });
    attack(1..=LENGTH, inserted, |rows, k| {
        let mut forged = forged(&[7; 32]);
        forged.id = k as i64 + 1;
        forged.seal();
        rows.insert(k, forged);
        renumber(rows);
    });
}

#[test]
fn replayed() {
    for from in [0, LENGTH as usize - 1] {
        attack(2..=LENGTH - 1, inserted, |rows, k| {
            rows.insert(k, rows[from].clone());
            renumber(rows);
        });
    }
    attack(
        1..=LENGTH - 1,
        |_| inserted(LENGTH + 1),
        |rows, k| {
            rows.push(rows[k].clone());
            renumber(rows);
        },
    );
    attack(1..=LENGTH, inserted, |rows, k| rows.insert(k, rows[k].clone()));
}

#[test]
fn forged_at_the_end() {
    attack(
        1..=1,
        |_| inserted(LENGTH + 1),
        |rows, _| {
            rows.push(forged(&[7; 32]));
            renumber(rows);
        },
    );
}

#[test]
fn swapped() {
    for distance in [1, 2, 5] {
        for columns in
            [[true, true, true], [true, false, false], [true, false, true], [true, true, false], [false, false, true]]
        {
            attack(1..=LENGTH - distance, reordered, |rows, k| exchange(rows, k, k + distance as usize, columns));
        }
    }
}

#[test]
fn permuted() {
    attack(1..=LENGTH - 4, reordered, |rows, k| {
        rows[k..k + 5].rotate_left(1);
        renumber(rows);
    });
    attack(1..=LENGTH - 4, reordered, |rows, k| {
        rows[k..k + 5].rotate_right(2);
        renumber(rows);
    });
    attack(1..=LENGTH - 4, reordered, |rows, k| {
        rows[k..k + 5].reverse();
        renumber(rows);
    });
}

#[test]
fn forked() {
    attack(
        2..=LENGTH - 1,
        |k| (Kind::Forked, k + 1),
        |rows, k| {
            // A second writer that saw the chain before record k and took the next free id.
            let mut branch = Row { id: rows[k].id + 1, record: payload(-1), ..rows[k].clone() };
            branch.seal();
            rows.truncate(k + 1);
            rows.push(branch);
        },
    );
    attack(
        1..=LENGTH,
        |k| (Kind::Forked, k),
        |rows, k| {
            let mut branch = Row { record: payload(-1), ..rows[k].clone() };
            branch.seal();
            rows.insert(k + 1, branch);
        },
    );
}
