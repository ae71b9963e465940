//! Why bytes are refused as a record.

use std::fmt;

/// Why bytes are not a record of this format. Every reason means: do not trust, do not guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// The bytes end before the record does.
    Truncated,
    /// A format this code does not know.
    UnknownFormat(u8),
    /// A field this format does not have.
    UnknownField(u8),
    /// A field that is out of order or occurs twice.
    WrongOrder(u8),
    /// An empty list.
    WrongLength,
    /// A number that is longer than it need be, or too large.
    NotCanonical,
    /// A number that names no kind, outcome or tier.
    UnknownValue,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A field that every record has is absent, or stands beside the reference that replaces it.
    MissingField,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Truncated => f.write_str("audit record is truncated"),
            FormatError::UnknownFormat(format) => write!(f, "unknown audit record format {format}"),
            FormatError::UnknownField(id) => write!(f, "unknown audit record field {id}"),
            FormatError::WrongOrder(id) => write!(f, "audit record field {id} is out of order"),
            FormatError::WrongLength => f.write_str("audit record value has the wrong length"),
            FormatError::NotCanonical => f.write_str("audit record number is not canonical"),
            FormatError::UnknownValue => f.write_str("audit record value is unknown"),
            FormatError::NotUtf8 => f.write_str("audit record text is not UTF-8"),
            FormatError::MissingField => f.write_str("audit record lacks a field"),
        }
    }
}

impl std::error::Error for FormatError {}
