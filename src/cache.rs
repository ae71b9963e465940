//! The policy as a backend sees it: read once, thrown away when anything it was built from changes.
//!
//! Changes reach every open session through relcache invalidation of the policy table in the changing transaction, so
//! they are transactional and need no lock. Reading happens outside the hot path; deciding never runs SQL.

pub mod columns;

use crate::backend::{NumberMap, backend_local};
use crate::core::approval::{Kin, Row};
use crate::core::rule::{Column, Command, Group, RelationRules, Rule, RuleSet};
use crate::core::tier::Tier;
use crate::error::{Fault, answer};
use crate::export;
use crate::mask::Masks;
use crate::own;
use crate::person::term;
use crate::raw;
use crate::register::capability::{self, Term};
use crate::scope::{self, Scopes};
use pgrx::pg_sys;
use regex::Regex;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::rc::Rc;

/// What stands behind a login.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub post: String,
    pub capabilities: Vec<String>,
    /// Neither suspended nor expired when the policy was read; `valid_until` is checked again at use.
    pub suspended: bool,
    /// Microseconds since 2000-01-01 UTC.
    pub valid_until: Option<i64>,
    /// When a suspension ended, in the same measure: what was filed, approved or confirmed before does not count.
    pub reinstated_at: Option<i64>,
    /// When the second factor was enrolled, in the same way; None: there is none.
    pub enrolled_at: Option<i64>,
    pub department: Option<String>,
    pub supervisor: Option<String>,
    /// Until when capabilities hold that hang on records.
    pub terms: Vec<Term>,
}

impl Person {
    /// Somebody who is not registered, or no longer: without any right or relation.
    pub fn stranger(name: &str) -> Person {
        Person {
            name: name.to_owned(),
            post: String::new(),
            capabilities: Vec::new(),
            suspended: true,
            valid_until: None,
            reinstated_at: None,
            enrolled_at: None,
            department: None,
            supervisor: None,
            terms: Vec::new(),
        }
    }

    /// As far as relations go.
    pub fn kin(&self) -> Kin<'_> {
        let (department, supervisor) = (self.department.as_deref(), self.supervisor.as_deref());
        Kin { name: &self.name, post: &self.post, department, supervisor }
    }
    pub fn usable(&self) -> bool {
        // Safe: reads the clock.
        !self.suspended && self.valid_until.is_none_or(|until| until > unsafe { raw::GetCurrentTimestamp() })
    }
    /// Whether the person's post changes nothing without a second person. Suspension takes rights away, not this.
    pub fn never_alone(&self) -> bool {
        self.capabilities.iter().any(|own| own == "never_alone")
    }
    /// Whether something the person said at a moment still counts.
    pub fn stands_by(&self, said_at: i64) -> bool {
        self.usable() && self.reinstated_at.is_none_or(|reinstated| said_at > reinstated)
    }
    /// From which moment on the person may do nothing.
    fn stops_at(&self) -> Option<i64> {
        if self.suspended { Some(i64::MIN) } else { self.valid_until }
    }
    /// Whether the person's post gives a capability: apply approve witness audit configure break_glass never_alone.
    pub fn may(&self, capability: &str) -> bool {
        self.usable() && self.capabilities.iter().any(|own| own == capability) && self.lapsed(capability).is_none()
    }
    /// The kind of records for want of which the person lacks a capability now.
    pub fn lapsed(&self, capability: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.capability == capability && term.is_over());
        term.map(|term| term.kind.as_str())
    }
}

/// The post of applications.
const SERVICE: &str = "service";
/// The term of a tier without a row, microseconds.
const FEW_MINUTES: i64 = 15 * 60 * 1_000_000;

/// What a tier demands (a row of `steward.tier_policy`).
#[derive(Clone, Debug, PartialEq)]
pub struct TierPolicy {
    pub approvals: i32,
    pub witness: bool,
    /// Seconds; None: no review.
    pub review_within_s: Option<i64>,
    /// What a run changes can be restored.
    pub pre_image: bool,
    /// Microseconds; None: no term.
    pub idle_timeout: Option<i64>,
    /// Who acts must have verified a second factor in the session.
    pub second_factor: bool,
}

/// The rows of `steward.approval_rule`.
#[derive(Default)]
pub struct Signatures {
    pub rows: Vec<Row>,
    /// Rules that demand no approvals of their own: they count as demanding one, so that nothing they match runs without
    /// an operation.
    raised: HashSet<String>,
}

impl Signatures {
    fn over(rules: &mut [Rule], rows: Vec<Row>) -> Signatures {
        let mut raised = HashSet::new();
        for rule in rules.iter_mut().filter(|rule| rule.approvals == 0) {
            if rows.iter().any(|row| row.rule.as_ref() == Some(&rule.name)) {
                rule.approvals = 1;
                raised.insert(rule.name.clone());
            }
        }
        Signatures { rows, raised }
    }

    /// Whether what a rule matches needs signatures of its own.
    pub fn hang_on(&self, rule: &str) -> bool {
        self.rows.iter().any(|row| row.rule.as_deref() == Some(rule))
    }

    /// Whether everything of a tier needs a signature.
    pub fn concern(&self, tier: Tier) -> bool {
        self.rows.iter().any(|row| row.concerns(tier, &[]))
    }

    /// The number of approvals that a rule demands beside its rows.
    pub fn number(&self, rule: &Rule) -> u32 {
        if self.raised.contains(&rule.name) { 0 } else { rule.approvals }
    }
}

/// A relation that a statement can be stopped at.
pub enum Watched {
    /// A protected table or one of its partitions.
    Protected(Rc<Member>),
    /// A relation of schema `steward`.
    Own(OwnKind),
}

/// Records are closed from the first moment, configuration from `activate()` on, and secrets are not even read. On the
/// extension nothing of others hangs: who says that something does locks it, and the sequencer needs it. Only a superuser may
/// say so before `activate()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnKind {
    Record,
    Secret,
    Configuration,
    Extension,
}

/// One table of a protected tree with its own attribute numbers.
pub struct Member {
    pub relation: pg_sys::Oid,
    pub root: Rc<Root>,
    columns: OnceCell<Vec<Column>>,
    rules: OnceCell<RelationRules>,
}

/// A protected table with all its partitions.
pub struct Root {
    pub oid: pg_sys::Oid,
    /// `schema.table`
    pub name: String,
    pub members: Vec<pg_sys::Oid>,
    /// Old and new values of every changed row are kept.
    pub row_images: bool,
}

impl Member {
    fn new(relation: pg_sys::Oid, root: &Rc<Root>) -> Rc<Member> {
        Rc::new(Member { relation, root: root.clone(), columns: OnceCell::new(), rules: OnceCell::new() })
    }
    /// Its columns with the classes that the root gives them, looked up at first use.
    pub fn columns(&self) -> &[Column] {
        self.columns.get_or_init(|| columns::of(self.relation, self.root.oid))
    }
    /// The rules that can match this table, resolved at first use.
    pub fn rules(&self, set: &RuleSet) -> &RelationRules {
        self.rules.get_or_init(|| set.for_relation(&self.root.name, self.columns()))
    }
}

/// Tables by their oid.
type Members = NumberMap<u32, Rc<Member>>;

/// The whole policy. What few statements ask for is read when one asks: every session pays for the rest when it starts.
#[derive(Default)]
pub struct Policy {
    /// Counts the readings of this backend.
    pub edition: u64,
    pub rules: RuleSet,
    pub cluster_rules: RelationRules,
    watched: NumberMap<u32, Watched>,
    /// By tier: what it demands of a post; "" is every post.
    tiers: [Vec<(String, TierPolicy)>; 3],
    /// The function of the row trigger.
    pub row_trigger: pg_sys::Oid,
    /// The shortest idle term of any tier and post, microseconds.
    pub shortest_idle: i64,
    persons: NumberMap<u32, Rc<Person>>,
    /// From when on this session may do nothing: its person's time is over, or that of a right it was given.
    stops_at: Option<i64>,
    /// Who must approve, by relation.
    pub signatures: Signatures,
    /// How many rows roles may read.
    pub export_limits: Vec<export::Limit>,
    /// Functions of ours whose call is itself a command, with the hash by which a plan refers to each.
    alert_rules: OnceCell<Rc<Vec<crate::core::alert::Rule>>>,
    calendar: OnceCell<Rc<crate::core::calendar::Calendar>>,
    commands: OnceCell<Vec<(u32, Command)>>,
    /// Roles known to be no administrators: everything else counts as one.
    plain_roles: OnceCell<HashSet<u32>>,
    /// What the rows of protected tables depend on: catalog and oid of user-defined types, also of those inside others, of
    /// the relations where composite types have their attributes, owned sequences and functions of triggers, defaults,
    /// checks, indexes and policies, each with its table.
    parts: OnceCell<HashMap<(u32, u32), u32>>,
    /// Any role's rows are limited.
    scoped: bool,
    scopes: OnceCell<Scopes>,
    /// Own tables that hold values of protected ones: nobody writes them, and who reads them copies data out.
    images: Members,
    /// The tables of the audit trail: reading them, through whatever view, is on record as reading steward.audit_log.
    trail: Members,
    /// There are mask rules.
    masked: bool,
    masks: OnceCell<Masks>,
}

impl Policy {
    pub fn watched(&self, relation: pg_sys::Oid) -> Option<&Watched> {
        self.watched.get(&relation.to_u32())
    }
    pub fn protected(&self, relation: pg_sys::Oid) -> Option<&Rc<Member>> {
        match self.watched(relation) {
            Some(Watched::Protected(member)) => Some(member),
            _ => None,
        }
    }
    /// The protected table that a type, sequence or function is part of: changing it changes what the table's rows say.
    pub fn member_with_part(&self, catalog: pg_sys::Oid, object: pg_sys::Oid) -> Option<&Rc<Member>> {
        let parts = self.parts.get_or_init(|| answer(self.if_governed(load_parts)));
        parts.get(&(catalog.to_u32(), object.to_u32())).and_then(|table| self.protected(pg_sys::Oid::from(*table)))
    }
    /// A table of images, as a relation that is read.
    pub fn image(&self, relation: pg_sys::Oid) -> Option<&Rc<Member>> {
        self.images.get(&relation.to_u32())
    }
    /// A table of the trail, as the view that it is read through.
    pub fn trail(&self, relation: pg_sys::Oid) -> Option<&Rc<Member>> {
        self.trail.get(&relation.to_u32())
    }
    /// The mask rules, read at first use; None: there are none.
    pub fn masks(&self) -> Option<&Masks> {
        self.masked.then(|| self.masks.get_or_init(|| answer(Masks::load())))
    }
    /// Whether some role does not see all of a relation clear; None: the rules are still to be read. Neither raises nor
    /// allocates.
    pub fn masks_concern(&self, relation: pg_sys::Oid) -> Option<bool> {
        if self.masked { self.masks.get().map(|masks| masks.concern(relation)) } else { Some(false) }
    }
    /// Whether these roles are known to see everything clear. Neither raises nor allocates.
    pub fn masks_nothing_of(&self, roles: [pg_sys::Oid; 2]) -> bool {
        !self.masked || self.masks.get().is_some_and(|masks| roles.iter().all(|role| masks.knows_clear(*role)))
    }
    /// Whether there are mask rules at all.
    pub fn is_masked(&self) -> bool {
        self.masked
    }
    /// Whether the policy speaks of a relation: a change of it may change the policy.
    fn mentions(&self, relation: pg_sys::Oid) -> bool {
        self.watched.contains_key(&relation.to_u32())
            || self.masks.get().is_some_and(|masks| masks.concern(relation))
            || self
                .parts
                .get()
                .is_some_and(|parts| parts.contains_key(&(pg_sys::RelationRelationId.to_u32(), relation.to_u32())))
    }
    pub fn roots(&self) -> impl Iterator<Item = &Rc<Member>> {
        self.watched.iter().filter_map(|(oid, watched)| match watched {
            Watched::Protected(member) if member.root.oid.to_u32() == *oid => Some(member),
            _ => None,
        })
    }
    /// The relations of schema steward.
    pub fn own_relations(&self) -> impl Iterator<Item = (pg_sys::Oid, OwnKind)> {
        self.watched.iter().filter_map(|(oid, watched)| match watched {
            Watched::Own(kind) => Some((pg_sys::Oid::from(*oid), *kind)),
            Watched::Protected(_) => None,
        })
    }
    /// What a tier demands of a post; a row for the post wins over the row for every post. No row: an operation with
    /// one approval, a witness and a second factor, since a missing policy must not open anything.
    pub fn tier_policy(&self, tier: Tier, post: &str) -> TierPolicy {
        let of = |post: &str| self.tiers[tier as usize - 1].iter().find(|(known, _)| known == post);
        let row = of(post).or_else(|| of(""));
        let Some((whose, policy)) = row else {
            return TierPolicy {
                approvals: 1,
                witness: true,
                review_within_s: None,
                idle_timeout: Some(FEW_MINUTES),
                pre_image: true,
                second_factor: true,
            };
        };
        // An application waits for its users.
        let idle_timeout = policy.idle_timeout.filter(|_| post != SERVICE || whose == SERVICE);
        TierPolicy { idle_timeout, ..policy.clone() }
    }
    /// Whether any tier demands a second factor of a post.
    pub fn demands_second_factor(&self, post: &str) -> bool {
        [Tier::Normal, Tier::Important, Tier::Critical].iter().any(|tier| self.tier_policy(*tier, post).second_factor)
    }
    pub fn person(&self, login: pg_sys::Oid) -> Option<Rc<Person>> {
        self.persons.get(&login.to_u32()).cloned()
    }
    /// Whether the person of this session is suspended or past valid_until, or a right of its login has lapsed: then no
    /// statement runs. Asked for each
    /// statement, hence no look-up.
    pub fn stopped(&self) -> bool {
        // Safe: plain getter.
        self.stops_at.is_some_and(|stops_at| stops_at <= unsafe { raw::GetCurrentStatementStartTimestamp() })
    }
    /// The command that a plan's reference to a function is, if the function is one of ours.
    pub fn command_of(&self, function_hash: u32) -> Option<Command> {
        let commands = self.commands.get_or_init(|| answer(self.if_governed(load_commands)));
        commands.iter().find(|(hash, _)| *hash == function_hash).map(|(_, command)| *command)
    }
    /// Whether any role's rows are limited.
    pub fn has_scopes(&self) -> bool {
        self.scoped
    }
    /// Which rows roles see.
    pub fn scopes(&self) -> &Scopes {
        self.scopes.get_or_init(|| answer(self.if_governed(scope::load)))
    }
    /// Everybody who is registered, once each.
    pub fn everybody(&self) -> Vec<Rc<Person>> {
        let mut seen = HashSet::new();
        self.persons.values().filter(|person| seen.insert(person.name.clone())).cloned().collect()
    }
    /// The alert rules that are enabled.
    pub fn alert_rules(&self) -> Rc<Vec<crate::core::alert::Rule>> {
        self.alert_rules.get_or_init(|| Rc::new(answer(self.if_governed(crate::alert::load)))).clone()
    }
    /// Which days are free.
    pub fn calendar(&self) -> Rc<crate::core::calendar::Calendar> {
        self.calendar.get_or_init(|| Rc::new(answer(self.if_governed(crate::alert::load_calendar)))).clone()
    }
    /// True unless the role is known to be no administrator.
    pub fn is_administrator(&self, role: pg_sys::Oid) -> bool {
        !self.plain_roles.get_or_init(|| answer(self.if_governed(load_plain_roles))).contains(&role.to_u32())
    }
    /// What a reading gives in the governed database, and nothing where no policy was read.
    fn if_governed<T: Default>(&self, load: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        if self.edition == 0 { Ok(T::default()) } else { load() }
    }
}

backend_local! {
    static POLICY: RefCell<Option<Rc<Policy>>> = const { RefCell::new(None) };
    static EDITION: Cell<u64> = const { Cell::new(0) };
    static STALE: Cell<bool> = const { Cell::new(true) };
    static HOME: Cell<Option<bool>> = const { Cell::new(None) };
    static ANCHOR: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Registers the invalidation callback in this backend's parent, once.
pub fn init() {
    use pg_sys::SysCacheIdentifier::{AUTHMEMROLEMEM, AUTHOID};
    // Safe: plain registrations.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(on_relcache_change), pg_sys::Datum::from(0));
        for roles in [AUTHOID, AUTHMEMROLEMEM] {
            pg_sys::CacheRegisterSyscacheCallback(
                roles as std::ffi::c_int,
                Some(on_role_change),
                pg_sys::Datum::from(0),
            );
        }
    }
}

/// Who is an administrator, whose rights have lapsed and who sees masks depends on memberships and attributes of roles.
/// Runs inside invalidation processing: only flags.
unsafe extern "C-unwind" fn on_role_change(_argument: pg_sys::Datum, cache: std::ffi::c_int, _hash: u32) {
    STALE.set(true);
    let joined = cache == pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM as std::ffi::c_int;
    let masked = POLICY.with(|policy| policy.try_borrow().is_ok_and(|it| it.as_ref().is_some_and(|it| it.masked)));
    if joined && masked {
        // A plan shows what its role was to see. Safe: only flags plans, as the server does in such callbacks.
        unsafe { raw::ResetPlanCache() }
    }
}

/// Runs inside invalidation processing: only flags, no catalog access, no allocation.
unsafe extern "C-unwind" fn on_relcache_change(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    crate::audit::journal::forget(relation);
    let concerns_us = relation == pg_sys::InvalidOid
        || ANCHOR.get().is_none_or(|anchor| anchor == relation)
        || POLICY.with(|policy| match policy.try_borrow() {
            Ok(policy) => policy.as_ref().is_none_or(|policy| policy.mentions(relation)),
            Err(_) => true,
        });
    if concerns_us {
        STALE.set(true);
        // Rules name functions, and whether a function is watched is remembered.
        crate::watch::function::forget();
        crate::login::policy::policy_changed();
    }
}

/// True in the governed database.
pub fn at_home() -> bool {
    if let Some(known) = HOME.get() {
        return known;
    }
    // Safe: a transaction is open wherever a decision is made; the name is copied before it is freed with its context.
    let name = unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
    };
    let home = name == crate::settings::database();
    HOME.set(Some(home));
    home
}

/// The relation whose invalidation means "the policy changed": `steward.rule`. None where the extension is missing.
pub fn policy_relation() -> Option<pg_sys::Oid> {
    // Safe: syscache look-ups inside a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"steward".as_ptr(), true);
        let relation = if schema == pg_sys::InvalidOid {
            pg_sys::InvalidOid
        } else {
            pg_sys::get_relname_relid(c"rule".as_ptr(), schema)
        };
        (relation != pg_sys::InvalidOid).then_some(relation)
    }
}

/// The policy as it stands now. Empty outside the home database and before `CREATE EXTENSION`.
pub fn policy() -> Rc<Policy> {
    // Safe: receives pending invalidations; inside a transaction.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    policy_as_heard()
}

/// The same for who has just heard of all changes.
pub fn policy_as_heard() -> Rc<Policy> {
    if !STALE.get()
        && let Some(policy) = POLICY.with(|policy| policy.borrow().clone())
    {
        return policy;
    }
    // Cleared before reading: a change that arrives while we read makes it stale again, and so does an error.
    STALE.set(false);
    let _reading = Reading;
    ANCHOR.set(if at_home() { policy_relation() } else { None });
    let fresh = Rc::new(match ANCHOR.get() {
        Some(_) => answer(load()),
        None => Policy::default(),
    });
    POLICY.with(|policy| *policy.borrow_mut() = Some(fresh.clone()));
    // Safe: plain getters. What a parallel query's snapshot shows may be old by now. A worker has nothing else for all its
    // short life.
    if unsafe { pg_sys::IsInParallelMode() && pg_sys::ParallelWorkerNumber < 0 } {
        STALE.set(true);
    }
    fresh
}

/// Asks the policy if it is read and nothing that this backend has heard of changed it. For plain frames: neither raises
/// nor allocates.
pub fn if_fresh<T>(ask: impl FnOnce(&Policy) -> T) -> Option<T> {
    if STALE.get() {
        return None;
    }
    POLICY.with(|policy| policy.try_borrow().ok()?.as_deref().map(ask))
}

/// A reading that an error ends has read nothing: the former policy must not go on as if it were fresh.
struct Reading;

impl Drop for Reading {
    fn drop(&mut self) {
        if std::thread::panicking() {
            STALE.set(true);
        }
    }
}

fn load() -> Result<Policy, Fault> {
    let mut listed = load_rules()?;
    let signatures = Signatures::over(&mut listed, crate::policy::approval::load()?);
    let rules = RuleSet::new(listed);
    let edition = EDITION.get() + 1;
    EDITION.set(edition);
    let singles = own::latest_rows(SINGLES).concat();
    let persons = load_persons(text(&singles, 5)? == "true")?;
    let tiers = load_tiers()?;
    let stops_at = persons.get(&crate::session::login().to_u32()).and_then(|person| person.stops_at());
    let terms = tiers.iter().flatten().filter_map(|(_, policy)| policy.idle_timeout);
    let (watched, images, trail) = load_watched()?;
    Ok(Policy {
        edition,
        stops_at: [stops_at, term::lapses_at(singles[1].as_deref())].into_iter().flatten().min(),
        cluster_rules: rules.for_cluster(),
        rules,
        signatures,
        watched,
        images,
        trail,
        export_limits: export::read(singles[3].as_deref()).ok_or_else(|| odd("export_limit"))?,
        shortest_idle: terms.min().unwrap_or(i64::MAX).min(FEW_MINUTES),
        tiers,
        row_trigger: pg_sys::Oid::from(number(&singles, 0)?),
        masked: text(&singles, 2)? == "true",
        scoped: text(&singles, 4)? == "true",
        persons,
        ..Policy::default()
    })
}

const RULES: &CStr =
    c"SELECT name, tier::text, array_to_json(commands)::text, relation_pattern, array_to_json(classes)::text,
    array_to_json(columns)::text, min_rows::text, array_to_json(roles::oid[]::int8[])::text,
    array_to_json(except_roles::oid[]::int8[])::text, except_relations, approvals::text FROM steward.rule";

fn load_rules() -> Result<Vec<Rule>, Fault> {
    own::latest_rows(RULES)
        .iter()
        .map(|row| {
            Ok(Rule {
                name: text(row, 0)?.to_owned(),
                tier: Tier::from_name(text(row, 1)?).ok_or_else(|| odd("tier"))?,
                commands: strings(row, 2)?.map(|names| crate::core::rule::CommandSet::new(&names)),
                relations: pattern(row, 3)?,
                classes: strings(row, 4)?,
                columns: strings(row, 5)?,
                min_rows: row[6].as_ref().map(|_| number(row, 6)).transpose()?.map(u64::from),
                roles: oids(row, 7)?,
                except_roles: oids(row, 8)?.unwrap_or_default(),
                except_relations: pattern(row, 9)?,
                approvals: number(row, 10)?,
            })
        })
        .collect()
}

/// One row: the function of the row trigger, the terms of rights that were granted for a time, whether there are masks, the
/// limits of export, whether there are scopes, and whether capabilities hang on records.
const SINGLES: &CStr = c"SELECT 'steward._keep_row_image()'::regprocedure::oid::text,
    (SELECT json_agg(json_build_array(grantee::oid::int8, (extract(epoch FROM until - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8))::text
        FROM steward.role_term WHERE ended_at IS NULL),
    (SELECT EXISTS (SELECT FROM steward.mask_rule))::text,
    (SELECT json_agg(json_build_array(role::oid::int8, rows_per_statement, rows_per_hour, allow_copy))::text FROM steward.export_limit),
    EXISTS (SELECT FROM steward.scope)::text, EXISTS (SELECT FROM steward.record_kind WHERE enforced)::text";

const PROTECTED: &CStr = c"SELECT c.oid::text, n.nspname || '.' || c.relname, p.row_images::text
    FROM steward.protected p JOIN pg_class c ON c.oid = p.relation JOIN pg_namespace n ON n.oid = c.relnamespace";

const OWN: &CStr = c"SELECT c.oid::text, c.relname, c.reltoastrelid::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'steward' AND c.relkind IN ('r','p','v','m','S','f')";

/// What is watched, and the images and the tables of the trail among it.
type Relations = (NumberMap<u32, Watched>, Members, Members);

fn load_watched() -> Result<Relations, Fault> {
    let (mut watched, mut images, mut trail) = (NumberMap::default(), NumberMap::default(), NumberMap::default());
    for row in own::latest_rows(PROTECTED) {
        let oid = pg_sys::Oid::from(number(&row, 0)?);
        let members = columns::tree(oid);
        let root = Root { oid, name: text(&row, 1)?.to_owned(), members, row_images: text(&row, 2)? == "true" };
        let root = Rc::new(root);
        for member in &root.members {
            watched.insert(member.to_u32(), Watched::Protected(Member::new(*member, &root)));
            // Long values lie in a table of their own, which a superuser reads like any other.
            if let Some(toast) = columns::toast_of(*member) {
                watched.insert(toast.to_u32(), Watched::Protected(Member::new(toast, &root)));
            }
        }
    }
    for row in own::latest_rows(OWN) {
        let name = text(&row, 1)?;
        let kind = match name {
            "definition" | "segment" | "journal_0" | "journal_1" | "journal_2" | "journal_taken" | "spool_offset"
            | "installation" | "audit_log" | "audit_logs" | "audit_archive" | "row_image" | "table_image"
            | "pre_image" => OwnKind::Record,
            _ if name.starts_with("chain") || name.starts_with("image_") => OwnKind::Record,
            _ if name.starts_with("_second_factor") => OwnKind::Secret,
            _ => OwnKind::Configuration,
        };
        watched.insert(number(&row, 0)?, Watched::Own(kind));
        // Long values lie in a table of their own here too.
        let places = [number(&row, 0)?, number(&row, 2)?].into_iter().filter(|place| *place != 0);
        let is_trail = ["chain", "journal_"].iter().any(|start| name.starts_with(start));
        if kind == OwnKind::Secret {
            places.clone().for_each(|place| drop(watched.insert(place, Watched::Own(OwnKind::Secret))));
        }
        for place in places.filter(|_| is_trail || is_image(name)) {
            watched.insert(place, Watched::Own(OwnKind::Record));
            let (kept, name) = if is_trail { (&mut trail, "audit_log") } else { (&mut images, name) };
            kept.insert(place, image(pg_sys::Oid::from(place), name));
        }
    }
    Ok((watched, images, trail))
}

/// Tables of schema steward that hold values of protected tables, or say what these were like.
fn is_image(name: &str) -> bool {
    let copy = |number: &str| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    matches!(name, "row_image" | "table_image") || name.strip_prefix("image_").is_some_and(copy)
}

/// A table of images, or of the trail, as a tree of its own.
fn image(relation: pg_sys::Oid, name: &str) -> Rc<Member> {
    let name = format!("steward.{name}");
    let root = Rc::new(Root { oid: relation, name, members: vec![relation], row_images: false });
    Member::new(relation, &root)
}

const PARTS: &CStr = c"WITH RECURSIVE member(relation) AS (
        SELECT relation::oid FROM steward.protected
        UNION SELECT i.inhrelid FROM member m JOIN pg_inherits i ON i.inhparent = m.relation),
    type_of(type, relation) AS (
        SELECT a.atttypid, m.relation FROM member m JOIN pg_attribute a ON a.attrelid = m.relation
            WHERE a.attnum > 0 AND a.atttypid >= 16384
        UNION ALL SELECT c.reloftype, m.relation FROM member m JOIN pg_class c ON c.oid = m.relation WHERE c.reloftype >= 16384
        UNION SELECT u.type, o.relation FROM type_of o JOIN pg_type t ON t.oid = o.type
            CROSS JOIN LATERAL (SELECT unnest(ARRAY[t.typbasetype, t.typelem])
                UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
                UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0) AS u(type)
            WHERE u.type >= 16384),
    hanging AS (SELECT h.classid, h.objid, m.relation FROM member m JOIN pg_depend h ON h.refobjid = m.relation
        AND h.refclassid = 'pg_class'::regclass AND h.deptype IN ('a', 'i'))
    SELECT 'pg_type'::regclass::oid::text, type::text, relation::text FROM type_of
    UNION SELECT 'pg_class'::regclass::oid::text, t.typrelid::text, o.relation::text FROM type_of o
        JOIN pg_type t ON t.oid = o.type WHERE t.typrelid <> 0
    UNION SELECT 'pg_class'::regclass::oid::text, h.objid::text, h.relation::text FROM hanging h
        JOIN pg_class s ON s.oid = h.objid AND s.relkind = 'S' WHERE h.classid = 'pg_class'::regclass
    UNION SELECT 'pg_proc'::regclass::oid::text, f.refobjid::text, h.relation::text FROM hanging h
        JOIN pg_depend f ON f.classid = h.classid AND f.objid = h.objid AND f.refclassid = 'pg_proc'::regclass";

fn load_parts() -> Result<HashMap<(u32, u32), u32>, Fault> {
    own::latest_rows(PARTS).iter().map(|row| Ok(((number(row, 0)?, number(row, 1)?), number(row, 2)?))).collect()
}

const TIERS: &CStr = c"SELECT tier::text, post, approvals::text, witness::text,
    trunc(extract(epoch FROM review_within))::int8::text, pre_image::text,
    (extract(epoch FROM idle_timeout) * 1000000)::int8::text, second_factor::text FROM steward.tier_policy";

fn load_tiers() -> Result<[Vec<(String, TierPolicy)>; 3], Fault> {
    let mut tiers = <[Vec<(String, TierPolicy)>; 3]>::default();
    for row in own::latest_rows(TIERS) {
        let tier = Tier::from_name(text(&row, 0)?).ok_or_else(|| odd("tier"))?;
        let policy = TierPolicy {
            approvals: text(&row, 2)?.parse().map_err(|_| odd("approvals"))?,
            witness: text(&row, 3)? == "true",
            review_within_s: row[4]
                .as_ref()
                .map(|seconds| seconds.parse().map_err(|_| odd("review_within")))
                .transpose()?,
            pre_image: text(&row, 5)? == "true",
            idle_timeout: row[6].as_ref().map(|term| term.parse().map_err(|_| odd("idle_timeout"))).transpose()?,
            second_factor: text(&row, 7)? == "true",
        };
        tiers[tier as usize - 1].push((text(&row, 1)?.to_owned(), policy));
    }
    Ok(tiers)
}

const PERSONS: &CStr = c"SELECT l.role::oid::text, p.name, p.post, array_to_json(o.capabilities)::text,
    (p.suspended_at IS NOT NULL)::text,
    (extract(epoch FROM p.valid_until - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8::text,
    (extract(epoch FROM p.reinstated_at - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8::text,
    (extract(epoch FROM f.enrolled_at - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8::text,
    p.department, p.supervisor
    FROM steward.person_login l JOIN steward.person p ON p.name = l.person JOIN steward.post o ON o.name = p.post
    LEFT JOIN steward._second_factor f ON f.person = p.name";

fn load_persons(with_terms: bool) -> Result<NumberMap<u32, Rc<Person>>, Fault> {
    let mut persons = NumberMap::default();
    let terms = if with_terms { capability::load()? } else { HashMap::new() };
    for row in own::latest_rows(PERSONS) {
        let person = Person {
            name: text(&row, 1)?.to_owned(),
            post: text(&row, 2)?.to_owned(),
            capabilities: strings(&row, 3)?.unwrap_or_default(),
            suspended: text(&row, 4)? == "true",
            valid_until: row[5].as_ref().map(|time| time.parse().map_err(|_| odd("valid_until"))).transpose()?,
            reinstated_at: row[6].as_ref().map(|time| time.parse().map_err(|_| odd("reinstated_at"))).transpose()?,
            enrolled_at: row[7].as_ref().map(|time| time.parse().map_err(|_| odd("enrolled_at"))).transpose()?,
            department: row[8].clone(),
            supervisor: row[9].clone(),
            terms: terms.get(text(&row, 1)?).cloned().unwrap_or_default(),
        };
        persons.insert(number(&row, 0)?, Rc::new(person));
    }
    Ok(persons)
}

/// Calls that give capabilities are privileges, as GRANT is: the same rules hold for both. So are those after which less is
/// demanded than before: they give everybody what nobody had.
const PRIVILEGES: &[(&str, Command)] = {
    const fn privilege(tag: &'static str) -> Command {
        Command { tag, group: Group::Privilege }
    }
    &[
        ("register_person", privilege("REGISTER PERSON")),
        ("set_post", privilege("SET POST")),
        ("set_form", privilege("SET FORM")),
        ("deactivate", privilege("DEACTIVATE")),
        ("unprotect", privilege("UNPROTECT")),
        ("set_tier_policy", privilege("SET TIER POLICY")),
        ("drop_rule", privilege("REMOVE RULE")),
        ("set_approval", privilege("SET APPROVAL")),
        ("drop_approval", privilege("REMOVE APPROVAL")),
        ("set_window", privilege("SET WINDOW")),
        ("drop_window", privilege("REMOVE WINDOW")),
        ("set_checklist", privilege("SET CHECKLIST")),
        ("set_review_block", privilege("SET REVIEW BLOCK")),
        ("set_break_glass_limit", privilege("SET BREAK GLASS LIMIT")),
        ("drop_mask", privilege("REMOVE MASK")),
        ("exempt_mask", privilege("EXEMPT FROM MASK")),
        ("set_permission", privilege("SET PERMISSION")),
        ("drop_permission", privilege("REMOVE PERMISSION")),
        ("apply", privilege("APPLY PERMISSIONS")),
        ("erase_images", privilege("ERASE IMAGES")),
        ("set_export_limit", privilege("SET EXPORT LIMIT")),
        ("drop_export_limit", privilege("REMOVE EXPORT LIMIT")),
        ("set_scope", privilege("SET SCOPE")),
        ("drop_scope", privilege("REMOVE SCOPE")),
        ("set_attribute", privilege("SET ATTRIBUTE")),
        ("grant_temporarily", privilege("GRANT TEMPORARILY")),
        ("set_temporary_grant_limit", privilege("SET TEMPORARY GRANT LIMIT")),
        ("set_check", privilege("SET CHECK")),
        ("drop_check", privilege("REMOVE CHECK")),
        ("accept_configuration", privilege("ACCEPT CONFIGURATION")),
        ("accept_way_around", privilege("ACCEPT WAY AROUND")),
        ("set_alert_rule", privilege("SET ALERT RULE")),
        ("drop_alert_rule", privilege("REMOVE ALERT RULE")),
        ("set_record_kind", privilege("SET RECORD KIND")),
        ("drop_alert_query", privilege("REMOVE ALERT QUERY")),
        ("set_alert_condition", privilege("SET ALERT CONDITION")),
        ("set_holiday", privilege("SET HOLIDAY")),
        ("drop_holiday", privilege("REMOVE HOLIDAY")),
        ("set_job", privilege("SET JOB")),
        ("set_job_login", privilege("SET JOB LOGIN")),
        ("schedule_jobs", privilege("SCHEDULE JOBS")),
        ("unschedule_jobs", privilege("UNSCHEDULE JOBS")),
    ]
};

/// The command that a call of this function of ours is.
pub fn command_named(function: &str) -> Option<Command> {
    PRIVILEGES.iter().find(|(name, _)| *name == function).map(|(_, command)| *command)
}

const COMMANDS: &CStr = c"SELECT proname, oid::text FROM pg_proc WHERE pronamespace = 'steward'::regnamespace";

fn load_commands() -> Result<Vec<(u32, Command)>, Fault> {
    own::latest_rows(COMMANDS)
        .iter()
        .filter_map(|row| Some((row, command_named(row[0].as_deref()?)?)))
        .map(|(row, command)| {
            let oid = pg_sys::Datum::from(pg_sys::Oid::from(number(row, 1)?));
            let none = pg_sys::Datum::from(0);
            // Safe: computes the hash of a key of the function cache.
            let hash = unsafe {
                let cache = pg_sys::SysCacheIdentifier::PROCOID as std::ffi::c_int;
                pg_sys::GetSysCacheHashValue(cache, oid, none, none, none)
            };
            Ok((hash, command))
        })
        .collect()
}

/// A role is plain only if it has no powerful attribute, is a member of plain roles alone, and everybody known to stand
/// behind it (at least one person) has a post that is no administrator's.
const PLAIN_ROLES: &CStr = c"WITH RECURSIVE up(role, ancestor) AS (
        SELECT oid, oid FROM pg_roles UNION SELECT u.role, m.roleid FROM up u JOIN pg_auth_members m ON m.member = u.ancestor),
    behind AS (SELECT u.ancestor AS role, bool_or(o.administrator) AS administrator FROM up u
        JOIN steward.person_login l ON l.role::oid = u.role JOIN steward.person p ON p.name = l.person
        JOIN steward.post o ON o.name = p.post GROUP BY u.ancestor),
    powerful AS (SELECT u.role FROM up u JOIN pg_roles r ON r.oid = u.ancestor LEFT JOIN behind b ON b.role = r.oid
        WHERE r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls OR r.rolname LIKE 'pg\\_%'
            OR b.role IS NULL OR b.administrator)
    SELECT r.oid::text FROM pg_roles r WHERE NOT EXISTS (SELECT FROM powerful p WHERE p.role = r.oid)";

fn load_plain_roles() -> Result<HashSet<u32>, Fault> {
    own::latest_rows(PLAIN_ROLES).iter().map(|row| number(row, 0)).collect()
}

fn odd(what: &str) -> Fault {
    Fault::internal(format!("a policy row does not read back: {what}"))
}

fn text(row: &[Option<String>], column: usize) -> Result<&str, Fault> {
    row.get(column).and_then(|value| value.as_deref()).ok_or_else(|| odd("missing value"))
}

fn number(row: &[Option<String>], column: usize) -> Result<u32, Fault> {
    text(row, column)?.parse().map_err(|_| odd("number"))
}

fn pattern(row: &[Option<String>], column: usize) -> Result<Option<Regex>, Fault> {
    row[column].as_ref().map(|pattern| Regex::new(pattern).map_err(|_| odd("pattern"))).transpose()
}

fn strings(row: &[Option<String>], column: usize) -> Result<Option<Vec<String>>, Fault> {
    row[column].as_ref().map(|json| serde_json::from_str(json).map_err(|_| odd("list"))).transpose()
}

fn oids(row: &[Option<String>], column: usize) -> Result<Option<Vec<u32>>, Fault> {
    row[column].as_ref().map(|json| serde_json::from_str(json).map_err(|_| odd("roles"))).transpose()
}
