//! The script of an operation as bytes and characters.

use crate::core::script::{
    Shown, bare, compare, digest, hex, hidden_character, holds_password, is_sha256, number, uses_cursor,
};

#[test]
fn the_digest_is_sha_256_of_the_bytes() {
    // FIPS 180-2, appendix B.1.
    assert_eq!(hex(&digest("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_ne!(digest("SELECT 1"), digest("SELECT 1 "), "every byte counts");
    assert_ne!(digest("-- a\nSELECT 1"), digest("-- b\nSELECT 1"), "comments count too");
}

#[test]
fn a_vote_shows_at_least_twelve_leading_digits() {
    let stored = digest("SELECT 1");
    let whole = hex(&stored);
    for length in [12, 13, 40, 64] {
        assert_eq!(compare(&stored, &whole[..length]), Shown::Same);
        assert_eq!(compare(&stored, &whole[..length].to_uppercase()), Shown::Same);
    }
    for short in ["", &whole[..11], &whole[1..12]] {
        assert_eq!(compare(&stored, short), Shown::Malformed);
    }
    for malformed in
        [format!("{whole}0"), whole[..12].replace(&whole[..1], "g"), format!(" {}", &whole[..12]), "%".repeat(12)]
    {
        assert_eq!(compare(&stored, &malformed), Shown::Malformed, "{malformed}");
    }
    assert_eq!(compare(&stored, &whole[1..14]), Shown::Different, "digits from the middle are no prefix");
    assert_eq!(compare(&stored, &hex(&digest("SELECT 2"))), Shown::Different);
}

#[test]
fn hidden_characters_are_found_where_they_stand() {
    let cases = [
        ("SELECT 1\u{0}", 9, '\u{0}'),
        ("\u{1b}[2J", 1, '\u{1b}'),
        ("学生\u{202e}x", 3, '\u{202e}'),
        ("a\u{200b}b", 2, '\u{200b}'),
        ("a\u{2066}b", 2, '\u{2066}'),
        ("\u{feff}SELECT", 1, '\u{feff}'),
        ("pass\u{ad}word", 5, '\u{ad}'),
        ("a\u{85}", 2, '\u{85}'),
        ("DELETE FROM t; -- \rSELECT 1; --", 19, '\r'),
        ("a\r", 2, '\r'),
        ("a\u{e0041}", 2, '\u{e0041}'),
        ("a\u{3164}", 2, '\u{3164}'),
    ];
    for (text, position, character) in cases {
        assert_eq!(hidden_character(text), Some((position, character)), "{text:?}");
    }
    for text in ["", "SELECT 1;\r\n\tSELECT 2;\n", "修改 欧阳𠮷 的电话 —— “是”", "é ü ñ 🙂"] {
        assert_eq!(hidden_character(text), None, "{text:?}");
    }
}

#[test]
fn passwords_do_not_stand_in_scripts() {
    for script in [
        "ALTER ROLE wang PASSWORD 'secret'",
        "alter role wang password'secret'",
        "ALTER ROLE wang ENCRYPTED PASSWORD 'md5c0ffee'",
        "ALTER ROLE wang PASSWORD\n  E'secret'",
        "ALTER ROLE wang PASSWORD /* for now */ 'secret'",
        "ALTER ROLE wang PASSWORD -- for now\n 'secret'",
        "ALTER ROLE wang PASSWORD $$secret$$",
        "ALTER ROLE wang PASSWORD $x$secret$x$",
        "CREATE USER MAPPING FOR wang SERVER s OPTIONS (user 'w', password 'secret')",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE wang PASSWORD ''secret'''; END $$",
        "CREATE SUBSCRIPTION s CONNECTION 'host=h password=secret' PUBLICATION p",
        "ALTER ROLE wang PASSWORD 'SCRAM-SHA-256$ not a verifier'",
        "ALTER ROLE a PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$c3Q=:c2s='; ALTER ROLE b PASSWORD 'x'",
    ] {
        assert!(holds_password(script), "{script}");
    }
    for script in [
        "ALTER ROLE wang PASSWORD NULL",
        "ALTER ROLE wang PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy'",
        "UPDATE app.account SET password = crypt('x', gen_salt('bf')) WHERE id = 7",
        "INSERT INTO app.account (login, password) VALUES ('a', 'b')",
        "SELECT password FROM app.account",
    ] {
        assert!(!holds_password(script), "{script}");
    }
}

#[test]
fn rows_of_a_session_cursor_cannot_be_approved() {
    assert!(uses_cursor("DELETE FROM app.student WHERE CURRENT OF c"));
    assert!(uses_cursor("UPDATE app.student SET note = 'x' where /* x */ current\n of c"));
    assert!(!uses_cursor("UPDATE app.student SET note = 'where current of c' WHERE id = 1"));
}

#[test]
fn numbers_have_at_least_four_digits() {
    assert_eq!(number("20261121", 1), "OP-20261121-0001");
    assert_eq!(number("20261121", 9999), "OP-20261121-9999");
    assert_eq!(number("20261121", 10_000), "OP-20261121-10000");
}

#[test]
fn white_space_and_semicolons_around_a_statement_do_not_matter() {
    for same in ["VACUUM a", " VACUUM a;", "\n;; VACUUM a ;\t; \n"] {
        assert_eq!(bare(same.as_bytes()), b"VACUUM a", "{same:?}");
    }
    for nothing in ["", " ", ";", " ; "] {
        assert_eq!(bare(nothing.as_bytes()), b"", "{nothing:?}");
    }
    for other in ["VACUUM  a", "VACUUM a -- b", "/**/VACUUM a", "VACUUM a; VACUUM a", "\u{a0}VACUUM a"] {
        assert_ne!(bare(other.as_bytes()), b"VACUUM a", "{other:?}");
    }
}

#[test]
fn a_sha_256_has_sixty_four_hexadecimal_digits() {
    assert!(is_sha256(&hex(&digest("x"))));
    assert!(is_sha256(&hex(&digest("x")).to_uppercase()));
    for other in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"é".repeat(32)] {
        assert!(!is_sha256(other), "{other:?}");
    }
}
