//! Approvals that somebody wrote into the tables, past every function and hook: as a superuser with the policy off or with
//! the library unloaded. They carry no seal that fits, so they do not run; what is honest does.

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::{db_error, expect_error};
use crate::failover::wait_until;
use crate::school::{HOME, School, ask, execute, request};
use crate::trail::tamper;

tests! {
    an_honest_operation_runs_with_a_key,
    a_forged_approval_does_not_run,
    a_forged_row_is_not_made_genuine_by_an_honest_vote,
    a_resurrected_operation_does_not_run,
    what_was_said_while_nothing_was_enforced_does_not_count,
    a_lost_key_stops_what_was_sealed_with_it,
    what_is_forged_without_a_key_or_put_back_with_its_seal_is_found,
    a_key_that_cannot_be_used_is_told_at_the_activation,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
const OTHER: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100\n";
const BROKEN: &SqlState = &SqlState::DATA_CORRUPTED;
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

fn set_key(school: &mut School, name: &str, key: &str) {
    let file = school.private_file(name, key);
    school.configure(&[&format!("steward.key_file = '{}'", file.display())]);
    school.restart();
}

/// An active school with a key. Codes are not its subject.
pub fn sealing() -> School {
    let mut school = School::inactive();
    set_key(&mut school, "steward.key", KEY);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn moved(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note = 'moved'")
}

#[track_caller]
fn refused(school: &School, op_no: &str, code: &SqlState, words: &str) {
    let error = expect_error(execute(&mut school.session("region_chen"), op_no), code, "", "");
    assert!(error.message().contains(words), "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
}

fn found(session: &mut Client) -> Vec<String> {
    ask(
        session,
        "SELECT coalesce(max(sample), '{}') FROM steward.integrity_issues WHERE check_name = 'forged_operation' AND status = 'open'",
    )
}

fn an_honest_operation_runs_with_a_key() {
    let school = sealing();
    let op_no = school.operate("region_chen", SIXTY);
    assert_eq!((moved(&school), school.status(&op_no).as_str()), (60, "executed"));
    // Step by step, each with a confirmation of its own, and after a failed attempt.
    let mut chen = school.session("region_chen");
    let script = "UPDATE app.student SET note = 'one' WHERE id = 1; UPDATE app.student SET phone = phone || pg_catalog.left('x', (SELECT count(*) FROM app.scratch)::int) WHERE id = 2";
    let op_no = request(&mut chen, script, ", stepwise => true");
    school.approve(&op_no);
    let digest = school.digest(&op_no);
    let confirm = |step: i32| {
        let call = "SELECT steward.confirm($1, $2, $3)";
        school.session("region_liu").query(call, &[&op_no, &digest, &step]).expect("confirm");
    };
    confirm(1);
    execute(&mut chen, &op_no).expect("step 1");
    school.superuser().batch_execute("INSERT INTO app.scratch VALUES (1)").expect("free");
    confirm(2);
    assert_eq!(db_error(execute(&mut chen, &op_no)).code(), &SqlState::CHECK_VIOLATION);
    wait_until(&school, &format!("SELECT status = 'failed' FROM steward.show('{op_no}')"));
    school.superuser().batch_execute("DELETE FROM app.scratch").expect("free");
    execute(&mut chen, &op_no).expect("step 2, which may be tried again");
    // Armed, and given back by the sequencer.
    let op_no = request(&mut chen, "VACUUM FULL app.guardian", "");
    school.release(&op_no);
    chen.batch_execute("SET ROLE region_chen").expect("set role");
    chen.batch_execute(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    chen.batch_execute("SELECT steward.disarm()").expect("disarm");
    wait_until(&school, &format!("SELECT status = 'failed' FROM steward.show('{op_no}')"));
    school.vote("region_liu", "confirm", &op_no).expect("it may be armed again");
    chen.batch_execute(&format!("SELECT steward.arm('{op_no}')")).expect("armed again");
    drop(chen);
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT * FROM steward.daily_check()").expect("check");
    assert_eq!(found(&mut superuser), Vec::<String>::new());
}

/// One way to forge, on an operation of its own.
struct Forged {
    op_no: String,
    sql: String,
    words: &'static str,
    code: &'static SqlState,
}

/// All at once, since each needs the server twice: restarts are dear.
fn a_forged_approval_does_not_run() {
    let mut school = sealing();
    let mut chen = school.session("region_chen");
    let mut filed = |released: bool| {
        let op_no = request(&mut chen, SIXTY, "");
        if released {
            school.release(&op_no);
        }
        op_no
    };
    let vote = "INSERT INTO steward._operation_event (op_no, event, person, login, digest, details)
        SELECT op_no, 'APPROVE', 'Sun', 'reviewer_sun', digest, '{\"status\": \"approved\"}' FROM steward._operation WHERE op_no = 'OP';
        UPDATE steward._operation SET status = 'approved', confirmed_by = 'Liu', confirmed_at = clock_timestamp() + interval '5 min' WHERE op_no = 'OP'";
    let script = "UPDATE steward._operation SET script = 'DELETE FROM app.guardian', digest = sha256('DELETE FROM app.guardian') WHERE op_no = 'OP';
        UPDATE steward._operation_event SET digest = sha256('DELETE FROM app.guardian') WHERE op_no = 'OP' AND digest IS NOT NULL";
    let honest = filed(true);
    let replay = "UPDATE steward._operation o SET seal = h.seal FROM steward._operation h WHERE o.op_no = 'OP' AND h.op_no = 'HONEST'";
    let set = |what: &str| format!("UPDATE steward._operation SET {what} WHERE op_no = 'OP'");
    let ways: [(bool, String, &str, &SqlState); 11] = [
        (false, vote.to_owned(), "does not fit", BROKEN),
        (false, format!("{vote}; {}", set("seal = NULL")), "is not sealed", NOT_READY),
        (false, format!("{vote}; {replay}"), "does not fit", BROKEN),
        (true, script.to_owned(), "does not fit", BROKEN),
        (true, format!("{script}; {replay}"), "does not fit", BROKEN),
        (true, set("runs_allowed = 100"), "does not fit", BROKEN),
        (true, set("not_after = 'infinity'"), "does not fit", BROKEN),
        (true, set("run_as = 'postgres'"), "does not fit", BROKEN),
        (
            true,
            set("rule = 'none', tier = 'normal', approvals_needed = 0, witness_needed = false"),
            "does not fit",
            BROKEN,
        ),
        (
            true,
            "UPDATE steward._operation_dependency SET digest = sha256('x') WHERE op_no = 'OP'".to_owned(),
            "does not fit",
            BROKEN,
        ),
        (
            true,
            "UPDATE steward._operation_event SET person = 'Zhou' WHERE op_no = 'OP' AND event = 'APPROVE'".to_owned(),
            "does not fit",
            BROKEN,
        ),
    ];
    let forged: Vec<Forged> = ways
        .into_iter()
        .map(|(released, sql, words, code)| {
            let op_no = filed(released);
            let sql = sql.replace("'OP'", &format!("'{op_no}'")).replace("'HONEST'", &format!("'{honest}'"));
            Forged { op_no, sql, words, code }
        })
        .collect();
    drop(chen);
    // The policy is off, and on again.
    school.configure(&["steward.mode = 'off'"]);
    school.restart();
    let mut intruder = school.superuser();
    intruder.batch_execute("SET session_replication_role = 'replica'").expect("set");
    let half = forged.len() / 2;
    let mut left = String::new();
    for one in &forged[..half] {
        if let Err(error) = intruder.batch_execute(&one.sql) {
            assert_eq!(db_error::<()>(Err(error)).code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{}", one.sql);
            left += &format!("{};", one.sql);
        }
    }
    drop(intruder);
    school.configure(&["steward.mode = 'enforce'"]);
    // The library is not there, and is again.
    forged[half..].iter().for_each(|one| left += &format!("{};", one.sql));
    tamper(&mut school, &left);
    for one in &forged {
        refused(&school, &one.op_no, one.code, one.words);
    }
    assert_eq!(moved(&school), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
    let denied = "operation_type = 'EXECUTE' AND result = 'DENIED' AND details ~ 'seal'";
    assert_eq!(school.records(denied), forged.len() as i64);
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT * FROM steward.daily_check()").expect("check");
    let issues: i64 =
        ask(&mut superuser, "SELECT issue_count FROM steward.integrity_issues WHERE check_name = 'forged_operation'");
    assert_eq!((issues, found(&mut superuser).len() > 2), (forged.len() as i64, true));
    // Its confirmation is old by now; nothing else is wrong with it.
    school.vote("region_liu", "confirm", &honest).expect("what nobody touched goes on");
    execute(&mut school.session("region_chen"), &honest).expect("what nobody touched runs");
}

/// The vote looks before it seals.
fn a_forged_row_is_not_made_genuine_by_an_honest_vote() {
    let mut school = sealing();
    let op_no = school.request("region_chen", SIXTY);
    let forged = format!(
        "UPDATE steward._operation SET script = 'DELETE FROM app.guardian', digest = sha256('DELETE FROM app.guardian'),
            purpose = 'what Sun believes to read' WHERE op_no = '{op_no}'"
    );
    tamper(&mut school, &forged);
    for (login, step) in [("reviewer_sun", "approve"), ("region_liu", "confirm")] {
        let error = expect_error(school.vote(login, step, &op_no), BROKEN, "changed from outside", "steward.request");
        assert!(error.message().contains("does not fit"), "{error:?}");
    }
    school.session("reviewer_sun").query("SELECT steward.reject($1, 'forged')", &[&op_no]).expect("no is always heard");
    assert_eq!(school.status(&op_no), "rejected");
}

/// What was withdrawn, turned down or done leaves no seal behind that would fit once more.
fn a_resurrected_operation_does_not_run() {
    let mut school = sealing();
    let [cancelled, rejected] = [0; 2].map(|_| {
        let op_no = school.request("region_chen", SIXTY);
        school.release(&op_no);
        op_no
    });
    let done = school.operate("region_chen", SIXTY);
    school.superuser().batch_execute("SELECT 1").expect("alive");
    school.session("region_chen").query("SELECT steward.cancel($1)", &[&cancelled]).expect("cancel");
    school.session("reviewer_sun").query("SELECT steward.reject($1, 'no')", &[&rejected]).expect("reject");
    let again = format!(
        "UPDATE steward._operation SET status = 'approved', runs_done = 0, executed_by = NULL, executed_at = NULL, review_due = NULL,
            confirmed_at = clock_timestamp() + interval '5 min' WHERE op_no IN ('{cancelled}', '{rejected}', '{done}');
        DELETE FROM steward._operation_event WHERE event IN ('CANCEL', 'REJECT', 'EXECUTE')"
    );
    tamper(&mut school, &again);
    for op_no in [&cancelled, &rejected, &done] {
        refused(&school, op_no, NOT_READY, "is not sealed");
    }
}

fn what_was_said_while_nothing_was_enforced_does_not_count() {
    let mut school = sealing();
    let half = school.request("region_chen", SIXTY);
    school.configure(&["steward.mode = 'observe'"]);
    school.restart();
    school.approve(&half);
    let whole = school.request("region_chen", SIXTY);
    school.release(&whole);
    school.configure(&["steward.mode = 'enforce'"]);
    school.reload();
    std::thread::sleep(std::time::Duration::from_millis(500));
    for op_no in [&half, &whole] {
        expect_error(
            school.vote("region_liu", "confirm", op_no),
            NOT_READY,
            "while the policy was not enforced",
            "steward.request",
        );
        refused(&school, op_no, NOT_READY, "is not sealed");
    }
    assert_eq!(moved(&school), 0);
    school.operate("region_chen", SIXTY);
}

fn a_lost_key_stops_what_was_sealed_with_it() {
    let mut school = sealing();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    // The line is gone: also what is filed now could not be told from what is forged.
    school.configure(&["steward.key_file = ''"]);
    school.restart();
    let error = expect_error(execute(&mut school.session("region_chen"), &op_no), NOT_READY, "is empty", "openssl");
    assert!(error.message().contains("cannot be checked"), "{error:?}");
    let filed = school.session("region_chen").query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    expect_error(filed, NOT_READY, "is empty", "openssl");
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT * FROM steward.daily_check()").expect("check");
    assert!(found(&mut superuser)[0].contains("there is no key"), "{:?}", found(&mut superuser));
    drop(superuser);
    // Another key opens nothing, and seals what comes.
    set_key(&mut school, "other.key", OTHER);
    refused(&school, &op_no, BROKEN, "does not fit");
    school.operate("region_chen", SIXTY);
    assert_eq!(moved(&school), 60);
}

/// The chain tells what no seal can: that somebody never voted, and that what stands as new has run.
fn what_is_forged_without_a_key_or_put_back_with_its_seal_is_found() {
    let mut school = sealing();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    let kept = "CREATE TABLE app.kept AS SELECT * FROM steward._operation;
        CREATE TABLE app.kept_event AS SELECT * FROM steward._operation_event";
    tamper(&mut school, kept);
    execute(&mut school.session("region_chen"), &op_no).expect("its one run");
    let back = format!(
        "SET session_replication_role = replica;
        DELETE FROM steward._operation WHERE op_no = '{op_no}'; DELETE FROM steward._operation_event WHERE op_no = '{op_no}';
        INSERT INTO steward._operation SELECT * FROM app.kept;
        INSERT INTO steward._operation_event OVERRIDING SYSTEM VALUE SELECT * FROM app.kept_event"
    );
    tamper(&mut school, &back);
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT * FROM steward.daily_check()").expect("check");
    assert_eq!(found(&mut superuser), [format!("{op_no}: the chain knows of 1 EXECUTE, the operation of 0")]);
    drop(superuser);
    let mut keyless = School::active();
    let op_no = keyless.request("region_chen", SIXTY);
    // Dated ahead, since of the last minute it is not known yet what will reach the chain.
    let vote = "INSERT INTO steward._operation_event (op_no, at, event, person, login, digest)
        SELECT op_no, clock_timestamp() + interval '1 hour', 'APPROVE', 'Sun', 'reviewer_sun', digest FROM steward._operation";
    tamper(&mut keyless, vote);
    let mut superuser = keyless.superuser();
    superuser.batch_execute("SELECT * FROM steward.daily_check()").expect("check");
    assert_eq!(found(&mut superuser), [format!("{op_no}: the chain knows of no APPROVE by Sun for these bytes")]);
    refused(&keyless, &op_no, BROKEN, "is not what the audit chain says of it");
    // Another script under honest votes.
    let op_no = keyless.request("region_chen", SIXTY);
    keyless.release(&op_no);
    let script = format!(
        "UPDATE steward._operation SET script = 'DELETE FROM app.guardian', digest = sha256('DELETE FROM app.guardian')
            WHERE op_no = '{op_no}'"
    );
    tamper(&mut keyless, &script);
    refused(&keyless, &op_no, BROKEN, "is not what the audit chain says of it");
    assert_eq!(moved(&keyless), 0);
}

fn a_key_that_cannot_be_used_is_told_at_the_activation() {
    let school = School::with("enforce", &["steward.key_file = '/nowhere/steward.key'"]);
    let mut superuser = school.superuser();
    let refused = superuser.batch_execute("SELECT steward.activate()");
    expect_error(refused, NOT_READY, "Operations cannot be sealed: /nowhere/steward.key cannot be read", "openssl");
    // Without any it is only said.
    let (sender, heard) = std::sync::mpsc::channel();
    let keyless = School::inactive();
    let mut config = keyless.config("postgres", HOME);
    config.notice_callback(move |notice| drop(sender.send(notice.message().to_owned())));
    config.connect(postgres::NoTls).expect("session").batch_execute("SELECT steward.activate()").expect("activate");
    assert!(heard.try_iter().any(|notice| notice.contains("approvals are not sealed")));
}
