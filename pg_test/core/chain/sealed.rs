//! A11: what the sequencer seals never goes back in time, and what others began at some time says nothing about that.

use super::{LEDGER, Row, chain, extend, genesis, payload, verify};
use crate::core::chain::{Batch, Kind, Verifier};
use crate::core::record::{Kind as Of, Record, SERVER, seal, sealed_time};

fn by_sequencer(kind: Of, time: i64) -> Record {
    let mut record = Record::new(kind, "HEARTBEAT");
    record.user_id = SERVER.to_owned();
    record.time = time;
    record
}

/// Statements of any time, and between them what was sealed at these times.
fn sealed_at(times: &[i64]) -> Vec<Row> {
    let mut rows = chain(1);
    for (time, kind) in times.iter().zip([Of::Server, Of::Definition, Of::Genesis].into_iter().cycle()) {
        extend(&mut rows, by_sequencer(kind, *time).encode());
        extend(&mut rows, payload(-time));
    }
    rows
}

fn in_batches_of(rows: &[Row], length: usize) -> (Kind, Option<i64>) {
    let mut verifier = Verifier::new(LEDGER, genesis(), 1, None, None);
    for part in rows.chunks(length) {
        let mut batch = Batch::default();
        part.iter().for_each(|row| batch.push(row.id, &row.record, &row.prev, &row.hash));
        assert!(batch.is_whole(&LEDGER));
        verifier.push_batch(&batch, true);
    }
    let verdict = verifier.finish();
    (verdict.kind, verdict.first_bad_id)
}

#[test]
fn a11_a_backdated_record_is_found_wherever_batches_end() {
    let rows = sealed_at(&[10, 10, 30, 20, 5]);
    let verdict = verify(&rows, None);
    assert_eq!((verdict.ok, verdict.kind, verdict.first_bad_id), (false, Kind::Backdated, Some(8)));
    for length in 1..=rows.len() {
        assert_eq!(in_batches_of(&rows, length), (Kind::Backdated, Some(8)), "batches of {length}");
        assert_eq!(in_batches_of(&sealed_at(&[10, 10, 30, 31]), length), (Kind::NotAnchored, None));
    }
}

#[test]
fn a11_damage_before_a_backdated_record_counts_first() {
    let mut rows = sealed_at(&[10, 30, 20]);
    rows[2].hash[0] ^= 1;
    assert_eq!((verify(&rows, None).kind, verify(&rows, None).first_bad_id), (Kind::Edited, Some(3)));
}

#[test]
fn only_what_the_sequencer_wrote_is_sealed() {
    for kind in Of::ALL {
        let own = [Of::Server, Of::Genesis, Of::Definition].contains(kind);
        let mut record = by_sequencer(*kind, 7);
        assert_eq!(sealed_time(&record.encode()), own.then_some(7), "{kind:?}");
        for user in ["", "pg_stewar", "pg_steward ", "postgres"] {
            record.user_id = user.to_owned();
            assert_eq!(sealed_time(&record.encode()), None, "{user}");
        }
        // Somebody's, by reference.
        (record.user_id, record.who) = (String::new(), Some(1));
        assert_eq!(sealed_time(&record.encode()), None);
    }
    for length in 0..23 {
        sealed_time(&by_sequencer(Of::Server, 7).encode()[..length]);
    }
}

#[test]
fn sealing_puts_the_time_in_and_changes_nothing_else() {
    for time in [i64::MIN, -1, 0, 9, i64::MAX] {
        let mut bytes = by_sequencer(Of::Definition, 7).encode();
        seal(&mut bytes, time);
        assert_eq!(bytes, by_sequencer(Of::Definition, time).encode());
        let mut statement = payload(7);
        seal(&mut statement, time);
        assert_eq!(statement, payload(7));
    }
}
