//! What the newest records say of the server's day: how many of what ended how, and how long statements took. Pure.
//! Requirements 73 to 76.

use super::record::{Field, Kind, Outcome, Side, Split, Value, find_field, find_in_body};

/// What is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Statement,
    /// The run of an operation.
    Execution,
    Login,
}

/// Records of one stretch of time.
pub struct Window {
    /// Older records count for nothing.
    since: i64,
    oldest: Option<i64>,
    records: i64,
    counts: [[i64; 4]; 3],
    durations: Vec<i64>,
}

impl Window {
    /// Of records from this moment on, in microseconds since 2000.
    pub fn since(since: i64) -> Window {
        Window { since, oldest: None, records: 0, counts: [[0; 4]; 3], durations: Vec::new() }
    }

    /// Counts one record. `operation_type` knows that of a definition. What cannot be read is passed over: only a
    /// verification says what is wrong with it.
    pub fn see(&mut self, record: &[u8], operation_type: &mut impl FnMut(i64) -> Option<String>) {
        let Ok(split) = Split::new(record) else { return };
        if split.time < self.since {
            return;
        }
        self.records += 1;
        self.oldest = Some(self.oldest.map_or(split.time, |oldest| oldest.min(split.time)));
        let number = |field| match find_field(record, field) {
            Ok(Some(Value::Int(number))) => Some(number),
            _ => None,
        };
        let mut is = |name: &str| match split.what {
            Side::Own(body) => {
                matches!(find_in_body(body, Field::OperationType), Ok(Some(Value::Text(text))) if text == name)
            }
            Side::Defined(id) => operation_type(id).is_some_and(|text| text == name),
        };
        let subject = match split.kind {
            Kind::Statement => Subject::Statement,
            Kind::Operation if is("EXECUTE") => Subject::Execution,
            Kind::Login if is("LOGIN") => Subject::Login,
            _ => return,
        };
        let acts = number(Field::Repeats).unwrap_or(1).max(1);
        self.counts[subject as usize][split.outcome as usize - 1] += acts;
        if subject == Subject::Statement {
            self.durations.extend(number(Field::DurationUs).map(|all| all / acts));
        }
    }

    /// Records seen.
    pub fn records(&self) -> i64 {
        self.records
    }

    /// Microseconds from the oldest of them until then.
    pub fn span(&self, now: i64) -> i64 {
        self.oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0))
    }

    /// How many of them ended so.
    pub fn count(&self, subject: Subject, outcome: Outcome) -> i64 {
        self.counts[subject as usize][outcome as usize - 1]
    }

    /// The share that succeeded; NaN of none.
    pub fn success(&self, subject: Subject) -> f64 {
        let all: i64 = self.counts[subject as usize].iter().sum();
        self.count(subject, Outcome::Success) as f64 / all as f64
    }

    /// What was denied or failed, of all subjects.
    pub fn abnormal(&self) -> i64 {
        let of = |subject| self.count(subject, Outcome::Denied) + self.count(subject, Outcome::Failure);
        of(Subject::Statement) + of(Subject::Execution) + of(Subject::Login)
    }

    /// The duration that this share of the statements does not exceed, in seconds; NaN of none.
    pub fn duration(&mut self, share: f64) -> f64 {
        self.durations.sort_unstable();
        let rank = (share * self.durations.len() as f64).ceil() as usize;
        self.durations.get(rank.max(1) - 1).map_or(f64::NAN, |micros| *micros as f64 / 1e6)
    }
}
