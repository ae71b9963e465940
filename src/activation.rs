//! Switching the policy on and off: what must be there before, and how every process learns of it. The row in
//! `steward.activation` is the truth; shared memory and the state file follow it at commit.

use crate::backend::backend_local;
use crate::cache::{self, Person, Policy};
use crate::core::operation::{Candidate, missing};
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::operation::{requirement, seal};
use crate::person::{separation, texts};
use crate::policy::checklist;
use crate::register::kind;
use crate::{audit::buffer, factor, job, login, own, policy, preload, scope, session, settings, shared, state_file};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;

backend_local! {
    /// This transaction touched the activation.
    static TOUCHED: Cell<bool> = const { Cell::new(false) };
    /// What it leaves behind if it commits, read from the table just before.
    static DECIDED: Cell<Option<bool>> = const { Cell::new(None) };
    /// The subtransaction in which the extension is dropped.
    static DROPPING: Cell<Option<pg_sys::SubTransactionId>> = const { Cell::new(None) };
}

#[pg_extern(sql = false)]
fn activate() {
    answer(switch_on())
}

#[pg_extern(sql = false)]
fn deactivate() {
    answer(switch_off())
}

const TABLE: &str = "steward.activation";

/// Functions that go on to lock the table against each other: they do so at once, or two of them would wait in a circle.
const ONE_AT_A_TIME: [&str; 5] = ["activate", "deactivate", "register_person", "suspend_person", "set_post"];

/// Whether the policy is active, for a change of it by this function. What is set up before an activation is part of what
/// it checks: one that is under way is waited for, and the next one waits for the end of this transaction.
pub fn settled(function: &str) -> Outcome<bool> {
    // It is released after the activation is published.
    if !shared::active() && is_there() {
        match ONE_AT_A_TIME.contains(&function) {
            true => hold()?,
            false => own::lock("LOCK TABLE steward.activation IN ROW SHARE MODE", &[], TABLE)?,
        }
    }
    Ok(shared::active())
}

/// From here to the end of the transaction nobody else switches the policy on or off, or changes who may do what.
pub fn hold() -> Outcome<()> {
    own::lock("LOCK TABLE steward.activation IN EXCLUSIVE MODE", &[], TABLE)
}

fn is_there() -> bool {
    // Safe: look-ups by name.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"steward".as_ptr(), true);
        pg_sys::get_relname_relid(c"activation".as_ptr(), schema) != pg_sys::InvalidOid
    }
}

fn switch_on() -> Outcome<()> {
    policy::require_configuration("activate")?;
    if !cache::at_home() {
        return Err(Fault::wrong_state("the policy is activated in the home database only")
            .detail(format!("steward.database is \"{}\".", crate::settings::database())));
    }
    own::run(|client| {
        // Held until after the commit is published, so that two switches cannot overtake each other.
        hold()?;
        let mut lacks = lacking(client, true)?;
        lacking_licences(client, &mut lacks)?;
        if !lacks.is_empty() {
            return Err(incomplete("the policy cannot be activated yet", &lacks));
        }
        let row = "INSERT INTO steward.activation (activated_at, activated_by) VALUES (clock_timestamp(), $1) ON CONFLICT DO NOTHING";
        own::execute(client, row, &[session::login_name().into()])?;
        login::policy::ensure(client)
    })?;
    finish("activate", true)?;
    if let Some(fault) = preload::misplaced() {
        fault.warn();
    }
    if let Some(remark) = own::run(checklist::not_demanded)? {
        remark.notice();
    }
    if let Some(remark) = seal::not_sealed() {
        remark.notice();
    }
    Ok(())
}

fn switch_off() -> Outcome<()> {
    policy::require_privilege("deactivate")?;
    own::run(|client| {
        hold()?;
        own::execute(client, "DELETE FROM steward.activation", &[]).map(drop)
    })?;
    finish("deactivate", false)
}

fn finish(operation_type: &str, active: bool) -> Outcome<()> {
    let mut record = Record::new(Kind::Policy, operation_type);
    record.tier = Some(Tier::Critical);
    buffer::push(record);
    at_commit(active);
    own::policy_changed()
}

/// What is not there yet.
#[derive(Default)]
struct Lacks {
    /// One for each requirement that is not met.
    sentences: Vec<String>,
    /// The next command; None: somebody has to be registered.
    hint: Option<String>,
}

impl Lacks {
    fn is_empty(&self) -> bool {
        self.sentences.is_empty()
    }
}

/// Every requirement that is not met. `factors`: second factors must be enrolled, not only demanded.
fn lacking(client: &mut SpiClient<'_>, factors: bool) -> Outcome<Lacks> {
    let policy = cache::policy();
    let everybody: Vec<Rc<Person>> = policy.everybody().into_iter().filter(|person| person.usable()).collect();
    let mut lacks = Vec::new();
    let mut acting: Vec<_> = everybody.iter().filter(|person| person.may("apply") || person.may("configure")).collect();
    acting.sort_by(|one, other| one.name.cmp(&other.name));
    for person in acting {
        // An approver and a witness at least, whatever the tiers demand today.
        if let Some(what) =
            missing(&person.name, approvals(&policy, &person.post).max(1), true, &candidates(&everybody))
        {
            lacks.push(format!("For operations of {} there is not {what}.", person.name));
        }
        lacks.extend(requirement::unfillable(&policy, person, &everybody));
    }
    if !everybody.iter().any(|person| person.may("audit")) {
        lacks.push("There is no auditor.".to_owned());
    }
    let strangers = "SELECT format('Login %I has no person.', r.rolname) FROM pg_roles r WHERE r.rolcanlogin
        AND NOT EXISTS (SELECT FROM steward.person_login l WHERE l.role::oid = r.oid) ORDER BY r.rolname";
    lacks.extend(texts(client, strangers, &[])?);
    lacks.extend(separation::sentences(client)?);
    lacks.extend(scope::lint::drift(client)?);
    lacks.extend(job::set::misplaced(client)?);
    lacks.extend(kind::unfillable(client, &everybody)?);
    if !lacks.is_empty() {
        lacks.extend(kind::lapsed(&everybody));
    }
    let mut lacks = Lacks { sentences: lacks, hint: None };
    if factors {
        lacking_factors(&policy, &everybody, &mut lacks);
    }
    Ok(lacks)
}

/// Where a tier demands a second factor, there must be a key, and everybody who takes part must have enrolled: whoever
/// has not could be forestalled by a thief of the password alone. A key that is set must be fit for use in any case:
/// operations are sealed with it.
fn lacking_factors(policy: &Policy, everybody: &[Rc<Person>], lacks: &mut Lacks) {
    let needing: Vec<_> = everybody.iter().filter(|person| factor::needs_one(policy, person)).collect();
    if needing.is_empty() && settings::key_file().is_none() {
        return;
    }
    let registered = lacks.is_empty();
    let unready = needing.iter().filter(|person| person.enrolled_at.is_none());
    let mut without: Vec<&str> = unready.map(|person| person.name.as_str()).collect();
    if !without.is_empty() {
        without.sort();
        lacks.sentences.push(format!("No second factor is enrolled for {}.", without.join(", ")));
        lacks.hint =
            registered.then(|| "Each of them, in a session of their own: SELECT steward.enroll_totp();".to_owned());
    }
    if let Err(fault) = factor::key::read() {
        let (detail, hint) = fault.advice();
        let what = if needing.is_empty() { "Operations cannot be sealed" } else { "Second factors cannot be used" };
        lacks.sentences.push(format!("{what}: {detail}"));
        lacks.hint = registered.then(|| hint.to_owned());
    }
}

/// A stream that somebody relies on must not end with its next command.
fn lacking_licences(client: &mut SpiClient<'_>, lacks: &mut Lacks) -> Outcome<()> {
    let registered = lacks.is_empty();
    for login in login::replication::unlicensed(client)? {
        lacks.sentences.push(format!("Login {login} replicates, and the policy does not let it."));
        if registered {
            let call = "SELECT steward.set_login_policy('{login}', replication => true);";
            lacks.hint = Some(call.replace("{login}", &login.replace('\'', "''")));
        }
    }
    Ok(())
}

/// The most approvals that any tier demands of a post.
fn approvals(policy: &Policy, post: &str) -> u32 {
    let tiers = [Tier::Normal, Tier::Important, Tier::Critical];
    tiers.map(|tier| policy.tier_policy(tier, post).approvals.max(0) as u32).into_iter().max().unwrap_or(1)
}

/// Everybody who could take part in an operation now.
pub fn candidates(persons: &[Rc<Person>]) -> Vec<Candidate<'_>> {
    let usable = persons.iter().filter(|person| person.usable());
    usable
        .map(|person| Candidate { name: &person.name, approve: person.may("approve"), witness: person.may("witness") })
        .collect()
}

/// An allowed command is dropping the extension: its objects go now, and the policy is off when that commits.
pub fn extension_dropped() {
    // Safe: plain getter inside a transaction.
    DROPPING.set(Some(unsafe { pg_sys::GetCurrentSubTransactionId() }));
    at_commit(false);
}

/// Whether the extension is being dropped right now; a drop that a savepoint took back does not count.
pub fn dropping_extension() -> bool {
    // Safe: walks the transaction stack.
    DROPPING.get().is_some_and(|subtransaction| unsafe { pg_sys::SubTransactionIsActive(subtransaction) })
}

/// Whether this transaction has dropped the extension, savepoints that were taken back included.
pub fn drops_extension() -> bool {
    DROPPING.get().is_some()
}

/// This transaction changes whether the policy is active: published at commit.
fn at_commit(active: bool) {
    crate::watch::transaction::concern();
    TOUCHED.set(true);
    DECIDED.set(Some(active));
}

/// PRE_COMMIT: reads what the transaction really leaves behind, rolled-back savepoints taken off. May raise.
pub fn before_commit() {
    if TOUCHED.get() {
        let present = cache::policy_relation().is_some();
        let active = present && !own::latest_rows(c"SELECT 1 FROM steward.activation").is_empty();
        DECIDED.set(Some(active));
    }
}

/// PRE_PREPARE: the outcome would be decided by another session. May raise.
pub fn before_prepare() {
    if TOUCHED.get() {
        Fault::unsupported("a transaction that switches the policy on or off cannot be prepared").raise();
    }
}

/// COMMIT: publishes. Never raises; a state file that cannot be written leaves the cluster in doubt, which counts as active.
pub fn after_commit() {
    if let (Some(active), Some(shared)) = (DECIDED.take(), shared::get()) {
        shared.active.store(active, SeqCst);
        if DROPPING.get().is_some() {
            // Its definitions went with it.
            shared.definitions.epoch.store(0, SeqCst);
        }
        if state_file::write(active).is_err() {
            shared.doubtful.store(true, SeqCst);
        }
    }
    after_abort();
}

/// ABORT: nothing changed.
pub fn after_abort() {
    TOUCHED.set(false);
    DECIDED.set(None);
    DROPPING.set(None);
}

/// After a tier demands more: what `activate()` asks for must still hold while the policy is active. `factors`: a second
/// factor is one of the new demands; otherwise a newcomer who has not enrolled yet stops nobody.
pub fn recheck(factors: bool) -> Outcome<()> {
    if !shared::active() {
        return Ok(());
    }
    // Safe: makes the change before this call visible to the policy that is read next.
    unsafe { pg_sys::CommandCounterIncrement() };
    let lacks = own::run(|client| lacking(client, factors))?;
    if lacks.is_empty() { Ok(()) } else { Err(incomplete("the policy would demand what nobody can do", &lacks)) }
}

fn incomplete(message: &str, lacks: &Lacks) -> Fault {
    let register = "SELECT steward.register_person(name, post, roles => '{login}');";
    Fault::wrong_state(message).detail(lacks.sentences.join("\n")).hint(lacks.hint.as_deref().unwrap_or(register))
}
