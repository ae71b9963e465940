//! Commands of the replication protocol: each is a record of its own, kept before it runs, and while the policy is enforced
//! only logins that `set_login_policy` lets replicate may send what copies data or decides on copies. A base backup is
//! all the data there is, under no mask and no scope.
//!
//! Called where PostgreSQL reports the command (`watch::replication`): no catalog, no table, nothing that waits.

use super::attempt::{Attempt, MESSAGE_CHARACTERS};
use super::policy::{self, LoginPolicy};
use super::{enforced, failures};
use crate::audit::lane::Durability;
use crate::audit::note;
use crate::core::login::{NAME_CHARACTERS, shown};
use crate::core::record::Outcome;
use crate::core::redact::redact_limited;
use crate::error::{Fault, Outcome as Fallible};
use crate::settings::Mode;
use crate::{own, shared};
use pgrx::spi::SpiClient;
use serde_json::Value;
use std::sync::atomic::Ordering::SeqCst;

/// The rule that refuses them.
pub const RULE: &str = "replication";
/// The operation type of what has no better one.
pub const COMMAND: &str = "REPLICATION COMMAND";
/// They tell about the server, and copy nothing.
const TELLING: [&str; 4] = ["IDENTIFY_SYSTEM", "READ_REPLICATION_SLOT", "SHOW", "TIMELINE_HISTORY"];
/// They copy data, or decide on copies.
const COPYING: [&str; 4] = ["BASE_BACKUP", "START_REPLICATION", "CREATE_REPLICATION_SLOT", "DROP_REPLICATION_SLOT"];
/// The libraries that a slot may decode with. Others would be loaded as any library is, with any path.
const PLUGINS: [&str; 4] = ["pgoutput", "test_decoding", "wal2json", "decoderbufs"];
/// What is kept of a command.
const CHARACTERS: usize = 2_000;

/// Whether commands are recorded: also before the sequencer's first round after a start, and on a standby.
fn recorded() -> bool {
    let chained = shared::get().is_some_and(|shared| shared.chained.load(SeqCst));
    (chained || shared::active()) && shared::mode() != Mode::Off
}

/// A login is about to run a command. An error is to be raised: what cannot be recorded does not happen either.
pub fn command(attempt: &Attempt, text: &[u8]) -> Fallible<()> {
    if !recorded() {
        return Ok(());
    }
    let kind = kind(text);
    let harmless = kind.is_some_and(|kind| TELLING.contains(&kind));
    let strange = plugin(text).filter(|plugin| !PLUGINS.contains(&plugin.as_str()));
    let licensed = || LoginPolicy::stored().is_some_and(|policy| policy.lets_replicate(&attempt.login()));
    let allowed = harmless || !enforced() || strange.is_none() && licensed();
    let kind = kind.unwrap_or(COMMAND);
    let outcome = if allowed { Outcome::Success } else { Outcome::Denied };
    let (mut record, mut details) = attempt.record(kind, outcome);
    // Whether it then fails is not known here.
    details.insert("received".into(), true.into());
    record.statement = Some(redact_limited(&String::from_utf8_lossy(text), false, CHARACTERS));
    if !has_options_of_a_plugin(text) {
        details.insert("command".into(), shown(text, CHARACTERS).0.into());
    }
    if allowed {
        let durability = if harmless { Durability::Buffered } else { Durability::Flushed };
        record.details = Some(Value::Object(details).to_string());
        return note::append(&record, durability).map_err(|error| {
            Fault::io("audit record cannot be written")
                .detail(format!("The spool of pg_steward answered: {error}."))
                .hint("Free space on the data directory's file system, then repeat the command.")
        });
    }
    let login = shown(&attempt.user, NAME_CHARACTERS).0;
    let message = match &strange {
        None => format!("role \"{login}\" may not replicate: the policy does not let it"),
        Some(plugin) => {
            format!("a replication slot may not load the library \"{}\"", shown(plugin.as_bytes(), NAME_CHARACTERS).0)
        }
    };
    // A standby tries again every few seconds, for ever.
    if let Some(before) = failures::one_more_refusal(attempt, RULE) {
        record.rule = Some(RULE.into());
        record.sqlstate = Some("42501".into());
        record.repeats = (before > 0).then(|| i64::from(before) + 1);
        details.insert("message".into(), shown(message.as_bytes(), MESSAGE_CHARACTERS).0.into());
        record.details = Some(Value::Object(details).to_string());
        let _counted_as_lost = note::append(&record, Durability::Flushed);
    }
    let hint = match strange {
        None => {
            "Ask somebody whose post may configure the policy: SELECT steward.set_login_policy('role', replication => true);"
        }
        Some(_) => {
            "Use one of pgoutput, test_decoding, wal2json, decoderbufs; for another, in an operation: SELECT pg_create_logical_replication_slot(…);"
        }
    };
    Err(Fault::refused(message).hint(hint))
}

/// The command's own name, if it is a known one; the parser takes capitals only.
fn kind(text: &[u8]) -> Option<&'static str> {
    let word = text.trim_ascii_start().split(|byte| !byte.is_ascii_uppercase() && *byte != b'_').next()?;
    TELLING.into_iter().chain(COPYING).find(|known| known.as_bytes() == word)
}

/// The library that a new slot decodes with. A name of a slot that looks like one is refused by the server before it loads.
fn plugin(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let mut words = text.split_whitespace().skip_while(|word| *word != "LOGICAL").skip(1);
    let creates = kind(text.as_bytes()) == Some("CREATE_REPLICATION_SLOT");
    let plugin = words.next().filter(|_| creates)?;
    Some(plugin.trim_end_matches(';').trim_matches('"').to_owned())
}

/// What a plugin of logical decoding is told can be anything, so it is not kept in clear.
fn has_options_of_a_plugin(text: &[u8]) -> bool {
    kind(text) == Some("START_REPLICATION") && text.contains(&b'(')
}

/// Logins that replicate now, and that the policy does not let: enforced, it would end that at their next command.
pub fn unlicensed(client: &mut SpiClient<'_>) -> Fallible<Vec<String>> {
    let policy = LoginPolicy::of(&policy::text(client)?)?;
    let mut lacking = Vec::new();
    for row in own::select(client, "SELECT DISTINCT usename::text FROM pg_stat_replication ORDER BY 1", &[])? {
        lacking.extend(row.get::<String>(1)?.filter(|login| !policy.lets_replicate(login)));
    }
    Ok(lacking)
}
