//! Identity numbers of GB 11643: 18 characters (region, birth date, order, check character), or 15 as before 1999.
//! Residence permits of Hong Kong, Macao and Taiwan (81, 82, 83) are of the same form. Other papers do not parse.
//!
//! The region is kept, which is province and city in four digits. Beyond that the number is a birth date, which often
//! stands in a column of its own, and four characters of which the last follows from the others.

use super::text::{Digits, half_width, keep};
use super::{Mask, Spec};

/// Province and city.
const REGION: usize = 4;
const NEW: usize = 18;
const OLD: usize = 15;
/// Fewer hidden characters are no mask.
const LEAST: usize = 4;

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let number = parse(value)?;
    let (prefix, suffix) = match spec.mask {
        Mask::Generalize => (REGION, 0),
        _ => spec.ends_or(REGION, 0),
    };
    keep(out, number.as_str(), prefix, suffix, LEAST)
}

/// The number without blanks, in half-width characters and with a capital X. The check character may be wrong: the number
/// is somebody's all the same.
pub fn parse(value: &str) -> Option<Digits> {
    let number = match Digits::of(value) {
        Some(number) => number,
        None => written(value)?,
    };
    (matches!(number.len(), OLD | NEW) && !number.as_str().starts_with('0')).then_some(number)
}

/// With what people write between the digits, or an X.
fn written(value: &str) -> Option<Digits> {
    let mut number = Digits::default();
    for character in value.trim().chars().map(half_width) {
        match character {
            ' ' | '-' => {}
            '0'..='9' => number.push(character as u8)?,
            'x' | 'X' if number.len() == NEW - 1 => number.push(b'X')?,
            _ => return None,
        }
    }
    Some(number)
}

/// Whether a number is a possible one: its birth date exists and, of 18 characters, the last follows from the others.
pub fn is_valid(value: &str) -> bool {
    let Some(number) = parse(value) else { return false };
    let number = number.as_str();
    let digits = |from: usize, to: usize| number[from..to].parse::<u32>().unwrap_or(0);
    let (year, month, day) = match number.len() {
        OLD => (1900 + digits(6, 8), digits(8, 10), digits(10, 12)),
        _ => (digits(6, 10), digits(10, 12), digits(12, 14)),
    };
    let dated = (1850..=2199).contains(&year) && super::birth_date::exists(year as i32, month, day);
    dated && (number.len() == OLD || check_character(&number[..NEW - 1]) == number.chars().last())
}

/// ISO 7064 MOD 11-2 over the first 17 digits; None for anything else.
pub fn check_character(digits: &str) -> Option<char> {
    const WEIGHTS: [u32; NEW - 1] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let digits = digits.as_bytes();
    if digits.len() != NEW - 1 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    Some(char::from(b"10X98765432"[(sum % 11) as usize]))
}
