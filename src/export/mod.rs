//! How many rows of protected tables a session may read: the rows of `steward.export_limit`, and which of them hold for it.
//! Counting is `watch::reading`'s, the hour's sum of a person `memory`'s.

pub mod form;
pub mod memory;

use crate::cache::Policy;
use crate::error::{Fault, Outcome, answer};
use crate::operation::cover;
use crate::policy::{changed, require_privilege};
use crate::settings::Mode;
use crate::{own, session, shared};
use form::Export;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::Value;
use std::rc::Rc;

/// A row of `steward.export_limit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    role: u32,
    rows_per_statement: Option<u64>,
    rows_per_hour: Option<u64>,
    allow_copy: bool,
}

/// A number of rows, and whose limit it is: a role or an operation.
#[derive(Clone, Debug)]
pub struct Rows {
    pub rows: u64,
    pub whose: String,
}

/// What holds for a session now.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    pub statement: Option<Rows>,
    pub hour: Option<Rows>,
    /// Whose limit forbids COPY TO.
    pub no_copy: Option<String>,
    /// The approved export that stands in the place of all limits.
    pub export: Option<Rc<Export>>,
}

impl Allowance {
    fn tighten(&mut self, limit: &Limit) {
        let whose = || format!("role {}", session::role_name(pg_sys::Oid::from(limit.role)));
        let tighter = |place: &mut Option<Rows>, rows: Option<u64>| {
            if let Some(rows) = rows
                && place.as_ref().is_none_or(|standing| standing.rows > rows)
            {
                *place = Some(Rows { rows, whose: whose() });
            }
        };
        tighter(&mut self.statement, limit.rows_per_statement);
        tighter(&mut self.hour, limit.rows_per_hour);
        if !limit.allow_copy {
            self.no_copy.get_or_insert_with(whose);
        }
    }
}

/// The limits as the policy's reading brings them: a JSON list, or nothing.
pub fn read(json: Option<&str>) -> Option<Vec<Limit>> {
    let Some(json) = json else { return Some(Vec::new()) };
    let rows: Vec<(u32, Option<u64>, Option<u64>, bool)> = serde_json::from_str::<Value>(json)
        .ok()?
        .as_array()?
        .iter()
        .map(|row| {
            let role = u32::try_from(row.get(0)?.as_u64()?).ok()?;
            let rows = |place: usize| match row.get(place)? {
                Value::Null => Some(None),
                rows => rows.as_u64().map(Some),
            };
            Some((role, rows(1)?, rows(2)?, row.get(3)?.as_bool()?))
        })
        .collect::<Option<_>>()?;
    let limit = |(role, rows_per_statement, rows_per_hour, allow_copy)| Limit {
        role,
        rows_per_statement,
        rows_per_hour,
        allow_copy,
    };
    Some(rows.into_iter().map(limit).collect())
}

/// What holds for this session; None: it may read without a limit. An approved export may read what its form says, and
/// no more, whether its role has limits or none.
pub fn allowance(policy: &Policy) -> Option<Allowance> {
    let export = cover::current().and_then(|cover| cover.export.clone());
    if export.is_none() && policy.export_limits.is_empty() {
        return None;
    }
    if !shared::active() || !matches!(shared::mode(), Mode::Enforce | Mode::Warn) {
        return None;
    }
    if export.is_some() {
        return Some(Allowance { export, ..Allowance::default() });
    }
    let mut limits = policy.export_limits.iter().filter(|limit| holds(limit.role)).peekable();
    limits.peek()?;
    let mut allowance = Allowance::default();
    limits.for_each(|limit| allowance.tighten(limit));
    Some(allowance)
}

/// Whether the session stands behind a role: by its login, by what it has put on, or by what a function made of it.
fn holds(role: u32) -> bool {
    // Safe: plain getter and a membership look-up in the role cache.
    let put_on = || unsafe { pg_sys::is_member_of_role_nosuper(pg_sys::GetOuterUserId(), pg_sys::Oid::from(role)) };
    session::has_role(role) || put_on()
}

#[pg_extern(sql = false)]
fn set_export_limit(
    role: Option<pg_sys::Oid>,
    rows_per_statement: Option<i64>,
    rows_per_hour: Option<i64>,
    allow_copy: Option<bool>,
) {
    answer((|| {
        require_privilege("set_export_limit")?;
        let role = known(role)?;
        if [rows_per_statement, rows_per_hour].into_iter().flatten().any(|rows| rows < 1) {
            return Err(Fault::bad_argument("limits count from 1")
                .hint("A role that may read nothing has no privilege SELECT: steward.set_permission"));
        }
        own::run(|client| {
            let row = "INSERT INTO steward.export_limit (role, rows_per_statement, rows_per_hour, allow_copy)
                VALUES ($1, $2, $3, coalesce($4, false)) ON CONFLICT (role) DO UPDATE SET
                    rows_per_statement = EXCLUDED.rows_per_statement, rows_per_hour = EXCLUDED.rows_per_hour,
                    allow_copy = EXCLUDED.allow_copy";
            let limits = [rows_per_statement.into(), rows_per_hour.into(), allow_copy.into()];
            let [statement, hour, copy] = limits;
            own::execute(client, row, &[regrole(role), statement, hour, copy]).map(drop)
        })?;
        changed("set_export_limit", &session::role_name(role))
    })())
}

#[pg_extern(sql = false)]
fn drop_export_limit(role: Option<pg_sys::Oid>) {
    answer((|| {
        require_privilege("drop_export_limit")?;
        let role = known(role)?;
        let row = "DELETE FROM steward.export_limit WHERE role = $1 RETURNING 1";
        if own::run(|client| own::execute(client, row, &[regrole(role)]))? == 0 {
            return Err(Fault::unknown("the role has no limits").hint("SELECT * FROM steward.export_limit;"));
        }
        changed("drop_export_limit", &session::role_name(role))
    })())
}

fn known(role: Option<pg_sys::Oid>) -> Outcome<pg_sys::Oid> {
    let role = role.filter(|role| *role != pg_sys::InvalidOid);
    role.ok_or_else(|| Fault::bad_argument("which role?").hint("SELECT steward.set_export_limit('clerk', 200, 2000);"))
}

fn regrole<'a>(role: pg_sys::Oid) -> DatumWithOid<'a> {
    // Safe: an oid is what regrole holds.
    unsafe { DatumWithOid::new(role, pg_sys::REGROLEOID) }
}
