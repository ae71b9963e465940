//! Spool lane files: whatever is torn or flipped, whole frames come out and wrong ones do not.

use crate::core::frame::{
    FRAME_HEADER_LEN, Frame, Frames, HEADER_LEN, Header, HeaderError, MAX_PAYLOAD, PayloadTooLong, Tail, append_frame,
    file_id,
};
use proptest::prelude::*;

const HEADER: &str = concat!(
    "504753544c414e4500000001000102030405060708090a0b0c0d0e0f654ecf52ac5a0001",
    "0000000300004000fffffffffffffffb0000002a000000090c2e38bd",
);
const FRAME: &str = "000000077a95fb0b00000000000001027061796c6f6164";

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn header() -> Header {
    Header {
        file_id: std::array::from_fn(|at| at as u8),
        system_identifier: 7_300_000_000_000_000_001,
        timeline: 3,
        database: 16384,
        created: -5,
        slot: 42,
        generation: 9,
    }
}

#[test]
fn header_and_frame_have_the_frozen_bytes() {
    assert_eq!(header().encode()[..], unhex(HEADER));
    assert_eq!(Header::decode(&unhex(HEADER)), Ok(header()));
    let mut out = Vec::new();
    append_frame(&mut out, 258, b"payload").unwrap();
    assert_eq!(out, unhex(FRAME));
}

#[test]
fn a_file_tells_the_server_start_that_wrote_it() {
    let boot = std::array::from_fn(|at| 255 - at as u8);
    let ids = [(0, 0), (0, 1), (1, 0), (42, 9), (u32::MAX, u32::MAX)].map(|(slot, generation)| {
        let written = Header { file_id: file_id(&boot, slot, generation), slot, generation, ..header() };
        assert_eq!(Header::decode(&written.encode()).unwrap().boot(), boot);
        written.file_id
    });
    assert!(ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id)), "one id for each file");
}

#[test]
fn damaged_headers_are_refused() {
    let bytes = header().encode();
    for len in 0..HEADER_LEN {
        assert_eq!(Header::decode(&bytes[..len]), Err(HeaderError::Incomplete));
    }
    for at in 0..HEADER_LEN {
        for bit in 0..8 {
            let mut flipped = bytes;
            flipped[at] ^= 1 << bit;
            let expected = match at {
                0..8 => HeaderError::NotALane,
                8..12 => HeaderError::UnknownVersion(u32::from_be_bytes(flipped[8..12].try_into().unwrap())),
                _ => HeaderError::Corrupt,
            };
            assert_eq!(Header::decode(&flipped), Err(expected), "byte {at} bit {bit}");
        }
    }
    assert_eq!(Header::decode(&[0; HEADER_LEN]), Err(HeaderError::NotALane));
}

#[test]
fn an_empty_stretch_ends_cleanly() {
    assert_eq!(Frames::new(&[], 64).next(), None);
}

#[test]
fn zeros_after_the_frames_are_corrupt() {
    let mut bytes = unhex(FRAME);
    let end = bytes.len() as u64;
    bytes.extend([0; 100]);
    let frames: Vec<_> = Frames::new(&bytes, 0).collect();
    assert_eq!(frames[1], Err(Tail::Corrupt { offset: end }));
}

#[test]
fn payload_has_a_limit_on_both_sides() {
    let mut out = b"before".to_vec();
    assert_eq!(append_frame(&mut out, 1, &vec![0; MAX_PAYLOAD + 1]), Err(PayloadTooLong));
    assert_eq!(out, b"before");
    let mut longest = Vec::new();
    append_frame(&mut longest, 1, &vec![7; MAX_PAYLOAD]).unwrap();
    assert_eq!(Frames::new(&longest, 0).next().unwrap().unwrap().payload.len(), MAX_PAYLOAD);
    longest[..4].copy_from_slice(&(MAX_PAYLOAD as u32 + 1).to_be_bytes());
    assert_eq!(Frames::new(&longest, 0).collect::<Vec<_>>(), [Err(Tail::Corrupt { offset: 0 })]);
}

/// Some frames, and the offset at which each ends.
fn lane(payloads: &[Vec<u8>], start: u64) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (counter, payload) in payloads.iter().enumerate() {
        append_frame(&mut bytes, counter as u64, payload).unwrap();
        ends.push(start + bytes.len() as u64);
    }
    (bytes, ends)
}

fn expected<'a>(payloads: &'a [Vec<u8>], ends: &[u64], count: usize) -> Vec<Result<Frame<'a>, Tail>> {
    (0..count).map(|at| Ok(Frame { counter: at as u64, payload: &payloads[at], next_offset: ends[at] })).collect()
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8)
}

proptest! {
    #[test]
    fn whole_frames_come_out_wherever_it_is_torn(payloads in payloads(), start in 0_u64..1_000_000) {
        let (bytes, ends) = lane(&payloads, start);
        for len in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= start + len as u64).count();
            let offset = if whole == 0 { start } else { ends[whole - 1] };
            let mut wanted = expected(&payloads, &ends, whole);
            if offset < start + len as u64 {
                wanted.push(Err(Tail::Incomplete { offset }));
            }
            prop_assert_eq!(Frames::new(&bytes[..len], start).collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn reading_goes_on_where_it_stopped(payloads in payloads(), at in any::<prop::sample::Index>()) {
        let (bytes, ends) = lane(&payloads, 64);
        let at = at.index(payloads.len());
        let from = ends[at];
        let rest: Vec<_> = Frames::new(&bytes[from as usize - 64..], from).collect();
        prop_assert_eq!(rest, expected(&payloads, &ends, payloads.len()).split_off(at + 1));
    }

    #[test]
    fn a_flipped_byte_is_noticed_in_its_frame(
        payloads in payloads(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let (mut bytes, ends) = lane(&payloads, 0);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let hit = ends.iter().filter(|end| **end <= at as u64).count();
        let offset = if hit == 0 { 0 } else { ends[hit - 1] };
        let frames: Vec<_> = Frames::new(&bytes, 0).collect();
        prop_assert_eq!(&frames[..hit], &expected(&payloads, &ends, hit)[..]);
        // A length that now points beyond the bytes cannot be told from a frame that is still being written.
        let beyond = (at as u64) < offset + 4 && frames[hit] == Err(Tail::Incomplete { offset });
        prop_assert!(beyond || frames[hit] == Err(Tail::Corrupt { offset }), "{:?}", frames[hit]);
        prop_assert_eq!(frames.len(), hit + 1);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Header::decode(&bytes);
        let frames = Frames::new(&bytes, 0).count();
        prop_assert!(frames <= bytes.len() / FRAME_HEADER_LEN + 1);
    }
}
