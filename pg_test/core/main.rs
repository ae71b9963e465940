//! Tests of the pure modules, built without PostgreSQL: `cargo test --test core`.

#[path = "../../src/core/mod.rs"]
#[allow(dead_code, unused_imports)]
mod core;
#[path = "../../src/witness/mod.rs"]
#[allow(dead_code)]
#[cfg(feature = "witness")]
mod program;

mod alert;
mod approval;
mod archive;
mod array;
mod attempts;
mod batch;
mod chain;
mod check;
mod clock;
mod course;
mod docs;
mod emergency;
mod export;
mod form;
mod frame;
mod function;
mod gate;
mod injection;
mod job;
mod library;
mod login;
mod mask;
mod mask_rule;
mod metrics;
mod month;
mod operation;
mod reach;
mod record;
mod redact;
mod register;
mod repeats;
mod report;
mod role_form;
mod rule;
mod script;
mod seal;
mod standby;
mod totp;

#[cfg(feature = "witness")]
mod witness;
