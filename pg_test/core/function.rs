//! Which functions are watched, and how a rule names them.

use crate::core::function::{Reach, matches, pattern_of, patterns, reach};
use crate::core::rule::{ColumnSet, Command, CommandSet, Deed, Group, Rule, RuleSet};
use crate::core::tier::Tier;

#[test]
fn a_pattern_names_a_symbol_or_all_that_begin_like_it() {
    for (pattern, symbol, yes) in [
        ("pg_read_file*", "pg_read_file", true),
        ("pg_read_file*", "pg_read_file_all", true),
        ("pg_read_file*", "pg_read_fil", false),
        ("dblink_exec", "dblink_exec", true),
        ("dblink_exec", "dblink_exec_", false),
        ("DBLINK_*", "dblink_exec", true),
        ("*", "anything", true),
        ("é*", "e", false),
    ] {
        assert_eq!(matches(pattern, symbol), yes, "{pattern} {symbol}");
    }
}

#[test]
fn what_reaches_the_cluster_is_known_without_any_rule() {
    for symbol in
        ["pg_read_file_v2", "be_lo_import_with_oid", "dblink_record", "pg_reload_conf", "pg_terminate_backend"]
    {
        assert_eq!(reach(symbol), Some(Reach::Cluster), "{symbol}");
    }
    for symbol in ["be_lo_create", "be_lowrite", "get_raw_page_1_9", "heap_force_kill", "pg_switch_wal"] {
        assert_eq!(reach(symbol), Some(Reach::Database), "{symbol}");
    }
    for symbol in ["int4pl", "be_lo_get", "lower", "pg_relation_filepath", "pg_stat_get_snapshot_timestamp", ""] {
        assert_eq!(reach(symbol), None, "{symbol}");
    }
}

#[test]
fn a_command_names_a_function_only_in_full() {
    assert_eq!(pattern_of("FUNCTION pg_read_file*"), Some("pg_read_file*"));
    assert_eq!(pattern_of("function lower"), Some("lower"));
    for command in
        ["FUNCTION", "FUNCTION ", "FUNCTION *", "FUNCTION a b", "FUNCTION a*b", "DROP FUNCTION", "FUNCTION é"]
    {
        assert_eq!(pattern_of(command), None, "{command}");
    }
}

fn judge(commands: &[&str], command: Command) -> Tier {
    let commands: Vec<String> = commands.iter().map(|name| (*name).to_owned()).collect();
    let rule = Rule {
        name: "r".to_owned(),
        tier: Tier::Normal,
        commands: Some(CommandSet::new(&commands)),
        relations: None,
        except_relations: None,
        classes: None,
        columns: None,
        min_rows: None,
        roles: None,
        except_roles: Vec::new(),
        approvals: 0,
    };
    let rules = RuleSet::new(vec![rule]);
    let deed = Deed { command, columns: &ColumnSet::default(), has_role: &|_| false, is_role: &|_| false };
    rules.judge(&rules.for_cluster(), &deed).tier
}

#[test]
fn a_rule_speaks_of_functions_by_symbol_or_of_all() {
    let function = Command { tag: "pg_promote", group: Group::Function };
    assert_eq!(judge(&["FUNCTION pg_promote"], function), Tier::Normal);
    assert_eq!(judge(&["FUNCTION"], function), Tier::Normal);
    assert_eq!(judge(&["FUNCTION pg_switch_wal", "CONFIG", "pg_promote"], function), Tier::Critical);
    // A symbol is no command tag.
    let tag = Command { tag: "DELETE", group: Group::Write };
    assert_eq!(judge(&["FUNCTION delete"], tag), Tier::Critical);
    assert_eq!(judge(&["DELETE"], tag), Tier::Normal);
}

/// Otherwise a watched function would be critical without anybody having said so, or the other way round.
#[test]
fn the_installed_rules_name_what_is_watched() {
    let policy = include_str!("../../sql/policy.sql");
    let installed =
        policy.split_once("INSERT INTO steward.rule").expect("rules").1.split_once("true);").expect("their end").0;
    let mut named: Vec<&str> = installed
        .match_indices("FUNCTION ")
        .filter_map(|(at, word)| installed[at + word.len()..].split([',', '}', '\'']).next())
        .collect();
    let mut watched: Vec<&str> = patterns().collect();
    named.sort_unstable();
    watched.sort_unstable();
    assert_eq!(named, watched);
}
