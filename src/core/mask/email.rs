//! E-mail addresses: the first character and the domain are kept. Mailboxes named by a number (QQ, telephone) show nothing
//! of it, and a domain that repeats the mailbox or holds a long number is hidden too.
//!
//! `prefix` is how many characters of the mailbox are kept, at most half of them; `suffix => 0` hides the domain.

use super::text::byte_at;
use super::{HIDDEN, Mask, Spec};

/// Longest mailbox and domain (RFC 5321), in bytes.
const LONGEST: (usize, usize) = (64, 255);
/// So many characters or digits of the mailbox in the domain tell it.
const TELLING: usize = 5;

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let (mailbox, domain) = value.trim().rsplit_once('@')?;
    if mailbox.is_empty() || mailbox.len() > LONGEST.0 || domain.len() > LONGEST.1 {
        return None;
    }
    let (length, digits) = read_mailbox(mailbox)?;
    let domain_seen = Domain::read(domain)?;
    let shown = match spec.mask {
        Mask::Generalize => 0,
        _ if digits * 2 > length => 0,
        _ => spec.ends_or(1, 0).0.min(length / 2),
    };
    let (first, hidden) = mailbox.split_at(byte_at(mailbox, shown));
    out.push_str(first);
    out.push_str(HIDDEN);
    out.push('@');
    let domain_shown = spec.suffix != Some(0) && !domain_seen.tells(hidden);
    out.push_str(if domain_shown { domain } else { HIDDEN });
    Some(())
}

/// How many characters a mailbox has, and how many of them are digits; None for what is none.
fn read_mailbox(mailbox: &str) -> Option<(usize, usize)> {
    let (mut length, mut digits) = (0, 0);
    for character in mailbox.chars() {
        if character.is_whitespace() || matches!(character, '@' | '"' | '<' | '>' | ',' | ';') {
            return None;
        }
        length += 1;
        digits += usize::from(character.is_numeric());
    }
    Some((length, digits))
}

/// A domain: labels of letters, digits and dashes, at least two.
struct Domain<'t> {
    text: &'t str,
    /// Which bytes occur in it, by their lowest bits.
    occurring: u64,
    /// It holds a long number, which is somebody's.
    numbered: bool,
}

impl Domain<'_> {
    fn read(text: &str) -> Option<Domain<'_>> {
        let (mut occurring, mut numbered) = (0, false);
        let (mut dots, mut label, mut number) = (0, 0, 0);
        for character in text.chars() {
            match character {
                '.' if label == 0 => return None,
                '.' => (dots, label) = (dots + 1, 0),
                '-' => label += 1,
                _ if character.is_alphanumeric() => label += 1,
                _ => return None,
            }
            number = if character.is_ascii_digit() { number + 1 } else { 0 };
            numbered |= number > TELLING;
            if character.is_ascii() {
                occurring |= bit(character as u8);
            }
        }
        if !text.is_ascii() {
            occurring = text.bytes().fold(0, |all, byte| all | bit(byte));
        }
        (dots > 0 && label > 0).then_some(Domain { text, occurring, numbered })
    }

    /// Whether it gives away what is hidden of the mailbox: a run of its characters, or a number of somebody.
    fn tells(&self, hidden: &str) -> bool {
        let (domain, hidden) = (self.text.as_bytes(), hidden.as_bytes());
        let run = TELLING.min(hidden.len());
        self.numbered
            || run >= 3
                && self.may_hold(hidden, run)
                && hidden.windows(run).any(|part| domain.windows(run).any(|other| other.eq_ignore_ascii_case(part)))
    }

    /// Most runs have a byte that the domain does not have at all.
    fn may_hold(&self, hidden: &[u8], run: usize) -> bool {
        let mut length = 0;
        hidden.iter().any(|byte| {
            length = if self.occurring & bit(*byte) != 0 { length + 1 } else { 0 };
            length >= run
        })
    }
}

fn bit(byte: u8) -> u64 {
    1 << (byte.to_ascii_lowercase() & 63)
}
