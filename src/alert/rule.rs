//! The rules: read for the policy's cache, set and dropped by the policy.

use crate::core::alert::Rule;
use crate::core::record::{Kind, Outcome as Ending};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, required};
use crate::policy::{changed, require_privilege, tier_from_enum};
use crate::{cache, own, session};
use pgrx::datum::{DatumWithOid, Interval, Time};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use std::ffi::{CStr, CString};

/// The sequencer tells with one bit for each rule whom it speaks of.
pub const MOST: usize = 64;

const ENABLED: &CStr = c"SELECT name, level, array_to_string(kinds, E'\\n'), array_to_string(operation_types, E'\\n'),
        array_to_string(results, E'\\n'), min_tier::text, (extract(epoch FROM longer_than) * 1000000)::bigint::text,
        (extract(epoch FROM from_time) / 60)::int::text, (extract(epoch FROM to_time) / 60)::int::text,
        array_to_string(posts, E'\\n'), array_to_string(except_posts, E'\\n'), more_than::text,
        (extract(epoch FROM within) * 1000000)::bigint::text, free_days::text, more_rows::text
    FROM steward.alert_rule WHERE enabled ORDER BY set_by IS NOT NULL, name LIMIT 64";

/// The rules that are enabled. What does not read back is an error: an alert must not be left out in silence.
pub fn load() -> Result<Vec<Rule>, Fault> {
    own::latest_rows(ENABLED).iter().map(|row| read(row)).collect()
}

fn read(row: &[Option<String>]) -> Outcome<Rule> {
    let odd = || Fault::internal("a row of alert_rule does not read back");
    let lines = |column: usize| -> Vec<String> {
        row[column]
            .iter()
            .flat_map(|text| text.split('\n'))
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let number = |column: usize| row[column].as_deref().map(|text| text.parse::<i64>().map_err(|_| odd())).transpose();
    let minute = |column: usize| Ok::<_, Fault>(number(column)?.map(|minute| (minute % 1440) as u16));
    let kinds = lines(2).iter().map(|kind| Kind::from_name(kind)).collect::<Option<_>>();
    let outcomes = lines(4).iter().map(|outcome| Ending::from_name(outcome)).collect::<Option<_>>();
    let tier = row[5].as_deref().map(|tier| Tier::from_name(tier).ok_or_else(odd)).transpose()?;
    Ok(Rule {
        name: row[0].clone().ok_or_else(odd)?,
        level: row[1].clone().ok_or_else(odd)?,
        kinds: kinds.ok_or_else(odd)?,
        operation_types: lines(3),
        outcomes: outcomes.ok_or_else(odd)?,
        min_tier: tier,
        longer_than: number(6)?,
        hours: minute(7)?.zip(minute(8)?),
        posts: lines(9),
        except_posts: lines(10),
        more_than: number(11)?.ok_or_else(odd)? as usize,
        within: number(12)?.ok_or_else(odd)?,
        free_days: row[13].as_deref() == Some("true"),
        more_rows: number(14)?,
    })
}

/// How grave an alert is.
const LEVELS: [&str; 3] = ["minor", "important", "major"];

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // the SQL function's own
fn set_alert_rule(
    name: Option<&str>,
    level: Option<&str>,
    kinds: Option<Vec<Option<String>>>,
    operation_types: Option<Vec<Option<String>>>,
    results: Option<Vec<Option<String>>>,
    min_tier: Option<pg_sys::Oid>,
    longer_than: Option<Interval>,
    from_time: Option<Time>,
    to_time: Option<Time>,
    posts: Option<Vec<Option<String>>>,
    except_posts: Option<Vec<Option<String>>>,
    more_than: Option<i32>,
    within: Option<Interval>,
    enabled: Option<bool>,
    free_days: Option<bool>,
    more_rows: Option<i64>,
) {
    answer((|| {
        let name = required("name", name)?;
        let own_rule = admit("set_alert_rule", name)?;
        let level = required("level", level)?;
        if !LEVELS.contains(&level) {
            return Err(Fault::bad_argument(format!("\"{level}\" is no level"))
                .detail(format!("Levels are: {}.", LEVELS.join(" "))));
        }
        if [from_time, to_time].into_iter().flatten().any(|time| time.second() != 0.0) {
            return Err(Fault::bad_argument("times of an alert rule are whole minutes"));
        }
        let tier = min_tier.map(tier_from_enum).transpose()?.map(|tier| tier.name().to_owned());
        let (posts, except_posts) = (texts(posts)?, texts(except_posts)?);
        let named: Vec<String> = posts.iter().chain(&except_posts).cloned().collect();
        let operation_types = texts(operation_types)?;
        let row: [DatumWithOid<'_>; 17] = [
            name.into(),
            level.into(),
            texts(kinds)?.into(),
            operation_types.clone().into(),
            texts(results)?.into(),
            tier.into(),
            longer_than.into(),
            from_time.into(),
            to_time.into(),
            posts.into(),
            except_posts.into(),
            more_than.unwrap_or(0).into(),
            within.into(),
            enabled.unwrap_or(true).into(),
            own_rule.into(),
            free_days.unwrap_or(false).into(),
            more_rows.into(),
        ];
        // The row that it replaces makes way by itself.
        let insert = "INSERT INTO steward.alert_rule (name, level, kinds, operation_types, results, min_tier, longer_than,
                from_time, to_time, posts, except_posts, more_than, within, enabled, set_by,
                free_days, more_rows)
            VALUES ($1, $2, $3, $4, $5, $6::text::steward.tier, $7, $8, $9, $10, $11, $12, coalesce($13, interval '1 hour'), $14, $15,
                $16, $17)";
        let unknown =
            "SELECT string_agg(p, ' ') FROM unnest($1::text[]) p WHERE p NOT IN (SELECT name FROM steward.post)";
        let count = "SELECT count(*)::text FROM steward.alert_rule WHERE enabled";
        own::run(|client| {
            if let Some(unknown) = one_text(client, unknown, &[named.into()])? {
                return Err(Fault::unknown(format!("there is no post {unknown}")).hint("SELECT * FROM steward.post;"));
            }
            // Two who add a rule at the same time must not both find room for it.
            own::execute(client, "LOCK TABLE steward.alert_rule IN SHARE ROW EXCLUSIVE MODE", &[])?;
            own::execute(client, insert, &row)?;
            let enabled = one_text(client, count, &[])?.and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
            if enabled > MOST {
                return Err(Fault::bad_argument(format!("at most {MOST} alert rules can be enabled"))
                    .hint("SELECT steward.drop_alert_rule(name) …"));
            }
            ask_about_unknown(client, name, operation_types)
        })?;
        changed("set_alert_rule", name)
    })())
}

/// What a rule speaks of may be misspelt, and then it never fires. Only people know: what a program will record is not known
/// before it did.
fn ask_about_unknown(client: &mut SpiClient<'_>, name: &str, mut operation_types: Vec<String>) -> Outcome<()> {
    // Safe: compares with the server's own list.
    let is_command =
        |text: &CString| unsafe { pg_sys::GetCommandTagEnum(text.as_ptr()) } != pg_sys::CommandTag::CMDTAG_UNKNOWN;
    operation_types.retain(|text| !CString::new(text.as_str()).is_ok_and(|text| is_command(&text)));
    let unknown = "SELECT string_agg(t, ', ') FROM unnest($1::text[]) t
        WHERE NOT EXISTS (SELECT FROM steward.alert_rule r WHERE t = ANY (r.operation_types) AND r.name <> $2)
            AND NOT EXISTS (SELECT FROM steward._definition d WHERE steward._record_text(d.record, 9) = t)
            AND NOT EXISTS (SELECT FROM (SELECT record FROM steward.chain ORDER BY id DESC LIMIT 1000) c
                WHERE steward._record_text(c.record, 9) = t)";
    if let Some(unknown) = one_text(client, unknown, &[operation_types.into(), name.into()])? {
        Fault::unknown(format!("no record of operation type {unknown} is known"))
            .detail("No command of PostgreSQL is called so, no other rule speaks of it, and none was recorded lately: if it is misspelt, the rule never fires.")
            .hint("SELECT DISTINCT operation_type FROM steward.audit_log ORDER BY 1;")
            .notice();
    }
    Ok(())
}

/// Who audits adds rules and changes the own ones (manual 2.1, «设置监控规则»); what the policy demands to be told of, or
/// another auditor, is changed as the policy is. Returns whose own rule it is.
fn admit(function: &str, name: &str) -> Outcome<Option<String>> {
    if let Some(auditor) = session::person().filter(|person| cache::at_home() && person.may("audit")) {
        let owner = "SELECT coalesce(set_by, '') FROM steward.alert_rule WHERE name = $1";
        let owner = own::run(|client| one_text(client, owner, &[name.into()]))?;
        if owner.is_none_or(|owner| owner == auditor.name) {
            super::answer::own_act(function)?;
            return Ok(Some(auditor.name.clone()));
        }
    }
    require_privilege(function).map(|()| None)
}

fn texts(texts: Option<Vec<Option<String>>>) -> Outcome<Vec<String>> {
    let texts = texts.unwrap_or_default().into_iter().collect::<Option<Vec<_>>>();
    let legal = |text: &String| !text.is_empty() && !text.contains('\n');
    texts
        .filter(|texts| texts.iter().all(legal))
        .ok_or_else(|| Fault::bad_argument("a name in a list must be a line of text, not empty and not NULL"))
}

#[pg_extern(sql = false)]
fn drop_alert_rule(name: &str) {
    answer((|| {
        admit("drop_alert_rule", name)?;
        let gone = "DELETE FROM steward.alert_rule WHERE name = $1 RETURNING name";
        own::run(|client| one_text(client, gone, &[name.into()]))?.ok_or_else(|| {
            Fault::unknown(format!("there is no alert rule \"{name}\"")).hint("SELECT name FROM steward.alert_rule;")
        })?;
        changed("drop_alert_rule", name)
    })())
}
