//! The chain in segments: closed, bounded, dumped, archived and verified from the cut on.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use crate::cluster::{Cluster, succeed};
use crate::expect::{db_error, expect_error, expect_refused};
use crate::fault::sequencer;
use crate::school::{HOME, School, settings};
use crate::trail::tamper;

tests! {
    a_segment_that_is_archived_while_an_old_statement_verifies_is_not_missing,
    an_old_snapshot_does_not_accuse_a_segment_closed_since,
    verify_new_goes_on_when_what_it_verified_is_archived,
    segments_follow_one_another,
    terms_that_the_law_forbids_are_refused,
    archived_records_go_offline_and_the_rest_verifies,
    a_segment_that_does_not_verify_is_not_archived,
    a_prefix_deleted_without_a_prune_record_is_missing,
    a_prefix_with_a_forged_prune_record_is_missing,
    archiving_is_critical_work,
    a_reader_keeps_a_segment_but_not_the_chain,
    a_transaction_as_old_as_a_segment_keeps_it,
    an_event_trigger_has_no_say_in_segments,
    kill_9_while_archiving_loses_no_record,
    a_file_is_purged_when_its_offline_term_is_over,
    nothing_is_purged_before_it_is_on_record_in_the_chain,
    a_purged_file_that_is_put_back_is_known_by_its_digest,
    segments_are_dumped_and_dropped_with_the_extension,
}

/// Segments of ten records, which may be archived after a second.
pub fn small_segments(school: &School) {
    let terms = "SELECT steward.set_retention(online => '1 second', segment_records => 10)";
    school.superuser().batch_execute(terms).expect("set_retention");
}

/// A school with three closed segments, all of them beyond the online term.
pub fn school_with_segments() -> School {
    let school = School::inactive();
    small_segments(&school);
    for _ in 0..3 {
        fill_segment(&school, 12);
    }
    sleep(Duration::from_millis(1100));
    school
}

/// Archives what may be archived and waits until it is offline; the files, oldest first.
#[track_caller]
pub fn archive(school: &School) -> Vec<PathBuf> {
    let rows = school.superuser().query("SELECT file FROM steward.archive_audit()", &[]).expect("archive_audit");
    wait_until_offline(school);
    let directory = school.data().join("pg_steward/archive");
    rows.iter().map(|row| directory.join(row.get::<_, String>(0))).collect()
}

#[track_caller]
pub fn wait_until_offline(school: &School) {
    wait_until(
        school,
        "SELECT NOT EXISTS (SELECT FROM steward.audit_archive
         WHERE prune_id IS NULL OR to_regclass('steward.chain_' || number) IS NOT NULL)",
    );
}

/// Kind and first bad id of the chain from the oldest record on that should be there; ok is ("ok", 0).
#[track_caller]
fn verdict(school: &School) -> (String, i64) {
    let row =
        school.superuser().query_one("SELECT ok, kind, coalesce(first_bad_id, 0) FROM steward.verify_chain()", &[]);
    let row = row.expect("verify_chain");
    if row.get(0) { ("ok".to_owned(), 0) } else { (row.get(1), row.get(2)) }
}

/// Waits until a query says true: the sequencer looks after the segments once a second.
#[track_caller]
pub fn wait_until(school: &School, query: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while !school.ask::<bool>(query) {
        assert!(Instant::now() < end, "never true: {query}\n{}", school.log_tail());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Writes records until a segment is closed, and one into the next.
pub fn fill_segment(school: &School, records: usize) {
    let before: i64 = school.ask("SELECT count(*) FROM steward.segment");
    let mut teacher = school.session("teacher_wang");
    for note in 0..records {
        teacher.execute("UPDATE app.student SET note = $1 WHERE id = 1", &[&note.to_string()]).expect("update");
    }
    school.flush_audit();
    wait_until(school, &format!("SELECT count(*) > {before} FROM steward.segment"));
    teacher.batch_execute("UPDATE app.student SET note = 'on' WHERE id = 1").expect("update");
    school.flush_audit();
}

fn segments_follow_one_another() {
    let school = School::inactive();
    small_segments(&school);
    let default = "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO clerk_zhao, PUBLIC";
    school.superuser().batch_execute(default).expect("default privileges");
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
    assert!(plan.contains("chain_1_order") && !plan.contains("chain_2_order"), "{plan}");
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
    // Members of the extension that nobody else has a right on.
    let strangers: i64 = school.ask(
        "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'steward.chain'::regclass AND (EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner) OR NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))",
    );
    assert_eq!(strangers, 0);
    let written = school.superuser().batch_execute("DELETE FROM steward.chain_2");
    expect_refused(written);
}

fn terms_that_the_law_forbids_are_refused() {
    let school = School::inactive();
    let terms = "SELECT online = '30 days' AND offline = '1 year' FROM steward.retention_policy";
    assert!(school.ask::<bool>(terms));
    let mut superuser = school.superuser();
    for wrong in [
        "offline => '5 months 27 days'",
        "offline => '183 days'",
        "online => '0'",
        "online => '-1 day'",
        "online => '2 years'",
        "segment_records => 0",
        "segment_age => '0'",
    ] {
        let set = superuser.batch_execute(&format!("SELECT steward.set_retention({wrong})"));
        expect_error(set, &SqlState::INVALID_PARAMETER_VALUE, "", "retention_policy");
    }
    let by_hand = superuser.batch_execute("UPDATE steward.retention_policy SET offline = '1 month', online = '1 day'");
    expect_error(by_hand, &SqlState::CHECK_VIOLATION, "", "");
    superuser
        .batch_execute("SELECT steward.set_retention(online => '10 days', offline => '6 months')")
        .expect("six months");
    let early = superuser.batch_execute("SELECT steward.archive_audit(before => now() - interval '9 days')");
    expect_error(early, &SqlState::INVALID_PARAMETER_VALUE, "10 days", "archive_audit");
    let clerk = school.session("clerk_zhao").batch_execute("SELECT steward.set_retention(offline => '2 years')");
    expect_error(clerk, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn archived_records_go_offline_and_the_rest_verifies() {
    let mut school = school_with_segments();
    let last: i64 = school.ask("SELECT last_id FROM steward.segment WHERE number = 3");
    let files = archive(&school);
    assert!(files.len() >= 3);
    for file in &files {
        assert_eq!(file.metadata().expect("archive file").permissions().mode() & 0o777, 0o600);
    }
    assert!(school.ask::<i64>("SELECT min(id) FROM steward.chain") > last);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
    let from_the_beginning = school.ask::<String>("SELECT kind FROM steward.verify_chain(from_id => 1)");
    assert_eq!(from_the_beginning, "missing");
    let prunes = school.records("operation_type = 'PRUNE' AND user_id = 'postgres' AND tier = 'critical'");
    assert_eq!(prunes as usize, files.len());
    // Nothing is left to archive, and the chain goes on, also after a restart and into further archives.
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.archive_audit()"), 0);
    school.restart();
    fill_segment(&school, 12);
    sleep(Duration::from_millis(1100));
    assert!(!archive(&school).is_empty());
    assert!(school.ask::<i64>("SELECT min(id) FROM steward.chain") > last + 1);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
}

fn a_segment_that_does_not_verify_is_not_archived() {
    let mut school = school_with_segments();
    tamper(
        &mut school,
        "UPDATE steward.chain SET record = overlay(record PLACING 'X'::bytea FROM length(record)) WHERE id = 5",
    );
    let archived = school.superuser().query("SELECT steward.archive_audit()", &[]);
    let error = expect_error(archived, &SqlState::DATA_CORRUPTED, "", "verify_chain");
    assert!(error.message().contains("edited") && error.message().ends_with(" 5"), "{error:?}");
    assert_eq!(school.ask::<i64>("SELECT min(id) FROM steward.chain"), 1);
    assert_eq!(verdict(&school), ("edited".to_owned(), 5));
}

fn a_prefix_deleted_without_a_prune_record_is_missing() {
    let mut school = school_with_segments();
    tamper(&mut school, "DELETE FROM steward.chain WHERE id <= 10");
    assert_eq!(verdict(&school), ("missing".to_owned(), 1));

    // Behind a genuine cut as well.
    let mut school = school_with_segments();
    archive(&school);
    let cut: i64 = school.ask("SELECT max(last_id) FROM steward.audit_archive");
    let delete = format!("DELETE FROM steward.chain WHERE id <= {cut} + 1");
    tamper(&mut school, &delete);
    assert_eq!(verdict(&school), ("missing".to_owned(), cut + 1));
}

fn a_prefix_with_a_forged_prune_record_is_missing() {
    // A record that is none is named as the one that says so.
    let mut school = school_with_segments();
    let forged = "UPDATE steward.segment SET archived_at = now(), prune_id = last_id + 1 WHERE number = 1;
        DELETE FROM steward.chain WHERE id <= (SELECT last_id FROM steward.segment WHERE number = 1)";
    tamper(&mut school, forged);
    assert_eq!(verdict(&school), ("missing".to_owned(), 1));

    // The genuine PRUNE record of the first segment, as that of the second too.
    let (mut school, prune_id) = school_with_one_segment_archived();
    let reused =
        |prune_id| format!("UPDATE steward.segment SET archived_at = now(), prune_id = {prune_id} WHERE number = 2");
    tamper(&mut school, &format!("{}; {DELETE_SECOND}", reused(prune_id)));
    assert_eq!(verdict(&school), ("missing".to_owned(), 1));

    // … and edited, so that it tells of the second.
    let (mut school, prune_id) = school_with_one_segment_archived();
    let edited = "UPDATE steward.chain SET record = overlay(overlay(record
            PLACING convert_to(two.last_id::text, 'UTF8') FROM position('\"to_id\":'::bytea IN record) + 8 FOR length(one.last_id::text))
            PLACING convert_to(encode(two.last_hash, 'hex'), 'UTF8') FROM position('\"last_hash\":\"'::bytea IN record) + 13 FOR 64)
        FROM steward.segment one, steward.segment two WHERE one.number = 1 AND two.number = 2 AND id = one.prune_id";
    tamper(&mut school, &format!("{edited}; {}; {DELETE_SECOND}", reused(prune_id)));
    assert_eq!(verdict(&school), ("edited".to_owned(), prune_id));
}

const DELETE_SECOND: &str =
    "DELETE FROM steward.chain WHERE id <= (SELECT last_id FROM steward.segment WHERE number = 2)";

/// Two closed segments, the first of them offline; and the id of the record that says so.
fn school_with_one_segment_archived() -> (School, i64) {
    let school = School::inactive();
    small_segments(&school);
    fill_segment(&school, 12);
    fill_segment(&school, 12);
    sleep(Duration::from_millis(1100));
    let first = "SELECT first_id FROM steward.archive_audit((SELECT last_time + interval '1 us' FROM steward.segment WHERE number = 1))";
    assert_eq!(school.ask::<i64>(first), 1);
    wait_until_offline(&school);
    let prune_id = school.ask("SELECT prune_id FROM steward.audit_archive");
    (school, prune_id)
}

fn archiving_is_critical_work() {
    let school = school_with_segments();
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    for call in ["archive_audit()", "purge_archive()", "set_retention(online => '40 days')"] {
        expect_refused(school.superuser().batch_execute(&format!("SELECT steward.{call}")));
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.audit_archive"), 0);
    let op_no = school.operate("postgres", "SELECT steward.archive_audit()");
    wait_until_offline(&school);
    assert!(school.records(&format!("operation_type = 'PRUNE' AND op_no = '{op_no}' AND person = 'Wu'")) >= 3);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
    // Nobody but the auditor reads where the files are, and nobody writes it.
    school.session("auditor_qian").query("SELECT * FROM steward.audit_archive", &[]).expect("auditor");
    let clerk = school.session("clerk_zhao").query("SELECT * FROM steward.audit_archive", &[]);
    expect_error(clerk, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    expect_refused(school.superuser().batch_execute("UPDATE steward.segment SET file = NULL"));
}

fn a_reader_keeps_a_segment_but_not_the_chain() {
    let school = school_with_segments();
    let mut reader = school.superuser();
    let mut reading = reader.transaction().expect("begin");
    let first = "SELECT count(*) FROM steward.chain_1";
    let records: i64 = reading.query_one(first, &[]).expect("read").get(0);
    // An archiver that does not commit keeps nobody waiting either.
    let mut archiver = school.superuser();
    let mut archiving = archiver.transaction().expect("begin");
    archiving.batch_execute("SELECT steward.archive_audit()").expect("archive_audit");
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'z' WHERE id = 1").expect("update");
    school.flush_audit();
    archiving.commit().expect("commit");
    wait_until(&school, "SELECT bool_and(prune_id IS NOT NULL) FROM steward.audit_archive WHERE number = 1");
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'y' WHERE id = 1").expect("update");
    school.flush_audit();
    assert_eq!(reading.query_one(first, &[]).expect("read").get::<_, i64>(0), records);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
    // A file that is lost before its records are dropped is written again, nobody waits for the one who does it.
    let file: String = school.ask("SELECT file FROM steward.audit_archive WHERE number = 1");
    std::fs::remove_file(school.data().join("pg_steward/archive").join(file)).expect("remove");
    let mut archiving = archiver.transaction().expect("begin");
    let again = archiving.query("SELECT first_id FROM steward.archive_audit()", &[]).expect("archive_audit");
    assert_eq!(again[0].get::<_, i64>(0), 1);
    sleep(Duration::from_millis(2500));
    school.session("teacher_wang").batch_execute("UPDATE app.student SET note = 'x' WHERE id = 1").expect("update");
    school.flush_audit();
    archiving.commit().expect("commit");
    reading.commit().expect("commit");
    wait_until_offline(&school);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
}

fn a_transaction_as_old_as_a_segment_keeps_it() {
    let school = School::inactive();
    small_segments(&school);
    let mut teacher = school.session("teacher_wang");
    let mut old = teacher.transaction().expect("begin");
    old.batch_execute("UPDATE app.student SET note = 'old' WHERE id = 3").expect("update");
    fill_segment(&school, 12);
    sleep(Duration::from_millis(1100));
    school.superuser().batch_execute("SELECT steward.archive_audit()").expect("archive_audit");
    sleep(Duration::from_millis(2500));
    assert!(school.ask::<bool>("SELECT to_regclass('steward.chain_1') IS NOT NULL"));
    old.commit().expect("commit");
    wait_until_offline(&school);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
}

fn an_event_trigger_has_no_say_in_segments() {
    let school = School::inactive();
    small_segments(&school);
    let trigger = "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
        CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no()";
    school.superuser().batch_execute(trigger).expect("event trigger");
    let created = school.superuser().batch_execute("CREATE TABLE app.other ()");
    assert!(created.is_err(), "the trigger stops everybody else");
    fill_segment(&school, 12);
    fill_segment(&school, 12);
    sleep(Duration::from_millis(1100));
    archive(&school);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
}

fn kill_9_while_archiving_loses_no_record() {
    let mut school = school_with_segments();
    let records: i64 = school.ask("SELECT count(*) FROM steward.chain");
    for round in 0..4_u64 {
        let mut session = school.superuser();
        let call = std::thread::spawn(move || session.batch_execute("SELECT steward.archive_audit()").is_ok());
        sleep(Duration::from_millis(3 + 9 * round * round));
        school.kill_9_postmaster();
        let returned = call.join().expect("call");
        school.start();
        school.flush_audit();
        assert_eq!(verdict(&school), ("ok".to_owned(), 0), "round {round}, returned: {returned}");
        let kept = "SELECT (SELECT count(*) FROM steward.chain) + coalesce(sum(last_id - first_id + 1), 0)::bigint
            FROM steward.segment WHERE archived_at IS NOT NULL AND to_regclass('steward.chain_' || number) IS NULL";
        assert!(school.ask::<i64>(kept) > records, "round {round}");
    }
    archive(&school);
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
    assert!(school.ask::<bool>(
        "SELECT bool_and(first_id = before + 1) FROM (SELECT first_id, lag(last_id, 1, 0::bigint)
        OVER (ORDER BY number) AS before FROM steward.audit_archive) a"
    ));
}

fn a_file_is_purged_when_its_offline_term_is_over() {
    let mut school = school_with_segments();
    let files = archive(&school);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.purge_archive()"), 0);
    tamper(&mut school, "UPDATE steward.segment SET last_time = now() - interval '366 days' WHERE number = 1");
    let purged: String = school.ask("SELECT steward.purge_archive()");
    assert!(files[0].ends_with(&purged) && !files[0].exists() && files[1].exists(), "{purged}");
    assert_eq!(school.records(&format!("operation_type = 'PURGE' AND details LIKE '%{purged}%'")), 1);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.purge_archive()"), 0);
    // Whoever makes a file look older than it is shows.
    assert_eq!(verdict(&school), ("catalog".to_owned(), 1));
}

fn nothing_is_purged_before_it_is_on_record_in_the_chain() {
    let mut school = school_with_segments();
    let files = archive(&school);
    tamper(&mut school, "UPDATE steward.segment SET last_time = now() - interval '366 days' WHERE number = 1");
    school.flush_audit();
    let worker = sequencer(&school);
    school.signal("STOP", worker);
    let cut_short = "SET statement_timeout = '2s'; SELECT steward.purge_archive()";
    let refused = school.superuser().batch_execute(cut_short);
    school.signal("CONT", worker);
    assert_eq!(db_error(refused).code(), &SqlState::QUERY_CANCELED);
    assert!(files[0].exists(), "it was removed before the record of it was chained");
    let unsaid = "SELECT count(*) FROM steward.segment WHERE purged_at IS NOT NULL OR purge_id IS NOT NULL";
    school.flush_audit();
    assert_eq!(school.ask::<i64>(unsaid), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.purge_archive()"), 1);
    assert!(!files[0].exists());
    crate::failover::wait_until(&school, "SELECT purge_id IS NOT NULL FROM steward.segment WHERE number = 1");
}

/// From a backup of the archive, say: what was archived is told from what only has its name, and goes again in its time.
fn a_purged_file_that_is_put_back_is_known_by_its_digest() {
    let mut school = school_with_segments();
    let files = archive(&school);
    let content = std::fs::read(&files[0]).expect("archive file");
    let older = "UPDATE steward.segment SET last_time = last_time - interval '366 days' WHERE number = 1";
    tamper(&mut school, older);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.purge_archive()"), 1);
    std::fs::write(&files[0], &content).expect("put back");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.purge_archive()"), 1);
    assert!(!files[0].exists(), "purged again");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.purge_archive()"), 0);
    school.flush_audit();
    std::fs::write(&files[0], &content).expect("put back");
    tamper(&mut school, &older.replace(" - ", " + "));
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.purge_archive()"), 0, "its term is not over");
    let mut other = content;
    *other.last_mut().expect("a byte") ^= 1;
    std::fs::write(&files[0], other).expect("another");
    assert_eq!(verdict(&school), ("catalog".to_owned(), 1));
    std::fs::remove_file(&files[0]).expect("remove");
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
}

fn segments_are_dumped_and_dropped_with_the_extension() {
    let school = school_with_segments();
    archive(&school);
    fill_segment(&school, 12);
    let dump = school.file("dump.sql");
    let mut pg_dump = school.client_program("pg_dump");
    pg_dump.args(["--no-owner", "--no-privileges", "--file"]).arg(&dump).arg(HOME);
    succeed(pg_dump);
    let dumped = std::fs::read_to_string(&dump).expect("dump");
    assert!(dumped.contains("COPY steward.ledger") && !dumped.contains("COPY steward.chain"), "records are not dumped");

    let settings = settings("enforce");
    let copy = Cluster::with_home(&settings.each_ref().map(String::as_str));
    let roles = "CREATE ROLE teacher_wang; CREATE ROLE region_chen; CREATE ROLE region_liu; CREATE ROLE reviewer_sun;
        CREATE ROLE reviewer_zhou; CREATE ROLE auditor_qian; CREATE ROLE clerk_zhao; CREATE ROLE security_han";
    copy.connect("postgres", "postgres").batch_execute(roles).expect("roles");
    copy.psql_file("postgres", HOME, &dump);
    let mut restored = copy.connect("postgres", HOME);
    restored.batch_execute("SELECT steward.flush_audit()").expect("flush_audit");
    let row = restored.query_one(
        "SELECT ok, from_id, (SELECT segment_records FROM steward.retention_policy) FROM steward.verify_chain()",
        &[],
    );
    let row = row.expect("verify_chain");
    assert_eq!((row.get(0), row.get(1), row.get(2)), (true, 1_i64, 10_i64));

    let mut superuser = school.superuser();
    superuser.batch_execute("DROP EXTENSION pg_steward CASCADE").expect("drop");
    assert!(school.ask::<bool>("SELECT to_regnamespace('steward') IS NULL"));
    superuser.batch_execute("CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')").expect("create");
    school.flush_audit();
    assert_eq!(verdict(&school), ("ok".to_owned(), 0));
}

fn verify_new_goes_on_when_what_it_verified_is_archived() {
    let school = School::inactive();
    small_segments(&school);
    school.flush_audit();
    let new = "SELECT ok FROM steward.verify_new()";
    assert!(school.ask::<bool>(new), "the first of all");
    for _ in 0..3 {
        fill_segment(&school, 12);
    }
    let last: i64 = school.ask("SELECT last_verified_id FROM steward.audit_status");
    sleep(Duration::from_millis(1_100));
    school.superuser().batch_execute("SELECT steward.archive_audit()").expect("archive_audit");
    wait_until(&school, &format!("SELECT min(id) > {last} FROM steward.chain"));
    assert!(school.ask::<bool>(new));
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
    assert!(school.ask::<i64>("SELECT last_verified_id FROM steward.audit_status") > last);
    assert!(school.ask::<bool>(new));
}

/// The tables are as they are now, whatever the transaction's snapshot sees of them.
fn an_old_snapshot_does_not_accuse_a_segment_closed_since() {
    let school = school_with_segments();
    let mut auditor = school.superuser();
    for level in ["REPEATABLE READ", "SERIALIZABLE", "READ COMMITTED"] {
        auditor.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT 1")).expect("begin");
        fill_segment(&school, 12);
        for call in ["verify_chain()", "verify_new()"] {
            let verdict = crate::trail::verdict(&mut auditor, call);
            assert!(verdict.ok, "{call} under {level}: {verdict:?}");
        }
        // Once it has written, its queries can see nothing newer.
        auditor.batch_execute("CREATE TEMPORARY TABLE written () ON COMMIT DROP").expect("write");
        let answer = auditor.batch_execute("SELECT * FROM steward.verify_chain()");
        match level {
            "READ COMMITTED" => answer.expect(level),
            _ => {
                expect_error(answer, &SqlState::ACTIVE_SQL_TRANSACTION, "has written", "READ COMMITTED");
            }
        }
        auditor.batch_execute("ROLLBACK").expect("rollback");
    }
    assert_eq!(school.records("operation_type = 'VERIFICATION FAILED'"), 0);
}

/// The statement is older than the end of the segments.
fn a_segment_that_is_archived_while_an_old_statement_verifies_is_not_missing() {
    let school = school_with_segments();
    let old = "WITH w AS MATERIALIZED (SELECT pg_sleep(3)::text AS slept)
        SELECT v.kind FROM w, LATERAL (SELECT kind FROM steward.verify_chain() WHERE w.slept IS NOT NULL) v";
    let mut auditor = school.superuser();
    let verifies = std::thread::spawn(move || auditor.query_one(old, &[]).expect("verify_chain").get::<_, String>(0));
    wait_until(&school, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    school.superuser().batch_execute("SELECT steward.archive_audit()").expect("archive_audit");
    wait_until(&school, "SELECT count(*) > 0 AND bool_and(prune_id IS NOT NULL) FROM steward.audit_archive");
    assert_eq!(verifies.join().expect("the auditor"), "not_anchored");
}
