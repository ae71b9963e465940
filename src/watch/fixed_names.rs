//! The names in a command mean what they meant when it was decided. The server looks them up again, later and under its
//! locks: whoever drops a table in another session meanwhile would turn `student` of the one schema into that of the next
//! one on the search path. So a name without a schema is given that of the table it was decided for; to bring another table
//! under the full name, somebody would have to move a protected one, which is decided itself.
//!
//! Only names that the server looks up are fixed, never those that a command creates.

use super::{list, node, standing_aside};
use crate::raw;
use pgrx::pg_sys::{self, NodeTag, PlannedStmt, RangeVar};
use std::ffi::c_int;

/// The command that runs in the place of this one, and whether it may still be changed by nobody.
pub unsafe fn in_place_of(
    statement: *mut PlannedStmt,
    read_only: bool,
    context: pg_sys::ProcessUtilityContext::Type,
) -> (*mut PlannedStmt, bool) {
    // Safe: ProcessUtility gets a complete utility statement.
    unsafe {
        let part = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND;
        if part || !names_tables((*(*statement).utilityStmt).type_) || standing_aside() || !raw::IsTransactionState() {
            return (statement, read_only);
        }
        // A plan that is kept is looked up anew each time: what is fixed is this run's own copy.
        (fix(statement, read_only), false)
    }
}

/// Commands that `each_name` reads.
fn names_tables(tag: NodeTag) -> bool {
    use NodeTag::*;
    matches!(
        tag,
        T_CopyStmt
            | T_TruncateStmt
            | T_LockStmt
            | T_VacuumStmt
            | T_ClusterStmt
            | T_ReindexStmt
            | T_IndexStmt
            | T_CreateStatsStmt
            | T_CreateStmt
            | T_AlterTableStmt
            | T_CreateTrigStmt
            | T_RuleStmt
            | T_CreatePolicyStmt
            | T_AlterPolicyStmt
            | T_RenameStmt
            | T_AlterObjectSchemaStmt
            | T_AlterObjectDependsStmt
            | T_CreatePublicationStmt
            | T_AlterPublicationStmt
            | T_GrantStmt
            | T_CreateSchemaStmt
    )
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn fix(statement: *mut PlannedStmt, read_only: bool) -> *mut PlannedStmt {
    // Safe: a complete statement, our own copy where it is not ours to change.
    unsafe {
        let own = if read_only { node::copy(statement) } else { statement };
        each_name((*own).utilityStmt, &mut |name| give_schema(name));
        own
    }
}

/// The names of tables that a command looks up on the search path.
unsafe fn each_name(node: *mut pg_sys::Node, found: &mut dyn FnMut(*mut RangeVar)) {
    use NodeTag::*;
    // Safe: each cast follows the node's own tag.
    unsafe {
        match (*node).type_ {
            T_CopyStmt => found((*node.cast::<pg_sys::CopyStmt>()).relation),
            T_TruncateStmt => list((*node.cast::<pg_sys::TruncateStmt>()).relations).for_each(found),
            T_LockStmt => list((*node.cast::<pg_sys::LockStmt>()).relations).for_each(found),
            T_VacuumStmt => list::<pg_sys::VacuumRelation>((*node.cast::<pg_sys::VacuumStmt>()).rels)
                .for_each(|named| found((*named).relation)),
            T_ClusterStmt => found((*node.cast::<pg_sys::ClusterStmt>()).relation),
            T_ReindexStmt => found((*node.cast::<pg_sys::ReindexStmt>()).relation),
            T_IndexStmt => found((*node.cast::<pg_sys::IndexStmt>()).relation),
            T_CreateStatsStmt => list((*node.cast::<pg_sys::CreateStatsStmt>()).relations).for_each(found),
            T_CreateStmt => {
                let create = &*node.cast::<pg_sys::CreateStmt>();
                list(create.inhRelations).for_each(&mut *found);
                list(create.tableElts).for_each(|element| constraint(element, found));
            }
            T_AlterTableStmt => {
                let alter = &*node.cast::<pg_sys::AlterTableStmt>();
                found(alter.relation);
                list::<pg_sys::AlterTableCmd>(alter.cmds).for_each(|command| part((*command).def, found));
            }
            T_CreateTrigStmt => {
                let trigger = &*node.cast::<pg_sys::CreateTrigStmt>();
                found(trigger.relation);
                found(trigger.constrrel);
            }
            T_RuleStmt => found((*node.cast::<pg_sys::RuleStmt>()).relation),
            T_CreatePolicyStmt => found((*node.cast::<pg_sys::CreatePolicyStmt>()).table),
            T_AlterPolicyStmt => found((*node.cast::<pg_sys::AlterPolicyStmt>()).table),
            T_RenameStmt => found((*node.cast::<pg_sys::RenameStmt>()).relation),
            T_AlterObjectSchemaStmt => found((*node.cast::<pg_sys::AlterObjectSchemaStmt>()).relation),
            T_AlterObjectDependsStmt => found((*node.cast::<pg_sys::AlterObjectDependsStmt>()).relation),
            T_CreatePublicationStmt => published((*node.cast::<pg_sys::CreatePublicationStmt>()).pubobjects, found),
            T_AlterPublicationStmt => published((*node.cast::<pg_sys::AlterPublicationStmt>()).pubobjects, found),
            T_GrantStmt => list::<pg_sys::Node>((*node.cast::<pg_sys::GrantStmt>()).objects)
                .for_each(|object| if_name(object, found)),
            T_CreateSchemaStmt => schema_elements((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaElts, found),
            _ => {}
        }
    }
}

/// What ALTER TABLE adds: a partition, a parent, a column or constraint.
unsafe fn part(definition: *mut pg_sys::Node, found: &mut dyn FnMut(*mut RangeVar)) {
    // Safe: null or a node, cast after its tag.
    unsafe {
        match definition.as_ref().map(|definition| definition.type_) {
            Some(NodeTag::T_PartitionCmd) => found((*definition.cast::<pg_sys::PartitionCmd>()).name),
            None => {}
            Some(_) => {
                if_name(definition, found);
                constraint(definition, found);
            }
        }
    }
}

/// The table that a foreign key refers to, of a table or of its column.
unsafe fn constraint(element: *mut pg_sys::Node, found: &mut dyn FnMut(*mut RangeVar)) {
    // Safe: a node of the parser, cast after its tag.
    unsafe {
        match (*element).type_ {
            NodeTag::T_Constraint => found((*element.cast::<pg_sys::Constraint>()).pktable),
            NodeTag::T_ColumnDef => list((*element.cast::<pg_sys::ColumnDef>()).constraints)
                .for_each(|element: *mut pg_sys::Constraint| found((*element).pktable)),
            _ => {}
        }
    }
}

unsafe fn published(objects: *mut pg_sys::List, found: &mut dyn FnMut(*mut RangeVar)) {
    // Safe: specifications of the parser; those of schemas name no table.
    unsafe {
        for table in list::<pg_sys::PublicationObjSpec>(objects).map(|object| (*object).pubtable) {
            if !table.is_null() {
                found((*table).relation);
            }
        }
    }
}

/// Elements are looked up with the new schema in front: what they create there is not what stands elsewhere now.
unsafe fn schema_elements(elements: *mut pg_sys::List, found: &mut dyn FnMut(*mut RangeVar)) {
    // Safe: elements are statements of the parser; casts follow their tags.
    unsafe {
        let created = |element: *mut pg_sys::Node| match (*element).type_ {
            NodeTag::T_CreateStmt => (*element.cast::<pg_sys::CreateStmt>()).relation,
            NodeTag::T_ViewStmt => (*element.cast::<pg_sys::ViewStmt>()).view,
            NodeTag::T_CreateSeqStmt => (*element.cast::<pg_sys::CreateSeqStmt>()).sequence,
            _ => std::ptr::null_mut(),
        };
        let same = |one: *mut RangeVar, other: *mut RangeVar| libc::strcmp((*one).relname, (*other).relname) == 0;
        let is_new = |name| list(elements).map(created).any(|new| !new.is_null() && same(new, name));
        for element in list(elements) {
            each_name(element, &mut |name| {
                if !name.is_null() && !is_new(name) {
                    found(name);
                }
            });
        }
    }
}

unsafe fn if_name(object: *mut pg_sys::Node, found: &mut dyn FnMut(*mut RangeVar)) {
    // Safe: a node, cast after its tag.
    unsafe {
        if (*object).type_ == NodeTag::T_RangeVar {
            found(object.cast());
        }
    }
}

/// Gives a name the schema of what it means now. A temporary table is this session's own: nobody else drops it.
unsafe fn give_schema(name: *mut RangeVar) {
    // Safe: null or a node that is ours to change; what the grammar lets stand where a name belongs is left alone.
    unsafe {
        if name.is_null() || (*name).type_ != NodeTag::T_RangeVar || !(*name).schemaname.is_null() {
            return;
        }
        let (unlocked, missing) = (pg_sys::NoLock as c_int, pg_sys::RVROption::RVR_MISSING_OK);
        let relation = pg_sys::RangeVarGetRelidExtended(name, unlocked, missing, None, std::ptr::null_mut());
        let schema = pg_sys::get_rel_namespace(relation);
        if schema != pg_sys::InvalidOid && !pg_sys::isTempNamespace(schema) {
            (*name).schemaname = pg_sys::get_namespace_name(schema);
        }
    }
}
