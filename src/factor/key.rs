//! The key file. Read anew each time: no process keeps the key, and a file that somebody opened to others is noticed.

use crate::core::seal::{KEY_BYTES, parse_key};
use crate::error::{Fault, Outcome};
use crate::settings;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// More than this is no key.
const LONGEST: u64 = 256;

/// How an administrator makes one, as a HINT.
pub const HOW: &str = "As the server's user: (umask 077; openssl rand -hex 32 > /var/lib/postgresql/steward.key); then in \
    postgresql.conf: steward.key_file = '/var/lib/postgresql/steward.key', and restart.";

/// The key, from a file that is nobody else's.
pub fn read() -> Outcome<[u8; KEY_BYTES]> {
    let Some(path) = settings::key_file() else {
        return Err(unusable("The setting steward.key_file is empty.".to_owned()));
    };
    let shown = path.display();
    let text = content(&path).map_err(|why| unusable(format!("{shown} {why}.")))?;
    parse_key(&text).ok_or_else(|| unusable(format!("{shown} does not hold 64 hexadecimal digits.")))
}

fn unusable(why: String) -> Fault {
    Fault::wrong_state("the key of the second factor cannot be used").detail(why).hint(HOW)
}

/// The file's bytes, or what is wrong with it. What is checked is what was opened.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    if !path.is_absolute() {
        return Err("is no absolute path".to_owned());
    }
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let real = fs::canonicalize(path).map_err(failed)?;
    if real.starts_with(data_directory().map_err(failed)?) {
        return Err("lies in the data directory, and so in every copy of it".to_owned());
    }
    let file =
        File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&real).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // Safe: plain system call.
    let own = unsafe { libc::geteuid() };
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err("is no key file".to_owned());
    }
    if metadata.uid() != own {
        return Err("belongs to another user than the server's".to_owned());
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!("is open to others (mode {:04o}; chmod 600)", metadata.mode() & 0o7777));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn data_directory() -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    // Safe: set at the server's start, never changed.
    let name = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    fs::canonicalize(std::ffi::OsStr::from_bytes(name.to_bytes()))
}
