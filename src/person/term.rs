//! Terms of what role forms granted. When one is over, whoever has the grant runs nothing until it is taken back
//! (`watch::judge::refuse_stopped`): that is one comparison for each statement and no look-up. Taking it back is
//! `steward.revoke_lapsed()`, which everybody may call, since it does no more than what was approved.

use super::{one_text, texts};
use crate::audit::buffer;
use crate::cache;
use crate::core::record::{Kind, Outcome as Ending, Record};
use crate::error::{Fault, Outcome, answer};
use crate::operation::Entry;
use crate::own::{self, Undone};
use crate::session;
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
        revoke()
    })())
}

/// Takes back what has lapsed; how many grants.
pub fn revoke() -> Outcome<i64> {
    let mut ended = 0;
    for lapsed in own::run(claim)? {
        // One that cannot be taken back leaves the others to be.
        let record = match own::attempt(|client| lapsed.end(client)) {
            Ok(()) => {
                ended += 1;
                lapsed.record()
            }
            Err(undone) => lapsed.failed(&undone),
        };
        buffer::push(record);
    }
    if ended > 0 {
        own::policy_changed()?;
    }
    Ok(ended)
}

/// A grant whose term is over.
struct Lapsed {
    id: String,
    op_no: String,
    /// What takes it back, made of the catalog's own quoted names by the view; None: there is nothing left to take.
    command: Option<String>,
}

/// Locks the terms that are over. What another session takes back right now is none of ours.
fn claim(client: &mut SpiClient<'_>) -> Outcome<Vec<Lapsed>> {
    let lock = "SELECT id::text FROM steward.role_term WHERE ended_at IS NULL AND until <= clock_timestamp() ORDER BY id FOR UPDATE SKIP LOCKED";
    let held = texts(client, lock, &[])?;
    let mut lapsed = Vec::new();
    let open = "SELECT id::text, op_no, command FROM steward._role_term_open WHERE id::text = ANY ($1) ORDER BY id";
    for row in own::query(client, open, &[held.into()])? {
        let text = |column: usize| row.get::<String>(column);
        lapsed.push(Lapsed {
            id: text(1)?.unwrap_or_default(),
            op_no: text(2)?.unwrap_or_default(),
            command: text(3)?,
        });
    }
    Ok(lapsed)
}

/// REVOKE on a table takes the privileges on its columns along: those that the owner gave by themselves are given again.
const ON_COLUMNS: &str =
    "SELECT format('GRANT %s (%I) ON %s TO %s%s', x.privilege_type, a.attname, t.relation, t.grantee,
        CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM steward.role_term t JOIN pg_class c ON c.oid = t.relation::oid
    JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped CROSS JOIN aclexplode(a.attacl) x
    WHERE t.id = $1::uuid AND t.column_name IS NULL AND x.grantee = t.grantee::oid AND x.grantor = c.relowner
        AND x.privilege_type = t.privilege ORDER BY a.attnum";

impl Lapsed {
    fn end(&self, client: &mut SpiClient<'_>) -> Outcome<()> {
        if let Some(command) = &self.command {
            let again = texts(client, ON_COLUMNS, &[self.id.as_str().into()])?;
            own::execute(client, command, &[])?;
            again.iter().try_for_each(|grant| own::execute(client, grant, &[]).map(drop))?;
        }
        let login = session::login_name();
        let end = "UPDATE steward.role_term SET ended_at = clock_timestamp(), ended_by = $2 WHERE id = $1::uuid";
        own::execute(client, end, &[self.id.as_str().into(), login.as_str().into()])?;
        // A restored database has the terms, not the operations.
        let known = "SELECT op_no FROM steward._operation WHERE op_no = $1";
        if one_text(client, known, &[self.op_no.as_str().into()])?.is_none() {
            return Ok(());
        }
        let person = session::person().map(|person| person.name.clone());
        Entry {
            op_no: &self.op_no,
            event: "REVOKE LAPSED",
            person: person.as_deref(),
            login: &login,
            comment: self.command.as_deref(),
            digest: None,
            details: None,
        }
        .write(client)
    }

    fn record(&self) -> Record {
        let mut record = Record::new(Kind::Policy, "revoke_lapsed");
        record.op_no = Some(self.op_no.clone());
        record.details = Some(json!({ "command": self.command }).to_string());
        record
    }

    /// It is still there, and its grantee still stopped.
    fn failed(&self, undone: &Undone) -> Record {
        undone.pass_on_cancellation();
        let command = self.command.as_deref().unwrap_or_default();
        Fault::wrong_state(format!("a right whose term is over was not taken back: {command}"))
            .detail(format!("{}. Whoever has it stays stopped.", undone.message))
            .hint(format!("Once the reason is gone: {REVOKE};"))
            .warn();
        let mut record = self.record();
        record.outcome = Ending::Failure;
        record.sqlstate = Some(undone.sqlstate.clone());
        record.details = Some(json!({ "command": self.command, "reason": undone.message }).to_string());
        record
    }
}
