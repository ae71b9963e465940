//! The chain verifies, and names what was done to it while the library was not loaded.

use std::fmt::Debug;

use crate::expect::db_error;
use crate::school::{School, ask};

tests! {
    an_untouched_chain_verifies,
    a_chain_equals_its_anchor,
    an_anchor_of_another_chain_is_not_accepted,
    nothing_checked_is_not_ok,
    an_edited_record_is_found,
    an_edited_link_is_found,
    a_missing_record_is_found,
    swapped_records_are_found,
    an_inserted_record_is_found,
    a_cut_tail_is_found_with_the_anchor,
    a_record_of_unknown_format_is_found,
    ids_are_gapless_and_linked,
    sessions_of_any_time_zone_verify_the_same,
}

/// The answer of `verify_chain`.
#[derive(Debug, PartialEq)]
struct Verdict {
    ok: bool,
    checked: i64,
    kind: String,
    first_bad_id: Option<i64>,
    anchored_to: Option<String>,
}

#[track_caller]
fn verify(school: &School, arguments: &str) -> Verdict {
    let call = format!("SELECT ok, checked, kind, first_bad_id, anchored_to FROM steward.verify_chain({arguments})");
    let row = school.superuser().query_one(&call, &[]).expect("verify_chain");
    Verdict { ok: row.get(0), checked: row.get(1), kind: row.get(2), first_bad_id: row.get(3), anchored_to: row.get(4) }
}

/// A school whose chain holds at least sixty records of work.
fn school_with_history() -> School {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    for id in 1..=30 {
        teacher.execute("UPDATE app.student SET note = 'seen' WHERE id = $1", &[&id]).expect("update");
        teacher.query("SELECT name FROM app.student WHERE id = $1", &[&id]).expect("select");
    }
    school.flush_audit();
    assert!(school.ask::<i64>("SELECT max(id) FROM steward.chain") > 60);
    school
}

/// Runs SQL on the cluster as a superuser would who took the library out of postgresql.conf.
fn tamper(school: &mut School, sql: &str) {
    school.stop();
    school.configure(&["shared_preload_libraries = ''"]);
    school.start();
    let mut intruder = school.superuser();
    intruder.batch_execute("SET session_replication_role = 'replica'").expect("triggers off");
    intruder.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    drop(intruder);
    school.stop();
    school.configure(&["shared_preload_libraries = 'pg_steward'"]);
    school.start();
}

/// After this SQL the chain is not ok any more: the kind of damage, and the first bad id.
#[track_caller]
fn found(sql: &str, kind: &str, first_bad_id: i64) {
    let mut school = school_with_history();
    assert!(verify(&school, "").ok);
    tamper(&mut school, sql);
    let verdict = verify(&school, "");
    assert!(!verdict.ok, "{verdict:?}");
    assert_eq!((verdict.kind.as_str(), verdict.first_bad_id), (kind, Some(first_bad_id)), "{verdict:?}");
}

fn an_untouched_chain_verifies() {
    let mut school = school_with_history();
    let verdict = verify(&school, "");
    assert!(verdict.ok && verdict.kind == "not_anchored", "{verdict:?}");
    assert!(verdict.checked > 60 && verdict.first_bad_id.is_none(), "{verdict:?}");
    // Neither a restart nor a time without the library is damage.
    tamper(&mut school, "SELECT 1");
    school.flush_audit();
    let later = verify(&school, "");
    assert!(later.ok && later.checked >= verdict.checked, "{later:?}");
}

fn a_chain_equals_its_anchor() {
    let school = school_with_history();
    let anchor: String = school.ask("SELECT steward.chain_head()");
    let verdict = verify(&school, &format!("anchor => $a${anchor}$a$"));
    assert!(verdict.ok && verdict.kind == "ok" && verdict.anchored_to.is_some(), "{verdict:?}");
    // It stays good while the chain grows.
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'y' WHERE id = 1").expect("update");
    school.flush_audit();
    assert!(verify(&school, &format!("anchor => $a${anchor}$a$")).ok);
}

fn an_anchor_of_another_chain_is_not_accepted() {
    let school = school_with_history();
    let other = school_with_history();
    let foreign: String = other.ask("SELECT steward.chain_head()");
    let call = format!("SELECT ok FROM steward.verify_chain(anchor => $a${foreign}$a$)");
    let accepted = school.superuser().query_one(&call, &[]).map(|row| row.get::<_, bool>(0));
    assert!(!matches!(accepted, Ok(true)), "a foreign anchor was accepted");
    db_error(school.superuser().query("SELECT * FROM steward.verify_chain(anchor => 'nonsense')", &[]));
}

fn nothing_checked_is_not_ok() {
    let school = school_with_history();
    let verdict = verify(&school, "from_id => 1000000");
    assert!(!verdict.ok && verdict.checked == 0 && verdict.kind == "empty", "{verdict:?}");
}

fn an_edited_record_is_found() {
    let flip = "UPDATE steward.chain SET record = set_byte(record, length(record) - 1,
        get_byte(record, length(record) - 1) # 1) WHERE id = 20";
    found(flip, "edited", 20);
}

fn an_edited_link_is_found() {
    found("UPDATE steward.chain SET prev_hash = sha256(prev_hash) WHERE id = 20", "edited", 20);
}

fn a_missing_record_is_found() {
    found("DELETE FROM steward.chain WHERE id = 20", "missing", 20);
}

fn swapped_records_are_found() {
    let swap = "UPDATE steward.chain AS a SET record = b.record, prev_hash = b.prev_hash, hash = b.hash
        FROM steward.chain AS b WHERE (a.id, b.id) IN ((20, 21), (21, 20))";
    found(swap, "reordered", 20);
}

fn an_inserted_record_is_found() {
    let insert = "UPDATE steward.chain SET id = -id - 1 WHERE id > 20;
        UPDATE steward.chain SET id = -id WHERE id < 0;
        INSERT INTO steward.chain SELECT 21, record, prev_hash, hash FROM steward.chain WHERE id = 20";
    found(insert, "inserted", 21);
}

fn a_cut_tail_is_found_with_the_anchor() {
    let mut school = school_with_history();
    let anchor: String = school.ask("SELECT steward.chain_head()");
    let head: i64 = school.ask("SELECT max(id) FROM steward.chain");
    tamper(&mut school, "DELETE FROM steward.chain WHERE id > (SELECT max(id) - 10 FROM steward.chain)");
    let verdict = verify(&school, &format!("anchor => $a${anchor}$a$"));
    assert!(!verdict.ok, "{verdict:?}");
    // The sequencer may have gone on behind the cut: then the history forks there.
    assert!(["truncated", "forked"].contains(&verdict.kind.as_str()), "{verdict:?}");
    assert!(verdict.first_bad_id.is_some_and(|id| id <= head), "{verdict:?}");
}

fn a_record_of_unknown_format_is_found() {
    let mut school = school_with_history();
    tamper(&mut school, "UPDATE steward.chain SET record = set_byte(record, 0, 255) WHERE id = 20");
    let verdict = verify(&school, "");
    assert!(!verdict.ok && verdict.first_bad_id == Some(20), "{verdict:?}");
    // It cannot be shown either, but the view must not hide the records around it.
    let readable = "SELECT count(*) FROM steward.audit_log WHERE id < 20";
    assert_eq!(school.ask::<i64>(readable), 19);
}

fn ids_are_gapless_and_linked() {
    let school = school_with_history();
    let gaps = "SELECT count(*) FROM (SELECT id, prev_hash, lag(id) OVER w AS before, lag(hash) OVER w AS link
        FROM steward.audit_log WINDOW w AS (ORDER BY id)) AS pair
        WHERE before IS NOT NULL AND (id <> before + 1 OR prev_hash <> link)";
    assert_eq!(school.ask::<i64>(gaps), 0);
}

fn sessions_of_any_time_zone_verify_the_same() {
    let school = school_with_history();
    for settings in ["TimeZone = 'Asia/Shanghai'", "DateStyle = 'German'", "bytea_output = 'escape'"] {
        let mut session = school.superuser();
        session.batch_execute(&format!("SET {settings}")).expect("set");
        assert!(ask::<bool>(&mut session, "SELECT ok FROM steward.verify_chain()"), "{settings}");
    }
}
