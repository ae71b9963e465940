//! Streams of chain records: what is written is read, and nothing else passes for it.

use crate::core::archive::{ArchiveError, Header, Link, MAX_RECORD, Reader, Writer};
use proptest::prelude::*;

/// Header, record 3 ("abc") and trailer, byte by byte.
const STREAM: &str = concat!(
    "50475354574c4f4700010102030405060708090a0b0c0d0e0f1000027379",
    "0000000000000002",
    "1111111111111111111111111111111111111111111111111111111111111111",
    "01000000000000000300000003616263",
    "1111111111111111111111111111111111111111111111111111111111111111",
    "2222222222222222222222222222222222222222222222222222222222222222",
    "020000000000000001",
    "9ee07b49158367ae4c5e81aa2e8fe36abc151ac1309ca5b0241624285dccb00e",
);

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn header() -> Header {
    Header { ledger: std::array::from_fn(|at| at as u8 + 1), system_identifier: "sy".into(), previous: (2, [0x11; 32]) }
}

fn write(header: &Header, links: &[Link]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for link in links {
        writer.push(link.id, &link.record, &link.prev_hash, &link.hash).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<(Header, Vec<Link>), ArchiveError> {
    let mut reader = Reader::new(bytes)?;
    let mut links = Vec::new();
    while let Some(link) = reader.next_link()? {
        links.push(link);
    }
    assert!(reader.next_link()?.is_none(), "nothing comes after the end");
    Ok((reader.header().clone(), links))
}

fn link() -> Link {
    Link { id: 3, record: b"abc".to_vec(), prev_hash: [0x11; 32], hash: [0x22; 32] }
}

#[test]
fn a_stream_has_the_frozen_bytes() {
    let bytes = write(&header(), &[link()]);
    assert_eq!(bytes, unhex(STREAM));
    assert_eq!(read(&bytes).unwrap(), (header(), vec![link()]));
}

#[test]
fn an_empty_stream_is_whole() {
    assert_eq!(read(&write(&header(), &[])).unwrap(), (header(), Vec::new()));
}

#[test]
fn a_stream_torn_anywhere_is_refused() {
    let bytes = write(&header(), &[link(), Link { id: 4, ..link() }]);
    for length in 0..bytes.len() {
        assert!(matches!(read(&bytes[..length]), Err(ArchiveError::Torn)), "torn at {length}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(read(&longer), Err(ArchiveError::Damaged(_))));
}

#[test]
fn another_version_and_another_file_are_refused() {
    let mut bytes = write(&header(), &[]);
    bytes[9] = 2;
    assert!(matches!(read(&bytes), Err(ArchiveError::UnknownVersion(2))));
    assert!(matches!(read(b"PGSTLANE and so on"), Err(ArchiveError::NotAnArchive)));
}

#[test]
fn a_wrong_length_costs_no_memory() {
    let mut bytes = write(&header(), &[link()]);
    let length = 8 + 2 + 16 + 2 + 2 + 8 + 32 + 1 + 8;
    bytes[length..length + 4].copy_from_slice(&(MAX_RECORD as u32 + 1).to_be_bytes());
    assert!(matches!(read(&bytes), Err(ArchiveError::Damaged(_))));
    assert!(Writer::new(Vec::new(), &header()).unwrap().push(1, &vec![0; MAX_RECORD + 1], &[0; 32], &[0; 32]).is_err());
}

prop_compose! {
    fn links()(records in prop::collection::vec((any::<i64>(), prop::collection::vec(any::<u8>(), 0..200), any::<[u8; 32]>()), 0..8))
        -> Vec<Link> {
        records.into_iter().map(|(id, record, hash)| Link { id, record, prev_hash: [7; 32], hash }).collect()
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(links in links(), ledger in any::<[u8; 16]>(), name in "[0-9]{0,30}", id in any::<i64>()) {
        let header = Header { ledger, system_identifier: name, previous: (id, [9; 32]) };
        prop_assert_eq!(read(&write(&header, &links)).unwrap(), (header, links));
    }

    #[test]
    fn a_flipped_bit_is_refused(links in links(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = write(&header(), &links);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
    }
}
