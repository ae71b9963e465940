//! Idle time is sealed too: when nothing was chained for `steward.heartbeat_interval`, a record says so. Two records that
//! lie further apart than that, with no start between them, mean that the sequencer did not run.

use super::clock::steady;
use super::incarnation;
use super::sequencer::server_record;
use crate::core::chain::Head;
use crate::core::record::{Outcome as Result, Record};
use crate::error::Outcome;
use crate::settings;
use pgrx::spi::SpiClient;
use serde_json::json;

pub(super) struct Heartbeat {
    /// When something was last chained, by the steady clock.
    chained_at: i64,
    /// When an ancestor was last looked for.
    looked_at: i64,
}

impl Heartbeat {
    pub fn new() -> Heartbeat {
        Heartbeat { chained_at: steady(), looked_at: steady() }
    }

    /// Something was chained.
    pub fn chained(&mut self) {
        self.chained_at = steady();
    }

    /// What is due in this round, of which `idle` says that it has nothing else to chain.
    pub fn due(&mut self, client: &mut SpiClient<'_>, head: &Head, idle: bool) -> Outcome<Option<Record>> {
        let interval = settings::heartbeat_interval_s() * 1_000_000;
        let now = steady();
        if interval == 0 {
            return Ok(None);
        }
        if now - self.looked_at >= interval {
            self.looked_at = now;
            if let Some(ancestor) = incarnation::ancestor(client, head, false)? {
                return Ok(Some(ancestor));
            }
        }
        if !idle || now - self.chained_at < interval {
            return Ok(None);
        }
        let details = json!({ "idle_s": (now - self.chained_at) / 1_000_000, "interval_s": interval / 1_000_000 });
        Ok(Some(server_record("HEARTBEAT", Result::Success, details)))
    }
}
