//! A row of the journal: records of one transaction, each told by what it has other than the one before.
//!
//! ```text
//! u32 crc32c of all after it ‖ u32 count ‖ number xid ‖ number part ‖ { number length ‖ mask ‖ byte* }*
//! ```
//!
//! The count is the name of the one that the row is in, 0 for none. Big-endian; a number is LEB128. The mask has a bit for each byte of the record, the first byte's is bit 0 of the first octet: set
//! where the byte follows, not set where it is as in the record before. As far as the record's middle that is the byte at
//! the same place from the front, then at the same place from the end, since what differs in length lies between. Where
//! there is no such byte it is 0. Records of one transaction differ in a few bytes of time, duration and statement.

/// Octets before the first number.
const HEADER: usize = 8;

/// Octets that a record of this length needs at most, beside its own.
const fn overhead(length: usize) -> usize {
    10 + length.div_ceil(8)
}

/// A row as it is written.
pub struct Batch<'a> {
    bytes: Vec<u8>,
    /// Where the records begin.
    begin: usize,
    last: &'a [u8],
    /// What the next record is compared with.
    expected: Vec<u8>,
}

impl<'a> Batch<'a> {
    /// A row without records: the `part`th of this transaction.
    pub fn new(xid: u64, part: u32, count: u32) -> Batch<'a> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&count.to_be_bytes());
        write_number(&mut bytes, xid);
        write_number(&mut bytes, u64::from(part));
        let begin = bytes.len();
        Batch { bytes, begin, last: &[], expected: Vec::new() }
    }

    /// Whether one more record, however little of it repeats, leaves the row shorter than this; a first one always may.
    pub fn has_room(&self, record: &[u8], max: usize) -> bool {
        self.bytes.len() == self.begin || self.bytes.len() + record.len() + overhead(record.len()) <= max
    }

    pub fn push(&mut self, record: &'a [u8]) {
        write_number(&mut self.bytes, record.len() as u64);
        let mask = self.bytes.len();
        self.bytes.resize(mask + record.len().div_ceil(8), 0);
        expect(&mut self.expected, self.last, record.len());
        for (place, (eight, expected)) in record.chunks(8).zip(self.expected.chunks(8)).enumerate() {
            if eight == expected {
                continue;
            }
            for (bit, (byte, _)) in eight.iter().zip(expected).enumerate().filter(|(_, (byte, other))| byte != other) {
                self.bytes[mask + place] |= 1 << bit;
                self.bytes.push(*byte);
            }
        }
        self.last = record;
    }

    /// The row, with its checksum.
    pub fn bytes(&mut self) -> &[u8] {
        let checksum = crc32c::crc32c(&self.bytes[4..]).to_be_bytes();
        self.bytes[..4].copy_from_slice(&checksum);
        &self.bytes
    }
}

/// What a row says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub xid: u64,
    pub part: u32,
    /// The name of the count that the row is in; 0 for none.
    pub count: u32,
    pub records: Vec<Vec<u8>>,
    /// It is as it was written. Otherwise the rest is what can be made of it.
    pub intact: bool,
}

/// Reads a row, as far as it is one. Never takes more room than eight times its length.
pub fn read(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    if let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let [a, b, c, d, count @ ..] = *header;
        content.count = u32::from_be_bytes(count);
        let whole = content.read_numbers(rest).is_some();
        content.intact = whole && crc32c::crc32c(&bytes[4..]) == u32::from_be_bytes([a, b, c, d]);
    }
    content
}

impl Content {
    fn read_numbers(&mut self, mut rest: &[u8]) -> Option<()> {
        self.xid = read_number(&mut rest)?;
        self.part = read_number(&mut rest)?.try_into().ok()?;
        while !rest.is_empty() {
            let length = usize::try_from(read_number(&mut rest)?).ok()?;
            let (mask, mut others) = rest.split_at_checked(length.div_ceil(8))?;
            let last = self.records.last().map_or(&[][..], Vec::as_slice);
            let mut record = Vec::new();
            expect(&mut record, last, length);
            for (eight, mask) in record.chunks_mut(8).zip(mask) {
                let mut left = *mask;
                while left != 0 {
                    let bit = left.trailing_zeros() as usize;
                    left &= left - 1;
                    // A bit behind the record's end stands for nothing.
                    let Some(place) = eight.get_mut(bit) else { break };
                    let (byte, tail) = others.split_first()?;
                    *place = *byte;
                    others = tail;
                }
            }
            self.records.push(record);
            rest = others;
        }
        Some(())
    }
}

/// Fills in what a record of this length is compared with, after this last one.
fn expect(expected: &mut Vec<u8>, last: &[u8], length: usize) {
    expected.clear();
    expected.resize(length, 0);
    let (front, back) = expected.split_at_mut(length / 2);
    let same = front.len().min(last.len());
    front[..same].copy_from_slice(&last[..same]);
    let same = back.len().min(last.len());
    let end = back.len() - same;
    back[end..].copy_from_slice(&last[last.len() - same..]);
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
