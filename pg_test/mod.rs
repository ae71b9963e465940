//! In-process tests: `cargo pgrx test`. One file per subject, functions named after the behaviour.

mod audit;
mod execution;
mod factor;
mod fixture;
mod mask_value;
mod operation;
mod people;
mod person;
mod policy;
mod watch;

/// Called by the framework before the first test.
pub fn setup(_options: Vec<&str>) {}

/// Lines for the test server's configuration. The framework's database is the home database.
pub fn postgresql_conf_options() -> Vec<&'static str> {
    vec!["shared_preload_libraries = 'pg_steward'", "steward.database = 'pgrx_tests'", "steward.mode = 'enforce'"]
}
