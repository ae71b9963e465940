//! Passports of the People's Republic of China, permits to travel to Hong Kong, Macao and Taiwan, and those with which
//! residents of Hong Kong and Macao travel to the mainland. Papers of other countries do not parse.
//!
//! The first letter is kept, which says what paper it is. Numbers follow one another, so their beginning tells when it was
//! issued and their end is nearly the whole of what tells two apart: neither is kept unless somebody says so.

use super::text::{Digits, half_width, keep};
use super::{Mask, Spec};

/// Fewer hidden characters are no mask.
const LEAST: usize = 4;
/// The letter that says what paper it is.
const KIND: usize = 1;

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let number = parse(value)?;
    let (prefix, suffix) = match spec.mask {
        Mask::Generalize => (KIND, 0),
        _ => spec.ends_or(KIND, 0),
    };
    keep(out, number.as_str(), prefix, suffix, LEAST)
}

/// The number without blanks, in half-width characters and capital letters.
pub fn parse(value: &str) -> Option<Digits> {
    let mut number = Digits::default();
    for character in value.trim().chars().map(half_width) {
        match character {
            ' ' | '-' => {}
            _ if character.is_ascii_alphanumeric() => number.push(character.to_ascii_uppercase() as u8)?,
            _ => return None,
        }
    }
    let digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    let is_one = match number.as_str().as_bytes() {
        // Ordinary, diplomatic, service and public affairs; to Hong Kong and Macao; to Taiwan. The series may have a letter.
        [b'E' | b'G' | b'D' | b'S' | b'P' | b'C' | b'W' | b'L' | b'T', series, rest @ ..] => {
            series.is_ascii_alphanumeric() && rest.len() == 7 && digits(rest)
        }
        // Of residents of Hong Kong and Macao: eight digits, and two for how often it was issued anew.
        [b'H' | b'M', rest @ ..] => matches!(rest.len(), 8 | 10) && digits(rest),
        _ => false,
    };
    is_one.then_some(number)
}
