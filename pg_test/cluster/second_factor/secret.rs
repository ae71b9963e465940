//! The secrets: read by nobody, a superuser included, and worth nothing without the key.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use postgres::Client;

use super::{ACTING, Active, IMPORTANT, KEY, NOT_NOW, Phone, WRONG, demanding, missing, settled, steady, verify};
use crate::cluster::Cluster;
use crate::dump::dump_as;
use crate::expect::{db_error, expect_error};
use crate::school::{HOME, School, settings};
use crate::trail::tamper;

tests! {
    analyze_samples_no_secret,
    a_superuser_neither_reads_nor_writes_secrets,
    an_exchanged_secret_does_not_open,
    the_secret_stands_nowhere_in_clear,
    a_key_that_others_could_read_is_refused,
    a_dump_holds_no_secrets,
    a_copy_without_the_key_verifies_nothing,
}

/// What ANALYZE samples, pg_statistic shows to every superuser.
fn analyze_samples_no_secret() {
    let active = Active::new();
    let mut superuser = active.school.superuser();
    for statement in [
        "ANALYZE",
        "VACUUM ANALYZE",
        "ANALYZE steward._second_factor",
        "ANALYZE steward._second_factor_state (failures)",
    ] {
        // Whether it is refused or not: what it leaves behind counts.
        superuser.batch_execute(statement).ok();
    }
    for statement in [
        "ALTER TABLE steward._second_factor ALTER sealed SET STATISTICS 100",
        "CREATE STATISTICS app.s ON sealed, enrolled_at FROM steward._second_factor",
    ] {
        assert_eq!(db_error(superuser.batch_execute(statement)).code(), WRONG, "{statement}");
    }
    let sampled =
        "SELECT count(*) FROM pg_statistic s JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum
        WHERE starelid::regclass::text LIKE 'steward._second_factor%' AND a.attname <> 'person'";
    assert_eq!(active.school.ask::<i64>(sampled), 0);
}

fn a_superuser_neither_reads_nor_writes_secrets() {
    let attempts = |session: &mut Client| {
        for table in ["_second_factor", "_second_factor_state"] {
            for attack in [
                "SELECT * FROM steward.T",
                "SELECT count(*) FROM steward.T",
                "TABLE steward.T LIMIT 0",
                "COPY steward.T TO STDOUT",
                "COPY (SELECT * FROM steward.T) TO STDOUT",
                "CREATE TEMP TABLE loot AS SELECT * FROM steward.T",
                "DO $$BEGIN PERFORM * FROM steward.T; END$$",
                "CREATE OR REPLACE VIEW app.peep AS SELECT * FROM steward.T; SELECT * FROM app.peep",
                "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM steward.T",
                "UPDATE steward.T SET person = person",
                "DELETE FROM steward.T",
                "INSERT INTO steward.T (person) VALUES ('Chen')",
                "TRUNCATE steward.T",
                "LOCK steward.T",
                "ALTER TABLE steward.T DISABLE TRIGGER ALL",
                "CREATE RULE peep AS ON INSERT TO steward.T DO ALSO NOTIFY peep",
                "DROP TABLE steward.T",
            ] {
                let attack = attack.replace("steward.T", &format!("steward.{table}"));
                let error = db_error(session.batch_execute(&attack));
                assert_eq!(error.code(), WRONG, "{attack}: {error:?}");
            }
        }
    };
    let school = demanding();
    let phone = Phone::enrolled(&mut school.session("region_chen"));
    attempts(&mut school.superuser());
    for login in ACTING.into_iter().filter(|login| *login != "region_chen") {
        Phone::enrolled(&mut school.session(login));
    }
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    attempts(&mut school.superuser());
    attempts(&mut school.session("auditor_qian"));
    school.flush_audit();
    steady();
    verify(&mut school.session("region_chen"), &phone.code(0)).expect("nothing has changed");
}

/// Even where nobody guards the table, one person's authenticator cannot be put in another's place.
fn an_exchanged_secret_does_not_open() {
    let mut active = Active::new();
    tamper(
        &mut active.school,
        "UPDATE steward._second_factor f SET sealed = other.sealed FROM steward._second_factor other
            WHERE f.person = 'Chen' AND other.person = 'Liu'",
    );
    let code = active.phone("region_liu").code(0);
    let refused = settled(|| verify(&mut active.school.session("region_chen"), &code));
    let error = expect_error(refused, NOT_NOW, "", "steward.reset_totp");
    assert!(error.message().contains("cannot be opened"), "{error:?}");
}

fn the_secret_stands_nowhere_in_clear() {
    let mut school = demanding();
    school.configure(&[
        "shared_preload_libraries = 'pg_stat_statements,pg_steward'",
        "pg_stat_statements.track = 'all'",
        "log_statement = 'all'",
        "log_min_messages = 'debug1'",
        "log_min_error_statement = 'debug1'",
    ]);
    school.restart();
    school.superuser().batch_execute("CREATE EXTENSION pg_stat_statements").expect("pg_stat_statements");
    let mut chen = school.session("region_chen");
    let phone = Phone::enrolled(&mut chen);
    let secret = phone.0.clone();
    school.flush_audit();
    steady();
    let (used, guess) = (phone.code(0), phone.wrong());
    chen.batch_execute(&format!("SELECT steward.verify_totp('{used}')")).expect("a right code");
    db_error(chen.batch_execute(&format!("SELECT steward.verify_totp('{guess}')")));
    for view in ["pg_stat_activity", "pg_stat_statements", "steward.audit_log", "pg_prepared_statements", "pg_cursors"]
    {
        for word in [&secret, "otpauth"] {
            let found = format!(
                "SELECT count(*) FROM {view} v WHERE v::text LIKE '%' || left('{word}', 30) || '%'
                AND v::text NOT LIKE '%left(%'"
            );
            assert_eq!(school.ask::<i64>(&found), 0, "{word} in {view}");
        }
    }
    let shown =
        format!("SELECT count(*) FROM pg_stat_activity WHERE query ~ '{used}|{guess}' AND pid <> pg_backend_pid()");
    assert_eq!(school.ask::<i64>(&shown), 0, "codes are hidden too");
    school.flush_audit();
    drop(chen);
    school.stop();
    // The key's file is beside the data directory, the log is too.
    let bytes = base32_decoded(&secret);
    let mut searched = 0;
    every_file(&school.data(), &mut |path, content| {
        searched += 1;
        for needle in [secret.as_bytes(), &bytes, KEY.trim().as_bytes()] {
            assert!(!contains(content, needle), "in {}", path.display());
        }
    });
    assert!(searched > 500, "{searched} files");
    let log = fs::read(school.log()).expect("log");
    assert!(contains(&log, b"enroll_totp"), "the log was searched");
    assert!(!contains(&log, &bytes));
    // The test's own questions name the secret in the log: in those lines only.
    let text = String::from_utf8_lossy(&log);
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains(&secret) && !line.contains("left('")).collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}

fn every_file(directory: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(directory).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            every_file(&path, look);
        } else if path.is_file() {
            look(&path, &fs::read(&path).expect("file"));
        }
    }
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn base32_decoded(text: &str) -> Vec<u8> {
    let bits: String = text
        .bytes()
        .map(|letter| format!("{:05b}", if letter >= b'A' { letter - b'A' } else { letter - b'2' + 26 }))
        .collect();
    let byte = |at: usize| u8::from_str_radix(&bits[at..at + 8], 2).expect("bits");
    (0..bits.len() / 8).map(|number| byte(8 * number)).collect()
}

fn a_key_that_others_could_read_is_refused() {
    let mut school = School::inactive();
    let good = school.private_file("good.key", KEY);
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    let open = school.private_file("open.key", KEY);
    mode(&open, 0o640);
    let short = school.private_file("short.key", "00112233");
    school.data_file("inside.key", KEY);
    mode(&school.data().join("inside.key"), 0o600);
    let link = school.file("link.key");
    symlink(school.data().join("inside.key"), &link).expect("link");
    let mut cases = vec![
        (school.file("none.key"), "cannot be read"),
        (open, "is open to others"),
        (short, "64 hexadecimal digits"),
        (school.data().join("inside.key"), "in the data directory"),
        (link, "in the data directory"),
        ("good.key".into(), "no absolute path"),
        (school.data(), "in the data directory"),
        ("/dev/zero".into(), "is no key file"),
    ];
    // Only root can make a file of somebody else's.
    let foreign = school.file("foreign.key");
    fs::write(&foreign, KEY).expect("file");
    mode(&foreign, 0o644);
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).expect("file"));
    if owner(&foreign) != owner(&good) {
        cases.push((foreign, "another user"));
    }
    cases.push((good, ""));
    for (path, why) in cases {
        school.configure(&[&format!("steward.key_file = '{}'", path.display())]);
        school.restart();
        let enrolled = school.session("region_chen").batch_execute("SELECT steward.enroll_totp()");
        match why {
            "" => enrolled.expect("a good key"),
            why => drop(expect_error(enrolled, NOT_NOW, why, "steward.key_file")),
        }
    }
}

/// What runs at night has nobody who types a code: its login belongs to a person of the post service.
fn a_dump_holds_no_secrets() {
    let school = demanding();
    let backup = "CREATE ROLE backup SUPERUSER LOGIN;
        SELECT steward.register_person('Nightly backup', 'service', roles => '{backup}')";
    school.superuser().batch_execute(backup).expect("the backup's login");
    let active = Active::of(school);
    let [roles, database] = dump_as(&active.school, "backup");
    let text = fs::read_to_string(&database).expect("dump");
    assert!(!text.contains("_second_factor"), "a dump tells nothing of second factors");
    let settings = settings("enforce");
    let copy = Cluster::with_home(&settings.each_ref().map(String::as_str));
    copy.psql_file("postgres", "postgres", &roles);
    copy.psql_file("postgres", HOME, &database);
    let mut superuser = copy.connect("postgres", HOME);
    // Neither a key nor anybody's enrolment has come along, and the demand has.
    let activated = superuser.batch_execute("SELECT steward.activate()");
    expect_error(activated, NOT_NOW, "No second factor is enrolled for Chen, Han, Liu", "steward.key_file");
    let code = active.phone("postgres").code(0);
    expect_error(verify(&mut superuser, &code), NOT_NOW, "steward.key_file is empty", "");
}

fn a_copy_without_the_key_verifies_nothing() {
    let active = Active::new();
    let mut copy = active.school.base_backup(&["steward.key_file = ''"]);
    copy.start();
    let code = active.phone("region_chen").code(1);
    expect_error(verify(&mut copy.connect("region_chen", HOME), &code), NOT_NOW, "steward.key_file is empty", "");
    missing(copy.connect("teacher_wang", HOME).batch_execute(IMPORTANT));
    // With another key the row is nobody's.
    let other = copy.private_file("other.key", &KEY.replace("00", "ff"));
    copy.configure(&[&format!("steward.key_file = '{}'", other.display())]);
    copy.restart();
    let refused = settled(|| verify(&mut copy.connect("region_chen", HOME), &code));
    let error = expect_error(refused, NOT_NOW, "another key", "");
    assert!(error.message().contains("cannot be opened"), "{error:?}");
}
