-- What operations depend on besides their scripts: code that could change between approval and execution.

CREATE TABLE steward._operation_dependency (
    op_no  text NOT NULL REFERENCES steward._operation,
    object text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (op_no, object)
);
COMMENT ON TABLE steward._operation_dependency IS 'The functions, tables, views, types, operators, casts and event triggers that the script of an operation can reach, with a digest of each as it was when the operation was filed. Read through steward.operation_dependency.';
REVOKE ALL ON steward._operation_dependency FROM PUBLIC;

CREATE VIEW steward.operation_dependency WITH (security_barrier) AS
    SELECT d.op_no, d.object, encode(d.digest, 'hex') AS digest
    FROM steward._operation_dependency d WHERE d.op_no IN (SELECT o.op_no FROM steward.operation o);
COMMENT ON VIEW steward.operation_dependency IS 'What an operation depends on besides its script; a change of any of it ends its approval. Everybody sees what belongs to the operations that they see.';
GRANT SELECT ON steward.operation_dependency TO PUBLIC;

-- Everything outside of system schemas that can run or steer code, as text in which the names of others occur. With the
-- transactions that wrote functions and views: one that is put back as it was has been another meanwhile.
--
-- Nothing is deparsed: that would lock every table behind every view, and wait for whoever has locked one of them. What is
-- stored stands for itself by its digest, and whom it refers to is what pg_depend says.
CREATE FUNCTION steward._code(OUT title text, OUT name text, OUT text text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH ours AS (
        SELECT oid, nspname FROM pg_namespace
        WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'steward', 'pg_toast')
            AND (nspname !~ '^pg_(toast_)?temp_' OR oid = pg_my_temp_schema())),
    named(class, object, name) AS (
        SELECT 'pg_proc'::regclass, p.oid, p.proname FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace
        UNION ALL SELECT 'pg_class'::regclass, c.oid, c.relname FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
        UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typname FROM pg_type t JOIN ours n ON n.oid = t.typnamespace
        UNION ALL SELECT 'pg_operator'::regclass, o.oid, o.oprname FROM pg_operator o JOIN ours n ON n.oid = o.oprnamespace),
    refers(class, object, names) AS (
        SELECT d.classid, d.objid, string_agg(DISTINCT n.name::text, ' ' ORDER BY n.name::text)
        FROM pg_depend d JOIN named n ON n.class = d.refclassid AND n.object = d.refobjid GROUP BY 1, 2),
    -- What hangs on a table: a digest of the row that says it, and the names in it.
    hanging(relation, part) AS (
        SELECT d.adrelid, concat_ws(' ', 'default', d.adnum, md5(d.adbin::text), r.names) FROM pg_attrdef d
            LEFT JOIN refers r ON r.class = 'pg_attrdef'::regclass AND r.object = d.oid
        UNION ALL
        SELECT side, concat_ws(' ', k.conrelid::regclass::text, k.confrelid::regclass::text, k.conname, k.contype, k.condeferrable,
                k.condeferred, k.convalidated, k.conkey::text, k.confkey::text, k.confupdtype, k.confdeltype, k.confmatchtype,
                md5(k.conbin::text), r.names)
            FROM pg_constraint k CROSS JOIN LATERAL (SELECT DISTINCT unnest(ARRAY[k.conrelid, k.confrelid])) AS s(side)
            LEFT JOIN refers r ON r.class = 'pg_constraint'::regclass AND r.object = k.oid
            WHERE k.conparentid = 0 AND side <> 0
        UNION ALL
        SELECT i.indrelid, concat_ws(' ', 'index', md5(concat_ws(' ', i.indkey, i.indclass, i.indisunique, i.indexprs, i.indpred)), r.names)
            FROM pg_index i LEFT JOIN refers r ON r.class = 'pg_class'::regclass AND r.object = i.indexrelid
            WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
        UNION ALL
        -- Operator classes of somebody's: their functions run for every row.
        SELECT i.indrelid, concat_ws(' ', 'index', i.indexrelid::regclass::text, md5(concat_ws(' ', i.indkey, i.indclass)),
                (SELECT string_agg(DISTINCT a.amproc::oid::regprocedure::text, ' ' ORDER BY a.amproc::oid::regprocedure::text)
                    FROM pg_opclass o JOIN pg_amproc a ON a.amprocfamily = o.opcfamily
                    WHERE o.oid = ANY (i.indclass::oid[]) AND o.oid >= 16384),
                (SELECT string_agg(DISTINCT a.amopopr::regoperator::text, ' ' ORDER BY a.amopopr::regoperator::text)
                    FROM pg_opclass o JOIN pg_amop a ON a.amopfamily = o.opcfamily
                    WHERE o.oid = ANY (i.indclass::oid[]) AND o.oid >= 16384))
            FROM pg_index i WHERE EXISTS (SELECT FROM unnest(i.indclass::oid[]) AS class WHERE class >= 16384)
        UNION ALL
        SELECT s.stxrelid, concat_ws(' ', 'statistics', s.oid, md5(s.stxexprs::text), r.names) FROM pg_statistic_ext s
            LEFT JOIN refers r ON r.class = 'pg_statistic_ext'::regclass AND r.object = s.oid WHERE s.stxexprs IS NOT NULL
        UNION ALL
        -- The triggers of partitions too, unless they are the root's.
        SELECT coalesce(root.relation, g.tgrelid), concat_ws(' ', g.tgrelid::regclass::text, g.tgname, g.tgenabled, g.tgtype,
                g.tgdeferrable, g.tginitdeferred, g.tgattr::text, md5(concat_ws(' ', g.tgargs, g.tgqual)), g.tgoldtable, g.tgnewtable, r.names)
            FROM pg_trigger g LEFT JOIN refers r ON r.class = 'pg_trigger'::regclass AND r.object = g.oid
            LEFT JOIN LATERAL (SELECT t.relid AS relation FROM pg_partition_ancestors(g.tgrelid) WITH ORDINALITY t(relid, n)
                ORDER BY t.n DESC LIMIT 1) root ON true
            WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgfoid <> 'steward._keep_row_image()'::regprocedure
        UNION ALL
        SELECT w.ev_class, concat_ws(' ', w.rulename, CASE WHEN w.rulename = '_RETURN' THEN w.xmin END, w.ev_type, w.ev_enabled,
                w.is_instead, md5(concat_ws(' ', w.ev_qual, w.ev_action)), r.names)
            FROM pg_rewrite w LEFT JOIN refers r ON r.class = 'pg_rewrite'::regclass AND r.object = w.oid
        UNION ALL
        SELECT p.polrelid, concat_ws(' ', p.polname, p.polpermissive, p.polcmd, p.polroles::regrole[]::text,
                md5(concat_ws(' ', p.polqual, p.polwithcheck)), r.names)
            FROM pg_policy p LEFT JOIN refers r ON r.class = 'pg_policy'::regclass AND r.object = p.oid),
    -- What a partition has of its own runs for rows that are written to its root.
    own_code(root, part) AS (
        SELECT pg_partition_root(k.conrelid), concat_ws(' ', 'of', k.conrelid::regclass::text, k.conname, md5(k.conbin::text), r.names)
            FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid AND c.relispartition
            LEFT JOIN refers r ON r.class = 'pg_constraint'::regclass AND r.object = k.oid
            WHERE k.contype = 'c' AND k.conislocal
        UNION ALL
        SELECT pg_partition_root(i.indrelid), concat_ws(' ', 'of', i.indrelid::regclass::text, md5(concat_ws(' ', i.indexprs, i.indpred)), r.names)
            FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid AND c.relispartition
            JOIN pg_class x ON x.oid = i.indexrelid AND NOT x.relispartition
            LEFT JOIN refers r ON r.class = 'pg_class'::regclass AND r.object = i.indexrelid
            WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
        UNION ALL
        SELECT g.tgrelid, concat_ws(' ', g.tgname, g.tgenabled, g.tgtype, md5(concat_ws(' ', g.tgargs, g.tgqual)), r.names)
            FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid AND c.relispartition
            LEFT JOIN refers r ON r.class = 'pg_trigger'::regclass AND r.object = g.oid
            WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgfoid <> 'steward._keep_row_image()'::regprocedure),
    parts(relation, parts) AS (SELECT relation, string_agg(part, '; ' ORDER BY part) FROM (TABLE hanging UNION ALL TABLE own_code) AS all_parts (relation, part) GROUP BY 1)
    SELECT 'function ' || p.oid::regprocedure::text, p.proname::text,
        concat_ws(' ', p.xmin, pg_get_userbyid(p.proowner), md5(p::text), a::text, p.proconfig::text, r.names, p.prosrc)
    FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace
        LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
        LEFT JOIN refers r ON r.class = 'pg_proc'::regclass AND r.object = p.oid
    UNION ALL
    SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'c' THEN 'composite type ' ELSE 'table ' END
            || c.oid::regclass::text, c.relname::text,
        concat_ws(E'\n', pg_get_userbyid(c.relowner), c.relrowsecurity, c.relforcerowsecurity,
            CASE WHEN c.relkind = 'v' THEN c.reloptions::text END,
            (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated),
                    ', ' ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            p.parts)
    FROM pg_class c JOIN ours n ON n.oid = c.relnamespace LEFT JOIN parts p ON p.relation = c.oid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    UNION ALL
    -- Domains with their checks, types with their functions; those of tables, composites and arrays follow others.
    SELECT 'type ' || t.oid::regtype::text, t.typname::text,
        concat_ws(' ', md5(t::text), format_type(t.typbasetype, t.typtypmod), r.names,
            (SELECT string_agg(concat_ws(' ', k.conname, k.convalidated, md5(k.conbin::text), d.names), '; ' ORDER BY k.conname)
                FROM pg_constraint k LEFT JOIN refers d ON d.class = 'pg_constraint'::regclass AND d.object = k.oid
                WHERE k.contypid = t.oid))
    FROM pg_type t JOIN ours n ON n.oid = t.typnamespace
        LEFT JOIN refers r ON r.class = 'pg_type'::regclass AND r.object = t.oid
    WHERE t.typrelid = 0 AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
    UNION ALL
    SELECT 'operator ' || o.oid::regoperator::text, o.oprname::text, concat_ws(' ', o.xmin, md5(o::text), r.names)
    FROM pg_operator o JOIN ours n ON n.oid = o.oprnamespace
        LEFT JOIN refers r ON r.class = 'pg_operator'::regclass AND r.object = o.oid
    UNION ALL
    SELECT 'collation ' || c.oid::regcollation::text, c.collname::text, concat_ws(' ', c.xmin, md5(c::text))
    FROM pg_collation c JOIN ours n ON n.oid = c.collnamespace
    UNION ALL
    SELECT 'text search configuration ' || c.oid::regconfig::text, c.cfgname::text, concat_ws(' ', c.xmin, md5(c::text),
        (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict::regdictionary::text), ', '
            ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = c.oid))
    FROM pg_ts_config c JOIN ours n ON n.oid = c.cfgnamespace
    UNION ALL
    SELECT 'text search dictionary ' || d.oid::regdictionary::text, d.dictname::text, concat_ws(' ', d.xmin, md5(d::text))
    FROM pg_ts_dict d JOIN ours n ON n.oid = d.dictnamespace
    UNION ALL
    -- Casts and event triggers act without being named.
    SELECT format('cast (%s AS %s)', format_type(k.castsource, NULL), format_type(k.casttarget, NULL)), '',
        concat_ws(' ', k.xmin, md5(k::text), r.names)
    FROM pg_cast k LEFT JOIN refers r ON r.class = 'pg_cast'::regclass AND r.object = k.oid WHERE k.oid >= 16384
    UNION ALL
    SELECT 'event trigger ' || e.evtname, '', concat_ws(' ', e.evtevent, e.evtenabled, e.evttags::text, e.evtfoid::regproc::text)
    FROM pg_event_trigger e
$$;
COMMENT ON FUNCTION steward._code() IS 'Functions, tables, views, types, operators, casts and event triggers as texts, read without locking any of them. For the dependencies of operations.';
REVOKE ALL ON FUNCTION steward._code() FROM PUBLIC;
