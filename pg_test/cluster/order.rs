//! The chain's index, which stores nothing: what it finds is what a scan of the whole table finds, whatever lies in it and
//! whoever put it there; and a look at the newest records, or at one, reads a few pages.

use postgres::Client;

use crate::fault::sequencer;
use crate::retention::{fill_segment, small_segments, wait_until};
use crate::school::{School, ask};
use crate::trail::{intruder, school_with_history, unload, verify, work};

tests! {
    looking_up_records_reads_few_pages_however_long_the_chain_is,
    what_the_index_finds_is_what_the_table_holds,
    a_table_out_of_order_is_read_as_well,
    an_old_snapshot_finds_what_it_sees,
    failed_rounds_and_crashes_leave_the_order,
    only_one_process_writes_the_chain,
    an_id_that_came_twice_is_shown_twice_and_found,
    the_index_is_for_nothing_else,
    a_vacuumed_chain_is_counted_all_the_same,
}

/// Questions whose answers a plan can take from the index or from the whole table: the same, in the same order.
fn questions(last: i64) -> Vec<String> {
    let ids = [-1, 0, 1, 2, last / 3, last / 2, last - 1, last, last + 1, last + 1000, i64::MAX, i64::MIN + 1];
    let mut all = vec![
        "ORDER BY id".to_string(),
        "ORDER BY id DESC".into(),
        "ORDER BY id LIMIT 7".into(),
        "ORDER BY id DESC LIMIT 7".into(),
        "WHERE id > 5 AND id <= 3 ORDER BY id".into(),
        "WHERE id = NULL ORDER BY id".into(),
    ];
    for id in ids {
        for operator in ["<", "<=", "=", ">=", ">"] {
            all.push(format!("WHERE id {operator} {id} ORDER BY id"));
            all.push(format!("WHERE id {operator} {id} ORDER BY id DESC LIMIT 9"));
        }
        all.push(format!("WHERE id IN ({id}, 3, {}) ORDER BY id", last / 4));
        all.push(format!("WHERE id BETWEEN {id} AND {id} / 2 + 40 ORDER BY id DESC"));
    }
    all.push("WHERE id = 7::smallint ORDER BY id".into());
    all.push("WHERE id < 7::smallint AND id >= 3::int ORDER BY id".into());
    all
}

const FROM_INDEX: &str =
    "SET enable_seqscan = off; SET enable_sort = off; SET enable_indexscan = on; SET enable_bitmapscan = off";
const FROM_BITMAP: &str =
    "SET enable_seqscan = off; SET enable_sort = on; SET enable_indexscan = off; SET enable_bitmapscan = on";
const FROM_TABLE: &str =
    "SET enable_seqscan = on; SET enable_sort = on; SET enable_indexscan = off; SET enable_bitmapscan = off";

/// Asks everything on all ways, of one and the same state.
#[track_caller]
fn compare(session: &mut Client, table: &str) {
    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("begin");
    let last: i64 = ask(session, &format!("SELECT coalesce(max(id), 0) FROM {table}"));
    for question in questions(last) {
        let query = format!("SELECT id, hash FROM {table} {question}");
        let mut answers = Vec::new();
        for way in [FROM_TABLE, FROM_INDEX, FROM_BITMAP] {
            session.batch_execute(way).expect("settings");
            let rows = session.query(&query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
            let mut rows: Vec<(Option<i64>, Option<Vec<u8>>)> =
                rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            // Rows of one id may come in any order.
            if question.contains("LIMIT") {
                rows.iter_mut().for_each(|(_, hash)| *hash = None);
            } else {
                let ids: Vec<_> = rows.iter().map(|(id, _)| *id).collect();
                rows.sort();
                answers.push(ids.iter().map(|id| (*id, None)).collect());
            }
            answers.push(rows);
        }
        let ways = answers.len() / 3;
        for way in 1..3 {
            assert_eq!(answers[way * ways..][..ways], answers[..ways], "{query}, way {way}");
        }
    }
    // Forwards and backwards in one scan.
    session.batch_execute(FROM_INDEX).expect("settings");
    session
        .batch_execute(&format!("DECLARE c SCROLL CURSOR FOR SELECT id FROM {table} WHERE id >= 2 ORDER BY id"))
        .expect("cursor");
    let mut fetch = |what: &str| -> Vec<Option<i64>> {
        session.query(&format!("FETCH {what} FROM c"), &[]).expect("fetch").iter().map(|row| row.get(0)).collect()
    };
    let forward = fetch("ALL");
    let mut backward = fetch("BACKWARD ALL");
    backward.reverse();
    assert_eq!(forward, backward);
    let (some, back, again) = (fetch("9"), fetch("BACKWARD 4"), fetch("4"));
    if some.len() == 9 {
        assert_eq!((back.len(), again.len()), (4, 4));
        assert_eq!(again[..3], some[5..8], "{some:?} {back:?} {again:?}");
    }
    session.batch_execute("COMMIT; RESET ALL").expect("commit");
}

fn looking_up_records_reads_few_pages_however_long_the_chain_is() {
    let school = School::with("enforce", &["autovacuum = off"]);
    let mut session = school.superuser();
    session
        .batch_execute(
            "DO $$ BEGIN FOR i IN 1..9000 LOOP
                EXECUTE format('UPDATE app.student AS t%s SET note = ''x'' WHERE id = -1', i);
            END LOOP; END $$",
        )
        .expect("work");
    school.flush_audit();
    let pages: i64 = school.ask("SELECT pg_relation_size('steward.chain_1') / 8192");
    assert!(pages > 150, "{pages}");
    assert_eq!(school.ask::<i64>("SELECT pg_relation_size('steward.chain_1_order')"), 8192);
    // Without autovacuum, and nobody else, the planner is told what ids are like.
    wait_until(&school, "SELECT EXISTS (SELECT FROM pg_statistic WHERE starelid = 'steward.chain_1'::regclass)");
    for question in ["WHERE id = 4711", "ORDER BY id DESC LIMIT 20", "WHERE id > 8000 ORDER BY id LIMIT 5"] {
        let explain = format!(
            "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM steward.audit_log {question}"
        );
        session.query(&explain, &[]).expect("warm");
        let rows = session.query(&explain, &[]).expect("explain");
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let scan = plan.iter().position(|line| line.contains("chain_1_order")).expect("the index is used");
        let buffers: Vec<&String> = plan[scan..].iter().filter(|line| line.contains("Buffers")).collect();
        let hits: i64 = buffers[0].split("hit=").nth(1).and_then(|hits| hits.trim().parse().ok()).expect("hits");
        assert!(hits <= 30, "{question}: {}", plan.join("\n"));
        assert!(!plan.iter().any(|line| line.contains("Seq Scan on chain_")), "{question}: {}", plan.join("\n"));
    }
}

fn what_the_index_finds_is_what_the_table_holds() {
    let school = School::inactive();
    work(&school, 70);
    compare(&mut school.superuser(), "steward.chain_1");
    small_segments(&school);
    fill_segment(&school, 12);
    // Each question is on record too: segments of ten records would grow in number with every one.
    let large = "SELECT steward.set_retention(segment_records => 100000)";
    school.superuser().batch_execute(large).expect("set_retention");
    compare(&mut school.superuser(), "steward.chain");
}

/// What a superuser does who took the library out: the index goes on finding what is there.
fn a_table_out_of_order_is_read_as_well() {
    let mut school = school_with_history();
    unload(&mut school);
    let mut session = intruder(&school);
    session.batch_execute("SELECT pg_temp.unguard()").expect("unguard");
    compare(&mut session, "steward.chain_1");
    for change in [
        // In order still: deleted, and added as the sequencer would.
        "DELETE FROM steward.chain WHERE id % 7 = 3",
        "DO $$ BEGIN FOR n IN 1..90 LOOP PERFORM pg_temp.append(record) FROM steward.chain WHERE id = 20; END LOOP; END $$",
        "UPDATE steward.chain SET record = pg_temp.other(record) WHERE id % 5 = 0",
        "VACUUM steward.chain_1",
        // Out of order.
        "INSERT INTO steward.chain_1 SELECT 10, record, prev_hash, hash FROM steward.chain WHERE id = 30",
        "UPDATE steward.chain SET record = record || record || record || record WHERE id BETWEEN 30 AND 50",
        "UPDATE steward.chain SET id = id + 1000000 WHERE id % 11 = 0",
        "UPDATE steward.chain SET id = NULL WHERE id = 12",
        "VACUUM steward.chain_1",
        "UPDATE steward.chain SET id = -id WHERE id % 2 = 0",
        "REINDEX TABLE steward.chain_1",
        "DELETE FROM steward.chain",
        "REINDEX TABLE steward.chain_1",
    ] {
        session.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
        compare(&mut session, "steward.chain_1");
    }
    // Whatever becomes of the transaction in which a row came out of order: its own statements see it.
    session
        .batch_execute(
            "INSERT INTO steward.chain_1 SELECT n, '', sha256(''), sha256('') FROM generate_series(1, 500) AS n; BEGIN;
             INSERT INTO steward.chain_1 VALUES (250, '', sha256('x'), sha256('x')); SET LOCAL enable_seqscan = off",
        )
        .expect("insert");
    assert_eq!(ask::<i64>(&mut session, "SELECT count(*) FROM steward.chain_1 WHERE id = 250"), 2);
    session.batch_execute("ROLLBACK").expect("rollback");
    compare(&mut session, "steward.chain_1");
}

fn an_old_snapshot_finds_what_it_sees() {
    let school = school_with_history();
    let mut old = school.superuser();
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").expect("begin");
    let last: i64 = ask(&mut old, "SELECT max(id) FROM steward.chain");
    for _ in 0..6 {
        work(&school, 30);
    }
    assert!(school.ask::<i64>("SELECT max(id) FROM steward.chain") > last + 300);
    old.batch_execute("SET LOCAL enable_seqscan = off").expect("set");
    for id in [1, last / 2, last, last + 1, last + 200] {
        let found: i64 = ask(&mut old, &format!("SELECT count(*) FROM steward.chain_1 WHERE id = {id}"));
        assert_eq!(found, i64::from(id <= last), "{id} of {last}");
    }
    assert_eq!(ask::<i64>(&mut old, "SELECT id FROM steward.chain ORDER BY id DESC LIMIT 1"), last);
    let behind = format!("SELECT count(*) FROM steward.chain_1 WHERE id > {}", last - 5);
    assert_eq!(ask::<i64>(&mut old, &behind), 5);
}

fn failed_rounds_and_crashes_leave_the_order() {
    let mut school = school_with_history();
    for signal in ["KILL", "TERM", "KILL"] {
        let mut teacher = school.session("teacher_wang");
        for id in 1..=300 {
            teacher.execute("UPDATE app.student SET note = 'x' WHERE id = $1", &[&(id % 60)]).expect("update");
            if id == 200 {
                school.signal(signal, sequencer(&school));
                break;
            }
        }
        // The postmaster has to notice it first.
        std::thread::sleep(std::time::Duration::from_millis(500));
        crate::fault::wait_for_recovery(&school);
        work(&school, 20);
    }
    school.kill_9_postmaster();
    school.start();
    work(&school, 20);
    compare(&mut school.superuser(), "steward.chain_1");
    let verdict = verify(&school, "");
    assert!(verdict.ok, "{verdict:?}");
}

fn only_one_process_writes_the_chain() {
    let school = school_with_history();
    let holder = "SELECT count(*) FROM pg_locks l JOIN steward.audit_status s ON l.pid = s.sequencer_pid
        WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.objsubid = 1
            AND l.objid = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.mode = 'ExclusiveLock' AND l.granted";
    assert_eq!(school.ask::<i64>(holder), 1);
    assert_eq!(school.ask::<i64>("SELECT count(*) - count(DISTINCT id) FROM steward.chain"), 0);
}

/// No constraint hides a forgery from those who read.
fn an_id_that_came_twice_is_shown_twice_and_found() {
    let mut school = school_with_history();
    let twice = "INSERT INTO steward.chain_1 SELECT 20, pg_temp.other(record), prev_hash, hash FROM steward.chain WHERE id = 20";
    crate::trail::tamper(&mut school, twice);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.audit_log WHERE id = 20"), 2);
    let verdict = verify(&school, "");
    assert!(!verdict.ok && verdict.first_bad_id == Some(20), "{verdict:?}");
    // The chain goes on behind the last record.
    let last: i64 = school.ask("SELECT max(id) FROM steward.chain");
    work(&school, 5);
    assert!(school.ask::<i64>("SELECT max(id) FROM steward.chain") >= last + 10);
    compare(&mut school.superuser(), "steward.chain_1");
}

fn the_index_is_for_nothing_else() {
    let school = School::with("off", &[]);
    let mut session = school.superuser();
    session
        .batch_execute("CREATE TABLE app.a (id bigint, n int); CREATE UNLOGGED TABLE app.u (id bigint)")
        .expect("tables");
    for refused in [
        "CREATE INDEX ON app.a USING steward_order (n)",
        "CREATE INDEX ON app.a USING steward_order (id, n)",
        "CREATE INDEX ON app.a USING steward_order (id DESC)",
        "CREATE INDEX ON app.a USING steward_order ((id + 1))",
        "CREATE INDEX ON app.a USING steward_order (id) WHERE id > 5",
        "CREATE UNIQUE INDEX ON app.a USING steward_order (id)",
        "CREATE INDEX CONCURRENTLY ON app.a USING steward_order (id)",
        "CREATE INDEX ON app.u USING steward_order (id)",
    ] {
        session.batch_execute(refused).expect_err(refused);
    }
    // A table of another's making is read as it should be, in order or not.
    session
        .batch_execute(
            "CREATE INDEX ON app.a USING steward_order (id); INSERT INTO app.a SELECT i, 1 FROM generate_series(1, 400) AS i;
             ALTER TABLE app.a ADD hash bytea; UPDATE app.a SET n = 2 WHERE id % 3 = 0; INSERT INTO app.a VALUES (NULL, 1)",
        )
        .expect("fill");
    compare(&mut session, "app.a");
}

/// All of its pages are visible to everybody then, and no column is asked for: the planner would read the index alone.
fn a_vacuumed_chain_is_counted_all_the_same() {
    let school = School::inactive();
    let reads = "SELECT FROM app.student WHERE id = 1;".repeat(3000);
    school.session("teacher_wang").batch_execute(&reads).expect("reads");
    school.flush_audit();
    school.superuser().batch_execute("VACUUM ANALYZE steward.chain_1").expect("what autovacuum does");
    assert!(school.ask::<i64>("SELECT count(*) FROM steward.chain") >= 3000);
    school.flush_audit();
}
