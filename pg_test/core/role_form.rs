//! The role form against what commands give.

use crate::core::role_form::{Extent, Granted, Right, RoleForm, added};
use crate::core::script::{digest, digest_with};
use std::collections::BTreeSet;

fn granted(grantee: &str, role: Option<&str>, rights: &[Right]) -> Granted {
    Granted {
        grantee: grantee.to_owned(),
        role: role.map(str::to_owned),
        rights: rights.iter().copied().collect::<BTreeSet<_>>(),
    }
}

fn form(grantee: &str, role: Option<&str>, rights: &[Right]) -> RoleForm {
    let Granted { grantee, role, rights } = granted(grantee, role, rights);
    RoleForm { grantees: BTreeSet::from([grantee]), role, rights }
}

#[test]
fn what_was_signed_passes_and_nothing_beyond() {
    let signed = form("wang", Some("teachers"), &[Right::Query]);
    assert_eq!(signed.disagreement(&granted("wang", Some("teachers"), &[])), None);
    assert_eq!(signed.disagreement(&granted("wang", None, &[Right::Query])), None);
    for (beyond, word) in [
        (granted("chen", Some("teachers"), &[]), "grants to chen"),
        (granted("public", None, &[Right::Query]), "grants to public"),
        (granted("wang", Some("reviewers"), &[]), "the role reviewers"),
        (granted("wang", Some("teachers"), &[Right::Administer]), "administer"),
        (granted("wang", None, &[Right::Query, Right::Modify, Right::Delete]), "modify, delete"),
    ] {
        let why = signed.disagreement(&beyond).expect("it was not signed");
        assert!(why.contains(word), "{why}");
    }
    let no_role = form("wang", None, &Right::ALL);
    assert!(no_role.disagreement(&granted("wang", Some("teachers"), &[])).is_some(), "all boxes are no role");
}

#[test]
fn one_form_says_what_each_grantee_gets() {
    let both = [granted("wang", Some("teachers"), &[]), granted("wang", None, &[Right::Modify])];
    assert_eq!(RoleForm::of(&both), Some(form("wang", Some("teachers"), &[Right::Modify])));
    assert_eq!(RoleForm::of(&[]), None);
    let several = [granted("wang", Some("a"), &[]), granted("chen", Some("a"), &[])];
    let grantees = BTreeSet::from(["chen".to_owned(), "wang".to_owned()]);
    assert_eq!(RoleForm::of(&several), Some(RoleForm { grantees, ..form("wang", Some("a"), &[]) }));
    // But not what each gets for themselves.
    let more = granted("chen", None, &[Right::Modify]);
    assert_eq!(RoleForm::of(&[several.as_slice(), &[more]].concat()), None);
    assert_eq!(RoleForm::of(&[granted("wang", Some("a"), &[]), granted("chen", Some("b"), &[])]), None);
    assert_eq!(RoleForm::of(&[granted("wang", Some("a"), &[]), granted("wang", Some("b"), &[])]), None);
}

#[test]
fn what_is_not_plain_work_with_data_is_administration() {
    let boxes = ["select", "INSERT", "Update", "DELETE", "TRUNCATE", "USAGE", "EXECUTE", "ALTER SYSTEM", "new"];
    let names: Vec<&str> = boxes.iter().map(|privilege| Right::of_privilege(privilege).name()).collect();
    let administer = "administer";
    assert_eq!(
        names,
        ["query", "modify", "modify", "delete", "delete", administer, administer, administer, administer]
    );
    assert!(Right::ALL.iter().all(|right| Right::from_name(right.name()) == Some(*right)));
    assert_eq!(Right::from_name("everything"), None);
}

#[test]
fn a_form_changes_the_digest_and_no_form_leaves_it() {
    assert_eq!(digest_with("SELECT 1", None, ""), digest("SELECT 1"));
    let one = digest_with("SELECT 1", Some("{}"), "");
    assert_ne!(one, digest("SELECT 1"));
    assert_ne!(one, digest_with("SELECT 1", Some("{ }"), ""));
    // What stands where: moving bytes from one to the other is another operation.
    assert_ne!(digest_with("SELECT 1", Some("2{}"), ""), digest_with("SELECT 12", Some("{}"), ""));
    assert_ne!(digest_with("SELECT 1{}", None, ""), one);
    // The digests of its data count as well, and are no form.
    let data = digest_with("COPY t FROM STDIN", None, "ab,cd");
    for (form, other) in [(None, ""), (None, "ab"), (None, "cd,ab"), (Some("ab,cd"), ""), (Some("{}"), "ab,cd")] {
        assert_ne!(digest_with("COPY t FROM STDIN", form, other), data, "{form:?} {other}");
    }
}

#[test]
fn only_what_is_new_has_an_end() {
    for (held, term, with_option, new) in [
        (None, None, false, Some(Extent::Whole)),
        (None, None, true, Some(Extent::Whole)),
        // A term that stands where somebody else has taken the right away.
        (None, Some(false), false, Some(Extent::Whole)),
        (Some(false), None, false, None),
        (Some(true), None, false, None),
        (Some(true), None, true, None),
        (Some(false), None, true, Some(Extent::Option)),
        (Some(false), Some(false), false, Some(Extent::Whole)),
        (Some(true), Some(false), true, Some(Extent::Whole)),
        (Some(true), Some(true), false, None),
        (Some(true), Some(true), true, Some(Extent::Option)),
    ] {
        assert_eq!(added(held, term, with_option), new, "{held:?} {term:?} {with_option}");
    }
}
