//! Hashes and pseudonyms: the same value becomes the same token, so that rows can still be counted and joined, and without
//! the key nobody can try out which value a token stands for. Telephone and identity numbers are few enough to be tried
//! out all, therefore nothing here is ever made without a key.
//!
//! ```text
//! key   = HMAC-SHA-256(key file, "pg_steward mask\0")
//! token = HMAC-SHA-256(key, class ‖ 0 ‖ mask ‖ 0 ‖ value)
//! ```
//! A hash is the whole token in hexadecimal digits, a pseudonym its first 80 bits in base 32. Values of one class that mean
//! the same (`+86 138…` and `138…`) have one token; classes have different ones.

use super::{Class, Mask, Spec, bank_card, id_card, phone};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Says what for: the same key seals the second factor.
const PURPOSE: &[u8] = b"pg_steward mask\0";
/// Of a pseudonym.
const BYTES: usize = 10;

/// The key of the masks, ready to be used.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// From the content of the key file.
    pub fn derive(master: &[u8]) -> Option<Key> {
        let derived = Hmac::<Sha256>::new_from_slice(master).ok()?.chain_update(PURPOSE).finalize().into_bytes();
        Hmac::new_from_slice(&derived).ok().map(Key)
    }

    fn token(&self, spec: Spec, value: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in [spec.class.name(), "\0", spec.mask.name(), "\0", value] {
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

pub(super) fn write(out: &mut String, spec: Spec, value: &str, key: Option<&Key>) -> Option<()> {
    let token = token(spec, value, key)?;
    match spec.mask {
        Mask::Hash => append_hex(out, &token),
        Mask::Pseudonym => append_base32(out, &token[..BYTES]),
        _ => return None,
    }
    Some(())
}

/// The pseudonym of a whole number: one of 63 bits.
pub fn mask_integer(spec: Spec, value: i64, key: Option<&Key>) -> Option<i64> {
    let token = token(keyed(spec)?, &value.to_string(), key)?;
    token.first_chunk().map(|bytes| i64::from_be_bytes(*bytes) & i64::MAX)
}

/// The pseudonym of an UUID: one of version 8 (RFC 9562).
pub fn mask_uuid(spec: Spec, value: &[u8; 16], key: Option<&Key>) -> Option<[u8; 16]> {
    let mut text = String::with_capacity(2 * value.len());
    append_hex(&mut text, value);
    let mut uuid = *token(keyed(spec)?, &text, key)?.first_chunk::<16>()?;
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Some(uuid)
}

/// Of types that have room for one kind of token only.
fn keyed(spec: Spec) -> Option<Spec> {
    spec.needs_key().then_some(Spec { mask: Mask::Pseudonym, ..spec })
}

fn token(spec: Spec, value: &str, key: Option<&Key>) -> Option<[u8; 32]> {
    let key = key?;
    let number = match spec.class {
        Class::IdCard => id_card::parse(value),
        Class::Phone => phone::parse(value).map(|number| number.digits),
        Class::BankCard => bank_card::parse(value),
        _ => None,
    };
    Some(key.token(spec, number.as_ref().map_or(value.trim(), |number| number.as_str())))
}

fn append_hex(out: &mut String, bytes: &[u8]) {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().for_each(|byte| out.extend([digit(byte >> 4), digit(byte & 15)]));
}

/// RFC 4648 in small letters; whole groups of five bytes.
fn append_base32(out: &mut String, bytes: &[u8]) {
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        out.extend(
            (0..8)
                .rev()
                .map(|place| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(bits >> (5 * place) & 31) as usize])),
        );
    }
}
