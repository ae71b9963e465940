//! The SQL functions of `steward.maintenance_window`. What a window means to an operation is said in
//! `operation::window`.

use super::{changed, require_privilege, require_rule_approvals};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::{one_text, optional, required};
use pgrx::AnyElement;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn set_window(
    name: Option<&str>,
    rule_or_tier: Option<&str>,
    days: Option<Vec<Option<i32>>>,
    from_time: Option<AnyElement>,
    to_time: Option<AnyElement>,
) {
    answer((|| {
        require_privilege("set_window")?;
        let name = required("name", name)?;
        let of = required("rule_or_tier", rule_or_tier)?;
        let (Some(from_time), Some(to_time)) = (from_time, to_time) else {
            return Err(Fault::bad_argument("a window has two times").hint("from_time => '22:00', to_time => '04:00'"));
        };
        if from_time.datum().value() == to_time.datum().value() {
            return Err(Fault::bad_argument("a window that opens and closes at the same time is none")
                .hint("from_time => '00:00', to_time => '24:00'"));
        }
        let days = weekdays(days)?;
        let tier = Tier::from_name(of).map(Tier::name);
        let rule = if tier.is_none() { Some(of) } else { None };
        if let Some(rule) = rule {
            existing_rule(rule)?;
            require_rule_approvals("set_window", rule)?;
        }
        require_approvals_of_window("set_window", name)?;
        own::run(|client| {
            let row = "INSERT INTO steward.maintenance_window (name, tier, rule, days, from_time, to_time)
                VALUES ($1, $2::steward.tier, $3, $4, $5, $6)
                ON CONFLICT (name) DO UPDATE SET tier = EXCLUDED.tier, rule = EXCLUDED.rule, days = EXCLUDED.days,
                    from_time = EXCLUDED.from_time, to_time = EXCLUDED.to_time";
            let (opens, closes) = (time(&from_time), time(&to_time));
            let arguments = [name.into(), optional(tier), optional(rule), days.into(), opens, closes];
            own::execute(client, row, &arguments).map(drop)
        })?;
        changed("set_window", name)
    })())
}

#[pg_extern(sql = false)]
fn drop_window(name: &str) {
    answer((|| {
        require_privilege("drop_window")?;
        require_approvals_of_window("drop_window", name)?;
        let gone = own::run(|client| {
            own::execute(client, "DELETE FROM steward.maintenance_window WHERE name = $1 RETURNING 1", &[name.into()])
        })?;
        if gone == 0 {
            return Err(Fault::unknown(format!("there is no window \"{name}\""))
                .hint("SELECT * FROM steward.maintenance_window;"));
        }
        changed("drop_window", name)
    })())
}

/// A `time` argument of an own query, as it came: the bindings' own type makes 00:00 of 24:00.
fn time<'a>(value: &AnyElement) -> DatumWithOid<'a> {
    // Safe: the argument was declared time, which is passed by value.
    unsafe { DatumWithOid::new(value.datum(), pg_sys::TIMEOID) }
}

/// What the rule of a window demands, the window's own change demands too.
fn require_approvals_of_window(function: &str, name: &str) -> Outcome<()> {
    let rule = "SELECT rule FROM steward.maintenance_window WHERE name = $1";
    match own::run(|client| one_text(client, rule, &[name.into()]))? {
        Some(rule) => require_rule_approvals(function, &rule),
        None => Ok(()),
    }
}

fn existing_rule(rule: &str) -> Outcome<()> {
    match own::run(|client| one_text(client, "SELECT name FROM steward.rule WHERE name = $1", &[rule.into()]))? {
        Some(_) => Ok(()),
        None => {
            Err(Fault::unknown(format!("\"{rule}\" is neither a tier nor a rule"))
                .hint("SELECT name FROM steward.rule;"))
        }
    }
}

/// Each once, in order.
fn weekdays(days: Option<Vec<Option<i32>>>) -> Outcome<Vec<i32>> {
    let wrong = || Fault::bad_argument("days are 1 (Monday) to 7 (Sunday)").hint("days => '{6,7}'");
    let mut days = days.unwrap_or_default().into_iter().collect::<Option<Vec<i32>>>().ok_or_else(wrong)?;
    days.sort_unstable();
    days.dedup();
    if days.is_empty() || days.iter().any(|day| !(1..=7).contains(day)) { Err(wrong()) } else { Ok(days) }
}
