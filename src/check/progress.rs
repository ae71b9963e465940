//! How far a run of the checks is, for other sessions: `steward.check_progress`. In the way of a verification's progress
//! (`audit::verify::progress`): counters of the backend's status entry, which end with the statement however it ends.
//! While the chain is verified its own counters take this place.

use crate::error::answer;
use crate::own;
use pgrx::prelude::*;

/// Counters beside those that COPY counts in: checks made, all, the name in pieces, and that this is a run of checks.
const DONE: i32 = 2;
const NAME: i32 = 8;
const PIECES: usize = 8;
const TOTAL: i32 = 18;
const MARK: i32 = 19;
const CHECKS: i64 = i64::from_be_bytes(*b"\0stwdchk");

/// A run under way.
pub struct Progress {
    done: usize,
    total: usize,
}

impl Progress {
    pub fn begin(total: usize) -> Progress {
        Progress { done: 0, total }
    }

    /// So many checks begin, of one table if they are of any.
    pub fn next(&mut self, name: &str, relation: Option<pg_sys::Oid>, checks: usize) {
        let mut bytes = [0; PIECES * 8];
        let shown = name.len().min(bytes.len());
        bytes[..shown].copy_from_slice(&name.as_bytes()[..shown]);
        // Safe: writes this backend's own status entry.
        unsafe {
            let command = pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY;
            pg_sys::pgstat_progress_start_command(command, relation.unwrap_or(pg_sys::InvalidOid));
            pg_sys::pgstat_progress_update_param(DONE, self.done as i64);
            pg_sys::pgstat_progress_update_param(TOTAL, self.total as i64);
            for (at, piece) in bytes.as_chunks::<8>().0.iter().enumerate() {
                pg_sys::pgstat_progress_update_param(NAME + at as i32, i64::from_be_bytes(*piece));
            }
            pg_sys::pgstat_progress_update_param(MARK, CHECKS);
        }
        self.done += checks;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Safe: as above. Where an error ends the run, PostgreSQL does this too.
        unsafe { pg_sys::pgstat_progress_end_command() }
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // the columns must stand in the signature
fn _check_progress() -> TableIterator<
    'static,
    (
        name!(pid, Option<i32>),
        name!(relation, Option<pg_sys::Oid>),
        name!(check_name, String),
        name!(done, Option<i64>),
        name!(total, Option<i64>),
    ),
> {
    let sql = "SELECT pid, nullif(relid, 0), param3, param19, ARRAY[param9, param10, param11, param12, param13, param14, param15, param16]
        FROM pg_stat_get_progress_info('COPY') WHERE param20 = $1";
    let rows = own::run(|client| {
        let mut rows = Vec::new();
        for row in own::select(client, sql, &[CHECKS.into()])? {
            let pieces = row.get::<Vec<i64>>(5)?.unwrap_or_default();
            let bytes: Vec<u8> = pieces.into_iter().flat_map(i64::to_be_bytes).take_while(|byte| *byte != 0).collect();
            // A name may be cut within a character.
            let name = String::from_utf8_lossy(&bytes).trim_end_matches('\u{fffd}').to_owned();
            rows.push((row.get(1)?, row.get(2)?, name, row.get(3)?, row.get(4)?));
        }
        Ok(rows)
    });
    TableIterator::new(answer(rows))
}
