//! The chain in segments: closed, bounded, dumped, archived and verified from the cut on.

use std::time::{Duration, Instant};

use crate::school::School;

tests! {
    segments_follow_one_another,
}

/// Segments of ten records.
fn small_segments(school: &School) {
    school.superuser().batch_execute("UPDATE steward.retention_policy SET segment_records = 10").expect("policy");
}

/// Waits until a query says true: the sequencer looks after the segments once a second.
#[track_caller]
fn wait_until(school: &School, query: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while !school.ask::<bool>(query) {
        assert!(Instant::now() < end, "never true: {query}\n{}", school.log_tail());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Writes this many records into a segment of its own.
fn fill_segment(school: &School, records: usize) {
    let before: i64 = school.ask("SELECT count(*) FROM steward.segment");
    let mut teacher = school.session("teacher_wang");
    for note in 0..records {
        teacher.execute("UPDATE app.student SET note = $1 WHERE id = 1", &[&note.to_string()]).expect("update");
    }
    school.flush_audit();
    wait_until(school, &format!("SELECT count(*) > {before} FROM steward.segment"));
}

fn segments_follow_one_another() {
    let school = School::inactive();
    small_segments(&school);
    for _ in 0..3 {
        fill_segment(&school, 12);
    }
    wait_until(
        &school,
        "SELECT count(*) = (SELECT count(*) FROM steward.segment) FROM pg_constraint
         WHERE conname = 'bounds' AND convalidated",
    );
    let parent: i64 = school.ask("SELECT count(*) FROM ONLY steward.chain");
    assert_eq!(parent, 0);
    let gapless = "SELECT bool_and(first_id = coalesce(before + 1, 1)) FROM (SELECT first_id, lag(last_id) OVER (ORDER BY number) AS before
        FROM steward.segment) s";
    assert!(school.ask::<bool>(gapless));
    let plan: Vec<String> = {
        let rows = school.superuser().query("EXPLAIN SELECT FROM steward.chain WHERE id = 1", &[]).expect("plan");
        rows.iter().map(|row| row.get(0)).collect()
    };
    let plan = plan.join("\n");
    assert!(plan.contains("chain_1_pkey") && !plan.contains("chain_2_pkey"), "{plan}");
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
    // Members of the extension that nobody else has a right on.
    let strangers: i64 = school.ask(
        "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'steward.chain'::regclass AND (c.relacl::text ~ '[{,]=' OR NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))",
    );
    assert_eq!(strangers, 0);
    let written = school.superuser().batch_execute("DELETE FROM steward.chain_2");
    crate::expect::expect_refused(written);
}
