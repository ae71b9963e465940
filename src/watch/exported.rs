//! What a query takes out of protected tables, for operations with the form `export`: the columns that it reads, and what
//! chooses its rows.

use super::inner_query::inner_query;
use super::list;
use crate::cache::Policy;
use crate::error::{Fault, Outcome};
use pgrx::pg_sys::{self, NodeTag};
use std::ffi::{CStr, CString};

/// Table and column, by name, of everything that a plan reads of protected tables. A whole row is all its columns; system
/// columns are none, nor are columns of which the current role sees the mask.
pub unsafe fn columns_read(plan: *mut pg_sys::PlannedStmt, policy: &Policy) -> Vec<(String, String)> {
    let mut read = Vec::new();
    // Safe: a finished plan, whose entries and bit sets are only read.
    unsafe {
        for entry in list::<pg_sys::RangeTblEntry>((*plan).rtable) {
            // Images hold values of protected tables.
            let holds = policy.protected((*entry).relid).or_else(|| policy.image((*entry).relid));
            let Some(member) = holds.filter(|_| (*entry).requiredPerms != 0) else { continue };
            let reads = |number: i32| {
                pg_sys::bms_is_member(number - pg_sys::FirstLowInvalidHeapAttributeNumber, (*entry).selectedCols)
            };
            let whole = reads(0);
            let columns = member.columns().iter().filter(|column| whole || reads(i32::from(column.number)));
            for column in columns.map(|column| (member.root.name.clone(), column.name.clone())) {
                if !read.contains(&column) {
                    read.push(column);
                }
            }
        }
    }
    read
}

/// What chooses the rows of a statement: its query without the list of what it shows, as the parser understood it; of
/// another statement nothing. Where words stand in the text makes no difference. A syntax error passes through.
pub fn filter(statement: &str) -> Outcome<String> {
    let text = CString::new(statement).map_err(|_| Fault::bad_argument("a script contains no zero byte"))?;
    // Safe: the parser's own tree, of which a copy is changed; the text of a tree is the server's own.
    let trees: Vec<String> = unsafe {
        list::<pg_sys::RawStmt>(pg_sys::pg_parse_query(text.as_ptr()))
            .map(|raw| inner_query(raw).map_or((*raw).stmt, |inner| inner.query.stmt))
            .filter(|query| (**query).type_ == NodeTag::T_SelectStmt)
            .map(|query| {
                let copy = pg_sys::copyObjectImpl(query.cast()).cast::<pg_sys::SelectStmt>();
                (*copy).targetList = std::ptr::null_mut();
                CStr::from_ptr(pg_sys::nodeToString(copy.cast())).to_string_lossy().into_owned()
            })
            .collect()
    };
    Ok(trees.iter().map(|tree| without_places(tree)).collect())
}

/// The text of a tree without the fields that say where in the statement something stood.
fn without_places(tree: &str) -> String {
    let mut words = tree.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word != ":location" {
            kept.push(word);
        } else if let Some(end) = words.next().and_then(|number| number.find(['}', ')']).map(|end| &number[end..])) {
            kept.push(end);
        }
    }
    kept.join(" ")
}
