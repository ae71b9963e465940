//! Integrity checks: `steward.set_check` says what is asked of the data, `steward.daily_check()` asks. What a check reads
//! is `question`, a run is `run`, what the policy asks of the server and of itself is `server`, what the chain says of the
//! register `register`.

pub mod attempt;
mod keys;
mod library;
pub mod own_object;
mod pass;
mod progress;
mod question;
mod register;
pub mod run;
mod server;
mod shape;
mod value;

use crate::core::check::{Kind, Number, bounds};
use crate::error::{Fault, Outcome, answer};
use crate::person::{legible, one_text, optional, required};
use crate::policy::{changed, require_privilege};
use crate::{own, session};
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;
use question::Check;

#[pg_extern(sql = false)]
fn set_check(
    name: Option<&str>,
    relation: Option<pg_sys::Oid>,
    kind: Option<&str>,
    columns: Option<Vec<Option<String>>>,
    parameter: Option<&str>,
    timeout: Option<Interval>,
) {
    answer((|| {
        require_privilege("set_check")?;
        let check = valid(name, relation, kind, columns, parameter, timeout)?;
        question::try_out(&check)?;
        own::run(|client| {
            let row = "INSERT INTO steward.integrity_check (name, relation, kind, columns, parameter, owner, timeout)
                VALUES ($1, $2::oid, $3, $4::text[]::name[], $5, $6::oid, $7) ON CONFLICT (name) DO UPDATE SET relation = excluded.relation,
                    kind = excluded.kind, columns = excluded.columns, parameter = excluded.parameter,
                    owner = excluded.owner, timeout = excluded.timeout";
            let row_values: [DatumWithOid<'_>; 7] = [
                check.name.as_str().into(),
                check.relation.into(),
                check.kind_name.as_str().into(),
                check.columns.clone().into(),
                optional(check.parameter.as_deref()),
                check.owner.into(),
                timeout.into(),
            ];
            own::execute(client, row, &row_values)
        })?;
        changed("set_check", &check.name)
    })())
}

/// What is asked for, as far as it can be judged without looking at the table.
fn valid(
    name: Option<&str>,
    relation: Option<pg_sys::Oid>,
    kind: Option<&str>,
    columns: Option<Vec<Option<String>>>,
    parameter: Option<&str>,
    timeout: Option<Interval>,
) -> Outcome<Check> {
    let name = required("name", name)?.to_owned();
    if server::is_built_in(&name) {
        return Err(
            Fault::bad_argument(format!("\"{name}\" is a check of the policy's own")).hint("Choose another name.")
        );
    }
    let relation = relation.ok_or_else(|| Fault::bad_argument("relation must not be NULL"))?;
    let kind_name = required("kind", kind)?.to_owned();
    let kind = Kind::from_name(&kind_name).ok_or_else(|| {
        let known = crate::core::check::KINDS.map(|(name, _)| name).join(" ");
        Fault::bad_argument(format!("\"{kind_name}\" is no kind of check")).detail(format!("Kinds are: {known}."))
    })?;
    let columns = columns.unwrap_or_default().into_iter().collect::<Option<Vec<_>>>();
    let columns = columns.ok_or_else(|| Fault::bad_argument("a column must not be NULL"))?;
    if columns.is_empty() || kind.takes_one_column() && columns.len() > 1 {
        let wanted = if kind.takes_one_column() { "exactly one column" } else { "at least one column" };
        return Err(Fault::bad_argument(format!("a check of kind {kind_name} takes {wanted}")));
    }
    let positive = timeout.is_some_and(|timeout| timeout.as_micros() > 0);
    if !positive {
        return Err(Fault::bad_argument("timeout must be longer than nothing"));
    }
    let parameter = parameter.map(str::to_owned);
    parameter_fits(kind, &kind_name, parameter.as_deref())?;
    // Safe: reads the current role.
    let owner = unsafe { pg_sys::GetUserId() };
    Ok(Check { name, relation, kind, kind_name, columns, parameter, owner })
}

fn parameter_fits(kind: Kind, name: &str, parameter: Option<&str>) -> Outcome<()> {
    let wanted = match kind {
        Kind::Unique => return none(name, parameter),
        Kind::Format => "a regular expression",
        Kind::Checksum => "id_card or bank_card",
        Kind::Reference => "schema.table(column, …)",
        Kind::Range => "low..high",
        Kind::Freshness => "an interval",
        Kind::Expression => "a condition",
    };
    let wrong = || Fault::bad_argument(format!("the parameter of a check of kind {name} is {wanted}"));
    let parameter = parameter.filter(|parameter| !parameter.trim().is_empty()).ok_or_else(wrong)?;
    legible("parameter", parameter)?;
    match kind {
        Kind::Format => value::compile(parameter).map(drop),
        Kind::Checksum if Number::from_name(parameter).is_none() => Err(wrong()),
        Kind::Range if bounds(parameter).is_none() => Err(wrong()),
        _ => Ok(()),
    }
}

fn none(name: &str, parameter: Option<&str>) -> Outcome<()> {
    match parameter {
        None => Ok(()),
        Some(_) => Err(Fault::bad_argument(format!("a check of kind {name} takes no parameter"))),
    }
}

#[pg_extern(sql = false)]
fn drop_check(name: &str) {
    answer((|| {
        require_privilege("drop_check")?;
        let gone = own::run(|client| {
            // What it had found is looked for no more.
            let case = "UPDATE steward._integrity_issue SET status = 'gone', ended_at = clock_timestamp(),
                result = 'the check was dropped' WHERE status = 'open' AND check_name = $1";
            own::execute(client, case, &[name.into()])?;
            one_text(client, "DELETE FROM steward.integrity_check WHERE name = $1 RETURNING name", &[name.into()])
        })?;
        gone.ok_or_else(|| {
            Fault::unknown(format!("there is no check \"{name}\"")).hint("SELECT name FROM steward.integrity_check;")
        })?;
        changed("drop_check", name)
    })())
}

/// Whether the caller sees what checks found.
#[pg_extern(sql = false)]
fn _may_see_checks() -> bool {
    // Safe: looks up the role that authenticated.
    let superuser = unsafe { pg_sys::superuser_arg(session::login()) };
    let sees = |capability: &&str| session::person().is_some_and(|person| person.may(capability));
    superuser || ["audit", "approve", "configure"].iter().any(sees)
}
