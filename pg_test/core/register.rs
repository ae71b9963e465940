//! Records of the register: who may say what, and what cannot be.

use crate::core::register::{Backup, lower, lsn, may_record, mistake};
use serde_json::{Map, Value, json};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

const NOW: &str = "2026-11-22T12:00:00Z";

#[test]
fn a_kind_is_recorded_by_its_posts_and_capabilities() {
    let recorders = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let nothing = |_: &str| false;
    assert!(may_record(&recorders(&["ops"]), "ops", nothing, false));
    assert!(may_record(&recorders(&["ops", "audit"]), "auditor", |one| one == "audit", false));
    assert!(may_record(&recorders(&["*"]), "parent", nothing, false));
    assert!(may_record(&recorders(&["self"]), "parent", nothing, true));
    assert!(!may_record(&recorders(&["self"]), "parent", nothing, false));
    assert!(!may_record(&recorders(&["ops", "configure"]), "teacher", |one| one == "apply", true));
    assert!(!may_record(&[], "ops", |_| true, true));
}

#[test]
fn too_little_is_no_training() {
    let least = map(json!({ "hours": 4 }));
    assert_eq!(mistake(&least, &map(json!({ "hours": 4 })), NOW), None);
    for wrong in [json!({ "hours": 3 }), json!({}), json!({ "hours": "9" }), json!({ "hours": -5 })] {
        assert_eq!(mistake(&least, &map(wrong), NOW).as_deref(), Some("field \"hours\" must be at least 4"));
    }
}

#[test]
fn what_ends_began_before_and_is_over() {
    let drill = |began: &str, ready: &str| {
        mistake(&Map::new(), &map(json!({ "began_at": began, "ready_at": ready })), NOW).is_some()
    };
    assert!(!drill("2026-11-22T11:00:00Z", "2026-11-22T11:21:00Z"));
    assert!(drill("2026-11-22T11:21:00Z", "2026-11-22T11:00:00Z"));
    assert!(!drill("2026-11-22T11:00:00Z", "2026-11-22T11:00:00Z"), "within a second");
    assert!(drill("2026-11-22T11:00:00Z", "2026-11-22T12:00:01Z"));
    assert!(drill("2026-11-22T11:00:00Z", "infinity"));
    assert!(drill("infinity", "2026-11-22T11:00:00Z"));
    // Duty lies ahead.
    let duty = map(json!({ "from": "2026-12-01T00:00:00Z", "until": "2026-12-02T00:00:00Z" }));
    assert_eq!(mistake(&Map::new(), &duty, NOW), None);
}

#[test]
fn a_backup_is_one_of_this_cluster() {
    let (digest, odd) = ("ab".repeat(32), "xy".repeat(32));
    let backup = |kind, manifest_digest, start_lsn, stop_lsn, bytes| {
        Backup { kind, manifest_digest, start_lsn, stop_lsn, bytes }.implausible(1000)
    };
    assert_eq!(backup("full", &digest, 10, 20, 1), None);
    assert!(backup("whole", &digest, 10, 20, 1).is_some());
    assert!(backup("full", "ab", 10, 20, 1).is_some());
    assert!(backup("full", &odd, 10, 20, 1).is_some());
    assert!(backup("full", &digest, 20, 10, 1).is_some());
    assert!(backup("full", &digest, 0, 10, 1).is_some());
    assert!(backup("full", &digest, 10, 1001, 1).is_some());
    assert!(backup("full", &digest, 10, 20, 0).is_some());
    assert_eq!(lsn(0x1_2000_0028), "1/20000028");
}

#[test]
fn levels_have_an_order() {
    assert!(lower("general", "important") && lower("important", "major") && lower("odd", "general"));
    assert!(!lower("major", "major") && !lower("major", "general"));
}
