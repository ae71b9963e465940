//! Whether a text is one query that only reads views and tables of the policy and the catalog, and runs nothing of
//! anybody's: what somebody else will run unwatched, again and again, must do no more.

use super::{node, plain_names};
use crate::error::{Fault, Outcome};
use pgrx::pg_sys::{self, Node, NodeTag, Oid};
use std::ffi::{CString, c_int, c_void};

/// The walker shows entries of range tables before what is in them.
const EXAMINE_ENTRIES: c_int = 0x10;

/// What keeps a query from being plain.
#[derive(Default)]
struct Found {
    relation: Option<Oid>,
    function: Option<Oid>,
    other: bool,
}

/// 22023 unless the text is a single SELECT of that kind, as names are looked up now. Syntax errors are the server's own.
pub fn require_plain(text: &str) -> Outcome<()> {
    let wrong = |what: &str| Fault::bad_argument(format!("the query {what}"));
    let source = CString::new(text).map_err(|_| wrong("holds a NUL"))?;
    // Safe: what the parser makes lives in the current memory context; each cast follows a tag.
    let found = unsafe {
        let statements = pg_sys::raw_parser(source.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        if pg_sys::list_length(statements) != 1 {
            return Err(wrong("is not a single statement"));
        }
        let statement = pg_sys::list_nth(statements, 0).cast::<pg_sys::RawStmt>();
        if (*(*statement).stmt).type_ != NodeTag::T_SelectStmt {
            return Err(wrong("is no SELECT"));
        }
        if let Some(name) = plain_names::foreign_name((*statement).stmt) {
            return Err(wrong(&format!("names {name}"))
                .detail("It may name what is in schema steward and the catalog, and reads only."));
        }
        let (types, environment) = (std::ptr::null(), std::ptr::null_mut());
        let query = pg_sys::parse_analyze_fixedparams(statement, source.as_ptr(), types, 0, environment);
        let mut found = Found::default();
        pg_sys::ffi::pg_guard_ffi_boundary(|| walk(query.cast(), (&raw mut found).cast()));
        found
    };
    if let Some(relation) = found.relation {
        return Err(wrong(&format!("reads {}", super::utility::relation_name(relation)))
            .detail("It may read what is in schema steward and the catalog, by the owner's rights."));
    }
    if let Some(function) = found.function {
        return Err(wrong(&format!("calls function {}", function.to_u32()))
            .detail("It may call functions of the server itself that are PARALLEL SAFE and not volatile.")
            .hint(format!("SELECT {}::regprocedure;", function.to_u32())));
    }
    if found.other {
        return Err(wrong("does more than read").detail("It may lock and write nothing, and convert to no domain."));
    }
    Ok(())
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn walk(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // Safe: a node of the query, cast by its tag, and the findings of `require_plain`, borrowed for each line alone.
    unsafe {
        let found = context.cast::<Found>();
        match (*node).type_ {
            NodeTag::T_Query => {
                let query = node.cast::<pg_sys::Query>();
                (*found).other |= (*query).commandType != pg_sys::CmdType::CMD_SELECT
                    || !(*query).rowMarks.is_null()
                    || !(*query).utilityStmt.is_null();
                return pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    node::query_tree_walker(query, walk, context, EXAMINE_ENTRIES)
                });
            }
            NodeTag::T_RangeTblEntry => {
                let entry = &*node.cast::<pg_sys::RangeTblEntry>();
                if entry.rtekind == pg_sys::RTEKind::RTE_RELATION && !is_readable(entry.relid) {
                    (*found).relation = Some(entry.relid);
                }
                return false;
            }
            NodeTag::T_CoerceToDomain => (*found).other = true,
            NodeTag::T_FuncExpr => {
                let function = (*node.cast::<pg_sys::FuncExpr>()).funcid;
                if is_internal(function) {
                    (*found).function = Some(function);
                }
            }
            _ => (),
        }
        pg_sys::check_functions_in_node(node, Some(note), context);
        pg_sys::ffi::pg_guard_ffi_boundary(|| node::expression_tree_walker(node, walk, context))
    }
}

pub(super) unsafe fn is_readable(relation: Oid) -> bool {
    // Safe: look-ups of the catalog.
    unsafe {
        let schema = pg_sys::get_rel_namespace(relation);
        schema == pg_sys::get_namespace_oid(c"steward".as_ptr(), false)
            || schema.to_u32() == pg_sys::PG_CATALOG_NAMESPACE
    }
}

/// Whether a function is there for the server to call: input functions take any type's number, domain_in among them, and
/// validators read what others wrote. A conversion calls them too, but names its type.
unsafe fn is_internal(function: Oid) -> bool {
    /// Runs the hash functions of a partitioned table.
    const SATISFIES_HASH_PARTITION: u32 = 5028;
    // Safe: a look-up of a function of the query; the server allocates the types.
    unsafe {
        let (mut types, mut count) = (std::ptr::null_mut(), 0);
        let result = pg_sys::get_func_signature(function, &mut types, &mut count);
        let inner = |kind: Oid| matches!(kind, pg_sys::CSTRINGOID | pg_sys::INTERNALOID | pg_sys::VOIDOID);
        inner(result)
            || (0..count as usize).any(|place| inner(*types.add(place)))
            || function.to_u32() == SATISFIES_HASH_PARTITION
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn note(function: Oid, context: *mut c_void) -> bool {
    // Safe: a look-up of a function of the query, and the findings of `require_plain`.
    unsafe {
        let volatile = pg_sys::func_volatile(function) as u8 == pg_sys::PROVOLATILE_VOLATILE;
        // Those that read tables by name, table_to_xml and its like, run what their owners wrote; none is PARALLEL SAFE.
        let safe = pg_sys::func_parallel(function) as u8 == pg_sys::PROPARALLEL_SAFE;
        if volatile || !safe || function.to_u32() >= pg_sys::FirstNormalObjectId {
            (*context.cast::<Found>()).function = Some(function);
        }
    }
    false
}
