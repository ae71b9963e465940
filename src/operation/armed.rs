//! The armed session: this backend may send the statements of one approved operation, one by one, each once and in order.
//! What is armed lives in this process's memory only and begins when the transaction of `steward.arm` has committed, so
//! the run is used up on disk before the first statement. Whatever does not follow the script ends it.
//!
//! An approval covers a statement while PostgreSQL works on it (`enter`, `leave`), not what lies between: planning, a
//! portal that waits, a fastpath call, triggers deferred to the commit. Never here: hooks and nodes; `watch::armed`.

use super::cover::{self, Cover};
use super::dependency::{self, Dependencies};
use super::environment::Kept;
use super::execute::{approval_missing, reach, unconfirmed};
use super::request::check_membership;
use super::{Operation, adoption, arm, denied, person_named, role_form, window};
use crate::audit::lane::Durability;
use crate::audit::note;
use crate::backend::backend_local;
use crate::core::record::Record;
use crate::core::script::{bare, digest_with, hex};
use crate::error::{Fault, Outcome, answer};
use crate::watch::named_rule::Closed;
use crate::watch::{rows, transaction};
use crate::{cache, image, own, raw, session, shared};
use pgrx::pg_sys;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// One statement of the script.
pub struct Statement {
    pub text: String,
    /// It changes code that later ones may depend on.
    pub defines: bool,
    /// It must be the first thing that its transaction does: DROP INDEX CONCURRENTLY.
    pub comes_first: bool,
    /// SHA-256 of the data of COPY FROM STDIN, in hexadecimal.
    pub data: Option<String>,
}

/// What is armed.
pub struct Armed {
    pub operation: Operation,
    pub person: String,
    pub settings: Kept,
    pub statements: Vec<Statement>,
    /// As the policy has it at the statement that runs.
    pub cover: RefCell<Rc<Cover>>,
    /// The maintenance windows when it was armed, and the rules that they shut: what has begun is finished, but not
    /// against windows that were set since.
    pub windows: (String, Vec<Closed>),
    /// What it depends on: as it was filed, and what its own statements have made of that.
    pub code: RefCell<Dependencies>,
    /// The same while a statement runs that may change it.
    pub held: RefCell<Option<adoption::Held>>,
    pub images: Option<image::Run>,
    pub policy: String,
    /// Stamped beforehand: where a session or a transaction ends nothing can be looked up.
    pub failure: Record,
    /// How many statements have begun.
    pub begun: Cell<usize>,
    pub rows: Cell<u64>,
    /// All is done and written down in the transaction that commits now.
    pub finished: Cell<bool>,
    pub identity: [pg_sys::Oid; 4],
    /// When the message that armed it came.
    pub since: pg_sys::TimestampTz,
}

backend_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static ARMED: RefCell<Option<Rc<Armed>>> = const { RefCell::new(None) };
    /// Armed once the running transaction has committed.
    static COMING: RefCell<Option<Rc<Armed>>> = const { RefCell::new(None) };
    /// The statement that was begun and has not ended; 0: none.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
    /// PostgreSQL is at work on it.
    static ENTERED: Cell<bool> = const { Cell::new(false) };
}

/// The login, and what SET SESSION AUTHORIZATION, SET ROLE and functions made of it.
pub fn identity() -> [pg_sys::Oid; 4] {
    // Safe: plain getters.
    unsafe { [session::login(), pg_sys::GetSessionUserId(), pg_sys::GetOuterUserId(), raw::GetUserId()] }
}

pub fn is_armed() -> bool {
    ON.get()
}

/// Whether PostgreSQL is at work on an armed statement.
pub fn is_entered() -> bool {
    ENTERED.get()
}

fn current() -> Option<Rc<Armed>> {
    ARMED.with_borrow(Clone::clone)
}

/// Arms the session with the commit of this transaction.
pub fn prepare(armed: Armed) {
    transaction::concern();
    COMING.with_borrow_mut(|coming| *coming = Some(Rc::new(armed)));
}

/// PostgreSQL turns to a statement, or back to it. True: `leave` must follow; an error needs none.
#[inline]
pub fn enter(key: usize) -> bool {
    ON.get() && turn_to(key)
}

fn turn_to(key: usize) -> bool {
    if ENTERED.get() || RUNNING.get() != key {
        return false;
    }
    cover::lay(current().map(|armed| armed.cover.borrow().clone()));
    ENTERED.set(true);
    true
}

pub fn leave() {
    if ENTERED.take() {
        cover::lay(None);
    }
}

/// The statement has ended well, or is gone with its error.
pub fn ended(key: usize) {
    if RUNNING.get() == key {
        RUNNING.set(0);
    }
}

/// What is running, if anything: a query or a command by its address.
pub fn running() -> usize {
    RUNNING.get()
}

/// SHA-256 that the data of the running statement must have.
pub fn data_digest() -> Option<String> {
    let armed = current()?;
    let statement = armed.statements.get(armed.begun.get().checked_sub(1)?)?;
    statement.data.clone()
}

/// When the message came that has armed the session.
pub fn since() -> pg_sys::TimestampTz {
    current().map_or(pg_sys::TimestampTz::MAX, |armed| armed.since)
}

/// Of the rows that were approved, how many are left.
pub fn rows_left() -> Option<u64> {
    let armed = current()?;
    Some((armed.operation.expected_rows? as u64).saturating_sub(armed.rows.get()))
}

/// The client sends a statement: it must be the next one. From here on it is used up.
pub fn begin(key: usize, message: &[u8], statement: &[u8]) -> Outcome<()> {
    let Some(armed) = current() else { return Ok(()) };
    armed.admit(message, statement)?;
    armed.begun.set(armed.begun.get() + 1);
    RUNNING.set(key);
    transaction::concern();
    Ok(())
}

/// Refuses what the client sends in between; the error ends the session's being armed.
pub fn refuse(why: &str) -> Fault {
    let Some(armed) = current() else { return Fault::wrong_state("nothing is armed") };
    let op_no = &armed.operation.op_no;
    let next = armed.statements.get(armed.begun.get());
    let fault = denied("ARMED STATEMENT", op_no, format!("statement refused: the session is armed for {op_no}"));
    end(why);
    let fault = fault.detail(format!("{why}; the session is armed no more."));
    match next {
        Some(statement) => fault.hint(format!("The next statement was: {}", statement.text)),
        None => fault,
    }
}

impl Armed {
    fn admit(&self, message: &[u8], statement: &[u8]) -> Outcome<()> {
        let op_no = &self.operation.op_no;
        let Some(next) = self.statements.get(self.begun.get()) else {
            return Err(refuse("All statements of the operation have been sent"));
        };
        let wanted = bare(next.text.as_bytes());
        if bare(message) != wanted || bare(statement) != wanted {
            return Err(refuse("This is not the next statement of the operation, byte for byte"));
        }
        // Safe: plain getter.
        if unsafe { raw::IsTransactionBlock() } {
            return Err(refuse("A statement of an armed session is a transaction of its own"));
        }
        if RUNNING.get() != 0 {
            return Err(refuse("The statement before it has not ended"));
        }
        if identity() != self.identity {
            return Err(refuse("The session has changed its role"));
        }
        if let Some(setting) = self.settings.deviating() {
            return Err(refuse(&format!(
                "The session has changed {setting}, on which the meaning of a script depends"
            )));
        }
        self.check_persons()?;
        self.check_row()?;
        // What must come first in its transaction bears no question that takes a transaction's number.
        if !next.comes_first {
            self.check_policy()?;
            self.check_code(next).inspect_err(|_| end(&format!("what {op_no} depends on has changed")))?;
        }
        Ok(())
    }

    /// What the policy has come to demand since the session was armed holds for the statements that are left.
    fn check_policy(&self) -> Outcome<()> {
        let operation = &self.operation;
        check_membership("ARMED STATEMENT", &operation.op_no, self.identity[2])?;
        operation.check_signed(&[], 0)?;
        let (windows, shut) = &self.windows;
        let shut = if window::edition()? == *windows {
            shut.clone()
        } else {
            window::check_open(operation, &[])?;
            window::shut_rules(operation)?
        };
        let (reach, closed) = reach(operation, shut)?;
        let before = self.cover.borrow().clone();
        let now = Cover {
            op_no: before.op_no.clone(),
            reach,
            rights_only: role_form::stands_alone(&before.op_no)?,
            person: before.person.clone(),
            images: before.images.clone(),
            export: before.export.clone(),
            functions: dependency::functions(&operation.script, &self.code.borrow())?,
            closed,
        };
        self.cover.replace(Rc::new(now));
        Ok(())
    }

    /// What the operation depends on is what it was, but for what its own statements were approved to make of it.
    fn check_code(&self, next: &Statement) -> Outcome<()> {
        let code = self.code.borrow().clone();
        if !next.defines {
            return dependency::check_since(&self.operation, &code);
        }
        self.held.replace(Some(adoption::hold(&self.operation, code)?));
        Ok(())
    }

    /// The transaction of a statement that may have changed code is about to commit: the next ones find what it made.
    fn settle(&self) -> Outcome<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        if cache::policy_relation().is_some() {
            self.code.replace(adoption::settle(&self.operation, &held)?.now);
        }
        Ok(())
    }

    /// Everybody who stands behind the operation still does.
    fn check_persons(&self) -> Outcome<()> {
        let operation = &self.operation;
        let acts = person_named(&self.person).is_some_and(|person| person.may("apply"))
            && session::person().is_some_and(|person| person.name == self.person);
        if !acts {
            return Err(refuse(&format!("{} may no longer act", self.person)));
        }
        operation.check_frozen()?;
        if operation.approvals_given() < operation.approvals_needed() {
            return Err(approval_missing(operation, operation.approvals_needed()));
        }
        match unconfirmed(operation)?.filter(|_| operation.witness_needed()) {
            Some(why) => Err(refuse(why.trim_end_matches('.'))),
            None => Ok(()),
        }
    }

    /// The operation as it is stored now, whatever snapshot this transaction has.
    fn check_row(&self) -> Outcome<()> {
        let boot = boot();
        let row = c"SELECT status = 'armed' AND armed_in = $2, not_after > clock_timestamp(), encode(digest, 'hex'),
                script, form, array_to_string(data_digests, ',') FROM steward._operation WHERE op_no = $1";
        let rows = own::latest_rows_of(row, &[&self.operation.op_no, &boot]);
        let text = |column: usize| rows.first().and_then(|row| row[column].as_deref());
        if text(0) != Some("t") {
            return Err(refuse("The operation was taken back"));
        }
        if text(1) != Some("t") {
            return Err(refuse("The operation has expired"));
        }
        let digest = digest_with(text(3).unwrap_or_default(), text(4), text(5).unwrap_or_default());
        if text(2) != Some(hex(&digest).as_str()) {
            return Err(refuse("The stored script does not match its digest"));
        }
        Ok(())
    }
}

/// Which life of the server this is: what was armed in an earlier one is not.
pub fn boot() -> String {
    shared::get().map(|shared| hex(&shared.boot_id)).unwrap_or_default()
}

/// Rows of protected tables that this transaction has touched.
fn touched() -> u64 {
    cache::policy().roots().map(|member| rows::touched(&member.root)).sum()
}

/// A statement has worked. `reported`: rows that it says; with those of functions and cascades they must not be more
/// than were approved for the whole run.
pub fn count(reported: u64) -> Outcome<()> {
    let Some(armed) = current() else { return Ok(()) };
    let so_far = armed.rows.get() + reported.max(touched());
    armed.rows.set(so_far);
    match armed.operation.expected_rows {
        Some(expected) if so_far > expected as u64 => {
            let op_no = &armed.operation.op_no;
            Err(Fault::refused(format!("{op_no} touched more rows than were approved: this statement is undone"))
                .detail(format!("The run has touched {so_far} rows; expected_rows is {expected}."))
                .hint("File it again with the number of rows it really touches."))
        }
        _ => Ok(()),
    }
}

/// PRE_COMMIT, that of a command which commits while it works included: what it made is settled, and with the last
/// statement the run is done. May raise, and then nothing commits.
pub fn before_commit() {
    let Some(armed) = current().filter(|_| ON.get()) else { return };
    let ended = RUNNING.get() == 0 && !ENTERED.get();
    let done = ended && armed.begun.get() == armed.statements.len() && !armed.finished.get();
    if !done && armed.held.borrow().is_none() {
        return;
    }
    // A command that commits by itself leaves no snapshot.
    // Safe: in a transaction; an error takes the snapshot along.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    answer(armed.settle());
    if done {
        answer(arm::write_down(&armed));
    }
    // Safe: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    if done {
        armed.settings.restore();
        armed.finished.set(true);
    }
}

/// COMMIT. Must not raise.
pub fn after_commit() {
    if current().is_some_and(|armed| armed.finished.get()) {
        forget();
    }
    if let Some(coming) = COMING.with_borrow_mut(Option::take) {
        ARMED.with_borrow_mut(|armed| *armed = Some(coming));
        ON.set(true);
    }
}

/// ABORT: an error of whatever kind. Must not raise.
pub fn after_abort() {
    COMING.with_borrow_mut(|coming| *coming = None);
    end("an error, or a rollback");
}

fn forget() -> Option<Rc<Armed>> {
    leave();
    RUNNING.set(0);
    ON.set(false);
    ARMED.with_borrow_mut(Option::take)
}

/// The session is armed no more, before the run was done. Recorded durably; the sequencer writes the status. Never
/// raises.
pub fn end(why: &str) {
    let Some(armed) = forget() else { return };
    let mut record = armed.failure.clone();
    // Safe: reads the clock.
    record.time = unsafe { raw::GetCurrentTimestamp() };
    let (begun, of, rows) = (armed.begun.get(), armed.statements.len(), armed.rows.get());
    record.details = Some(json!({ "reason": why, "begun": begun, "of": of, "rows": rows }).to_string());
    // The lane counts what it could not write.
    let _counted_as_lost = note::append(&record, Durability::Flushed);
}
