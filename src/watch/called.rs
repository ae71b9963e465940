//! Which functions a query calls, by operators, aggregates, casts and views as well. For dry runs: what runs is decided
//! when it runs.

use pgrx::pg_sys::{self, Node, NodeTag, Oid};
use std::ffi::c_void;

type Walker = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> bool;

// The bindings leave the walkers out, since their callbacks have no prototype in C.
unsafe extern "C-unwind" {
    fn expression_tree_walker(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
    fn query_tree_walker(query: *mut pg_sys::Query, walker: Walker, context: *mut c_void, flags: i32) -> bool;
}

/// The functions of an analysed query, each once, in the order they are met.
pub unsafe fn functions(query: *mut pg_sys::Query) -> Vec<Oid> {
    let mut found: Vec<Oid> = Vec::new();
    // Safe: an analysed query; `found` outlives the walk, which only reads nodes. The boundary turns an error of the
    // walker (a node it does not know) into one that may cross Rust frames.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| walk(query.cast(), (&raw mut found).cast())) };
    found
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn walk(node: *mut Node, found: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // Safe: a node of the query and the list of `functions`.
    unsafe {
        if (*node).type_ == NodeTag::T_Query {
            return pg_sys::ffi::pg_guard_ffi_boundary(|| query_tree_walker(node.cast(), walk, found, 0));
        }
        pg_sys::check_functions_in_node(node, Some(note), found);
        pg_sys::ffi::pg_guard_ffi_boundary(|| expression_tree_walker(node, walk, found))
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn note(function: Oid, found: *mut c_void) -> bool {
    // Safe: the list of `functions`, borrowed for this call alone.
    let found = unsafe { &mut *found.cast::<Vec<Oid>>() };
    if !found.contains(&function) {
        found.push(function);
    }
    false
}

/// Whether an expression runs what its functions do not show: a query that depends on it, or a conversion that may check or
/// call what somebody else has written.
pub unsafe fn hides_code(expression: *mut Node) -> bool {
    // Safe: as `functions`.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| hides(expression, std::ptr::null_mut())) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn hides(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // Safe: a node of a planned expression, read by its tag.
    unsafe {
        let here = match (*node).type_ {
            NodeTag::T_SubPlan => {
                let plan = &*node.cast::<pg_sys::SubPlan>();
                !plan.args.is_null() || !plan.testexpr.is_null()
            }
            NodeTag::T_AlternativeSubPlan | NodeTag::T_CoerceToDomain => true,
            NodeTag::T_CoerceViaIO => {
                (*node.cast::<pg_sys::CoerceViaIO>()).resulttype.to_u32() >= pg_sys::FirstNormalObjectId
            }
            NodeTag::T_ArrayCoerceExpr => {
                (*node.cast::<pg_sys::ArrayCoerceExpr>()).resulttype.to_u32() >= pg_sys::FirstNormalObjectId
            }
            _ => false,
        };
        here || pg_sys::ffi::pg_guard_ffi_boundary(|| expression_tree_walker(node, hides, context))
    }
}
