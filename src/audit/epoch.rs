//! A reference in a record is the id of a definition in the chain, and ids mean something in one history only: another
//! ledger has others, and so has the same ledger after a promotion, a recovery or the restore of an older copy, from the
//! record on at which the histories parted. The epoch before each record names the server start it was written in; the
//! ledger knows the starts that it lived through itself, each with its last id. What was written in a start that the
//! ledger does not know, or behind that id, belongs to a history that was left.

use super::ledger::Ledger;
use crate::core::chain;
use crate::error::Outcome;
use crate::own;
use crate::shared::Shared;
use pgrx::Uuid;
use pgrx::spi::SpiClient;
use sha2::{Digest, Sha256};

/// Former server starts that are remembered, as many as rows of `spool_offset` are kept for.
const KEPT: i32 = 1_000;

/// The histories whose references can be read.
pub(super) struct Epochs {
    current: u32,
    /// Of former server starts: each with the last id it shares with the present one.
    former: Vec<(u32, i64)>,
}

/// The name of one server start in a ledger. Never 0, which stands for none.
fn name(ledger: &chain::Ledger, boot: &[u8; 16]) -> u32 {
    let digest = Sha256::new().chain_update(ledger).chain_update(boot).finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
}

/// The present history of a ledger.
pub(super) fn current(ledger: &Ledger, shared: &Shared) -> u32 {
    name(&ledger.id, &shared.boot_id)
}

/// The server start that was recorded last has ended; up to `last_id` its history is the present one's.
pub(super) fn leave(client: &mut SpiClient<'_>, ledger: &chain::Ledger, boot: &[u8; 16], last_id: i64) -> Outcome<()> {
    let newest =
        "UPDATE steward.ledger SET fork_epochs = (fork_epochs || $1)[greatest(cardinality(fork_epochs) + 2 - $4, 1):],
        fork_ids = (fork_ids || $2)[greatest(cardinality(fork_ids) + 2 - $4, 1):] WHERE ledger = $3";
    let arguments =
        [i64::from(name(ledger, boot)).into(), last_id.into(), Uuid::from_bytes(*ledger).into(), KEPT.into()];
    own::execute(client, newest, &arguments).map(drop)
}

impl Epochs {
    /// After a new server start was recorded, if there was one.
    pub fn read(client: &mut SpiClient<'_>, ledger: &Ledger, shared: &Shared) -> Outcome<Epochs> {
        let sql = "SELECT epoch, id FROM steward.ledger, unnest(fork_epochs, fork_ids) AS fork (epoch, id)
            WHERE ledger = $1";
        let mut former = Vec::new();
        for row in own::query(client, sql, &[Uuid::from_bytes(ledger.id).into()])? {
            if let (Some(epoch), Some(id)) = (row.get::<i64>(1)?, row.get::<i64>(2)?) {
                former.extend(u32::try_from(epoch).ok().map(|epoch| (epoch, id)));
            }
        }
        Ok(Epochs { current: current(ledger, shared), former })
    }

    /// Whether a reference to this id, written in this epoch, means the record that has the id here.
    pub fn admits(&self, epoch: u32, id: i64) -> bool {
        epoch == self.current || self.former.iter().any(|(former, last)| *former == epoch && id <= *last)
    }
}
