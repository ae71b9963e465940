//! Copies of protected tables before a command of an operation takes their data away, and the commands that rebuild them.

use super::{Run, affected, demanded, text};
use crate::audit::segment::{close_to_all, define};
use crate::cache::Member;
use crate::error::{Fault, Outcome};
use crate::watch::list;
use crate::watch::utility::relation_name;
use crate::watch::utility_names::resolve;
use crate::{cache, own, session};
use pgrx::pg_sys::{self, NodeTag, Oid};
use pgrx::spi::SpiClient;
use std::rc::Rc;

/// What a command does to the tables that it names.
struct Threat {
    name: &'static str,
    /// What goes with it.
    takes: Takes,
}

enum Takes {
    /// No data.
    Nothing,
    /// Rows or columns of every table named, and of what inherits from it.
    Trees,
    /// The same, but of these nothing that inherits from them.
    TreesBut(Vec<Oid>),
    /// Columns or their values of every table named, of what inherits from it, and of whatever holds rows of this relation.
    Values(Option<Oid>),
}

/// Before a command of a run that must be restorable: images of the protected tables that it names and those it takes along.
///
/// # Safety
/// `node` is a complete utility statement.
pub unsafe fn before_command<'m>(
    node: *mut pg_sys::Node,
    members: impl Iterator<Item = &'m Rc<Member>>,
) -> Outcome<()> {
    let Some(run) = demanded() else { return Ok(()) };
    // Safe: as required of the caller.
    let Some(threat) = (unsafe { threat(node) }) else { return Ok(()) };
    let login = session::login_name();
    let mut named: Vec<Oid> = members.map(|member| member.relation).collect();
    own::run(|client| {
        let with_children = match &threat.takes {
            Takes::Nothing => Vec::new(),
            Takes::Trees => named.clone(),
            Takes::TreesBut(alone) => named.iter().filter(|table| !alone.contains(table)).copied().collect(),
            Takes::Values(altered) => {
                if let Some(altered) = altered {
                    named.extend(affected::holders(client, *altered)?);
                }
                named.clone()
            }
        };
        let tables = affected::trees(client, &named, &with_children)?;
        tables.into_iter().try_for_each(|table| keep(client, &run, &login, table, &threat))
    })?;
    // Every session must know the copies: who reads them copies data out.
    own::policy_changed()
}

/// None for what changes no table's structure and takes nothing away.
unsafe fn threat(node: *mut pg_sys::Node) -> Option<Threat> {
    // Safe: cast after the tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_TruncateStmt => {
                let tables = list::<pg_sys::RangeVar>((*node.cast::<pg_sys::TruncateStmt>()).relations);
                let alone = tables.filter(|table| !(**table).inh).filter_map(|table| resolve(table)).collect();
                Some(Threat { name: "TRUNCATE", takes: Takes::TreesBut(alone) })
            }
            // An index, which loses nothing; and it must be the first thing that its transaction does.
            NodeTag::T_DropStmt if (*node.cast::<pg_sys::DropStmt>()).concurrent => None,
            NodeTag::T_DropStmt => {
                let drops_tables = (*node.cast::<pg_sys::DropStmt>()).removeType == pg_sys::ObjectType::OBJECT_TABLE;
                Some(match drops_tables {
                    true => Threat { name: "DROP TABLE", takes: Takes::Trees },
                    false => Threat { name: "ALTER TABLE", takes: Takes::Nothing },
                })
            }
            NodeTag::T_AlterTableStmt => {
                const LOSSY: [pg_sys::AlterTableType::Type; 2] =
                    [pg_sys::AlterTableType::AT_DropColumn, pg_sys::AlterTableType::AT_AlterColumnType];
                let alter = &*node.cast::<pg_sys::AlterTableStmt>();
                let lossy =
                    list::<pg_sys::AlterTableCmd>(alter.cmds).any(|command| LOSSY.contains(&(*command).subtype));
                let takes = if lossy { Takes::Values(resolve(alter.relation)) } else { Takes::Nothing };
                Some(Threat { name: "ALTER TABLE", takes })
            }
            NodeTag::T_RenameStmt
            | NodeTag::T_IndexStmt
            | NodeTag::T_CreateTrigStmt
            | NodeTag::T_CreatePolicyStmt
            | NodeTag::T_AlterPolicyStmt
            | NodeTag::T_RuleStmt
            | NodeTag::T_AlterObjectSchemaStmt
            | NodeTag::T_AlterOwnerStmt => Some(Threat { name: "ALTER TABLE", takes: Takes::Nothing }),
            _ => None,
        }
    }
}

fn keep(client: &mut SpiClient<'_>, run: &Run, login: &str, relation: Oid, threat: &Threat) -> Outcome<()> {
    let table = relation_name(relation);
    let id = "SELECT nextval('steward.image_id'), format('%I.%I', n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
    let row = own::query(client, id, &[relation.into()])?.first();
    let (id, quoted) = row.get_two::<i64, String>()?;
    let (Some(id), Some(quoted)) = (id, quoted) else { return Err(Fault::unknown(format!("{table} is gone"))) };
    let copied = match threat.takes {
        Takes::Nothing => None,
        _ if !holds_rows(relation, threat, &table)? => None,
        _ => Some(copy(client, id, relation, &quoted)?),
    };
    let insert = "INSERT INTO steward.table_image
            (id, op_no, run, login, relation, table_name, command, copy, rows, definition, fittings, foreign_keys, rights, protected, row_images)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, steward._definition_of($5::regclass), steward._fittings_of($5::regclass),
            steward._foreign_keys_of($5::regclass), steward._rights_of($5::regclass),
            p.relation IS NOT NULL, coalesce(p.row_images, false)
        FROM (SELECT) one LEFT JOIN steward.protected p ON p.relation = $5::regclass";
    let (copy, rows) = copied.unzip();
    let arguments = [
        id.into(),
        run.op_no.as_str().into(),
        run.number.into(),
        login.into(),
        relation.into(),
        quoted.as_str().into(),
        threat.name.into(),
        copy.into(),
        rows.into(),
    ];
    own::execute(client, insert, &arguments).map(drop)
}

/// Whether rows lie in the table itself. A partitioned table has its partitions, which are kept one by one.
fn holds_rows(relation: Oid, threat: &Threat, table: &str) -> Outcome<bool> {
    // Safe: syscache look-up.
    let kind = unsafe { pg_sys::get_rel_relkind(relation) } as u8;
    if kind == pg_sys::RELKIND_PARTITIONED_TABLE && threat.name == "DROP TABLE" {
        return Err(Fault::unsupported(format!("no pre-image can be kept of {table} with its partitions"))
            .detail("A copy holds the rows of one table, not how they are divided.")
            .hint("Empty or drop the partitions one by one."));
    }
    Ok(kind == pg_sys::RELKIND_RELATION)
}

/// A table of the extension's own with all rows of this one, and how many there are.
fn copy(client: &mut SpiClient<'_>, id: i64, relation: Oid, quoted: &str) -> Outcome<(String, i64)> {
    own::require_hooks()?;
    // Safe: backend state.
    if unsafe { pg_sys::XactIsoLevel } > pg_sys::XACT_READ_COMMITTED as i32 {
        return Err(Fault::wrong_state("a pre-image needs a transaction that is READ COMMITTED")
            .detail("An older snapshot does not show what was committed since, and what goes must be copied.")
            .hint("BEGIN ISOLATION LEVEL READ COMMITTED;"));
    }
    // What is copied is what goes: nobody writes in between.
    own::execute(client, &format!("LOCK TABLE ONLY {quoted} IN ACCESS EXCLUSIVE MODE"), &[])?;
    let copy = format!("steward.image_{id}");
    // Values only: nothing that would run code of the table's owner with the rights that own SQL has.
    define(&format!("CREATE TABLE {copy} (LIKE {quoted} INCLUDING STORAGE INCLUDING COMPRESSION) USING heap"))?;
    close_to_all(client, &copy)?;
    define(&format!("ALTER EXTENSION pg_steward ADD TABLE {copy}"))?;
    let Columns { names, values, alter } = columns(client, relation)?;
    if let Some(alter) = alter {
        define(&format!("ALTER TABLE {copy} {alter}"))?;
    }
    let _exact = text::Exact::enter();
    let insert = match names {
        Some(names) => format!("INSERT INTO {copy} ({names}) SELECT {values} FROM ONLY {quoted}"),
        None => format!("INSERT INTO {copy} SELECT FROM ONLY {quoted}"),
    };
    let rows = own::execute(client, &insert, &[])?;
    Ok((copy, rows as i64))
}

/// How the columns of a table get into its copy.
struct Columns {
    names: Option<String>,
    values: String,
    alter: Option<String>,
}

/// What a type or collation of somebody's loses is lost to the copy too, and a copy must not hold up their end: such values
/// are kept as text, which the types' own output functions write; a cast could be anybody's. And nobody finds values of a
/// copy in pg_stats.
fn columns(client: &mut SpiClient<'_>, relation: Oid) -> Outcome<Columns> {
    // 16384: FirstNormalObjectId.
    let columns = "SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
            string_agg(CASE WHEN defined THEN format('CASE WHEN %1$I IS DISTINCT FROM NULL THEN format(''%%s'', %1$I) END', a.attname)
                ELSE quote_ident(a.attname) END, ', ' ORDER BY a.attnum),
            string_agg(CASE WHEN defined THEN format('ALTER %I TYPE text COLLATE \"default\" USING NULL, ', a.attname) ELSE '' END
                || format('ALTER %I SET STATISTICS 0', a.attname), ', ' ORDER BY a.attnum)
        FROM pg_attribute a CROSS JOIN LATERAL (VALUES (a.atttypid >= 16384 OR a.attcollation >= 16384)) u(defined)
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
    let (names, values, alter) = own::select(client, columns, &[relation.into()])?.first().get_three()?;
    Ok(Columns { names, values: values.unwrap_or_default(), alter })
}

/// A protected table is dropped or emptied, or loses a column, by whatever command: no copy made for just this, of all
/// its rows as they are now, no execution.
pub fn require_copy(relation: Oid, command: &str) -> Outcome<()> {
    let Some(run) = demanded() else { return Ok(()) };
    let Some(member) = cache::policy().protected(relation).cloned() else { return Ok(()) };
    let copied = "SELECT EXISTS (SELECT FROM steward.table_image i
        WHERE i.relation = $1 AND i.op_no = $2 AND i.run = $3 AND i.command = $4 AND i.copy IS NOT NULL
            AND NOT EXISTS (SELECT FROM steward.row_image r
                WHERE r.op_no = $2 AND r.run = $3 AND r.id > i.id AND r.relation = $1))";
    let arguments = [relation.into(), run.op_no.as_str().into(), run.number.into(), command.into()];
    let copied = own::run(|client| Ok(own::select(client, copied, &arguments)?.first().get_one::<bool>()?))?;
    // What holds no rows of its own loses none.
    // Safe: syscache look-up.
    let holds_rows = unsafe { pg_sys::get_rel_relkind(relation) } as u8 == pg_sys::RELKIND_RELATION;
    if copied == Some(true) || !holds_rows {
        return Ok(());
    }
    let table = relation_name(member.relation);
    Err(Fault::wrong_state(format!("{table} would lose data that has no pre-image"))
        .detail("The command does not name the table itself, but takes it along.")
        .hint(format!("Put a command of its own for {table} before it into the script.")))
}
