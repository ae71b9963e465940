//! The fields of a record and how they lie in its bytes. Nothing here knows what a record means.

use super::super::tier::Tier;
use super::{FORMAT, FormatError, Kind, Outcome};

const MAGIC: &[u8; 8] = b"PGSTEWRD";
const HEADER_LEN: usize = MAGIC.len() + 4;
const FIELD_HEADER_LEN: usize = 7;

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Type {
    /// One byte that names something.
    Byte = 1,
    /// Signed, 8 bytes.
    Int = 2,
    /// Unsigned, 8 bytes.
    Unsigned = 3,
    /// UTF-8.
    Text = 4,
    /// One or more texts, each after its u32 length.
    List = 5,
}

/// A field by its id. Ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
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
    OpNo = 13,
    Outcome = 14,
    Sqlstate = 15,
    Rows = 16,
    Repeats = 17,
    DurationUs = 18,
    Statement = 19,
    Details = 20,
    Xid = 21,
    Backend = 22,
}

impl Field {
    /// All fields; field n stands at n - 1.
    pub const ALL: [Field; 22] = [
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
        Field::OpNo,
        Field::Outcome,
        Field::Sqlstate,
        Field::Rows,
        Field::Repeats,
        Field::DurationUs,
        Field::Statement,
        Field::Details,
        Field::Xid,
        Field::Backend,
    ];

    /// The fields no record lacks, as bits by id.
    const REQUIRED: u32 =
        Field::Kind.bit() | Field::Time.bit() | Field::UserId.bit() | Field::OperationType.bit() | Field::Outcome.bit();

    const fn bit(self) -> u32 {
        1 << self as u16
    }

    fn from_id(id: u16) -> Option<Field> {
        Field::ALL.get(usize::from(id).checked_sub(1)?).copied()
    }

    fn value_type(self) -> Type {
        match self {
            Field::Kind | Field::Tier | Field::Outcome => Type::Byte,
            Field::Time | Field::Rows | Field::Repeats | Field::DurationUs | Field::Backend => Type::Int,
            Field::Xid => Type::Unsigned,
            Field::Relations => Type::List,
            _ => Type::Text,
        }
    }

    /// Whether `value` is one this field can have.
    fn check_value(self, value: &[u8]) -> Result<(), FormatError> {
        match self.value_type() {
            Type::Int | Type::Unsigned => int(value).map(drop),
            Type::Text => text(value).map(drop),
            Type::List => items(value, |_| ()),
            Type::Byte => match self {
                Field::Kind => known(value, Kind::from_u8).map(drop),
                Field::Tier => known(value, Tier::from_u8).map(drop),
                _ => known(value, Outcome::from_u8).map(drop),
            },
        }
    }
}

/// The value of one field as it is stored, without a copy: 1 byte for kind, tier and outcome, 8 bytes
/// big-endian for numbers, UTF-8 for text, a list (see [`list`]) for relations. `None` if absent.
/// Reads no further than the field; only [`check`] and `Record::decode` vouch for all the bytes.
pub fn find_field(bytes: &[u8], field: Field) -> Result<Option<&[u8]>, FormatError> {
    let mut fields = Fields::open(bytes)?;
    while let Some((found, value)) = fields.next()? {
        if found == field {
            field.check_value(value)?;
            return Ok(Some(value));
        }
        if found > field {
            break;
        }
    }
    Ok(None)
}

/// Whether `Record::decode` would accept the bytes, without building the record.
pub fn check(bytes: &[u8]) -> Result<(), FormatError> {
    let mut fields = Fields::open(bytes)?;
    while let Some((field, value)) = fields.next()? {
        field.check_value(value)?;
    }
    Ok(())
}

/// The texts of a list value, as `find_field` returns it for `relations`.
pub fn list(value: &[u8]) -> Result<Vec<&str>, FormatError> {
    let mut texts = Vec::new();
    items(value, |item| texts.push(item))?;
    Ok(texts)
}

fn items<'a>(value: &'a [u8], mut each: impl FnMut(&'a str)) -> Result<(), FormatError> {
    let mut rest = value;
    if rest.is_empty() {
        return Err(FormatError::WrongLength);
    }
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk::<4>().ok_or(FormatError::WrongLength)?;
        let (item, tail) = tail.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(FormatError::WrongLength)?;
        each(text(item)?);
        rest = tail;
    }
    Ok(())
}

pub(super) fn text(value: &[u8]) -> Result<&str, FormatError> {
    std::str::from_utf8(value).map_err(|_| FormatError::NotUtf8)
}

pub(super) fn int(value: &[u8]) -> Result<i64, FormatError> {
    Ok(i64::from_be_bytes(value.try_into().map_err(|_| FormatError::WrongLength)?))
}

pub(super) fn known<T>(value: &[u8], from_u8: fn(u8) -> Option<T>) -> Result<T, FormatError> {
    match value {
        [number] => from_u8(*number).ok_or(FormatError::UnknownValue),
        _ => Err(FormatError::WrongLength),
    }
}

/// Walks the fields of a record; values are bounded but not yet looked into.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    left: u16,
    last_id: u16,
    seen: u32,
}

impl<'a> Fields<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Fields<'a>, FormatError> {
        if !bytes.starts_with(MAGIC) {
            return Err(FormatError::NotARecord);
        }
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(FormatError::Truncated)?;
        let format = u16::from_be_bytes([header[8], header[9]]);
        if format != FORMAT {
            return Err(FormatError::UnknownFormat(format));
        }
        let left = u16::from_be_bytes([header[10], header[11]]);
        Ok(Fields { rest: &bytes[HEADER_LEN..], left, last_id: 0, seen: 0 })
    }

    pub(super) fn next(&mut self) -> Result<Option<(Field, &'a [u8])>, FormatError> {
        if self.left == 0 {
            return self.end().map(|()| None);
        }
        let (header, tail) = self.rest.split_first_chunk::<FIELD_HEADER_LEN>().ok_or(FormatError::Truncated)?;
        let id = u16::from_be_bytes([header[0], header[1]]);
        let len = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
        let field = Field::from_id(id).ok_or(FormatError::UnknownField(id))?;
        if id <= self.last_id {
            return Err(FormatError::WrongOrder(id));
        }
        if header[2] != field.value_type() as u8 {
            return Err(FormatError::WrongType(id));
        }
        let (value, rest) = tail.split_at_checked(len as usize).ok_or(FormatError::Truncated)?;
        self.rest = rest;
        self.left -= 1;
        self.last_id = id;
        self.seen |= field.bit();
        Ok(Some((field, value)))
    }

    fn end(&self) -> Result<(), FormatError> {
        if !self.rest.is_empty() {
            Err(FormatError::TrailingBytes)
        } else if self.seen & Field::REQUIRED != Field::REQUIRED {
            Err(FormatError::MissingField)
        } else {
            Ok(())
        }
    }
}

/// Writes a record's fields; the caller keeps them in ascending order.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    count_at: usize,
    count: u16,
}

impl<'a> Writer<'a> {
    pub(super) fn start(out: &'a mut Vec<u8>) -> Writer<'a> {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        let count_at = out.len();
        out.extend_from_slice(&[0; 2]);
        Writer { out, count_at, count: 0 }
    }

    pub(super) fn put(&mut self, field: Field, value: &[u8]) {
        self.header(field, value.len());
        self.out.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, field: Field, value: &Option<String>) {
        if let Some(value) = value {
            self.put(field, value.as_bytes());
        }
    }

    pub(super) fn int(&mut self, field: Field, value: Option<i64>) {
        if let Some(value) = value {
            self.put(field, &value.to_be_bytes());
        }
    }

    pub(super) fn list(&mut self, field: Field, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.header(field, values.iter().map(|value| 4 + value.len()).sum());
        for value in values {
            self.out.extend_from_slice(&be_len(value.len()));
            self.out.extend_from_slice(value.as_bytes());
        }
    }

    pub(super) fn finish(self) {
        self.out[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_be_bytes());
    }

    fn header(&mut self, field: Field, len: usize) {
        let mut header = [0; FIELD_HEADER_LEN];
        header[..2].copy_from_slice(&(field as u16).to_be_bytes());
        header[2] = field.value_type() as u8;
        header[3..].copy_from_slice(&be_len(len));
        self.out.extend_from_slice(&header);
        self.count += 1;
    }
}

fn be_len(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a record's value is shorter than 4 GiB").to_be_bytes()
}
