//! The mask rules as a backend sees them: read when the first statement asks, together with the labelled columns they
//! concern, and answered once for each role. They go when the policy is read anew, which every change of a rule, an
//! exemption, a label or a membership brings about.
//!
//! Being a superuser makes nobody a member of a role here, and owning a table exempts nobody: who is named by a rule, or is
//! a member of a role that is, sees masks.

use crate::backend::NumberMap;
use crate::core::mask::{Class, Mask, Spec};
use crate::core::mask_rule::{NO_CLASS, Predicate, Rule, Verdict, Write, concerns, resolve};
use crate::error::Fault;
use crate::{own, raw};
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// A masked column of a relation, for one role.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Column {
    pub number: i16,
    pub verdict: Verdict,
}

/// Everything a role does not see clear.
pub struct RoleMasks {
    relations: NumberMap<u32, Rc<[Column]>>,
    /// From when on an exemption no longer holds, in microseconds since 2000-01-01 UTC.
    until: i64,
}

/// A rule and whose it is.
struct RoleRule {
    role: Oid,
    rule: Rule,
}

struct Exemption {
    role: Oid,
    class: String,
    until: i64,
}

/// The labelled columns of a relation with their classes.
type Labels = BTreeMap<i16, Vec<String>>;

/// The mask rules, and every relation with a column that one of them concerns.
pub struct Masks {
    rules: Vec<RoleRule>,
    exemptions: Vec<Exemption>,
    labelled: NumberMap<u32, Labels>,
    roles: RefCell<NumberMap<u32, Rc<RoleMasks>>>,
}

/// Statistics hold values of all tables: `pg_statistic` and `pg_statistic_ext_data`, with the columns that do.
const STATISTICS: [(u32, std::ops::RangeInclusive<i16>); 2] = [(2619, 27..=31), (3429, 5..=6)];

impl Masks {
    /// Reads rules, exemptions and labels.
    pub fn load() -> Result<Masks, Fault> {
        let (rules, exemptions) = (load_rules()?, load_exemptions()?);
        let concerned = |class: &str| rules.iter().any(|own| own.rule.mask > Mask::None && own.rule.concerns(class));
        let mut labelled: NumberMap<u32, Labels> = NumberMap::default();
        let mut rows = own::latest_rows(LABELS);
        if concerned(NO_CLASS) {
            rows.extend(own::latest_rows(WITHOUT));
        }
        for row in rows {
            let number = text(&row, 1)?.parse().map_err(|_| odd("column"))?;
            let class = text(&row, 2)?;
            if concerned(class) {
                let columns = labelled.entry(oid(&row, 0)?.to_u32()).or_default();
                columns.entry(number).or_default().push(class.to_owned());
            }
        }
        Ok(Masks { rules, exemptions, labelled, roles: RefCell::default() })
    }

    /// Whether a relation has columns that some role does not see clear. Neither raises nor allocates.
    pub fn concern(&self, relation: Oid) -> bool {
        let relation = relation.to_u32();
        self.labelled.contains_key(&relation) || STATISTICS.iter().any(|(statistics, _)| *statistics == relation)
    }

    /// The columns of a relation that a role does not see clear; None: all are clear.
    pub fn of(&self, role: Oid, relation: Oid) -> Option<Rc<[Column]>> {
        self.of_role(role).relations.get(&relation.to_u32()).cloned()
    }

    /// Whether there is anything that a role does not see clear.
    pub fn has(&self, role: Oid) -> bool {
        !self.of_role(role).relations.is_empty()
    }

    /// Whether a role is known to see everything clear. Neither raises nor allocates.
    pub fn knows_clear(&self, role: Oid) -> bool {
        // Safe: plain getter.
        let now = unsafe { raw::GetCurrentStatementStartTimestamp() };
        let is_clear = |known: &Rc<RoleMasks>| now < known.until && known.relations.is_empty();
        self.roles.try_borrow().is_ok_and(|roles| roles.get(&role.to_u32()).is_some_and(is_clear))
    }

    fn of_role(&self, role: Oid) -> Rc<RoleMasks> {
        // Safe: plain getter. One moment for all of a statement, from its planning to its end.
        let now = unsafe { raw::GetCurrentStatementStartTimestamp() };
        let known = self.roles.borrow().get(&role.to_u32()).filter(|known| now < known.until).cloned();
        if let Some(known) = known {
            return known;
        }
        let fresh = Rc::new(self.resolve(role, now));
        self.roles.borrow_mut().insert(role.to_u32(), fresh.clone());
        fresh
    }

    fn resolve(&self, role: Oid, now: i64) -> RoleMasks {
        // What a script is only looked at for shows its author nothing that anybody does not see.
        let nobody = role == own::NOBODY;
        let concerned = |own: &&RoleRule| nobody || is_member(role, own.role);
        let rules: Vec<&Rule> = self.rules.iter().filter(concerned).map(|own| &own.rule).collect();
        let exempt = |own: &&Exemption| !nobody && now < own.until && is_member(role, own.role);
        let exemptions: Vec<&Exemption> = self.exemptions.iter().filter(exempt).collect();
        let masked = |classes: &Vec<String>| {
            let exempt = |class: &String| exemptions.iter().any(|own| concerns(&own.class, class));
            let classes: Vec<String> = classes.iter().filter(|class| !exempt(class)).cloned().collect();
            resolve(&classes, rules.iter().copied())
        };
        let mut relations = NumberMap::default();
        for (relation, columns) in &self.labelled {
            let columns: Rc<[Column]> = columns
                .iter()
                .filter_map(|(number, classes)| Some(Column { number: *number, verdict: masked(classes)? }))
                .collect();
            if !columns.is_empty() {
                relations.insert(*relation, columns);
            }
        }
        if !relations.is_empty() {
            relations.extend(STATISTICS.map(|(relation, columns)| (relation, columns.map(hidden).collect())));
        }
        RoleMasks { relations, until: exemptions.iter().map(|own| own.until).min().unwrap_or(i64::MAX) }
    }
}

/// A column of which a masked role sees nothing, whatever its classes.
fn hidden(number: i16) -> Column {
    let spec = Spec { class: Class::Other, mask: Mask::Hide, prefix: None, suffix: None };
    Column { number, verdict: Verdict { spec, predicate: Predicate::Masked, write: Write::Guard } }
}

/// What a plan is marked with that was made for these masks: another number for other masks.
pub fn digest(columns: &[Column]) -> u64 {
    let mut hasher = DefaultHasher::new();
    columns.hash(&mut hasher);
    hasher.finish()
}

/// Whether a role is another one or a member of it, also of those whose rights it does not inherit.
fn is_member(role: Oid, of: Oid) -> bool {
    // Safe: a look-up in the role cache.
    unsafe { pg_sys::is_member_of_role_nosuper(role, of) }
}

const RULES: &CStr =
    c"SELECT role::oid::text, class, mask, prefix::text, suffix::text, predicate, write FROM steward.mask_rule";

fn load_rules() -> Result<Vec<RoleRule>, Fault> {
    own::latest_rows(RULES)
        .iter()
        .map(|row| {
            let end =
                |column: usize| row[column].as_ref().map(|end| end.parse().map_err(|_| odd("length"))).transpose();
            let rule = Rule {
                class: text(row, 1)?.to_owned(),
                mask: Mask::from_name(text(row, 2)?).ok_or_else(|| odd("mask"))?,
                prefix: end(3)?,
                suffix: end(4)?,
                predicate: Predicate::from_name(text(row, 5)?).ok_or_else(|| odd("predicate"))?,
                write: Write::from_name(text(row, 6)?).ok_or_else(|| odd("write"))?,
            };
            Ok(RoleRule { role: oid(row, 0)?, rule })
        })
        .collect()
}

const EXEMPTIONS: &CStr = c"SELECT role::oid::text, class,
    (extract(epoch FROM until - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8::text
    FROM steward.mask_exemption WHERE until > clock_timestamp()";

fn load_exemptions() -> Result<Vec<Exemption>, Fault> {
    own::latest_rows(EXEMPTIONS)
        .iter()
        .map(|row| {
            let until = text(row, 2)?.parse().map_err(|_| odd("until"))?;
            Ok(Exemption { role: oid(row, 0)?, class: text(row, 1)?.to_owned(), until })
        })
        .collect()
}

/// Columns and their classes. Where a table keeps its long values they have all of its classes.
const LABELS: &CStr = c"SELECT relation::text, attnum::text, class FROM steward._labelled
    UNION SELECT c.reltoastrelid::text, '3', l.class FROM steward._labelled l
        JOIN pg_class c ON c.oid = l.relation AND c.reltoastrelid <> 0";

/// Columns without a class.
const WITHOUT: &CStr = c"SELECT relation::text, attnum::text, '-' FROM steward._unlabelled
    UNION SELECT c.reltoastrelid::text, '3', '-' FROM steward._unlabelled l
        JOIN pg_class c ON c.oid = l.relation AND c.reltoastrelid <> 0";

/// Everything that can be masked.
const TABLES: &CStr = c"SELECT relation::text FROM steward._labelled UNION SELECT relation::text FROM steward._tree";

/// Plans on everything that is or was masked are made anew, in every session, once this transaction commits.
pub fn forget_plans() -> Result<(), Fault> {
    let tables = own::latest_rows(TABLES);
    let relations: Result<BTreeSet<u32>, Fault> = tables.iter().map(|row| Ok(oid(row, 0)?.to_u32())).collect();
    for relation in relations?.into_iter().chain(STATISTICS.map(|(relation, _)| relation)) {
        // Safe: queues a transactional invalidation message for an existing relation.
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(Oid::from(relation)) };
    }
    Ok(())
}

fn odd(what: &str) -> Fault {
    Fault::internal(format!("a mask rule does not read back: {what}"))
}

fn text(row: &[Option<String>], column: usize) -> Result<&str, Fault> {
    row.get(column).and_then(|value| value.as_deref()).ok_or_else(|| odd("missing value"))
}

fn oid(row: &[Option<String>], column: usize) -> Result<Oid, Fault> {
    Ok(Oid::from(text(row, column)?.parse::<u32>().map_err(|_| odd("number"))?))
}
