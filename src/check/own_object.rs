//! The list of what was installed, when ALTER EXTENSION pg_steward UPDATE installs something else: the new objects are the
//! ones that the check own_object compares with from then on.
//!
//! What was changed before must not pass for installed by an update: it is refused until all is as it was. Nobody can have
//! the list written anew but by an update to another version, whose script lies with the server's files.

use crate::audit::buffer;
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::own;
use crate::person::{one_text, texts};
use pgrx::spi::SpiClient;
use serde_json::json;

const VERSION: &str = "SELECT extversion FROM pg_extension WHERE extname = 'pg_steward'";
const FORGET: &str = "DELETE FROM steward._own_object";
const LIST: &str = "INSERT INTO steward._own_object (kind, identity, digest, server)
    SELECT kind, identity, digest, current_setting('server_version_num')::int / 10000 FROM steward._own_objects()";
/// As many of them are told.
const TOLD: usize = 5;

fn version(client: &mut SpiClient<'_>) -> Outcome<String> {
    Ok(one_text(client, VERSION, &[])?.unwrap_or_default())
}

/// Before an update: the version that there is. Refuses where anything is not as it was installed.
pub fn before_update() -> Outcome<String> {
    own::run(|client| {
        let mut changed = texts(client, include_str!("own_object.sql"), &[])?;
        if changed.is_empty() {
            return version(client);
        }
        let count = changed.len();
        changed.truncate(TOLD);
        Err(Fault::wrong_state("extension pg_steward is not as it was installed, and an update would hide that")
            .detail(format!("{count}: {}.", changed.join("; ")))
            .hint("SELECT * FROM steward.daily_check() WHERE check_name = 'own_object';"))
    })
}

/// After an update from this version.
pub fn after_update(former: &str) -> Outcome<()> {
    let (version, objects) = own::run(|client| {
        let version = version(client)?;
        // Without another version no script has run: nothing is new, and nothing is taken for new.
        if version == former {
            return Ok((version, 0));
        }
        own::execute(client, FORGET, &[])?;
        Ok((version, own::execute(client, LIST, &[])?))
    })?;
    if version != former {
        let mut record = Record::new(Kind::Policy, "UPDATE EXTENSION");
        record.tier = Some(Tier::Critical);
        record.details = Some(json!({ "from": former, "to": version, "objects": objects }).to_string());
        buffer::push(record);
    }
    Ok(())
}
