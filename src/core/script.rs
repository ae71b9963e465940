//! The script of an operation as bytes and characters: its digest, what must not stand in it, its number. Nothing here
//! understands SQL; what a script does is told by `watch`.

use super::redact::redact;
use regex::Regex;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Digits of the digest that a vote must show at least.
pub const SHOWN_DIGITS: usize = 12;

/// SHA-256 of the script's UTF-8 bytes, exactly as stored.
pub fn digest(script: &str) -> [u8; 32] {
    Sha256::digest(script.as_bytes()).into()
}

/// A statement without the white space and semicolons around it: what a client may send more or less of.
pub fn bare(statement: &[u8]) -> &[u8] {
    let outside = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
    let from = statement.iter().position(|byte| !outside(byte)).unwrap_or(statement.len());
    let to = statement.iter().rposition(|byte| !outside(byte)).map_or(from, |last| last + 1);
    &statement[from..to]
}

/// Whether this is a SHA-256 in hexadecimal.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The digest of a script that was filed with a form, or with the digests of its data, which a comma parts: over all of
/// them, parted by zero bytes, which none of them contains. What has neither has the digest of its script, and what has a
/// form alone that of both, as ever; an operation with data whose digest is over less than that was filed before its data
/// was voted on: it is shown as it was, and must be filed again to run.
pub fn digest_with(script: &str, form: Option<&str>, data: &str) -> [u8; 32] {
    let mut sha = Sha256::new().chain_update(script);
    if form.is_some() || !data.is_empty() {
        sha = sha.chain_update([0]).chain_update(form.unwrap_or(""));
    }
    if !data.is_empty() {
        sha = sha.chain_update([0]).chain_update(data);
    }
    sha.finalize().into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a digest that somebody typed compares with the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// No 12 to 64 hexadecimal digits.
    Malformed,
    Different,
    Same,
}

/// Compares the leading digits that an approver saw.
pub fn compare(stored: &[u8], shown: &str) -> Shown {
    let well_formed = (SHOWN_DIGITS..=64).contains(&shown.len()) && shown.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !well_formed {
        Shown::Malformed
    } else if hex(stored).starts_with(&shown.to_ascii_lowercase()) {
        Shown::Same
    } else {
        Shown::Different
    }
}

/// The first character that would be invisible or change how a text reads to an approver: a control character other
/// than tab and line ends, a bidirectional or zero-width mark, a filler, a tag. Its position counts characters from 1.
pub fn hidden_character(text: &str) -> Option<(usize, char)> {
    let mut characters = text.chars().enumerate().peekable();
    while let Some((position, character)) = characters.next() {
        // A lone carriage return makes a terminal write over the line.
        let line_end = character == '\r' && characters.peek().is_some_and(|(_, next)| *next == '\n');
        if hides(character) && !line_end {
            return Some((position + 1, character));
        }
    }
    None
}

/// Whether a reader would not see the character, or would see others in another order because of it.
pub fn hides(character: char) -> bool {
    match character {
        '\t' | '\n' => false,
        _ if character.is_control() => true,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Whether a password seems to stand in the script in clear. SCRAM verifiers pass: they can be set but not logged in with.
pub fn holds_password(script: &str) -> bool {
    static VERIFIER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"'SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+'"));
    // In the text as it stands, function bodies and quoted commands included.
    static LITERAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bpassword\s*(?:e|n|u&)?(?:'|\$\w*\$)"));
    static CONNECTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bconnection\s+'[^']*\bpassword\s*="));
    // Between comments and over line ends, at the top level.
    static CONSTANT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bpassword ?\?"));
    let script = VERIFIER.replace_all(script, "NULL");
    LITERAL.is_match(&script) || CONNECTION.is_match(&script) || CONSTANT.is_match(&redact(&script, false))
}

/// Whether the script takes its rows from a cursor of the session: nobody could have approved which ones.
pub fn uses_cursor(script: &str) -> bool {
    static CURRENT_OF: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bwhere current of\b"));
    CURRENT_OF.is_match(&redact(script, false))
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern, compiled by the tests")
}

/// `OP-20261121-0001`: the day in the policy's zone as `YYYYMMDD`, and a number of at least four digits.
pub fn number(day: &str, number: i64) -> String {
    format!("OP-{day}-{number:04}")
}
