//! The kinds of records (`steward.record_kind`): what each asks for, and how the policy changes it.

use super::capability;
use crate::cache::Person;
use crate::core::register::{CONFIRMERS, may_record};
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, required, texts};
use crate::policy::{changed, require_privilege};
use crate::{activation, own};
use pgrx::JsonB;
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Map, Value};
use std::rc::Rc;

/// What an entry has to do with its kind.
pub struct RecordKind {
    pub name: String,
    pub of_person: bool,
    pub recorders: Vec<String>,
    pub confirm: bool,
    pub least: Map<String, Value>,
    pub enforced: bool,
}

const READ: &str =
    "SELECT name, subject = 'person', recorders, confirm, least, enforced FROM steward.record_kind WHERE name = $1";

impl RecordKind {
    pub fn named(name: &str) -> Outcome<RecordKind> {
        own::run(|client| {
            let row = own::select(client, READ, &[name.into()])?.next();
            let row = row.ok_or_else(|| unknown(name))?;
            let least = match row.get::<JsonB>(5)? {
                Some(JsonB(Value::Object(least))) => least,
                _ => return Err(Fault::internal("a row of record_kind does not read back")),
            };
            Ok(RecordKind {
                name: row.get(1)?.unwrap_or_default(),
                of_person: row.get(2)?.unwrap_or(true),
                recorders: row.get(3)?.unwrap_or_default(),
                confirm: row.get(4)?.unwrap_or(true),
                least,
                enforced: row.get(6)?.unwrap_or(true),
            })
        })
    }

    /// Whether somebody may add records of it, about themselves or not.
    pub fn may_record(&self, person: &Person, about_self: bool) -> bool {
        may_record(&self.recorders, &person.post, |capability| person.may(capability), about_self)
    }
}

fn unknown(name: &str) -> Fault {
    Fault::unknown(format!("there is no kind of records \"{name}\""))
        .hint("SELECT name, label_en FROM steward.record_kind;")
}

#[pg_extern(sql = false)]
fn set_record_kind(
    name: Option<&str>,
    enforced: Option<bool>,
    needed_by: Option<Vec<Option<String>>>,
    needed_subjects: Option<Vec<Option<String>>>,
    valid_for: Option<Interval>,
    suspends: Option<Vec<Option<String>>>,
) {
    answer((|| {
        require_privilege("set_record_kind")?;
        let name = required("name", name)?;
        let posts = listed("needed_by", needed_by)?;
        let row: [DatumWithOid<'_>; 6] = [
            name.into(),
            enforced.into(),
            posts.clone().into(),
            listed("needed_subjects", needed_subjects)?.into(),
            valid_for.into(),
            listed("suspends", suspends)?.into(),
        ];
        let change =
            "UPDATE steward.record_kind SET enforced = coalesce($2, enforced), needed_by = coalesce($3, needed_by),
                needed_subjects = coalesce($4, needed_subjects), valid_for = coalesce($5, valid_for),
                suspends = coalesce($6, suspends) WHERE name = $1 RETURNING name";
        let stray = "SELECT string_agg(p, ' ') FROM unnest($1::text[]) p WHERE p <> '*' AND p NOT IN (SELECT name FROM steward.post)";
        own::run(|client| {
            if let Some(stray) = one_text(client, stray, &[posts.into()])? {
                return Err(Fault::unknown(format!("there is no post {stray}")).hint("SELECT * FROM steward.post;"));
            }
            one_text(client, change, &row)?.map(drop).ok_or_else(|| unknown(name))
        })?;
        changed("set_record_kind", name)?;
        activation::recheck(false)
    })())
}

fn listed(what: &str, list: Option<Vec<Option<String>>>) -> Outcome<Option<Vec<String>>> {
    let Some(list) = list else { return Ok(None) };
    list.into_iter().map(|one| required(what, one.as_deref()).map(str::to_owned)).collect::<Outcome<Vec<_>>>().map(Some)
}

/// For `activate()`: what enforced kinds would make impossible for good, as sentences. Who lacks a record today gets it
/// from somebody who may record it and somebody else who may confirm it.
pub fn unfillable(client: &mut SpiClient<'_>, everybody: &[Rc<Person>]) -> Outcome<Vec<String>> {
    let enforced = "SELECT name FROM steward.record_kind WHERE enforced AND suspends <> '{}' ORDER BY name";
    let enforced = texts(client, enforced, &[])?;
    if enforced.is_empty() {
        return Ok(Vec::new());
    }
    let mut lacks = Vec::new();
    if !everybody.iter().any(|person| person.may("apply")) {
        lacks.push("Nobody may apply for an operation.".to_owned());
    }
    for name in enforced {
        let kind = RecordKind::named(&name)?;
        let confirms = |person: &Person| CONFIRMERS[1..].iter().any(|capability| person.may(capability));
        let put_right = |subject: &Rc<Person>| {
            let confirmers: Vec<_> = everybody.iter().filter(|one| one.name != subject.name && confirms(one)).collect();
            let recorder = |one: &Rc<Person>| kind.may_record(one, one.name == subject.name);
            everybody.iter().any(|one| recorder(one) && confirmers.iter().any(|other| other.name != one.name))
        };
        let stuck = everybody.iter().filter(|person| !put_right(person)).map(|person| person.name.as_str());
        let stuck: Vec<&str> = stuck.collect();
        if !stuck.is_empty() {
            lacks.push(format!("Nobody could record and confirm {name} of {}.", stuck.join(", ")));
        }
    }
    Ok(lacks)
}

/// For `activate()`, where something else is missing: who lacks a capability for want of a record.
pub fn lapsed(everybody: &[Rc<Person>]) -> Option<String> {
    let mut lapsed: Vec<String> = everybody.iter().filter_map(|person| capability::lapsed_kinds(person)).collect();
    lapsed.sort();
    (!lapsed.is_empty()).then(|| format!("Without a valid record: {}.", lapsed.join("; ")))
}
