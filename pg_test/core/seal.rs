//! What is sealed opens for its person and its key, unchanged, and for nothing else.

use crate::core::seal::{open, parse_key, seal};

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [9; 12];
const SECRET: &[u8] = b"12345678901234567890";

fn sealed() -> Vec<u8> {
    seal(&KEY, &NONCE, "Chen", SECRET).expect("sealed")
}

#[test]
fn it_opens_for_its_person_and_key() {
    assert_eq!(open(&KEY, "Chen", &sealed()).as_deref(), Some(SECRET));
    assert_eq!(open(&KEY, "Liu", &sealed()), None);
    assert_eq!(open(&[8; 32], "Chen", &sealed()), None);
}

#[test]
fn every_bit_counts() {
    let sealed = sealed();
    for place in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[place / 8] ^= 1 << (place % 8);
        assert_eq!(open(&KEY, "Chen", &changed), None, "bit {place}");
    }
    for length in 0..sealed.len() {
        assert_eq!(open(&KEY, "Chen", &sealed[..length]), None, "{length} bytes");
    }
}

#[test]
fn nothing_of_the_secret_shows() {
    let sealed = sealed();
    assert!(!SECRET.windows(4).any(|part| sealed.windows(4).any(|window| window == part)));
}

#[test]
fn a_key_is_64_hexadecimal_digits() {
    let text = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    let key = parse_key(text.as_bytes()).expect("a key");
    assert_eq!(key[..3], [0x00, 0x11, 0x22]);
    assert_eq!(key[29..], [0xdd, 0xee, 0xff]);
    assert_eq!(parse_key(format!("{text}\n").as_bytes()), Some(key));
    for bad in ["", "00", &text[1..], &format!("{text}00"), &text.replace('f', "g"), &format!(" {text}")] {
        assert_eq!(parse_key(bad.as_bytes()), None, "{bad:?}");
    }
}
