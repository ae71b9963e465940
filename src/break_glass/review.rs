//! What a review of an emergency window needs: that the window and all its transactions are over, that the reviewer had no
//! part in it, and a seal on what it kept, so that it can be restored as it was looked at.

use crate::cache::Person;
use crate::core::script::hex;
use crate::error::{Fault, Outcome};
use crate::image::{self, Run};
use crate::operation::denied;
use crate::own;
use serde_json::{Value, json};

/// Its session works on in a transaction, or has prepared one: what that will leave is not known yet.
const READ: &str = "SELECT o.not_after > clock_timestamp(), o.confirmed_by,
        EXISTS (SELECT FROM steward._operation_event e JOIN pg_stat_get_activity(NULL) a ON a.pid = (e.details ->> 'backend')::int
            JOIN pg_locks l ON l.pid = a.pid AND l.locktype IN ('transactionid', 'virtualxid') AND l.mode = 'ExclusiveLock' AND l.granted
            WHERE e.op_no = o.op_no AND e.event = 'BREAK GLASS' AND a.backend_start <= e.at)
        OR EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.owner = o.applicant_login AND p.prepared >= o.executed_at)
    FROM steward._operation o WHERE o.op_no = $1 AND o.origin = 'break_glass'";

/// None: it is no window. Otherwise the run that its images are of.
pub fn check(op_no: &str, reviewer: &Person) -> Outcome<Option<Run>> {
    let found = own::run(|client| {
        let Some(row) = own::query(client, READ, &[op_no.into()])?.next() else { return Ok(None) };
        Ok(Some((row.get::<bool>(1)?, row.get::<String>(2)?, row.get::<bool>(3)?)))
    })?;
    let Some((open, witness, busy)) = found else { return Ok(None) };
    if open != Some(false) || busy != Some(false) {
        return Err(Fault::wrong_state(format!("{op_no} cannot be reviewed yet"))
            .detail("The emergency window is open, or a transaction that was begun in it is.")
            .hint(format!("SELECT expires_at FROM steward.operation WHERE op_no = '{op_no}';")));
    }
    if witness.as_deref() == Some(&reviewer.name) {
        return Err(denied("REVIEW", op_no, "review refused: a person acts in one step of an operation".to_owned())
            .detail(format!("{} has confirmed the emergency window.", reviewer.name)));
    }
    Ok(Some(Run { op_no: op_no.to_owned(), number: 1 }))
}

/// Seals what the window kept, for `steward.restore`; for the record of the review.
pub fn seal(window: &Run) -> Outcome<Value> {
    let (images, sha256) = own::run(|client| image::seal(client, window))?;
    Ok(json!({ "images": images, "sha256": hex(&sha256) }))
}
