//! The form of an operation: which one is demanded, whether it is filled in, and the text of it that is stored, shown and
//! signed with the script. What a form must say is in `core::form`; whether a GRANT keeps to it is asked in `role_form`.

use super::grant_term::NO_END;
use super::request::risk;
use super::{cover, role_form};
use crate::core::form::{Field, Kind, NAME, mistake};
use crate::core::role_form::{Granted, RoleForm};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::export::form as export;
use crate::person::{legible, one_text};
use crate::settings::Mode;
use crate::watch::dry_run::Step;
use crate::{own, shared};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Map, Value, json};

/// Appendix A.
pub const ROLE_GRANT: &str = "role_grant";
/// Appendix B.
const OPERATION: &str = "operation";
/// Appendix C.
pub const INCIDENT: &str = "incident";

/// Of a person's data. What hides in a block or function that it erases is seen when it runs: `demand_erasure`.
pub const ERASURE: &str = "erasure";

/// A form that may be filed.
pub struct Filled {
    /// These bytes are stored, shown and part of the digest. Keys are sorted, times are in UTC.
    pub text: String,
    /// Approvals by others that it takes at least.
    pub sign_offs: u32,
}

/// What is asked for, as far as a form has to agree with it.
pub struct Request<'a> {
    pub steps: &'a [Step],
    pub tier: Tier,
    pub purpose: &'a str,
    pub expected_rows: Option<i64>,
    pub runs: i32,
    pub stepwise: bool,
}

/// The form of a request: the given one, if it is the one that the script takes, filled in and true; the one that the
/// script itself fills in; or none, where none is demanded.
pub fn file(given: Option<Value>, request: &Request<'_>) -> Outcome<Option<Filled>> {
    let takes = takes(&own::run(demanded)?, request)?;
    let values = match (given, takes.first()) {
        (Some(Value::Object(values)), _) => values,
        (Some(Value::Null) | None, None) => return Ok(None),
        (Some(Value::Null) | None, Some(form)) if form == ROLE_GRANT => from_script(request)?,
        (Some(Value::Null) | None, Some(form)) if form == ERASURE => return Err(no_erasure_form()),
        (Some(Value::Null) | None, Some(form)) => return Err(missing(form, request)),
        (Some(_), _) => return Err(Fault::bad_argument("a form is a JSON object").hint(EXAMPLE)),
    };
    let name = values.get(NAME).and_then(Value::as_str).unwrap_or_default().to_owned();
    match takes.first() {
        Some(form) if !takes.contains(&name) => return Err(another(form, request)),
        _ if name == INCIDENT => return Err(not_with_a_script()),
        _ => {}
    }
    let mut values = checked(&name, values, request.steps)?;
    match name.as_str() {
        ROLE_GRANT => role_form::check(&values, request)?,
        OPERATION => check_operation(&values, request)?,
        export::EXPORT => export::check(&mut values, request)?,
        _ => {}
    }
    let sign_offs = own::run(|client| {
        let sign_offs = "SELECT sign_offs::text FROM steward.form_policy WHERE form = $1";
        one_text(client, sign_offs, &[name.as_str().into()])
    })?;
    let sign_offs = sign_offs.and_then(|number| number.parse().ok()).unwrap_or(0);
    Ok(Some(Filled { text: Value::Object(values).to_string(), sign_offs }))
}

/// Forms that are demanded of scripts. Without its row the policy is damaged, and that of an erasure is demanded.
fn demanded(client: &mut SpiClient<'_>) -> Outcome<Vec<String>> {
    let demanded = "SELECT form FROM steward.form_policy WHERE demanded AND form <> $1
        UNION SELECT $2 WHERE NOT EXISTS (SELECT FROM steward.form_policy WHERE form = $2) ORDER BY 1";
    crate::person::texts(client, demanded, &[INCIDENT.into(), ERASURE.into()])
}

/// Demanded of what does something, not of a tier.
const OF_THEIR_OWN: [&str; 2] = [ROLE_GRANT, ERASURE];

/// The forms of which one has to be filed, by what the script does; none: no form is demanded of it.
fn takes(demanded: &[String], request: &Request<'_>) -> Outcome<Vec<String>> {
    let is_demanded = |name: &str| demanded.iter().any(|form| form == name);
    let grants = is_demanded(ROLE_GRANT) && request.steps.iter().any(|step| step.privileged);
    if is_demanded(ERASURE) && request.steps.iter().any(|step| step.erases) {
        return if grants { Err(two_forms(ERASURE)) } else { Ok(vec![ERASURE.to_owned()]) };
    }
    let mut others: Vec<String> =
        demanded.iter().filter(|form| !OF_THEIR_OWN.contains(&form.as_str())).cloned().collect();
    if request.tier == Tier::Normal {
        others.clear();
    } else if !others.is_empty() && is_demanded(ERASURE) {
        others.push(ERASURE.to_owned());
    }
    // What a block does cannot be seen: filed with a role form, it gives rights and is refused the rest when it runs.
    let more = |step: &Step| {
        !step.gives_alone
            && !step.is_block()
            && risk(std::slice::from_ref(step), request.expected_rows).tier > Tier::Normal
    };
    let only_grants = !request.steps.iter().any(more);
    match others.first() {
        _ if grants && others.is_empty() => Ok(vec![ROLE_GRANT.to_owned()]),
        Some(_) if grants && only_grants => Ok(vec![ROLE_GRANT.to_owned()]),
        Some(form) if grants => Err(two_forms(form)),
        Some(_) if only_grants => {
            others.push(ROLE_GRANT.to_owned());
            Ok(others)
        }
        _ => Ok(others),
    }
}

fn two_forms(other: &str) -> Fault {
    Fault::bad_argument("the script takes two forms, and one can be filed with it")
        .detail(format!("What gives rights takes the form {ROLE_GRANT}, the rest the form {other}."))
        .hint("File what gives rights as a script of its own.")
}

/// Where the form of an erasure is demanded, images are erased by an operation that was filed with it, and by nothing else.
pub fn demand_erasure() -> Outcome<()> {
    if !shared::active() || shared::mode() != Mode::Enforce {
        return Ok(());
    }
    let op_no = cover::current().map(|cover| cover.op_no.clone()).unwrap_or_default();
    let filed = own::run(|client| {
        // No row: the policy is damaged, and what is unknown is demanded.
        let filed = "SELECT 'free' FROM steward.form_policy WHERE form = $2 AND NOT demanded
            UNION ALL SELECT op_no FROM steward._operation WHERE op_no = $1 AND form::jsonb ->> 'form' = $2 LIMIT 1";
        one_text(client, filed, &[op_no.as_str().into(), ERASURE.into()])
    })?;
    if filed.is_some() {
        return Ok(());
    }
    Err(no_erasure_form())
}

fn no_erasure_form() -> Fault {
    Fault::refused("statement refused: no erasure form covers it")
        .detail("A person's data are erased by an operation that says whose they are, who asked and why.")
        .hint("steward.request(script, purpose, form => '{\"form\": \"erasure\", …}')")
}

/// Nothing was filled in.
fn missing(form: &str, request: &Request<'_>) -> Fault {
    Fault::bad_argument(format!("the form {form} is missing")).detail(every(request)).hint(fields_of(form))
}

/// Something else was.
fn another(form: &str, request: &Request<'_>) -> Fault {
    if form == ERASURE {
        return no_erasure_form();
    }
    if form == ROLE_GRANT {
        return Fault::bad_argument(format!("the script grants rights, which takes the form {ROLE_GRANT}"))
            .hint(hint(request));
    }
    Fault::bad_argument(format!("the script takes the form {form}")).detail(every(request)).hint(fields_of(form))
}

fn every(request: &Request<'_>) -> String {
    format!("Every {} operation is filed with it.", request.tier.name())
}

fn fields_of(form: &str) -> String {
    format!("SELECT field, type, required, label_zh FROM steward.form WHERE name = '{form}' ORDER BY line;")
}

fn not_with_a_script() -> Fault {
    Fault::bad_argument("the form incident is not filed with a script")
        .detail("It tells of an emergency after it.")
        .hint("SELECT steward.report_incident(number, form);")
}

/// Who gives the same plain rights to each grantee has written the form with the script; there is no end then, and
/// approvers read that there is none.
fn from_script(request: &Request<'_>) -> Outcome<Map<String, Value>> {
    let form = RoleForm::of(&granted(request.steps)).filter(|_| !request.steps.iter().any(|step| step.opaque));
    let form = form.ok_or_else(|| {
        Fault::bad_argument(format!("the form {ROLE_GRANT} is missing"))
            .detail(
                "The script grants different rights to several roles, or several roles, or where it cannot be seen.",
            )
            .hint(EXAMPLE)
    })?;
    let rights: Vec<&str> = form.rights.iter().map(|right| right.name()).collect();
    let grantees: Vec<&String> = form.grantees.iter().collect();
    let grantee = if let [one] = grantees[..] { json!(one) } else { json!(grantees) };
    let filled = json!({ "form": ROLE_GRANT, "grantee": grantee, "role": form.role, "rights": rights,
        "reason": request.purpose, "until": NO_END });
    let Value::Object(mut filled) = filled else { return Err(Fault::internal("a form is no object")) };
    filled.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    Ok(filled)
}

pub(super) fn granted(steps: &[Step]) -> Vec<Granted> {
    steps.iter().flat_map(|step| &step.given).map(|given| given.granted.clone()).collect()
}

/// Every value of its field's type, as it is stored.
pub fn checked(name: &str, mut values: Map<String, Value>, steps: &[Step]) -> Outcome<Map<String, Value>> {
    let fields = own::run(|client| fields(client, name))?;
    if fields.is_empty() {
        let known =
            own::run(|client| one_text(client, "SELECT string_agg(DISTINCT name, ', ') FROM steward.form", &[]))?;
        return Err(Fault::bad_argument(format!("there is no form \"{name}\""))
            .detail(format!("Forms are: {}.", known.unwrap_or_default()))
            .hint(EXAMPLE));
    }
    if let Some(mistake) = mistake(&fields, &values) {
        return Err(Fault::bad_argument(format!("form {name}: {mistake}")).hint(format!(
            "SELECT field, type, required, choices, label_zh FROM steward.form WHERE name = '{name}' ORDER BY line;"
        )));
    }
    values.retain(|_, value| !value.is_null());
    for field in &fields {
        let texts = match values.get_mut(&field.name) {
            Some(Value::Array(all)) if field.kind == Kind::Roles => all.iter_mut().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        for value in texts {
            let Value::String(text) = value else { continue };
            legible(&field.name, text)?;
            *text = meaning(name, field, text.trim(), steps)?;
        }
    }
    Ok(values)
}

fn fields(client: &mut SpiClient<'_>, form: &str) -> Outcome<Vec<Field>> {
    let read =
        "SELECT field, type, required, coalesce(choices, '{}') FROM steward.form WHERE name = $1 ORDER BY line, field";
    let mut fields = Vec::new();
    for row in own::query(client, read, &[form.into()])? {
        let kind = row.get::<String>(2)?.and_then(|kind| Kind::from_name(&kind));
        fields.push(Field {
            name: row.get::<String>(1)?.unwrap_or_default(),
            kind: kind.ok_or_else(|| Fault::internal("a field has no type"))?,
            required: row.get::<bool>(3)?.unwrap_or(true),
            choices: row.get::<Vec<String>>(4)?.unwrap_or_default(),
        });
    }
    Ok(fields)
}

/// What a text means in this server: 22023 where it means nothing.
fn meaning(form: &str, field: &Field, text: &str, steps: &[Step]) -> Outcome<String> {
    let nothing = |what: &str| {
        Err(Fault::bad_argument(format!("form {form}: field \"{}\" names {what}", field.name))
            .detail(format!("It says \"{text}\".")))
    };
    match field.kind {
        // A step of the script may make it.
        Kind::Role | Kind::Roles if text != "public" && !steps.iter().any(|step| step.command == "CREATE ROLE") => {
            let role = "SELECT rolname::text FROM pg_roles WHERE rolname = $1";
            match own::run(|client| one_text(client, role, &[text.into()]))? {
                Some(role) => Ok(role),
                None => nothing("no role"),
            }
        }
        Kind::Person => {
            let person = "SELECT name FROM steward.person WHERE name = $1";
            match own::run(|client| one_text(client, person, &[text.into()]))? {
                Some(person) => Ok(person),
                None => nothing("nobody who is registered"),
            }
        }
        Kind::Timestamp => match text.parse::<TimestampWithTimeZone>() {
            Ok(time) => own::run(|client| {
                let utc = "SELECT CASE WHEN isfinite($1) THEN to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
                    ELSE $1::text END";
                Ok(one_text(client, utc, &[time.into()])?.unwrap_or_default())
            }),
            Err(_) => nothing("no time"),
        },
        _ => Ok(text.to_owned()),
    }
}

/// The operation form tells the tier and the number of people as they are.
fn check_operation(values: &Map<String, Value>, request: &Request<'_>) -> Outcome<()> {
    if values.get("kind").and_then(Value::as_str) != Some(request.tier.name()) {
        return Err(Fault::bad_argument("form operation: field \"kind\" says another tier than the policy")
            .detail(format!("The script is {}.", request.tier.name())));
    }
    match values.get("people").and_then(Value::as_i64) {
        Some(people) if request.expected_rows != Some(people) => {
            Err(Fault::bad_argument("form operation: field \"people\" and expected_rows must say the same number")
                .detail("What the form declares is compared with the rows that the run really touches.")
                .hint(format!("expected_rows => {people}")))
        }
        _ => Ok(()),
    }
}

const EXAMPLE: &str =
    "form => '{\"form\": \"role_grant\", \"grantee\": \"…\", \"role\": \"…\", \"reason\": \"…\", \"until\": \"…\"}'";

/// The argument to add, filled in as far as the script says it.
pub(super) fn hint(request: &Request<'_>) -> String {
    match from_script(request) {
        Ok(values) => format!("form => $form${}$form$", Value::Object(values)),
        Err(_) => EXAMPLE.to_owned(),
    }
}
