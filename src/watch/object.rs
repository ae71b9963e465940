//! The object access hook: what no other hook sees. Targets of DROP and TRUNCATE … CASCADE, the extension's own objects
//! in every form; and functions about to run, which `function` decides.

use super::facts::Deed;
use super::statement::Source;
use super::{borrowed, catalog, function, judge, mask_given, standing_aside, utility};
use crate::cache::{self, Member, OwnKind, Policy, Watched};
use crate::core::rule::{ColumnSet, Command, Group};
use crate::error::answer;
use crate::operation::armed;
use crate::{image, raw};
use pgrx::pg_sys::{self, ObjectAccessType, Oid};
use std::ffi::{CStr, c_int, c_void};
use std::rc::Rc;

static mut NEXT: pg_sys::object_access_hook_type = None;

pub fn init() {
    // Safe: plain hook pointers, set while the postmaster preloads and kept for the chain.
    unsafe {
        NEXT = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(object_access);
    }
}

unsafe extern "C-unwind" fn object_access(
    access: ObjectAccessType::Type,
    class: Oid,
    object: Oid,
    part: c_int,
    argument: *mut c_void,
) {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        if let Some(next) = NEXT {
            next(access, class, object, part, argument);
        }
        let runs = access == ObjectAccessType::OAT_FUNCTION_EXECUTE;
        if runs && armed::is_armed() {
            super::armed::function_starts();
        }
        if runs && borrowed::plans_own_sql() && object.to_u32() >= pg_sys::FirstNormalObjectId {
            borrowed::require_nobodys_function(object);
        }
        let harmless = runs && function::is_harmless(object);
        if !harmless {
            decide(access, class, object, part);
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn decide(access: ObjectAccessType::Type, class: Oid, object: Oid, part: c_int) {
    use ObjectAccessType::*;
    // An allowed DROP EXTENSION takes the policy's own tables one by one: there is nothing left to read.
    // Safe: reads backend state.
    if standing_aside() || crate::activation::dropping_extension() || unsafe { !raw::IsTransactionState() } {
        return;
    }
    match access {
        OAT_FUNCTION_EXECUTE => function::decide(object),
        OAT_TRUNCATE if cache::at_home() => {
            touched(object, "TRUNCATE TABLE");
            answer(image::require_copy(object, "TRUNCATE"));
        }
        OAT_DROP if cache::at_home() => dropped(class, object, part),
        OAT_POST_ALTER | OAT_POST_CREATE if cache::at_home() => changed(class, object),
        _ => {}
    }
}

/// Something hanging on a protected table goes, or the table itself, by whatever command.
fn dropped(class: Oid, object: Oid, part: c_int) {
    if class == catalog::EXTENSION && is_own_extension(object) {
        return judge_alone("DROP EXTENSION", Group::Privilege, &client_source());
    }
    let whole = class == catalog::RELATION && part == 0;
    let target = match class {
        catalog::RELATION => Some(table_of_index(object)),
        _ => catalog::table_of(class).and_then(|place| referred(class, object, &place)),
    };
    let tag = if whole && target == Some(object) { "DROP TABLE" } else { "ALTER TABLE" };
    if class == catalog::RELATION {
        // Parts are columns; indexes are no protected tables.
        answer(image::require_copy(object, tag));
    }
    // A composite type has its attributes in a relation.
    if target.is_none_or(|target| target == object) {
        part_changed(class, object);
    }
    match target {
        Some(target) => touched(target, tag),
        None => guard_schema(class, object),
    }
}

/// Something is created or altered: on a protected table, in schema steward, or where every session looks first.
fn changed(class: Oid, object: Oid) {
    match class {
        catalog::TRIGGER | catalog::POLICY | catalog::REWRITE => {
            if let Some(target) = catalog::table_of(class).and_then(|place| referred(class, object, &place)) {
                touched(target, "ALTER TABLE");
            }
        }
        catalog::RELATION if matches!(cache::policy().watched(object), Some(Watched::Own(_))) => {
            touched(object, "ALTER");
        }
        _ => {
            if matches!(class, catalog::PROCEDURE | catalog::CONSTRAINT)
                && let Some((class, object)) = part_of(class, object)
            {
                mask_given::check(class, object, &client_source());
            }
            part_changed(class, object);
            guard_schema(class, object);
        }
    }
}

/// A type, function or relation; of a domain's check the domain.
fn part_of(class: Oid, object: Oid) -> Option<(Oid, Oid)> {
    match class {
        catalog::TYPE | catalog::RELATION | catalog::PROCEDURE => Some((class, object)),
        catalog::CONSTRAINT => {
            referred(class, object, &catalog::DOMAIN_OF_CONSTRAINT).map(|domain| (catalog::TYPE, domain))
        }
        _ => None,
    }
}

/// Something changes that the rows of a protected table depend on: a type of a column, a domain's check, a sequence that
/// it owns, a function of a trigger, default, check, index or policy.
fn part_changed(class: Oid, object: Oid) {
    let Some((class, object)) = part_of(class, object) else { return };
    let policy = cache::policy();
    if let Some(member) = policy.member_with_part(class, object) {
        protected(&policy, member, "ALTER");
    }
}

/// The extension's own SQL, like everybody's, finds functions, casts and operators by name: what is put into the
/// catalog's schema is configuration, and nothing is put into schema steward.
fn guard_schema(class: Oid, object: Oid) {
    let Some(schema) = catalog::schema_of(class).and_then(|place| referred(class, object, &place)) else { return };
    if schema == catalog::CATALOG_SCHEMA {
        return judge_alone("ALTER CATALOG", Group::Config, &client_source());
    }
    // Safe: a look-up by name.
    if schema == unsafe { pg_sys::get_namespace_oid(c"steward".as_ptr(), true) } {
        judge::guard_own(OwnKind::Configuration, "schema steward", "ALTER", &client_source());
    }
}

fn table_of_index(relation: Oid) -> Oid {
    // Safe: syscache look-ups; a dropped relation is still there when its drop is announced.
    unsafe {
        match pg_sys::get_rel_relkind(relation) as u8 {
            pg_sys::RELKIND_INDEX | pg_sys::RELKIND_PARTITIONED_INDEX => pg_sys::IndexGetRelation(relation, true),
            _ => relation,
        }
    }
}

/// A relation is changed in its structure, truncated or dropped.
fn touched(relation: Oid, tag: &'static str) {
    let policy = cache::policy();
    match policy.watched(relation) {
        Some(Watched::Protected(member)) => protected(&policy, member, tag),
        Some(Watched::Own(kind)) => {
            judge::guard_own(*kind, &utility::relation_name(relation), tag, &client_source());
        }
        None => {}
    }
}

/// The structure of a protected table changes. What the running command was allowed to do to this very table (upkeep
/// and partitions drop and create parts of their own) is not asked again; TRUNCATE always is.
fn protected(policy: &Policy, member: &Rc<Member>, tag: &'static str) {
    if tag != "TRUNCATE TABLE" && utility::allows(member.root.oid) {
        return;
    }
    let deed = Deed {
        command: Command { tag, group: Group::Ddl },
        relation: Some(member.clone()),
        columns: ColumnSet::default(),
    };
    let judgement = judge::judge_now(policy, std::slice::from_ref(&deed));
    judge::enforce(policy, &[deed], &judgement, tag, &client_source());
}

/// A deed without a relation: judged, and recorded by itself.
pub fn judge_alone(tag: &'static str, group: Group, source: &Source<'_>) {
    let policy = cache::policy();
    let deeds = [Deed { command: Command { tag, group }, relation: None, columns: ColumnSet::default() }];
    let judgement = judge::judge_now(&policy, &deeds);
    judge::enforce(&policy, &deeds, &judgement, tag, source);
    let mut record = judge::record(tag, Vec::new(), judgement.tier, judgement.rule, source);
    record.details = Some(serde_json::json!({ "seen_by": "object access" }).to_string());
    crate::audit::buffer::push(record);
}

fn client_source<'a>() -> Source<'a> {
    // Safe: the client's own message, or null.
    unsafe { Source::new(pg_sys::debug_query_string, -1, 0) }
}

fn is_own_extension(object: Oid) -> bool {
    // Safe: a look-up by oid.
    unsafe {
        let name = pg_sys::get_extension_name(object);
        !name.is_null() && CStr::from_ptr(name) == c"pg_steward"
    }
}

/// What a catalog row refers to. Found by oid index with SnapshotSelf, because a new or changed row is not visible to the
/// command's snapshot yet.
fn referred(class: Oid, object: Oid, place: &catalog::Reference) -> Option<Oid> {
    // Safe: a catalog scan; everything opened is closed.
    unsafe {
        let lock = pg_sys::AccessShareLock as i32;
        let relation = pg_sys::table_open(class, lock);
        let mut key = pg_sys::ScanKeyData::default();
        let equal = pg_sys::Oid::from(pg_sys::F_OIDEQ);
        let strategy = pg_sys::BTEqualStrategyNumber as u16;
        pg_sys::ScanKeyInit(&mut key, 1, strategy, equal, pg_sys::Datum::from(object));
        let snapshot = &raw mut pg_sys::SnapshotSelfData;
        let scan = pg_sys::systable_beginscan(relation, place.oid_index, true, snapshot, 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let mut missing = false;
        let mut referred = pg_sys::InvalidOid;
        if !tuple.is_null() {
            let value = pg_sys::heap_getattr(tuple, place.column, (*relation).rd_att, &mut missing);
            referred = Oid::from(value.value() as u32);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        (!missing && referred != pg_sys::InvalidOid).then_some(referred)
    }
}
