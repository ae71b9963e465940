//! A reference in a record is the id of a definition in the chain, and ids mean something in one history only: another
//! ledger has others, and so has the same ledger on another timeline, from the record on at which the two parted. The epoch
//! before each record names the history it was written in.

use super::ledger::Ledger;
use crate::core::chain;
use crate::error::Outcome;
use crate::own;
use pgrx::spi::SpiClient;
use pgrx::{Uuid, pg_sys};
use sha2::{Digest, Sha256};

/// The histories whose references can be read.
pub(super) struct Epochs {
    current: u32,
    /// Left by a promotion, a recovery or an upgrade: each with the last id it shares with the present one.
    former: Vec<(u32, i64)>,
}

/// The name of one history. Never 0, which stands for none.
pub(super) fn name(ledger: &chain::Ledger, cluster: u64, timeline: u32) -> u32 {
    let digest = Sha256::new()
        .chain_update(ledger)
        .chain_update(cluster.to_be_bytes())
        .chain_update(timeline.to_be_bytes())
        .finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
}

/// The cluster and the timeline that this server writes.
pub(super) fn here() -> (u64, u32) {
    // Safe: getters of control data, outside recovery.
    unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::GetWALInsertionTimeLine()) }
}

/// The present history of a ledger.
pub(super) fn current(ledger: &chain::Ledger) -> u32 {
    let (cluster, timeline) = here();
    name(ledger, cluster, timeline)
}

impl Epochs {
    /// After the move to a new history was recorded, if there was one.
    pub fn read(client: &mut SpiClient<'_>, ledger: &Ledger) -> Outcome<Epochs> {
        let sql = "SELECT epoch, id FROM steward.ledger, unnest(fork_epochs, fork_ids) AS fork (epoch, id)
            WHERE ledger = $1";
        let mut former = Vec::new();
        for row in own::query(client, sql, &[Uuid::from_bytes(ledger.id).into()])? {
            if let (Some(epoch), Some(id)) = (row.get::<i64>(1)?, row.get::<i64>(2)?) {
                former.extend(u32::try_from(epoch).ok().map(|epoch| (epoch, id)));
            }
        }
        Ok(Epochs { current: current(&ledger.id), former })
    }

    /// Whether a reference to this id, written in this epoch, means the record that has the id here.
    pub fn admits(&self, epoch: u32, id: i64) -> bool {
        epoch == self.current || self.former.iter().any(|(former, last)| *former == epoch && id <= *last)
    }
}
