//! The pure policy: imports neither pgrx nor anything of PostgreSQL, so it is tested by plain `cargo test`, fuzzed,
//! and can be shared with a program outside the database.

pub mod alert;
pub mod approval;
pub mod archive;
pub mod array;
pub mod attempts;
pub mod batch;
pub mod calendar;
pub mod chain;
pub mod check;
pub mod course;
pub mod emergency;
pub mod export;
pub mod form;
pub mod frame;
pub mod function;
pub mod gate;
pub mod injection;
pub mod job;
pub mod login;
pub mod mask;
pub mod mask_rule;
pub mod metrics;
pub mod operation;
pub mod reach;
pub mod record;
pub mod redact;
pub mod register;
pub mod report;
pub mod role_form;
pub mod rule;
pub mod script;
pub mod seal;
pub mod standby;
pub mod tier;
pub mod totp;
