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

use super::{Class, Mask, Spec, bank_card, id_card, passport, phone};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sha2::compress256;

/// Says what for: the same key seals the second factor.
const PURPOSE: &[u8] = b"pg_steward mask\0";
/// Of a pseudonym.
const BYTES: usize = 10;

/// Of SHA-256, in bytes, and what it begins with (FIPS 180-4).
const BLOCK: usize = 64;
const START: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The key of the masks, ready to be used: what SHA-256 has become behind the two blocks that HMAC makes of a key. A token
/// of a short value takes one more block of each.
#[derive(Clone)]
pub struct Key {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl Key {
    /// From the content of the key file.
    pub fn derive(master: &[u8]) -> Option<Key> {
        let derived = Hmac::<Sha256>::new_from_slice(master).ok()?.chain_update(PURPOSE).finalize().into_bytes();
        let behind = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(derived).for_each(|(byte, key)| *byte ^= key);
            let mut state = START;
            compress256(&mut state, &[block.into()]);
            state
        };
        Some(Key { inner: behind(0x36), outer: behind(0x5c) })
    }

    fn token(&self, spec: Spec, value: &str) -> [u8; 32] {
        let inner = hash_behind(self.inner, Prefix::of(spec), value.as_bytes());
        hash_behind(self.outer, &Prefix::NONE, &inner)
    }
}

/// What stands in front of a value: class ‖ 0 ‖ mask ‖ 0.
#[derive(Clone, Copy)]
struct Prefix {
    bytes: [u8; 32],
    length: usize,
}

impl Prefix {
    const NONE: Prefix = Prefix { bytes: [0; 32], length: 0 };

    /// Of every class, and of the masks pseudonym and hash.
    const ALL: [[Prefix; 2]; Class::KNOWN.len() + 1] = {
        let mut all = [[Prefix::NONE; 2]; Class::KNOWN.len() + 1];
        let mut number = 0;
        while number < all.len() {
            let class = if number == 0 { Class::Other } else { Class::KNOWN[number - 1] };
            all[class as usize] = [Prefix::new(class, Mask::Pseudonym), Prefix::new(class, Mask::Hash)];
            number += 1;
        }
        all
    };

    fn of(spec: Spec) -> &'static Prefix {
        static ALL: [[Prefix; 2]; Class::KNOWN.len() + 1] = Prefix::ALL;
        &ALL[spec.class as usize][usize::from(spec.mask == Mask::Hash)]
    }

    const fn new(class: Class, mask: Mask) -> Prefix {
        Prefix::NONE.with(class.name()).with(mask.name())
    }

    const fn with(mut self, name: &str) -> Prefix {
        let mut number = 0;
        while number < name.len() {
            self.bytes[self.length + number] = name.as_bytes()[number];
            number += 1;
        }
        self.length += name.len() + 1;
        self
    }
}

/// SHA-256 of one block, after which it had this state, and of these bytes.
fn hash_behind(mut state: [u32; 8], prefix: &Prefix, mut rest: &[u8]) -> [u8; 32] {
    let length = BLOCK + prefix.length + rest.len();
    let (mut block, mut filled) = ([0; BLOCK], prefix.length);
    block[..prefix.bytes.len()].copy_from_slice(&prefix.bytes);
    while filled + rest.len() >= BLOCK {
        let (now, later) = rest.split_at(BLOCK - filled);
        block[filled..].copy_from_slice(now);
        compress256(&mut state, &[block.into()]);
        (block, filled, rest) = ([0; BLOCK], 0, later);
    }
    block[filled..filled + rest.len()].copy_from_slice(rest);
    filled += rest.len();
    block[filled] = 0x80;
    if filled + 1 > BLOCK - 8 {
        compress256(&mut state, &[block.into()]);
        block = [0; BLOCK];
    }
    block[BLOCK - 8..].copy_from_slice(&(8 * length as u64).to_be_bytes());
    compress256(&mut state, &[block.into()]);
    let mut hash = [0; 32];
    hash.chunks_exact_mut(4).zip(state).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_be_bytes()));
    hash
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
        Class::Passport => passport::parse(value),
        _ => None,
    };
    Some(key.token(spec, number.as_ref().map_or(value.trim(), |number| number.as_str())))
}

fn append_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for part in bytes.chunks(16) {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(part) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        append_ascii(out, &digits[..2 * part.len()]);
    }
}

/// RFC 4648 in small letters; whole groups of five bytes.
fn append_base32(out: &mut String, bytes: &[u8]) {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        append_ascii(out, &std::array::from_fn::<u8, 8, _>(|place| LETTERS[(bits >> (35 - 5 * place) & 31) as usize]));
    }
}

fn append_ascii(out: &mut String, digits: &[u8]) {
    debug_assert!(digits.is_ascii());
    // Safe: made of the two alphabets above.
    out.push_str(unsafe { std::str::from_utf8_unchecked(digits) });
}
