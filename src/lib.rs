//! pg_steward: a data-security policy inside PostgreSQL. This file only wires: modules, SQL files, start-up.
//!
//! The way of a statement: `watch` turns what PostgreSQL is about to do into deeds; `core` judges them (pure); `watch`
//! lets it pass or records the denial and refuses; `audit` keeps the records and chains them; `operation` is how a
//! refused change gets its approval.

use pgrx::pg_sys;
use pgrx::prelude::*;

mod access;
mod activation;
mod alert;
mod audit;
mod backend;
mod break_glass;
mod cache;
mod check;
pub mod core;
mod error;
mod export;
mod factor;
mod image;
mod job;
mod lock;
mod login;
mod mask;
mod mask_value;
mod metrics;
mod operation;
mod own;
mod person;
mod policy;
mod preload;
mod raw;
mod register;
mod report;
mod scope;
mod session;
mod settings;
mod shared;
mod state_file;
mod watch;

#[cfg(any(test, feature = "pg_test"))]
#[path = "../pg_test/mod.rs"]
pub mod pg_test;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/types.sql", name = "types", bootstrap);
extension_sql_file!("../sql/policy.sql", name = "policy", requires = ["types"]);
extension_sql_file!("../sql/person.sql", name = "person", requires = ["policy"]);
extension_sql_file!("../sql/audit.sql", name = "audit", requires = ["person"]);
extension_sql_file!("../sql/verify.sql", name = "verify", requires = ["audit"]);
extension_sql_file!("../sql/archive.sql", name = "archive", requires = ["verify"]);
extension_sql_file!("../sql/approval.sql", name = "approval", requires = ["archive"]);
extension_sql_file!("../sql/form.sql", name = "form", requires = ["approval"]);
extension_sql_file!("../sql/operation.sql", name = "operation", requires = ["form"]);
extension_sql_file!("../sql/review.sql", name = "review", requires = ["operation"]);
extension_sql_file!("../sql/window.sql", name = "window", requires = ["review"]);
extension_sql_file!("../sql/armed.sql", name = "armed", requires = ["window"]);
extension_sql_file!("../sql/checklist.sql", name = "checklist", requires = ["armed"]);
extension_sql_file!("../sql/inbox.sql", name = "inbox", requires = ["checklist"]);
extension_sql_file!("../sql/image.sql", name = "image", requires = ["inbox"]);
extension_sql_file!("../sql/dependency.sql", name = "dependency", requires = ["image"]);
extension_sql_file!("../sql/login.sql", name = "login", requires = ["dependency"]);
extension_sql_file!("../sql/factor.sql", name = "factor", requires = ["login"]);
extension_sql_file!("../sql/break_glass.sql", name = "break_glass", requires = ["factor"]);
extension_sql_file!("../sql/check.sql", name = "check", requires = ["break_glass"]);
extension_sql_file!("../sql/alert.sql", name = "alert", requires = ["check"]);
extension_sql_file!("../sql/mask.sql", name = "mask", requires = ["alert"]);
extension_sql_file!("../sql/mask_rule.sql", name = "mask_rule", requires = ["mask"]);
extension_sql_file!("../sql/mask_policy.sql", name = "mask_policy", requires = ["mask_rule"]);
extension_sql_file!("../sql/scope.sql", name = "scope", requires = ["mask_policy"]);
extension_sql_file!("../sql/permission.sql", name = "permission", requires = ["scope"]);
extension_sql_file!("../sql/access.sql", name = "access", requires = ["permission"]);
extension_sql_file!("../sql/export.sql", name = "export", requires = ["access"]);
extension_sql_file!("../sql/erasure.sql", name = "erasure", requires = ["export"]);
extension_sql_file!("../sql/incident.sql", name = "incident", requires = ["erasure"]);
extension_sql_file!("../sql/record.sql", name = "record", requires = ["incident"]);
extension_sql_file!("../sql/record_kinds.sql", name = "record_kinds", requires = ["record"]);
extension_sql_file!("../sql/recertification.sql", name = "recertification", requires = ["record_kinds"]);
extension_sql_file!("../sql/backup.sql", name = "backup", requires = ["recertification"]);
extension_sql_file!("../sql/reminder.sql", name = "reminder", requires = ["backup", "job"]);
extension_sql_file!("../sql/job.sql", name = "job", requires = ["erasure"]);
extension_sql_file!("../sql/metrics.sql", name = "metrics", requires = ["job"]);
extension_sql_file!("../sql/report.sql", name = "report", requires = ["metrics"]);
extension_sql_file!("../sql/own_object.sql", name = "own_object", requires = ["report"]);
extension_sql_file!("../sql/grants.sql", name = "grants", finalize);

/// Runs in the postmaster while preloading. Loaded later, by a function call in a server that did not preload it, the
/// library only reads and verifies; and a binary upgrade is left alone but for the labels it restores.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // Safe: set by the server before it loads libraries.
    if unsafe { !pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    // pg_upgrade restores labels, and needs to know whose they are; nothing else of ours may run in its servers.
    watch::label::init();
    if unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    settings::register();
    shared::init();
    cache::init();
    session::init();
    login::policy::init();
    watch::init();
    audit::sequencer::register();
    if let Some(fault) = preload::misplaced() {
        fault.warn();
    }
}
