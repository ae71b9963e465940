//! Several threads give the verdict that one gives: on whole chains and on every mutation, wherever it is cut.

use super::mutation::{mutate, mutation};
use super::{LEDGER, Row, chain, genesis, head, verify_from};
use crate::core::chain::{Batch, Head, Kind, Parallel, Verdict, Verifier};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Long enough for several batches for each of some threads.
static LONG: LazyLock<Vec<Row>> = LazyLock::new(|| chain(3_300));

fn in_parallel(rows: &[Row], first: i64, anchor: Option<Head>, threads: usize) -> Verdict {
    let mut parallel = Parallel::new(Verifier::new(LEDGER, genesis(), first, None, anchor), threads);
    rows.iter().for_each(|row| parallel.push(row.id, &row.record, &row.prev, &row.hash));
    parallel.finish()
}

/// The verdict on rows in batches of these lengths, again and again.
fn in_batches(rows: &[Row], first: i64, anchor: Option<Head>, lengths: &[usize]) -> Verdict {
    let mut verifier = Verifier::new(LEDGER, genesis(), first, None, anchor);
    let (mut rest, mut lengths) = (rows, lengths.iter().cycle());
    while !rest.is_empty() {
        let (part, tail) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        let mut batch = Batch::default();
        part.iter().for_each(|row| batch.push(row.id, &row.record, &row.prev, &row.hash));
        verifier.push_batch(&batch, batch.is_whole(&LEDGER));
        rest = tail;
    }
    verifier.finish()
}

#[test]
fn a_whole_chain_and_its_parts_are_ok() {
    for threads in [0, 1, 3] {
        let verdict = in_parallel(&LONG, 1, Some(head(&LONG[2_345])), threads);
        assert_eq!((verdict.kind, verdict.checked, verdict.to_id), (Kind::Ok, 3_300, Some(3_300)));
        assert_eq!(in_parallel(&LONG[100..], 101, None, threads).kind, Kind::NotAnchored);
        assert_eq!(in_parallel(&[], 1, None, threads).kind, Kind::Empty);
    }
}

#[test]
fn the_last_good_record_is_the_head() {
    let mut parallel = Parallel::new(Verifier::new(LEDGER, genesis(), 1, None, None), 2);
    LONG.iter().for_each(|row| parallel.push(row.id, &row.record, &row.prev, &row.hash));
    assert_eq!(parallel.into_verifier().head(), Some(head(&LONG[3_299])));
}

#[test]
fn a_reader_that_stops_half_way_leaves_no_thread_waiting() {
    for pushed in [0, 1, 1_024, 3_000] {
        let mut parallel = Parallel::new(Verifier::new(LEDGER, genesis(), 1, None, None), 4);
        LONG[..pushed].iter().for_each(|row| parallel.push(row.id, &row.record, &row.prev, &row.hash));
        drop(parallel);
    }
}

#[test]
fn batches_that_are_whole_but_do_not_join_are_found() {
    // Each border of two batches: exchanged, left out, given twice, and of another chain.
    let part = |from: usize, to: usize| LONG[from..to].to_vec();
    for (rows, kind, id) in [
        ([part(0, 1_024), part(2_048, 3_300)].concat(), Kind::Missing, 1_025),
        ([part(0, 2_048), part(1_024, 3_300)].concat(), Kind::Inserted, 1_025),
        (part(1_024, 3_300), Kind::Missing, 1),
    ] {
        for threads in [0, 2] {
            let verdict = in_parallel(&rows, 1, None, threads);
            assert_eq!((verdict.ok, verdict.kind, verdict.first_bad_id), (false, kind, Some(id)));
        }
    }
}

proptest! {
    #[test]
    fn batches_give_the_same_verdict(
        length in 2..14_i64,
        k in any::<prop::sample::Index>(),
        mutation in mutation(),
        lengths in prop::collection::vec(1..6_usize, 1..5),
        anchored in any::<bool>(),
    ) {
        let mut rows = chain(length);
        let anchor = anchored.then(|| head(&rows[length as usize / 2]));
        let k = k.index(rows.len() - 1);
        mutate(&mut rows, k, mutation);
        prop_assert_eq!(in_batches(&rows, 1, anchor, &lengths), verify_from(&rows, 1, None, anchor));
        prop_assert_eq!(in_batches(&rows, 3, anchor, &lengths), verify_from(&rows, 3, None, anchor));
    }
}

proptest! {
    // Each case hashes a long chain twice.
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn threads_give_the_same_verdict(
        k in any::<prop::sample::Index>(),
        mutation in mutation(),
        threads in 0..4_usize,
        anchor in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut rows = LONG.clone();
        let anchor = anchor.map(|at| head(&rows[at.index(rows.len())]));
        let k = k.index(rows.len() - 1);
        mutate(&mut rows, k, mutation);
        prop_assert_eq!(in_parallel(&rows, 1, anchor, threads), verify_from(&rows, 1, None, anchor));
    }
}
