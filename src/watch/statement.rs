//! The text of a statement: its slice of the source, with constants replaced for the record and in full for a hint.

use super::{key_validation, mask_check};
use crate::core::redact::redact_limited;
use crate::raw;
use pgrx::pg_sys;
use std::ffi::{CStr, c_char};
use std::hash::{Hash, Hasher};

/// Longest statement text in a record, bytes.
const RECORDED_BYTES: usize = 4096;
/// Longest statement offered for pasting, bytes.
const OFFERED_BYTES: usize = 2000;

/// A statement's own slice of its source text.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    text: &'a [u8],
    /// Whether the client typed it itself (otherwise a function, trigger or DO block runs it).
    pub top_level: bool,
}

impl Source<'_> {
    /// `location` and `length` as the planner gives them: -1 and 0 mean the whole text.
    pub unsafe fn new<'a>(text: *const c_char, location: i32, length: i32) -> Source<'a> {
        if text.is_null() {
            return Source { text: b"", top_level: false };
        }
        // Safe: the source text outlives the execution of the statement.
        let (whole, top_level) = unsafe { (CStr::from_ptr(text).to_bytes(), is_client_text(text)) };
        let from = whole.get(location.max(0) as usize..).unwrap_or(whole);
        let text = if length > 0 { from.get(..length as usize).unwrap_or(from) } else { from };
        Source { text: text.trim_ascii(), top_level }
    }

    /// Its bytes, in the server's encoding.
    pub fn bytes(&self) -> &[u8] {
        self.text
    }

    /// With every constant replaced, as records keep it.
    pub fn redacted(&self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        Some(redact_limited(&self.utf8(), !self.is_conforming(), RECORDED_BYTES))
    }

    /// Whether backslashes in its plain literals are themselves: on that, too, depends what is a constant.
    pub fn is_conforming(&self) -> bool {
        // Safe: reads a setting.
        unsafe { pg_sys::standard_conforming_strings }
    }

    /// What a redaction is made from.
    pub fn hash(&self, hasher: &mut impl Hasher) {
        self.text.hash(hasher);
        self.is_conforming().hash(hasher);
    }

    /// The look-up that a foreign key makes for each row, exactly as the server itself writes it: it locks one key and
    /// reads nothing out. A cast may name a type of somebody's own, and a type may run functions, so only the grammar's
    /// own type names pass. Whether it is the table's owner who asks, as the server does, is for the caller to see.
    pub fn is_key_check(&self) -> bool {
        // Safe: plain getter; triggers of a foreign key's action run under the same flag, hence the text.
        if !unsafe { raw::InNoForceRLSOperation() } {
            return false;
        }
        let text = std::str::from_utf8(self.text).unwrap_or_default();
        looks_like_key_check(text)
    }

    /// The call that files this statement, if it can be pasted: a statement the client typed, without parameters.
    pub fn request_call(&self) -> Option<String> {
        let text = self.utf8();
        let text = text.trim_end_matches(';');
        if !self.top_level || text.is_empty() || text.len() > OFFERED_BYTES || has_parameter(text) {
            return None;
        }
        let quote = ["s", "s1", "script", "pg_steward"].iter().find(|tag| !text.contains(&format!("${tag}$")))?;
        Some(format!("SELECT steward.request(${quote}${text}${quote}$, purpose => '…');"))
    }

    /// Whether the client typed exactly this, whatever the case, with or without a semicolon.
    pub fn is_exactly(&self, statement: &str) -> bool {
        let text = self.text.strip_suffix(b";").unwrap_or(self.text).trim_ascii_end();
        self.top_level && text.eq_ignore_ascii_case(statement.as_bytes())
    }

    fn utf8(&self) -> String {
        // Safe: converts from the database encoding with palloc; for UTF-8 the text is returned as it is.
        unsafe {
            if pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 {
                return String::from_utf8_lossy(self.text).into_owned();
            }
            let converted = pg_sys::pg_server_to_any(
                self.text.as_ptr().cast(),
                self.text.len() as i32,
                pg_sys::pg_enc::PG_UTF8 as i32,
            );
            if converted.cast_const().cast() == self.text.as_ptr() {
                return String::from_utf8_lossy(self.text).into_owned();
            }
            CStr::from_ptr(converted).to_string_lossy().into_owned()
        }
    }
}

/// Whether this is a query of the server's own for a foreign key: it looks a key up, or deletes or changes what refers to
/// it, and gives no column's value to anybody. Triggers of what it changes run under the same flag, hence the text; and the
/// server asks as the table's owner, whom nobody else's trigger is. The owner's own is told apart when the query runs
/// (`executor::asks_for_key`).
pub fn is_key_query(text: *const c_char) -> bool {
    // Safe: plain getter; the text of a query is a live C string or null.
    unsafe { raw::InNoForceRLSOperation() && !text.is_null() && is_owners_key_query(text) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn is_owners_key_query(text: *const c_char) -> bool {
    // Safe: a live C string; a plain getter.
    unsafe {
        let Ok(text) = CStr::from_ptr(text).to_str() else { return false };
        let table = looks_like_key_query(text).and_then(|(schema, table)| key_validation::relation(schema, table));
        table.is_some_and(|table| mask_check::owner_of(table) == raw::GetUserId())
    }
}

/// As `ri_triggers.c` writes them: the table that is asked.
fn looks_like_key_query(text: &str) -> Option<key_validation::Name<'_>> {
    let table = key_validation::table;
    let (name, conditions) = if let Some(rest) = text.strip_prefix("SELECT 1 FROM ") {
        let (name, rest) = table(rest)?;
        (name, rest.strip_prefix(" x")?.strip_suffix(" FOR KEY SHARE OF x")?)
    } else if let Some(rest) = text.strip_prefix("DELETE FROM ") {
        table(rest)?
    } else {
        let (name, rest) = table(text.strip_prefix("UPDATE ")?)?;
        let rest = rest.strip_prefix(" SET")?;
        let (changes, _) = rest.split_once(" WHERE ")?;
        let is_change = |change: &str| {
            let value = change.strip_prefix(' ').and_then(quoted)?.strip_prefix(" = ")?;
            let number =
                value.strip_prefix('$').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
            (number || value == "NULL" || value == "DEFAULT").then_some(())
        };
        changes.split(',').all(|change| is_change(change).is_some()).then_some(())?;
        (name, &rest[changes.len()..])
    };
    let mut conditions = conditions.strip_prefix(" WHERE ")?.split(" AND ");
    conditions
        .all(|condition| is_key_comparison(condition).or_else(|| is_key_comparison(&turned(condition)?)).is_some())
        .then_some(name)
}

/// `$1 OPERATOR(…) "c"` the other way round.
fn turned(condition: &str) -> Option<String> {
    const EQUALS: &str = " OPERATOR(pg_catalog.=) ";
    let (value, column) = condition.split_once(EQUALS)?;
    Some(format!("{column}{EQUALS}{value}"))
}

/// `SELECT 1 FROM ONLY "s"."t" x WHERE "c" OPERATOR(pg_catalog.=) $1 AND … FOR KEY SHARE OF x`.
fn looks_like_key_check(text: &str) -> bool {
    let inside = || {
        let rest = text.strip_prefix("SELECT 1 FROM ONLY ")?.strip_suffix(" FOR KEY SHARE OF x")?;
        let rest = quoted(quoted(rest)?.strip_prefix('.')?)?;
        let conditions = rest.strip_prefix(" x WHERE ")?;
        Some(conditions.split(" AND ").all(|condition| is_key_comparison(condition).is_some()))
    };
    inside() == Some(true)
}

/// What follows a quoted name that holds no quote itself.
pub fn quoted(text: &str) -> Option<&str> {
    let (name, rest) = text.strip_prefix('"')?.split_once('"')?;
    (!name.is_empty() && !rest.starts_with('"')).then_some(rest)
}

fn is_key_comparison(condition: &str) -> Option<()> {
    let (column, value) = condition.split_once(" OPERATOR(pg_catalog.=) ")?;
    let cast = quoted(column)?;
    let digits = value.strip_prefix('$')?;
    let (number, value_cast) = digits.split_at(digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()));
    (!number.is_empty() && is_cast(cast) && is_cast(value_cast)).then_some(())
}

/// No cast, or one to a type whose name is a word of the grammar: no schema of anybody's can redefine it.
fn is_cast(text: &str) -> bool {
    const TYPES: [&str; 8] = [
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "real",
        "double precision",
        "character varying",
        "pg_catalog.text",
    ];
    text.is_empty() || text.strip_prefix("::").is_some_and(|name| TYPES.contains(&name))
}

/// `$1` and the like: such a text cannot be run again without its values.
fn has_parameter(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair[0] == b'$' && pair[1].is_ascii_digit())
}

/// Whether a source text is what the client sent in the running message.
unsafe fn is_client_text(text: *const c_char) -> bool {
    // Safe: debug_query_string is null or a live C string while a message is being served.
    unsafe {
        let client = pg_sys::debug_query_string;
        !client.is_null() && (std::ptr::eq(client, text) || libc::strcmp(client, text) == 0)
    }
}

/// Whether a procedural language, or an operation, runs what is looked at.
pub fn inside_language() -> bool {
    // Safe: taking a relation out of SPI that is not there changes nothing; what it answers tells whether anybody has
    // connected.
    unsafe { pg_sys::SPI_unregister_relation(c"pg_steward".as_ptr()) != pg_sys::SPI_ERROR_UNCONNECTED }
}

/// Whether the client runs a statement that it has prepared and named.
pub fn is_prepared() -> bool {
    // Safe: null or the portal that is being run.
    unsafe { !pg_sys::ActivePortal.is_null() && !(*pg_sys::ActivePortal).prepStmtName.is_null() }
}

/// The client's own message, whole; empty in a fastpath call.
pub fn client_message<'a>() -> &'a [u8] {
    // Safe: null or a live C string while a message is being served.
    unsafe {
        let message = pg_sys::debug_query_string;
        if message.is_null() { b"" } else { CStr::from_ptr(message).to_bytes() }
    }
}

/// Whether the client's own message calls this function of schema steward on this operation (or on a parameter), and the
/// call is not made by a procedural language.
pub fn client_calls(function: &str, op_no: &str) -> bool {
    // Safe: the client's message is null or a live C string.
    unsafe {
        // A background worker runs what somebody wrote into a table, under any name.
        if inside_language() || pg_sys::debug_query_string.is_null() || pg_sys::MyProcPort.is_null() {
            return false;
        }
        let message = CStr::from_ptr(pg_sys::debug_query_string).to_string_lossy();
        let dense: String = message.to_lowercase().split_whitespace().collect();
        dense.contains(&format!("steward.{function}(")) && (message.contains(op_no) || has_parameter(&message))
    }
}
