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
    let whole = |text: &str| {
        !text
            .chars()
            .any(|character| character.is_whitespace() || matches!(character, '@' | '"' | '<' | '>' | ',' | ';'))
    };
    if mailbox.is_empty()
        || mailbox.len() > LONGEST.0
        || domain.len() > LONGEST.1
        || !whole(mailbox)
        || !is_domain(domain)
    {
        return None;
    }
    let length = mailbox.chars().count();
    let shown = match spec.mask {
        Mask::Generalize => 0,
        _ if mailbox.chars().filter(|character| character.is_numeric()).count() * 2 > length => 0,
        _ => spec.ends_or(1, 0).0.min(length / 2),
    };
    let hidden = &mailbox[byte_at(mailbox, shown)..];
    out.push_str(&mailbox[..mailbox.len() - hidden.len()]);
    out.push_str(HIDDEN);
    out.push('@');
    let domain_shown = spec.suffix != Some(0) && !tells(domain, hidden);
    out.push_str(if domain_shown { domain } else { HIDDEN });
    Some(())
}

/// Labels of letters, digits and dashes, at least two.
fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|character| character.is_alphanumeric() || character == '-')
    };
    domain.contains('.') && domain.split('.').all(label)
}

/// Whether a domain gives away what is hidden of the mailbox: a run of its characters, or a number of somebody.
fn tells(domain: &str, hidden: &str) -> bool {
    let number = domain.split(|character: char| !character.is_ascii_digit()).any(|digits| digits.len() > TELLING);
    let (domain, hidden) = (domain.as_bytes(), hidden.as_bytes());
    let run = TELLING.min(hidden.len());
    // Most runs have a character that the domain does not have at all.
    let bit = |byte: &u8| 1_u64 << (byte.to_ascii_lowercase() & 63);
    let occurring = domain.iter().fold(0, |all, byte| all | bit(byte));
    let in_domain = |part: &[u8]| {
        part.iter().all(|byte| occurring & bit(byte) != 0)
            && domain.windows(run).any(|other| other.eq_ignore_ascii_case(part))
    };
    number || run >= 3 && hidden.windows(run).any(in_domain)
}
