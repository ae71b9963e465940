//! Whoever sees masks and wants values.

use super::{key, spec};
use crate::core::mask::{Class, HIDDEN, LONGEST, Mask, Spec, mask_text};

/// Ten thousand SHA-256 of the numbers behind a prefix, and the owner is known: a token without a key would be that.
#[test]
fn without_a_key_no_token_is_made() {
    for class in Class::KNOWN {
        for mask in [Mask::Hash, Mask::Pseudonym] {
            assert_eq!(mask_text(spec(class, mask, None, None), "13800000007", None), HIDDEN);
        }
    }
    assert_eq!(mask_text(spec(Class::FreeId, Mask::Partial, None, None), "S1", None), HIDDEN);
}

#[test]
fn no_number_that_was_not_a_spec_shows_anything() {
    let spec = spec(Class::Phone, Mask::None, None, None).to_i64();
    assert_eq!(Spec::from_i64(0), None);
    assert_eq!(Spec::from_i64(-1), None);
    for bit in 0..64 {
        let other = Spec::from_i64(spec ^ 1 << bit);
        assert!(other.is_none_or(|other| other.to_i64() == spec ^ 1 << bit), "bit {bit} is not looked at");
    }
    let unknown = [0x0002_0001, 0x0001_0063_0001, 7 << 24 | 1, 1 << 24 | 66 << 32 | 1, 1 << 48 | 1 << 24 | 1];
    unknown.into_iter().for_each(|number: i64| assert_eq!(Spec::from_i64(number), None, "{number:x}"));
}

/// The length of what is shown says nothing about the length of what is hidden.
#[test]
fn masks_are_as_long_whatever_the_value() {
    let same = |class, values: &[&str]| {
        let shown = |value: &&str| mask_text(spec(class, Mask::Partial, None, None), value, None).chars().count();
        assert!(values.iter().map(shown).collect::<Vec<_>>().windows(2).all(|pair| pair[0] == pair[1]), "{values:?}");
    };
    same(Class::IdCard, &["32050220100307123X", "320502800307123"]);
    same(Class::Name, &["张三", "张三丰", "张三丰丰"]);
    same(Class::Address, &["江苏省苏州市姑苏区观前街1号", "江苏省苏州市姑苏区观前街1号2幢3室"]);
    same(Class::Email, &["zhang@example.com", "zhangsanfeng@example.com"]);
}

#[test]
fn odd_texts_are_hidden() {
    let long = "1".repeat(1 << 20);
    let padded = format!("13800000007{}", " ".repeat(LONGEST));
    let odd = [
        "",
        " ",
        "1",
        "李",
        "😀",
        "\u{301}",
        "\u{feff}",
        "\u{202e}123",
        "ﷺ",
        "𠮷",
        "\u{1}\u{7f}",
        "***",
        &long,
        &padded,
    ];
    for class in [Class::Other].into_iter().chain(Class::KNOWN) {
        for mask in [Mask::Partial, Mask::Generalize, Mask::Hide] {
            // Of a class that is a token there is always one.
            let tokens = spec(class, mask, None, None).needs_key();
            for value in odd {
                let shown = mask_text(spec(class, mask, None, None), value, Some(&key()));
                let score = matches!(class, Class::Score | Class::Amount) && value == "1" && mask != Mask::Hide;
                assert!(tokens || score || shown == HIDDEN, "{class:?} {mask:?} {:.20} {shown:.40}", value);
            }
        }
    }
}

/// What stands behind the names of divisions is not looked at, whatever it is called.
#[test]
fn streets_and_houses_do_not_pass_for_districts() {
    let streets = ["观前街88号花园小区", "张三家小区", "平江路社区", "13800000007市", "幸福村开发一区"];
    for street in streets {
        for before in ["江苏省苏州市", "江苏省苏州市姑苏区", "北京市朝阳区"] {
            let shown = mask_text(spec(Class::Address, Mask::Partial, None, None), &format!("{before}{street}"), None);
            assert_eq!(shown, format!("{before}****"));
        }
        assert_eq!(mask_text(spec(Class::Address, Mask::Partial, None, None), street, None), HIDDEN);
    }
}
