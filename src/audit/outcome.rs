//! The SQLSTATE of the error that is on its way through this backend.

use crate::backend::backend_local;
use std::cell::Cell;

backend_local! {
    static ERROR_CODE: Cell<i32> = const { Cell::new(0) };
}

/// Remembers an error: called from an error context callback, only stores a number.
pub fn notice_error(code: i32) {
    ERROR_CODE.set(code);
}

pub fn forget_error() {
    ERROR_CODE.set(0);
}

/// The remembered SQLSTATE, if there was an error.
pub fn sqlstate() -> Option<String> {
    let code = ERROR_CODE.get();
    (code != 0).then(|| sqlstate_of(code))
}

/// A SQLSTATE as text: PostgreSQL packs six bits a character.
pub fn sqlstate_of(code: i32) -> String {
    (0..5).map(|place| char::from(((code >> (6 * place)) & 0x3f) as u8 + b'0')).collect()
}
