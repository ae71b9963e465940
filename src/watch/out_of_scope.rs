//! Row-level security hides rows without a word. Here it is noticed where a statement names them: where the plan of a
//! scoped role compares the column of a scope with a value that its person is not allowed. The statement runs on, and sees
//! nothing; that it was tried is on record at once, whatever becomes of the transaction.
//!
//! Only comparisons with constants and parameters are seen, in the plan that is about to run. Where one names a row by a
//! key, and the statement finds nothing, it is looked up whether that row is there. Values are not recorded.

use super::judge;
use super::list;
use super::named_value::{self, Named};
use super::statement::Source;
use crate::audit::lane::Durability;
use crate::audit::note::note;
use crate::backend::{NumberMap, backend_local};
use crate::cache::{self, Member, Policy};
use crate::core::array::same_value;
use crate::core::record::Outcome;
use crate::core::tier::Tier;
use crate::error::answer;
use crate::raw;
use crate::scope::Scope;
use crate::scope::allowed::{self, Allowed};
use crate::scope::hidden;
use pgrx::pg_sys::{self, NodeTag};
use std::cell::RefCell;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

/// After so long without an attempt the next one is the first again; microseconds.
const WINDOW: i64 = 10 * 60 * 1_000_000;

/// Attempts on one scope.
#[derive(Clone, Copy, Default)]
struct Attempts {
    latest: i64,
    count: u64,
}

backend_local! {
    static ATTEMPTS: RefCell<NumberMap<u32, Attempts>> = const { RefCell::new(NumberMap::with_hasher(BuildHasherDefault::new())) };
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

/// Keys that a running statement names, to be looked up if it finds nothing.
struct Pending {
    query: usize,
    keys: Vec<(Rc<Member>, Named)>,
}

/// A plan and the values of its parameters.
struct Looker<'a> {
    plan: *mut pg_sys::PlannedStmt,
    parameters: pg_sys::ParamListInfo,
    policy: &'a Policy,
    found: Vec<(Rc<Member>, i32)>,
    keys: Vec<(Rc<Member>, Named)>,
}

/// Looks at a plan that is about to run. Needs a live transaction; may raise.
pub unsafe fn notice(query: *mut pg_sys::QueryDesc, policy: &Policy, source: &Source<'_>) {
    // Safe: ExecutorStart gets a complete QueryDesc; the plan outlives the call.
    let (found, keys) = unsafe {
        let plan = (*query).plannedstmt;
        let scoped = list::<pg_sys::RangeTblEntry>((*plan).rtable).any(|entry| {
            (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION
                && policy
                    .protected((*entry).relid)
                    .is_some_and(|member| policy.scopes().on(member.root.oid).next().is_some())
        });
        if !scoped {
            return;
        }
        let mut looker = Looker { plan, parameters: (*query).params, policy, found: Vec::new(), keys: Vec::new() };
        looker.node((*plan).planTree);
        list((*plan).subplans).for_each(|plan| looker.node(plan));
        (looker.found, looker.keys)
    };
    if found.is_empty() && !keys.is_empty() {
        PENDING.with_borrow_mut(|pending| pending.push(Pending { query: query as usize, keys }));
    }
    for (member, id) in found {
        let Some(scope) = policy.scopes().get(id) else { continue };
        tried(&member, scope, source);
    }
}

/// Whether any running statement names keys. For plain frames.
pub fn is_pending() -> bool {
    PENDING.with_borrow(|pending| !pending.is_empty())
}

/// A statement has run, or a part of it: if it found nothing, it may have named what is hidden.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn ran(query: *mut pg_sys::QueryDesc) {
    let Some(keys) = take(query as usize) else { return };
    // Safe: the query has just run and is not ended.
    let source = unsafe {
        if (*(*query).estate).es_processed > 0 {
            return;
        }
        let plan = (*query).plannedstmt;
        Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len)
    };
    let policy = cache::policy();
    for (member, named) in keys {
        if let Some(scope) = answer(hidden::by(&policy, &member, named.attribute, &named.values)) {
            return tried(&member, scope, &source);
        }
    }
}

fn take(query: usize) -> Option<Vec<(Rc<Member>, Named)>> {
    PENDING.with_borrow_mut(|pending| {
        let position = pending.iter().rposition(|pending| pending.query == query)?;
        Some(pending.swap_remove(position).keys)
    })
}

/// A statement ends, run or not.
pub fn query_ended(query: *mut pg_sys::QueryDesc) {
    PENDING.with_borrow_mut(|pending| pending.retain(|pending| pending.query != query as usize));
}

pub fn transaction_ended() {
    PENDING.with_borrow_mut(Vec::clear);
}

/// The first, second, fourth … attempt of a session on a scope is a record; it counts those since the one before.
fn tried(member: &Member, scope: &Scope, source: &Source<'_>) {
    // Safe: reads the clock.
    let now = unsafe { raw::GetCurrentTimestamp() };
    let count = ATTEMPTS.with_borrow_mut(|attempts| {
        let attempts = attempts.entry(scope.id as u32).or_default();
        if now - attempts.latest > WINDOW {
            attempts.count = 0;
        }
        *attempts = Attempts { latest: now, count: attempts.count + 1 };
        attempts.count
    });
    if !count.is_power_of_two() {
        return;
    }
    let mut record = judge::record("OUT OF SCOPE", vec![member.root.name.clone()], Tier::Normal, "scope", source);
    record.outcome = Outcome::Denied;
    record.repeats = (count > 2).then_some((count / 2) as i64);
    let details = serde_json::json!({ "scope": scope.id, "column": scope.column, "attempts": count });
    record.details = Some(details.to_string());
    note(record, Durability::Buffered);
}

impl Looker<'_> {
    unsafe fn node(&mut self, node: *mut pg_sys::Plan) {
        if node.is_null() {
            return;
        }
        // Safe: casts follow the tag; every scan begins with the common part.
        unsafe {
            match (*node).type_ {
                NodeTag::T_SeqScan | NodeTag::T_SampleScan => self.scan(node, &[(*node).qual], None),
                NodeTag::T_IndexScan => {
                    let scan = &*node.cast::<pg_sys::IndexScan>();
                    self.scan(node, &[scan.indexqualorig, (*node).qual], None);
                }
                NodeTag::T_IndexOnlyScan => {
                    let scan = &*node.cast::<pg_sys::IndexOnlyScan>();
                    self.scan(node, &[scan.indexqual, (*node).qual], Some(scan.indextlist));
                }
                NodeTag::T_BitmapHeapScan => {
                    let scan = &*node.cast::<pg_sys::BitmapHeapScan>();
                    self.scan(node, &[scan.bitmapqualorig, (*node).qual], None);
                }
                NodeTag::T_SubqueryScan => self.node((*node.cast::<pg_sys::SubqueryScan>()).subplan),
                NodeTag::T_Append => {
                    list((*node.cast::<pg_sys::Append>()).appendplans).for_each(|plan| self.node(plan));
                }
                NodeTag::T_MergeAppend => {
                    list((*node.cast::<pg_sys::MergeAppend>()).mergeplans).for_each(|plan| self.node(plan));
                }
                _ => {}
            }
            self.node((*node).lefttree);
            self.node((*node).righttree);
        }
    }

    unsafe fn scan(
        &mut self,
        node: *mut pg_sys::Plan,
        quals: &[*mut pg_sys::List],
        columns: Option<*mut pg_sys::List>,
    ) {
        // Safe: a scan names an entry of the plan's range table.
        unsafe {
            let index = (*node.cast::<pg_sys::Scan>()).scanrelid as usize;
            let Some(entry) = list::<pg_sys::RangeTblEntry>((*self.plan).rtable).nth(index.wrapping_sub(1)) else {
                return;
            };
            let policy = self.policy;
            let Some(member) = policy.protected((*entry).relid) else { return };
            let mut named = Vec::new();
            for qual in quals {
                named.extend(
                    list::<pg_sys::Node>(*qual).filter_map(|clause| named_value::of(clause, columns, self.parameters)),
                );
            }
            if named.is_empty() {
                return;
            }
            let mut limited = false;
            for scope in policy.scopes().on(member.root.oid) {
                limited = true;
                let column = member.columns().iter().find(|column| column.name == scope.column);
                let number = column.map(|column| column.number as i16);
                if self.is_outside(scope, named.iter().filter(|named| Some(named.attribute) == number)) {
                    self.found.push((member.clone(), scope.id));
                }
            }
            if limited {
                self.keys.extend(named.into_iter().map(|named| (member.clone(), named)));
            }
        }
    }

    fn is_outside<'n>(&self, scope: &Scope, named: impl Iterator<Item = &'n Named>) -> bool {
        let mut named = named.peekable();
        if named.peek().is_none() {
            return false;
        }
        let Allowed::Values(allowed) = answer(allowed::by(self.policy, scope)) else { return false };
        let known = |value: &String| allowed.iter().any(|allowed| same_value(allowed, value));
        named.any(|named| named.values.iter().any(|value| !known(value)))
    }
}
