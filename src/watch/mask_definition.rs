//! What is defined on a table is given its rows as they are: expressions of indexes, statistics and checks, policies,
//! triggers, a change of a type. No plan stands between, so who does not see a table clear defines nothing of the kind on
//! it, though they own it; nor on the types of its columns, whose checks, casts and operators are given the same values.
//! What is there already, made by others, works on, and is not theirs to replace: `mask_given`.

use super::statement::Source;
use super::utility_names::resolve;
use super::{judge, list, mask_given, utility};
use crate::cache::{Policy, columns};
use crate::core::tier::Tier;
use crate::error::Fault;
use crate::mask::Masks;
use crate::{own, raw, session};
use pgrx::pg_sys::{self, AlterTableType, ConstrType, Node, NodeTag, Oid, RangeVar};
use std::ffi::CStr;

/// Refuses such a definition, on record.
pub unsafe fn check(command: *mut Node, policy: &Policy, tag: &'static str, source: &Source<'_>) {
    // Safe: a plain getter.
    let role = unsafe { raw::GetUserId() };
    let Some(masks) = policy.masks().filter(|masks| masks.has(role)) else { return };
    // Safe: a complete utility statement.
    if let Some(table) = unsafe { masked_table(command, masks, role) } {
        refuse(table, role, tag, source);
    }
}

/// The first table that the command would let something look at, and that the role does not see clear.
unsafe fn masked_table(command: *mut Node, masks: &Masks, role: Oid) -> Option<Oid> {
    let mut tables = Vec::new();
    // Safe: as above; names are as the parser makes them.
    unsafe {
        defined_on(command, &mut tables);
        let named = tables.into_iter().filter_map(|table| resolve(table));
        named.flat_map(columns::tree).find(|table| masks.of(role, *table).is_some()).or_else(|| {
            let given = mask_given::defined_for(command);
            given.into_iter().find_map(|(class, object)| mask_given::masked_table(class, object, masks, role))
        })
    }
}

/// On record, then raised.
pub fn refuse(table: Oid, role: Oid, tag: &'static str, source: &Source<'_>) -> ! {
    let name = utility::relation_name(table);
    let record = judge::record(tag, vec![name.clone()], Tier::Normal, "mask", source);
    let fault = Fault::refused("statement refused: what is defined on a table is given its values")
        .detail(format!("{name} has columns that are masked for role {}.", session::role_name(role)))
        .hint("Let a role define it that sees the table clear.");
    judge::deny(record, fault)
}

/// The tables on which a command defines something that is given their rows.
unsafe fn defined_on(command: *mut Node, tables: &mut Vec<*mut RangeVar>) {
    use NodeTag::*;
    // Safe: each cast follows the tag.
    unsafe {
        match (*command).type_ {
            T_IndexStmt => {
                let index = &*command.cast::<pg_sys::IndexStmt>();
                if !index.whereClause.is_null() || has_expressions(index.indexParams) {
                    tables.push(index.relation);
                }
            }
            T_CreateStatsStmt => {
                let statistics = &*command.cast::<pg_sys::CreateStatsStmt>();
                if list::<pg_sys::StatsElem>(statistics.exprs).any(|element| !(*element).expr.is_null()) {
                    tables.extend(list::<RangeVar>(statistics.relations));
                }
            }
            T_CreateStmt => {
                let create = &*command.cast::<pg_sys::CreateStmt>();
                if divides_by_code(create.partspec) || list::<Node>(create.tableElts).any(|part| defines_code(part)) {
                    tables.extend(list::<RangeVar>(create.inhRelations));
                }
            }
            // Its rows leave the database.
            T_CreateForeignTableStmt => {
                let create = &*command.cast::<pg_sys::CreateForeignTableStmt>();
                tables.extend(list::<RangeVar>(create.base.inhRelations));
            }
            // Its parts are no commands of their own.
            T_CreateSchemaStmt => {
                list((*command.cast::<pg_sys::CreateSchemaStmt>()).schemaElts)
                    .for_each(|part| defined_on(part, tables));
            }
            T_CreateTrigStmt => tables.push((*command.cast::<pg_sys::CreateTrigStmt>()).relation),
            T_RuleStmt => tables.push((*command.cast::<pg_sys::RuleStmt>()).relation),
            T_CreatePolicyStmt => tables.push((*command.cast::<pg_sys::CreatePolicyStmt>()).table),
            T_AlterPolicyStmt => tables.push((*command.cast::<pg_sys::AlterPolicyStmt>()).table),
            T_AlterTableStmt => altered(&*command.cast(), tables),
            _ => {}
        }
    }
}

/// The same for ALTER TABLE.
unsafe fn altered(alter: &pg_sys::AlterTableStmt, tables: &mut Vec<*mut RangeVar>) {
    // Safe: sub-commands are as the parser makes them.
    unsafe {
        for part in list::<pg_sys::AlterTableCmd>(alter.cmds) {
            match (*part).subtype {
                AlterTableType::AT_AlterColumnType => tables.push(alter.relation),
                AlterTableType::AT_AddConstraint if computes((*part).def.cast()) => tables.push(alter.relation),
                AlterTableType::AT_AddColumn if defines_code((*part).def) => tables.push(alter.relation),
                // Its rows are held against the expressions of the other table's key; and what is defined on it is given
                // what is written into the other table from then on.
                AlterTableType::AT_AttachPartition => {
                    let partition = (*(*part).def.cast::<pg_sys::PartitionCmd>()).name;
                    tables.push(partition);
                    tables.extend(brings_code(partition).then_some(alter.relation));
                }
                AlterTableType::AT_AddInherit if brings_code(alter.relation) => tables.push((*part).def.cast()),
                _ => {}
            }
        }
    }
}

/// Whether a part of CREATE TABLE computes something of the rows, or copies what does.
unsafe fn defines_code(part: *mut Node) -> bool {
    // Safe: casts follow the tags.
    unsafe {
        match (*part).type_ {
            NodeTag::T_Constraint => computes(part.cast()),
            NodeTag::T_ColumnDef => {
                let column = &*part.cast::<pg_sys::ColumnDef>();
                list::<pg_sys::Constraint>(column.constraints).any(|constraint| computes(constraint))
            }
            NodeTag::T_TableLikeClause => (*part.cast::<pg_sys::TableLikeClause>()).options != 0,
            _ => false,
        }
    }
}

/// Whether the key of partitions is an expression.
unsafe fn divides_by_code(key: *mut pg_sys::PartitionSpec) -> bool {
    // Safe: null or a node of the parser.
    unsafe {
        !key.is_null() && list::<pg_sys::PartitionElem>((*key).partParams).any(|element| !(*element).expr.is_null())
    }
}

/// What computes something of the rows of these tables, or hands them to another server.
const COMPUTING: &CStr =
    c"SELECT FROM unnest($1::oid[]) t(oid) WHERE EXISTS (SELECT FROM pg_class WHERE oid = t.oid AND relkind = 'f')
    OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = t.oid AND NOT tgisinternal)
    OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = t.oid AND contype = 'c')
    OR EXISTS (SELECT FROM pg_index WHERE indrelid = t.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
    OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = t.oid AND attgenerated <> '' AND NOT attisdropped)
    OR EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = t.oid AND partexprs IS NOT NULL)
    OR EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = t.oid AND stxexprs IS NOT NULL)
    OR EXISTS (SELECT FROM pg_policy WHERE polrelid = t.oid) OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = t.oid)";

/// Whether something of the kind is defined on a table already, or below it.
unsafe fn brings_code(table: *mut RangeVar) -> bool {
    // Safe: a name as the parser makes it.
    let tables = unsafe { resolve(table) }.into_iter().flat_map(columns::tree);
    let numbers: Vec<String> = tables.map(|table| table.to_u32().to_string()).collect();
    !own::latest_rows_of(COMPUTING, &[&format!("{{{}}}", numbers.join(","))]).is_empty()
}

/// Whether a constraint has an expression over the row.
unsafe fn computes(constraint: *mut pg_sys::Constraint) -> bool {
    // Safe: a constraint of the parser; an exclusion is a list of pairs, an element and its operator.
    unsafe {
        match (*constraint).contype {
            ConstrType::CONSTR_CHECK | ConstrType::CONSTR_GENERATED => true,
            ConstrType::CONSTR_EXCLUSION => {
                !(*constraint).where_clause.is_null()
                    || list::<pg_sys::List>((*constraint).exclusions).any(|pair| {
                        list::<pg_sys::IndexElem>(pair).next().is_some_and(|element| !(*element).expr.is_null())
                    })
            }
            _ => false,
        }
    }
}

unsafe fn has_expressions(elements: *mut pg_sys::List) -> bool {
    // Safe: elements of an index.
    unsafe { list::<pg_sys::IndexElem>(elements).any(|element| !(*element).expr.is_null()) }
}
