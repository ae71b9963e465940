//! Codes of second factors stay out of the server's log. Its hook hears of a message before it is written: of a statement
//! that verifies a code the text is left out, and the digits that a message quotes are covered, in place, since nothing may
//! be allocated there. Such a statement is known by the function's name in what the client sent, or by the call itself.

use crate::backend::backend_local;
use crate::raw;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, c_char};

const NAME: &[u8] = b"verify_totp";
/// A shorter row of digits is no part of a code that could be guessed from it.
const SHORTEST: usize = 3;

backend_local! {
    /// Beginning of the client's message that last typed a code.
    static TYPED_AT: Cell<i64> = const { Cell::new(0) };
}

/// The running message of the client has typed a code, however it names the function.
pub fn typed() {
    // Safe: a plain getter.
    TYPED_AT.set(unsafe { raw::GetCurrentStatementStartTimestamp() });
}

/// Covers what the log would tell of a code. A plain frame of a hook: neither raises nor allocates.
pub unsafe fn keep_out_of_log(error: &mut pg_sys::ErrorData) {
    // Safe: C strings of the error, each allocated for it alone, or null; and the client's message.
    unsafe {
        // A process that has run no statement has not begun any either.
        let verifies = TYPED_AT.get() != 0 && TYPED_AT.get() == raw::GetCurrentStatementStartTimestamp()
            || [pg_sys::debug_query_string, error.message, error.detail]
                .into_iter()
                .any(|text| position(text).is_some());
        if !verifies {
            return;
        }
        error.hide_stmt = true;
        cover(error.message, position(error.message).unwrap_or(0));
        cover(error.context, 0);
        cover(error.internalquery, 0);
        // What the parameters are is told in a DETAIL of the log alone; that of an error is for the client.
        if error.elevel < pg_sys::PGERROR as i32 {
            cover(error.detail, 0);
        }
    }
}

/// Where a text names the function.
unsafe fn position(text: *const c_char) -> Option<usize> {
    // Safe: as above.
    let bytes = if text.is_null() { return None } else { unsafe { CStr::from_ptr(text) }.to_bytes() };
    bytes.windows(NAME.len()).position(|word| word[0] | 0x20 == NAME[0] && word.eq_ignore_ascii_case(NAME))
}

/// Puts a question mark in the place of each digit of a longer row of them, from here on.
unsafe fn cover(text: *mut c_char, from: usize) {
    if text.is_null() {
        return;
    }
    // Safe: as above; the bytes are only replaced by others that are none of them zero.
    let bytes = unsafe { std::slice::from_raw_parts_mut(text.cast::<u8>(), CStr::from_ptr(text).count_bytes()) };
    for row in bytes[from..].chunk_by_mut(|one, next| one.is_ascii_digit() == next.is_ascii_digit()) {
        if row.len() >= SHORTEST && row[0].is_ascii_digit() {
            row.fill(b'?');
        }
    }
}
