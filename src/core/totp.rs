//! Time-based one-time passwords (RFC 6238 over RFC 4226): SHA-1, six digits, steps of 30 seconds, which is what every
//! authenticator computes without being told. Which codes may still be used is said in `attempts`.

use hmac::{Hmac, Mac};
use sha1::Sha1;

/// Seconds for which a code stands.
pub const STEP_SECONDS: i64 = 30;
/// Bytes of a shared secret: as long as the hash, as RFC 4226 recommends.
pub const SECRET_BYTES: usize = 20;
const DIGITS: u32 = 6;
/// Steps by which the clock of an authenticator may be off.
const SKEW: i64 = 1;

/// The step in which a moment lies, seconds since 1970-01-01 UTC.
pub fn step_at(unix_seconds: i64) -> i64 {
    unix_seconds.div_euclid(STEP_SECONDS)
}

/// The code of a step.
pub fn code(secret: &[u8], step: i64) -> u32 {
    truncated(secret, step as u64) % 10u32.pow(DIGITS)
}

/// Dynamic truncation of RFC 4226, 5.3: 31 bits from where the last nibble points to.
fn truncated(secret: &[u8], counter: u64) -> u32 {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else { unreachable!("a key of any length is a key") };
    mac.update(&counter.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[hash.len() - 1] & 0xf);
    u32::from_be_bytes([hash[offset], hash[offset + 1], hash[offset + 2], hash[offset + 3]]) & 0x7fff_ffff
}

/// The steps around now whose code this is, oldest first. All are computed, so the time taken tells nothing.
pub fn matching_steps(secret: &[u8], given: u32, now: i64) -> Vec<i64> {
    let near = [now - SKEW, now, now + SKEW].map(|step| (step, code(secret, step)));
    near.into_iter().filter(|(_, code)| *code == given).map(|(step, _)| step).collect()
}

/// The newest step whose code may have been accepted until now.
pub fn newest_usable(now: i64) -> i64 {
    now + SKEW
}

/// What somebody typed as a code: six digits, blanks between them allowed.
pub fn parse_code(text: &str) -> Option<u32> {
    let digits: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    let is_code = digits.len() == DIGITS as usize && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { digits.parse().ok() } else { None }
}

/// What an authenticator scans. `issuer` and `account` are for people; the other parameters are the defaults, written
/// out for authenticators that want them.
pub fn uri(issuer: &str, account: &str, secret: &[u8]) -> String {
    let (issuer, account, secret) = (percent_encoded(issuer), percent_encoded(account), base32(secret));
    format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"
    )
}

/// RFC 4648 without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut group = [0; 8];
        group[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(group);
        let letters = (chunk.len() * 8).div_ceil(5);
        text.extend((0..letters).map(|place| char::from(ALPHABET[(bits >> (35 - 5 * place)) as usize & 31])));
    }
    text
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
