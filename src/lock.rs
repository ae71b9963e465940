//! Locks that others may hold: waited for a moment, not until they please, and refused in the name of the session that
//! holds them. An open transaction is enough to hold one, so waiting without end would let its owner decide who is
//! suspended, and when.

use crate::audit::flush::doze;
use crate::error::{Fault, Outcome};
use crate::own;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// How long a lock is waited for.
pub const PATIENCE: &CStr = c"3s";
const LONGEST: Duration = Duration::from_secs(3);

/// Tries until it has succeeded, or for as long as a lock is waited for. Queues behind nobody, so it cannot wait in a circle.
pub fn patiently(mut take: impl FnMut() -> Outcome<bool>) -> Outcome<bool> {
    let begun = Instant::now();
    loop {
        if take()? {
            return Ok(true);
        }
        if begun.elapsed() >= LONGEST {
            return Ok(false);
        }
        doze();
    }
}

/// The session that holds a row, by its transaction; else the strongest lock on the table; the oldest transaction of several.
const HOLDER: &CStr = c"SELECT a.pid::text, coalesce(a.usename, ''), coalesce(a.state, a.backend_type),
        coalesce(to_char(extract(epoch FROM clock_timestamp() - a.xact_start), 'FM999999990.0'), '0')
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.granted AND l.pid <> pg_backend_pid() AND (l.transactionid::text = $2 OR l.relation = to_regclass($1)
        AND l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND l.mode <> 'AccessShareLock')
    ORDER BY l.transactionid::text = $2 DESC NULLS LAST, l.mode IN ('ExclusiveLock', 'AccessExclusiveLock') DESC, a.xact_start
    LIMIT 1";

/// Refuses what could not be locked. `xmax`: of its row, as text; empty: it is the table.
pub fn held(what: &str, table: &str, xmax: &str) -> Fault {
    let fault = Fault::wrong_state(format!("somebody else's transaction holds {what}"));
    let rows = own::latest_rows_of(HOLDER, &[table, xmax]);
    let Some([Some(pid), Some(login), Some(state), Some(seconds)]) = rows.first().map(Vec::as_slice) else {
        return fault
            .detail("It belongs to no session: it was prepared, or has just ended.")
            .hint("SELECT * FROM pg_prepared_xacts;");
    };
    let login = if login.is_empty() { String::new() } else { format!(" of login \"{login}\"") };
    fault
        .detail(format!("Session {pid}{login} holds it, {state}, in a transaction of {seconds} seconds."))
        .hint(format!("Wait for its end, or: SELECT pg_terminate_backend({pid});"))
}
