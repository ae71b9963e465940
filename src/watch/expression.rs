//! Whether a text is one expression and nothing more: what is put between parentheses must not close them.

use crate::error::{Fault, Outcome};
use pgrx::pg_sys;
use std::ffi::CString;

/// 22023 unless PostgreSQL's own grammar reads the text as a single expression. Syntax errors are the server's own.
pub fn require_single(text: &str) -> Outcome<()> {
    let wrong = || Fault::bad_argument("it is more than an expression");
    let source = CString::new(text).map_err(|_| wrong())?;
    // Safe: the parser's result lives in the current memory context; node tags are compared before any cast.
    let single = unsafe {
        let mode = pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR;
        let statements = pg_sys::raw_parser(source.as_ptr(), mode);
        let first = pg_sys::list_nth(statements, 0).cast::<pg_sys::RawStmt>();
        let select = (*first).stmt.cast::<pg_sys::SelectStmt>();
        pg_sys::list_length(statements) == 1
            && (*select).type_ == pg_sys::NodeTag::T_SelectStmt
            && is_expression(&*select)
    };
    if single { Ok(()) } else { Err(wrong()) }
}

fn is_expression(select: &pg_sys::SelectStmt) -> bool {
    // Safe: the length of a list that the parser made, or of none.
    let one_target = unsafe { pg_sys::list_length(select.targetList) == 1 };
    let lists = [
        select.distinctClause,
        select.fromClause,
        select.groupClause,
        select.windowClause,
        select.valuesLists,
        select.sortClause,
        select.lockingClause,
    ];
    let nodes = [select.whereClause, select.havingClause, select.limitOffset, select.limitCount];
    one_target
        && lists.iter().all(|list| list.is_null())
        && nodes.iter().all(|node| node.is_null())
        && select.intoClause.is_null()
        && select.withClause.is_null()
        && select.op == pg_sys::SetOperation::SETOP_NONE
}
