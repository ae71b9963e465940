//! How rules judge: the highest tier wins, whatever the order; the unknown is critical.

use crate::core::rule::{Column, ColumnSet, Command, CommandSet, Deed, Group, Rule, RuleSet};
use crate::core::tier::Tier;
use proptest::prelude::*;
use regex::Regex;

const UPDATE: Command = Command { tag: "UPDATE", group: Group::Write };
const DELETE: Command = Command { tag: "DELETE", group: Group::Write };

fn rule(name: &str, tier: Tier, commands: &[&str]) -> Rule {
    let commands: Vec<String> = commands.iter().map(|name| (*name).to_owned()).collect();
    Rule {
        name: name.to_owned(),
        tier,
        commands: (!commands.is_empty()).then(|| CommandSet::new(&commands)),
        relations: None,
        except_relations: None,
        classes: None,
        columns: None,
        min_rows: None,
        roles: None,
        except_roles: Vec::new(),
        approvals: 0,
    }
}

fn student() -> Vec<Column> {
    let column = |number, name: &str, class: Option<&str>| Column {
        number,
        name: name.to_owned(),
        class: class.map(str::to_owned),
    };
    vec![column(1, "student_id", None), column(2, "id_card", Some("id_card")), column(70, "address", Some("address"))]
}

fn columns(numbers: &[u16]) -> ColumnSet {
    let mut set = ColumnSet::default();
    numbers.iter().for_each(|number| set.insert(*number));
    set
}

fn judge(rules: Vec<Rule>, command: Command, touched: &ColumnSet) -> (Tier, String) {
    let set = RuleSet::new(rules);
    let relation = set.for_relation("app.student", &student());
    let verdict = set
        .judge(&relation, &Deed { command, columns: touched, has_role: &|role| role == 7, is_role: &|role| role == 7 });
    (verdict.tier, set.name(verdict.rule).to_owned())
}

#[test]
fn what_no_rule_matches_is_critical() {
    assert_eq!(
        judge(vec![rule("read", Tier::Normal, &["READ"])], UPDATE, &columns(&[])),
        (Tier::Critical, "unmatched".into())
    );
    assert_eq!(judge(vec![], UPDATE, &columns(&[])), (Tier::Critical, "unmatched".into()));
}

#[test]
fn a_tag_and_its_group_both_match() {
    for name in ["UPDATE", "update", "WRITE"] {
        assert_eq!(judge(vec![rule("r", Tier::Important, &[name])], UPDATE, &columns(&[])).0, Tier::Important);
    }
    assert_eq!(judge(vec![rule("r", Tier::Important, &["UPDATE"])], DELETE, &columns(&[])).1, "unmatched");
}

#[test]
fn a_class_matches_the_columns_that_carry_it() {
    let sensitive = Rule { classes: Some(vec!["address".into()]), ..rule("sensitive", Tier::Important, &["WRITE"]) };
    let rules = || vec![rule("write", Tier::Normal, &["WRITE"]), sensitive.clone()];
    assert_eq!(judge(rules(), UPDATE, &columns(&[70])).1, "sensitive");
    assert_eq!(judge(rules(), UPDATE, &columns(&[1, 2])).1, "write");
}

#[test]
fn a_rule_about_columns_that_a_table_lacks_matches_nothing_there() {
    let other = Rule { columns: Some(vec!["salary".into()]), ..rule("salary", Tier::Critical, &["WRITE"]) };
    assert_eq!(judge(vec![rule("write", Tier::Normal, &["WRITE"]), other], UPDATE, &columns(&[1, 2, 70])).1, "write");
}

#[test]
fn patterns_choose_and_except_relations() {
    let here = Rule { relations: Some(Regex::new(r"^app\.").unwrap()), ..rule("app", Tier::Normal, &["WRITE"]) };
    assert_eq!(judge(vec![here.clone()], UPDATE, &columns(&[])).1, "app");
    let except = Rule { except_relations: Some(Regex::new("student").unwrap()), ..here };
    assert_eq!(judge(vec![except], UPDATE, &columns(&[])).1, "unmatched");
}

#[test]
fn roles_and_except_roles_ask_for_the_session() {
    let mine = Rule { roles: Some(vec![7]), ..rule("mine", Tier::Normal, &[]) };
    let other = Rule { roles: Some(vec![8]), ..rule("other", Tier::Normal, &[]) };
    assert_eq!(judge(vec![mine.clone()], UPDATE, &columns(&[])).1, "mine");
    assert_eq!(judge(vec![other], UPDATE, &columns(&[])).1, "unmatched");
    assert_eq!(judge(vec![Rule { except_roles: vec![7], ..mine }], UPDATE, &columns(&[])).1, "unmatched");
}

#[test]
fn an_exception_is_not_for_a_role_that_is_put_on() {
    let set = RuleSet::new(vec![Rule { except_roles: vec![7], ..rule("strict", Tier::Important, &["WRITE"]) }]);
    let relation = set.for_relation("app.student", &student());
    let none = columns(&[]);
    let deed = Deed { command: UPDATE, columns: &none, has_role: &|_| true, is_role: &|_| false };
    assert_eq!(set.judge(&relation, &deed).tier, Tier::Important);
    assert_eq!(set.name(set.judge(&relation, &deed).rule), "strict");
}

#[test]
fn rows_raise_the_tier_from_their_threshold_on() {
    let bulk = Rule { min_rows: Some(50), ..rule("bulk", Tier::Critical, &["WRITE"]) };
    let many = Rule { min_rows: Some(10), ..rule("many", Tier::Important, &["WRITE"]) };
    let set = RuleSet::new(vec![rule("write", Tier::Normal, &["WRITE"]), bulk, many]);
    let relation = set.for_relation("app.student", &student());
    let none = columns(&[]);
    let deed = Deed { command: UPDATE, columns: &none, has_role: &|_| false, is_role: &|_| false };
    let limits = |above| {
        set.row_limits(&relation, &deed, above, 0).iter().map(|limit| (limit.rows, limit.tier)).collect::<Vec<_>>()
    };
    assert_eq!(limits(Tier::Normal), [(10, Tier::Important), (50, Tier::Critical)]);
    assert_eq!(limits(Tier::Important), [(50, Tier::Critical)]);
    assert_eq!(limits(Tier::Critical), []);
    assert_eq!(set.judge(&relation, &deed).tier, Tier::Normal);
}

#[test]
fn a_cluster_wide_command_is_judged_by_rules_that_name_no_relation() {
    let config = Command { tag: "ALTER SYSTEM", group: Group::Config };
    let local = Rule { relations: Some(Regex::new("x").unwrap()), ..rule("local", Tier::Normal, &["CONFIG"]) };
    let set = RuleSet::new(vec![rule("config", Tier::Critical, &["CONFIG"]), local]);
    let none = columns(&[]);
    let verdict = set.judge(
        &set.for_cluster(),
        &Deed { command: config, columns: &none, has_role: &|_| false, is_role: &|_| false },
    );
    assert_eq!(set.name(verdict.rule), "config");
}

proptest! {
    /// Rows of a table have no order, so the verdict must not depend on it.
    #[test]
    fn the_order_of_rules_never_matters(tiers in proptest::collection::vec(1u8..=3, 1..8), seed in any::<u64>()) {
        let rules: Vec<Rule> = tiers.iter().enumerate()
            .map(|(index, tier)| rule(&format!("r{index}"), Tier::from_u8(*tier).unwrap(), &["WRITE"])).collect();
        let mut shuffled = rules.clone();
        let length = shuffled.len();
        for index in 0..length {
            shuffled.swap(index, (seed as usize).wrapping_mul(index + 1) % length);
        }
        let touched = columns(&[]);
        let highest = tiers.iter().max().and_then(|tier| Tier::from_u8(*tier)).unwrap();
        let (tier, name) = judge(rules, UPDATE, &touched);
        prop_assert_eq!(tier, highest);
        prop_assert_eq!((tier, name), judge(shuffled, UPDATE, &touched));
    }
}

#[test]
fn the_most_approvals_of_any_matching_rule_count() {
    let demanding = Rule { approvals: 2, ..rule("demanding", Tier::Normal, &["WRITE"]) };
    let others = Rule { approvals: 3, ..rule("others", Tier::Critical, &["READ"]) };
    let bulk = Rule { approvals: 4, min_rows: Some(50), ..rule("bulk", Tier::Critical, &["WRITE"]) };
    let set = RuleSet::new(vec![rule("a", Tier::Important, &["WRITE"]), demanding, others, bulk]);
    let relation = set.for_relation("app.student", &student());
    let touched = columns(&[]);
    let deed = Deed { command: UPDATE, columns: &touched, has_role: &|_| false, is_role: &|_| false };
    let verdict = set.judge(&relation, &deed);
    assert_eq!((verdict.tier, set.name(verdict.rule), verdict.approvals), (Tier::Important, "a", 2));
    let limits = set.row_limits(&relation, &deed, verdict.tier, verdict.approvals);
    assert_eq!(limits.iter().map(|limit| (limit.rows, limit.approvals)).collect::<Vec<_>>(), [(50, 4)]);
}

#[test]
fn a_row_threshold_asks_for_what_every_rule_up_to_it_does() {
    let few = Rule { min_rows: Some(10), approvals: 2, ..rule("few", Tier::Normal, &["WRITE"]) };
    let bulk = Rule { min_rows: Some(50), ..rule("bulk", Tier::Critical, &["WRITE"]) };
    let mass = Rule { min_rows: Some(50), approvals: 3, ..rule("mass", Tier::Critical, &["WRITE"]) };
    let set = RuleSet::new(vec![rule("write", Tier::Normal, &["WRITE"]), bulk, few, mass]);
    let relation = set.for_relation("app.student", &[]);
    let none = columns(&[]);
    let deed = Deed { command: UPDATE, columns: &none, has_role: &|_| false, is_role: &|_| false };
    let limits = |above, approvals| -> Vec<(u64, Tier, u32)> {
        let limits = set.row_limits(&relation, &deed, above, approvals);
        limits.iter().map(|limit| (limit.rows, limit.tier, limit.approvals)).collect()
    };
    assert_eq!(limits(Tier::Normal, 0), [(10, Tier::Normal, 2), (50, Tier::Critical, 3)]);
    assert_eq!(limits(Tier::Critical, 0), [(10, Tier::Critical, 2), (50, Tier::Critical, 3)]);
    assert_eq!(limits(Tier::Critical, 2), [(50, Tier::Critical, 3)]);
    assert_eq!(limits(Tier::Critical, 3), []);
}
