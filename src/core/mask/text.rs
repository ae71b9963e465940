//! Characters and numbers in texts that people typed.

use super::FILL;

/// A full-width digit, letter or sign, or the ideographic space, as the half-width one; others as they are.
pub fn half_width(character: char) -> char {
    match character {
        '\u{3000}' | '\u{a0}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        _ => character,
    }
}

/// As `char::is_alphabetic`, which looks Han characters up among those of all scripts.
pub fn is_letter(character: char) -> bool {
    match character {
        '\u{4e00}'..='\u{9fff}' => true,
        '\u{0}'..='\u{7f}' => character.is_ascii_alphabetic(),
        // Blanks and signs of full width.
        '\u{3000}'..='\u{3004}' | '\u{ff00}'..='\u{ff20}' => false,
        _ => character.is_alphabetic(),
    }
}

/// More digits are no number of any class.
const MOST: usize = 24;

/// The digits of a number, without what people write between them. Nothing but ASCII is ever stored.
#[derive(Clone, Copy, Default)]
pub struct Digits {
    bytes: [u8; MOST],
    length: usize,
}

impl Digits {
    /// A text that is nothing but ASCII digits; None if it is not, or they are too many.
    pub fn of(digits: &str) -> Option<Digits> {
        let mut copy = Digits::default();
        copy.bytes.get_mut(..digits.len())?.copy_from_slice(digits.as_bytes());
        copy.length = digits.len();
        digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(copy)
    }

    /// None if there is no more room, or it is not ASCII.
    pub fn push(&mut self, digit: u8) -> Option<()> {
        *self.bytes.get_mut(self.length).filter(|_| digit.is_ascii())? = digit;
        self.length += 1;
        Some(())
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn as_str(&self) -> &str {
        // Safe: only ASCII was stored, and `length` is within the array.
        unsafe { std::str::from_utf8_unchecked(&self.bytes[..self.length]) }
    }
}

/// Appends the first and the last characters with [`FILL`] between them; None if fewer than `least` would be hidden.
pub fn keep(out: &mut String, text: &str, prefix: usize, suffix: usize, least: usize) -> Option<()> {
    let ascii = text.is_ascii();
    let length = if ascii { text.len() } else { text.chars().count() };
    if length < prefix + suffix + least {
        return None;
    }
    if ascii {
        out.push_str(&text[..prefix]);
        out.push_str(FILL);
        out.push_str(&text[length - suffix..]);
        return Some(());
    }
    out.push_str(&text[..byte_at(text, prefix)]);
    out.push_str(FILL);
    out.push_str(&text[byte_at(text, length - suffix)..]);
    Some(())
}

/// Where the character with this number, from 0, begins.
pub fn byte_at(text: &str, number: usize) -> usize {
    if text.is_ascii() {
        return number.min(text.len());
    }
    text.char_indices().nth(number).map_or(text.len(), |(at, _)| at)
}
