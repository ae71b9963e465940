CREATE TABLE steward.mask_rule (
    role      regrole NOT NULL,
    class     text NOT NULL CHECK (class <> ''),            -- '*': every class, '-': columns without one
    mask      text NOT NULL CHECK (mask IN ('partial', 'hide', 'hash', 'pseudonym', 'generalize', 'none')),
    prefix    int CHECK (prefix BETWEEN 0 AND 64),
    suffix    int CHECK (suffix BETWEEN 0 AND 64),
    predicate text NOT NULL DEFAULT 'masked' CHECK (predicate IN ('masked', 'equal', 'deny')),
    write     text NOT NULL DEFAULT 'guard' CHECK (write IN ('guard', 'deny', 'allow')),
    PRIMARY KEY (role, class)
);

-- What src/mask/policy.rs reads, too: labels go down to children and up to parents by the columns' names, for rows are read
-- through both, and to what is generated. What came up does not go down again: siblings keep their own.
CREATE VIEW steward._labelled AS
    WITH RECURSIVE label(relation, name, class, way) AS (
        SELECT l.objoid, a.attname, l.label, 0 FROM pg_catalog.pg_seclabel l
            JOIN pg_catalog.pg_attribute a ON a.attrelid = l.objoid AND a.attnum = l.objsubid AND NOT a.attisdropped
            WHERE l.provider = 'pg_steward' AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND l.objsubid > 0
        UNION SELECT i.relation, l.name, l.class, i.way FROM label l
            JOIN (SELECT inhparent AS beside, inhrelid AS relation, 1 AS way FROM pg_catalog.pg_inherits
                UNION ALL SELECT inhrelid, inhparent, -1 FROM pg_catalog.pg_inherits) i ON i.beside = l.relation AND l.way IN (0, i.way)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.relation AND a.attname = l.name AND NOT a.attisdropped),
    labelled(relation, attnum, class, up) AS (SELECT l.relation, a.attnum, l.class, l.way < 0 FROM label l
        JOIN pg_catalog.pg_attribute a ON a.attrelid = l.relation AND a.attname = l.name AND NOT a.attisdropped),
    every(relation, attnum, class, up) AS (SELECT relation, attnum, class, up FROM labelled
        UNION SELECT l.relation, d.adnum, l.class, l.up FROM labelled l
        JOIN pg_catalog.pg_depend u ON u.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND u.refobjid = l.relation
            AND u.refobjsubid = l.attnum
        JOIN pg_catalog.pg_attrdef d ON u.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.oid = u.objid
        JOIN pg_catalog.pg_attribute g ON g.attrelid = l.relation AND g.attnum = d.adnum AND g.attgenerated <> '' AND g.attnum <> l.attnum)
    SELECT relation, attnum, class, pg_catalog.bool_and(up) AS up FROM every GROUP BY relation, attnum, class;
COMMENT ON VIEW steward._labelled IS 'Columns with the classes that are theirs: their own, those of the columns above and below them, those of what they are generated from. up: from below only.';
REVOKE ALL ON steward._labelled FROM PUBLIC;
