//! What makes something a record of the register: who may say it, and what its fields cannot say. Pure; what a kind asks for
//! is data (`steward.record_kind`).

use serde_json::{Map, Value};

/// Capabilities that confirm what others have recorded. No record takes one of the last two away, so that somebody can
/// always put things right.
pub const CONFIRMERS: [&str; 3] = ["approve", "audit", "configure"];

/// Whether somebody may add records of a kind: by capability, by post, about themselves, or because everybody may.
pub fn may_record(recorders: &[String], post: &str, may: impl Fn(&str) -> bool, about_self: bool) -> bool {
    recorders.iter().any(|one| match one.as_str() {
        "*" => true,
        "self" => about_self,
        name => name == post || may(name),
    })
}

/// Fields that begin and end something; what ends is over when it is recorded.
const SPANS: [(&str, &str, bool); 3] =
    [("from", "until", false), ("began_at", "ready_at", true), ("started_at", "stopped_at", true)];

/// Why fields of the right types still make no record, as a sentence without its full stop. `least`: the least value of
/// fields that count; `now`: the time, as fields say it.
pub fn mistake(least: &Map<String, Value>, fields: &Map<String, Value>, now: &str) -> Option<String> {
    let small = least.iter().find_map(|(name, least)| {
        let enough =
            fields.get(name).and_then(Value::as_u64).zip(least.as_u64()).is_some_and(|(is, least)| is >= least);
        (!enough).then(|| format!("field \"{name}\" must be at least {least}"))
    });
    small.or_else(|| {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        SPANS.iter().find_map(|(from, until, past)| match (text(from), text(until)) {
            (Some(begin), Some(end)) if moment(begin) > moment(end) => {
                Some(format!("field \"{until}\" must not be before field \"{from}\""))
            }
            (Some(_), Some(end)) if *past && moment(end) > moment(now) => {
                Some(format!("field \"{until}\" lies in the future"))
            }
            _ => None,
        })
    })
}

/// In the order of time: what a form stores is UTC in one format, or infinite.
fn moment(text: &str) -> (i8, &str) {
    match text {
        "-infinity" => (-1, ""),
        "infinity" => (1, ""),
        _ => (0, text),
    }
}

/// What a hook says of a backup.
pub struct Backup<'a> {
    pub kind: &'a str,
    pub manifest_digest: &'a str,
    pub start_lsn: u64,
    pub stop_lsn: u64,
    pub bytes: i64,
}

/// Kinds of records that only say what is known of a backup: at hand, and off-site.
pub const BACKUP_KINDS: [&str; 2] = ["backup", "off_site_backup"];

/// Kinds of backups.
pub const BACKUPS: [&str; 4] = ["full", "differential", "incremental", "logical"];

impl Backup<'_> {
    /// Why it is none of a cluster whose log ends here.
    pub fn implausible(&self, log_end: u64) -> Option<String> {
        let digits = |digest: &str| digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
        match self {
            _ if !BACKUPS.contains(&self.kind) => Some(format!("type must be one of {}", BACKUPS.join(", "))),
            _ if !digits(self.manifest_digest) => {
                Some("manifest_digest must be a SHA-256, 64 hexadecimal digits".to_owned())
            }
            _ if self.bytes <= 0 => Some("bytes must be more than 0".to_owned()),
            _ if self.start_lsn == 0 || self.stop_lsn < self.start_lsn => {
                Some("stop_lsn must not be before start_lsn".to_owned())
            }
            _ if self.stop_lsn > log_end => Some("stop_lsn is ahead of this cluster's log".to_owned()),
            _ => None,
        }
    }
}

/// A place in the log as PostgreSQL writes it.
pub fn lsn(place: u64) -> String {
    format!("{:X}/{:X}", place >> 32, place as u32)
}

/// Levels of incidents, the least first.
const LEVELS: [&str; 3] = ["general", "important", "major"];

/// Whether a level is lower than another; one that is not known is lower than all.
pub fn lower(level: &str, than: &str) -> bool {
    let place = |level: &str| LEVELS.iter().position(|known| *known == level);
    place(level) < place(than)
}
