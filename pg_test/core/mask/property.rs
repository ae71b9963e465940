//! For every class and mask: nothing that is hidden is shown, whatever the text.

use super::{key, spec};
use crate::core::mask::json::mask_json;
use crate::core::mask::{Class, HIDDEN, Mask, Spec, mask_text};
use proptest::prelude::*;

/// So many characters of what is hidden, in a row, are a leak.
const RUN: usize = 5;

fn any_class() -> impl Strategy<Value = Class> {
    prop::sample::select([&[Class::Other], &Class::KNOWN[..]].concat())
}

fn masking() -> impl Strategy<Value = Mask> {
    prop::sample::select(Mask::ALL[1..].to_vec())
}

fn end() -> impl Strategy<Value = Option<i32>> {
    prop_oneof![3 => Just(None), 2 => (0..=64).prop_map(Some), 2 => (0..=6).prop_map(Some)]
}

fn any_spec() -> impl Strategy<Value = Spec> {
    (any_class(), masking(), end(), end()).prop_map(|(class, mask, prefix, suffix)| spec(class, mask, prefix, suffix))
}

/// Texts of which masks know something, torn and mixed.
fn known_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "1[3-9][0-9]{9}",
        "0[1-9][0-9]{1,2}-[2-8][0-9]{6,7}",
        "[1-9][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9]{4}[0-9Xx]",
        "[1-9][0-9]{14}",
        "[0-9]{13,19}",
        "[张王李赵欧阳司马诸葛][一-龥]{1,3}",
        "[A-Z][a-z]{2,8} [A-Z][a-z]{2,8}",
        "(江苏省|江苏)?(苏州市)?(姑苏区|昆山市)?[一-龥]{2,6}(路|街)[0-9]{1,4}号",
        "[a-z0-9.]{1,12}@[a-z]{2,8}\\.(com|cn)",
        "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]",
        "[0-9]{1,6}(\\.[0-9]{2})?",
        "[０-９]{11}",
        "[一-龥a-zA-Z0-9 ,;:/()@.+-]{0,20}",
    ];
    prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

/// The whole of a text, and enough of it to tell.
fn leaks(value: &str, shown: &str) -> bool {
    value.chars().filter(|character| character.is_alphanumeric()).count() >= RUN && shown.contains(value.trim())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_mask_returns_its_input(spec in any_spec(), value in prop_oneof![any::<String>(), known_text()]) {
        let shown = mask_text(spec, &value, Some(&key()));
        prop_assert!(shown != value || shown == HIDDEN, "{}", spec);
        // A band begins with a number that may be the value.
        let band = matches!(spec.class, Class::Score | Class::Amount);
        prop_assert!(band || !leaks(&value, &shown), "{spec}: {shown}");
    }

    #[test]
    fn a_mask_is_the_same_each_time(spec in any_spec(), value in known_text()) {
        let again = mask_text(spec, &value, Some(&key()));
        prop_assert_eq!(mask_text(spec, &value, Some(&key())), again);
    }

    #[test]
    fn numbers_show_their_ends_only(
        class in prop::sample::select(vec![Class::IdCard, Class::Phone, Class::BankCard]),
        mask in prop::sample::select(vec![Mask::Partial, Mask::Generalize]),
        (prefix, suffix) in (end(), end()),
        number in prop_oneof!["[1-7][0-9]{6,18}", "1[3-9][0-9]{9}", "0[1-9][0-9]{9,10}", "[1-9][0-9]{17}"],
    ) {
        let shown = mask_text(spec(class, mask, prefix, suffix), &number, None);
        if shown != HIDDEN {
            let (front, back) = shown.split_once("****").expect("a fill");
            // A mobile number may have lost a 0.
            prop_assert!(number.starts_with(front) || number[1..].starts_with(front));
            prop_assert!(number.ends_with(back));
            prop_assert!(front.len() + back.len() + 4 <= number.len(), "{number}: {shown}");
        }
    }

    /// Everything that an address shows is on the lists.
    #[test]
    fn addresses_show_divisions_only(street in "[一-龥]{2,8}(路|街|弄)[0-9]{1,4}号[一-龥]{0,6}(小区|新村)?[0-9]{0,4}室?") {
        let shown = mask_text(spec(Class::Address, Mask::Partial, None, None), &format!("江苏省苏州市姑苏区{street}"), None);
        prop_assert_eq!(shown, "江苏省苏州市姑苏区****");
        let shown = mask_text(spec(Class::Address, Mask::Partial, None, None), &format!("江苏省苏州市{street}"), None);
        let county = shown.strip_prefix("江苏省苏州市").and_then(|rest| rest.strip_suffix("****")).expect("province and city");
        prop_assert!(county.is_empty() || crate::core::mask::address::lists()[1].split_whitespace().any(|name| name == county));
    }

    #[test]
    fn names_show_half_at_most(name in "[一-龥]{2,8}", (prefix, suffix) in (end(), end())) {
        let shown = mask_text(spec(Class::Name, Mask::Partial, prefix, suffix), &name, None);
        let kept = shown.chars().filter(|character| *character != '*').count();
        prop_assert!(kept <= name.chars().count().div_ceil(2), "{name}: {shown}");
    }

    #[test]
    fn numbers_in_texts_of_guardians_are_found(
        words in prop::collection::vec("[一-龥]{1,6}|[ ,;:/()]{1,3}", 0..4),
        number in prop_oneof!["1[3-9][0-9]{9}", "[1-9][0-9]{17}", "[0-9]{5,20}"],
        behind in "[一-龥 ,;:/()]{0,6}",
    ) {
        let shown = mask_text(spec(Class::Guardian, Mask::Partial, None, None), &(words.concat() + &number + &behind), None);
        let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
        prop_assert!(digits.len() <= 7, "{number}: {shown}");
    }

    #[test]
    fn domains_do_not_tell_the_mailbox(mailbox in "[a-d]{2,10}[0-9]{0,3}", domain in "[a-d]{2,12}\\.com") {
        let shown = mask_text(spec(Class::Email, Mask::Partial, None, None), &format!("{mailbox}@{domain}"), None);
        let hidden: Vec<char> = mailbox.chars().skip(1).collect();
        let told = hidden.windows(RUN).find(|run| shown.contains(&run.iter().collect::<String>()));
        prop_assert!(told.is_none(), "{mailbox}@{domain}: {shown}");
    }

    #[test]
    fn json_stays_json(spec in any_spec(), value in known_text(), name in known_text()) {
        let text = serde_json::json!({ name: [value.clone(), { "a": value }] }).to_string();
        let shown = mask_json(spec, &text, Some(&key()));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{shown}");
    }

    #[test]
    fn any_text_of_json(spec in any_spec(), text in any::<String>()) {
        let shown = mask_json(spec, &text, Some(&key()));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{shown}");
    }
}
