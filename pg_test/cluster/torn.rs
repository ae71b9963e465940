//! Spool files that a crash or somebody's hand has damaged: whole records before the damage come out, a record says
//! where the others are missing, none comes twice, the chain verifies.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use std::thread::sleep;
use std::time::Duration;

use postgres::{Client, NoTls};

use crate::account::{self, EXPLANATIONS, check};
use crate::fault::{Random, report, scaled, sequencer};
use crate::school::{HOME, School};

tests! {
    a_lane_damaged_anywhere_gives_what_is_whole_and_says_what_is_not,
    a_lane_cut_below_what_is_chained_is_said,
}

/// Sessions, each with a lane that is damaged in a way of its own.
const LANES: usize = 60;
/// Reads of a session that are in the lane and not in the chain.
const READS: usize = 5;
const HEADER: usize = 64;
const FRAME_HEADER: usize = 16;

/// A lane file as the crash left it.
struct Lane {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The session's application name.
    session: String,
    /// Where each whole frame that is not chained begins, and where the last one ends.
    borders: Vec<usize>,
}

/// What is done to a file, and what can still come out of it.
struct Damage {
    bytes: Vec<u8>,
    whole: usize,
    /// Something is missing, or there is more than was written, and it shows.
    shows: bool,
    what: String,
}

fn a_lane_damaged_anywhere_gives_what_is_whole_and_says_what_is_not() {
    let mut random = Random::announced("damaged lanes");
    let (rounds, mut records) = (scaled(1, 20), 0);
    let mut school = account::school(&[]);
    for round in 0..rounds {
        let lanes = crash_with_full_lanes(&mut school, round);
        let damages: Vec<Damage> = lanes.iter().map(|lane| damage(lane, &mut random)).collect();
        for (lane, damage) in lanes.iter().zip(&damages) {
            fs::write(&lane.path, &damage.bytes).expect("lane");
        }
        school.start();
        records = check(&school).records;
        let said = Said::by(&school);
        for (lane, damage) in lanes.iter().zip(&damages) {
            came_out(&said, lane, damage);
        }
    }
    report(&format!("damaged lanes: {} in {rounds} crashes, {records} records checked, 0 duplicates", LANES * rounds));
}

/// Sessions read twice, once for the chain and once for their lanes alone; then the server is killed.
fn crash_with_full_lanes(school: &mut School, round: usize) -> Vec<Lane> {
    let name = |number: usize| format!("torn-{round}-{number}.");
    let mut sessions: Vec<Client> =
        (0..LANES).map(|_| school.config("clerk_zhao", HOME).connect(NoTls).expect("session")).collect();
    sessions.iter_mut().for_each(read);
    school.flush_audit();
    let worker = sequencer(school);
    school.signal("STOP", worker);
    for (number, session) in sessions.iter_mut().enumerate() {
        session.batch_execute(&format!("SET application_name = '{}'", name(number))).expect("set");
        read(session);
    }
    school.kill_9_postmaster();
    school.signal("KILL", worker);
    // The sessions end by themselves, and write that they did.
    sleep(Duration::from_millis(500));
    let files = lane_files(&school.data().join("pg_steward/spool"));
    (0..LANES).map(|number| find_lane(&files, &name(number))).collect()
}

fn read(session: &mut Client) {
    for id in 0..READS {
        session.query("SELECT name FROM app.student WHERE id = $1", &[&(id as i32)]).expect("select");
    }
}

fn lane_files(spool: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = |directory: &Path| fs::read_dir(directory).expect("spool").map(|entry| entry.expect("entry").path());
    let files = entries(spool).filter(|path| path.is_dir()).flat_map(|directory| entries(&directory));
    files
        .filter(|path| path.extension().is_some_and(|end| end == "lane"))
        .map(|path| {
            let bytes = fs::read(&path).expect("lane");
            (path, bytes)
        })
        .collect()
}

/// The file that holds this session's frames.
#[track_caller]
fn find_lane(files: &[(PathBuf, Vec<u8>)], session: &str) -> Lane {
    let (path, bytes) = files.iter().find(|(_, bytes)| contains(bytes, session)).expect("a lane of each session");
    let mut borders = Vec::new();
    let (mut at, mut last) = (HEADER, HEADER);
    while at + FRAME_HEADER < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        if length == 0 {
            break;
        }
        let end = at + FRAME_HEADER + length;
        if contains(&bytes[at..end], session) {
            borders.push(at);
            last = end;
        }
        at = end;
    }
    // What follows is no read: the end of the session, which had a moment left when the postmaster was gone.
    borders.push(last);
    assert_eq!(borders.len(), READS + 1, "{session}");
    Lane { path: path.clone(), bytes: bytes[..last].to_vec(), session: session.to_owned(), borders }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// One damage of six kinds at a random place behind what is chained, or in the file's header.
fn damage(lane: &Lane, random: &mut Random) -> Damage {
    let Lane { bytes, borders, .. } = lane;
    let size = bytes.len();
    let below = |offset: usize| borders[1..].iter().filter(|border| **border <= offset).count();
    match random.below(6) {
        0 => {
            let offset = borders[0] + random.below((size - borders[0]) as u64 + 1) as usize;
            cut(lane, offset, below(offset))
        }
        // Around a border: the header of a frame.
        1 => {
            let border = borders[random.below(borders.len() as u64 - 1) as usize];
            let offset = border + random.below(FRAME_HEADER as u64 + 1) as usize;
            cut(lane, offset, below(offset))
        }
        2 => {
            let offset = borders[0] + random.below((size - borders[0]) as u64) as usize;
            let mut bytes = bytes.clone();
            bytes[offset] ^= 1 << random.below(8);
            Damage { bytes, whole: below(offset), shows: true, what: format!("a flipped bit at {offset} of {size}") }
        }
        3 => {
            let mut bytes = bytes.clone();
            let offset = random.below(HEADER as u64) as usize;
            bytes[offset] ^= 1 << random.below(8);
            Damage { bytes, whole: 0, shows: true, what: format!("a flipped bit of the header at {offset}") }
        }
        4 => {
            let garbage = (0..1 + random.below(300)).map(|_| random.next() as u8);
            let bytes: Vec<u8> = bytes.iter().copied().chain(garbage).collect();
            let what = format!("{} bytes of garbage behind {size}", bytes.len() - size);
            Damage { bytes, whole: READS, shows: true, what }
        }
        _ => repeat_or_drop(lane, random),
    }
}

fn cut(lane: &Lane, offset: usize, whole: usize) -> Damage {
    let what = format!("a cut at {offset} of {}, chained to {}", lane.bytes.len(), lane.borders[0]);
    // A file that ends with a frame looks as if nothing more had been written.
    Damage { bytes: lane.bytes[..offset].to_vec(), whole, shows: !lane.borders.contains(&offset), what }
}

/// A whole frame that comes twice or is missing between others.
fn repeat_or_drop(lane: &Lane, random: &mut Random) -> Damage {
    let which = random.below(READS as u64 - 1) as usize;
    let (start, end) = (lane.borders[which], lane.borders[which + 1]);
    let (before, frame, after) = (&lane.bytes[..start], &lane.bytes[start..end], &lane.bytes[end..]);
    if random.below(2) == 0 {
        let bytes = [before, frame, frame, after].concat();
        return Damage { bytes, whole: READS, shows: true, what: format!("frame {which} twice") };
    }
    Damage { bytes: [before, after].concat(), whole: READS - 1, shows: true, what: format!("without frame {which}") }
}

/// Nothing of what was chained is missing; what came after it is, and nobody can tell how much it was. It looks like an
/// older copy of the file, and is said to be one.
fn a_lane_cut_below_what_is_chained_is_said() {
    let mut school = account::school(&[]);
    let lanes = crash_with_full_lanes(&mut school, 0);
    let lane = &lanes[0];
    let damage = cut(lane, HEADER + (lane.borders[0] - HEADER) / 2, 0);
    fs::write(&lane.path, &damage.bytes).expect("lane");
    school.start();
    check(&school);
    let reads = Said::by(&school).reads.get(&lane.session).copied().unwrap_or(0);
    assert_eq!(reads, damage.whole as i64, "{}", damage.what);
    assert_eq!(school.records("operation_type = 'COPIED SPOOL'"), 1);
}

/// What the chain says: reads by session, and explanations.
struct Said {
    reads: HashMap<String, i64>,
    explanations: Vec<String>,
}

impl Said {
    fn by(school: &School) -> Said {
        let reads =
            "SELECT application_name, count(*) FROM steward.audit_log WHERE operation_type = 'SELECT' GROUP BY 1";
        let explanations = format!("SELECT details FROM steward.audit_log WHERE {EXPLANATIONS}");
        let mut auditor = school.superuser();
        let reads = auditor.query(reads, &[]).expect("reads");
        let explanations = auditor.query(&explanations, &[]).expect("explanations");
        Said {
            reads: reads.iter().map(|row| (row.get(0), row.get(1))).collect(),
            explanations: explanations.iter().map(|row| row.get(0)).collect(),
        }
    }
}

/// The records that are whole are in the chain, once, and what is wrong with the file is said.
#[track_caller]
fn came_out(said: &Said, lane: &Lane, damage: &Damage) {
    let reads = said.reads.get(&lane.session).copied().unwrap_or(0);
    assert_eq!(reads, damage.whole as i64, "{}: records after {}", lane.session, damage.what);
    let spool = lane.path.ancestors().nth(2).expect("the spool");
    let file = lane.path.strip_prefix(spool).expect("a file of the spool").to_string_lossy();
    let explained = said.explanations.iter().any(|details| details.contains(&*file));
    assert_eq!(explained, damage.shows, "{}: an explanation of {}", lane.session, damage.what);
}
