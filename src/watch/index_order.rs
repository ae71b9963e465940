//! Rows of a table that has masks come in no order of its values. What an index led or continued by a masked column returns
//! unsorted would be sorted by what nobody is shown, and whoever can insert a row finds a value by halving. Such indexes are
//! read through a bitmap, whose rows come as they lie in the table; an index on nothing masked is used as ever.
//!
//! Plans of whoever sees a table clear are the server's own. Frames are plain and hold nothing to drop.

use super::list;
use super::mask_level::marked;
use crate::{cache, raw};
use pgrx::pg_sys::{self, IndexOptInfo, Oid, PlannerInfo, RelOptInfo};

static mut NEXT: pg_sys::get_relation_info_hook_type = None;

/// Installs the hook. Only while preloading.
pub fn init() {
    // Safe: plain hook pointer, kept for the chain.
    unsafe {
        NEXT = pg_sys::get_relation_info_hook;
        pg_sys::get_relation_info_hook = Some(relation_info);
    }
}

/// Asked for each table of a query, and for each of its children, whose entries are copies of the parent's.
unsafe extern "C-unwind" fn relation_info(
    root: *mut PlannerInfo,
    relation: Oid,
    parent: bool,
    information: *mut RelOptInfo,
) {
    // Safe: the planner's own arguments; the array has an entry for each relation of the query.
    unsafe {
        let entry = *(*root).simple_rte_array.add((*information).relid as usize);
        if marked(entry).is_some() {
            take_order_away(relation, information);
        }
        if let Some(next) = NEXT {
            next(root, relation, parent, information);
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn take_order_away(relation: Oid, information: *mut RelOptInfo) {
    let policy = cache::policy();
    // Safe: a plain getter; the list holds the relation's indexes, which are the planner's to change.
    unsafe {
        // Whoever has marked the entry knew of masks.
        let masked = policy.masks().and_then(|masks| masks.of(raw::GetUserId(), relation));
        let hides = |number: i32| {
            masked.as_ref().is_none_or(|columns| columns.iter().any(|column| i32::from(column.number) == number))
        };
        for index in list::<IndexOptInfo>((*information).indexlist) {
            let keys = std::slice::from_raw_parts((*index).indexkeys, (*index).nkeycolumns as usize);
            // 0 is an expression, which may hold any column.
            if keys.iter().any(|number| *number == 0 || hides(*number)) {
                (*index).amhasgettuple = false;
                // Asked for by itself.
                (*index).amcanparallel = false;
            }
        }
    }
}
