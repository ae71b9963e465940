//! The form `export`: what an operation may take out of protected tables. It is checked against the script when that is
//! filed, and holds for every statement of the run and for whatever those call: columns, and rows over the whole run.

use crate::core::export::Columns;
use crate::core::script::hex;
use crate::error::{Fault, Outcome};
use crate::operation::form::Request;
use crate::watch::exported;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::cell::Cell;

/// Its name.
pub const EXPORT: &str = "export";
/// Field of the form; filled in where the applicant left it out.
const FILTER_DIGEST: &str = "filter_digest";

/// What one run of an approved export may read, and has read.
#[derive(Debug)]
pub struct Export {
    pub op_no: String,
    /// Rows that the run may read.
    pub rows: u64,
    columns: Columns,
    recipient: String,
    read: Cell<u64>,
}

impl Export {
    /// Of an operation's form as it is stored; None: another form, or none. A form that does not read back exports nothing.
    pub fn of(op_no: &str, form: Option<&str>) -> Option<Export> {
        let form: Value = serde_json::from_str(form?).ok()?;
        let text = |field: &str| form.get(field).and_then(Value::as_str);
        (text("form") == Some(EXPORT)).then(|| Export {
            op_no: op_no.to_owned(),
            rows: form.get("rows").and_then(Value::as_u64).unwrap_or(0),
            columns: text("columns").and_then(Columns::parse).unwrap_or_default(),
            recipient: text("recipient").unwrap_or_default().to_owned(),
            read: Cell::new(0),
        })
    }

    /// Counts a row; false: no more may be read.
    pub fn take(&self) -> bool {
        let more = self.read.get() < self.rows;
        self.read.set(self.read.get() + u64::from(more));
        more
    }

    pub fn give_back(&self) {
        self.read.set(self.read.get().saturating_sub(1));
    }

    /// Whether one more row may be read.
    pub fn goes_on(&self) -> bool {
        self.read.get() < self.rows
    }

    /// The columns among these that the form does not list, as `schema.table.column`.
    pub fn unlisted(&self, read: &[(String, String)]) -> Vec<String> {
        unlisted(&self.columns, read)
    }

    /// For the record of the run.
    pub fn told(&self) -> Value {
        json!({ "recipient": self.recipient, "rows_read": self.read.get() })
    }
}

fn unlisted(columns: &Columns, read: &[(String, String)]) -> Vec<String> {
    let missing = read.iter().filter(|(relation, column)| !columns.list(relation, column));
    missing.map(|(relation, column)| format!("{relation}.{column}")).collect()
}

/// Refuses a form that says less, or something else, than the script does, and fills in the digest of its filter.
pub fn check(values: &mut Map<String, Value>, request: &Request<'_>) -> Outcome<()> {
    let text = |field: &str| values.get(field).and_then(Value::as_str).unwrap_or_default();
    let columns = Columns::parse(text("columns")).ok_or_else(|| wrong("field \"columns\" names no column"))?;
    let read: Vec<(String, String)> = request.steps.iter().flat_map(|step| step.reads.clone()).collect();
    let missing = unlisted(&columns, &read);
    if !missing.is_empty() {
        return Err(wrong("the script reads columns that field \"columns\" does not list")
            .detail(format!("Not listed: {}. Columns of conditions are read too.", missing.join(", ")))
            .hint(format!("\"columns\": \"{}, {}\"", text("columns"), missing.join(", "))));
    }
    if request.stepwise {
        return Err(wrong("an export is one run, not step by step")
            .detail("The rows of the form are counted over the whole run."));
    }
    let once = values.get("single_use").and_then(Value::as_bool).unwrap_or(true);
    if once && request.runs > 1 {
        return Err(wrong("an export is used once").hint("\"single_use\": false"));
    }
    let digest = filter_digest(request)?;
    let given = text(FILTER_DIGEST).to_ascii_lowercase();
    if !given.is_empty() && given != digest {
        return Err(wrong("field \"filter_digest\" is the digest of another filter")
            .detail("Approved would be other rows than those of the script.")
            .hint(format!("\"filter_digest\": \"{digest}\"")));
    }
    values.insert(FILTER_DIGEST.to_owned(), digest.into());
    Ok(())
}

/// SHA-256 of what chooses the rows of all statements: everything but what their SELECT lists show.
fn filter_digest(request: &Request<'_>) -> Outcome<String> {
    let mut digest = Sha256::new();
    for step in request.steps {
        digest.update(exported::filter(&step.statement)?);
        digest.update([0]);
    }
    Ok(hex(&digest.finalize()))
}

fn wrong(what: &str) -> Fault {
    Fault::bad_argument(format!("form export: {what}"))
}
