//! The parts of `steward-witness`. What a chain is and when it is whole is `core`'s business; here it is pulled, kept
//! and compared.

pub mod arguments;
pub mod checkpoint;
pub mod database;
pub mod files;
pub mod watch;

use std::fmt;

/// What was found wrong with the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server does not answer.
    Unreachable,
    /// No record came for too long.
    Stale,
    /// Records that were seen are gone from the end.
    Truncated,
    /// The database keeps another chain.
    Forked,
    /// A record that was seen is another one now.
    Rewritten,
    /// The links do not hold, or records are missing.
    Damaged,
}

/// One finding, as the line that is printed.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub kind: Kind,
    pub text: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Unreachable => "unreachable",
            Kind::Stale => "stale",
            Kind::Truncated => "truncated",
            Kind::Forked => "forked",
            Kind::Rewritten => "rewritten",
            Kind::Damaged => "damaged",
        };
        write!(f, "ALARM {kind}: {}", self.text)
    }
}

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    Alarm(Alarm),
    /// The program could not do its work: wrong arguments, a file that cannot be written.
    Own(String),
}

impl Failure {
    pub fn alarm(kind: Kind, text: impl Into<String>) -> Failure {
        Failure::Alarm(Alarm { kind, text: text.into() })
    }
}

pub type Outcome<T> = Result<T, Failure>;
