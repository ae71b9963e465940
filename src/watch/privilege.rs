//! Whose privileges a command changes: those of roles known to be no administrators (group ACCOUNT), or anybody else's
//! (group PRIVILEGE): administrators, everybody, and roles the policy does not know.

use super::list;
use super::utility_names::text;
use crate::cache::{self, Policy};
use crate::core::rule::Group;
use crate::error::answer;
use crate::{own, session};
use pgrx::pg_sys::{self, NodeTag, RoleSpecType};
use std::ffi::c_char;

/// The group of a GRANT or REVOKE to these roles.
pub unsafe fn of_grantees(policy: &Policy, grantees: *mut pg_sys::List) -> Group {
    // Safe: grantees as the parser lists them.
    unsafe { of_roles(policy, list(grantees)) }
}

/// ACCOUNT if there is at least one role and all are known to be no administrators.
pub unsafe fn of_roles(policy: &Policy, roles: impl Iterator<Item = *mut pg_sys::RoleSpec>) -> Group {
    let mut any = false;
    for role in roles {
        any = true;
        // Safe: a role specification of the parser.
        if unsafe { is_administrator(policy, role) } {
            return Group::Privilege;
        }
    }
    if any { Group::Account } else { Group::Privilege }
}

unsafe fn is_administrator(policy: &Policy, role: *mut pg_sys::RoleSpec) -> bool {
    // Safe: as above; PUBLIC and missing roles count as administrators.
    unsafe {
        if role.is_null() || (*role).roletype == RoleSpecType::ROLESPEC_PUBLIC {
            return true;
        }
        policy.is_administrator(pg_sys::get_rolespec_oid(role, true))
    }
}

unsafe fn named_is_administrator(policy: &Policy, name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else { return true };
    // Safe: a look-up by name, missing allowed.
    policy.is_administrator(unsafe { pg_sys::get_role_oid(name.as_ptr(), true) })
}

/// Roles whose members see less: who leaves one sees more, as if the mask, scope or limit were dropped.
const RESTRICTING: &str = "SELECT 1 FROM (SELECT role FROM steward.mask_rule WHERE mask <> 'none'
        UNION SELECT role FROM steward.scope UNION SELECT role FROM steward.export_limit) r
    WHERE pg_has_role(pg_catalog.to_regrole(quote_ident($1)), r.role, 'MEMBER') LIMIT 1";
/// Roles whose members see more.
const EXEMPTED: &str = "SELECT 1 FROM steward.mask_exemption e
    WHERE pg_has_role(pg_catalog.to_regrole(quote_ident($1)), e.role, 'MEMBER') LIMIT 1";

unsafe fn is_among(roles: &'static str, role: *const c_char) -> bool {
    // Safe: a name of the parser, or null for roles without one.
    let role = unsafe { text(role) };
    let found = || own::run(|client| Ok(!own::select(client, roles, &[role.into()])?.is_empty()));
    cache::at_home() && cache::policy_relation().is_some() && answer(found())
}

/// The group of a command about roles themselves.
pub unsafe fn of_role_command(policy: &Policy, node: *mut pg_sys::Node) -> Group {
    // Safe: casts follow the node tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_GrantRoleStmt => {
                let grant = &*node.cast::<pg_sys::GrantRoleStmt>();
                let granted_is_plain = list::<pg_sys::AccessPriv>(grant.granted_roles)
                    .all(|role| !named_is_administrator(policy, text((*role).priv_name)));
                let opening = if grant.is_grant { EXEMPTED } else { RESTRICTING };
                let opens =
                    || list::<pg_sys::AccessPriv>(grant.granted_roles).any(|role| is_among(opening, (*role).priv_name));
                if granted_is_plain && !grant.admin_opt && !opens() {
                    of_grantees(policy, grant.grantee_roles)
                } else {
                    Group::Privilege
                }
            }
            NodeTag::T_CreateRoleStmt => created(policy, &*node.cast()),
            NodeTag::T_AlterRoleStmt => altered(policy, &*node.cast()),
            NodeTag::T_DropRoleStmt => {
                let roles = (*node.cast::<pg_sys::DropRoleStmt>()).roles;
                match list::<pg_sys::RoleSpec>(roles).any(|role| is_among(RESTRICTING, (*role).rolename)) {
                    true => Group::Privilege,
                    false => of_grantees(policy, roles),
                }
            }
            _ => Group::Privilege,
        }
    }
}

/// A new role is nobody's account unless it does nothing but join plain roles.
unsafe fn created(policy: &Policy, create: &pg_sys::CreateRoleStmt) -> Group {
    let mut joins = false;
    // Safe: options are DefElem nodes with arguments of the kind their name says.
    unsafe {
        for option in list::<pg_sys::DefElem>(create.options) {
            match text((*option).defname) {
                "addroleto" => {
                    let joined: *mut pg_sys::List = (*option).arg.cast();
                    let opens = list::<pg_sys::RoleSpec>(joined).any(|role| is_among(EXEMPTED, (*role).rolename));
                    if opens || of_grantees(policy, joined) != Group::Account {
                        return Group::Privilege;
                    }
                    joins = true;
                }
                "canlogin" | "inherit" | "password" | "validUntil" | "connectionlimit" => {}
                _ => return Group::Privilege,
            }
        }
    }
    if joins { Group::Account } else { Group::Privilege }
}

/// Changing one's own password is upkeep; other changes of plain roles that give no power are account work.
unsafe fn altered(policy: &Policy, alter: &pg_sys::AlterRoleStmt) -> Group {
    // Safe: as above.
    unsafe {
        let options: Vec<&str> = list::<pg_sys::DefElem>(alter.options).map(|option| text((*option).defname)).collect();
        let target = pg_sys::get_rolespec_oid(alter.role, true);
        if target == session::login() && options == ["password"] {
            return Group::Upkeep;
        }
        let harmless =
            options.iter().all(|option| matches!(*option, "password" | "validUntil" | "connectionlimit" | "canlogin"));
        if harmless { of_roles(policy, std::iter::once(alter.role)) } else { Group::Privilege }
    }
}
