//! Statements of a restore. What triggers did when the run changed a row is kept as images of its own, so on the way back
//! triggers fire as on a replica, where effects arrive by themselves too: those that are ENABLE ALWAYS, and no others.
//! Foreign keys go on to be checked. Only the very statement that was announced is quiet, never one that it leads to.

use super::list;
use crate::backend::backend_local;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{c_char, c_int};

/// Which triggers keep quiet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// Those of the application.
    Application,
    /// Those of keys as well, for a row that nothing refers to.
    Keys,
}

backend_local! {
    /// Address of the source text of the statement that is announced, and what keeps quiet in it. A text is told by its
    /// address: no other statement can have that while the plan lives.
    static ANNOUNCED: Cell<Option<(usize, Quiet)>> = const { Cell::new(None) };
}

/// Ends the announcement when dropped, by a panic (an SQL error on its way through) as well.
#[must_use = "the announcement ends when the guard is dropped"]
pub struct Announcement(());

impl Drop for Announcement {
    fn drop(&mut self) {
        ANNOUNCED.set(None);
    }
}

/// The statement with this source text is about to run.
pub fn announce(source: *const c_char, quiet: Quiet) -> Announcement {
    ANNOUNCED.set(Some((source as usize, quiet)));
    Announcement(())
}

/// Whether any statement is announced.
pub fn is_announced() -> bool {
    ANNOUNCED.get().is_some()
}

/// What keeps quiet in a query. For plain frames: neither raises nor allocates.
pub unsafe fn announced(query: *mut pg_sys::QueryDesc) -> Option<Quiet> {
    // Safe: ExecutorStart gets a complete QueryDesc.
    ANNOUNCED.get().filter(|(source, _)| *source == unsafe { (*query).sourceText } as usize).map(|(_, quiet)| quiet)
}

/// Switches triggers off in a started query: in the copy of their list that is its own.
pub unsafe fn silence(query: *mut pg_sys::QueryDesc, quiet: Quiet) {
    // Safe: called right after ExecutorStart, which has opened the result relations and copied their triggers.
    unsafe {
        for relation in list::<pg_sys::ResultRelInfo>((*(*query).estate).es_opened_result_relations) {
            let triggers = (*relation).ri_TrigDesc;
            let count = if triggers.is_null() { 0 } else { (*triggers).numtriggers as usize };
            for at in 0..count {
                let trigger = (*triggers).triggers.add(at);
                let quiet = match (*trigger).tgisinternal {
                    true => quiet == Quiet::Keys,
                    false => (*trigger).tgenabled as u8 == pg_sys::TRIGGER_FIRES_ON_ORIGIN,
                };
                if quiet {
                    (*trigger).tgenabled = pg_sys::TRIGGER_DISABLED as c_char;
                }
            }
        }
    }
}

/// While it lives, statements are rewritten as on a replica: without the rules that are not ENABLE ALWAYS. For making a
/// plan, never for running one.
#[must_use = "the role ends when the guard is dropped"]
pub struct AsReplica(c_int);

impl AsReplica {
    pub fn enter() -> AsReplica {
        // Safe: backend state, put back by the Drop below. Not through the setting, which would throw away every plan.
        unsafe {
            let former = AsReplica(pg_sys::SessionReplicationRole);
            pg_sys::SessionReplicationRole = pg_sys::SESSION_REPLICATION_ROLE_REPLICA as c_int;
            former
        }
    }
}

impl Drop for AsReplica {
    fn drop(&mut self) {
        // Safe: as above.
        unsafe { pg_sys::SessionReplicationRole = self.0 }
    }
}
