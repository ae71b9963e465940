//! Numbers of bank cards and passbooks: 13 to 19 digits. At most the issuer's first six and the last four are kept, and at
//! least six are hidden: the last digit follows from the others, so fewer could be tried out.

use super::text::{Digits, half_width, keep};
use super::{Mask, Spec};

const ISSUER: usize = 6;
const END: usize = 4;
const LEAST: usize = 6;

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let number = parse(value)?;
    if spec.mask != Mask::Partial {
        return None;
    }
    let (prefix, suffix) = spec.ends_or(ISSUER, END);
    let suffix = suffix.min(END);
    let prefix = prefix.min(ISSUER).min(number.len() - LEAST - suffix);
    keep(out, number.as_str(), prefix, suffix, LEAST)
}

/// The digits without blanks and dashes. The check digit may be wrong.
pub fn parse(value: &str) -> Option<Digits> {
    let mut number = Digits::default();
    for character in value.trim().chars().map(half_width) {
        match character {
            '0'..='9' => number.push(character as u8)?,
            ' ' | '-' => {}
            _ => return None,
        }
    }
    (13..=19).contains(&number.len()).then_some(number)
}
