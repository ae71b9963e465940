//! Check digits and the parameters of integrity checks.

use crate::core::check::{Number, bounds};

#[test]
fn id_cards_have_a_region_a_day_and_a_check_character() {
    for right in ["11010519491231002X", "11010519491231002x", "440524188001010014", "110105491231002"] {
        assert!(Number::IdCard.holds(right), "{right}");
    }
    for wrong in [
        "",
        "1",
        "110105194912310021",
        "11010519491331002X",
        "11010519490230002X",
        "110105491331002",
        "1101051949123100２X",
        " 1010519491231002X",
        "11010519491231002XX",
        "ABCDEFGHIJKLMNOPQR",
    ] {
        assert!(!Number::IdCard.holds(wrong), "{wrong}");
    }
}

#[test]
fn one_wrong_digit_or_two_exchanged_are_found() {
    let right = b"440524188001010014";
    for place in 0..17 {
        for digit in b'0'..=b'9' {
            let mut wrong = *right;
            wrong[place] = digit;
            let text = String::from_utf8_lossy(&wrong);
            assert_eq!(wrong == *right, Number::IdCard.holds(&text), "{text}");
        }
    }
}

#[test]
fn bank_cards_have_luhn_s_digit() {
    assert!(Number::BankCard.holds("6222020200112233445") == luhn_by_hand("6222020200112233445"));
    assert!(Number::BankCard.holds("4111111111111111"));
    for wrong in ["4111111111111112", "411111111111", "41111111111111111111", "4111 1111 1111 1111", ""] {
        assert!(!Number::BankCard.holds(wrong), "{wrong}");
    }
}

fn luhn_by_hand(digits: &str) -> bool {
    let mut sum = 0;
    for (place, digit) in digits.chars().rev().enumerate() {
        let mut digit = digit.to_digit(10).expect("a digit");
        if place % 2 == 1 {
            digit *= 2;
            if digit > 9 {
                digit -= 9;
            }
        }
        sum += digit;
    }
    sum % 10 == 0
}

#[test]
fn bounds_read_back() {
    assert_eq!(bounds("0..100"), Some((Some("0"), Some("100"))));
    assert_eq!(bounds(" 2026-01-01 .. "), Some((Some("2026-01-01"), None)));
    assert_eq!(bounds("..7"), Some((None, Some("7"))));
    for wrong in ["", "..", "7", "1..2..3", " .. "] {
        assert_eq!(bounds(wrong), None, "{wrong}");
    }
}
