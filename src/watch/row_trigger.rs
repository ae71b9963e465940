//! The row trigger of protected tables costs nothing where no image is kept: it is switched off in the plan, not on the table.
//!
//! Queueing its events, and fetching each changed row again to hand it over, would cost every write more than all the rest
//! of the policy. What of a table is changed on another way than through a started plan (COPY FROM, a partition that a row
//! is routed to) keeps the trigger, which asks the same question itself.

use super::{list, rows};
use crate::cache::Policy;
use crate::settings::Mode;
use crate::{image, own, shared};
use pgrx::pg_sys;

/// The type of a trigger as the catalog has it: for each row, and its events; neither BEFORE nor INSTEAD OF.
const ROW: i16 = 1 << 0;
const BEFORE: i16 = 1 << 1;
const INSERT: i16 = 1 << 2;
const DELETE: i16 = 1 << 3;
const UPDATE: i16 = 1 << 4;
const INSTEAD: i16 = 1 << 6;

/// Whether a started plan, which nobody has decided, writes a table with triggers while the mode is off. For plain frames:
/// neither raises nor allocates.
pub unsafe fn is_idle(query: *mut pg_sys::QueryDesc) -> bool {
    // While an extension is made, ours perhaps, there may be no whole policy to ask.
    // Safe: plain backend state.
    if shared::mode() != Mode::Off || own::running() || unsafe { pg_sys::creating_extension } {
        return false;
    }
    // Safe: called right after ExecutorStart.
    unsafe {
        list::<pg_sys::ResultRelInfo>((*(*query).estate).es_opened_result_relations)
            .any(|table| !(*table).ri_TrigDesc.is_null())
    }
}

/// Switches the trigger off for the tables that a started plan writes, as far as nothing is to be kept of them.
pub unsafe fn spare(query: *mut pg_sys::QueryDesc, policy: &Policy) {
    // Safe: called right after ExecutorStart: the plan state is complete and belongs to this query, and so does the copy
    // of each table's triggers that it has made.
    unsafe {
        for modify in rows::modified(query) {
            let modify = modify.cast::<pg_sys::ModifyTableState>();
            for nth in 0..(*modify).mt_nrels as usize {
                let table = (*modify).resultRelInfo.add(nth);
                let relation = (*(*table).ri_RelationDesc).rd_id;
                let keeps = policy.protected(relation).is_none_or(|member| image::keeps(&member.root));
                if !keeps && !(*table).ri_TrigDesc.is_null() {
                    switch_off(&mut *(*table).ri_TrigDesc, policy.row_trigger);
                }
            }
        }
    }
}

/// It stays in the list: another part of the plan may have routed a row to this table and queued its event, which is looked up
/// here.
unsafe fn switch_off(description: &mut pg_sys::TriggerDesc, function: pg_sys::Oid) {
    // Safe: as many triggers as the number says.
    let triggers = unsafe { std::slice::from_raw_parts_mut(description.triggers, description.numtriggers as usize) };
    for trigger in triggers.iter_mut().filter(|trigger| trigger.tgfoid == function) {
        trigger.tgenabled = pg_sys::TRIGGER_DISABLED as _;
    }
    let others = || triggers.iter().filter(|trigger| trigger.tgfoid != function);
    let fires = |event: i16| others().any(|other| other.tgtype & (ROW | BEFORE | INSTEAD | event) == ROW | event);
    description.trig_insert_after_row = fires(INSERT);
    description.trig_update_after_row = fires(UPDATE);
    description.trig_delete_after_row = fires(DELETE);
}
