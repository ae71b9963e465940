//! Tests of the pure modules, built without PostgreSQL: `cargo test --test core`.

#[path = "../../src/core/mod.rs"]
#[allow(dead_code, unused_imports)]
mod core;

mod archive;
mod chain;
mod frame;
mod gate;
mod operation;
mod record;
mod redact;
mod rule;
mod script;
