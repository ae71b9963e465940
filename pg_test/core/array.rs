//! Values of scopes: literals that read back, and values that are none of a type.

use crate::core::array::{is_value_of, literal, same_value, uuid};

#[test]
fn a_literal_holds_any_text() {
    let values = |values: &[&str]| values.iter().map(|value| value.to_string()).collect::<Vec<_>>();
    assert_eq!(literal(&[]), "{}");
    assert_eq!(literal(&values(&["1", "NULL", "", "a b"])), r#"{"1","NULL","","a b"}"#);
    assert_eq!(literal(&values(&[r#"a"b\c{},"#])), r#"{"a\"b\\c{},"}"#);
    // What stands for everything is no list that somebody can hold.
    assert_ne!(literal(&values(&["*"])), "{*}");
}

#[test]
fn values_are_told_from_what_is_none() {
    for (type_name, good, bad) in [
        ("smallint", "-32768", "32768"),
        ("integer", "2147483647", "1 OR true"),
        ("bigint", "-9223372036854775808", "1.0"),
        ("uuid", "00000000-0000-0000-0000-00000000000A", "00000000-0000-0000-0000-00000000000"),
        ("text", "任何", "\0"),
        ("bpchar", "320508", "\0"),
    ] {
        assert!(is_value_of(type_name, good), "{type_name}");
        assert!(!is_value_of(type_name, bad), "{type_name}");
    }
    assert!(!is_value_of("numeric", "1"), "an unknown type has no value");
    assert_eq!(uuid("g0000000000000000000000000000000"), None);
}

#[test]
fn equal_values_are_written_in_several_ways() {
    assert!(same_value("7", "007") && same_value("7", "+7") && same_value("320508", "320508  "));
    assert!(same_value("0000000000000000000000000000000a", "00000000-0000-0000-0000-00000000000A"));
    assert!(!same_value("7", "8") && !same_value("a", "A") && !same_value(" a", "a"));
}
