//! What an emergency window reaches: never what its own trail depends on.

use crate::core::emergency::{is_closed_setting, reaches, script};
use crate::core::function::patterns;
use crate::core::gate::{Decision, Demand, Situation, decide};
use crate::core::rule::{Command, Group};
use crate::core::tier::Tier;

fn reached(tag: &'static str, group: Group) -> bool {
    reaches(Command { tag, group })
}

#[test]
fn rows_structure_and_accounts_are_reached() {
    for group in [Group::Read, Group::Write, Group::Export, Group::Upkeep, Group::Ddl, Group::Partition, Group::Account]
    {
        assert!(reached("ANY", group), "{group:?}");
    }
}

#[test]
fn own_objects_and_what_lies_beneath_are_not() {
    assert!(!reached("UPDATE", Group::Audit));
    for tag in
        ["COPY", "LOAD", "CREATE FUNCTION", "DO", "UPDATE", "DROP EXTENSION", "CREATE EXTENSION", "ALTER CATALOG"]
    {
        assert!(!reached(tag, Group::Config), "{tag}");
    }
    assert!(reached("ALTER SYSTEM", Group::Config));
}

#[test]
fn of_watched_functions_only_those_named_are_reached() {
    let all: Vec<&'static str> = patterns().collect();
    let open: Vec<_> = all.iter().filter(|pattern| reached(pattern.trim_end_matches('*'), Group::Function)).collect();
    for symbol in ["pg_read_file", "pg_file_write", "be_lo_export", "dblink_exec", "heap_force_kill", "get_raw_page"] {
        assert!(!reached(symbol, Group::Function), "{symbol}");
    }
    assert_eq!(open.len(), 16, "{open:?}");
    assert!(reached("only_a_rule_names_it", Group::Function));
}

#[test]
fn settings_of_records_programs_and_libraries_are_closed() {
    for name in ["", "steward.mode", "Steward.Key_File", "shared_preload_libraries", "ARCHIVE_COMMAND", "fsync"] {
        assert!(is_closed_setting(name), "{name}");
    }
    for name in ["work_mem", "max_connections", "stewards"] {
        assert!(!is_closed_setting(name), "{name}");
    }
}

#[test]
fn a_window_covers_what_an_operation_would_and_an_idle_session_not() {
    let demand = Demand { approvals: 1, witness: true, accompanied: true, second_factor: true, ..Demand::default() };
    let without = Situation { active: true, enforcing: true, cover: None, idle: 0, stepped_up: false, window: false };
    let open = Situation { window: true, ..without };
    assert_eq!(decide(Tier::Critical, demand, open), Decision::Allow);
    assert_eq!(decide(Tier::Critical, demand, without), Decision::RefuseUncovered);
    let idle = decide(Tier::Critical, Demand { idle_timeout: Some(5), ..demand }, Situation { idle: 6, ..open });
    assert_eq!(idle, Decision::RefuseIdle { idle: 6, term: 5 });
}

#[test]
fn what_is_confirmed_tells_reason_and_term() {
    assert_eq!(script("the cards fail", 900), "-- emergency window of 900 s: the cards fail");
}
