//! Dates of birth: the year, or the school year (from 1 September) that the birth falls into, which is what statistics of
//! education count by. Types of dates keep their type: the first day of the year, or of the school year.

use super::{Mask, Spec};
use std::fmt::Write;

/// The first month of a school year.
const SEPTEMBER: u32 = 9;
/// 2000-01-01, from which PostgreSQL counts, in days since 1970-01-01.
const EPOCH: i64 = 10_957;

/// Appends `2010`, or `2009/2010`.
pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let (year, month) = parse(value)?;
    match spec.mask {
        Mask::Partial => write!(out, "{year}").ok(),
        Mask::Generalize => {
            let first = if month < SEPTEMBER { year - 1 } else { year };
            write!(out, "{first}/{}", first + 1).ok()
        }
        _ => None,
    }
}

/// The mask of a date in days since 2000-01-01; None: nothing is shown.
pub fn mask_days(spec: Spec, days: i32) -> Option<i32> {
    let (year, month) = year_and_month(i64::from(days) + EPOCH);
    let begin = match spec.mask {
        Mask::Partial => (year, 1),
        Mask::Generalize if month < SEPTEMBER => (year - 1, SEPTEMBER),
        Mask::Generalize => (year, SEPTEMBER),
        _ => return None,
    };
    let known = spec.class == super::Class::BirthDate && (1..=9999).contains(&year);
    known.then(|| (first_of_month(begin.0, begin.1) - EPOCH) as i32)
}

/// Whether there is such a day.
pub fn exists(year: i32, month: u32, day: u32) -> bool {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// `2010-01-02`, `2010/1/2`, `2010.1.2`, `20100102`, `2010年1月2日`, each perhaps with a time behind it.
fn parse(value: &str) -> Option<(i32, u32)> {
    let value = value.trim();
    let day = &value[..value.find([' ', 'T']).unwrap_or(value.len())];
    let mut parts = [0_i32; 3];
    if day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit()) {
        parts = [day[..4].parse().ok()?, day[4..6].parse().ok()?, day[6..].parse().ok()?];
    } else {
        let mut numbers = day.trim_end_matches('日').split(['-', '/', '.', '年', '月']);
        for part in &mut parts {
            let number = numbers.next()?;
            let digits = (1..=4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
            *part = digits.then(|| number.parse().ok())??;
        }
        if numbers.next().is_some() {
            return None;
        }
    }
    let [year, month, day] = parts;
    let known = (1800..=2199).contains(&year) && exists(year, month as u32, day as u32);
    known.then_some((year, month as u32))
}

/// Of a day since 1970-01-01 in the Gregorian calendar: years of 400 begin with March, so that leap days come last.
fn year_and_month(days: i64) -> (i64, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (year, month) = (year + era * 400, month as u32);
    if month < 10 { (year, month + 3) } else { (year + 1, month - 9) }
}

/// The first day of a month, since 1970-01-01.
fn first_of_month(year: i64, month: u32) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * i64::from(month) + 2) / 5;
    let of_era = year.rem_euclid(400);
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
