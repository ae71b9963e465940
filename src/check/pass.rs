//! One pass over a table for all of its checks that can be made as the rows come by: those of single rows, and `unique`.
//!
//! Sorting the keys of millions of rows takes many times as long as reading them, so a pass keeps a hash of each only. A
//! hash that comes twice is a suspicion and never a finding: the rows that have it are read again and compared by their
//! type's own equality. Equal values have equal hashes, so nothing is overlooked.
//!
//! A unique index is not asked: it says what was so when it was written, and a check wants to know what is there.

use super::keys::Taking;
use super::question::{Check, Question, bad};
use super::shape::shape;
use crate::core::check::Kind;
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::datum::DatumWithOid;

/// What a pass found for one check.
pub enum Counted {
    /// So many rows are wrong.
    Rows(i64),
    /// Only rows with these hashes may be equal. None: any.
    Suspects(Option<Vec<i64>>),
}

/// How many issues there are, and keys of some of the rows.
pub type Found = (i64, Vec<String>);

/// Reads the table of these checks once. All are of one table and of kinds that share a pass.
pub fn make(checks: &[&Check]) -> Outcome<Vec<Counted>> {
    own::require_hooks()?;
    let unique = |check: &Check| check.kind == Kind::Unique;
    let places = checks.iter().filter(|check| unique(check)).count();
    own::run(|client| {
        let (mut arguments, mut counts, mut name) = (Vec::new(), Vec::new(), String::new());
        let mut place = 0;
        for check in checks {
            let shape = shape(client, check.relation, &check.columns)?;
            let condition = match check.kind {
                Kind::Unique => {
                    place += 1;
                    let take = |hash| format!("steward._take_key({}, {hash})", place - 1);
                    shape.hash().map_or_else(|| "false".to_owned(), take)
                }
                _ => bad(client, check, &shape, &mut arguments)?,
            };
            counts.push((format!("count(*) FILTER (WHERE {condition})"), shape.hash().is_some()));
            name = shape.name;
        }
        let columns: Vec<&str> = counts.iter().map(|(column, _)| column.as_str()).collect();
        let query = format!("SELECT {} FROM {name} r", columns.join(", "));
        let arguments: Vec<DatumWithOid<'_>> = arguments.iter().map(|text: &String| text.as_str().into()).collect();
        let mut taking = Taking::begin(places);
        let row = own::select(client, &query, &arguments)?.first();
        let mut counted = Vec::new();
        for (at, (check, (_, hashed))) in checks.iter().zip(&counts).enumerate() {
            counted.push(if unique(check) {
                let suspects = taking.next_repeated()?;
                Counted::Suspects(if *hashed { suspects } else { None })
            } else {
                Counted::Rows(row.get::<i64>(at + 1)?.unwrap_or(0))
            });
        }
        Ok(counted)
    })
}

/// The check in a pass of its own.
pub fn alone(check: &Check) -> Outcome<Found> {
    let counted = make(&[check])?.pop().ok_or_else(|| Fault::internal("a pass without an answer"))?;
    counted.found(check)
}

impl Counted {
    /// What it comes to, and where.
    pub fn found(&self, check: &Check) -> Outcome<Found> {
        match self {
            Counted::Rows(0) => Ok((0, Vec::new())),
            Counted::Rows(count) => Ok((*count, Question::of(check)?.sample()?)),
            Counted::Suspects(Some(hashes)) if hashes.is_empty() => Ok((0, Vec::new())),
            Counted::Suspects(hashes) => doubles(check, hashes.as_deref()),
        }
    }
}

fn doubles(check: &Check, hashes: Option<&[i64]>) -> Outcome<Found> {
    own::require_hooks()?;
    own::run(|client| {
        let shape = shape(client, check.relation, &check.columns)?;
        let arguments: Vec<DatumWithOid<'_>> = hashes.map(|hashes| hashes.to_vec().into()).into_iter().collect();
        let (mut count, mut sample) = (0, Vec::new());
        for row in own::select(client, &shape.doubles(hashes.is_some()), &arguments)? {
            count = row.get::<i64>(1)?.unwrap_or(0);
            sample.extend(row.get::<String>(2)?);
        }
        Ok((count, sample))
    })
}
