//! A random workload, then random single changes to what is stored: to the chain, to the tables that say where its parts
//! are, and to its archive files. None may pass; and nothing is found where nothing was changed, whatever the session's
//! settings, after a crash, and in what leaves the database. The seed is in each message, and `STEWARD_TEST_SEED` repeats a
//! run.
//!
//! The chain has neither blocks nor checkpoints of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use postgres::Client;

use crate::cluster::succeed;
use crate::failover::wait_until;
use crate::fault::{report, scaled};
use crate::retention::wait_until_offline;
use crate::school::{HOME, School, ask};
use crate::trail::{anchor, intruder, load, tamper, unload, verdict};
use crate::witness;

tests! {
    no_single_mutation_of_a_random_chain_passes,
}

/// Changes of one byte of an archive file.
const FILE_MUTATIONS: usize = 10;
/// Random statements, about as many records.
const STATEMENTS: u64 = 250;

/// A small generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn new() -> (Random, u64) {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_nanos() as u64;
        let seed = std::env::var("STEWARD_TEST_SEED").map_or_else(|_| clock(), |seed| seed.parse().expect("a number"));
        (Random(seed), seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Statements of all kinds: changes, reads, denials, failures, rollbacks, long and short, in several sessions.
fn workload(school: &School, random: &mut Random) {
    let logins = ["teacher_wang", "region_chen", "postgres"];
    let mut sessions = logins.map(|login| school.session(login));
    for _ in 0..STATEMENTS {
        let session = &mut sessions[random.below(3) as usize];
        let id = 1 + random.below(190);
        let long = "x".repeat(random.below(600) as usize);
        let statement = match random.below(9) {
            0 => format!("SELECT name FROM app.student WHERE id = {id}"),
            1 => format!("SELECT count(*) AS \"{}\" FROM app.guardian", &long[..long.len().min(60)]),
            2 => "UPDATE app.student SET note = 'all'".to_string(),
            3 => format!("UPDATE app.student SET id_card = 'ID1' WHERE id = {}", id + 1),
            4 => format!("BEGIN; UPDATE app.student SET note = 'gone' WHERE id = {id}; ROLLBACK"),
            5 => format!("INSERT INTO app.entry (client) VALUES ({id})"),
            6 => format!(
                "/* {long} */ UPDATE app.student SET note = {} || note WHERE id = {id}",
                vec!["''"; 1 + long.len()].join(" || ")
            ),
            7 => format!(
                "DO $$ BEGIN UPDATE app.guardian SET name = 'n' WHERE id = {id}; PERFORM 1 FROM app.student; END $$"
            ),
            _ => format!("UPDATE app.student SET note = '{long}' WHERE id = {id}"),
        };
        // Denials and failures are part of the work.
        if session.batch_execute(&statement).is_err() {
            session.batch_execute("ROLLBACK").expect("rollback");
        }
    }
    school.flush_audit();
}

/// SQL that changes the chain of `last` records in one way, and whether only an anchor can tell.
fn mutation(random: &mut Random, last: i64) -> (String, bool) {
    let mut id = || 1 + random.below(last as u64) as i64;
    let (k, other) = (id(), id());
    let (k, other) = if k == other { (k, k % last + 1) } else { (k, other) };
    let column = random.one_of(&["record", "record", "prev_hash", "hash"]);
    let (place, bit, shift) = (random.below(1 << 30), random.below(8), 1 + random.below(62));
    let columns = |names: &[&str]| names.iter().map(|name| format!("{name} = b.{name}")).collect::<Vec<_>>().join(", ");
    let sql = match random.below(11) {
        0..=3 => {
            let at = format!("({place} % length({column}) * 8 + {bit})::bigint");
            format!(
                "UPDATE steward.chain SET {column} = set_bit({column}, {at}, 1 - get_bit({column}, {at})) WHERE id = {k}"
            )
        }
        4 => format!("UPDATE steward.chain SET {column} = substr({column}, 1, length({column}) - 1) WHERE id = {k}"),
        5 => format!("UPDATE steward.chain SET {column} = {column} || '\\x00' WHERE id = {k}"),
        6 => format!("UPDATE steward.chain SET {column} = NULL WHERE id = {k}"),
        7 => format!("UPDATE steward.chain SET id = id # (1::bigint << {shift}) WHERE id = {k}"),
        8 => return (format!("DELETE FROM steward.chain WHERE id = {k}"), k == last),
        9 => {
            let set = match random.below(3) {
                0 => columns(&["record"]),
                1 => columns(&["record", "prev_hash", "hash"]),
                _ => columns(&["prev_hash", "hash"]),
            };
            format!(
                "UPDATE steward.chain AS a SET {set} FROM steward.chain AS b WHERE (a.id, b.id) IN (({k}, {other}), ({other}, {k}))"
            )
        }
        _ => {
            let at = random.one_of(&["", "SELECT pg_temp.push(#);"]).replace('#', &k.to_string());
            format!(
                "{at} INSERT INTO steward.chain SELECT {k}, record, prev_hash, hash FROM steward.chain WHERE id = {other}"
            )
        }
    };
    (sql, false)
}

/// The chain's content: a mutation that changed nothing is none.
fn content(session: &mut Client) -> Vec<u8> {
    let all = "SELECT sha256(string_agg(int8send(coalesce(id, 0)) || coalesce(record, '') || coalesce(prev_hash, '') ||
        coalesce(hash, ''), '\\x0a' ORDER BY id, record)) FROM steward.chain";
    ask(session, all)
}

/// Tables beside the chain, and the columns that the chain says something about, in SQL that changes one row.
const CATALOG: &[&str] = &[
    "DELETE FROM steward.definition WHERE id = (SELECT id FROM steward.definition ORDER BY random() LIMIT 1)",
    "INSERT INTO steward.definition SELECT id FROM steward.chain WHERE steward._record_text(record, 1) <> 'definition'
        ORDER BY random() LIMIT 1",
    "INSERT INTO steward.definition SELECT max(id) + 7 FROM steward.chain",
    "UPDATE steward.definition SET id = -id WHERE id = (SELECT max(id) FROM steward.definition)",
    "DELETE FROM steward.segment WHERE number = #",
    "INSERT INTO steward.segment SELECT 1 + max(number), 1 + max(last_id), 2 + max(last_id), now(), now(), '\\x', now()
        FROM steward.segment",
    "UPDATE steward.segment SET number = number + 1000 WHERE number = #",
    "UPDATE steward.segment SET first_id = first_id + 1 WHERE number = #",
    "UPDATE steward.segment SET last_id = last_id - 1 WHERE number = #",
    "UPDATE steward.segment SET last_id = last_id + 1 WHERE number = #",
    "UPDATE steward.segment SET last_hash = set_bit(last_hash, 77, 1 - get_bit(last_hash, 77)) WHERE number = #",
    "UPDATE steward.segment SET first_time = first_time - interval '1 microsecond' WHERE number = #",
    "UPDATE steward.segment SET last_time = last_time - interval '1 year' WHERE number = #",
    "UPDATE steward.segment SET last_time = 'infinity' WHERE number = #",
    "UPDATE steward.segment SET prune_id = CASE WHEN prune_id IS NULL THEN last_id END WHERE number = #",
    "UPDATE steward.segment SET prune_id = prune_id + 1, archived_at = CASE WHEN file IS NULL THEN now() ELSE archived_at END
        WHERE number = #",
    "UPDATE steward.segment SET archived_at = CASE WHEN file IS NULL THEN now() END WHERE number = #",
    "UPDATE steward.segment SET archived_at = now(), file = 'elsewhere', file_sha256 = sha256('x'), file_bytes = 1,
        prune_after = last_id WHERE number = #",
    "UPDATE steward.segment SET file = file || 'x', prune_after = CASE WHEN file IS NULL THEN 1 ELSE prune_after END
        WHERE number = #",
    "UPDATE steward.segment SET file_sha256 = sha256('other') WHERE number = #",
    "UPDATE steward.segment SET file_bytes = coalesce(file_bytes, 0) + 1 WHERE number = #",
    "UPDATE steward.segment SET purged_at = now() WHERE number = #",
    "UPDATE steward.segment SET prune_after = coalesce(prune_after, last_id) + 1 WHERE number = #",
    "UPDATE steward.segment SET archived_at = coalesce(archived_at - interval '1 microsecond', now()) WHERE number = #",
    "UPDATE steward.segment SET closed_at = closed_at - interval '1 microsecond' WHERE number = #",
    "UPDATE steward.segment SET closed_xid = (coalesce(closed_xid, '3')::text::bigint + 1)::text::xid8 WHERE number = #",
];

/// Of a segment whose file was removed.
const PURGED: &[&str] = &[
    "UPDATE steward.segment SET purged_at = purged_at - interval '1 microsecond' WHERE purged_at IS NOT NULL",
    "UPDATE steward.segment SET purged_at = NULL WHERE purged_at IS NOT NULL",
    "UPDATE steward.segment SET purge_id = purge_id + 1 WHERE purged_at IS NOT NULL",
    "UPDATE steward.segment SET purge_id = NULL WHERE purged_at IS NOT NULL",
    "UPDATE steward.segment SET purged_at = now() WHERE number = 2",
    "UPDATE steward.segment SET purged_at = now(), purge_id = (SELECT purge_id FROM steward.segment WHERE number = 1) WHERE number = 2",
];

/// How far journal and spool are chained, and since when: any row, any column.
const POSITIONS: &[&str] = &[
    "DELETE FROM steward.journal_taken WHERE start = (SELECT start FROM steward.journal_taken ORDER BY random() LIMIT 1)",
    "INSERT INTO steward.journal_taken VALUES (4711, 9223372036854775807)",
    "UPDATE steward.journal_taken SET rows = rows - 1
        WHERE start = (SELECT start FROM steward.journal_taken ORDER BY random() LIMIT 1)",
    "UPDATE steward.journal_taken SET start = start + 1
        WHERE start = (SELECT start FROM steward.journal_taken ORDER BY random() LIMIT 1)",
    "DELETE FROM steward.spool_offset WHERE (boot, slot) = (SELECT boot, slot FROM steward.spool_offset ORDER BY random() LIMIT 1)",
    "INSERT INTO steward.spool_offset VALUES (gen_random_uuid(), 1, 0, 0, 0)",
    "UPDATE steward.spool_offset SET boot = gen_random_uuid()
        WHERE (boot, slot) = (SELECT boot, slot FROM steward.spool_offset ORDER BY random() LIMIT 1)",
    "UPDATE steward.spool_offset SET slot = slot + 1000
        WHERE (boot, slot) = (SELECT boot, slot FROM steward.spool_offset ORDER BY random() LIMIT 1)",
    "UPDATE steward.spool_offset SET generation = generation + 1
        WHERE (boot, slot) = (SELECT boot, slot FROM steward.spool_offset ORDER BY random() LIMIT 1)",
    "UPDATE steward.spool_offset SET byte_offset = byte_offset + 64
        WHERE (boot, slot) = (SELECT boot, slot FROM steward.spool_offset ORDER BY random() LIMIT 1)",
    "UPDATE steward.spool_offset SET next_counter = next_counter + 1
        WHERE (boot, slot) = (SELECT boot, slot FROM steward.spool_offset ORDER BY random() LIMIT 1)",
    "UPDATE steward.spool_offset SET chained_at = chained_at - interval '10 years'
        WHERE (boot, slot) = (SELECT boot, slot FROM steward.spool_offset ORDER BY random() LIMIT 1)",
    "DELETE FROM steward.installation",
    "UPDATE steward.installation SET installed_at = installed_at + interval '1 microsecond'",
    "UPDATE steward.installation SET positions = NULL",
    "UPDATE steward.installation SET positions = set_bit(positions, 99, 1 - get_bit(positions, 99))",
    "UPDATE steward.installation SET positions = substr(positions, 33)",
    "UPDATE steward.ledger SET boot = gen_random_uuid()",
    "UPDATE steward.ledger SET started_at = started_at - interval '1 day'",
    "UPDATE steward.ledger SET clusters = clusters || '4711'::text",
    "UPDATE steward.ledger SET timeline = timeline + 1",
    "UPDATE steward.ledger SET sealed_at = sealed_at + interval '1 year'",
    "UPDATE steward.ledger SET fork_epochs = fork_epochs || 1::bigint",
    "UPDATE steward.ledger SET fork_ids = '{}'",
];

/// The same for the ledger's row, as long as the chain is online from its beginning.
const LEDGER: &[&str] = &[
    "DELETE FROM steward.ledger",
    "UPDATE steward.ledger SET ledger = gen_random_uuid()",
    "UPDATE steward.ledger SET system_identifier = system_identifier || '1'",
    "UPDATE steward.ledger SET ancestor = gen_random_uuid()",
    "UPDATE steward.ledger SET ancestor_head = head",
    "UPDATE steward.ledger SET head = replace(head, ledger::text, gen_random_uuid()::text)",
    "UPDATE steward.ledger SET head = regexp_replace(head, ' \\d+ ', ' 1000000 ')",
    "UPDATE steward.ledger SET head = regexp_replace(head, ' [0-9a-f]{64} ', ' ' || repeat('ab', 32) || ' ')",
    "UPDATE steward.ledger SET head = 'nonsense'",
    "INSERT INTO steward.ledger (ledger, started_at, system_identifier) SELECT gen_random_uuid(), now(), system_identifier
        FROM steward.ledger",
];

/// Each of these changes, to a random segment: verification is not ok, and after it is undone nothing is found.
fn none_passes(session: &mut Client, changes: &[&str], anchored: &str, random: &mut Random, seed: u64) {
    let segments: i64 = ask(session, "SELECT count(*) FROM steward.segment");
    for change in changes {
        let sql = change.replace('#', &(1 + random.below(segments as u64)).to_string());
        session.batch_execute("BEGIN").expect("begin");
        let changed = session.execute(&sql, &[]).unwrap_or_else(|error| panic!("seed {seed}: {sql}: {error:?}"));
        assert_eq!(changed, 1, "seed {seed}: {sql}");
        // What lies before the head that was verified last is not read again.
        let new = if sql.contains("steward.definition") { "verify_chain()" } else { "verify_new()" };
        for call in ["verify_chain()", anchored, new] {
            let found = verdict(session, call);
            assert!(!found.ok && found.first_bad_id.is_some(), "seed {seed}: {sql}: {call}: {found:?}");
        }
        session.batch_execute("ROLLBACK").expect("rollback");
    }
    assert_eq!(verdict(session, anchored).kind, "ok", "seed {seed}: nothing was changed");
}

/// Archive files verify without a server, and none with a byte changed behind the gzip header, which holds no record.
fn no_mutation_of_an_archive_file_passes(school: &School, random: &mut Random, seed: u64) {
    const GZIP_HEADER: u64 = 10;
    let directory = school.data().join("pg_steward/archive");
    let mut session = school.superuser();
    let rows = session.query("SELECT file FROM steward.segment WHERE file IS NOT NULL ORDER BY number", &[]);
    let files: Vec<_> = rows.expect("files").iter().map(|row| directory.join(row.get::<_, String>(0))).collect();
    assert!(files.len() >= 2, "seed {seed}: {files:?}");
    let verified = || {
        let words = witness::verify(&files);
        witness::run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = verified();
    assert_eq!(said.status, Some(0), "seed {seed}: {}", said.text);
    for _ in 0..FILE_MUTATIONS {
        let file = &files[random.below(files.len() as u64) as usize];
        let whole = std::fs::read(file).expect("file");
        let mut bytes = whole.clone();
        let place = GZIP_HEADER + random.below(bytes.len() as u64 - GZIP_HEADER);
        bytes[place as usize] ^= 1 << random.below(8);
        std::fs::write(file, bytes).expect("write");
        let said = verified();
        assert_eq!(said.status, Some(1), "seed {seed}: byte {place} of {}: {}", file.display(), said.text);
        std::fs::write(file, whole).expect("write");
    }
}

fn no_single_mutation_of_a_random_chain_passes() {
    let (mut random, seed) = Random::new();
    // The line that the ledger keeps is of the last start: an hour is longer than this test.
    let mut school = School::with("enforce", &["steward.checkpoint_interval = 3600"]);
    let terms = "SELECT steward.set_retention(online => '1 second', segment_records => 120); SELECT steward.activate()";
    school.superuser().batch_execute(terms).expect("activate");
    workload(&school, &mut random);
    school.kill_9_postmaster();
    school.start();
    workload(&school, &mut random);
    unload(&mut school);
    let mut session = intruder(&school);
    let line: String = ask(&mut session, "SELECT steward.chain_head()");
    let last: i64 = ask(&mut session, "SELECT max(id) FROM steward.chain");
    assert!(last > STATEMENTS as i64, "seed {seed}: {last} records");
    let genuine = content(&mut session);
    let [plain, anchored] = ["verify_chain()".to_string(), format!("verify_chain({})", anchor(&line))];
    let mutations = scaled(30, 300);
    for _ in 0..mutations {
        let zone = random.one_of(&["UTC", "Asia/Shanghai", "America/St_Johns"]);
        let style = random.one_of(&["ISO, MDY", "German", "SQL, DMY", "Postgres, YMD"]);
        session.batch_execute(&format!("SET TimeZone = '{zone}'; SET DateStyle = '{style}'")).expect("set");
        assert_eq!(verdict(&mut session, &anchored).kind, "ok", "seed {seed}: the untouched chain");
        let (sql, by_anchor_only) = mutation(&mut random, last);
        session.batch_execute("BEGIN; SELECT pg_temp.unguard()").expect("begin");
        session.batch_execute(&sql).unwrap_or_else(|error| panic!("seed {seed}: {sql}: {error:?}"));
        assert_ne!(content(&mut session), genuine, "seed {seed}: {sql}");
        let [without, with] = [&plain, &anchored].map(|call| verdict(&mut session, call));
        assert!(!with.ok && with.first_bad_id.is_some(), "seed {seed}: {sql}: {with:?}");
        assert_eq!(without.ok, by_anchor_only, "seed {seed}: {sql}: {without:?}");
        session.batch_execute("ROLLBACK").expect("rollback");
    }
    none_passes(&mut session, CATALOG, &anchored, &mut random, seed);
    none_passes(&mut session, LEDGER, &anchored, &mut random, seed);
    none_passes(&mut session, POSITIONS, &anchored, &mut random, seed);
    // The same once the beginning is offline.
    load(&mut school);
    // Until every closed segment is older than the online term.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    school.operate("postgres", "SELECT steward.archive_audit()");
    wait_until_offline(&school);
    workload(&school, &mut random);
    school.flush_audit();
    no_mutation_of_an_archive_file_passes(&school, &mut random, seed);
    // A dump has no record, only the name and the head of the chain: records leave the database in archive files. What a
    // restored dump begins is in `dump` and `copies`.
    let dump = school.file("dump.sql");
    let mut pg_dump = school.client_program("pg_dump");
    pg_dump.arg("--file").arg(&dump).arg(HOME);
    succeed(pg_dump);
    let dumped = std::fs::read_to_string(&dump).expect("dump");
    assert!(dumped.contains("COPY steward.ledger"), "seed {seed}");
    for table in ["chain", "segment", "definition", "journal"] {
        assert!(!dumped.contains(&format!("COPY steward.{table}")), "seed {seed}: {table} is dumped");
    }
    // A file goes when its term is over.
    let older = "UPDATE steward.segment SET last_time = last_time - interval '366 days' WHERE number = 1";
    tamper(&mut school, older);
    school.operate("postgres", "SELECT steward.purge_archive()");
    wait_until(&school, "SELECT purge_id IS NOT NULL FROM steward.segment WHERE number = 1");
    unload(&mut school);
    let mut session = intruder(&school);
    session.batch_execute(&older.replace(" - ", " + ")).expect("as old as it is");
    let line: String = ask(&mut session, "SELECT steward.chain_head()");
    let anchored = format!("verify_chain({})", anchor(&line));
    assert_eq!(verdict(&mut session, &anchored).kind, "ok", "seed {seed}: what is online");
    none_passes(&mut session, PURGED, &anchored, &mut random, seed);
    none_passes(&mut session, CATALOG, &anchored, &mut random, seed);
    none_passes(&mut session, POSITIONS, &anchored, &mut random, seed);
    let catalog = 2 * CATALOG.len() + LEDGER.len() + 2 * POSITIONS.len() + PURGED.len();
    report(&format!(
        "single mutations: {mutations} of the chain, {catalog} of the tables beside it, {FILE_MUTATIONS} of archive files, each found"
    ));
}
