//! Records that the sequencer itself writes, about the server's life and as definitions. Their time is that of sealing: it
//! never goes down along the chain. All other records bear the time when something began.

use super::{FORMAT, Field, Kind};

/// Who speaks in records of the server's own life: a name that no role can have.
pub const SERVER: &str = "pg_steward";
/// Where the time stands: behind format, kind and its own number.
const TIME: std::ops::Range<usize> = 4..12;

/// The time of sealing, if the sequencer itself wrote these bytes.
pub fn sealed_time(record: &[u8]) -> Option<i64> {
    const KINDS: [u8; 3] = [Kind::Server as u8, Kind::Genesis as u8, Kind::Definition as u8];
    let [FORMAT, first, kind, second, rest @ ..] = record else { return None };
    if !KINDS.contains(kind) || [*first, *second] != [Field::Kind as u8, Field::Time as u8] {
        return None;
    }
    let (time, who) = rest.split_first_chunk::<8>()?;
    let who = who.strip_prefix(&[Field::UserId as u8, SERVER.len() as u8])?;
    who.starts_with(SERVER.as_bytes()).then(|| i64::from_be_bytes(*time))
}

/// Puts the time of sealing into a record that the sequencer itself wrote; leaves any other as it is.
pub fn seal(record: &mut [u8], time: i64) {
    if sealed_time(record).is_some() {
        record[TIME].copy_from_slice(&time.to_be_bytes());
    }
}
