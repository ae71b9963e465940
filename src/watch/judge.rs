//! Judges deeds and carries the decision out: allow, tolerate (record only), or record the denial durably and refuse.

use super::facts::Deed;
use super::statement::Source;
use crate::audit::lane::{self, Durability};
use crate::audit::note::note;
use crate::audit::standby;
use crate::backend::{NumberMap, backend_local};
use crate::cache::{OwnKind, Policy, Root};
use crate::core::gate::{Decision, Demand, Situation, decide};
use crate::core::record::{Kind, Outcome, Part, Record};
use crate::core::rule::{self, RowLimit};
use crate::core::tier::Tier;
use crate::error::{Fault, answer};
use crate::settings::Mode;
use crate::{operation::cover, own, session, shared};
use std::cell::{OnceCell, RefCell};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::rc::Rc;

/// Statements whose record is remembered.
const REMEMBERED: usize = 256;

/// The judgement of a whole statement: its riskiest deed, and from how many rows on it gets riskier.
pub struct Judgement<'p> {
    pub tier: Tier,
    pub rule: &'p str,
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
}

/// Judges deeds, of which there is at least one.
pub fn judge<'p>(policy: &'p Policy, deeds: &[Deed]) -> Judgement<'p> {
    let mut judgement = Judgement { tier: Tier::Normal, rule: "unmatched", limits: Vec::new(), worst: 0 };
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
        if let Some(member) = &deed.relation {
            let name = |limit: RowLimit| RelationLimit {
                root: member.root.clone(),
                tag: deed.command.tag,
                rows: limit.rows,
                tier: limit.tier,
                rule: policy.rules.name(Some(limit.rule)).to_owned(),
            };
            judgement.limits.extend(policy.rules.row_limits(rules, &question, verdict.tier).into_iter().map(name));
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

/// What the gate says to a tier in this session, now.
pub fn ask_gate(policy: &Policy, tier: Tier) -> Decision {
    let person = policy.person(session::login());
    // Nobody answers for a login without a person: what would be reviewed afterwards could not be.
    let unanswered = person.is_none() && tier > Tier::Normal;
    let post = person.as_ref().map_or("", |person| person.post.as_str());
    let demand = Demand { needs_operation: unanswered || policy.tier_policy(tier, post).needs_operation() };
    let situation = Situation {
        active: shared::active(),
        enforcing: shared::mode() == Mode::Enforce,
        cover: cover::current().map(|cover| cover.tier),
    };
    decide(tier, demand, situation)
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
    let mut record = Record::new(Kind::Statement, tag);
    record.relations = relations;
    record.tier = Some(tier);
    record.rule = Some(rule.to_owned());
    record.statement = source.redacted();
    record
}

backend_local! {
    static WHAT: RefCell<NumberMap<u64, Rc<Part>>> = const { RefCell::new(NumberMap::with_hasher(BuildHasherDefault::new())) };
    /// Keyed at random, so that nobody can make a statement pass for another in the cache.
    static KEYS: OnceCell<RandomState> = const { OnceCell::new() };
}

/// What a judged statement does, as a side of its record: text, relations and verdict.
pub fn what(
    policy: &Policy,
    tag: &'static str,
    deeds: &[Deed],
    judgement: &Judgement<'_>,
    source: &Source<'_>,
) -> Rc<Part> {
    let mut hasher = KEYS.with(|keys| keys.get_or_init(RandomState::new).build_hasher());
    source.hash(&mut hasher);
    // Within one edition of the policy a name has one place, and an oid one name.
    hasher.write_u64(policy.edition);
    hasher.write_usize(judgement.rule.as_ptr() as usize);
    hasher.write_usize(tag.as_ptr() as usize);
    hasher.write_u8(judgement.tier as u8);
    for member in deeds.iter().filter_map(|deed| deed.relation.as_ref()) {
        hasher.write_u32(member.root.oid.to_u32());
    }
    let key = hasher.finish();
    WHAT.with_borrow_mut(|known| {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let make = || Rc::new(Part::what(&record(tag, relations(deeds), judgement.tier, judgement.rule, source)));
        known.entry(key).or_insert_with(make).clone()
    })
}

/// Carries out what the gate says to a judged statement. Does not return when it refuses.
pub fn enforce(policy: &Policy, deeds: &[Deed], judgement: &Judgement<'_>, tag: &str, source: &Source<'_>) {
    let why = || {
        let worst = &deeds[judgement.worst];
        let target = worst.relation.as_ref().map(|member| format!(" on {}", member.root.name)).unwrap_or_default();
        let what = format!("{}{target}", worst.command.tag);
        match judgement.rule {
            "unmatched" => format!("{what}; no rule knows it, and the unknown is critical."),
            rule => format!("{what}; rule \"{rule}\" makes it {}.", judgement.tier.name()),
        }
    };
    let record = || record(tag, relations(deeds), judgement.tier, judgement.rule, source);
    carry_out(ask_gate(policy, judgement.tier), judgement.tier, why, source, record);
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

/// Refuses (after recording the denial) or warns, as the gate says.
pub fn carry_out(
    decision: Decision,
    tier: Tier,
    why: impl FnOnce() -> String,
    source: &Source<'_>,
    record: impl FnOnce() -> Record,
) {
    let message = match decision {
        Decision::Allow => return,
        Decision::Tolerate if shared::mode() == Mode::Warn => {
            Fault::refused(format!("{} statement would be refused: no approved operation covers it", tier.name()))
                .detail(why())
                .warn();
            return;
        }
        Decision::Tolerate => return,
        Decision::RefuseUncovered => format!("{} statement refused: no approved operation covers it", tier.name()),
        Decision::RefuseBeyondCover(covered) => {
            format!("{} statement refused: the operation is approved as {}", tier.name(), covered.name())
        }
    };
    let hint = source.request_call().unwrap_or_else(|| {
        "File the change with steward.request(script, purpose), then run it with steward.execute(number).".to_owned()
    });
    deny(record(), Fault::refused(message).detail(why()).hint(hint))
}

/// Records a denial durably, then raises it.
pub fn deny(mut record: Record, fault: Fault) -> ! {
    record.outcome = Outcome::Denied;
    record.sqlstate = Some("42501".to_owned());
    note(record, Durability::Flushed);
    fault.raise()
}

/// Own objects are changed by own functions alone, whoever asks (requirement 64).
pub fn guard_own(kind: OwnKind, name: &str, tag: &str, source: &Source<'_>) {
    if kind == OwnKind::Configuration && !shared::active() {
        // A restore, or an administrator setting the policy up by hand: every session must see it.
        return answer(own::policy_changed());
    }
    let record = record(tag, vec![name.to_owned()], Tier::Critical, "audit", source);
    let (what, hint) = match kind {
        OwnKind::Record => (
            "audit records cannot be changed",
            "Records are read through steward.audit_log and checked by steward.verify_chain().",
        ),
        OwnKind::Configuration => {
            ("policy tables are changed by the functions of schema steward only", "\\df steward.*")
        }
    };
    deny(
        record,
        Fault::refused(format!("statement refused: {what}"))
            .detail(format!("{tag} on {name}; no operation can cover it."))
            .hint(hint),
    )
}
