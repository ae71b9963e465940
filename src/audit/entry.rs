//! A record between its source and the chain: decoded, seen by the reviews, never passed over.

use super::sequencer::server_record;
use crate::core::record::{Outcome as Result, Record};
use crate::error::Outcome;
use crate::operation::review;
use crate::own;
use pgrx::PgTryBuilder;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::panic::AssertUnwindSafe;

/// A record on its way to the chain.
pub(super) struct Entry(pub Record);

impl Entry {
    pub fn of(record: Record) -> Entry {
        Entry(record)
    }

    /// What does not read as a record is not passed over: a record with its digest stands for it.
    pub fn read(bytes: &[u8], source: &str) -> Entry {
        Record::decode(bytes).map_or_else(|_| Entry::unreadable(bytes, source), Entry)
    }

    pub fn unreadable(bytes: &[u8], source: &str) -> Entry {
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Entry(server_record(
            "UNREADABLE",
            Result::Failure,
            json!({ "from": source, "sha256": sha256, "bytes": bytes.len() }),
        ))
    }
}

/// Lets the reviews see every record before it is hashed. What fails there must not stop the chain: then each record
/// gets an attempt of its own, and one that fails again is chained as it came.
pub(super) fn review_all(entries: &mut [Entry]) -> Outcome<()> {
    let came: Vec<Record> = entries.iter().map(|entry| entry.0.clone()).collect();
    if attempt(|client| entries.iter_mut().try_for_each(|entry| review::on_record(client, &mut entry.0))).is_ok() {
        return Ok(());
    }
    for (entry, came) in entries.iter_mut().zip(came) {
        entry.0 = came.clone();
        if let Err(reason) = attempt(|client| review::on_record(client, &mut entry.0)) {
            warning!("pg_steward: a record is chained without its review: {reason}");
            entry.0 = came;
        }
    }
    Ok(())
}

/// Runs `body` in a subtransaction, which an error undoes. Returns the error's message.
fn attempt(body: impl FnOnce(&mut SpiClient<'_>) -> Outcome<()>) -> std::result::Result<(), String> {
    // Safe: the pattern of PL/pgSQL's exception blocks; context and owner are restored on both ways.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = context;
        let result = PgTryBuilder::new(AssertUnwindSafe(|| {
            own::run(body).unwrap_or_else(|fault| fault.raise());
            Ok(())
        }))
        .catch_others(|error| Err(message(&error)))
        .execute();
        match result {
            Ok(()) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

fn message(error: &pg_sys::panic::CaughtError) -> String {
    use pg_sys::panic::CaughtError::{ErrorReport, PostgresError, RustPanic};
    let (PostgresError(report) | ErrorReport(report) | RustPanic { ereport: report, .. }) = error;
    report.message().to_owned()
}
