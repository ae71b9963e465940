//! Judges deeds and carries the decision out: allow, tolerate (record only), or record the denial durably and refuse.

use super::facts::Deed;
use super::named_rule;
use super::statement::Source;
use crate::audit::home;
use crate::audit::lane::{self, Durability};
use crate::audit::note::note;
use crate::audit::standby;
use crate::backend::{NumberHasher, NumberMap, backend_local};
use crate::break_glass::window;
use crate::cache::{OwnKind, Policy, Root};
use crate::core::emergency;
use crate::core::gate::{Decision, Demand, Lack, Situation, decide};
use crate::core::record::{Kind, Outcome, Part, Record};
use crate::core::rule::{self, RowLimit};
use crate::core::tier::Tier;
use crate::error::{Fault, answer};
use crate::login::idle;
use crate::person::term;
use crate::settings::Mode;
use crate::{factor, operation::cover, own, session, shared};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

/// Statements whose record is remembered.
const REMEMBERED: usize = 256;
/// A longer text, in bytes, is not remembered.
const LONGEST: usize = 8 << 10;

/// The judgement of a whole statement: its riskiest deed, and from how many rows on it gets riskier.
pub struct Judgement<'p> {
    pub tier: Tier,
    pub rule: &'p str,
    /// The most approvals that rules for any of its deeds demand.
    pub approvals: u32,
    /// Any of its deeds is more than a look or upkeep.
    pub changes: bool,
    /// An emergency window reaches all of its deeds.
    pub reached: bool,
    /// It gives rights to roles.
    pub gives: bool,
    pub limits: Vec<RelationLimit>,
    /// Which deed decided.
    worst: usize,
}

/// A row threshold of one protected tree.
#[derive(Clone)]
pub struct RelationLimit {
    pub root: Rc<Root>,
    /// The verb on this relation.
    pub tag: &'static str,
    pub rows: u64,
    pub tier: Tier,
    pub rule: String,
    pub approvals: u32,
}

/// What the gate is asked about: a deed's tier, the approvals that its rules demand, whether it changes anything.
#[derive(Clone, Copy)]
pub struct Question {
    pub tier: Tier,
    pub approvals: u32,
    pub changes: bool,
    /// An emergency window reaches it.
    pub reached: bool,
    /// It gives rights to roles.
    pub gives: bool,
}

impl Judgement<'_> {
    /// Adds a limit; of one table and rule there is one, however many deeds it is about.
    fn limit(&mut self, limit: RelationLimit) {
        let same = |known: &&mut RelationLimit| known.root.oid == limit.root.oid && known.rule == limit.rule;
        match self.limits.iter_mut().find(same) {
            Some(known) => known.approvals = known.approvals.max(limit.approvals),
            None => self.limits.push(limit),
        }
    }

    pub fn question(&self) -> Question {
        let Judgement { tier, approvals, changes, reached, gives, .. } = *self;
        Question { tier, approvals, changes, reached, gives }
    }
}

impl RelationLimit {
    /// Rows are only counted where they are written.
    pub fn question(&self) -> Question {
        Question { tier: self.tier, approvals: self.approvals, changes: true, reached: true, gives: false }
    }
}

/// Judges deeds, of which there is at least one.
pub fn judge<'p>(policy: &'p Policy, deeds: &[Deed]) -> Judgement<'p> {
    let mut judgement = Judgement {
        tier: Tier::Normal,
        rule: "unmatched",
        approvals: 0,
        changes: false,
        reached: true,
        gives: false,
        limits: Vec::new(),
        worst: 0,
    };
    let mut first = true;
    for (index, deed) in deeds.iter().enumerate() {
        let question = rule::Deed {
            command: deed.command,
            columns: &deed.columns,
            has_role: &session::has_role,
            is_role: &session::is_role,
        };
        let rules = deed.relation.as_ref().map_or(&policy.cluster_rules, |member| member.rules(&policy.rules));
        let verdict = policy.rules.judge(rules, &question);
        judgement.approvals = judgement.approvals.max(verdict.approvals);
        judgement.changes |= deed.command.group.changes();
        judgement.reached &= emergency::reaches(deed.command);
        if let Some(member) = &deed.relation {
            let name = |limit: RowLimit| RelationLimit {
                root: member.root.clone(),
                tag: deed.command.tag,
                rows: limit.rows,
                tier: limit.tier,
                rule: policy.rules.name(Some(limit.rule)).to_owned(),
                approvals: limit.approvals.max(verdict.approvals),
            };
            for limit in
                policy.rules.row_limits(rules, &question, verdict.tier, verdict.approvals).into_iter().map(name)
            {
                judgement.limit(limit);
            }
        }
        if first || verdict.tier > judgement.tier {
            first = false;
            judgement.tier = verdict.tier;
            judgement.rule = policy.rules.name(verdict.rule);
            judgement.worst = index;
        }
    }
    judgement
}

/// Judges deeds that are about to be done: in an emergency window, all that it reaches is critical.
pub fn judge_now<'p>(policy: &'p Policy, deeds: &[Deed]) -> Judgement<'p> {
    let mut judgement = judge(policy, deeds);
    if window::was_opened() {
        // Signatures that hang on a rule are demanded beyond the tier.
        judgement.reached &=
            !named_rule::matching(policy, deeds).iter().any(|rule| policy.signatures.hang_on(&rule.name));
    }
    if judgement.tier < Tier::Critical && window::was_opened() && in_window(policy, judgement.question()) {
        judgement.tier = Tier::Critical;
        judgement.rule = "break_glass";
    }
    judgement
}

/// Whether an emergency window of this session covers a deed: it lifts what the tier demands, and nothing that a rule
/// demands beyond that.
fn in_window(policy: &Policy, question: Question) -> bool {
    if window::covering().is_none() {
        return false;
    }
    let post = policy.person(session::login()).map(|person| person.post.clone()).unwrap_or_default();
    let lifted = policy.tier_policy(Tier::Critical, &post).approvals.max(0) as u32;
    question.reached && question.approvals <= lifted
}

/// What the gate says in this session, now.
pub fn ask_gate(policy: &Policy, question: Question) -> Decision {
    let demand = demand(policy, question);
    let situation = Situation {
        active: shared::active(),
        enforcing: shared::mode() == Mode::Enforce,
        cover: cover::current().map(|cover| cover.over(question.gives)),
        idle: idle::longest(),
        stepped_up: demand.second_factor
            && session::person().is_some_and(|person| factor::step_up::holds(question.tier, &person)),
        window: window::was_opened() && in_window(policy, question),
    };
    decide(question.tier, demand, situation)
}

/// What the policy demands of the person of this session.
fn demand(policy: &Policy, question: Question) -> Demand {
    let person = policy.person(session::login());
    let post = person.as_ref().map_or("", |person| person.post.as_str());
    let tier = policy.tier_policy(question.tier, post);
    Demand {
        approvals: question.approvals.max(tier.approvals.max(0) as u32),
        witness: tier.witness,
        second_factor: tier.second_factor,
        // Nobody answers for a login without a person: what would be reviewed afterwards could not be.
        operation: person.is_none() && question.tier > Tier::Normal || policy.signatures.concern(question.tier),
        accompanied: question.changes && person.is_some_and(|person| person.never_alone()),
        idle_timeout: tier.idle_timeout,
    }
}

/// A person who is suspended or past valid_until runs nothing any more, in a session that is open as little as in a new
/// one. The denial is on record before it is raised.
pub fn refuse_stopped(policy: &Policy, tag: &str, source: &Source<'_>) {
    if !policy.stopped() || !shared::active() || shared::mode() != Mode::Enforce {
        return;
    }
    let person = session::person();
    if person.as_ref().is_none_or(|person| person.usable()) {
        return refuse_lapsed(tag, source);
    }
    let name = person.map(|person| person.name.clone()).unwrap_or_default();
    let record = record(tag, Vec::new(), Tier::Normal, "suspended", source);
    deny(
        record,
        Fault::refused(format!("statement refused: {name} is suspended or past valid_until"))
            .detail("Such a person may do nothing, in no session; ROLLBACK works.")
            .hint("Others reinstate a person in an approved operation: SELECT steward.register_person(name, post);"),
    )
}

/// Rights that were given for a time do not serve longer. Who has them runs nothing but what takes them back: which
/// statement would use them, nobody can tell before it has run.
fn refuse_lapsed(tag: &str, source: &Source<'_>) {
    if source.is_exactly(term::REVOKE) {
        return;
    }
    deny(
        record(tag, Vec::new(), Tier::Normal, "lapsed", source),
        Fault::refused("statement refused: a right of this login was granted for a time that is over")
            .detail("Until it is taken back, a session that has it may run nothing else; ROLLBACK works.")
            .hint(format!("{};", term::REVOKE)),
    )
}

/// The names of the protected relations among the deeds, each once.
pub fn relations(deeds: &[Deed]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for member in deeds.iter().filter_map(|deed| deed.relation.as_ref()) {
        if !names.contains(&member.root.name) {
            names.push(member.root.name.clone());
        }
    }
    names
}

/// A record of a statement as it begins.
pub fn record(tag: &str, relations: Vec<String>, tier: Tier, rule: &str, source: &Source<'_>) -> Record {
    stated(tag, relations, tier, rule, source.redacted())
}

fn stated(tag: &str, relations: Vec<String>, tier: Tier, rule: &str, statement: Option<String>) -> Record {
    let mut record = Record::new(Kind::Statement, tag);
    record.relations = relations;
    record.tier = Some(tier);
    record.rule = Some(rule.to_owned());
    record.statement = statement;
    record
}

/// What a side of records was made from, its relations apart. Within one edition of the policy a name has one place.
#[derive(Clone, Copy, PartialEq)]
struct Origin<'t> {
    text: &'t [u8],
    /// How constants were read; None: the text has none any more.
    conforming: Option<bool>,
    edition: u64,
    tier: Tier,
    rule: *const u8,
    tag: *const u8,
}

struct Made {
    text: Box<[u8]>,
    origin: Origin<'static>,
    roots: Box<[Oid]>,
    what: Rc<Part>,
}

backend_local! {
    /// By a number made of the text. What is found is compared, so nobody can make a statement pass for another.
    static WHAT: RefCell<NumberMap<u64, Made>> = const { RefCell::new(NumberMap::with_hasher(BuildHasherDefault::new())) };
}

impl Origin<'_> {
    fn place(&self) -> u64 {
        let mut hasher = NumberHasher::default();
        let (words, rest) = self.text.as_chunks::<8>();
        words.iter().for_each(|word| hasher.write_u64(u64::from_le_bytes(*word)));
        hasher.write(rest);
        hasher.write_u64(self.tag as u64);
        hasher.finish()
    }

    fn find(&self, roots: impl Iterator<Item = Oid>) -> Option<Rc<Part>> {
        WHAT.with_borrow(|known| {
            let made = known.get(&self.place())?;
            let same = Origin { text: &made.text, ..made.origin } == *self && made.roots.iter().copied().eq(roots);
            same.then(|| made.what.clone())
        })
    }

    fn keep(&self, roots: impl Iterator<Item = Oid>, what: &Rc<Part>) {
        if self.text.len() > LONGEST {
            return;
        }
        let origin = Origin { text: &[], ..*self };
        let made = Made { text: self.text.into(), origin, roots: roots.collect(), what: what.clone() };
        WHAT.with_borrow_mut(|known| {
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(self.place(), made);
        });
    }
}

/// What a judged statement does, as a side of its record: text, relations and verdict. Statements that differ in their
/// constants alone share one.
pub fn what(
    policy: &Policy,
    tag: &'static str,
    deeds: &[Deed],
    judgement: &Judgement<'_>,
    source: &Source<'_>,
) -> Rc<Part> {
    let roots = || deeds.iter().filter_map(|deed| deed.relation.as_ref()).map(|member| member.root.oid);
    let typed = Origin {
        text: source.bytes(),
        conforming: Some(source.is_conforming()),
        edition: policy.edition,
        tier: judgement.tier,
        rule: judgement.rule.as_ptr(),
        tag: tag.as_ptr(),
    };
    if let Some(what) = typed.find(roots()) {
        return what;
    }
    let statement = source.redacted();
    let text = statement.clone().unwrap_or_default();
    let redacted = Origin { text: text.as_bytes(), conforming: None, ..typed };
    let what = redacted.find(roots()).unwrap_or_else(|| {
        let record = stated(tag, relations(deeds), judgement.tier, judgement.rule, statement);
        let what = Rc::new(Part::what(&record));
        redacted.keep(roots(), &what);
        what
    });
    typed.keep(roots(), &what);
    what
}

/// Carries out what the gate says to a judged statement. Does not return when it refuses.
pub fn enforce(policy: &Policy, deeds: &[Deed], judgement: &Judgement<'_>, tag: &str, source: &Source<'_>) {
    let why = || {
        let worst = &deeds[judgement.worst];
        let target = worst.relation.as_ref().map(|member| format!(" on {}", member.root.name)).unwrap_or_default();
        let what = format!("{}{target}", worst.command.tag);
        match judgement.rule {
            "unmatched" => format!("{what}; no rule knows it, and the unknown is critical."),
            "break_glass" => format!("{what}; in an emergency window everything is critical."),
            rule => format!("{what}; rule \"{rule}\" makes it {}.", judgement.tier.name()),
        }
    };
    let record = || record(tag, relations(deeds), judgement.tier, judgement.rule, source);
    carry_out(policy, judgement.question(), why, source, record);
    named_rule::refuse_closed(policy, deeds, source, record);
    if window::was_opened() && in_window(policy, judgement.question()) {
        window::announce(source, record);
    }
    idle::active();
    if deeds.iter().any(|deed| deed.relation.is_some()) {
        standby::admit_read();
    }
    if judgement.tier > Tier::Normal && shared::active() && shared::mode() == Mode::Enforce {
        require_room(judgement.tier);
    }
}

/// What is more than normal is not begun where its failure could not be recorded.
fn require_room(tier: Tier) {
    if let Err(error) = lane::check_room() {
        Fault::no_space(format!("{} statement refused: its record may find no room", tier.name()))
            .detail(format!("The spool of pg_steward answered: {error}."))
            .hint("Free space on the data directory's file system, then repeat the statement.")
            .raise();
    }
}

/// Asks the gate and refuses (after recording the denial) or warns, as it says.
pub fn carry_out(
    policy: &Policy,
    question: Question,
    why: impl FnOnce() -> String,
    source: &Source<'_>,
    record: impl FnOnce() -> Record,
) {
    let tier = question.tier.name();
    let decision = ask_gate(policy, question);
    if !matches!(decision, Decision::Allow | Decision::Tolerate)
        && let Some(fault) = home::no_policy()
    {
        deny(record(), fault);
    }
    let (reason, more) = match decision {
        Decision::Allow => return,
        Decision::Tolerate if shared::mode() == Mode::Warn => {
            Fault::refused(format!("{tier} statement would be refused: no approved operation covers it"))
                .detail(why())
                .warn();
            return;
        }
        Decision::Tolerate => return,
        Decision::RefuseFactor => {
            let fault = Fault::wrong_state(format!("{tier} statement refused: the second factor is missing"));
            deny(record(), fault.detail(format!("{} {}", why(), factor::MISSING)).hint(factor::next_command()))
        }
        Decision::RefuseUncovered => ("no approved operation covers it".to_owned(), String::new()),
        Decision::RefuseIdle { idle, term } => refuse_idle(question.tier, idle, term, why(), record()),
        Decision::RefuseAlone => ("it takes a second person".to_owned(), never_alone()),
        Decision::RefuseBeyondCover(cover, Lack::Tier) => {
            (format!("the operation is approved as {}", cover.tier.name()), rights_only())
        }
        Decision::RefuseBeyondCover(cover, Lack::Approvals) => {
            let needed = demand(policy, question).approvals;
            let ask = " Filing it with approvals => and that number asks for as many.";
            (format!("the operation has {} of {needed} approvals", cover.approvals), ask.to_owned())
        }
        Decision::RefuseBeyondCover(_, Lack::Witness) => {
            ("no second person has confirmed the operation".to_owned(), never_alone())
        }
    };
    let hint = source.request_call().unwrap_or_else(|| {
        "File the change with steward.request(script, purpose), then run it with steward.execute(number).".to_owned()
    });
    let message = format!("{tier} statement refused: {reason}");
    deny(record(), Fault::refused(message).detail(why() + &more).hint(hint))
}

/// The sentence that tells whom the refusal is about; empty where it is the tier that demands a second person.
fn never_alone() -> String {
    let person = session::person().filter(|person| person.never_alone());
    person.map_or_else(String::new, |person| {
        format!(" {} holds the post {}, which changes nothing alone.", person.name, person.post)
    })
}

/// The sentence that tells why an operation covers less than it was approved for; empty where it does not.
fn rights_only() -> String {
    let alone = cover::current().is_some_and(|cover| cover.rights_only);
    let why = " It was filed with the form role_grant, under which it gives rights and does nothing else above normal.";
    if alone { why.to_owned() } else { String::new() }
}

/// Records a denial durably, then raises it.
pub fn deny(mut record: Record, fault: Fault) -> ! {
    record.outcome = Outcome::Denied;
    record.sqlstate = Some(fault.sqlstate());
    note(record, Durability::Flushed);
    super::login::denied(!super::statement::inside_language());
    fault.raise()
}

/// Refuses a statement of a session that was idle too long. Normal work is what an unattended session is left with: the
/// session ends, as the manual has it; what is riskier waits for a new login.
fn refuse_idle(tier: Tier, idle: i64, term: i64, why: String, mut record: Record) -> ! {
    let (minutes, of) = (shown(idle), shown(term));
    record.outcome = Outcome::Denied;
    record.rule = Some("idle_timeout".to_owned());
    record.details = Some(serde_json::json!({ "idle_s": idle / SECOND, "term_s": term / SECOND }).to_string());
    let detail = format!("{why} The session was idle for {minutes}; the term of {} statements is {of}.", tier.name());
    if tier == Tier::Normal {
        record.sqlstate = Some("57P01".to_owned());
        note(record, Durability::Flushed);
        Fault::idle_session("the session was idle too long and is ended").detail(detail).end_session();
    }
    record.sqlstate = Some("42501".to_owned());
    note(record, Durability::Flushed);
    let message = format!("{} statement refused: the session was idle too long", tier.name());
    Fault::refused(message).detail(detail).hint("\\connect -").raise()
}

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// A time for people.
fn shown(time: i64) -> String {
    match time / SECOND {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

/// Rows of a cursor are asked for, of one perhaps that outlived the statement on record. That alone is no work.
pub fn fetch(source: &Source<'_>) {
    if idle::has_worked() && crate::cache::at_home() {
        refuse_if_idle(&crate::cache::policy(), Tier::Normal, "FETCH", source);
    }
}

fn refuse_if_idle(policy: &Policy, tier: Tier, tag: &str, source: &Source<'_>) {
    let question = Question { tier, approvals: 0, changes: false, reached: false, gives: false };
    if let Decision::RefuseIdle { idle, term } = ask_gate(policy, question) {
        refuse_idle(tier, idle, term, format!("{tag} goes on."), record(tag, Vec::new(), tier, "idle_timeout", source));
    }
}

/// A statement that is on record goes on after its session waited: a cursor, or a portal that was suspended.
pub fn resume(policy: &Policy, tier: Tier, tag: &str, source: &Source<'_>) {
    refuse_if_idle(policy, tier, tag, source);
    idle::active();
}

/// Own objects are changed by own functions alone, whoever asks (requirement 64).
pub fn guard_own(kind: OwnKind, name: &str, tag: &str, source: &Source<'_>) {
    let opens = match kind {
        OwnKind::Configuration => true,
        // A dump of a database with row images brings such commands along. Safe: looks up the current role.
        OwnKind::Extension => unsafe { pgrx::pg_sys::superuser() },
        OwnKind::Record | OwnKind::Secret => false,
    };
    if opens && !answer(crate::activation::settled(tag)) {
        // A restore, or an administrator setting the policy up by hand: every session must see it.
        return answer(own::policy_changed());
    }
    let record = record(tag, vec![name.to_owned()], Tier::Critical, "audit", source);
    let (what, hint) = match kind {
        OwnKind::Record => (
            "audit records cannot be changed",
            "Records are read through steward.audit_log and checked by steward.verify_chain().",
        ),
        OwnKind::Secret => (
            "secrets of the second factor can be neither read nor changed",
            "Everybody enrols for themselves: SELECT steward.enroll_totp();",
        ),
        OwnKind::Configuration => {
            ("policy tables are changed by the functions of schema steward only", "\\df steward.*")
        }
        OwnKind::Extension => (
            "nothing is made to depend on the extension of the policy",
            "Leave it as it is; when the extension is dropped, drop it by its own name.",
        ),
    };
    deny(
        record,
        Fault::refused(format!("statement refused: {what}"))
            .detail(format!("{tag} on {name}; no operation can cover it."))
            .hint(hint),
    )
}
