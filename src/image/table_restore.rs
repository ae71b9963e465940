//! Tables that were emptied or dropped, back from their copies. What is written into them and the commands that rebuild
//! them may run code of the table's owner (defaults, checks, computed columns, triggers), so none of it happens with the
//! rights of own SQL: rows return as the caller's, tables as their owner's.
//! Triggers, policies, rules and foreign keys follow when everything is back.

use super::deferred::Statements;
use super::row_restore::Table;
use super::{role, text};
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
    /// Three for each: how the command begins, the roles it is meant for, how it ends.
    pub fittings: Vec<String>,
    /// Three for each: the table that has the key, the one referred to, the command.
    pub foreign_keys: Vec<String>,
    /// As the fittings.
    pub rights: Vec<String>,
    pub protected: bool,
    pub row_images: bool,
}

/// Rows of an emptied table return where their keys are not taken; how many did.
pub fn refill(table: &Table, copy: &str) -> Outcome<i64> {
    // Safe: the caller's current role.
    let caller = unsafe { pg_sys::GetUserId() };
    let name = &table.name;
    let Some((columns, values)) = stored(name, copy)? else { return Ok(0) };
    let free = table.unless_taken(|column| format!("c.{}{}", pgrx::spi::quote_identifier(column), table.cast(column)));
    let refill = format!("INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {copy} c{free}");
    role::readable(copy, caller, || {
        let _exact = text::Exact::enter();
        let back = Spi::connect_mut(|_| Statements::default().run(&refill, &[]))?.rows as i64;
        own::run(|client| count_on(client, name))?;
        Ok(back)
    })
}

/// RESTART IDENTITY: what is counted goes on behind the highest number there is. Nothing is ever counted backwards.
fn count_on(client: &mut SpiClient<'_>, table: &str) -> Outcome<()> {
    own::require_hooks()?;
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
    role::with_place(&image.table_name, owner, || {
        role::readable(copy, owner, || {
            role::as_owner(owner, || {
                run(create)?;
                if let Some((columns, values)) = stored(&image.table_name, copy)? {
                    run(&format!("INSERT INTO {} ({columns}) SELECT {values} FROM {copy} c", image.table_name))?;
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
        }
        // A table that inherits from a protected one has its own.
        image::install(client, relation)?;
        Ok(Some(relation))
    })
}

/// Completes tables that were dropped, once all of them are back: triggers, rules and policies as their owner's, whose code
/// may run when an expression is read; foreign keys, of which two tables may tell the same, as the owner's of the table that
/// has the key; and what runs no code, privileges among it. What is gone meanwhile, roles and tables, is told and left out.
pub fn complete(returned: &[TableImage]) -> Outcome<()> {
    for image in returned {
        let Some(owner) = owner_of(&image.table_name)? else { continue };
        for command in image.fittings.as_chunks::<3>().0 {
            if let Some(command) = addressed(command)? {
                role::as_owner(owner, || run(&command))?;
            }
        }
    }
    let mut known: Vec<&str> = Vec::new();
    for key in returned.iter().flat_map(|image| image.foreign_keys.as_chunks::<3>().0) {
        if !known.contains(&key[2].as_str()) {
            known.push(&key[2]);
            connect(key)?;
        }
    }
    for command in returned.iter().flat_map(|image| image.rights.as_chunks::<3>().0) {
        if let Some(command) = addressed(command)? {
            own::run(|client| own::query(client, &command, &[]).map(drop))?;
        }
    }
    Ok(())
}

/// A foreign key again: the table that has it, the one referred to, the command.
fn connect([table, referenced, command]: &[String; 3]) -> Outcome<()> {
    let (Some(owner), Some(_)) = (owner_of(table)?, owner_of(referenced)?) else {
        Fault::unknown(format!("a foreign key of {table} to {referenced} does not come back"))
            .detail("One of the two tables is gone.")
            .warn();
        return Ok(());
    };
    role::with_right("REFERENCES", referenced, owner, || role::as_owner(owner, || run(command)))
}

/// None if the table is gone.
fn owner_of(table: &str) -> Outcome<Option<pg_sys::Oid>> {
    own::run(|client| {
        let owner = "SELECT max(relowner::int8)::oid FROM pg_class WHERE oid = to_regclass($1)";
        Ok(own::select(client, owner, &[table.into()])?.first().get_one::<pg_sys::Oid>()?)
    })
}

/// A command to roles, of which its image holds the beginning, the roles, and the rest. Roles that are gone are left out;
/// None if no other was meant.
fn addressed([beginning, roles, rest]: &[String; 3]) -> Outcome<Option<String>> {
    // An empty name is PUBLIC.
    let still = "SELECT cardinality($1::text[]) = 0, string_agg(CASE r WHEN '' THEN 'PUBLIC' ELSE quote_ident(r) END, ', ')
            FILTER (WHERE r = '' OR to_regrole(quote_ident(r)) IS NOT NULL),
        string_agg(quote_ident(r), ', ') FILTER (WHERE r <> '' AND to_regrole(quote_ident(r)) IS NULL) FROM unnest($1::text[]) r";
    let (to_nobody, there, gone) = own::run(|client| {
        Ok(own::select(client, still, &[roles.as_str().into()])?.first().get_three::<bool, String, String>()?)
    })?;
    if let Some(gone) = gone {
        Fault::unknown(format!("what was meant for {gone} does not come back"))
            .detail(format!("The role is gone. The command was: {beginning} TO …"))
            .warn();
    }
    Ok(match there {
        _ if to_nobody == Some(true) => Some(beginning.clone()),
        Some(there) => Some(format!("{beginning} TO {there}{rest}")),
        None => None,
    })
}

/// The columns whose values are stored, not computed, and which the copy has: their quoted names, and what the copy `c` has
/// for them. What a copy keeps as text is read back as what it was. None if there is none.
fn stored(table: &str, copy: &str) -> Outcome<Option<(String, String)>> {
    own::run(|client| {
        let columns = "SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), string_agg(format('c.%I%s', a.attname,
                CASE WHEN k.atttypid <> a.atttypid THEN '::' || format_type(a.atttypid, a.atttypmod) END), ', ' ORDER BY a.attnum)
            FROM pg_attribute a JOIN pg_attribute k ON k.attrelid = to_regclass($2) AND k.attname = a.attname
                AND k.attnum > 0 AND NOT k.attisdropped
            WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''";
        let (names, values) = own::select(client, columns, &[table.into(), copy.into()])?.first().get_two()?;
        Ok(names.zip(values))
    })
}

fn run(command: &str) -> Outcome<()> {
    Spi::connect_mut(|client| {
        client.update(command, None, &[])?;
        Ok(())
    })
}
