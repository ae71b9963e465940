//! Rights are given by a role form alone (manual, appendix A): every command that gives some is compared with the form of
//! its operation when it runs, wherever it stands, and what has an end is written down with it.

use super::cover;
use super::form::{NO_END, ROLE_GRANT, is_past, no_term, role_form, stored};
use crate::core::role_form::RoleForm;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, required};
use crate::settings::Mode;
use crate::watch::granted::{Given, Undo};
use crate::watch::judge;
use crate::watch::statement::Source;
use crate::{own, policy, shared};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::Value;

/// The form of the operation that runs, whether one is demanded, and whether its time is over.
struct Signed {
    form: Option<(RoleForm, String)>,
    demanded: bool,
    over: bool,
}

fn signed(client: &mut SpiClient<'_>) -> Outcome<Signed> {
    let text = match cover::current() {
        Some(cover) => stored(client, &cover.op_no)?,
        None => None,
    };
    let values = text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let form = values.as_ref().and_then(Value::as_object).and_then(role_form);
    let over = match &form {
        Some((_, until)) => is_past(client, until)?,
        None => false,
    };
    // No row: the policy is damaged, and what is unknown is demanded.
    let free = "SELECT form FROM steward.form_policy WHERE form = $1 AND NOT demanded";
    let demanded = one_text(client, free, &[ROLE_GRANT.into()])?.is_none();
    Ok(Signed { form, demanded, over })
}

/// Asked before a command that gives rights runs. `privileged`: rights of administrators, of everybody, or of roles that
/// nobody knows. Does not return when it refuses; the denial is on record then.
pub fn admit(given: &[Given], privileged: bool, tag: &'static str, source: &Source<'_>) {
    let enforced = shared::active() && shared::mode() == Mode::Enforce;
    if given.is_empty() || !enforced {
        return;
    }
    if let Some(fault) = objection(given, privileged, &answer(own::run(signed))) {
        judge::deny(judge::record(tag, Vec::new(), Tier::Critical, "role_form", source), fault);
    }
}

fn objection(given: &[Given], privileged: bool, signed: &Signed) -> Option<Fault> {
    let refused = |message: &str, detail: &str| {
        let hint = "File it with what it really grants: steward.request(script, purpose, form => '{\"form\": \"role_grant\", …}').";
        Some(Fault::refused(format!("statement refused: {message}")).detail(detail).hint(hint))
    };
    let Some((form, until)) = &signed.form else {
        let why = "Rights are given by an approved role form alone (manual, appendix A).";
        return if privileged && signed.demanded { refused("no role form covers it", why) } else { None };
    };
    if let Some(why) = given.iter().find_map(|given| form.disagreement(&given.granted)) {
        return refused("the role form says something else", &why);
    }
    if signed.over {
        return refused("the term of the role form is over", &format!("It was signed until {until}."));
    }
    let unkept = given.iter().find_map(|given| without_term(&given.undo)).filter(|_| until != NO_END);
    unkept.map(no_term)
}

/// Why no term can be kept: nothing takes it back, or our REVOKE would be that of another grantor.
fn without_term(undo: &Undo) -> Option<&'static str> {
    // Safe: look-ups in the catalog caches; a schema that does not exist is the command's own error.
    unsafe {
        let user = pg_sys::GetUserId();
        let owned = match undo {
            Undo::Unknown(what) => return Some(what),
            Undo::Relations(relations, _) => {
                relations.iter().all(|relation| pg_sys::pg_class_ownercheck(*relation, user))
            }
            Undo::Schemas(names, _) => names.iter().all(|name| {
                let name = std::ffi::CString::new(name.as_str()).unwrap_or_default();
                let schema = pg_sys::get_namespace_oid(name.as_ptr(), true);
                schema == pg_sys::InvalidOid || pg_sys::pg_namespace_ownercheck(schema, user)
            }),
            Undo::Membership(_) | Undo::Attribute(_) => true,
        };
        (!owned).then_some("privileges that the owner does not grant")
    }
}

/// After the command: writes down until when it holds. What an earlier form said about the same thing is over with that.
pub fn keep_terms(given: &[Given]) {
    let Some(cover) = cover::current().filter(|_| !given.is_empty()) else { return };
    // Safe: makes a role that the command has created visible.
    unsafe { pg_sys::CommandCounterIncrement() };
    answer((|| {
        own::run(|client| match signed(client)?.form {
            Some((_, until)) => given.iter().try_for_each(|given| keep(client, &cover.op_no, given, &until)),
            None => Ok(()),
        })?;
        own::policy_changed()
    })())
}

fn keep(client: &mut SpiClient<'_>, op_no: &str, given: &Given, until: &str) -> Outcome<()> {
    let relations: &[pg_sys::Oid] = if let Undo::Relations(relations, _) = &given.undo { relations } else { &[] };
    let schemas: &[String] = if let Undo::Schemas(names, _) = &given.undo { names } else { &[] };
    let mut one = |role: Option<&str>,
                   relation: Option<pg_sys::Oid>,
                   schema: Option<&str>,
                   privileges: Option<&str>,
                   attribute: Option<&str>| {
        let arguments: [DatumWithOid<'_>; 8] = [
            op_no.into(),
            given.granted.grantee.as_str().into(),
            until.into(),
            role.into(),
            relation.into(),
            schema.into(),
            privileges.into(),
            attribute.into(),
        ];
        own::execute(client, END, &arguments)?;
        if until == NO_END { Ok(()) } else { own::execute(client, KEEP, &arguments).map(drop) }
    };
    match &given.undo {
        Undo::Membership(role) => one(Some(role), None, None, None, None),
        Undo::Attribute(attribute) => one(None, None, None, None, Some(attribute)),
        Undo::Relations(_, privileges) => {
            relations.iter().try_for_each(|relation| one(None, Some(*relation), None, Some(privileges), None))
        }
        Undo::Schemas(_, privileges) => {
            schemas.iter().try_for_each(|schema| one(None, None, Some(schema), Some(privileges), None))
        }
        Undo::Unknown(_) => Ok(()),
    }
}

const END: &str = "UPDATE steward.role_term t SET ended_at = clock_timestamp(), ended_by = 'a later form: ' || $1
    WHERE t.ended_at IS NULL AND t.grantee = to_regrole(quote_ident($2)) AND $3 <> ''
        AND t.role IS NOT DISTINCT FROM to_regrole(quote_ident($4)) AND t.relation IS NOT DISTINCT FROM $5::oid::regclass
        AND t.schema IS NOT DISTINCT FROM to_regnamespace(quote_ident($6))::oid AND t.privileges IS NOT DISTINCT FROM $7
        AND t.attribute IS NOT DISTINCT FROM $8";
const KEEP: &str =
    "INSERT INTO steward.role_term (op_no, grantee, until, role, relation, schema, privileges, attribute)
    VALUES ($1, to_regrole(quote_ident($2)), $3::timestamptz, to_regrole(quote_ident($4)), $5::oid::regclass,
        to_regnamespace(quote_ident($6))::oid, $7, $8)";

#[pg_extern(sql = false)]
fn set_form(form: Option<&str>, demanded: Option<bool>, sign_offs: Option<i32>) {
    answer((|| {
        policy::require_privilege("set_form")?;
        let form = required("form", form)?;
        let demanded = demanded.ok_or_else(|| Fault::bad_argument("demanded must be true or false"))?;
        if sign_offs.is_some_and(|sign_offs| !(0..=9).contains(&sign_offs)) {
            return Err(Fault::bad_argument("sign_offs are 0 to 9"));
        }
        own::run(|client| {
            if one_text(client, "SELECT name FROM steward.form WHERE name = $1", &[form.into()])?.is_none() {
                return Err(Fault::unknown(format!("there is no form \"{form}\""))
                    .hint("SELECT DISTINCT name FROM steward.form;"));
            }
            // The trigger takes the former row away before it could be read by the INSERT itself.
            let kept = "SELECT coalesce($2, sign_offs)::text FROM steward.form_policy WHERE form = $1";
            let sign_offs = match one_text(client, kept, &[form.into(), sign_offs.into()])? {
                Some(kept) => kept,
                None => sign_offs.unwrap_or(0).to_string(),
            };
            let set = "INSERT INTO steward.form_policy (form, demanded, sign_offs) VALUES ($1, $2, $3::int)";
            own::execute(client, set, &[form.into(), demanded.into(), sign_offs.as_str().into()]).map(drop)
        })?;
        policy::changed("set_form", form)
    })())
}
