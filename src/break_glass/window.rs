//! The window of this session: this process knows it, and nothing that a session could set. It belongs to the person, to
//! the login and the role that were there when it was opened, and to its term; what finds one of these changed ends it.

use super::{END, SERVICE, memory};
use crate::audit::lane::Durability;
use crate::audit::note::note;
use crate::backend::backend_local;
use crate::cache;
use crate::core::record::{Kind, Record};
use crate::error::Fault;
use crate::factor::memory::clock;
use crate::factor::step_up;
use crate::image::Run;
use crate::operation::{cover, step_record};
use crate::watch::statement::Source;
use crate::{raw, session};
use pgrx::pg_sys;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

/// An open window.
pub struct Window {
    pub op_no: Rc<str>,
    pub person: String,
    /// A second person has confirmed it.
    pub witnessed: bool,
    /// What it changes must be restorable.
    pub pre_image: bool,
    /// Microseconds since 2000-01-01 UTC.
    pub opened_at: i64,
    pub until: i64,
    identity: [pg_sys::Oid; 3],
}

backend_local! {
    static WINDOW: RefCell<Option<Rc<Window>>> = const { RefCell::new(None) };
    /// The transaction in which the last window ended, if it began in that window.
    static LAST: RefCell<Option<(i64, Run)>> = const { RefCell::new(None) };
    /// The terms of those that are over, as they were: what was begun in one of them is not read on after it.
    static OVER: RefCell<Vec<(i64, i64)>> = const { RefCell::new(Vec::new()) };
    /// Start of the client's message whose statement was announced last, and that statement.
    static ANNOUNCED: Cell<(i64, u64)> = const { Cell::new((0, 0)) };
}

/// Opens it. Its record is durable, its review waits, and its place is taken.
pub fn begin(op_no: &str, person: &str, witnessed: bool, pre_image: bool, opened_at: i64, until: i64) {
    let identity = step_up::identity();
    let (op_no, person) = (Rc::from(op_no), person.to_owned());
    let window = Window { op_no, person, witnessed, pre_image, opened_at, until, identity };
    WINDOW.with_borrow_mut(|open| *open = Some(Rc::new(window)));
}

/// Whether one was opened and nothing has noticed its end yet. Costs nothing.
pub fn was_opened() -> bool {
    WINDOW.with_borrow(Option::is_some)
}

/// Whether this session has or had one. Costs nothing.
pub fn was_ever_opened() -> bool {
    was_opened() || OVER.with_borrow(|over| !over.is_empty())
}

/// Whether what was begun at this moment was begun in a window that is over. Needs a transaction.
pub fn outlives(begun: i64) -> bool {
    standing();
    OVER.with_borrow(|over| over.iter().any(|(from, until)| (*from..*until).contains(&begun)))
}

/// The window if it holds now; ends it otherwise. Needs a transaction.
pub fn standing() -> Option<Rc<Window>> {
    let window = WINDOW.with_borrow(Clone::clone)?;
    match window.over() {
        None => Some(window),
        Some(why) => {
            end(why);
            None
        }
    }
}

/// The same where no operation is being executed: that has its own approval.
pub fn covering() -> Option<Rc<Window>> {
    if was_opened() && cover::current().is_none() { standing() } else { None }
}

/// The number that what happens now is recorded under. Looks nothing up.
pub fn op_no() -> Option<Rc<str>> {
    WINDOW.with_borrow(|window| {
        let window = window.as_ref().filter(|window| window.in_time() && window.identity == step_up::identity())?;
        Some(window.op_no.clone())
    })
}

/// The run that images are of, if it must be restorable. A statement that the window began is not cut in two by its end:
/// images are kept as long as a transaction that began in it lasts.
pub fn images() -> Option<Run> {
    // Safe: a plain getter.
    let transaction = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
    let open = WINDOW.with_borrow(|window| window.as_ref().and_then(|window| window.run()));
    open.or_else(|| LAST.with_borrow(|last| Some(last.as_ref().filter(|last| last.0 == transaction)?.1.clone())))
}

/// Before DECLARE … WITH HOLD: such a cursor has its rows at the end of its transaction, and nobody could end its reading.
/// May raise.
pub fn before_hold() {
    if was_opened() && standing().is_some() {
        Fault::unsupported("a cursor of an emergency window cannot be declared WITH HOLD")
            .detail("It would be read after the window.")
            .raise();
    }
}

/// PRE_PREPARE: what a window leaves is known when it is reviewed, and not when somebody commits it later. May raise.
pub fn before_prepare() {
    if was_opened() || images().is_some() {
        Fault::unsupported("a transaction of an emergency window cannot be prepared").raise();
    }
}

impl Window {
    fn run(&self) -> Option<Run> {
        self.pre_image.then(|| Run { op_no: self.op_no.to_string(), number: 1 })
    }

    /// A clock that was set back ends it too.
    fn in_time(&self) -> bool {
        (self.opened_at..self.until).contains(&clock())
    }

    /// Why it does not hold any more; None: it does.
    fn over(&self) -> Option<&'static str> {
        if !self.in_time() {
            return Some("its time is over");
        }
        if self.identity != step_up::identity() {
            return Some("the session put on another role");
        }
        let person = cache::policy().person(session::login()).filter(|person| person.name == self.person);
        match person {
            Some(person) if !person.may("break_glass") || person.post == SERVICE => Some("the capability is gone"),
            Some(person) if person.never_alone() && !self.witnessed => Some("the post acts alone no more"),
            Some(_) => None,
            None => Some("the login is somebody else's"),
        }
    }
}

/// Ends the window of this session, if there is one, whatever becomes of the transaction. True if there was.
pub fn end(why: &str) -> bool {
    let Some(window) = WINDOW.with_borrow_mut(Option::take) else { return false };
    memory::release();
    // Safe: a plain getter.
    let transaction = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
    let run = window.run().filter(|_| transaction < window.until);
    LAST.with_borrow_mut(|last| *last = run.map(|run| (transaction, run)));
    OVER.with_borrow_mut(|over| over.push((window.opened_at, window.until.min(clock()))));
    let mut record = step_record(END, &window.op_no);
    record.details = Some(json!({ "why": why }).to_string());
    note(record, Durability::Flushed);
    true
}

/// Before a statement of the window runs: it is on record, durably. What functions run inside a client's message is told
/// with its first statement; how each ended is on record as ever.
pub fn announce(source: &Source<'_>, statement: impl FnOnce() -> Record) {
    let Some(window) = covering() else { return };
    // Safe: a plain getter.
    let message = unsafe { raw::GetCurrentStatementStartTimestamp() };
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let (before, text) = ANNOUNCED.replace((message, hasher.finish()));
    if before == message && (!source.top_level || text == hasher.finish()) {
        return;
    }
    let statement = statement();
    let command = json!({ "command": statement.operation_type });
    note(
        Record {
            kind: Kind::Operation,
            operation_type: "BEGIN STATEMENT".to_owned(),
            op_no: Some(window.op_no.to_string()),
            details: Some(command.to_string()),
            ..statement
        },
        Durability::Flushed,
    );
}
