//! That a second factor was verified in this session: this process knows it, and nothing that a session could set. It
//! belongs to the login that authenticated, to the role that was put on when the code was typed, and to the enrolment
//! the code came from; whatever of these changes, it does not hold. Its term begins with the code and is never prolonged.

use super::memory::clock;
use crate::backend::backend_local;
use crate::cache::Person;
use crate::core::gate::step_up_seconds;
use crate::core::tier::Tier;
use crate::session;
use pgrx::pg_sys;
use std::cell::RefCell;

#[derive(PartialEq)]
struct StepUp {
    person: String,
    enrolled_at: i64,
    identity: [pg_sys::Oid; 3],
    at: i64,
}

backend_local! {
    static STEP_UP: RefCell<Option<StepUp>> = const { RefCell::new(None) };
}

/// The login, and what SET SESSION AUTHORIZATION and SET ROLE made of it. A SECURITY DEFINER function changes none of them.
pub fn identity() -> [pg_sys::Oid; 3] {
    // Safe: plain getters.
    unsafe { [session::login(), pg_sys::GetSessionUserId(), pg_sys::GetOuterUserId()] }
}

/// A code of this person was right.
pub fn begin(person: &str, enrolled_at: i64) {
    let step_up = StepUp { person: person.to_owned(), enrolled_at, identity: identity(), at: clock() };
    STEP_UP.with_borrow_mut(|known| *known = Some(step_up));
}

/// The session is handed over.
pub fn forget() {
    STEP_UP.with_borrow_mut(|known| *known = None);
}

/// Whether it holds for work of this tier by this person.
pub fn holds(tier: Tier, person: &Person) -> bool {
    holds_at(clock(), tier, person)
}

/// The same at some moment.
pub fn holds_at(now: i64, tier: Tier, person: &Person) -> bool {
    holds_for(now, step_up_seconds(tier), person)
}

/// Whether a code of this person was verified in this session so many seconds ago at most.
pub fn verified_within(seconds: i64, person: &Person) -> bool {
    holds_for(clock(), seconds, person)
}

/// When the code was verified.
pub fn verified_at() -> Option<i64> {
    STEP_UP.with_borrow(|known| known.as_ref().map(|known| known.at))
}

/// A clock that was set back ends it too.
fn holds_for(now: i64, seconds: i64, person: &Person) -> bool {
    STEP_UP.with_borrow(|known| {
        known.as_ref().is_some_and(|known| {
            known.person == person.name
                && Some(known.enrolled_at) == person.enrolled_at
                && known.identity == identity()
                && (0..seconds * 1_000_000).contains(&(now - known.at))
        })
    })
}
