//! The strictest of a role's mask rules.

use crate::core::mask::{Class, Mask, Spec};
use crate::core::mask_rule::{Predicate, Rule, Write, resolve};

fn rule(class: &str, mask: Mask, prefix: Option<u8>, predicate: Predicate) -> Rule {
    Rule { class: class.to_owned(), mask, prefix, suffix: None, predicate, write: Write::Guard }
}

fn phone() -> Vec<String> {
    vec!["phone".to_owned()]
}

#[test]
fn a_class_without_a_rule_is_clear() {
    let rules =
        [rule("id_card", Mask::Hide, None, Predicate::Masked), rule("phone", Mask::None, None, Predicate::Deny)];
    assert_eq!(resolve(&phone(), rules.iter()), None);
    assert_eq!(resolve(&[], rules.iter()), None);
}

#[test]
fn the_strictest_part_of_each_rule_wins() {
    let rules = [
        rule("phone", Mask::Partial, Some(3), Predicate::Deny),
        rule("*", Mask::Hash, None, Predicate::Equal),
        rule("phone", Mask::None, None, Predicate::Equal),
    ];
    let verdict = resolve(&phone(), rules.iter()).expect("masked");
    assert_eq!((verdict.spec.mask, verdict.predicate), (Mask::Hash, Predicate::Deny));
}

#[test]
fn of_two_lengths_the_shorter_is_kept_and_an_unknown_one_counts_as_none() {
    let partial = |prefix| rule("phone", Mask::Partial, prefix, Predicate::Masked);
    let kept = |rules: &[Rule]| resolve(&phone(), rules.iter()).expect("masked").spec.prefix;
    assert_eq!(kept(&[partial(Some(3)), partial(Some(2))]), Some(2));
    assert_eq!(kept(&[partial(None), partial(None)]), None);
    assert_eq!(kept(&[partial(Some(7)), partial(None)]), Some(0));
}

#[test]
fn a_column_of_two_classes_hides_what_only_one_of_them_keeps() {
    let rules = [rule("*", Mask::Partial, None, Predicate::Masked)];
    let classes = ["phone".to_owned(), "id_card".to_owned()];
    let spec = resolve(&classes, rules.iter()).expect("masked").spec;
    assert_eq!(spec, Spec { class: Class::Phone, mask: Mask::Hide, prefix: None, suffix: None });
}

#[test]
fn whatever_may_show_more_is_weaker() {
    let old = rule("phone", Mask::Partial, Some(3), Predicate::Masked);
    let weaker = |mask, prefix, predicate| rule("phone", mask, prefix, predicate).is_weaker_than(&old);
    assert!(weaker(Mask::None, Some(3), Predicate::Masked));
    assert!(weaker(Mask::Partial, Some(4), Predicate::Masked));
    assert!(weaker(Mask::Partial, None, Predicate::Masked), "what the class keeps may be more");
    assert!(weaker(Mask::Hide, None, Predicate::Equal));
    assert!(!weaker(Mask::Partial, Some(3), Predicate::Masked));
    assert!(!weaker(Mask::Partial, Some(0), Predicate::Deny));
    assert!(!weaker(Mask::Hide, None, Predicate::Masked));
}

#[test]
fn of_what_may_be_written_the_least_counts_and_more_is_weaker() {
    let write = |write| Rule { write, ..rule("phone", Mask::Hide, None, Predicate::Masked) };
    for (rules, least) in [
        ([Write::Allow, Write::Deny], Write::Deny),
        ([Write::Guard, Write::Allow], Write::Guard),
        ([Write::Allow, Write::Allow], Write::Allow),
    ] {
        assert_eq!(resolve(&phone(), rules.map(write).iter()).expect("masked").write, least);
    }
    assert!(write(Write::Guard).is_weaker_than(&write(Write::Deny)));
    assert!(write(Write::Allow).is_weaker_than(&write(Write::Guard)));
    assert!(!write(Write::Deny).is_weaker_than(&write(Write::Allow)));
}

#[test]
fn to_have_no_class_is_no_class() {
    let none = vec!["-".to_owned()];
    let every = [rule("*", Mask::Hide, None, Predicate::Masked), rule("phone", Mask::Hide, None, Predicate::Masked)];
    assert_eq!(resolve(&none, every.iter()), None);
    let own = [rule("-", Mask::Hide, None, Predicate::Deny)];
    assert_eq!(resolve(&none, own.iter()).map(|verdict| verdict.predicate), Some(Predicate::Deny));
    assert_eq!(resolve(&phone(), own.iter()), None);
}
