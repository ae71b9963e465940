//! `steward._mask` of dates, numbers and UUIDs: a coarser value or a pseudonym of the same type, or NULL.

use super::{arguments, key, sql_function};
use crate::core::mask::birth_date::mask_days;
use crate::core::mask::{Mask, Spec, band, token};
use pgrx::pg_sys::{self, Datum};
use std::ffi::CStr;

/// Microseconds.
const DAY: i64 = 86_400_000_000;
/// Above, a double holds no whole numbers.
const EXACT: f64 = 9e15;

sql_function! {
    /// Of date.
    pg_finfo_mask_date fn mask_date(call) {
        let (value, spec) = arguments(call);
        same(value, spec).or_else(|| mask_days(spec, value.value() as i32).map(Datum::from))
    }
}

sql_function! {
    /// Of timestamp and timestamptz; the latter by the day in UTC, whatever the session's time zone.
    pg_finfo_mask_timestamp fn mask_timestamp(call) {
        let (value, spec) = arguments(call);
        same(value, spec).or_else(|| {
            let days = i32::try_from((value.value() as i64).div_euclid(DAY)).ok()?;
            mask_days(spec, days).map(|days| Datum::from(i64::from(days) * DAY))
        })
    }
}

sql_function! {
    /// Of int2.
    pg_finfo_mask_int2 fn mask_int2(call) {
        let (value, spec) = arguments(call);
        same(value, spec).or_else(|| {
            let masked = band::mask_integer(spec, i64::from(value.value() as i16))?;
            i16::try_from(masked).ok().map(Datum::from)
        })
    }
}

sql_function! {
    /// Of int4.
    pg_finfo_mask_int4 fn mask_int4(call) {
        let (value, spec) = arguments(call);
        same(value, spec).or_else(|| {
            let masked = band::mask_integer(spec, i64::from(value.value() as i32))?;
            i32::try_from(masked).ok().map(Datum::from)
        })
    }
}

sql_function! {
    /// Of int8, which alone among numbers has room for a pseudonym.
    pg_finfo_mask_int8 fn mask_int8(call) {
        let (value, spec) = arguments(call);
        let number = value.value() as i64;
        same(value, spec).or_else(|| match spec.needs_key() {
            true => key::with(spec, |key| token::mask_integer(spec, number, key)).map(Datum::from),
            false => band::mask_integer(spec, number).map(Datum::from),
        })
    }
}

sql_function! {
    /// Of numeric.
    pg_finfo_mask_numeric fn mask_numeric(call) {
        let (value, spec) = arguments(call);
        same(value, spec).or_else(|| {
            let text = pgrx::direct_function_call_as_datum(pg_sys::numeric_out, &[Some(value)])?;
            let text = CStr::from_ptr(text.cast_mut_ptr()).to_str().ok()?;
            band::mask_decimal(spec, text).map(|masked| Datum::from(pg_sys::int64_to_numeric(masked)))
        })
    }
}

sql_function! {
    /// Of float8.
    pg_finfo_mask_float8 fn mask_float8(call) {
        let (value, spec) = arguments(call);
        let number = f64::from_bits(value.value() as u64);
        same(value, spec).or_else(|| {
            let whole = (number.abs() < EXACT).then_some(number as i64)?;
            band::mask_integer(spec, whole).map(|masked| Datum::from((masked as f64).to_bits() as usize))
        })
    }
}

sql_function! {
    /// Of uuid.
    pg_finfo_mask_uuid fn mask_uuid(call) {
        let (value, spec) = arguments(call);
        same(value, spec).or_else(|| {
            let uuid = *value.cast_mut_ptr::<[u8; 16]>();
            let masked = key::with(spec, |key| token::mask_uuid(spec, &uuid, key))?;
            let place = pg_sys::palloc(masked.len()).cast::<[u8; 16]>();
            *place = masked;
            Some(Datum::from(place))
        })
    }
}

/// The value itself, where nothing is masked.
fn same(value: Datum, spec: Spec) -> Option<Datum> {
    (spec.mask == Mask::None).then_some(value)
}
