//! A random workload, then random single changes to the stored chain: none may pass. The seed is in each message, and
//! `STEWARD_TEST_SEED` repeats a run.

use std::time::{SystemTime, UNIX_EPOCH};

use postgres::Client;

use crate::school::{School, ask};
use crate::trail::{anchor, intruder, unload, verdict};

tests! {
    no_single_mutation_of_a_random_chain_passes,
}

/// Mutations of one run.
const MUTATIONS: usize = 60;
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

fn no_single_mutation_of_a_random_chain_passes() {
    let (mut random, seed) = Random::new();
    let mut school = School::active();
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
    for _ in 0..MUTATIONS {
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
}
