-- What the extension consists of, as it was installed: the daily check compares it with what is there (requirement 77).
CREATE TABLE steward._own_object (
    kind     text NOT NULL,
    identity text NOT NULL,
    digest   text NOT NULL,
    server   int NOT NULL,
    PRIMARY KEY (kind, identity)
);
COMMENT ON TABLE steward._own_object IS 'Every object of the extension with the digest of its definition, written as the last act of CREATE EXTENSION. server: the major version that worded it. For the check own_object.';
REVOKE ALL ON steward._own_object FROM PUBLIC;

-- The same words whatever settings a session or the database has: a list worded otherwise would stay wrong for good.
CREATE FUNCTION steward._own_objects() RETURNS TABLE (kind text, identity text, digest text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    SET datestyle = 'ISO, MDY' SET intervalstyle = postgres SET timezone = 'UTC' SET extra_float_digits = 1
    SET bytea_output = hex SET standard_conforming_strings = on AS $$
    WITH own AS (
        SELECT d.classid, d.objid, e.extowner FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_steward'
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
    relation AS (
        SELECT c.*, c.relowner = o.extowner AS ours FROM own o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
        -- Parts of the chain come and go; verification looks at them.
        WHERE c.relname !~ '^chain_[0-9]+$'),
    found(kind, identity, definition) AS (
        SELECT 'function', p.oid::regprocedure::text, ROW(p.proowner = o.extowner, l.lanname, p.prokind, p.provolatile, p.proparallel,
                p.proisstrict, p.prosecdef, p.proleakproof, p.proretset, p.prorettype::regtype, p.prosrc, p.probin, p.proconfig)::text
            FROM own o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid JOIN pg_language l ON l.oid = p.prolang
        UNION ALL SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END, oid::regclass::text,
                ROW(ours, relkind, relpersistence, relrowsecurity, relforcerowsecurity, reloptions,
                (SELECT string_agg(ROW(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                        pg_get_expr(d.adbin, d.adrelid))::text, ',' ORDER BY a.attnum)
                    FROM pg_attribute a LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
                    WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped),
                CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) END)::text
            FROM relation r
        UNION ALL SELECT 'index', indexrelid::regclass::text,
                ROW(pg_get_indexdef(indexrelid), indisvalid, indisready, indislive, indisunique, indimmediate)::text
            FROM relation r JOIN pg_index i ON i.indrelid = r.oid
        UNION ALL SELECT 'trigger', format('%I on %s', t.tgname, t.tgrelid::regclass), ROW(t.tgenabled, pg_get_triggerdef(t.oid))::text
            FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
        UNION ALL SELECT 'constraint', format('%I on %s', c.conname, c.conrelid::regclass),
                ROW(c.convalidated, c.condeferrable, pg_get_constraintdef(c.oid),
                (SELECT array_agg(ROW(t.tgrelid::regclass, t.tgenabled, t.tgtype)::text ORDER BY t.tgrelid::regclass::text, t.tgtype, t.tgfoid)
                    FROM pg_trigger t WHERE t.tgconstraint = c.oid AND t.tgisinternal))::text
            FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid
        UNION ALL SELECT 'rule', format('%I on %s', w.rulename, w.ev_class::regclass), ROW(w.ev_enabled, pg_get_ruledef(w.oid))::text
            FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
        UNION ALL SELECT 'policy', format('%I on %s', p.polname, p.polrelid::regclass), ''
            FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
        UNION ALL SELECT i.type, i.identity, '' FROM own o, LATERAL pg_identify_object(o.classid, o.objid, 0) i
            WHERE o.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass))
    SELECT kind, identity, encode(sha256(convert_to(definition, 'UTF8')), 'hex') FROM found
$$;
COMMENT ON FUNCTION steward._own_objects() IS 'The objects of the extension as they are now, each with a digest of its definition and of whether its owner is the extension''s. For the check own_object.';
REVOKE ALL ON FUNCTION steward._own_objects() FROM PUBLIC;
