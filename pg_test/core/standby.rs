//! The names in `synchronous_standby_names`.

use crate::core::standby::standby_names;

#[test]
fn every_form_of_the_setting_is_read() {
    for (setting, names) in [
        ("", vec![]),
        (" ", vec![]),
        ("*", vec!["*"]),
        ("a", vec!["a"]),
        ("a, b", vec!["a", "b"]),
        ("2 (a,b , c)", vec!["a", "b", "c"]),
        ("FIRST 1 (standby_1)", vec!["standby_1"]),
        ("any 2(*)", vec!["*"]),
        (r#"FIRST 1 ("the (first)", b)"#, vec!["the (first)", "b"]),
        (r#""say ""hi""", b"#, vec![r#"say "hi""#, "b"]),
        ("\"open", vec!["open"]),
        ("\"(\", a", vec!["(", "a"]),
        ("ANY 1 (北京, b)", vec!["北京", "b"]),
    ] {
        assert_eq!(standby_names(setting), names, "{setting}");
    }
}
