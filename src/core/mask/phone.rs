//! Telephone numbers of mainland China as people write them: mobile, landline with area code, 400 and 800; with +86 or
//! 0086, blanks, dashes, brackets and extensions; several in a field. Numbers of other countries do not parse.
//!
//! Of a mobile number the first three digits (who issued it) and the last four are kept, of a landline the area code.

use super::text::{Digits, half_width, keep};
use super::{HIDDEN, Mask, Spec};

/// Fewer hidden digits are no mask.
const LEAST: usize = 4;

/// What is kept of a mobile number: who issued it, and its end.
const MOBILE: (usize, usize) = (3, 4);

/// A number with its trunk prefix and without country code and extension.
pub struct Number {
    pub digits: Digits,
    /// What is kept at both ends.
    kept: (usize, usize),
}

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    if let Some(number) = parse(value) {
        return number.write(out, spec);
    }
    let start = out.len();
    let mut shown = false;
    for piece in value.split(is_separator).filter(|piece| !piece.trim().is_empty()) {
        match parse(piece) {
            Some(number) => shown |= write_one(out, start, spec, Some(number)),
            // Nothing but a blank between two numbers.
            None => {
                for word in piece.split_whitespace() {
                    shown |= write_one(out, start, spec, parse(word));
                }
            }
        }
    }
    shown.then_some(())
}

/// Appends one of several numbers; false: nothing of it is shown.
fn write_one(out: &mut String, start: usize, spec: Spec, number: Option<Number>) -> bool {
    if out.len() > start {
        out.push('/');
    }
    let shown = number.is_some_and(|number| number.write(out, spec).is_some());
    if !shown {
        out.push_str(HIDDEN);
    }
    shown
}

fn is_separator(character: char) -> bool {
    matches!(half_width(character), ',' | ';' | '/' | '|' | '\n' | '\r' | '\t' | '、' | '和' | '或')
}

impl Number {
    fn write(&self, out: &mut String, spec: Spec) -> Option<()> {
        let (prefix, suffix) = match spec.mask {
            // An area code is province and city; a mobile number is of nowhere.
            Mask::Generalize if self.kept.1 > 0 => return None,
            Mask::Generalize => self.kept,
            _ => spec.ends_or(self.kept.0, self.kept.1),
        };
        keep(out, self.digits.as_str(), prefix, suffix, LEAST)
    }
}

/// One number, as a whole.
pub fn parse(text: &str) -> Option<Number> {
    // What most are.
    if is_mobile(text) {
        return Digits::of(text).map(|digits| Number { digits, kept: MOBILE });
    }
    let (digits, abroad) = match Digits::of(text) {
        Some(digits) => (digits, false),
        None => written(text)?,
    };
    let digits = digits.as_str();
    match (digits.strip_prefix("0086"), digits.strip_prefix("86")) {
        (Some(number), _) => from_abroad(number),
        (None, Some(number)) if abroad || is_mobile(number) => from_abroad(number),
        _ if abroad => None,
        _ => at_home(digits),
    }
}

/// The digits without what people write between and behind them, and whether a + stands in front.
fn written(text: &str) -> Option<(Digits, bool)> {
    let (number, extension) = text.split_at(text.find(begins_extension).unwrap_or(text.len()));
    if extension.chars().filter(char::is_ascii_digit).count() > 6 || !extension.chars().all(is_extension) {
        return None;
    }
    let (mut digits, mut abroad) = (Digits::default(), false);
    for character in number.trim().chars().map(half_width) {
        match character {
            '0'..='9' => digits.push(character as u8)?,
            '+' if digits.len() == 0 && !abroad => abroad = true,
            ' ' | '-' | '.' | '(' | ')' | '‐' | '–' | '—' => {}
            _ => return None,
        }
    }
    Some((digits, abroad))
}

/// After the country code an area code has lost its 0.
fn from_abroad(number: &str) -> Option<Number> {
    if is_mobile(number) || number.starts_with('0') || number.starts_with("400") || number.starts_with("800") {
        return at_home(number);
    }
    let mut digits = Digits::of("0")?;
    number.bytes().try_for_each(|digit| digits.push(digit))?;
    at_home(digits.as_str())
}

fn at_home(number: &str) -> Option<Number> {
    let number = number.strip_prefix('0').filter(|rest| is_mobile(rest)).unwrap_or(number);
    let kept = match (number.as_bytes(), number.len()) {
        _ if is_mobile(number) => MOBILE,
        ([b'4' | b'8', b'0', b'0', ..], 10) => (3, 0),
        // An extension may follow without a word.
        ([b'0', b'1', b'0', ..] | [b'0', b'2', ..], 10..=17) => (3, 0),
        ([b'0', b'3'..=b'9', ..], 11..=18) => (4, 0),
        ([b'2'..=b'8', ..], 7 | 8) => (0, 0),
        _ => return None,
    };
    Some(Number { digits: Digits::of(number)?, kept })
}

fn is_mobile(number: &str) -> bool {
    matches!(number.as_bytes(), [b'1', b'3'..=b'9', ..]) && number.len() == 11
}

fn begins_extension(character: char) -> bool {
    matches!(half_width(character), '转' | '分' | '#' | 'e' | 'E' | 'x' | 'X')
}

fn is_extension(character: char) -> bool {
    let character = half_width(character);
    character.is_ascii_digit() || "转分机extEXT#.:- ".contains(character)
}
