//! `verify` and `export`: chain records in files.

use super::arguments::Arguments;
use super::checkpoint::Book;
use super::database::Database;
use super::{Failure, Kind, Outcome};
use crate::core::archive::{Header, Reader, Writer};
use crate::core::chain::{Head, genesis_prev};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The first bytes of a compressed file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

type Input = Reader<Box<dyn Read>>;

pub fn verify(arguments: Arguments) -> Outcome<()> {
    let mut book = arguments.optional("--file").map(Book::open).transpose()?;
    let mut files = Vec::new();
    for path in &arguments.files {
        files.push((path.clone(), open(path)?));
    }
    if files.is_empty() {
        return Err(Failure::Own("which files?".into()));
    }
    files.sort_by_key(|(_, reader)| reader.header().previous.0);
    let first = files[0].1.header().head();
    let mut end = first;
    for (path, reader) in files {
        end = verify_file(&path, reader, &end, book.as_ref())?;
    }
    println!("whole from record {} to {}", first.id.saturating_add(1), end.id);
    if first.id > 0 && book.as_ref().is_none_or(|book| book.hash_at(first.id).is_none()) {
        println!("what record {} was is believed: no checkpoint tells of it", first.id);
    }
    let Some(book) = &mut book else {
        println!("not compared with any checkpoint: a chain that was rewritten as a whole passes");
        return Ok(());
    };
    match book.last() {
        Some(last) if last.id > end.id => println!("ends before the last checkpoint, {}", last.id),
        Some(last) if last.id < first.id => println!("begins after the last checkpoint, {}", last.id),
        last if arguments.is_set("--append") && last.is_none_or(|last| last.id < end.id) => {
            book.append(&end)?;
            println!("checkpoint {} in {}", end.id, book.path().display());
        }
        _ => {}
    }
    Ok(())
}

fn open(path: &Path) -> Outcome<Input> {
    let wrong = |error: &dyn std::error::Error| Failure::Own(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(|error| wrong(&error))?;
    let mut start = Vec::new();
    (&mut file).take(GZIP.len() as u64).read_to_end(&mut start).map_err(|error| wrong(&error))?;
    file.rewind().map_err(|error| wrong(&error))?;
    let buffered = BufReader::new(file);
    let input: Box<dyn Read> = if start == GZIP { Box::new(GzDecoder::new(buffered)) } else { Box::new(buffered) };
    Reader::new(input).map_err(|error| Failure::alarm(Kind::Damaged, format!("{}: {error}", path.display())))
}

/// Verifies one file, which must go on from `end`; the new end.
fn verify_file(path: &Path, mut reader: Input, end: &Head, book: Option<&Book>) -> Outcome<Head> {
    let name = path.display();
    let before = reader.header().head();
    if before.ledger != end.ledger {
        return Err(Failure::alarm(Kind::Forked, format!("{name} is of another chain")));
    }
    if before != *end {
        let text = format!("{name} does not go on from record {}, but from {}", end.id, before.id);
        let kind = if before.id == end.id { Kind::Forked } else { Kind::Damaged };
        return Err(Failure::alarm(kind, text));
    }
    let rewritten = |head: &Head| match book.and_then(|book| book.hash_at(head.id)) {
        Some(seen) if *seen != head.hash => {
            let text = format!("{name}: record {} is not the one that was seen", head.id);
            Err(Failure::alarm(Kind::Rewritten, text))
        }
        _ => Ok(()),
    };
    if let Some(last) = book.and_then(Book::last).filter(|last| last.ledger != before.ledger) {
        return Err(Failure::alarm(
            Kind::Forked,
            format!("{name} is not of the chain whose record {} was seen", last.id),
        ));
    }
    rewritten(&before)?;
    let mut verifier = reader.header().verifier(None);
    let mut end = before;
    loop {
        let damaged = |error| {
            let text = format!("{name}: {error}; nothing is sure from record {} on", before.id.saturating_add(1));
            Failure::alarm(Kind::Damaged, format!("{text}, read up to {}", end.id))
        };
        let Some(link) = reader.next_link().map_err(damaged)? else { break };
        verifier.push(link.id, &link.record, &link.prev_hash, &link.hash);
        end = Head { id: link.id, hash: link.hash, ..before };
        rewritten(&end)?;
    }
    let verdict = verifier.finish();
    if !verdict.ok {
        let id = verdict.first_bad_id.unwrap_or(before.id.saturating_add(1));
        let text = format!("{name}: {}, first bad id {id}", verdict.kind.name());
        return Err(Failure::alarm(Kind::Damaged, text));
    }
    println!("{name}: {} records, {} to {}", verdict.checked, before.id.saturating_add(1), end.id);
    Ok(end)
}

pub fn export(arguments: Arguments) -> Outcome<()> {
    let [path] = &arguments.files[..] else { return Err(Failure::Own("one file to write to".into())) };
    let mut database = Database::connect(arguments.required("--connection")?)?;
    let origin = database.origin()?.ok_or_else(|| Failure::Own("there is no chain yet".into()))?;
    let from = arguments.number("--from")?.or(origin.first_id).unwrap_or(1);
    let wrong = |error: io::Error| Failure::Own(format!("{}: {error}", path.display()));
    let mut header = Header {
        ledger: origin.ledger,
        previous: (0, genesis_prev(&origin.ledger, origin.system_identifier.as_bytes())),
        system_identifier: origin.system_identifier,
    };
    let mut writer: Option<Writer<Output>> = None;
    let mut count = 0_u64;
    database.pull(from, |link| {
        let writer = match &mut writer {
            Some(writer) => writer,
            None => {
                if link.id > 1 {
                    header.previous = (link.id - 1, link.prev_hash);
                }
                let output = Output::create(path).map_err(wrong)?;
                writer.insert(Writer::new(output, &header).map_err(wrong)?)
            }
        };
        count += 1;
        writer.push(link.id, &link.record, &link.prev_hash, &link.hash).map_err(wrong)
    })?;
    let writer = writer.ok_or_else(|| Failure::Own(format!("there is no record from {from} on")))?;
    writer.finish().and_then(Output::finish).map_err(wrong)?;
    println!(
        "{}: {count} records from {}; verify it with steward-witness verify",
        path.display(),
        header.previous.0 + 1
    );
    Ok(())
}

/// A new file, compressed if its name says so.
enum Output {
    Plain(BufWriter<File>),
    Compressed(GzEncoder<BufWriter<File>>),
}

impl Output {
    fn create(path: &Path) -> io::Result<Output> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let file = BufWriter::new(file);
        Ok(match path.extension().is_some_and(|extension| extension == "gz") {
            true => Output::Compressed(GzEncoder::new(file, Compression::default())),
            false => Output::Plain(file),
        })
    }

    fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Output::Plain(file) => file,
            Output::Compressed(encoder) => encoder.finish()?,
        };
        file.flush()?;
        file.get_ref().sync_all()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Plain(file) => file.write(bytes),
            Output::Compressed(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Plain(file) => file.flush(),
            Output::Compressed(encoder) => encoder.flush(),
        }
    }
}
