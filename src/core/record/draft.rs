//! A record on its way out of a backend: the two sides that repeat are encoded once and shared by all records that have
//! them, so that writing one is a few copies.

use super::field::{Field, Writer};
use super::{Kind, Outcome, Record};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::rc::Rc;

/// One side of a record, who or what, as its encoded fields.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub body: Vec<u8>,
    /// What the owner of the definitions last knew of this one.
    pub known: Cell<Known>,
}

/// A definition as it is known: valid for one generation of definitions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The content's key; 0: not computed yet.
    pub key: u128,
    pub generation: u32,
    pub id: i64,
}

impl PartialEq for Part {
    fn eq(&self, other: &Part) -> bool {
        self.body == other.body
    }
}

impl Part {
    /// Who did it.
    pub fn who(record: &Record) -> Part {
        let mut body = Vec::with_capacity(96);
        record.write_who(&mut Writer(&mut body));
        Part { body, known: Cell::default() }
    }

    /// What was done.
    pub fn what(record: &Record) -> Part {
        let mut body = Vec::with_capacity(160);
        record.write_what(&mut Writer(&mut body));
        Part { body, known: Cell::default() }
    }
}

/// What [`Record`] is, with its sides shared.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: Kind,
    pub time: i64,
    pub who: Rc<Part>,
    pub what: Rc<Part>,
    pub op_no: Option<Rc<str>>,
    pub outcome: Outcome,
    pub sqlstate: Option<String>,
    pub rows: Option<i64>,
    pub repeats: Option<i64>,
    pub duration_us: Option<i64>,
    pub details: Option<String>,
    pub xid: Option<u64>,
    pub backend: Option<i64>,
}

/// The detail that says how many rows of protected tables went into the few that a statement returned.
pub const ROWS_READ: &str = "rows_read";

impl Draft {
    /// With one more number among its details, an object of JSON or nothing.
    pub fn with_detail(mut self, name: &str, number: i64) -> Draft {
        let details = self.details.as_deref().and_then(|details| serde_json::from_str::<Value>(details).ok());
        let mut details = details.filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()));
        details[name] = number.into();
        self.details = Some(details.to_string());
        self
    }

    /// The same record; its references, if it has any, are not kept.
    pub fn of(record: &Record) -> Draft {
        Draft {
            kind: record.kind,
            time: record.time,
            who: Rc::new(Part::who(record)),
            what: Rc::new(Part::what(record)),
            op_no: record.op_no.as_deref().map(Rc::from),
            outcome: record.outcome,
            sqlstate: record.sqlstate.clone(),
            rows: record.rows,
            repeats: record.repeats,
            duration_us: record.duration_us,
            details: record.details.clone(),
            xid: record.xid,
            backend: record.backend,
        }
    }

    /// Appends the canonical bytes. A side that is defined is written as the id of its definition.
    pub fn encode_into(&self, out: &mut Vec<u8>, who: Option<i64>, what: Option<i64>) {
        let mut fields = Writer(out);
        fields.format();
        fields.byte(Field::Kind, self.kind as u8);
        fields.moment(Field::Time, self.time);
        for (part, id) in [(&self.who, who), (&self.what, what)] {
            if id.is_none() {
                fields.0.extend_from_slice(&part.body);
            }
        }
        fields.text(Field::OpNo, self.op_no.as_deref());
        fields.byte(Field::Outcome, self.outcome as u8);
        fields.text(Field::Sqlstate, self.sqlstate.as_deref());
        fields.int(Field::Rows, self.rows);
        fields.int(Field::Repeats, self.repeats);
        fields.int(Field::DurationUs, self.duration_us);
        fields.text(Field::Details, self.details.as_deref());
        fields.unsigned(Field::Xid, self.xid);
        fields.int(Field::Backend, self.backend);
        fields.int(Field::Who, who);
        fields.int(Field::What, what);
    }
}
