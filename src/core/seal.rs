//! Secrets at rest: AES-256-GCM under a key that lies outside the data directory. What is sealed for one person opens for
//! nobody else, so a row that is moved or exchanged in the table is no secret any more.
//!
//! ```text
//! u8 format ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key};

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = 12;
const FORMAT: u8 = 1;
/// Says what for: the same key may never open something else.
const PURPOSE: &[u8] = b"pg_steward second factor\0";

/// Seals a secret for a person. A nonce must never be used twice under one key: it is random, and there are few secrets.
pub fn seal(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES], person: &str, secret: &[u8]) -> Option<Vec<u8>> {
    let bound = bound_to(person);
    let sealed = cipher(key).encrypt(nonce.into(), Payload { msg: secret, aad: &bound }).ok()?;
    Some([&[FORMAT][..], nonce, &sealed].concat())
}

/// Opens what was sealed for this person; None if key, person or a single bit differ.
pub fn open(key: &[u8; KEY_BYTES], person: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (format, rest) = sealed.split_first()?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let bound = bound_to(person);
    let opened = cipher(key).decrypt(nonce.into(), Payload { msg: ciphertext, aad: &bound }).ok()?;
    (*format == FORMAT).then_some(opened)
}

/// The content of a key file: 64 hexadecimal digits, and nothing else but the end of the line.
pub fn parse_key(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let digits = text.trim_ascii_end();
    let mut key = [0; KEY_BYTES];
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        let digit = |place: usize| char::from(pair[place]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(key)
}

fn cipher(key: &[u8; KEY_BYTES]) -> Aes256Gcm {
    Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key))
}

fn bound_to(person: &str) -> Vec<u8> {
    [PURPOSE, person.as_bytes()].concat()
}
