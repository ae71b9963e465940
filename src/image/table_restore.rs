//! Tables that were emptied or dropped, back from their copies. What is written into them and the commands that rebuild
//! them may run code of the table's owner (defaults, checks, computed columns, triggers), so none of it happens with the
//! rights of own SQL: rows return as the caller's, tables as their owner's.
//! What cannot run any (triggers, policies, rules, privileges, foreign keys) follows when everything is back.

use super::deferred::Statements;
use super::text;
use crate::error::{Fault, Outcome};
use crate::{image, own};
use pgrx::prelude::*;

/// An image of a table.
pub struct TableImage {
    pub id: i64,
    pub relation: pg_sys::Oid,
    /// Quoted.
    pub table_name: String,
    pub command: String,
    pub copy: Option<String>,
    pub rows: i64,
    /// The first one creates it.
    pub definition: Vec<String>,
    pub connections: Vec<String>,
    pub protected: bool,
    pub row_images: bool,
}

/// Rows of an emptied table return where their keys are not taken; how many did.
pub fn refill(image: &TableImage, copy: &str) -> Outcome<i64> {
    // Safe: the caller's current role.
    let caller = unsafe { pg_sys::GetUserId() };
    let Some(columns) = stored_columns(&image.table_name)? else { return Ok(0) };
    let refill = format!(
        "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {copy} ON CONFLICT DO NOTHING",
        image.table_name
    );
    let back = readable(copy, caller, || {
        let back = Spi::connect_mut(|_| Statements::default().run(&refill, &[]))?.rows as i64;
        // RESTART IDENTITY: what is counted goes on behind the highest number there was.
        let numbers = image.definition.iter().filter(|command| command.starts_with("SELECT pg_catalog.setval("));
        for command in numbers {
            own::run(|client| own::query(client, command, &[]).map(drop))?;
        }
        Ok(back)
    })?;
    Ok(back)
}

/// A dropped table is created anew, filled from its copy and completed. None if its name is taken.
pub fn rebuild(image: &TableImage, copy: &str) -> Outcome<Option<pg_sys::Oid>> {
    let (taken, owner) = own::run(|client| {
        let place = "SELECT to_regclass($1) IS NOT NULL, to_regrole($2)::oid";
        let owner = image.definition.first().map(String::as_str).unwrap_or_default();
        Ok(own::select(client, place, &[image.table_name.as_str().into(), owner.into()])?
            .first()
            .get_two::<bool, pg_sys::Oid>()?)
    })?;
    if taken != Some(false) {
        return Ok(None);
    }
    let Some(owner) = owner else {
        return Err(Fault::unknown(format!("the owner of {} is gone", image.table_name))
            .detail("A table returns as its owner's.")
            .hint("Create the role again, then repeat the restore."));
    };
    let [_, create, complete @ ..] = image.definition.as_slice() else {
        return Err(Fault::corrupted(format!("image {} of {} does not read back", image.id, image.table_name)));
    };
    with_place(&image.table_name, owner, || {
        readable(copy, owner, || {
            as_owner(owner, || {
                run(create)?;
                if let Some(columns) = stored_columns(&image.table_name)? {
                    run(&format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {copy}", image.table_name))?;
                }
                complete.iter().try_for_each(|command| run(command))
            })
        })
    })?;
    own::run(|client| {
        let relation = "SELECT to_regclass($1)::oid";
        let relation =
            own::query(client, relation, &[image.table_name.as_str().into()])?.first().get_one::<pg_sys::Oid>()?;
        let Some(relation) = relation else { return Err(Fault::internal("a table that was rebuilt is not there")) };
        if image.protected {
            let protect = "INSERT INTO steward.protected (relation, row_images) VALUES ($1::oid::regclass, $2)
                ON CONFLICT (relation) DO UPDATE SET row_images = EXCLUDED.row_images";
            own::execute(client, protect, &[relation.into(), image.row_images.into()])?;
            image::install(client, relation)?;
        }
        Ok(Some(relation))
    })
}

/// Connects tables that were dropped with everything else again, once all of them are back. A foreign key between two of
/// them is told by both. None of these commands runs code of an owner.
pub fn connect(connections: &[String]) -> Outcome<()> {
    own::run(|client| {
        for (at, command) in connections.iter().enumerate() {
            if !connections[..at].contains(command) {
                own::query(client, command, &[])?;
            }
        }
        Ok(())
    })
}

/// Quoted names of the columns whose values are stored, not computed, as a list. None if there is none.
fn stored_columns(table: &str) -> Outcome<Option<String>> {
    own::run(|client| {
        let columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
        Ok(own::select(client, columns, &[table.into()])?.first().get_one::<String>()?)
    })
}

fn run(command: &str) -> Outcome<()> {
    Spi::connect_mut(|client| {
        client.update(command, None, &[])?;
        Ok(())
    })
}

/// Runs `body` while this role may read the copy.
fn readable<T>(copy: &str, role: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    permit("ON", copy, "SELECT", role, body)
}

/// Runs `body` while this role may create tables where this one belongs.
fn with_place<T>(table: &str, role: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let missing = own::run(|client| {
        let missing = "SELECT max(quote_ident(s)) FROM (SELECT (parse_ident($1))[1]) t(s) WHERE NOT has_schema_privilege($2, s, 'CREATE')";
        Ok(own::select(client, missing, &[table.into(), role.into()])?.first().get_one::<String>()?)
    })?;
    match missing {
        Some(schema) => permit("ON SCHEMA", &schema, "CREATE", role, body),
        None => body(),
    }
}

/// Runs `body` while a role has a privilege that it had not before. An error undoes all of it.
fn permit<T>(
    on: &str,
    object: &str,
    privilege: &str,
    role: pg_sys::Oid,
    body: impl FnOnce() -> Outcome<T>,
) -> Outcome<T> {
    let role = pgrx::spi::quote_identifier(&*crate::session::role_name(role));
    own::run(|client| own::execute(client, &format!("GRANT {privilege} {on} {object} TO {role}"), &[]).map(drop))?;
    let value = body()?;
    own::run(|client| own::execute(client, &format!("REVOKE {privilege} {on} {object} FROM {role}"), &[]).map(drop))?;
    Ok(value)
}

/// Runs `body` as a role that can neither leave it nor leave anything behind in the session, as VACUUM does.
fn as_owner<T>(owner: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    /// Puts the former role back, by a panic (an SQL error on its way through) as well.
    struct Former(pg_sys::Oid, i32);
    impl Drop for Former {
        fn drop(&mut self) {
            // Safe: what `as_owner` has read.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) }
        }
    }
    let _exact = text::Exact::enter();
    let mut former = Former(pg_sys::InvalidOid, 0);
    // Safe: backend state, restored by the guard.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut former.0, &mut former.1);
        let context = former.1 | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;
        pg_sys::SetUserIdAndSecContext(owner, context);
    }
    body()
}
