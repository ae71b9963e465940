//! What the listeners of `steward_alert` are told, after the round that it came from.

use crate::audit::sequencer::transaction;
use crate::backend::backend_local;
use crate::own;
use std::cell::RefCell;

backend_local! {
    static UNTOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Anybody may listen: no reason, and no name that a rule has not told already.
pub fn tell(payload: String) {
    UNTOLD.with_borrow_mut(|untold| untold.push(payload));
}

/// In a transaction of its own: listeners that let the queue of notifications run full must not stop the chain.
pub fn notify() {
    let untold = UNTOLD.with_borrow_mut(std::mem::take);
    if untold.is_empty() {
        return;
    }
    transaction(|| {
        own::run(|client| {
            let notify = "SELECT pg_notify('steward_alert', $1)";
            untold.iter().try_for_each(|alert| own::query(client, notify, &[alert.as_str().into()]).map(drop))
        })
    })
}
