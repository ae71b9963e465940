//! Capabilities that hang on records: while a kind is enforced, who needs a valid record of it and has none lacks what the
//! kind suspends. Read with the policy; compared with the clock when a capability is asked for, so that nothing has to run
//! when an exam lapses.

use crate::cache::Person;
use crate::error::Fault;
use crate::own;
use crate::raw;
use std::collections::HashMap;
use std::ffi::CStr;

/// Until when one capability of a person holds.
#[derive(Clone, Debug)]
pub struct Term {
    pub capability: String,
    /// The kind of records on which it hangs.
    pub kind: String,
    /// Microseconds since 2000-01-01 UTC.
    until: i64,
}

impl Term {
    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        // Safe: reads the clock.
        self.until <= unsafe { raw::GetCurrentTimestamp() }
    }
}

const TERMS: &CStr = c"SELECT person, capability, kind, CASE WHEN isfinite(until)
        THEN (extract(epoch FROM until - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8
        WHEN until > clock_timestamp() THEN 9223372036854775807 ELSE (-9223372036854775807)::int8 END::text
    FROM steward._capability_term";

/// The terms of everybody whose capabilities hang on records, by name. Asked only where a kind is enforced.
pub fn load() -> Result<HashMap<String, Vec<Term>>, Fault> {
    let mut terms: HashMap<String, Vec<Term>> = HashMap::new();
    for row in own::latest_rows(TERMS) {
        let odd = || Fault::internal("the term of a capability does not read back");
        let [Some(person), Some(capability), Some(kind), Some(until)] = row.as_slice() else { return Err(odd()) };
        let until = until.parse().map_err(|_| odd())?;
        let term = Term { capability: capability.clone(), kind: kind.clone(), until };
        terms.entry(person.clone()).or_default().push(term);
    }
    Ok(terms)
}

/// What a person's valid records are missing, as `name: kind, kind`.
pub fn lapsed_kinds(person: &Person) -> Option<String> {
    let mut kinds: Vec<&str> =
        person.terms.iter().filter(|term| term.is_over()).map(|term| term.kind.as_str()).collect();
    kinds.sort();
    kinds.dedup();
    (!kinds.is_empty()).then(|| format!("{}: {}", person.name, kinds.join(", ")))
}
