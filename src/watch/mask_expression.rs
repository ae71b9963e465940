//! The expression that stands in the place of a masked column: the mask of its value, in its type, typmod and collation.
//! What has no mask in its type is NULL.

use super::mask_level::Level;
use super::node;
use crate::core::mask_rule::Verdict;
use crate::mask_value;
use pgrx::pg_sys::{self, CoercionContext, CoercionForm, Expr, List, Node, NodeTag, Oid, Var};
use std::ffi::{c_char, c_int};

/// TYPCATEGORY_STRING.
const STRING: c_char = b'S' as c_char;

/// The mask of a column.
pub unsafe fn masked(var: *mut Var, verdict: Verdict) -> *mut Node {
    // Safe: a column reference of the query; all nodes are the server's own make.
    unsafe {
        let (kind, collation) = ((*var).vartype, (*var).varcollid);
        let mut typmod = (*var).vartypmod;
        let base = node::getBaseTypeAndTypmod(kind, &mut typmod);
        let (function, text) = function_of(base);
        if function == pg_sys::InvalidOid {
            return node::makeNullConst(kind, (*var).vartypmod, collation).cast();
        }
        let takes = if text { pg_sys::TEXTOID } else { base };
        let value = coerced(node::copy(var).cast(), kind, takes, -1);
        let spec = pg_sys::Datum::from(verdict.spec.to_i64());
        let spec = node::makeConst(spec_type(), -1, pg_sys::InvalidOid, 8, spec, false, true);
        let arguments = node::list_of([value, spec.cast()]);
        let form = CoercionForm::COERCE_EXPLICIT_CALL;
        let call = node::makeFuncExpr(function, takes, arguments, pg_sys::InvalidOid, pg_sys::InvalidOid, form);
        // A text is cut to the column's length; a number is not checked against it, since that could fail.
        let limit = if is_string(base) { typmod } else { -1 };
        let mut mask = coerced(call.cast(), takes, base, limit);
        if mask.is_null() {
            return node::makeNullConst(kind, (*var).vartypmod, collation).cast();
        }
        node::assign_expr_collations(std::ptr::null_mut(), mask);
        if base != kind || limit != typmod || node::exprCollation(mask) != collation {
            // Without its checks: the mask of a domain's value need not be one of its values.
            let form = CoercionForm::COERCE_IMPLICIT_CAST;
            mask = node::makeRelabelType(mask.cast(), kind, (*var).vartypmod, collation, form).cast();
        }
        mask
    }
}

/// The row of a table with its masked columns masked. NULL where an outer join found no row, as the row itself is.
pub unsafe fn row(var: *mut Var, level: &Level) -> *mut Node {
    // Safe: as above; the entry is a relation's.
    unsafe {
        let (index, levels_up) = ((*var).varno, (*var).varlevelsup);
        let (mut names, mut columns): (*mut List, *mut List) = (std::ptr::null_mut(), std::ptr::null_mut());
        node::expandRTE(level.table(index as u32), index, levels_up as c_int, -1, true, &mut names, &mut columns);
        let entry = &*level.entry(index as u32);
        let count = if columns.is_null() { 0 } else { (*columns).length as usize };
        for place in 0..count {
            let cell = (*columns).elements.add(place);
            let column = (*cell).ptr_value.cast::<Node>();
            if (*column).type_ == NodeTag::T_Var
                && let Some(verdict) = entry.verdict((*column.cast::<Var>()).varattno)
            {
                (*cell).ptr_value = masked(column.cast(), verdict).cast();
            }
        }
        let row = node::make::<pg_sys::RowExpr>(NodeTag::T_RowExpr);
        (*row).args = columns;
        (*row).row_typeid = (*var).vartype;
        (*row).row_format = CoercionForm::COERCE_IMPLICIT_CAST;
        (*row).colnames = if (*var).vartype == pg_sys::RECORDOID { names } else { std::ptr::null_mut() };
        (*row).location = -1;
        if has_outer_join(level) { or_null(row.cast(), var) } else { row.cast() }
    }
}

/// CASE WHEN tableoid IS NULL THEN NULL ELSE row END: only a row that is not there has no table.
unsafe fn or_null(row: *mut Node, var: *mut Var) -> *mut Node {
    // Safe: as above.
    unsafe {
        let table = pg_sys::TableOidAttributeNumber as i16;
        let table = node::makeVar((*var).varno, table, pg_sys::OIDOID, -1, pg_sys::InvalidOid, (*var).varlevelsup);
        let test = node::make::<pg_sys::NullTest>(NodeTag::T_NullTest);
        (*test).arg = table.cast();
        (*test).nulltesttype = pg_sys::NullTestType::IS_NULL;
        (*test).location = -1;
        let none = node::makeNullConst((*var).vartype, -1, pg_sys::InvalidOid);
        case(test.cast(), none.cast(), row, (*var).vartype, pg_sys::InvalidOid)
    }
}

/// CASE WHEN test THEN then ELSE otherwise END.
pub unsafe fn case(test: *mut Node, then: *mut Node, otherwise: *mut Node, kind: Oid, collation: Oid) -> *mut Node {
    // Safe: as above.
    unsafe {
        let when = node::make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
        (*when).expr = test.cast();
        (*when).result = then.cast();
        (*when).location = -1;
        let case = node::make::<pg_sys::CaseExpr>(NodeTag::T_CaseExpr);
        (*case).casetype = kind;
        (*case).casecollid = collation;
        (*case).args = node::list_of([when.cast()]);
        (*case).defresult = otherwise.cast::<Expr>();
        (*case).location = -1;
        case.cast()
    }
}

unsafe fn has_outer_join(level: &Level) -> bool {
    // Safe: a live query.
    unsafe {
        (1..=level.count()).map(|index| level.table(index)).any(|entry| {
            (*entry).rtekind == pg_sys::RTEKind::RTE_JOIN && (*entry).jointype != pg_sys::JoinType::JOIN_INNER
        })
    }
}

unsafe fn coerced(node: *mut Node, from: Oid, to: Oid, typmod: i32) -> *mut Node {
    let (context, form) = (CoercionContext::COERCION_EXPLICIT, CoercionForm::COERCE_EXPLICIT_CAST);
    // Safe: as above; null where there is no way.
    unsafe { node::coerce_to_target_type(std::ptr::null_mut(), node, from, to, typmod, context, form, -1) }
}

/// Whether the mask of a type is a value like any other: what equals it may be meant.
pub unsafe fn is_a_value(kind: Oid) -> bool {
    let mut typmod = -1;
    // Safe: a look-up of an existing type.
    matches!(
        unsafe { node::getBaseTypeAndTypmod(kind, &mut typmod) },
        pg_sys::INT2OID
            | pg_sys::INT4OID
            | pg_sys::INT8OID
            | pg_sys::NUMERICOID
            | pg_sys::FLOAT8OID
            | pg_sys::DATEOID
            | pg_sys::TIMESTAMPOID
            | pg_sys::TIMESTAMPTZOID
            | pg_sys::UUIDOID
    )
}

unsafe fn is_string(kind: Oid) -> bool {
    let (mut category, mut preferred) = (0, false);
    // Safe: a look-up of an existing type.
    unsafe { node::get_type_category_preferred(kind, &mut category, &mut preferred) };
    category == STRING
}

/// The function that masks a type, and whether it does so as text; no function: there is none for it.
unsafe fn function_of(kind: Oid) -> (Oid, bool) {
    // Safe: look-ups.
    unsafe {
        let own = function(kind);
        if own != pg_sys::InvalidOid || !is_string(kind) { (own, false) } else { (function(pg_sys::TEXTOID), true) }
    }
}

/// `steward._mask` of this type.
#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
unsafe extern "C-unwind" fn function(kind: Oid) -> Oid {
    mask_value::function(kind).unwrap_or(pg_sys::InvalidOid)
}

/// The type that says which mask.
#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
unsafe extern "C-unwind" fn spec_type() -> Oid {
    mask_value::spec_type().unwrap_or(pg_sys::InvalidOid)
}
