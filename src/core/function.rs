//! Functions whose effect no plan shows: they reach files, settings, other servers, raw pages, the write-ahead log or
//! other processes. Known by C symbol, so that an alias made with LANGUAGE internal or c is the same function.
//!
//! What is listed here is watched; which tier each has stands in the rules, whose commands name a symbol as
//! `FUNCTION symbol`. Without a rule it is critical, like everything that no rule knows. Rules may name more symbols, and
//! those are watched too.

/// Where a watched function is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It touches this database alone.
    Database,
    /// It touches the whole cluster: from other databases it is refused.
    Cluster,
}

use Reach::{Cluster, Database};

/// C symbols; a `*` at the end stands for any ending.
const WATCHED: [(&str, Reach); 51] = [
    // Files of the server.
    ("pg_read_file*", Cluster),
    ("pg_read_binary_file*", Cluster),
    ("pg_ls_dir*", Cluster),
    ("pg_stat_file*", Cluster),
    ("be_lo_import*", Cluster),
    ("be_lo_export", Cluster),
    ("pg_file_*", Cluster),
    ("pg_logdir_ls*", Cluster),
    // Settings.
    ("pg_reload_conf", Cluster),
    // Other servers, and other sessions of this one.
    ("dblink_connect", Cluster),
    ("dblink_exec", Cluster),
    ("dblink_fetch", Cluster),
    ("dblink_get_result", Cluster),
    ("dblink_open", Cluster),
    ("dblink_record", Cluster),
    ("dblink_send_query", Cluster),
    // Slots, streams of changes, and the libraries that decode them.
    ("pg_create_logical_replication_slot", Cluster),
    ("pg_create_physical_replication_slot", Cluster),
    ("pg_copy_logical_replication_slot*", Cluster),
    ("pg_copy_physical_replication_slot*", Cluster),
    ("pg_drop_replication_slot", Cluster),
    ("pg_replication_slot_advance", Cluster),
    ("pg_logical_slot_*", Cluster),
    ("pg_replication_origin_advance", Database),
    ("pg_replication_origin_create", Database),
    ("pg_replication_origin_drop", Database),
    ("pg_replication_origin_session_setup", Database),
    ("pg_replication_origin_xact_setup", Database),
    ("pg_logical_emit_message*", Database),
    // The server's own processes and its log of changes.
    ("pg_terminate_backend", Cluster),
    ("pg_promote", Cluster),
    ("pg_wal_replay_pause", Cluster),
    ("pg_wal_replay_resume", Cluster),
    ("pg_rotate_logfile*", Database),
    ("pg_switch_wal", Database),
    ("pg_create_restore_point", Database),
    ("pg_backup_start", Database),
    ("pg_backup_stop", Database),
    // Pages below the executor, and rows changed there.
    ("get_raw_page*", Database),
    ("bt_page_items*", Database),
    ("heap_force_*", Database),
    ("pg_truncate_visibility_map", Database),
    ("pg_nextoid", Database),
    ("pg_stop_making_pinned_objects", Database),
    ("pg_import_system_collations", Database),
    // Large objects, which the fastpath protocol writes without any statement.
    ("be_lo_creat*", Database),
    ("be_lo_from_bytea", Database),
    ("be_lo_put", Database),
    ("be_lo_truncate*", Database),
    ("be_lo_unlink", Database),
    ("be_lowrite", Database),
];

/// The patterns of all that is watched without any rule; the installed rules name each.
pub fn patterns() -> impl Iterator<Item = &'static str> {
    WATCHED.iter().map(|(pattern, _)| *pattern)
}

/// Whether a symbol is one that a pattern names. C symbols are ASCII; case does not matter, as in rules.
pub fn matches(pattern: &str, symbol: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => symbol.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start)),
        None => symbol.eq_ignore_ascii_case(pattern),
    }
}

/// How far a function reaches that is watched whatever the rules say.
pub fn reach(symbol: &str) -> Option<Reach> {
    WATCHED.iter().find(|(pattern, _)| matches(pattern, symbol)).map(|(_, reach)| *reach)
}

/// The symbol or pattern that a rule's command names, if it names a function.
pub fn pattern_of(command: &str) -> Option<&str> {
    let (word, pattern) = command.split_once(' ')?;
    let symbol = pattern.strip_suffix('*').unwrap_or(pattern);
    let legible = !symbol.is_empty() && symbol.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (word.eq_ignore_ascii_case("FUNCTION") && legible).then_some(pattern)
}
