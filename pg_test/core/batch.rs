//! Rows of the journal: what was written is read, what was not is never read as something else of a wrong size.

use crate::core::batch::{Batch, Content, read};
use crate::core::record::{Draft, Kind, Outcome, Record};
use proptest::prelude::*;

fn written(xid: u64, part: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let mut batch = Batch::new(xid, part, 7);
    records.iter().for_each(|record| batch.push(record));
    batch.bytes().to_vec()
}

/// Records as transactions have them: alike but for some bytes, and some longer or shorter.
fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let alike = (
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec((any::<u16>(), any::<u8>(), any::<bool>()), 0..40),
    );
    alike.prop_map(|(first, changes)| {
        let mut all = vec![first];
        for (at, byte, longer) in changes {
            let mut next = all[all.len() - 1].clone();
            let place = usize::from(at) % (next.len() + 1);
            match next.get_mut(place) {
                Some(known) if !longer => *known = byte,
                _ => next.insert(place, byte),
            }
            if byte == 7 {
                next.truncate(place);
            }
            all.push(next);
        }
        all
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(xid: u64, part: u32, records in records()) {
        let bytes = written(xid, part, &records);
        prop_assert_eq!(read(&bytes), Content { xid, part, count: 7, records, intact: true });
    }

    #[test]
    fn a_row_cut_short_has_no_record_that_was_not_written(records in records(), cut: prop::sample::Index) {
        let bytes = written(9, 0, &records);
        let content = read(&bytes[..cut.index(bytes.len())]);
        prop_assert!(!content.intact && records.starts_with(&content.records));
    }

    #[test]
    fn a_row_with_one_bit_changed_is_not_intact(records in records(), at: prop::sample::Index, bit in 0_u8..8) {
        let mut bytes = written(9, 0, &records);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(!read(&bytes).intact);
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let size: usize = read(&bytes).records.iter().map(Vec::len).sum();
        prop_assert!(size <= 8 * bytes.len());
    }
}

#[test]
fn the_bytes_are_frozen() {
    let records = [&b"\0\0\0\x01abcdefgh12xyz"[..], b"\0\0\0\x01abcdXfgh345xyz", b""].map(<[u8]>::to_vec);
    let bytes = written(300, 2, &records);
    // The second is longer by one: `X` is compared with what stands at the same place from the front, `fgh345xyz` from the
    // end.
    let frozen =
        b"\x16\x86\xea\x70\x00\x00\x00\x07\xac\x02\x02\x11\xf8\xff\x01\x01abcdefgh12xyz\x12\x00\x7f\x00Xfgh345\x00";
    assert_eq!(bytes, frozen, "{}", bytes.escape_ascii());
    assert_eq!(read(&bytes).records, records);
}

#[test]
fn what_is_no_row_is_not_intact() {
    let numbers: [&[u8]; 5] =
        [&[0xff; 12], &[0x80; 3], &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0], &[1], &[]];
    for numbers in numbers {
        let mut bytes = [&[0; 8], numbers].concat();
        let checksum = crc32c::crc32c(&bytes[4..]).to_be_bytes();
        bytes[..4].copy_from_slice(&checksum);
        let content = read(&bytes);
        assert!(!content.intact && content.records.is_empty(), "{content:?}");
    }
    assert!(!read(&[]).intact && !read(&[0; 7]).intact);
}

/// What it is for: the five statements of a short transaction.
#[test]
fn records_of_one_transaction_take_little_room() {
    let record = |time: i64, duration: i64, what: i64| {
        let mut record = Record::new(Kind::Statement, "UPDATE");
        (record.time, record.outcome, record.rows) = (816_000_000_000_000 + time, Outcome::Success, Some(1));
        (record.duration_us, record.xid, record.backend) = (Some(duration), Some(4_711_222), Some(23_456));
        let mut bytes = 3_u32.to_be_bytes().to_vec();
        Draft::of(&record).encode_into(&mut bytes, Some(17), Some(what));
        bytes
    };
    let records = [(0, 97, 130), (180, 45, 131), (310, 120, 140), (520, 61, 141), (700, 8, 90)];
    let records = records.map(|(time, duration, what)| record(time, duration, what)).to_vec();
    let (plain, batch) =
        (records.iter().map(|record| record.len() + 4).sum::<usize>() + 12, written(4_711_222, 0, &records));
    assert!(batch.len() * 2 < plain, "{} of {plain}", batch.len());
    assert_eq!(read(&batch).records, records);
}

#[test]
fn a_row_is_full_before_it_is_too_long() {
    let record = vec![7; 100];
    let mut batch = Batch::new(1, 0, 0);
    assert!(batch.has_room(&record, 10), "a single record gets a row of its own, however long");
    batch.push(&record);
    assert!(batch.has_room(&record, 1000));
    assert!(!batch.has_room(&record, 200));
}
