//! Plans that are made with other rights than those of the current role, since to plan is to run code: the server evaluates
//! what is constant in a query and in the expressions of the indexes, statistics, checks and partitions of its tables, and
//! whoever owns a table has written those.
//!
//! Own SQL on tables of others is planned as their owner, in an operation that is restricted as the server's own upkeep
//! (VACUUM, ANALYZE) is, and what the owner's code does meanwhile is no own SQL: it is judged and recorded like everything.
//! Such SQL runs with the extension's rights, so it is refused if anything in it is somebody's code. A script that is only
//! examined is planned as nobody: by the rights that PUBLIC has.
//!
//! Here: with whose rights a plan is made. Never here: what the plan shows (`mask_query`).

use super::{list, node, utility};
use crate::backend::backend_local;
use crate::error::Fault;
use crate::own::{self, NOBODY};
use crate::raw;
use pgrx::pg_sys::{self, Node, NodeTag, Oid, PlannedStmt, Query, RTEKind};
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

/// The languages of the server and of libraries.
const INTERNAL_LANGUAGE: u32 = 12;
const C_LANGUAGE: u32 = 13;

pub type Planner = unsafe extern "C-unwind" fn(
    query: *mut Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut PlannedStmt;

backend_local! {
    /// Own SQL that borrows no rights is being planned.
    static OWN_PLAN: Cell<bool> = const { Cell::new(false) };
    /// What is planned is only examined.
    static EXAMINING: Cell<bool> = const { Cell::new(false) };
}

/// Plans a query of a script that is only examined, of which nothing runs as anybody.
pub fn examining<T>(plan: impl FnOnce() -> T) -> T {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            EXAMINING.set(false);
        }
    }
    EXAMINING.set(true);
    let _over = Over;
    plan()
}

/// Whether the statement that is being planned is only examined.
pub fn is_examined() -> bool {
    EXAMINING.get()
}

/// With whose rights a query is to be planned; None: the current role's.
pub unsafe fn rights_for(query: *mut Query) -> Option<Oid> {
    if !own::running() {
        return EXAMINING.get().then_some(NOBODY);
    }
    // Safe: a complete query, which is only read.
    let found = unsafe { look(query, true) };
    match found.owner {
        pg_sys::InvalidOid => None,
        _ if found.several => Some(NOBODY),
        owner => Some(owner),
    }
}

/// Whether own SQL on tables of nobody is being planned: catalogs, and those of the policy.
pub fn plans_own_sql() -> bool {
    OWN_PLAN.get()
}

/// Makes a plan of own SQL that borrows no rights. The planner evaluates what statistics and constants say; of others' code
/// nothing may run with the rights of the policy, however it got there.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn plan_own(
    query: *mut Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
    planner: Planner,
) -> *mut PlannedStmt {
    struct Over(bool);
    impl Drop for Over {
        fn drop(&mut self) {
            OWN_PLAN.set(self.0);
        }
    }
    let _over = Over(OWN_PLAN.replace(true));
    // Safe: what the hook was given; the boundary turns an error into one that may cross this frame.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| planner(query, text, options, parameters)) }
}

/// A function is about to run while own SQL is planned.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn require_nobodys_function(function: Oid) {
    // Safe: a syscache entry, read while it is held.
    let foreign = unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as c_int;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if row.is_null() {
            return;
        }
        let language = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_proc>()).prolang.to_u32();
        pg_sys::ReleaseSysCache(row);
        ![INTERNAL_LANGUAGE, C_LANGUAGE].contains(&language)
    };
    if foreign {
        Fault::refused("the policy's own SQL runs no code of others")
            .detail(format!("Planning it would have run function {}.", function.to_u32()))
            .hint("Statistics or an index of a system table call it: restart with steward.mode = 'off' and drop them (SELECT stxname FROM pg_statistic_ext WHERE stxrelid < 16384).")
            .raise();
    }
}

/// Makes the plan with these rights.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn plan(
    query: *mut Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
    role: Oid,
    planner: Planner,
) -> *mut PlannedStmt {
    // Safe: a complete query; the boundary turns an error of the planner into one that may cross this frame, whose guard
    // puts back what it has changed.
    unsafe {
        let own = own::running();
        if own {
            require_nobodys_code(query);
        } else {
            let mut asker = raw::GetUserId();
            pg_sys::ffi::pg_guard_ffi_boundary(|| keep_asker(query.cast(), (&raw mut asker).cast()));
        }
        let rights = Rights::borrow(role);
        let plan = pg_sys::ffi::pg_guard_ffi_boundary(|| planner(query, text, options, parameters));
        drop(rights);
        if own {
            require_no_other_server(plan);
        }
        plan
    }
}

/// The planner asks for the right to views, which is the asker's: it runs nothing. Tables stay nobody's, so that no
/// operator of somebody's is shown values of their statistics.
unsafe extern "C-unwind" fn keep_asker(node: *mut Node, asker: *mut c_void) -> bool {
    // Safe: a node of the query, cast after its tag, and the asker's number.
    unsafe {
        if node.is_null() {
            return false;
        }
        if (*node).type_ != NodeTag::T_Query {
            return node::expression_tree_walker(node, keep_asker, asker);
        }
        for entry in list::<pg_sys::RangeTblEntry>((*node.cast::<Query>()).rtable) {
            if (*entry).relkind as u8 == pg_sys::RELKIND_VIEW && (*entry).checkAsUser == pg_sys::InvalidOid {
                (*entry).checkAsUser = *asker.cast::<Oid>();
            }
        }
        node::query_tree_walker(node.cast(), keep_asker, asker, 0)
    }
}

/// Rights of another role, in a restricted operation and outside own SQL, until dropped.
pub struct Rights {
    user: Oid,
    context: c_int,
    nest_level: c_int,
    _aside: own::Aside,
}

impl Rights {
    fn borrow(role: Oid) -> Rights {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        let restricted = (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as c_int;
        // Safe: plain getters and setters of backend state, paired with the Drop below. Row security is not set aside for
        // whatever runs here, even where a foreign key is checked outside.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            let inside = (context | restricted) & !(pg_sys::SECURITY_NOFORCE_RLS as c_int);
            pg_sys::SetUserIdAndSecContext(role, inside);
            Rights { user, context, nest_level: pg_sys::NewGUCNestLevel(), _aside: own::Aside::step() }
        }
    }

    /// Those of nobody.
    pub fn none() -> Rights {
        Rights::borrow(NOBODY)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        // Safe: restores what `borrow` saved. What was SET meanwhile is not kept (false); after an error the abort unwinds
        // the settings itself.
        unsafe {
            if !std::thread::panicking() {
                pg_sys::AtEOXact_GUC(false, self.nest_level);
            }
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}

/// What is in a query. The walker's frames hold nothing to drop.
struct Look {
    /// Of the tables that are not the policy's or the catalog's; invalid if there are none.
    owner: Oid,
    /// And they have more than one.
    several: bool,
    /// Not only tables: functions and types as well.
    tables_only: bool,
    /// What is somebody's code: a view, or a function or type of nobody we know.
    view: Oid,
    function: Oid,
    kind: Oid,
    /// The policy's schema.
    steward: Oid,
}

unsafe fn look(query: *mut Query, tables_only: bool) -> Look {
    let none = pg_sys::InvalidOid;
    // Safe: look-ups, and a walk that only reads a complete query.
    unsafe {
        let steward = raw::get_namespace_oid(c"steward".as_ptr(), true);
        let mut look =
            Look { owner: none, several: false, tables_only, view: none, function: none, kind: none, steward };
        walk(query.cast(), (&raw mut look).cast());
        look
    }
}

unsafe extern "C-unwind" fn walk(node: *mut Node, context: *mut c_void) -> bool {
    // Safe: a node of the query, cast after its tag, and the Look of `look`, borrowed for no longer than each use.
    unsafe {
        if node.is_null() {
            return false;
        }
        if (*node).type_ == NodeTag::T_Query {
            for entry in list::<pg_sys::RangeTblEntry>((*node.cast::<Query>()).rtable) {
                if (*entry).rtekind == RTEKind::RTE_RELATION {
                    (*context.cast::<Look>()).enter(&*entry);
                }
            }
            return node::query_tree_walker(node.cast(), walk, context, 0);
        }
        if !(*context.cast::<Look>()).tables_only {
            (*context.cast::<Look>()).convert(node);
            node::check_functions_in_node(node, note, context);
        }
        node::expression_tree_walker(node, walk, context)
    }
}

unsafe extern "C-unwind" fn note(function: Oid, context: *mut c_void) -> bool {
    // Safe: as above.
    unsafe {
        let look = &mut *context.cast::<Look>();
        if is_made_later(function) && raw::get_func_namespace(function) != look.steward {
            look.function = function;
        }
    }
    false
}

/// Whether an object is none of those that the server was born with.
fn is_made_later(object: Oid) -> bool {
    object.to_u32() >= pg_sys::FirstNormalObjectId
}

impl Look {
    /// A relation that the query reads, with those below it.
    unsafe fn enter(&mut self, entry: &pg_sys::RangeTblEntry) {
        if !is_made_later(entry.relid) {
            return;
        }
        // Safe: the query holds the relation's lock; the planner takes the same one on what is below it.
        unsafe {
            self.count(entry.relid);
            if entry.inh && raw::has_subclass(entry.relid) {
                let tree = raw::find_all_inheritors(entry.relid, entry.rellockmode, std::ptr::null_mut());
                for index in 0..(*tree).length as usize {
                    self.count((*(*tree).elements.add(index)).oid_value);
                }
            }
        }
    }

    unsafe fn count(&mut self, relation: Oid) {
        // Safe: a syscache look-up, released at once.
        let (schema, owner, kind) = unsafe {
            let row = raw::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as c_int, relation.into());
            if row.is_null() {
                return;
            }
            let class = &*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_class>();
            let found = (class.relnamespace, class.relowner, class.relkind as u8);
            raw::ReleaseSysCache(row);
            found
        };
        if schema == self.steward {
            return;
        }
        if kind == pg_sys::RELKIND_VIEW {
            self.view = relation;
        }
        self.several |= self.owner != pg_sys::InvalidOid && self.owner != owner;
        self.owner = owner;
    }

    /// A conversion that may check what somebody has written.
    unsafe fn convert(&mut self, node: *mut Node) {
        // Safe: each cast follows the tag.
        let kind = unsafe {
            match (*node).type_ {
                NodeTag::T_CoerceToDomain => (*node.cast::<pg_sys::CoerceToDomain>()).resulttype,
                NodeTag::T_CoerceViaIO => (*node.cast::<pg_sys::CoerceViaIO>()).resulttype,
                _ => return,
            }
        };
        if is_made_later(kind) {
            self.kind = kind;
        }
    }
}

/// Own SQL runs with the extension's rights, and nobody else's code with it.
unsafe fn require_nobodys_code(query: *mut Query) {
    // Safe: a complete query, which is only read.
    let found = unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| look(query, false)) };
    let code = match (found.view, found.function, found.kind) {
        (view, ..) if view != pg_sys::InvalidOid => utility::relation_name(view),
        (_, function, _) if function != pg_sys::InvalidOid => format!("function {}", function.to_u32()),
        (.., kind) if kind != pg_sys::InvalidOid => format!("type {}", kind.to_u32()),
        _ => return,
    };
    refuse(&code);
}

/// Nor is another server asked with them.
unsafe fn require_no_other_server(plan: *mut PlannedStmt) {
    // Safe: a finished plan, whose entries hold every table in it.
    let foreign = unsafe {
        list::<pg_sys::RangeTblEntry>((*plan).rtable)
            .find(|entry| {
                (**entry).rtekind == RTEKind::RTE_RELATION && (**entry).relkind as u8 == pg_sys::RELKIND_FOREIGN_TABLE
            })
            .map(|entry| (*entry).relid)
    };
    if let Some(foreign) = foreign {
        refuse(&utility::relation_name(foreign));
    }
}

fn refuse(code: &str) -> ! {
    Fault::unsupported("pg_steward does not look into this table")
        .detail(format!("{code} would run somebody else's code with the extension's rights."))
        .hint("Only tables are looked into, and none of another server.")
        .raise()
}
