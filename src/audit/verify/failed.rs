//! `pg_steward/failed` in the data directory: what the last verification found that was not good. It stands until all that
//! is kept verifies again: damage does not pass for healed because newer records are whole. A verdict on an anchor is not
//! kept: anybody may call with one, and a wrong one says nothing about the chain.

use super::super::lane::Durability;
use super::super::note;
use super::super::sequencer::server_record;
use crate::core::chain::{Kind, Verdict};
use crate::core::record::Outcome;
use crate::settings::Mode;
use crate::{session, shared, state_file};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const FILE: &str = "failed";

/// What was found last, and is not known to be gone: `edited at record 420`.
pub(crate) fn kept() -> Option<String> {
    let text = match fs::read_to_string(Path::new("pg_steward").join(FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        text => text.unwrap_or_default(),
    };
    let found = serde_json::from_str::<Value>(&text).ok().and_then(|found| said(&found));
    Some(found.unwrap_or_else(|| "unknown: pg_steward/failed is damaged".to_owned()))
}

fn said(found: &Value) -> Option<String> {
    let place = found["first_bad_id"].as_i64().map_or_else(String::new, |id| format!(" at record {id}"));
    Some(format!("{}{place}", found["kind"].as_str()?))
}

/// Keeps a verdict that is not good, and puts it on record; the same one again is known.
pub(super) fn keep(verdict: &Verdict) {
    if verdict.ok || verdict.kind == Kind::Empty {
        return;
    }
    let found = json!({ "kind": verdict.kind.name(), "first_bad_id": verdict.first_bad_id });
    if kept() == said(&found) {
        return;
    }
    if let Err(error) = state_file::replace(FILE, found.to_string().as_bytes()) {
        warning!("pg_steward: what the verification found could not be kept: {error}");
    }
    // A copy that is examined elsewhere has no trail to tell it.
    if shared::get().is_some() && shared::mode() != Mode::Off {
        let mut details = found;
        (details["checked"], details["by"]) = (json!(verdict.checked), json!(session::login_name()));
        let record = server_record("VERIFICATION FAILED", Outcome::Failure, details);
        if let Err(error) = note::append(&record, Durability::Flushed) {
            warning!("pg_steward: a failed verification could not be put on record: {error}");
        }
    }
}

/// All that is kept has verified.
pub(super) fn forget() {
    if let Err(error) = fs::remove_file(Path::new("pg_steward").join(FILE))
        && error.kind() != ErrorKind::NotFound
    {
        warning!("pg_steward: the file \"pg_steward/{FILE}\" could not be removed: {error}");
    }
}
