//! What verification says of a chain that nobody attacked, how far it goes, and how it can be watched and stopped.
//! What it says of attacks is in `attack` and `mutation`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use crate::expect::{db_error, expect_error};
use crate::school::{HOME, School, ask};
use crate::trail::{Verdict, anchor, intruder, load, school_with_history, tamper, unload, verdict, verify, work};

tests! {
    an_untouched_chain_verifies,
    a_chain_equals_its_anchor,
    an_anchor_of_another_chain_is_not_accepted,
    ids_are_gapless_and_linked,
    sessions_of_any_time_zone_verify_the_same,
    records_in_tables_that_inherit_are_part_of_the_chain,
    verify_new_goes_on_where_the_last_verification_ended,
    verify_new_misses_what_was_verified,
    what_a_verification_found_stands_until_all_verifies_again,
    verify_new_does_not_believe_its_file,
    a_long_verification_can_be_watched_and_stopped,
}

fn verify_new(school: &School) -> Verdict {
    verdict(&mut school.superuser(), "verify_new()")
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
    let line: String = school.ask("SELECT steward.chain_head()");
    let verdict = verify(&school, &anchor(&line));
    assert!(verdict.ok && verdict.kind == "ok" && verdict.anchored_to.as_deref() == Some(&*line), "{verdict:?}");
    // It takes no transaction id, so that a standby can be asked as well.
    let mut auditor = school.superuser();
    auditor.batch_execute("BEGIN; SELECT steward.verify_chain(); SELECT steward.verify_new()").expect("verify");
    assert!(ask::<bool>(&mut auditor, "SELECT pg_current_xact_id_if_assigned() IS NULL"));
    // It stays good while the chain grows.
    work(&school, 1);
    assert!(verify(&school, &anchor(&line)).ok);
}

fn an_anchor_of_another_chain_is_not_accepted() {
    let school = school_with_history();
    let other = school_with_history();
    let foreign: String = other.ask("SELECT steward.chain_head()");
    let verdict = verify(&school, &anchor(&foreign));
    assert_eq!((verdict.ok, verdict.kind.as_str(), verdict.first_bad_id), (false, "forked", Some(1)), "{verdict:?}");
    db_error(school.superuser().query("SELECT * FROM steward.verify_chain(anchor => 'nonsense')", &[]));
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

fn records_in_tables_that_inherit_are_part_of_the_chain() {
    let mut school = school_with_history();
    let line: String = school.ask("SELECT steward.chain_head()");
    unload(&mut school);
    let mut session = intruder(&school);
    // Named and made in another order than that of their ids; the newest records stay where they are.
    for (name, from, to) in [("part_b", 21, 40), ("part_a", 1, 20)] {
        let split = format!(
            "CREATE TABLE app.{name} (PRIMARY KEY (id)) INHERITS (steward.chain);
             INSERT INTO app.{name} SELECT * FROM steward.chain_1 WHERE id BETWEEN {from} AND {to};
             DELETE FROM steward.chain_1 WHERE id BETWEEN {from} AND {to}"
        );
        session.batch_execute(&split).expect("split");
    }
    // They are read and right, and yet not where they were chained.
    let misplaced = |whole: Verdict| {
        assert_eq!((whole.ok, whole.kind.as_str(), whole.first_bad_id), (false, "altered_table", Some(1)), "{whole:?}");
        assert!(whole.checked > 60, "{whole:?}");
    };
    misplaced(verdict(&mut session, &format!("verify_chain({})", anchor(&line))));
    assert_eq!(verdict(&mut session, "verify_chain(15, 45)").checked, 31);
    // The sequencer goes on behind them.
    load(&mut school);
    work(&school, 1);
    misplaced(verify(&school, &anchor(&line)));
}

fn verify_new_goes_on_where_the_last_verification_ended() {
    let mut school = school_with_history();
    // Nothing was verified before: everything is new.
    let first = verify_new(&school);
    assert!(first.ok && first.checked > 60, "{first:?}");
    let last_verified = "SELECT last_verified_id FROM steward.audit_status";
    assert_eq!(school.ask::<i64>(last_verified), first.checked);
    // Nothing is new: the last record is verified again.
    let idle = verify_new(&school);
    assert!(idle.ok && idle.kind == "not_anchored" && idle.checked >= 1 && idle.checked < 10, "{idle:?}");
    work(&school, 5);
    let head: i64 = school.ask("SELECT max(id) FROM steward.chain");
    let new = verify_new(&school);
    assert!(new.ok && (10..40).contains(&new.checked) && new.anchored_to.is_none(), "{new:?}");
    assert!(school.ask::<i64>(last_verified) >= head);
    // A full verification counts as one, too; a part of the chain does not.
    work(&school, 5);
    let before: i64 = school.ask(last_verified);
    assert!(verify(&school, "from_id => 5").ok);
    assert_eq!(school.ask::<i64>(last_verified), before);
    assert!(verify(&school, "").ok);
    assert!(school.ask::<i64>(last_verified) > before);
    // Damage among the new records is found, and nothing behind it counts as verified.
    let before: i64 = school.ask(last_verified);
    work(&school, 5);
    tamper(&mut school, &format!("UPDATE steward.chain SET record = pg_temp.other(record) WHERE id = {}", before + 3));
    let damaged = verify_new(&school);
    assert_eq!((damaged.ok, damaged.kind.as_str(), damaged.first_bad_id), (false, "edited", Some(before + 3)));
    assert_eq!(school.ask::<i64>(last_verified), before);
}

fn verify_new_misses_what_was_verified() {
    let mut school = school_with_history();
    let verified = verify(&school, "").checked;
    unload(&mut school);
    let mut session = intruder(&school);
    for (sql, kind, first_bad_id) in [
        (format!("DELETE FROM steward.chain WHERE id > {}", verified - 5), "truncated", verified - 4),
        ("DELETE FROM steward.chain".to_string(), "truncated", 1),
        (
            format!("DELETE FROM steward.chain WHERE id > {}", verified - 5)
                + "; DO $$ BEGIN FOR n IN 1..9 LOOP PERFORM pg_temp.append(record) FROM steward.chain WHERE id = 20; END LOOP; END $$",
            "forked",
            verified,
        ),
        (
            "UPDATE steward.chain SET record = pg_temp.other(record) WHERE id = 20; SELECT pg_temp.reseal(20)"
                .to_string(),
            "forked",
            verified,
        ),
    ] {
        session.batch_execute(&format!("BEGIN; {sql}")).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let found = verdict(&mut session, "verify_new()");
        assert_eq!((found.ok, found.kind.as_str(), found.first_bad_id), (false, kind, Some(first_bad_id)), "{sql}");
        session.batch_execute("ROLLBACK").expect("rollback");
    }
    // A full verification without an anchor cannot see that a tail is gone, but it does not hide it either.
    let cut = format!("DELETE FROM steward.chain WHERE id > {}; SELECT pg_temp.cover_up()", verified - 5);
    session.batch_execute(&cut).expect("cut");
    assert!(verdict(&mut session, "verify_chain()").ok);
    assert_eq!(verdict(&mut session, "verify_new()").kind, "truncated");
}

fn what_a_verification_found_stands_until_all_verifies_again() {
    let mut school = school_with_history();
    assert!(verify(&school, "").ok);
    let whole: String = school.ask("SELECT encode(record, 'hex') FROM steward.chain WHERE id = 20");
    tamper(&mut school, "UPDATE steward.chain SET record = pg_temp.other(record) WHERE id = 20");
    // Behind what was verified nobody looks for it; once it was found it is not forgotten over whole records.
    assert!(verify_new(&school).ok);
    let damaged = |found: Verdict| (found.ok, found.kind, found.first_bad_id) == (false, "edited".into(), Some(20));
    assert!(damaged(verify(&school, "from_id => 10, to_id => 30")));
    work(&school, 5);
    assert!(damaged(verify_new(&school)));
    let found = "SELECT failed_verification FROM steward.audit_status";
    assert_eq!(school.ask::<Option<String>>(found).as_deref(), Some("edited at record 20"));
    let metric = "SELECT value FROM steward.metrics WHERE name = 'verification_failed'";
    assert_eq!(school.ask::<f64>(metric), 1.0);
    let verdict = |code: &str| -> String {
        school.ask(&format!("SELECT verdict FROM steward.mlps_report() WHERE code = '{code}'"))
    };
    assert_eq!([verdict("L3-CES1-14"), verdict("L3-CES1-26")], ["fails", "fails"]);
    let report = "SELECT steward.security_report(now() - interval '1 day', now(), 'markdown', 'en')";
    assert!(school.ask::<String>(report).contains("The audit chain did not verify: edited at record 20."));
    school.superuser().batch_execute("SELECT steward.daily_check()").expect("daily_check");
    let case = "SELECT issues FROM steward.check_result WHERE check_name = 'audit_chain' ORDER BY run_id DESC LIMIT 1";
    assert_eq!(school.ask::<i64>(case), 1);
    // It is on record once, however often it is found, and a major alert.
    assert_eq!(school.records("operation_type = 'VERIFICATION FAILED'"), 1);
    let alerts = "SELECT count(*) FROM steward.alert WHERE rule = 'chain_changed' AND level = 'major'";
    assert_eq!(school.ask::<i64>(alerts), 1);
    // Who asks with a wrong anchor has found nothing.
    tamper(&mut school, &format!("UPDATE steward.chain SET record = decode('{whole}', 'hex') WHERE id = 20"));
    let good = verify_new(&school);
    assert!(good.ok && good.checked > 60, "{good:?}");
    assert_eq!(school.ask::<Option<String>>(found), None);
    assert_eq!(school.ask::<f64>(metric), 0.0);
    let line: String = school.ask("SELECT steward.chain_head()");
    let words: Vec<&str> = line.split(' ').collect();
    let other = line.replace(words[3], &"ab".repeat(32));
    assert!(!verify(&school, &anchor(&other)).ok);
    assert_eq!(school.ask::<Option<String>>(found), None);
}

fn verify_new_does_not_believe_its_file() {
    let school = school_with_history();
    let line: String = school.ask("SELECT steward.chain_head()");
    assert!(verify(&school, "").ok);
    let file = school.file("data/pg_steward/verified");
    let kept = std::fs::read_to_string(&file).expect("verified");
    let words: Vec<&str> = kept.split(' ').collect();
    let with = |at: usize, word: &str| {
        let mut words = words.clone();
        words[at] = word;
        words.join(" ")
    };
    for (content, kind) in [(with(3, &"ab".repeat(32)), "forked"), (with(2, "1000000"), "truncated")] {
        std::fs::write(&file, &content).expect("write");
        let verdict = verify_new(&school);
        assert_eq!((verdict.ok, verdict.kind.as_str()), (false, kind), "{content}");
        // It stays so until an anchor from outside vouches for the chain.
        assert!(verify(&school, "").ok);
        assert!(!verify_new(&school).ok, "{content}");
    }
    std::fs::write(&file, "nonsense\n").expect("write");
    let refused = school.superuser().query("SELECT * FROM steward.verify_new()", &[]);
    expect_error(refused, &SqlState::DATA_CORRUPTED, "", "anchor");
    assert!(verify(&school, &anchor(&line)).ok);
    assert!(verify_new(&school).ok);
}

/// Makes the chain long, fast, and genuine.
const LONG: &str = r"DO $$ DECLARE
        head bigint; prev bytea; ledger bytea := uuid_send((SELECT l.ledger FROM steward.ledger AS l));
        genuine bytea := (SELECT record FROM steward.chain WHERE id >= 20
            AND steward._record_text(record, 1) <> 'definition' ORDER BY id LIMIT 1); leaf bytea := sha256('\x00' || genuine);
    BEGIN
        SELECT id, hash INTO head, prev FROM steward.chain ORDER BY id DESC LIMIT 1;
        FOR n IN head + 1 .. head + 300000 LOOP
            INSERT INTO steward.chain_1 VALUES (n, genuine, prev, sha256('\x02' || ledger || int8send(n) || prev || leaf))
                RETURNING hash INTO prev;
        END LOOP;
    END $$";

fn a_long_verification_can_be_watched_and_stopped() {
    let mut school = school_with_history();
    tamper(&mut school, LONG);
    let mut auditor = school.superuser();
    let pid: i32 = ask(&mut auditor, "SELECT pg_backend_pid()");
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads").count();
    // Stopped by a timeout: no thread is left, and the session goes on.
    for timeout in ["5ms", "20ms", "60ms"] {
        auditor.batch_execute(&format!("SET statement_timeout = '{timeout}'")).expect("set");
        let stopped = auditor.query("SELECT * FROM steward.verify_chain()", &[]);
        expect_error(stopped, &SqlState::QUERY_CANCELED, "", "");
        assert_eq!(threads(), 1, "{timeout}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.verify_progress"), 0);
    // Watched by another session, then cancelled.
    auditor.batch_execute("SET statement_timeout = 0").expect("set");
    let again_and_again = "DO $$ BEGIN LOOP PERFORM FROM steward.verify_chain(); END LOOP; END $$";
    let running = std::thread::spawn(move || (auditor.batch_execute(again_and_again), auditor));
    let mut watcher = school.connect("auditor_qian", HOME);
    let seen =
        "SELECT done FROM steward.verify_progress WHERE pid = $1 AND done BETWEEN 1 AND total AND percent <= 100";
    let deadline = Instant::now() + Duration::from_secs(30);
    while watcher.query(seen, &[&pid]).expect("verify_progress").is_empty() {
        assert!(Instant::now() < deadline, "the verification is not seen");
        sleep(Duration::from_millis(3));
    }
    assert!(school.ask::<bool>(&format!("SELECT pg_cancel_backend({pid})")));
    let (cancelled, mut auditor) = running.join().expect("the session");
    expect_error(cancelled, &SqlState::QUERY_CANCELED, "", "");
    assert_eq!(threads(), 1);
    let verdict = verdict(&mut auditor, "verify_chain()");
    assert!(verdict.ok && verdict.checked > 300_000, "{verdict:?}");
    // Ended with its session, threads and all: no other session notices.
    let mut bystander = school.superuser();
    let running = std::thread::spawn(move || auditor.batch_execute(again_and_again));
    let running_now = "SELECT count(*) FROM steward.verify_progress";
    while ask::<i64>(&mut bystander, running_now) == 0 {
        sleep(Duration::from_millis(3));
    }
    assert!(ask::<bool>(&mut bystander, &format!("SELECT pg_terminate_backend({pid}, 5000)")));
    assert!(running.join().expect("the session").is_err());
    assert_eq!(ask::<i64>(&mut bystander, running_now), 0);
}
