//! Command node ─► rights that it hands over without the word GRANT: an owner has every right on what they own, and a row
//! policy lets rows through. For the role form, like `granted`.

use super::granted::{Given, Undo, role_name};
use super::list;
use super::utility_names::{resolve, text};
use crate::cache;
use crate::core::role_form::{Granted, Right};
use crate::error::{Outcome, answer};
use crate::own;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

fn given(grantee: String, rights: &[Right], undo: Undo) -> Given {
    let granted = Granted { grantee, role: None, rights: rights.iter().copied().collect() };
    Given { granted, undo, with_option: false }
}

/// Whoever becomes the owner.
pub unsafe fn ownership(owner: *mut pg_sys::RoleSpec) -> Given {
    // Safe: a role specification of the parser.
    given(unsafe { role_name(owner) }, &Right::ALL, Undo::Unknown("ownership"))
}

/// Whoever owns something from its first moment, if that is somebody else than who makes it.
pub unsafe fn first_owner(owner: *mut pg_sys::RoleSpec) -> Option<Given> {
    if owner.is_null() {
        return None;
    }
    // Safe: a role specification of the parser; a role that is missing is the command's own error.
    unsafe {
        let other = pg_sys::get_rolespec_oid(owner, true) != pg_sys::GetUserId();
        other.then(|| ownership(owner))
    }
}

/// CREATE DATABASE … OWNER: the option names a role.
pub unsafe fn owner_of_database(create: &pg_sys::CreatedbStmt) -> Option<Given> {
    // Safe: option nodes of the parser; without an argument it says DEFAULT.
    unsafe {
        let owner = list::<pg_sys::DefElem>(create.options).find(|option| text((**option).defname) == "owner")?;
        if (*owner).arg.is_null() {
            return None;
        }
        let name = pg_sys::defGetString(owner);
        let other = pg_sys::get_role_oid(name, true) != pg_sys::GetUserId();
        other.then(|| given(text(name).to_owned(), &Right::ALL, Undo::Unknown("ownership")))
    }
}

/// New owners among the changes of a table.
pub unsafe fn new_owners(alter: &pg_sys::AlterTableStmt) -> Vec<Given> {
    // Safe: commands of the parser; a change of the owner names one.
    unsafe {
        list::<pg_sys::AlterTableCmd>(alter.cmds)
            .filter(|command| (**command).subtype == pg_sys::AlterTableType::AT_ChangeOwner)
            .map(|command| ownership((*command).newowner))
            .collect()
    }
}

/// Whom a table's policies hold back no more: everybody, or its owner.
pub unsafe fn unguarded(alter: &pg_sys::AlterTableStmt) -> Vec<Given> {
    use pg_sys::AlterTableType::{AT_DisableRowSecurity, AT_NoForceRowSecurity};
    // Safe: commands of the parser; a table that does not exist is the command's own error.
    unsafe {
        let kinds: Vec<_> = list::<pg_sys::AlterTableCmd>(alter.cmds)
            .map(|command| (*command).subtype)
            .filter(|kind| [AT_DisableRowSecurity, AT_NoForceRowSecurity].contains(kind))
            .collect();
        if kinds.is_empty() || !cache::at_home() {
            return Vec::new();
        }
        let Some(relation) = resolve(alter.relation) else { return Vec::new() };
        let guard = answer(Guard::read(relation));
        let freed = kinds.into_iter().filter_map(|kind| {
            let everybody = guard.enabled.then(|| "public".to_owned());
            if kind == AT_DisableRowSecurity { everybody } else { guard.forced_on.clone() }
        });
        freed.map(|role| passes(role, let_through("all"))).collect()
    }
}

/// Restrictive policies that go free those they were for.
pub unsafe fn dropped_policies(drop: &pg_sys::DropStmt) -> Vec<Given> {
    if drop.removeType != pg_sys::ObjectType::OBJECT_POLICY {
        return Vec::new();
    }
    let mut freed = Vec::new();
    // Safe: lists of names, the policy's after its table's.
    unsafe {
        for object in list::<pg_sys::List>(drop.objects) {
            let names: Vec<*mut pg_sys::String> = list(object).collect();
            let Some(policy) = names.last().filter(|_| names.len() > 1) else { continue };
            let table = pg_sys::list_truncate(pg_sys::list_copy(object), names.len() as i32 - 1);
            let Some(relation) = resolve(pg_sys::makeRangeVarFromNameList(table)) else { continue };
            let known = answer(Known::read(relation, text((**policy).sval)));
            let Some(known) = known.filter(|known| !known.permissive) else { continue };
            freed.extend(known.roles.into_iter().map(|role| passes(role, let_through(&known.command))));
        }
    }
    freed
}

/// A permissive policy lets rows through; a restrictive one takes some away.
pub unsafe fn created_policy(policy: &pg_sys::CreatePolicyStmt) -> Vec<Given> {
    if !policy.permissive {
        return Vec::new();
    }
    // Safe: lists and texts of the parser; without roles it is for everybody, and the list says so.
    unsafe {
        let rights = let_through(text(policy.cmd_name));
        list(policy.roles).map(|role| passes(role_name(role), rights)).collect()
    }
}

/// What it says of rows may be wider than before, whatever it is. A permissive policy counts for those it is for from now
/// on; a restrictive one also frees those it was for.
pub unsafe fn altered_policy(policy: &pg_sys::AlterPolicyStmt) -> Vec<Given> {
    // Safe: nodes of the parser; a table or policy that does not exist is the command's own error.
    unsafe {
        let Some(relation) = resolve(policy.table) else { return Vec::new() };
        let Some(known) = answer(Known::read(relation, text(policy.policy_name))) else { return Vec::new() };
        let mut roles: Vec<String> = list(policy.roles).map(|role| role_name(role)).collect();
        if roles.is_empty() || !known.permissive {
            roles.extend(known.roles);
        }
        roles.sort();
        roles.dedup();
        let rights = let_through(&known.command);
        roles.into_iter().map(|role| passes(role, rights)).collect()
    }
}

fn passes(role: String, rights: &[Right]) -> Given {
    given(role, rights, Undo::Unknown("row policies"))
}

/// The boxes of a policy's command, as the parser or the catalog names it.
fn let_through(command: &str) -> &'static [Right] {
    match command {
        "select" | "r" => &[Right::Query],
        "insert" | "update" | "a" | "w" => &[Right::Modify],
        "delete" | "d" => &[Right::Delete],
        _ => &[Right::Query, Right::Modify, Right::Delete],
    }
}

/// How a table is guarded by its policies.
struct Guard {
    enabled: bool,
    /// Its owner, if they hold for the owner too.
    forced_on: Option<String>,
}

impl Guard {
    fn read(relation: pg_sys::Oid) -> Outcome<Guard> {
        let read = "SELECT relrowsecurity::text, CASE WHEN relforcerowsecurity THEN pg_get_userbyid(relowner)::text END
            FROM pg_class WHERE oid = $1::oid";
        own::run(|client| {
            let (enabled, forced_on) = own::query(client, read, &[relation.into()])?.first().get_two()?;
            Ok(Guard { enabled: enabled == Some("true".to_owned()), forced_on })
        })
    }
}

/// A policy as it stands.
struct Known {
    command: String,
    permissive: bool,
    roles: Vec<String>,
}

impl Known {
    fn read(relation: pg_sys::Oid, name: &str) -> Outcome<Option<Known>> {
        let read =
            "SELECT unnest(ARRAY[polcmd::text, polpermissive::text] || ARRAY(SELECT coalesce(r.rolname::text, 'public')
                FROM unnest(polroles) AS p(oid) LEFT JOIN pg_roles r ON r.oid = p.oid))
            FROM pg_policy WHERE polrelid = $1::oid AND polname = $2";
        let arguments: [DatumWithOid<'_>; 2] = [relation.into(), name.into()];
        let values = own::run(|client| {
            let rows = own::query(client, read, &arguments)?;
            Ok(rows.filter_map(|row| row.get::<String>(1).transpose()).collect::<Result<Vec<_>, _>>()?)
        })?;
        let mut values = values.into_iter();
        Ok(values.next().zip(values.next()).map(|(command, permissive)| Known {
            command,
            permissive: permissive == "true",
            roles: values.collect(),
        }))
    }
}
