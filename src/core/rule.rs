//! Rules as data, and how they judge one deed.
//!
//! The highest matching tier wins, so the order of rules never matters. What no rule matches is critical: the unknown
//! is refused, never waved through. Names of columns and relations are resolved once per relation (`for_relation`), so
//! that judging costs the same with ten rules and with ten thousand.

use super::function;
use super::tier::Tier;
use regex::Regex;
use std::cell::RefCell;
use std::rc::Rc;

/// The groups of commands of the installed rules (manual 1.1). A rule names a group or a command tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Group {
    Read = 1 << 0,
    Write = 1 << 1,
    Export = 1 << 2,
    Upkeep = 1 << 3,
    Ddl = 1 << 4,
    /// Creating a partition of a protected table.
    Partition = 1 << 5,
    /// Privileges of administrators, of everybody, or of roles nobody knows.
    Privilege = 1 << 6,
    /// Privileges and accounts of roles that are known to be no administrators.
    Account = 1 << 7,
    Config = 1 << 8,
    /// The extension's own objects.
    Audit = 1 << 9,
    /// A watched function; its command is its C symbol.
    Function = 1 << 10,
}

const GROUPS: [(&str, Group); 11] = [
    ("READ", Group::Read),
    ("WRITE", Group::Write),
    ("EXPORT", Group::Export),
    ("UPKEEP", Group::Upkeep),
    ("DDL", Group::Ddl),
    ("PARTITION", Group::Partition),
    ("PRIVILEGE", Group::Privilege),
    ("ACCOUNT", Group::Account),
    ("CONFIG", Group::Config),
    ("AUDIT", Group::Audit),
    ("FUNCTION", Group::Function),
];

impl Group {
    pub fn from_name(name: &str) -> Option<Group> {
        GROUPS.iter().find(|(known, _)| *known == name).map(|(_, group)| *group)
    }
    pub fn name(self) -> &'static str {
        GROUPS.iter().find(|(_, group)| *group == self).map_or("AUDIT", |(name, _)| name)
    }
    /// Whether it changes data, structure, rights or settings: what some posts never do alone.
    pub fn changes(self) -> bool {
        !matches!(self, Group::Read | Group::Export | Group::Upkeep)
    }
}

/// A command as PostgreSQL names it, and the group that the policy puts it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    pub tag: &'static str,
    pub group: Group,
}

/// Attribute numbers of one relation, as a bit set. The first 64 take no memory of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnSet {
    first: u64,
    more: Vec<u64>,
}

impl ColumnSet {
    pub fn insert(&mut self, attribute: u16) {
        let (word, bit) = (usize::from(attribute) / 64, 1 << (attribute % 64));
        match word.checked_sub(1) {
            None => self.first |= bit,
            Some(word) => {
                if self.more.len() <= word {
                    self.more.resize(word + 1, 0);
                }
                self.more[word] |= bit;
            }
        }
    }
    pub fn intersects(&self, other: &ColumnSet) -> bool {
        self.first & other.first != 0 || self.more.iter().zip(&other.more).any(|(mine, theirs)| mine & theirs != 0)
    }
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.more.iter().all(|word| *word == 0)
    }
}

/// Which commands a rule speaks of: groups, single tags, and functions by C symbol.
#[derive(Clone, Debug, Default)]
pub struct CommandSet {
    groups: u16,
    tags: Vec<String>,
    functions: Vec<String>,
}

impl CommandSet {
    pub fn new(names: &[String]) -> CommandSet {
        let mut set = CommandSet::default();
        for name in names {
            let upper = name.to_ascii_uppercase();
            match (Group::from_name(&upper), function::pattern_of(name)) {
                (Some(group), _) => set.groups |= group as u16,
                (None, Some(pattern)) => set.functions.push(pattern.to_owned()),
                (None, None) => set.tags.push(upper),
            }
        }
        set
    }
    fn contains(&self, command: Command) -> bool {
        let named = || match command.group {
            Group::Function => self.names_function(command.tag),
            _ => self.tags.iter().any(|tag| tag.eq_ignore_ascii_case(command.tag)),
        };
        self.groups & command.group as u16 != 0 || named()
    }
    fn names_function(&self, symbol: &str) -> bool {
        self.functions.iter().any(|pattern| function::matches(pattern, symbol))
    }
}

/// One row of `steward.rule`; None means any.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    pub tier: Tier,
    pub commands: Option<CommandSet>,
    pub relations: Option<Regex>,
    pub except_relations: Option<Regex>,
    pub classes: Option<Vec<String>>,
    pub columns: Option<Vec<String>>,
    pub min_rows: Option<u64>,
    pub roles: Option<Vec<u32>>,
    pub except_roles: Vec<u32>,
    /// Approvals that it demands, whatever its tier does.
    pub approvals: u32,
}

/// A column of a protected relation: number, name and, if labelled, its data class.
#[derive(Clone, Debug)]
pub struct Column {
    pub number: u16,
    pub name: String,
    pub class: Option<String>,
}

/// A rule as it stands for one relation.
#[derive(Clone, Debug)]
struct Compiled {
    index: usize,
    /// None: whatever columns.
    columns: Option<ColumnSet>,
}

/// The rules that can match one relation (or, for cluster-wide commands, none), highest tier first.
#[derive(Clone, Debug, Default)]
pub struct RelationRules {
    compiled: Vec<Compiled>,
    /// What they say of a command, worked out when it first comes.
    of_command: RefCell<Vec<Rc<Speaking>>>,
    /// At least one of them demands approvals of its own.
    demanding: bool,
}

/// The rules of one relation that speak of one command.
#[derive(Debug)]
struct Speaking {
    command: Command,
    /// Their places among the compiled rules.
    places: Vec<usize>,
    /// What they say of every such deed, where neither columns nor roles matter to any of them.
    settled: Option<(Verdict, Vec<RowLimit>)>,
}

/// Every rule of the policy.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

/// What a deed is judged by.
pub struct Deed<'a> {
    pub command: Command,
    pub columns: &'a ColumnSet,
    /// Whether the session stands behind a role (by login, current role or membership).
    pub has_role: &'a dyn Fn(u32) -> bool,
    /// Whether it is one by the authenticated login alone: exceptions are not for roles that are put on.
    pub is_role: &'a dyn Fn(u32) -> bool,
}

/// The tier of a deed and the rule that says so (None: no rule knows it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub tier: Tier,
    pub rule: Option<usize>,
    /// The most approvals that any rule which knows the deed demands: their order does not matter here either.
    pub approvals: u32,
}

/// From how many rows on a deed becomes riskier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLimit {
    pub rows: u64,
    pub tier: Tier,
    pub rule: usize,
    pub approvals: u32,
}

impl RuleSet {
    pub fn new(mut rules: Vec<Rule>) -> RuleSet {
        rules.sort_by(|a, b| b.tier.cmp(&a.tier).then_with(|| a.name.cmp(&b.name)));
        RuleSet { rules }
    }

    /// The name of a verdict's rule as records and messages show it.
    pub fn name(&self, rule: Option<usize>) -> &str {
        rule.and_then(|index| self.rules.get(index)).map_or("unmatched", |rule| rule.name.as_str())
    }

    /// Every rule, highest tier first.
    pub fn all_rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of this name.
    pub fn named(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// Whether any rule names a function by its C symbol.
    pub fn names_function(&self, symbol: &str) -> bool {
        self.rules.iter().filter_map(|rule| rule.commands.as_ref()).any(|commands| commands.names_function(symbol))
    }

    /// Resolves patterns, names and classes against one relation.
    pub fn for_relation(&self, name: &str, columns: &[Column]) -> RelationRules {
        let applies = |rule: &Rule| {
            rule.relations.as_ref().is_none_or(|pattern| pattern.is_match(name))
                && rule.except_relations.as_ref().is_none_or(|pattern| !pattern.is_match(name))
        };
        let compile = |(index, rule): (usize, &Rule)| Compiled { index, columns: rule.columns_of(columns) };
        self.compiled(self.rules.iter().enumerate().filter(|(_, rule)| applies(rule)).map(compile))
    }

    /// The rules for commands that name no protected relation.
    pub fn for_cluster(&self) -> RelationRules {
        let applies = |rule: &Rule| rule.relations.is_none() && rule.classes.is_none() && rule.columns.is_none();
        let compile = |(index, _)| Compiled { index, columns: None };
        self.compiled(self.rules.iter().enumerate().filter(|(_, rule)| applies(rule)).map(compile))
    }

    fn compiled(&self, rules: impl Iterator<Item = Compiled>) -> RelationRules {
        let compiled: Vec<Compiled> = rules.collect();
        let demanding = compiled.iter().any(|rule| self.rules[rule.index].approvals > 0);
        RelationRules { compiled, of_command: RefCell::default(), demanding }
    }

    /// The tier of a deed before any row is counted.
    pub fn judge(&self, rules: &RelationRules, deed: &Deed<'_>) -> Verdict {
        match &self.speaking(rules, deed.command).settled {
            Some((verdict, _)) => verdict.clone(),
            None => self.weigh(rules, deed),
        }
    }

    fn weigh(&self, rules: &RelationRules, deed: &Deed<'_>) -> Verdict {
        let found = self.matching(rules, deed).find(|rule| self.rules[rule.index].min_rows.is_none());
        let approvals = if rules.demanding { self.approvals(rules, deed) } else { 0 };
        match found {
            Some(rule) => Verdict { tier: self.rules[rule.index].tier, rule: Some(rule.index), approvals },
            None => Verdict { tier: Tier::Critical, rule: None, approvals },
        }
    }

    fn approvals(&self, rules: &RelationRules, deed: &Deed<'_>) -> u32 {
        let known = self.matching(rules, deed).map(|rule| &self.rules[rule.index]);
        known.filter(|rule| rule.min_rows.is_none()).map(|rule| rule.approvals).max().unwrap_or(0)
    }

    /// The row thresholds that ask for more than the deed as such, lowest number of rows first. Each asks for what those
    /// before it do: the highest tier and the most approvals count, whichever rules say so.
    pub fn row_limits(&self, rules: &RelationRules, deed: &Deed<'_>, above: Tier, approvals: u32) -> Vec<RowLimit> {
        match &self.speaking(rules, deed.command).settled {
            Some((verdict, limits)) if (verdict.tier, verdict.approvals) == (above, approvals) => limits.clone(),
            _ => self.limits_above(rules, deed, above, approvals),
        }
    }

    fn limits_above(&self, rules: &RelationRules, deed: &Deed<'_>, above: Tier, approvals: u32) -> Vec<RowLimit> {
        let limit = |rule: &Compiled| {
            let rule_limit = &self.rules[rule.index];
            let asks_more = rule_limit.tier > above || rule_limit.approvals > approvals;
            rule_limit.min_rows.filter(|_| asks_more).map(|rows| RowLimit {
                rows,
                tier: rule_limit.tier.max(above),
                rule: rule.index,
                approvals: rule_limit.approvals,
            })
        };
        let mut limits: Vec<RowLimit> = self.matching(rules, deed).filter_map(limit).collect();
        limits.sort_by_key(|limit| (limit.rows, std::cmp::Reverse(limit.tier)));
        let mut merged: Vec<RowLimit> = Vec::with_capacity(limits.len());
        for mut limit in limits {
            if let Some(before) = merged.last_mut() {
                limit.approvals = limit.approvals.max(before.approvals);
                if before.tier >= limit.tier {
                    (limit.tier, limit.rule) = (before.tier, before.rule);
                }
                if before.rows == limit.rows {
                    before.approvals = limit.approvals;
                    continue;
                }
                if (before.tier, before.approvals) == (limit.tier, limit.approvals) {
                    continue;
                }
            }
            merged.push(limit);
        }
        merged
    }

    /// What the rules of a relation say of a command.
    fn speaking(&self, rules: &RelationRules, command: Command) -> Rc<Speaking> {
        if let Some(speaking) = rules.of_command.borrow().iter().find(|known| known.command == command) {
            return speaking.clone();
        }
        let rule = |place: &usize| &self.rules[rules.compiled[*place].index];
        // No column is in an empty set.
        let matches = |place: &usize| rules.compiled[*place].columns.as_ref().is_none_or(|columns| !columns.is_empty());
        let speaks = |place: &usize| rule(place).commands.as_ref().is_none_or(|set| set.contains(command));
        let places: Vec<usize> = (0..rules.compiled.len()).filter(|n| matches(n) && speaks(n)).collect();
        let always = |place: &usize| {
            rules.compiled[*place].columns.is_none()
                && rule(place).roles.is_none()
                && rule(place).except_roles.is_empty()
        };
        let same_for_all = places.iter().all(always);
        let keep = |settled| {
            let speaking = Rc::new(Speaking { command, places: places.clone(), settled });
            let mut known = rules.of_command.borrow_mut();
            known.retain(|known| known.command != command);
            known.push(speaking.clone());
            speaking
        };
        let speaking = keep(None);
        if !same_for_all {
            return speaking;
        }
        let deed = Deed { command, columns: &ColumnSet::default(), has_role: &|_| false, is_role: &|_| false };
        let verdict = self.weigh(rules, &deed);
        let limits = self.limits_above(rules, &deed, verdict.tier, verdict.approvals);
        keep(Some((verdict, limits)))
    }

    /// Every rule that knows a deed, from however many rows on.
    pub fn all<'a>(&'a self, rules: &'a RelationRules, deed: &'a Deed<'_>) -> impl Iterator<Item = &'a Rule> {
        self.matching(rules, deed).map(|rule| &self.rules[rule.index])
    }

    fn matching<'a>(&'a self, rules: &'a RelationRules, deed: &'a Deed<'_>) -> impl Iterator<Item = &'a Compiled> {
        let speaking = self.speaking(rules, deed.command);
        (0..speaking.places.len()).map(move |n| &rules.compiled[speaking.places[n]]).filter(move |compiled| {
            let rule = &self.rules[compiled.index];
            compiled.columns.as_ref().is_none_or(|columns| columns.intersects(deed.columns))
                && rule.roles.as_ref().is_none_or(|roles| roles.iter().any(|role| (deed.has_role)(*role)))
                && !rule.except_roles.iter().any(|role| (deed.is_role)(*role))
        })
    }
}

impl Rule {
    /// The columns this rule speaks of, None if of none in particular.
    fn columns_of(&self, columns: &[Column]) -> Option<ColumnSet> {
        if self.columns.is_none() && self.classes.is_none() {
            return None;
        }
        let by_name = |column: &Column| self.columns.as_ref().is_none_or(|names| names.contains(&column.name));
        let by_class = |column: &Column| match (&self.classes, &column.class) {
            (None, _) => true,
            (Some(classes), Some(class)) => classes.contains(class),
            (Some(_), None) => false,
        };
        let mut set = ColumnSet::default();
        columns
            .iter()
            .filter(|column| by_name(column) && by_class(column))
            .for_each(|column| set.insert(column.number));
        Some(set)
    }
}
