//! The witness: what a chain that was rewritten as a whole cannot hide from it, and what files tell without a server.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::expect::expect_error;
use crate::retention::{archive, fill_segment, school_with_segments};
use crate::school::{HOME, School};
use crate::trail::tamper;

tests! {
    a_growing_chain_is_witnessed_from_checkpoint_to_checkpoint,
    a_checkpoint_is_an_anchor,
    a_full_rewrite_is_found_by_the_witness_alone,
    a_truncation_is_found_by_the_witness_alone,
    a_rewrite_before_the_last_checkpoint_is_found,
    another_chain_in_its_place_is_found,
    a_stopped_sequencer_is_stale,
    a_server_that_is_down_is_unreachable,
    only_auditors_pull_the_chain,
    records_archived_after_they_were_seen_are_no_damage,
    archive_files_verify_offline,
    a_tampered_archive_file_is_found_with_the_id,
    an_export_verifies_offline,
}

/// What a run of the program said.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub text: String,
}

/// Runs the program with these words.
pub fn run(words: &[&str]) -> Said {
    let program = env!("CARGO_BIN_EXE_steward-witness");
    let output = Command::new(program).args(words).output().expect("steward-witness");
    let text = [output.stdout, output.stderr].concat();
    Said { status: output.status.code(), text: String::from_utf8(text).expect("UTF-8") }
}

/// The program must end well.
#[track_caller]
fn well(words: &[&str]) -> String {
    let said = run(words);
    assert_eq!(said.status, Some(0), "{words:?}: {}", said.text);
    said.text
}

/// The program must raise this alarm.
#[track_caller]
fn alarm(words: &[&str], kind: &str, part: &str) {
    let said = run(words);
    assert_eq!(said.status, Some(1), "{words:?}: {}", said.text);
    let line = said.text.lines().find(|line| line.starts_with(&format!("ALARM {kind}: ")));
    assert!(line.is_some_and(|line| line.contains(part)), "{words:?}: {}", said.text);
}

/// A school, the role of its witness, and the words of one look.
pub struct Watched {
    pub school: School,
    words: Vec<String>,
}

impl Watched {
    pub fn new(school: School) -> Watched {
        let role = "CREATE ROLE witness LOGIN;
            SELECT steward.register_person('Witness', 'auditor', roles => '{witness}')";
        school.superuser().batch_execute(role).expect("witness");
        work(&school, 10);
        let connection = connection(&school);
        let file = school.file("checkpoints").display().to_string();
        let words = ["watch", "--once", "--connection", &connection, "--file", &file].map(str::to_owned).to_vec();
        Watched { school, words }
    }

    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.words.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }

    #[track_caller]
    pub fn look(&self) -> String {
        well(&self.words(&[]))
    }

    #[track_caller]
    pub fn alarmed(&self, kind: &str, part: &str) {
        alarm(&self.words(&[]), kind, part);
    }

    /// The same witness, with what it remembers, must raise this alarm at another server.
    #[track_caller]
    pub fn alarmed_at(&self, school: &School, kind: &str, part: &str) {
        let mut words = self.words(&[]);
        let connection = connection(school);
        words[3] = &connection;
        alarm(&words, kind, part);
    }

    fn checkpoints(&self) -> String {
        fs::read_to_string(self.school.file("checkpoints")).expect("checkpoints")
    }
}

/// How the witness connects to a server.
fn connection(school: &School) -> String {
    format!("host={} port=5432 user=witness dbname={HOME}", school.file("").display())
}

fn work(school: &School, records: usize) {
    let mut teacher = school.session("teacher_wang");
    for note in 0..records {
        teacher.execute("UPDATE app.student SET note = $1 WHERE id = 2", &[&note.to_string()]).expect("update");
    }
    school.flush_audit();
}

fn a_growing_chain_is_witnessed_from_checkpoint_to_checkpoint() {
    let mut watched = Watched::new(School::inactive());
    assert!(watched.look().starts_with("checkpoint "));
    work(&watched.school, 5);
    assert!(watched.look().starts_with("checkpoint "));
    watched.school.restart();
    work(&watched.school, 5);
    well(&watched.words(&["--full"]));
    let text = watched.checkpoints();
    let stanzas: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(stanzas.len(), 3, "{text}");
    assert!(stanzas.iter().all(|stanza| stanza.starts_with("pg_steward/") && stanza.lines().count() == 4), "{text}");
    // A killed writer's half stanza is taken off, and everything else must read back.
    let file = watched.school.file("checkpoints");
    fs::write(&file, format!("{text}pg_steward/")).expect("torn");
    work(&watched.school, 1);
    watched.look();
    assert!(watched.checkpoints().starts_with(&text));
    fs::write(&file, text.replacen("\n\n", "\nx\n\n", 1)).expect("changed");
    assert_eq!(run(&watched.words(&[])).status, Some(2));
}

fn a_checkpoint_is_an_anchor() {
    let watched = Watched::new(School::inactive());
    watched.look();
    let text = watched.checkpoints();
    let anchor = text.lines().nth(3).expect("fourth line");
    let verified = format!("SELECT ok AND anchored_to IS NOT NULL FROM steward.verify_chain(anchor => '{anchor}')");
    assert!(watched.school.ask::<bool>(&verified));
}

/// Rewrites the chain from record 5 on, with every link recomputed: nothing inside the database can tell. The last byte of
/// a record is part of a number, so it stays readable.
const REWRITE: &str = "DO $$
    DECLARE r record; link bytea; ledger bytea := decode(replace((SELECT max(l.ledger::text) FROM steward.ledger l), '-', ''), 'hex');
    BEGIN
        UPDATE steward.chain SET record = overlay(record PLACING 'X'::bytea FROM length(record)) WHERE id = 5;
        SELECT hash INTO link FROM steward.chain WHERE id = 4;
        FOR r IN SELECT id, record FROM steward.chain WHERE id >= 5 ORDER BY id LOOP
            UPDATE steward.chain c SET prev_hash = link,
                hash = sha256('\\x02'::bytea || ledger || int8send(r.id) || link || sha256('\\x00'::bytea || r.record))
                WHERE c.id = r.id RETURNING c.hash INTO link;
        END LOOP;
    END $$";

/// The tables beside the chain go with it, as somebody would do it who owns the server.
fn rewrite(school: &mut School, sql: &str) {
    tamper(school, &format!("{sql}; SELECT pg_temp.cover_up()"));
}

#[track_caller]
fn in_database(school: &School) -> bool {
    school.ask("SELECT ok FROM steward.verify_chain()")
}

fn a_full_rewrite_is_found_by_the_witness_alone() {
    let mut watched = Watched::new(School::inactive());
    watched.look();
    rewrite(&mut watched.school, REWRITE);
    work(&watched.school, 3);
    assert!(in_database(&watched.school), "verification inside the database cannot see it");
    watched.alarmed("rewritten", "is not the one that was seen");
}

fn a_truncation_is_found_by_the_witness_alone() {
    let mut watched = Watched::new(School::inactive());
    watched.look();
    let cut = "DELETE FROM steward.chain WHERE id > 20";
    rewrite(&mut watched.school, cut);
    watched.school.flush_audit();
    assert!(in_database(&watched.school), "verification inside the database cannot see it");
    // Looking is a login, which is on record too: the end moves a little.
    watched.alarmed("truncated", "the chain ends at ");
    // Grown beyond the checkpoint again, it is another record that stands there.
    work(&watched.school, 60);
    assert!(in_database(&watched.school));
    watched.alarmed("rewritten", "is not the one that was seen");
}

fn a_rewrite_before_the_last_checkpoint_is_found() {
    let mut watched = Watched::new(School::inactive());
    watched.look();
    tamper(
        &mut watched.school,
        "UPDATE steward.chain SET record = overlay(record PLACING 'X'::bytea FROM length(record)) WHERE id = 5",
    );
    work(&watched.school, 1);
    alarm(&watched.words(&["--full"]), "damaged", "edited, first bad id 5");
}

fn another_chain_in_its_place_is_found() {
    let watched = Watched::new(School::inactive());
    watched.look();
    let mut superuser = watched.school.superuser();
    superuser.batch_execute("DROP EXTENSION pg_steward CASCADE").expect("drop");
    superuser.batch_execute("CREATE EXTENSION pg_steward; SELECT steward.protect('app.student')").expect("create");
    superuser
        .batch_execute("SELECT steward.register_person('Witness', 'auditor', roles => '{witness}')")
        .expect("person");
    watched.school.flush_audit();
    watched.alarmed("forked", "another chain");
}

fn a_stopped_sequencer_is_stale() {
    let watched = Watched::new(School::inactive());
    let sequencer: i32 = watched.school.ask("SELECT sequencer_pid FROM steward.audit_status");
    signal("STOP", sequencer);
    // From here on nothing is chained, not even that somebody looks.
    watched.look();
    sleep(Duration::from_millis(2100));
    alarm(&watched.words(&["--stale", "1"]), "stale", "expected within 1 seconds");
    // By default a chain may miss three heartbeats.
    watched.look();
    signal("CONT", sequencer);
    work(&watched.school, 1);
    well(&watched.words(&["--stale", "1"]));
}

/// Sends a signal to a process of the test's own cluster.
fn signal(name: &str, pid: i32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill").success());
}

fn a_server_that_is_down_is_unreachable() {
    let mut watched = Watched::new(School::inactive());
    watched.school.stop();
    watched.alarmed("unreachable", "");
    watched.school.start();
    watched.look();
}

fn only_auditors_pull_the_chain() {
    let school = School::inactive();
    for call in ["export_chain(1)", "chain_origin()"] {
        let query = format!("SELECT * FROM steward.{call}");
        let clerk = school.session("clerk_zhao").query(&query, &[]);
        expect_error(clerk, &postgres::error::SqlState::INSUFFICIENT_PRIVILEGE, "", "");
        school.session("auditor_qian").query(&query, &[]).expect("auditor");
    }
    let wrong = school.session("auditor_qian").query("SELECT * FROM steward.export_chain(1, 0)", &[]);
    expect_error(wrong, &postgres::error::SqlState::INVALID_PARAMETER_VALUE, "", "");
}

fn records_archived_after_they_were_seen_are_no_damage() {
    let watched = Watched::new(school_with_segments());
    watched.look();
    let files = archive(&watched.school);
    watched.look();
    well(&watched.words(&["--full"]));
    // Archived before they were seen: their files show that the chain went on.
    fill_segment(&watched.school, 12);
    fill_segment(&watched.school, 12);
    sleep(Duration::from_millis(1100));
    let more = archive(&watched.school);
    assert!(!more.is_empty());
    let checkpoints = watched.school.file("checkpoints");
    let mut all: Vec<&str> = files.iter().chain(&more).map(|file| file.to_str().expect("name")).collect();
    all.splice(0..0, ["verify", "--append", "--file", checkpoints.to_str().expect("name")]);
    let said = run(&watched.words(&[]));
    if said.status != Some(0) {
        assert!(said.text.contains("were archived before they were seen"), "{}", said.text);
    }
    well(&all);
    watched.look();
}

/// The words that verify these files.
pub fn verify<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    std::iter::once("verify".to_owned()).chain(files.into_iter().map(|file| file.display().to_string())).collect()
}

fn archive_files_verify_offline() {
    let watched = Watched::new(school_with_segments());
    watched.look();
    let files = archive(&watched.school);
    let checkpoints = watched.school.file("checkpoints").display().to_string();
    let mut words = verify(files.iter().rev());
    words.extend(["--file".to_owned(), checkpoints]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let text = well(&words);
    assert!(text.contains("whole from record 1 to "), "{text}");
    // One that is left out is missed, and so is the tail of one.
    let gap = verify([&files[0], &files[2]]);
    alarm(&gap.iter().map(String::as_str).collect::<Vec<_>>(), "damaged", "does not go on from record");
    let torn = watched.school.file("torn.gz");
    let bytes = fs::read(&files[0]).expect("file");
    fs::write(&torn, &bytes[..bytes.len() - 20]).expect("torn");
    alarm(&["verify", torn.to_str().expect("name")], "damaged", "the file ends before its records do");
}

/// The bytes of a compressed file.
fn inflate(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path).expect("file")).read_to_end(&mut bytes).expect("gzip");
    bytes
}

fn a_tampered_archive_file_is_found_with_the_id() {
    let school = school_with_segments();
    let files = archive(&school);
    let mut bytes = inflate(&files[0]);
    // In the record of the first UPDATE; the digest over the stream is made right again.
    let at = bytes.windows(6).rposition(|window| window == b"UPDATE").expect("an UPDATE");
    bytes[at..at + 6].copy_from_slice(b"DELETE");
    let end = bytes.len() - 32;
    let digest = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&digest);
    let forged = school.file("forged.gz");
    let mut output =
        flate2::write::GzEncoder::new(fs::File::create(&forged).expect("file"), flate2::Compression::fast());
    output.write_all(&bytes).expect("gzip");
    output.finish().expect("gzip");
    let id = last_update_in(&school, &files[0]);
    alarm(&["verify", forged.to_str().expect("name")], "damaged", &format!("edited, first bad id {id}"));
    // Without the right digest it is not even read.
    let plain = school.file("plain");
    let mut bytes = inflate(&files[0]);
    bytes[at] ^= 1;
    fs::write(&plain, bytes).expect("file");
    alarm(&["verify", plain.to_str().expect("name")], "damaged", "its digest");
}

/// The id of the last record with "UPDATE" in it, by the layout of the file.
fn last_update_in(school: &School, file: &Path) -> i64 {
    let bytes = inflate(file);
    let name = usize::from(u16::from_be_bytes([bytes[26], bytes[27]]));
    let (mut at, mut found) = (28 + name + 8 + 32, 0);
    while bytes[at] == 1 {
        let id = i64::from_be_bytes(bytes[at + 1..at + 9].try_into().expect("id"));
        let length = u32::from_be_bytes(bytes[at + 9..at + 13].try_into().expect("length")) as usize;
        let record = &bytes[at + 13..at + 13 + length];
        if record.windows(6).any(|window| window == b"UPDATE") {
            found = id;
        }
        at += 13 + length + 64;
    }
    assert!(found > 0, "{}", school.log_tail());
    found
}

fn an_export_verifies_offline() {
    let watched = Watched::new(School::inactive());
    watched.look();
    let connection = watched.words[3].clone();
    let checkpoints = watched.school.file("checkpoints").display().to_string();
    for name in ["export", "export.gz"] {
        let file = watched.school.file(name).display().to_string();
        well(&["export", "--connection", &connection, &file]);
        well(&["verify", &file, "--file", &checkpoints]);
        // What is there is not overwritten.
        assert_eq!(run(&["export", "--connection", &connection, &file]).status, Some(2));
    }
    let later = watched.school.file("later").display().to_string();
    well(&["export", "--connection", &connection, "--from", "20", &later]);
    assert!(well(&["verify", &later]).contains("whole from record 20 to "));
}
