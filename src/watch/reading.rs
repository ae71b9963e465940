//! Rows read from protected tables, counted where the executor reads them: one row that carries a thousand numbers in an
//! aggregate has read a thousand rows. For sessions with a limit alone; all others pay one look at a list.
//!
//! Each scan of a protected table gets a function of ours in the place of its own, and so does a condition of a scan that
//! runs code which may tell somebody what it is given: what it looks at is read, whether it lets the row pass or not. A row
//! counts before its scan begins to make it, so what fails over a row has read it. The query runs without workers, which
//! would read in other processes. Rows of the hour are taken from shared memory in small portions.

use super::judge;
use super::statement::Source;
use super::{called, exported, facts, list};
use crate::audit::buffer;
use crate::backend::{NumberMap, backend_local};
use crate::cache::{self, Policy, Root};
use crate::core::tier::Tier;
use crate::error::Fault;
use crate::export::form::Export;
use crate::export::memory::{self, Refused, Reserved};
use crate::export::{Allowance, Rows};
use crate::settings::Mode;
use crate::{own, raw, shared};
use pgrx::pg_sys::{self, NodeTag, PlanState};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

/// Rows that are taken at once out of those of the hour.
const PORTION: u64 = 64;

pub(super) type Walker = unsafe extern "C-unwind" fn(*mut PlanState, *mut c_void) -> bool;
type Evaluation =
    unsafe extern "C-unwind" fn(*mut pg_sys::ExprState, *mut pg_sys::ExprContext, *mut bool) -> pg_sys::Datum;

// The bindings leave it out, since its callback has no prototype in C.
unsafe extern "C-unwind" {
    pub(super) fn planstate_tree_walker(node: *mut PlanState, walker: Walker, context: *mut c_void) -> bool;
}

/// A query that reads protected tables under a limit.
struct Reading {
    query: *mut pg_sys::QueryDesc,
    subtransaction: u32,
    allowance: Rc<Allowance>,
    rows: u64,
}

/// What stands in for a function of the server.
struct Counted {
    query: *mut pg_sys::QueryDesc,
    root: Rc<Root>,
    real: Real,
}

#[derive(Clone, Copy)]
enum Real {
    Node(pg_sys::ExecProcNodeMtd),
    Condition(Evaluation),
}

struct State {
    readings: Vec<Reading>,
    /// By the address of a plan node or a condition.
    counted: NumberMap<u64, Counted>,
    /// Rows of the top-level statement that began then.
    statement: (pg_sys::TimestampTz, u64),
    /// Rows of the hour that are taken and not yet read.
    reserved: Vec<Reserved>,
    left: u64,
}

backend_local! {
    static ANY: Cell<bool> = const { Cell::new(false) };
    static STATE: RefCell<State> = const {
        RefCell::new(State {
            readings: Vec::new(),
            counted: NumberMap::with_hasher(BuildHasherDefault::new()),
            statement: (0, 0),
            reserved: Vec::new(),
            left: 0,
        })
    };
}

impl State {
    fn reading(&mut self, query: *mut pg_sys::QueryDesc) -> Option<&mut Reading> {
        self.readings.iter_mut().rev().find(|reading| reading.query == query)
    }

    /// Rows of the running top-level statement, whatever it has called.
    fn of_statement(&mut self) -> &mut u64 {
        // Safe: plain getter; a new message from the client begins a new top-level statement.
        let now = unsafe { raw::GetCurrentStatementStartTimestamp() };
        if self.statement.0 != now {
            self.statement = (now, 0);
        }
        &mut self.statement.1
    }

    /// Counts one row if nothing needs to be asked for it.
    fn take(&mut self, query: *mut pg_sys::QueryDesc) -> bool {
        let (statement, left) = (*self.of_statement(), self.left);
        let Some(reading) = self.reading(query) else { return false };
        let within = reading.allowance.statement.as_ref().is_none_or(|limit| reading.rows.max(statement) < limit.rows);
        let hourly = reading.allowance.hour.is_some();
        if !within || hourly && left == 0 || !reading.allowance.export.as_ref().is_none_or(|export| export.take()) {
            return false;
        }
        reading.rows += 1;
        self.left -= u64::from(hourly);
        *self.of_statement() += 1;
        true
    }

    /// There was no row after all.
    fn give_back(&mut self, query: *mut pg_sys::QueryDesc) {
        let rows = self.of_statement();
        *rows = rows.saturating_sub(1);
        let Some(reading) = self.reading(query) else { return };
        reading.rows = reading.rows.saturating_sub(1);
        reading.allowance.export.iter().for_each(|export| export.give_back());
        self.left += u64::from(reading.allowance.hour.is_some());
    }

    /// What was taken of the hour and not read is others' again.
    fn rest(&mut self) {
        let mut left = std::mem::take(&mut self.left);
        for reserved in self.reserved.drain(..).rev() {
            let rows = left.min(reserved.rows);
            left -= rows;
            reserved.give_back(rows);
        }
    }
}

/// A query was decided that reads protected tables under this limit.
pub fn remember(query: *mut pg_sys::QueryDesc, allowance: Allowance) {
    if allowance.statement.is_none() && allowance.hour.is_none() && allowance.export.is_none() {
        return;
    }
    // Safe: plain getter.
    let subtransaction = unsafe { raw::GetCurrentSubTransactionId() };
    let reading = Reading { query, subtransaction, allowance: Rc::new(allowance), rows: 0 };
    STATE.with_borrow_mut(|state| state.readings.push(reading));
    ANY.set(true);
}

/// Whether rows of any query are counted.
pub fn counts_any() -> bool {
    ANY.get()
}

/// Whether rows of this query are counted. For plain frames.
pub fn counts(query: *mut pg_sys::QueryDesc) -> bool {
    ANY.get() && STATE.with_borrow(|state| state.readings.iter().any(|reading| reading.query == query))
}

/// The query has its plan state: its scans are counted from now on.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn started(query: *mut pg_sys::QueryDesc) {
    let mut scans = Scans { policy: cache::policy(), query, spared: Vec::new() };
    let context = (&raw mut scans).cast();
    // Safe: ExecutorStart has built the plan state, subplans apart from the main one; the context outlives the walk.
    unsafe {
        walk((*query).planstate, context);
        list::<PlanState>((*(*query).estate).es_subplanstates).for_each(|subplan| _ = walk(subplan, context));
    }
}

/// A query goes on: it needs rows of the hour before the first is read.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn begins(query: *mut pg_sys::QueryDesc) {
    let counted = STATE.with_borrow(|state| {
        state.counted.values().find(|counted| counted.query == query).map(|counted| counted.root.clone())
    });
    if let Some(root) = counted {
        require(query, &root);
    }
}

/// The query has given what it was asked for.
pub fn rests() {
    STATE.with_borrow_mut(State::rest);
}

pub fn query_ended(query: *mut pg_sys::QueryDesc) {
    if ANY.get() {
        STATE.with_borrow_mut(|state| {
            state.readings.retain(|reading| reading.query != query);
            state.counted.retain(|_, counted| counted.query != query);
            ANY.set(!state.readings.is_empty());
        });
    }
}

pub fn transaction_ended() {
    forget(|_| false);
}

pub fn subtransaction_aborted(subtransaction: u32) {
    forget(|reading| reading.subtransaction < subtransaction);
}

fn forget(stays: impl Fn(&Reading) -> bool) {
    if ANY.get() {
        STATE.with_borrow_mut(|state| {
            state.rest();
            let State { readings, counted, .. } = state;
            readings.retain(stays);
            counted.retain(|_, counted| readings.iter().any(|reading| reading.query == counted.query));
            ANY.set(!readings.is_empty());
        });
    }
}

/// The walk over a plan state.
struct Scans {
    policy: Rc<Policy>,
    query: *mut pg_sys::QueryDesc,
    /// Scans of which only the number of rows is asked.
    spared: Vec<*mut PlanState>,
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn walk(node: *mut PlanState, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // Safe: a node of the query and the context of `started`, borrowed for a moment at a time.
    unsafe {
        let scans = context.cast::<Scans>();
        match (*node).type_ {
            NodeTag::T_AggState if only_counts(node.cast()) => spare_counted(node, &mut *scans),
            NodeTag::T_ModifyTableState => upsert(node, &*scans),
            _ => scan(node, &*scans),
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| planstate_tree_walker(node, walk, context))
    }
}

/// Whether an aggregate is nothing but count(*) over everything.
unsafe fn only_counts(aggregate: *mut pg_sys::AggState) -> bool {
    // Safe: a live node of this kind and its plan.
    unsafe {
        let plan = (*aggregate).ss.ps.plan.cast::<pg_sys::Agg>();
        (*plan).numCols == 0
            && (*plan).groupingSets.is_null()
            && !(*aggregate).aggs.is_null()
            && list::<pg_sys::Aggref>((*aggregate).aggs).all(|call| {
                (*call).aggstar
                    && (*call).args.is_null()
                    && (*call).aggfilter.is_null()
                    && (*call).aggdirectargs.is_null()
            })
    }
}

/// A count is one row: it tells a number, whatever it counts, and would be asked for each value in turn if it were free.
unsafe fn spare_counted(aggregate: *mut PlanState, scans: &mut Scans) {
    // Safe: as above.
    unsafe {
        spare((*aggregate).lefttree, scans);
        let spared =
            scans.spared.iter().find_map(|scan| protected(scans, (*(**scan).plan.cast::<pg_sys::Scan>()).scanrelid));
        if let Some(root) = spared {
            count_node(aggregate, root, scans.query);
        }
    }
}

/// The scans beneath such an aggregate whose rows go nowhere else, and which compute nothing from them.
unsafe fn spare(node: *mut PlanState, scans: &mut Scans) {
    // Safe: as above.
    unsafe {
        if node.is_null() {
            return;
        }
        if (*node).type_ == NodeTag::T_AppendState {
            let append = node.cast::<pg_sys::AppendState>();
            (0..(*append).as_nplans as usize).for_each(|place| spare(*(*append).appendplans.add(place), scans));
        } else if is_scan((*node).type_) && shows_columns_alone(node) {
            scans.spared.push(node);
        }
    }
}

unsafe fn shows_columns_alone(node: *mut PlanState) -> bool {
    // Safe: as above.
    unsafe {
        list::<pg_sys::TargetEntry>((*(*node).plan).targetlist).all(|entry| (*(*entry).expr).type_ == NodeTag::T_Var)
    }
}

/// ON CONFLICT DO UPDATE reads the row that is in the way without a scan.
unsafe fn upsert(node: *mut PlanState, scans: &Scans) {
    // Safe: a live ModifyTable, which has one child.
    unsafe {
        let plan = (*node).plan.cast::<pg_sys::ModifyTable>();
        if (*plan).onConflictAction == pg_sys::OnConflictAction::ONCONFLICT_UPDATE
            && let Some(root) = protected(scans, (*plan).nominalRelation)
            && !(*node).lefttree.is_null()
        {
            count_node((*node).lefttree, root, scans.query);
        }
    }
}

/// Nodes that take rows out of a table.
pub(super) fn is_scan(tag: NodeTag) -> bool {
    use NodeTag::*;
    matches!(
        tag,
        T_SeqScanState
            | T_SampleScanState
            | T_IndexScanState
            | T_IndexOnlyScanState
            | T_BitmapHeapScanState
            | T_TidScanState
            | T_TidRangeScanState
            | T_ForeignScanState
            | T_CustomScanState
    )
}

unsafe fn scan(node: *mut PlanState, scans: &Scans) {
    // Safe: a scan's plan begins with a Scan.
    unsafe {
        if !is_scan((*node).type_) {
            return;
        }
        let plan = (*node).plan.cast::<pg_sys::Scan>();
        let Some(root) = protected(scans, (*plan).scanrelid) else { return };
        let relation = entry(scans.query, (*plan).scanrelid).map_or(pg_sys::InvalidOid, |entry| (*entry).relid);
        if tells((*plan).plan.qual, relation) && !(*node).qual.is_null() {
            count_condition((*node).qual, root, scans.query);
        } else if !scans.spared.contains(&node) {
            count_node(node, root, scans.query);
        }
    }
}

unsafe fn entry(query: *mut pg_sys::QueryDesc, index: u32) -> Option<*mut pg_sys::RangeTblEntry> {
    // Safe: the range table of a running query; its entries count from 1.
    unsafe { list::<pg_sys::RangeTblEntry>((*(*query).plannedstmt).rtable).nth((index as usize).checked_sub(1)?) }
}

unsafe fn protected(scans: &Scans, index: u32) -> Option<Rc<Root>> {
    // Safe: as above.
    let entry = unsafe { entry(scans.query, index) }?;
    let relation = unsafe { (*entry).relid };
    scans.policy.protected(relation).or_else(|| scans.policy.image(relation)).map(|member| member.root.clone())
}

/// Whether a condition runs code that may tell what it is given: anybody's, and the server's own that does more than
/// compute. Not what the table's own policies or we ask of every row.
unsafe fn tells(condition: *mut pg_sys::List, relation: pg_sys::Oid) -> bool {
    if condition.is_null() {
        return false;
    }
    // Safe: a planned condition; walked without changing it.
    if unsafe { called::hides_code(condition.cast()) } {
        return true;
    }
    // Safe: as above.
    let functions = unsafe { called::functions(condition.cast()) };
    functions.into_iter().any(|function| {
        // Safe: look-ups in the function cache.
        let volatile = || unsafe { pg_sys::func_volatile(function) } as u8 == pg_sys::PROVOLATILE_VOLATILE;
        let ours = || unsafe { is_ours(function) };
        let foreign = function.to_u32() >= pg_sys::FirstNormalObjectId;
        (foreign && !ours() || !foreign && volatile()) && !is_of_policy(function, relation)
    })
}

unsafe fn is_ours(function: pg_sys::Oid) -> bool {
    // Safe: look-ups by name and in the function cache.
    unsafe { pg_sys::get_func_namespace(function) == pg_sys::get_namespace_oid(c"steward".as_ptr(), true) }
}

/// Whether a policy of the table asks this function.
fn is_of_policy(function: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    let asked =
        c"SELECT 'yes' FROM pg_depend d JOIN pg_policy p ON p.oid = d.objid WHERE d.classid = 'pg_policy'::regclass
        AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = $1::oid AND p.polrelid = $2::oid";
    let (function, relation) = (function.to_u32().to_string(), relation.to_u32().to_string());
    !own::latest_rows_of(asked, &[&function, &relation]).is_empty()
}

/// Whether something of this query is counted already: subplans are met twice.
fn is_counted(key: u64, query: *mut pg_sys::QueryDesc) -> bool {
    STATE.with_borrow(|state| state.counted.get(&key).is_some_and(|counted| counted.query == query))
}

unsafe fn count_node(node: *mut PlanState, root: Rc<Root>, query: *mut pg_sys::QueryDesc) {
    if is_counted(node as u64, query) {
        return;
    }
    // Safe: ExecSetExecProcNode is how the executor itself installs a node function; the node is of a started query.
    unsafe {
        let counted = Counted { query, root, real: Real::Node((*node).ExecProcNodeReal) };
        STATE.with_borrow_mut(|state| state.counted.insert(node as u64, counted));
        pg_sys::ExecSetExecProcNode(node, Some(next_row));
    }
}

unsafe fn count_condition(condition: *mut pg_sys::ExprState, root: Rc<Root>, query: *mut pg_sys::QueryDesc) {
    if is_counted(condition as u64, query) {
        return;
    }
    // Safe: a condition that is ready to be evaluated has a function for that.
    unsafe {
        let Some(real) = (*condition).evalfunc else { return };
        let counted = Counted { query, root, real: Real::Condition(real) };
        STATE.with_borrow_mut(|state| state.counted.insert(condition as u64, counted));
        (*condition).evalfunc = Some(evaluate);
    }
}

/// What stands behind an address, and whether its next row is counted already.
fn take(key: u64) -> Option<(Real, *mut pg_sys::QueryDesc, bool)> {
    STATE.with_borrow_mut(|state| {
        let Counted { real, query, .. } = state.counted.get(&key)?;
        let (real, query) = (*real, *query);
        Some((real, query, state.take(query)))
    })
}

/// Stands in for a scan's own function. A plain frame: nothing to drop, so an ERROR may cross it.
unsafe extern "C-unwind" fn next_row(node: *mut PlanState) -> *mut pg_sys::TupleTableSlot {
    // Safe: a node of the running plan, whose own function was kept when this one took its place.
    unsafe {
        let Some((Real::Node(Some(real)), query, counted)) = take(node as u64) else { lost() };
        let slot = real(node);
        let empty = slot.is_null() || u32::from((*slot).tts_flags) & pg_sys::TTS_FLAG_EMPTY != 0;
        match (counted, empty) {
            (true, true) => STATE.with_borrow_mut(|state| state.give_back(query)),
            (false, false) => charge(node as u64),
            _ => {}
        }
        slot
    }
}

/// Stands in for a condition. As above; at its first call the server puts a faster function in our place.
unsafe extern "C-unwind" fn evaluate(
    condition: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
    is_null: *mut bool,
) -> pg_sys::Datum {
    // Safe: a condition of the running plan, whose own function was kept when this one took its place.
    unsafe {
        let Some((Real::Condition(real), _, counted)) = take(condition as u64) else { lost() };
        if !counted {
            charge(condition as u64);
        }
        let value = real(condition, context, is_null);
        if let Some(now) = (*condition).evalfunc
            && !std::ptr::fn_addr_eq(now, evaluate as Evaluation)
        {
            STATE.with_borrow_mut(|state| {
                state.counted.get_mut(&(condition as u64)).map(|counted| counted.real = Real::Condition(now))
            });
            (*condition).evalfunc = Some(evaluate);
        }
        value
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn lost_counter() {
    Fault::internal("a counted plan node has lost its counter").raise();
}

fn lost() -> ! {
    // Safe: raises.
    unsafe { lost_counter() };
    unreachable!("an ERROR does not return")
}

/// A row came that was not counted before: it counts now, or goes no further.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn charge(key: u64) {
    let of = STATE.with_borrow(|state| state.counted.get(&key).map(|counted| (counted.query, counted.root.clone())));
    let Some((query, root)) = of else { lost() };
    require(query, &root);
    if !STATE.with_borrow_mut(|state| state.take(query)) {
        Fault::internal("a row could not be counted").raise();
    }
}

/// Makes sure that one more row may be read.
fn require(query: *mut pg_sys::QueryDesc, root: &Root) {
    let standing = STATE.with_borrow_mut(|state| {
        let (statement, left) = (*state.of_statement(), state.left);
        state.reading(query).map(|reading| (reading.allowance.clone(), reading.rows.max(statement), left))
    });
    let Some((allowance, rows, left)) = standing else { return };
    if let Some(export) = allowance.export.as_ref().filter(|export| !export.goes_on()) {
        let what = format!("Its form says {} rows of protected tables, over the whole run.", export.rows);
        return refuse(query, root, &format!("{} reads more rows than were approved", export.op_no), what);
    }
    if let Some(limit) = allowance.statement.as_ref().filter(|limit| rows >= limit.rows) {
        let what = format!(
            "One statement, or one cursor, may read {} rows of protected tables: limit of {}.",
            limit.rows, limit.whose
        );
        return refuse(query, root, "it reads too many rows", what);
    }
    if let Some(limit) = allowance.hour.as_ref().filter(|_| left == 0) {
        reserve(query, root, limit);
    }
}

fn reserve(query: *mut pg_sys::QueryDesc, root: &Root, limit: &Rows) {
    match memory::reserve(limit.rows, PORTION) {
        Ok(reserved) => STATE.with_borrow_mut(|state| {
            state.left += reserved.rows;
            state.reserved.push(reserved);
        }),
        Err(Refused::Read(rows)) => {
            let what = format!(
                "Within an hour a person may read {} rows of protected tables, of which {rows} were read: limit of {}.",
                limit.rows, limit.whose
            );
            refuse(query, root, "too many rows were read within an hour", what);
        }
        Err(Refused::Full) => {
            refuse(query, root, "its rows cannot be counted", "Too many persons with limits read at once.".to_owned())
        }
    }
}

/// On record, then raised; in the mode `warn` said once, and the query reads on.
fn refuse(query: *mut pg_sys::QueryDesc, root: &Root, why: &str, detail: String) {
    if shared::mode() == Mode::Warn {
        STATE.with_borrow_mut(|state| {
            state.reading(query).into_iter().for_each(|reading| reading.allowance = Rc::default());
        });
        return Fault::refused(format!("statement would be refused: {why}")).detail(detail).warn();
    }
    // Safe: the query is running.
    let (tag, source) = unsafe {
        let plan = (*query).plannedstmt;
        (facts::operation_tag(plan), Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len))
    };
    buffer::forget(query as usize);
    deny(tag, &root.name, why, detail, &source)
}

/// Refuses COPY TO where a limit says so.
pub fn admit_copy(allowance: &Allowance, relation: &str, source: &Source<'_>) {
    if let Some(whose) = allowance.no_copy.as_ref().filter(|_| shared::mode() == Mode::Enforce) {
        let detail = format!("COPY {relation} TO is not allowed: limit of {whose}.");
        deny("COPY", relation, "rows of protected tables may not be copied out", detail, source);
    }
}

/// Refuses what reads columns that the form of the running export does not list.
pub unsafe fn admit_columns(plan: *mut pg_sys::PlannedStmt, policy: &Policy, export: &Export, source: &Source<'_>) {
    // Safe: the plan that is about to start.
    let (read, tag) = unsafe { (exported::columns_read(plan, policy), facts::operation_tag(plan)) };
    let unlisted = export.unlisted(&read);
    let Some((relation, _)) = read.first().filter(|_| !unlisted.is_empty()) else { return };
    let detail = format!("Not listed: {}.", unlisted.join(", "));
    let why = format!("the form of {} lists other columns than it reads", export.op_no);
    match shared::mode() {
        Mode::Enforce => deny(tag, relation, &why, detail, source),
        _ => Fault::refused(format!("statement would be refused: {why}")).detail(detail).warn(),
    }
}

/// COPY of a table reads past the executor, where nothing is counted.
pub fn admit_table_copy(policy: &Policy, relation: &str, source: &Source<'_>) {
    let Some(allowance) = crate::export::allowance(policy) else { return };
    admit_copy(&allowance, relation, source);
    let counted = allowance.statement.is_some() || allowance.hour.is_some() || allowance.export.is_some();
    if counted && shared::mode() == Mode::Enforce {
        judge::deny(
            judge::record("COPY", vec![relation.to_owned()], Tier::Normal, "export_limit", source),
            Fault::refused("statement refused: COPY of a table cannot be counted while it runs")
                .detail(format!("Rows of {relation} are counted for this session."))
                .hint(format!("COPY (SELECT * FROM {relation}) TO STDOUT;")),
        );
    }
}

/// The form that asks for more.
const FORM: &str = r#"purpose => '…', form => '{"form": "export", "columns": "…", "filter": "…", "rows": 1000, "recipient": "…", "reason": "…"}');"#;

fn deny(tag: &str, relation: &str, why: &str, detail: String, source: &Source<'_>) -> ! {
    let call =
        source.request_call().unwrap_or_else(|| "SELECT steward.request($s$SELECT …$s$, purpose => '…');".to_owned());
    judge::deny(
        judge::record(tag, vec![relation.to_owned()], Tier::Normal, "export_limit", source),
        Fault::refused(format!("statement refused: {why}")).detail(detail).hint(call.replace("purpose => '…');", FORM)),
    )
}
