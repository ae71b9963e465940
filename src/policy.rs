//! The policy's own SQL functions: protected tables, rules, tier policies, `classify`.
//!
//! Before `activate()` the owner and persons who may configure call them freely; afterwards each call is itself a
//! critical statement (requirement 4): it runs inside an approved operation or is refused and recorded.

pub mod approval;
pub mod checklist;
mod window;

use crate::audit::buffer;
use crate::cache;
use crate::core::record::{Kind, Record};
use crate::core::rule::{ColumnSet, Command, Group};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::operation::cover;
use crate::watch::{dry_run, facts::Deed, judge, named_rule, statement::Source, utility};
use crate::{activation, image, own, preload, session, shared};
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use regex::Regex;
use std::sync::atomic::Ordering::SeqCst;

/// Gate of every configuration function: the policy's own change is a critical statement.
pub fn require_configuration(function: &str) -> Outcome<()> {
    if !cache::at_home() || cache::policy_relation().is_none() {
        return Err(Fault::wrong_state("the policy lives in the home database")
            .hint(format!("\\connect {}", crate::settings::database())));
    }
    let covered = cover::current().is_some_and(|cover| cover.reach.tier == Tier::Critical);
    if activation::settled(function)? && shared::mode() == crate::settings::Mode::Enforce && !covered {
        // Safe: the client's own message, or null.
        let source = unsafe { Source::new(pg_sys::debug_query_string, -1, 0) };
        let record = judge::record(function, Vec::new(), Tier::Critical, "policy_change", &source);
        let hint = source
            .request_call()
            .unwrap_or_else(|| "SELECT steward.request($s$SELECT steward.…$s$, purpose => '…');".to_owned());
        judge::deny(
            record,
            Fault::refused("critical statement refused: no approved operation covers it")
                .detail(format!("steward.{function} changes the policy; the policy is active."))
                .hint(hint),
        );
    }
    // Safe: reads the current role.
    let privileged = unsafe { pg_sys::superuser() };
    if covered || privileged || session::person().is_some_and(|person| person.may("configure")) {
        return Ok(());
    }
    Err(Fault::refused(format!("steward.{function} is not yours to call"))
        .detail("Only a superuser or a person whose post may configure sets the policy up.")
        .hint("SELECT * FROM steward.post;"))
}

/// Gate of the functions that give capabilities, or take demands away: like GRANT they are what the rules for PRIVILEGE say.
pub fn require_privilege(function: &str) -> Outcome<()> {
    require_configuration(function)?;
    let command = cache::command_named(function);
    require_command(command.ok_or_else(|| Fault::internal(format!("steward.{function} is no privilege")))?);
    Ok(())
}

/// Whether a time is over, for what holds until then: a year at most, so that those decide anew who are there then.
pub fn within_a_year(what: &str, until: Option<TimestampWithTimeZone>) -> Outcome<bool> {
    let until = until.ok_or_else(|| Fault::bad_argument(format!("{what} ends")).hint("until => now() + '30 days'"))?;
    let [over, too_long] = own::run(|client| {
        let terms = "SELECT $1 <= clock_timestamp(), $1 > clock_timestamp() + interval '1 year'";
        let row = own::query(client, terms, &[until.into()])?.first();
        Ok([row.get::<bool>(1)?.unwrap_or(false), row.get::<bool>(2)?.unwrap_or(true)])
    })?;
    if too_long {
        return Err(Fault::bad_argument(format!("{what} lasts a year at most"))
            .detail("It is given anew by those who decide then.")
            .hint("until => now() + '1 year'"));
    }
    Ok(over)
}

/// What the rules say to a command that has no statement of its own.
pub fn require_command(command: Command) {
    let policy = cache::policy();
    let deeds = [Deed { command, relation: None, columns: ColumnSet::default() }];
    // Safe: the client's own message, or null.
    let source = unsafe { Source::new(pg_sys::debug_query_string, -1, 0) };
    judge::enforce(&policy, &deeds, &judge::judge(&policy, &deeds), command.tag, &source);
}

/// Another text in the place of a rule may be weaker than the rule was.
const REPLACE_RULE: Command = Command { tag: "REPLACE RULE", group: Group::Privilege };

/// A rule that demands approvals is changed with as many: otherwise fewer could first change the rule.
fn require_rule_approvals(function: &str, rule: &str) -> Outcome<()> {
    let demanded = own::run(|client| {
        let approvals = "SELECT approvals FROM steward.rule WHERE name = $1";
        Ok(own::query(client, approvals, &[rule.into()])?.next().map(|row| row.get::<i32>(1)).transpose()?.flatten())
    })?;
    if let Some(cover) = cover::current() {
        named_rule::refuse_change(&cover, function, rule);
    }
    let demanded = demanded.unwrap_or(0) as u32;
    let given = cover::current().map_or(0, |cover| cover.reach.approvals);
    if given >= demanded || !shared::active() || shared::mode() != crate::settings::Mode::Enforce {
        return Ok(());
    }
    // Safe: the client's own message, or null.
    let source = unsafe { Source::new(pg_sys::debug_query_string, -1, 0) };
    judge::deny(
        judge::record(function, Vec::new(), Tier::Critical, "policy_change", &source),
        Fault::refused(format!("critical statement refused: the operation has {given} of {demanded} approvals"))
            .detail(format!("Rule \"{rule}\" demands {demanded} approvals, so its own change takes as many."))
            .hint("File it again with approvals => and that number."),
    )
}

/// Notes a policy change in the transaction's own records and tells every session.
pub fn changed(function: &str, subject: &str) -> Outcome<()> {
    changed_with(function, subject, None)
}

/// The same with details, as JSON.
pub fn changed_with(function: &str, subject: &str, details: Option<String>) -> Outcome<()> {
    let mut record = Record::new(Kind::Policy, function);
    record.details = details;
    record.tier = Some(Tier::Critical);
    record.relations = vec![subject.to_owned()];
    buffer::push(record);
    own::policy_changed()
}

/// The tier behind a value of the SQL type `steward.tier`.
pub fn tier_from_enum(value: pg_sys::Oid) -> Outcome<Tier> {
    // Safe: syscache tuple of an enum value, released after its label is copied.
    let label = unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::ENUMOID as i32, pg_sys::Datum::from(value));
        if tuple.is_null() {
            return Err(Fault::bad_argument("unknown tier"));
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_enum>();
        let label = std::ffi::CStr::from_ptr((*form).enumlabel.data.as_ptr()).to_string_lossy().into_owned();
        pg_sys::ReleaseSysCache(tuple);
        label
    };
    Tier::from_name(&label).ok_or_else(|| Fault::bad_argument("unknown tier"))
}

#[pg_extern(sql = false)]
fn protect(relation: pg_sys::Oid, row_images: bool) {
    answer(protect_relation(relation, row_images))
}

fn protect_relation(relation: pg_sys::Oid, row_images: bool) -> Outcome<()> {
    require_configuration("protect")?;
    let name = utility::relation_name(relation);
    // Safe: syscache look-up.
    let kind = unsafe { pg_sys::get_rel_relkind(relation) } as u8;
    if !matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE) {
        return Err(Fault::wrong_object(format!("{name} is no table"))
            .detail("Tables and partitioned tables are protected; what a view shows is protected through its tables.")
            .hint("SELECT steward.protect('schema.table');"));
    }
    // Safe: reads the catalog number range and the relation's persistence.
    let temporary = unsafe { pg_sys::get_rel_persistence(relation) } as u8 == pg_sys::RELPERSISTENCE_TEMP;
    if relation.to_u32() < pg_sys::FirstNormalObjectId || name.starts_with("steward.") || temporary {
        return Err(Fault::wrong_object(format!("{name} cannot be protected")).detail(
            "The catalog and schema steward are guarded by themselves; temporary tables are gone with their session.",
        ));
    }
    own::run(|client| {
        refuse_if_partition(client, relation, &name)?;
        refuse_foreign_partitions(client, relation, &name)?;
        refuse_inheriting(client, relation, &name)?;
        own::execute(
            client,
            "INSERT INTO steward.protected (relation, row_images, protected_by) VALUES ($1, $2, $3)
             ON CONFLICT (relation) DO UPDATE SET row_images = EXCLUDED.row_images",
            &[regclass(relation), row_images.into(), session::login_name().into()],
        )?;
        image::install(client, relation)
    })?;
    // The chain begins with this: logins are on record from now on. The sequencer takes it back if nothing comes of it.
    if let Some(shared) = shared::get() {
        shared.chained.store(true, SeqCst);
    }
    changed("protect", &name)
}

fn refuse_if_partition(client: &mut SpiClient<'_>, relation: pg_sys::Oid, name: &str) -> Outcome<()> {
    let root = own::query(
        client,
        "SELECT pg_partition_root($1)::text WHERE pg_partition_root($1) IS DISTINCT FROM $1 AND pg_partition_root($1) IS NOT NULL",
        &[regclass(relation)],
    )?;
    match root.into_iter().next() {
        None => Ok(()),
        Some(row) => {
            let root: String = row.get(1)?.unwrap_or_default();
            Err(Fault::wrong_object(format!("{name} is a partition"))
                .detail("A partitioned table is protected with all its partitions.")
                .hint(format!("SELECT steward.protect('{root}');")))
        }
    }
}

fn refuse_foreign_partitions(client: &mut SpiClient<'_>, relation: pg_sys::Oid, name: &str) -> Outcome<()> {
    let foreign = own::query(
        client,
        "SELECT 1 FROM pg_partition_tree($1) t JOIN pg_class c ON c.oid = t.relid WHERE c.relkind = 'f' LIMIT 1",
        &[regclass(relation)],
    )?;
    if foreign.is_empty() {
        return Ok(());
    }
    Err(Fault::wrong_object(format!("{name} has foreign partitions"))
        .detail("Rows on another server can be neither counted nor guarded here."))
}

/// A child could be written through its parent.
fn refuse_inheriting(client: &mut SpiClient<'_>, relation: pg_sys::Oid, name: &str) -> Outcome<()> {
    let parents = own::query(
        client,
        "SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = $1
            AND NOT EXISTS (SELECT FROM steward.protected p WHERE p.relation = i.inhparent) LIMIT 1",
        &[regclass(relation)],
    )?;
    match parents.into_iter().next() {
        None => Ok(()),
        Some(row) => {
            let parent: String = row.get(1)?.unwrap_or_default();
            Err(Fault::wrong_object(format!("{name} inherits from {parent}, which is not protected"))
                .detail("Its rows could be written through the parent.")
                .hint(format!("SELECT steward.protect('{parent}');")))
        }
    }
}

/// A `regclass` argument of an own query.
fn regclass<'a>(relation: pg_sys::Oid) -> DatumWithOid<'a> {
    // Safe: an oid is what regclass holds.
    unsafe { DatumWithOid::new(relation, pg_sys::REGCLASSOID) }
}

#[pg_extern(sql = false)]
fn unprotect(relation: pg_sys::Oid) {
    answer(unprotect_relation(relation))
}

fn unprotect_relation(relation: pg_sys::Oid) -> Outcome<()> {
    require_privilege("unprotect")?;
    let name = utility::relation_name(relation);
    let gone = own::run(|client| {
        refuse_scoped(client, relation, &name)?;
        image::remove(client, relation)?;
        own::execute(client, "DELETE FROM steward.protected WHERE relation = $1 RETURNING 1", &[regclass(relation)])
    })?;
    if gone == 0 {
        return Err(Fault::unknown(format!("{name} is not protected")).hint("SELECT relation FROM steward.protected;"));
    }
    changed("unprotect", &name)
}

/// Scopes rely on the guard of protected tables.
fn refuse_scoped(client: &mut SpiClient<'_>, relation: pg_sys::Oid, name: &str) -> Outcome<()> {
    if own::query(client, "SELECT 1 FROM steward.scope WHERE relation = $1", &[regclass(relation)])?.is_empty() {
        return Ok(());
    }
    Err(Fault::wrong_state(format!("{name} has scopes"))
        .detail("They hold on protected tables only.")
        .hint(format!("SELECT steward.drop_scope(role, '{name}');")))
}

/// Commands whose rows are counted: with any other a rule with `min_rows` would never apply.
const COUNTED: [&str; 6] = ["WRITE", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY FROM"];

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn set_rule(
    name: Option<&str>,
    tier: Option<pg_sys::Oid>,
    commands: Option<Vec<String>>,
    relation_pattern: Option<&str>,
    classes: Option<Vec<String>>,
    columns: Option<pgrx::AnyArray>,
    min_rows: Option<i64>,
    roles: Option<Vec<pg_sys::Oid>>,
    except_roles: Option<Vec<pg_sys::Oid>>,
    except_relations: Option<&str>,
    note: Option<&str>,
    approvals: Option<i32>,
) {
    answer((|| {
        require_configuration("set_rule")?;
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| Fault::bad_argument("a rule needs a name"))?;
        let tier = tier_from_enum(
            tier.ok_or_else(|| Fault::bad_argument("a rule needs a tier").hint("normal, important or critical"))?,
        )?;
        if min_rows.is_some_and(|rows| rows < 1) {
            return Err(Fault::bad_argument("min_rows counts from 1"));
        }
        if approvals.is_some_and(|approvals| !(0..=9).contains(&approvals)) {
            return Err(Fault::bad_argument("approvals are 0 to 9"));
        }
        for pattern in [relation_pattern, except_relations].into_iter().flatten() {
            Regex::new(pattern).map_err(|error| {
                Fault::bad_argument(format!("\"{pattern}\" is no pattern"))
                    .detail(error.to_string())
                    .hint("Patterns are regular expressions over schema.table, e.g. '^app\\.'")
            })?;
        }
        if let Some(commands) = &commands {
            commands.iter().try_for_each(|command| known_command(command))?;
            let counted = |command: &String| COUNTED.iter().any(|name| command.eq_ignore_ascii_case(name));
            if min_rows.is_some() && !commands.iter().any(counted) {
                return Err(Fault::bad_argument("min_rows counts rows that are written")
                    .detail(format!("None of the commands {} writes rows.", commands.join(", ")))
                    .hint("commands => '{WRITE}'"));
            }
        }
        require_rule_approvals("set_rule", name)?;
        let exists = "SELECT 1 FROM steward.rule WHERE name = $1";
        if !own::run(|client| Ok(own::query(client, exists, &[name.into()])?.is_empty()))? {
            require_command(REPLACE_RULE);
        }
        own::run(|client| {
            let installed =
                own::query(client, "SELECT 1 FROM steward.rule WHERE name = $1 AND installed", &[name.into()])?;
            if !installed.is_empty() && note.is_none() {
                return Err(Fault::bad_argument(format!("rule \"{name}\" is an installed rule"))
                    .detail("An installed rule is changed only with a reason.")
                    .hint("Give note => 'why', or use another name."));
            }
            own::execute(
                client,
                "INSERT INTO steward.rule (name, tier, commands, relation_pattern, classes, columns, min_rows, roles,
                    except_roles, except_relations, note, approvals)
                 VALUES ($1, $2::steward.tier, $3, $4, $5, $6, $7, $8::regrole[], $9::regrole[], $10, $11, coalesce($12, 0))",
                &[
                    name.into(),
                    tier.name().into(),
                    commands.clone().into(),
                    relation_pattern.into(),
                    classes.clone().into(),
                    names(&columns),
                    min_rows.into(),
                    roles.clone().into(),
                    except_roles.clone().into(),
                    except_relations.into(),
                    note.into(),
                    approvals.into(),
                ],
            )?;
            Ok(())
        })?;
        changed("set_rule", name)
    })())
}

/// A `name[]` argument of an own query; its elements are no text, so the array passes as it came.
fn names<'a>(array: &Option<pgrx::AnyArray>) -> DatumWithOid<'a> {
    match array {
        // Safe: the argument was declared name[] and lives as long as the call.
        Some(array) => unsafe { DatumWithOid::new(array.datum(), pg_sys::NAMEARRAYOID) },
        None => DatumWithOid::null_oid(pg_sys::NAMEARRAYOID),
    }
}

/// A group, or a command tag of this server, or one of the tags that the policy adds.
fn known_command(command: &str) -> Outcome<()> {
    let upper = command.to_ascii_uppercase();
    let ours = ["COPY FROM", "COPY TO", "EXPORT", "APPLY"];
    let known = crate::core::rule::Group::from_name(&upper).is_some() || ours.contains(&upper.as_str());
    if known || crate::core::function::pattern_of(command).is_some() {
        return Ok(());
    }
    let tag =
        std::ffi::CString::new(upper.as_str()).map_err(|_| Fault::bad_argument("a command contains no zero byte"))?;
    // Safe: compares with the server's static table.
    if unsafe { pg_sys::GetCommandTagEnum(tag.as_ptr()) } != pg_sys::CommandTag::CMDTAG_UNKNOWN {
        return Ok(());
    }
    Err(Fault::bad_argument(format!("\"{command}\" is neither a command tag nor a group of commands"))
        .hint("Groups: READ WRITE EXPORT UPKEEP DDL PARTITION PRIVILEGE ACCOUNT CONFIG AUDIT FUNCTION. A C function: FUNCTION symbol."))
}

#[pg_extern(sql = false)]
fn drop_rule(name: &str) {
    answer((|| {
        require_privilege("drop_rule")?;
        require_rule_approvals("drop_rule", name)?;
        let gone = own::run(|client| {
            own::execute(client, "DELETE FROM steward.rule WHERE name = $1 RETURNING 1", &[name.into()])
        })?;
        if gone == 0 {
            return Err(Fault::unknown(format!("there is no rule \"{name}\"")).hint("SELECT name FROM steward.rule;"));
        }
        changed("drop_rule", name)
    })())
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn set_tier_policy(
    tier: Option<pg_sys::Oid>,
    approvals: Option<i32>,
    witness: Option<bool>,
    review_within: Option<Interval>,
    second_factor: Option<bool>,
    idle_timeout: Option<Interval>,
    pre_image: Option<bool>,
    post: Option<&str>,
) {
    answer((|| {
        require_privilege("set_tier_policy")?;
        let tier = tier_from_enum(
            tier.ok_or_else(|| Fault::bad_argument("which tier?").hint("normal, important or critical"))?,
        )?;
        if idle_timeout.as_ref().is_some_and(|term| term.as_micros() < 0) {
            return Err(Fault::bad_argument("idle_timeout cannot be negative").hint("idle_timeout => '15 min'"));
        }
        if second_factor == Some(true) && post == Some("service") {
            return Err(Fault::bad_argument("the post service has no second factor")
                .detail("Nobody stands behind an application with an authenticator."));
        }
        if approvals.is_some_and(|approvals| !(0..=9).contains(&approvals)) {
            return Err(Fault::bad_argument("approvals are 0 to 9"));
        }
        let demands = || -> [DatumWithOid<'_>; 8] {
            let (tier, post) = (tier.name().into(), post.into());
            let (approvals, witness, review_within) = (approvals.into(), witness.into(), review_within.into());
            [tier, post, approvals, witness, review_within, pre_image.into(), second_factor.into(), idle_timeout.into()]
        };
        own::run(|client| {
            if let Some(post) = post
                && own::query(client, "SELECT 1 FROM steward.post WHERE name = $1", &[post.into()])?.is_empty()
            {
                return Err(
                    Fault::unknown(format!("there is no post \"{post}\"")).hint("SELECT name FROM steward.post;")
                );
            }
            own::execute(
                client,
                "INSERT INTO steward.tier_policy
                    (tier, post, approvals, witness, review_within, pre_image, second_factor, idle_timeout)
                 SELECT $1::steward.tier, coalesce($2, ''), coalesce($3, base.approvals), coalesce($4, base.witness),
                    coalesce($5, base.review_within), coalesce($6, base.pre_image), coalesce($7, base.second_factor),
                    CASE WHEN $8 IS NOT NULL THEN nullif($8, interval '0')
                        WHEN $2 = 'service' AND base.post = '' THEN NULL ELSE base.idle_timeout END
                 FROM steward.tier_policy base WHERE base.tier = $1::steward.tier AND base.post IN ('', coalesce($2, ''))
                 ORDER BY base.post DESC LIMIT 1",
                &demands(),
            )?;
            // For every post means for those with a row of their own too; service keeps no term and no factor.
            own::execute(
                client,
                "UPDATE steward.tier_policy SET approvals = coalesce($3, approvals), witness = coalesce($4, witness),
                    review_within = coalesce($5, review_within), pre_image = coalesce($6, pre_image),
                    second_factor = coalesce($7, second_factor) AND post <> 'service',
                    idle_timeout = CASE WHEN $8 IS NULL OR post = 'service' THEN idle_timeout ELSE nullif($8, interval '0') END
                 WHERE tier = $1::steward.tier AND post <> '' AND $2::text IS NULL",
                &demands(),
            )?;
            Ok(())
        })?;
        changed("set_tier_policy", tier.name())?;
        activation::recheck(second_factor == Some(true))
    })())
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn classify(
    script: &str,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(statement, String),
        name!(command, String),
        name!(tier, String),
        name!(rule, String),
        name!(relations, Vec<String>),
        name!(decision, String),
        name!(reason, String),
    ),
> {
    if !cache::at_home() {
        Fault::wrong_state("the policy lives in the home database")
            .hint(format!("\\connect {}", crate::settings::database()))
            .raise();
    }
    let steps = answer(dry_run::examine(script));
    TableIterator::new(steps.into_iter().map(|step| {
        let rows: Vec<String> = step
            .row_rules
            .iter()
            .map(|step| format!("{} rows or more: {} (\"{}\")", step.rows, step.tier.name(), step.rule))
            .collect();
        let reason = if rows.is_empty() { step.reason } else { format!("{}; {}", step.reason, rows.join(", ")) };
        (
            step.number,
            step.statement,
            step.command,
            step.tier.name().to_owned(),
            step.rule,
            step.relations,
            step.decision,
            reason,
        )
    }))
}

/// Called by the installation script: fails with 55000 and the missing line where the library is not preloaded.
#[pg_extern(sql = false)]
fn _require_preload() {
    if shared::get().is_none() {
        Fault::wrong_state("pg_steward must be loaded via shared_preload_libraries")
            .detail("Hooks and the sequencer exist only in a server that has preloaded the library.")
            .hint(preload::hint(&[]))
            .raise();
    }
}
