//! The place of the library among those that the server preloads: it has to be the last. The hooks of a library that is
//! loaded later are called before ours, so what it does there is neither judged nor recorded.

use crate::core::library::{line, loaded_after, with_last};
use crate::error::Fault;
use crate::settings;

const OWN: &str = "pg_steward";

/// The libraries that are loaded later, in their order.
pub fn later() -> Vec<String> {
    loaded_after(&settings::preloaded().libraries, OWN)
}

/// Said at a start of the server and at an activation, where it is not the last.
pub fn misplaced() -> Option<Fault> {
    let later = later();
    let fault = || {
        Fault::wrong_state("pg_steward is not the last of shared_preload_libraries")
            .detail(format!("Hooks of later libraries are called before its own: {}.", later.join(", ")))
            .hint(hint(&[]))
    };
    (!later.is_empty()).then(fault)
}

/// The line for postgresql.conf with what is preloaded already, with these, and with us at its end.
pub fn hint(more: &[&str]) -> String {
    let names = with_last(&settings::preloaded().libraries, more, OWN);
    format!("Add to postgresql.conf and restart: shared_preload_libraries = {}", line(&names))
}

/// The command that puts us at the end.
pub fn command() -> String {
    let names = with_last(&settings::preloaded().libraries, &[], OWN);
    let quoted: Vec<String> = names.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    format!("ALTER SYSTEM SET shared_preload_libraries = {}", quoted.join(", "))
}
