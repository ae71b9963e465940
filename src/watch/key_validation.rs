//! The query by which ALTER TABLE looks for rows that a new or validated foreign key does not allow. It compares values,
//! not masks: a key that holds for masks alone is none, and one that holds for values would be refused.
//!
//! The server runs it as whoever alters the table, and anybody could write the same text. So it passes inside ALTER TABLE
//! alone, for a referring table of one's own and a referred one that one may have foreign keys to: what it then tells is
//! what such a foreign key tells, how many rows it would refuse; the rows themselves hold masks. What row security asks on
//! the way is masked as ever.

use super::statement::quoted;
use super::utility::{Kind, innermost};
use crate::raw;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString, c_char};

/// Whether this text is such a query, and may be. For plain frames; raises nothing where it is not.
pub fn is_running(text: *const c_char) -> bool {
    const START: &CStr = c"SELECT fk.";
    // Safe: null or a live C string, of which as many bytes are compared as both have.
    let begins = || unsafe {
        let bytes = START.to_bytes();
        (0..bytes.len()).all(|place| *text.add(place) as u8 == bytes[place])
    };
    // Safe: as above.
    !text.is_null() && begins() && innermost() == Kind::Alters && unsafe { is_allowed(text) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn is_allowed(text: *const c_char) -> bool {
    // Safe: a live C string.
    let Ok(text) = unsafe { CStr::from_ptr(text) }.to_str() else { return false };
    let Some(tables) = tables(text) else { return false };
    let [Some(referring), Some(referred)] = tables.map(|(schema, table)| relation(schema, table)) else { return false };
    let references = pg_sys::ACL_REFERENCES as pg_sys::AclMode;
    let granted = pg_sys::AclResult::ACLCHECK_OK;
    // Safe: plain getter, and look-ups of existing relations.
    unsafe {
        let role = raw::GetUserId();
        let is_table = |relation: Oid| {
            matches!(
                pg_sys::get_rel_relkind(relation) as u8,
                pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE
            )
        };
        is_table(referring)
            && is_table(referred)
            && pg_sys::pg_class_ownercheck(referring, role)
            && (pg_sys::pg_class_aclcheck(referred, role, references) == granted
                || pg_sys::pg_attribute_aclcheck_all(referred, role, references, pg_sys::AclMaskHow::ACLMASK_ANY)
                    == granted)
    }
}

/// A table by its names.
pub fn relation(schema: &str, table: &str) -> Option<Oid> {
    let (schema, table) = (CString::new(schema).ok()?, CString::new(table).ok()?);
    // Safe: look-ups by name.
    let relation = unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        if schema == pg_sys::InvalidOid { schema } else { pg_sys::get_relname_relid(table.as_ptr(), schema) }
    };
    (relation != pg_sys::InvalidOid).then_some(relation)
}

pub type Name<'a> = (&'a str, &'a str);

/// Referring and referred table, if a text is what `RI_Initial_Check` writes and nothing else:
/// `SELECT fk."a" FROM ONLY "s"."t" fk LEFT OUTER JOIN ONLY "u"."v" pk ON ( pk."b" OPERATOR(pg_catalog.=) fk."a") WHERE
/// pk."b" IS NULL AND (fk."a" IS NOT NULL)`.
fn tables(text: &str) -> Option<[Name<'_>; 2]> {
    let rest = text.strip_prefix("SELECT ")?;
    let (columns, rest) = rest.split_once(" FROM ")?;
    columns.split(", ").all(|column| is_column(column, "fk.")).then_some(())?;
    let (referring, rest) = table(rest)?;
    let (referred, rest) = table(rest.strip_prefix(" fk LEFT OUTER JOIN ")?)?;
    let (joined, rest) = rest.strip_prefix(" pk ON (")?.split_once(") WHERE ")?;
    joined.split(" AND ").all(is_comparison).then_some(())?;
    let (missing, given) = rest.split_once(" AND (")?;
    is_column(missing.strip_suffix(" IS NULL")?, "pk.").then_some(())?;
    let given = given.strip_suffix(')')?.replace(" OR ", " AND ");
    let is_given = |column: &str| column.strip_suffix(" IS NOT NULL").is_some_and(|column| is_column(column, "fk."));
    given.split(" AND ").all(is_given).then_some([referring, referred])
}

/// `pk."b" OPERATOR(pg_catalog.=) fk."a"`, with casts to types of the server's and a collation of its own, if any: anything
/// else could run code of somebody's.
fn is_comparison(text: &str) -> bool {
    let Some((key, reference)) = text.trim_start().split_once(" OPERATOR(pg_catalog.=) ") else { return false };
    let (reference, collation) = reference.split_once(" COLLATE ").unwrap_or((reference, r#""pg_catalog"."default""#));
    let side = |text: &str, prefix: &str| {
        let cast = text.strip_prefix(prefix).and_then(quoted);
        cast.is_some_and(|cast| cast.is_empty() || cast.strip_prefix("::pg_catalog.").is_some_and(is_type))
    };
    let is_own = collation.strip_prefix(r#""pg_catalog"."#).and_then(quoted) == Some("");
    side(key, "pk.") && side(reference, "fk.") && is_own
}

fn is_type(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    quoted(name) == Some("") || !name.is_empty() && name.bytes().all(is_plain)
}

fn is_column(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).and_then(quoted) == Some("")
}

/// A quoted name with its schema, and what follows it.
pub fn table(text: &str) -> Option<(Name<'_>, &str)> {
    let text = text.strip_prefix("ONLY ").unwrap_or(text);
    let after_schema = quoted(text)?;
    let schema = &text[1..text.len() - after_schema.len() - 1];
    let text = after_schema.strip_prefix('.')?;
    let rest = quoted(text)?;
    Some(((schema, &text[1..text.len() - rest.len() - 1]), rest))
}
