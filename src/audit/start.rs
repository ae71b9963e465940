//! How a server start began, seen by the postmaster before anything else runs: did the last life end in order, is this a
//! standby or a restored copy. A crash leaves a mark on disk until the sequencer has chained it, so that the crash of a
//! standby is not forgotten either.

use super::sequencer::server_record;
use crate::core::record::{Outcome, Record};
use crate::state_file;
use pgrx::pg_sys::{self, DBState};
use pgrx::warning;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One line for each crash that is not chained yet, JSON.
const CRASHED: &str = "crashed";
/// The kernel's name for this life of the machine, as of the last server start.
const MACHINE: &str = "machine";
/// A server that crashes over and over leaves no more lines than this.
const LINES_MAX: usize = 1_000;

/// What the data directory said when shared memory was made. Part of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Start {
    /// The state in pg_control that the last life left.
    control_state: u32,
    standby: bool,
    recovery: bool,
    backup: bool,
}

impl Start {
    /// Looks at the data directory, and marks a crash. In the postmaster (again after each crash of a process).
    pub fn look() -> Start {
        let start = Start {
            control_state: control_state(),
            standby: Path::new("standby.signal").exists(),
            recovery: Path::new("recovery.signal").exists(),
            backup: Path::new("backup_label").exists(),
        };
        if let Err(error) = start.mark() {
            warning!("pg_steward: it cannot be kept how the server started: {error}");
        }
        start
    }

    /// How the life before ended, for the record of this start.
    pub(super) fn last_stop(&self) -> &'static str {
        match self.control_state {
            _ if self.backup => "copied from a running server",
            DBState::DB_SHUTDOWNED => "shut down",
            DBState::DB_SHUTDOWNED_IN_RECOVERY => "shut down as a standby",
            DBState::DB_IN_ARCHIVE_RECOVERY => "crashed as a standby or during recovery",
            _ => "crashed",
        }
    }

    /// What kind of recovery this start began with.
    pub(super) fn recovery(&self) -> &'static str {
        match (self.standby, self.recovery) {
            (true, _) => "standby",
            (false, true) => "archive recovery",
            (false, false) => "none",
        }
    }

    /// Whether this data directory took over from elsewhere (a standby, an archive, a copy), which may have gone on after
    /// what is known here.
    pub fn took_over(&self) -> bool {
        self.standby || self.recovery || self.backup
    }

    fn crashed(&self) -> bool {
        !self.backup && !matches!(self.control_state, DBState::DB_SHUTDOWNED | DBState::DB_SHUTDOWNED_IN_RECOVERY)
    }

    fn mark(&self) -> io::Result<()> {
        let machine = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let before = fs::read_to_string(state_file::directory()?.join(MACHINE)).unwrap_or_default();
        if self.backup {
            // The marks of the server that was copied are its own affair.
            forget_crashes()?;
        } else if self.crashed() {
            // Unknown counts as restarted: then more may be missing.
            let restarted = machine.is_empty() || machine != before;
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let mark = json!({ "last_stop": self.last_stop(), "machine_restarted": restarted, "found_at": seconds });
            let mut lines = crashes();
            lines.push(mark.to_string());
            lines.truncate(LINES_MAX);
            state_file::replace(CRASHED, (lines.join("\n") + "\n").as_bytes())?;
        }
        if machine != before { state_file::replace(MACHINE, machine.as_bytes()) } else { Ok(()) }
    }
}

fn control_state() -> u32 {
    // Safe: reads and checks the file; the copy is ours to free. A damaged one says nothing, which counts as a crash.
    unsafe {
        let mut intact = false;
        let control = pg_sys::get_controlfile(pg_sys::DataDir, &mut intact);
        let state = if intact { (*control).state } else { DBState::DB_STARTUP };
        pg_sys::pfree(control.cast());
        state
    }
}

fn crashes() -> Vec<String> {
    let text = fs::read_to_string(Path::new("pg_steward").join(CRASHED)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A record for each crash that is not chained yet: where, and what, may be missing.
pub(super) fn crash_boundaries(last_id: i64) -> Vec<Record> {
    let boundary = |line: String| {
        let mut details: Value = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "machine_restarted": true }));
        let missing = match details["machine_restarted"].as_bool() {
            Some(false) => "nothing that was written: only the server crashed. Counts of records that found no space",
            _ => {
                "reads, failures and rollbacks of the last moments that were not flushed (steward.read_durability); \
                 counts of records that found no space. Commits and denials are flushed"
            }
        };
        details["after_id"] = last_id.into();
        details["may_be_missing"] = missing.into();
        server_record("CRASH BOUNDARY", Outcome::Failure, details)
    };
    crashes().into_iter().map(boundary).collect()
}

/// After they are chained.
pub(super) fn forget_crashes() -> io::Result<()> {
    super::lane_file::remove(&Path::new("pg_steward").join(CRASHED))
}
