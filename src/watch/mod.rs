//! Everything that touches hook pointers, plan nodes or parse nodes; PostgreSQL version differences live here and
//! nowhere else. Turns what the server is about to do into deeds, has them judged, and counts rows.

pub mod apply;
pub mod armed;
mod borrowed;
pub mod called;
pub mod catalog;
pub mod code;
pub mod copy_data;
mod copy_masked;
pub mod dry_run;
pub mod executor;
pub mod exported;
pub mod expression;
pub mod facts;
mod fan_out;
mod fixed_names;
pub mod function;
pub mod granted;
mod handed;
mod hidden_detail;
mod index_order;
mod inner_query;
pub mod judge;
mod key_validation;
pub mod label;
mod label_kept;
pub mod login;
pub mod lone_call;
mod mask_check;
mod mask_definition;
mod mask_denied;
mod mask_expression;
mod mask_given;
mod mask_level;
mod mask_query;
mod mask_write;
pub mod named_rule;
mod named_value;
mod node;
pub mod object;
mod out_of_scope;
pub mod parallel;
mod plain_names;
pub mod plain_query;
mod planner;
pub mod privilege;
pub mod quiet;
mod reached;
pub mod reading;
mod replication;
mod row_trigger;
pub mod rows;
pub mod statement;
pub mod transaction;
mod tripwire;
pub mod utility;
pub mod utility_facts;
pub mod utility_names;

use pgrx::pg_sys;

/// Installs every hook. Only while preloading.
pub fn init() {
    planner::init();
    index_order::init();
    executor::init();
    utility::init();
    object::init();
    function::init();
    reached::init();
    transaction::init();
    login::init();
    hidden_detail::init();
}

/// True where the policy has nothing to say: own SQL, the sequencer, an extension's script (CREATE and ALTER EXTENSION
/// were decided), what a parallel worker sets up for its leader (which was decided), and while the mode is off.
pub fn standing_aside() -> bool {
    // Safe: plain backend state.
    crate::own::running()
        || parallel::sets_up_leaders_plan()
        || unsafe { pg_sys::creating_extension }
        || crate::audit::sequencer::is_sequencer()
        || crate::shared::mode() == crate::settings::Mode::Off
}

/// The elements of a list of pointers.
pub unsafe fn list<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut T> {
    // Safe: callers pass node lists of the parser or planner, which outlive the hook call.
    let length = unsafe { if list.is_null() { 0 } else { (*list).length as usize } };
    (0..length).map(move |index| unsafe { (*(*list).elements.add(index)).ptr_value.cast::<T>() })
}
