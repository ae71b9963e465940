//! The sequencer's side: what shared memory knows of used steps and wrong codes, written down from the records, whatever
//! became of the transactions they came from. The table is the sequencer's alone, so nobody's lock can stop it.

use super::memory::step_now;
use crate::core::attempts::REMEMBERED;
use crate::core::record::{Outcome as Ending, Record};
use crate::error::Outcome;
use crate::own;
use pgrx::spi::SpiClient;

/// A step that was used.
const USED: &str = "INSERT INTO steward._second_factor_state AS s (person, last_step) VALUES ($1, $2)
    ON CONFLICT (person) DO UPDATE SET last_step = greatest(s.last_step, excluded.last_step)";
/// A wrong code; only the newest are of use.
const FAILED: &str = "INSERT INTO steward._second_factor_state AS s (person, failures) VALUES ($1, ARRAY[$2])
    ON CONFLICT (person) DO UPDATE SET
        failures = (s.failures || $2)[greatest(1, cardinality(s.failures) + 2 - $3):]";

/// Called for every record of an attempt before it is chained, in the transaction of the round.
pub fn on_record(client: &mut SpiClient<'_>, record: &Record) -> Outcome<()> {
    let Some(person) = record.person.clone() else { return Ok(()) };
    match record.outcome {
        Ending::Success => {
            // The time stands for a step that does not read back: then as much as could have been used.
            let step = record.details.as_deref().and_then(step_of);
            let step = step.unwrap_or_else(|| crate::core::totp::newest_usable(step_now(record.time)));
            own::execute(client, USED, &[person.into(), step.into()]).map(drop)
        }
        Ending::Failure => {
            own::execute(client, FAILED, &[person.into(), record.time.into(), (REMEMBERED as i32).into()]).map(drop)
        }
        _ => Ok(()),
    }
}

fn step_of(details: &str) -> Option<i64> {
    serde_json::from_str::<serde_json::Value>(details).ok()?.get("step")?.as_i64()
}
