//! Questions that are not the user's, though they run in the user's statement: the conditions of row security, and the
//! checks of views. Whoever owns the table or the view asks them. What their sub-queries read is clear where the owner
//! sees it clear by rules and privileges, and masked for the user where not: otherwise a table of one's own with a policy
//! on it would read every other. The row that a policy decides about is the owner's own, and stays as it is.
//!
//! Frames are plain and hold nothing to drop.

use super::mask_level::{Entry, Eyes, Level, look_up};
use super::mask_query::{self, Job, Refusal, conjuncts, mutate, refuse};
use super::{list, node};
use pgrx::pg_sys::{self, Node, NodeTag, Oid, RTEKind, WCOKind, WithCheckOption};
use std::ffi::c_void;

/// The conditions that stand before a table's rows: its row security, and those of the views with security_barrier
/// through which it is written.
pub unsafe fn conditions(level: &Level, index: u32, job: &mut Job) {
    // Safe: an entry of the query that is being masked.
    unsafe {
        let table = level.table(index);
        let conditions = (*table).securityQuals;
        if conditions.is_null() {
            return;
        }
        let owner = owner_of((*table).relid);
        let written = (*level.query).resultRelation as u32 == index;
        let guarded = || views(level).any(|view| has_barrier(view));
        if written && guarded() {
            let seen = views_see_all(level, index, job);
            if !seen || only_owner(level) != owner {
                // Which condition is the view's cannot be told from the others.
                let masked = as_the_users(conditions.cast(), seen, job);
                if !node::equal(masked.cast(), conditions.cast()) {
                    refuse(Refusal::View, (*table).relid, 0, job);
                }
            }
        }
        queries(conditions.cast(), owner, job);
    }
}

/// What new rows are checked for: by row security, and by the views through which they are written.
pub unsafe fn checks(level: &Level, job: &mut Job) {
    // Safe: checks are those of the query's result relation.
    unsafe {
        let index = (*level.query).resultRelation as u32;
        for check in list::<WithCheckOption>((*level.query).withCheckOptions) {
            let relation = (*level.table(index)).relid;
            if (*check).kind != WCOKind::WCO_VIEW_CHECK {
                queries((*check).qual, owner_of(relation), job);
            } else if views_see_all(level, index, job) {
                queries((*check).qual, only_owner(level), job);
            } else {
                (*check).qual = conjuncts((*check).qual, job);
            }
        }
    }
}

/// What conditions would be if the user asked them: other ones, if they read anything that the role does not see clear.
/// Columns of the row itself count where they are not `seen`.
unsafe fn as_the_users(conditions: *mut Node, seen: bool, job: &mut Job) -> *mut Node {
    // Safe: a copy is changed.
    unsafe {
        let copy = node::copy(conditions);
        if seen {
            queries(copy, pg_sys::InvalidOid, job);
            return copy;
        }
        let outer = std::mem::replace(&mut job.condition, true);
        let masked = mutate(copy, (job as *mut Job).cast());
        job.condition = outer;
        masked
    }
}

/// Masks the sub-queries of a condition, which somebody else asks.
unsafe fn queries(condition: *mut Node, asker: Oid, job: &mut Job) {
    let (level, inside, former) = (job.level, job.condition, job.asker);
    // Columns of the row that is decided about belong to no level, and stay.
    (job.level, job.condition, job.asker) = (std::ptr::null(), false, asker);
    // Safe: a condition of the query that is being masked.
    unsafe { walk(condition, (job as *mut Job).cast()) };
    (job.level, job.condition, job.asker) = (level, inside, former);
}

unsafe extern "C-unwind" fn walk(node: *mut Node, context: *mut c_void) -> bool {
    // Safe: a node of a condition, cast after its tag, and the job.
    unsafe {
        if node.is_null() {
            false
        } else if (*node).type_ == NodeTag::T_Query {
            mask_query::mask(node.cast(), &mut *context.cast::<Job>());
            false
        } else {
            node::expression_tree_walker(node, walk, context)
        }
    }
}

/// The views through which a query writes: it keeps them among its tables.
unsafe fn views(level: &Level) -> impl Iterator<Item = Oid> {
    // Safe: entries of a live query.
    unsafe {
        let is_view = |index: &u32| {
            let table = level.table(*index);
            (*table).rtekind == RTEKind::RTE_RELATION && (*table).relkind as u8 == pg_sys::RELKIND_VIEW
        };
        (1..=level.count()).filter(is_view).map(|index| (*level.table(index)).relid)
    }
}

/// Whether the owner of every such view sees clear what the role does not. Where owners differ, nobody is asked.
unsafe fn views_see_all(level: &Level, index: u32, job: &Job) -> bool {
    // Safe: as above.
    unsafe {
        if !(*level.entry(index)).is_masked() || views(level).next().is_none() {
            return true;
        }
        let eyes = Eyes { role: job.role, asker: only_owner(level) };
        let entry = node::array::<Entry>(1);
        look_up(eyes, (*level.table(index)).relid, entry);
        !(*entry).is_masked()
    }
}

/// The owner of all views; none if there are several.
unsafe fn only_owner(level: &Level) -> Oid {
    // Safe: as above.
    unsafe {
        let mut owner = pg_sys::InvalidOid;
        for view in views(level) {
            let other = owner_of(view);
            if owner != pg_sys::InvalidOid && owner != other {
                return pg_sys::InvalidOid;
            }
            owner = other;
        }
        owner
    }
}

/// Whether the conditions of a view stand before those of its user.
#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
unsafe extern "C-unwind" fn has_barrier(view: Oid) -> bool {
    // Safe: an entry of the relation cache, which is released; the options of a view are of this type.
    unsafe {
        let relation = pg_sys::RelationIdGetRelation(view);
        if relation.is_null() {
            return true;
        }
        let options = (*relation).rd_options.cast::<pg_sys::ViewOptions>();
        let barrier = !options.is_null() && (*options).security_barrier;
        pg_sys::RelationClose(relation);
        barrier
    }
}

/// None where a relation is gone.
#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
pub unsafe extern "C-unwind" fn owner_of(relation: Oid) -> Oid {
    // Safe: a syscache look-up, released after the owner is copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, relation.into());
        if tuple.is_null() {
            return pg_sys::InvalidOid;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        owner
    }
}
