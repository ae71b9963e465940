//! The file of checkpoints: one stanza for each head that was seen, appended and synced, never changed. A stanza has the
//! shape of a C2SP tlog-checkpoint; its fourth line, an extension in those terms, is the line that
//! `steward.verify_chain(anchor => …)` takes. There is no signature: who can write the file is trusted.
//!
//! ```text
//! pg_steward/326202f9-2e1d-52fe-fb9a-4e047e6985f8
//! 41
//! bwApfprBHnwkDtwzZVjyUvKKhc0XypCS/ouHlrEdDU0=
//! pg_steward/1 326202f9-2e1d-52fe-fb9a-4e047e6985f8 41 6f00297e…9ac1 2026-11-22T05:13:36.397494Z
//!
//! ```

use super::{Failure, Outcome};
use crate::core::chain::{Hash, Head, Ledger};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// 2000-01-01 UTC, from where PostgreSQL counts.
const EPOCH: Duration = Duration::from_secs(946_684_800);

/// The checkpoints of one chain.
pub struct Book {
    path: PathBuf,
    ledger: Option<Ledger>,
    heads: BTreeMap<i64, Hash>,
    /// When the last one was added.
    changed: SystemTime,
}

impl Book {
    /// Reads the file; there need not be one yet.
    pub fn open(path: impl Into<PathBuf>) -> Outcome<Book> {
        let path = path.into();
        let wrong = |error: io::Error| Failure::Own(format!("{}: {error}", path.display()));
        let (text, changed) = match fs::read_to_string(&path) {
            Ok(text) => (text, fs::metadata(&path).and_then(|file| file.modified()).map_err(wrong)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), SystemTime::now()),
            Err(error) => return Err(wrong(error)),
        };
        let whole = text.rfind("\n\n").map_or(0, |end| end + 2);
        if whole < text.len() {
            // Its writer was killed; what it wrote was never counted on.
            OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(whole as u64)).map_err(wrong)?;
        }
        let mut book = Book { path, ledger: None, heads: BTreeMap::new(), changed };
        for stanza in text[..whole].split_terminator("\n\n") {
            let head = parse(stanza).filter(|head| {
                book.ledger.is_none_or(|ledger| ledger == head.ledger)
                    && book.last().is_none_or(|last| last.id < head.id)
            });
            let head = head.ok_or_else(|| {
                Failure::Own(format!("{} does not read back as the checkpoints of one chain", book.path.display()))
            })?;
            book.remember(&head);
        }
        Ok(book)
    }

    fn remember(&mut self, head: &Head) {
        self.ledger = Some(head.ledger);
        self.heads.insert(head.id, head.hash);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn last(&self) -> Option<Head> {
        let (id, hash) = self.heads.last_key_value()?;
        Some(Head { ledger: self.ledger?, id: *id, hash: *hash })
    }

    /// The hash that was seen at this id.
    pub fn hash_at(&self, id: i64) -> Option<&Hash> {
        self.heads.get(&id)
    }

    /// How long nothing was added.
    pub fn age(&self) -> Duration {
        SystemTime::now().duration_since(self.changed).unwrap_or_default()
    }

    /// Adds a checkpoint, durably.
    pub fn append(&mut self, head: &Head) -> Outcome<()> {
        let now = SystemTime::now();
        let time = now.duration_since(SystemTime::UNIX_EPOCH + EPOCH).unwrap_or_default().as_micros() as i64;
        let write = |path: &Path| {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            file.write_all(stanza(head, time).as_bytes())?;
            file.sync_all()
        };
        write(&self.path).map_err(|error| Failure::Own(format!("{}: {error}", self.path.display())))?;
        self.remember(head);
        self.changed = now;
        Ok(())
    }
}

fn stanza(head: &Head, time: i64) -> String {
    let line = head.checkpoint(time);
    let ledger = line.split(' ').nth(1).unwrap_or_default();
    format!("pg_steward/{ledger}\n{}\n{}\n{line}\n\n", head.id, STANDARD.encode(head.hash))
}

/// All four lines must tell of the same head.
fn parse(text: &str) -> Option<Head> {
    let mut lines = text.split('\n');
    let (origin, size, hash, line) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
    let head = Head::parse(line)?;
    let same = origin.strip_prefix("pg_steward/") == line.split(' ').nth(1)
        && size == head.id.to_string()
        && hash == STANDARD.encode(head.hash)
        && lines.next().is_none();
    same.then_some(head)
}
