//! What a security report is made of, as it was gathered.

use super::figures::Figures;
use super::words::Language;
use super::zone::Zone;

/// Everything that the report is made of. Moments are microseconds since 2000-01-01 UTC.
#[derive(Clone, Debug)]
pub struct Material {
    pub language: Language,
    pub database: String,
    pub made_by: String,
    pub made_at: i64,
    pub from: i64,
    pub to: i64,
    pub zone: Zone,
    /// Minutes of the day, from and to.
    pub off_hours: (u16, u16),
    pub figures: Figures,
    pub alerts: Vec<AlertRule>,
    /// Day and alerts raised on it: minor, important, major.
    pub alert_days: Vec<(i32, [u64; 3])>,
    pub checks: Vec<Check>,
    /// Days of the period, those to come apart, on which no run of the checks ended.
    pub days_without_check: u64,
    pub overdue_reviews: u64,
    pub chain: Chain,
}

/// The alerts of one rule.
#[derive(Clone, Debug, Default)]
pub struct AlertRule {
    pub rule: String,
    pub level: String,
    pub alerts: u64,
    pub unanswered: u64,
    /// Not answered within 15 minutes.
    pub late: u64,
    /// Not closed.
    pub open: u64,
    /// Seconds to the answer, of those that were answered.
    pub median: Option<f64>,
    pub p95: Option<f64>,
}

/// One integrity check in the runs of the period.
#[derive(Clone, Debug, Default)]
pub struct Check {
    pub name: String,
    pub runs: u64,
    /// Runs in which it could not be made.
    pub failed: u64,
    /// What the last run found of it.
    pub found: Found,
}

/// What the last run of the checks found of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Found {
    Issues(u64),
    /// It could not be made.
    #[default]
    NotMade,
    /// It was not asked for any more.
    Dropped,
}

/// The chain at the time of the report.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The checkpoint line of its end; None without a chain.
    pub head: Option<String>,
    /// The last record that was there when the report was made.
    pub last_id: i64,
    /// The first record that was read, 0 for none.
    pub read_from: i64,
    /// Up to which record, and when, a verification came without finding anything.
    pub verified: Option<(i64, Option<i64>)>,
    /// What the last verification found that was not good.
    pub failed: Option<String>,
    /// Archived segments that overlap the period: first and last id.
    pub archived: Vec<(i64, i64)>,
    /// Time of the first record of all, archived ones included; None if it is not known.
    pub began: Option<i64>,
    /// Everything recorded before the report is in the chain.
    pub complete: bool,
    /// The policy is active, and its mode.
    pub active: bool,
    pub mode: String,
}
