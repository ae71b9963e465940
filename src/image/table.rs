//! Copies of protected tables before a command of an operation takes their data away, and the commands that rebuild them.

use super::{Run, demanded};
use crate::audit::segment::{close_to_all, define};
use crate::cache::Member;
use crate::error::{Fault, Outcome};
use crate::watch::utility::relation_name;
use crate::{cache, own, session};
use pgrx::pg_sys::{self, NodeTag};
use pgrx::spi::SpiClient;
use std::rc::Rc;

/// What a command does to the tables that it names.
#[derive(Clone, Copy)]
struct Threat {
    name: &'static str,
    /// Rows or columns go.
    takes_data: bool,
}

/// Before a command of a run that must be restorable: images of the protected tables that it names.
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
    let mut done = Vec::new();
    for member in members {
        if !done.contains(&member.relation) {
            own::run(|client| keep(client, &run, &login, member, threat))?;
            done.push(member.relation);
        }
    }
    Ok(())
}

/// None for what changes no table's structure and takes nothing away.
unsafe fn threat(node: *mut pg_sys::Node) -> Option<Threat> {
    // Safe: cast after the tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_TruncateStmt => Some(Threat { name: "TRUNCATE", takes_data: true }),
            // An index, which loses nothing; and it must be the first thing that its transaction does.
            NodeTag::T_DropStmt if (*node.cast::<pg_sys::DropStmt>()).concurrent => None,
            NodeTag::T_DropStmt => {
                let drops_tables = (*node.cast::<pg_sys::DropStmt>()).removeType == pg_sys::ObjectType::OBJECT_TABLE;
                let name = if drops_tables { "DROP TABLE" } else { "ALTER TABLE" };
                Some(Threat { name, takes_data: drops_tables })
            }
            NodeTag::T_AlterTableStmt => {
                const LOSSY: [pg_sys::AlterTableType::Type; 2] =
                    [pg_sys::AlterTableType::AT_DropColumn, pg_sys::AlterTableType::AT_AlterColumnType];
                let commands = (*node.cast::<pg_sys::AlterTableStmt>()).cmds;
                let takes_data = crate::watch::list::<pg_sys::AlterTableCmd>(commands)
                    .any(|command| LOSSY.contains(&(*command).subtype));
                Some(Threat { name: "ALTER TABLE", takes_data })
            }
            NodeTag::T_RenameStmt
            | NodeTag::T_IndexStmt
            | NodeTag::T_CreateTrigStmt
            | NodeTag::T_CreatePolicyStmt
            | NodeTag::T_AlterPolicyStmt
            | NodeTag::T_RuleStmt
            | NodeTag::T_AlterObjectSchemaStmt
            | NodeTag::T_AlterOwnerStmt => Some(Threat { name: "ALTER TABLE", takes_data: false }),
            _ => None,
        }
    }
}

fn keep(client: &mut SpiClient<'_>, run: &Run, login: &str, member: &Member, threat: Threat) -> Outcome<()> {
    let relation = member.relation;
    let table = relation_name(relation);
    let id = "SELECT nextval('steward.image_id'), format('%I.%I', n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
    let row = own::query(client, id, &[relation.into()])?.first();
    let (id, quoted) = row.get_two::<i64, String>()?;
    let (Some(id), Some(quoted)) = (id, quoted) else { return Err(Fault::unknown(format!("{table} is gone"))) };
    let copied = if threat.takes_data { Some(copy(client, id, relation, &table, &quoted)?) } else { None };
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

/// A table of the extension's own with all rows of this one, and how many there are.
fn copy(
    client: &mut SpiClient<'_>,
    id: i64,
    relation: pg_sys::Oid,
    table: &str,
    quoted: &str,
) -> Outcome<(String, i64)> {
    // Safe: syscache look-up and backend state.
    let (kind, frozen) = unsafe { (pg_sys::get_rel_relkind(relation) as u8, pg_sys::XactIsoLevel) };
    if kind == pg_sys::RELKIND_PARTITIONED_TABLE {
        return Err(Fault::unsupported(format!("no pre-image can be kept of {table} with its partitions"))
            .detail("A copy holds the rows of one table, not how they are divided.")
            .hint("Empty, drop or change the partitions one by one."));
    }
    if frozen > pg_sys::XACT_READ_COMMITTED as i32 {
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
    let rows = own::execute(client, &format!("INSERT INTO {copy} SELECT * FROM ONLY {quoted}"), &[])?;
    Ok((copy, rows as i64))
}

/// A protected table is dropped or emptied, or loses a column, by whatever command: no copy, no execution.
pub fn require_copy(relation: pg_sys::Oid) -> Outcome<()> {
    let Some(run) = demanded() else { return Ok(()) };
    let Some(member) = cache::policy().protected(relation).cloned() else { return Ok(()) };
    let copied = "SELECT EXISTS (SELECT FROM steward.table_image
        WHERE relation = $1 AND op_no = $2 AND run = $3 AND copy IS NOT NULL)";
    let arguments = [relation.into(), run.op_no.as_str().into(), run.number.into()];
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
