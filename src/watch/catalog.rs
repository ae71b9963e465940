//! Numbers of system catalogs that the bindings leave out. They are part of PostgreSQL's on-disk format.

use pgrx::pg_sys::Oid;

const fn oid(number: u32) -> Oid {
    Oid::from_u32(number)
}

pub const TYPE: Oid = oid(1247);
pub const RELATION: Oid = oid(1259);
pub const PROCEDURE: Oid = oid(1255);
pub const CONSTRAINT: Oid = oid(2606);
pub const REWRITE: Oid = oid(2618);
pub const COLUMN_DEFAULT: Oid = oid(2604);
pub const TRIGGER: Oid = oid(2620);
pub const EXTENSION: Oid = oid(3079);
pub const POLICY: Oid = oid(3256);

pub const LANGUAGE_INTERNAL: Oid = oid(12);
pub const LANGUAGE_C: Oid = oid(13);
/// pg_language.lanpltrusted.
pub const LANGUAGE_TRUSTED: i16 = 5;

/// The catalog's own schema, which every session searches first.
pub const CATALOG_SCHEMA: Oid = oid(11);

/// Where a catalog keeps a reference: its oid index (the oid is column 1) and the referring column.
pub struct Reference {
    pub oid_index: Oid,
    pub column: i32,
}

/// Of a domain's check: the domain.
pub const DOMAIN_OF_CONSTRAINT: Reference = Reference { oid_index: oid(2667), column: 9 };

const fn reference(index: u32, column: i32) -> Option<Reference> {
    Some(Reference { oid_index: oid(index), column })
}

/// Catalogs of things that hang on a table: the column that names the table.
pub fn table_of(catalog: Oid) -> Option<Reference> {
    match catalog {
        TRIGGER => reference(2702, 2),
        POLICY => reference(3257, 3),
        CONSTRAINT => reference(2667, 8),
        REWRITE => reference(2692, 3),
        COLUMN_DEFAULT => reference(2657, 2),
        _ => None,
    }
}

/// Catalogs of things in a schema that SQL finds by name: the column that names the schema.
pub fn schema_of(catalog: Oid) -> Option<Reference> {
    match catalog {
        TYPE => reference(2703, 3),
        PROCEDURE => reference(2690, 3),
        RELATION => reference(2662, 3),
        // Operators, operator classes and families, collations.
        _ if catalog == oid(2617) => reference(2688, 3),
        _ if catalog == oid(2616) => reference(2687, 4),
        _ if catalog == oid(2753) => reference(2755, 4),
        _ if catalog == oid(3456) => reference(3085, 3),
        _ => None,
    }
}
