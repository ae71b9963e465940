//! The SQL functions of the mask rules. A new rule can only hide more; what may show more than before, or let more be
//! written, is a privilege, as GRANT is: a weaker rule in the place of another, a rule's end, an exemption.

use crate::audit::buffer;
use crate::core::mask::{Class, Mask, Spec};
use crate::core::mask_rule::{EVERY_CLASS, NO_CLASS, Predicate, Rule, Write};
use crate::core::record::{Kind, Record};
use crate::core::rule::{Command, Group};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::required;
use crate::policy::{require_command, require_configuration, require_privilege, within_a_year};
use crate::{own, session};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::{Value, json};

const WEAKEN: Command = Command { tag: "WEAKEN MASK", group: Group::Privilege };

#[pg_extern(sql = false)]
fn set_mask(
    role: Option<pg_sys::Oid>,
    class: Option<&str>,
    mask: Option<&str>,
    prefix: Option<i32>,
    suffix: Option<i32>,
    predicate: Option<&str>,
    write: Option<&str>,
) {
    answer((|| {
        require_configuration("set_mask")?;
        let role = existing_role(role)?;
        let rule = new_rule(class, mask, prefix, suffix, predicate, write)?;
        if let Some(former) = former(role, &rule.class)?
            && rule.is_weaker_than(&former)
        {
            require_command(WEAKEN);
        }
        own::run(|client| {
            let row = "INSERT INTO steward.mask_rule (role, class, mask, prefix, suffix, predicate, write)
                VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (role, class) DO UPDATE
                SET mask = EXCLUDED.mask, prefix = EXCLUDED.prefix, suffix = EXCLUDED.suffix, predicate = EXCLUDED.predicate,
                    write = EXCLUDED.write";
            let [class, mask] = [rule.class.as_str().into(), rule.mask.name().into()];
            let [predicate, write] = [rule.predicate.name().into(), rule.write.name().into()];
            let arguments = [regrole(role), class, mask, prefix.into(), suffix.into(), predicate, write];
            own::execute(client, row, &arguments).map(drop)
        })?;
        let (mask, predicate, write) = (rule.mask.name(), rule.predicate.name(), rule.write.name());
        let details =
            json!({ "mask": mask, "prefix": prefix, "suffix": suffix, "predicate": predicate, "write": write });
        changed("set_mask", role, &rule.class, details)
    })())
}

#[pg_extern(sql = false)]
fn drop_mask(role: pg_sys::Oid, class: &str) {
    answer((|| {
        require_privilege("drop_mask")?;
        let gone = own::run(|client| {
            let row = "DELETE FROM steward.mask_rule WHERE role = $1 AND class = $2 RETURNING 1";
            own::execute(client, row, &[regrole(role), class.into()])
        })?;
        if gone == 0 {
            let name = session::role_name(role);
            return Err(Fault::unknown(format!("role {name} has no mask rule for class \"{class}\""))
                .hint("SELECT * FROM steward.mask_rule;"));
        }
        changed("drop_mask", role, class, json!({}))
    })())
}

#[pg_extern(sql = false)]
fn exempt_mask(
    role: Option<pg_sys::Oid>,
    class: Option<&str>,
    until: Option<TimestampWithTimeZone>,
    reason: Option<&str>,
) {
    answer((|| {
        require_configuration("exempt_mask")?;
        let role = existing_role(role)?;
        let class = known_class(required("class", class)?)?;
        let reason = required("reason", reason)?;
        if !within_a_year("an exemption", until)? {
            require_privilege("exempt_mask")?;
        }
        own::run(|client| {
            let row = "INSERT INTO steward.mask_exemption (role, class, until, reason, granted_by) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (role, class) DO UPDATE SET until = EXCLUDED.until, reason = EXCLUDED.reason,
                    granted_by = EXCLUDED.granted_by, granted_at = EXCLUDED.granted_at";
            let login = session::login_name();
            let arguments = [regrole(role), class.into(), until.into(), reason.into(), login.into()];
            own::execute(client, row, &arguments).map(drop)
        })?;
        changed(
            "exempt_mask",
            role,
            class,
            json!({ "until": until.map(|until| until.to_iso_string()), "reason": reason }),
        )
    })())
}

fn new_rule(
    class: Option<&str>,
    mask: Option<&str>,
    prefix: Option<i32>,
    suffix: Option<i32>,
    predicate: Option<&str>,
    write: Option<&str>,
) -> Outcome<Rule> {
    let class = known_class(required("class", class)?)?.to_owned();
    let mask = required("mask", mask)?;
    let mask = Mask::from_name(mask).ok_or_else(|| {
        Fault::bad_argument(format!("\"{mask}\" is no mask")).hint("partial hide hash pseudonym generalize none")
    })?;
    let predicate = required("predicate", predicate)?;
    let predicate = Predicate::from_name(predicate).ok_or_else(|| {
        Fault::bad_argument(format!("\"{predicate}\" is no way to treat a condition")).hint("masked equal deny")
    })?;
    let write = required("write", write)?;
    let write = Write::from_name(write).ok_or_else(|| {
        Fault::bad_argument(format!("\"{write}\" is no way to treat what is written")).hint("guard deny allow")
    })?;
    if mask == Mask::None && write != Write::Guard {
        return Err(Fault::bad_argument(
            "what is written is looked at where a role is masked, and \"none\" masks nothing",
        )
        .hint("REVOKE INSERT, UPDATE ON … FROM …;"));
    }
    if mask != Mask::Partial && (prefix.is_some() || suffix.is_some()) {
        return Err(Fault::bad_argument("prefix and suffix are lengths that the mask \"partial\" keeps"));
    }
    let spec = Spec::new(Class::from_name(&class), mask, prefix, suffix)
        .ok_or_else(|| Fault::bad_argument("prefix and suffix are 0 to 64 characters"))?;
    Ok(Rule { class, mask, prefix: spec.prefix, suffix: spec.suffix, predicate, write })
}

/// Every class, none, or a name as labels have it.
fn known_class(class: &str) -> Outcome<&str> {
    if class == EVERY_CLASS || class == NO_CLASS || crate::watch::label::is_class_name(class) {
        return Ok(class);
    }
    Err(Fault::bad_argument(format!("\"{class}\" is no name of a class"))
        .hint("'phone', '*' for every class, or '-' for columns without one"))
}

fn existing_role(role: Option<pg_sys::Oid>) -> Outcome<pg_sys::Oid> {
    let role = role.ok_or_else(|| Fault::bad_argument("whose mask?").hint("role => 'clerk'"))?;
    // Safe: a look-up in the role cache, missing allowed.
    if unsafe { pg_sys::GetUserNameFromId(role, true).is_null() } {
        return Err(Fault::unknown("there is no such role").hint("\\du"));
    }
    Ok(role)
}

/// The rule that a new one replaces.
fn former(role: pg_sys::Oid, class: &str) -> Outcome<Option<Rule>> {
    let odd = || Fault::internal("a mask rule does not read back");
    own::run(|client| {
        let row = "SELECT mask, prefix, suffix, predicate, write FROM steward.mask_rule WHERE role = $1 AND class = $2";
        let Some(row) = own::query(client, row, &[regrole(role), class.into()])?.next() else { return Ok(None) };
        let end = |column: usize| -> Outcome<Option<u8>> {
            row.get::<i32>(column)?.map(|end| u8::try_from(end).map_err(|_| odd())).transpose()
        };
        let name = |column: usize| -> Outcome<String> { Ok(row.get::<String>(column)?.unwrap_or_default()) };
        Ok(Some(Rule {
            class: class.to_owned(),
            mask: Mask::from_name(&name(1)?).ok_or_else(odd)?,
            prefix: end(2)?,
            suffix: end(3)?,
            predicate: Predicate::from_name(&name(4)?).ok_or_else(odd)?,
            write: Write::from_name(&name(5)?).ok_or_else(odd)?,
        }))
    })
}

/// A `regrole` argument of an own query.
fn regrole<'a>(role: pg_sys::Oid) -> DatumWithOid<'a> {
    // Safe: an oid is what regrole holds.
    unsafe { DatumWithOid::new(role, pg_sys::REGROLEOID) }
}

/// Records the change and tells every session; plans on labelled tables are made anew.
fn changed(function: &str, role: pg_sys::Oid, class: &str, mut details: Value) -> Outcome<()> {
    details["role"] = json!(&*session::role_name(role));
    details["class"] = json!(class);
    let mut record = Record::new(Kind::Policy, function);
    record.tier = Some(Tier::Critical);
    record.details = Some(details.to_string());
    buffer::push(record);
    super::policy::forget_plans()?;
    own::policy_changed()
}
