//! Temporary grants: further values of an attribute for one person on one table, with a term that the policy caps. What
//! ends one is the clock, looked at by each statement (`held`).

use super::attribute::{fit, known_person, listed, name, types};
use super::{EVERYTHING, changed};
use crate::error::{Fault, Outcome, answer};
use crate::operation::cover;
use crate::person::{one_text, required};
use crate::watch::utility::relation_name;
use crate::{own, policy, session};
use pgrx::datum::Interval;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

#[pg_extern(sql = false)]
fn grant_temporarily(
    person: Option<&str>,
    relation: Option<pg_sys::Oid>,
    attribute: Option<&str>,
    allowed_values: Option<Vec<Option<String>>>,
    until: Option<TimestampWithTimeZone>,
    reason: Option<&str>,
) -> i64 {
    answer((|| {
        policy::require_privilege("grant_temporarily")?;
        let person = required("person", person)?;
        let relation = relation.ok_or_else(|| Fault::bad_argument("on which table?"))?;
        let attribute = name(attribute)?;
        let values = listed(allowed_values)?;
        let reason = required("reason", reason)?;
        let until =
            until.ok_or_else(|| Fault::bad_argument("until when?").hint("until => now() + interval '1 day'"))?;
        if values.is_empty() || values.iter().any(|value| value == EVERYTHING) {
            return Err(Fault::bad_argument("a temporary grant names its values")
                .detail("Everything is never granted for a time.")
                .hint("allowed_values => '{7}'"));
        }
        let id = own::run(|client| {
            own::execute(client, "LOCK TABLE steward.temporary_grant, steward.scope IN SHARE ROW EXCLUSIVE MODE", &[])?;
            known_person(client, person)?;
            let types = types(client, attribute, Some(relation))?;
            if types.is_empty() {
                return Err(Fault::unknown(format!("no scope of {} uses \"{attribute}\"", relation_name(relation)))
                    .hint("SELECT * FROM steward.scope;"));
            }
            types.iter().try_for_each(|type_name| fit(attribute, &values, type_name))?;
            check_term(client, until)?;
            refuse_extension(client, person, relation, attribute, &values)?;
            let op_no = cover::current().map(|cover| cover.op_no.clone());
            let row = "INSERT INTO steward.temporary_grant (id, person, relation, attribute, allowed_values, granted_at, until, reason,
                    granted_by, op_no)
                SELECT coalesce(max(id), 0) + 1, $1, $2::oid::regclass, $3, $4, clock_timestamp(), $5, $6, $7, $8
                FROM steward.temporary_grant RETURNING id::text";
            let login = session::login_name();
            let arguments = [
                person.into(),
                relation.into(),
                attribute.into(),
                values.clone().into(),
                until.into(),
                reason.into(),
                login.into(),
                op_no.into(),
            ];
            let id = one_text(client, row, &arguments)?;
            id.and_then(|id| id.parse::<i64>().ok()).ok_or_else(|| Fault::internal("a grant has no number"))
        })?;
        let details = json!({ "grant": id, "person": person, "attribute": attribute, "values": values.len(),
            "until": until.to_iso_string(), "reason": reason });
        changed("grant_temporarily", &relation_name(relation), details)?;
        Ok(id)
    })())
}

fn check_term(client: &mut SpiClient<'_>, until: TimestampWithTimeZone) -> Outcome<()> {
    let verdict = "SELECT CASE WHEN NOT isfinite($1) THEN 'long' WHEN $1 <= clock_timestamp() THEN 'past'
        WHEN $1 > clock_timestamp() + (SELECT max_term FROM steward.temporary_grant_limit) THEN 'long'
        WHEN EXISTS (SELECT FROM steward.temporary_grant_limit) THEN 'good' END";
    match one_text(client, verdict, &[until.into()])?.as_deref() {
        Some("good") => Ok(()),
        Some("past") => Err(Fault::bad_argument("until is in the past")),
        _ => {
            let longest = one_text(client, "SELECT max_term::text FROM steward.temporary_grant_limit", &[])?;
            Err(Fault::bad_argument("the term is longer than the policy allows")
                .detail(format!("The longest term is {}.", longest.as_deref().unwrap_or("not set, so there is none")))
                .hint("until => now() + interval '1 day'"))
        }
    }
}

/// Who needs it longer applies anew when it is over, and with an operation of its own.
fn refuse_extension(
    client: &mut SpiClient<'_>,
    person: &str,
    relation: Oid,
    attribute: &str,
    values: &[String],
) -> Outcome<()> {
    let same =
        "SELECT id::text FROM steward.temporary_grant WHERE person = $1 AND relation::oid = $2 AND attribute = $3
        AND allowed_values && $4 AND (ended_at IS NULL AND until > clock_timestamp() OR op_no = $5) LIMIT 1";
    let op_no = cover::current().map(|cover| cover.op_no.clone());
    let arguments = [person.into(), relation.into(), attribute.into(), values.to_vec().into(), op_no.into()];
    match one_text(client, same, &arguments)? {
        None => Ok(()),
        Some(id) => Err(Fault::wrong_state("a temporary grant is not extended")
            .detail(format!(
                "Grant {id} has given a value of these already. When it is over, a new operation may grant it anew."
            ))
            .hint("SELECT * FROM steward.temporary_access;")),
    }
}

#[pg_extern(sql = false)]
fn end_temporary_grant(id: Option<i64>) {
    answer((|| {
        policy::require_configuration("end_temporary_grant")?;
        let id = id.ok_or_else(|| Fault::bad_argument("which grant?"))?;
        let gone = own::run(|client| {
            let end = "UPDATE steward.temporary_grant SET ended_at = clock_timestamp()
                WHERE id = $1 AND ended_at IS NULL AND until > clock_timestamp() RETURNING 1";
            own::execute(client, end, &[id.into()])
        })?;
        if gone == 0 {
            return Err(Fault::unknown(format!("no grant {id} is in force"))
                .hint("SELECT * FROM steward.temporary_access WHERE in_force;"));
        }
        changed("end_temporary_grant", "temporary_grant", json!({ "grant": id }))
    })())
}

#[pg_extern(sql = false)]
fn set_temporary_grant_limit(max_term: Option<Interval>) {
    answer((|| {
        policy::require_privilege("set_temporary_grant_limit")?;
        let term = max_term.ok_or_else(|| Fault::bad_argument("which term?").hint("max_term => '7 days'"))?;
        own::run(|client| {
            let row = "UPDATE steward.temporary_grant_limit SET max_term = $1";
            own::execute(client, row, &[term.into()]).map(drop)
        })?;
        changed("set_temporary_grant_limit", "temporary_grant_limit", json!({}))
    })())
}
