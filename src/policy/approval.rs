//! The SQL functions of `steward.approval_rule`, and its rows as the policy holds them. Who fills a row in an operation is
//! said in `operation::requirement`.

use super::{changed, require_privilege, require_rule_approvals, tier_from_enum};
use crate::core::approval::{Row, Who};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::one_text;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::ffi::CStr;

/// Capabilities that a signer may be asked for.
const SIGNING: [&str; 4] = ["approve", "witness", "apply", "configure"];

#[pg_extern(sql = false)]
fn set_approval(
    tier: Option<pg_sys::Oid>,
    step: Option<i32>,
    who: Option<Vec<Option<String>>>,
    rule: Option<&str>,
    capability: Option<&str>,
) {
    answer((|| {
        require_privilege("set_approval")?;
        let (tier, step, rule) = place("set_approval", tier, step, rule)?;
        let who = elements(who)?;
        let capability = capability.unwrap_or("approve");
        if !SIGNING.contains(&capability) {
            return Err(Fault::bad_argument(format!("nobody signs by the capability \"{capability}\""))
                .hint(format!("One of: {}", SIGNING.join(" "))));
        }
        let names: Vec<String> = who.iter().map(Who::to_string).collect();
        own::run(|client| {
            who.iter().try_for_each(|who| check_reference(client, who))?;
            if !rule.is_empty()
                && one_text(client, "SELECT name FROM steward.rule WHERE name = $1", &[rule.into()])?.is_none()
            {
                return Err(
                    Fault::unknown(format!("there is no rule \"{rule}\"")).hint("SELECT name FROM steward.rule;")
                );
            }
            let row = "INSERT INTO steward.approval_rule (tier, rule, step, who, capability)
                VALUES ($1::steward.tier, $2, $3, $4, $5)
                ON CONFLICT (tier, rule, step) DO UPDATE SET who = EXCLUDED.who, capability = EXCLUDED.capability";
            let arguments = [tier.name().into(), rule.into(), step.into(), names.clone().into(), capability.into()];
            own::execute(client, row, &arguments).map(drop)
        })?;
        changed("set_approval", &subject(tier, step, rule))?;
        crate::activation::recheck(false)
    })())
}

#[pg_extern(sql = false)]
fn drop_approval(tier: Option<pg_sys::Oid>, step: Option<i32>, rule: Option<&str>) {
    answer((|| {
        require_privilege("drop_approval")?;
        let (tier, step, rule) = place("drop_approval", tier, step, rule)?;
        let gone = own::run(|client| {
            let row = "DELETE FROM steward.approval_rule WHERE tier = $1::steward.tier AND rule = $2 AND step = $3 RETURNING 1";
            own::execute(client, row, &[tier.name().into(), rule.into(), step.into()])
        })?;
        if gone == 0 {
            return Err(
                Fault::unknown("there is no such row of signatures").hint("SELECT * FROM steward.approval_rule;")
            );
        }
        changed("drop_approval", &subject(tier, step, rule))
    })())
}

/// The row's place; no rule is the empty name. A rule's rows are changed with the rule's own signatures.
fn place<'a>(
    function: &str,
    tier: Option<pg_sys::Oid>,
    step: Option<i32>,
    rule: Option<&'a str>,
) -> Outcome<(Tier, i32, &'a str)> {
    let tier = tier.ok_or_else(|| Fault::bad_argument("which tier?").hint("normal, important or critical"))?;
    let tier = tier_from_enum(tier)?;
    let step = step.filter(|step| (1..=9).contains(step));
    let step = step.ok_or_else(|| Fault::bad_argument("steps are 1 to 9"))?;
    if let Some(rule) = rule {
        require_rule_approvals(function, rule)?;
    }
    Ok((tier, step, rule.unwrap_or("")))
}

fn subject(tier: Tier, step: i32, rule: &str) -> String {
    let of = if rule.is_empty() { String::new() } else { format!(" {rule}") };
    format!("{} {step}{of}", tier.name())
}

fn elements(who: Option<Vec<Option<String>>>) -> Outcome<Vec<Who>> {
    let hint = "who => '{supervisor,department,post:reviewer,person:Sun}' (any of them)";
    let listed = who.unwrap_or_default();
    if listed.is_empty() || listed.len() > 50 {
        return Err(Fault::bad_argument("a row of signatures needs 1 to 50 elements").hint(hint));
    }
    let parse = |text: Option<String>| {
        let text = text.unwrap_or_default();
        Who::parse(&text).ok_or_else(|| Fault::bad_argument(format!("\"{text}\" names nobody")).hint(hint))
    };
    listed.into_iter().map(parse).collect()
}

fn check_reference(client: &mut SpiClient<'_>, who: &Who) -> Outcome<()> {
    let (what, name, known) = match who {
        Who::Post(name) => ("post", name, "SELECT name FROM steward.post WHERE name = $1"),
        Who::Person(name) => ("person", name, "SELECT name FROM steward.person WHERE name = $1"),
        Who::Supervisor | Who::Department => return Ok(()),
    };
    match one_text(client, known, &[name.as_str().into()])? {
        Some(_) => Ok(()),
        None => Err(Fault::unknown(format!("{what} \"{name}\" does not exist"))
            .hint(format!("SELECT name FROM steward.{what};"))),
    }
}

const ROWS: &CStr =
    c"SELECT tier::text, rule, step::text, array_to_json(who)::text, capability FROM steward.approval_rule
    ORDER BY steward.approval_rule.tier, rule, steward.approval_rule.step";

/// The rows, for the policy.
pub fn load() -> Outcome<Vec<Row>> {
    own::latest_rows(ROWS).iter().map(|row| read(row)).collect()
}

/// A row of five texts: tier, rule, step, elements as JSON, capability. What does not read back stops everything.
pub fn read(row: &[Option<String>]) -> Outcome<Row> {
    let odd = || Fault::internal("a row of signatures does not read back");
    let text = |column: usize| row.get(column).and_then(Option::as_deref).ok_or_else(odd);
    let who: Vec<String> = serde_json::from_str(text(3)?).map_err(|_| odd())?;
    let rule = text(1)?;
    Ok(Row {
        tier: Tier::from_name(text(0)?).ok_or_else(odd)?,
        rule: (!rule.is_empty()).then(|| rule.to_owned()),
        step: text(2)?.parse().map_err(|_| odd())?,
        who: who.iter().map(|who| Who::parse(who)).collect::<Option<_>>().ok_or_else(odd)?,
        capability: text(4)?.to_owned(),
    })
}
