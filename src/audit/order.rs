//! The index of the chain: it stores nothing, since the records already lie in the order of their ids.
//!
//! The sequencer alone adds records, always behind the last, and each has the next id. So a segment is searched like a
//! sorted list, page by page, and read forwards and backwards as it lies. PostgreSQL knows this as an access method,
//! `steward_order`: plans, cursors and joins use it like a btree, but a record costs no entry, neither on disk nor in the
//! WAL, and there is nothing that could say something else than the table does.
//!
//! Rows that others have put, moved or taken into the table, which the policy refuses while the library is loaded, need
//! not lie in that order. The index notices when it is told of one ([`mark`]), says so to the planner, and from then on
//! sorts what it is asked for: slow, and as right as before. It enforces nothing: that no id comes twice follows from
//! there being one sequencer, and is what verification checks.

mod build;
mod mark;
mod page;
mod plan;
mod scan;

use pgrx::prelude::*;
use pgrx::{Internal, PgBox};

/// The operator class's strategies are those of a btree.
const STRATEGIES: u16 = pg_sys::BTMaxStrategyNumber as u16;

/// What PostgreSQL asks an access method for. It passes no argument, whatever the declaration in SQL must say.
#[pg_extern(sql = false)]
fn _order_handler() -> Internal {
    // Safe: a node of this kind, all zero, is an access method that can do nothing yet.
    let mut method = unsafe { PgBox::<pg_sys::IndexAmRoutine>::alloc_node(pg_sys::NodeTag::T_IndexAmRoutine) };
    method.amstrategies = STRATEGIES;
    method.amcanorder = true;
    method.amcanbackward = true;
    method.amoptionalkey = true;
    method.ambuild = Some(build::build);
    method.ambuildempty = Some(build::build_empty);
    method.aminsert = Some(build::insert);
    method.ambulkdelete = Some(build::nothing_to_delete);
    method.amvacuumcleanup = Some(build::nothing_to_clean);
    method.amcostestimate = Some(plan::cost);
    method.amoptions = Some(plan::no_options);
    method.amvalidate = Some(plan::validate);
    method.ambeginscan = Some(scan::begin);
    method.amrescan = Some(scan::again);
    method.amgettuple = Some(scan::next);
    method.amgetbitmap = Some(scan::bitmap);
    method.amendscan = Some(scan::end);
    Internal::from(Some(pg_sys::Datum::from(method.into_pg())))
}

/// Lets go of this index where rows are added in its order: it wants to know of none of them.
pub(super) unsafe fn leave_out(target: *mut pg_sys::ResultRelInfo) {
    // Safe: the table's indexes are open; the executor passes over those that are not.
    unsafe {
        let order = pg_sys::get_index_am_oid(c"steward_order".as_ptr(), true);
        for nth in 0..(*target).ri_NumIndices as usize {
            let index = (*target).ri_IndexRelationDescs.add(nth);
            if (*(**index).rd_rel).relam == order {
                pg_sys::index_close(*index, pg_sys::RowExclusiveLock as i32);
                *index = std::ptr::null_mut();
            }
        }
    }
}
