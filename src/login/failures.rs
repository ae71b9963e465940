//! How often logins failed in a row, and which are locked: in shared memory, where no rollback reaches. Taken from a file
//! at the start of the server; the sequencer writes the file whenever something has changed.
//!
//! Plain atomics and no lock: two failures at once may be counted in either order, never lost. A place is known by a
//! number made from the login's name under a secret, so that nobody can choose names that share a place. The
//! places are few and names are anybody's to invent: where all are taken, an invented name gives way, and takes nobody's
//! place; among logins the one that failed longest ago.

use super::attempt::Attempt;
use super::known::{self, Known};
use super::policy::LoginPolicy;
use crate::core::login::{Failures, Limit, Taken, Try, gives_way, is_fallback};
use crate::shared::{self, Shared};
use crate::{raw, state_file};
use pgrx::pg_sys;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

const PLACES: usize = 4096;
/// How far from its own place a login may lie.
const WINDOW: usize = 32;
const FILE: &str = "login_failures";

/// What is known of one login.
#[repr(C)]
struct Place {
    /// 0: the place is free.
    key: AtomicU64,
    failures: AtomicU32,
    denials: AtomicU32,
    failing_since: AtomicI64,
    denied_since: AtomicI64,
    /// Denials of what the client itself had typed.
    typed: AtomicU32,
    _pad: AtomicU32,
    typed_since: AtomicI64,
    /// When it last failed or was denied.
    at: AtomicI64,
    /// Where it last failed from: `origin << 1 | tls`; 0 once its fallback came.
    from: AtomicU64,
    /// 0: not locked.
    locked_until: AtomicI64,
}

#[repr(C)]
pub struct Table {
    secret: [u8; 16],
    /// Counts the changes.
    changes: AtomicU64,
    places: [Place; PLACES],
}

/// What one more failure means.
pub enum Counted {
    /// The client's second try of what was counted already.
    Retry,
    /// Not yet too many.
    Few,
    TooMany {
        failures: u32,
        locked_until: Option<i64>,
    },
}

/// One more failed attempt.
pub fn one_more(attempt: &Attempt) -> Counted {
    let policy = LoginPolicy::read();
    let login = attempt.login();
    let (Some(shared), Some(limit)) = (shared::get(), policy.limit) else { return Counted::Few };
    let table = &shared.logins;
    let Some(place) = table.claim(table.key(&login)) else { return Counted::Few };
    let now = now();
    let this = Try { at: now, origin: table.origin(attempt), tls: attempt.tls };
    if is_fallback(place.last_try(), this) {
        place.from.store(0, SeqCst);
        return Counted::Retry;
    }
    place.from.store(u64::from(this.origin) << 1 | u64::from(this.tls), SeqCst);
    let failures = count(&place.failures, &place.failing_since, now, limit);
    place.at.store(now, SeqCst);
    table.followed(place, &login, Row { failures, locks: failures.too_many(limit) }, limit, &policy)
}

/// One more refusal by the policy: how many before it are told with it, None if it is not recorded by itself.
pub fn one_more_refusal(attempt: &Attempt, rule: &'static str) -> Option<u32> {
    let shared = shared::get()?;
    // Whatever names come from a blocked network, they are one kind.
    let whose = if rule == "blocked_address" { String::new() } else { attempt.login() };
    shared.refusals.one_more(shared.logins.key(&format!("{rule} {whose}")), rule, now())
}

/// One more statement of a session that was denied; `typed`: by the client itself.
pub fn one_more_denial(login: &str, typed: bool) -> Counted {
    let policy = LoginPolicy::read();
    let (Some(shared), Some(limit)) = (shared::get(), policy.limit) else { return Counted::Few };
    let table = &shared.logins;
    let Some(place) = table.claim(table.key(login)) else { return Counted::Few };
    let now = now();
    let failures = count(&place.denials, &place.denied_since, now, limit);
    let locks = typed && count(&place.typed, &place.typed_since, now, limit).too_many(limit);
    place.at.store(now, SeqCst);
    table.followed(place, login, Row { failures, locks }, limit, &policy)
}

/// A success: what failed before it is no row any more. A lock stays.
pub fn forget(login: &str) {
    let Some(shared) = shared::get() else { return };
    let table = &shared.logins;
    if let Some(place) = table.find(table.key(login))
        && place.failures.swap(0, SeqCst) > 0
    {
        place.from.store(0, SeqCst);
        table.changes.fetch_add(1, SeqCst);
    }
}

/// Until when a login is refused, None if it is not. The last administrator who could still log in is never.
pub fn locked_until(login: &str, policy: &LoginPolicy) -> Option<i64> {
    let table = &shared::get()?.logins;
    let until = table.locked(login)?;
    (!policy.serves(login) && table.can_lock(login, policy)).then_some(until)
}

/// For people: failures in a row, denials in a row, and until when it is locked.
pub fn state(login: &str) -> (u32, u32, Option<i64>) {
    let Some(shared) = shared::get() else { return (0, 0, None) };
    let table = &shared.logins;
    match table.find(table.key(login)) {
        Some(place) => (place.failures.load(SeqCst), place.denials.load(SeqCst), table.locked(login)),
        None => (0, 0, None),
    }
}

/// Takes lock and counts from a login. True if there was a lock.
pub fn unlock(login: &str) -> bool {
    let Some(shared) = shared::get() else { return false };
    let table = &shared.logins;
    let Some(place) = table.find(table.key(login)) else { return false };
    place.failures.store(0, SeqCst);
    place.denials.store(0, SeqCst);
    place.typed.store(0, SeqCst);
    let was = place.locked_until.swap(0, SeqCst);
    table.changes.fetch_add(1, SeqCst);
    was > now()
}

/// A row of failures or denials, and whether it is one that locks.
struct Row {
    failures: Failures,
    locks: bool,
}

/// One more in a row, though others may be counting the same row now.
fn count(count: &AtomicU32, since: &AtomicI64, now: i64, limit: Limit) -> Failures {
    loop {
        let seen = Failures { count: count.load(SeqCst), since: since.load(SeqCst) };
        let more = seen.one_more(now, limit);
        if count.compare_exchange(seen.count, more.count, SeqCst, SeqCst).is_ok() {
            since.store(more.since, SeqCst);
            return more;
        }
    }
}

impl Place {
    fn last_try(&self) -> Option<Try> {
        let from = self.from.load(SeqCst);
        (from != 0).then(|| Try { at: self.at.load(SeqCst), origin: (from >> 1) as u32, tls: from & 1 == 1 })
    }
}

impl Table {
    /// What follows a counted failure.
    fn followed(&self, place: &Place, login: &str, row: Row, limit: Limit, policy: &LoginPolicy) -> Counted {
        self.changes.fetch_add(1, SeqCst);
        if !row.locks && !row.failures.too_many(limit) {
            return Counted::Few;
        }
        let locked_until = limit.lock.filter(|_| row.locks).and_then(|lock| {
            let until = now().saturating_add(lock);
            if !super::enforced() || policy.serves(login) || !self.can_lock(login, policy) {
                return None;
            }
            place.locked_until.store(until, SeqCst);
            // Another administrator may have been locked at the same moment: then neither is.
            if !self.can_lock(login, policy) {
                place.locked_until.store(0, SeqCst);
                return None;
            }
            Some(until)
        });
        Counted::TooMany { failures: row.failures.count, locked_until }
    }

    /// Whether somebody could still administer, and somebody be a superuser, if this login could not. Nobody is locked while
    /// that is not known.
    fn can_lock(&self, login: &str, policy: &LoginPolicy) -> bool {
        let Some(mut administrators) = policy.administrators(now()) else { return false };
        let others = administrators.clone().filter(|one| one.login != login && self.locked(&one.login).is_none());
        match administrators.find(|one| one.login == login) {
            None => true,
            Some(own) => others.into_iter().any(|other| other.superuser || !own.superuser),
        }
    }

    fn locked(&self, login: &str) -> Option<i64> {
        let until = self.find(self.key(login))?.locked_until.load(SeqCst);
        (until > now()).then_some(until)
    }

    fn key(&self, login: &str) -> u64 {
        let digest = Sha256::new().chain_update(self.secret).chain_update(login).finalize();
        u64::from_be_bytes(std::array::from_fn(|index| digest[index])).max(1)
    }

    fn origin(&self, attempt: &Attempt) -> u32 {
        // Not zero, so that it shows that there was a failure at all.
        let address = attempt.address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
        (self.key(&address) as u32).max(1)
    }

    fn window(&self, key: u64) -> impl Iterator<Item = &Place> {
        (0..WINDOW).map(move |step| &self.places[(key as usize + step) % PLACES])
    }

    fn find(&self, key: u64) -> Option<&Place> {
        self.window(key).find(|place| place.key.load(SeqCst) == key)
    }

    /// The login's place; a free one, or one that gives way to it.
    fn claim(&self, key: u64) -> Option<&Place> {
        for place in self.window(key) {
            let found = place.key.compare_exchange(0, key, SeqCst, SeqCst);
            if found.is_ok() || found == Err(key) {
                return Some(place);
            }
        }
        let (now, known) = (now(), Known::read(&self.secret));
        let exists = |key: u64| known.as_ref().is_none_or(|known| known.holds(key));
        let taken = self.window(key).map(|place| Taken {
            at: place.at.load(SeqCst),
            exists: exists(place.key.load(SeqCst)),
            locked: place.locked_until.load(SeqCst) > now,
        });
        let place = self.window(key).nth(gives_way(exists(key), taken)?)?;
        let before = place.key.load(SeqCst);
        place.key.compare_exchange(before, key, SeqCst, SeqCst).ok()?;
        place.failures.store(0, SeqCst);
        place.denials.store(0, SeqCst);
        place.typed.store(0, SeqCst);
        place.from.store(0, SeqCst);
        place.locked_until.store(0, SeqCst);
        Some(place)
    }
}

/// Fills shared memory from the file. While the postmaster is alone.
pub fn restore(table: &mut Table) {
    // Safe: fills an array of bytes.
    unsafe { pg_sys::pg_strong_random(table.secret.as_mut_ptr().cast(), table.secret.len()) };
    // Without a file nothing has failed yet; one that cannot be read has lost its counts, and only those.
    let Ok(text) = std::fs::read_to_string(format!("pg_steward/{FILE}")) else { return };
    let Ok((secret, rows)) = serde_json::from_str::<([u8; 16], Vec<[i64; 9]>)>(&text) else { return };
    table.secret = secret;
    for [key, failures, failing_since, denials, denied_since, typed, typed_since, at, locked_until] in rows {
        if let Some(place) = table.claim(key as u64) {
            place.failures.store(failures as u32, SeqCst);
            place.failing_since.store(failing_since, SeqCst);
            place.denials.store(denials as u32, SeqCst);
            place.denied_since.store(denied_since, SeqCst);
            place.typed.store(typed as u32, SeqCst);
            place.typed_since.store(typed_since, SeqCst);
            place.at.store(at, SeqCst);
            place.locked_until.store(locked_until, SeqCst);
        }
    }
}

/// The sequencer's memory of what the file holds.
#[derive(Default)]
pub struct Keeper {
    kept: u64,
}

impl Keeper {
    /// Writes the file if something has changed since. What cannot be written is tried again.
    pub fn keep(&mut self, shared: &Shared) -> std::io::Result<()> {
        let table = &shared.logins;
        let changes = table.changes.load(SeqCst);
        if changes == self.kept {
            return Ok(());
        }
        let taken = table.places.iter().filter(|place| place.key.load(SeqCst) != 0);
        let rows: Vec<Value> = taken
            .map(|place| {
                json!([
                    place.key.load(SeqCst) as i64,
                    place.failures.load(SeqCst),
                    place.failing_since.load(SeqCst),
                    place.denials.load(SeqCst),
                    place.denied_since.load(SeqCst),
                    place.typed.load(SeqCst),
                    place.typed_since.load(SeqCst),
                    place.at.load(SeqCst),
                    place.locked_until.load(SeqCst),
                ])
            })
            .collect();
        state_file::replace(FILE, json!([table.secret, rows]).to_string().as_bytes())?;
        self.kept = changes;
        Ok(())
    }
}

/// What the file of known logins must hold.
pub fn known_logins(shared: &Shared, logins: &[String]) -> Vec<u8> {
    let table = &shared.logins;
    known::content(&table.secret, logins.iter().map(|login| table.key(login)).collect())
}

fn now() -> i64 {
    // Safe: reads the clock.
    unsafe { raw::GetCurrentTimestamp() }
}
