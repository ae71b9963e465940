//! The server's own functions that walk and make nodes of queries, as the linker knows them: an ERROR in one passes the
//! frames of its callers untouched, so these hold nothing to drop.

#![allow(non_snake_case)] // the server's own names

use pgrx::pg_sys::{self, Bitmapset, Expr, List, Node, NodeTag, Oid, Query, RangeTblEntry};
use std::ffi::{c_char, c_int, c_void};

pub type Mutator = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> *mut Node;
pub type Walker = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> bool;

#[rustfmt::skip]
unsafe extern "C-unwind" {
    pub fn expression_tree_mutator(node: *mut Node, mutator: Mutator, context: *mut c_void) -> *mut Node;
    pub fn query_tree_mutator(query: *mut Query, mutator: Mutator, context: *mut c_void, flags: c_int) -> *mut Query;
    pub fn expression_tree_walker(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
    pub fn query_tree_walker(query: *mut Query, walker: Walker, context: *mut c_void, flags: c_int) -> bool;
    pub fn raw_expression_tree_walker(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
    pub fn check_functions_in_node(node: *mut Node, checker: unsafe extern "C-unwind" fn(Oid, *mut c_void) -> bool,
        context: *mut c_void) -> bool;
    pub fn check_stack_depth();
    pub fn copyObjectImpl(node: *const c_void) -> *mut c_void;
    pub fn lappend(list: *mut List, item: *mut c_void) -> *mut List;
    pub fn list_concat(list: *mut List, more: *const List) -> *mut List;
    pub fn pstrdup(text: *const c_char) -> *mut c_char;
    pub fn equal(one: *const c_void, other: *const c_void) -> bool;
    pub fn exprType(node: *const Node) -> Oid;
    pub fn exprCollation(node: *const Node) -> Oid;
    pub fn makeFuncExpr(function: Oid, result: Oid, arguments: *mut List, collation: Oid, input_collation: Oid,
        form: pg_sys::CoercionForm::Type) -> *mut pg_sys::FuncExpr;
    pub fn makeConst(kind: Oid, typmod: i32, collation: Oid, length: c_int, value: pg_sys::Datum, is_null: bool,
        by_value: bool) -> *mut pg_sys::Const;
    pub fn makeNullConst(kind: Oid, typmod: i32, collation: Oid) -> *mut pg_sys::Const;
    pub fn makeRelabelType(argument: *mut Expr, kind: Oid, typmod: i32, collation: Oid,
        form: pg_sys::CoercionForm::Type) -> *mut pg_sys::RelabelType;
    pub fn makeVar(entry: c_int, column: i16, kind: Oid, typmod: i32, collation: Oid, levels_up: u32) -> *mut pg_sys::Var;
    pub fn make_opclause(operator: Oid, result: Oid, set: bool, left: *mut Expr, right: *mut Expr, collation: Oid,
        input_collation: Oid) -> *mut Expr;
    pub fn coerce_to_target_type(state: *mut pg_sys::ParseState, node: *mut Node, from: Oid, to: Oid, typmod: i32,
        context: pg_sys::CoercionContext::Type, form: pg_sys::CoercionForm::Type, location: c_int) -> *mut Node;
    pub fn assign_expr_collations(state: *mut pg_sys::ParseState, node: *mut Node);
    pub fn expandRTE(entry: *mut RangeTblEntry, index: c_int, levels_up: c_int, location: c_int, dropped: bool,
        names: *mut *mut List, columns: *mut *mut List);
    pub fn getBaseTypeAndTypmod(kind: Oid, typmod: *mut i32) -> Oid;
    pub fn get_type_category_preferred(kind: Oid, category: *mut c_char, preferred: *mut bool);
    pub fn lookup_type_cache(kind: Oid, flags: c_int) -> *mut pg_sys::TypeCacheEntry;
    pub fn op_input_types(operator: Oid, left: *mut Oid, right: *mut Oid);
    pub fn contain_volatile_functions(node: *mut Node) -> bool;
    pub fn eval_const_expressions(root: *mut pg_sys::PlannerInfo, node: *mut Node) -> *mut Node;
    pub fn inline_set_returning_function(root: *mut pg_sys::PlannerInfo, entry: *mut RangeTblEntry) -> *mut Query;
    pub fn get_rel_persistence(relation: Oid) -> c_char;
    pub fn bms_copy(set: *const Bitmapset) -> *mut Bitmapset;
    pub fn bms_is_member(member: c_int, set: *const Bitmapset) -> bool;
    pub fn bms_del_member(set: *mut Bitmapset, member: c_int) -> *mut Bitmapset;
    pub fn bms_add_member(set: *mut Bitmapset, member: c_int) -> *mut Bitmapset;
    pub fn pg_class_aclcheck(relation: Oid, role: Oid, mode: pg_sys::AclMode) -> pg_sys::AclResult::Type;
    pub fn pg_attribute_aclcheck(relation: Oid, column: i16, role: Oid, mode: pg_sys::AclMode) -> pg_sys::AclResult::Type;
    fn palloc0(size: usize) -> *mut c_void;
}

/// A new node of this kind, with nothing in it.
pub unsafe fn make<T>(tag: NodeTag) -> *mut T {
    // Safe: every node begins with its tag and may be all zero behind it.
    unsafe {
        let node = array::<T>(1);
        (*node.cast::<Node>()).type_ = tag;
        node
    }
}

/// Memory of the planner's context for so many values, of which all zeroes must be a legal one.
pub unsafe fn array<T>(length: usize) -> *mut T {
    // Safe: palloc raises where there is no memory.
    unsafe { palloc0(length.max(1) * size_of::<T>()).cast() }
}

/// A copy of a node and all below it.
pub unsafe fn copy<T>(node: *const T) -> *mut T {
    // Safe: a node of the parser or planner.
    unsafe { copyObjectImpl(node.cast()).cast() }
}

/// A list of these nodes.
pub unsafe fn list_of<const N: usize>(nodes: [*mut Node; N]) -> *mut List {
    let mut list = std::ptr::null_mut();
    for node in nodes {
        // Safe: as the server makes lists.
        list = unsafe { lappend(list, node.cast()) };
    }
    list
}

/// A node below coercions that change nothing but its type's name.
pub unsafe fn bare(mut node: *mut Node) -> *mut Node {
    // Safe: each cast follows the tag.
    unsafe {
        while !node.is_null() && (*node).type_ == NodeTag::T_RelabelType {
            node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
        }
    }
    node
}
