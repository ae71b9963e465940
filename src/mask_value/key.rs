//! The key of hashes and pseudonyms, made of the key file's. It is read once in a statement and kept by this process only:
//! a file that was exchanged, or that somebody opened to others, counts from the next statement on.

use crate::backend::backend_local;
use crate::core::mask::{Key, Spec};
use crate::error::{Fault, Outcome};
use crate::{factor, raw};
use std::cell::RefCell;

/// What the key file held when this statement began; None: nothing that can be used.
struct Held {
    statement: i64,
    key: Option<Key>,
}

backend_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Lends the key to a mask that needs one.
pub fn with<R>(spec: Spec, body: impl FnOnce(Option<&Key>) -> R) -> R {
    if !spec.needs_key() {
        return body(None);
    }
    // Safe: a getter; the leader of a parallel query tells its workers.
    let statement = unsafe { raw::GetCurrentStatementStartTimestamp() };
    HELD.with_borrow_mut(|held| {
        if held.as_ref().is_none_or(|held| held.statement != statement) {
            let key = factor::key::read().ok().and_then(|master| Key::derive(&master));
            *held = Some(Held { statement, key });
        }
        body(held.as_ref().and_then(|held| held.key.as_ref()))
    })
}

/// What is missing for a token that somebody asks for.
pub fn demand(spec: Spec) -> Outcome<()> {
    if !spec.needs_key() {
        return Err(Fault::bad_argument("no such token").hint("mask: pseudonym or hash"));
    }
    let Err(fault) = factor::key::read() else { return Ok(()) };
    let (detail, hint) = fault.advice();
    Err(Fault::wrong_state("no token can be made without a key").detail(detail).hint(hint))
}
