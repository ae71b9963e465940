//! Seals of operations. Whoever writes into the tables past the functions of this schema, in single-user mode, with the
//! policy switched off or in the files themselves, forges a row; the seal over it and over everything that was said to it
//! needs the key, which lies outside (`factor::key`). What may still run is sealed, nothing else.
//!
//! Never: a seal for what was said while nothing was enforced, when no second factor was asked for; and none over what had
//! no good seal before, or the next honest vote would make a forged row genuine.

use super::{Operation, denied_as, told};
use crate::core::operation::Status;
use crate::core::operation_seal::{Row, fits, seal};
use crate::error::{Fault, Outcome, answer};
use crate::factor::key;
use crate::login::enforced;
use crate::person::texts;
use crate::{own, settings};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// How an operation stands.
pub enum Sealed {
    /// As installed: there is no key, and nothing is sealed.
    Open,
    Good,
    Missing,
    /// It does not fit.
    Broken,
    /// The key cannot be used: why, and what to do.
    NoKey {
        why: String,
        hint: String,
    },
}

/// What is sealed of an operation, row by row. The digest stands for script, form and data (`check_integrity`). Not what
/// the sequencer writes beside somebody's transaction, and not what comes after the last run.
const CONTENT: [&str; 4] = [
    "SELECT ARRAY['operation', op_no, origin, encode(digest, 'hex'), tier::text, rule, purpose, impact, expected_rows::text, rollback_plan,
            applicant, applicant_login, run_as::oid::text, database, system_identifier, extract(epoch FROM not_before)::text,
            extract(epoch FROM not_after)::text, runs_allowed::text, runs_done::text, approvals_needed::text, witness_needed::text,
            CASE status WHEN 'failed' THEN 'approved' ELSE status END, extract(epoch FROM created_at)::text, confirmed_by,
            extract(epoch FROM confirmed_at)::text, confirmed_step::text, executed_by, extract(epoch FROM executed_at)::text,
            stepwise::text, rows_touched::text, extract(epoch FROM every)::text, needs_arm::text, matched_rules::text, exactly::text]
        FROM steward._operation WHERE op_no = $1",
    "SELECT ARRAY['event', n::text, extract(epoch FROM at)::text, event, person, login, comment, encode(digest, 'hex'), details::text]
        FROM steward._operation_event WHERE op_no = $1
            AND event IN ('REQUEST', 'APPROVE', 'RENEW', 'CONFIRM', 'ANSWER', 'ARM', 'EXECUTE') ORDER BY n",
    "SELECT ARRAY['signature', tier::text, rule, step::text, who::text, capability]
        FROM steward._operation_approval WHERE op_no = $1 ORDER BY tier, rule COLLATE \"C\", step",
    "SELECT ARRAY['dependency', object, encode(digest, 'hex')]
        FROM steward._operation_dependency WHERE op_no = $1 ORDER BY object COLLATE \"C\"",
];

fn content(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for part in CONTENT {
        for row in own::query(client, part, &[op_no.into()])? {
            rows.push(row.get::<Row>(1)?.unwrap_or_default());
        }
    }
    Ok(rows)
}

/// The seal, and whether any operation that may still run has one.
const STORED: &str =
    "SELECT seal, EXISTS (SELECT FROM steward._operation WHERE seal IS NOT NULL AND not_after > clock_timestamp())
    FROM steward._operation WHERE op_no = $1";

/// Looks at an operation whose row is locked.
pub fn state(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<Sealed> {
    let (stored, any) = own::query(client, STORED, &[op_no.into()])?.first().get_two::<Vec<u8>, bool>()?;
    if settings::key_file().is_none() && any != Some(true) {
        return Ok(Sealed::Open);
    }
    let key = match key::read() {
        Ok(key) => key,
        Err(fault) => {
            let (why, hint) = fault.advice();
            return Ok(Sealed::NoKey { why: why.to_owned(), hint: hint.to_owned() });
        }
    };
    Ok(match stored {
        None => Sealed::Missing,
        Some(stored) if fits(&key, &content(client, op_no)?, &stored) => Sealed::Good,
        Some(_) => Sealed::Broken,
    })
}

/// Of an operation that was filed just now.
pub fn first(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<()> {
    if !enforced() {
        return Ok(());
    }
    match state(client, op_no)? {
        Sealed::Open => Ok(()),
        Sealed::NoKey { why, hint } => Err(Fault::wrong_state("no operation can be sealed").detail(why).hint(hint)),
        _ => write(client, op_no),
    }
}

fn write(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<()> {
    let sealed = seal(&key::read()?, &content(client, op_no)?).ok_or_else(|| Fault::internal("a key is no key"))?;
    own::execute(
        client,
        "UPDATE steward._operation SET seal = $2 WHERE op_no = $1",
        &[op_no.into(), sealed.to_vec().into()],
    )
    .map(drop)
}

fn remove(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<()> {
    own::execute(client, "UPDATE steward._operation SET seal = NULL WHERE op_no = $1", &[op_no.into()]).map(drop)
}

/// After a step that has led to `status`, what was sealed `before` it is sealed anew. `gives`: the step says yes to
/// something, or answers for it.
pub fn renew(client: &mut SpiClient<'_>, op_no: &str, before: &Sealed, status: Status, gives: bool) -> Outcome<()> {
    if !matches!(before, Sealed::Good) {
        return Ok(());
    }
    // A key that is gone in the middle of a step takes the operation's runs along, not the step.
    match may_run(status) && (enforced() || !gives) && key::read().is_ok() {
        true => write(client, op_no),
        false => remove(client, op_no),
    }
}

/// Whether it still has to be what was filed and approved.
pub(super) fn may_run(status: Status) -> bool {
    matches!(status, Status::Submitted | Status::Approved | Status::Failed | Status::Armed)
}

impl Operation {
    /// Refuses a step on what does not carry the seal of those who filed and voted, as long as it may run.
    pub fn check_sealed(&self, step: &str) -> Outcome<()> {
        if self.run_as.is_none() || !enforced() || !may_run(self.status) {
            return Ok(());
        }
        let op_no = &self.op_no;
        let again = "File it again with steward.request(script, purpose).";
        let fault = match &self.sealed {
            Sealed::Open | Sealed::Good => return Ok(()),
            Sealed::Missing => Fault::wrong_state(format!("{op_no} is not sealed"))
                .detail("It was written into the tables, or filed or voted on before there was a key or while the policy was not enforced.")
                .hint(again),
            Sealed::Broken => Fault::corrupted(format!("the seal of {op_no} does not fit: it is not what was filed and approved"))
                .detail("Tables of schema steward were changed from outside, or steward.key_file holds another key.")
                .hint(again),
            Sealed::NoKey { why, hint } => Fault::wrong_state(format!("the seal of {op_no} cannot be checked"))
                .detail(why.clone())
                .hint(hint.clone()),
        };
        Err(denied_as(step, op_no, fault))
    }

    /// See `renew`.
    pub fn reseal(&self, client: &mut SpiClient<'_>, status: Status, gives: bool) -> Outcome<()> {
        renew(client, &self.op_no, &self.sealed, status, gives)
    }
}

/// For `activate()`: what is not guarded without a key.
pub fn not_sealed() -> Option<Fault> {
    settings::key_file().is_none().then(|| {
        Fault::remark("approvals are not sealed: the setting steward.key_file is empty")
            .detail("Whoever writes into the tables of schema steward past its functions can forge an approval.")
            .hint(key::HOW)
    })
}

/// For the daily check: what may still run, by its term and its status, and would be refused for its seal or for what the
/// chain says of it.
const OPEN: &str = "SELECT op_no FROM steward._operation WHERE origin = 'request' AND not_after > clock_timestamp()
    AND status IN ('submitted', 'approved', 'failed', 'armed') ORDER BY op_no";

#[pg_extern(sql = false)]
fn _forged_operations() -> Vec<String> {
    answer(own::run(|client| {
        let mut found = told::all(client)?;
        let open = if enforced() { texts(client, OPEN, &[])? } else { Vec::new() };
        for op_no in open {
            let why = match state(client, &op_no)? {
                Sealed::Open | Sealed::Good => continue,
                Sealed::Missing => "is not sealed",
                Sealed::Broken => "does not fit its seal",
                Sealed::NoKey { .. } => "cannot be checked: there is no key",
            };
            found.push(format!("{op_no} {why}"));
        }
        found.sort();
        Ok(found)
    }))
}
