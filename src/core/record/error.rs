//! Why bytes are refused as a record.

use std::fmt;

/// Why bytes are not a record of this format. Every reason means: do not trust, do not guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// The bytes end before the record does.
    Truncated,
    /// The first bytes are not those of a record.
    NotARecord,
    /// A format this code does not know.
    UnknownFormat(u16),
    /// A field this format does not have.
    UnknownField(u16),
    /// A field that is out of order or occurs twice.
    WrongOrder(u16),
    /// A field whose type is not the one this format gives it.
    WrongType(u16),
    /// A value whose length does not fit its type.
    WrongLength,
    /// A number that names no kind, outcome or tier.
    UnknownValue,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A field that every record has is absent.
    MissingField,
    /// Bytes after the last field.
    TrailingBytes,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Truncated => f.write_str("audit record is truncated"),
            FormatError::NotARecord => f.write_str("bytes are not an audit record"),
            FormatError::UnknownFormat(format) => write!(f, "unknown audit record format {format}"),
            FormatError::UnknownField(id) => write!(f, "unknown audit record field {id}"),
            FormatError::WrongOrder(id) => write!(f, "audit record field {id} is out of order"),
            FormatError::WrongType(id) => write!(f, "audit record field {id} has the wrong type"),
            FormatError::WrongLength => f.write_str("audit record value has the wrong length"),
            FormatError::UnknownValue => f.write_str("audit record value is unknown"),
            FormatError::NotUtf8 => f.write_str("audit record text is not UTF-8"),
            FormatError::MissingField => f.write_str("audit record lacks a field"),
            FormatError::TrailingBytes => f.write_str("audit record has trailing bytes"),
        }
    }
}

impl std::error::Error for FormatError {}
