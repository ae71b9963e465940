//! The table that a scope leads through, as it is at each use. Its owner may have made a view of it since, or given its name
//! to another: what is no table any more allows nothing, and a name is looked up anew.

use super::odd;
use crate::error::Outcome;
use crate::{own, raw};
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString};

/// The query that finds the values, and the name by which it reads the table.
pub struct Mapping {
    table: Oid,
    name: String,
    query: CString,
}

/// A mapping as its scope has it now.
const NOW: &CStr = c"SELECT mapping FROM steward._scope_mapping WHERE id = $1::int4";

impl Mapping {
    pub fn new(table: Oid, name: &str, query: &str) -> Outcome<Mapping> {
        Ok(Mapping { table, name: name.to_owned(), query: CString::new(query).map_err(|_| odd())? })
    }

    /// The values that it finds for these literals. With the newest snapshot: what was taken from the person since an old
    /// one must not be seen by it.
    pub fn of(&self, scope: i32, literals: &[&str]) -> Outcome<Vec<String>> {
        own::require_hooks()?;
        let lock = pg_sys::AccessShareLock as i32;
        // Safe: the lock of a reader, which keeps the table's name as it is. An error's abort releases it.
        unsafe { pg_sys::LockRelationOid(self.table, lock) };
        let found = if self.is_table() { self.find(scope, literals) } else { Ok(Vec::new()) };
        // Safe: taken above.
        unsafe { pg_sys::UnlockRelationOid(self.table, lock) };
        found
    }

    fn is_table(&self) -> bool {
        // Safe: a syscache look-up; 0 for what is gone.
        let kind = unsafe { raw::get_rel_relkind(self.table) } as u8;
        matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE)
    }

    fn find(&self, scope: i32, literals: &[&str]) -> Outcome<Vec<String>> {
        let first =
            |rows: Vec<Vec<Option<String>>>| rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        if self.has_its_name() {
            return Ok(first(own::latest_rows_of(&self.query, literals)).collect());
        }
        let Some(query) = first(own::latest_rows_of(NOW, &[&scope.to_string()])).next() else { return Ok(Vec::new()) };
        let query = CString::new(query).map_err(|_| odd())?;
        Ok(first(own::latest_rows_of(&query, literals)).collect())
    }

    /// Whether the query's name is still the table's.
    fn has_its_name(&self) -> bool {
        // Safe: syscache look-ups of a table that is locked; what they return is copied.
        let name = unsafe {
            let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(self.table));
            let name = pg_sys::get_rel_name(self.table);
            if schema.is_null() || name.is_null() {
                return false;
            }
            CStr::from_ptr(pg_sys::quote_qualified_identifier(schema, name))
        };
        name.to_bytes() == self.name.as_bytes()
    }
}
