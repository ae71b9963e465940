//! Classes that a table has from the table above it, when it leaves that table: DETACH PARTITION, NO INHERIT, a column that
//! is dropped from the parent ONLY; and a column that is generated no more. The rows hold the same values as before, so the
//! classes become labels of the table's own. What it is labelled with by itself stays.

use super::utility_names::resolve;
use super::{catalog, list};
use crate::cache::{self, columns};
use crate::error::{Fault, answer};
use crate::own;
use pgrx::pg_sys::{self, AlterTableStmt, AlterTableType, Node, NodeTag, Oid};
use std::ffi::CString;

/// Of several classes that a column has from elsewhere the first by name: a label is one.
const INHERITED: &std::ffi::CStr = c"SELECT l.relation::text, l.attnum::text, min(l.class) FROM steward._labelled l
    WHERE l.relation::pg_catalog.oid = ANY ($1::pg_catalog.oid[]) AND NOT EXISTS (SELECT FROM pg_catalog.pg_seclabel s
        WHERE s.provider = 'pg_steward' AND s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND (s.objoid, s.objsubid) = (l.relation, l.attnum)) GROUP BY 1, 2";

/// Before a command that was allowed, in its transaction: if it fails, nothing was labelled.
pub unsafe fn before_command(command: *mut Node) {
    // Safe: a complete utility statement; cast after the tag.
    unsafe {
        if (*command).type_ != NodeTag::T_AlterTableStmt || cache::policy_relation().is_none() {
            return;
        }
        let leaving = leaving(&*command.cast());
        if !leaving.is_empty() {
            answer(keep(&leaving));
        }
    }
}

/// The tables that the command takes from another one, or a column of it, with all that is below them.
unsafe fn leaving(alter: &AlterTableStmt) -> Vec<Oid> {
    let mut leaving = Vec::new();
    // Safe: sub-commands are as the parser makes them.
    unsafe {
        for command in list::<pg_sys::AlterTableCmd>(alter.cmds) {
            let table = match (*command).subtype {
                AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => {
                    resolve((*(*command).def.cast::<pg_sys::PartitionCmd>()).name)
                }
                AlterTableType::AT_DropInherit | AlterTableType::AT_DropExpression => resolve(alter.relation),
                AlterTableType::AT_DropColumn if !(*alter.relation).inh => resolve(alter.relation),
                _ => None,
            };
            leaving.extend(table.into_iter().flat_map(columns::tree));
        }
    }
    leaving
}

fn keep(relations: &[Oid]) -> Result<(), Fault> {
    let numbers: Vec<String> = relations.iter().map(|relation| relation.to_u32().to_string()).collect();
    let rows = own::latest_rows_of(INHERITED, &[&format!("{{{}}}", numbers.join(","))]);
    let odd = || Fault::internal("a class does not read back");
    for row in &rows {
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
