//! The levels of a query and what the role does not see clear of their entries. A column reference names its level by
//! counting upwards.

use super::node;
use super::planner::is_masked;
use crate::cache;
use crate::core::mask_rule::{Predicate, Verdict, Write};
use crate::mask::{Column, policy::digest};
use pgrx::pg_sys::{self, Oid, Query, RTEKind, RangeTblEntry};

/// What the role does not see clear of an entry: nothing but zeroes where it sees all.
pub struct Entry {
    /// Those that are masked here come first; behind them what is shown because its owner asks.
    columns: *const Column,
    masked: usize,
    count: usize,
    digest: u64,
    /// Columns that a condition compares as they are: bit n for column n.
    pub equal: u64,
    /// The new values of ON CONFLICT DO UPDATE: the user's own.
    pub excluded: bool,
}

impl Entry {
    /// Whether anything is masked here.
    pub fn is_masked(&self) -> bool {
        self.masked > 0
    }
    /// Whether there is anything that the role does not see clear, whoever asks here.
    pub fn is_hidden(&self) -> bool {
        self.count > 0
    }
    /// What is shown of a column of the relation; None: the value.
    pub fn verdict(&self, number: i16) -> Option<Verdict> {
        self.columns(self.masked).find(|column| column.number == number).map(|column| column.verdict)
    }
    /// Whether the role does not see a column clear, whoever asks here.
    pub fn hides(&self, number: i16) -> bool {
        self.columns(self.count).any(|column| column.number == number)
    }
    fn columns(&self, count: usize) -> impl Iterator<Item = Column> {
        // Safe: so many columns lie there, in the memory of the planner.
        (0..count).map(|index| unsafe { *self.columns.add(index) })
    }
    /// The first column that a statement names for writing and that the role writes nothing into, whoever asks here.
    pub fn denies(&self, mut is_named: impl FnMut(i16) -> bool) -> Option<i16> {
        let mut denied = self.columns(self.count).filter(|column| column.verdict.write == Write::Deny);
        denied.find(|column| is_named(column.number)).map(|column| column.number)
    }
    /// Whether a condition may compare a column as it is.
    pub fn compares(&self, number: i16) -> bool {
        !self.excluded
            && (1..64).contains(&number)
            && self.verdict(number).is_some_and(|verdict| verdict.predicate == Predicate::Equal)
    }
}

/// By whose rules columns are looked up.
#[derive(Clone, Copy)]
pub struct Eyes {
    /// Who runs the statement.
    pub role: Oid,
    /// Whose question it is, if not the role's own: what this one may read and sees clear is clear.
    pub asker: Oid,
}

/// A query and those around it.
pub struct Level {
    pub query: *mut Query,
    pub parent: *const Level,
    tables: *mut pg_sys::List,
    entries: *mut Entry,
}

impl Level {
    /// `touched` is set if there is anything that some role does not see clear.
    pub unsafe fn new(query: *mut Query, parent: *const Level, eyes: Eyes, touched: &mut bool) -> Level {
        // Safe: a complete query; as many entries are made as its table has, and one for the index 0.
        unsafe {
            let tables = (*query).rtable;
            let count = length(tables);
            let entries = node::array::<Entry>(count + 1);
            let level = Level { query, parent, tables, entries };
            for index in 1..=count {
                let table = level.table(index as u32);
                if (*table).rtekind == RTEKind::RTE_RELATION && is_masked((*table).relid) {
                    *touched = true;
                    look_up(eyes, (*table).relid, entries.add(index));
                }
            }
            if !(*query).onConflict.is_null() {
                (*entries.add((*(*query).onConflict).exclRelIndex as usize)).excluded = true;
            }
            level
        }
    }

    /// Shows the values of its tables, for a question that gives them to nobody.
    pub unsafe fn show(&self) {
        // Safe: as many entries as were made.
        unsafe { (1..=self.count()).for_each(|index| (*self.entry(index)).masked = 0) }
    }

    /// The level so many steps up; null if there are not so many.
    pub unsafe fn up(&self, steps: u32) -> *const Level {
        let mut level: *const Level = self;
        for _ in 0..steps {
            if level.is_null() {
                break;
            }
            // Safe: outer levels live as long as inner ones.
            level = unsafe { (*level).parent };
        }
        level
    }

    /// An entry of its range table, counted from 1.
    pub unsafe fn table(&self, index: u32) -> *mut RangeTblEntry {
        // Safe: the index is one of the query's own.
        unsafe { (*(*self.tables).elements.add(index as usize - 1)).ptr_value.cast() }
    }

    pub unsafe fn entry(&self, index: u32) -> *mut Entry {
        // Safe: as above.
        unsafe { self.entries.add(index as usize) }
    }

    /// How many entries there are.
    pub unsafe fn count(&self) -> u32 {
        // Safe: a live query.
        unsafe { length(self.tables) as u32 }
    }
}

unsafe fn length(list: *mut pg_sys::List) -> usize {
    // Safe: null is the empty list.
    unsafe { if list.is_null() { 0 } else { (*list).length as usize } }
}

/// Writes down what a role does not see clear of a relation.
#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
pub unsafe extern "C-unwind" fn look_up(eyes: Eyes, relation: Oid, entry: *mut Entry) {
    let policy = cache::policy();
    let Some(masks) = policy.masks() else { return };
    let Some(columns) = masks.of(eyes.role, relation) else { return };
    let asked = eyes.asker != pg_sys::InvalidOid;
    let theirs = if asked { masks.of(eyes.asker, relation) } else { None };
    let is_theirs = |number: i16| theirs.iter().any(|columns| columns.iter().any(|column| column.number == number));
    let shown = |column: &Column| asked && !is_theirs(column.number) && may_read(eyes.asker, relation, column.number);
    let masked = columns.iter().filter(|column| !shown(column));
    // Safe: the entry is the caller's; the copy lies in the planner's memory, as long as the levels do.
    unsafe {
        let copy = node::array::<Column>(columns.len());
        (*entry).masked = masked.clone().count();
        for (place, column) in masked.chain(columns.iter().filter(|column| shown(column))).enumerate() {
            copy.add(place).write(*column);
        }
        (*entry).columns = copy;
        (*entry).count = columns.len();
        (*entry).digest = digest(&columns);
    }
}

/// By the privileges of the catalog.
fn may_read(role: Oid, relation: Oid, number: i16) -> bool {
    let select = pg_sys::ACL_SELECT as pg_sys::AclMode;
    let granted = pg_sys::AclResult::ACLCHECK_OK;
    // Safe: look-ups of an existing relation.
    unsafe {
        pg_sys::pg_class_aclcheck(relation, role, select) == granted
            || pg_sys::pg_attribute_aclcheck(relation, number, role, select) == granted
    }
}

/// What an entry of a plan bears whose columns were masked: the digest of its masks, and which columns are compared.
pub const MARK: &[u8] = b"pg_steward ";
const HEX: usize = 16;

/// A mark with its ending zero.
pub type Mark = [u8; MARK.len() + HEX + 1 + HEX + 1];

pub fn mark(digest: u64, equal: u64) -> Mark {
    let mut mark = [0; MARK.len() + HEX + 1 + HEX + 1];
    let digits = |number: u64, place: usize| b"0123456789abcdef"[(number >> (4 * (HEX - 1 - place)) & 15) as usize];
    mark[..MARK.len()].copy_from_slice(MARK);
    mark[MARK.len() + HEX] = b' ';
    for place in 0..HEX {
        mark[MARK.len() + place] = digits(digest, place);
        mark[MARK.len() + HEX + 1 + place] = digits(equal, place);
    }
    mark
}

impl Entry {
    pub fn mark(&self) -> Mark {
        mark(self.digest, self.equal)
    }
}

/// Digest and compared columns of a marked entry. A relation has no use for the name of a transition table, so the mark
/// stands there; it stays with the entry through planning, copying and caching.
pub unsafe fn marked(entry: *mut RangeTblEntry) -> Option<(u64, u64)> {
    // Safe: null or a C string.
    let text = unsafe {
        let name = (*entry).enrname;
        if name.is_null() { return None } else { std::ffi::CStr::from_ptr(name) }
    };
    let (digest, equal) = text.to_str().ok()?.strip_prefix("pg_steward ")?.split_once(' ')?;
    Some((u64::from_str_radix(digest, 16).ok()?, u64::from_str_radix(equal, 16).ok()?))
}
