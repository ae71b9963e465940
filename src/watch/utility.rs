//! The utility hook: commands without a plan (DDL, privileges, COPY, configuration) are decided on their node.
//!
//! ROLLBACK is never looked at, no catalog is touched outside a live transaction, and transaction control takes no
//! snapshot, so that SET TRANSACTION ISOLATION LEVEL works as the first statement.

use super::executor::listen;
use super::facts::Deed;
use super::granted;
use super::judge::{self, RelationLimit};
use super::statement::Source;
use super::utility_facts::{UtilityFacts, of_utility};
use super::utility_names::{names_own_extension, text};
use super::{
    copy_data, copy_masked, executor, fixed_names, hidden_detail, inner_query, label_kept, mask_definition,
    mask_denied, reading, rows, standing_aside, transaction, tripwire,
};
use crate::audit::{buffer, home};
use crate::backend::backend_local;
use crate::break_glass::window;
use crate::check::own_object;
use crate::core::rule::Group;
use crate::core::tier::Tier;
use crate::error::{Fault, answer};
use crate::operation::grant_term::Coming;
use crate::operation::{armed, cover, role_form};
use crate::person::separation;
use crate::raw;
use crate::{cache, image, settings, shared};
use pgrx::pg_sys::{self, NodeTag};
use std::cell::RefCell;
use std::ffi::{CStr, c_char};

static mut NEXT: pg_sys::ProcessUtility_hook_type = None;

unsafe extern "C-unwind" {
    #[link_name = "standard_ProcessUtility"]
    fn core_process_utility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// A command that was allowed and has not completed.
#[derive(Default)]
struct Allowed {
    statement: usize,
    subtransaction: u32,
    /// The protected trees it names: what it does to them was allowed with it.
    roots: Vec<pg_sys::Oid>,
    /// COPY FROM: what its rows are checked against when it has loaded them.
    limits: Vec<RelationLimit>,
    /// What it runs leaves its rows in a table, though the plan does not say so.
    keeps_rows: bool,
    /// A command on roles: which duties met in one person before it.
    met: Option<Vec<String>>,
    /// What it gives to roles for a time.
    coming: Vec<Coming>,
    /// An update of the extension itself: the version that it was.
    updates: Option<String>,
    kind: Kind,
}

/// What the hooks on plans need to know of the command that runs them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// ALTER TABLE.
    Alters,
    /// EXPLAIN ANALYZE.
    Analyzes,
    #[default]
    Other,
}

backend_local! {
    /// Commands nest: a trigger of a COPY runs commands of its own, and some of them fail and are caught.
    static ALLOWED: RefCell<Vec<Allowed>> = const { RefCell::new(Vec::new()) };
}

pub fn init() {
    // Safe: plain hook pointers, set while the postmaster preloads and kept for the chain.
    unsafe {
        NEXT = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    source: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        let (statement, read_only_tree) = fixed_names::in_place_of(statement, read_only_tree, context);
        let armed = armed::is_armed() && super::armed::command_starts(statement, source, context);
        mask_denied::check_copy(statement, source);
        let statement = copy_masked::in_place_of(statement);
        let watched = decide(statement, source, context);
        let mut callback = listen();
        if buffer::something_runs() || hidden_detail::is_due() {
            pg_sys::error_context_stack = &raw mut callback;
        }
        match NEXT {
            _ if armed && copy_data::is_bound((*statement).utilityStmt) => {
                copy_data::load((*statement).utilityStmt.cast(), source, environment, completion)
            }
            Some(next) => {
                next(statement, source, read_only_tree, context, parameters, environment, destination, completion)
            }
            None => core_process_utility(
                statement,
                source,
                read_only_tree,
                context,
                parameters,
                environment,
                destination,
                completion,
            ),
        }
        pg_sys::error_context_stack = callback.previous;
        if watched {
            complete(statement, source, completion);
        }
        if armed {
            super::armed::command_ends(completion);
        }
    }
}

/// Decides a command. True: `complete` must hear of its end.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn decide(
    statement: *mut pg_sys::PlannedStmt,
    source: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
) -> bool {
    // Safe: ProcessUtility gets a complete utility statement.
    unsafe {
        let node = (*statement).utilityStmt;
        if (*node).type_ == NodeTag::T_TransactionStmt {
            transaction::notice(&*node.cast());
            return false;
        }
        // Sub-commands inherit what their statement was allowed; an aborted transaction only takes its ROLLBACK.
        if context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND
            || standing_aside()
            || !raw::IsTransactionState()
        {
            return false;
        }
        let source = Source::new(source, (*statement).stmt_location, (*statement).stmt_len);
        if (*node).type_ == NodeTag::T_FetchStmt {
            judge::fetch(&source);
            if settings::deny_role_switch() {
                let name = (*node.cast::<pg_sys::FetchStmt>()).portalname;
                tripwire::check_held(CStr::from_ptr(name), &source);
            }
        }
        if (*node).type_ == NodeTag::T_DeclareCursorStmt
            && (*node.cast::<pg_sys::DeclareCursorStmt>()).options & pg_sys::CURSOR_OPT_HOLD as i32 != 0
        {
            window::before_hold();
        }
        if sets_only_the_session((*node).type_) {
            forget_step_up(node);
            // A held cursor has its rows already.
            if (*node).type_ == NodeTag::T_FetchStmt && cache::if_fresh(cache::Policy::stopped).unwrap_or(false) {
                judge::refuse_stopped(&cache::policy(), "FETCH", &source);
            }
            return false;
        }
        guard_installation(node);
        let policy = cache::policy();
        hidden_detail::consider(&policy);
        let tag = tag_of(node);
        judge::refuse_stopped(&policy, tag, &source);
        mask_definition::check(node, &policy, tag, &source);
        let facts = of_utility(node, &policy);
        if !cache::at_home() {
            if facts.cluster_wide {
                elsewhere(&facts.deeds, tag, &source);
            }
            return false;
        }
        if let Some((kind, name)) = &facts.own {
            judge::guard_own(*kind, name, tag, &source);
        }
        if facts.deeds.is_empty() {
            allow(statement, Allowed { keeps_rows: facts.keeps_rows, ..Allowed::default() });
        } else {
            begin(statement, facts, &policy, tag, &source);
        }
        label_kept::before_command(node);
        true
    }
}

unsafe fn begin(
    statement: *mut pg_sys::PlannedStmt,
    facts: UtilityFacts,
    policy: &cache::Policy,
    tag: &'static str,
    source: &Source<'_>,
) {
    // Safe: the statement is complete.
    let given = unsafe { granted::of((*statement).utilityStmt) };
    let mut judgement = judge::judge_now(policy, &facts.deeds);
    judgement.reached &= !facts.beneath;
    // Safe: as above.
    judgement.gives = !given.is_empty() && unsafe { granted::gives_alone((*statement).utilityStmt) };
    judge::enforce(policy, &facts.deeds, &judgement, tag, source);
    if facts.unloads {
        reading::admit_table_copy(policy, &judge::relations(&facts.deeds).join(", "), source);
    }
    let privileged = facts.deeds.iter().any(|deed| deed.command.group == Group::Privilege);
    role_form::admit(&given, privileged, tag, source);
    let coming = role_form::coming(&given);
    let draft = crate::session::draft(policy, judge::what(policy, tag, &facts.deeds, &judgement, source));
    buffer::begin_utility(draft, statement as usize, !source.top_level);
    // Safe: cast after the tag.
    unsafe {
        if drops_own_extension((*statement).utilityStmt) {
            crate::activation::extension_dropped();
        }
    }
    // Safe: the statement is complete.
    unsafe {
        let members = facts.deeds.iter().filter_map(|deed| deed.relation.as_ref());
        answer(image::before_command((*statement).utilityStmt, members));
    }
    if facts.loads {
        let written = facts.deeds.iter().filter_map(|deed| deed.relation.as_ref());
        answer(image::require_triggers(written));
        let members = facts.deeds.iter().filter_map(|deed| deed.relation.as_ref());
        members.for_each(|member| rows::touching(&member.root));
    }
    let roots = facts.deeds.iter().filter_map(|deed| Some(deed.relation.as_ref()?.root.oid)).collect();
    let limits = if facts.loads { judgement.limits } else { Vec::new() };
    // Safe: reads the tag.
    let met = unsafe { joins_roles((*(*statement).utilityStmt).type_) }.then(separation::before_command).flatten();
    // Safe: the statement is complete.
    let updates =
        unsafe { updates_own_extension((*statement).utilityStmt) }.then(|| answer(own_object::before_update()));
    allow(
        statement,
        Allowed { roots, limits, met, coming, updates, keeps_rows: facts.keeps_rows, ..Allowed::default() },
    );
}

/// The command begins, also one that is nobody's business: what runs inside it is not its doing.
fn allow(statement: *mut pg_sys::PlannedStmt, allowed: Allowed) {
    // Safe: plain getter.
    let subtransaction = unsafe { raw::GetCurrentSubTransactionId() };
    // Safe: the statement is complete.
    let kind = unsafe { kind_of((*statement).utilityStmt) };
    let allowed = Allowed { statement: statement as usize, subtransaction, kind, ..allowed };
    transaction::concern();
    ALLOWED.with_borrow_mut(|all| all.push(allowed));
}

/// After the command: COPY FROM has loaded its rows, so now they are counted.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn complete(
    statement: *mut pg_sys::PlannedStmt,
    source: *const c_char,
    completion: *mut pg_sys::QueryCompletion,
) {
    // Safe: the statement has just run.
    let (node, source, rows) = unsafe {
        let rows = if completion.is_null() { 0 } else { (*completion).nprocessed };
        ((*statement).utilityStmt, Source::new(source, (*statement).stmt_location, (*statement).stmt_len), rows as i64)
    };
    let Allowed { roots, limits, met, coming, updates, .. } = ALLOWED.with_borrow_mut(|all| {
        let position = all.iter().rposition(|allowed| allowed.statement == statement as usize);
        position.map(|position| all.remove(position)).unwrap_or_default()
    });
    // Safe: reads the tag.
    if !roots.is_empty() && unsafe { joins_tables((*node).type_) } {
        answer(image::adopt(&roots));
        answer(crate::scope::command::adopt(&roots));
    }
    let added = met.map(|met| separation::after_command(&met)).unwrap_or_default();
    if !added.is_empty() {
        buffer::forget(statement as usize);
        // Safe: as above.
        separation::deny(&added, unsafe { tag_of(node) }, &source);
    }
    role_form::keep_terms(&coming);
    if let Some(former) = updates {
        answer(own_object::after_update(&former));
    }
    // Safe: the statement that has just run, in the memory of whoever sent it.
    let loads = unsafe { (*node).type_ == NodeTag::T_CopyStmt };
    if loads
        && !limits.is_empty()
        && let Some((tier, rule)) = executor::check_limits(&limits, &source)
    {
        buffer::raise_tier(statement as usize, tier, &rule);
    }
    buffer::finish(statement as usize, loads.then_some(rows));
}

/// Its own objects go before the extension itself, so this must be known when the command begins.
unsafe fn drops_own_extension(node: *mut pg_sys::Node) -> bool {
    // Safe: cast after the tag.
    unsafe { (*node).type_ == NodeTag::T_DropStmt && names_own_extension(&*node.cast()) }
}

/// Whether the innermost running command named this protected tree and was allowed: what the object access hook sees it
/// do there was decided with it.
pub fn allows(root: pg_sys::Oid) -> bool {
    ALLOWED.with_borrow(|all| all.last().is_some_and(|allowed| allowed.roots.contains(&root)))
}

/// Whether the innermost running command leaves the rows of the plans it runs in a table.
pub fn keeps_rows() -> bool {
    ALLOWED.with_borrow(|all| all.last().is_some_and(|allowed| allowed.keeps_rows))
}

unsafe fn kind_of(node: *mut pg_sys::Node) -> Kind {
    // Safe: cast after the tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_AlterTableStmt => Kind::Alters,
            NodeTag::T_ExplainStmt if inner_query::executes(&*node.cast()) => Kind::Analyzes,
            _ => Kind::Other,
        }
    }
}

/// What the innermost running command is.
pub fn innermost() -> Kind {
    ALLOWED.with_borrow(|all| all.last().map(|allowed| allowed.kind).unwrap_or_default())
}

/// A failed command leaves nothing behind. Called where a transaction ends or fails.
pub fn transaction_aborted() {
    ALLOWED.with_borrow_mut(Vec::clear);
}

pub fn subtransaction_aborted(subtransaction: u32) {
    ALLOWED.with_borrow_mut(|all| all.retain(|allowed| allowed.subtransaction < subtransaction));
}

/// Statements that change nothing but the session or its transaction: no catalog is looked at for them.
pub fn sets_only_the_session(tag: NodeTag) -> bool {
    use NodeTag::*;
    matches!(
        tag,
        T_VariableSetStmt
            | T_VariableShowStmt
            | T_DeallocateStmt
            | T_FetchStmt
            | T_ClosePortalStmt
            | T_ConstraintsSetStmt
            | T_DiscardStmt
    )
}

/// Commands that may make a table inherit from another.
fn joins_tables(tag: NodeTag) -> bool {
    matches!(tag, NodeTag::T_CreateStmt | NodeTag::T_AlterTableStmt | NodeTag::T_CreateSchemaStmt)
}

/// Commands that may put a login into a role.
fn joins_roles(tag: NodeTag) -> bool {
    matches!(tag, NodeTag::T_GrantRoleStmt | NodeTag::T_CreateRoleStmt | NodeTag::T_AlterRoleStmt)
}

/// DISCARD ALL hands a session over to somebody else: step-up and emergency end. It is always a command of its own, so it always passes here.
unsafe fn forget_step_up(node: *mut pg_sys::Node) {
    // Safe: cast after the tag.
    unsafe {
        if (*node).type_ == NodeTag::T_DiscardStmt
            && (*node.cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL
        {
            crate::break_glass::forget();
            crate::factor::step_up::forget();
        }
    }
}

unsafe fn updates_own_extension(node: *mut pg_sys::Node) -> bool {
    // Safe: cast after the tag.
    unsafe {
        (*node).type_ == NodeTag::T_AlterExtensionStmt
            && text((*node.cast::<pg_sys::AlterExtensionStmt>()).extname) == "pg_steward"
    }
}

/// The extension lives in the home database alone: an attacker's own database would have its own approvers.
unsafe fn guard_installation(node: *mut pg_sys::Node) {
    // Safe: cast after the tag.
    unsafe {
        if (*node).type_ != NodeTag::T_CreateExtensionStmt
            || text((*node.cast::<pg_sys::CreateExtensionStmt>()).extname) != "pg_steward"
        {
            return;
        }
    }
    let home = settings::database();
    if !cache::at_home() || home.starts_with("template") {
        Fault::wrong_state("extension pg_steward can only be created in the home database of the cluster")
            .detail(format!("steward.database is \"{home}\"."))
            .hint(format!("\\connect {home}"))
            .raise();
    }
}

/// A cluster-wide command in another database: once home is active it is refused here.
pub fn elsewhere(deeds: &[Deed], tag: &'static str, source: &Source<'_>) {
    let upkeep = deeds.iter().all(|deed| deed.command.group == Group::Upkeep);
    if upkeep || !shared::active() || shared::mode() != settings::Mode::Enforce || cover::current().is_some() {
        return;
    }
    let home = settings::database();
    let record = judge::record(tag, Vec::new(), Tier::Critical, "home_database", source);
    if let Some(fault) = home::no_policy() {
        judge::deny(record, fault);
    }
    judge::deny(
        record,
        Fault::refused("critical statement refused: roles, settings and files are governed in the home database")
            .detail(format!("{tag} belongs to the whole cluster; its rules live in database \"{home}\"."))
            .hint(format!("\\connect {home}")),
    )
}

/// The command tag of a utility node.
pub unsafe fn tag_of(node: *mut pg_sys::Node) -> &'static str {
    // Safe: tag names are static C strings of the server.
    unsafe { CStr::from_ptr(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(node))).to_str().unwrap_or("???") }
}

/// `schema.table` of a relation; its number if it is gone.
pub fn relation_name(relation: pg_sys::Oid) -> String {
    // Safe: syscache look-ups; results are copied.
    unsafe {
        let name = pg_sys::get_rel_name(relation);
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        if name.is_null() || schema.is_null() {
            return relation.to_u32().to_string();
        }
        format!("{}.{}", CStr::from_ptr(schema).to_string_lossy(), CStr::from_ptr(name).to_string_lossy())
    }
}
