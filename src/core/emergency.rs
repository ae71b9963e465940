//! What an emergency window reaches, and how it must be asked for. Pure: who may open one and what stands in the way of
//! that belongs to `crate::break_glass`.
//!
//! A window lifts what a tier demands, for rows, structure, accounts and ordinary settings. It never reaches what lies
//! beneath the policy: files, programs, libraries, untrusted code, the catalog written by hand, extensions, other servers,
//! and the settings that records depend on. Otherwise whoever opens one could also take away the trail of it.

use super::function;
use super::rule::{Command, Group};

/// Characters that a reason has at least.
pub const SHORTEST_REASON: usize = 10;
/// Characters that a reason has at most.
pub const LONGEST_REASON: usize = 1000;
/// Seconds that a second factor may be old when a window is asked for or opened.
pub const FRESH_SECONDS: i64 = 5 * 60;
/// Minutes within which an asked window must be confirmed and opened.
pub const ASKED_MINUTES: i64 = 10;
/// Seconds within which a window is reviewed where the policy demands no review.
pub const REVIEW_SECONDS: i64 = 24 * 60 * 60;

/// Commands of the group CONFIG that a window reaches.
const CONFIGURES: [&str; 6] =
    ["ALTER SYSTEM", "ALTER DATABASE", "ALTER ROLE", "CREATE TABLESPACE", "ALTER TABLESPACE", "DROP TABLESPACE"];

/// Watched functions that a window reaches, by C symbol; of those that only a rule names it reaches all.
const CALLS: [&str; 15] = [
    "pg_reload_conf",
    "pg_terminate_backend",
    "pg_promote",
    "pg_wal_replay_*",
    "pg_drop_replication_slot",
    "pg_replication_slot_advance",
    "pg_switch_wal",
    "pg_rotate_logfile*",
    "pg_create_restore_point",
    "be_lo_creat*",
    "be_lo_from_bytea",
    "be_lo_put",
    "be_lo_truncate*",
    "be_lo_unlink",
    "be_lowrite",
];

/// Settings that name programs, libraries and files of the server, or that records and their durability depend on.
const CLOSED: [&str; 24] = [
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
    "dynamic_library_path",
    "jit_provider",
    "archive_command",
    "archive_library",
    "archive_cleanup_command",
    "restore_command",
    "recovery_end_command",
    "ssl_passphrase_command",
    "config_file",
    "hba_file",
    "ident_file",
    "data_directory",
    "external_pid_file",
    "fsync",
    "full_page_writes",
    "track_counts",
    "log_min_messages",
    "log_destination",
    "logging_collector",
    "log_directory",
    "log_filename",
];

/// Whether a window reaches a command.
pub fn reaches(command: Command) -> bool {
    match command.group {
        Group::Audit => false,
        Group::Config => CONFIGURES.contains(&command.tag),
        Group::Function => {
            function::reach(command.tag).is_none() || CALLS.iter().any(|call| function::matches(call, command.tag))
        }
        Group::Read
        | Group::Write
        | Group::Export
        | Group::Upkeep
        | Group::Ddl
        | Group::Partition
        | Group::Privilege
        | Group::Account => true,
    }
}

/// Whether a setting stays out of reach. No name stands for all of them.
pub fn is_closed_setting(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.is_empty() || name.starts_with("steward.") || CLOSED.contains(&name.as_str())
}

/// What the operation of a window shows as its script: the text that a second person confirms.
pub fn script(reason: &str, seconds: i64) -> String {
    format!("-- emergency window of {seconds} s: {reason}")
}
