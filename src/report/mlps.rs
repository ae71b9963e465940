//! `steward.mlps_report`: each control point of `mlps.sql` answered by its own query, in a subtransaction and with a time
//! limit of its own. A query that fails, takes too long or says what is no verdict leaves the point unknown, never good.

use super::{MLPS, record_reading, require};
use crate::check::attempt::attempt;
use crate::core::report::control::{Control, VERDICTS, controls};
use crate::error::{Outcome, answer};
use crate::own;
use pgrx::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

const CONTROLS: &str = include_str!("mlps.sql");

/// For one control point, milliseconds.
const LIMIT: i32 = 60_000;

const UNKNOWN: &str = "unknown";

/// What only people can answer.
const ORGANISATIONAL: (&str, &str) =
    ("organisational", "Not seen from the database: people, papers and other systems answer it.");

#[allow(clippy::type_complexity)] // the columns must stand in the signature
#[pg_extern(sql = false)]
fn mlps_report() -> TableIterator<
    'static,
    (
        name!(code, String),
        name!(clause, String),
        name!(control_zh, String),
        name!(control_en, String),
        name!(verdict, String),
        name!(facts, String),
        name!(query, Option<String>),
        name!(high_risk, bool),
    ),
> {
    let rows = answer((|| {
        require("mlps_report", &["audit", "configure"])?;
        let mut verdicts = BTreeMap::<String, u64>::new();
        let mut rows = Vec::new();
        for control in controls(CONTROLS) {
            let (verdict, facts) = judged(&control);
            *verdicts.entry(verdict.clone()).or_default() += 1;
            let Control { code, clause, zh, en, high_risk, query } = control;
            rows.push((code, clause, zh, en, verdict, facts, Some(query).filter(|query| !query.is_empty()), high_risk));
        }
        record_reading(MLPS, Vec::new(), &json!({ "verdicts": verdicts }));
        Ok(rows)
    })());
    TableIterator::new(rows)
}

fn judged(control: &Control) -> (String, String) {
    if control.query.is_empty() {
        return (ORGANISATIONAL.0.to_owned(), ORGANISATIONAL.1.to_owned());
    }
    match attempt(LIMIT, || ask(&control.query)) {
        Ok(Some((verdict, facts))) if VERDICTS.contains(&verdict.as_str()) => (verdict, facts),
        Ok(Some((verdict, _))) => {
            (UNKNOWN.to_owned(), format!("The query answered \"{verdict}\", which is no verdict."))
        }
        Ok(None) => (UNKNOWN.to_owned(), "The query answered nothing.".to_owned()),
        Err(failure) => (UNKNOWN.to_owned(), format!("The query failed: {failure}.")),
    }
}

fn ask(query: &str) -> Outcome<Option<(String, String)>> {
    own::run(|client| {
        let row = own::select(client, query, &[])?.first();
        if row.is_empty() {
            return Ok(None);
        }
        let (verdict, facts) = row.get_two::<String, String>()?;
        Ok(verdict.zip(facts))
    })
}
