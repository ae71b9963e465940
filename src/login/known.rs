//! Which logins exist, for a process that may ask no catalog: their numbers, in a file that the sequencer keeps after the
//! roles. Asked only where the places for failures are all taken: a name that somebody invents must not push out what was
//! counted for a login. Numbers are made under the secret of `failures`; a file of another secret knows nothing.

use crate::state_file;

const FILE: &str = "known_logins";
const SECRET_BYTES: usize = 16;

/// The numbers of all logins, ascending.
pub struct Known(Vec<u64>);

impl Known {
    /// None: not known, and then every name counts as a login.
    pub fn read(secret: &[u8; SECRET_BYTES]) -> Option<Known> {
        let bytes = std::fs::read(format!("pg_steward/{FILE}")).ok()?;
        let numbers = bytes.strip_prefix(secret)?;
        let (numbers, rest) = numbers.as_chunks::<8>();
        rest.is_empty().then(|| Known(numbers.iter().map(|number| u64::from_be_bytes(*number)).collect()))
    }

    pub fn holds(&self, number: u64) -> bool {
        self.0.binary_search(&number).is_ok()
    }
}

/// The file's content.
pub fn content(secret: &[u8; SECRET_BYTES], mut numbers: Vec<u64>) -> Vec<u8> {
    numbers.sort_unstable();
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    secret.iter().copied().chain(numbers).collect()
}

/// Replaces the file.
pub fn write(content: &[u8]) -> std::io::Result<()> {
    state_file::replace(FILE, content)
}
