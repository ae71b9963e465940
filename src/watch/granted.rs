//! Command node ─► what it gives to whom: memberships, privileges and powerful attributes of roles, and what `handed`
//! finds beside GRANT. For the role form; how risky that is, is told by `privilege`.

use super::utility_names::{resolve, text};
use super::{handed, list};
use crate::core::role_form::{Granted, Right};
use pgrx::pg_sys::{self, GrantTargetType, NodeTag, ObjectType, RoleSpecType};
use std::collections::BTreeSet;
use std::ffi::CStr;

/// What a command gives to one role, and how that is taken back.
#[derive(Clone, Debug)]
pub struct Given {
    pub granted: Granted,
    pub undo: Undo,
    /// The grantee may pass it on.
    pub with_option: bool,
}

/// A privilege as a GRANT names it, in capitals; without columns it is on the whole.
#[derive(Clone, Debug)]
pub struct Privilege {
    pub name: String,
    pub columns: Vec<String>,
}

/// What a REVOKE of it has to name.
#[derive(Clone, Debug)]
pub enum Undo {
    Membership(String),
    /// Privileges on these tables, views or sequences.
    Relations(Vec<pg_sys::Oid>, Vec<Privilege>),
    Schemas(Vec<String>, Vec<Privilege>),
    /// An attribute of the role itself, as ALTER ROLE spells it.
    Attribute(&'static str),
    /// No such command is built: the kind of thing.
    Unknown(&'static str),
}

/// Attributes that are power, as options of CREATE and ALTER ROLE and as ALTER ROLE spells them.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("superuser", "SUPERUSER"),
    ("createrole", "CREATEROLE"),
    ("createdb", "CREATEDB"),
    ("isreplication", "REPLICATION"),
    ("bypassrls", "BYPASSRLS"),
];

/// Everything that a command gives. Needs a live transaction.
pub unsafe fn of(node: *mut pg_sys::Node) -> Vec<Given> {
    use NodeTag::*;
    // Safe: casts follow the node tag.
    unsafe {
        match (*node).type_ {
            T_GrantRoleStmt => memberships(&*node.cast()),
            T_GrantStmt => privileges(&*node.cast()),
            T_AlterDefaultPrivilegesStmt => privileges(&*(*node.cast::<pg_sys::AlterDefaultPrivilegesStmt>()).action),
            T_CreateRoleStmt => {
                let create = &*node.cast::<pg_sys::CreateRoleStmt>();
                role_options(text(create.role), create.options, true)
            }
            T_AlterRoleStmt => {
                let alter = &*node.cast::<pg_sys::AlterRoleStmt>();
                role_options(&role_name(alter.role), alter.options, alter.action > 0)
            }
            T_AlterTableStmt => {
                let alter = &*node.cast();
                [handed::new_owners(alter), handed::unguarded(alter)].concat()
            }
            T_AlterOwnerStmt => vec![handed::ownership((*node.cast::<pg_sys::AlterOwnerStmt>()).newowner)],
            T_ReassignOwnedStmt => vec![handed::ownership((*node.cast::<pg_sys::ReassignOwnedStmt>()).newrole)],
            T_CreatePolicyStmt => handed::created_policy(&*node.cast()),
            T_AlterPolicyStmt => handed::altered_policy(&*node.cast()),
            T_DropStmt => handed::dropped_policies(&*node.cast()),
            T_CreatedbStmt => handed::owner_of_database(&*node.cast()).into_iter().collect(),
            T_CreateTableSpaceStmt => {
                handed::first_owner((*node.cast::<pg_sys::CreateTableSpaceStmt>()).owner).into_iter().collect()
            }
            // Its elements run as parts of it, so no hook of theirs asks.
            T_CreateSchemaStmt => {
                let schema = &*node.cast::<pg_sys::CreateSchemaStmt>();
                let elements = list::<pg_sys::Node>(schema.schemaElts).flat_map(|element| of(element));
                handed::first_owner(schema.authrole).into_iter().chain(elements).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether a command that gives something does nothing else: one ALTER TABLE does many things, and so does a schema that
/// comes with its objects.
pub unsafe fn gives_alone(node: *mut pg_sys::Node) -> bool {
    use pg_sys::AlterTableType::{AT_ChangeOwner, AT_DisableRowSecurity, AT_NoForceRowSecurity};
    // Safe: casts follow the node tag; lists of the parser.
    unsafe {
        match (*node).type_ {
            NodeTag::T_AlterTableStmt => list::<pg_sys::AlterTableCmd>((*node.cast::<pg_sys::AlterTableStmt>()).cmds)
                .all(|part| [AT_ChangeOwner, AT_DisableRowSecurity, AT_NoForceRowSecurity].contains(&(*part).subtype)),
            NodeTag::T_CreateSchemaStmt => list::<pg_sys::Node>((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaElts)
                .all(|element| (*element).type_ == NodeTag::T_GrantStmt),
            _ => true,
        }
    }
}

/// `public` is no name that a role could have.
pub(super) unsafe fn role_name(role: *mut pg_sys::RoleSpec) -> String {
    // Safe: a role specification of the parser; CURRENT_USER and the like always have a name.
    unsafe {
        match (*role).roletype {
            RoleSpecType::ROLESPEC_PUBLIC => "public".to_owned(),
            RoleSpecType::ROLESPEC_CSTRING => text((*role).rolename).to_owned(),
            _ => CStr::from_ptr(pg_sys::get_rolespec_name(role)).to_string_lossy().into_owned(),
        }
    }
}

fn membership(grantee: String, role: &str, admin: bool) -> Given {
    let rights = admin.then_some(Right::Administer).into_iter().collect();
    let granted = Granted { grantee, role: Some(role.to_owned()), rights };
    Given { granted, undo: Undo::Membership(role.to_owned()), with_option: admin }
}

unsafe fn memberships(grant: &pg_sys::GrantRoleStmt) -> Vec<Given> {
    if !grant.is_grant {
        return Vec::new();
    }
    // Safe: lists of the parser.
    unsafe {
        let granted: Vec<&str> =
            list::<pg_sys::AccessPriv>(grant.granted_roles).map(|role| text((*role).priv_name)).collect();
        let grantees: Vec<String> = list(grant.grantee_roles).map(|role| role_name(role)).collect();
        let pairs = grantees.iter().flat_map(|grantee| granted.iter().map(move |role| (grantee, role)));
        pairs.map(|(grantee, role)| membership(grantee.clone(), role, grant.admin_opt)).collect()
    }
}

unsafe fn privileges(grant: &pg_sys::GrantStmt) -> Vec<Given> {
    if !grant.is_grant {
        return Vec::new();
    }
    // Safe: lists of the parser; names are looked up without lock.
    unsafe {
        let mut rights: BTreeSet<Right> = BTreeSet::new();
        let mut named = Vec::new();
        for privilege in list::<pg_sys::AccessPriv>(grant.privileges) {
            let name = if (*privilege).priv_name.is_null() { "ALL" } else { text((*privilege).priv_name) };
            rights.extend(boxes(name));
            let columns = list::<pg_sys::String>((*privilege).cols).map(|column| text((*column).sval).to_owned());
            named.push(Privilege { name: name.to_ascii_uppercase(), columns: columns.collect() });
        }
        if grant.privileges.is_null() {
            rights.extend(boxes("ALL"));
            named.push(Privilege { name: "ALL".to_owned(), columns: Vec::new() });
        }
        if grant.grant_option {
            rights.insert(Right::Administer);
        }
        let undo = undo(grant, named);
        let grantees = list(grant.grantees).map(|role| role_name(role));
        grantees
            .map(|grantee| Given {
                granted: Granted { grantee, role: None, rights: rights.clone() },
                undo: undo.clone(),
                with_option: grant.grant_option,
            })
            .collect()
    }
}

fn boxes(privilege: &str) -> Vec<Right> {
    if privilege.eq_ignore_ascii_case("all") { Right::ALL.to_vec() } else { vec![Right::of_privilege(privilege)] }
}

unsafe fn undo(grant: &pg_sys::GrantStmt, privileges: Vec<Privilege>) -> Undo {
    // Safe: the kind of the objects says what the list holds.
    unsafe {
        match (grant.targtype, grant.objtype) {
            (GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA, _) => Undo::Unknown("privileges on everything in a schema"),
            (GrantTargetType::ACL_TARGET_DEFAULTS, _) => Undo::Unknown("privileges on future objects"),
            (_, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE) => {
                Undo::Relations(list(grant.objects).filter_map(|name| resolve(name)).collect(), privileges)
            }
            (_, ObjectType::OBJECT_SCHEMA) => {
                let names = list::<pg_sys::String>(grant.objects).map(|name| text((*name).sval).to_owned());
                Undo::Schemas(names.collect(), privileges)
            }
            _ => Undo::Unknown("privileges on objects of this kind"),
        }
    }
}

/// `joins`: members that are named are added, not dropped.
unsafe fn role_options(role: &str, options: *mut pg_sys::List, joins: bool) -> Vec<Given> {
    let mut given = Vec::new();
    // Safe: options are DefElem nodes with arguments of the kind their name says.
    unsafe {
        for option in list::<pg_sys::DefElem>(options) {
            let members = || list((*option).arg.cast()).map(|member| role_name(member));
            match text((*option).defname) {
                "addroleto" => given.extend(members().map(|group| membership(role.to_owned(), &group, false))),
                "rolemembers" if joins => given.extend(members().map(|member| membership(member, role, false))),
                "adminmembers" => given.extend(members().map(|member| membership(member, role, true))),
                name => {
                    let power = ATTRIBUTES.iter().find(|(known, _)| *known == name);
                    if let Some((_, attribute)) = power
                        && pg_sys::defGetBoolean(option)
                    {
                        let rights = BTreeSet::from([Right::Administer]);
                        let granted = Granted { grantee: role.to_owned(), role: None, rights };
                        given.push(Given { granted, undo: Undo::Attribute(attribute), with_option: false });
                    }
                }
            }
        }
    }
    given
}
