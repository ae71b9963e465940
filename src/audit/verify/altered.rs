//! The tables of the audit trail against those that this version of the extension creates: columns, constraints, indexes,
//! triggers, which segments belong to the chain, and the ids that they may hold. Nobody alters them while the library is
//! loaded; what somebody has altered meanwhile is found here, in the catalogs, even if every record still verifies.

use super::disk;
use crate::core::chain::{Kind, Verdict};
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::spi::SpiClient;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;

/// What the extension creates, a line `table: property` each; `chain_N` is any segment.
const CREATED: &str = include_str!("created.txt");
/// What stands, a row each: which of the created tables, its name, the property, the table's oid.
const STANDING: &CStr = query(concat!(include_str!("standing.sql"), "\0"));
/// What is wrong with the set of segments, a row each.
const SEGMENTS: &CStr = query(concat!(include_str!("segments.sql"), "\0"));
const SEGMENT: &str = "chain_N";
/// Differences that are told.
const TOLD: usize = 20;

const fn query(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(query) => query,
        Err(_) => panic!("a query with a zero byte"),
    }
}

/// How the tables differ from those that were created.
#[derive(Default)]
pub(super) struct Altered {
    differences: Vec<String>,
    /// What own SQL reads is not there: no record can be verified.
    unreadable: bool,
    /// Tables that inherit from the chain and are no segment.
    strangers: BTreeSet<u32>,
    /// The numbers of the segments.
    segments: Vec<i64>,
}

impl Altered {
    /// Looks at the catalogs as they are now. The chain's tables stay locked against changes of their shape.
    /// Inside `own::run`.
    pub fn look() -> Altered {
        disk::lock();
        let mut altered = Altered::default();
        // The session's own taste in quotes is no difference.
        own::pin(&[(c"quote_all_identifiers", c"off")]);
        let mut standing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in own::latest_rows(STANDING) {
            let [model, Some(name), Some(property), oid] = &row[..] else { continue };
            match model {
                Some(model) => {
                    if model == SEGMENT && !standing.contains_key(name) {
                        altered.segments.extend(name.rsplit('_').next().and_then(|number| number.parse::<i64>().ok()));
                    }
                    standing.entry(name.clone()).or_default().insert(property.clone());
                }
                None => altered.stranger(name, property, oid.as_deref()),
            }
        }
        altered.compare_all(&standing);
        if !altered.unreadable {
            altered.differences.extend(own::latest_rows(SEGMENTS).into_iter().flatten().flatten());
        }
        altered
    }

    /// A property of a table that inherits from the chain and is no segment.
    fn stranger(&mut self, name: &str, property: &str, oid: Option<&str>) {
        let Some(oid) = oid.and_then(|oid| oid.parse().ok()) else { return };
        if self.strangers.insert(oid) {
            self.differences.push(format!("{name} inherits from steward.chain and is none of its segments"));
        }
        // Nothing can be read as a record from what is no table.
        self.unreadable |= property.starts_with("kind ") && !property.starts_with("kind r,");
    }

    fn compare_all(&mut self, standing: &BTreeMap<String, BTreeSet<String>>) {
        let mut created: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (model, property) in CREATED.lines().filter_map(|line| line.split_once(": ")) {
            created.entry(model).or_default().insert(property);
        }
        let segments: Vec<String> = self.segments.iter().map(|number| format!("steward.chain_{number}")).collect();
        for (model, properties) in &created {
            let own = [format!("steward.{model}")];
            let tables = if *model == SEGMENT { &segments[..] } else { &own[..] };
            for table in tables {
                let found = standing.get(table);
                let found: BTreeSet<&str> = found.into_iter().flatten().map(String::as_str).collect();
                self.compare(table, properties, &found);
            }
        }
    }

    fn compare(&mut self, table: &str, created: &BTreeSet<&str>, standing: &BTreeSet<&str>) {
        for lacking in created.difference(standing) {
            self.unreadable |= lacking.starts_with("column ");
            self.differences.push(format!("{table} lacks: {lacking}"));
        }
        for more in standing.difference(created) {
            self.differences.push(format!("{table} has: {more}"));
        }
    }

    /// The verdict where no record can be read.
    pub fn unreadable(&self) -> Option<Verdict> {
        let kind = Kind::AlteredTable;
        let none =
            Verdict { ok: false, checked: 0, from_id: None, to_id: None, kind, first_bad_id: None, anchored: false };
        self.unreadable.then(|| {
            self.warn();
            none
        })
    }

    /// The verdict on the records, and on the tables they lie in. Damage of the records counts first; a good chain in
    /// altered tables is not ok. Its first bad id is that of the first record outside its segment, if there is one.
    pub fn judge(mut self, client: &mut SpiClient<'_>, verdict: Verdict) -> Outcome<Verdict> {
        let whole = verdict.ok || verdict.kind == Kind::Catalog;
        let misplaced = if whole { self.first_misplaced(client)? } else { None };
        self.differences.extend(misplaced.map(|id| format!("record {id} lies outside its segment")));
        if self.differences.is_empty() {
            return Ok(verdict);
        }
        self.warn();
        if !matches!(verdict.kind, Kind::Ok | Kind::NotAnchored | Kind::Empty) {
            return Ok(verdict);
        }
        Ok(Verdict { ok: false, kind: Kind::AlteredTable, first_bad_id: misplaced, anchored: false, ..verdict })
    }

    fn warn(&self) {
        let mut told = self.differences.iter().take(TOLD).cloned().collect::<Vec<_>>().join("\n");
        if self.differences.len() > TOLD {
            told += &format!("\n… and {} more differences", self.differences.len() - TOLD);
        }
        Fault::corrupted("the tables of the audit trail are not as pg_steward created them")
            .detail(told)
            .hint("Somebody altered them while pg_steward was not loaded; find out who and why, and undo it in the same way.")
            .warn();
    }

    /// The lowest id of a record that lies in a table where it cannot have been chained.
    fn first_misplaced(&self, client: &mut SpiClient<'_>) -> Outcome<Option<i64>> {
        let mut found = Vec::new();
        found.extend(one(client, "SELECT min(id) FROM ONLY steward.chain")?);
        if !self.strangers.is_empty() {
            let oids: Vec<String> = self.strangers.iter().map(u32::to_string).collect();
            let sql = "SELECT min(id) FROM steward.chain WHERE tableoid = ANY ($1::oid[])";
            found.extend(own::select(client, sql, &[oids.into()])?.first().get_one::<i64>()?);
        }
        let mut bounds = BTreeMap::new();
        let mut open = (1, 1);
        let sql = "SELECT number::bigint, first_id, last_id FROM steward.segment ORDER BY number";
        for row in own::select(client, sql, &[])? {
            let (Some(number), Some(first), Some(last)) = (row.get::<i64>(1)?, row.get(2)?, row.get::<i64>(3)?) else {
                continue;
            };
            bounds.insert(number, (first, last));
            open = (number + 1, last + 1);
        }
        bounds.insert(open.0, (open.1, i64::MAX));
        for number in &self.segments {
            // Of what is no segment every record is misplaced.
            let (first, last) = bounds.get(number).copied().unwrap_or((i64::MAX, i64::MAX));
            let lowest = one(client, &format!("SELECT id FROM ONLY steward.chain_{number} ORDER BY id LIMIT 1"))?;
            let highest = one(client, &format!("SELECT id FROM ONLY steward.chain_{number} ORDER BY id DESC LIMIT 1"))?;
            found.extend(lowest.filter(|id| *id < first));
            if highest.is_some_and(|id| id > last) {
                found.extend(one(
                    client,
                    &format!("SELECT min(id) FROM ONLY steward.chain_{number} WHERE id > {last}"),
                )?);
            }
        }
        Ok(found.into_iter().min())
    }
}

/// A single number, if there is one.
fn one(client: &mut SpiClient<'_>, sql: &str) -> Outcome<Option<i64>> {
    let row = own::select(client, sql, &[])?.first();
    if row.is_empty() { Ok(None) } else { Ok(row.get_one::<i64>()?) }
}
