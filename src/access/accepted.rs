//! Ways around the policy that somebody looked at and took for known: one finding about one object, for a time. The daily
//! check is silent about these. What was found, which role it is about, and the definition of the view or function and who
//! may call it, are kept as a digest, so that another finding of the same name is told again. Never here: a kind that is left out as a whole.

use super::Texts;
use super::lint::every;
use crate::audit::buffer;
use crate::core::record::{Kind, Record};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::{optional, required};
use crate::policy::{require_configuration, require_privilege, within_a_year};
use crate::scope::lint::{self as scope, Finding};
use crate::{own, session};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

/// A way around, and who has accepted it.
pub struct Way {
    pub kind: String,
    pub object: String,
    pub role: Option<String>,
    pub why: String,
    pub command: Option<String>,
    pub accepted: Option<Acceptance>,
}

/// Who accepted it, why and until when.
pub struct Acceptance {
    by: String,
    until: TimestampWithTimeZone,
    reason: String,
}

impl Acceptance {
    /// As columns of a result.
    pub fn columns(accepted: Option<Acceptance>) -> (Option<String>, Option<TimestampWithTimeZone>, Option<String>) {
        accepted.map_or((None, None, None), |found| (Some(found.by), Some(found.until), Some(found.reason)))
    }
}

impl Way {
    pub fn of_texts([kind, object, role, why, command]: Texts<5>) -> Way {
        let [kind, object, why] = [kind, object, why].map(Option::unwrap_or_default);
        Way { kind, object, role, why, command, accepted: None }
    }

    pub fn of_scope(found: Finding) -> Way {
        let (kind, why) = (found.issue.to_owned(), found.detail);
        Way { kind, object: found.object, role: None, why, command: None, accepted: None }
    }

    /// As the daily check tells it.
    pub fn told(&self) -> String {
        let who = self.role.as_ref().map(|role| format!(" ({role})")).unwrap_or_default();
        format!("{} {}{who}: {}", self.kind, self.object, self.why)
    }
}

/// Findings and their digests, in their order. The rules of views are read as they are stored: putting them into words
/// would wait for the locks of tables.
macro_rules! digested {
    () => {
        "SELECT f.kind, f.object, coalesce(f.role_id, '') AS role_id, f.place, encode(sha256(convert_to(concat_ws(E'\\n', f.why,
                to_regrole(quote_ident(f.role_id))::oid, to_regrole(quote_ident(f.object))::oid,
                CASE WHEN f.kind = 'definer_function' THEN (SELECT ROW(p.oid, p.proacl, p.prosrc, p.probin, p.prosqlbody, p.proconfig)::text
                        FROM pg_proc p WHERE p.oid = to_regprocedure(f.object))
                    WHEN f.kind IN ('owner_view', 'owner_rights_view', 'materialized_view') THEN
                        (SELECT string_agg(w.ev_action::text, ' ' ORDER BY w.rulename) FROM pg_rewrite w WHERE w.ev_class = to_regclass(f.object))
                END), 'UTF8')), 'hex') AS digest
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY f(kind, object, role_id, why, place)"
    };
}

const ACCEPTED: &str = concat!(
    "SELECT a.accepted_by, a.until, a.reason FROM (",
    digested!(),
    ") f LEFT JOIN steward._accepted_way a ON (a.kind, a.object, a.role_id, a.digest) = (f.kind, f.object, f.role_id, f.digest)
        AND a.until > clock_timestamp() ORDER BY f.place"
);

const ACCEPT: &str = concat!(
    "INSERT INTO steward._accepted_way (kind, object, role_id, digest, until, reason, accepted_by)
        SELECT DISTINCT f.kind, f.object, f.role_id, f.digest, $5::timestamptz, $6, $7 FROM (",
    digested!(),
    ") f ON CONFLICT (kind, object, role_id, digest) DO UPDATE SET until = excluded.until, reason = excluded.reason,
        accepted_by = excluded.accepted_by, accepted_at = excluded.accepted_at"
);

fn arrays<'a>(ways: &[Way]) -> [DatumWithOid<'a>; 4] {
    let column = |text: fn(&Way) -> Option<String>| DatumWithOid::from(ways.iter().map(text).collect::<Vec<_>>());
    [
        column(|way| Some(way.kind.clone())),
        column(|way| Some(way.object.clone())),
        column(|way| way.role.clone()),
        column(|way| Some(way.why.clone())),
    ]
}

/// Says of each who has accepted it.
pub fn mark(client: &mut SpiClient<'_>, mut ways: Vec<Way>) -> Outcome<Vec<Way>> {
    let arguments = arrays(&ways);
    for (row, way) in own::select(client, ACCEPTED, &arguments)?.zip(&mut ways) {
        let (by, until, reason) = (row.get::<String>(1)?, row.get::<TimestampWithTimeZone>(2)?, row.get::<String>(3)?);
        way.accepted = by.zip(until).zip(reason).map(|((by, until), reason)| Acceptance { by, until, reason });
    }
    Ok(ways)
}

#[pg_extern(sql = false)]
fn accept_way_around(
    kind: Option<&str>,
    object: Option<&str>,
    until: Option<TimestampWithTimeZone>,
    reason: Option<&str>,
    role_id: Option<&str>,
) -> i64 {
    answer((|| {
        require_configuration("accept_way_around")?;
        let [kind, object, reason] =
            [required("kind", kind)?, required("object", object)?, required("reason", reason)?];
        let over = within_a_year("an acceptance", until)?;
        if !over {
            require_privilege("accept_way_around")?;
        }
        let changed =
            if over { taken_back(kind, object, role_id)? } else { taken(kind, object, role_id, until, reason)? };
        let mut record = Record::new(Kind::Policy, "accept_way_around");
        record.tier = Some(Tier::Critical);
        let until = until.map(|until| until.to_iso_string());
        record.details = Some(
            json!({ "kind": kind, "object": object, "role": role_id, "until": until, "reason": reason }).to_string(),
        );
        buffer::push(record);
        own::policy_changed()?;
        Ok(changed)
    })())
}

fn taken_back(kind: &str, object: &str, role: Option<&str>) -> Outcome<i64> {
    let gone = own::run(|client| {
        let rows = "DELETE FROM steward._accepted_way WHERE (kind, object, role_id) = ($1, $2, coalesce($3, ''))";
        own::execute(client, rows, &[kind.into(), object.into(), optional(role)])
    })?;
    if gone == 0 {
        return Err(Fault::unknown(format!("nobody has accepted {kind} of {object}"))
            .hint("SELECT kind, object, role_id FROM steward.lint(sample => true) WHERE accepted_by IS NOT NULL;"));
    }
    Ok(gone as i64)
}

/// Only what is found now is accepted: what there might be one day nobody has looked at.
fn taken(
    kind: &str,
    object: &str,
    role: Option<&str>,
    until: Option<TimestampWithTimeZone>,
    reason: &str,
) -> Outcome<i64> {
    if scope::is_drift(kind) {
        return Err(Fault::bad_argument("a scope that is not in force is accepted by nobody")
            .hint("SELECT * FROM steward.scope_issues();"));
    }
    own::run(|client| {
        let by_values = matches!(kind, "look_alike_values" | "not_looked_at");
        let mut ways = every(client, by_values)?;
        ways.extend(scope::findings(client)?.into_iter().map(Way::of_scope));
        ways.retain(|way| way.kind == kind && way.object == object && way.role.as_deref() == role);
        if ways.is_empty() {
            return Err(Fault::unknown(format!("there is no finding {kind} of {object} now"))
                .detail("It is named by its kind, its object and, where it is about one, its role, as they are shown.")
                .hint("SELECT kind, object, role_id FROM steward.lint();"));
        }
        let person = session::person().map_or_else(session::login_name, |person| person.name.clone());
        let mut arguments = Vec::from(arrays(&ways));
        arguments.extend([until.into(), reason.into(), person.as_str().into()]);
        own::execute(client, ACCEPT, &arguments)?;
        Ok(ways.len() as i64)
    })
}
