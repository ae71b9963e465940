//! The row trigger of protected tables. What it writes is the change itself, as it happened: an AFTER trigger sees the
//! row that was really changed, where a scan before it may have seen one that another session changed meanwhile.

use super::{Run, TRIGGER, demanded, text};
use crate::backend::backend_local;
use crate::error::{Fault, Outcome, answer};
use crate::{cache, own, session};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, Datum, Oid, PgOid};
use pgrx::spi::{OwnedPreparedStatement, SpiClient};
use std::cell::RefCell;
use std::ffi::{CStr, CString};

const INSERT: &str = "INSERT INTO steward.row_image
        (op_no, run, login, relation, table_name, command, keys, columns, old_values, new_values)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

backend_local! {
    /// The plan of `INSERT`, made once.
    static PLAN: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
}

/// What one change did to one row.
struct Image {
    command: &'static str,
    keys: i32,
    columns: Vec<String>,
    old: Option<Vec<Option<String>>>,
    new: Option<Vec<Option<String>>>,
}

/// Sets the trigger on a table and its partitions, or makes it whole again.
pub fn install(client: &mut SpiClient<'_>, relation: Oid) -> Outcome<()> {
    // Inheriting tables have triggers of their own; partitions get theirs from their root, future ones too.
    let tables = "WITH RECURSIVE tree AS (SELECT $1::oid AS relation
            UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation)
        SELECT format('%I.%I', n.nspname, c.relname), g.oid IS NOT NULL, g.tgfoid = 'steward._keep_row_image()'::regprocedure
            AND g.tgtype = 29 AND g.tgqual IS NULL AND g.tgattr = '' AND NOT g.tgdeferrable FROM tree t JOIN pg_class c ON c.oid = t.relation
            JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_trigger g ON g.tgrelid = c.oid AND g.tgname = $2
        WHERE NOT c.relispartition OR c.oid = $1 ORDER BY 1";
    let mut found = Vec::new();
    for row in own::query(client, tables, &[relation.into(), TRIGGER.into()])? {
        let name = row.get::<String>(1)?.unwrap_or_default();
        found.push((name, row.get::<bool>(2)? == Some(true), row.get::<bool>(3)? == Some(true)));
    }
    for (table, exists, genuine) in found {
        if exists && !genuine {
            return Err(Fault::wrong_state(format!("{table} has a trigger \"{TRIGGER}\" that is not pg_steward's"))
                .hint(format!("DROP TRIGGER \"{TRIGGER}\" ON {table};")));
        }
        refuse_computed_keys(client, &table)?;
        if !exists {
            create(client, &table)?;
        }
        own::execute(client, &format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER \"{TRIGGER}\""), &[])?;
    }
    Ok(())
}

/// A command on a partitioned table evaluates what is constant in its keys, and no plan lends that its owner's rights.
fn refuse_computed_keys(client: &mut SpiClient<'_>, table: &str) -> Outcome<()> {
    let partitioned = "SELECT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass($1))";
    if own::select(client, partitioned, &[table.into()])?.first().get_one::<bool>()? != Some(true) {
        return Ok(());
    }
    // As CREATE TRIGGER locks it, with all that is below: no other key comes to it meanwhile.
    own::execute(client, &format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"), &[])?;
    // Nothing that the server was born with is in pg_depend. 16384: FirstNormalObjectId.
    let computed = "WITH RECURSIVE tree AS (SELECT to_regclass($1)::oid AS relation
            UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation)
        SELECT max(t.relation::regclass::text) FROM tree t JOIN pg_partitioned_table p ON p.partrelid = t.relation
            JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = t.relation
                AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384
        WHERE p.partexprs IS NOT NULL";
    match own::select(client, computed, &[table.into()])?.first().get_one::<String>()? {
        None => Ok(()),
        Some(table) => Err(Fault::unsupported(format!("{table} has a partition key that is somebody's code"))
            .detail("It would run with the extension's rights.")
            .hint("A partition key may be of columns and of the server's own functions.")),
    }
}

fn create(client: &mut SpiClient<'_>, table: &str) -> Outcome<()> {
    let create = format!(
        "CREATE TRIGGER \"{TRIGGER}\" AFTER INSERT OR UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION steward._keep_row_image()"
    );
    own::execute(client, &create, &[])?;
    let relation = own::select(client, "SELECT to_regclass($1)::oid", &[table.into()])?.first().get_one::<Oid>()?;
    let relation = relation.ok_or_else(|| Fault::internal("a table with a new trigger is not found"))?;
    go_with_extension(relation);
    Ok(())
}

/// The trigger goes with the extension. Written down as ALTER TRIGGER … DEPENDS ON EXTENSION would, which also locks the
/// extension until the transaction ends: the sequencer needs it in each of its own.
fn go_with_extension(relation: Oid) {
    let Ok(name) = CString::new(TRIGGER) else { return };
    // Safe: the trigger was made by a command before, and the extension runs this; both addresses are copied.
    unsafe {
        let trigger = pg_sys::ObjectAddress {
            classId: pg_sys::TriggerRelationId,
            objectId: pg_sys::get_trigger_oid(relation, name.as_ptr(), false),
            objectSubId: 0,
        };
        let extension = pg_sys::ObjectAddress {
            classId: pg_sys::ExtensionRelationId,
            objectId: pg_sys::get_extension_oid(c"pg_steward".as_ptr(), false),
            objectSubId: 0,
        };
        pg_sys::recordDependencyOn(&trigger, &extension, pg_sys::DependencyType::DEPENDENCY_AUTO_EXTENSION);
    }
}

/// Sets the trigger on tables that have come to inherit from a protected one. What has it switched off keeps it so.
pub fn adopt(roots: &[Oid]) -> Outcome<()> {
    let children = "WITH RECURSIVE tree AS (SELECT i.inhrelid AS relation FROM pg_inherits i WHERE i.inhparent = $1
            UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation)
        SELECT format('%I.%I', n.nspname, c.relname) FROM tree t JOIN pg_class c ON c.oid = t.relation
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT c.relispartition AND c.relkind IN ('r', 'f') AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid
            AND (g.tgfoid = 'steward._keep_row_image()'::regprocedure OR g.tgname = $2)) ORDER BY 1";
    for root in roots {
        own::run(|client| {
            let mut found = Vec::new();
            for row in own::query(client, children, &[(*root).into(), TRIGGER.into()])? {
                found.extend(row.get::<String>(1)?);
            }
            found.iter().try_for_each(|table| {
                create(client, table)?;
                own::execute(client, &format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER \"{TRIGGER}\""), &[]).map(drop)
            })
        })?;
    }
    Ok(())
}

/// Takes the trigger off again.
pub fn remove(client: &mut SpiClient<'_>, relation: Oid) -> Outcome<()> {
    let tables = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE g.tgfoid = 'steward._keep_row_image()'::regprocedure AND g.tgparentid = 0
            AND (c.oid = $1 OR NOT EXISTS (SELECT FROM steward.protected p WHERE p.relation = c.oid))
            AND (c.oid = $1 OR c.oid IN (WITH RECURSIVE tree AS (SELECT $1::oid AS relation
                UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation) SELECT relation FROM tree))";
    let mut found = Vec::new();
    for row in own::query(client, tables, &[relation.into()])? {
        found.extend(row.get::<String>(1)?);
    }
    for table in found {
        own::execute(client, &format!("DROP TRIGGER \"{TRIGGER}\" ON {table}"), &[])?;
    }
    Ok(())
}

/// The version of the calling convention, which the server asks for.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_keep_row_image() -> *const pg_sys::Pg_finfo_record {
    const VERSION: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &VERSION
}

/// The trigger function. Nearly always there is nothing to do.
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn keep_row_image(call: pg_sys::FunctionCallInfo) -> Datum {
    // Safe: the server calls triggers with a TriggerData as context; anything else is refused by its tag.
    unsafe {
        let trigger = (*call).context.cast::<pg_sys::TriggerData>();
        if trigger.is_null() || (*trigger).type_ != pg_sys::NodeTag::T_TriggerData {
            Fault::wrong_state("steward._keep_row_image is a trigger function").raise();
        }
        let run = demanded();
        if run.is_some() || keeps_all((*(*trigger).tg_relation).rd_id) {
            answer(keep(&*trigger, run));
        }
    }
    // An AFTER trigger's result is ignored.
    Datum::from(0)
}

/// A table that was protected with `row_images`.
fn keeps_all(relation: Oid) -> bool {
    cache::policy().protected(relation).is_some_and(|member| member.root.row_images)
}

unsafe fn keep(trigger: &pg_sys::TriggerData, run: Option<Run>) -> Outcome<()> {
    let relation = trigger.tg_relation;
    let login = session::login_name();
    own::run(|client| {
        // Safe: the trigger's relation is open and locked.
        let (image, table, oid) = unsafe {
            let _exact = text::Exact::enter();
            let oid = (*relation).rd_id;
            (image(trigger), crate::watch::utility::relation_name(oid), oid)
        };
        let Some(image) = image else { return Ok(()) };
        let arguments: [DatumWithOid<'_>; 10] = [
            run.as_ref().map(|run| run.op_no.clone()).into(),
            run.as_ref().map(|run| run.number).into(),
            login.as_str().into(),
            oid.into(),
            table.as_str().into(),
            image.command.into(),
            image.keys.into(),
            image.columns.into(),
            image.old.into(),
            image.new.into(),
        ];
        PLAN.with_borrow_mut(|plan| {
            if plan.is_none() {
                *plan = Some(client.prepare_mut(INSERT, &ARGUMENTS.map(PgOid::from))?.keep());
            }
            let Some(plan) = plan else { return Err(Fault::internal("a plan that was made is gone")) };
            client.update(&*plan, None, &arguments)?;
            crate::watch::apply::kept_image();
            Ok(())
        })
    })
}

/// Types of the arguments of `INSERT`.
const ARGUMENTS: [Oid; 10] = {
    use pg_sys::{INT4OID, OIDOID, TEXTARRAYOID, TEXTOID};
    [TEXTOID, INT4OID, TEXTOID, OIDOID, TEXTOID, TEXTOID, INT4OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID]
};

/// None for an UPDATE that changed nothing.
unsafe fn image(trigger: &pg_sys::TriggerData) -> Option<Image> {
    // Safe: an AFTER ROW trigger has the old row, the new one, or both, as its event says.
    unsafe {
        let relation = trigger.tg_relation;
        let row = |tuple| values(tuple, (*relation).rd_att);
        let columns = columns(relation);
        let keys = columns.iter().filter(|column| column.key).count();
        let (command, old, new) = match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => ("INSERT", None, Some(row(trigger.tg_trigtuple))),
            pg_sys::TRIGGER_EVENT_DELETE => ("DELETE", Some(row(trigger.tg_trigtuple)), None),
            _ => ("UPDATE", Some(row(trigger.tg_trigtuple)), Some(row(trigger.tg_newtuple))),
        };
        let changed = |column: &Column| match (&old, &new) {
            (Some(old), Some(new)) => old[column.index] != new[column.index],
            _ => true,
        };
        if !columns.iter().any(changed) {
            return None;
        }
        let kept: Vec<&Column> = columns.iter().filter(|column| keys == 0 || column.key || changed(column)).collect();
        let pick = |row: &Vec<Option<String>>| kept.iter().map(|column| row[column.index].clone()).collect();
        Some(Image {
            command,
            keys: keys as i32,
            columns: kept.iter().map(|column| column.name.clone()).collect(),
            old: old.as_ref().map(pick),
            new: new.as_ref().map(pick),
        })
    }
}

/// A column of the table, and where it is in a row.
struct Column {
    index: usize,
    name: String,
    key: bool,
}

/// The columns that are there, those of the key first.
unsafe fn columns(relation: pg_sys::Relation) -> Vec<Column> {
    use pg_sys::IndexAttrBitmapKind::{INDEX_ATTR_BITMAP_IDENTITY_KEY, INDEX_ATTR_BITMAP_PRIMARY_KEY};
    // Safe: the relation is open; names are copied.
    unsafe {
        let mut key = pg_sys::RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_PRIMARY_KEY);
        if key.is_null() {
            key = pg_sys::RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_IDENTITY_KEY);
        }
        let shape = (*relation).rd_att;
        let attributes = std::slice::from_raw_parts((*shape).attrs.as_ptr(), (*shape).natts as usize);
        let mut columns: Vec<Column> = attributes
            .iter()
            .enumerate()
            .filter(|(_, attribute)| !attribute.attisdropped)
            .map(|(index, attribute)| Column {
                index,
                name: CStr::from_ptr(attribute.attname.data.as_ptr()).to_string_lossy().into_owned(),
                key: pg_sys::bms_is_member(
                    i32::from(attribute.attnum) - pg_sys::FirstLowInvalidHeapAttributeNumber,
                    key,
                ),
            })
            .collect();
        columns.sort_by_key(|column| !column.key);
        columns
    }
}

/// All values of a row in the order of its columns; a dropped column is NULL.
unsafe fn values(tuple: pg_sys::HeapTuple, shape: pg_sys::TupleDesc) -> Vec<Option<String>> {
    // Safe: a row of the table whose shape this is.
    unsafe {
        let attributes = std::slice::from_raw_parts((*shape).attrs.as_ptr(), (*shape).natts as usize);
        attributes
            .iter()
            .map(|attribute| {
                let mut missing = false;
                let value = pg_sys::heap_getattr(tuple, i32::from(attribute.attnum), shape, &mut missing);
                (!missing && !attribute.attisdropped).then(|| text::written(value, attribute.atttypid))
            })
            .collect()
    }
}
