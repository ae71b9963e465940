//! Checkpoint lines: an exact round trip, and nothing odd accepted.

use super::LEDGER;
use crate::core::chain::{Hash, Head, Ledger};
use proptest::prelude::*;

#[test]
fn checkpoint_line_is_frozen() {
    let head = Head { ledger: LEDGER, id: 42, hash: [0xab; 32] };
    let line =
        format!("pg_steward/1 00010203-0405-0607-0809-0a0b0c0d0e0f 42 {} 2026-11-30T05:54:00.123456Z", "ab".repeat(32));
    assert_eq!(head.checkpoint(849_333_240_123_456), line);
    assert_eq!(Head::parse(&line), Some(head));
    for (time, text) in [
        (0, "2000-01-01T00:00:00.000000Z"),
        (-1, "1999-12-31T23:59:59.999999Z"),
        (5_140_800_000_000, "2000-02-29T12:00:00.000000Z"),
        (i64::MIN, "0001-01-01T00:00:00.000000Z"),
        (i64::MAX, "9999-12-31T23:59:59.999999Z"),
    ] {
        assert!(head.checkpoint(time).ends_with(text), "{}", head.checkpoint(time));
        assert_eq!(Head::parse(&head.checkpoint(time)), Some(head));
    }
}

#[test]
fn odd_checkpoint_lines_are_refused() {
    let line = Head { ledger: LEDGER, id: 42, hash: [0xab; 32] }.checkpoint(0);
    let replaced = |from: &str, to: &str| line.replacen(from, to, 1);
    for odd in [
        String::new(),
        format!("{line} "),
        format!("{line}\n"),
        format!(" {line}"),
        format!("{line} more"),
        replaced(" ", "  "),
        replaced(" ", "\t"),
        replaced("/1", "/2"),
        replaced("0001", "00 01"),
        replaced("-", ""),
        replaced(" 42", " +42"),
        replaced(" 42", " 042"),
        replaced(" 42", " -42"),
        replaced(" 42", " 99999999999999999999"),
        replaced("ab", "AB"),
        replaced("ab", "a"),
        replaced("ab", "é"),
        replaced("2000-01-01", "2000-13-01"),
        replaced("2000-01-01", "2001-02-29"),
        replaced("2000-01-01", "0000-01-01"),
        replaced("00:00:00", "24:00:00"),
        replaced("00:00:00", "00:00:60"),
        replaced("Z", "+00"),
    ] {
        assert_ne!(odd, line);
        assert_eq!(Head::parse(&odd), None, "{odd:?}");
    }
}

proptest! {
    #[test]
    fn checkpoint_leads_back(
        ledger in any::<Ledger>(),
        id in 0..i64::MAX,
        hash in any::<Hash>(),
        time in any::<i64>(),
        at in any::<prop::sample::Index>(),
        with in any::<char>(),
    ) {
        let head = Head { ledger, id, hash };
        let line = head.checkpoint(time);
        prop_assert_eq!(Head::parse(&line), Some(head));
        let at = at.index(line.len());
        let changed = format!("{}{with}{}", &line[..at], &line[at + 1..]);
        if changed != line && !with.is_ascii_alphanumeric() {
            prop_assert_eq!(Head::parse(&changed), None);
        }
    }

    #[test]
    fn any_text_is_no_checkpoint(text in "(pg_steward/1 )?.{0,80}") {
        prop_assert_eq!(Head::parse(&text), None);
    }
}
