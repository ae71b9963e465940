//! Judges a script without running it: what `classify` shows and what `request` files. Planning evaluates what is constant,
//! so whose script it is and who looks are no matter: it is planned as nobody (`borrowed`).

use super::facts::{self, Deed};
use super::granted::{self, Given};
use super::inner_query::{inner_query, is_opaque, is_plannable, selected_into};
use super::judge::{self, Judgement};
use super::named_rule::{self, Named};
use super::utility_facts::of_utility;
use super::utility_names::text;
use super::{borrowed, called, exported, function};
use super::{list, utility};
use crate::cache;
use crate::core::gate::Decision;
use crate::core::rule::{ColumnSet, Group};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, NodeTag};
use pgrx::prelude::*;
use std::ffi::{CStr, CString};

/// One statement of a script.
#[derive(Clone, Debug)]
pub struct Step {
    /// From 1.
    pub number: i32,
    /// Its exact bytes in the script.
    pub statement: String,
    pub command: String,
    pub tier: Tier,
    pub rule: String,
    pub relations: Vec<String>,
    /// allow, refuse, or unknown when it cannot be analysed yet.
    pub decision: String,
    pub reason: String,
    /// Approvals that the rules demand beside those of the tier.
    pub approvals: u32,
    /// More than a look or upkeep.
    pub changes: bool,
    /// From how many rows on which tier, by which rule, and the approvals it demands.
    pub row_rules: Vec<RowRule>,
    /// Every rule that matches, from however many rows on.
    pub rules: Vec<Named>,
    /// What it runs cannot be seen from here: DO, CALL, a function that is not built in.
    pub opaque: bool,
    pub returns_rows: bool,
    /// What it gives to roles.
    pub given: Vec<Given>,
    /// And nothing else beside that.
    pub gives_alone: bool,
    /// It gives that under the rules for PRIVILEGE.
    pub privileged: bool,
    /// It changes what scopes compile to: policies of tables.
    pub scopes: bool,
    /// It erases images of a person's data.
    pub erases: bool,
    pub utility: bool,
    /// Why it cannot run inside `steward.execute`, if it cannot.
    pub runnable: Result<(), String>,
    /// Why it cannot be a statement of an armed session, if it cannot.
    pub armable: Result<(), String>,
    /// COPY FROM STDIN: its rows are not in the text.
    pub loads_data: bool,
    /// Table and column of what it reads of protected tables.
    pub reads: Vec<(String, String)>,
}

impl Step {
    /// DO, CALL and the like: it only runs something, and what that is cannot be seen.
    pub fn is_block(&self) -> bool {
        self.opaque && self.utility
    }
}

/// What a step becomes from so many rows on.
#[derive(Clone, Debug)]
pub struct RowRule {
    pub rows: u64,
    pub tier: Tier,
    pub rule: String,
    pub approvals: u32,
}

/// Parses and judges every statement; a syntax error passes through with its cursor position.
pub fn examine(script: &str) -> Outcome<Vec<Step>> {
    let text = CString::new(script).map_err(|_| Fault::bad_argument("a script contains no zero byte"))?;
    // Safe: the raw parser works on its own copy; its nodes live in the current memory context.
    unsafe {
        let parsed: Vec<*mut pg_sys::RawStmt> = list(pg_sys::pg_parse_query(text.as_ptr())).collect();
        let mut steps = Vec::with_capacity(parsed.len());
        for (index, raw) in parsed.into_iter().enumerate() {
            let statement = slice(script, (*raw).stmt_location, (*raw).stmt_len);
            steps.push(step(index as i32 + 1, statement, raw, &text));
        }
        Ok(steps)
    }
}

fn slice(script: &str, location: i32, length: i32) -> String {
    let from = script.get(location.max(0) as usize..).unwrap_or_default();
    let text = if length > 0 { from.get(..length as usize).unwrap_or(from) } else { from };
    text.trim().to_owned()
}

unsafe fn step(number: i32, statement: String, raw: *mut pg_sys::RawStmt, script: &CStr) -> Step {
    // Safe: nodes of the parser that is still alive.
    unsafe {
        let node = (*raw).stmt;
        let command = utility::tag_of(node).to_owned();
        let (runnable, armable, loads_data) = (runnable(node), armable(node), loads_data(node));
        let policy = cache::policy();
        let blank = Step {
            number,
            statement,
            command,
            tier: Tier::Normal,
            rule: "none".to_owned(),
            relations: Vec::new(),
            decision: "allow".to_owned(),
            reason: "touches nothing that is protected".to_owned(),
            approvals: 0,
            changes: false,
            row_rules: Vec::new(),
            rules: Vec::new(),
            opaque: is_opaque(node),
            returns_rows: (*node).type_ == NodeTag::T_SelectStmt && selected_into(node.cast()).is_none(),
            given: Vec::new(),
            gives_alone: false,
            privileged: false,
            scopes: false,
            erases: false,
            utility: !is_plannable(node),
            runnable,
            armable,
            loads_data,
            reads: Vec::new(),
        };
        let inner = inner_query(raw);
        if is_plannable(node) || inner.is_some() {
            let exports = inner.as_ref().is_some_and(|inner| inner.kept);
            let mut query = inner.map_or(*raw, |inner| inner.query);
            return match plan(&mut query, script) {
                Ok((planned, functions)) => {
                    let mut facts = facts::of_plan(planned, &policy, exports);
                    facts.deeds.extend(functions);
                    facts.deeds.extend(own_commands(planned, &policy));
                    let calls = |tags: &[&str]| facts.deeds.iter().any(|deed| tags.contains(&deed.command.tag));
                    let (scopes, erases) = (calls(&SCOPES), calls(&["ERASE IMAGES"]));
                    let opaque = calls_unknown_functions(planned);
                    let reads = exported::columns_read(planned, &policy);
                    match facts.own {
                        Some((_, relation)) => own(blank, &utility::relation_name(relation)),
                        None => judged(Step { opaque, scopes, erases, reads, ..blank }, &policy, &facts.deeds),
                    }
                }
                Err(message) => Step {
                    tier: Tier::Critical,
                    rule: "unknown".to_owned(),
                    decision: "unknown".to_owned(),
                    reason: format!("cannot be analysed before it runs: {message}"),
                    ..blank
                },
            };
        }
        let facts = of_utility(node, &policy);
        let given = granted::of(node);
        let privileged = !given.is_empty() && facts.deeds.iter().any(|deed| deed.command.group == Group::Privilege);
        let gives_alone = !given.is_empty() && granted::gives_alone(node);
        let blank = Step { given, gives_alone, privileged, ..blank };
        match facts.own {
            Some((_, name)) => own(blank, &name),
            None => judged(blank, &policy, &facts.deeds),
        }
    }
}

fn own(blank: Step, name: &str) -> Step {
    Step {
        tier: Tier::Critical,
        rule: "audit".to_owned(),
        relations: vec![name.to_owned()],
        decision: "refuse".to_owned(),
        reason: format!("{name} belongs to pg_steward; no operation can cover it"),
        runnable: Err(format!("{name} is changed by the functions of schema steward only")),
        armable: Err(format!("{name} is changed by the functions of schema steward only")),
        ..blank
    }
}

fn judged(blank: Step, policy: &cache::Policy, deeds: &[Deed]) -> Step {
    if deeds.is_empty() {
        return blank;
    }
    let judgement = judge::judge(policy, deeds);
    let decision = judge::ask_gate(policy, judgement.question());
    let Judgement { tier, rule, limits, approvals, changes, .. } = judgement;
    let rules = named_rule::matching(policy, deeds);
    let most = rules.iter().map(|rule| rule.approvals).max().unwrap_or(0);
    let (decision, reason) = match decision {
        Decision::Allow => ("allow", format!("rule \"{rule}\" makes it {}", tier.name())),
        Decision::Tolerate => {
            ("allow", format!("rule \"{rule}\" makes it {}; the policy is not enforced now", tier.name()))
        }
        Decision::RefuseUncovered | Decision::RefuseBeyondCover(..) => {
            ("refuse", format!("rule \"{rule}\" makes it {}; it needs an approved operation", tier.name()))
        }
        Decision::RefuseFactor => {
            ("refuse", format!("rule \"{rule}\" makes it {}; it needs the second factor", tier.name()))
        }
        Decision::RefuseAlone => {
            ("refuse", format!("rule \"{rule}\" makes it {}; your post changes nothing alone", tier.name()))
        }
        Decision::RefuseIdle { .. } => {
            ("refuse", format!("rule \"{rule}\" makes it {}; this session was idle too long for it", tier.name()))
        }
    };
    Step {
        tier,
        rule: rule.to_owned(),
        relations: judge::relations(deeds),
        decision: decision.to_owned(),
        reason,
        approvals: approvals.min(most),
        changes,
        row_rules: limits
            .into_iter()
            .map(|limit| {
                let approvals = limit.approvals.min(most);
                RowRule { rows: limit.rows, tier: limit.tier, rule: limit.rule, approvals }
            })
            .collect(),
        rules,
        ..blank
    }
}

/// A plan, and the watched functions in it.
type Planned = (*mut pg_sys::PlannedStmt, Vec<Deed>);

/// Plans a statement in a subtransaction of its own: an object that an earlier step would create is no error here.
unsafe fn plan(raw: *mut pg_sys::RawStmt, script: &CStr) -> Result<Planned, String> {
    // Safe: subtransaction bracket as PL/pgSQL does it: memory context and resource owner are restored in both ways out.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let planned = PgTryBuilder::new(std::panic::AssertUnwindSafe(|| Ok(plan_first(raw, script))))
            .catch_others(|error| match error {
                CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                    Err(report.message().to_owned())
                }
                CaughtError::RustPanic { ereport, .. } => Err(ereport.message().to_owned()),
            })
            .execute();
        // Either way the look is undone: planning leaves nothing behind.
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        planned
    }
}

unsafe fn plan_first(raw: *mut pg_sys::RawStmt, script: &CStr) -> Planned {
    // Safe: analysis and planning of a parsed statement with an active snapshot.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let queries =
            pg_sys::pg_analyze_and_rewrite_fixedparams(raw, script.as_ptr(), std::ptr::null(), 0, std::ptr::null_mut());
        // Before planning, which may fold calls away and changes the queries it is given.
        let functions = list::<pg_sys::Query>(queries).flat_map(|query| called::functions(query));
        let functions: Vec<Deed> = functions.filter_map(function::foreseen).collect();
        let mut plans = list::<pg_sys::Query>(queries)
            .filter(|query| (**query).commandType != pg_sys::CmdType::CMD_UTILITY)
            .map(|query| {
                let options = pg_sys::CURSOR_OPT_PARALLEL_OK as i32;
                borrowed::examining(|| pg_sys::pg_plan_query(query, script.as_ptr(), options, std::ptr::null_mut()))
            })
            .collect::<Vec<_>>()
            .into_iter();
        let first = plans.next();
        pg_sys::PopActiveSnapshot();
        match first {
            // A rewrite rule that adds statements of its own: each is decided when it runs; the first speaks here.
            Some(plan) => (plan, functions),
            None => Fault::unsupported("the statement is rewritten to nothing").raise(),
        }
    }
}

/// Whether a plan depends on functions that are not built in: what they run is decided when they run.
unsafe fn calls_unknown_functions(plan: *mut pg_sys::PlannedStmt) -> bool {
    // Safe: invalidation items of a finished plan: one for each user-defined function it contains.
    unsafe {
        list::<pg_sys::PlanInvalItem>((*plan).invalItems)
            .any(|item| (*item).cacheId == pg_sys::SysCacheIdentifier::PROCOID as i32)
    }
}

/// Commands of ours that write policies of tables.
const SCOPES: [&str; 3] = ["SET SCOPE", "REMOVE SCOPE", "SET ATTRIBUTE"];

/// Calls of our own functions that are commands under the rules.
unsafe fn own_commands(plan: *mut pg_sys::PlannedStmt, policy: &cache::Policy) -> Vec<Deed> {
    // Safe: as above; such an item holds the hash of the function's key in its cache.
    let commands = unsafe {
        list::<pg_sys::PlanInvalItem>((*plan).invalItems)
            .filter(|item| (**item).cacheId == pg_sys::SysCacheIdentifier::PROCOID as i32)
            .filter_map(|item| policy.command_of((*item).hashValue))
    };
    commands.map(|command| Deed { command, relation: None, columns: ColumnSet::default() }).collect()
}

/// Why a statement cannot run inside a function, in the words of a DETAIL.
unsafe fn runnable(node: *mut pg_sys::Node) -> Result<(), String> {
    use NodeTag::*;
    // Safe: casts follow the tags.
    let reason = unsafe {
        match (*node).type_ {
            T_TransactionStmt => "transaction control belongs to steward.execute and steward.arm",
            T_VacuumStmt if (*node.cast::<pg_sys::VacuumStmt>()).is_vacuumcmd => "VACUUM cannot run inside a function",
            T_AlterSystemStmt => "ALTER SYSTEM cannot run inside a function",
            T_CreatedbStmt | T_DropdbStmt => "CREATE and DROP DATABASE cannot run inside a function",
            T_CreateTableSpaceStmt | T_DropTableSpaceStmt => {
                "tablespaces cannot be created or dropped inside a function"
            }
            T_IndexStmt if (*node.cast::<pg_sys::IndexStmt>()).concurrent => {
                "CREATE INDEX CONCURRENTLY cannot run inside a function"
            }
            T_DropStmt if (*node.cast::<pg_sys::DropStmt>()).concurrent => {
                "DROP INDEX CONCURRENTLY cannot run inside a function"
            }
            T_ReindexStmt if reindexes_concurrently(&*node.cast()) => {
                "REINDEX CONCURRENTLY cannot run inside a function"
            }
            T_AlterTableStmt if detaches_concurrently(&*node.cast()) => {
                "DETACH PARTITION CONCURRENTLY cannot run inside a function"
            }
            T_DeclareCursorStmt | T_FetchStmt | T_ClosePortalStmt => {
                "a cursor would be read by statements that nobody approved"
            }
            T_ClusterStmt if (*node.cast::<pg_sys::ClusterStmt>()).relation.is_null() => {
                "CLUSTER of all tables cannot run inside a function"
            }
            T_CopyStmt if (*node.cast::<pg_sys::CopyStmt>()).filename.is_null() => {
                "COPY to or from the client cannot run inside a function"
            }
            T_CreateSubscriptionStmt | T_DropSubscriptionStmt => {
                "subscriptions cannot be created or dropped inside a function"
            }
            T_PrepareStmt | T_ExecuteStmt | T_DeallocateStmt => {
                "prepared statements do not belong in a script: write the statement itself"
            }
            T_LoadStmt => "LOAD is not supported in an operation",
            _ => return Ok(()),
        }
    };
    Err(reason.to_owned())
}

/// Why the client cannot send a statement itself between `steward.arm` and `steward.disarm`, in the words of a DETAIL.
unsafe fn armable(node: *mut pg_sys::Node) -> Result<(), String> {
    use NodeTag::*;
    // Safe: casts follow the tags.
    let reason = unsafe {
        match (*node).type_ {
            T_TransactionStmt => "transaction control belongs to steward.execute and steward.arm",
            T_PrepareStmt | T_ExecuteStmt | T_DeallocateStmt => {
                "prepared statements do not belong in a script: write the statement itself"
            }
            T_LoadStmt => "LOAD is not supported in an operation",
            T_DeclareCursorStmt => "a cursor would be read by statements that nobody approved",
            tag if utility::sets_only_the_session(tag) => "what only concerns the session ends its being armed",
            T_CopyStmt if loads_data(node) && !(*node.cast::<pg_sys::CopyStmt>()).whereClause.is_null() => {
                "COPY FROM STDIN WHERE is not supported: its data is bound as a whole"
            }
            _ => return Ok(()),
        }
    };
    Err(reason.to_owned())
}

unsafe fn loads_data(node: *mut pg_sys::Node) -> bool {
    // Safe: cast after the tag.
    unsafe {
        (*node).type_ == NodeTag::T_CopyStmt && {
            let copy = &*node.cast::<pg_sys::CopyStmt>();
            copy.is_from && copy.filename.is_null() && !copy.is_program
        }
    }
}

unsafe fn detaches_concurrently(alter: &pg_sys::AlterTableStmt) -> bool {
    // Safe: commands of the parser.
    unsafe {
        list::<pg_sys::AlterTableCmd>(alter.cmds).any(|command| {
            (*command).subtype == pg_sys::AlterTableType::AT_DetachPartition
                && (*(*command).def.cast::<pg_sys::PartitionCmd>()).concurrent
        })
    }
}

unsafe fn reindexes_concurrently(reindex: &pg_sys::ReindexStmt) -> bool {
    // Safe: option nodes of the parser.
    unsafe { list::<pg_sys::DefElem>(reindex.params).any(|option| text((*option).defname) == "concurrently") }
}
