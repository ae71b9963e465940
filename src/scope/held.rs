//! What one person holds: values of attributes, for good and for a time.

use super::{EVERYTHING, odd};
use crate::error::Outcome;
use crate::{own, raw};
use pgrx::pg_sys::Oid;
use std::ffi::CStr;

/// Values of one attribute.
struct Holding {
    attribute: String,
    values: Vec<String>,
    /// Only on this protected table, and only until then: microseconds since 2000-01-01 UTC.
    for_a_time: Option<(Oid, i64)>,
}

#[derive(Default)]
pub struct Held(Vec<Holding>);

const HELD: &CStr =
    c"SELECT attribute, array_to_json(allowed_values)::text, NULL, NULL FROM steward.person_attribute WHERE person = $1
    UNION ALL SELECT attribute, array_to_json(allowed_values)::text, relation::oid::text,
        trunc(extract(epoch FROM until - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8::text
    FROM steward.temporary_grant WHERE person = $1 AND ended_at IS NULL AND until > clock_timestamp()";

impl Held {
    pub fn load(person: &str) -> Outcome<Held> {
        let holdings = own::latest_rows_of(HELD, &[person]).iter().map(|row| read(row)).collect::<Outcome<_>>()?;
        Ok(Held(holdings))
    }

    /// The values of an attribute on a table as the clock stands now. `*` is among them only where it was given for good.
    pub fn values(&self, attribute: &str, relation: Oid) -> Vec<String> {
        // Safe: reads the clock. Not the transaction's time: a term ends inside a long transaction too.
        let now = unsafe { raw::GetCurrentTimestamp() };
        let in_force = |holding: &&Holding| match holding.for_a_time {
            None => true,
            Some((table, until)) => table == relation && now < until,
        };
        let of = self.0.iter().filter(|holding| holding.attribute == attribute).filter(in_force);
        let given = |holding: &Holding, value: &String| holding.for_a_time.is_none() || value != EVERYTHING;
        of.flat_map(|holding| holding.values.iter().filter(move |value| given(holding, value)).cloned()).collect()
    }
}

fn read(row: &[Option<String>]) -> Outcome<Holding> {
    let text = |column: usize| row.get(column).and_then(Option::as_deref).ok_or_else(odd);
    let for_a_time = match &row[2] {
        None => None,
        Some(table) => {
            Some((Oid::from(table.parse::<u32>().map_err(|_| odd())?), text(3)?.parse().map_err(|_| odd())?))
        }
    };
    let values = serde_json::from_str(text(1)?).map_err(|_| odd())?;
    Ok(Holding { attribute: text(0)?.to_owned(), values, for_a_time })
}
