//! Tables that were emptied or dropped, back from their copies. What is written into them and the commands that rebuild
//! them may run code of the table's owner (defaults, checks, computed columns, triggers), so none of it happens with the
//! rights of own SQL: rows return as the caller's, tables as their owner's.
//! Triggers, policies, rules and foreign keys follow when everything is back.

use super::deferred::Statements;
use super::text;
use crate::error::{Fault, Outcome};
use crate::{image, own};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

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
    pub fittings: Vec<String>,
    /// Three for each: the table that has the key, the one referred to, the command.
    pub foreign_keys: Vec<String>,
    pub rights: Vec<String>,
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
        own::run(|client| count_on(client, &image.table_name))?;
        Ok(back)
    })?;
    Ok(back)
}

/// RESTART IDENTITY: what is counted goes on behind the highest number there is. Nothing is ever counted backwards.
fn count_on(client: &mut SpiClient<'_>, table: &str) -> Outcome<()> {
    let sequences = "SELECT format('SELECT setval(%L, m) FROM (SELECT max(%I)::int8 FROM %s) t(m) WHERE m > coalesce(pg_sequence_last_value(%L), 0)',
            d.objid::regclass, a.attname, $1, d.objid::regclass)
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1)
            AND d.deptype IN ('a', 'i') AND q.seqincrement > 0 AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)";
    let mut commands = Vec::new();
    for row in own::query(client, sequences, &[table.into()])? {
        commands.extend(row.get::<String>(1)?);
    }
    for command in commands {
        own::query(client, &command, &[])?;
    }
    Ok(())
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

/// Completes tables that were dropped, once all of them are back: triggers, rules and policies as their owner's, whose code
/// may run when an expression is read; foreign keys, of which two tables may tell the same, as the owner's of the table that
/// has the key; and what runs no code, privileges among it.
pub fn complete(returned: &[TableImage]) -> Outcome<()> {
    for image in returned {
        let owner = owner_of(&image.table_name)?;
        as_owner(owner, || image.fittings.iter().try_for_each(|command| run(command)))?;
    }
    let mut known: Vec<&str> = Vec::new();
    for key in returned.iter().flat_map(|image| image.foreign_keys.as_chunks::<3>().0) {
        let [table, referenced, command] = key;
        if known.contains(&command.as_str()) {
            continue;
        }
        known.push(command);
        let owner = owner_of(table)?;
        with_right("REFERENCES", referenced, owner, || as_owner(owner, || run(command)))?;
    }
    own::run(|client| {
        for command in returned.iter().flat_map(|image| &image.rights) {
            own::query(client, command, &[])?;
        }
        Ok(())
    })
}

fn owner_of(table: &str) -> Outcome<pg_sys::Oid> {
    own::run(|client| {
        let owner = "SELECT max(relowner::int8)::oid FROM pg_class WHERE oid = to_regclass($1)";
        let owner = own::select(client, owner, &[table.into()])?.first().get_one::<pg_sys::Oid>()?;
        owner.ok_or_else(|| Fault::unknown(format!("{table}, which a foreign key connects, is gone")))
    })
}

/// Runs `body` while this role has a privilege on a table.
fn with_right<T>(right: &str, table: &str, role: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let has = own::run(|client| {
        let has = "SELECT has_table_privilege($1, to_regclass($2), $3)";
        Ok(own::select(client, has, &[role.into(), table.into(), right.into()])?.first().get_one::<bool>()?)
    })?;
    if has == Some(true) { body() } else { permit("ON", table, right, role, body) }
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
