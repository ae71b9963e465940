//! Codes against the published vectors, and what an authenticator scans.

use crate::core::totp::{code, matching_steps, newest_usable, parse_code, step_at, uri};

/// The secret of both standards' appendices.
const SECRET: &[u8] = b"12345678901234567890";

#[test]
fn codes_are_those_of_rfc_4226() {
    let published = [755224, 287082, 359152, 969429, 338314, 254676, 287922, 162583, 399871, 520489];
    for (counter, expected) in published.into_iter().enumerate() {
        assert_eq!(code(SECRET, counter as i64), expected);
    }
}

/// Appendix B shows eight digits; six are the last of them.
#[test]
fn codes_are_those_of_rfc_6238() {
    let published = [
        (59, 94287082),
        (1111111109, 7081804),
        (1111111111, 14050471),
        (1234567890, 89005924),
        (2000000000, 69279037),
        (20000000000, 65353130),
    ];
    for (seconds, eight_digits) in published {
        assert_eq!(code(SECRET, step_at(seconds)), eight_digits % 1_000_000);
    }
}

#[test]
fn a_step_lasts_thirty_seconds() {
    assert_eq!([0, 29, 30, 59, 60].map(step_at), [0, 0, 1, 1, 2]);
}

#[test]
fn one_step_of_clock_skew_is_admitted_on_both_sides() {
    let now = 41_152_263;
    for skew in -3..=3 {
        let expected = if (-1..=1).contains(&skew) { vec![now + skew] } else { vec![] };
        assert_eq!(matching_steps(SECRET, code(SECRET, now + skew), now), expected, "{skew}");
    }
    assert_eq!(newest_usable(now), now + 1);
}

#[test]
fn a_code_is_six_digits() {
    for (text, expected) in [("287082", Some(287082)), ("000007", Some(7)), (" 287 082\n", Some(287082))] {
        assert_eq!(parse_code(text), expected, "{text:?}");
    }
    for text in ["", "28708", "2870820", "28708a", "-28708", "+28708", "２８７０８２", "287082; DROP TABLE x"] {
        assert_eq!(parse_code(text), None, "{text:?}");
    }
}

#[test]
fn an_authenticator_can_scan_it() {
    assert_eq!(
        uri("pg_steward school", "Chen", SECRET),
        "otpauth://totp/pg_steward%20school:Chen?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
         &issuer=pg_steward%20school&algorithm=SHA1&digits=6&period=30"
    );
    assert!(uri("a:b", "陈/?&", b"f").starts_with("otpauth://totp/a%3Ab:%E9%99%88%2F%3F%26?secret=MY&"));
}

/// RFC 4648, section 10, without the padding.
#[test]
fn secrets_are_written_in_base32() {
    let vectors = [
        ("", ""),
        ("f", "MY"),
        ("fo", "MZXQ"),
        ("foo", "MZXW6"),
        ("foob", "MZXW6YQ"),
        ("fooba", "MZXW6YTB"),
        ("foobar", "MZXW6YTBOI"),
    ];
    for (bytes, expected) in vectors {
        assert!(uri("", "", bytes.as_bytes()).contains(&format!("?secret={expected}&")), "{bytes}");
    }
}
