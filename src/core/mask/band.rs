//! Numbers: the band that a score or an amount lies in. Scores are shown to the ten (generalized: to the twenty), amounts
//! by their first digit (`prefix`: so many first digits; generalized: by the number of digits). Types of numbers keep their
//! type and show the end of the band that is nearer to zero, so that they still sort; a text shows both ends.

use super::{Class, Mask, Spec};
use std::fmt::Write;

/// What is more is no score.
const HIGHEST_SCORE: u64 = 1_000;

/// Appends `80-89`.
pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let (low, high) = band(spec, u64::try_from(parse(value)?).ok()?)?;
    write!(out, "{low}-{high}").ok()
}

/// The mask of a whole number; None: nothing is shown.
pub fn mask_integer(spec: Spec, value: i64) -> Option<i64> {
    let (low, _) = band(spec, value.unsigned_abs())?;
    i64::try_from(low).ok().map(|low| if value < 0 { -low } else { low })
}

/// The mask of a number with digits behind the point, by those before it.
pub fn mask_decimal(spec: Spec, value: &str) -> Option<i64> {
    mask_integer(spec, parse(value)?)
}

/// The digits before the point; None for what is no number or too large.
fn parse(value: &str) -> Option<i64> {
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let known = !whole.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    known.then(|| whole.parse().ok())?
}

/// Both ends of the band.
fn band(spec: Spec, value: u64) -> Option<(u64, u64)> {
    let width = match (spec.class, spec.mask) {
        (Class::Score, _) if value > HIGHEST_SCORE => return None,
        (Class::Score, Mask::Partial) => 10,
        (Class::Score, Mask::Generalize) => 20,
        (Class::Amount, Mask::Partial) => {
            // One digit at least is hidden.
            let hidden = (digits(value) - 1).saturating_sub(u32::from(spec.prefix.unwrap_or(1)).max(1) - 1).max(1);
            10_u64.checked_pow(hidden)?
        }
        (Class::Amount, Mask::Generalize) => {
            let end = 10_u64.checked_pow(digits(value))?;
            return Some((if end == 10 { 0 } else { end / 10 }, end - 1));
        }
        _ => return None,
    };
    let low = value / width * width;
    Some((low, low.checked_add(width - 1)?))
}

fn digits(value: u64) -> u32 {
    value.checked_ilog10().unwrap_or(0) + 1
}
