//! What a login is judged by, as far as it needs no server: names that anybody may send, networks, and when failures
//! become too many. Nothing here knows where any of it is kept.

use super::script::hidden_character;
use std::net::IpAddr;

/// What is kept of a name that a client sent; the server itself cuts names of roles and databases at 63 bytes.
pub const NAME_CHARACTERS: usize = 64;

/// Bytes of a client as a text that can be shown: valid, visible and short. True: it is not what was sent.
pub fn shown(bytes: &[u8], characters: usize) -> (String, bool) {
    let mut text = String::new();
    let (mut kept, mut altered) = (0, false);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if kept == characters {
                return (text + "…", true);
            }
            kept += 1;
            if matches!(character, '\t' | '\n') || hidden_character(character.encode_utf8(&mut [0; 4])).is_some() {
                altered = true;
                text.extend(character.escape_unicode());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            if kept == characters {
                return (text + "…", true);
            }
            kept += 1;
            altered = true;
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    (text, altered)
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// From PostgreSQL's text of a `cidr` or `inet`: `10.0.0.0/8`, `2001:db8::1`. None for anything else.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Network { address, bits })
    }

    /// Whether an address lies in it. An IPv4 address that came over an IPv6 socket is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = u32::from(network) ^ u32::from(address);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = u128::from(network) ^ u128::from(address);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

/// How many failures are too many, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub failures: u32,
    /// Microseconds from the first of them to the last.
    pub within: i64,
    /// Microseconds for which the login is refused then; None: it is only told.
    pub lock: Option<i64>,
}

/// A count of failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    /// When the first of them came.
    pub since: i64,
}

impl Failures {
    /// The count after one more failure now. One that comes later than the window allows is the first of a new row.
    pub fn one_more(self, now: i64, limit: Limit) -> Failures {
        if self.count == 0 || now - self.since > limit.within || now < self.since {
            return Failures { count: 1, since: now };
        }
        Failures { count: self.count.saturating_add(1), since: self.since }
    }

    /// Whether this failure makes them too many: the limit's number, and each multiple of it.
    pub fn too_many(self, limit: Limit) -> bool {
        limit.failures > 0 && self.count > 0 && self.count.is_multiple_of(limit.failures)
    }
}

/// How a login came in, as far as libpq's fallback shows: where from, and whether encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// Microseconds.
    pub at: i64,
    /// A number that stands for the client's address.
    pub origin: u32,
    pub tls: bool,
}

/// Microseconds within which a client falls back.
const FALLBACK: i64 = 2_000_000;

/// Whether a failure is the second half of one attempt: libpq with `sslmode=prefer` or `allow` tries the other way at once.
pub fn is_fallback(before: Option<Try>, now: Try) -> bool {
    before.is_some_and(|before| {
        before.origin == now.origin && before.tls != now.tls && (0..=FALLBACK).contains(&(now.at - before.at))
    })
}

/// A place for failures that is taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// When its name last failed.
    pub at: i64,
    /// Its name is that of a login.
    pub exists: bool,
    /// Its login is locked now.
    pub locked: bool,
}

/// Which of these places a newcomer gets; None: none of them. An invented name takes nobody's place and gives way first,
/// locked or not: nobody can log in by it, whatever the password. Among logins the one that failed longest ago does,
/// unless it is locked.
pub fn gives_way(newcomer_exists: bool, taken: impl Iterator<Item = Taken>) -> Option<usize> {
    let may = taken.enumerate().filter(|(_, place)| newcomer_exists && !(place.exists && place.locked));
    may.min_by_key(|(_, place)| (place.exists, place.at)).map(|(number, _)| number)
}
