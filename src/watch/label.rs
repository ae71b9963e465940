//! `SECURITY LABEL FOR pg_steward ON COLUMN t.c IS 'class'`: the data class of a column. A class is a name, never code.

use crate::cache::{self, columns};
use crate::error::{Fault, answer};
use crate::{own, raw, session};
use pgrx::pg_sys;
use std::ffi::{CStr, c_char};

/// Longest class name.
const CLASS_BYTES: usize = 63;

/// Registers the provider. Only while preloading.
pub fn init() {
    // Safe: a name that lives for good and a function of the signature that is asked for.
    unsafe { pg_sys::register_label_provider(c"pg_steward".as_ptr(), Some(check)) }
}

/// Called by PostgreSQL before it stores a label; NULL removes one.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check(object: *const pg_sys::ObjectAddress, label: *const c_char) {
    // Safe: PostgreSQL passes a valid address and a C string or null.
    let (class, part, label) = unsafe {
        (
            (*object).classId,
            (*object).objectSubId,
            if label.is_null() { None } else { Some(CStr::from_ptr(label).to_string_lossy()) },
        )
    };
    if class != super::catalog::RELATION || part == 0 {
        Fault::wrong_object("pg_steward labels columns only")
            .hint("SECURITY LABEL FOR pg_steward ON COLUMN t.c IS 'phone';")
            .raise();
    }
    // Safe: a look-up in the relation cache.
    let kind = unsafe { pg_sys::get_rel_relkind((*object).objectId) } as u8;
    if label.is_some() && kind == pg_sys::RELKIND_VIEW {
        Fault::wrong_object("a class belongs to a column that holds values, not to one of a view")
            .hint("Label the column of the table that the view reads.")
            .raise();
    }
    if let Some(label) = label
        && !is_class_name(&label)
    {
        Fault::bad_argument("a data class is a lower-case name")
            .detail("Letters a-z, digits and underscores, beginning with a letter, at most 63 bytes.")
            .hint("SECURITY LABEL FOR pg_steward ON COLUMN t.c IS 'phone';")
            .raise();
    }
    // Safe: the label's object.
    require_clear(unsafe { (*object).objectId }, part as i16);
    // Labels do not invalidate anything by themselves. pg_upgrade restores some before the policy's tables.
    // Safe: a plain global.
    if unsafe { !pg_sys::IsBinaryUpgrade } {
        answer(own::policy_changed());
        // Plans on the table show the column as it was labelled.
        // Safe: the label's object, locked by its command.
        for relation in columns::tree(unsafe { (*object).objectId }) {
            // Safe: an existing relation.
            unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
        }
    }
}

/// The class of a column is changed by who sees it clear: its owner, if masked, would take the mask off.
fn require_clear(relation: pg_sys::Oid, column: i16) {
    let policy = cache::policy();
    // Safe: a plain getter.
    let role = unsafe { raw::GetUserId() };
    let masked = policy.masks().and_then(|masks| masks.of(role, relation));
    if masked.is_some_and(|columns| columns.iter().any(|own| own.number == column)) {
        Fault::refused("label refused: the column is masked for whoever would change its class")
            .detail(format!("Role {} sees a mask in it.", session::role_name(role)))
            .hint("Let somebody change it who sees the column clear: SELECT * FROM steward.access(current_user::regrole);")
            .raise();
    }
}

/// Whether a text may be a class.
pub fn is_class_name(label: &str) -> bool {
    let mut characters = label.chars();
    label.len() <= CLASS_BYTES
        && characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_')
}
