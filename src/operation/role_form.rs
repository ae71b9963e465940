//! Rights are given by a role form alone (manual, appendix A): every command that gives some is compared with the form of
//! its operation when it runs, wherever it stands, and what has an end is written down with it.

use super::cover;
use super::form::{ERASURE, INCIDENT, ROLE_GRANT, Request, granted, hint};
use super::grant_term::{self, Coming, NO_END};
use crate::core::form::NAME;
use crate::core::role_form::{Right, RoleForm};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, required};
use crate::settings::Mode;
use crate::watch::granted::{Given, Undo};
use crate::watch::judge;
use crate::watch::statement::Source;
use crate::{own, policy, shared};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The role form says what the script grants, as far as that can be seen; the rest is asked again when it runs.
pub fn check(values: &Map<String, Value>, request: &Request<'_>) -> Outcome<()> {
    let (form, until) = read(values).ok_or_else(|| Fault::internal("a role form does not read back"))?;
    let mistaken = |why: String| {
        Err(Fault::bad_argument("form role_grant: it does not say what the script grants")
            .detail(why)
            .hint(hint(request)))
    };
    if form.role.is_none() && form.rights.is_empty() {
        return Err(Fault::bad_argument("form role_grant: field \"role\" or field \"rights\" is missing"));
    }
    let opaque = request.steps.iter().any(|step| step.opaque);
    let granted = granted(request.steps);
    if let Some(why) = granted.iter().find_map(|one| form.disagreement(one)) {
        return mistaken(why);
    }
    if !opaque && (granted.is_empty() || form.role.is_some() && granted.iter().all(|one| one.role.is_none())) {
        return mistaken("The script does not grant it.".to_owned());
    }
    if until == NO_END {
        return Ok(());
    }
    if until == "-infinity" || own::run(|client| is_past(client, &until))? {
        return Err(Fault::bad_argument("form role_grant: field \"until\" is in the past"));
    }
    if form.grantees.contains("public") {
        return Err(Fault::bad_argument("form role_grant: what everybody gets has no end")
            .detail("A term is kept by stopping its grantee; that would be everybody.")
            .hint("\"until\": \"infinity\""));
    }
    let unknown = request.steps.iter().flat_map(|step| &step.given).find_map(|given| match given.undo {
        Undo::Unknown(what) => Some(what),
        _ => None,
    });
    unknown.map_or(Ok(()), |what| Err(no_term(what)))
}

/// A term for what no command of ours takes back would be a promise that nobody keeps.
fn no_term(what: &str) -> Fault {
    Fault::unsupported(format!("no term is kept for {what}"))
        .detail("Terms are kept for memberships, role attributes, and privileges on tables, sequences and schemas that the run's role owns.")
        .hint("\"until\": \"infinity\"")
}

fn is_past(client: &mut SpiClient<'_>, until: &str) -> Outcome<bool> {
    let past = "SELECT 'past' WHERE $1::timestamptz <= clock_timestamp()";
    Ok(one_text(client, past, &[until.into()])?.is_some())
}

/// What a stored form says, and until when; None: it is no role form.
fn read(values: &Map<String, Value>) -> Option<(RoleForm, String)> {
    let text = |name: &str| values.get(name).and_then(Value::as_str).map(str::to_owned);
    let rights = values.get("rights").and_then(Value::as_array).into_iter().flatten();
    let rights = rights.map(|right| right.as_str().and_then(Right::from_name)).collect::<Option<_>>()?;
    let grantees = match values.get("grantee")? {
        Value::Array(several) => several.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        one => BTreeSet::from([one.as_str()?.to_owned()]),
    };
    let form = RoleForm { grantees, role: text("role"), rights };
    (text(NAME)? == ROLE_GRANT).then_some((form, text("until")?))
}

/// The stored form of an operation.
fn stored(client: &mut SpiClient<'_>, op_no: &str) -> Outcome<Option<String>> {
    one_text(client, "SELECT form FROM steward._operation WHERE op_no = $1", &[op_no.into()])
}

/// Whether an operation was filed with a role form where another form is demanded of what else it could do.
pub fn stands_alone(op_no: &str) -> Outcome<bool> {
    let alone = "SELECT o.op_no FROM steward._operation o WHERE o.op_no = $1 AND o.form::jsonb ->> 'form' = $2
        AND EXISTS (SELECT FROM steward.form_policy p WHERE p.demanded AND p.form NOT IN ($2, $3, $4))";
    let arguments = [op_no.into(), ROLE_GRANT.into(), INCIDENT.into(), ERASURE.into()];
    Ok(own::run(|client| one_text(client, alone, &arguments))?.is_some())
}

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
    let form = values.as_ref().and_then(Value::as_object).and_then(read);
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

/// Before the command: what of it is to have an end, if it has a form. What an earlier form said about the same is over
/// with that.
pub fn coming(given: &[Given]) -> Vec<Coming> {
    if given.is_empty() || cover::current().is_none() {
        return Vec::new();
    }
    answer(own::run(|client| match signed(client)?.form {
        Some(_) => grant_term::coming(client, given),
        None => Ok(Vec::new()),
    }))
}

/// After the command: writes down until when it holds.
pub fn keep_terms(coming: &[Coming]) {
    let Some(cover) = cover::current().filter(|_| !coming.is_empty()) else { return };
    // Safe: makes a role that the command has created visible.
    unsafe { pg_sys::CommandCounterIncrement() };
    answer((|| {
        own::run(|client| match signed(client)?.form {
            Some((_, until)) => coming.iter().try_for_each(|coming| coming.keep(client, &cover.op_no, &until)),
            None => Ok(()),
        })?;
        own::policy_changed()
    })())
}

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
