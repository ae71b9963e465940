//! Rows really touched: counted by PostgreSQL itself, never estimated.
//!
//! The server keeps, for each table and subtransaction, how many rows this backend inserted, updated and deleted. Those
//! counters see every path to a row (CTEs, MERGE, COPY, triggers, foreign keys, routed partitions), leave out what
//! ON CONFLICT DO NOTHING skipped, and a rolled-back subtransaction takes its rows off again. Reading them costs nothing
//! until a limit may be near: between two exact counts a counting wrapper around ModifyTable's child only counts down.
//! A row that an UPDATE moves to another partition counts twice (it is deleted there and inserted here).

use crate::backend::backend_local;
use crate::cache::Root;
use crate::error::Fault;
use crate::raw;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::rc::Rc;

struct Counter {
    node: *mut pg_sys::PlanState,
    real: pg_sys::ExecProcNodeMtd,
    query: *mut pg_sys::QueryDesc,
    subtransaction: u32,
    countdown: u64,
}

/// Rows committed earlier inside the running top-level statement (a DO block that commits), by root.
struct Carried {
    statement: pg_sys::TimestampTz,
    rows: Vec<(pg_sys::Oid, u64)>,
}

backend_local! {
    static COUNTERS: RefCell<Vec<Counter>> = const { RefCell::new(Vec::new()) };
    static CARRIED: RefCell<Option<Carried>> = const { RefCell::new(None) };
    static TOUCHED: RefCell<Vec<Rc<Root>>> = const { RefCell::new(Vec::new()) };
}

/// Rows of a protected tree touched by this transaction and, before it, by the running top-level statement.
pub fn touched(root: &Root) -> u64 {
    let now: u64 = root.members.iter().map(|member| touched_alone(*member)).sum();
    now + carried(root.oid)
}

/// Rows of one table, partitions apart, touched by this transaction.
pub fn touched_alone(relation: pg_sys::Oid) -> u64 {
    // Safe: the entry and its chain of subtransactions belong to this backend and are only read.
    unsafe {
        if !pg_sys::pgstat_track_counts {
            Fault::refused("write on a protected table refused: rows cannot be counted")
                .detail("track_counts is off in this session, so nothing can tell how many rows a statement touches.")
                .hint("RESET track_counts;")
                .raise();
        }
        let entry = raw::find_tabstat_entry(relation);
        let mut level = if entry.is_null() { std::ptr::null_mut() } else { (*entry).trans };
        let mut rows = 0;
        while !level.is_null() {
            rows += (*level).tuples_inserted + (*level).tuples_updated + (*level).tuples_deleted;
            level = (*level).upper;
        }
        rows as u64
    }
}

/// Whether this transaction has truncated any table of a protected tree.
pub fn truncated(root: &Root) -> bool {
    root.members.iter().any(|member| truncated_alone(*member))
}

/// The same for one table.
pub fn truncated_alone(relation: pg_sys::Oid) -> bool {
    // Safe: as above.
    unsafe {
        let entry = raw::find_tabstat_entry(relation);
        let mut level = if entry.is_null() { std::ptr::null_mut() } else { (*entry).trans };
        while !level.is_null() {
            if (*level).truncdropped {
                return true;
            }
            level = (*level).upper;
        }
        false
    }
}

fn carried(root: pg_sys::Oid) -> u64 {
    // Safe: plain getter; a new message from the client begins a new top-level statement.
    let statement = unsafe { raw::GetCurrentStatementStartTimestamp() };
    CARRIED.with_borrow(|carried| match carried {
        Some(carried) if carried.statement == statement => {
            carried.rows.iter().find(|(oid, _)| *oid == root).map_or(0, |(_, rows)| *rows)
        }
        _ => 0,
    })
}

/// Remembers that this transaction writes a tree, for `carry`.
pub fn touching(root: &Rc<Root>) {
    TOUCHED.with_borrow_mut(|roots| {
        if !roots.iter().any(|known| known.oid == root.oid) {
            roots.push(root.clone());
        }
    });
}

/// PRE_COMMIT: inside a procedure or DO block that commits, its rows go on counting until the statement has ended.
pub fn carry() {
    // Safe: plain getters.
    let (inside, statement) =
        unsafe { (raw::SPI_inside_nonatomic_context(), raw::GetCurrentStatementStartTimestamp()) };
    let roots = TOUCHED.with_borrow(Clone::clone);
    if !inside || roots.is_empty() {
        return;
    }
    let totals: Vec<(pg_sys::Oid, u64)> = roots.iter().map(|root| (root.oid, touched(root))).collect();
    CARRIED.with_borrow_mut(|carried| {
        let mut rows = match carried.take() {
            Some(earlier) if earlier.statement == statement => earlier.rows,
            _ => Vec::new(),
        };
        rows.retain(|(oid, _)| !totals.iter().any(|(newer, _)| newer == oid));
        rows.extend(totals);
        *carried = Some(Carried { statement, rows });
    });
}

/// The transaction has ended: no counter may outlive its plan.
pub fn transaction_ended() {
    COUNTERS.with_borrow_mut(Vec::clear);
    TOUCHED.with_borrow_mut(Vec::clear);
}

pub fn subtransaction_aborted(subtransaction: u32) {
    COUNTERS.with_borrow_mut(|counters| counters.retain(|counter| counter.subtransaction < subtransaction));
}

/// Wraps the child of every ModifyTable of a started query, so that `executor::row_due` is asked again after
/// `countdown` rows.
pub unsafe fn install(query: *mut pg_sys::QueryDesc, countdown: u64) {
    // Safe: called right after ExecutorStart: the plan state tree is complete and belongs to this query.
    unsafe {
        for modify in modified(query) {
            wrap(query, modify, countdown);
        }
    }
}

/// Every ModifyTable of a started query.
pub unsafe fn modified(query: *mut pg_sys::QueryDesc) -> impl Iterator<Item = *mut pg_sys::PlanState> {
    // Safe: as above.
    unsafe {
        let main = (*query).planstate;
        let first = is_modify_table(main).then_some(main);
        let auxiliary = super::list::<pg_sys::PlanState>((*(*query).estate).es_auxmodifytables);
        first.into_iter().chain(auxiliary.filter(move |auxiliary| *auxiliary != main))
    }
}

unsafe fn is_modify_table(state: *mut pg_sys::PlanState) -> bool {
    // Safe: a plan state node starts with its tag.
    unsafe { !state.is_null() && (*state).type_ == pg_sys::NodeTag::T_ModifyTableState }
}

unsafe fn wrap(query: *mut pg_sys::QueryDesc, modify: *mut pg_sys::PlanState, countdown: u64) {
    // Safe: a ModifyTable always has one child; ExecSetExecProcNode is how the executor itself installs a node function.
    unsafe {
        let child = (*modify).lefttree;
        if child.is_null() || gives_one_row(child) {
            return;
        }
        let subtransaction = raw::GetCurrentSubTransactionId();
        let counter = Counter { node: child, real: (*child).ExecProcNodeReal, query, subtransaction, countdown };
        COUNTERS.with_borrow_mut(|counters| counters.push(counter));
        pg_sys::ExecSetExecProcNode(child, Some(counting));
    }
}

/// A Result without input gives one row: the count at the end of the statement is enough for it.
unsafe fn gives_one_row(child: *mut pg_sys::PlanState) -> bool {
    // Safe: as above.
    unsafe { (*child).type_ == pg_sys::NodeTag::T_ResultState && (*child).lefttree.is_null() }
}

/// Stands in for a child node's own function. A plain frame: nothing to drop, so an ERROR may cross it.
unsafe extern "C-unwind" fn counting(node: *mut pg_sys::PlanState) -> *mut pg_sys::TupleTableSlot {
    unsafe {
        let real = match pass(node) {
            Some(real) => Some(real),
            None => count_down(node),
        };
        match real {
            Some(real) => real(node),
            None => std::ptr::null_mut(),
        }
    }
}

/// Counts a row down while no limit is near: asked for each row, so without a guard. None: `count_down` knows.
fn pass(node: *mut pg_sys::PlanState) -> pg_sys::ExecProcNodeMtd {
    COUNTERS.with_borrow_mut(|counters| {
        let counter = counters.iter_mut().rev().find(|counter| counter.node == node)?;
        counter.countdown = counter.countdown.checked_sub(1)?;
        counter.real
    })
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn count_down(node: *mut pg_sys::PlanState) -> pg_sys::ExecProcNodeMtd {
    let (real, due) = COUNTERS.with_borrow_mut(|counters| {
        let Some(counter) = counters.iter_mut().rev().find(|counter| counter.node == node) else { return (None, None) };
        let due = counter.countdown == 0;
        counter.countdown = counter.countdown.saturating_sub(1);
        (counter.real, due.then_some(counter.query))
    });
    if real.is_none() {
        Fault::internal("a counted plan node has lost its counter").raise();
    }
    if let Some(query) = due {
        // Safe: the query is running, since its node is.
        let next = unsafe { super::executor::rows_due(query) };
        COUNTERS.with_borrow_mut(|counters| {
            if let Some(counter) = counters.iter_mut().rev().find(|counter| counter.node == node) {
                counter.countdown = next;
            }
        });
    }
    real
}

/// A query has ended: its counters go.
pub fn query_ended(query: *mut pg_sys::QueryDesc) {
    COUNTERS.with_borrow_mut(|counters| counters.retain(|counter| counter.query != query));
}
