//! What an integrity check asks of a value, as far as that needs no database: number formats with a check digit, and how
//! the parameters of checks read. Pure. Requirements 78, 79.

/// What a check is about; `steward.check.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No combination of values twice. NULLs are never equal.
    Unique,
    /// Every value matches a regular expression.
    Format,
    /// Every value is a number whose check digit holds.
    Checksum,
    /// Every combination of values is a row of another table.
    Reference,
    /// Every value lies between two bounds, both included.
    Range,
    /// The newest value is not older than an interval.
    Freshness,
    /// A condition of the user's own holds for every row.
    Expression,
}

/// All kinds with their names in SQL.
pub const KINDS: [(&str, Kind); 7] = [
    ("unique", Kind::Unique),
    ("format", Kind::Format),
    ("checksum", Kind::Checksum),
    ("reference", Kind::Reference),
    ("range", Kind::Range),
    ("freshness", Kind::Freshness),
    ("expression", Kind::Expression),
];

impl Kind {
    pub fn from_name(name: &str) -> Option<Kind> {
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Whether a row is right or wrong by itself.
    fn concerns_one_row(self) -> bool {
        matches!(self, Kind::Format | Kind::Checksum | Kind::Range)
    }

    /// Whether many such checks take one pass over their table.
    pub fn shares_a_pass(self) -> bool {
        self.concerns_one_row() || self == Kind::Unique
    }

    /// Whether it is about a single column.
    pub fn takes_one_column(self) -> bool {
        self.concerns_one_row() || self == Kind::Freshness
    }
}

/// A number that carries its own check digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// GB 11643: 18 characters with ISO 7064 MOD 11-2, or the 15 digits issued before 1999, which have no check digit.
    IdCard,
    /// ISO/IEC 7812: 12 to 19 digits with Luhn's check digit.
    BankCard,
}

impl Number {
    pub fn from_name(name: &str) -> Option<Number> {
        match name {
            "id_card" => Some(Number::IdCard),
            "bank_card" => Some(Number::BankCard),
            _ => None,
        }
    }

    /// Whether a value is such a number, character by character: no blanks, no other digits than 0 to 9.
    pub fn holds(self, value: &str) -> bool {
        match self {
            Number::IdCard => id_card(value.as_bytes()),
            Number::BankCard => bank_card(value.as_bytes()),
        }
    }
}

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK_CHARACTERS: &[u8; 11] = b"10X98765432";

fn id_card(value: &[u8]) -> bool {
    match value.len() {
        15 => number(value).is_some() && number(&value[6..12]).is_some_and(|day| is_day(19_000_000 + day)),
        18 => {
            let (digits, check) = value.split_at(17);
            let sum: u32 =
                digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
            number(digits).is_some()
                && number(&digits[6..14]).is_some_and(is_day)
                && check[0].to_ascii_uppercase() == CHECK_CHARACTERS[sum as usize % 11]
        }
        _ => false,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |number: u64, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

/// Whether YYYYMMDD is a day of the Gregorian calendar since 1800.
fn is_day(day: u64) -> bool {
    let (year, month, day) = (day / 10_000, day / 100 % 100, day % 100);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    year >= 1800 && (1..=longest).contains(&day)
}

fn bank_card(value: &[u8]) -> bool {
    let sum = value.iter().rev().enumerate().try_fold(0, |sum, (place, digit)| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        let weighed = if place % 2 == 0 { digit } else { digit * 2 };
        Some(sum + weighed / 10 + weighed % 10)
    });
    (12..=19).contains(&value.len()) && sum.is_some_and(|sum| sum % 10 == 0)
}

/// The bounds of `low..high`; either may be missing, not both.
pub fn bounds(parameter: &str) -> Option<(Option<&str>, Option<&str>)> {
    let (low, high) = parameter.split_once("..")?;
    let bound = |text: &'_ str| -> bool { !text.trim().is_empty() };
    if high.contains("..") || !bound(low) && !bound(high) {
        return None;
    }
    Some((Some(low.trim()).filter(|low| bound(low)), Some(high.trim()).filter(|high| bound(high))))
}
