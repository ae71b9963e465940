//! Definitions: what many records refer to is in the chain once, whoever asks for it at the same moment and whatever
//! becomes of the sequencer; and what the audit views show where the table that finds them was changed.

use std::sync::{Arc, Barrier, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::failover::wait_until;
use crate::fault::{scaled, sequencer, wait_for, wait_for_recovery};
use crate::school::{HOME, School, ask};
use crate::trail::{school_with_history, tamper, verify};

tests! {
    sessions_that_say_the_same_at_once_share_one_definition,
    a_definition_outlives_the_server_that_made_it,
    a_definition_that_the_table_lacks_shows,
    a_wrong_row_among_the_definitions_shows_nothing_else,
}

/// The statement of a round, which no other round has.
fn statement(round: usize) -> String {
    format!("SELECT name AS round_{round} FROM app.student WHERE id = 7")
}

/// Nothing is defined twice, and the table holds exactly what the chain defines.
#[track_caller]
fn each_defined_once(school: &School) {
    let twice = "SELECT count(*) FROM (SELECT FROM steward.audit_log WHERE operation_type = 'DEFINITION'
        GROUP BY details HAVING count(*) > 1) AS twice";
    assert_eq!(school.ask::<i64>(twice), 0, "defined twice");
    let apart = "SELECT count(*) FROM (SELECT id FROM steward.audit_log WHERE operation_type = 'DEFINITION') AS c
        FULL JOIN steward.definition AS d USING (id) WHERE c.id IS NULL OR d.id IS NULL";
    assert_eq!(school.ask::<i64>(apart), 0, "table and chain differ");
}

fn sessions_that_say_the_same_at_once_share_one_definition() {
    const SESSIONS: usize = 6;
    const REPEATS: i64 = 4;
    let rounds = scaled(30, 300);
    let school = School::with("enforce", &["steward.sequencer_interval = '10ms'"]);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school.flush_audit();
    let barrier = Arc::new(Barrier::new(SESSIONS));
    let said: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (mut session, barrier) = (school.session("teacher_wang"), barrier.clone());
            std::thread::spawn(move || {
                for round in 0..rounds {
                    barrier.wait();
                    for _ in 0..REPEATS {
                        session.query(&statement(round), &[]).expect("select");
                    }
                }
            })
        })
        .collect();
    // Ended in order over and over, between any two of its steps; what it had defined last nobody was told of.
    let mut ends = 0;
    while said.iter().any(|session| !session.is_finished()) {
        let ended =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_steward sequencer'";
        ends += school.superuser().execute(ended, &[]).expect("terminate");
        sleep(Duration::from_millis(37));
    }
    said.into_iter().for_each(|session| session.join().expect("a session"));
    wait_for(&school, "the sequencer's return", || {
        school.superuser().execute("SELECT steward.flush_audit()", &[]).ok()
    });
    assert!(ends > 0, "the sequencer was never ended");
    let of_round = "SELECT count(*) FROM (SELECT statement FROM steward.audit_log
        WHERE operation_type = 'SELECT' AND user_id = 'teacher_wang' AND person = 'Wang' AND statement LIKE '%round_%'
        GROUP BY statement HAVING count(*) = $1) AS complete";
    let complete = school.superuser().query_one(of_round, &[&(SESSIONS as i64 * REPEATS)]).expect("records");
    assert_eq!(complete.get::<_, i64>(0), rounds as i64, "statements that are on record for each of their runs");
    each_defined_once(&school);
    assert!(verify(&school, "").ok);
}

fn a_definition_outlives_the_server_that_made_it() {
    let mut school = School::active();
    let say = |school: &School| {
        let mut teacher = school.session("teacher_wang");
        for _ in 0..3 {
            teacher.query(&statement(1), &[]).expect("select");
            school.flush_audit();
        }
    };
    say(&school);
    let defined = "operation_type = 'DEFINITION' AND details LIKE '%round_1%'";
    assert_eq!(school.records(defined), 1);
    school.restart();
    say(&school);
    // The whole server with it, at any of its steps.
    school.kill_9(sequencer(&school));
    wait_for(&school, "crash", || school.log_tail().contains("reinitializing").then_some(()));
    drop(wait_for_recovery(&school));
    wait_until(&school, "SELECT sequencer_alive FROM steward.audit_status");
    say(&school);
    school.kill_9_postmaster();
    school.start();
    say(&school);
    assert_eq!(school.records("statement LIKE '%round_1%' AND user_id = 'teacher_wang' AND result = 'SUCCESS'"), 12);
    assert_eq!(school.records(defined), 1, "defined once for all");
    each_defined_once(&school);
    assert!(verify(&school, "").ok);
}

/// What a verification says besides its verdict: where that is good, nothing.
#[track_caller]
fn warnings(school: &School, call: &str) -> Vec<String> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let mut config = school.config("postgres", HOME);
    config.notice_callback(move |notice| {
        let detail = notice.detail().unwrap_or_default();
        heard.lock().expect("heard").push(format!("{}: {}; {detail}", notice.severity(), notice.message()));
    });
    let mut session = config.connect(postgres::NoTls).expect("session");
    let kind: String = ask(&mut session, &format!("SELECT kind FROM steward.{call}"));
    drop(session);
    let said = std::mem::take(&mut *said.lock().expect("said"));
    assert_eq!(kind, if said.is_empty() { "not_anchored" } else { "catalog" }, "the chain itself is whole");
    said
}

/// The definition of the statement that a teacher repeats in every history.
const REPEATED: &str = "SELECT id FROM steward.audit_log WHERE operation_type = 'DEFINITION'
    AND details::jsonb ->> 'operation_type' = 'SELECT' ORDER BY id LIMIT 1";

fn a_definition_that_the_table_lacks_shows() {
    let mut school = school_with_history();
    let records: i64 = school.ask("SELECT count(*) FROM steward.audit_log");
    assert_eq!(warnings(&school, "verify_chain()"), [""; 0]);
    let what: i64 = school.ask(REPEATED);
    let who: i64 = school.ask(&REPEATED.replace("->> 'operation_type' = 'SELECT'", "->> 'user_id' = 'teacher_wang'"));
    let named = |school: &School, column: &str, text: &str| -> i64 {
        school.ask(&format!("SELECT count(*) FROM steward.audit_logs WHERE {column} = '{text}'"))
    };
    let (reads, of_teacher) = (named(&school, "operation_type", "SELECT"), named(&school, "user_id", "teacher_wang"));
    assert!(reads > 10 && of_teacher > 20, "{reads} reads, {of_teacher} of the teacher");
    tamper(&mut school, &format!("DELETE FROM steward.definition WHERE id IN ({what}, {who})"));
    school.flush_audit();
    let (missing_what, missing_who) =
        (format!("(definition {what} is missing)"), format!("(definition {who} is missing)"));
    let lost = named(&school, "operation_type", &missing_what);
    // These questions are on record themselves.
    assert!(lost > 10 && named(&school, "operation_type", "SELECT") + lost >= reads, "{lost} of {reads}");
    let lost = named(&school, "user_id", &missing_who);
    // A session that has ended since has one record more.
    let left = named(&school, "user_id", "teacher_wang");
    assert!(lost > 20 && left + lost >= of_teacher, "{lost} and {left} of {of_teacher}");
    let shown = format!("SELECT count(*) FROM steward.audit_log WHERE operation_type = '{missing_what}'");
    assert!(school.ask::<i64>(&shown) > 10);
    assert!(school.ask::<i64>("SELECT count(*) FROM steward.audit_log") > records, "no record disappears");
    for call in ["verify_chain()", "verify_chain(from_id => 2)"] {
        let said = warnings(&school, call);
        assert!(said.len() == 1 && said[0].starts_with("WARNING") && said[0].contains("lacks 2"), "{said:?}");
    }
    // What is said from now on is defined anew, and can be read.
    let mut teacher = school.session("teacher_wang");
    for _ in 0..3 {
        teacher.query("SELECT name FROM app.student WHERE id = $1", &[&7]).expect("select");
        school.flush_audit();
    }
    assert!(named(&school, "user_id", "teacher_wang") >= 3);
    // The rows can be put back: the chain says which.
    let back = "INSERT INTO steward.definition SELECT id FROM steward.chain
        WHERE steward._record_text(record, 1) = 'definition' ON CONFLICT DO NOTHING";
    tamper(&mut school, back);
    assert_eq!(warnings(&school, "verify_chain()"), [""; 0]);
    assert!(named(&school, "operation_type", "SELECT") >= reads);
}

fn a_wrong_row_among_the_definitions_shows_nothing_else() {
    let mut school = school_with_history();
    let all = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM steward.audit_log t WHERE id <= $1";
    let last: i64 = school.ask("SELECT max(id) FROM steward.chain");
    let shown = |school: &School| -> String { school.superuser().query_one(all, &[&last]).expect("log").get(0) };
    let before = shown(&school);
    // Every record that is no definition, as if it were one.
    let wrong = "INSERT INTO steward.definition SELECT id FROM steward.chain ON CONFLICT DO NOTHING";
    tamper(&mut school, wrong);
    school.flush_audit();
    assert_eq!(shown(&school), before);
    let said = warnings(&school, "verify_chain()");
    assert!(said.len() == 1 && said[0].contains("lacks 0") && said[0].contains("that are none"), "{said:?}");
}
