//! What is defined on a table is given its rows as they are: expressions of indexes, statistics and checks, policies,
//! triggers, a change of a type. No plan stands between, so who does not see a table clear defines nothing of the kind on
//! it, though they own it. What is there already, made by others, works on.

use super::statement::Source;
use super::utility_names::resolve;
use super::{judge, list, utility};
use crate::cache::{Policy, columns};
use crate::core::tier::Tier;
use crate::error::Fault;
use crate::{raw, session};
use pgrx::pg_sys::{self, AlterTableType, ConstrType, Node, NodeTag, RangeVar};

/// Refuses such a definition, on record.
pub unsafe fn check(command: *mut Node, policy: &Policy, tag: &'static str, source: &Source<'_>) {
    // Safe: a plain getter.
    let role = unsafe { raw::GetUserId() };
    let Some(masks) = policy.masks().filter(|masks| masks.has(role)) else { return };
    let mut tables = Vec::new();
    // Safe: a complete utility statement.
    unsafe { defined_on(command, &mut tables) };
    // Safe: names are as the parser makes them.
    let named = tables.into_iter().filter_map(|table| unsafe { resolve(table) });
    let Some(table) = named.flat_map(columns::tree).find(|table| masks.of(role, *table).is_some()) else { return };
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
            T_CreateTrigStmt => tables.push((*command.cast::<pg_sys::CreateTrigStmt>()).relation),
            T_RuleStmt => tables.push((*command.cast::<pg_sys::RuleStmt>()).relation),
            T_CreatePolicyStmt => tables.push((*command.cast::<pg_sys::CreatePolicyStmt>()).table),
            T_AlterPolicyStmt => tables.push((*command.cast::<pg_sys::AlterPolicyStmt>()).table),
            T_AlterTableStmt => {
                let alter = &*command.cast::<pg_sys::AlterTableStmt>();
                for part in list::<pg_sys::AlterTableCmd>(alter.cmds) {
                    match (*part).subtype {
                        AlterTableType::AT_AlterColumnType => tables.push(alter.relation),
                        AlterTableType::AT_AddConstraint if computes((*part).def.cast()) => tables.push(alter.relation),
                        AlterTableType::AT_AddColumn => {
                            let column = &*(*part).def.cast::<pg_sys::ColumnDef>();
                            if list::<pg_sys::Constraint>(column.constraints).any(|constraint| computes(constraint)) {
                                tables.push(alter.relation);
                            }
                        }
                        // Its rows are held against the expressions of the other table's key.
                        AlterTableType::AT_AttachPartition => {
                            tables.push((*(*part).def.cast::<pg_sys::PartitionCmd>()).name);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
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
