//! `pg_steward/state` in the data directory: whether the policy is active, for the databases that cannot read home's
//! tables and for the time before home can be read. Missing means never activated; unreadable means active.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Inactive,
    Active,
    /// Exists but does not say one of the two: counts as active.
    Unreadable,
}

/// The extension's directory in the data directory (the server's working directory), created when missing.
pub fn directory() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let directory = PathBuf::from("pg_steward");
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&directory)?;
    Ok(directory)
}

pub fn read() -> State {
    match fs::read_to_string("pg_steward/state") {
        Ok(text) if text == "active\n" => State::Active,
        Ok(text) if text == "inactive\n" => State::Inactive,
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::Inactive,
        _ => State::Unreadable,
    }
}

/// Replaces the file durably: written aside, synced, renamed, directory synced.
pub fn write(active: bool) -> io::Result<()> {
    let text: &[u8] = if active { b"active\n" } else { b"inactive\n" };
    replace("state", text)
}

/// Durable replacement of a small file of the extension's directory.
pub fn replace(name: &str, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = directory()?;
    let aside = directory.join(format!("{name}.new.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, directory.join(name))?;
    fs::File::open(&directory)?.sync_all()
}
