//! Every installed alert rule on a server, once, by what people and machines do, with what just does not fulfil it beside
//! it. The rules that ask what time it is have a server whose clock is moved; `core::month` is the same for 60000 events.
//!
//! In time means: with the transaction that chains the record. That is the server's own word, by the times of commits,
//! and says nothing of the machine, so it is asserted of every alert. That this is within 2 s of the record is asserted of
//! the median only: a busy machine may delay some of them, not half.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, NoTls};

use crate::attack::{crash_unchained, edit_lane};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::expect::expect_error;
use crate::fault::{Paused, report, wait_for};
use crate::school::{HOME, School, ask, execute, request, settings};
use crate::second_factor::{Phone, verify};
use crate::trail::tamper;
use crate::way_around::wire::Wire;

tests! {
    each_installed_rule_fires_where_it_should_and_nowhere_else,
}

/// Thursday 2026-10-08, ten past nine in the evening in China; when the night of Friday has begun, less than 25 hours
/// later; Saturday morning. Between the first two there is time enough for a busy machine.
const EVENING: i64 = 1_791_465_000;
const NIGHT: i64 = EVENING + 24 * 3600 + 52 * 60;
const MORNING: i64 = EVENING + 35 * 3600 + 50 * 60;

/// Teachers, each with one thing to do.
const PERSONS: [&str; 20] = [
    "busy",
    "calm",
    "greedy",
    "modest",
    "slow",
    "denied",
    "tidy",
    "prober",
    "curious",
    "typist",
    "clumsy",
    "forgetful",
    "absent",
    "injector",
    "harmless",
    "outsider",
    "insider",
    "hopeful",
    "unlucky",
    "copier",
];

/// Whoever looks at everything does much, at night too, and while looking.
const LOOKING: &str = "a.subject = 'Wu' AND a.rule IN ('many_operations', 'many_rows', 'off_hours')";

struct Month {
    school: School,
    clock: Arc<Clock>,
    now: Cell<i64>,
    /// Alerts that were looked at.
    seen: Cell<i64>,
    /// How many seconds after its record each was told.
    took: RefCell<Vec<f64>>,
}

impl Month {
    /// Inactive, on the evening of the first day.
    fn begin() -> Month {
        let more = [
            "track_commit_timestamp = on",
            "archive_mode = on",
            "archive_command = 'true'",
            "synchronous_commit = local",
            "steward.time_zone = 'Asia/Shanghai'",
        ];
        let (cluster, clock) =
            Cluster::at(EVENING, &[&settings("enforce").each_ref().map(String::as_str), &more[..]].concat());
        let mut school = School::set_up(cluster);
        let key = school.private_file("steward.key", &"0123456789abcdef".repeat(4));
        school.configure(&[&format!("steward.key_file = '{}'", key.display())]);
        school.restart();
        let year: f64 = school.ask("SELECT extract(year FROM now())::float8");
        let hour: f64 = school.ask("SELECT extract(hour FROM now() AT TIME ZONE 'Asia/Shanghai')::float8");
        assert_eq!((year, hour), (2026.0, 21.0), "the clock is loaded");
        Month { school, clock, now: Cell::new(EVENING), seen: Cell::new(0), took: RefCell::default() }
    }

    /// The stopped server starts again, and it is this moment.
    fn start_at(&mut self, moment: i64) {
        self.clock.advance(moment - self.now.get());
        self.now.set(moment);
        self.school.start();
    }

    /// Less than what makes the sequencer late, and more than there is between two looks of it.
    fn a_while(&self) {
        self.clock.advance(6);
        self.now.set(self.now.get() + 6);
        sleep(Duration::from_millis(300));
    }

    /// Time goes by until there is an alert of this rule.
    #[track_caller]
    fn until(&self, rule: &str, subject: &str) {
        let alert = format!("SELECT count(*) FROM steward._alert WHERE rule = '{rule}' AND subject = '{subject}'");
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.school.ask::<i64>(&alert) == 0 {
            assert!(Instant::now() < deadline, "no {rule} of {subject}\n{}", self.school.log_tail());
            self.a_while();
        }
    }

    /// What was told since this was asked last: rule and subject. What is slow depends on the machine and is compared by
    /// itself.
    fn told(&self) -> Vec<String> {
        self.school.flush_audit();
        let query = format!(
            "SELECT id, concat_ws(' ', rule, subject), rule ~ 'slow_statement' FROM steward._alert a
            WHERE id > $1 AND NOT ({LOOKING}) ORDER BY 2"
        );
        let rows = self.school.superuser().query(&query, &[&self.seen.get()]).expect("alerts");
        // Now, since a quarter of an hour later they are told again.
        self.took.borrow_mut().extend(with_their_records(&self.school, self.seen.get()));
        let last = rows.iter().map(|row| row.get::<_, i64>(0)).max().unwrap_or(0);
        self.seen.set(last.max(self.seen.get()));
        rows.iter().filter(|row| !row.get::<_, bool>(2)).map(|row| row.get(1)).collect()
    }
}

fn read(session: &mut Client, times: usize) {
    for _ in 0..times {
        session.batch_execute("SELECT FROM app.student WHERE id = 1").expect("a read");
    }
}

fn each_installed_rule_fires_where_it_should_and_nowhere_else() {
    let mut month = Month::begin();
    let phone = people(&month.school);
    let mut standby = month.school.standby(&[]);
    let following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    wait_for(&month.school, "the standby", || (month.school.ask::<i64>(following) == 1).then_some(()));
    let mut wu = month.school.superuser();
    wu.batch_execute("SELECT steward.activate()").expect("activate");
    wu.execute(
        "SELECT steward.register_backup('full', 'B1', '/backup', false, 1000, repeat('5f', 32), '0/1000000',
        pg_current_wal_lsn(), now() - interval '5 min', now())",
        &[],
    )
    .expect("backup");
    month.told();

    emergency(&month, &phone);
    statements(&month.school);
    logins(&month.school);
    assert_eq!(
        month.told(),
        [
            "emergency_window Wu",
            "injection_pattern injector",
            "login_failures forgetful",
            "many_operations busy",
            "many_rows greedy",
            "out_of_scope outsider",
            "permission_failures prober",
            "replication_refused copier",
            "syntax_errors typist",
            "without_approval denied",
        ]
    );
    let overdue = jobs(&month.school);
    let mut expected = vec!["daily_check Wu".to_owned(), "failed_job Wu".to_owned()];
    expected.extend(overdue);
    assert_eq!(month.told(), expected);
    lost(&month.school);
    assert_eq!(month.told(), ["records_lost pg_steward"]);
    missing(&month.school);
    assert_eq!(month.told(), ["login_policy_lost pg_steward", "rows_missing Chen"]);
    server(&month, &mut standby);
    assert_eq!(
        month.told(),
        [
            "archive_late archive",
            "clock_step pg_steward",
            "replication_lag standby",
            "sequencer_lag sequencer",
            "standby_missing standby"
        ]
    );

    // Friday night: nothing that may be a day and an hour old is too old.
    damage(&mut month.school);
    month.start_at(NIGHT);
    read(&mut month.school.session("busy"), 1);
    for job in ["check_reviews", "revoke_lapsed", "verify_new"] {
        month.until("missed_job", job);
    }
    assert_eq!(
        month.told(),
        [
            "chain_changed pg_steward",
            "missed_job check_reviews",
            "missed_job revoke_lapsed",
            "missed_job verify_new",
            "off_hours busy",
            "records_in_doubt pg_steward",
        ]
    );
    // Saturday morning.
    month.school.flush_audit();
    month.school.stop();
    month.start_at(MORNING);
    read(&mut month.school.session("calm"), 1);
    for (rule, subject) in [("missed_check", "daily_check"), ("missed_verification", "audit_chain")] {
        month.until(rule, subject);
    }
    month.until("missed_job", "purge_images");
    assert_eq!(
        month.told(),
        [
            "backup_late backup",
            "backup_late off_site_backup",
            "missed_check daily_check",
            "missed_job archive_audit",
            "missed_job check_records",
            "missed_job daily_check",
            "missed_job purge_archive",
            "missed_job purge_images",
            "missed_verification audit_chain",
        ]
    );
    tamper(&mut month.school, "ALTER TABLE steward.journal_1 ADD COLUMN note int");
    month.until("journal_altered", "steward.journal_1");
    slow_ones_were_told(&month.school);
    every_rule_has_fired(&month.school);
    in_time(month.took.take());
}

/// Everybody, what they need, and Wu's authenticator.
fn people(school: &School) -> Phone {
    let mut wu = school.superuser();
    for person in PERSONS {
        let one = format!(
            "CREATE ROLE {person} LOGIN PASSWORD 'right'; GRANT USAGE ON SCHEMA app TO {person};
            GRANT SELECT, UPDATE ON app.student, app.guardian, app.card_transaction TO {person};
            SELECT steward.register_person('{person}', 'teacher', roles => '{{{person}}}')"
        );
        wu.batch_execute(&one).expect("a person");
    }
    wu.batch_execute(
        "CREATE ROLE scoped; GRANT scoped TO outsider, insider; GRANT USAGE ON SCHEMA app TO scoped;
        GRANT SELECT ON app.guardian TO scoped;
        SELECT steward.set_scope('scoped', 'app.guardian', 'student_id', 'pupil');
        SELECT steward.set_attribute('outsider', 'pupil', '{61}'); SELECT steward.set_attribute('insider', 'pupil', '{61}');
        ALTER ROLE copier REPLICATION;
        SELECT steward.register_person('calm', NULL, valid_until => now() + interval '5 days');
        SELECT steward.set_check('digits', 'app.student', 'format', '{id_card}', '^[0-9]+$')",
    )
    .expect("scopes, a term and a check");
    let hba = "local replication all trust\nlocal all forgetful,absent scram-sha-256\nlocal all all trust\n";
    school.data_file("pg_hba.conf", hba);
    school.reload();
    Phone::enrolled(&mut wu)
}

/// A window is opened; another is refused.
fn emergency(month: &Month, phone: &Phone) {
    let mut hopeful = month.school.session("hopeful");
    let window = "SELECT steward.break_glass('the canteens cannot take cards')";
    expect_error(hopeful.batch_execute(window), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    let mut wu = month.school.superuser();
    verify(&mut wu, &phone.code(month.clock.steps_ahead())).expect("a right code");
    wu.batch_execute(window).expect("a window");
    wu.batch_execute("SELECT steward.end_break_glass()").expect("its end");
}

fn statements(school: &School) {
    let session = |login: &str| school.session(login);
    read(&mut session("busy"), 51);
    read(&mut session("calm"), 50);
    // 10000 rows are none too many.
    let many = "SELECT s.id FROM app.student s, generate_series(1, 50) n";
    for (login, more) in [("greedy", "SELECT id FROM app.student LIMIT 1"), ("modest", "SELECT 1")] {
        let mut session = session(login);
        session.simple_query(many).expect("rows");
        session.simple_query(more).expect("a row more");
    }
    session("slow").simple_query("SELECT pg_sleep(2.1) FROM app.student WHERE id = 1").expect("slow");
    let bulk = session("denied").batch_execute("UPDATE app.student SET note = 'all'");
    expect_error(bulk, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    session("tidy").batch_execute("UPDATE app.student SET note = 'one' WHERE id = 7").expect("a row");
    for (login, times) in [("prober", 5), ("curious", 4)] {
        let mut session = session(login);
        for _ in 0..times {
            expect_error(session.batch_execute("TABLE pg_authid"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
        }
    }
    for (login, times) in [("typist", 5), ("clumsy", 4)] {
        let mut session = session(login);
        for _ in 0..times {
            assert!(session.batch_execute("SELECT name FROM app.student WHERE id = 7'").is_err());
        }
    }
    let (injected, harmless) = ("name = 'Tom' OR 'x' = 'x' --'", "1 = 1 AND id = 7 OR id = 8");
    for (login, condition) in [("injector", injected), ("harmless", harmless)] {
        session(login).batch_execute(&format!("SELECT name FROM app.student WHERE {condition}")).expect("a look");
    }
    for (login, pupil, found) in [("outsider", 62, 0), ("insider", 61, 1)] {
        let look = format!("SELECT count(*) FROM app.guardian WHERE student_id = {pupil}");
        assert_eq!(ask::<i64>(&mut session(login), &look), found, "{login}");
    }
}

fn logins(school: &School) {
    for (login, times) in [("forgetful", 5), ("absent", 4)] {
        for _ in 0..times {
            let error = school.config(login, HOME).password("wrong").connect(NoTls).err().expect("a wrong password");
            assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{error:?}");
        }
    }
    // The standby has a licence, and so replicates.
    let mut copier = Wire::connect(school, "copier", HOME, &[("replication", "true")]).expect("a walsender");
    copier.query("IDENTIFY_SYSTEM").expect("nothing to tell");
    assert!(copier.query("BASE_BACKUP").expect_err("refused").starts_with("42501"));
}

/// One job that goes well, one that fails, the check that finds something, and the reminders: whose alerts these are.
fn jobs(school: &School) -> Vec<String> {
    let mut wu = school.superuser();
    let mut run = |job: &str| ask::<bool>(&mut wu, &format!("SELECT steward.run_job('{job}')"));
    assert!(run("verify_new") && run("daily_check"));
    let file = school.data().join("pg_steward/verified");
    let kept = fs::read(&file).expect("what is verified");
    fs::write(&file, "nonsense\n").expect("a damage");
    assert!(!run("verify_new"));
    fs::write(&file, kept).expect("as it was");
    assert!(run("check_records"));
    let overdue = "SELECT DISTINCT 'record_overdue ' || kind FROM steward.reminder WHERE overdue ORDER BY 1";
    let overdue: Vec<String> = wu.query(overdue, &[]).expect("reminders").iter().map(|row| row.get(0)).collect();
    assert!(overdue.len() > 1 && overdue.iter().all(|one| !one.contains("account")), "{overdue:?}");
    overdue
}

/// For a moment no lane can be made, and there are more sessions than there ever were.
fn lost(school: &School) {
    let spool = fs::read_dir(school.data().join("pg_steward/spool")).expect("the spool");
    let starts: Vec<PathBuf> = spool.map(|start| start.expect("entry").path()).filter(|path| path.is_dir()).collect();
    let set = |mode: u32| {
        for start in &starts {
            fs::set_permissions(start, fs::Permissions::from_mode(mode)).expect("permissions");
        }
    };
    set(0o500);
    let connect = |_| school.config("unlucky", HOME).connect(NoTls).ok();
    let mut sessions: Vec<Client> = (0..16).filter_map(connect).collect();
    sessions.iter_mut().for_each(|session| read(session, 1));
    drop(sessions);
    set(0o700);
    read(&mut school.session("tidy"), 1);
    let told = "SELECT count(*) FROM steward._alert WHERE rule = 'records_lost'";
    wait_for(school, "LOST", || (school.ask::<i64>(told) > 0).then_some(()));
}

/// The file of the login policy is gone; an approved run touches fewer rows than were expected, beside one that does not.
fn missing(school: &School) {
    fs::remove_file(school.data().join("pg_steward/logins")).expect("the policy of logins");
    let told = "SELECT count(*) FROM steward._alert WHERE rule = 'login_policy_lost'";
    let written = || (school.data().join("pg_steward/logins").exists() && school.ask::<i64>(told) > 0).then_some(());
    wait_for(school, "the policy of logins", written);
    let mut chen = school.session("region_chen");
    for expected in [59, 60] {
        let script = "UPDATE app.student SET note = 'term' WHERE id < 60";
        let op_no = request(&mut chen, script, &format!(", expected_rows => {expected}"));
        school.release(&op_no);
        assert_eq!(execute(&mut chen, &op_no).expect("execute"), 59);
    }
}

/// A standby that does not keep up, and then is gone; an archive that fails; a sequencer that stands still.
fn server(month: &Month, standby: &mut Cluster) {
    let school = &month.school;
    school.configure(&["synchronous_standby_names = 'FIRST 1 (standby)'"]);
    school.reload();
    standby.configure(&["recovery_min_apply_delay = '1h'"]);
    standby.reload();
    month.a_while();
    school.session("tidy").batch_execute("UPDATE app.student SET note = 'two' WHERE id = 7").expect("a row");
    month.until("replication_lag", "standby");
    standby.stop();
    month.until("standby_missing", "standby");
    school.configure(&["archive_command = 'false'", "archive_timeout = 1"]);
    school.reload();
    school.session("tidy").batch_execute("UPDATE app.student SET note = 'three' WHERE id = 7").expect("a row");
    month.until("archive_late", "archive");
    school.configure(&["archive_command = 'true'", "archive_timeout = 0"]);
    school.reload();
    let paused = Paused::between_rounds(school);
    month.clock.advance(60);
    month.now.set(month.now.get() + 60);
    sleep(Duration::from_millis(100));
    drop(paused);
    month.until("sequencer_lag", "sequencer");
}

/// The server crashes; somebody edits a record that is not chained yet, and removes the file of the chain's head.
fn damage(school: &mut School) {
    crash_unchained(school, |school| {
        let bulk = school.session("denied").batch_execute("UPDATE app.card_transaction SET amount = 0");
        expect_error(bulk, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    });
    edit_lane(school, "app.card_transaction");
    fs::remove_file(school.data().join("pg_steward/head")).expect("the head file");
}

/// What took so long, by the records themselves.
fn slow_ones_were_told(school: &School) {
    let took = |term: i64| {
        let who = format!(
            "SELECT DISTINCT coalesce(person, user_id) FROM steward.audit_log l JOIN steward.chain c USING (id)
            WHERE steward._record_text(c.record, 1) = 'statement' AND duration_us >= {term}"
        );
        school.superuser().query(&who, &[]).expect("records").iter().map(|row| row.get(0)).collect::<BTreeSet<String>>()
    };
    let told = |rule: &str| {
        let who = format!("SELECT subject FROM steward._alert WHERE rule = '{rule}'");
        school.superuser().query(&who, &[]).expect("alerts").iter().map(|row| row.get(0)).collect::<BTreeSet<String>>()
    };
    for (rule, term) in [("slow_statement", 1_000_000), ("very_slow_statement", 2_000_000)] {
        assert_eq!(told(rule), took(term), "{rule}");
        assert!(told(rule).contains("slow"), "{rule}");
    }
}

fn every_rule_has_fired(school: &School) {
    let silent = "SELECT coalesce(string_agg(name, ', '), '') FROM steward.alert_rule r
        WHERE enabled AND NOT EXISTS (SELECT FROM steward._alert a WHERE a.rule = r.name)";
    assert_eq!(school.ask::<String>(silent), "");
}

/// Each with the transaction that chained its last record. Returns how many seconds after the end of that record.
fn with_their_records(school: &School, since: i64) -> Vec<f64> {
    let query = format!(
        "SELECT concat_ws(' ', a.rule, a.subject),
            bool_or(pg_xact_commit_timestamp(c.xmin) = pg_xact_commit_timestamp(a.xmin)),
            min(extract(epoch FROM pg_xact_commit_timestamp(a.xmin) - l.operation_time
                - coalesce(l.duration_us, 0) * interval '1 microsecond'))::float8
        FROM steward._alert a LEFT JOIN steward.audit_log l
            ON l.operation_time = a.last_at AND l.operation_type = a.operation_type
        LEFT JOIN steward.chain c ON c.id = l.id WHERE a.id > $1 AND NOT ({LOOKING}) GROUP BY a.id"
    );
    let rows = school.superuser().query(&query, &[&since]).expect("commits");
    let late = rows.iter().filter(|row| row.get::<_, Option<bool>>(1) != Some(true));
    let late: Vec<String> = late.map(|row| row.get(0)).collect();
    assert!(late.is_empty(), "not with their records: {late:?}");
    rows.iter().map(|row| row.get(2)).collect()
}

fn in_time(mut took: Vec<f64>) {
    took.sort_unstable_by(f64::total_cmp);
    let (half, most) = (took[took.len() / 2], took[took.len() - 1]);
    report(&format!("alerts: {} told {half:.3} s after their record in the median, {most:.3} s at most", took.len()));
    assert!(half <= 2.0, "{took:?}");
}
