//! What the audit chain tells of an operation, against its row. A seal shows that a row was once genuine; that it is still
//! the last one, only the chain knows: whoever puts a row back together with the seal it had then, past every function and
//! hook, would let it run once more.
//!
//! Before a step that gives power the chain is asked for the records of this one operation by its index `operation`. The
//! daily check asks for all that may still run, and trusts no index: a record may be hidden from it.

use super::seal::may_run;
use super::{Operation, denied_as};
use crate::audit::flush;
use crate::error::{Fault, Outcome};
use crate::login::enforced;
use crate::own;
use crate::person::one_text;
use pgrx::spi::SpiClient;
use std::ffi::CStr;

/// How long a step waits for the sequencer, in microseconds.
const PATIENCE: i128 = 10_000_000;
/// All steps that others have committed are in the chain.
const CHAINED: &str = "infinity";
const AGAIN: &str = "File it again with steward.request(script, purpose).";

const TOLD: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("told.sql"), "\0").as_bytes()) {
    Ok(query) => query,
    Err(_) => panic!("a query with a zero byte"),
};

/// Where an operation and the chain differ.
struct Difference {
    op_no: String,
    /// They do not: no record of the operation is online any more, so nothing says what became of it.
    archived: bool,
    sentence: String,
}

/// `op_no`: one, or empty for all that may still run. With the newest snapshot, whatever the transaction's is: its own
/// could be older than the last round of the sequencer.
fn differences(op_no: &str, chained_until: &str) -> Vec<Difference> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let rows = own::latest_rows_of(TOLD, &[op_no, chained_until]);
    rows.iter()
        .map(|row| Difference {
            op_no: text(&row[0]),
            archived: row[1].as_deref() == Some("archived"),
            sentence: text(&row[2]),
        })
        .collect()
}

/// For the daily check, which waits for nobody: what was said in the last minute is left to the next one.
pub fn all(client: &mut SpiClient<'_>) -> Outcome<Vec<String>> {
    let until = "SELECT extract(epoch FROM clock_timestamp() - coalesce(lag, '1 day') - interval '1 minute')::text
        FROM steward.audit_status";
    let until = one_text(client, until, &[])?.unwrap_or_default();
    let found = differences("", &until).into_iter().filter(|difference| !difference.archived);
    Ok(found.map(|Difference { op_no, sentence, .. }| format!("{op_no}: {sentence}")).collect())
}

impl Operation {
    /// Refuses a step on an operation that the chain knows to be further, or to have said less, than its row; and where
    /// the chain cannot be asked. The row is locked, so all that others did to it is committed, and was recorded.
    pub fn check_told(&self, step: &str) -> Outcome<()> {
        if self.run_as.is_none() || !enforced() || !may_run(self.status) {
            return Ok(());
        }
        let op_no = &self.op_no;
        match flush::catch_up(PATIENCE) {
            Ok(true) => {}
            // Nothing was ever chained, so there is nothing that could run once more.
            Ok(false) => return Ok(()),
            Err(late) => {
                let (detail, hint) = late.advice();
                let fault = Fault::wrong_state(format!("{op_no} cannot be compared with the audit chain"));
                return Err(denied_as(step, op_no, fault.detail(detail).hint(hint)));
            }
        }
        let found = differences(op_no, CHAINED);
        let differing: Vec<&str> =
            found.iter().filter(|found| !found.archived).map(|found| found.sentence.as_str()).collect();
        let fault = if !differing.is_empty() {
            Fault::corrupted(format!("{op_no} is not what the audit chain says of it"))
                .detail(format!("Tables of schema steward were changed from outside: {}.", differing.join("; ")))
        } else if !found.is_empty() {
            Fault::wrong_state(format!("{op_no} cannot be compared with the audit chain"))
                .detail("Its records are archived: nothing that is online says whether it has run since.")
        } else {
            return Ok(());
        };
        Err(denied_as(step, op_no, fault.hint(AGAIN)))
    }
}
