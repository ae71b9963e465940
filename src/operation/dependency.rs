//! What an operation depends on besides its script: functions, operators, casts, types, views, tables, triggers, policies
//! and rules that it can reach. They are written down when it is filed; after that a changed one ends the approval, not the other way round.
//!
//! Their texts are the same in every session, whatever it has set: else an approval would end because somebody else looks.

use super::Operation;
use crate::core::reach::{Object, reached};
use crate::core::script::hex;
use crate::error::{Fault, Outcome};
use crate::image::text::Exact;
use crate::own;
use crate::person::{one_text, texts};
use pgrx::spi::SpiClient;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::Rc;

/// How many changed objects a refusal names.
const NAMED: usize = 5;

/// Each object with its digest.
pub type Dependencies = BTreeMap<String, Vec<u8>>;

/// What the text of names depends on, beside what that of values does.
const NAMES: &[(&CStr, &CStr)] = &[(c"quote_all_identifiers", c"off")];

/// The settings under which objects have their titles and texts, until it is dropped.
pub fn exact() -> Exact {
    let exact = Exact::enter();
    own::pin(NAMES);
    exact
}

/// What a script depends on now, by the newest snapshot: what runs finds the triggers of today, however old the snapshot
/// of its transaction is.
pub fn now(script: &str) -> Dependencies {
    let _exact = exact();
    let (mut titles, mut objects) = (Vec::new(), Vec::new());
    for row in own::latest_rows(c"SELECT title, name, text FROM steward._code()") {
        let mut values = row.into_iter().map(Option::unwrap_or_default);
        titles.push(values.next().unwrap_or_default());
        objects.push(Object { name: values.next().unwrap_or_default(), text: values.next().unwrap_or_default() });
    }
    let digest = |index: usize| (titles[index].clone(), Sha256::digest(objects[index].text.as_bytes()).to_vec());
    reached(script, &objects).into_iter().map(digest).collect()
}

/// Writes down what a script depends on, in place of what was written before.
pub fn write(client: &mut SpiClient<'_>, op_no: &str, dependencies: Dependencies) -> Outcome<()> {
    own::execute(client, "DELETE FROM steward._operation_dependency WHERE op_no = $1", &[op_no.into()])?;
    let insert = "INSERT INTO steward._operation_dependency (op_no, object, digest) VALUES ($1, $2, $3)";
    for (object, digest) in dependencies {
        own::execute(client, insert, &[op_no.into(), object.as_str().into(), digest.into()])?;
    }
    Ok(())
}

/// What was written down.
pub fn filed(op_no: &str) -> Outcome<Dependencies> {
    own::run(|client| {
        let stored = "SELECT object, digest FROM steward._operation_dependency WHERE op_no = $1";
        let mut filed = Dependencies::new();
        for row in own::query(client, stored, &[op_no.into()])? {
            filed.insert(row.get::<String>(1)?.unwrap_or_default(), row.get::<Vec<u8>>(2)?.unwrap_or_default());
        }
        Ok(filed)
    })
}

/// Of the runs that a script restores: their tables, with what these were made of if they are gone.
const RESTORED: &str = "SELECT string_agg(DISTINCT i.text, E'\n')
    FROM (SELECT op_no, table_name FROM steward.row_image
        UNION ALL SELECT op_no, concat_ws(' ', table_name, definition::text, fittings::text, foreign_keys::text)
            FROM steward.table_image) i(op_no, text)
    WHERE i.op_no IN (SELECT m[1] FROM regexp_matches($1, 'OP-[0-9]{8}-[0-9]+', 'g') m)";

/// The functions that a script may begin, by their numbers, ascending: those that it depends on, and those of the tables that
/// it restores, which no name in it leads to.
pub fn functions(script: &str, dependencies: &Dependencies) -> Outcome<Rc<[u32]>> {
    let restored = own::run(|client| one_text(client, RESTORED, &[script.into()]))?;
    let restored = restored.map(|tables| now(&tables)).unwrap_or_default();
    let _exact = exact();
    let titles: Vec<String> = dependencies.keys().chain(restored.keys()).cloned().collect();
    let numbers = "SELECT DISTINCT to_regprocedure(substr(title, 10))::oid::text FROM unnest($1::text[]) AS d(title)
        WHERE title LIKE 'function %'";
    let numbers = own::run(|client| texts(client, numbers, &[titles.into()]))?;
    let mut numbers: Vec<u32> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers.into())
}

/// What is not as it was, and what became of it.
pub type Changes = Vec<(String, &'static str)>;

/// What became of an object that is not there any more.
pub const GONE: &str = "is gone";

/// Refuses if anything that the operation depends on is not what it was when it was filed.
pub fn check(operation: &Operation) -> Outcome<()> {
    // An emergency window has no script to run.
    if operation.run_as.is_none() {
        return Ok(());
    }
    check_since(operation, &filed(&operation.op_no)?)
}

/// Refuses if anything that the operation depends on is not what it was then.
pub fn check_since(operation: &Operation, then: &Dependencies) -> Outcome<()> {
    let changed = changes(then, &now(&operation.script));
    if changed.is_empty() { Ok(()) } else { Err(refusal(&operation.op_no, &changed)) }
}

pub fn changes(then: &Dependencies, now: &Dependencies) -> Changes {
    then.keys()
        .chain(now.keys().filter(|object| !then.contains_key(*object)))
        .filter(|object| then.get(*object) != now.get(*object))
        .map(|object| match (then.get(object), now.get(object)) {
            (Some(_), None) => (object.clone(), GONE),
            (None, _) => (object.clone(), "is new"),
            _ => (object.clone(), "was changed"),
        })
        .collect()
}

pub fn refusal(op_no: &str, changed: &[(String, &str)]) -> Fault {
    let named = changed.iter().take(NAMED).map(|(object, how)| format!("{object} {how}"));
    let mut named = named.collect::<Vec<_>>().join("; ");
    if changed.len() > NAMED {
        named.push_str(&format!("; and {} more", changed.len() - NAMED));
    }
    Fault::wrong_state(format!("what {op_no} depends on has changed since it was filed"))
        .detail(format!("{named}."))
        .hint("File it again with steward.request(script, purpose).")
}

/// A short name of rules, tier policies, demanded forms and checklists, scopes, attributes and protected tables as they are, for the records of an operation.
pub fn policy_version(client: &mut SpiClient<'_>) -> Outcome<String> {
    let _exact = exact();
    let policy = "SELECT sha256(convert_to(string_agg(line, E'\\n' ORDER BY line), 'UTF8')) FROM (
        SELECT 'rule ' || r::text FROM steward.rule r UNION ALL SELECT 'tier ' || t::text FROM steward.tier_policy t
        UNION ALL SELECT 'approval ' || a::text FROM steward.approval_rule a
        UNION ALL SELECT 'window ' || w::text FROM steward.maintenance_window w
        UNION ALL SELECT 'block ' || b::text FROM steward.review_block b
        UNION ALL SELECT 'form ' || f::text FROM steward.form_policy f UNION ALL SELECT 'checklist ' || c::text FROM steward.checklist_policy c
        UNION ALL SELECT 'scope ' || s::text FROM steward.scope s UNION ALL SELECT 'attribute ' || a::text FROM steward.person_attribute a
        UNION ALL SELECT 'protected ' || relation::text || row_images FROM steward.protected) policy(line)";
    let digest = own::select(client, policy, &[])?.first().get_one::<Vec<u8>>()?.unwrap_or_default();
    Ok(hex(&digest[..digest.len().min(6)]))
}
