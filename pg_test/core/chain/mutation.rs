//! No mutation of a chain passes, and no whole chain is refused.

use super::{Row, array, chain, exchange, extend, forged, head, payload, renumber, verify, verify_from};
use crate::core::chain::Kind;
use proptest::prelude::*;

/// One change to the rows of a chain.
#[derive(Clone, Debug)]
pub(super) enum Mutation {
    Flip(usize, u8),
    Remove { renumber: bool },
    Swap(usize),
    Replay { from: usize, renumber: bool },
    Forge { sealed: bool },
    Renumber(i64),
    Truncate,
}

pub(super) fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        1 => any::<bool>().prop_map(|renumber| Mutation::Remove { renumber }),
        1 => any::<usize>().prop_map(Mutation::Swap),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(from, renumber)| Mutation::Replay { from, renumber }),
        1 => any::<bool>().prop_map(|sealed| Mutation::Forge { sealed }),
        1 => (-3..20_i64).prop_map(Mutation::Renumber),
        1 => Just(Mutation::Truncate),
    ]
}

/// Mutates row `k`; the rows stay in the order of their ids, as an index would give them.
pub(super) fn mutate(rows: &mut Vec<Row>, k: usize, mutation: Mutation) {
    let len = rows.len();
    match mutation {
        Mutation::Flip(at, bit) => {
            let row = &mut rows[k];
            let at = at % (8 + row.record.len() + row.prev.len() + row.hash.len());
            if at < 8 {
                row.id ^= 1 << (at as u32 * 8 + u32::from(bit));
            } else {
                let bytes = row.record.iter_mut().chain(&mut row.prev).chain(&mut row.hash);
                *bytes.into_iter().nth(at - 8).unwrap() ^= 1 << bit;
            }
        }
        Mutation::Remove { renumber: again } => {
            rows.remove(k);
            if again {
                renumber(rows);
            }
        }
        Mutation::Swap(with) => {
            let (a, b) = (k.min(with % len), k.max(with % len));
            exchange(rows, a, b.max(a + 1).min(len - 1), [true; 3]);
        }
        Mutation::Replay { from, renumber: again } => {
            rows.insert(k, rows[from % len].clone());
            if again {
                renumber(rows);
            }
        }
        Mutation::Forge { sealed } => {
            let mut row = Row { id: rows[k].id, ..forged(&rows[k].prev) };
            if sealed {
                row.seal();
            }
            rows.insert(k, row);
            renumber(rows);
        }
        Mutation::Renumber(id) => rows[k].id = id,
        Mutation::Truncate => rows.truncate(k),
    }
    rows.sort_by_key(|row| row.id);
}

fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), length)
}

proptest! {
    #[test]
    fn no_mutation_passes(length in 2..14_i64, k in any::<prop::sample::Index>(), mutation in mutation()) {
        let genuine = chain(length);
        let anchor = head(&genuine[length as usize - 1]);
        let k = k.index(genuine.len());
        let mut rows = genuine.clone();
        let needs_anchor = matches!(mutation, Mutation::Truncate)
            || matches!(mutation, Mutation::Remove { .. }) && k == genuine.len() - 1;
        // The last two rows cannot be exchanged with a row behind them.
        prop_assume!(!matches!(mutation, Mutation::Swap(_)) || k < genuine.len() - 1);
        mutate(&mut rows, k, mutation);
        prop_assume!(rows != genuine);
        let verdict = verify(&rows, Some(anchor));
        prop_assert!(!verdict.ok && !verdict.anchored, "{verdict:?}");
        if !needs_anchor {
            prop_assert!(!verify(&rows, None).ok);
        }
        prop_assert!(rows.is_empty() || verdict.first_bad_id.is_some());
        prop_assert_eq!(verdict.checked, rows.len() as i64);
    }

    #[test]
    fn every_whole_chain_passes(
        records in prop::collection::vec(any::<i64>(), 1..40),
        at in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
    ) {
        let mut rows = Vec::new();
        records.into_iter().for_each(|number| extend(&mut rows, payload(number)));
        prop_assert!(verify(&rows, None).ok);
        let anchor = head(&rows[at.index(rows.len())]);
        let verdict = verify(&rows, Some(anchor));
        prop_assert!(verdict.ok && verdict.anchored && verdict.kind == Kind::Ok);
        let from = from.index(rows.len());
        prop_assert!(verify_from(&rows[from..], from as i64 + 1, Some(array(&rows[from].prev)), None).ok);
    }

    #[test]
    fn any_rows_do_not_panic(
        rows in prop::collection::vec((any::<i64>(), bytes(0..40), bytes(30..34), bytes(30..34)), 1..6),
        first in any::<i64>(),
    ) {
        let rows: Vec<_> = rows.into_iter().map(|(id, record, prev, hash)| Row { id, record, prev, hash }).collect();
        prop_assert!(!verify_from(&rows, first, None, None).ok);
    }
}
