//! Utility node ─► deeds. The only reader of utility parse nodes. Each command is put into a group of the installed
//! rules; what is not listed here is configuration, because the unknown is critical.

use super::facts::{Deed, triggers_are_off};
use super::utility_names::{copied_columns, names_own_extension, resolve, text};
use super::{catalog, handed, list, privilege};
use crate::cache::{OwnKind, Policy, Watched};
use crate::core::emergency::is_closed_setting;
use crate::core::rule::{ColumnSet, Group};
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use std::ffi::CStr;

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
    /// COPY TO of a protected table.
    pub unloads: bool,
    /// CREATE TABLE AS EXECUTE: the plan that it runs does not show where its rows go.
    pub keeps_rows: bool,
    /// A setting that no emergency window reaches.
    pub beneath: bool,
}

/// A command being read.
pub struct Reader<'a> {
    pub policy: &'a Policy,
    pub tag: &'static str,
    pub facts: UtilityFacts,
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
            | T_CallStmt
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
                T_ReindexStmt => self.reindex(&*node.cast()),
                T_IndexStmt => self.puts_code_on((*node.cast::<pg_sys::IndexStmt>()).relation, Group::Upkeep),
                T_CreateStatsStmt => list((*node.cast::<pg_sys::CreateStatsStmt>()).relations)
                    .for_each(|table| self.puts_code_on(table, Group::Upkeep)),
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
                T_DoStmt => self.block(&*node.cast()),
                T_CreateTableAsStmt => self.facts.keeps_rows = runs_prepared(&*node.cast()),
                T_CreatePublicationStmt => {
                    let publication = &*node.cast::<pg_sys::CreatePublicationStmt>();
                    self.publish(publication.for_all_tables, publication.pubobjects)
                }
                T_AlterPublicationStmt => {
                    let publication = &*node.cast::<pg_sys::AlterPublicationStmt>();
                    self.publish(publication.for_all_tables, publication.pubobjects)
                }
                // Its elements run as parts of it.
                T_CreateSchemaStmt => {
                    let schema = &*node.cast::<pg_sys::CreateSchemaStmt>();
                    self.own_schema(text(schema.schemaname));
                    if handed::first_owner(schema.authrole).is_some() {
                        self.plain(privilege::of_roles(self.policy, std::iter::once(schema.authrole)));
                    }
                    list(schema.schemaElts).for_each(|element| self.read(element));
                }
                T_CreateCastStmt => self.plain(Group::Config),
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
                T_AlterSystemStmt => self.setting((*node.cast::<pg_sys::AlterSystemStmt>()).setstmt),
                T_AlterDatabaseSetStmt => self.setting((*node.cast::<pg_sys::AlterDatabaseSetStmt>()).setstmt),
                T_AlterRoleSetStmt => self.setting((*node.cast::<pg_sys::AlterRoleSetStmt>()).setstmt),
                T_CreatedbStmt => {
                    self.cluster(Group::Config);
                    if handed::owner_of_database(&*node.cast()).is_some() {
                        self.cluster(Group::Privilege);
                    }
                }
                T_CreateTableSpaceStmt => {
                    self.cluster(Group::Config);
                    if handed::first_owner((*node.cast::<pg_sys::CreateTableSpaceStmt>()).owner).is_some() {
                        self.cluster(Group::Privilege);
                    }
                }
                // Databases, tablespaces, subscriptions, foreign servers, LOAD, languages,
                // and whatever a later PostgreSQL adds.
                _ => self.cluster(Group::Config),
            }
        }
    }

    /// A setting that outlives the session.
    unsafe fn setting(&mut self, set: *mut pg_sys::VariableSetStmt) {
        // Safe: a node of the parser; without a name it resets all.
        self.facts.beneath = is_closed_setting(unsafe { text((*set).name) });
        self.cluster(Group::Config);
    }

    unsafe fn copy(&mut self, copy: &pg_sys::CopyStmt) {
        if !copy.filename.is_null() || copy.is_program {
            self.cluster(Group::Config);
        }
        // Safe: names of the parser, or null.
        let Some(relation) = (unsafe { resolve(copy.relation) }) else { return };
        if !copy.is_from {
            // Reading own views and tables is a matter of privileges, but for what nobody reads.
            self.tag = "COPY TO";
            self.facts.unloads = self.policy.protected(relation).is_some();
            let secret = matches!(self.policy.watched(relation), Some(Watched::Own(OwnKind::Secret)));
            if let Some(image) = self.policy.image(relation) {
                self.push(Group::Export, Some(image.clone()), ColumnSet::default());
            } else if let Some(records) = self.policy.trail(relation) {
                self.push(Group::Read, Some(records.clone()), ColumnSet::default());
            } else if secret || self.policy.protected(relation).is_some() {
                self.touches(relation, Group::Export);
            }
            return;
        }
        self.tag = "COPY FROM";
        self.facts.loads = true;
        match self.policy.watched(relation) {
            Some(Watched::Protected(member)) => {
                // Safe: names of the parser, or null.
                let columns = unsafe { copied_columns(relation, copy.attlist) };
                let group = if triggers_are_off() { Group::Ddl } else { Group::Write };
                self.push(group, Some(member.clone()), columns.clone());
                // Whoever forbids INSERT means COPY too.
                self.tag = "INSERT";
                self.push(group, Some(member.clone()), columns);
                self.tag = "COPY FROM";
            }
            _ => self.touches(relation, Group::Write),
        }
    }

    unsafe fn lock(&mut self, lock: &pg_sys::LockStmt) {
        // Safe: names of the parser, or null.
        unsafe { self.each(lock.relations, Group::Upkeep) };
        if lock.mode == pg_sys::AccessShareLock as i32 {
            self.facts.own = None;
            return;
        }
        // Locking a view locks every table behind it, at any depth: the records' tables could be among them. And who locks
        // the catalog stops every session, new ones and the chain included.
        // Safe: names of the parser, or null.
        for relation in unsafe { list(lock.relations).filter_map(|name| resolve(name)) } {
            // Safe: a syscache look-up.
            let is_view = unsafe { pg_sys::get_rel_relkind(relation) } as u8 == pg_sys::RELKIND_VIEW;
            if is_view || relation.to_u32() < pg_sys::FirstNormalObjectId {
                self.plain(Group::Config);
            }
        }
    }

    /// What is published leaves by replication.
    unsafe fn publish(&mut self, everything: bool, objects: *mut pg_sys::List) {
        if everything {
            self.cluster(Group::Config);
        }
        // Safe: specifications of the parser; without a table they name a schema, or the current one.
        unsafe {
            for object in list::<pg_sys::PublicationObjSpec>(objects) {
                if !(*object).pubtable.is_null() {
                    self.relation((*(*object).pubtable).relation, Group::Export);
                } else if (*object).name.is_null() {
                    self.plain(Group::Config);
                } else {
                    self.schema_as(text((*object).name), Group::Export);
                }
            }
        }
    }

    unsafe fn vacuum(&mut self, vacuum: &pg_sys::VacuumStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
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

    unsafe fn reindex(&mut self, reindex: &pg_sys::ReindexStmt) {
        use pg_sys::ReindexObjectType::*;
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe {
            match reindex.kind {
                REINDEX_OBJECT_SCHEMA => self.schema_as(text(reindex.name), Group::Upkeep),
                // Locks the catalog, which stops every session.
                REINDEX_OBJECT_SYSTEM | REINDEX_OBJECT_DATABASE => self.plain(Group::Config),
                _ => self.relation(reindex.relation, Group::Upkeep),
            }
        }
    }

    unsafe fn comment(&mut self, comment: &pg_sys::CommentStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe { self.named(comment.objtype, comment.object, Group::Upkeep) }
    }

    unsafe fn create_table(&mut self, table: &pg_sys::CreateStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe {
            self.created(table.relation);
            let group = if table.partbound.is_null() { Group::Ddl } else { Group::Partition };
            self.each(table.inhRelations, group);
        }
    }

    unsafe fn alter_table(&mut self, alter: &pg_sys::AlterTableStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
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
            if !handed::unguarded(alter).is_empty() {
                self.plain(Group::Privilege);
            }
            // A table that becomes a child of a protected one: the parent is what changes.
            for command in list::<pg_sys::AlterTableCmd>(alter.cmds) {
                match (*command).subtype {
                    pg_sys::AlterTableType::AT_AddInherit => self.relation((*command).def.cast(), Group::Ddl),
                    // And a protected table that becomes a part of another could be written through it.
                    pg_sys::AlterTableType::AT_AttachPartition => {
                        self.relation((*(*command).def.cast::<pg_sys::PartitionCmd>()).name, Group::Ddl)
                    }
                    _ => {}
                }
            }
            self.touches(relation, Group::Ddl);
            // A composite type: its attributes are parts of the rows that hold it.
            if let Some(member) = self.policy.member_with_part(catalog::RELATION, relation) {
                self.push(Group::Ddl, Some(member.clone()), ColumnSet::default());
            }
        }
    }

    unsafe fn privilege_on(&mut self, table: *mut pg_sys::RangeVar) {
        // Safe: names of the parser, or null.
        unsafe { self.relation(table, Group::Privilege) };
        if self.facts.own.is_none() {
            self.plain(Group::Privilege);
        }
    }

    unsafe fn rename(&mut self, rename: &pg_sys::RenameStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe {
            match rename.renameType {
                ObjectType::OBJECT_ROLE => self.cluster(Group::Privilege),
                ObjectType::OBJECT_DATABASE | ObjectType::OBJECT_TABLESPACE => self.cluster(Group::Config),
                ObjectType::OBJECT_SCHEMA => self.schema(text(rename.subname)),
                ObjectType::OBJECT_LANGUAGE
                | ObjectType::OBJECT_FDW
                | ObjectType::OBJECT_FOREIGN_SERVER
                | ObjectType::OBJECT_EVENT_TRIGGER => self.plain(Group::Config),
                _ if !rename.relation.is_null() => self.relation(rename.relation, Group::Ddl),
                kind => self.named(kind, rename.object, Group::Ddl),
            }
        }
    }

    unsafe fn move_object(&mut self, alter: &pg_sys::AlterObjectSchemaStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
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
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe {
            self.named(alter.objectType, alter.object, Group::Privilege);
            let group = privilege::of_roles(self.policy, std::iter::once(alter.newowner));
            match alter.objectType {
                ObjectType::OBJECT_DATABASE | ObjectType::OBJECT_TABLESPACE => self.cluster(group),
                _ => self.plain(group),
            }
            // Whoever owns these says what code runs for others.
            if matches!(
                alter.objectType,
                ObjectType::OBJECT_LANGUAGE
                    | ObjectType::OBJECT_FDW
                    | ObjectType::OBJECT_FOREIGN_SERVER
                    | ObjectType::OBJECT_EVENT_TRIGGER
            ) {
                self.plain(Group::Config);
            }
        }
    }

    unsafe fn drop(&mut self, drop: &pg_sys::DropStmt) {
        use ObjectType::*;
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe {
            match drop.removeType {
                // With the policy all that it demands goes.
                OBJECT_EXTENSION if names_own_extension(drop) => return self.plain(Group::Privilege),
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
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe { self.named(label.objtype, label.object, Group::Privilege) };
        if self.facts.own.is_none() {
            self.plain(Group::Privilege);
        }
    }

    unsafe fn create_function(&mut self, function: &pg_sys::CreateFunctionStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe {
            self.named(ObjectType::OBJECT_FUNCTION, function.funcname.cast(), Group::Ddl);
            let language =
                list::<pg_sys::DefElem>(function.options).find(|option| text((**option).defname) == "language");
            if language.is_some_and(|option| is_untrusted(pg_sys::defGetString(option))) {
                self.cluster(Group::Config);
            }
        }
    }

    /// A block in an untrusted language reaches the server's files and processes; any other is decided by what it runs.
    unsafe fn block(&mut self, block: &pg_sys::DoStmt) {
        // Safe: a complete statement of the parser; each cast follows what its fields say.
        unsafe {
            let language = list::<pg_sys::DefElem>(block.args).find(|option| text((**option).defname) == "language");
            if language.is_some_and(|option| is_untrusted(pg_sys::defGetString(option))) {
                self.cluster(Group::Config);
            }
        }
    }

    unsafe fn grant(&mut self, grant: &pg_sys::GrantStmt) {
        // In CREATE SCHEMA other elements may stand before it.
        let (before, own) = (self.facts.deeds.len(), self.facts.own.take());
        // Safe: a complete statement of the parser; each cast follows what its fields say.
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
            // Who reads the trail is set-up: a dump brings such rights along, and they change no record.
            if let Some((kind, _)) = &mut self.facts.own {
                *kind = OwnKind::Configuration;
            }
            self.facts.own = own.or(self.facts.own.take());
            let group = privilege::of_grantees(self.policy, grant.grantees);
            // The catalog tells everybody's secrets, whoever it is opened to.
            let of = |deed: &Deed| if deed.relation.is_some() { group } else { Group::Privilege };
            self.facts.deeds[before..].iter_mut().for_each(|deed| deed.command.group = of(deed));
            match grant.objtype {
                ObjectType::OBJECT_DATABASE | ObjectType::OBJECT_TABLESPACE => self.cluster(group),
                // A right to switch off what others rely on.
                ObjectType::OBJECT_PARAMETER_ACL => self.cluster(Group::Privilege),
                _ if self.facts.deeds.len() == before => self.plain(group),
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
            | T_CreateConversionStmt
            | T_CreateTransformStmt
            | T_AlterTSConfigurationStmt
            | T_AlterTSDictionaryStmt
            | T_AlterObjectDependsStmt
    )
}

/// Whether a table is made of what a prepared statement returns.
unsafe fn runs_prepared(create: &pg_sys::CreateTableAsStmt) -> bool {
    // Safe: casts follow the tags; before its analysis the query is a raw statement.
    unsafe {
        let query = create.query;
        let statement = match (*query).type_ {
            NodeTag::T_Query => (*query.cast::<pg_sys::Query>()).utilityStmt,
            _ => query,
        };
        !statement.is_null() && (*statement).type_ == NodeTag::T_ExecuteStmt
    }
}

/// Languages that PostgreSQL itself trusts with nobody but superusers: c and internal, whatever they are called now, and
/// procedural ones that reach the server's files and processes.
unsafe fn is_untrusted(name: *const std::ffi::c_char) -> bool {
    // Safe: syscache tuple, released after its flag is read; a missing language is the command's own error.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::LANGNAME as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(name));
        if tuple.is_null() {
            return false;
        }
        let mut missing = false;
        let trusted = pg_sys::SysCacheGetAttr(cache, tuple, catalog::LANGUAGE_TRUSTED, &mut missing);
        pg_sys::ReleaseSysCache(tuple);
        missing || trusted.value() == 0
    }
}
