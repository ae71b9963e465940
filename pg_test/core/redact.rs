//! Redaction: no constant survives, and in doubt nothing does.

use crate::core::redact::{redact, redact_limited};
use proptest::prelude::*;

#[track_caller]
fn becomes(sql: &str, expected: &str) {
    assert_eq!(redact(sql, false), expected, "{sql}");
}

#[test]
fn constants_become_question_marks() {
    becomes("SELECT 'secret', 'it''s'", "SELECT ?, ?");
    becomes(
        "SELECT E'a\\'b', e'\\\\', N'x', n'x', B'101', b'1', X'1F', x'1f', U&'d\\0061t'",
        "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?",
    );
    becomes("SELECT $$a'b$$, $t$ $$ $x$ $t$, $标$x$标$", "SELECT ?, ?, ?");
    becomes(
        "SELECT 1, 1.5, .5, 1., 1e5, 1E-5, 1.5e+10, 0x1F, 0b01, 0o17, 1_000",
        "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
    );
    becomes("SELECT -5, a[1:2], 1..2, x-1", "SELECT -?, a[?:?], ?..?, x-?");
    becomes("DO $$BEGIN PERFORM 'secret'; END$$", "DO ?");
}

#[test]
fn names_parameters_and_operators_stay() {
    becomes(
        "SELECT t1.c2, a$1, $1, $23 FROM \"My 'Table' 1\" t1",
        "SELECT t1.c2, a$1, $1, $23 FROM \"My 'Table' 1\" t1",
    );
    becomes("SELECT U&\"d\\0061t\", \"a\"\"b\", 表1", "SELECT U&\"d\\0061t\", \"a\"\"b\", 表1");
    becomes("a->>b #>> c ? d ?| e / f * g - h", "a->>b #>> c ? d ?| e / f * g - h");
    becomes("SELECT typE'x', one'x'", "SELECT typE?, one?");
    becomes("SELECT $a, a$b$c, $ 1", "SELECT $a, a$b$c, $ ?");
}

#[test]
fn comments_and_white_space_shrink() {
    becomes("  SELECT\n\t a -- 'secret\n , b/* x /* 'y' */ z */FROM\r\n t ; ", "SELECT a , b FROM t ;");
    becomes("a+--b\nc", "a+ c");
    becomes("a*/**/b", "a* b");
    becomes("--only a comment", "");
    becomes("/*/ x */ a", "a");
}

#[test]
fn continued_strings_are_one() {
    becomes("SELECT 'a'\n 'b', c", "SELECT ?, c");
    becomes("SELECT E'a'\n'b\\' secret' , c", "SELECT ? , c");
    becomes("SELECT E'a' -- it's\n  -- more\n 'b\\' secret' , c", "SELECT ? , c");
    becomes("SELECT E'a'\n-- more\n'b\\' secret'", "SELECT ?");
    becomes("SELECT E'a' 'b\\' c", "SELECT ? ? c");
    becomes("SELECT E'a' /* \n */ 'b\\' c", "SELECT ? ? c");
    becomes("SELECT 'a'--", "SELECT ?");
    becomes("SELECT E'a'\n\u{b}'b\\' secret', d", "SELECT ?");
}

#[test]
fn backslashes_escape_only_where_they_do() {
    assert_eq!(redact("SELECT 'a\\', c, 'd'", false), "SELECT ?, c, ?");
    assert_eq!(redact("SELECT 'a\\', secret', d", true), "SELECT ?, d");
    assert_eq!(redact("SELECT N'a\\', secret', d", true), "SELECT ?, d");
    assert_eq!(redact("SELECT B'1\\', c", true), "SELECT ?, c");
    assert_eq!(redact("SELECT U&'a\\' secret", true), "SELECT ?");
}

#[test]
fn what_is_not_terminated_goes_whole() {
    for start in ["'", "E'", "U&'", "B'", "$$", "$t$", "\"", "/*", "/* /* */", "E'\\'", "'''"] {
        becomes(&format!("SELECT a, {start} secret"), "SELECT a, ?");
    }
    becomes("SELECT $t$ secret $T$", "SELECT ?");
    becomes("SELECT 1E'a\\' secret'", "SELECT ?");
    becomes("SELECT E'a\\", "SELECT ?");
}

#[test]
fn manual_statements() {
    becomes("UPDATE student SET phone = '13800000000' WHERE id=42;", "UPDATE student SET phone = ? WHERE id=?;");
    becomes("ALTER ROLE li PASSWORD 'geheim'", "ALTER ROLE li PASSWORD ?");
    becomes(
        "INSERT INTO t VALUES (1,'张三',DATE '2010-01-01',NULL,true)",
        "INSERT INTO t VALUES (?,?,DATE ?,NULL,true)",
    );
}

#[test]
fn output_is_cut_between_characters() {
    assert_eq!(redact_limited("SELECT abc", false, 10), "SELECT abc");
    assert_eq!(redact_limited("SELECT abcd", false, 10), "SELECT …");
    assert_eq!(redact_limited("表表表", false, 8), "表…");
    assert_eq!(redact_limited("表表表", false, 5), "…");
    assert_eq!(redact_limited("表表表", false, 2), "");
    assert_eq!(redact_limited("SELECT", false, 0), "");
}

const SECRET: &str = "QzSecretzQ";
const SECRET_NUMBER: &str = "9174305826";

/// A piece of SQL: whole tokens, the secret only in a constant or a comment.
fn piece() -> impl Strategy<Value = String> {
    let filler = "[a-z'$ \\-/*0-9é]{0,6}";
    let quoted = |text: &str| text.replace('\'', "''");
    prop_oneof![
        Just("SELECT".to_owned()),
        "[a-z_][a-z0-9_]{0,5}",
        "\"[a-z' $*/-]{1,5}\"",
        "\\$[1-9]",
        "[-+*/<>=~!@#%^&|?(),;:.]",
        prop::sample::select(vec!["'", "$$", "/*", "*/", "--", "\"", "E'", "\\", "\u{b}"])
            .prop_map(|odd| format!("\"{}\"", odd.replace('"', "\"\""))),
        (filler, prop::sample::select(vec!["", "N", "n", "B", "x", "U&"]))
            .prop_map(move |(text, prefix)| format!("{prefix}'{}{SECRET}'", quoted(&text))),
        filler.prop_map(move |text| format!("E'{}\\'{SECRET}\\\\'", quoted(&text))),
        filler.prop_map(move |text| format!("E'x'\n'{}\\'{SECRET}'", quoted(&text))),
        filler.prop_map(move |text| format!("'x' -- it's\n'{}{SECRET}'", quoted(&text))),
        "[a-z' \\-/*]{0,6}".prop_map(|text| format!("$${text}{SECRET}$$")),
        "[a-z'$ \\-/*]{0,6}".prop_map(|text| format!("$tag${text}{SECRET}$tag$")),
        "[a-z'$ \\-]{0,6}".prop_map(|text| format!("/* {text} /* {SECRET} */ {SECRET} */")),
        "[a-z'$ \\-/*]{0,6}".prop_map(|text| format!("-- {text}{SECRET}\n")),
        prop::sample::select(vec!["", "0x", ".", "1.", "1e", "1e-", "-"])
            .prop_map(|prefix| format!("{prefix}{SECRET_NUMBER}")),
    ]
}

proptest! {
    #[test]
    fn secrets_never_appear(
        pieces in prop::collection::vec(piece(), 0..12),
        separator in prop::sample::select(vec![" ", "\n", "\t", " , ", " /* c */ "]),
        cut in any::<prop::sample::Index>(),
    ) {
        let sql = pieces.join(separator);
        let redacted = redact(&sql, false);
        prop_assert!(!redacted.contains(SECRET) && !redacted.contains(SECRET_NUMBER), "{}", redacted);
        // Torn anywhere, too: what was a constant is then at most a constant without its end.
        let cut = sql.floor_char_boundary(cut.index(sql.len() + 1));
        let redacted = redact(&sql[..cut], false);
        prop_assert!(!redacted.contains(SECRET) && !redacted.contains(SECRET_NUMBER), "{}", redacted);
    }

    #[test]
    fn secrets_never_appear_with_backslash_escapes(
        texts in prop::collection::vec("[a-z '$\\\\]{0,8}", 1..6),
    ) {
        let escaped = |text: &String| text.replace('\\', "\\\\").replace('\'', "\\'");
        let constants: Vec<_> = texts.iter().map(|text| format!("'{}{SECRET}'", escaped(text))).collect();
        prop_assert_eq!(redact(&constants.join(","), true), vec!["?"; constants.len()].join(","));
    }

    #[test]
    fn kept_text_is_kept(
        names in prop::collection::vec("[a-z_é][a-z0-9_é$]{0,5}", 1..6),
        number in any::<u32>(),
    ) {
        let sql = format!("{} = {number}", names.join("."));
        prop_assert_eq!(redact(&sql, false), format!("{} = ?", names.join(".")));
    }

    #[test]
    fn any_text_is_redacted_once(
        sql in "[a-zEeUuNnBbXx&'\"$0-9.\\\\/*\\- \n\u{b}+;éé]{0,40}",
        flag in any::<bool>(),
    ) {
        let once = redact(&sql, flag);
        prop_assert_eq!(redact(&once, flag), once);
    }

    #[test]
    fn any_text_at_all(sql in any::<String>(), flag in any::<bool>(), limit in 0_usize..40) {
        let once = redact(&sql, flag);
        prop_assert_eq!(redact(&once, flag), once.clone());
        let limited = redact_limited(&sql, flag, limit);
        prop_assert!(limited.len() <= limit);
        let kept = limited.strip_suffix('…').unwrap_or(&limited);
        prop_assert!(once.starts_with(kept) || once.starts_with(&limited));
    }
}
