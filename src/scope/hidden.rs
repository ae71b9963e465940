//! Whether a row that somebody names by a key of its table is there and hidden: only then was something asked for that is
//! not the asker's. Looked up with the extension's rights, and told to nobody but the record.

use super::allowed::{self, Allowed};
use super::{Scope, odd};
use crate::backend::{NumberMap, backend_local};
use crate::cache::{Member, Policy};
use crate::core::array::{self, is_value_of, same_value};
use crate::error::Outcome;
use crate::{own, raw};
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::hash::BuildHasherDefault;
use std::rc::Rc;

/// Values of a key that are looked up.
const MOST_VALUES: usize = 8;

/// The look-up by a key.
struct Probe {
    type_name: String,
    query: CString,
}

backend_local! {
    /// By table, column and role, of one edition of the policy; None: the column is no key.
    static PROBES: RefCell<(u64, NumberMap<(u32, i16, u32), Option<Rc<Probe>>>)> =
        const { RefCell::new((0, NumberMap::with_hasher(BuildHasherDefault::new()))) };
}

/// Names are quoted here. A key is what alone tells one row from all others.
const PROBE: &CStr = c"SELECT t.type, format('SELECT %s FROM %s k WHERE k.%I = $1::%s', (SELECT string_agg(format('k.%I::text', c), ', ' ORDER BY n)
        FROM unnest($3::text[]) WITH ORDINALITY u(c, n)), a.attrelid::regclass, a.attname, t.type)
    FROM pg_attribute a CROSS JOIN LATERAL (SELECT steward._scope_type(a.attrelid, a.attname) AS type) t
    WHERE a.attrelid = $1::oid AND a.attnum = $2::int2 AND t.type IS NOT NULL AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid
        AND i.indkey[0] = a.attnum AND i.indnkeyatts = 1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL)";

/// The first scope of the current role that hides a row with one of these values in this column, if that is a key.
pub fn by<'p>(policy: &'p Policy, member: &Member, attribute: i16, values: &[String]) -> Outcome<Option<&'p Scope>> {
    let scopes: Vec<&Scope> = policy.scopes().on(member.root.oid).collect();
    let Some(probe) = probe(policy, member, attribute, &scopes)? else { return Ok(None) };
    for value in values.iter().filter(|value| is_value_of(&probe.type_name, value)).take(MOST_VALUES) {
        for row in own::latest_rows_of(&probe.query, &[value]) {
            for (scope, column) in scopes.iter().zip(row) {
                if !lets_see(policy, scope, column.as_deref())? {
                    return Ok(Some(scope));
                }
            }
        }
    }
    Ok(None)
}

fn lets_see(policy: &Policy, scope: &Scope, value: Option<&str>) -> Outcome<bool> {
    Ok(match (allowed::by(policy, scope)?, value) {
        (Allowed::Everything, _) => true,
        (Allowed::Values(_), None) => false,
        (Allowed::Values(values), Some(value)) => values.iter().any(|allowed| same_value(allowed, value)),
    })
}

fn probe(policy: &Policy, member: &Member, attribute: i16, scopes: &[&Scope]) -> Outcome<Option<Rc<Probe>>> {
    let relation = member.relation.to_u32();
    // Safe: plain getter.
    let key = (relation, attribute, unsafe { raw::GetUserId() }.to_u32());
    let known = PROBES.with_borrow_mut(|(edition, probes)| {
        if *edition != policy.edition {
            *edition = policy.edition;
            probes.clear();
        }
        probes.get(&key).cloned()
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let columns: Vec<String> = scopes.iter().map(|scope| scope.column.clone()).collect();
    let arguments = [relation.to_string(), attribute.to_string(), array::literal(&columns)];
    let rows = own::latest_rows_of(PROBE, &arguments.each_ref().map(String::as_str));
    let found = match rows.into_iter().next().as_deref() {
        None => None,
        Some([Some(type_name), Some(query)]) => {
            let query = CString::new(query.as_str()).map_err(|_| odd())?;
            Some(Rc::new(Probe { type_name: type_name.clone(), query }))
        }
        Some(_) => return Err(odd()),
    };
    PROBES.with_borrow_mut(|(_, probes)| probes.insert(key, found.clone()));
    Ok(found)
}
