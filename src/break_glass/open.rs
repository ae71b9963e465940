//! Asking for a window and opening it. Every refusal is on record, and a window is open only once the chain has its
//! record and the table its operation: what nobody would be alerted to and nobody would review does not begin.

use super::{ASK, END, OPEN, SERVICE, limit, memory, window};
use crate::audit::lane::Durability;
use crate::audit::note::note;
use crate::audit::{buffer, flush};
use crate::backend::backend_local;
use crate::cache::{self, Person};
use crate::core::emergency::{FRESH_SECONDS, LONGEST_REASON, SHORTEST_REASON, script};
use crate::core::operation::Event;
use crate::core::script::{digest, hex};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::factor::{self, memory::clock, step_up};
use crate::operation::execute::check_confirmation;
use crate::operation::{Operation, actor, cover, denied, denied_for_now, next_number, step_record};
use crate::person::required;
use crate::settings::{self, Mode};
use crate::watch::statement::client_calls;
use crate::{own, raw, shared};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Microseconds that the sequencer has to raise the alert.
const ALERT_WITHIN: i128 = 10_000_000;
const SECOND: i64 = 1_000_000;

/// A window that waits for its second person.
#[derive(Clone)]
struct Asked {
    op_no: String,
    reason: String,
    seconds: i64,
}

backend_local! {
    static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
    /// When this session opened its last window: a code serves one.
    static OPENED_AT: Cell<i64> = const { Cell::new(0) };
}

#[pg_extern(sql = false)]
fn break_glass(reason: Option<&str>, duration: Option<Interval>) -> String {
    answer(ask_or_open(reason, duration))
}

#[pg_extern(sql = false)]
fn end_break_glass() {
    let asked = ASKED.with_borrow_mut(Option::take);
    if !window::end("steward.end_break_glass()") && asked.is_none() {
        Fault::wrong_state("no emergency window is open in this session")
            .hint("SELECT steward.break_glass('…', '15 min');")
            .raise();
    }
}

/// The session is handed over.
pub fn forget() {
    ASKED.with_borrow_mut(|asked| *asked = None);
    window::end("DISCARD ALL");
}

fn ask_or_open(reason: Option<&str>, duration: Option<Interval>) -> Outcome<String> {
    check_place()?;
    let person = actor(OPEN, "", "break_glass")?;
    check_call(&person)?;
    let reason = checked_reason(reason)?;
    let seconds = checked_seconds(duration)?;
    check_reviews(&person)?;
    check_factor(&person)?;
    if !person.never_alone() {
        let op_no = number()?;
        return open(&op_no, reason, seconds, false, &person).map(|()| op_no);
    }
    let asked = ASKED.with_borrow(Clone::clone).filter(|asked| asked.reason == reason && asked.seconds == seconds);
    let Some(op_no) = asked.map(|asked| asked.op_no) else { return ask(reason, seconds, &person) };
    check_asked(&op_no, reason, seconds, &person)?;
    open(&op_no, reason, seconds, true, &person)?;
    ASKED.with_borrow_mut(|asked| *asked = None);
    Ok(op_no)
}

/// In the home database of a running primary whose policy refuses something.
fn check_place() -> Outcome<()> {
    if !cache::at_home() || cache::policy_relation().is_none() {
        return Err(Fault::wrong_state("the policy lives in the home database")
            .hint(format!("\\connect {}", settings::database())));
    }
    // Safe: reads shared control data, and whether a client is connected to this process.
    let (standby, alone) = unsafe { (pg_sys::RecoveryInProgress(), pg_sys::MyProcPort.is_null()) };
    if standby || alone {
        return Err(Fault::wrong_state("an emergency window is opened by a client of the primary"));
    }
    if !shared::active() || shared::mode() != Mode::Enforce {
        return Err(Fault::wrong_state("nothing is refused now, so there is no emergency window"));
    }
    if !factor::memory::settled() {
        return Err(Fault::wrong_state("no emergency window can be opened yet")
            .detail("The sequencer has not taken over yet what happened before the server's last start.")
            .hint("SELECT * FROM steward.audit_status;  -- and try again in a second"));
    }
    Ok(())
}

/// Typed by the client, as a statement of its own, by somebody and not by an application.
fn check_call(person: &Person) -> Outcome<()> {
    if person.post == SERVICE {
        return Err(refused(format!("break glass refused: the post {SERVICE} has no emergencies")).detail(
            "What an application does is decided by its rules; nobody stands behind it who could answer for it.",
        ));
    }
    if !client_calls("break_glass", "") {
        return Err(refused("break glass refused: the client itself must call it".to_owned())
            .detail("A call inside a function, view or block does not count."));
    }
    // Safe: plain getters.
    if unsafe { raw::IsTransactionBlock() || pg_sys::GetCurrentTransactionNestLevel() > 1 } {
        return Err(refused("break glass refused: it is no part of a transaction".to_owned())
            .detail("It must be a statement of its own, outside of a transaction block.")
            .hint("ROLLBACK;"));
    }
    // What began before it was judged without it.
    if buffer::something_runs() {
        return Err(refused("break glass refused: it is no part of another statement".to_owned())
            .detail("It must be a statement of its own."));
    }
    if let Some(cover) = cover::current() {
        return Err(Fault::wrong_state("break_glass cannot be part of an operation")
            .detail(format!("{} is running in this session.", cover.op_no)));
    }
    match window::standing() {
        None => Ok(()),
        Some(window) => Err(refused("break glass refused: a window is open in this session".to_owned())
            .detail(format!("{} is not over. A window is not prolonged.", window.op_no))
            .hint("SELECT steward.end_break_glass();")),
    }
}

fn checked_reason(reason: Option<&str>) -> Outcome<&str> {
    let reason = required("reason", reason)?;
    match reason.chars().count() {
        SHORTEST_REASON..=LONGEST_REASON => Ok(reason),
        _ => Err(Fault::bad_argument(format!("a reason has {SHORTEST_REASON} to {LONGEST_REASON} characters"))
            .detail("Whoever reviews the window must understand from it why nothing could wait.")),
    }
}

fn checked_seconds(duration: Option<Interval>) -> Outcome<i64> {
    let asked = duration.map_or(15 * 60 * i128::from(SECOND), |duration| duration.as_micros());
    let longest = limit::longest_seconds()?;
    let seconds = asked.div_euclid(i128::from(SECOND));
    if seconds < 1 || asked > i128::from(longest * SECOND) {
        return Err(Fault::bad_argument(format!("an emergency window lasts 1 to {longest} seconds"))
            .detail("The longest term is max_duration of steward.break_glass_limit.")
            .hint("SELECT steward.break_glass('…', '15 min');"));
    }
    Ok(seconds as i64)
}

/// Whatever the tiers demand: a code, just typed.
fn check_factor(person: &Person) -> Outcome<()> {
    let unused = step_up::verified_at().is_some_and(|at| at > OPENED_AT.get());
    if unused && step_up::verified_within(FRESH_SECONDS, person) {
        return Ok(());
    }
    let fault = refused_for_now("break glass refused: the second factor is missing".to_owned());
    Err(fault
        .detail(format!(
            "A code must have been verified in this session within the last {FRESH_SECONDS} seconds; each serves one window."
        ))
        .hint(factor::next_command()))
}

/// Whoever still owes a review of a former window gets no other.
fn check_reviews(person: &Person) -> Outcome<()> {
    let overdue = c"SELECT op_no FROM steward._operation WHERE origin = 'break_glass' AND applicant = $1
        AND status = 'executed' AND review_due < clock_timestamp() ORDER BY review_due LIMIT 1";
    let rows = own::latest_rows_of(overdue, &[&person.name]);
    let Some(op_no) = rows.first().and_then(|row| row[0].clone()) else { return Ok(()) };
    Err(refused_for_now("break glass refused: a former window was not reviewed in time".to_owned())
        .detail(format!("{op_no} of {} waits for its review.", person.name))
        .hint(format!("Somebody else calls: SELECT steward.review('{op_no}', 'accepted', '…');")))
}

/// What a second person has confirmed is what is opened now.
fn check_asked(op_no: &str, reason: &str, seconds: i64, person: &Person) -> Outcome<()> {
    let operation = Operation::look(op_no)?;
    operation.check_integrity(OPEN)?;
    let same = operation.parts.applicant == person.name && operation.script == script(reason, seconds);
    let lives = operation.check_frozen().and_then(|()| {
        let opened = Event::Execute { left: 0, review: true };
        operation.after(opened, "opened").map(drop)
    });
    if !same || lives.is_err() {
        // The next call asks anew.
        ASKED.with_borrow_mut(|asked| *asked = None);
    }
    lives?;
    if !same {
        return Err(refused(format!("break glass refused: {op_no} is not what was asked for")));
    }
    check_confirmation(&operation)
}

fn number() -> Outcome<String> {
    own::run(|client| {
        let today = "SELECT to_char(clock_timestamp() AT TIME ZONE $1, 'YYYYMMDD')";
        let day = crate::person::one_text(client, today, &[settings::time_zone().into()])?.unwrap_or_default();
        next_number(client, &day)
    })
}

/// Files the window for a second person to confirm.
fn ask(reason: &str, seconds: i64, person: &Person) -> Outcome<String> {
    let op_no = number()?;
    tell(ASK, &op_no, reason, seconds, clock());
    await_operation(&op_no, person, "approved")?;
    let short = hex(&digest(&script(reason, seconds))[..6]);
    notice!(
        "pg_steward: {op_no} waits for a second person, who calls: SELECT steward.confirm('{op_no}', '{short}'); then repeat this call"
    );
    let asked = Asked { op_no: op_no.clone(), reason: reason.to_owned(), seconds };
    ASKED.with_borrow_mut(|known| *known = Some(asked));
    Ok(op_no)
}

fn open(op_no: &str, reason: &str, seconds: i64, witnessed: bool, person: &Rc<Person>) -> Outcome<()> {
    let now = clock();
    let until = now + seconds * SECOND;
    let claim = memory::claim(&person.name, now, until).map_err(|taken| match taken {
        memory::Taken::ByThePerson => refused_for_now("break glass refused: a window is open already".to_owned())
            .detail(format!("{} has one in another session; one person has one.", person.name)),
        memory::Taken::ByOthers => refused_for_now("break glass refused: too many windows are open".to_owned()),
    })?;
    tell(OPEN, op_no, reason, seconds, now);
    if let Err(fault) = await_operation(op_no, person, "executed") {
        let mut record = step_record(END, op_no);
        record.details = Some(json!({ "why": "it was not opened: no alert could be raised" }).to_string());
        note(record, Durability::Flushed);
        return Err(fault);
    }
    let pre_image = cache::policy().tier_policy(Tier::Critical, &person.post).pre_image;
    window::begin(op_no, &person.name, witnessed, pre_image, now, until);
    claim.keep();
    OPENED_AT.set(now);
    Ok(())
}

/// The record comes first: nothing takes it back, and from it the sequencer makes operation and alert.
fn tell(what: &str, op_no: &str, reason: &str, seconds: i64, from: i64) {
    let mut record = step_record(what, op_no);
    record.tier = Some(Tier::Critical);
    // Safe: this process's id.
    let backend = unsafe { pg_sys::MyProcPid };
    record.details =
        Some(json!({ "reason": reason, "seconds": seconds, "from": from, "backend": backend }).to_string());
    note(record, Durability::Flushed);
}

/// Waits until the sequencer has chained the record, raised the alert and written the operation down; the last may take
/// until somebody's transaction lets go of its row.
fn await_operation(op_no: &str, person: &Person, status: &str) -> Outcome<()> {
    let end = clock() + ALERT_WITHIN as i64;
    flush::wait(ALERT_WITHIN)?;
    let read = c"SELECT status FROM steward._operation WHERE op_no = $1 AND origin = 'break_glass' AND applicant = $2";
    loop {
        let rows = own::latest_rows_of(read, &[op_no, &person.name]);
        match rows.first().and_then(|row| row[0].as_deref()) {
            Some(found) if found == status => return Ok(()),
            Some("approved") if clock() < end => flush::doze(),
            _ => break,
        }
    }
    Err(Fault::wrong_state("no emergency window was opened: its operation could not be written down")
        .detail("A transaction that holds its row, or a lock on tables of schema steward, stops it; else the sequencer says why in the server log.")
        .hint("Call it again."))
}

fn refused(message: String) -> Fault {
    denied(OPEN, "", message)
}

/// Recorded as a denial; for the caller it is a matter of what is still missing.
fn refused_for_now(message: String) -> Fault {
    denied_for_now(OPEN, "", message)
}
