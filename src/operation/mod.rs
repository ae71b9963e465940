//! Operations: request → approve → confirm → execute → review, with a number. What is legal is said in
//! `core::operation`; here operations are read under a lock, steps are written down, and refusals are recorded.
//!
//! A record is stamped with the role that acts, so none is made inside `own::run`.

mod adoption;
pub mod arm;
pub mod armed;
pub mod checklist;
pub mod course;
pub mod cover;
pub mod decide;
pub mod dependency;
pub mod disarm;
pub mod environment;
pub mod execute;
mod expected_rows;
pub mod follow;
pub mod form;
mod frozen;
pub mod grant_term;
pub mod leftover;
mod proof;
pub mod put_off;
pub mod request;
pub mod requirement;
pub mod review;
pub mod review_queue;
pub mod role_form;
pub mod seal;
mod signer;
mod standing;
pub mod told;
mod window;

use crate::audit::lane::Durability;
use crate::audit::{buffer, note::note};
use crate::cache::{self, Person};
use crate::core::course::Course;
use crate::core::operation::{Event, Parts, Past, Status, Step, conflict, next};
use crate::core::record::{Kind, Outcome as Ending, Record};
use crate::core::script::{Shown, compare, digest_with, hex};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::export::form::Export;
use crate::image::Run;
use crate::person::{one_text, required};
use crate::{factor, lock, own, session};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiTupleTable};
use seal::Sealed;
use serde_json::{Value, json};
use std::rc::Rc;

/// Minutes that a confirmation holds; `steward.inbox` and the HINTs say the same.
pub const CONFIRMATION_MINUTES: i32 = 10;

/// Bytes.
const LONGEST_NUMBER: usize = 40;

/// An operation as it stands now, its row locked until the transaction ends.
pub struct Operation {
    pub op_no: String,
    pub script: String,
    pub digest: Vec<u8>,
    pub tier: Tier,
    pub expected_rows: Option<i64>,
    /// Fewer of them undo the run too.
    pub exactly: bool,
    pub run_as: Option<pg_sys::Oid>,
    pub database: String,
    pub system_identifier: String,
    pub runs_allowed: u32,
    pub runs_done: u32,
    pub course: Course,
    /// What the tier demanded when it was filed; see `approvals_needed` for what it demands now.
    approvals_filed: u32,
    witness_filed: bool,
    status: Status,
    too_early: bool,
    too_late: bool,
    /// Ends of the window as the refusal shows them.
    not_before: String,
    not_after: String,
    review_owed: bool,
    /// The confirmation is not older than `CONFIRMATION_MINUTES`; see `confirmation_counts`.
    confirmation_holds: bool,
    /// When each part was taken, in microseconds since 2000: what was said before a suspension does not count.
    filed_at: i64,
    confirmed_at: Option<i64>,
    approved_at: Vec<i64>,
    pub parts: Parts,
    /// What was filed with the script, exactly as it is signed.
    pub form: Option<String>,
    /// SHA-256 of the data of each COPY FROM STDIN, parted by commas; empty: there is none.
    pub data: String,
    /// As it was when its row was locked.
    sealed: Sealed,
}

const LOCK: &str = "SELECT op_no FROM steward._operation WHERE op_no = $1 FOR NO KEY UPDATE SKIP LOCKED";
/// Who holds it, if anybody does; no row: there is no such operation.
const LOCKED_BY: &str = "SELECT xmax::text FROM steward._operation WHERE op_no = $1";

/// Read after the lock is held, so that it is neither older than a change that was waited for nor than the clock.
const READ: &str = "SELECT script, digest, tier::text, expected_rows, run_as::oid, database, system_identifier, runs_allowed,
        runs_done, approvals_needed, witness_needed, status, not_before > clock_timestamp(), not_after <= clock_timestamp(),
        coalesce(to_char(not_before AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI:SS ') || $2, not_before::text),
        coalesce(to_char(not_after AT TIME ZONE $2, 'YYYY-MM-DD HH24:MI:SS ') || $2, not_after::text),
        review_due IS NOT NULL, coalesce(confirmed_at > clock_timestamp() - make_interval(mins => $3), false),
        applicant, confirmed_by, executed_by,
        ARRAY(SELECT person FROM steward._operation_event e WHERE e.op_no = o.op_no AND event IN ('APPROVE', 'RENEW') AND person IS NOT NULL ORDER BY n),
        ARRAY(SELECT (extract(epoch FROM e.at - of_time) * 1000000)::int8 FROM steward._operation_event e
            WHERE e.op_no = o.op_no AND event IN ('APPROVE', 'RENEW') AND person IS NOT NULL ORDER BY n),
        (extract(epoch FROM created_at - of_time) * 1000000)::int8, (extract(epoch FROM confirmed_at - of_time) * 1000000)::int8, form,
        coalesce(array_to_string(data_digests, ','), ''), exactly
    FROM steward._operation o, (SELECT timestamptz '2000-01-01 00:00:00+00') AS start(of_time) WHERE op_no = $1";

impl Operation {
    /// Locks and reads. 42704 if there is no such number, 55000 if somebody else does not let go of it.
    pub fn lock(op_no: &str) -> Outcome<Operation> {
        own::run(|client| {
            let mut holder = String::new();
            let locked = lock::patiently(|| {
                let locked = !own::query(client, LOCK, &[op_no.into()])?.is_empty();
                if !locked {
                    holder = one_text(client, LOCKED_BY, &[op_no.into()])?.ok_or_else(|| unknown(op_no))?;
                }
                Ok(locked)
            })?;
            if !locked {
                return Err(lock::held(op_no, "steward._operation", &holder));
            }
            let course = course::read(client, op_no, false)?;
            let sealed = seal::state(client, op_no)?;
            let arguments = [op_no.into(), crate::settings::time_zone().into(), CONFIRMATION_MINUTES.into()];
            Operation::read(op_no, course, sealed, own::query(client, READ, &arguments)?.first())
        })
    }

    /// Reads without a lock, for a view: nothing may be decided by it. 42704 if there is no such number.
    pub fn look(op_no: &str) -> Outcome<Operation> {
        own::run(|client| {
            let arguments = [op_no.into(), crate::settings::time_zone().into(), CONFIRMATION_MINUTES.into()];
            let found = own::select(client, READ, &arguments)?;
            if found.is_empty() {
                return Err(unknown(op_no));
            }
            let course = course::read(client, op_no, true)?;
            Operation::read(op_no, course, Sealed::Open, found.first())
        })
    }

    fn read(op_no: &str, course: Course, sealed: Sealed, row: SpiTupleTable<'_>) -> Outcome<Operation> {
        let tier: String = value(&row, 3)?;
        let status: String = value(&row, 12)?;
        Ok(Operation {
            op_no: op_no.to_owned(),
            script: value(&row, 1)?,
            digest: value(&row, 2)?,
            tier: Tier::from_name(&tier).ok_or_else(|| odd("tier"))?,
            expected_rows: row.get(4)?,
            exactly: value(&row, 28)?,
            run_as: row.get(5)?,
            database: value(&row, 6)?,
            system_identifier: value(&row, 7)?,
            runs_allowed: number(&row, 8)?,
            runs_done: number(&row, 9)?,
            course,
            sealed,
            approvals_filed: number(&row, 10)?,
            witness_filed: value(&row, 11)?,
            status: Status::from_name(&status).ok_or_else(|| odd("status"))?,
            too_early: value(&row, 13)?,
            too_late: value(&row, 14)?,
            not_before: value(&row, 15)?,
            not_after: value(&row, 16)?,
            review_owed: value(&row, 17)?,
            confirmation_holds: value(&row, 18)?,
            form: row.get(26)?,
            data: value(&row, 27)?,
            approved_at: value(&row, 23)?,
            filed_at: value(&row, 24)?,
            confirmed_at: row.get(25)?,
            parts: Parts {
                applicant: value(&row, 19)?,
                witness: row.get(20)?,
                executor: row.get(21)?,
                approvers: value(&row, 22)?,
            },
        })
    }

    /// The status with the clock taken into account: nobody has to be there when a term ends.
    pub fn standing(&self) -> Status {
        let expired = if self.too_late { next(self.status, Event::Expire(self.past())) } else { None };
        expired.unwrap_or(self.status)
    }

    pub fn past(&self) -> Past {
        match (self.runs_done, self.review_owed) {
            (0, _) => Past::Unused,
            (_, false) => Past::Settled,
            (_, true) => Past::ReviewOwed,
        }
    }

    /// The status after an event. A term that is over is told apart from a step out of turn.
    pub fn after(&self, event: Event, step: &str) -> Outcome<Status> {
        if self.too_late && event != Event::Review && next(self.status, event).is_some() {
            return Err(self.expired(step));
        }
        next(self.standing(), event).ok_or_else(|| {
            Fault::wrong_state(format!("{} is {}: it cannot be {step}", self.op_no, self.standing().name()))
                .detail(match self.standing() {
                    Status::Expired => format!("It expired at {}.", self.not_after),
                    Status::Executed => "It has run; nothing but its review is left.".to_owned(),
                    Status::Submitted => "It waits for its approval.".to_owned(),
                    Status::Approved | Status::Failed => "It has the approvals it needs.".to_owned(),
                    Status::Armed => "A session runs its statements one by one.".to_owned(),
                    _ => "That is final.".to_owned(),
                })
                .hint(format!("SELECT * FROM steward.operation_trail WHERE op_no = '{}' ORDER BY n;", self.op_no))
        })
    }

    /// The refusal undoes this transaction, so the sequencer writes the new status down.
    fn expired(&self, step: &str) -> Fault {
        note(step_record("EXPIRE", &self.op_no), Durability::Flushed);
        Fault::wrong_state(format!("{} has expired: it cannot be {step}", self.op_no))
            .detail(format!("It was valid until {}.", self.not_after))
            .hint("File it again with steward.request(script, purpose).")
    }

    /// The window has not begun.
    pub fn not_yet(&self) -> Option<Fault> {
        self.too_early.then(|| {
            Fault::wrong_state(format!("{} cannot be executed yet", self.op_no))
                .detail(format!("It is valid from {}.", self.not_before))
        })
    }

    /// What the tier demands of the applicant's post: never less than when it was filed, and never less than now.
    pub fn approvals_needed(&self) -> u32 {
        self.approvals_filed.max(self.demands().approvals.max(0) as u32)
    }

    pub fn witness_needed(&self) -> bool {
        self.witness_filed || self.demands().witness
    }

    /// Seconds within which a run must be reviewed; None: no review.
    pub fn review_within_s(&self) -> Option<i64> {
        self.demands().review_within_s
    }

    /// What a run may take out, if it was filed with the form `export`; counts from the beginning.
    pub fn export(&self) -> Option<Rc<Export>> {
        Export::of(&self.op_no, self.form.as_deref()).map(Rc::new)
    }

    /// The next run, if its tier demands that what it changes can be restored.
    pub fn restorable_run(&self) -> Option<Run> {
        let number = self.runs_done as i32 + 1;
        self.demands().pre_image.then(|| Run { op_no: self.op_no.clone(), number })
    }

    fn demands(&self) -> cache::TierPolicy {
        let post = person_named(&self.parts.applicant).map(|person| person.post.clone()).unwrap_or_default();
        cache::policy().tier_policy(self.tier, &post)
    }

    /// Refuses a step that collides with another part the person has in this operation.
    pub fn separate(&self, step: Step, name: &str, person: &Person) -> Outcome<()> {
        match conflict(step, &person.name, &self.parts) {
            None => Ok(()),
            Some(why) => Err(denied(
                name,
                &self.op_no,
                format!("{} refused: a person acts in one step of an operation", name.to_lowercase()),
            )
            .detail(format!("{} {why}.", person.name))),
        }
    }

    /// Refuses a vote on another script than the stored one.
    pub fn check_digest(&self, step: &str, shown: &str) -> Outcome<()> {
        self.check_integrity(step)?;
        self.check_sealed(step)?;
        self.check_told(step)?;
        let hint = format!("SELECT script, digest FROM steward.show('{}');", self.op_no);
        match compare(&self.digest, shown) {
            Shown::Same => Ok(()),
            Shown::Malformed => Err(Fault::bad_argument(
                "a digest is 12 to 64 hexadecimal digits, the leading ones of the script's SHA-256",
            )
            .hint(hint)),
            Shown::Different => Err(denied(
                step,
                &self.op_no,
                format!("changed digest: the script of {} is not the one that was read", self.op_no),
            )
            .detail("The digest that was given belongs to other bytes.")
            .hint(hint)),
        }
    }

    /// The stored script must be the bytes that its digest names.
    pub fn check_integrity(&self, step: &str) -> Outcome<()> {
        if digest_with(&self.script, self.form.as_deref(), &self.data)[..] == self.digest[..] {
            return Ok(());
        }
        let why = format!("the stored script of {} does not match its digest", self.op_no);
        let fault = Fault::corrupted(why.clone());
        record_denial(step, &self.op_no, &why, &fault);
        Err(fault.detail("The table steward._operation was changed from outside."))
    }

    pub fn short_digest(&self) -> String {
        hex(&self.digest[..6])
    }
}

fn value<T: FromDatum + IntoDatum>(row: &SpiTupleTable<'_>, column: usize) -> Outcome<T> {
    row.get(column)?.ok_or_else(|| odd("missing value"))
}

fn number(row: &SpiTupleTable<'_>, column: usize) -> Outcome<u32> {
    u32::try_from(value::<i32>(row, column)?).map_err(|_| odd("number"))
}

fn odd(what: &str) -> Fault {
    Fault::internal(format!("an operation does not read back: {what}"))
}

/// A number that no operation of that day has, wherever the sequence stands.
pub fn next_number(client: &mut SpiClient<'_>, day: &str) -> Outcome<String> {
    loop {
        let count = own::query(client, "SELECT nextval('steward.operation_number')", &[])?.first().get_one::<i64>()?;
        let op_no = crate::core::script::number(day, count.unwrap_or_default());
        let known = "SELECT 1 FROM steward._operation WHERE op_no = $1";
        if own::query(client, known, &[op_no.as_str().into()])?.is_empty() {
            return Ok(op_no);
        }
    }
}

pub fn unknown(op_no: &str) -> Fault {
    Fault::unknown(format!("operation \"{op_no}\" does not exist"))
        .hint("SELECT op_no, status, purpose FROM steward.operation;")
}

/// The number that a caller typed, fit to stand in a record.
pub fn numbered(op_no: Option<&str>) -> Outcome<&str> {
    let op_no = required("op_no", op_no)?;
    if op_no.len() > LONGEST_NUMBER { Err(Fault::bad_argument("op_no is too long")) } else { Ok(op_no) }
}

/// Somebody registered, by name.
pub fn person_named(name: &str) -> Option<Rc<Person>> {
    cache::policy().everybody().into_iter().find(|person| person.name == name)
}

/// The person behind this login, who must have a capability.
pub fn actor(step: &str, op_no: &str, capability: &str) -> Outcome<Rc<Person>> {
    let verb = step.to_lowercase();
    let Some(person) = session::person() else {
        let login = session::login_name();
        return Err(denied(step, op_no, format!("{verb} refused: no person is registered for login \"{login}\""))
            .hint(format!("SELECT steward.register_person('…', 'ops', roles => '{{{login}}}');")));
    };
    if person.may(capability) {
        return Ok(person);
    }
    let why = if let (true, Some(kind)) = (person.usable(), person.lapsed(capability)) {
        format!(
            "{} has no valid record of kind {kind}, without which the capability {capability} is suspended.",
            person.name
        )
    } else if person.usable() {
        format!("The post {} of {} does not give the capability {capability}.", person.post, person.name)
    } else {
        format!("{} is suspended or past valid_until.", person.name)
    };
    Err(denied(step, op_no, format!("{verb} refused: the capability {capability} is missing")).detail(why))
}

/// Refuses a step in work of this tier where it demands a second factor that the session does not have.
pub fn require_factor(step: &str, op_no: &str, tier: Tier, person: &Person) -> Outcome<()> {
    match factor::missing(step, tier, person) {
        None => Ok(()),
        Some(fault) => {
            record_denial(step, op_no, "the second factor is missing", &fault);
            Err(fault)
        }
    }
}

/// A vote is a person's own act: it is typed, not found in a function or view that somebody else has written and the
/// person was led to call. In-process tests are such functions themselves; there the cluster tests stand in.
pub fn own_act(step: &str, op_no: &str) -> Outcome<()> {
    let verb = step.to_lowercase();
    if cfg!(feature = "pg_test") || crate::watch::statement::client_calls(&verb, op_no) {
        return Ok(());
    }
    Err(denied(step, op_no, format!("{verb} refused: the client itself must call it"))
        .detail("A vote inside a function, view or block does not count: whoever votes must see what for.")
        .hint(format!("SELECT steward.{verb}('{op_no}', …);")))
}

/// A background worker has no client, only the login that somebody gave it: whoever can write its jobs could act for
/// everybody. Runs of standing operations are let through; they are approved without anybody standing by.
pub fn require_client(step: &str, op_no: &str) -> Outcome<()> {
    // Safe: a plain global.
    if unsafe { !pg_sys::MyProcPort.is_null() } {
        return Ok(());
    }
    Err(denied(step, op_no, format!("{} refused: a background worker acts for nobody", step.to_lowercase()))
        .detail("Its session has no client that has logged in.")
        .hint("For work that recurs file a standing operation: SELECT steward.request(script, purpose, runs => …, every => …);"))
}

/// Records a refusal durably, whatever becomes of the transaction; the fault is for the caller to raise.
pub fn denied(step: &str, op_no: &str, message: String) -> Fault {
    let fault = Fault::refused(message.clone());
    record_denial(step, op_no, &message, &fault);
    fault
}

/// The same where only the moment is wrong, or something missing.
pub fn denied_for_now(step: &str, op_no: &str, message: String) -> Fault {
    let fault = Fault::wrong_state(message.clone());
    record_denial(step, op_no, &message, &fault);
    fault
}

/// Any fault, recorded as a denial for what it says itself.
fn denied_as(step: &str, op_no: &str, fault: Fault) -> Fault {
    record_denial(step, op_no, fault.message(), &fault);
    fault
}

fn record_denial(step: &str, op_no: &str, reason: &str, fault: &Fault) {
    let mut record = step_record(step, op_no);
    record.outcome = Ending::Denied;
    record.sqlstate = Some(fault.sqlstate());
    record.details = Some(json!({ "reason": reason }).to_string());
    note(record, Durability::Flushed);
}

/// A record of a step; an empty number is none.
pub fn step_record(step: &str, op_no: &str) -> Record {
    let mut record = Record::new(Kind::Operation, step);
    record.op_no = (!op_no.is_empty()).then(|| op_no.to_owned());
    record
}

/// The record of a step that rides with the transaction.
pub fn push(step: &str, operation: &Operation, details: Value) {
    let mut record = step_record(step, &operation.op_no);
    record.tier = Some(operation.tier);
    record.details = Some(details.to_string());
    buffer::push(record);
}

/// One line of the trail.
pub struct Entry<'a> {
    pub op_no: &'a str,
    pub event: &'a str,
    /// None: the policy itself.
    pub person: Option<&'a str>,
    pub login: &'a str,
    pub comment: Option<&'a str>,
    pub digest: Option<&'a [u8]>,
    pub details: Option<Value>,
}

impl Entry<'_> {
    pub fn write(&self, client: &mut SpiClient<'_>) -> Outcome<()> {
        let insert = "INSERT INTO steward._operation_event (op_no, event, person, login, comment, digest, details)
            VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)";
        let arguments: [DatumWithOid<'_>; 7] = [
            self.op_no.into(),
            self.event.into(),
            self.person.map(str::to_owned).into(),
            self.login.into(),
            self.comment.map(str::to_owned).into(),
            self.digest.map(<[u8]>::to_vec).into(),
            self.details.as_ref().map(Value::to_string).into(),
        ];
        own::execute(client, insert, &arguments).map(drop)
    }
}

#[pg_extern(sql = false)]
fn known_operation(op_no: &str) -> String {
    let known = "SELECT FROM steward._operation WHERE op_no = $1";
    let found = own::run(|client| Ok(!own::select(client, known, &[op_no.into()])?.is_empty()));
    crate::error::answer(found.and_then(|found| if found { Ok(op_no.to_owned()) } else { Err(unknown(op_no)) }))
}
