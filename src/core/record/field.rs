//! The fields of a record and how they lie in its bytes. Nothing here knows what a record means.

use super::super::tier::Tier;
use super::{FORMAT, FormatError, Kind, Outcome};

/// How a value is written after its field's id.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// One byte that names something.
    Byte,
    /// Signed, 8 bytes big-endian.
    Moment,
    /// Signed, as a zigzag number.
    Int,
    /// A number: 7 bits a byte, lowest first, the high bit says that more follows; never longer than it need be.
    Unsigned,
    /// A length and UTF-8.
    Text,
    /// A length and one or more texts.
    List,
    /// A length and bytes.
    Bytes,
}

/// A value as it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Byte(u8),
    Int(i64),
    Unsigned(u64),
    Text(&'a str),
    /// See [`list`].
    List(&'a [u8]),
    Bytes(&'a [u8]),
}

/// A field by its id. Ids are never reused. 3 to 8 say who, 9 to 13 what: a record may refer to a definition of
/// either, which is an earlier record of the chain, instead of having these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    Kind = 1,
    Time = 2,
    UserId = 3,
    EffectiveUser = 4,
    Person = 5,
    ClientIp = 6,
    ApplicationName = 7,
    Database = 8,
    OperationType = 9,
    Relations = 10,
    Tier = 11,
    Rule = 12,
    Statement = 13,
    OpNo = 14,
    Outcome = 15,
    Sqlstate = 16,
    Rows = 17,
    Repeats = 18,
    DurationUs = 19,
    Details = 20,
    Xid = 21,
    Backend = 22,
    Who = 23,
    What = 24,
    Body = 25,
}

impl Field {
    /// All fields; field n stands at n - 1.
    pub const ALL: [Field; 25] = [
        Field::Kind,
        Field::Time,
        Field::UserId,
        Field::EffectiveUser,
        Field::Person,
        Field::ClientIp,
        Field::ApplicationName,
        Field::Database,
        Field::OperationType,
        Field::Relations,
        Field::Tier,
        Field::Rule,
        Field::Statement,
        Field::OpNo,
        Field::Outcome,
        Field::Sqlstate,
        Field::Rows,
        Field::Repeats,
        Field::DurationUs,
        Field::Details,
        Field::Xid,
        Field::Backend,
        Field::Who,
        Field::What,
        Field::Body,
    ];

    /// Who did it.
    pub fn is_who(self) -> bool {
        (Field::UserId..=Field::Database).contains(&self)
    }

    /// What was done.
    pub fn is_what(self) -> bool {
        (Field::OperationType..=Field::Statement).contains(&self)
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }

    fn from_id(id: u8) -> Option<Field> {
        Field::ALL.get(usize::from(id).checked_sub(1)?).copied()
    }

    fn value_type(self) -> Type {
        match self {
            Field::Kind | Field::Tier | Field::Outcome => Type::Byte,
            Field::Time => Type::Moment,
            Field::Rows | Field::Repeats | Field::DurationUs | Field::Backend | Field::Who | Field::What => Type::Int,
            Field::Xid => Type::Unsigned,
            Field::Relations => Type::List,
            Field::Body => Type::Bytes,
            _ => Type::Text,
        }
    }
}

/// Whether the bytes begin as those of a definition.
pub fn is_definition(record: &[u8]) -> bool {
    is_of_kind(record, Kind::Definition)
}

/// Whether the bytes begin as those of a record of this kind: it is the first field of every one.
pub fn is_of_kind(record: &[u8], kind: Kind) -> bool {
    record.starts_with(&[FORMAT, Field::Kind as u8, kind as u8])
}

/// Which fields a record has: bits by id.
#[derive(Clone, Copy, Default)]
struct Seen(u32);

impl Seen {
    const WHO: u32 = mask(Field::UserId, Field::Database);
    const WHAT: u32 = mask(Field::OperationType, Field::Statement);
    const ALWAYS: u32 = Field::Kind.bit() | Field::Time.bit() | Field::Outcome.bit();

    /// Either side is there itself or by reference, never both.
    fn is_complete(self) -> bool {
        let side =
            |own: u32, first: Field, reference: Field| match (self.0 & first.bit() != 0, self.0 & reference.bit() != 0)
            {
                (true, false) => true,
                (false, true) => self.0 & own == 0,
                _ => false,
            };
        self.0 & Self::ALWAYS == Self::ALWAYS
            && side(Self::WHO, Field::UserId, Field::Who)
            && side(Self::WHAT, Field::OperationType, Field::What)
    }
}

const fn mask(first: Field, last: Field) -> u32 {
    (1 << (last as u8 + 1)) - (1 << first as u8)
}

/// The value of one field, without a copy; `None` if absent. Reads no further than the field; only [`check`] and
/// `Record::decode` vouch for all the bytes.
pub fn find_field(bytes: &[u8], field: Field) -> Result<Option<Value<'_>>, FormatError> {
    find(Fields::open(bytes)?, field)
}

/// As [`find_field`], in the body of a definition.
pub fn find_in_body(body: &[u8], field: Field) -> Result<Option<Value<'_>>, FormatError> {
    find(Fields::of_body(body), field)
}

fn find(mut fields: Fields<'_>, field: Field) -> Result<Option<Value<'_>>, FormatError> {
    while let Some((found, value)) = fields.next()? {
        if found >= field {
            return Ok((found == field).then_some(value));
        }
    }
    Ok(None)
}

/// Whether `Record::decode` would accept the bytes, without building the record.
pub fn check(bytes: &[u8]) -> Result<(), FormatError> {
    let mut fields = Fields::open(bytes)?;
    while fields.next()?.is_some() {}
    Ok(())
}

/// The texts of a list value.
pub fn list(value: &[u8]) -> Result<Vec<&str>, FormatError> {
    let mut texts = Vec::new();
    let mut rest = Bytes(value);
    if value.is_empty() {
        return Err(FormatError::WrongLength);
    }
    while !rest.0.is_empty() {
        texts.push(rest.text()?);
    }
    Ok(texts)
}

pub(super) fn known<T>(number: u8, from_u8: fn(u8) -> Option<T>) -> Result<T, FormatError> {
    from_u8(number).ok_or(FormatError::UnknownValue)
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(FormatError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let minimal = byte != 0 || shift == 0;
                // The tenth byte has room for one bit.
                return if minimal && (shift < 63 || byte <= 1) { Ok(number) } else { Err(FormatError::NotCanonical) };
            }
        }
        Err(FormatError::NotCanonical)
    }

    fn sized(&mut self) -> Result<&'a [u8], FormatError> {
        let len = usize::try_from(self.number()?).map_err(|_| FormatError::Truncated)?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, FormatError> {
        std::str::from_utf8(self.sized()?).map_err(|_| FormatError::NotUtf8)
    }

    fn value(&mut self, field: Field) -> Result<Value<'a>, FormatError> {
        Ok(match field.value_type() {
            Type::Byte => {
                let byte = self.byte()?;
                match field {
                    Field::Kind => known(byte, Kind::from_u8).map(drop)?,
                    Field::Tier => known(byte, Tier::from_u8).map(drop)?,
                    _ => known(byte, Outcome::from_u8).map(drop)?,
                }
                Value::Byte(byte)
            }
            Type::Moment => {
                Value::Int(i64::from_be_bytes(self.take(8)?.try_into().map_err(|_| FormatError::Truncated)?))
            }
            Type::Int => {
                let number = self.number()?;
                Value::Int((number >> 1) as i64 ^ -((number & 1) as i64))
            }
            Type::Unsigned => Value::Unsigned(self.number()?),
            Type::Text => Value::Text(self.text()?),
            Type::List => {
                let value = self.sized()?;
                list(value)?;
                Value::List(value)
            }
            Type::Bytes => Value::Bytes(self.sized()?),
        })
    }
}

/// Walks the fields of a record or of a body.
pub(super) struct Fields<'a> {
    rest: Bytes<'a>,
    last_id: u8,
    seen: Seen,
    /// A body may have any fields.
    whole: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Fields<'a>, FormatError> {
        let mut rest = Bytes(bytes);
        match rest.byte()? {
            FORMAT => Ok(Fields { rest, last_id: 0, seen: Seen::default(), whole: true }),
            other => Err(FormatError::UnknownFormat(other)),
        }
    }

    pub(super) fn of_body(body: &'a [u8]) -> Fields<'a> {
        Fields { rest: Bytes(body), last_id: 0, seen: Seen::default(), whole: false }
    }

    /// The next field; at the end, whether the record is complete.
    pub(super) fn next(&mut self) -> Result<Option<(Field, Value<'a>)>, FormatError> {
        if self.rest.0.is_empty() {
            return if self.whole && !self.seen.is_complete() { Err(FormatError::MissingField) } else { Ok(None) };
        }
        let id = self.rest.byte()?;
        let field = Field::from_id(id).ok_or(FormatError::UnknownField(id))?;
        if id <= self.last_id {
            return Err(FormatError::WrongOrder(id));
        }
        self.last_id = id;
        self.seen.0 |= field.bit();
        Ok(Some((field, self.rest.value(field)?)))
    }

    /// Bytes that are not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.0.len()
    }
}

/// Writes fields; the caller keeps them in ascending order.
pub(super) struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn format(&mut self) {
        self.0.push(FORMAT);
    }

    pub fn byte(&mut self, field: Field, value: u8) {
        self.0.extend_from_slice(&[field as u8, value]);
    }

    pub fn moment(&mut self, field: Field, value: i64) {
        self.0.push(field as u8);
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn text(&mut self, field: Field, value: Option<&str>) {
        self.bytes(field, value.map(str::as_bytes));
    }

    pub fn bytes(&mut self, field: Field, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.0.push(field as u8);
            self.number(value.len() as u64);
            self.0.extend_from_slice(value);
        }
    }

    pub fn int(&mut self, field: Field, value: Option<i64>) {
        if let Some(value) = value {
            self.0.push(field as u8);
            self.number((value << 1 ^ value >> 63) as u64);
        }
    }

    pub fn unsigned(&mut self, field: Field, value: Option<u64>) {
        if let Some(value) = value {
            self.0.push(field as u8);
            self.number(value);
        }
    }

    pub fn list(&mut self, field: Field, values: &[String]) {
        if values.is_empty() {
            return;
        }
        let mut items = Vec::new();
        for value in values {
            Writer(&mut items).number(value.len() as u64);
            items.extend_from_slice(value.as_bytes());
        }
        self.bytes(field, Some(&items));
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}
