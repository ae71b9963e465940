//! What a statement runs beside itself: the query inside a command. For dry runs: what runs is decided when it runs.

use super::list;
use super::utility_names::text;
use pgrx::pg_sys::{self, NodeTag};

/// A query that a command runs.
pub struct Inner {
    pub query: pg_sys::RawStmt,
    /// Its rows stay in a table or leave.
    pub kept: bool,
}

/// What COPY (…) TO STDOUT, CREATE TABLE AS, SELECT INTO, CREATE MATERIALIZED VIEW, DECLARE CURSOR and EXPLAIN ANALYZE do
/// is what their query does.
pub unsafe fn inner_query(raw: *mut pg_sys::RawStmt) -> Option<Inner> {
    use NodeTag::*;
    // Safe: casts follow the tags; the parser's own query in the place of the command.
    unsafe {
        let node = (*raw).stmt;
        let inner = |stmt: *mut pg_sys::Node, kept: bool| Some(Inner { query: pg_sys::RawStmt { stmt, ..*raw }, kept });
        match (*node).type_ {
            T_CopyStmt => {
                let copy = &*node.cast::<pg_sys::CopyStmt>();
                let sends = !copy.query.is_null() && copy.filename.is_null() && !copy.is_program;
                if sends { inner(copy.query, true) } else { None }
            }
            T_CreateTableAsStmt => {
                let query = (*node.cast::<pg_sys::CreateTableAsStmt>()).query;
                if is_plannable(query) { inner(query, true) } else { None }
            }
            T_DeclareCursorStmt => inner((*node.cast::<pg_sys::DeclareCursorStmt>()).query, false),
            T_ExplainStmt => {
                let explain = &*node.cast::<pg_sys::ExplainStmt>();
                if !executes(explain) {
                    return None;
                }
                let mut query = pg_sys::RawStmt { stmt: explain.query, ..*raw };
                inner_query(&mut query).or_else(|| {
                    let plannable = is_plannable(explain.query);
                    if plannable { inner(explain.query, false) } else { None }
                })
            }
            T_SelectStmt => selected_into(node.cast()).and_then(|query| inner(query.cast(), true)),
            _ => None,
        }
    }
}

/// EXPLAIN ANALYZE.
pub unsafe fn executes(explain: &pg_sys::ExplainStmt) -> bool {
    // Safe: option nodes of the parser.
    unsafe {
        list::<pg_sys::DefElem>(explain.options)
            .filter(|option| text((**option).defname) == "analyze")
            .any(|option| pg_sys::defGetBoolean(option))
    }
}

/// The query of SELECT INTO: the same without its INTO, which stands in the leftmost part of a set operation.
pub unsafe fn selected_into(select: *mut pg_sys::SelectStmt) -> Option<*mut pg_sys::SelectStmt> {
    // Safe: the parser's tree; a copy is changed.
    unsafe {
        let leftmost = |mut select: *mut pg_sys::SelectStmt| {
            while !select.is_null() && (*select).op != pg_sys::SetOperation::SETOP_NONE {
                select = (*select).larg;
            }
            select
        };
        let first = leftmost(select);
        if first.is_null() || (*first).intoClause.is_null() {
            return None;
        }
        let copy = pg_sys::copyObjectImpl(select.cast()).cast::<pg_sys::SelectStmt>();
        (*leftmost(copy)).intoClause = std::ptr::null_mut();
        Some(copy)
    }
}

/// What it runs is told by nothing in its text.
pub unsafe fn is_opaque(node: *mut pg_sys::Node) -> bool {
    use NodeTag::*;
    // Safe: casts follow the tags.
    unsafe {
        match (*node).type_ {
            T_DoStmt | T_CallStmt | T_ExecuteStmt | T_RefreshMatViewStmt => true,
            T_CreateTableAsStmt => !is_plannable((*node.cast::<pg_sys::CreateTableAsStmt>()).query),
            T_ExplainStmt => {
                let explain = &*node.cast::<pg_sys::ExplainStmt>();
                executes(explain) && is_opaque(explain.query)
            }
            _ => false,
        }
    }
}

/// A statement with a plan.
pub unsafe fn is_plannable(node: *mut pg_sys::Node) -> bool {
    use NodeTag::*;
    // Safe: reads the tag.
    matches!(unsafe { (*node).type_ }, T_SelectStmt | T_InsertStmt | T_UpdateStmt | T_DeleteStmt | T_MergeStmt)
}
