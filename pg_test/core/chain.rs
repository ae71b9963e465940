//! The chain: frozen hashes, and what the verifier says of whole, partial, anchored and foreign chains.

mod attack;
mod checkpoint;
mod mutation;
mod order;
mod parallel;
mod sealed;

use crate::core::chain::{Hash, Head, Kind, Ledger, Verdict, Verifier, genesis_prev, leaf, link};
use crate::core::record::{self, Record};

const LEDGER: Ledger = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const LENGTH: i64 = 12;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row of `audit_log`.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    id: i64,
    record: Vec<u8>,
    prev: Vec<u8>,
    hash: Vec<u8>,
}

impl Row {
    fn seal(&mut self) {
        self.hash = link(&LEDGER, self.id, &array(&self.prev), &leaf(&self.record)).to_vec();
    }
}

fn array(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap()
}

fn genesis() -> Hash {
    genesis_prev(&LEDGER, b"v1")
}

fn payload(number: i64) -> Vec<u8> {
    let mut record = Record::new(record::Kind::Statement, "UPDATE");
    record.time = number;
    record.encode()
}

/// Appends a genuine record.
fn extend(rows: &mut Vec<Row>, record: Vec<u8>) {
    let prev = rows.last().map_or(genesis().to_vec(), |row| row.hash.clone());
    let mut row = Row { id: rows.len() as i64 + 1, record, prev, hash: Vec::new() };
    row.seal();
    rows.push(row);
}

fn chain(length: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    (1..=length).for_each(|number| extend(&mut rows, payload(number)));
    rows
}

fn head(row: &Row) -> Head {
    Head { ledger: LEDGER, id: row.id, hash: array(&row.hash) }
}

fn verify(rows: &[Row], anchor: Option<Head>) -> Verdict {
    verify_from(rows, 1, None, anchor)
}

fn verify_from(rows: &[Row], first: i64, start: Option<Hash>, anchor: Option<Head>) -> Verdict {
    let mut verifier = Verifier::new(LEDGER, genesis(), first, start, anchor);
    rows.iter().for_each(|row| verifier.push(row.id, &row.record, &row.prev, &row.hash));
    verifier.finish()
}

fn renumber(rows: &mut [Row]) {
    rows.iter_mut().zip(1..).for_each(|(row, id)| row.id = id);
}

fn forged(prev: &[u8]) -> Row {
    Row { id: 0, record: payload(-1), prev: prev.to_vec(), hash: leaf(b"forged").to_vec() }
}

/// Exchanges the chosen columns of two rows.
fn exchange(rows: &mut [Row], a: usize, b: usize, columns: [bool; 3]) {
    let (left, right) = rows.split_at_mut(b);
    let (first, second) = (&mut left[a], &mut right[0]);
    if columns[0] {
        std::mem::swap(&mut first.record, &mut second.record);
    }
    if columns[1] {
        std::mem::swap(&mut first.prev, &mut second.prev);
    }
    if columns[2] {
        std::mem::swap(&mut first.hash, &mut second.hash);
    }
}

#[test]
fn hashes_are_frozen() {
    let record = Record::new(record::Kind::Genesis, "GENESIS").encode();
    let (prev, leaf) = (genesis(), leaf(&record));
    assert_eq!(hex(&prev), "69d5665af7f065a1384647c5a72e56909237fdebd82b18ed39d533624cfeadf1");
    assert_eq!(hex(&leaf), "f6909880c56bde1ed702d20005502385cc445ba1f08010d23c9071497e8a79ea");
    assert_eq!(
        hex(&link(&LEDGER, 1, &prev, &leaf)),
        "37d90c9d69ee8e22d11fc03669e7774e908fad089b7152fd9778ac8154d9bcf9"
    );
}

/// What must not pass for something else: a value of one kind, field or ledger for one of another.
#[test]
fn a13_nothing_passes_for_something_else() {
    let of = |user: &str, operation: &str, rule: Option<&str>, number: Option<&str>| {
        let mut record = Record::new(record::Kind::Statement, operation);
        record.user_id = user.to_owned();
        record.rule = rule.map(str::to_owned);
        record.op_no = number.map(str::to_owned);
        leaf(&record.encode())
    };
    // Bytes moved over the border of two fields, and a value moved to the field after it.
    assert_ne!(of("ab", "c", None, None), of("a", "bc", None, None));
    assert_ne!(of("a", "b", Some("x"), None), of("a", "b", None, Some("x")));
    assert_ne!(of("a", "b", Some(""), None), of("a", "b", None, None));
    let relations = |names: &[&str]| {
        let mut record = Record::new(record::Kind::Statement, "UPDATE");
        record.relations = names.iter().map(|name| (*name).to_owned()).collect();
        leaf(&record.encode())
    };
    assert_ne!(relations(&["ab", "c"]), relations(&["a", "bc"]));
    assert_ne!(relations(&["a,b"]), relations(&["a", "b"]));
    // A link's bytes chained as a record, a record's leaf as a genesis, and the same record in another ledger or place.
    let (prev, record) = (genesis(), payload(1));
    let true_link = link(&LEDGER, 1, &prev, &leaf(&record));
    let mut bytes = LEDGER.to_vec();
    bytes.extend(1_i64.to_be_bytes());
    bytes.extend(prev);
    bytes.extend(leaf(&record));
    assert_ne!(leaf(&bytes), true_link);
    assert_ne!(leaf(&[&LEDGER[..], b"v1"].concat()), prev);
    assert_ne!(link(&[9; 16], 1, &prev, &leaf(&record)), true_link);
    assert_ne!(link(&LEDGER, 2, &prev, &leaf(&record)), true_link);
    // Another format is refused, older as well as newer.
    for format in [0, 2, 255] {
        let mut other = record.clone();
        other[0] = format;
        assert_eq!(record::check(&other), Err(record::FormatError::UnknownFormat(format)));
    }
}

#[test]
fn whole_chain_is_ok() {
    let rows = chain(LENGTH);
    let expected = Verdict {
        ok: true,
        checked: LENGTH,
        from_id: Some(1),
        to_id: Some(LENGTH),
        kind: Kind::NotAnchored,
        first_bad_id: None,
        anchored: false,
    };
    assert_eq!(verify(&rows, None), expected);
    for row in &rows {
        assert_eq!(verify(&rows, Some(head(row))), Verdict { kind: Kind::Ok, anchored: true, ..expected });
    }
    let start = Head { ledger: LEDGER, id: 0, hash: genesis() };
    assert_eq!(verify(&rows, Some(start)).kind, Kind::Ok);
}

#[test]
fn nothing_is_not_ok() {
    let rows = chain(LENGTH);
    for anchor in [None, Some(head(&rows[3]))] {
        let verdict = verify(&[], anchor);
        assert_eq!((verdict.ok, verdict.kind, verdict.checked, verdict.from_id), (false, Kind::Empty, 0, None));
    }
}

#[test]
fn kinds_have_the_names_of_the_interface() {
    let kinds = [
        Kind::Ok,
        Kind::NotAnchored,
        Kind::Edited,
        Kind::Missing,
        Kind::Inserted,
        Kind::Reordered,
        Kind::Truncated,
        Kind::Forked,
        Kind::UnknownFormat,
        Kind::Backdated,
        Kind::AlteredTable,
        Kind::Catalog,
        Kind::Empty,
    ];
    let names = "ok not_anchored edited missing inserted reordered truncated forked unknown_format \
        backdated altered_table catalog empty";
    assert_eq!(kinds.map(Kind::name).join(" "), names);
}

#[test]
fn part_of_a_chain() {
    let rows = chain(LENGTH);
    let (part, before) = (&rows[5..], head(&rows[4]));
    assert!(verify_from(part, 6, None, None).ok);
    assert!(verify_from(part, 6, Some(before.hash), None).ok);
    assert_eq!(verify_from(part, 6, None, Some(head(&rows[8]))).kind, Kind::Ok);
    assert_eq!(verify_from(part, 6, None, Some(before)).kind, Kind::Ok);
    let unreachable = verify_from(part, 6, None, Some(head(&rows[3])));
    assert_eq!((unreachable.ok, unreachable.kind), (false, Kind::NotAnchored));
    let other = Head { hash: [9; 32], ..before };
    let verdict = verify_from(part, 6, Some(before.hash), Some(other));
    assert_eq!((verdict.ok, verdict.kind, verdict.first_bad_id), (false, Kind::Forked, Some(5)));
    assert_eq!(verify_from(part, 6, Some([9; 32]), None).first_bad_id, Some(5));
    assert!(!verify_from(part, 6, None, Some(other)).ok);
    assert_eq!(verify_from(part, 5, None, None).first_bad_id, Some(5));
}

#[test]
fn edited_and_rehashed_to_the_end_is_seen_by_the_anchor_only() {
    let genuine = chain(LENGTH);
    let mut rows = Vec::new();
    (1..=LENGTH).for_each(|number| extend(&mut rows, payload(if number == 4 { -7 } else { number })));
    assert!(verify(&rows, None).ok);
    for row in &genuine {
        let verdict = verify(&rows, Some(head(row)));
        let first_bad_id = (row.id >= 4).then_some(row.id);
        assert_eq!(verdict.first_bad_id, first_bad_id);
        assert_eq!(verdict.kind, if row.id >= 4 { Kind::Forked } else { Kind::Ok });
    }
}

#[test]
fn forged_at_the_end_with_a_right_hash_is_told_by_the_anchor() {
    let mut rows = chain(LENGTH);
    let anchor = head(&rows[LENGTH as usize - 1]);
    let mut forged = Row { id: LENGTH + 1, ..forged(&[7; 32]) };
    forged.seal();
    rows.push(forged);
    assert_eq!(verify(&rows, Some(anchor)).first_bad_id, Some(LENGTH + 1));
    assert_eq!(verify(&rows, Some(anchor)).kind, Kind::Inserted);
    assert_eq!(verify(&rows, None).first_bad_id, Some(LENGTH));
}

#[test]
fn far_swaps_and_shifts() {
    let genuine = chain(6000);
    let mut rows = genuine.clone();
    exchange(&mut rows, 9, 5899, [true; 3]);
    assert_eq!(verify(&rows, None).kind, Kind::Reordered);
    assert_eq!(verify(&rows, None).first_bad_id, Some(10));
    let mut rows = genuine.clone();
    rows.drain(9..5899);
    renumber(&mut rows);
    assert_eq!((verify(&rows, None).kind, verify(&rows, None).first_bad_id), (Kind::Missing, Some(10)));
    let mut rows = genuine.clone();
    rows.insert(5899, rows[9].clone());
    renumber(&mut rows);
    assert_eq!((verify(&rows, None).kind, verify(&rows, None).first_bad_id), (Kind::Inserted, Some(5900)));
}

#[test]
fn truncated() {
    let genuine = chain(LENGTH);
    let anchor = head(&genuine[LENGTH as usize - 1]);
    for length in 1..LENGTH {
        let rows = &genuine[..length as usize];
        let verdict = verify(rows, Some(anchor));
        assert_eq!((verdict.ok, verdict.kind, verdict.first_bad_id), (false, Kind::Truncated, Some(length + 1)));
        assert!(verify(rows, None).ok);
    }
}

#[test]
fn truncated_and_continued_is_forked() {
    let genuine = chain(LENGTH);
    let mut rows = genuine[..6].to_vec();
    (0..LENGTH).for_each(|number| extend(&mut rows, payload(-number)));
    let verdict = verify(&rows, Some(head(&genuine[9])));
    assert_eq!((verdict.ok, verdict.kind, verdict.first_bad_id), (false, Kind::Forked, Some(10)));
}

#[test]
fn other_ledger() {
    let rows = chain(LENGTH);
    let anchor = Head { ledger: [9; 16], ..head(&rows[3]) };
    let verdict = verify(&rows, Some(anchor));
    assert_eq!((verdict.ok, verdict.kind, verdict.anchored), (false, Kind::Forked, false));
    let mut verifier = Verifier::new([9; 16], genesis(), 1, None, None);
    rows.iter().for_each(|row| verifier.push(row.id, &row.record, &row.prev, &row.hash));
    assert!(!verifier.finish().ok);
    let mut verifier = Verifier::new(LEDGER, genesis_prev(&LEDGER, b"v2"), 1, None, None);
    rows.iter().for_each(|row| verifier.push(row.id, &row.record, &row.prev, &row.hash));
    let verdict = verifier.finish();
    assert_eq!((verdict.kind, verdict.first_bad_id), (Kind::Edited, Some(1)));
}

#[test]
fn unknown_format() {
    let mut newer = payload(5);
    newer[0] = 2;
    for record in [newer, b"no record".to_vec(), Vec::new()] {
        let mut rows = chain(4);
        extend(&mut rows, record);
        (6..9).for_each(|number| extend(&mut rows, payload(number)));
        for anchor in [None, Some(head(&rows[7]))] {
            let verdict = verify(&rows, anchor);
            assert_eq!((verdict.ok, verdict.kind, verdict.first_bad_id), (false, Kind::UnknownFormat, Some(5)));
        }
    }
}

#[test]
fn first_of_two_findings_counts() {
    let mut rows = chain(LENGTH);
    rows[8].record = payload(-1);
    rows.remove(3);
    assert_eq!((verify(&rows, None).kind, verify(&rows, None).first_bad_id), (Kind::Missing, Some(4)));
    let mut rows = chain(LENGTH);
    let other = Head { hash: [9; 32], ..head(&rows[2]) };
    rows[8].record = payload(-1);
    assert_eq!((verify(&rows, Some(other)).kind, verify(&rows, Some(other)).first_bad_id), (Kind::Forked, Some(3)));
}

#[test]
fn extreme_ids_do_not_panic() {
    for id in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX] {
        for first in [i64::MIN, -1, 0, 1, i64::MAX] {
            let rows: Vec<_> = chain(4).into_iter().map(|row| Row { id, ..row }).collect();
            assert!(!verify_from(&rows, first, None, Some(head(&rows[0]))).ok);
        }
    }
}
