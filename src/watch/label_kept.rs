//! Classes that a table has from the table above it, when it leaves that table: DETACH PARTITION, NO INHERIT; a column that
//! outlives the one it was inherited from; and a column that is generated no more. The values are the same as before, so
//! the classes become labels of the table's own. What it is labelled with by itself stays, and what goes on to be inherited
//! stays inherited.

use super::utility_names::{resolve, text};
use super::{catalog, list};
use crate::cache::{self, columns};
use crate::error::{Fault, answer};
use crate::own;
use pgrx::pg_sys::{self, AlterTableStmt, AlterTableType, Node, NodeTag, Oid};
use std::ffi::{CStr, CString};

/// Of several classes that a column has from above the first by name: a label is one. What it has from below stays below.
const INHERITED: &CStr = c"SELECT l.relation::text, l.attnum::text, min(l.class) FROM steward._labelled l
    WHERE l.relation::pg_catalog.oid = ANY ($1::pg_catalog.oid[]) AND NOT l.up AND NOT EXISTS (SELECT FROM pg_catalog.pg_seclabel s
        WHERE s.provider = 'pg_steward' AND s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND (s.objoid, s.objsubid) = (l.relation, l.attnum)) GROUP BY 1, 2";

/// Columns below table $1 that stay when its column $2 is dropped, from it alone if $3, with the label of that column. One
/// that is local as well, or inherited from another table too, stays in any case, and what is below it inherits from it.
const OUTLIVING: &CStr = c"WITH RECURSIVE below(relation, number, stays) AS (
        SELECT i.inhrelid, a.attnum, $3::bool OR a.attislocal OR a.attinhcount > 1 FROM pg_catalog.pg_inherits i
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = $2 WHERE i.inhparent = $1::pg_catalog.oid
        UNION SELECT i.inhrelid, a.attnum, a.attislocal OR a.attinhcount > 1 FROM below b
            JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relation
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = $2 WHERE NOT b.stays)
    SELECT b.relation::text, b.number::text, l.label FROM below b
        JOIN pg_catalog.pg_attribute p ON p.attrelid = $1::pg_catalog.oid AND p.attname = $2
        JOIN pg_catalog.pg_seclabel l ON l.provider = 'pg_steward' AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND (l.objoid, l.objsubid) = (p.attrelid, p.attnum)
        WHERE b.stays AND NOT EXISTS (SELECT FROM pg_catalog.pg_seclabel s WHERE s.provider = 'pg_steward'
            AND s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND (s.objoid, s.objsubid) = (b.relation, b.number))";

/// Before a command that was allowed, in its transaction: if it fails, nothing was labelled.
pub unsafe fn before_command(command: *mut Node) {
    // Safe: a complete utility statement; cast after the tag.
    unsafe {
        if (*command).type_ == NodeTag::T_AlterTableStmt && cache::policy_relation().is_some() {
            answer(keep(&kept(&*command.cast())));
        }
    }
}

/// Relation, column and class, as texts.
type Rows = Vec<Vec<Option<String>>>;

/// The labels that are to take the place of what is inherited now.
unsafe fn kept(alter: &AlterTableStmt) -> Rows {
    let (mut leaving, mut rows) = (Vec::new(), Rows::new());
    // Safe: sub-commands are as the parser makes them.
    unsafe {
        for command in list::<pg_sys::AlterTableCmd>(alter.cmds) {
            let table = match (*command).subtype {
                AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => {
                    resolve((*(*command).def.cast::<pg_sys::PartitionCmd>()).name)
                }
                AlterTableType::AT_DropInherit | AlterTableType::AT_DropExpression => resolve(alter.relation),
                AlterTableType::AT_DropColumn => {
                    let only = if (*alter.relation).inh { "false" } else { "true" };
                    if let Some(table) = resolve(alter.relation) {
                        let arguments = [&number(table)[..], text((*command).name), only];
                        rows.extend(own::latest_rows_of(OUTLIVING, &arguments));
                    }
                    None
                }
                _ => None,
            };
            leaving.extend(table.into_iter().flat_map(columns::tree).map(number));
        }
    }
    if !leaving.is_empty() {
        rows.extend(own::latest_rows_of(INHERITED, &[&format!("{{{}}}", leaving.join(","))]));
    }
    rows
}

fn number(relation: Oid) -> String {
    relation.to_u32().to_string()
}

fn keep(rows: &Rows) -> Result<(), Fault> {
    let odd = || Fault::internal("a class does not read back");
    for row in rows {
        let [Some(relation), Some(number), Some(class)] = row.as_slice() else { return Err(odd()) };
        let relation = Oid::from(relation.parse::<u32>().map_err(|_| odd())?);
        let column = pg_sys::ObjectAddress {
            classId: catalog::RELATION,
            objectId: relation,
            objectSubId: number.parse().map_err(|_| odd())?,
        };
        let class = CString::new(class.as_str()).map_err(|_| odd())?;
        // Safe: an existing column and C strings; a transactional message for an existing relation.
        unsafe {
            pg_sys::SetSecurityLabel(&raw const column, c"pg_steward".as_ptr(), class.as_ptr());
            pg_sys::CacheInvalidateRelcacheByRelid(relation);
        }
    }
    if rows.is_empty() { Ok(()) } else { own::policy_changed() }
}
