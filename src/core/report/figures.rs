//! What is counted over the records of a period, in one pass.

use super::super::record::{Kind, Outcome, Record};
use super::super::tier::Tier;
use super::zone::Local;
use std::collections::BTreeMap;

/// Names beyond this many are counted together, as [`OTHERS`]: whoever invents names must not fill the memory.
const NAMES: usize = 10_000;
/// What the rest of too many names is counted under.
pub const OTHERS: &str = "…";

/// One day of the policy's zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Statements and steps of operations by tier: normal, important, critical, none.
    pub tiers: [u64; 4],
    pub denied: u64,
    /// Failed for PostgreSQL's own reasons.
    pub failed: u64,
    pub rolled_back: u64,
    pub failed_logins: u64,
}

/// One person, or one login that is nobody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub records: u64,
    pub critical: u64,
    pub denied: u64,
    pub off_hours: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records of the period, definitions apart.
    pub records: u64,
    /// Records that do not read back, of the whole stretch that was read: they have no time.
    pub unreadable: u64,
    /// Records whose definition is not found: who or what is not known.
    pub undefined: u64,
    pub days: BTreeMap<i32, Day>,
    pub accounts: BTreeMap<String, Account>,
    /// Statements and steps of operations by weekday and hour.
    pub hours: [[u64; 24]; 7],
    pub off_hours: u64,
    pub logins: u64,
    pub failed_logins: u64,
    /// Refused by the policy, by rule, and by relation.
    pub denied_rules: BTreeMap<String, u64>,
    pub denied_relations: BTreeMap<String, u64>,
    /// Steps of operations that were done: REQUEST, APPROVE, EXECUTE …
    pub steps: BTreeMap<String, u64>,
    /// Changes of the policy, and what answers for it.
    pub policy: BTreeMap<String, u64>,
    /// The server's own life: starts, losses, damaged files.
    pub server: BTreeMap<String, u64>,
}

impl Figures {
    /// Takes a record of the period in, its definitions resolved; `off_hours`: outside of the working hours.
    pub fn add(&mut self, record: &Record, local: Local, off_hours: bool) {
        let times = record.repeats.map_or(1, |repeats| repeats.max(1) as u64);
        self.records += 1;
        if record.who.is_some() || record.what.is_some() {
            self.undefined += 1;
        }
        let done = record.outcome == Outcome::Success;
        match record.kind {
            Kind::Statement | Kind::Operation => {
                if record.kind == Kind::Operation && done {
                    add(&mut self.steps, &record.operation_type, 1);
                }
                self.add_act(record, local, off_hours, times);
            }
            Kind::Login => self.add_login(record, local),
            Kind::Policy if done => add(&mut self.policy, &record.operation_type, 1),
            Kind::Server => add(&mut self.server, &record.operation_type, 1),
            _ => {}
        }
    }

    fn add_act(&mut self, record: &Record, local: Local, off_hours: bool, times: u64) {
        let denied = record.outcome == Outcome::Denied;
        let day = self.days.entry(local.day).or_default();
        day.tiers[tier_place(record.tier)] += times;
        match record.outcome {
            Outcome::Success => {}
            Outcome::Failure => day.failed += times,
            Outcome::Denied => day.denied += times,
            Outcome::RolledBack => day.rolled_back += times,
        }
        self.hours[local.weekday][usize::from(local.minute / 60) % 24] += times;
        if denied {
            add(&mut self.denied_rules, record.rule.as_deref().unwrap_or("–"), times);
            add(&mut self.denied_relations, record.relations.first().map_or("–", String::as_str), times);
        }
        let off_hours = if off_hours { times } else { 0 };
        self.off_hours += off_hours;
        let name = record.person.as_deref().unwrap_or(&record.user_id);
        let account = entry(&mut self.accounts, name);
        account.records += times;
        account.critical += if record.tier == Some(Tier::Critical) { times } else { 0 };
        account.denied += if denied { times } else { 0 };
        account.off_hours += off_hours;
    }

    fn add_login(&mut self, record: &Record, local: Local) {
        let failed = record.outcome != Outcome::Success;
        match record.operation_type.as_str() {
            "LOGIN" if failed => {
                // Some records stand for many attempts of one kind.
                let times = record.repeats.map_or(1, |repeats| repeats.max(1) as u64);
                self.failed_logins += times;
                self.days.entry(local.day).or_default().failed_logins += times;
            }
            "LOGIN" => self.logins += 1,
            _ => {}
        }
    }

    /// Everything of one column of all days.
    pub fn total(&self, of: impl Fn(&Day) -> u64) -> u64 {
        self.days.values().map(of).sum()
    }
}

fn tier_place(tier: Option<Tier>) -> usize {
    tier.map_or(3, |tier| tier as usize - 1)
}

fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    let name = if map.len() < NAMES || map.contains_key(name) { name } else { OTHERS };
    map.entry(name.to_owned()).or_default()
}

fn add(map: &mut BTreeMap<String, u64>, name: &str, times: u64) {
    *entry(map, name) += times;
}

/// The highest, in falling order; equal ones by name.
pub fn highest<T>(map: &BTreeMap<String, T>, number: usize, by: impl Fn(&T) -> u64) -> Vec<(&str, &T)> {
    let mut rows: Vec<(&str, &T)> =
        map.iter().map(|(name, row)| (name.as_str(), row)).filter(|row| by(row.1) > 0).collect();
    rows.sort_by_key(|(name, row)| (std::cmp::Reverse(by(row)), *name));
    rows.truncate(number);
    rows
}
