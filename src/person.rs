//! Persons: who stands behind the logins, and what their post lets them do. Rights of the logins on our own functions
//! and views follow from the posts; nothing here decides about an operation.

pub mod last;
pub mod leaver;
mod post;
pub mod separation;
pub mod term;

use crate::audit::buffer;
use crate::core::record::{Kind, Record};
use crate::core::script::hidden_character;
use crate::error::{Fault, Outcome, answer};
use crate::{own, policy, session};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

/// Functions that only posts with the capability `configure` are granted.
const CONFIGURATION: &str = "protect unprotect set_rule drop_rule set_tier_policy register_person suspend_person set_post activate \
     deactivate set_retention archive_audit purge_archive purge_images reset_totp \
     set_form set_checklist set_login_limit set_login_policy block_address unblock_address unlock_login _login_state \
     set_approval drop_approval set_review_block set_window drop_window set_break_glass_limit \
     set_check drop_check accept_configuration accept_way_around set_alert_rule drop_alert_rule set_mask drop_mask exempt_mask set_permission drop_permission apply set_export_limit drop_export_limit erase_images set_scope drop_scope set_attribute grant_temporarily end_temporary_grant set_temporary_grant_limit set_record_kind drop_alert_query set_alert_condition set_holiday drop_holiday set_job set_job_login schedule_jobs unschedule_jobs";
/// Views that only posts with the capability `audit` are granted.
const TRAIL: &str = "audit_log audit_logs audit_status audit_archive privilege_drift metrics";
/// Tables of the policy that posts with the capability `configure` or `audit` are granted: to others they would tell what is
/// looked for, from where administrators come in, and who is exempted. What an applicant goes by is open to everybody.
const POLICY: &str = "login_limit login_policy blocked_address alert_rule alert_condition integrity_check job_login mask_rule mask_exemption \
     role_permission scope temporary_grant_limit export_limit break_glass_limit";
/// Functions for posts with the capability `apply`: to be called by their operations.
const OPERATIONS: &str = "restore";
/// Functions for auditors.
const EXPORT: &str =
    "chain_origin export_chain separation_issues set_alert_rule drop_alert_rule set_alert_query drop_alert_query";
/// What comes with a post, in the order in which the check own_privilege takes it.
pub const GRANTED: [&str; 5] = [CONFIGURATION, TRAIL, EXPORT, OPERATIONS, POLICY];

#[pg_extern(sql = false)]
fn register_person(
    name: Option<&str>,
    post: Option<&str>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
    department: Option<&str>,
    supervisor: Option<&str>,
    valid_until: Option<TimestampWithTimeZone>,
) {
    answer(register(name, post, roles, department, supervisor, valid_until))
}

#[pg_extern(sql = false)]
fn suspend_person(name: Option<&str>, reason: Option<&str>) {
    answer(suspend(name, reason))
}

#[pg_extern(sql = false)]
fn current_person() -> Option<String> {
    session::person().filter(|person| person.usable()).map(|person| person.name.clone())
}

#[pg_extern(sql = false)]
fn has_capability(capability: &str) -> bool {
    session::person().is_some_and(|person| person.may(capability))
}

fn register(
    name: Option<&str>,
    post: Option<&str>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
    department: Option<&str>,
    supervisor: Option<&str>,
    valid_until: Option<TimestampWithTimeZone>,
) -> Outcome<()> {
    policy::require_privilege("register_person")?;
    let name = required("name", name)?;
    for (what, text) in [("department", department), ("supervisor", supervisor)] {
        legible(what, text.unwrap_or(""))?;
    }
    let logins = own::run(|client| {
        last::one_at_a_time()?;
        check_references(client, name, post, supervisor)?;
        let before = separation::sentences(client)?;
        own::execute(
            client,
            UPSERT,
            &[name.into(), optional(post), optional(department), optional(supervisor), valid_until.into()],
        )?;
        if let Some(roles) = roles {
            let roles = roles.into_iter().collect::<Option<Vec<_>>>();
            replace_logins(client, name, roles.ok_or_else(|| Fault::bad_argument("a login must not be NULL"))?)?;
        }
        separation::refuse(&separation::added(&before, separation::sentences(client)?))?;
        leaver::come_back(client, name)?;
        let logins = logins_of(client, name)?;
        grant(client, &logins).map(|()| logins)
    })?;
    let details =
        json!({ "person": name, "post": post, "logins": logins, "department": department, "supervisor": supervisor });
    record("register_person", details.to_string());
    own::policy_changed()?;
    last::somebody_remains()
}

const UPSERT: &str = "INSERT INTO steward.person AS p (name, post, department, supervisor, valid_until)
    VALUES ($1, coalesce($2, (SELECT post FROM steward.person WHERE name = $1)), $3, $4, nullif($5, 'infinity'))
    ON CONFLICT (name) DO UPDATE SET post = coalesce($2, p.post), department = coalesce($3, p.department),
        supervisor = coalesce($4, p.supervisor), suspended_at = NULL, suspended_reason = NULL,
        reinstated_at = CASE WHEN p.suspended_at IS NULL THEN p.reinstated_at ELSE clock_timestamp() END,
        valid_until = CASE WHEN $5 IS NULL THEN p.valid_until ELSE nullif($5, 'infinity') END";

fn check_references(
    client: &mut SpiClient<'_>,
    name: &str,
    post: Option<&str>,
    supervisor: Option<&str>,
) -> Outcome<()> {
    match post {
        Some(post) if !exists(client, "SELECT EXISTS (SELECT FROM steward.post WHERE name = $1)", post)? => {
            let posts = one_text(client, "SELECT string_agg(name, ' ' ORDER BY name) FROM steward.post", &[])?;
            return Err(Fault::unknown(format!("post \"{post}\" does not exist"))
                .detail(format!("Posts are: {}.", posts.unwrap_or_default())));
        }
        None if !exists(client, PERSON_EXISTS, name)? => return Err(Fault::bad_argument("a new person needs a post")),
        _ => {}
    }
    let Some(supervisor) = supervisor else { return Ok(()) };
    if !exists(client, PERSON_EXISTS, supervisor)? {
        return Err(unknown_person(supervisor));
    }
    let above = "WITH RECURSIVE above(name) AS (SELECT $2 UNION SELECT p.supervisor FROM above JOIN steward.person p USING (name)
        WHERE p.supervisor IS NOT NULL) SELECT string_agg(name, '') FROM above WHERE name = $1";
    match one_text(client, above, &[name.into(), supervisor.into()])? {
        Some(_) => {
            Err(Fault::bad_argument(format!("\"{name}\" cannot be their own supervisor, directly or through others")))
        }
        None => Ok(()),
    }
}

/// The given logins become the person's, all others stop being it. Nobody's login is taken from them here.
fn replace_logins(client: &mut SpiClient<'_>, name: &str, roles: Vec<pg_sys::Oid>) -> Outcome<()> {
    let gone = "SELECT string_agg(r::text, ' ') FROM unnest($1::oid[]) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE oid = r)";
    if let Some(gone) = one_text(client, gone, &[roles.clone().into()])? {
        return Err(Fault::unknown(format!("role {gone} does not exist")));
    }
    let taken = "SELECT string_agg(format('%s belongs to %s', role, person), '; ' ORDER BY role::text)
        FROM steward.person_login WHERE role::oid = ANY ($1) AND person <> $2";
    if let Some(taken) = one_text(client, taken, &[roles.clone().into(), name.into()])? {
        return Err(Fault::bad_argument("a login belongs to one person")
            .detail(format!("{taken}."))
            .hint("Register the other person without it first."));
    }
    let dropped = "DELETE FROM steward.person_login WHERE person = $1 AND role::oid <> ALL ($2)
        RETURNING (SELECT quote_ident(rolname) FROM pg_roles r WHERE r.oid = role)";
    let dropped = texts(client, dropped, &[name.into(), roles.clone().into()])?;
    let added =
        "INSERT INTO steward.person_login (role, person) SELECT DISTINCT r::regrole, $1 FROM unnest($2::oid[]) r
        ON CONFLICT (role) DO NOTHING";
    own::execute(client, added, &[name.into(), roles.into()])?;
    grant(client, &dropped)
}

fn suspend(name: Option<&str>, reason: Option<&str>) -> Outcome<()> {
    policy::require_configuration("suspend_person")?;
    let name = required("name", name)?;
    let reason = required("reason", reason)?;
    let closed = own::run(|client| {
        last::one_at_a_time()?;
        let suspended = "UPDATE steward.person SET suspended_at = clock_timestamp(), suspended_reason = $2 WHERE name = $1 RETURNING name";
        if own::query(client, suspended, &[name.into(), reason.into()])?.is_empty() {
            return Err(unknown_person(name));
        }
        let logins = logins_of(client, name)?;
        grant(client, &logins)?;
        leaver::leave(client, name)
    })?;
    record("suspend_person", json!({ "person": name, "reason": reason, "closed": closed }).to_string());
    own::policy_changed()?;
    last::somebody_remains()
}

/// Makes the rights of these logins on our functions and views those of their persons' posts, and of nobody's none.
/// Logins are quoted SQL identifiers.
fn grant(client: &mut SpiClient<'_>, logins: &[String]) -> Outcome<()> {
    for login in logins {
        for (capabilities, objects) in [
            (&["configure"][..], functions(client, CONFIGURATION)?),
            (&["audit"], relations(client, TRAIL)?),
            (&["audit"], functions(client, EXPORT)?),
            (&["apply"], functions(client, OPERATIONS)?),
            (&["configure", "audit"], relations(client, POLICY)?),
        ] {
            let holds =
                "SELECT string_agg(p.name, '') FROM steward.person_login l JOIN steward.person p ON p.name = l.person
                JOIN steward.post o ON o.name = p.post
                WHERE l.role = $1::regrole AND o.capabilities && $2::text[] AND p.suspended_at IS NULL";
            let capabilities: Vec<String> = capabilities.iter().map(|one| (*one).to_owned()).collect();
            let holds = one_text(client, holds, &[login.as_str().into(), capabilities.into()])?.is_some();
            let (verb, preposition) = if holds { ("GRANT", "TO") } else { ("REVOKE", "FROM") };
            for object in objects {
                own::execute(client, &format!("{verb} {object} {preposition} {login}"), &[])?;
            }
        }
    }
    Ok(())
}

fn functions(client: &mut SpiClient<'_>, names: &str) -> Outcome<Vec<String>> {
    let signatures = "SELECT 'EXECUTE ON FUNCTION ' || oid::regprocedure::text FROM pg_proc
        WHERE pronamespace = 'steward'::regnamespace AND proname = ANY (string_to_array($1, ' ')) ORDER BY 1";
    texts(client, signatures, &[names.into()])
}

fn relations(client: &mut SpiClient<'_>, names: &str) -> Outcome<Vec<String>> {
    let relations = "SELECT 'SELECT ON ' || oid::regclass::text FROM pg_class
        WHERE relnamespace = 'steward'::regnamespace AND relname = ANY (string_to_array($1, ' ')) ORDER BY 1";
    texts(client, relations, &[names.into()])
}

const PERSON_EXISTS: &str = "SELECT EXISTS (SELECT FROM steward.person WHERE name = $1)";

fn exists(client: &mut SpiClient<'_>, query: &str, name: &str) -> Outcome<bool> {
    Ok(own::query(client, query, &[name.into()])?.first().get_one()?.unwrap_or(false))
}

fn logins_of(client: &mut SpiClient<'_>, person: &str) -> Outcome<Vec<String>> {
    let logins = "SELECT quote_ident(r.rolname) FROM steward.person_login l JOIN pg_roles r ON r.oid = l.role::oid
        WHERE l.person = $1 ORDER BY 1";
    texts(client, logins, &[person.into()])
}

/// The first column of every row; NULLs are left out.
pub fn texts(client: &mut SpiClient<'_>, query: &str, arguments: &[DatumWithOid<'_>]) -> Outcome<Vec<String>> {
    let mut texts = Vec::new();
    for row in client.update(query, None, arguments)? {
        texts.extend(row.get::<String>(1)?);
    }
    Ok(texts)
}

/// The first column of the first row; None for NULL or no row.
pub fn one_text(client: &mut SpiClient<'_>, query: &str, arguments: &[DatumWithOid<'_>]) -> Outcome<Option<String>> {
    Ok(texts(client, query, arguments)?.into_iter().next())
}

/// A text parameter that may be NULL.
pub fn optional<'a>(text: Option<&str>) -> DatumWithOid<'a> {
    text.map(str::to_owned).into()
}

/// An argument that must say something, and all of it visibly.
pub fn required<'a>(what: &str, text: Option<&'a str>) -> Outcome<&'a str> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Fault::bad_argument(format!("{what} must not be empty")))?;
    legible(what, text)?;
    Ok(text)
}

/// Refuses what a reader would not see, or would see in another order.
pub fn legible(what: &str, text: &str) -> Outcome<()> {
    match hidden_character(text) {
        None => Ok(()),
        Some((position, character)) => {
            Err(Fault::bad_argument(format!("{what} contains a hidden character")).detail(format!(
                "Character {position} is U+{:04X}; readers would not see it or see the text in another order.",
                character as u32
            )))
        }
    }
}

fn unknown_person(name: &str) -> Fault {
    Fault::unknown(format!("person \"{name}\" is not registered"))
        .hint("SELECT steward.register_person(name, post, roles => '{login}');")
}

fn record(operation_type: &str, details: String) {
    let mut record = Record::new(Kind::Policy, operation_type);
    record.details = Some(details);
    buffer::push(record);
}
