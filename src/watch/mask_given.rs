//! What is given the values of a table though it stands in no definition on it by itself: a function that a trigger, a
//! check, an index, a policy, a rule or somebody's view calls, a type of a column, what is called with such a type. Its owner
//! may replace it, and who does not see the table clear would be handed the values: so they do not.
//!
//! Found by what the catalog says depends on what. A function that is called by its name alone, as the body of one in
//! PL/pgSQL does, depends on nothing there, and is not found.

use super::statement::Source;
use super::utility_names::text;
use super::{catalog, list, mask_definition};
use crate::cache::{self, columns};
use crate::error::{Fault, answer};
use crate::mask::Masks;
use crate::{own, raw};
use pgrx::pg_sys::{self, Node, NodeTag, ObjectType, Oid, TypeName};
use std::ffi::{CStr, c_char};

/// From an object ($1 its catalog, $2 itself) to the tables that give it values, and which column, or 0 for all of a row.
/// What role $3 owns and has made of what it may read is not asked: it sees its masks there, or could make it anew.
const GIVING: &CStr = c"WITH RECURSIVE given(class, object) AS (
        SELECT $1::oid, $2::oid
        UNION SELECT n.class, n.object FROM given g CROSS JOIN LATERAL (
            SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = g.class AND d.refobjid = g.object
                AND g.class IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass)
            UNION ALL SELECT d.refclassid, d.refobjid FROM pg_depend d WHERE d.classid = g.class AND d.objid = g.object
                AND g.class IN ('pg_amop'::regclass, 'pg_amproc'::regclass) AND d.refclassid IN ('pg_opclass'::regclass, 'pg_opfamily'::regclass)
            UNION ALL SELECT 'pg_type'::regclass, c.reltype FROM pg_class c WHERE g.class = 'pg_class'::regclass AND c.oid = g.object
            UNION ALL SELECT 'pg_type'::regclass, c.contypid FROM pg_constraint c WHERE g.class = 'pg_constraint'::regclass AND c.oid = g.object
            UNION ALL SELECT 'pg_type'::regclass, unnest(ARRAY[o.oprleft, o.oprright]) FROM pg_operator o
                WHERE g.class = 'pg_operator'::regclass AND o.oid = g.object
            UNION ALL SELECT 'pg_type'::regclass, unnest(ARRAY[c.castsource, c.casttarget]) FROM pg_cast c
                WHERE g.class = 'pg_cast'::regclass AND c.oid = g.object
            ) n(class, object) WHERE n.object <> 0),
    -- Types whose values are handed over whole: the rows of a table are values of its type.
    whole(type) AS (
        SELECT $2::oid WHERE $1::oid = 'pg_type'::regclass
        UNION SELECT unnest(ARRAY[o.oprleft, o.oprright]) FROM given g JOIN pg_operator o ON g.class = 'pg_operator'::regclass AND o.oid = g.object
        UNION SELECT unnest(ARRAY[c.castsource, c.casttarget]) FROM given g JOIN pg_cast c ON g.class = 'pg_cast'::regclass AND c.oid = g.object),
    -- What has an expression, or calls a function, and the relations that it stands on or reads.
    read(relation) AS (
        SELECT t.refobjid FROM given g JOIN pg_depend t ON t.classid = g.class AND t.objid = g.object AND t.refclassid = 'pg_class'::regclass
            WHERE (g.class, g.object) <> ($1::oid, $2::oid) AND CASE g.class
                WHEN 'pg_class'::regclass THEN EXISTS (SELECT FROM pg_class i WHERE i.oid = g.object AND i.relkind IN ('i', 'I'))
                WHEN 'pg_proc'::regclass THEN NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = g.object AND pg_has_role($3::oid, p.proowner, 'USAGE'))
                ELSE g.class NOT IN ('pg_type'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass) END
            AND (t.deptype <> 'n' OR NOT EXISTS (SELECT FROM pg_depend h JOIN pg_class c ON c.oid = h.refobjid
                WHERE h.classid = g.class AND h.objid = g.object AND h.refclassid = 'pg_class'::regclass AND h.deptype IN ('a', 'i')
                    AND pg_has_role($3::oid, c.relowner, 'USAGE')))
        UNION SELECT d.refobjid FROM read r JOIN pg_class v ON v.oid = r.relation AND v.relkind = 'v' AND NOT pg_has_role($3::oid, v.relowner, 'USAGE')
            JOIN pg_rewrite w ON w.ev_class = v.oid
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass)
    SELECT relation::text, '0' FROM read
    UNION SELECT t.typrelid::text, '0' FROM whole w JOIN pg_type t ON t.oid = w.type AND t.typrelid <> 0
    UNION SELECT d.objid::text, d.objsubid::text FROM given g
        JOIN pg_depend d ON d.refclassid = g.class AND d.refobjid = g.object AND d.classid = 'pg_class'::regclass
        WHERE g.class <> 'pg_class'::regclass";

/// A function was created, replaced or altered, or a check of a domain: refused to a role that does not see clear what it is
/// given.
pub fn check(class: Oid, object: Oid, source: &Source<'_>) {
    let policy = cache::policy();
    // Safe: a plain getter.
    let role = unsafe { raw::GetUserId() };
    let Some(masks) = policy.masks().filter(|masks| masks.has(role)) else { return };
    if let Some(table) = masked_table(class, object, masks, role) {
        let tag = if class == catalog::TYPE { "ALTER DOMAIN" } else { "ALTER FUNCTION" };
        mask_definition::refuse(table, role, tag, source);
    }
}

/// A table that the role does not see clear and whose values an object is given.
pub fn masked_table(class: Oid, object: Oid, masks: &Masks, role: Oid) -> Option<Oid> {
    let number = |oid: Oid| oid.to_u32().to_string();
    let giving = own::latest_rows_of(GIVING, &[&number(class), &number(object), &number(role)]);
    let is_masked = |table: &Oid, column: i16| {
        masks.of(role, *table).is_some_and(|masked| masked.iter().any(|own| column == 0 || own.number == column))
    };
    giving.iter().map(|row| answer(place(row))).find_map(|(relation, column)| match column {
        0 => columns::tree(relation).into_iter().find(|table| is_masked(table, 0)),
        _ => Some(relation).filter(|table| is_masked(table, column)),
    })
}

fn place(row: &[Option<String>]) -> Result<(Oid, i16), Fault> {
    let read = || match row {
        [Some(relation), Some(column)] => Some((Oid::from(relation.parse::<u32>().ok()?), column.parse().ok()?)),
        _ => None,
    };
    read().ok_or_else(|| Fault::internal("a dependency does not read back"))
}

/// The types, and functions, that a command changes in what they do with values, or gives something that is called with
/// values.
pub unsafe fn defined_for(command: *mut Node) -> Vec<(Oid, Oid)> {
    use NodeTag::*;
    // Safe: each cast follows the tag.
    let types: Vec<*mut TypeName> = unsafe {
        match (*command).type_ {
            T_AlterDomainStmt => {
                let alter = &*command.cast::<pg_sys::AlterDomainStmt>();
                let computes = runs(alter.subtype, alter.def);
                computes.then(|| pg_sys::makeTypeNameFromNameList(alter.typeName)).into_iter().collect()
            }
            T_CreateCastStmt => {
                let cast = &*command.cast::<pg_sys::CreateCastStmt>();
                vec![cast.sourcetype, cast.targettype]
            }
            T_DefineStmt if (*command.cast::<pg_sys::DefineStmt>()).kind == ObjectType::OBJECT_OPERATOR => {
                list::<pg_sys::DefElem>((*command.cast::<pg_sys::DefineStmt>()).definition)
                    .filter(|part| matches!(text((**part).defname), "leftarg" | "rightarg"))
                    .map(|part| pg_sys::defGetTypeName(part))
                    .collect()
            }
            T_AlterObjectDependsStmt => return function_named(&*command.cast()).into_iter().collect(),
            _ => Vec::new(),
        }
    };
    // Safe: names of types by the parser. What is missing is the command's own error.
    let found = types.into_iter().map(|name| unsafe { pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true) });
    found.map(|found| (catalog::TYPE, found)).collect()
}

/// Whether a change of a domain runs something on its values: a check that is added or validated, a default that is more
/// than a constant.
unsafe fn runs(subtype: c_char, default: *mut Node) -> bool {
    // Safe: a node of the parser, or null; cast after the tag.
    unsafe {
        match subtype as u8 {
            b'C' | b'V' => true,
            b'T' if default.is_null() => false,
            b'T' => (*default).type_ != NodeTag::T_A_Const,
            _ => false,
        }
    }
}

/// The function that ALTER … DEPENDS ON EXTENSION names, of which the object access hook is told nothing.
unsafe fn function_named(alter: &pg_sys::AlterObjectDependsStmt) -> Option<(Oid, Oid)> {
    use ObjectType::{OBJECT_FUNCTION, OBJECT_PROCEDURE, OBJECT_ROUTINE};
    let kind = alter.objectType;
    // Safe: a function is named with its arguments.
    let function = || unsafe { pg_sys::LookupFuncWithArgs(kind, alter.object.cast(), true) };
    matches!(kind, OBJECT_FUNCTION | OBJECT_PROCEDURE | OBJECT_ROUTINE).then(|| (catalog::PROCEDURE, function()))
}
