//! A clock for servers that tests move: `clock.c`, compiled once and loaded before libc, adds to the machine's clock what a
//! file says. All processes of the server agree at every moment.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cluster::succeed;

/// An authenticator's step; see `Phone::code`.
const STEP: i64 = 30;

/// Where it is kept, and how many seconds it is ahead of the machine's.
pub struct Clock {
    directory: PathBuf,
    ahead: AtomicI64,
}

impl Clock {
    /// It is this moment now, in seconds since 1970, up to half a minute earlier.
    pub fn at(moment: i64, directory: &Path) -> Clock {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs() as i64;
        let clock = Clock { directory: directory.to_owned(), ahead: AtomicI64::new(0) };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/pg_test/cluster/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(clock.library()).arg(source);
        succeed(compiler);
        fs::write(clock.file(), [0; 16]).expect("the clock");
        for part in [clock.library(), clock.file()] {
            fs::set_permissions(part, fs::Permissions::from_mode(0o755)).expect("permissions");
        }
        clock.advance((moment - now).div_euclid(STEP) * STEP);
        clock
    }

    fn library(&self) -> PathBuf {
        self.directory.join("clock.so")
    }

    fn file(&self) -> PathBuf {
        self.directory.join("clock")
    }

    /// So many seconds go by at once.
    pub fn advance(&self, seconds: i64) {
        let ahead = self.ahead.fetch_add(seconds, Ordering::Relaxed) + seconds;
        let file = File::options().write(true).open(self.file()).expect("the clock");
        file.write_all_at(&ahead.to_ne_bytes(), 0).expect("the clock");
    }

    /// Stands still from now on, a second later than it was at the most; or goes on where it would be.
    pub fn stand_still(&self, still: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs() as i64;
        let second = if still { now + self.ahead.load(Ordering::Relaxed) + 1 } else { 0 };
        let file = File::options().write(true).open(self.file()).expect("the clock");
        file.write_all_at(&second.to_ne_bytes(), 8).expect("the clock");
    }

    /// How many steps of an authenticator it is ahead.
    pub fn steps_ahead(&self) -> i64 {
        let ahead = self.ahead.load(Ordering::Relaxed);
        assert_eq!(ahead % STEP, 0, "whole steps");
        ahead / STEP
    }

    /// This program, and what it starts, have this clock.
    pub fn give_to(&self, program: &mut Command) {
        program.env("LD_PRELOAD", self.library()).env("STEWARD_TEST_CLOCK", self.file());
    }
}
