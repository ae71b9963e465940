//! Names in utility nodes ─► what they mean now: tables and what hangs on tables, schemas, and the extension's own objects
//! in every spelling.

use super::facts::Deed;
use super::list;
use super::utility_facts::Reader;
use crate::cache::{Member, OwnKind, Watched};
use crate::core::rule::{ColumnSet, Command, Group};
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use std::ffi::{CStr, CString, c_char};
use std::rc::Rc;

impl Reader<'_> {
    pub fn push(&mut self, group: Group, relation: Option<Rc<Member>>, columns: ColumnSet) {
        self.facts.deeds.push(Deed { command: Command { tag: self.tag, group }, relation, columns });
    }

    /// A command that names no protected relation.
    pub fn plain(&mut self, group: Group) {
        self.push(group, None, ColumnSet::default());
    }

    pub fn cluster(&mut self, group: Group) {
        self.facts.cluster_wide = true;
        self.plain(group);
    }

    /// A command on a table, or on something that hangs on a table (an index counts as its table).
    pub fn touches(&mut self, relation: pg_sys::Oid, group: Group) {
        match self.policy.watched(relation) {
            Some(Watched::Protected(member)) => self.push(group, Some(member.clone()), ColumnSet::default()),
            Some(Watched::Own(kind)) => self.facts.own = Some((*kind, super::utility::relation_name(relation))),
            // The catalog filled or emptied by hand: roles and settings of the whole cluster are in it.
            None if super::facts::is_catalog(relation) && group != Group::Upkeep => self.cluster(Group::Config),
            None => {}
        }
    }

    pub unsafe fn relation(&mut self, name: *mut pg_sys::RangeVar, group: Group) {
        // Safe: look-ups without lock; the name was fixed before, see `fixed_names`.
        unsafe {
            if let Some(relation) = resolve(name) {
                self.touches(relation, group);
            }
        }
    }

    /// A command that puts code on a relation, which the policy's own SQL would come across in a catalog.
    pub unsafe fn puts_code_on(&mut self, name: *mut pg_sys::RangeVar, group: Group) {
        // Safe: as above.
        unsafe {
            match resolve(name) {
                Some(relation) if super::facts::is_catalog(relation) => self.cluster(Group::Config),
                Some(relation) => self.touches(relation, group),
                None => {}
            }
        }
    }

    pub unsafe fn each(&mut self, names: *mut pg_sys::List, group: Group) {
        // Safe: names of the parser, or null.
        unsafe { list(names).for_each(|name| self.relation(name, group)) }
    }

    /// Without a name the command takes every table.
    pub unsafe fn one_or_all(&mut self, name: *mut pg_sys::RangeVar, group: Group) {
        if !name.is_null() {
            // Safe: names of the parser, or null.
            return unsafe { self.relation(name, group) };
        }
        let all: Vec<Rc<Member>> = self.policy.roots().cloned().collect();
        all.into_iter().for_each(|member| self.push(group, Some(member), ColumnSet::default()));
    }

    /// Any object that a command names by a node: tables, what hangs on tables, and things in schema steward.
    pub unsafe fn named(&mut self, kind: ObjectType::Type, object: *mut pg_sys::Node, group: Group) {
        use ObjectType::*;
        if object.is_null() {
            return;
        }
        // Safe: casts follow the node tags; names are lists of String nodes.
        unsafe {
            let names: Vec<&str> = match (*object).type_ {
                NodeTag::T_List => list::<pg_sys::String>(object.cast())
                    .filter(|n| (**n).type_ == NodeTag::T_String)
                    .map(|n| text((*n).sval))
                    .collect(),
                NodeTag::T_ObjectWithArgs => list::<pg_sys::String>((*object.cast::<pg_sys::ObjectWithArgs>()).objname)
                    .map(|n| text((*n).sval))
                    .collect(),
                NodeTag::T_String => vec![text((*object.cast::<pg_sys::String>()).sval)],
                NodeTag::T_TypeName => list::<pg_sys::String>((*object.cast::<pg_sys::TypeName>()).names)
                    .map(|n| text((*n).sval))
                    .collect(),
                _ => return,
            };
            match kind {
                OBJECT_SCHEMA => self.schema(names.first().copied().unwrap_or_default()),
                OBJECT_EXTENSION => self.own_extension_name(names.first().copied().unwrap_or_default()),
                _ if (*object).type_ != NodeTag::T_List && names.len() < 2 => {}
                OBJECT_TABLE | OBJECT_INDEX | OBJECT_VIEW | OBJECT_MATVIEW | OBJECT_SEQUENCE | OBJECT_FOREIGN_TABLE => {
                    self.relation(pg_sys::makeRangeVarFromNameList(object.cast()), group)
                }
                // The last name is the column, trigger, rule, policy or constraint; before it stands the table.
                OBJECT_COLUMN | OBJECT_TRIGGER | OBJECT_RULE | OBJECT_POLICY | OBJECT_TABCONSTRAINT
                    if names.len() > 1 =>
                {
                    let table = pg_sys::list_truncate(pg_sys::list_copy(object.cast()), names.len() as i32 - 1);
                    self.relation(pg_sys::makeRangeVarFromNameList(table), group)
                }
                _ if names.len() > 1 && names[names.len() - 2] == "steward" => {
                    self.facts.own = Some((OwnKind::Configuration, names.join(".")));
                }
                _ => {}
            }
        }
    }

    /// A schema that holds protected tables is structure; schema steward is ours.
    pub fn schema(&mut self, name: &str) {
        self.schema_as(name, Group::Ddl)
    }

    pub fn schema_as(&mut self, name: &str, group: Group) {
        self.own_schema(name);
        let Ok(name) = CString::new(name) else { return };
        // Safe: look-ups in the catalog. By number: a name may have a dot in it, and may have changed.
        let schema = unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) };
        let is_inside = |member: &&Rc<Member>| unsafe { pg_sys::get_rel_namespace(member.root.oid) } == schema;
        let inside: Vec<Rc<Member>> = self.policy.roots().filter(is_inside).cloned().collect();
        inside.into_iter().for_each(|member| self.push(group, Some(member), ColumnSet::default()));
    }

    pub fn own_schema(&mut self, name: &str) {
        if name == "steward" {
            self.facts.own = Some((OwnKind::Configuration, "schema steward".to_owned()));
        }
    }

    pub unsafe fn own_extension(&mut self, name: *const c_char) {
        // Safe: a C string of the parser, or null.
        unsafe { self.own_extension_name(text(name)) }
    }

    pub fn own_extension_name(&mut self, name: &str) {
        if name == "pg_steward" {
            self.facts.own = Some((OwnKind::Configuration, "extension pg_steward".to_owned()));
        }
    }

    /// Nothing new is put into schema steward.
    pub unsafe fn created(&mut self, name: *mut pg_sys::RangeVar) {
        // Safe: names of the parser, or null.
        unsafe {
            if !name.is_null() && !(*name).schemaname.is_null() {
                self.own_schema(text((*name).schemaname));
            }
        }
    }

    pub unsafe fn creates_in(&mut self, node: *mut pg_sys::Node, tag: NodeTag) {
        // Safe: each cast follows the tag.
        unsafe {
            match tag {
                NodeTag::T_ViewStmt => {
                    let view = (*node.cast::<pg_sys::ViewStmt>()).view;
                    self.created(view);
                    self.relation(view, Group::Ddl)
                }
                NodeTag::T_CreateSeqStmt => self.created((*node.cast::<pg_sys::CreateSeqStmt>()).sequence),
                NodeTag::T_AlterFunctionStmt => {
                    let function = (*node.cast::<pg_sys::AlterFunctionStmt>()).func;
                    self.named(ObjectType::OBJECT_FUNCTION, function.cast(), Group::Ddl)
                }
                NodeTag::T_AlterObjectDependsStmt => {
                    let alter = node.cast::<pg_sys::AlterObjectDependsStmt>();
                    self.relation((*alter).relation, Group::Ddl);
                    // Behind a table stands the name of what hangs on it.
                    if (*alter).relation.is_null() {
                        self.named((*alter).objectType, (*alter).object, Group::Ddl)
                    }
                    // Whoever owns what is altered would hold the lock on it until their transaction ends.
                    let extension = (*alter).extname;
                    if !extension.is_null() && text((*extension).sval) == "pg_steward" {
                        self.facts.own = Some((OwnKind::Extension, "extension pg_steward".to_owned()));
                    }
                }
                _ => {}
            }
        }
    }
}

/// A C string of the parser; empty for null.
pub unsafe fn text<'a>(name: *const c_char) -> &'a str {
    // Safe: names in parse nodes are C strings that live as long as the node.
    if name.is_null() { "" } else { unsafe { CStr::from_ptr(name).to_str().unwrap_or("") } }
}

/// The table a name means now; an index counts as its table. What is no name, as the grammar lets CREATE STATISTICS have a
/// join after FROM, means none: the command's own error.
pub unsafe fn resolve(name: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    // Safe: null or a node, and every node begins with its tag.
    if name.is_null() || unsafe { (*name).type_ } != pg_sys::NodeTag::T_RangeVar {
        return None;
    }
    // Safe: a look-up without lock; a missing relation is the command's own error.
    unsafe {
        let relation = pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        if relation == pg_sys::InvalidOid {
            return None;
        }
        match pg_sys::get_rel_relkind(relation) as u8 {
            pg_sys::RELKIND_INDEX | pg_sys::RELKIND_PARTITIONED_INDEX => Some(pg_sys::IndexGetRelation(relation, true)),
            _ => Some(relation),
        }
    }
}

/// The columns a COPY FROM fills: those listed, or all.
pub unsafe fn copied_columns(relation: pg_sys::Oid, listed: *mut pg_sys::List) -> ColumnSet {
    let mut set = ColumnSet::default();
    // Safe: syscache look-ups; attribute numbers of user columns start at 1.
    unsafe {
        if listed.is_null() {
            (1..=pg_sys::MaxAttrNumber as u16)
                .take_while(|number| !pg_sys::get_attname(relation, *number as i16, true).is_null())
                .for_each(|number| set.insert(number));
        }
        for name in list::<pg_sys::String>(listed) {
            if let Ok(number @ 1..) = u16::try_from(pg_sys::get_attnum(relation, (*name).sval)) {
                set.insert(number);
            }
        }
    }
    set
}

/// Whether a DROP EXTENSION names ours among others.
pub unsafe fn names_own_extension(drop: &pg_sys::DropStmt) -> bool {
    // Safe: extensions are named by String nodes.
    drop.removeType == ObjectType::OBJECT_EXTENSION
        && unsafe { list::<pg_sys::String>(drop.objects).any(|name| text((*name).sval) == "pg_steward") }
}
