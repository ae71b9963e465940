//! What the sequencer does for logins: the file of their policy follows the tables, the file of their failures follows
//! shared memory.

use super::policy::LoginPolicy;
use super::{attempt, enforced, failures, known, policy};
use crate::audit::sequencer::transaction;
use crate::shared::Shared;
use crate::{cache, own};
use pgrx::{pg_sys, warning};
use std::io;

/// Microseconds between two looks at the tables.
const LOOK_INTERVAL: i64 = 1_000_000;

/// The sequencer's memory between rounds.
#[derive(Default)]
pub struct Keeper {
    looked_at: i64,
    /// What the file of the policy holds.
    written: Option<String>,
    /// What the file of known logins holds.
    known: Vec<u8>,
    failures: failures::Keeper,
    /// What could not be written was said.
    complained: bool,
}

impl Keeper {
    /// After a round, outside its transaction.
    pub fn look(&mut self, shared: &Shared) {
        let kept = self.failures.keep(shared);
        // Safe: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        // A clock that was set back is no reason to wait for it.
        let due = (now - self.looked_at).abs() >= LOOK_INTERVAL;
        if due {
            shared.refusals.take(now).into_iter().for_each(|(rule, count)| attempt::refused_again(shared, rule, count));
        }
        let kept = kept.and_then(|()| if due { self.follow(shared, now) } else { Ok(()) });
        match kept {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                self.complained = true;
                warning!("pg_steward: what logins are judged by could not be written: {error}");
            }
            Err(_) => (),
        }
    }

    fn follow(&mut self, shared: &Shared, now: i64) -> io::Result<()> {
        self.looked_at = now;
        // Until it is written again, everybody is refused.
        let lost = match &self.written {
            Some(text) => !policy::stands(text),
            None => enforced() && LoginPolicy::stored().is_none(),
        };
        if !policy::is_old() && self.written.is_some() && !lost {
            return Ok(());
        }
        let found = transaction(|| match cache::policy_relation() {
            Some(_) => own::run(|client| Ok((policy::text(client)?, policy::logins(client)?))).map(Some),
            None => Ok(None),
        });
        let (text, logins) = found.unwrap_or_else(|| (policy::nothing(), Vec::new()));
        let known = failures::known_logins(shared, &logins);
        if self.known != known {
            known::write(&known).inspect_err(|_| policy::set_old())?;
            self.known = known;
        }
        if lost || self.written.as_ref() != Some(&text) {
            self.written = None;
            policy::write(&text)?;
            self.written = Some(text);
        }
        if lost {
            attempt::policy_was_lost(shared);
        }
        Ok(())
    }
}

/// The sequencer ends: what it kept last may be a moment old.
pub fn leave(shared: &Shared) {
    if let Err(error) = failures::Keeper::default().keep(shared) {
        warning!("pg_steward: the failures of logins could not be written: {error}");
    }
}
