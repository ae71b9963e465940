-- What operations depend on besides their scripts: code that could change between approval and execution.

CREATE TABLE steward._operation_dependency (
    op_no  text NOT NULL REFERENCES steward._operation,
    object text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (op_no, object)
);
COMMENT ON TABLE steward._operation_dependency IS 'The functions, tables, views and event triggers that the script of an operation can reach, with a digest of each as it was when the operation was filed. Read through steward.operation_dependency.';
REVOKE ALL ON steward._operation_dependency FROM PUBLIC;

CREATE VIEW steward.operation_dependency WITH (security_barrier) AS
    SELECT d.op_no, d.object, encode(d.digest, 'hex') AS digest
    FROM steward._operation_dependency d WHERE d.op_no IN (SELECT o.op_no FROM steward.operation o);
COMMENT ON VIEW steward.operation_dependency IS 'What an operation depends on besides its script; a change of any of it ends its approval. Everybody sees what belongs to the operations that they see.';
GRANT SELECT ON steward.operation_dependency TO PUBLIC;

-- Everything outside of system schemas that can run or steer code, as text in which the names of others occur. With the
-- transactions that wrote functions and views: one that is put back as it was has been another meanwhile.
CREATE FUNCTION steward._code(OUT title text, OUT name text, OUT text text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH ours AS (
        SELECT oid, nspname FROM pg_namespace
        WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'steward', 'pg_toast')
            AND (nspname !~ '^pg_(toast_)?temp_' OR oid = pg_my_temp_schema()))
    SELECT 'function ' || p.oid::regprocedure::text, p.proname::text,
        concat_ws(' ', p.xmin, pg_get_userbyid(p.proowner), CASE WHEN p.prokind = 'a'
            THEN (SELECT a::text FROM pg_aggregate a WHERE a.aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END)
    FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace
    UNION ALL
    SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' ELSE 'table ' END || c.oid::regclass::text, c.relname::text,
        concat_ws(E'\n', pg_get_userbyid(c.relowner), c.relrowsecurity, c.relforcerowsecurity,
            CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) || (SELECT w.xmin FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename = '_RETURN') END,
            (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                    (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)), ', ' ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            (SELECT string_agg(concat_ws(' ', k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid)), '; ' ORDER BY k.conname, k.conrelid::regclass::text)
                FROM pg_constraint k WHERE k.conparentid = 0 AND (k.conrelid = c.oid OR k.confrelid = c.oid)),
            (SELECT string_agg(pg_get_indexdef(i.indexrelid), '; ' ORDER BY i.indexrelid::regclass::text)
                FROM pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)),
            -- The triggers of partitions too, unless they are the root's.
            (SELECT string_agg(concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled), '; ' ORDER BY g.tgrelid::regclass::text, g.tgname) FROM pg_trigger g
                WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgfoid <> 'steward._keep_row_image()'::regprocedure
                    AND (g.tgrelid = c.oid OR g.tgrelid IN (SELECT t.relid FROM pg_partition_tree(c.oid) t WHERE c.relkind = 'p'))),
            (SELECT string_agg(pg_get_ruledef(r.oid), '; ' ORDER BY r.rulename) FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'),
            (SELECT string_agg(concat_ws(' ', p.polname, p.polpermissive, p.polcmd, p.polroles::regrole[]::text,
                    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), '; ' ORDER BY p.polname)
                FROM pg_policy p WHERE p.polrelid = c.oid))
    FROM pg_class c JOIN ours n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    UNION ALL
    SELECT 'event trigger ' || e.evtname, '', concat_ws(' ', e.evtevent, e.evtenabled, e.evttags::text, e.evtfoid::regproc::text)
    FROM pg_event_trigger e
$$;
COMMENT ON FUNCTION steward._code() IS 'Functions, tables, views and event triggers as texts. For the dependencies of operations.';
REVOKE ALL ON FUNCTION steward._code() FROM PUBLIC;
