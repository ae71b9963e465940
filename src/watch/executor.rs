//! The executor hooks: a plan is decided before it starts, its rows are counted while it runs, its record is completed
//! when it ends.
//!
//! Hooks are plain frames with nothing to drop, so that errors of other code pass untouched (constraint name, SQLSTATE,
//! cursor position, CONTEXT): one guarded decision first, then the chained call.

use super::facts::{self, Deed};
use super::judge::{self, RelationLimit};
use super::standing_aside;
use super::statement::Source;
use super::{fan_out, hidden_detail, lone_call, out_of_scope, parallel, quiet, reading, row_trigger, rows, tripwire};
use crate::audit::{buffer, outcome};
use crate::backend::backend_local;
use crate::break_glass::window;
use crate::cache;
use crate::core::gate::Decision;
use crate::core::rule::{ColumnSet, Command, Group};
use crate::core::tier::Tier;
use crate::error::{Fault, answer};
use crate::login::idle;
use crate::operation::armed;
use crate::settings::{self, Mode};
use crate::{export, image, raw, shared};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};

static mut NEXT_START: pg_sys::ExecutorStart_hook_type = None;
static mut NEXT_RUN: pg_sys::ExecutorRun_hook_type = None;
static mut NEXT_FINISH: pg_sys::ExecutorFinish_hook_type = None;
static mut NEXT_END: pg_sys::ExecutorEnd_hook_type = None;

// The raw core functions: pgrx's own declarations wrap them in a guard that would flatten passing errors.
unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorStart"]
    fn core_start(query: *mut pg_sys::QueryDesc, flags: c_int);
    #[link_name = "standard_ExecutorRun"]
    fn core_run(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64, once: bool);
    #[link_name = "standard_ExecutorFinish"]
    fn core_finish(query: *mut pg_sys::QueryDesc);
    #[link_name = "standard_ExecutorEnd"]
    fn core_end(query: *mut pg_sys::QueryDesc);
    #[link_name = "geterrcode"]
    fn core_geterrcode() -> c_int;
    #[link_name = "AcceptInvalidationMessages"]
    fn core_accept_invalidation_messages();
}

/// A running statement whose tier may still rise with its rows.
struct Limited {
    query: *mut pg_sys::QueryDesc,
    subtransaction: u32,
    limits: Vec<RelationLimit>,
}

backend_local! {
    static LIMITED: RefCell<Vec<Limited>> = const { RefCell::new(Vec::new()) };
}

pub fn init() {
    // Safe: plain hook pointers, set while the postmaster preloads and kept for the chain.
    unsafe {
        NEXT_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(start);
        NEXT_RUN = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(run);
        NEXT_FINISH = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(finish);
        NEXT_END = pg_sys::ExecutorEnd_hook;
        pg_sys::ExecutorEnd_hook = Some(end);
    }
}

unsafe extern "C-unwind" fn start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        if armed::is_armed() {
            super::armed::query_starts(query);
        }
        let decided = parallel::is_worker() && parallel::starts(query);
        let passes = decided || passes(query);
        if passes && !is_minded(query, flags) {
            return match NEXT_START {
                Some(next) => next(query, flags),
                None => core_start(query, flags),
            };
        }
        let covered = armed::enter(query as usize);
        let writes = !passes && decide(query, flags);
        if !decided && tripwire::may_concern(query, flags) {
            tripwire::check(query, flags);
        }
        hidden_detail::writes(query);
        let mut context = listen();
        if is_listened_to() {
            pg_sys::error_context_stack = &raw mut context;
        }
        match NEXT_START {
            Some(next) => next(query, flags),
            None => core_start(query, flags),
        }
        if decided {
            parallel::started();
        }
        if let Some(kept) = quiet::announced(query) {
            quiet::silence(query, kept);
        }
        pg_sys::error_context_stack = context.previous;
        if writes || row_trigger::is_idle(query) {
            begin_writing(query);
        }
        if reading::counts(query) {
            reading::started(query);
        }
        if covered {
            armed::leave();
        }
    }
}

unsafe extern "C-unwind" fn run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    once: bool,
) {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        if count != 0 {
            lone_call::runs_in_portions(query);
        }
        if !is_under_way(query) && cache::if_fresh(cache::Policy::stopped) == Some(false) {
            return match NEXT_RUN {
                Some(next) => next(query, direction, count, once),
                None => core_run(query, direction, count, once),
            };
        }
        let covered = armed::enter(query as usize);
        let count = if armed::is_entered() { super::armed::most_rows(query, count, covered) } else { count };
        // A cursor or portal goes on without a new start.
        if cache::if_fresh(cache::Policy::stopped).unwrap_or(false) {
            stop(query);
        }
        if window::was_ever_opened() {
            refuse_outlived(query);
        }
        if buffer::something_runs() && idle::was_interrupted() && buffer::runs(query as usize) {
            // Most often the client's next message, which says to run what it has just bound.
            if cache::if_fresh(|policy| idle::is_within(policy.shortest_idle)).unwrap_or(false) {
                idle::active();
            } else {
                resume(query);
            }
        }
        let mut context = listen();
        context.arg = query.cast();
        if is_listened_to() {
            pg_sys::error_context_stack = &raw mut context;
        }
        let flags = || (*(*query).estate).es_top_eflags;
        if tripwire::is_for_a_role(query) && settings::deny_role_switch() && tripwire::may_concern(query, flags()) {
            tripwire::check_on(query);
        }
        let counts = reading::counts(query);
        if counts {
            reading::begins(query);
            // What has run before goes on without workers, whose rows would not be counted.
            (*query).already_executed = true;
        }
        // Minor releases before 15.11 ask instead whether it may run again.
        let once = once && !counts;
        match NEXT_RUN {
            Some(next) => next(query, direction, count, once),
            None => core_run(query, direction, count, once),
        }
        pg_sys::error_context_stack = context.previous;
        if buffer::something_runs() {
            buffer::ran(query as usize, returned(query));
            if fan_out::is_counted(query) {
                gathered(query);
            }
        }
        if counts {
            reading::rests();
        }
        if out_of_scope::is_pending() {
            out_of_scope::ran(query);
        }
        if covered {
            super::armed::query_ran(query);
            armed::leave();
        }
    }
}

unsafe extern "C-unwind" fn finish(query: *mut pg_sys::QueryDesc) {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        if !is_under_way(query) {
            return match NEXT_FINISH {
                Some(next) => next(query),
                None => core_finish(query),
            };
        }
        let covered = armed::enter(query as usize);
        let mut context = listen();
        if is_listened_to() {
            pg_sys::error_context_stack = &raw mut context;
        }
        match NEXT_FINISH {
            Some(next) => next(query),
            None => core_finish(query),
        }
        pg_sys::error_context_stack = context.previous;
        if is_limited(query) {
            count_finally(query);
        }
        if covered {
            super::armed::query_finished(query);
            armed::leave();
        }
    }
}

unsafe extern "C-unwind" fn end(query: *mut pg_sys::QueryDesc) {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        armed::ended(query as usize);
        if buffer::something_runs() {
            complete(query);
        }
        match NEXT_END {
            Some(next) => next(query),
            None => core_end(query),
        }
    }
}

/// Whether errors of what runs now are to be heard of.
fn is_listened_to() -> bool {
    buffer::something_runs() || hidden_detail::is_due()
}

/// An error context entry that remembers the SQLSTATE (swallowed errors never reach a log, but they pass here) and takes
/// values out of the message that the role does not see clear. It lives in the hook's frame; PostgreSQL resets the stack
/// itself when an ERROR jumps over it.
pub fn listen() -> pg_sys::ErrorContextCallback {
    pg_sys::ErrorContextCallback {
        // Safe: reads a backend-local pointer.
        previous: unsafe { pg_sys::error_context_stack },
        callback: Some(on_error),
        arg: std::ptr::null_mut(),
    }
}

/// So far: a cursor may stay open to the end of a transaction that is rolled back.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn gathered(query: *mut pg_sys::QueryDesc) {
    // Safe: the query has just run and is not ended.
    if let Some(rows) = unsafe { fan_out::rows_read(query) } {
        buffer::has_read(query as usize, rows);
    }
}

/// Rows that the run which is under way, or was the last, has returned or changed: each run counts anew.
unsafe fn returned(query: *mut pg_sys::QueryDesc) -> i64 {
    // Safe: a query that was started and is not ended has its executor state.
    unsafe { if (*query).estate.is_null() { 0 } else { (*(*query).estate).es_processed as i64 } }
}

unsafe extern "C-unwind" fn on_error(argument: *mut c_void) {
    // Safe: an error context callback runs while an error is on PostgreSQL's stack.
    let code = unsafe { core_geterrcode() };
    // Safe: as above.
    unsafe { hidden_detail::hide(code) };
    // Classes 00, 01 and 02 are no errors: notices pass here too.
    if code & 0xfff > 2 << 6 {
        outcome::notice_error(code);
        if !argument.is_null() {
            // Safe: the query in whose run the error comes up; its frame is below this one.
            buffer::broke_off(argument as usize, unsafe { returned(argument.cast()) });
        }
    }
}

/// The exit of statements that are nobody's business: nothing in the plan is watched. A plain frame that holds nothing
/// to drop, since receiving invalidations may raise; anything unusual is left to `decide`.
unsafe fn passes(query: *mut pg_sys::QueryDesc) -> bool {
    if standing_aside() {
        return true;
    }
    // Safe: as every statement does before it looks into a cache; ExecutorStart gets a complete QueryDesc.
    unsafe {
        core_accept_invalidation_messages();
        cache::if_fresh(|policy| !policy.stopped() && !facts::concerns((*query).plannedstmt, policy)).unwrap_or(false)
    }
}

/// Whether anything of ours goes on while a query runs. Where nothing does, hooks hand on without a frame of their own.
unsafe fn is_under_way(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: a running query has its plan.
    unsafe {
        armed::is_armed()
            || buffer::something_runs()
            || reading::counts_any()
            || out_of_scope::is_pending()
            || hidden_detail::is_due()
            || tripwire::is_for_a_role(query)
    }
}

/// Whether more is to be done for a plan than was decided.
unsafe fn is_minded(query: *mut pg_sys::QueryDesc, flags: c_int) -> bool {
    // Safe: ExecutorStart gets a complete QueryDesc.
    unsafe {
        is_under_way(query)
            || parallel::is_worker()
            || tripwire::may_concern(query, flags)
            || hidden_detail::concerns(query)
            || quiet::is_announced()
            || shared::mode() == Mode::Off
    }
}

/// Whether a query runs as those of the server for foreign keys do: into SPI, and with no triggers fired at its end. No
/// procedural language can ask for that; a function in SQL may leave triggers alone, but does not answer to SPI. Only a
/// library in C can do the same, and it needs nobody's leave for anything. The text is for the caller to see.
pub unsafe fn asks_for_key(query: *mut pg_sys::QueryDesc, flags: c_int) -> bool {
    // Safe: ExecutorStart gets a complete QueryDesc.
    flags & pg_sys::EXEC_FLAG_SKIP_TRIGGERS as c_int != 0
        && unsafe { (*(*query).dest).mydest } == pg_sys::CommandDest::DestSPI
}

/// Decides a plan. True: it writes what is protected.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn decide(query: *mut pg_sys::QueryDesc, flags: c_int) -> bool {
    // Outside home the policy is empty, and only the catalog concerns the cluster.
    let policy = cache::policy_as_heard();
    // Safe: ExecutorStart gets a complete QueryDesc.
    unsafe {
        let plan = (*query).plannedstmt;
        if policy.stopped() {
            let source = Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len);
            judge::refuse_stopped(&policy, facts::operation_tag(plan), &source);
        }
        let destination = (*(*query).dest).mydest;
        let copies_out = destination == pg_sys::CommandDest::DestCopyOut;
        let kept = [pg_sys::CommandDest::DestIntoRel, pg_sys::CommandDest::DestTransientRel].contains(&destination);
        let exports = copies_out || kept || super::utility::keeps_rows();
        let source = Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len);
        let mut facts = facts::of_plan(plan, &policy, exports);
        let tag = if copies_out { "COPY" } else { facts::operation_tag(plan) };
        if let Some((kind, relation)) = facts.own {
            judge::guard_own(kind, &super::utility::relation_name(relation), tag, &source);
        }
        if facts.deeds.is_empty() {
            return false;
        }
        if !cache::at_home() {
            super::utility::elsewhere(&facts.deeds, tag, &source);
            return false;
        }
        if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int != 0 {
            explain(&mut facts.deeds);
        }
        if !facts.writes && asks_for_key(query, flags) && source.is_key_check() && facts::is_owners_own(&facts.deeds) {
            return false;
        }
        let judgement = judge::judge_now(&policy, &facts.deeds);
        judge::enforce(&policy, &facts.deeds, &judgement, tag, &source);
        if policy.has_scopes() {
            out_of_scope::notice(query, &policy, &source);
        }
        let allowance = export::allowance(&policy);
        if let (true, Some(allowance)) = (copies_out, &allowance) {
            reading::admit_copy(allowance, &judge::relations(&facts.deeds).join(", "), &source);
        }
        if let Some(export) = allowance.as_ref().and_then(|allowance| allowance.export.as_ref()) {
            reading::admit_columns(plan, &policy, export, &source);
        }
        let mut draft = crate::session::draft(&policy, judge::what(&policy, tag, &facts.deeds, &judgement, &source));
        draft.details = tripwire::compared(plan);
        buffer::begin(draft, query as usize, !source.top_level, !facts.writes);
        fan_out::prepare(query);
        if let Some(allowance) = allowance.filter(|_| flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int == 0) {
            reading::remember(query, allowance);
        }
        if !facts.writes || flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int != 0 {
            return false;
        }
        let written = || facts.deeds.iter().filter(|deed| deed.command.group.changes());
        answer(image::require_triggers(written().filter_map(|deed| deed.relation.as_ref())));
        written().for_each(|deed| deed.relation.iter().for_each(|member| rows::touching(&member.root)));
        remember_limits(query, judgement.limits);
        true
    }
}

/// What was begun in time does not go on for somebody whose time is over.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn stop(query: *mut pg_sys::QueryDesc) {
    if standing_aside() {
        return;
    }
    // Safe: the query is running.
    unsafe {
        let plan = (*query).plannedstmt;
        let source = Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len);
        judge::refuse_stopped(&cache::policy(), facts::operation_tag(plan), &source);
    }
}

/// A cursor or portal that was begun in an emergency window is not read on after it.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn refuse_outlived(query: *mut pg_sys::QueryDesc) {
    // Safe: the query is running; the portal, if there is one, is that of the client's statement or of a cursor.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if standing_aside()
            || portal.is_null()
            || (*portal).queryDesc != query
            || !window::outlives((*portal).creation_time)
        {
            return;
        }
        let plan = (*query).plannedstmt;
        let source = Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len);
        judge::deny(
            judge::record(facts::operation_tag(plan), Vec::new(), Tier::Critical, "break_glass", &source),
            Fault::refused("statement refused: it was begun in an emergency window that is over")
                .detail("A cursor or portal is not read on after the window it was begun in.")
                .hint("Begin it again."),
        )
    }
}

/// EXPLAIN without ANALYZE runs nothing.
fn explain(deeds: &mut [Deed]) {
    for deed in deeds {
        deed.command = Command { tag: "EXPLAIN", group: Group::Read };
        deed.columns = ColumnSet::default();
    }
}

unsafe fn remember_limits(query: *mut pg_sys::QueryDesc, limits: Vec<RelationLimit>) {
    if limits.is_empty() {
        return;
    }
    // Safe: plain getter.
    let subtransaction = unsafe { raw::GetCurrentSubTransactionId() };
    LIMITED.with_borrow_mut(|limited| limited.push(Limited { query, subtransaction, limits }));
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn begin_writing(query: *mut pg_sys::QueryDesc) {
    // Safe: ExecutorStart has built the plan state.
    unsafe {
        row_trigger::spare(query, &cache::policy_as_heard());
        if is_limited(query) {
            rows::install(query, rows_due(query));
        }
    }
}

fn is_limited(query: *mut pg_sys::QueryDesc) -> bool {
    LIMITED.with_borrow(|limited| limited.iter().any(|limited| limited.query == query))
}

/// A statement on record goes on in another message of the client: its session may have been idle.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn resume(query: *mut pg_sys::QueryDesc) {
    if let Some(tier) = buffer::tier(query as usize) {
        // Safe: the query is running.
        let (tag, source) = unsafe {
            let plan = (*query).plannedstmt;
            (facts::operation_tag(plan), Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len))
        };
        judge::resume(&cache::policy(), tier, tag, &source);
    }
}

/// Counts exactly: refuses (or raises the recorded tier) where a limit is reached, and says how many rows may pass
/// before the next exact count.
pub unsafe fn rows_due(query: *mut pg_sys::QueryDesc) -> u64 {
    loop {
        let limit = match next_limit(query) {
            Ok(left) => return left,
            Err(limit) => limit,
        };
        LIMITED.with_borrow_mut(|all| {
            all.iter_mut().filter(|limited| limited.query == query).for_each(|limited| {
                limited.limits.retain(|other| {
                    other.rows != limit.rows || other.root.oid != limit.root.oid || other.approvals > limit.approvals
                });
            });
        });
        // Safe: the query is running.
        unsafe { limit_reached(query, &limit, rows::touched(&limit.root)) };
    }
}

/// How many rows may pass before the next limit of a query, or a limit that is reached.
fn next_limit(query: *mut pg_sys::QueryDesc) -> Result<u64, RelationLimit> {
    LIMITED.with_borrow(|limited| {
        let limits = limited.iter().rev().find(|limited| limited.query == query).map_or(&[][..], |own| &own.limits);
        limits.iter().try_fold(u64::MAX, |left, limit| match limit.rows.checked_sub(rows::touched(&limit.root)) {
            Some(more @ 1..) => Ok(left.min(more)),
            _ => Err(limit.clone()),
        })
    })
}

unsafe fn limit_reached(query: *mut pg_sys::QueryDesc, limit: &RelationLimit, touched: u64) {
    // Safe: as above.
    let source = unsafe {
        let plan = (*query).plannedstmt;
        Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len)
    };
    let policy = cache::policy();
    let decision = judge::ask_gate(&policy, limit.question());
    let refused = !matches!(decision, Decision::Allow | Decision::Tolerate);
    if refused {
        buffer::forget(query as usize);
    } else {
        buffer::raise_tier(query as usize, limit.tier, &limit.rule);
    }
    reached(&policy, limit, touched, &source);
}

/// A threshold was reached: refuses or tolerates, with the counted rows in message and record.
fn reached(policy: &cache::Policy, limit: &RelationLimit, touched: u64, source: &Source<'_>) {
    let RelationLimit { root, tag, rows, tier, rule, .. } = limit;
    let why = || {
        let (name, tier) = (&root.name, tier.name());
        format!("{tag} on {name} reached {touched} rows; rule \"{rule}\" makes {rows} rows or more {tier}.")
    };
    judge::carry_out(policy, limit.question(), why, source, || {
        let mut record = judge::record(tag, vec![root.name.clone()], *tier, rule, source);
        record.rows = Some(touched as i64);
        record
    });
}

/// The last exact count: after the AFTER triggers and the data-modifying CTEs have run.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn count_finally(query: *mut pg_sys::QueryDesc) {
    // Safe: ExecutorFinish has run, ExecutorEnd has not.
    unsafe { rows_due(query) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn complete(query: *mut pg_sys::QueryDesc) {
    if buffer::runs(query as usize) {
        buffer::finish_as_counted(query as usize);
    }
    LIMITED.with_borrow_mut(|limited| limited.retain(|limited| limited.query != query));
    rows::query_ended(query);
    reading::query_ended(query);
    out_of_scope::query_ended(query);
}

pub fn transaction_ended() {
    out_of_scope::transaction_ended();
    LIMITED.with_borrow_mut(Vec::clear);
}

pub fn subtransaction_aborted(subtransaction: u32) {
    LIMITED.with_borrow_mut(|limited| limited.retain(|limited| limited.subtransaction < subtransaction));
}

/// For COPY FROM, which has no executor: the limits of a tree against its counted rows.
pub fn check_limits(limits: &[RelationLimit], source: &Source<'_>) -> Option<(Tier, String)> {
    let policy = cache::policy();
    let mut raised = None;
    for limit in limits {
        let touched = rows::touched(&limit.root);
        if touched >= limit.rows {
            reached(&policy, limit, touched, source);
            raised = Some((limit.tier, limit.rule.clone()));
        }
    }
    raised
}
