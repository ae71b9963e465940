//! Somebody's attempt to log in, as the client sent it, and the records of what became of it.

use super::failures::{self, Counted};
use super::{replication, ring};
use crate::audit::lane::{self, Durability};
use crate::audit::note::Parcel;
use crate::audit::sequencer::server_record;
use crate::core::login::{NAME_CHARACTERS, shown};
use crate::core::record::{Draft, Kind, Outcome, Record};
use crate::error::Outcome as Fallible;
use crate::{own, shared};
use pgrx::pg_sys;
use pgrx::spi::SpiClient;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The operation types of records of logins.
pub const LOGIN: &str = "LOGIN";
/// The second half of a client's attempt, which tried without encryption what had failed with it, or the other way round.
const RETRY: &str = "LOGIN RETRY";
const LOGOUT: &str = "LOGOUT";
const WORKER: &str = "WORKER START";
/// The file of the policy of logins was not what the sequencer had written, and is again.
const POLICY_LOST: &str = "LOGIN POLICY LOST";
/// The server's own user, let in while there was none.
const WITHOUT_POLICY: &str = "LOGIN WITHOUT POLICY";
const TOO_MANY: &str = "LOGIN FAILURES";
const TOO_MANY_DENIALS: &str = "PERMISSION FAILURES";
const TOO_MANY_SYNTAX_ERRORS: &str = "SYNTAX ERRORS";
/// What is kept of a message.
pub(super) const MESSAGE_CHARACTERS: usize = 160;

/// What is known of a connection before anybody has logged in. Names are the client's own words.
#[derive(Clone)]
pub struct Attempt {
    /// As the server compares it.
    pub user: Vec<u8>,
    pub database: Vec<u8>,
    pub application: Vec<u8>,
    /// None on a unix socket.
    pub address: Option<IpAddr>,
    /// As pg_hba.conf names it; empty where no line was looked up yet.
    pub method: &'static str,
    pub tls: bool,
    /// A walsender: physical replication has no database.
    pub replication: bool,
}

/// Why a login did not succeed.
pub struct Failure {
    pub sqlstate: String,
    pub message: Option<String>,
}

impl Attempt {
    /// The name as policy and counts compare it: what the server looks for, and not what can be shown of it.
    pub fn login(&self) -> String {
        String::from_utf8_lossy(&self.user).into_owned()
    }

    /// Whether the client was asked for a password.
    pub fn asks_for_password(&self) -> bool {
        matches!(self.method, "password" | "md5" | "scram-sha-256")
    }

    /// A record of what this login does now, and what its details say in any case.
    pub(super) fn record(&self, operation_type: &str, outcome: Outcome) -> (Record, Map<String, Value>) {
        let mut record = Record::new(Kind::Login, operation_type);
        let text = |bytes: &[u8]| Some(shown(bytes, NAME_CHARACTERS).0).filter(|text| !text.is_empty());
        record.outcome = outcome;
        record.user_id = shown(&self.user, NAME_CHARACTERS).0;
        record.client_ip = self.address.map(|address| address.to_canonical().to_string());
        record.application_name = text(&self.application);
        record.database = text(&self.database);
        // Safe: reads the clock and this process's id.
        unsafe {
            record.time = crate::raw::GetCurrentTimestamp();
            record.backend = Some(i64::from(pg_sys::MyProcPid));
        }
        let mut details = Map::new();
        if !self.method.is_empty() {
            details.insert("method".into(), self.method.into());
        }
        // The trail shows databases of logins only: everything else happens in this one.
        details.insert("database".into(), record.database.clone().into());
        details.insert("tls".into(), self.tls.into());
        if self.replication {
            details.insert("replication".into(), true.into());
        }
        let names = [&self.user, &self.database, &self.application];
        if names.into_iter().any(|name| shown(name, NAME_CHARACTERS).1) {
            details.insert("altered_names".into(), true.into());
        }
        (record, details)
    }

    /// The session is there.
    pub fn succeeded(&self) {
        failures::forget(&self.login());
        let (record, details) = self.record(LOGIN, Outcome::Success);
        keep(record, details, Durability::Buffered);
    }

    /// Records a failure, and counts it if it was one of identity; one too many is told in a record of its own.
    pub fn failed(&self, failure: Failure) {
        // Class 28: who could not show who they are. A missing database or a full server is nobody's guess.
        let counted = if failure.sqlstate.starts_with("28") { failures::one_more(self) } else { Counted::Few };
        let what = if matches!(counted, Counted::Retry) { RETRY } else { LOGIN };
        let (mut record, mut details) = self.record(what, Outcome::Failure);
        record.sqlstate = Some(failure.sqlstate);
        if let Some(message) = failure.message {
            details.insert("message".into(), shown(message.as_bytes(), MESSAGE_CHARACTERS).0.into());
        }
        keep(record, details, Durability::Buffered);
        if let Counted::TooMany { failures, locked_until } = counted {
            let (record, details) = self.record(TOO_MANY, Outcome::Failure);
            too_many(record, details, failures, locked_until);
        }
    }

    /// The policy refuses it, whether or not the client knew the password. Nobody is who they say here, so nobody may make
    /// the disk wait, nor fill it.
    pub fn refused(&self, rule: &'static str, message: &str) {
        let Some(before) = failures::one_more_refusal(self, rule) else { return };
        let (mut record, mut details) = self.record(LOGIN, Outcome::Denied);
        record.sqlstate = Some("28000".into());
        record.rule = Some(rule.into());
        record.repeats = (before > 0).then(|| i64::from(before) + 1);
        details.insert("message".into(), message.into());
        keep(record, details, Durability::Buffered);
    }

    /// Let in although nobody knows whom the policy refuses.
    pub fn let_in_without_policy(&self) {
        let (record, details) = self.record(WITHOUT_POLICY, Outcome::Success);
        keep(record, details, Durability::Buffered);
    }

    /// The session of this login ends.
    pub fn ended(&self, since: i64) {
        let (mut record, details) = self.record(LOGOUT, Outcome::Success);
        record.duration_us = Some(record.time - since);
        keep(record, details, Durability::Buffered);
    }
}

/// Refusals of a minute that were counted and not recorded. For the sequencer.
pub fn refused_again(shared: &shared::Shared, rule: &str, refusals: u32) {
    let (what, sqlstate) = if rule == replication::RULE { (replication::COMMAND, "42501") } else { (LOGIN, "28000") };
    let mut record = Record::new(Kind::Login, what);
    record.outcome = Outcome::Denied;
    record.sqlstate = Some(sqlstate.into());
    record.rule = Some(rule.into());
    record.repeats = Some(refusals.into());
    record.details = Some(json!({ "message": "refused like those before, within the same minute" }).to_string());
    // Safe: reads the clock.
    record.time = unsafe { crate::raw::GetCurrentTimestamp() };
    push(shared, &record);
}

/// For the sequencer, which has written it again.
pub fn policy_was_lost(shared: &shared::Shared) {
    let details = json!({ "message": "the file of the policy of logins was missing, torn or changed" });
    push(shared, &server_record(POLICY_LOST, Outcome::Failure, details));
}

fn push(shared: &shared::Shared, record: &Record) {
    let mut parcel = Parcel::default();
    parcel.add_whole(&Draft::of(record));
    parcel.records().into_iter().for_each(|record| ring::push(shared, record));
}

/// A background worker begins to work in a database as this role.
pub fn worker_started(role: String, database: Option<String>, name: String) {
    let nobody = Attempt {
        user: role.into_bytes(),
        database: database.unwrap_or_default().into_bytes(),
        application: Vec::new(),
        address: None,
        method: "",
        tls: false,
        replication: false,
    };
    let (record, mut details) = nobody.record(WORKER, Outcome::Success);
    details.insert("worker".into(), shown(name.as_bytes(), MESSAGE_CHARACTERS).0.into());
    keep(record, details, Durability::Buffered);
}

/// A session was denied what it asked for once more; too often is told in a record of its own.
pub fn permission_denied(attempt: &Attempt, typed: bool) {
    if let Counted::TooMany { failures, locked_until } = failures::one_more_denial(&attempt.login(), typed) {
        let (record, details) = attempt.record(TOO_MANY_DENIALS, Outcome::Failure);
        too_many(record, details, failures, locked_until);
    }
}

/// So many statements of a session did not parse, one after the other.
pub fn many_syntax_errors(attempt: &Attempt, errors: u32) {
    let (mut record, details) = attempt.record(TOO_MANY_SYNTAX_ERRORS, Outcome::Failure);
    record.sqlstate = Some("42601".into());
    record.repeats = Some(errors.into());
    keep(record, details, Durability::Buffered);
}

fn too_many(mut record: Record, mut details: Map<String, Value>, failures: u32, locked_until: Option<i64>) {
    record.rule = Some("login_failures".into());
    record.repeats = Some(failures.into());
    details.insert("locked".into(), locked_until.is_some().into());
    if let Some(until) = locked_until {
        details.insert("locked_for_s".into(), json!((until - record.time) / 1_000_000));
    }
    keep(record, details, Durability::Flushed);
}

/// Fills in whose login it is. For the sequencer: at the login itself no table can be asked.
pub fn name_person(client: &mut SpiClient<'_>, record: &mut Record) -> Fallible<()> {
    let owner =
        "SELECT l.person FROM pg_roles r JOIN steward.person_login l ON l.role::oid = r.oid WHERE r.rolname = $1";
    let row = own::query(client, owner, &[record.user_id.as_str().into()])?.first();
    record.person = if row.is_empty() { None } else { row.get_one::<String>()? };
    Ok(())
}

/// To this process's lane or, where it has none yet, to the ring. What finds no place is counted as LOST: no login waits
/// for its record, and none is refused for want of it.
fn keep(mut record: Record, details: Map<String, Value>, durability: Durability) {
    record.details = Some(Value::Object(details).to_string());
    let mut parcel = Parcel::default();
    parcel.add_whole(&Draft::of(&record));
    // Safe: a plain global of this process.
    if unsafe { pg_sys::MyBackendId } > 0 {
        let _counted_as_lost = lane::append(&parcel.records(), durability);
    } else if let Some(shared) = shared::get() {
        parcel.records().into_iter().for_each(|record| ring::push(shared, record));
    }
}
