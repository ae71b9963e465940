//! `watch`: the chain as it is now against what was seen of it.

use super::arguments::Arguments;
use super::checkpoint::Book;
use super::database::{Database, Origin};
use super::{Alarm, Failure, Kind, Outcome};
use crate::core::chain::{Head, Verifier, genesis_prev};
use std::thread::sleep;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(30);
/// So many heartbeats may be missed.
const HEARTBEATS: u32 = 3;

pub fn watch(arguments: Arguments) -> Outcome<()> {
    let connection = arguments.required("--connection")?;
    let mut book = Book::open(arguments.required("--file")?)?;
    let interval = arguments.seconds("--interval")?.unwrap_or(INTERVAL);
    let (stale, full) = (arguments.seconds("--stale")?, arguments.is_set("--full"));
    let mut database = None;
    loop {
        let looked = look(connection, &mut database, &mut book, full, stale);
        if arguments.is_set("--once") {
            return looked;
        }
        match looked {
            // What may pass: said each time, and tried again.
            Err(Failure::Alarm(alarm)) if matches!(alarm.kind, Kind::Unreachable | Kind::Stale) => {
                println!("{alarm}");
                if alarm.kind == Kind::Unreachable {
                    database = None;
                }
            }
            other => other?,
        }
        sleep(interval);
    }
}

/// One look.
fn look(
    connection: &str,
    database: &mut Option<Database>,
    book: &mut Book,
    full: bool,
    stale: Option<Duration>,
) -> Outcome<()> {
    let database = match database {
        Some(database) => database,
        None => database.insert(Database::connect(connection)?),
    };
    // Records may go offline between two questions: only what is found twice is an alarm.
    let (head, heartbeat) = match check(database, book, full) {
        Err(Failure::Alarm(Alarm { kind: Kind::Truncated | Kind::Damaged, .. })) => check(database, book, full)?,
        other => other?,
    };
    match head.filter(|head| book.last().is_none_or(|last| last.id < head.id)) {
        Some(head) => {
            book.append(&head)?;
            println!("checkpoint {} in {}", head.id, book.path().display());
            Ok(())
        }
        None => {
            let heartbeat = if heartbeat.is_zero() { Duration::MAX / HEARTBEATS } else { heartbeat };
            let stale = stale.unwrap_or(heartbeat * HEARTBEATS);
            let (age, last) = (book.age(), book.last().map_or(0, |head| head.id));
            if age <= stale {
                return Ok(());
            }
            let text = format!(
                "no record after {last} for {} seconds, expected within {} seconds",
                age.as_secs(),
                stale.as_secs()
            );
            Err(Failure::alarm(Kind::Stale, text))
        }
    }
}

/// Recomputes what came after the last checkpoint, or everything online. The new head, None before the chain begins;
/// and the server's heartbeat.
fn check(database: &mut Database, book: &Book, full: bool) -> Outcome<(Option<Head>, Duration)> {
    let last = book.last();
    let Some(origin) = database.origin()? else {
        return match last {
            Some(last) => {
                Err(Failure::alarm(Kind::Truncated, format!("there is no chain, record {} was seen", last.id)))
            }
            None => Ok((None, Duration::MAX / HEARTBEATS)),
        };
    };
    if let Some(last) = last.filter(|last| last.ledger != origin.ledger) {
        let text = format!("the database keeps another chain than the one whose record {} was seen", last.id);
        return Err(Failure::alarm(Kind::Forked, text));
    }
    let from = start(&origin, last.as_ref(), full)?;
    let genesis = genesis_prev(&origin.ledger, origin.system_identifier.as_bytes());
    let known = last.filter(|last| !full && last.id == from.saturating_sub(1)).map(|last| last.hash);
    let cut = origin.cut_hash.filter(|_| origin.first_id == Some(from));
    let mut verifier = Verifier::new(origin.ledger, genesis, from, known.or(cut), None);
    let mut head = None;
    // The checkpoint's own record is read again: it must still be the one that was seen.
    let again = last.map(|last| last.id).filter(|id| origin.first_id.is_some_and(|first| first <= *id)).unwrap_or(from);
    let mut seen_again = None;
    database.pull(again.min(from), |link| {
        if book.hash_at(link.id).is_some_and(|seen| *seen != link.hash) {
            let text = format!("record {} is not the one that was seen", link.id);
            return Err(Failure::alarm(Kind::Rewritten, text));
        }
        if last.is_some_and(|last| last.id == link.id) {
            seen_again = Some(link.id);
        }
        if link.id >= from {
            verifier.push(link.id, &link.record, &link.prev_hash, &link.hash);
            head = Some(Head { ledger: origin.ledger, id: link.id, hash: link.hash });
        }
        Ok(())
    })?;
    if let Some(last) = last
        && again <= last.id
        && seen_again.is_none()
    {
        return Err(Failure::alarm(Kind::Truncated, format!("record {} was seen and is gone", last.id)));
    }
    let verdict = verifier.finish();
    if head.is_some() && !verdict.ok {
        let id = verdict.first_bad_id.unwrap_or(from);
        return Err(Failure::alarm(Kind::Damaged, format!("{}, first bad id {id}", verdict.kind.name())));
    }
    Ok((head.or(last), origin.heartbeat))
}

/// The first record to recompute.
fn start(origin: &Origin, last: Option<&Head>, full: bool) -> Outcome<i64> {
    let oldest = origin.first_id.unwrap_or(1);
    if oldest > 1 && origin.cut_hash.is_none() {
        let text = format!("missing, first bad id 1: the chain begins with {oldest}, and no PRUNE record says why");
        return Err(Failure::alarm(Kind::Damaged, text));
    }
    let Some(last) = last else { return Ok(oldest) };
    if origin.last_id.unwrap_or(0) < last.id {
        let end = origin.last_id.unwrap_or(0);
        return Err(Failure::alarm(Kind::Truncated, format!("the chain ends at {end}, record {} was seen", last.id)));
    }
    if last.id + 1 < oldest {
        let text = format!(
            "records {} to {} were archived before they were seen; steward-witness verify FILE… --file … --append",
            last.id + 1,
            oldest - 1
        );
        return Err(Failure::alarm(Kind::Damaged, text));
    }
    if last.id + 1 == oldest && origin.cut_hash.is_some_and(|hash| hash != last.hash) {
        return Err(Failure::alarm(Kind::Rewritten, format!("record {} was archived as another one", last.id)));
    }
    Ok(if full { oldest } else { last.id + 1 })
}
