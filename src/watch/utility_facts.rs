//! Utility node ─► deeds. The only reader of utility parse nodes. Each command is put into a group of the installed
//! rules; what is not listed here is configuration, because the unknown is critical.

use super::facts::Deed;
use super::{list, privilege};
use crate::cache::{Member, OwnKind, Policy, Watched};
use crate::core::rule::{ColumnSet, Command, Group};
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use std::ffi::{CStr, c_char};
use std::rc::Rc;

/// What a utility command does that the policy may care about.
#[derive(Default)]
pub struct UtilityFacts {
    pub deeds: Vec<Deed>,
    /// An own object is touched: its kind and name.
    pub own: Option<(OwnKind, String)>,
    /// Roles, settings, files: belongs to the whole cluster, whichever database it is typed in.
    pub cluster_wide: bool,
    /// COPY FROM into a protected table: its rows are counted afterwards.
    pub loads: bool,
}

struct Reader<'a> {
    policy: &'a Policy,
    tag: &'static str,
    facts: UtilityFacts,
}

/// Reads a utility statement. Needs a live transaction: names are looked up in the catalog.
pub unsafe fn of_utility(node: *mut pg_sys::Node, policy: &Policy) -> UtilityFacts {
    // Safe: command tag names are static C strings of the server.
    let tag =
        unsafe { CStr::from_ptr(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(node))).to_str().unwrap_or("???") };
    let mut reader = Reader { policy, tag, facts: UtilityFacts::default() };
    unsafe { reader.read(node) };
    reader.facts
}

/// Commands that decide nothing by themselves: what they run is decided on its own, or they touch only the session.
fn is_harmless(tag: NodeTag) -> bool {
    use NodeTag::*;
    matches!(
        tag,
        T_TransactionStmt
            | T_VariableSetStmt
            | T_VariableShowStmt
            | T_PrepareStmt
            | T_ExecuteStmt
            | T_DeallocateStmt
            | T_DeclareCursorStmt
            | T_FetchStmt
            | T_ClosePortalStmt
            | T_ListenStmt
            | T_UnlistenStmt
            | T_NotifyStmt
            | T_DiscardStmt
            | T_ConstraintsSetStmt
            | T_CheckPointStmt
            | T_ExplainStmt
            | T_DoStmt
            | T_CallStmt
            | T_CreateTableAsStmt
            | T_RefreshMatViewStmt
    )
}

impl Reader<'_> {
    unsafe fn read(&mut self, node: *mut pg_sys::Node) {
        use NodeTag::*;
        // Safe: each cast follows the node's own tag; fields are only read.
        unsafe {
            match (*node).type_ {
                tag if is_harmless(tag) => {}
                T_CopyStmt => self.copy(&*node.cast()),
                T_TruncateStmt => self.each((*node.cast::<pg_sys::TruncateStmt>()).relations, Group::Ddl),
                T_LockStmt => self.lock(&*node.cast()),
                T_VacuumStmt => self.vacuum(&*node.cast()),
                T_ClusterStmt => self.one_or_all((*node.cast::<pg_sys::ClusterStmt>()).relation, Group::Ddl),
                T_ReindexStmt => self.relation((*node.cast::<pg_sys::ReindexStmt>()).relation, Group::Upkeep),
                T_IndexStmt => self.relation((*node.cast::<pg_sys::IndexStmt>()).relation, Group::Upkeep),
                T_CreateStatsStmt => self.each((*node.cast::<pg_sys::CreateStatsStmt>()).relations, Group::Upkeep),
                T_CommentStmt => self.comment(&*node.cast()),
                T_CreateStmt => self.create_table(&*node.cast()),
                T_AlterTableStmt => self.alter_table(&*node.cast()),
                T_CreateTrigStmt => self.relation((*node.cast::<pg_sys::CreateTrigStmt>()).relation, Group::Ddl),
                T_RuleStmt => self.relation((*node.cast::<pg_sys::RuleStmt>()).relation, Group::Ddl),
                T_CreatePolicyStmt => self.privilege_on((*node.cast::<pg_sys::CreatePolicyStmt>()).table),
                T_AlterPolicyStmt => self.privilege_on((*node.cast::<pg_sys::AlterPolicyStmt>()).table),
                T_RenameStmt => self.rename(&*node.cast()),
                T_AlterObjectSchemaStmt => self.move_object(&*node.cast()),
                T_AlterOwnerStmt => self.change_owner(&*node.cast()),
                T_DropStmt => self.drop(&*node.cast()),
                T_SecLabelStmt => self.label(&*node.cast()),
                T_CreateFunctionStmt => self.create_function(&*node.cast()),
                T_CreatePublicationStmt => {
                    if (*node.cast::<pg_sys::CreatePublicationStmt>()).for_all_tables {
                        self.cluster(Group::Config);
                    }
                }
                T_AlterPublicationStmt => {
                    if (*node.cast::<pg_sys::AlterPublicationStmt>()).for_all_tables {
                        self.cluster(Group::Config);
                    }
                }
                T_GrantStmt => self.grant(&*node.cast()),
                T_AlterDefaultPrivilegesStmt => {
                    let group = privilege::of_grantees(
                        self.policy,
                        (*(*node.cast::<pg_sys::AlterDefaultPrivilegesStmt>()).action).grantees,
                    );
                    self.plain(group)
                }
                T_GrantRoleStmt | T_CreateRoleStmt | T_AlterRoleStmt | T_DropRoleStmt | T_ReassignOwnedStmt
                | T_DropOwnedStmt => {
                    let group = privilege::of_role_command(self.policy, node);
                    self.cluster(group)
                }
                T_AlterExtensionContentsStmt => {
                    let name = (*node.cast::<pg_sys::AlterExtensionContentsStmt>()).extname;
                    self.own_extension(name);
                    self.plain(Group::Config)
                }
                T_CreateExtensionStmt | T_AlterExtensionStmt | T_CreateEventTrigStmt | T_AlterEventTrigStmt => {
                    self.plain(Group::Config)
                }
                tag if is_ordinary_object(tag) => self.creates_in(node, tag),
                // ALTER SYSTEM, databases, role settings, tablespaces, subscriptions, foreign servers, LOAD, languages,
                // and whatever a later PostgreSQL adds.
                _ => self.cluster(Group::Config),
            }
        }
    }

    fn push(&mut self, group: Group, relation: Option<Rc<Member>>, columns: ColumnSet) {
        self.facts.deeds.push(Deed { command: Command { tag: self.tag, group }, relation, columns });
    }

    /// A command that names no protected relation.
    fn plain(&mut self, group: Group) {
        self.push(group, None, ColumnSet::default());
    }

    fn cluster(&mut self, group: Group) {
        self.facts.cluster_wide = true;
        self.plain(group);
    }

    /// A command on a table, or on something that hangs on a table (an index counts as its table).
    fn touches(&mut self, relation: pg_sys::Oid, group: Group) {
        match self.policy.watched(relation) {
            Some(Watched::Protected(member)) => self.push(group, Some(member.clone()), ColumnSet::default()),
            Some(Watched::Own(kind)) => self.facts.own = Some((*kind, super::utility::relation_name(relation))),
            None => {}
        }
    }

    unsafe fn relation(&mut self, name: *mut pg_sys::RangeVar, group: Group) {
        // Safe: look-ups without lock; what is renamed in between is caught by the object access hook.
        unsafe {
            if let Some(relation) = resolve(name) {
                self.touches(relation, group);
            }
        }
    }

    unsafe fn each(&mut self, names: *mut pg_sys::List, group: Group) {
        unsafe { list(names).for_each(|name| self.relation(name, group)) }
    }

    /// Without a name the command takes every table.
    unsafe fn one_or_all(&mut self, name: *mut pg_sys::RangeVar, group: Group) {
        if !name.is_null() {
            return unsafe { self.relation(name, group) };
        }
        let all: Vec<Rc<Member>> = self.policy.roots().cloned().collect();
        all.into_iter().for_each(|member| self.push(group, Some(member), ColumnSet::default()));
    }

    unsafe fn copy(&mut self, copy: &pg_sys::CopyStmt) {
        if !copy.filename.is_null() || copy.is_program {
            self.cluster(Group::Config);
        }
        let Some(relation) = (unsafe { resolve(copy.relation) }) else { return };
        if !copy.is_from {
            // Reading own views and tables is a matter of privileges.
            if self.policy.protected(relation).is_some() {
                self.tag = "COPY TO";
                self.touches(relation, Group::Export);
            }
            return;
        }
        self.tag = "COPY FROM";
        self.facts.loads = true;
        match self.policy.watched(relation) {
            Some(Watched::Protected(member)) => {
                let columns = unsafe { copied_columns(relation, copy.attlist) };
                self.push(Group::Write, Some(member.clone()), columns);
            }
            _ => self.touches(relation, Group::Write),
        }
    }

    unsafe fn lock(&mut self, lock: &pg_sys::LockStmt) {
        unsafe { self.each(lock.relations, Group::Upkeep) };
        if lock.mode == pg_sys::AccessShareLock as i32 {
            self.facts.own = None;
        }
    }

    unsafe fn vacuum(&mut self, vacuum: &pg_sys::VacuumStmt) {
        unsafe {
            let full = list::<pg_sys::DefElem>(vacuum.options)
                .any(|option| text((*option).defname) == "full" && pg_sys::defGetBoolean(option));
            let group = if full { Group::Ddl } else { Group::Upkeep };
            if vacuum.rels.is_null() && full {
                return self.one_or_all(std::ptr::null_mut(), group);
            }
            list::<pg_sys::VacuumRelation>(vacuum.rels).for_each(|relation| self.relation((*relation).relation, group));
            if !full {
                self.facts.own = None;
            }
        }
    }

    unsafe fn comment(&mut self, comment: &pg_sys::CommentStmt) {
        unsafe { self.named(comment.objtype, comment.object, Group::Upkeep) }
    }

    unsafe fn create_table(&mut self, table: &pg_sys::CreateStmt) {
        unsafe {
            self.created(table.relation);
            let group = if table.partbound.is_null() { Group::Ddl } else { Group::Partition };
            self.each(table.inhRelations, group);
        }
    }

    unsafe fn alter_table(&mut self, alter: &pg_sys::AlterTableStmt) {
        unsafe {
            let Some(relation) = resolve(alter.relation) else { return };
            let owners: Vec<*mut pg_sys::RoleSpec> = list::<pg_sys::AlterTableCmd>(alter.cmds)
                .filter(|command| (**command).subtype == pg_sys::AlterTableType::AT_ChangeOwner)
                .map(|command| (*command).newowner)
                .collect();
            for owner in owners {
                let group = privilege::of_roles(self.policy, std::iter::once(owner));
                self.plain(group);
            }
            // A table that becomes a child of a protected one: the parent is what changes.
            for command in list::<pg_sys::AlterTableCmd>(alter.cmds) {
                if (*command).subtype == pg_sys::AlterTableType::AT_AddInherit {
                    self.relation((*command).def.cast(), Group::Ddl);
                }
            }
            self.touches(relation, Group::Ddl);
        }
    }

    unsafe fn privilege_on(&mut self, table: *mut pg_sys::RangeVar) {
        unsafe { self.relation(table, Group::Privilege) };
        if self.facts.own.is_none() {
            self.plain(Group::Privilege);
        }
    }

    unsafe fn rename(&mut self, rename: &pg_sys::RenameStmt) {
        unsafe {
            match rename.renameType {
                ObjectType::OBJECT_ROLE => self.cluster(Group::Privilege),
                ObjectType::OBJECT_DATABASE | ObjectType::OBJECT_TABLESPACE => self.cluster(Group::Config),
                ObjectType::OBJECT_SCHEMA => self.schema(text(rename.subname)),
                _ if !rename.relation.is_null() => self.relation(rename.relation, Group::Ddl),
                kind => self.named(kind, rename.object, Group::Ddl),
            }
        }
    }

    unsafe fn move_object(&mut self, alter: &pg_sys::AlterObjectSchemaStmt) {
        unsafe {
            if !alter.relation.is_null() {
                self.relation(alter.relation, Group::Ddl);
            }
            self.named(alter.objectType, alter.object, Group::Ddl);
            if text(alter.newschema) == "steward" {
                self.facts.own = Some((OwnKind::Configuration, "schema steward".to_owned()));
            }
            if alter.objectType == ObjectType::OBJECT_EXTENSION {
                self.plain(Group::Config);
            }
        }
    }

    unsafe fn change_owner(&mut self, alter: &pg_sys::AlterOwnerStmt) {
        unsafe {
            self.named(alter.objectType, alter.object, Group::Privilege);
            let group = privilege::of_roles(self.policy, std::iter::once(alter.newowner));
            match alter.objectType {
                ObjectType::OBJECT_DATABASE | ObjectType::OBJECT_TABLESPACE => self.cluster(group),
                _ => self.plain(group),
            }
        }
    }

    unsafe fn drop(&mut self, drop: &pg_sys::DropStmt) {
        use ObjectType::*;
        unsafe {
            match drop.removeType {
                OBJECT_EXTENSION
                | OBJECT_EVENT_TRIGGER
                | OBJECT_FDW
                | OBJECT_FOREIGN_SERVER
                | OBJECT_ACCESS_METHOD
                | OBJECT_LANGUAGE => return self.plain(Group::Config),
                OBJECT_POLICY => self.plain(Group::Privilege),
                _ => {}
            }
            for object in list::<pg_sys::Node>(drop.objects) {
                self.named(drop.removeType, object, Group::Ddl);
            }
        }
    }

    unsafe fn label(&mut self, label: &pg_sys::SecLabelStmt) {
        unsafe { self.named(label.objtype, label.object, Group::Privilege) };
        if self.facts.own.is_none() {
            self.plain(Group::Privilege);
        }
    }

    unsafe fn create_function(&mut self, function: &pg_sys::CreateFunctionStmt) {
        unsafe {
            self.named(ObjectType::OBJECT_FUNCTION, function.funcname.cast(), Group::Ddl);
            let language =
                list::<pg_sys::DefElem>(function.options).find(|option| text((**option).defname) == "language");
            let native =
                language.is_some_and(|option| matches!(text(pg_sys::defGetString(option)), "c" | "C" | "internal"));
            if native {
                self.cluster(Group::Config);
            }
        }
    }

    unsafe fn grant(&mut self, grant: &pg_sys::GrantStmt) {
        unsafe {
            for object in list::<pg_sys::Node>(grant.objects) {
                match grant.objtype {
                    _ if grant.targtype == pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA => {
                        self.schema(text((*object.cast::<pg_sys::String>()).sval));
                    }
                    ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE
                        if (*object).type_ == NodeTag::T_RangeVar =>
                    {
                        self.relation(object.cast(), Group::Privilege);
                    }
                    ObjectType::OBJECT_SCHEMA => self.own_schema(text((*object.cast::<pg_sys::String>()).sval)),
                    kind => self.named(kind, object, Group::Privilege),
                }
            }
            let group = privilege::of_grantees(self.policy, grant.grantees);
            self.facts.deeds.iter_mut().for_each(|deed| deed.command.group = group);
            match grant.objtype {
                ObjectType::OBJECT_DATABASE | ObjectType::OBJECT_TABLESPACE | ObjectType::OBJECT_PARAMETER_ACL => {
                    self.cluster(group)
                }
                _ if self.facts.deeds.is_empty() => self.plain(group),
                _ => {}
            }
        }
    }

    /// Any object that a command names by a node: tables, what hangs on tables, and things in schema steward.
    unsafe fn named(&mut self, kind: ObjectType::Type, object: *mut pg_sys::Node, group: Group) {
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
    fn schema(&mut self, name: &str) {
        self.own_schema(name);
        let inside: Vec<Rc<Member>> =
            self.policy.roots().filter(|member| member.root.name.split('.').next() == Some(name)).cloned().collect();
        inside.into_iter().for_each(|member| self.push(Group::Ddl, Some(member), ColumnSet::default()));
    }

    fn own_schema(&mut self, name: &str) {
        if name == "steward" {
            self.facts.own = Some((OwnKind::Configuration, "schema steward".to_owned()));
        }
    }

    unsafe fn own_extension(&mut self, name: *const c_char) {
        unsafe { self.own_extension_name(text(name)) }
    }

    fn own_extension_name(&mut self, name: &str) {
        if name == "pg_steward" {
            self.facts.own = Some((OwnKind::Configuration, "extension pg_steward".to_owned()));
        }
    }

    /// Nothing new is put into schema steward.
    unsafe fn created(&mut self, name: *mut pg_sys::RangeVar) {
        unsafe {
            if !name.is_null() && !(*name).schemaname.is_null() {
                self.own_schema(text((*name).schemaname));
            }
        }
    }

    unsafe fn creates_in(&mut self, node: *mut pg_sys::Node, tag: NodeTag) {
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
                    self.named((*alter).objectType, (*alter).object, Group::Ddl)
                }
                _ => {}
            }
        }
    }
}

/// Objects of an ordinary schema that carry no protected data: creating and altering them is nobody's business here.
fn is_ordinary_object(tag: NodeTag) -> bool {
    use NodeTag::*;
    matches!(
        tag,
        T_ViewStmt
            | T_CreateSeqStmt
            | T_AlterSeqStmt
            | T_CreateSchemaStmt
            | T_CreateDomainStmt
            | T_AlterDomainStmt
            | T_CompositeTypeStmt
            | T_CreateEnumStmt
            | T_AlterEnumStmt
            | T_CreateRangeStmt
            | T_AlterTypeStmt
            | T_DefineStmt
            | T_AlterFunctionStmt
            | T_AlterOperatorStmt
            | T_AlterStatsStmt
            | T_AlterCollationStmt
            | T_CreateCastStmt
            | T_CreateConversionStmt
            | T_CreateTransformStmt
            | T_CreateOpClassStmt
            | T_CreateOpFamilyStmt
            | T_AlterOpFamilyStmt
            | T_AlterTSConfigurationStmt
            | T_AlterTSDictionaryStmt
            | T_AlterObjectDependsStmt
    )
}

/// A C string of the parser; empty for null.
pub unsafe fn text<'a>(name: *const c_char) -> &'a str {
    // Safe: names in parse nodes are C strings that live as long as the node.
    if name.is_null() { "" } else { unsafe { CStr::from_ptr(name).to_str().unwrap_or("") } }
}

/// The table a name means now; an index counts as its table.
unsafe fn resolve(name: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    if name.is_null() {
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
unsafe fn copied_columns(relation: pg_sys::Oid, listed: *mut pg_sys::List) -> ColumnSet {
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
