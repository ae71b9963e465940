//! Verifying a code. The verdict stands in shared memory and in the spool before anybody hears it.

use super::{VERIFY, key, memory, step_up, subject};
use crate::audit::lane::Durability;
use crate::audit::note;
use crate::backend::backend_local;
use crate::cache::Person;
use crate::core::attempts::{Attempts, Typed, Verdict};
use crate::core::record::{Kind, Outcome as Ending, Record};
use crate::core::seal::open;
use crate::core::totp::{matching_steps, parse_code};
use crate::error::{Fault, Outcome, answer};
use crate::watch::statement::client_calls;
use crate::{own, session};
use pgrx::prelude::*;
use serde_json::json;
use std::cell::Cell;
use std::ffi::CStr;

/// A code that this session typed while a single one was not enough.
struct First {
    /// The enrolment it was typed for.
    enrolled_at: i64,
    typed: Typed,
}

backend_local! {
    static FIRST: Cell<Option<First>> = const { Cell::new(None) };
}

#[pg_extern(sql = false)]
fn verify_totp(code: Option<&str>) {
    hide_code();
    crate::watch::code::typed();
    answer(verify(code))
}

/// What pg_stat_activity shows until the next statement.
fn hide_code() {
    // Safe: copied at once.
    unsafe {
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, c"SELECT steward.verify_totp(?)".as_ptr())
    }
}

fn verify(code: Option<&str>) -> Outcome<()> {
    let person = subject(VERIFY)?;
    // Somebody else's function could use up the tries of whoever is led to call it.
    if !cfg!(feature = "pg_test") && !client_calls("verify_totp", "") {
        return Err(Fault::refused("a code counts only where the client itself gives it")
            .detail("A call inside a function, view or block does not count.")
            .hint("SELECT steward.verify_totp('…');"));
    }
    let code = code.and_then(parse_code).ok_or_else(|| Fault::bad_argument("a code has six digits"))?;
    let key = key::read()?;
    if !memory::settled() {
        return Err(Fault::wrong_state("no code can be verified yet")
            .detail("The sequencer has not taken over yet what was tried before the server's last start.")
            .hint("SELECT * FROM steward.audit_status;  -- and try again in a second"));
    }
    let Some(enrolled) = Enrolled::read(&person)? else {
        return Err(Fault::wrong_state(format!("{} has enrolled no second factor", person.name))
            .hint("SELECT steward.enroll_totp();"));
    };
    let secret = open(&key, &person.name, &enrolled.sealed).ok_or_else(|| {
        Fault::wrong_state("the second factor cannot be opened")
            .detail("steward.key_file holds another key than the one it was enrolled with, or the row was changed.")
            .hint("Put the file of that key back, or have steward.reset_totp(person) approved.")
    })?;
    // Looked up before the verdict: nothing may come between that and its record.
    let mut record = Record::new(Kind::Login, VERIFY);
    session::stamp(&mut record);
    let now = memory::clock();
    record.time = now;
    let typed = Typed { at: now, steps: matching_steps(&secret, code, memory::step_now(now)) };
    let before = FIRST.take().filter(|first| first.enrolled_at == enrolled.at).map(|first| first.typed);
    let verdict = memory::judge(&person.name, enrolled.at, enrolled.attempts, typed.clone(), before.as_ref());
    if verdict == Some(Verdict::OneMore) {
        FIRST.set(Some(First { enrolled_at: enrolled.at, typed }));
    }
    conclude(verdict, record)?;
    step_up::begin(&person.name, enrolled.at);
    Ok(())
}

/// Records the verdict durably, then gives the answer.
fn conclude(verdict: Option<Verdict>, mut record: Record) -> Outcome<()> {
    let answer = match verdict {
        Some(Verdict::Accepted(step)) => {
            record.details = Some(json!({ "step": step }).to_string());
            Ok(())
        }
        // One answer for all of them: what is wrong with a code is nobody's business but its owner's.
        Some(Verdict::Wrong) => {
            record.outcome = Ending::Failure;
            Err(Fault::refused("the code is not accepted")
                .detail("It is wrong, of another person, too old, or was used already: each code serves once.")
                .hint("Wait for the next code, and check the clock of the authenticator."))
        }
        Some(Verdict::OneMore) => {
            record.outcome = Ending::Denied;
            Err(Fault::wrong_state("too many wrong codes were tried: one right code is not enough now")
                .detail("If this one was right, the next one of the authenticator is accepted, typed in this session within two minutes.")
                .hint("Wait for the next code, then: SELECT steward.verify_totp('…');"))
        }
        None => {
            record.outcome = Ending::Denied;
            Err(Fault::wrong_state("too many persons have tried codes within a day: no code can be counted now"))
        }
    };
    if let Err(fault) = &answer {
        record.sqlstate = Some(fault.sqlstate());
    }
    note::append(&record, Durability::Flushed).map_err(|error| {
        Fault::io("audit record cannot be written")
            .detail(format!("The spool of pg_steward answered: {error}."))
            .hint("Free space on the data directory's file system, then wait for the next code.")
    })?;
    answer
}

/// What is stored of a person's second factor.
struct Enrolled {
    sealed: Vec<u8>,
    /// As `Person::enrolled_at`.
    at: i64,
    attempts: Attempts,
}

const READ: &CStr = c"SELECT array_to_json(ARRAY(SELECT get_byte(f.sealed, n) FROM generate_series(0, octet_length(f.sealed) - 1) n))::text,
        (extract(epoch FROM f.enrolled_at - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8::text,
        coalesce(s.last_step, 0)::text, array_to_json(coalesce(s.failures, '{}'))::text
    FROM steward._second_factor f LEFT JOIN steward._second_factor_state s USING (person) WHERE f.person = $1";

impl Enrolled {
    /// With the newest snapshot: an old one must not bring back a secret that was reset.
    fn read(person: &Person) -> Outcome<Option<Enrolled>> {
        let rows = own::latest_rows_of(READ, &[&person.name]);
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || {
            let failures: Vec<i64> = serde_json::from_str(row[3].as_deref()?).ok()?;
            Some(Enrolled {
                sealed: serde_json::from_str(row[0].as_deref()?).ok()?,
                at: row[1].as_deref()?.parse().ok()?,
                attempts: Attempts::new(row[2].as_deref()?.parse().ok()?, &failures),
            })
        };
        read().map(Some).ok_or_else(|| Fault::internal("a second factor does not read back"))
    }
}
