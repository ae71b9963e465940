//! The rows of `steward.role_permission`.

use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::texts;
use crate::policy::{changed, require_privilege};
use crate::watch::utility::relation_name;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn set_permission(
    role: Option<pg_sys::Oid>,
    table: Option<pg_sys::Oid>,
    can_select: Option<bool>,
    can_insert: Option<bool>,
    can_update: Option<bool>,
    can_delete: Option<bool>,
    select_columns: Option<pgrx::AnyArray>,
    insert_columns: Option<pgrx::AnyArray>,
    update_columns: Option<pgrx::AnyArray>,
) {
    answer((|| {
        require_privilege("set_permission")?;
        let (role, table) = known(role, table)?;
        let name = governable(table)?;
        let lists = [(can_select, &select_columns), (can_insert, &insert_columns), (can_update, &update_columns)];
        for (allowed, columns) in lists {
            check_columns(table, &name, allowed, columns)?;
        }
        own::run(|client| {
            own::execute(
                client,
                "INSERT INTO steward.role_permission (role_id, table_name, can_select, can_insert, can_update, can_delete,
                    select_columns, insert_columns, update_columns)
                 VALUES ($1, $2, coalesce($3, false), coalesce($4, false), coalesce($5, false), coalesce($6, false), $7, $8, $9)
                 ON CONFLICT (role_id, table_name) DO UPDATE SET can_select = EXCLUDED.can_select,
                    can_insert = EXCLUDED.can_insert, can_update = EXCLUDED.can_update, can_delete = EXCLUDED.can_delete,
                    select_columns = EXCLUDED.select_columns, insert_columns = EXCLUDED.insert_columns,
                    update_columns = EXCLUDED.update_columns",
                &[
                    typed(role, pg_sys::REGROLEOID),
                    typed(table, pg_sys::REGCLASSOID),
                    can_select.into(),
                    can_insert.into(),
                    can_update.into(),
                    can_delete.into(),
                    names(&select_columns),
                    names(&insert_columns),
                    names(&update_columns),
                ],
            )
            .map(drop)
        })?;
        changed("set_permission", &name)
    })())
}

#[pg_extern(sql = false)]
fn drop_permission(role: Option<pg_sys::Oid>, table: Option<pg_sys::Oid>) {
    answer((|| {
        require_privilege("drop_permission")?;
        let (role, table) = known(role, table)?;
        let name = relation_name(table);
        let gone = own::run(|client| {
            let row = "DELETE FROM steward.role_permission WHERE role_id = $1 AND table_name = $2 RETURNING 1";
            own::execute(client, row, &[typed(role, pg_sys::REGROLEOID), typed(table, pg_sys::REGCLASSOID)])
        })?;
        if gone == 0 {
            return Err(Fault::unknown(format!("the matrix has no row for this role and {name}"))
                .hint("SELECT role_id, table_name FROM steward.role_permission;"));
        }
        changed("drop_permission", &name)
    })())
}

fn known(role: Option<pg_sys::Oid>, table: Option<pg_sys::Oid>) -> Outcome<(pg_sys::Oid, pg_sys::Oid)> {
    let invalid = pg_sys::InvalidOid;
    match (role.filter(|role| *role != invalid), table.filter(|table| *table != invalid)) {
        (Some(role), Some(table)) => Ok((role, table)),
        _ => Err(Fault::bad_argument("which role, and which table?")
            .hint("SELECT steward.set_permission('clerk', 'app.student', can_select => true);")),
    }
}

/// The table's name. What is no table has no privileges of this kind, and the catalog and our own schema have their own.
fn governable(table: pg_sys::Oid) -> Outcome<String> {
    let name = relation_name(table);
    // Safe: syscache look-up.
    let kind = unsafe { pg_sys::get_rel_relkind(table) } as u8;
    let ours = table.to_u32() < pg_sys::FirstNormalObjectId || name.starts_with("steward.");
    if ours || !matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE) {
        return Err(Fault::wrong_object(format!("{name} cannot be a row of the matrix"))
            .detail("Tables and partitioned tables are, outside of the catalog and schema steward."));
    }
    Ok(name)
}

fn check_columns(
    table: pg_sys::Oid,
    name: &str,
    allowed: Option<bool>,
    columns: &Option<pgrx::AnyArray>,
) -> Outcome<()> {
    if columns.is_none() {
        return Ok(());
    }
    if allowed != Some(true) {
        return Err(Fault::bad_argument("columns of what is not allowed")
            .hint("can_select => true, select_columns => '{id,name}'"));
    }
    let unknown = own::run(|client| {
        let unknown =
            "SELECT coalesce(u.name::text, 'NULL') FROM unnest($2) u(name) WHERE NOT EXISTS (SELECT FROM pg_attribute a
            WHERE a.attrelid = $1 AND a.attname = u.name AND a.attnum > 0 AND NOT a.attisdropped)";
        texts(client, unknown, &[typed(table, pg_sys::REGCLASSOID), names(columns)])
    })?;
    match unknown.first() {
        Some(column) => Err(Fault::bad_argument(format!("{name} has no column \"{column}\""))),
        None => Ok(()),
    }
}

/// An oid as one of the types that are made of it.
fn typed<'a>(object: pg_sys::Oid, kind: pg_sys::Oid) -> DatumWithOid<'a> {
    // Safe: an oid is what regrole and regclass hold.
    unsafe { DatumWithOid::new(object, kind) }
}

/// A `name[]` argument passes as it came.
fn names<'a>(array: &Option<pgrx::AnyArray>) -> DatumWithOid<'a> {
    match array {
        // Safe: the argument was declared name[] and lives as long as the call.
        Some(array) => unsafe { DatumWithOid::new(array.datum(), pg_sys::NAMEARRAYOID) },
        None => DatumWithOid::null_oid(pg_sys::NAMEARRAYOID),
    }
}
