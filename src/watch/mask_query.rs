//! Puts masks in the place of masked columns, everywhere in a query where its user's expressions stand: results,
//! conditions, sorting, sub-queries, assignments. The checks of row security and of views are not the user's (`mask_check`),
//! nor are the columns by which ON CONFLICT finds its index.
//!
//! Frames are plain and hold nothing to drop.

use super::mask_level::{Eyes, Level};
use super::node::{self, Mutator};
use super::statement::Source;
use super::{borrowed, facts, judge, list, mask_check, mask_denied, mask_expression, mask_write, planner, utility};
use crate::core::mask_rule::Predicate;
use crate::core::tier::Tier;
use crate::error::Fault;
use crate::{raw, session};
use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, Var};
use std::ffi::{c_char, c_int, c_void};

/// nodes/nodeFuncs.h.
const QTW_DONT_COPY_QUERY: c_int = 0x40;

/// One planning.
pub struct Job {
    text: *const c_char,
    location: c_int,
    length: c_int,
    command: pg_sys::CmdType::Type,
    /// Whose masks these are.
    pub role: Oid,
    /// Whose question is being worked on, if not the role's.
    pub asker: Oid,
    /// The innermost query being worked on.
    pub level: *const Level,
    /// Inside a condition, a sort or a group.
    pub condition: bool,
    /// The query is one of the server's own that compares keys.
    pub validates: bool,
    /// Something is touched that some role does not see clear.
    pub touched: bool,
    /// What the functions that were put into their places depend on.
    global: *mut pg_sys::PlannerGlobal,
}

impl Job {
    pub unsafe fn new(text: *const c_char, query: *mut Query) -> Job {
        // Safe: a complete query, and a plain getter.
        unsafe {
            Job {
                text,
                location: (*query).stmt_location,
                length: (*query).stmt_len,
                command: (*query).commandType,
                role: raw::GetUserId(),
                asker: pg_sys::InvalidOid,
                level: std::ptr::null(),
                condition: false,
                validates: false,
                touched: false,
                global: std::ptr::null_mut(),
            }
        }
    }

    /// Of a COPY FROM, which has no query.
    pub unsafe fn of_copy(text: *const c_char, statement: *mut pg_sys::PlannedStmt) -> Job {
        // Safe: a complete statement; what a query is asked for is nothing here.
        unsafe {
            let query = node::make::<Query>(NodeTag::T_Query);
            (*query).commandType = pg_sys::CmdType::CMD_UTILITY;
            (*query).stmt_location = (*statement).stmt_location;
            (*query).stmt_len = (*statement).stmt_len;
            Job::new(text, query)
        }
    }

    pub fn eyes(&self) -> Eyes {
        Eyes { role: self.role, asker: self.asker }
    }

    /// The plan is this role's.
    pub unsafe fn finish(&self, plan: *mut pg_sys::PlannedStmt) {
        // Safe: a finished plan.
        unsafe {
            if self.touched {
                (*plan).dependsOnRole = true;
            }
            if !self.global.is_null() {
                (*plan).dependsOnRole |= (*self.global).dependsOnRole;
                (*plan).invalItems = node::list_concat((*plan).invalItems, (*self.global).invalItems);
            }
        }
    }
}

/// Masks a query and all queries in it, in place: what is planned is the planner's own copy.
pub unsafe fn mask(query: *mut Query, job: &mut Job) {
    // Safe: a complete query; levels and nodes live until it is planned.
    unsafe {
        node::check_stack_depth();
        put_functions_in_place(query, job);
        let (outer, condition) = (job.level, job.condition);
        let level = Level::new(query, outer, job.eyes(), &mut job.touched);
        let validates = std::mem::take(&mut job.validates);
        mask_denied::check(&level, job);
        mask_write::hold(&level);
        mask_write::check(&level, job);
        job.level = &level;
        job.condition = false;
        let checks = std::mem::replace(&mut (*query).withCheckOptions, std::ptr::null_mut());
        let conflict = std::mem::replace(&mut (*query).onConflict, std::ptr::null_mut());
        let having = std::mem::replace(&mut (*query).havingQual, std::ptr::null_mut());
        let tables = std::mem::replace(&mut (*query).rtable, std::ptr::null_mut());
        let context = (job as *mut Job).cast();
        if validates {
            // Values are compared; the rows, which the server throws away, hold masks for whoever else wrote this text.
            (*query).targetList = mutate((*query).targetList.cast(), context).cast();
            level.show();
        }
        node::query_tree_mutator(query, mutate, context, QTW_DONT_COPY_QUERY);
        (*query).withCheckOptions = checks;
        (*query).rtable = tables;
        (*query).havingQual = conjuncts(having, job);
        if !conflict.is_null() {
            (*conflict).onConflictSet = mutate((*conflict).onConflictSet.cast(), context).cast();
            (*conflict).onConflictWhere = conjuncts((*conflict).onConflictWhere, job);
        }
        (*query).onConflict = conflict;
        (1..=level.count()).for_each(|index| mask_entry(&level, index, job));
        mask_check::checks(&level, job);
        mask_write::keep_unseen(&level);
        for index in 1..=level.count() {
            settle(&level, index, job.role);
        }
        (job.level, job.condition) = (outer, condition);
    }
}

/// What stands in an entry of the range table.
unsafe fn mask_entry(level: &Level, index: u32, job: &mut Job) {
    let context = (job as *mut Job).cast();
    // Safe: an entry of the query that is being masked.
    unsafe {
        let entry = level.table(index);
        match (*entry).rtekind {
            RTEKind::RTE_RELATION => {
                (*entry).tablesample = mutate((*entry).tablesample.cast(), context).cast();
                mask_check::conditions(level, index, job);
            }
            RTEKind::RTE_SUBQUERY => mask((*entry).subquery, job),
            RTEKind::RTE_JOIN => (*entry).joinaliasvars = mutate((*entry).joinaliasvars.cast(), context).cast(),
            RTEKind::RTE_FUNCTION => (*entry).functions = mutate((*entry).functions.cast(), context).cast(),
            RTEKind::RTE_TABLEFUNC => (*entry).tablefunc = mutate((*entry).tablefunc.cast(), context).cast(),
            RTEKind::RTE_VALUES => (*entry).values_lists = mutate((*entry).values_lists.cast(), context).cast(),
            RTEKind::RTE_CTE | RTEKind::RTE_NAMEDTUPLESTORE | RTEKind::RTE_RESULT => {}
            _ => refuse(Refusal::Unknown, pg_sys::InvalidOid, 0, job),
        }
    }
}

/// Marks a masked entry, and demands no privilege on its masked columns: who may read anything of a table may see the masks
/// of what he may not read, and compare as the rules let him. Nor on what is clear here because its owner asks.
unsafe fn settle(level: &Level, index: u32, role: Oid) {
    // Safe: as above.
    unsafe {
        let entry = &*level.entry(index);
        if !entry.is_hidden() {
            return;
        }
        let table = level.table(index);
        (*table).enrname = node::pstrdup(entry.mark().as_ptr().cast());
        let checked = if (*table).checkAsUser == pg_sys::InvalidOid { role } else { (*table).checkAsUser };
        let select = pg_sys::ACL_SELECT as pg_sys::AclMode;
        let granted = pg_sys::AclResult::ACLCHECK_OK;
        if checked != role || node::pg_class_aclcheck((*table).relid, role, select) == granted {
            return;
        }
        let bit = |number: i16| c_int::from(number) - pg_sys::FirstLowInvalidHeapAttributeNumber;
        let mut demanded = node::bms_copy((*table).selectedCols);
        let columns = (*(*table).eref).colnames;
        let count = if columns.is_null() { 0 } else { (*columns).length as i16 };
        let whole = node::bms_is_member(bit(0), demanded);
        if whole {
            demanded = node::bms_del_member(demanded, bit(0));
        }
        for number in 1..=count {
            let masked = entry.hides(number);
            let readable = || node::pg_attribute_aclcheck((*table).relid, number, role, select) == granted;
            if masked && !readable() {
                demanded = node::bms_del_member(demanded, bit(number));
            } else if whole && is_column((*table).relid, number) {
                demanded = node::bms_add_member(demanded, bit(number));
            }
        }
        (*table).selectedCols = demanded;
    }
}

/// False for a column that was dropped.
#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
unsafe extern "C-unwind" fn is_column(relation: Oid, number: i16) -> bool {
    // Safe: a syscache look-up.
    unsafe { pg_sys::get_atttype(relation, number) != pg_sys::InvalidOid }
}

/// Masks one node and what is below it.
pub unsafe extern "C-unwind" fn mutate(node: *mut Node, context: *mut c_void) -> *mut Node {
    // Safe: called by the server's walkers with nodes of the query and the job; each cast follows the tag.
    unsafe {
        if node.is_null() {
            return node;
        }
        let job = &mut *context.cast::<Job>();
        match (*node).type_ {
            NodeTag::T_Var => column(node.cast(), job),
            NodeTag::T_Query => {
                mask(node.cast(), job);
                node
            }
            NodeTag::T_FromExpr => {
                let from = node.cast::<pg_sys::FromExpr>();
                (*from).fromlist = mutate((*from).fromlist.cast(), context).cast();
                (*from).quals = conjuncts((*from).quals, job);
                node
            }
            NodeTag::T_JoinExpr => {
                let join = node.cast::<pg_sys::JoinExpr>();
                (*join).larg = mutate((*join).larg, context);
                (*join).rarg = mutate((*join).rarg, context);
                (*join).quals = conjuncts((*join).quals, job);
                node
            }
            NodeTag::T_MergeAction => {
                let action = node.cast::<pg_sys::MergeAction>();
                (*action).qual = conjuncts((*action).qual, job);
                (*action).targetList = mutate((*action).targetList.cast(), context).cast();
                node
            }
            NodeTag::T_TargetEntry if (*node.cast::<pg_sys::TargetEntry>()).ressortgroupref != 0 => {
                let outer = std::mem::replace(&mut job.condition, true);
                let entry = node::expression_tree_mutator(node, mutate as Mutator, context);
                (*context.cast::<Job>()).condition = outer;
                entry
            }
            _ => node::expression_tree_mutator(node, mutate, context),
        }
    }
}

/// A condition: what is joined by AND is looked at by itself.
pub unsafe fn conjuncts(node: *mut Node, job: &mut Job) -> *mut Node {
    // Safe: as above.
    unsafe {
        if node.is_null() || is_raw_equality(node, job) {
            return node;
        }
        if (*node).type_ == NodeTag::T_BoolExpr
            && (*node.cast::<pg_sys::BoolExpr>()).boolop == pg_sys::BoolExprType::AND_EXPR
        {
            let arguments = (*node.cast::<pg_sys::BoolExpr>()).args;
            for index in 0..(*arguments).length as usize {
                let cell = (*arguments).elements.add(index);
                (*cell).ptr_value = conjuncts((*cell).ptr_value.cast(), job).cast();
            }
            return node;
        }
        let outer = std::mem::replace(&mut job.condition, true);
        let masked = mutate(node, (job as *mut Job).cast());
        job.condition = outer;
        masked
    }
}

/// `column = constant` by the equality of the column's type, where the rules let the value itself be compared.
unsafe fn is_raw_equality(node: *mut Node, job: &Job) -> bool {
    // Safe: as above.
    unsafe {
        if (*node).type_ != NodeTag::T_OpExpr {
            return false;
        }
        let operation = &*node.cast::<pg_sys::OpExpr>();
        let arguments: Vec2 = Vec2::of(operation.args);
        let (column, constant) = match arguments.0.map(|argument| node::bare(argument)) {
            [one, other] if !one.is_null() && (*one).type_ == NodeTag::T_Var => (one.cast::<Var>(), other),
            [one, other] if !other.is_null() && (*other).type_ == NodeTag::T_Var => (other.cast::<Var>(), one),
            _ => return false,
        };
        if constant.is_null() || (*column).varlevelsup != 0 || (*column).varattno < 1 || !is_given(constant) {
            return false;
        }
        let entry = (*job.level).entry((*column).varno as u32);
        let mut typmod = -1;
        let kind = node::getBaseTypeAndTypmod((*column).vartype, &mut typmod);
        let equality = (*node::lookup_type_cache(kind, pg_sys::TYPECACHE_EQ_OPR as c_int)).eq_opr;
        let compared = (*entry).compares((*column).varattno) && equality == operation.opno;
        if compared {
            (*entry).equal |= 1 << (*column).varattno;
        }
        compared
    }
}

/// The two arguments of an operator; nulls for another number.
struct Vec2([*mut Node; 2]);

impl Vec2 {
    unsafe fn of(arguments: *mut pg_sys::List) -> Vec2 {
        // Safe: a list of the query.
        unsafe {
            if arguments.is_null() || (*arguments).length != 2 {
                return Vec2([std::ptr::null_mut(); 2]);
            }
            let argument = |index| (*(*arguments).elements.add(index)).ptr_value.cast();
            Vec2([argument(0), argument(1)])
        }
    }
}

/// A value that the user gave with the statement.
unsafe fn is_given(node: *mut Node) -> bool {
    // Safe: cast after the tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_Const => true,
            NodeTag::T_Param => (*node.cast::<pg_sys::Param>()).paramkind == pg_sys::ParamKind::PARAM_EXTERN,
            _ => false,
        }
    }
}

/// What the role sees of a column.
unsafe fn column(var: *mut Var, job: &Job) -> *mut Node {
    // Safe: levels as the query has them.
    unsafe {
        let level = (*job.level).up((*var).varlevelsup);
        if level.is_null() || (*var).varno < 1 || (*var).varno as u32 > (*level).count() {
            return var.cast();
        }
        let entry = &*(*level).entry((*var).varno as u32);
        if !entry.is_masked() || entry.excluded {
            return var.cast();
        }
        let relation = (*(*level).table((*var).varno as u32)).relid;
        if (*var).varattno == 0 {
            return mask_expression::row(var, &*level);
        }
        match entry.verdict((*var).varattno) {
            Some(verdict) if job.condition && verdict.predicate == Predicate::Deny => {
                refuse(Refusal::Condition, relation, (*var).varattno, job);
                var.cast()
            }
            Some(verdict) => mask_expression::masked(var, verdict),
            None => var.cast(),
        }
    }
}

/// The body of an entry, by nobody's rights if the statement is only examined.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn examined_body(root: *mut pg_sys::PlannerInfo, entry: *mut RangeTblEntry) -> *mut Query {
    let _rights = borrowed::Rights::none();
    // Safe: as `body`; the boundary turns an error into one that may cross this frame.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| body(root, entry)) }
}

unsafe fn body(root: *mut pg_sys::PlannerInfo, entry: *mut RangeTblEntry) -> *mut Query {
    // Safe: as the planner would call them.
    unsafe {
        // With the arguments that are left out.
        (*entry).functions = node::eval_const_expressions(root, (*entry).functions.cast()).cast();
        node::inline_set_returning_function(root, entry)
    }
}

/// The planner puts the bodies of some SQL functions in FROM into the place of their calls, after this hook. It is done
/// here by the same function of the server, so that the body is masked as well.
unsafe fn put_functions_in_place(query: *mut Query, job: &mut Job) {
    // Safe: a root with nothing but what that function writes to, as the planner would hand it.
    unsafe {
        for entry in list::<RangeTblEntry>((*query).rtable) {
            if (*entry).rtekind != RTEKind::RTE_FUNCTION || !planner::may_inline(entry) {
                continue;
            }
            if job.global.is_null() {
                job.global = node::make(NodeTag::T_PlannerGlobal);
            }
            let root = node::make::<pg_sys::PlannerInfo>(NodeTag::T_PlannerInfo);
            (*root).glob = job.global;
            (*root).parse = query;
            (*root).query_level = 1;
            let body = if borrowed::is_examined() { examined_body(root, entry) } else { body(root, entry) };
            if !body.is_null() {
                (*entry).rtekind = RTEKind::RTE_SUBQUERY;
                (*entry).subquery = body;
                (*entry).security_barrier = false;
                (*entry).functions = std::ptr::null_mut();
                (*entry).funcordinality = false;
            }
        }
    }
}

/// Why a statement cannot be planned for a role.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// A masked column in a condition.
    Condition,
    /// A mask would be stored.
    Written,
    /// Something would be written where the role writes nothing.
    Denied,
    /// Nobody knows what a masked column would be there.
    Unknown,
    /// A view of somebody who does not see it clear would be written through by it.
    View,
}

/// Records the denial and raises; does not return.
#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
pub unsafe extern "C-unwind" fn refuse(refusal: Refusal, relation: Oid, number: i16, job: &Job) {
    // Safe: the statement's own text; look-ups of an existing relation.
    let (source, tag, column) = unsafe {
        let name = pg_sys::get_attname(relation, number, true);
        let name = if name.is_null() { "…".into() } else { std::ffi::CStr::from_ptr(name).to_string_lossy() };
        let column = format!("{}.{name}", utility::relation_name(relation));
        let tag = match job.command {
            pg_sys::CmdType::CMD_UTILITY => "COPY",
            command => facts::tag_of(command),
        };
        (Source::new(job.text, job.location, job.length), tag, column)
    };
    let role = session::role_name(job.role);
    let record = judge::record(tag, vec![utility::relation_name(relation)], Tier::Normal, "mask", &source);
    let fault = match refusal {
        Refusal::Condition => Fault::refused("statement refused: a masked column in a condition")
            .detail(format!(
                "{column} is masked for role {role}, and its rule denies conditions, sorting and grouping on it."
            ))
            .hint("Leave the column out of WHERE, JOIN, ORDER BY and GROUP BY."),
        Refusal::Written => Fault::refused("statement refused: it would store a mask in the place of a value")
            .detail(format!("{column} is masked for role {role}."))
            .hint("Leave the column out of what is written, or write into a temporary table."),
        Refusal::Denied => Fault::refused("statement refused: it writes to a masked column")
            .detail(format!("{column} is masked for role {role}, and its rule denies writing to it."))
            .hint("Leave the column out of what is inserted, updated or copied."),
        Refusal::Unknown => Fault::refused("statement refused: masks are not known for what it reads")
            .detail(format!("Role {role} does not see everything clear.")),
        Refusal::View => Fault::refused("statement refused: a view with security_barrier asks for masked columns")
            .detail(format!("{} has columns that are masked for role {role}.", utility::relation_name(relation)))
            .hint("Write to the table, or through a view without security_barrier."),
    };
    judge::deny(record, fault)
}
