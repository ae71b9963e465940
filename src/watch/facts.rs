//! Plan ─► deeds: which protected relations a plan reads and writes, by which verb, with which columns. The only reader
//! of planned statements. Decided on the plan, never on text: a data-modifying CTE is a write whatever its tag says.

use super::list;
use crate::cache::{Member, OwnKind, Policy, Watched};
use crate::core::rule::{ColumnSet, Command, Group};
use crate::raw;
use pgrx::pg_sys;
use std::rc::Rc;

/// One thing a statement does to one relation, or to the cluster.
pub struct Deed {
    pub command: Command,
    /// None: a command that names no protected relation.
    pub relation: Option<Rc<Member>>,
    pub columns: ColumnSet,
}

/// What a plan does that the policy may care about.
#[derive(Default)]
pub struct PlanFacts {
    pub deeds: Vec<Deed>,
    /// An own relation is written or locked: refused, and nothing else is looked at.
    pub own: Option<(OwnKind, pg_sys::Oid)>,
    /// A protected relation is written.
    pub writes: bool,
}

const WRITES: u32 = pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE;

/// Reads a plan. `exports`: its result goes into a new table or to the client as COPY.
pub unsafe fn of_plan(plan: *mut pg_sys::PlannedStmt, policy: &Policy, exports: bool) -> PlanFacts {
    let mut facts = PlanFacts::default();
    // Safe: a finished plan; its lists and entries live as long as the plan, which outlives the hook.
    unsafe {
        let mut writes_elsewhere = false;
        let mut trail = None;
        for (index, entry) in list::<pg_sys::RangeTblEntry>((*plan).rtable).enumerate() {
            if (*entry).rtekind != pg_sys::RTEKind::RTE_RELATION || (*entry).requiredPerms == 0 {
                continue;
            }
            let verb = writes(entry).next();
            let watched = policy.watched((*entry).relid);
            match (watched, verb) {
                (Some(Watched::Own(kind)), verb) => {
                    if verb.is_some() || is_locked(plan, index) || *kind == OwnKind::Secret {
                        facts.own = Some((*kind, (*entry).relid));
                    } else if let Some(image) = policy.image((*entry).relid) {
                        // Values of protected tables, outside of them.
                        facts.deeds.push(Deed {
                            command: Command { tag: "SELECT", group: Group::Export },
                            relation: Some(image.clone()),
                            columns: ColumnSet::default(),
                        });
                    } else if let Some(records) = policy.trail((*entry).relid) {
                        trail = Some(records.clone());
                    }
                }
                (Some(Watched::Protected(member)), Some(verb)) => {
                    facts.writes = true;
                    let deed = |tag, columns| Deed {
                        command: Command { tag, group: Group::Write },
                        relation: Some(member.clone()),
                        columns,
                    };
                    facts.deeds.push(deed(write_tag(plan, verb), columns(entry)));
                    // MERGE and ON CONFLICT DO UPDATE do what rules forbid under other names.
                    let others = writes(entry).filter(|right| right_tag(*right) != write_tag(plan, verb));
                    facts.deeds.extend(others.map(|right| deed(right_tag(right), columns_of(entry, right))));
                }
                (Some(Watched::Protected(member)), None) => {
                    let command = Command { tag: "SELECT", group: Group::Read };
                    facts.deeds.push(Deed {
                        command,
                        relation: Some(member.clone()),
                        columns: set_of((*entry).selectedCols),
                    });
                }
                (None, Some(verb)) if is_catalog_table(entry) => facts.deeds.push(Deed {
                    command: Command { group: Group::Config, tag: write_tag(plan, verb) },
                    relation: None,
                    columns: ColumnSet::default(),
                }),
                (None, verb) => writes_elsewhere |= verb.is_some() && leaves_copies(entry),
            }
        }
        // What is read from protected tables leaves them.
        if exports || writes_elsewhere {
            let tag = if exports { "EXPORT" } else { operation_tag(plan) };
            for deed in facts.deeds.iter_mut().filter(|deed| deed.command.group == Group::Read) {
                deed.command = Command { tag, group: Group::Export };
            }
        }
        // Who may read the trail may keep what was read: that is no export, and once on record for a statement.
        if let Some(records) = trail {
            let command = Command { tag: "SELECT", group: Group::Read };
            facts.deeds.push(Deed { command, relation: Some(records), columns: ColumnSet::default() });
        }
        // The structure is not what the policy knows.
        if facts.writes && triggers_are_off() {
            for deed in facts.deeds.iter_mut().filter(|deed| deed.command.group == Group::Write) {
                deed.command.group = Group::Ddl;
            }
        }
    }
    facts
}

/// Whether triggers and foreign keys are switched off for this session.
pub fn triggers_are_off() -> bool {
    // Safe: reads a setting.
    unsafe { pg_sys::SessionReplicationRole != pg_sys::SESSION_REPLICATION_ROLE_ORIGIN as i32 }
}

/// Whether anything in the plan is watched at all. The fast exit of every statement on unprotected tables.
pub unsafe fn concerns(plan: *mut pg_sys::PlannedStmt, policy: &Policy) -> bool {
    // Safe: as above.
    unsafe {
        list::<pg_sys::RangeTblEntry>((*plan).rtable).any(|entry| {
            (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION
                && (*entry).requiredPerms != 0
                && (policy.watched((*entry).relid).is_some()
                    || ((*entry).requiredPerms & WRITES != 0 && is_catalog_table(entry)))
        })
    }
}

/// The writes an entry stands for. SELECT … FOR UPDATE demands the UPDATE right as well, but names no column.
unsafe fn writes(entry: *mut pg_sys::RangeTblEntry) -> impl Iterator<Item = u32> {
    // Safe: a live range table entry.
    let (rights, updates) = unsafe { ((*entry).requiredPerms, !(*entry).updatedCols.is_null()) };
    [pg_sys::ACL_INSERT, pg_sys::ACL_DELETE, pg_sys::ACL_UPDATE]
        .into_iter()
        .filter(move |right| rights & right != 0 && (*right != pg_sys::ACL_UPDATE || updates))
}

unsafe fn is_locked(plan: *mut pg_sys::PlannedStmt, index: usize) -> bool {
    // Safe: a live plan.
    unsafe {
        list::<pg_sys::PlanRowMark>((*plan).rowMarks)
            .any(|mark| (*mark).rti as usize == index + 1 && (*mark).strength != 0)
    }
}

unsafe fn write_tag(plan: *mut pg_sys::PlannedStmt, right: u32) -> &'static str {
    // Safe: a live plan.
    let merges = unsafe { (*plan).commandType == pg_sys::CmdType::CMD_MERGE };
    if merges { "MERGE" } else { right_tag(right) }
}

fn right_tag(right: u32) -> &'static str {
    match right {
        pg_sys::ACL_INSERT => "INSERT",
        pg_sys::ACL_DELETE => "DELETE",
        _ => "UPDATE",
    }
}

/// Whether one table is read, and by its owner: foreign keys are checked in the owner's name.
pub fn is_owners_own(deeds: &[Deed]) -> bool {
    let [Deed { relation: Some(member), .. }] = deeds else { return false };
    // Safe: syscache look-up of a relation that the plan holds; released at once.
    unsafe {
        let key = pg_sys::Datum::from(member.relation);
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, key);
        if tuple.is_null() {
            return false;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        owner == raw::GetUserId()
    }
}

/// The command tag of the plan as a whole.
pub unsafe fn operation_tag(plan: *mut pg_sys::PlannedStmt) -> &'static str {
    // Safe: a live plan.
    tag_of(unsafe { (*plan).commandType })
}

/// The command tag of a query.
pub fn tag_of(command: pg_sys::CmdType::Type) -> &'static str {
    match command {
        pg_sys::CmdType::CMD_SELECT => "SELECT",
        pg_sys::CmdType::CMD_INSERT => "INSERT",
        pg_sys::CmdType::CMD_UPDATE => "UPDATE",
        pg_sys::CmdType::CMD_DELETE => "DELETE",
        pg_sys::CmdType::CMD_MERGE => "MERGE",
        _ => "???",
    }
}

unsafe fn columns(entry: *mut pg_sys::RangeTblEntry) -> ColumnSet {
    // Safe: a live entry; bit sets are only read.
    unsafe {
        let mut set = set_of((*entry).insertedCols);
        add(&mut set, (*entry).updatedCols);
        set
    }
}

/// The columns that one of an entry's writes sets.
unsafe fn columns_of(entry: *mut pg_sys::RangeTblEntry, right: u32) -> ColumnSet {
    // Safe: as above.
    unsafe {
        match right {
            pg_sys::ACL_INSERT => set_of((*entry).insertedCols),
            pg_sys::ACL_UPDATE => set_of((*entry).updatedCols),
            _ => ColumnSet::default(),
        }
    }
}

unsafe fn set_of(bits: *mut pg_sys::Bitmapset) -> ColumnSet {
    let mut set = ColumnSet::default();
    // Safe: as above.
    unsafe { add(&mut set, bits) };
    set
}

/// Adds the user columns of a bit set in PostgreSQL's offset form; a whole-row reference adds nothing by itself.
unsafe fn add(set: &mut ColumnSet, bits: *mut pg_sys::Bitmapset) {
    let mut member = -1;
    loop {
        // Safe: bms_next_member only reads, also for null.
        member = unsafe { raw::bms_next_member(bits, member) };
        if member < 0 {
            return;
        }
        let attribute = member + pg_sys::FirstLowInvalidHeapAttributeNumber;
        if let Ok(attribute @ 1..) = u16::try_from(attribute) {
            set.insert(attribute);
        }
    }
}

/// A view such as pg_settings is not the catalog: writing through it is decided on what its rules do.
unsafe fn is_catalog_table(entry: *mut pg_sys::RangeTblEntry) -> bool {
    // Safe: a live entry.
    unsafe { is_catalog((*entry).relid) && (*entry).relkind as u8 != pg_sys::RELKIND_VIEW }
}

/// Relations of the system catalog: written by hand they are configuration and privileges.
pub fn is_catalog(relation: pg_sys::Oid) -> bool {
    relation.to_u32() < pg_sys::FirstNormalObjectId
}

/// Whether what is written there stays behind: a view writes through to its tables, a temporary table is gone soon.
unsafe fn leaves_copies(entry: *mut pg_sys::RangeTblEntry) -> bool {
    // Safe: a live entry and a syscache look-up.
    unsafe {
        (*entry).relkind as u8 != pg_sys::RELKIND_VIEW
            && pg_sys::get_rel_persistence((*entry).relid) as u8 != pg_sys::RELPERSISTENCE_TEMP
    }
}
