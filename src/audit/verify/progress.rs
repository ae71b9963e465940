//! How far a verification has come, for other sessions: `steward.verify_progress`.
//!
//! PostgreSQL keeps one set of progress counters for each backend, and only its own commands have a name there. A
//! verification reports itself as a COPY that no COPY is (`pg_stat_progress_copy` shows it with an empty command): that
//! costs nothing, ends with the statement however it ends, and needs no shared memory of the extension's own.

use crate::error;
use crate::own;
use pgrx::prelude::*;

/// Counters of `pg_stat_get_progress_info('COPY')`: param 3 is COPY's own count of rows, the last two are unused there.
const DONE: i32 = 2;
const TOTAL: i32 = 18;
const MARK: i32 = 19;
/// In the last counter: this is a verification. ("steward" in ASCII)
const VERIFICATION: i64 = 0x0073_7465_7761_7264;

pub(super) struct Progress(());

impl Progress {
    /// `total` records are to be verified, about.
    pub(super) fn begin(total: i64) -> Progress {
        // Safe: writes this backend's own status entry.
        unsafe {
            let chain = super::disk::chain();
            pg_sys::pgstat_progress_start_command(pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY, chain);
            pg_sys::pgstat_progress_update_param(TOTAL, total.max(0));
            pg_sys::pgstat_progress_update_param(MARK, VERIFICATION);
        }
        Progress(())
    }

    pub(super) fn report(&self, done: i64) {
        // Safe: writes this backend's own status entry.
        unsafe { pg_sys::pgstat_progress_update_param(DONE, done) }
    }

    /// Where an error ends the verification, PostgreSQL does this.
    pub(super) fn end(self) {
        // Safe: as above.
        unsafe { pg_sys::pgstat_progress_end_command() }
    }
}

#[pg_extern(sql = false)]
fn _verify_progress()
-> TableIterator<'static, (name!(pid, Option<i32>), name!(done, Option<i64>), name!(total, Option<i64>))> {
    let sql = "SELECT pid, param3, param19 FROM pg_stat_get_progress_info('COPY') WHERE param20 = $1";
    let rows = own::run(|client| {
        let mut rows = Vec::new();
        for row in own::select(client, sql, &[VERIFICATION.into()])? {
            rows.push((row.get(1)?, row.get(2)?, row.get(3)?));
        }
        Ok(rows)
    });
    TableIterator::new(error::answer(rows))
}
