//! The head of a chain and its checkpoint line, which is kept where the database cannot change it.

use super::{Hash, Ledger};

/// The last link of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub ledger: Ledger,
    /// Id of the last record; 0 for a chain without one, whose hash is then its `genesis_prev`.
    pub id: i64,
    pub hash: Hash,
}

const VERSION: &str = "pg_steward/1";
const DAY: i64 = 86_400_000_000;
/// 2000-01-01 as a day of the proleptic Gregorian calendar that begins at 0000-03-01.
const EPOCH_DAY: i64 = 730_425;
/// 0001-01-01 and the last microsecond of 9999 in microseconds since 2000-01-01: the years of four digits.
const TIMES: (i64, i64) = (-730_119 * DAY, 2_921_940 * DAY - 1);

impl Head {
    /// The line `pg_steward/1 <ledger> <id> <hash> <UTC time>`. `time` is in microseconds since
    /// 2000-01-01 UTC; outside the years 1 to 9999 it is shown as the nearest of them.
    pub fn checkpoint(&self, time: i64) -> String {
        let ledger = hex(&self.ledger);
        format!(
            "{VERSION} {}-{}-{}-{}-{} {} {} {}",
            &ledger[..8],
            &ledger[8..12],
            &ledger[12..16],
            &ledger[16..20],
            &ledger[20..],
            self.id,
            hex(&self.hash),
            utc(time),
        )
    }

    /// The head a checkpoint line tells of. `None` for anything that [`Head::checkpoint`] would not have
    /// written byte for byte, white space and a line end included.
    pub fn parse(line: &str) -> Option<Head> {
        Head::parse_with_time(line).map(|(head, _)| head)
    }

    /// The same with the time at which the line was written.
    pub fn parse_with_time(line: &str) -> Option<(Head, i64)> {
        let mut words = line.split(' ');
        let (version, ledger, id) = (words.next()?, words.next()?, words.next()?);
        let (hash, time) = (words.next()?, words.next()?);
        if version != VERSION || words.next().is_some() {
            return None;
        }
        let head = Head { ledger: unhex(&ledger.replace('-', ""))?, id: id.parse().ok()?, hash: unhex(hash)? };
        let time = parse_time(time)?;
        (head.id >= 0 && head.checkpoint(time) == line).then_some((head, time))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)] as char).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high, 16)? << 4 | digit(*low, 16)?) as u8;
    }
    Some(bytes)
}

fn digit(character: u8, radix: u32) -> Option<u32> {
    (character as char).to_digit(radix)
}

/// A time as text, like `2026-11-22T01:34:00.000000Z`; outside the years 1 to 9999 the nearest of them.
pub fn utc(time: i64) -> String {
    let time = time.clamp(TIMES.0, TIMES.1);
    let (day, time_of_day) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, day) = date(day);
    let (seconds, micros) = (time_of_day / 1_000_000, time_of_day % 1_000_000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Year, month and day of a day counted from 2000-01-01. Years are taken to begin in March, so that the
/// leap day is the last of its year.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + EPOCH_DAY;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

/// Reads the digits where [`utc`] puts them; that all the rest is right, too, is seen by writing it again.
fn parse_time(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    let number = |from: usize, to: usize| {
        text.get(from..to)?
            .iter()
            .try_fold(0_i64, |number, character| Some(number * 10 + i64::from(digit(*character, 10)?)))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * march_year + march_year.div_euclid(4) - march_year.div_euclid(100)
        + march_year.div_euclid(400)
        + (153 * march_month + 2) / 5
        + day
        - 1
        - EPOCH_DAY;
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(days * DAY + seconds * 1_000_000 + number(20, 26)?)
}
