//! A leaver: what suspending a person takes away beside the capabilities. Their logins are closed, and once that is
//! committed their sessions are ended. Were a session to survive, its next statement is refused all the same
//! (`watch::judge::refuse_stopped`); what the person had filed and said is frozen where operations are read.

use super::texts;
use crate::backend::backend_local;
use crate::error::Outcome;
use crate::own;
use crate::watch::transaction;
use pgrx::pg_sys;
use pgrx::spi::SpiClient;
use std::cell::RefCell;
use std::ffi::CStr;

/// A login whose sessions end when the transaction commits.
struct Leaving {
    login: pg_sys::Oid,
    subtransaction: u32,
}

backend_local! {
    static LEAVING: RefCell<Vec<Leaving>> = const { RefCell::new(Vec::new()) };
}

/// All logins of the person but those of superusers where no other superuser is left who can log in and may do something:
/// were the last one closed, only a restart could open the server.
const TO_CLOSE: &CStr =
    c"SELECT quote_ident(r.rolname) FROM steward.person_login l JOIN pg_roles r ON r.oid = l.role::oid
    WHERE l.person = $1 AND r.rolcanlogin AND (NOT r.rolsuper OR EXISTS (SELECT FROM pg_roles other
        WHERE other.rolsuper AND other.rolcanlogin AND NOT EXISTS (SELECT FROM steward.person_login theirs
            JOIN steward.person p ON p.name = theirs.person WHERE theirs.role::oid = other.oid AND (p.name = $1
                OR p.suspended_at IS NOT NULL OR coalesce(p.valid_until, 'infinity') <= clock_timestamp()))))
    ORDER BY 1";

/// Closes the person's logins and ends their sessions at the commit. Returns the logins that were closed. The caller holds
/// the lock of `last`, so what is read here, with the newest snapshot, stays as it is.
pub fn leave(client: &mut SpiClient<'_>, person: &str) -> Outcome<Vec<String>> {
    let closed: Vec<String> = own::latest_rows_of(TO_CLOSE, &[person]).into_iter().flatten().flatten().collect();
    for login in &closed {
        // A quoted identifier of the catalog.
        alter(&format!("ALTER ROLE {login} NOLOGIN"))?;
        let mark = "UPDATE steward.person_login SET closed = true WHERE role = $1::regrole";
        own::execute(client, mark, &[login.as_str().into()])?;
    }
    let logins = "SELECT role::oid FROM steward.person_login WHERE person = $1";
    let mut leaving = Vec::new();
    for row in own::query(client, logins, &[person.into()])? {
        leaving.extend(row.get::<pg_sys::Oid>(1)?);
    }
    // Safe: plain getter.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    LEAVING.with_borrow_mut(|all| all.extend(leaving.into_iter().map(|login| Leaving { login, subtransaction })));
    transaction::concern();
    Ok(closed)
}

/// Opens the logins again that a suspension closed.
pub fn come_back(client: &mut SpiClient<'_>, person: &str) -> Outcome<()> {
    let opened = "UPDATE steward.person_login SET closed = false WHERE person = $1 AND closed
        RETURNING (SELECT quote_ident(rolname) FROM pg_roles r WHERE r.oid = role)";
    for login in texts(client, opened, &[person.into()])? {
        alter(&format!("ALTER ROLE {login} LOGIN"))?;
    }
    Ok(())
}

/// Whoever has a login may hold its row, by ALTER ROLE in a transaction that stays open: to be suspended later, or never.
fn alter(statement: &str) -> Outcome<()> {
    own::lock(statement, &[], "pg_catalog.pg_authid")
}

/// COMMIT: ends the sessions, in every database, workers that run as the login included. Never raises.
pub fn after_commit() {
    let leaving = LEAVING.with_borrow_mut(std::mem::take);
    if leaving.is_empty() {
        return;
    }
    // Safe: the array of processes never moves; a slot is read without its lock, as a moment old as any list of
    // processes is. Sequencer and launcher have no role of a person in theirs.
    unsafe {
        let processes = &*pg_sys::ProcGlobal;
        for place in 0..processes.allProcCount as usize {
            let process = &*processes.allProcs.add(place);
            if process.pid != 0 && leaving.iter().any(|leaving| leaving.login == process.roleId) {
                // What pg_terminate_backend sends. A process that has just gone is none of ours to wait for.
                libc::kill(process.pid, libc::SIGTERM);
            }
        }
    }
}

/// ABORT: nobody leaves.
pub fn after_abort() {
    LEAVING.with_borrow_mut(Vec::clear);
}

pub fn subtransaction_aborted(subtransaction: u32) {
    LEAVING.with_borrow_mut(|all| all.retain(|leaving| leaving.subtransaction < subtransaction));
}
