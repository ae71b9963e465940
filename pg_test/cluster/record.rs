//! The register: what is recorded, by whom it counts, what lapses with it, and what nobody can do to it.

use postgres::Client;
use postgres::error::SqlState;

use crate::cluster::succeed;
use crate::expect::{expect_error, expect_message, expect_refused};
use crate::school::{HOME, School, ask};

tests! {
    nobody_confirms_what_is_their_own_and_nothing_is_undone,
    fields_are_those_of_the_kind,
    a_lapsed_exam_suspends_and_a_new_one_gives_back,
    what_nobody_could_record_is_not_enforced,
    a_backup_is_one_of_this_cluster_and_is_kept,
    the_hook_of_a_base_backup_puts_on_record_what_it_has_verified,
    what_is_over_is_told_once_a_day_and_raises_an_alert,
    a_major_alert_is_an_incident_with_a_second_signature,
    incidents_of_persons_have_their_terms_and_are_found_again,
    rights_are_recertified_by_others_and_revoked_by_operations,
    records_survive_a_dump,
    the_chain_is_read_once_and_nothing_else_is_believed,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const NOT_NOW: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const UNKNOWN: &SqlState = &SqlState::UNDEFINED_OBJECT;

fn add(session: &mut Client, kind: &str, subject: &str, fields: &str) -> Result<i64, postgres::Error> {
    let call = format!("SELECT steward.add_record('{kind}', '{subject}', $f${fields}$f$)");
    session.query_one(&call, &[]).map(|row| row.get(0))
}

fn confirm(school: &School, login: &str, id: i64) -> Result<(), postgres::Error> {
    school.session(login).batch_execute(&format!("SELECT steward.confirm_record({id})"))
}

const PASSED: &str = r#"{"score": 91, "result": "passed"}"#;
const CERTIFICATE: &str = r#"{"issuer": "CA", "valid_until": "2099-01-01"}"#;
const FAILED: &str = r#"{"score": 40, "result": "failed"}"#;

/// An exam that counts.
#[track_caller]
fn examine(school: &School, person: &str, fields: &str) -> i64 {
    let id = add(&mut school.session("security_han"), "exam", person, fields).expect("exam");
    confirm(school, "auditor_qian", id).expect("confirmed");
    id
}

fn status(school: &School, id: i64) -> String {
    school.ask(&format!("SELECT status FROM steward.record WHERE id = {id}"))
}

fn nobody_confirms_what_is_their_own_and_nothing_is_undone() {
    let school = School::active();
    let mut han = school.session("security_han");
    let id = add(&mut han, "exam", "Sun", PASSED).expect("recorded");
    assert_eq!(status(&school, id), "unconfirmed");
    // Not the recorder, not the subject, not somebody without the capability, and nobody by way of a block.
    for login in ["security_han", "reviewer_sun", "teacher_wang", "region_chen"] {
        expect_refused(confirm(&school, login, id));
    }
    let block = format!("DO $$BEGIN PERFORM steward.confirm_record({id}); END$$");
    assert!(school.session("auditor_qian").batch_execute(&block).is_err());
    assert_eq!(school.records("operation_type = 'CONFIRM RECORD' AND result = 'DENIED'"), 4);
    confirm(&school, "auditor_qian", id).expect("somebody else");
    assert_eq!(status(&school, id), "valid");
    expect_error(confirm(&school, "reviewer_zhou", id), NOT_NOW, "", "unconfirmed");
    // What two have said neither takes back, nor the subject.
    for login in ["security_han", "reviewer_sun"] {
        expect_refused(school.session(login).batch_execute(&format!("SELECT steward.withdraw_record({id}, 'no')")));
    }
    let mut qian = school.session("auditor_qian");
    expect_error(qian.batch_execute(&format!("SELECT steward.withdraw_record({id}, ' ')")), BAD, "", "");
    qian.batch_execute(&format!("SELECT steward.withdraw_record({id}, 'another person')")).expect("withdrawn");
    assert_eq!(status(&school, id), "withdrawn");
    // Rows are nobody's to write, superuser or not.
    for attack in [
        "UPDATE steward._record SET subject = 'Wu'",
        "DELETE FROM steward._record",
        "TRUNCATE steward._record",
        "INSERT INTO steward._record SELECT * FROM steward._record",
        "UPDATE steward.record_kind SET confirm = false",
        "DELETE FROM steward.form WHERE name = 'exam'",
        "DELETE FROM steward._reminded",
        "UPDATE steward._incident SET confirmer = 'Wu'",
        "UPDATE steward.incident_term SET term = '1 year'",
        "DELETE FROM steward._recertification_item",
        "CREATE OR REPLACE VIEW steward._record_last AS SELECT 1",
        "ALTER TABLE steward._record DISABLE TRIGGER ALL",
        "SELECT steward.set_record_kind('exam', true)",
        "LOCK TABLE steward._record",
        "LOCK TABLE steward._incident",
    ] {
        expect_refused(school.superuser().batch_execute(attack));
    }
    assert!(school.ask::<bool>("SELECT intact FROM steward.record"));
    // Everybody sees their own, and what is theirs to see.
    for (login, seen) in [("reviewer_sun", 1), ("auditor_qian", 1), ("teacher_wang", 0), ("clerk_zhao", 0)] {
        assert_eq!(ask::<i64>(&mut school.session(login), "SELECT count(*) FROM steward.record"), seen, "{login}");
    }
    let mut clerk = school.session("clerk_zhao");
    assert!(clerk.batch_execute("SELECT * FROM steward._record").is_err());
    let digest: String = school.ask("SELECT digest FROM steward.record");
    assert_eq!(
        school.records(&format!("operation_type = 'add_record' AND person = 'Han' AND details LIKE '%{digest}%'")),
        1
    );
    assert_eq!(school.records("operation_type IN ('confirm_record', 'withdraw_record') AND person = 'Qian'"), 2);
}

fn fields_are_those_of_the_kind() {
    let school = School::inactive();
    let mut han = school.session("security_han");
    for (kind, subject, fields, words) in [
        ("exam", "Sun", r#"{"score": 91}"#, "field \"result\" is missing"),
        ("exam", "Sun", r#"{"score": 91, "result": "excellent"}"#, "must be one of passed, failed"),
        ("exam", "Sun", r#"{"score": 91, "result": "passed", "bribe": "x"}"#, "there is no field \"bribe\""),
        ("training_new", "Sun", r#"{"hours": 3, "topic": "policy"}"#, "field \"hours\" must be at least 4"),
        (
            "restore_drill",
            "restore",
            r#"{"backup": "b", "began_at": "2026-01-02", "ready_at": "2026-01-01", "verified": "count", "result": "success"}"#,
            "must not be before field \"began_at\"",
        ),
        ("plan", "emergency", "[]", "JSON object"),
    ] {
        let error = expect_error(add(&mut han, kind, subject, fields), BAD, "", "");
        assert!(error.message().contains(words), "{error:?}");
    }
    expect_error(add(&mut han, "holiday", "Sun", "{}"), UNKNOWN, "", "steward.record_kind");
    expect_error(add(&mut han, "exam", "Nobody", PASSED), UNKNOWN, "about persons", "");
    let patch = r#"{"version": "15.9", "fixes": "a hole", "op_no": "OP-1"}"#;
    expect_error(add(&mut han, "patch", "server", patch), UNKNOWN, "", "steward.operation");
    let future = format!("SELECT steward.add_record('exam', 'Sun', '{PASSED}', now() + interval '1 hour')");
    expect_error(han.batch_execute(&future), BAD, "", "done_at");
    // Each kind has its people; of the rules of use everybody speaks for themselves.
    expect_refused(add(&mut school.session("teacher_wang"), "exam", "Wang", PASSED));
    expect_refused(add(&mut school.session("teacher_wang"), "rules_of_use", "Sun", r#"{"version": "1"}"#));
    add(&mut school.session("teacher_wang"), "rules_of_use", "Wang", r#"{"version": "1"}"#).expect("one's own");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.record"), 1);
    for kind in ["backup", "off_site_backup"] {
        expect_error(add(&mut han, kind, "full", "{}"), BAD, "", "steward.register_backup");
    }
    nobody_keeps_the_others_waiting(&school);
    // Every kind of the register has fields.
    let bare = "SELECT count(*) FROM steward.record_kind k WHERE NOT EXISTS (SELECT FROM steward.form f WHERE f.name = k.name)";
    assert_eq!(school.ask::<i64>(bare), 0);
    // Contacts are complete with three.
    let complete = "SELECT count(*) FILTER (WHERE complete) || ' of ' || count(*) FROM steward.contact_status";
    assert_eq!(school.ask::<String>(complete), "0 of 3");
    for role in ["commander", "technical", "security"] {
        add(&mut han, "contact", role, r#"{"name": "Hu", "phone": "13800000001"}"#).expect("contact");
    }
    assert_eq!(school.ask::<String>(complete), "3 of 3");
    // A drill's minutes are computed, and are those of a drill once somebody else has confirmed it.
    let drill = r#"{"backup": "b", "began_at": "2026-01-01 10:00+00", "ready_at": "2026-01-01 10:25+00", "verified": "count", "result": "success"}"#;
    let id = add(&mut han, "restore_drill", "restore", drill).expect("drill");
    let minutes = "SELECT minutes || ' ' || in_time FROM steward.restore_time";
    assert_eq!(school.ask::<String>(minutes), "25.0 false");
    confirm(&school, "reviewer_sun", id).expect("confirmed");
    assert_eq!(school.ask::<String>(minutes), "25.0 true");
}

/// Who takes a number ends at once; who confirms may take their time; and the others wait a moment only.
fn nobody_keeps_the_others_waiting(school: &School) {
    let mut wang = school.session("teacher_wang");
    wang.batch_execute(
        r#"CREATE FUNCTION pg_temp.inner() RETURNS jsonb LANGUAGE sql
            AS $$SELECT steward.add_record('rules_of_use', 'Wang', '{"version": "2"}'); SELECT '{"version": "3"}'::jsonb$$"#,
    )
    .expect("function");
    let call = r#"steward.add_record('rules_of_use', 'Wang', '{"version": "2"}')"#;
    for message in [
        format!("BEGIN; SELECT {call}; COMMIT"),
        format!("SELECT {call}; SELECT pg_sleep(0)"),
        format!("DO $$BEGIN PERFORM {call}; END$$"),
        format!("SELECT {call}, pg_sleep(0)"),
        format!("SELECT {call} FROM generate_series(1, 2)"),
        format!("SELECT pg_sleep(0) FROM (SELECT {call} OFFSET 0) s"),
        "SELECT steward.add_record('rules_of_use', 'Wang', pg_temp.inner())".to_owned(),
        format!("EXPLAIN ANALYZE SELECT {call}"),
    ] {
        let error = expect_error(wang.batch_execute(&message), NOT_NOW, "Others wait", "without BEGIN");
        assert!(error.message().contains("transaction of its own"), "{message}: {error:?}");
        wang.batch_execute("ROLLBACK").expect("rollback");
    }
    // Sent in one go with others, it is committed before they are begun.
    let script = school.file("pipeline");
    std::fs::write(&script, format!("\\startpipeline\nSELECT {call};\nSELECT 1 / 0;\n\\endpipeline\n"))
        .expect("script");
    let mut pipeline = school.client_program("pgbench");
    pipeline.args(["-n", "-t", "1", "-M", "extended", "-f"]).arg(&script);
    let told = pipeline.env("PGDATABASE", HOME).env("PGUSER", "teacher_wang").output().expect("pgbench");
    assert!(String::from_utf8_lossy(&told.stderr).contains("division by zero"), "{told:?}");
    let kept = "SELECT count(*) FROM steward.record WHERE kind = 'rules_of_use' AND fields ->> 'version' = '2'";
    assert_eq!(school.ask::<i64>(kept), 1);
    let mut han = school.session("security_han");
    let opened = han.batch_execute("BEGIN; SELECT steward.open_recertification('autumn')");
    expect_error(opened, NOT_NOW, "Others wait", "without BEGIN");
    let id = add(&mut school.session("security_han"), "exam", "Sun", PASSED).expect("exam");
    let mut slow = school.session("auditor_qian");
    slow.batch_execute(&format!("BEGIN; SELECT steward.confirm_record({id})")).expect("confirmed some time");
    wang.batch_execute(&format!("SELECT {call}")).expect("does not wait for that");
    expect_error(confirm(school, "reviewer_zhou", id), NOT_NOW, "holds it", "pg_terminate_backend");
    slow.batch_execute("ROLLBACK; BEGIN").expect("rollback");
    let mut owner = school.superuser();
    owner.batch_execute("BEGIN; LOCK TABLE steward._record IN SHARE MODE").expect("not active yet");
    expect_error(wang.batch_execute(&format!("SELECT {call}")), NOT_NOW, "holds it", "pg_terminate_backend");
}

fn a_lapsed_exam_suspends_and_a_new_one_gives_back() {
    let school = School::inactive();
    let mut wu = school.superuser();
    wu.batch_execute("SELECT steward.set_record_kind('exam', true)").expect("enforced");
    // Nobody has passed: the policy would stand still.
    let error = expect_error(wu.batch_execute("SELECT steward.activate()"), NOT_NOW, "Sun: exam", "");
    assert!(error.detail().is_some_and(|detail| detail.contains("Nobody may apply")), "{error:?}");
    // Approvers are no approvers yet, and nobody confirms what is about themselves: officer and auditor put it right.
    let id = add(&mut school.session("auditor_qian"), "exam", "Han", PASSED).expect("exam");
    for login in ["reviewer_sun", "security_han", "auditor_qian"] {
        expect_refused(confirm(&school, login, id));
    }
    // The clock alone ends a term.
    wu.batch_execute("SELECT steward.set_record_kind('exam', valid_for => '3 seconds')").expect("a short term");
    examine(&school, "Chen", PASSED);
    let mut chen = school.session("region_chen");
    let may = "SELECT steward.has_capability('apply')";
    assert!(ask::<bool>(&mut chen, may));
    std::thread::sleep(std::time::Duration::from_millis(3100));
    assert!(!ask::<bool>(&mut chen, may));
    wu.batch_execute("SELECT steward.set_record_kind('exam', valid_for => '1 year')").expect("as before");
    for person in ["Han", "Sun", "Zhou", "Chen", "Liu", "Wu", "Wang"] {
        examine(&school, person, PASSED);
    }
    wu.batch_execute("SELECT steward.activate()").expect("complete");
    let file = "SELECT steward.request('UPDATE app.student SET note = ''x'' WHERE id < 90', 'exam')";
    chen.batch_execute(file).expect("has passed");
    // The last exam decides, in open sessions too; until it is confirmed it says nothing.
    let id = add(&mut school.session("security_han"), "exam", "Chen", FAILED).expect("exam");
    chen.batch_execute(file).expect("not yet");
    confirm(&school, "auditor_qian", id).expect("confirmed");
    let refused = expect_refused(chen.batch_execute(file));
    assert!(refused.detail().is_some_and(|detail| detail.contains("no valid record of kind exam")), "{refused:?}");
    assert!(!ask::<bool>(&mut chen, "SELECT steward.has_capability('apply')"));
    // Looking things up goes on, and so does what is no capability.
    chen.batch_execute("SELECT count(*) FROM app.student").expect("reads");
    examine(&school, "Chen", PASSED);
    chen.batch_execute(file).expect("has passed again");
    // An approver whose exam is failed approves nothing.
    let op_no = school.request("region_chen", "UPDATE app.student SET note = 'y' WHERE id < 90");
    examine(&school, "Sun", FAILED);
    expect_refused(school.vote("reviewer_sun", "approve", &op_no));
    school.vote("reviewer_zhou", "approve", &op_no).expect("another");
    // A term that ends by itself: the clock alone decides.
    let year =
        "SELECT valid_until BETWEEN done_at + interval '365 days' AND done_at + interval '366 days' FROM steward.record
        WHERE subject = 'Zhou'";
    assert!(school.ask::<bool>(year));
}

fn what_nobody_could_record_is_not_enforced() {
    let school = School::inactive();
    let mut wu = school.superuser();
    // The only auditor and the only officer: each confirms what the other records, until one is gone.
    for person in ["Sun", "Zhou", "Chen", "Liu", "Wu", "Wang"] {
        examine(&school, person, PASSED);
    }
    // Exams of long ago are over when they are written down.
    let old = format!("SELECT steward.add_record('exam', 'Han', '{PASSED}', now() - interval '2 years')");
    let id: i64 = ask(&mut school.session("security_han"), &old);
    confirm(&school, "auditor_qian", id).expect("confirmed");
    assert_eq!(status(&school, id), "expired");
    wu.batch_execute("SELECT steward.activate()").expect("nothing is enforced");
    let enforce = "SELECT steward.set_record_kind('exam', true, suspends => '{apply,approve,witness}', needed_by => '{reviewer,region_admin,ops}')";
    school.operate("postgres", enforce);
    // One more kind that nobody has a record of would stop everybody.
    let mut applicant = school.superuser();
    let op_no = crate::school::request(&mut applicant, "SELECT steward.set_record_kind('training_new', true)", "");
    school.release(&op_no);
    let error = expect_error(crate::school::execute(&mut applicant, &op_no), NOT_NOW, "training_new", "");
    assert!(error.message().contains("nobody can do"), "{error:?}");
    for (call, code) in [
        ("SELECT steward.set_record_kind('exam', suspends => '{configure}')", &SqlState::CHECK_VIOLATION),
        ("SELECT steward.set_record_kind('drill', suspends => '{apply}')", &SqlState::CHECK_VIOLATION),
        ("SELECT steward.set_record_kind('exam', needed_by => '{janitor}')", UNKNOWN),
    ] {
        let other = School::inactive();
        expect_error(other.superuser().batch_execute(call), code, "", "");
    }
}

const DIGEST: &str = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";

fn backup(more: &str) -> String {
    let usual = [
        ("type", "'full'"),
        ("label", "'20261122F'"),
        ("location", "'/backup'"),
        ("off_site", "false"),
        ("bytes", "1000"),
        ("manifest_digest", "'5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9'"),
        ("start_lsn", "'0/1000000'"),
        ("stop_lsn", "pg_current_wal_lsn()"),
        ("started_at", "now() - interval '5 min'"),
        ("stopped_at", "now()"),
    ];
    let (name, value) = more.split_once('=').unwrap_or(("", ""));
    let arguments: Vec<String> = usual
        .iter()
        .map(|(known, usual)| format!("{known} => {}", if *known == name { value } else { usual }))
        .collect();
    format!("SELECT steward.register_backup({})", arguments.join(", "))
}

fn a_backup_is_one_of_this_cluster_and_is_kept() {
    let school = School::inactive();
    let mut wu = school.superuser();
    // What was put on record long after it was made covers no day.
    for copy in ["off_site=false", "off_site=true"] {
        ask::<i64>(&mut wu, &backup(copy));
    }
    wu.batch_execute("UPDATE steward._record SET done_at = done_at - interval '40 days'; SELECT steward.activate()")
        .expect("backdated");
    let earlier = backup("stopped_at=now() - interval '49 hours'").replace("'5 min'", "'50 hours'");
    expect_message(wu.batch_execute(&earlier), BAD, "stopped_at is more than 2 days ago");
    for wrong in [
        "type='whole'",
        "bytes=0",
        "manifest_digest='abc'",
        "start_lsn='F/0'",
        "stop_lsn='FF/0'",
        "started_at=now() + interval '1 min'",
        "stopped_at=now() + interval '1 hour'",
        "label=' '",
        "off_site=NULL",
    ] {
        expect_error(wu.batch_execute(&backup(wrong)), BAD, "", "");
    }
    for login in ["teacher_wang", "reviewer_sun", "auditor_qian"] {
        expect_refused(school.session(login).batch_execute(&backup("")));
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FILTER (WHERE covered) FROM steward.backup_coverage"), 0);
    let id: i64 = ask(&mut wu, &backup(""));
    let today = "SELECT concat_ws(' ', online, off_site, online_due, covered) FROM steward.backup_coverage ORDER BY day DESC LIMIT 1";
    assert_eq!(school.ask::<String>(today), "1 0 t f");
    let copy: i64 = ask(&mut wu, &backup("off_site=true"));
    assert_eq!(school.ask::<String>(today), "1 1 t t");
    // A day 40 days ago needs no backup at hand any more, only the copy.
    let covered = "SELECT array_agg(today - day ORDER BY day DESC)::text
        FROM steward.backup_coverage, (SELECT max(day) AS today FROM steward.backup_coverage) t WHERE covered";
    assert_eq!(school.ask::<String>(covered), "{0}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.backup_coverage"), 365);
    let fields = format!(
        "SELECT fields ->> 'manifest_digest' = '{DIGEST}' AND fields ->> 'system_identifier' = (SELECT system_identifier::text FROM pg_control_system())
            FROM steward.record WHERE id = {id}"
    );
    assert!(school.ask::<bool>(&fields));
    // Inside its term it is not taken back, by nobody.
    for id in [id, copy] {
        let withdraw = format!("SELECT steward.withdraw_record({id}, 'too large')");
        let error = expect_error(school.session("security_han").batch_execute(&withdraw), NOT_NOW, "term", "keep_for");
        assert!(error.message().contains("kept until"), "{error:?}");
    }
    // The server speaks for itself.
    let continuity =
        "SELECT string_agg(concat_ws(' ', what, name, ok), ', ' ORDER BY what) FROM steward.backup_continuity()";
    assert_eq!(school.ask::<String>(continuity), "archiving wal f, standby none f");
    expect_refused(school.session("teacher_wang").batch_execute(continuity));
}

fn the_hook_of_a_base_backup_puts_on_record_what_it_has_verified() {
    let school = School::active();
    let base = school.file("base");
    school.await_licence("postgres");
    let mut backup = school.client_program("pg_basebackup");
    backup.args(["--checkpoint=fast", "--no-sync", "--pgdata"]).arg(&base);
    succeed(backup);
    let hook = |label: &str| {
        let mut hook = school.client_program("/bin/sh");
        hook.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/register_backup.sh")).arg(&base);
        hook.args([label, "/backup/daily"]).env("PGDATABASE", HOME).env("PGUSER", "postgres").output().expect("hook")
    };
    let told = hook("B1");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let kept = "SELECT concat_ws(' ', kind, subject, fields ->> 'label', status, recorded_by, (fields ->> 'bytes')::bigint > 1000000,
        (fields ->> 'stop_lsn')::pg_lsn > (fields ->> 'start_lsn')::pg_lsn, done_at > now() - interval '5 min') FROM steward.record";
    assert_eq!(school.ask::<String>(kept), "backup full B1 valid Wu t t t");
    // What is not what the manifest says is no backup.
    std::fs::write(base.join("PG_VERSION"), "14").expect("damage");
    assert!(!hook("B2").status.success());
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.record"), 1);
}

fn what_is_over_is_told_once_a_day_and_raises_an_alert() {
    let school = School::inactive();
    let mut han = school.session("security_han");
    let certificate = |days: i32| {
        let until: String = school.ask(&format!("SELECT (now() + interval '{days} days')::text"));
        format!(r#"{{"issuer": "CA", "valid_until": "{until}"}}"#)
    };
    for (name, days) in [("now", -1), ("near", 5), ("soon", 20), ("later", 80), ("far", 200)] {
        add(&mut han, "certificate", name, &certificate(days)).expect("certificate");
    }
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE ops_zheng LOGIN; SELECT steward.register_person('Zheng', 'ops', roles => '{ops_zheng}');
            SELECT steward.register_person('Wang', NULL, valid_until => now() + interval '6 days')",
        )
        .expect("term");
    let stages = "SELECT string_agg(subject || ' ' || stage, ', ' ORDER BY due_at) FROM steward.reminder WHERE kind IN ('certificate', 'account')";
    assert_eq!(school.ask::<String>(stages), "now overdue, near 7 days, Wang 7 days, soon 30 days, later 90 days");
    let missing = "SELECT count(*) FROM steward.reminder WHERE kind = 'contact' AND stage = 'missing'";
    assert_eq!(school.ask::<i64>(missing), 3);
    for number in 1..=12 {
        add(&mut han, "certificate", &format!("old {number}"), &certificate(-2)).expect("certificate");
    }
    let told: i64 = school.ask("SELECT steward.check_records()");
    assert_eq!(told, school.ask::<i64>("SELECT count(*) FROM steward.reminder"));
    assert_eq!(school.ask::<i64>("SELECT steward.check_records()"), 0, "once");
    assert_eq!(school.records("operation_type = 'REMINDER' AND details LIKE '%certificate%'"), 3);
    assert_eq!(school.records("operation_type = 'OVERDUE' AND result = 'FAILURE' AND details LIKE '%\"now\"%'"), 1);
    a_kind_is_one_alert(&school, &mut han);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let by_ops: bool = ask(&mut school.session("ops_zheng"), "SELECT steward.run_job('check_records')");
    assert!(
        by_ops,
        "{:?}",
        school.ask::<Option<String>>("SELECT last_error FROM steward.job_state WHERE name = 'check_records'")
    );
    // A new one with another end is a new term.
    add(&mut han, "certificate", "now", &certificate(25)).expect("renewed");
    assert_eq!(school.ask::<i64>("SELECT steward.check_records()"), 1);
    // People see what bears their name; it is nobody else's to run.
    assert_eq!(
        ask::<i64>(
            &mut school.session("teacher_wang"),
            "SELECT count(*) FROM steward.reminder WHERE subject <> 'Wang'"
        ),
        0
    );
    let error = expect_error(
        school.session("teacher_wang").batch_execute("SELECT steward.check_records()"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "service",
        "",
    );
    assert!(error.message().contains("not yours"), "{error:?}");
}

/// However many things of it are overdue: it counts and names them, and is answered once.
fn a_kind_is_one_alert(school: &School, han: &mut Client) {
    let alerts = "SELECT count(*) = count(a.subject) AND count(*) = count(r.kind)
            AND bool_and(a.times = r.things AND a.sample <@ r.named AND cardinality(a.sample) = least(r.things, 10))
        FROM (SELECT * FROM steward.alert WHERE rule = 'record_overdue') a FULL JOIN (SELECT kind, count(*) AS things,
            array_agg(kind || ': ' || subject) AS named FROM steward.reminder WHERE overdue GROUP BY kind) r ON r.kind = a.subject";
    assert!(school.ask::<bool>(alerts));
    let cases =
        "SELECT string_agg(concat_ws(' ', times, cardinality(sample), sample[cardinality(sample)]), ', ' ORDER BY id)
        FROM steward.alert WHERE subject = 'certificate'";
    let told = |count: i64| {
        assert_eq!(school.ask::<i64>("SELECT steward.check_records()"), count);
        school.flush_audit();
    };
    let mut answer = |call: &str| {
        let id: i64 = school.ask("SELECT max(id) FROM steward.alert WHERE subject = 'certificate'");
        han.batch_execute(&format!("SELECT steward.{call}({id}, 'renewed')")).expect(call);
    };
    answer("acknowledge");
    school.superuser().batch_execute("DELETE FROM steward._reminded WHERE subject = 'old 1'").expect("as tomorrow");
    told(1);
    assert!(school.ask::<String>(cases).starts_with("14 10 "), "{}", school.ask::<String>(cases));
    answer("close_alert");
    school.superuser().batch_execute("DELETE FROM steward._reminded WHERE subject = 'old 2'").expect("as tomorrow");
    told(1);
    let after: String = school.ask(cases);
    assert!(after.ends_with(", 1 1 certificate: old 2"), "{after}");
}

const REPORT: &str = r#"{"occurred_at": "TIME", "level": "major", "description": "cards cannot be read",
    "process": "restarted the reader", "result": "success", "root_cause": "a full disk", "lesson": "watch the disk"}"#;

fn report(session: &mut Client, number: &str, form: &str) -> Result<(), postgres::Error> {
    session.batch_execute(&format!("SELECT steward.report_incident('{number}', $f${form}$f$)"))
}

fn a_major_alert_is_an_incident_with_a_second_signature() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "SELECT steward.set_alert_rule('truncation', 'major', operation_types => '{TRUNCATE TABLE}', results => '{DENIED}');
            SELECT steward.activate()",
        )
        .expect("rule");
    assert!(school.session("clerk_zhao").batch_execute("TRUNCATE app.guardian").is_err());
    school.flush_audit();
    let number: String =
        school.ask("SELECT incident_no FROM steward.incident WHERE level = 'major' AND status = 'open'");
    let mut han = school.session("security_han");
    let form = REPORT.replace("TIME", &school.ask::<String>("SELECT (now() - interval '1 hour')::text"));
    expect_error(report(&mut han, &number, &form), NOT_NOW, "", "respond_to_incident");
    let respond = format!("SELECT steward.respond_to_incident('{number}')");
    expect_error(han.batch_execute(&respond), NOT_NOW, "", "steward.acknowledge");
    let acknowledge = "SELECT steward.acknowledge((SELECT id FROM steward.alert WHERE rule = 'truncation'), 'looking')";
    han.batch_execute(acknowledge).expect("in hand");
    assert_eq!(
        school.ask::<String>(&format!(
            "SELECT responder || ' ' || late || ' ' || status FROM steward.incident WHERE incident_no = '{number}'"
        )),
        "Han false in_hand"
    );
    expect_refused(report(&mut school.session("auditor_qian"), &number, &form));
    let lesser = form.replace("\"major\"", "\"general\"");
    expect_error(report(&mut han, &number, &lesser), BAD, "not lower", "");
    let later = REPORT.replace("TIME", "2099-01-01");
    expect_error(report(&mut han, &number, &later), BAD, "", "responded_at");
    report(&mut han, &number, &form).expect("reported");
    // It happened an hour before: nobody makes the response look faster, only slower.
    let minutes = format!(
        "SELECT response_minutes BETWEEN 59 AND 62 AND late FROM steward.incident WHERE incident_no = '{number}'"
    );
    assert!(school.ask::<bool>(&minutes));
    let confirm = format!("SELECT steward.confirm_incident('{number}')");
    for login in ["security_han", "teacher_wang"] {
        expect_refused(school.session(login).batch_execute(&confirm));
    }
    school.session("auditor_qian").batch_execute(&confirm).expect("the second signature");
    expect_error(report(&mut han, &number, &form), NOT_NOW, "", "");
    let signed = format!(
        "SELECT handler || ' ' || confirmer || ' ' || status FROM steward.incident WHERE incident_no = '{number}'"
    );
    assert_eq!(school.ask::<String>(&signed), "Han Qian confirmed");
    assert_eq!(ask::<i64>(&mut school.session("clerk_zhao"), "SELECT count(*) FROM steward.incident"), 0);
    nobody_signs_what_is_about_them(&school, &form);
    assert_eq!(
        school.records(&format!(
            "operation_type IN ('report_incident', 'confirm_incident') AND details LIKE '%{number}%'"
        )),
        2
    );
}

fn nobody_signs_what_is_about_them(school: &School, form: &str) {
    assert!(school.session("auditor_qian").batch_execute("TRUNCATE app.guardian").is_err());
    school.flush_audit();
    let number: String =
        school.ask("SELECT incident_no FROM steward.incident WHERE level = 'major' AND status = 'open'");
    let mut han = school.session("security_han");
    han.batch_execute("SELECT steward.acknowledge((SELECT id FROM steward.alert WHERE rule = 'truncation' AND subject = 'Qian'), 'looking')")
        .expect("in hand");
    report(&mut han, &number, form).expect("reported");
    let confirm = format!("SELECT steward.confirm_incident('{number}')");
    let error = expect_refused(school.session("auditor_qian").batch_execute(&confirm));
    assert!(error.message().contains("about you"), "{error:?}");
    school.session("reviewer_sun").batch_execute(&confirm).expect("somebody else");
}

fn incidents_of_persons_have_their_terms_and_are_found_again() {
    let school = School::active();
    let mut wang = school.session("teacher_wang");
    for (level, minutes, late) in [
        ("general", 119, false),
        ("general", 121, true),
        ("important", 31, true),
        ("major", 14, false),
        ("major", 16, true),
    ] {
        let open =
            format!("SELECT steward.open_incident('{level}', 'no card {minutes}', now() - interval '{minutes} min')");
        let number: String = ask(&mut wang, &open);
        let stands = format!("SELECT late FROM steward.incident WHERE incident_no = '{number}'");
        assert_eq!(school.ask::<bool>(&stands), late, "{level} {minutes}");
    }
    expect_message(wang.batch_execute("SELECT steward.open_incident('huge', 'x')"), BAD, "\"huge\" is no level");
    expect_error(
        wang.batch_execute("SELECT steward.open_incident('major', 'x', now() + interval '1 min')"),
        BAD,
        "",
        "",
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.reminder WHERE kind = 'incident' AND overdue"), 3);
    let mut wu = school.superuser();
    let minutes: f64 = ask(&mut wu, "SELECT steward.respond_to_incident('INC-2')");
    assert!((121.0..123.0).contains(&minutes), "{minutes}");
    expect_error(
        school.session("security_han").batch_execute("SELECT steward.respond_to_incident('INC-2')"),
        NOT_NOW,
        "",
        "responder",
    );
    expect_refused(school.session("clerk_zhao").batch_execute("SELECT steward.respond_to_incident('INC-3')"));
    for unknown in ["INC-99", "INC-x", "OP-1"] {
        expect_error(wu.batch_execute(&format!("SELECT steward.respond_to_incident('{unknown}')")), UNKNOWN, "", "");
    }
    let form = REPORT.replace("TIME", "2026-01-01").replace("major", "general");
    report(&mut wu, "INC-2", &form).expect("reported");
    let found = |words: &str| school.ask::<i64>(&format!("SELECT count(*) FROM steward.search_incidents('{words}')"));
    assert_eq!((found("FULL disk"), found("full moon"), found("card"), found("no card 16")), (1, 0, 5, 1));
    assert_eq!(
        ask::<i64>(&mut school.session("clerk_zhao"), "SELECT count(*) FROM steward.search_incidents('card')"),
        0
    );
}

fn rights_are_recertified_by_others_and_revoked_by_operations() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            "CREATE ROLE finance; GRANT finance TO teacher_wang;
            SELECT steward.register_person('Wang', NULL, supervisor => 'Chen'); SELECT steward.activate()",
        )
        .expect("a right");
    expect_refused(school.session("teacher_wang").batch_execute("SELECT steward.open_recertification('autumn')"));
    let mut han = school.session("security_han");
    expect_error(han.batch_execute("SELECT steward.open_recertification('autumn', '1 s')"), BAD, "", "term");
    let campaign: i64 = ask(&mut han, "SELECT steward.open_recertification('autumn')");
    let item = |person: &str, kind: &str| -> i64 {
        school.ask(&format!("SELECT item FROM steward.recertification WHERE campaign = {campaign} AND person = '{person}' AND kind = '{kind}'"))
    };
    let finance = item("Wang", "membership");
    let attributes = "SELECT count(*) FROM steward.recertification WHERE person = 'Wu' AND kind = 'attribute'";
    assert!(school.ask::<i64>(attributes) > 0);
    let decide = |login: &str, item: i64, keep: bool| {
        school.session(login).batch_execute(&format!("SELECT steward.recertify({item}, {keep}, 'looked at it')"))
    };
    // The holder never, others not; who has no supervisor is looked at by approvers and officers.
    for login in ["teacher_wang", "security_han", "reviewer_sun", "postgres"] {
        expect_refused(decide(login, finance, true));
    }
    expect_refused(decide("security_han", item("Han", "post"), true));
    decide("reviewer_sun", item("Han", "post"), true).expect("an approver");
    decide("region_chen", finance, false).expect("the supervisor");
    expect_error(decide("region_chen", finance, true), NOT_NOW, "", "decided_by");
    // Nothing is gone by that, and it is reported until an operation has taken it.
    let stands =
        format!("SELECT status || ' ' || coalesce(revoke, '') FROM steward.recertification WHERE item = {finance}");
    assert_eq!(school.ask::<String>(&stands), "to_revoke REVOKE finance FROM teacher_wang");
    school.operate("postgres", "REVOKE finance FROM teacher_wang");
    assert_eq!(school.ask::<String>(&stands), "gone ");
    assert_eq!(
        ask::<i64>(
            &mut school.session("clerk_zhao"),
            "SELECT count(*) FROM steward.recertification WHERE person <> 'Zhao'"
        ),
        0
    );
    assert_eq!(school.records("operation_type = 'recertify' AND person = 'Chen'"), 1);
}

fn records_survive_a_dump() {
    let school = School::active();
    let id = examine(&school, "Sun", PASSED);
    let digest: String = school.ask(&format!("SELECT digest FROM steward.record WHERE id = {id}"));
    let [roles, database] = crate::dump::dump(&school);
    let settings = crate::school::settings("enforce");
    let copy = crate::cluster::Cluster::with_home(&settings.each_ref().map(String::as_str));
    copy.psql_file("postgres", "postgres", &roles);
    copy.psql_file("postgres", crate::school::HOME, &database);
    let mut superuser = copy.connect("postgres", crate::school::HOME);
    let kept = "SELECT digest || ' ' || status || ' ' || intact FROM steward.record";
    assert_eq!(ask::<String>(&mut superuser, kept), format!("{digest} valid true"));
    // Whoever changes a row before the policy is active is found out.
    let found = "SELECT issues FROM steward.daily_check() WHERE check_name = 'register'";
    assert_eq!(ask::<i64>(&mut superuser, found), 0);
    superuser.batch_execute("UPDATE steward._record SET subject = 'Zhou'").expect("not active yet");
    assert!(!ask::<bool>(&mut superuser, "SELECT intact FROM steward.record"));
    assert_eq!(ask::<i64>(&mut superuser, found), 1);
    superuser.batch_execute("UPDATE steward._record SET id = 2, subject = 'Sun'").expect("not active yet");
    assert_eq!(ask::<i64>(&mut superuser, found), 1, "number 1 is gone");
    superuser.batch_execute("UPDATE steward._record SET id = 1").expect("not active yet");
    assert_eq!(ask::<i64>(&mut superuser, found), 0);
    // What a row does not tell of itself, the chain does.
    assert_eq!(add(&mut superuser, "certificate", "web", CERTIFICATE).expect("certificate"), 2);
    superuser.batch_execute("SELECT steward.withdraw_record(2, 'another one')").expect("withdrawn");
    superuser.batch_execute("SELECT steward.flush_audit()").expect("flush");
    for (change, issues) in [
        ("UPDATE steward._record SET confirmed_by = 'Qian', confirmed_at = now() - interval '1 hour' WHERE id = 2", 1),
        ("UPDATE steward._record SET confirmed_by = NULL, confirmed_at = NULL WHERE id = 2", 0),
        (
            "UPDATE steward._record SET withdrawn_by = NULL, withdrawn_at = NULL, withdrawn_reason = NULL WHERE id = 2",
            1,
        ),
        ("DELETE FROM steward._record WHERE id = 2", 1),
    ] {
        superuser.batch_execute(change).expect("not active yet");
        assert_eq!(ask::<i64>(&mut superuser, found), issues, "{change}");
    }
}

/// The register's check of each day, as the chain grows, is archived, and somebody changes what was read of it.
fn the_chain_is_read_once_and_nothing_else_is_believed() {
    let school = School::inactive();
    crate::retention::small_segments(&school);
    let mut superuser = school.superuser();
    let certificate = |session: &mut Client| add(session, "certificate", "web", CERTIFICATE).expect("certificate");
    let mut found = || -> i64 {
        school.flush_audit();
        let found = ask(&mut superuser, "SELECT issues FROM steward.daily_check() WHERE check_name = 'register'");
        school.flush_audit();
        found
    };
    let through = || school.ask::<i64>("SELECT through FROM steward._register_read");
    let known = || {
        school.ask::<String>(
            "SELECT string_agg(concat_ws(' ', step, record), ', ' ORDER BY id) FROM steward._register_step",
        )
    };
    let change = |sql: &str| school.superuser().batch_execute(sql).expect("not active yet");
    let mut han = school.session("security_han");
    assert_eq!((certificate(&mut han), certificate(&mut han)), (1, 2));
    assert_eq!(found(), 0);
    han.batch_execute("SELECT steward.withdraw_record(2, 'another one')").expect("withdrawn");
    let before = through();
    assert_eq!((found(), known().as_str()), (0, "add_record 1, add_record 2, withdraw_record 2"));
    assert!(through() > before);

    // What is archived is still known: the last record, which leaves no gap behind.
    crate::retention::fill_segment(&school, 12);
    // What the last run said of it stays online.
    change("SELECT steward.set_retention(segment_records => 1000)");
    assert_eq!(found(), 0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    crate::retention::archive(&school);
    let online = "SELECT count(*) FROM steward.audit_log WHERE operation_type = 'add_record'";
    assert_eq!(school.ask::<i64>(online), 0, "both are offline");
    change("CREATE TABLE kept AS TABLE steward._record; DELETE FROM steward._record WHERE id = 2");
    assert_eq!(found(), 1);
    change("INSERT INTO steward._record OVERRIDING SYSTEM VALUE SELECT * FROM kept WHERE id = 2");
    assert_eq!(found(), 0);

    // A table that the chain does not attest is read anew: what was put there, what was taken away, what was set back.
    assert_eq!(certificate(&mut han), 3);
    assert_eq!(found(), 0);
    change("INSERT INTO kept SELECT * FROM steward._record WHERE id = 3");
    let last = through();
    for tampered in [
        "UPDATE steward._register_step SET digest = 'd' WHERE record = 3",
        "DELETE FROM steward._register_step WHERE record = 3",
        "UPDATE steward._register_read SET through = through + 5",
        "UPDATE steward._register_read SET through = 9223372036854775807",
        "DELETE FROM steward._register_read",
    ] {
        change(tampered);
        change("DELETE FROM steward._record WHERE id = 3");
        assert_eq!((found(), known().as_str()), (1, "add_record 3"), "{tampered}");
        change("INSERT INTO steward._record OVERRIDING SYSTEM VALUE SELECT * FROM kept WHERE id = 3");
    }
    assert!(through() > last);
}
