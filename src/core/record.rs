//! The audit record and its canonical bytes: what is hashed is what is stored and shown.
//!
//! ```text
//! "PGSTEWRD" ‖ u16 format ‖ u16 n_fields ‖ { u16 field_id ‖ u8 type ‖ u32 len ‖ bytes }*
//! ```
//!
//! Big-endian, fields in ascending id, an absent field is not an empty one, and every value has exactly
//! one encoding: [`Record::decode`] refuses whatever [`Record::encode`] would not have written. The format
//! number also fixes the hash algorithm (1 = SHA-256). A released field id or type never changes its
//! meaning; the tests freeze vectors. No clock, no setting and no locale may ever influence these bytes.

mod error;
mod field;

pub use error::FormatError;
pub use field::{Field, check, find_field, list};

use super::tier::Tier;
use field::{Fields, Writer, int, known, text};

/// The format this code writes, and the only one it accepts.
pub const FORMAT: u16 = 1;

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
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.encode_into(&mut out);
        out
    }

    /// Appends the canonical bytes to `out`, which a caller may reuse.
    ///
    /// # Panics
    /// If one value is 4 GiB or longer.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let mut fields = Writer::start(out);
        fields.put(Field::Kind, &[self.kind as u8]);
        fields.put(Field::Time, &self.time.to_be_bytes());
        fields.put(Field::UserId, self.user_id.as_bytes());
        fields.text(Field::EffectiveUser, &self.effective_user);
        fields.text(Field::Person, &self.person);
        fields.text(Field::ClientIp, &self.client_ip);
        fields.text(Field::ApplicationName, &self.application_name);
        fields.text(Field::Database, &self.database);
        fields.put(Field::OperationType, self.operation_type.as_bytes());
        fields.list(Field::Relations, &self.relations);
        if let Some(tier) = self.tier {
            fields.put(Field::Tier, &[tier as u8]);
        }
        fields.text(Field::Rule, &self.rule);
        fields.text(Field::OpNo, &self.op_no);
        fields.put(Field::Outcome, &[self.outcome as u8]);
        fields.text(Field::Sqlstate, &self.sqlstate);
        fields.int(Field::Rows, self.rows);
        fields.int(Field::Repeats, self.repeats);
        fields.int(Field::DurationUs, self.duration_us);
        fields.text(Field::Statement, &self.statement);
        fields.text(Field::Details, &self.details);
        if let Some(xid) = self.xid {
            fields.put(Field::Xid, &xid.to_be_bytes());
        }
        fields.int(Field::Backend, self.backend);
        fields.finish();
    }

    /// The record these bytes are, or why they are none. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Record, FormatError> {
        let mut record = Record::new(Kind::Statement, "");
        let mut fields = Fields::open(bytes)?;
        while let Some((field, value)) = fields.next()? {
            match field {
                Field::Kind => record.kind = known(value, Kind::from_u8)?,
                Field::Time => record.time = int(value)?,
                Field::UserId => record.user_id = text(value)?.to_owned(),
                Field::EffectiveUser => record.effective_user = Some(text(value)?.to_owned()),
                Field::Person => record.person = Some(text(value)?.to_owned()),
                Field::ClientIp => record.client_ip = Some(text(value)?.to_owned()),
                Field::ApplicationName => record.application_name = Some(text(value)?.to_owned()),
                Field::Database => record.database = Some(text(value)?.to_owned()),
                Field::OperationType => record.operation_type = text(value)?.to_owned(),
                Field::Relations => record.relations = list(value)?.into_iter().map(str::to_owned).collect(),
                Field::Tier => record.tier = Some(known(value, Tier::from_u8)?),
                Field::Rule => record.rule = Some(text(value)?.to_owned()),
                Field::OpNo => record.op_no = Some(text(value)?.to_owned()),
                Field::Outcome => record.outcome = known(value, Outcome::from_u8)?,
                Field::Sqlstate => record.sqlstate = Some(text(value)?.to_owned()),
                Field::Rows => record.rows = Some(int(value)?),
                Field::Repeats => record.repeats = Some(int(value)?),
                Field::DurationUs => record.duration_us = Some(int(value)?),
                Field::Statement => record.statement = Some(text(value)?.to_owned()),
                Field::Details => record.details = Some(text(value)?.to_owned()),
                Field::Xid => record.xid = Some(int(value)? as u64),
                Field::Backend => record.backend = Some(int(value)?),
            }
        }
        Ok(record)
    }
}
