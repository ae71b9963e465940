//! Masks and writing. A mask is no value to be stored: it would be taken for one. And who read a row with masks may write
//! it back whole: a mask that comes back to its own column changes nothing. Nor does `coalesce($1, phone)` for the column
//! phone, or the arm of a CASE: the value that nobody looks at stays where it is.

use super::mask_expression::{self, case};
use super::mask_level::Level;
use super::mask_query::{Job, Refusal, refuse};
use super::{list, node};
use crate::core::mask_rule::Write;
use pgrx::pg_sys::{self, CmdType, List, Node, NodeTag, Oid, Param, Query, RTEKind, RangeTblEntry, TargetEntry, Var};
use std::ffi::{CStr, c_int, c_void};

/// How deep values are followed through sub-queries.
const DEPTH: u32 = 64;

/// Calls back for each assignment to a masked column.
unsafe fn assignments(level: &Level, found: &mut dyn FnMut(*mut TargetEntry)) {
    // Safe: a complete query; its target lists assign columns of the result relation.
    unsafe {
        let query = level.query;
        let mut all = |targets: *mut List| {
            let entry = &*level.entry((*query).resultRelation as u32);
            list::<TargetEntry>(targets)
                .filter(|target| !(**target).resjunk && entry.verdict((**target).resno).is_some())
                .for_each(&mut *found);
        };
        if (*query).commandType == CmdType::CMD_UPDATE {
            all((*query).targetList);
        }
        if !(*query).onConflict.is_null() {
            all((*(*query).onConflict).onConflictSet);
        }
        list::<pg_sys::MergeAction>((*query).mergeActionList)
            .filter(|action| (**action).commandType == CmdType::CMD_UPDATE)
            .for_each(|action| all((*action).targetList));
    }
}

/// What is assigned; for a column of a domain before it becomes one of its values, which what is stored there is already.
unsafe fn assigned(target: *mut TargetEntry) -> *mut Node {
    // Safe: cast after the tag.
    unsafe {
        let new = (*target).expr.cast::<Node>();
        if (*new).type_ == NodeTag::T_CoerceToDomain {
            return (*new.cast::<pg_sys::CoerceToDomain>()).arg.cast();
        }
        new
    }
}

/// Calls back for each place below COALESCE and CASE whose value may be the value of the whole, unlooked at.
unsafe fn results(node: *mut Node, found: &mut dyn FnMut(*mut *mut Node)) {
    // Safe: each cast follows the tag.
    unsafe {
        if node.is_null() {
            return;
        }
        let mut below = |place: *mut *mut Node| {
            found(place);
            results(*place, found);
        };
        match (*node).type_ {
            NodeTag::T_CoalesceExpr => {
                let arguments = (*node.cast::<pg_sys::CoalesceExpr>()).args;
                let count = if arguments.is_null() { 0 } else { (*arguments).length as usize };
                (0..count).for_each(|place| below((&raw mut (*(*arguments).elements.add(place)).ptr_value).cast()));
            }
            NodeTag::T_CaseExpr => {
                let case = node.cast::<pg_sys::CaseExpr>();
                list::<pg_sys::CaseWhen>((*case).args).for_each(|when| below((&raw mut (*when).result).cast()));
                below((&raw mut (*case).defresult).cast());
            }
            NodeTag::T_RelabelType => results((*node.cast::<pg_sys::RelabelType>()).arg.cast(), found),
            NodeTag::T_FuncExpr if is_length(node.cast()) => {
                results((*(*(*node.cast::<pg_sys::FuncExpr>()).args).elements).ptr_value.cast(), found);
            }
            _ => {}
        }
    }
}

/// What the server puts around a value of a type with a length, such as varchar(11).
unsafe fn is_length(call: *mut pg_sys::FuncExpr) -> bool {
    // Safe: a call of the query.
    unsafe {
        (*call).funcid.to_u32() < pg_sys::FirstNormalObjectId
            && (*call).funcformat == pg_sys::CoercionForm::COERCE_IMPLICIT_CAST
            && !(*call).args.is_null()
            && node::exprType((*(*(*call).args).elements).ptr_value.cast()) == (*call).funcresulttype
    }
}

/// Takes the old value out of an assignment to its own column, so that it is neither masked nor taken for a mask: a
/// parameter stands there that no query has, until `keep_unseen` puts the value back. Looks at the query before it is masked.
pub unsafe fn hold(level: &Level) {
    // Safe: a complete query; the new node is like those of the parser.
    unsafe {
        let index = (*level.query).resultRelation;
        assignments(level, &mut |target| {
            results(assigned(target), &mut |place| {
                let var = node::bare(*place).cast::<Var>();
                if !var.is_null()
                    && (*var).xpr.type_ == NodeTag::T_Var
                    && ((*var).varno, (*var).varattno, (*var).varlevelsup) == (index, (*target).resno, 0)
                {
                    let held = node::make::<Param>(NodeTag::T_Param);
                    (*held).paramkind = pg_sys::ParamKind::PARAM_EXEC;
                    (*held).paramid = HELD - c_int::from((*target).resno);
                    (*held).paramtype = (*var).vartype;
                    (*held).paramtypmod = (*var).vartypmod;
                    (*held).paramcollid = (*var).varcollid;
                    (*held).location = -1;
                    put_in(place, held.cast());
                }
            });
        });
    }
}

/// Numbers of parameters below this stand for old values; parameters of queries count from 0.
const HELD: c_int = -1000;

/// Into the place of a column, below what only renames its type.
unsafe fn put_in(mut place: *mut *mut Node, node: *mut Node) {
    // Safe: each cast follows the tag.
    unsafe {
        while (**place).type_ == NodeTag::T_RelabelType {
            place = (&raw mut (*(*place).cast::<pg_sys::RelabelType>()).arg).cast();
        }
        *place = node;
    }
}

/// Refuses to store masks, but in temporary tables. Looks at the query before it is masked.
pub unsafe fn check(level: &Level, job: &mut Job) {
    // Safe: a complete query.
    unsafe {
        let query = level.query;
        let writes = matches!((*query).commandType, CmdType::CMD_INSERT | CmdType::CMD_UPDATE | CmdType::CMD_MERGE);
        if !writes {
            return;
        }
        let target = (*level.table((*query).resultRelation as u32)).relid;
        if node::get_rel_persistence(target) as u8 == pg_sys::RELPERSISTENCE_TEMP {
            return;
        }
        let mut search =
            Search { level, job, depth: 0, found: (pg_sys::InvalidOid, 0), followed: std::ptr::null_mut() };
        let mut stores = (*query).commandType != CmdType::CMD_MERGE && search.outputs((*query).targetList);
        if !(*query).onConflict.is_null() {
            stores = stores || search.outputs((*(*query).onConflict).onConflictSet);
        }
        for action in list::<pg_sys::MergeAction>((*query).mergeActionList) {
            stores = stores || search.outputs((*action).targetList);
        }
        let (relation, number) = search.found;
        if stores {
            refuse(Refusal::Written, relation, number, job);
        }
    }
}

/// Whether values come from masked columns. They are followed through sub-queries, joins and WITH; a condition on the way
/// is no value.
struct Search {
    level: *const Level,
    job: *mut Job,
    depth: u32,
    found: (Oid, i16),
    /// Columns of sub-queries that were followed already, or are being followed: without it each reference would follow
    /// them again, and WITH makes that twice as many at each step.
    followed: *mut Followed,
}

struct Followed {
    query: *mut Query,
    number: i16,
    earlier: *mut Followed,
}

impl Search {
    /// Of any column of a target list.
    unsafe fn outputs(&mut self, targets: *mut List) -> bool {
        // Safe: a target list of the query.
        unsafe {
            // SET (a, b) = (SELECT …) has its sub-query where the sort columns are.
            let stored = |target: *mut TargetEntry| !(*target).resjunk || is_row((*target).expr.cast());
            list::<TargetEntry>(targets).any(|target| stored(target) && self.value((*target).expr.cast()))
        }
    }

    unsafe fn value(&mut self, node: *mut Node) -> bool {
        // Safe: as above.
        unsafe { value(node, (self as *mut Search).cast()) }
    }

    unsafe fn column(&mut self, var: *mut Var) -> bool {
        // Safe: levels as the query has them; this search goes on there and comes back.
        unsafe {
            let level = (*self.level).up((*var).varlevelsup);
            if level.is_null() || (*var).varno < 1 || (*var).varno as u32 > (*level).count() {
                return false;
            }
            if self.depth > DEPTH {
                return true;
            }
            let outer = std::mem::replace(&mut self.level, level);
            self.depth += 1;
            let found = self.column_of(&*level, (*var).varno as u32, (*var).varattno);
            self.depth -= 1;
            self.level = outer;
            found
        }
    }

    unsafe fn column_of(&mut self, level: &Level, index: u32, number: i16) -> bool {
        // Safe: as above.
        unsafe {
            let table = level.table(index);
            let nth = |list: *mut List| {
                let count = if list.is_null() { 0 } else { (*list).length as i16 };
                let chosen = if number == 0 { 1..=count } else { number..=number.min(count) };
                chosen
                    .filter(|place| *place >= 1)
                    .map(move |place| (*(*list).elements.add(place as usize - 1)).ptr_value)
            };
            match (*table).rtekind {
                RTEKind::RTE_RELATION => {
                    let entry = &*level.entry(index);
                    let masked = match number {
                        _ if entry.excluded => false,
                        0 => entry.is_masked(),
                        number => entry.verdict(number).is_some(),
                    };
                    if masked {
                        self.found = ((*table).relid, number);
                    }
                    masked
                }
                RTEKind::RTE_JOIN => nth((*table).joinaliasvars).any(|alias| self.value(alias.cast())),
                RTEKind::RTE_SUBQUERY => self.output((*table).subquery, level, number),
                RTEKind::RTE_CTE => self.common_table(table, level, number),
                RTEKind::RTE_FUNCTION => self.value((*table).functions.cast()),
                RTEKind::RTE_TABLEFUNC => self.value((*table).tablefunc.cast()),
                RTEKind::RTE_VALUES => self.value((*table).values_lists.cast()),
                _ => false,
            }
        }
    }

    /// Of one column of a sub-query, or all of them.
    unsafe fn output(&mut self, query: *mut Query, around: *const Level, number: i16) -> bool {
        // Safe: as above; the level lives while it is looked at.
        unsafe {
            if self.was_followed(query, number) {
                return false;
            }
            let mut touched = false;
            let level = Level::new(query, around, (*self.job).eyes(), &mut touched);
            let outer = std::mem::replace(&mut self.level, &level);
            let found = if (*query).setOperations.is_null() {
                let outputs = if (*query).commandType == CmdType::CMD_SELECT {
                    (*query).targetList
                } else {
                    (*query).returningList
                };
                list::<TargetEntry>(outputs)
                    .filter(|target| !(**target).resjunk && (number == 0 || (**target).resno == number))
                    .any(|target| self.value((*target).expr.cast()))
            } else {
                // The arms of UNION and the like are sub-queries in its range table.
                (1..=level.count()).any(|index| {
                    (*level.table(index)).rtekind != RTEKind::RTE_CTE && self.column_of(&level, index, number)
                })
            };
            self.level = outer;
            found
        }
    }

    /// Whether the search was here before; it ends with the first column that it finds, so there was none.
    unsafe fn was_followed(&mut self, query: *mut Query, number: i16) -> bool {
        // Safe: entries live as long as the planner's context, and so longer than the search.
        unsafe {
            let mut known = self.followed;
            while !known.is_null() {
                if (*known).query == query && (*known).number == number {
                    return true;
                }
                known = (*known).earlier;
            }
            let entry = node::array::<Followed>(1);
            *entry = Followed { query, number, earlier: self.followed };
            self.followed = entry;
            false
        }
    }

    unsafe fn common_table(&mut self, table: *mut RangeTblEntry, level: &Level, number: i16) -> bool {
        // Safe: as above.
        unsafe {
            let home = level.up((*table).ctelevelsup);
            if home.is_null() || (*table).self_reference {
                return false;
            }
            let name = CStr::from_ptr((*table).ctename);
            let mut named = list::<pg_sys::CommonTableExpr>((*(*home).query).cteList)
                .filter(|cte| CStr::from_ptr((**cte).ctename) == name);
            let Some(cte) = named.next() else { return false };
            self.output((*cte).ctequery.cast(), home, number)
        }
    }
}

unsafe fn is_row(node: *mut Node) -> bool {
    // Safe: cast after the tag.
    unsafe {
        (*node).type_ == NodeTag::T_SubLink
            && (*node.cast::<pg_sys::SubLink>()).subLinkType == pg_sys::SubLinkType::MULTIEXPR_SUBLINK
    }
}

unsafe extern "C-unwind" fn value(node: *mut Node, context: *mut c_void) -> bool {
    // Safe: a node of the query and the search; each cast follows the tag.
    unsafe {
        if node.is_null() {
            return false;
        }
        let search = &mut *context.cast::<Search>();
        match (*node).type_ {
            NodeTag::T_Var => search.column(node.cast()),
            NodeTag::T_SubLink => {
                use pg_sys::SubLinkType::*;
                let link = &*node.cast::<pg_sys::SubLink>();
                // The others answer with yes or no.
                let gives = matches!(link.subLinkType, EXPR_SUBLINK | MULTIEXPR_SUBLINK | ARRAY_SUBLINK);
                gives && search.output(link.subselect.cast(), search.level, 0)
            }
            _ => node::expression_tree_walker(node, value, context),
        }
    }
}

/// Where a masked column is assigned: CASE WHEN new = mask(old) THEN old ELSE new END. Looks at the query after it was
/// masked.
pub unsafe fn keep_unseen(level: &Level) {
    // Safe: a complete query.
    unsafe {
        let index = (*level.query).resultRelation as u32;
        assignments(level, &mut |target| {
            let old = old_value(level, index, (*target).resno);
            results(assigned(target), &mut |place| put_back(place, old));
            let Some(verdict) = (*level.entry(index)).verdict((*target).resno) else { return };
            let new = (*target).expr.cast::<Node>();
            if verdict.write == Write::Allow && mask_expression::is_a_value((*old).vartype) {
                return;
            }
            let mask = mask_expression::masked(old, verdict);
            let test = equal(new, mask, (*old).vartype, (*old).varcollid);
            if !test.is_null() && !node::contain_volatile_functions(new) {
                let kept = case(test, old.cast(), node::copy(new), (*old).vartype, (*old).varcollid);
                (*target).expr = kept.cast();
            }
        });
    }
}

unsafe fn put_back(place: *mut *mut Node, old: *mut Var) {
    // Safe: a place of the assignment; cast after the tag.
    unsafe {
        let held = node::bare(*place).cast::<Param>();
        if !held.is_null() && (*held).xpr.type_ == NodeTag::T_Param && (*held).paramid < HELD {
            put_in(place, node::copy(old).cast());
        }
    }
}

unsafe fn old_value(level: &Level, index: u32, number: i16) -> *mut Var {
    // Safe: a column of the result relation.
    unsafe {
        let (mut kind, mut typmod, mut collation) = (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
        column_type((*level.table(index)).relid, number, &mut kind, &mut typmod, &mut collation);
        node::makeVar(index as c_int, number, kind, typmod, collation, 0)
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn column_type(
    relation: Oid,
    number: i16,
    kind: *mut Oid,
    typmod: *mut i32,
    collation: *mut Oid,
) {
    // Safe: a syscache look-up into the caller's places.
    unsafe { pg_sys::get_atttypetypmodcoll(relation, number, kind, typmod, collation) }
}

/// Equality of two values by their type; null for a type that has none.
unsafe fn equal(one: *mut Node, other: *mut Node, kind: Oid, collation: Oid) -> *mut Node {
    // Safe: look-ups and nodes of the server's own make.
    unsafe {
        let mut typmod = -1;
        let base = node::getBaseTypeAndTypmod(kind, &mut typmod);
        let operator = (*node::lookup_type_cache(base, pg_sys::TYPECACHE_EQ_OPR as c_int)).eq_opr;
        if operator == pg_sys::InvalidOid {
            return std::ptr::null_mut();
        }
        let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        node::op_input_types(operator, &mut left, &mut right);
        // A polymorphic equality takes the type as it is.
        let takes = if left.to_u32() >= pg_sys::FirstNormalObjectId || !is_polymorphic(left) { left } else { base };
        let argument = |value: *mut Node| -> *mut pg_sys::Expr {
            if node::exprType(value) == takes {
                return value.cast();
            }
            let form = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
            node::makeRelabelType(value.cast(), takes, -1, collation, form).cast()
        };
        let (one, other) = (argument(node::copy(one)), argument(other));
        node::make_opclause(operator, pg_sys::BOOLOID, false, one, other, pg_sys::InvalidOid, collation).cast()
    }
}

fn is_polymorphic(kind: Oid) -> bool {
    matches!(kind, pg_sys::ANYARRAYOID | pg_sys::ANYENUMOID | pg_sys::ANYRANGEOID | pg_sys::ANYMULTIRANGEOID)
        || kind == pg_sys::RECORDOID
}
