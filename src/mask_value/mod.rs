//! Masks as SQL functions: `steward._mask(value, spec)` of each type, which the planner puts in the place of a masked
//! column, and `steward.mask_value` for people. The masks themselves are `core::mask`.
//!
//! `text` reads and makes values in the encoding of the database, `key` holds the key of tokens for a statement, `call`
//! finds the functions for the planner. None of this may raise because of a value, or return a value that it could not
//! mask; what has no mask in its type becomes NULL.
//!
//! A hash or a pseudonym hides a value only from who cannot have others made. Therefore a spec is a type of its own that
//! nobody can write: only the planner makes one. And `mask_value`, which everybody may call, makes no tokens.

mod call;
mod key;
mod number;
mod text;
mod view;

use crate::core::mask::{Class, Mask, Spec, id_card};
use crate::error::{Fault, Outcome, answer};
use pgrx::pg_sys::{self, Datum, FunctionCallInfo};
use std::ffi::CString;

pub use call::{function, spec_type};

/// What is done with what no spec says.
const HIDE: Spec = Spec { class: Class::Other, mask: Mask::Hide, prefix: None, suffix: None };

/// A C function for SQL: its name, the name under which the server asks for its calling convention, and its body, which
/// gets the arguments that are not NULL and returns None for NULL.
macro_rules! sql_function {
    ($(#[$attribute:meta])* $convention:ident fn $name:ident($arguments:ident) $body:block) => {
        /// The version of the calling convention, which the server asks for.
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $convention() -> *const pgrx::pg_sys::Pg_finfo_record {
            const VERSION: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &VERSION
        }

        $(#[$attribute])*
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $name(call: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            #[allow(unused_unsafe)] // one of them only raises
            unsafe fn made($arguments: pgrx::pg_sys::FunctionCallInfo) -> Option<pgrx::pg_sys::Datum> {
                // Safe: the server passes as many arguments, of such types, as the SQL declaration has.
                unsafe { $body }
            }
            // Safe: the server's own call.
            unsafe {
                let made = made(call);
                (*call).isnull = made.is_none();
                made.unwrap_or(pgrx::pg_sys::Datum::from(0_usize))
            }
        }
    };
}
pub(crate) use sql_function;

/// An argument by its number from 0; None: NULL.
///
/// # Safety
/// A call of the server with more arguments than that.
unsafe fn argument(call: FunctionCallInfo, number: usize) -> Option<Datum> {
    // Safe: as the caller promises.
    let argument = unsafe { *(*call).args.as_ptr().add(number) };
    (!argument.isnull).then_some(argument.value)
}

/// Value and spec of a STRICT `_mask` function. A spec that is none hides everything.
///
/// # Safety
/// A call of the server with two arguments, the second one a `steward.mask_spec`.
unsafe fn arguments(call: FunctionCallInfo) -> (Datum, Spec) {
    // Safe: as the caller promises; a STRICT function gets no NULL.
    let (value, spec) = unsafe { ((*(*call).args.as_ptr()).value, (*(*call).args.as_ptr().add(1)).value) };
    (value, Spec::from_i64(spec.value() as i64).unwrap_or(HIDE))
}

sql_function! {
    /// `steward._mask` of text, varchar and bpchar.
    pg_finfo_mask_text fn mask_text(call) {
        let (value, spec) = arguments(call);
        Some(text::masked(value, spec))
    }
}

sql_function! {
    /// `steward._mask` of text[] and varchar[].
    pg_finfo_mask_text_array fn mask_text_array(call) {
        let (value, spec) = arguments(call);
        text::masked_array(value, spec)
    }
}

sql_function! {
    /// `steward._mask` of json.
    pg_finfo_mask_json fn mask_json(call) {
        let (value, spec) = arguments(call);
        text::masked_json(value, spec)
    }
}

sql_function! {
    /// `steward._mask` of jsonb.
    pg_finfo_mask_jsonb fn mask_jsonb(call) {
        let (value, spec) = arguments(call);
        text::masked_jsonb(value, spec)
    }
}

sql_function! {
    /// `steward.mask_value`: what a mask makes of a text. Not STRICT: without a class or a mask everything is hidden.
    pg_finfo_mask_value fn mask_value(call) {
        let value = argument(call, 1)?;
        let spec = answer(spec_of(argument(call, 0), argument(call, 2), argument(call, 3), argument(call, 4)));
        // Whoever asks chose the value: a token of it would tell which value another token stands for.
        Some(text::masked(value, if spec.needs_key() { HIDE } else { spec }))
    }
}

sql_function! {
    /// `steward.pseudonym`: the token of a text, for those whom EXECUTE was granted.
    pg_finfo_pseudonym fn pseudonym(call) {
        let (class, value, mask) = (argument(call, 0)?, argument(call, 1)?, argument(call, 2)?);
        let spec = answer(spec_of(Some(class), Some(mask), None, None));
        answer(key::demand(spec));
        Some(text::masked(value, spec))
    }
}

sql_function! {
    /// `steward.is_id_card`.
    pg_finfo_is_id_card fn is_id_card(call) {
        let number = text::read(argument(call, 0)?);
        Some(Datum::from(id_card::is_valid(&number)))
    }
}

sql_function! {
    /// Input of `steward.mask_spec`: there is none.
    pg_finfo_mask_spec_in fn mask_spec_in(_call) {
        Fault::unsupported("a mask specification cannot be written")
            .detail("Only the planner makes one, for a column that is masked for the current role.")
            .hint("SELECT steward.mask_value('phone', '13800000007');")
            .raise()
    }
}

sql_function! {
    /// Output of `steward.mask_spec`, for EXPLAIN (VERBOSE).
    pg_finfo_mask_spec_out fn mask_spec_out(call) {
        let spec = Spec::from_i64(argument(call, 0)?.value() as i64).unwrap_or(HIDE);
        let shown = CString::new(spec.to_string()).unwrap_or_default();
        Some(Datum::from(pg_sys::pstrdup(shown.as_ptr())))
    }
}

/// The mask that the arguments of `steward.mask_value` name. NULL hides.
fn spec_of(class: Option<Datum>, mask: Option<Datum>, prefix: Option<Datum>, suffix: Option<Datum>) -> Outcome<Spec> {
    // Safe: arguments of the type text.
    let name = |datum: Option<Datum>| unsafe { datum.map(|datum| text::read(datum).into_owned()) };
    let end = |datum: Option<Datum>| datum.map(|datum| datum.value() as i32);
    let class = name(class).map_or(Class::Other, |class| Class::from_name(&class));
    let mask = match name(mask) {
        Some(mask) => Mask::from_name(&mask).ok_or_else(|| {
            Fault::bad_argument("unknown mask").hint("mask: partial, hide, hash, pseudonym, generalize or none")
        })?,
        None => Mask::Hide,
    };
    Spec::new(class, mask, end(prefix), end(suffix))
        .ok_or_else(|| Fault::bad_argument("prefix and suffix are 0 to 64 characters"))
}
