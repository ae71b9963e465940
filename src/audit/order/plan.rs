//! What the planner asks.

use super::mark;
use pgrx::pg_sys;

/// What the planner adds to what it should rather not do.
const RATHER_NOT: pg_sys::Cost = 1.0e10;

// Not among the bindings. An ERROR in it must not pass Rust frames: to be called through `pg_guard_ffi_boundary` only.
unsafe extern "C-unwind" {
    fn btcostestimate(
        root: *mut pg_sys::PlannerInfo,
        path: *mut pg_sys::IndexPath,
        loops: f64,
        startup: *mut pg_sys::Cost,
        total: *mut pg_sys::Cost,
        selectivity: *mut pg_sys::Selectivity,
        correlation: *mut f64,
        pages: *mut f64,
    );
}

/// As of a btree, with the rows in its order; a table that does not lie in it is better sorted by the executor.
#[pgrx::pg_guard]
#[allow(clippy::too_many_arguments)] // the server's own signature
pub unsafe extern "C-unwind" fn cost(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    loops: f64,
    startup: *mut pg_sys::Cost,
    total: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    // Safe: called by the planner, which has locked the table and its indexes.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            btcostestimate(root, path, loops, startup, total, selectivity, correlation, pages)
        });
        *correlation = 1.0;
        // It knows where rows lie and holds nothing of them. A query that asks for no column at all takes it for one that
        // could answer by itself.
        if (*path).path.pathtype == pg_sys::NodeTag::T_IndexOnlyScan {
            *startup += RATHER_NOT;
            *total += RATHER_NOT;
        }
        let index = pg_sys::index_open((*(*path).indexinfo).indexoid, pg_sys::NoLock as i32);
        if mark::is_disordered(index) {
            *startup += RATHER_NOT;
            *total += RATHER_NOT;
        }
        pg_sys::index_close(index, pg_sys::NoLock as i32);
    }
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn no_options(options: pg_sys::Datum, check: bool) -> *mut pg_sys::bytea {
    if check && options.value() != 0 {
        crate::error::Fault::bad_argument("an index of the chain has no options").raise();
    }
    std::ptr::null_mut()
}

/// There is one operator class, which is the extension's own.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn validate(_class: pg_sys::Oid) -> bool {
    true
}
