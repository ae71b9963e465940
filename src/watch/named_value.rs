//! A condition of a scan ─► which column it compares with which values. Only equality with constants and with parameters of
//! the client is read, and only values of built-in types, as texts: no code of anybody's runs to read them.

use super::list;
use pgrx::pg_sys::{self, NodeTag, Oid};
use std::ffi::CStr;

/// Elements of a list of values that are looked at.
const MOST_VALUES: usize = 1000;

/// A comparison of a column with values.
pub struct Named {
    pub attribute: i16,
    pub values: Vec<String>,
}

/// `column = value` or `column = ANY (values)`.
pub unsafe fn of(
    clause: *mut pg_sys::Node,
    columns: Option<*mut pg_sys::List>,
    parameters: pg_sys::ParamListInfo,
) -> Option<Named> {
    // Safe: casts follow the tag; operators have the arguments that they are declared with.
    unsafe {
        let (operator, arguments) = match (*clause).type_ {
            NodeTag::T_OpExpr => {
                let expression = &*clause.cast::<pg_sys::OpExpr>();
                (expression.opno, expression.args)
            }
            NodeTag::T_ScalarArrayOpExpr => {
                let expression = &*clause.cast::<pg_sys::ScalarArrayOpExpr>();
                if !expression.useOr {
                    return None;
                }
                (expression.opno, expression.args)
            }
            _ => return None,
        };
        let sides: Vec<*mut pg_sys::Node> = list(arguments).map(|side| bare(side)).collect();
        let [left, right] = sides[..] else { return None };
        let (column, value) = match (column(left, columns), column(right, columns)) {
            (Some(column), None) => (column, right),
            (None, Some(column)) => (column, left),
            _ => return None,
        };
        if !pg_sys::op_mergejoinable(operator, pg_sys::exprType(left)) {
            return None;
        }
        let (type_name, datum) = given(value, parameters)?;
        Some(Named { attribute: column, values: texts(type_name, datum) })
    }
}

/// A constant or a parameter of the client; None for anything else, and for NULL.
unsafe fn given(node: *mut pg_sys::Node, parameters: pg_sys::ParamListInfo) -> Option<(Oid, pg_sys::Datum)> {
    // Safe: casts follow the tag; parameters are numbered from 1.
    unsafe {
        match (*node).type_ {
            NodeTag::T_Const => {
                let constant = &*node.cast::<pg_sys::Const>();
                (!constant.constisnull).then_some((constant.consttype, constant.constvalue))
            }
            NodeTag::T_Param => {
                let parameter = &*node.cast::<pg_sys::Param>();
                let index = usize::try_from(parameter.paramid - 1).ok()?;
                let external = parameter.paramkind == pg_sys::ParamKind::PARAM_EXTERN;
                if !external || parameters.is_null() || index >= (*parameters).numParams as usize {
                    return None;
                }
                let mut room = pg_sys::ParamExternData::default();
                let external = match (*parameters).paramFetch {
                    Some(fetch) => {
                        &*pg_sys::ffi::pg_guard_ffi_boundary(|| fetch(parameters, parameter.paramid, false, &mut room))
                    }
                    None => &*(*parameters).params.as_ptr().add(index),
                };
                (!external.isnull && external.ptype != pg_sys::InvalidOid).then_some((external.ptype, external.value))
            }
            _ => None,
        }
    }
}

/// Without what only changes the name of its type.
unsafe fn bare(mut node: *mut pg_sys::Node) -> *mut pg_sys::Node {
    // Safe: cast after the tag.
    unsafe {
        while (*node).type_ == NodeTag::T_RelabelType {
            node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
        }
    }
    node
}

/// The number of a table's column; an index-only scan names its own columns, which stand for the table's.
unsafe fn column(node: *mut pg_sys::Node, columns: Option<*mut pg_sys::List>) -> Option<i16> {
    // Safe: cast after the tag.
    unsafe {
        if (*node).type_ != NodeTag::T_Var {
            return None;
        }
        let number = (*node.cast::<pg_sys::Var>()).varattno;
        match columns {
            Some(columns) if (*node.cast::<pg_sys::Var>()).varno == pg_sys::INDEX_VAR => {
                let target = list::<pg_sys::TargetEntry>(columns).find(|target| (**target).resno == number)?;
                column(bare((*target).expr.cast()), None)
            }
            _ => Some(number),
        }
    }
}

/// The types that scopes compare, and their arrays; no code of anybody's runs to print others.
fn texts(type_name: Oid, value: pg_sys::Datum) -> Vec<String> {
    let scalars = [
        pg_sys::INT2OID,
        pg_sys::INT4OID,
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::VARCHAROID,
        pg_sys::BPCHAROID,
        pg_sys::UUIDOID,
    ];
    // Safe: a value of its own type; what is printed is copied.
    unsafe {
        if scalars.contains(&type_name) {
            return vec![text(type_name, value)];
        }
        let element = pg_sys::get_element_type(type_name);
        if !scalars.contains(&element) {
            return Vec::new();
        }
        let (mut length, mut by_value, mut alignment) = (0, false, 0);
        pg_sys::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut alignment);
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        let array = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        pg_sys::deconstruct_array(
            array,
            element,
            i32::from(length),
            by_value,
            alignment,
            &mut values,
            &mut nulls,
            &mut count,
        );
        let elements = (0..(count as usize).min(MOST_VALUES)).filter(|index| !*nulls.add(*index));
        elements.map(|index| text(element, *values.add(index))).collect()
    }
}

unsafe fn text(type_name: Oid, value: pg_sys::Datum) -> String {
    let (mut function, mut variable_length) = (pg_sys::InvalidOid, false);
    // Safe: as above.
    unsafe {
        pg_sys::getTypeOutputInfo(type_name, &mut function, &mut variable_length);
        CStr::from_ptr(pg_sys::OidOutputFunctionCall(function, value)).to_string_lossy().into_owned()
    }
}
