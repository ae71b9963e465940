//! Numbers of system catalogs that the bindings leave out. They are part of PostgreSQL's on-disk format.

use pgrx::pg_sys::Oid;

const fn oid(number: u32) -> Oid {
    Oid::from_u32(number)
}

pub const RELATION: Oid = oid(1259);
pub const PROCEDURE: Oid = oid(1255);
pub const CONSTRAINT: Oid = oid(2606);
pub const REWRITE: Oid = oid(2618);
pub const TRIGGER: Oid = oid(2620);
pub const EXTENSION: Oid = oid(3079);
pub const POLICY: Oid = oid(3256);

pub const LANGUAGE_INTERNAL: Oid = oid(12);
pub const LANGUAGE_C: Oid = oid(13);

/// Where a catalog keeps the table that its rows hang on: oid index, oid column, table column.
pub struct Owned {
    pub oid_index: Oid,
    pub oid_column: i16,
    pub relation_column: i32,
}

/// Catalogs of things that hang on a table.
pub fn owned(catalog: Oid) -> Option<Owned> {
    let owned =
        |index: u32, relation_column: i32| Some(Owned { oid_index: oid(index), oid_column: 1, relation_column });
    match catalog {
        TRIGGER => owned(2702, 2),
        POLICY => owned(3257, 3),
        CONSTRAINT => owned(2667, 8),
        REWRITE => owned(2692, 3),
        _ => None,
    }
}
