//! Operations that somebody put back, as a superuser with the library unloaded, to what they were before they ran or were
//! ended: row, lines and seal are genuine, and old. The chain knows better, so they do not run once more.

use std::thread::sleep;
use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::expect_error;
use crate::failover::wait_until;
use crate::fault::Paused;
use crate::operation_seal::sealing;
use crate::retention::{fill_segment, small_segments, wait_until_offline};
use crate::school::{School, ask, execute, request};
use crate::trail::tamper;

tests! {
    what_was_put_back_with_its_own_seal_does_not_run_again,
    an_operation_whose_records_are_archived_is_filed_again,
    a_record_taken_out_of_the_chain_is_missed_by_verification,
}

const SIXTY: &str = "UPDATE app.student SET note = note || 'x' WHERE id <= 60";
const BROKEN: &SqlState = &SqlState::DATA_CORRUPTED;
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

fn moved(school: &School) -> i64 {
    school.ask("SELECT max(length(note))::int8 FROM app.student")
}

#[track_caller]
fn refused<T>(result: Result<T, postgres::Error>, detail: &str) {
    let error = expect_error(result, BROKEN, detail, "steward.request");
    assert!(error.message().contains("is not what the audit chain says of it"), "{error:?}");
}

/// How many steps of operations the chain has, by its index and without it.
fn steps(session: &mut Client) -> [i64; 2] {
    ["off", "on"].map(|without| {
        let plan =
            format!("SET enable_seqscan = {without}; SET enable_indexscan = {without}; SET enable_bitmapscan = on");
        session.batch_execute(&plan).expect("set");
        let count = "SELECT count(*) FROM steward.chain WHERE steward._record_text(record, 1) = 'operation'
            AND steward._record_text(record, 14) >= ''";
        ask(session, count)
    })
}

fn what_was_put_back_with_its_own_seal_does_not_run_again() {
    let mut school = sealing();
    let mut chen = school.session("region_chen");
    let filed = |session: &mut Client, script: &str, more: &str| {
        let op_no = request(session, script, more);
        school.release(&op_no);
        op_no
    };
    let done = filed(&mut chen, SIXTY, "");
    let [rejected, cancelled, honest] = [0; 3].map(|_| filed(&mut chen, SIXTY, ""));
    let armed = filed(&mut chen, "VACUUM FULL app.guardian; VACUUM FULL app.student", "");
    let stopped = filed(&mut chen, SIXTY, ", runs => 3, every => '1 second', expected_rows => 60");
    drop(chen);
    // A copy of all that was genuine.
    let kept = "CREATE TABLE app.kept AS SELECT * FROM steward._operation;
        CREATE TABLE app.kept_event AS SELECT * FROM steward._operation_event";
    tamper(&mut school, kept);
    let mut chen = school.session("region_chen");
    execute(&mut chen, &done).expect("its one run");
    execute(&mut chen, &stopped).expect("its first run");
    school.session("reviewer_sun").query("SELECT steward.reject($1, 'no')", &[&rejected]).expect("reject");
    school.session("reviewer_sun").query("SELECT steward.review($1, 'rejected', 'no')", &[&stopped]).expect("review");
    chen.query("SELECT steward.cancel($1)", &[&cancelled]).expect("cancel");
    school.vote("region_liu", "confirm", &armed).expect("confirm");
    chen.batch_execute("SET ROLE region_chen").expect("set role");
    chen.batch_execute(&format!("SELECT steward.arm('{armed}')")).expect("arm");
    chen.batch_execute("VACUUM FULL app.guardian").expect("the first of its statements");
    drop(chen);
    wait_until(&school, &format!("SELECT status <> 'armed' FROM steward.show('{armed}')"));
    let length = moved(&school);
    let all = [&done, &rejected, &cancelled, &armed, &stopped];
    let list = all.map(|op_no| format!("'{op_no}'")).join(", ");
    let back = format!(
        "SET session_replication_role = replica;
        DELETE FROM steward._operation WHERE op_no IN ({list}); DELETE FROM steward._operation_event WHERE op_no IN ({list});
        INSERT INTO steward._operation SELECT * FROM app.kept WHERE op_no IN ({list});
        INSERT INTO steward._operation_event OVERRIDING SYSTEM VALUE SELECT * FROM app.kept_event WHERE op_no IN ({list})"
    );
    tamper(&mut school, &back);
    // At once, and with a snapshot that is older than what the sequencer still has to chain.
    let mut chen = school.session("region_chen");
    chen.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").expect("begin");
    refused(execute(&mut chen, &done), "the chain knows of 1 EXECUTE, the operation of 0");
    chen.batch_execute("ROLLBACK").expect("rollback");
    refused(execute(&mut chen, &rejected), "the chain knows of 1 REJECT, the operation of 0");
    refused(execute(&mut chen, &cancelled), "the chain knows of 1 CANCEL, the operation of 0");
    refused(execute(&mut chen, &stopped), "the chain knows of 1 REVIEW, the operation of 0");
    chen.batch_execute("SET ROLE region_chen").expect("set role");
    refused(
        chen.batch_execute(&format!("SELECT steward.arm('{armed}')")),
        "the chain knows of 1 ARM, the operation of 0",
    );
    // Nor is it made genuine by an honest vote.
    for op_no in all {
        refused(school.vote("region_liu", "confirm", op_no), "the chain knows of 1");
    }
    assert_eq!(moved(&school), length);
    assert_eq!(school.records("result = 'DENIED' AND sqlstate = 'XX001' AND details ~ 'the audit chain says'"), 10);
    let mut superuser = school.superuser();
    let [by_index, in_all] = steps(&mut superuser);
    assert!(by_index > 30 && by_index == in_all, "{by_index} of {in_all}");
    // Nobody can be asked: nothing runs, and not for ever.
    school.vote("region_liu", "confirm", &honest).expect("what nobody touched goes on");
    let paused = Paused::between_rounds(&school);
    let error = expect_error(execute(&mut chen, &honest), NOT_READY, "not get through", "audit_status");
    assert!(error.message().contains("cannot be compared"), "{error:?}");
    drop(paused);
    wait_until(&school, &format!("SELECT status IN ('approved', 'failed') FROM steward.show('{honest}')"));
    school.vote("region_liu", "confirm", &honest).expect("it stands by");
    execute(&mut chen, &honest).expect("what nobody touched runs");
    assert_eq!(moved(&school), length + 1);
}

fn an_operation_whose_records_are_archived_is_filed_again() {
    let school = School::inactive();
    small_segments(&school);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let old = school.request("region_chen", SIXTY);
    school.release(&old);
    fill_segment(&school, 12);
    sleep(Duration::from_millis(1_100));
    school.operate("postgres", "SELECT * FROM steward.archive_audit()");
    wait_until_offline(&school);
    let result = execute(&mut school.session("region_chen"), &old);
    let error = expect_error(result, NOT_READY, "Its records are archived", "steward.request");
    assert!(error.message().contains("cannot be compared"), "{error:?}");
    assert_eq!(school.status(&old), "approved");
    // What is filed now runs, in a chain that begins later than with its first record.
    school.operate("region_chen", SIXTY);
}

/// Who deletes what the chain knows, too, has no run refused, and leaves a gap.
fn a_record_taken_out_of_the_chain_is_missed_by_verification() {
    let mut school = School::active();
    let op_no = school.operate("region_chen", SIXTY);
    school.flush_audit();
    let record = format!(
        "SELECT id FROM steward.audit_log WHERE op_no = '{op_no}' AND operation_type = 'EXECUTE' AND result = 'SUCCESS'"
    );
    let id: i64 = school.ask(&record);
    let back = format!(
        "DELETE FROM steward.chain WHERE id = {id}; SET session_replication_role = replica;
        DELETE FROM steward._operation_event WHERE op_no = '{op_no}' AND event = 'EXECUTE';
        DELETE FROM steward.pre_image WHERE op_no = '{op_no}'; DELETE FROM steward.row_image WHERE op_no = '{op_no}';
        UPDATE steward._operation SET status = 'approved', runs_done = 0, executed_by = NULL, executed_at = NULL,
            review_due = NULL, confirmed_at = clock_timestamp() WHERE op_no = '{op_no}'"
    );
    tamper(&mut school, &back);
    execute(&mut school.session("region_chen"), &op_no).expect("nothing is left that says it ran");
    let row = school.superuser().query_one("SELECT ok, first_bad_id FROM steward.verify_chain()", &[]).expect("verify");
    assert!(!row.get::<_, bool>(0));
    assert!([id, id + 1].contains(&row.get(1)), "{id}: {row:?}");
}
