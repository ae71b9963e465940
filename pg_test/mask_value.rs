//! How the planner finds the functions that mask, and what they get from it.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::core::mask::{Class, Mask, Spec};
    use crate::mask_value::{function, spec_type};
    use pgrx::prelude::*;

    #[pg_test]
    fn types_with_a_mask_have_a_function_that_returns_them() {
        let with = [
            pg_sys::TEXTOID,
            pg_sys::VARCHAROID,
            pg_sys::BPCHAROID,
            pg_sys::TEXTARRAYOID,
            pg_sys::VARCHARARRAYOID,
            pg_sys::JSONOID,
            pg_sys::JSONBOID,
            pg_sys::DATEOID,
            pg_sys::TIMESTAMPOID,
            pg_sys::TIMESTAMPTZOID,
            pg_sys::INT2OID,
            pg_sys::INT4OID,
            pg_sys::INT8OID,
            pg_sys::NUMERICOID,
            pg_sys::FLOAT8OID,
            pg_sys::UUIDOID,
        ];
        for kind in with {
            let function = function(kind).unwrap_or_else(|| panic!("no function for type {kind:?}"));
            // Safe: look-ups in the catalog.
            let (returns, volatility) =
                unsafe { (pg_sys::get_func_rettype(function), pg_sys::func_volatile(function)) };
            assert_eq!((returns, volatility as u8), (kind, pg_sys::PROVOLATILE_IMMUTABLE));
        }
        for kind in [pg_sys::BYTEAOID, pg_sys::BOOLOID, pg_sys::INETOID, pg_sys::InvalidOid] {
            assert_eq!(function(kind), None);
        }
    }

    #[pg_test]
    fn a_spec_passes_by_value() {
        let kind = spec_type().expect("the type");
        let spec = Spec::new(Class::Phone, Mask::Partial, Some(3), Some(4)).expect("in range");
        let function = function(pg_sys::TEXTOID).expect("the function");
        // Safe: arguments of the types that the function is declared with.
        let masked = unsafe {
            let (mut length, mut by_value) = (0, false);
            pg_sys::get_typlenbyval(kind, &mut length, &mut by_value);
            assert_eq!((length, by_value), (8, true));
            let value = "13800000007".into_datum().expect("a datum");
            let datum =
                pg_sys::OidFunctionCall2Coll(function, pg_sys::InvalidOid, value, pg_sys::Datum::from(spec.to_i64()));
            String::from_datum(datum, false)
        };
        assert_eq!(masked.as_deref(), Some("138****0007"));
    }
}
