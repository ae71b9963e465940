//! Rows of prepared transactions. They are counted at PREPARE, in a file of their own below `pg_steward/journal/prepared`
//! which lies on disk before the transaction is prepared: it may be committed by another session in another life of the
//! server. Once it has ended the sequencer knows which way, and compares.

use super::file::{self, Entry};
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// What a file is called while it is written.
const ASIDE: &str = "new";

/// A transaction of this database that was prepared, or was about to be.
pub struct Prepared {
    pub rows: i64,
    /// Microseconds since 2000-01-01 UTC.
    pub at: i64,
    /// Whether it was committed; None while that is open.
    pub committed: Option<bool>,
    pub path: PathBuf,
    pub flaw: Option<file::Flaw>,
}

/// The transactions of the files that are there.
pub fn files() -> BTreeSet<u64> {
    let name = |entry: fs::DirEntry| u64::from_str_radix(entry.file_name().to_str()?, 16).ok();
    fs::read_dir(directory()).into_iter().flatten().flatten().filter_map(name).collect()
}

fn directory() -> PathBuf {
    PathBuf::from("pg_steward/journal/prepared")
}

/// Removes what was never written to its end. At a start, when nobody writes.
pub fn clean_up() {
    let paths = fs::read_dir(directory()).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == ASIDE)) {
        if let Err(error) = fs::remove_file(&path) {
            warning!("pg_steward: the file \"{}\" could not be removed: {error}", path.display());
        }
    }
}

/// PRE_PREPARE: counts the rows of this transaction. A fault, and nothing is prepared.
pub fn write(xid: u64, rows: u64) -> Outcome<()> {
    // Safe: plain globals, and the clock. What this transaction has written goes to disk first: after a crash a number that
    // no WAL knows is given to another transaction, whose commit would be taken for this one's.
    let (database, now) = unsafe {
        pg_sys::XLogFlush(pg_sys::XactLastRecEnd);
        (pg_sys::MyDatabaseId.to_u32(), pg_sys::GetCurrentTimestamp())
    };
    let entry = Entry { database, certain: rows, rows, position: now as u64 };
    // Whole or not at all: who is struck down in between prepares nothing, and a part would look like a damaged file.
    let written = || -> io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(directory())?;
        let path = directory().join(format!("{xid:016x}"));
        let aside = path.with_extension(ASIDE);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&entry.encode(xid))?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        File::open(directory())?.sync_all()
    };
    written().map_err(|error| {
        Fault::io(format!("the rows of the audit trail's journal cannot be counted: {error}"))
            .hint("Mend pg_steward/journal/prepared in the data directory, then prepare the transaction again.")
    })
}

/// The files that are there, and what became of their transactions. To be read before the snapshot in which rows are taken:
/// of one that has ended all rows are seen then. Needs a transaction of its own.
pub fn read() -> Outcome<BTreeMap<u64, Prepared>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory()).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap_or_default();
        let Ok(xid) = u64::from_str_radix(&name, 16) else { continue };
        let bytes = file::read(path.clone(), 1 << 10);
        let entry = match &bytes {
            Ok(bytes) => Entry::decode(bytes, xid).filter(|entry| entry.database != 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => None,
        };
        // Safe: a plain global.
        if entry.is_some_and(|entry| entry.database != unsafe { pg_sys::MyDatabaseId.to_u32() }) {
            continue;
        }
        let flaw = if entry.is_none() { Some("altered") } else { None };
        let Entry { rows, position, .. } = entry.unwrap_or_default();
        found.insert(xid, Prepared { rows: rows as i64, at: position as i64, committed: committed(xid)?, path, flaw });
    }
    Ok(found)
}

/// Nothing is known of transactions of the future, nor of those that PostgreSQL has forgotten.
fn committed(xid: u64) -> Outcome<Option<bool>> {
    // Safe: reads shared state.
    if xid < 3 || xid >= unsafe { pg_sys::ReadNextFullTransactionId().value } {
        return Ok(Some(false));
    }
    own::run(|client| {
        let status = own::select(client, "SELECT pg_xact_status($1::xid8)", &[xid.to_string().into()])?.first();
        Ok(match status.get_one::<&str>()? {
            Some("in progress") => None,
            Some("committed") => Some(true),
            _ => Some(false),
        })
    })
}
