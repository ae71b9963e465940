//! A record cut along its sides without decoding it, and put together again with others.

use super::field::{Field, Fields, Writer, known};
use super::{FormatError, Kind, Outcome, Value};

/// One side of a record: its own fields, or the id of their definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<'a> {
    Own(&'a [u8]),
    Defined(i64),
}

/// A record's bytes in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    pub kind: Kind,
    pub time: i64,
    pub outcome: Outcome,
    /// It belongs to an operation.
    pub has_op_no: bool,
    /// How long it took, where that is known.
    pub duration_us: Option<i64>,
    pub who: Side<'a>,
    pub what: Side<'a>,
    /// Format, kind and time.
    head: &'a [u8],
    /// From the operation's number to the backend.
    middle: &'a [u8],
    /// A definition's body.
    tail: &'a [u8],
}

impl<'a> Split<'a> {
    /// Cuts a record; refuses what `Record::decode` refuses.
    pub fn new(bytes: &'a [u8]) -> Result<Split<'a>, FormatError> {
        let mut fields = Fields::open(bytes)?;
        let mut split = Split {
            kind: Kind::Statement,
            time: 0,
            outcome: Outcome::Success,
            has_op_no: false,
            duration_us: None,
            who: Side::Own(&[]),
            what: Side::Own(&[]),
            head: &[],
            middle: &[],
            tail: &[],
        };
        // Where each piece ends: head, who, what, middle, references.
        let mut ends = [1; 5];
        while let Some((field, value)) = fields.next()? {
            let end = bytes.len() - fields.left();
            let piece = match field {
                Field::Kind | Field::Time => 0,
                _ if field.is_who() => 1,
                _ if field.is_what() => 2,
                Field::Who | Field::What => 4,
                Field::Body => 5,
                _ => 3,
            };
            ends.iter_mut().skip(piece).for_each(|known| *known = end);
            match (field, value) {
                (Field::Kind, Value::Byte(byte)) => split.kind = known(byte, Kind::from_u8)?,
                (Field::Time, Value::Int(time)) => split.time = time,
                (Field::Outcome, Value::Byte(byte)) => split.outcome = known(byte, Outcome::from_u8)?,
                (Field::OpNo, _) => split.has_op_no = true,
                (Field::DurationUs, Value::Int(took)) => split.duration_us = Some(took),
                (Field::Who, Value::Int(id)) => split.who = Side::Defined(id),
                (Field::What, Value::Int(id)) => split.what = Side::Defined(id),
                _ => (),
            }
        }
        let [head, who, what, middle, references] = ends;
        split.head = &bytes[..head];
        split.middle = &bytes[what..middle];
        split.tail = &bytes[references..];
        if let Side::Own(body) = &mut split.who {
            *body = &bytes[head..who];
        }
        if let Side::Own(body) = &mut split.what {
            *body = &bytes[who..what];
        }
        Ok(split)
    }

    /// Appends the record with these sides in place of its own.
    pub fn join(&self, out: &mut Vec<u8>, who: Side<'_>, what: Side<'_>) {
        out.extend_from_slice(self.head);
        for side in [who, what] {
            if let Side::Own(body) = side {
                out.extend_from_slice(body);
            }
        }
        out.extend_from_slice(self.middle);
        let mut fields = Writer(out);
        for (field, side) in [(Field::Who, who), (Field::What, what)] {
            if let Side::Defined(id) = side {
                fields.int(field, Some(id));
            }
        }
        out.extend_from_slice(self.tail);
    }
}
