//! Whether a text names nothing but what is the server's own or the policy's: types, functions, operators, relations.
//! Looked at before the analysis, which reads constants: those of a composite type with a domain, or of an array of one,
//! run the domain's CHECK then and there.

use super::node;
use super::plain_query::is_readable;
use pgrx::pg_sys::{self, List, Node, NodeTag};
use std::ffi::{CStr, c_void};

/// The first name that is somebody's, or what the text does beside reading.
pub unsafe fn foreign_name(statement: *mut Node) -> Option<String> {
    let mut found: Option<String> = None;
    // Safe: the raw tree of a statement; the walker borrows what is found for each line alone.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| walk(statement, (&raw mut found).cast())) };
    found
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn walk(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // Safe: a raw node, cast by its tag, and the finding of `foreign_name`.
    unsafe {
        let foreign = match (*node).type_ {
            NodeTag::T_TypeName => type_name(node.cast()),
            NodeTag::T_RangeVar => relation(node.cast()),
            NodeTag::T_FuncCall => function((*node.cast::<pg_sys::FuncCall>()).funcname),
            NodeTag::T_A_Expr => function((*node.cast::<pg_sys::A_Expr>()).name),
            NodeTag::T_SubLink => function((*node.cast::<pg_sys::SubLink>()).operName),
            NodeTag::T_SortBy => function((*node.cast::<pg_sys::SortBy>()).useOp),
            NodeTag::T_RangeTableSample => function((*node.cast::<pg_sys::RangeTableSample>()).method),
            // The server's walker passes over these.
            NodeTag::T_RangeTableFuncCol => match (*node.cast::<pg_sys::RangeTableFuncCol>()).typeName {
                name if name.is_null() => None,
                name => type_name(name),
            },
            NodeTag::T_CommonTableExpr if !(*node.cast::<pg_sys::CommonTableExpr>()).cycle_clause.is_null() => {
                Some("CYCLE".to_owned())
            }
            NodeTag::T_InsertStmt | NodeTag::T_UpdateStmt | NodeTag::T_DeleteStmt | NodeTag::T_MergeStmt => {
                Some("a statement that writes".to_owned())
            }
            _ => None,
        };
        if foreign.is_some() {
            context.cast::<Option<String>>().replace(foreign);
            return true;
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| node::raw_expression_tree_walker(node, walk, context))
    }
}

/// A type's own schema counts, not that of its name: an array may be named after its elements.
unsafe fn type_name(name: *const pg_sys::TypeName) -> Option<String> {
    // Safe: a name of the parser's; look-ups of the catalog. Unknown types are nobody's.
    unsafe {
        let kind = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true);
        (!is_own_type(kind)).then(|| text(pg_sys::TypeNameToString(name)))
    }
}

unsafe fn is_own_type(kind: pg_sys::Oid) -> bool {
    if kind == pg_sys::InvalidOid || kind.to_u32() < pg_sys::FirstNormalObjectId {
        return kind != pg_sys::InvalidOid;
    }
    // Safe: look-ups of the catalog; the row is released once read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::TYPEOID as i32, kind.into());
        if tuple.is_null() {
            return false;
        }
        let schema = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>()).typnamespace;
        pg_sys::ReleaseSysCache(tuple);
        schema == pg_sys::get_namespace_oid(c"steward".as_ptr(), false)
    }
}

/// Of a relation that is there and is none of the readable ones; other names are those of WITH.
unsafe fn relation(name: *const pg_sys::RangeVar) -> Option<String> {
    // Safe: a name of the parser's; takes no lock.
    unsafe {
        let flags = pg_sys::RVROption::RVR_MISSING_OK;
        let lock = pg_sys::NoLock as pg_sys::LOCKMODE;
        let found = pg_sys::RangeVarGetRelidExtended(name, lock, flags, None, std::ptr::null_mut());
        (found != pg_sys::InvalidOid && !is_readable(found)).then(|| super::utility::relation_name(found))
    }
}

/// A function's, which a type may have as well, or an operator's: unqualified it is looked for in pg_catalog alone.
unsafe fn function(names: *mut List) -> Option<String> {
    // Safe: a list of strings, or none.
    unsafe {
        let parts = pg_sys::list_length(names);
        if parts < 2 {
            return None;
        }
        let schema = (*pg_sys::list_nth(names, parts - 2).cast::<pg_sys::String>()).sval;
        (CStr::from_ptr(schema) != c"pg_catalog").then(|| text(pg_sys::NameListToString(names)))
    }
}

unsafe fn text(name: *const std::ffi::c_char) -> String {
    // Safe: a string of the server's.
    unsafe { CStr::from_ptr(name).to_string_lossy().into_owned() }
}
