//! A spool lane file: one fixed header, then frames, written by one backend and read by the sequencer
//! while it is still growing. Only layout lives here; what a payload means is `record`'s business, and
//! opening, writing and syncing files is the caller's.
//!
//! ```text
//! header  "PGSTLANE" ‖ u32 version ‖ file id (16) ‖ u64 system_identifier ‖ u32 timeline ‖ u32 database
//!         ‖ i64 created ‖ u32 slot ‖ u32 generation ‖ u32 crc32c of all before            (64 bytes)
//! frame   u32 len ‖ u32 crc32c(counter ‖ payload) ‖ u64 counter ‖ payload              (16 + len bytes)
//! ```
//!
//! Big-endian. Torn at any byte, the whole frames before it still come out, and never a wrong one. The
//! counter lets the reader see a frame that is missing or repeated.

use std::fmt;

/// The file version this code writes, and the only one it reads.
pub const VERSION: u32 = 1;
/// Bytes of the file header.
pub const HEADER_LEN: usize = 64;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_LEN: usize = 16;
/// The longest payload of a frame: 16 MiB.
pub const MAX_PAYLOAD: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"PGSTLANE";

/// Who wrote the file, and when: by this a copy of the data directory is told from the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// One per file: the server start that wrote it, combined with slot and generation. See [`file_id`].
    pub file_id: [u8; 16],
    pub system_identifier: u64,
    pub timeline: u32,
    /// Oid of the database.
    pub database: u32,
    /// Microseconds since 2000-01-01 UTC.
    pub created: i64,
    /// The backend slot whose lane this is.
    pub slot: u32,
    /// Counts the files of a slot within one server start.
    pub generation: u32,
}

/// Why bytes are not the header of a lane file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than a header has: torn, or still being written.
    Incomplete,
    /// Not a lane file.
    NotALane,
    /// A version this code does not know.
    UnknownVersion(u32),
    /// The checksum does not match.
    Corrupt,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Incomplete => f.write_str("spool file header is incomplete"),
            HeaderError::NotALane => f.write_str("not a spool file"),
            HeaderError::UnknownVersion(version) => write!(f, "unknown spool file version {version}"),
            HeaderError::Corrupt => f.write_str("spool file header is corrupt"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// The id of the file that a server start writes for a slot and generation. A copy keeps it, under whatever name.
pub fn file_id(boot: &[u8; 16], slot: u32, generation: u32) -> [u8; 16] {
    let place = u128::from(slot) << 32 | u128::from(generation);
    (u128::from_be_bytes(*boot) ^ place).to_be_bytes()
}

impl Header {
    /// The server start that wrote the file.
    pub fn boot(&self) -> [u8; 16] {
        // Combining is its own inverse.
        file_id(&self.file_id, self.slot, self.generation)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
        bytes[12..28].copy_from_slice(&self.file_id);
        bytes[28..36].copy_from_slice(&self.system_identifier.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.timeline.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.database.to_be_bytes());
        bytes[44..52].copy_from_slice(&self.created.to_be_bytes());
        bytes[52..56].copy_from_slice(&self.slot.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.generation.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// The header at the start of `bytes`; what follows it is not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        if bytes.len() < HEADER_LEN {
            return Err(HeaderError::Incomplete);
        }
        if !bytes.starts_with(MAGIC) {
            return Err(HeaderError::NotALane);
        }
        let version = u32::from_be_bytes(array(bytes, 8));
        if version != VERSION {
            return Err(HeaderError::UnknownVersion(version));
        }
        if u32::from_be_bytes(array(bytes, 60)) != crc32c::crc32c(&bytes[..60]) {
            return Err(HeaderError::Corrupt);
        }
        Ok(Header {
            file_id: array(bytes, 12),
            system_identifier: u64::from_be_bytes(array(bytes, 28)),
            timeline: u32::from_be_bytes(array(bytes, 36)),
            database: u32::from_be_bytes(array(bytes, 40)),
            created: i64::from_be_bytes(array(bytes, 44)),
            slot: u32::from_be_bytes(array(bytes, 52)),
            generation: u32::from_be_bytes(array(bytes, 56)),
        })
    }
}

/// The `N` bytes at `at`, which the caller knows to be there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// A payload longer than [`MAX_PAYLOAD`]; nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadTooLong;

impl fmt::Display for PayloadTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spool frame payload exceeds {MAX_PAYLOAD} bytes")
    }
}

impl std::error::Error for PayloadTooLong {}

/// Appends one frame to `out`.
pub fn append_frame(out: &mut Vec<u8>, counter: u64, payload: &[u8]) -> Result<(), PayloadTooLong> {
    if payload.len() > MAX_PAYLOAD {
        return Err(PayloadTooLong);
    }
    let counter = counter.to_be_bytes();
    out.reserve(FRAME_HEADER_LEN + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(&checksum(&counter, payload).to_be_bytes());
    out.extend_from_slice(&counter);
    out.extend_from_slice(payload);
    Ok(())
}

fn checksum(counter: &[u8; 8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(counter), payload)
}

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub counter: u64,
    pub payload: &'a [u8],
    /// File offset of the byte after this frame: where to go on reading.
    pub next_offset: u64,
}

/// Why the frames end before the bytes do. `offset` is the file offset of the frame that is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Torn, or still being written: whether more can come is for the caller to know. A damaged length
    /// that points beyond the bytes looks the same.
    Incomplete { offset: u64 },
    /// The checksum does not match or the length is impossible.
    Corrupt { offset: u64 },
}

/// The frames in a stretch of a lane file. Ends with `None` after the last whole frame, or with one
/// `Err` and then `None`.
pub struct Frames<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Frames<'a> {
    /// Reads `bytes`, which start at file offset `offset`: [`HEADER_LEN`] or some frame's `next_offset`.
    pub fn new(bytes: &'a [u8], offset: u64) -> Frames<'a> {
        Frames { rest: bytes, offset }
    }

    fn take(&mut self) -> Result<Frame<'a>, Tail> {
        let offset = self.offset;
        let incomplete = Tail::Incomplete { offset };
        let (header, body) = self.rest.split_first_chunk::<FRAME_HEADER_LEN>().ok_or(incomplete)?;
        let len = u32::from_be_bytes(array(header, 0)) as usize;
        if len > MAX_PAYLOAD {
            return Err(Tail::Corrupt { offset });
        }
        let (payload, rest) = body.split_at_checked(len).ok_or(incomplete)?;
        let counter = array(header, 8);
        if u32::from_be_bytes(array(header, 4)) != checksum(&counter, payload) {
            return Err(Tail::Corrupt { offset });
        }
        self.rest = rest;
        self.offset += (FRAME_HEADER_LEN + len) as u64;
        Ok(Frame { counter: u64::from_be_bytes(counter), payload, next_offset: self.offset })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Tail>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.take();
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}
