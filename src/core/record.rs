//! The audit record and its canonical bytes: what is hashed is what is stored and shown.
//!
//! ```text
//! u8 format ‖ { u8 field_id ‖ value }*
//! ```
//!
//! Fields in ascending id; an absent field is not an empty one, and every value has exactly one encoding:
//! [`Record::decode`] refuses whatever [`Record::encode`] would not have written. The format number also fixes the hash
//! algorithm (1 = SHA-256). A released field id or type never changes its meaning; the tests freeze vectors. No clock,
//! no setting and no locale may ever influence these bytes.
//!
//! What repeats in every record of a session (who) and of a statement (what) is stored once, in a definition: a record
//! of its own, earlier in the chain, to whose id the others refer.

mod draft;
mod error;
mod field;
mod sealed;
mod split;

pub use draft::{Draft, Known, Part, ROWS_READ};
pub use error::FormatError;
pub use field::{Field, Value, check, find_field, find_in_body, is_definition, is_of_kind, list};
pub use sealed::{SERVER, seal, sealed_time};
pub use split::{Side, Split};

use super::tier::Tier;
use field::{Fields, Writer, known};

/// The format this code writes, and the only one it accepts.
pub const FORMAT: u8 = 1;

/// Declares an enum stored as one byte, with the names SQL shows.
macro_rules! stored_enum {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $type { $($(#[$variant_doc])* $variant = $number,)* }

        impl $type {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// The name as SQL shows it.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }

            /// The one of that name, if there is one.
            pub fn from_name(name: &str) -> Option<$type> {
                match name { $($name => Some($type::$variant),)* _ => None }
            }

            /// The one of that number, if there is one.
            pub fn from_u8(number: u8) -> Option<$type> {
                match number { $($number => Some($type::$variant),)* _ => None }
            }
        }
    };
}

stored_enum! {
    /// What a record is about.
    Kind {
        Statement = 1 "statement",
        /// A step of an operation: request, approve, execute, review …
        Operation = 2 "operation",
        Login = 3 "login",
        /// The server's own life: start, stop, lost records, a head that does not match.
        Server = 4 "server",
        Genesis = 5 "genesis",
        Policy = 6 "policy",
        /// Who or what the records that refer to it are about.
        Definition = 7 "definition",
    }
}

stored_enum! {
    /// How it ended.
    Outcome {
        Success = 1 "SUCCESS",
        Failure = 2 "FAILURE",
        Denied = 3 "DENIED",
        RolledBack = 4 "ROLLED_BACK",
    }
}

/// One audit record. `None` is absent; an empty `relations` is absent too.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub kind: Kind,
    /// Microseconds since 2000-01-01 UTC: PostgreSQL's `TimestampTz`.
    pub time: i64,
    /// The authenticated login.
    pub user_id: String,
    /// The role whose privileges were used, where it is another.
    pub effective_user: Option<String>,
    pub person: Option<String>,
    pub client_ip: Option<String>,
    pub application_name: Option<String>,
    pub database: Option<String>,
    pub operation_type: String,
    /// Qualified names of the relations touched.
    pub relations: Vec<String>,
    pub tier: Option<Tier>,
    pub rule: Option<String>,
    pub op_no: Option<String>,
    pub outcome: Outcome,
    pub sqlstate: Option<String>,
    pub rows: Option<i64>,
    /// How many equal statements this one stands for.
    pub repeats: Option<i64>,
    /// Microseconds.
    pub duration_us: Option<i64>,
    /// The statement's text without its constants.
    pub statement: Option<String>,
    /// JSON text, kept byte for byte.
    pub details: Option<String>,
    /// The full (epoch-extended) transaction id.
    pub xid: Option<u64>,
    /// Process id of the backend.
    pub backend: Option<i64>,
    /// Id of the definition that stands for user_id to database, which are empty then.
    pub who: Option<i64>,
    /// Id of the definition that stands for operation_type to statement, which are empty then.
    pub what: Option<i64>,
    /// A definition's own content: the fields of one side.
    pub body: Option<Vec<u8>>,
}

impl Record {
    /// A successful record of that kind and operation type, at time 0, by nobody, with nothing else set.
    pub fn new(kind: Kind, operation_type: &str) -> Record {
        Record {
            kind,
            time: 0,
            user_id: String::new(),
            effective_user: None,
            person: None,
            client_ip: None,
            application_name: None,
            database: None,
            operation_type: operation_type.to_owned(),
            relations: Vec::new(),
            tier: None,
            rule: None,
            op_no: None,
            outcome: Outcome::Success,
            sqlstate: None,
            rows: None,
            repeats: None,
            duration_us: None,
            statement: None,
            details: None,
            xid: None,
            backend: None,
            who: None,
            what: None,
            body: None,
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.encode_into(&mut out);
        out
    }

    /// Appends the canonical bytes to `out`, which a caller may reuse.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        Draft::of(self).encode_into(out, self.who, self.what);
        Writer(out).bytes(Field::Body, self.body.as_deref());
    }

    fn write_who(&self, fields: &mut Writer<'_>) {
        fields.text(Field::UserId, Some(&self.user_id));
        fields.text(Field::EffectiveUser, self.effective_user.as_deref());
        fields.text(Field::Person, self.person.as_deref());
        fields.text(Field::ClientIp, self.client_ip.as_deref());
        fields.text(Field::ApplicationName, self.application_name.as_deref());
        fields.text(Field::Database, self.database.as_deref());
    }

    fn write_what(&self, fields: &mut Writer<'_>) {
        fields.text(Field::OperationType, Some(&self.operation_type));
        fields.list(Field::Relations, &self.relations);
        if let Some(tier) = self.tier {
            fields.byte(Field::Tier, tier as u8);
        }
        fields.text(Field::Rule, self.rule.as_deref());
        fields.text(Field::Statement, self.statement.as_deref());
    }

    /// The record these bytes are, or why they are none. References stay references. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Record, FormatError> {
        let mut record = Record::new(Kind::Statement, "");
        let mut fields = Fields::open(bytes)?;
        while let Some((field, value)) = fields.next()? {
            record.set(field, value)?;
        }
        Ok(record)
    }

    /// Takes over the fields of a definition's body in place of the reference to it.
    pub fn resolve(&mut self, body: &[u8]) -> Result<(), FormatError> {
        let mut fields = Fields::of_body(body);
        while let Some((field, value)) = fields.next()? {
            self.set(field, value)?;
            match field {
                _ if field.is_who() => self.who = None,
                _ if field.is_what() => self.what = None,
                other => return Err(FormatError::UnknownField(other as u8)),
            }
        }
        Ok(())
    }

    fn set(&mut self, field: Field, value: Value<'_>) -> Result<(), FormatError> {
        use Value::{Byte, Bytes, Int, List, Text, Unsigned};
        match (field, value) {
            (Field::Kind, Byte(byte)) => self.kind = known(byte, Kind::from_u8)?,
            (Field::Time, Int(time)) => self.time = time,
            (Field::UserId, Text(text)) => self.user_id = text.to_owned(),
            (Field::EffectiveUser, Text(text)) => self.effective_user = Some(text.to_owned()),
            (Field::Person, Text(text)) => self.person = Some(text.to_owned()),
            (Field::ClientIp, Text(text)) => self.client_ip = Some(text.to_owned()),
            (Field::ApplicationName, Text(text)) => self.application_name = Some(text.to_owned()),
            (Field::Database, Text(text)) => self.database = Some(text.to_owned()),
            (Field::OperationType, Text(text)) => self.operation_type = text.to_owned(),
            (Field::Relations, List(texts)) => self.relations = list(texts)?.into_iter().map(str::to_owned).collect(),
            (Field::Tier, Byte(byte)) => self.tier = Some(known(byte, Tier::from_u8)?),
            (Field::Rule, Text(text)) => self.rule = Some(text.to_owned()),
            (Field::Statement, Text(text)) => self.statement = Some(text.to_owned()),
            (Field::OpNo, Text(text)) => self.op_no = Some(text.to_owned()),
            (Field::Outcome, Byte(byte)) => self.outcome = known(byte, Outcome::from_u8)?,
            (Field::Sqlstate, Text(text)) => self.sqlstate = Some(text.to_owned()),
            (Field::Rows, Int(rows)) => self.rows = Some(rows),
            (Field::Repeats, Int(repeats)) => self.repeats = Some(repeats),
            (Field::DurationUs, Int(duration)) => self.duration_us = Some(duration),
            (Field::Details, Text(text)) => self.details = Some(text.to_owned()),
            (Field::Xid, Unsigned(xid)) => self.xid = Some(xid),
            (Field::Backend, Int(backend)) => self.backend = Some(backend),
            (Field::Who, Int(id)) => self.who = Some(id),
            (Field::What, Int(id)) => self.what = Some(id),
            (Field::Body, Bytes(body)) => self.body = Some(body.to_vec()),
            (field, _) => return Err(FormatError::UnknownField(field as u8)),
        }
        Ok(())
    }
}
