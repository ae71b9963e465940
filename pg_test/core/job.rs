//! Schedules that every scheduler reads alike, and failures without what they quote.

use crate::core::job::{is_schedule, without_quoted};

#[test]
fn a_schedule_has_five_fields_within_their_bounds() {
    for good in ["* * * * *", "0 18 * * *", "*/5 * * * *", "0,30 8-18/2 1-15 1,6-9 0-7", "59 23 31 12 7"] {
        assert!(is_schedule(good), "{good}");
    }
}

#[test]
fn what_schedulers_read_in_different_ways_is_none() {
    for bad in [
        "",
        "* * * *",
        "* * * * * *",
        "*  * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5/2 * * * *",
        "9-3 * * * *",
        "-1 * * * *",
        "+1 * * * *",
        "007 * * * *",
        "* * * jan *",
        "@daily",
        "@reboot",
        "5 seconds",
        "* * * * *\n",
        "* * * * *; DROP TABLE x",
        ", * * * *",
        "1, * * * *",
    ] {
        assert!(!is_schedule(bad), "{bad}");
    }
}

#[test]
fn a_failure_is_kept_without_what_it_quotes() {
    assert_eq!(without_quoted("invalid input: \"13812345678\""), "invalid input: \"…\"");
    assert_eq!(without_quoted("a 'x\"y' and \"z\" b"), "a '…' and \"…\" b");
    // A value may hold the quote itself, and the server may quote in another language.
    assert_eq!(without_quoted("invalid input: \"Hu\"13812345678\" x"), "invalid input: \"…\" x");
    assert_eq!(without_quoted("relation \"a\" violates \"b\" now"), "relation \"…\" now");
    assert_eq!(without_quoted("无效 “Hu”138” 值, „a“ und «b»"), "无效 “…” 值, „…“ und «…»");
    // What is not closed is left out to the end.
    assert_eq!(without_quoted("value \"1381234"), "value \"…");
    assert_eq!(without_quoted(&"学".repeat(600)).chars().count(), 500);
}
