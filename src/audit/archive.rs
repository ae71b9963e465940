//! Archiving: the oldest closed segments become verified, compressed files, and a PRUNE record in the chain says so.
//! The records themselves are dropped by the sequencer, and only after that record was chained: whatever is killed when,
//! a record is online or in a file that was read back, mostly both.

use super::ledger::{self, Ledger};
use super::segment;
use crate::audit::buffer;
use crate::core::archive::{Header, Reader, Writer};
use crate::core::chain::{Hash, Head, Verdict};
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{self, Fault, Outcome};
use crate::{own, policy, state_file};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Records fetched at a time.
const FETCH: i64 = 2_000;

/// A closed segment that is to be archived.
struct Segment {
    number: i32,
    first_id: i64,
    last: Head,
    /// Of its first and last record, microseconds since 1970.
    times: [Option<i64>; 2],
}

/// What became of it.
pub struct Archived {
    first_id: i64,
    last_id: i64,
    file: String,
    sha256: Hash,
    bytes: i64,
    /// The end of the chain then.
    after: i64,
    /// When, microseconds since 1970.
    at: i64,
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // the columns must stand in the signature
fn archive_audit(
    before: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (name!(first_id, i64), name!(last_id, i64), name!(file, String), name!(sha256, String), name!(bytes, i64)),
> {
    let archived = error::answer(policy::require_configuration("archive_audit").and_then(|()| archive(before)));
    TableIterator::new(archived.into_iter().map(|it| (it.first_id, it.last_id, it.file, hex(&it.sha256), it.bytes)))
}

/// Archives the closed segments that are old enough.
pub fn archive(before: Option<TimestampWithTimeZone>) -> Outcome<Vec<Archived>> {
    let (ledger, segments) = own::run(|client| {
        let before = allowed(client, before)?;
        let ledger = ledger::current(client)?.ok_or_else(|| Fault::wrong_state("there is no audit chain yet"))?;
        let segments = due(client, &ledger, before)?;
        Ok((ledger, segments))
    })?;
    let mut all = Vec::new();
    for segment in segments {
        let archived = own::run(|client| archive_one(client, &ledger, &segment))?;
        record(&archived, &segment);
        all.push(archived);
    }
    Ok(all)
}

/// The time before which records may go; never within the online term.
fn allowed(client: &mut SpiClient<'_>, before: Option<TimestampWithTimeZone>) -> Outcome<TimestampWithTimeZone> {
    let term = "SELECT coalesce($1, now() - online), coalesce($1 <= now() - online, true), online::text
        FROM steward.retention_policy";
    let row = own::query(client, term, &[before.into()])?.first();
    let (before, old) = row.get_two::<TimestampWithTimeZone, bool>()?;
    let before = before.ok_or_else(|| Fault::corrupted("table steward.retention_policy is empty"))?;
    if old != Some(true) {
        let online = row.get::<String>(3)?.unwrap_or_default();
        return Err(Fault::bad_argument("records within the online term stay online")
            .detail(format!("The online term is {online}."))
            .hint("SELECT steward.archive_audit();"));
    }
    Ok(before)
}

/// The oldest closed segments, up to the first that is not old enough, locked against another archiver. The chain must
/// go on after each: the last record shows where it ends. One that was archived and not dropped, and whose file is not
/// there (a standby took over, say), is archived again.
fn due(client: &mut SpiClient<'_>, ledger: &Ledger, before: TimestampWithTimeZone) -> Outcome<Vec<Segment>> {
    let closed = "SELECT number, first_id, last_id, last_hash, coalesce(last_time, closed_at) < $1
            AND EXISTS (SELECT FROM steward.chain c WHERE c.id > s.last_id), file, file_bytes,
            CASE WHEN isfinite(first_time) THEN (extract(epoch FROM first_time) * 1000000)::bigint END, CASE WHEN isfinite(last_time) THEN (extract(epoch FROM last_time) * 1000000)::bigint END
        FROM steward.segment s WHERE to_regclass('steward.chain_' || number) IS NOT NULL ORDER BY number FOR UPDATE";
    let mut segments = Vec::new();
    for row in own::query(client, closed, &[before.into()])? {
        if row.get::<String>(6)?.zip(row.get(7)?).is_some_and(|(file, bytes)| is_kept(&file, bytes)) {
            continue;
        }
        let (Some(number), Some(first_id), Some(id)) = (row.get(1)?, row.get(2)?, row.get(3)?) else { break };
        let hash = row.get::<Vec<u8>>(4)?.and_then(|hash| hash.try_into().ok());
        let (Some(hash), Some(true)) = (hash, row.get::<bool>(5)?) else { break };
        let times = [row.get(8)?, row.get(9)?];
        segments.push(Segment { number, first_id, last: Head { ledger: ledger.id, id, hash }, times });
    }
    Ok(segments)
}

/// Whether an archive file is there, as long as it was written.
pub(super) fn is_kept(file: &str, bytes: i64) -> bool {
    directory().and_then(|directory| directory.join(file).metadata()).is_ok_and(|kept| kept.len() == bytes as u64)
}

/// Whether there is a file of that name.
pub(super) fn is_there(file: &str) -> bool {
    directory().is_ok_and(|directory| directory.join(file).exists())
}

fn archive_one(client: &mut SpiClient<'_>, ledger: &Ledger, segment: &Segment) -> Outcome<Archived> {
    let (first, last) = (segment.first_id, segment.last.id);
    // With the hash: what another history of this chain has archived (a restored copy's, say) is not overwritten.
    let hash = hex(&segment.last.hash[..8]);
    let file = format!("{}-{first}-{last}-{hash}.pgstewardlog.gz", ledger::uuid_text(&ledger.id));
    let path = directory().map_err(|error| unwritable(&error))?.join(&file);
    let aside = path.with_extension("new");
    let header = Header {
        ledger: ledger.id,
        system_identifier: ledger.system_identifier.clone(),
        previous: (first - 1, hash_before(client, ledger, first)?),
    };
    export(client, &header, segment, &aside)?;
    // Read back from the file, not from memory: what is dropped later must be there.
    let input = File::open(&aside).map_err(|error| unwritable(&error))?;
    let read_back = Reader::new(GzDecoder::new(BufReader::new(input)))
        .and_then(|reader| reader.verify(Some(segment.last)))
        .map_err(|error| unwritable(&io::Error::other(error)))?;
    accept(&read_back, "the archive file just written")?;
    let (sha256, bytes) = digest(&aside).map_err(|error| unwritable(&error))?;
    fs::rename(&aside, &path)
        .and_then(|()| File::open(directory()?)?.sync_all())
        .map_err(|error| unwritable(&error))?;
    let done =
        "UPDATE steward.segment SET archived_at = clock_timestamp(), file = $2, file_sha256 = $3, file_bytes = $4,
        prune_after = (SELECT max(id) FROM steward.chain) WHERE number = $1
        RETURNING prune_after, (extract(epoch FROM archived_at) * 1000000)::bigint";
    let arguments = [segment.number.into(), file.as_str().into(), sha256.to_vec().into(), bytes.into()];
    let row = own::query(client, done, &arguments)?.first();
    let (Some(after), Some(at)) = row.get_two::<i64, i64>()? else {
        return Err(
            Fault::corrupted("the row of an archived segment is gone").hint("SELECT * FROM steward.verify_chain();")
        );
    };
    Ok(Archived { first_id: first, last_id: last, file, sha256, bytes, after, at })
}

/// The hash that the segment's first record must follow.
fn hash_before(client: &mut SpiClient<'_>, ledger: &Ledger, first: i64) -> Outcome<Hash> {
    if first == 1 {
        return Ok(ledger.genesis_prev());
    }
    let stored = "SELECT hash FROM steward.chain WHERE id = $1 LIMIT 1";
    let row = own::query(client, stored, &[(first - 1).into()])?.first();
    if !row.is_empty() {
        return Ok(row.get_one::<Vec<u8>>()?.and_then(|hash| hash.try_into().ok()).unwrap_or_default());
    }
    segment::cut(client)?.filter(|cut| cut.id == first - 1).map(|cut| cut.hash).ok_or_else(|| {
        Fault::corrupted(format!("record {} is missing", first - 1))
            .detail("No PRUNE record says that it was archived.")
            .hint("SELECT * FROM steward.verify_chain();")
    })
}

/// Writes the segment to a file, verifying on the way what it writes.
fn export(client: &mut SpiClient<'_>, header: &Header, segment: &Segment, path: &Path) -> Outcome<()> {
    let wrong = |error: io::Error| unwritable(&error);
    let output = BufWriter::new(create(path).map_err(wrong)?);
    let mut writer = Writer::new(GzEncoder::new(output, Compression::default()), header).map_err(wrong)?;
    let mut verifier = header.verifier(Some(segment.last));
    let records = format!("SELECT id, record, prev_hash, hash FROM ONLY {} ORDER BY id", segment::name(segment.number));
    let mut cursor = client.try_open_cursor(records.as_str(), &[])?;
    loop {
        let rows = cursor.fetch(FETCH)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let id = row.get::<i64>(1)?.unwrap_or_default();
            let bytes = |column| Ok::<_, Fault>(row.get::<&[u8]>(column)?.unwrap_or_default());
            let (record, prev, hash) = (bytes(2)?, bytes(3)?, bytes(4)?);
            verifier.push(id, record, prev, hash);
            let (prev, hash) = (prev.try_into().unwrap_or_default(), hash.try_into().unwrap_or_default());
            writer.push(id, record, &prev, &hash).map_err(wrong)?;
        }
        pgrx::check_for_interrupts!();
    }
    accept(&verifier.finish(), "the segment")?;
    let mut output = writer.finish().and_then(GzEncoder::finish).map_err(wrong)?;
    output.flush().and_then(|()| output.get_ref().sync_all()).map_err(wrong)
}

/// Nothing that does not verify is archived: it is evidence.
fn accept(verdict: &Verdict, what: &str) -> Outcome<()> {
    if verdict.ok {
        return Ok(());
    }
    let id = verdict.first_bad_id.unwrap_or_default();
    Err(Fault::corrupted(format!("{what} does not verify: {}, first bad id {id}", verdict.kind.name()))
        .hint("SELECT * FROM steward.verify_chain();"))
}

/// The record that lets the sequencer drop the segment, in this transaction's own records.
fn record(archived: &Archived, segment: &Segment) {
    let mut record = Record::new(Kind::Policy, segment::PRUNE);
    record.tier = Some(Tier::Critical);
    record.rows = Some(archived.last_id - archived.first_id + 1);
    let details = json!({
        "from_id": archived.first_id, "to_id": archived.last_id, "last_hash": hex(&segment.last.hash),
        "first_time_us": segment.times[0], "last_time_us": segment.times[1],
        "file": archived.file, "sha256": hex(&archived.sha256), "bytes": archived.bytes,
        "after_id": archived.after, "archived_at_us": archived.at,
    });
    record.details = Some(details.to_string());
    buffer::push(record);
}

/// Where archive files are.
pub(super) fn directory() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let directory = state_file::directory()?.join("archive");
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&directory)?;
    Ok(directory)
}

fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The SHA-256 of an archive file; None if it is not there, or cannot be read.
pub(super) fn digest_of(file: &str) -> Option<Hash> {
    let path = directory().ok()?.join(file);
    digest(&path).ok().map(|(sha256, _)| sha256)
}

fn digest(path: &Path) -> io::Result<(Hash, i64)> {
    let mut sha256 = Sha256::new();
    let bytes = io::copy(&mut File::open(path)?, &mut sha256)?;
    Ok((sha256.finalize().into(), bytes as i64))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unwritable(error: &io::Error) -> Fault {
    Fault::io(format!("the archive file cannot be written: {error}"))
        .detail("Nothing was dropped; the records are still online.")
        .hint("Free space on the data directory's file system, then call steward.archive_audit() again.")
}
