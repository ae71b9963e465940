//! Terms of what role forms granted. When one is over, whoever has the grant runs nothing until it is taken back
//! (`watch::judge::refuse_stopped`): that is one comparison for each statement and no look-up. Taking it back is
//! `steward.revoke_lapsed()`, which everybody may call, since it does no more than what was approved.

use super::one_text;
use crate::audit::buffer;
use crate::cache;
use crate::core::record::{Kind, Record};
use crate::error::{Fault, Outcome, answer};
use crate::operation::Entry;
use crate::{own, session};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

/// The call that ends a lapsed grant, exactly as somebody who is stopped by it may type it.
pub const REVOKE: &str = "SELECT steward.revoke_lapsed()";

/// When the first grant of this session's login lapses, in microseconds since 2000-01-01 UTC, of these pairs of grantee and
/// end. A member of the grantee has the grant too; a superuser is a member of nothing by that.
pub fn lapses_at(terms: Option<&str>) -> Option<i64> {
    let terms = serde_json::from_str::<Vec<(u32, i64)>>(terms?);
    // What does not read back has lapsed.
    let Ok(terms) = terms else { return Some(i64::MIN) };
    terms.into_iter().filter(|(grantee, _)| session::is_role(*grantee)).map(|(_, until)| until).min()
}

#[pg_extern(sql = false)]
fn revoke_lapsed() -> i64 {
    answer((|| {
        if !cache::at_home() || cache::policy_relation().is_none() {
            return Err(Fault::wrong_state("terms are kept in the home database")
                .hint(format!("\\connect {}", crate::settings::database())));
        }
        let ended = own::run(end_lapsed)?;
        for (op_no, command) in &ended {
            let mut record = Record::new(Kind::Policy, "revoke_lapsed");
            record.op_no = Some(op_no.clone());
            record.details = Some(json!({ "command": command }).to_string());
            buffer::push(record);
        }
        if !ended.is_empty() {
            own::policy_changed()?;
        }
        Ok(ended.len() as i64)
    })())
}

/// Operation and command of every grant that was taken back; no command where there was nothing left to take.
fn end_lapsed(client: &mut SpiClient<'_>) -> Outcome<Vec<(String, Option<String>)>> {
    let lock = "SELECT id::text FROM steward.role_term WHERE ended_at IS NULL AND until <= clock_timestamp() ORDER BY id FOR UPDATE SKIP LOCKED";
    // What another session takes back right now is none of ours.
    let held: Vec<String> =
        own::query(client, lock, &[])?.filter_map(|row| row.get::<String>(1).transpose()).collect::<Result<_, _>>()?;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let mut lapsed = Vec::new();
    let open = "SELECT id::text, op_no, command FROM steward._role_term_open WHERE id::text = ANY ($1) ORDER BY id";
    for row in own::query(client, open, &[held.into()])? {
        let text = |column: usize| row.get::<String>(column);
        lapsed.push((text(1)?.unwrap_or_default(), text(2)?.unwrap_or_default(), text(3)?));
    }
    let login = session::login_name();
    let person = session::person().map(|person| person.name.clone());
    for (id, op_no, command) in &lapsed {
        if let Some(command) = command {
            // Made of the catalog's own quoted names by the view.
            own::execute(client, command, &[])?;
        }
        let end = "UPDATE steward.role_term SET ended_at = clock_timestamp(), ended_by = $2 WHERE id = $1::uuid";
        own::execute(client, end, &[id.as_str().into(), login.as_str().into()])?;
        // A restored database has the terms, not the operations.
        if one_text(client, "SELECT op_no FROM steward._operation WHERE op_no = $1", &[op_no.as_str().into()])?
            .is_some()
        {
            Entry {
                op_no,
                event: "REVOKE LAPSED",
                person: person.as_deref(),
                login: &login,
                comment: command.as_deref(),
                digest: None,
                details: None,
            }
            .write(client)?;
        }
    }
    Ok(lapsed.into_iter().map(|(_, op_no, command)| (op_no, command)).collect())
}
