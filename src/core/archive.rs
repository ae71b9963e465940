//! Records that left the database: a stretch of the chain as a stream of bytes, for archive files, exports and the
//! program that verifies both without a server. Only layout lives here; whether the links hold is `chain`'s business,
//! and compressing, naming and syncing files is the caller's.
//!
//! ```text
//! header   "PGSTWLOG" ‖ u16 version ‖ ledger(16) ‖ u16 length ‖ system identifier ‖ i64 id ‖ hash(32) of the head before
//! record   0x01 ‖ i64 id ‖ u32 length ‖ record ‖ prev_hash(32) ‖ hash(32)
//! trailer  0x02 ‖ u64 count ‖ SHA-256 of all before
//! ```
//!
//! Big-endian. The head before record 1 is id 0 with the chain's `genesis_prev`. Torn or changed at any byte, reading
//! ends in an error; what was read before that is not vouched for.

use super::chain::{Hash, Head, Ledger, Verdict, Verifier, genesis_prev};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, Read, Write};

/// The version this code writes, and the only one it reads.
pub const VERSION: u16 = 1;
/// The longest record: 16 MiB.
pub const MAX_RECORD: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"PGSTWLOG";
const RECORD: u8 = 1;
const TRAILER: u8 = 2;

/// Whose records follow, and what they follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub ledger: Ledger,
    /// The cluster that the chain began in: what its first link is bound to.
    pub system_identifier: String,
    /// Id and hash of the record before the first of this stream.
    pub previous: (i64, Hash),
}

impl Header {
    /// The head that the stream's first record must follow.
    pub fn head(&self) -> Head {
        Head { ledger: self.ledger, id: self.previous.0, hash: self.previous.1 }
    }

    /// The verifier of the stream's records, which must go on as far as the anchor.
    pub fn verifier(&self, anchor: Option<Head>) -> Verifier {
        let genesis = genesis_prev(&self.ledger, self.system_identifier.as_bytes());
        Verifier::new(self.ledger, genesis, self.previous.0.saturating_add(1), Some(self.previous.1), anchor)
    }
}

/// One record as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: i64,
    pub record: Vec<u8>,
    pub prev_hash: Hash,
    pub hash: Hash,
}

/// Why bytes are not a whole stream.
#[derive(Debug)]
pub enum ArchiveError {
    /// The first bytes are not those of such a stream.
    NotAnArchive,
    /// A version this code does not know.
    UnknownVersion(u16),
    /// The bytes end before the trailer does.
    Torn,
    /// A length, a tag, the count or the digest is wrong, or bytes follow the trailer.
    Damaged(&'static str),
    Io(io::Error),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::NotAnArchive => f.write_str("not a file of chain records"),
            ArchiveError::UnknownVersion(version) => write!(f, "unknown version {version} of a file of chain records"),
            ArchiveError::Torn => f.write_str("the file ends before its records do"),
            ArchiveError::Damaged(what) => write!(f, "the file is damaged: {what}"),
            ArchiveError::Io(error) => write!(f, "the file cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ArchiveError {}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Torn,
            // What a decompressor says of bytes that it did not write.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ArchiveError::Damaged("it does not decompress"),
            _ => ArchiveError::Io(error),
        }
    }
}

/// Writes a stream. Without [`Writer::finish`] it is a torn one.
pub struct Writer<W: Write> {
    output: W,
    digest: Sha256,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub fn new(output: W, header: &Header) -> io::Result<Writer<W>> {
        let mut writer = Writer { output, digest: Sha256::new(), count: 0 };
        let name = header.system_identifier.as_bytes();
        let length = u16::try_from(name.len()).map_err(|_| io::Error::other("the system identifier is too long"))?;
        writer.put(MAGIC)?;
        writer.put(&VERSION.to_be_bytes())?;
        writer.put(&header.ledger)?;
        writer.put(&length.to_be_bytes())?;
        writer.put(name)?;
        writer.put(&header.previous.0.to_be_bytes())?;
        writer.put(&header.previous.1)?;
        Ok(writer)
    }

    /// Adds one record.
    pub fn push(&mut self, id: i64, record: &[u8], prev_hash: &Hash, hash: &Hash) -> io::Result<()> {
        if record.len() > MAX_RECORD {
            return Err(io::Error::other(format!("record {id} is too long")));
        }
        self.put(&[RECORD])?;
        self.put(&id.to_be_bytes())?;
        self.put(&(record.len() as u32).to_be_bytes())?;
        self.put(record)?;
        self.put(prev_hash)?;
        self.put(hash)?;
        self.count += 1;
        Ok(())
    }

    /// Ends with the trailer and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(&[TRAILER])?;
        self.put(&self.count.to_be_bytes())?;
        let digest = self.digest.finalize();
        self.output.write_all(&digest)?;
        Ok(self.output)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.output.write_all(bytes)
    }
}

/// Reads a stream, in constant memory.
pub struct Reader<R: Read> {
    input: R,
    digest: Sha256,
    count: u64,
    header: Header,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Reader<R>, ArchiveError> {
        let header = Header { ledger: [0; 16], system_identifier: String::new(), previous: (0, [0; 32]) };
        let mut reader = Reader { input, digest: Sha256::new(), count: 0, header, ended: false };
        if &reader.take::<8>()? != MAGIC {
            return Err(ArchiveError::NotAnArchive);
        }
        let version = u16::from_be_bytes(reader.take()?);
        if version != VERSION {
            return Err(ArchiveError::UnknownVersion(version));
        }
        let ledger = reader.take()?;
        let length = u16::from_be_bytes(reader.take()?);
        let name = reader.take_vec(usize::from(length))?;
        let system_identifier = String::from_utf8(name).map_err(|_| ArchiveError::Damaged("its header"))?;
        let previous = (i64::from_be_bytes(reader.take()?), reader.take()?);
        reader.header = Header { ledger, system_identifier, previous };
        Ok(reader)
    }

    /// Whose records these are.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record; None once the trailer was read and found right, with nothing after it.
    pub fn next_link(&mut self) -> Result<Option<Link>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        match self.take::<1>()?[0] {
            RECORD => self.link().map(Some),
            TRAILER => self.trailer().map(|()| None),
            _ => Err(ArchiveError::Damaged("what follows is neither a record nor the end")),
        }
    }

    /// Reads on to the end and verifies every link. An error means that the bytes are none of ours; a bad verdict,
    /// that the records are not those that were chained.
    pub fn verify(mut self, anchor: Option<Head>) -> Result<Verdict, ArchiveError> {
        let mut verifier = self.header.verifier(anchor);
        while let Some(link) = self.next_link()? {
            verifier.push(link.id, &link.record, &link.prev_hash, &link.hash);
        }
        Ok(verifier.finish())
    }

    fn link(&mut self) -> Result<Link, ArchiveError> {
        let id = i64::from_be_bytes(self.take()?);
        let length = u32::from_be_bytes(self.take()?) as usize;
        if length > MAX_RECORD {
            return Err(ArchiveError::Damaged("a record's length"));
        }
        let link = Link { id, record: self.take_vec(length)?, prev_hash: self.take()?, hash: self.take()? };
        self.count += 1;
        Ok(link)
    }

    fn trailer(&mut self) -> Result<(), ArchiveError> {
        let count = u64::from_be_bytes(self.take()?);
        let expected: Hash = self.digest.clone().finalize().into();
        if self.take::<32>()? != expected {
            return Err(ArchiveError::Damaged("its digest"));
        }
        if count != self.count {
            return Err(ArchiveError::Damaged("the number of its records"));
        }
        // Reading up to the very end also lets a decompressor check its own sum.
        if self.input.read(&mut [0])? != 0 {
            return Err(ArchiveError::Damaged("bytes after its end"));
        }
        self.ended = true;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.digest.update(bytes);
        Ok(bytes)
    }

    /// Grows with what is really there: a wrong length must not cost memory.
    fn take_vec(&mut self, length: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        if (&mut self.input).take(length as u64).read_to_end(&mut bytes)? < length {
            return Err(ArchiveError::Torn);
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }
}
