//! What a login is judged by, without a server.

use crate::core::login::{Failures, Limit, Network, Taken, Try, gives_way, is_fallback, shown};
use std::net::IpAddr;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn names_are_kept_as_they_are_if_they_can_be_shown() {
    for name in ["teacher_wang", "", "张老师", "O'Brien \"x\" \\"] {
        assert_eq!(shown(name.as_bytes(), 64), (name.to_owned(), false));
    }
}

#[test]
fn what_cannot_be_shown_is_spelt_out() {
    assert_eq!(shown(b"a\x01\n\xffb", 64), ("a\\u{1}\\u{a}\\xffb".to_owned(), true));
    assert_eq!(shown("a\u{202e}b".as_bytes(), 64), ("a\\u{202e}b".to_owned(), true));
}

#[test]
fn long_names_are_cut() {
    let (text, altered) = shown(&[b'x'; 10_000], 64);
    assert!(altered && text.chars().count() == 65);
    assert!(shown(&[0xff; 10_000], 64).0.len() < 300);
}

#[test]
fn networks_hold_their_addresses_and_no_others() {
    let cases = [
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.1.2.3", "10.1.2.3", true),
        ("10.1.2.3/32", "10.1.2.4", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "::1", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::/0", "10.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.1.1.1", true),
    ];
    for (network, from, inside) in cases {
        assert_eq!(Network::parse(network).expect(network).contains(address(from)), inside, "{from} in {network}");
    }
}

#[test]
fn what_is_no_network_is_none() {
    for text in ["", "10.0.0.0/33", "::/129", "10.0.0", "10.0.0.0/", "10.0.0.0/-1", "localhost", "10.0.0.0/8/8"] {
        assert_eq!(Network::parse(text), None, "{text}");
    }
}

const LIMIT: Limit = Limit { failures: 5, within: 100, lock: None };

#[test]
fn the_fifth_failure_in_a_row_is_too_many_and_so_is_each_fifth_after() {
    let mut failures = Failures::default();
    let too_many: Vec<u32> = (1..=11)
        .filter(|time| {
            failures = failures.one_more(*time, LIMIT);
            failures.too_many(LIMIT)
        })
        .map(|time| time as u32)
        .collect();
    assert_eq!(too_many, [5, 10]);
}

#[test]
fn a_failure_after_the_window_begins_a_new_row() {
    let four = Failures { count: 4, since: 1_000 };
    assert_eq!(four.one_more(1_100, LIMIT).count, 5);
    assert_eq!(four.one_more(1_101, LIMIT), Failures { count: 1, since: 1_101 });
    // After a clock was set back the row begins anew.
    assert_eq!(four.one_more(900, LIMIT), Failures { count: 1, since: 900 });
}

#[test]
fn a_fallback_is_the_other_way_from_the_same_place_at_once() {
    let first = Try { at: 10, origin: 7, tls: true };
    let second = Try { at: 1_000_000, origin: 7, tls: false };
    assert!(is_fallback(Some(first), second));
    assert!(!is_fallback(None, second));
    assert!(!is_fallback(Some(first), Try { tls: true, ..second }));
    assert!(!is_fallback(Some(first), Try { origin: 8, ..second }));
    assert!(!is_fallback(Some(first), Try { at: 3_000_000, ..second }));
    assert!(!is_fallback(Some(first), Try { at: 0, ..second }));
}

fn taken(at: i64, exists: bool, locked: bool) -> Taken {
    Taken { at, exists, locked }
}

/// Whoever floods the server with names must not make it forget how often a login was guessed at.
#[test]
fn an_invented_name_takes_no_place_and_gives_way_first() {
    let login = taken(1, true, false);
    assert_eq!(gives_way(false, [login].into_iter()), None);
    assert_eq!(gives_way(false, [taken(1, false, false)].into_iter()), None);
    assert_eq!(gives_way(true, [login, taken(9, false, false), taken(5, false, true)].into_iter()), Some(2));
    assert_eq!(gives_way(true, [login, taken(9, false, true)].into_iter()), Some(1), "an invented name is no lock");
}

#[test]
fn among_logins_the_one_that_failed_longest_ago_gives_way_unless_it_is_locked() {
    let places = [taken(3, true, false), taken(1, true, true), taken(2, true, false)];
    assert_eq!(gives_way(true, places.into_iter()), Some(2));
    assert_eq!(gives_way(true, places[1..2].iter().copied()), None);
}
