//! The look-up of names against a plain search of their list.

use crate::core::mask::address::lists;
use crate::core::mask::names::Names;
use proptest::prelude::*;

fn names() -> Vec<&'static str> {
    lists().into_iter().flat_map(str::split_whitespace).collect()
}

/// The longest one, found by looking at every name.
fn plainly(names: &[&str], text: &str) -> Option<usize> {
    names.iter().filter(|name| text.starts_with(**name)).map(|name| name.len()).max()
}

#[test]
fn every_name_is_found_and_nothing_else() {
    let all = names();
    let table = Names::of(&all);
    for name in &all {
        assert!(table.contains(name), "{name}");
        let behind = format!("{name}观前街1号");
        assert_eq!(table.at_start(&behind), plainly(&all, &behind), "{name}");
        let without_its_end = &name[..name.len() - 3];
        assert_eq!(table.contains(without_its_end), all.contains(&without_its_end), "{without_its_end}");
    }
    assert!(!table.contains("") && table.at_start("").is_none());
    let none = Names::of([""]);
    assert!(!none.contains("江苏省") && none.at_start("江苏省").is_none());
    assert!(!table.contains("\0") && table.at_start("\u{10000}").is_none());
}

/// Letters are told apart as by the tables of all scripts.
#[test]
fn letters_are_those_of_unicode() {
    for character in '\0'..=char::MAX {
        assert_eq!(crate::core::mask::is_letter(character), character.is_alphabetic(), "{character:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn found_as_by_a_plain_search(
        pieces in prop::collection::vec(prop_oneof![prop::sample::select(names()).prop_map(str::to_owned), "[市区县旗州盟一-龥]{0,3}"], 0..4),
    ) {
        let all = names();
        let text = pieces.concat();
        prop_assert_eq!(Names::of(&all).at_start(&text), plainly(&all, &text), "{}", text);
    }
}
