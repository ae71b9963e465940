//! What the listeners of `steward_alert` are told, after the round that it came from.

use crate::audit::sequencer::transaction;
use crate::backend::backend_local;
use crate::error::Outcome;
use crate::own;
use pgrx::spi::SpiClient;
use pgrx::warning;
use std::cell::RefCell;

/// Of the queue of notifications.
const FULL: f64 = 0.9;

backend_local! {
    static UNTOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Anybody may listen: no reason, and no name that a rule has not told already.
pub fn tell(payload: String) {
    UNTOLD.with_borrow_mut(|untold| untold.push(payload));
}

/// In a transaction of its own: listeners that let the queue of notifications run full must not stop the chain. Where it is
/// almost full nobody is told; the tables and the log have it all the same.
pub fn notify() {
    let untold = UNTOLD.with_borrow_mut(std::mem::take);
    if untold.is_empty() {
        return;
    }
    transaction(|| own::run(|client| notify_in(client, &untold)))
}

/// In the running transaction, which a full queue would undo when it commits.
pub fn notify_in(client: &mut SpiClient<'_>, payloads: &[String]) -> Outcome<()> {
    let usage = own::select(client, "SELECT pg_notification_queue_usage()", &[])?.first().get_one::<f64>()?;
    if usage.is_none_or(|usage| usage > FULL) {
        warning!("pg_steward: {} alerts are not notified: the queue of notifications is full", payloads.len());
        return Ok(());
    }
    let notify = "SELECT pg_notify('steward_alert', $1)";
    payloads.iter().try_for_each(|payload| own::query(client, notify, &[payload.as_str().into()]).map(drop))
}
