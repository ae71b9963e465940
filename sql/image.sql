-- What rows and tables were before they were changed, so that steward.restore can bring it back. Written by the trigger and
-- the hooks only. Holds values of protected columns, so nobody is granted anything here, auditors included.

CREATE SEQUENCE steward.image_id;
COMMENT ON SEQUENCE steward.image_id IS 'Numbers of row and table images, in the order in which they were kept.';

CREATE TABLE steward.row_image (
    id         bigint PRIMARY KEY DEFAULT nextval('steward.image_id'),
    taken_at   timestamptz NOT NULL DEFAULT now(),
    op_no      text,
    run        int,
    login      text NOT NULL,
    relation   oid NOT NULL,
    table_name text NOT NULL,
    command    text NOT NULL CHECK (command IN ('INSERT', 'UPDATE', 'DELETE')),
    keys       int NOT NULL CHECK (keys >= 0),
    columns    text[] NOT NULL,
    old_values text[],
    new_values text[],
    CHECK ((op_no IS NULL) = (run IS NULL)),
    CHECK (cardinality(columns) >= keys),
    CHECK ((command = 'INSERT') = (old_values IS NULL) AND (command = 'DELETE') = (new_values IS NULL)),
    CHECK (coalesce(cardinality(old_values), cardinality(columns)) = cardinality(columns)
        AND coalesce(cardinality(new_values), cardinality(columns)) = cardinality(columns))
);
-- ANALYZE would put values into pg_stats.
ALTER TABLE steward.row_image ALTER old_values SET STATISTICS 0, ALTER new_values SET STATISTICS 0;
CREATE INDEX ON steward.row_image (op_no, run, id) WHERE op_no IS NOT NULL;
CREATE INDEX ON steward.row_image USING brin (taken_at);
COMMENT ON TABLE steward.row_image IS 'One row for each changed row of a protected table, by an operation whose tier demands a pre-image or on a table with row_images. Nobody is granted anything on it; rows older than the term row_images of steward.retention_policy are removed by steward.purge_images().';
COMMENT ON COLUMN steward.row_image.id IS 'Order of the changes within a transaction, one sequence for both tables of images.';
COMMENT ON COLUMN steward.row_image.op_no IS 'The operation that changed the row; NULL outside of operations.';
COMMENT ON COLUMN steward.row_image.run IS 'Which run of the operation, from 1.';
COMMENT ON COLUMN steward.row_image.relation IS 'The table or partition itself.';
COMMENT ON COLUMN steward.row_image.keys IS 'How many of the columns, from the first, find the row again: its primary key or replica identity. 0: all of them.';
COMMENT ON COLUMN steward.row_image.columns IS 'UPDATE: the key and what was changed, or all columns where there is no key. INSERT, DELETE: all columns.';
COMMENT ON COLUMN steward.row_image.old_values IS 'As text in ISO styles and UTC, which the types read back exactly.';

CREATE TABLE steward.table_image (
    id         bigint PRIMARY KEY DEFAULT nextval('steward.image_id'),
    taken_at   timestamptz NOT NULL DEFAULT now(),
    op_no      text NOT NULL,
    run        int NOT NULL,
    login      text NOT NULL,
    relation   oid NOT NULL,
    table_name text NOT NULL,
    command    text NOT NULL,
    copy       text,
    rows       bigint,
    definition text[] NOT NULL,
    fittings text[] NOT NULL,
    foreign_keys text[] NOT NULL,
    rights text[] NOT NULL,
    protected  boolean NOT NULL,
    row_images boolean NOT NULL,
    CHECK ((copy IS NULL) = (rows IS NULL))
);
CREATE INDEX ON steward.table_image (op_no, run, id);
COMMENT ON TABLE steward.table_image IS 'One row for each protected table before a command of an operation changed its structure, emptied or dropped it.';
COMMENT ON COLUMN steward.table_image.copy IS 'The table with all its rows, where the command takes data away; values of types that do not come with PostgreSQL as text.';
COMMENT ON COLUMN steward.table_image.definition IS 'Its owner, the command that creates it, and those that give it defaults, keys and indexes once it is filled.';
COMMENT ON COLUMN steward.table_image.fittings IS 'The commands that give it triggers, rules and policies, each as its beginning, the roles that it is meant for, and the rest.';
COMMENT ON COLUMN steward.table_image.foreign_keys IS 'Its own and those of others to it, each as the table that has the key, the one that it refers to, and the command.';
COMMENT ON COLUMN steward.table_image.rights IS 'The commands that give it privileges, labels and comments, each in three as the fittings.';

CREATE TABLE steward.pre_image (
    op_no       text NOT NULL,
    run         int NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now(),
    images      bigint NOT NULL,
    sha256      bytea NOT NULL CHECK (octet_length(sha256) = 32),
    restored_at timestamptz,
    restored_by text,
    restored    bigint,
    skipped     bigint,
    purged_at   timestamptz,
    PRIMARY KEY (op_no, run)
);
COMMENT ON TABLE steward.pre_image IS 'One row for each run of an operation that kept a pre-image: how many images of rows and tables, and their digest, which its EXECUTE record in the chain repeats.';
COMMENT ON COLUMN steward.pre_image.restored_by IS 'The operation that restored it.';

REVOKE ALL ON SEQUENCE steward.image_id FROM PUBLIC;
REVOKE ALL ON steward.row_image, steward.table_image, steward.pre_image FROM PUBLIC;

CREATE FUNCTION steward._keep_row_image() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'keep_row_image';
COMMENT ON FUNCTION steward._keep_row_image() IS 'Trigger of every protected table, set by steward.protect. Writes a row image where one is demanded; otherwise it does nothing.';
REVOKE ALL ON FUNCTION steward._keep_row_image() FROM PUBLIC;

-- The owner of a table, and the commands with which that owner can make it again, in the order in which they can run.
CREATE FUNCTION steward._definition_of(relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH this AS (
        SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation),
    attribute AS (
        SELECT a.*, t.name FROM this t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped),
    sequence AS (
        SELECT a.name, a.attname, a.attidentity, format('%I.%I', sn.nspname, sc.relname) AS sequence,
            s.*,
            format('AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s %s', format_type(s.seqtypid, NULL), s.seqincrement,
                s.seqmin, s.seqmax, s.seqstart, s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) AS options,
            pg_sequence_last_value(sc.oid) AS last_value
        FROM attribute a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
            AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        JOIN pg_class sc ON sc.oid = d.objid AND sc.relkind = 'S' JOIN pg_namespace sn ON sn.oid = sc.relnamespace
        JOIN pg_sequence s ON s.seqrelid = sc.oid),
    command(step, part, text) AS (
        SELECT 0, relname::text, quote_ident(pg_get_userbyid(relowner)) FROM this
        UNION ALL SELECT 1, relname, format('CREATE %sTABLE %s (%s)%s', CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, name,
            (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                    CASE WHEN a.attcollation <> y.typcollation THEN 'COLLATE ' || a.attcollation::regcollation::text END,
                    CASE a.attcompression WHEN 'p' THEN 'COMPRESSION pglz' WHEN 'l' THEN 'COMPRESSION lz4' END,
                    CASE WHEN a.attgenerated = 's' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') STORED' END,
                    CASE WHEN a.attnotnull THEN 'NOT NULL' END), ', ' ORDER BY a.attnum)
                FROM attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum),
            ' WITH (' || array_to_string(reloptions, ', ') || ')') FROM this
        UNION ALL SELECT 2, a.attname, format('ALTER TABLE %s ALTER %I SET STORAGE %s', a.name, a.attname,
                CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
            FROM attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attstorage <> y.typstorage
        UNION ALL SELECT 2, a.attname, format('ALTER TABLE %s ALTER %I SET STATISTICS %s', a.name, a.attname, a.attstattarget)
            FROM attribute a WHERE a.attstattarget > 0
        UNION ALL SELECT 3, sequence, format('CREATE SEQUENCE %s %s', sequence, options) FROM sequence WHERE attidentity = ''
        UNION ALL SELECT 5, sequence, format('ALTER SEQUENCE %s OWNED BY %s.%I', sequence, name, attname) FROM sequence WHERE attidentity = ''
        UNION ALL SELECT 6, sequence, format('ALTER TABLE %s ALTER %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s %s)', name, attname,
            CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, sequence, regexp_replace(options, '^AS \S+ ', ''))
            FROM sequence WHERE attidentity <> ''
        UNION ALL SELECT 7, sequence, format('SELECT pg_catalog.setval(%L, %s)', sequence, last_value) FROM sequence WHERE last_value IS NOT NULL
        UNION ALL SELECT 8, a.attname, format('ALTER TABLE %s ALTER %I SET DEFAULT %s', name, a.attname, pg_get_expr(d.adbin, d.adrelid))
            FROM attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attgenerated = ''
        UNION ALL SELECT CASE WHEN c.contype = 'c' THEN 10 ELSE 9 END, c.conname,
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, c.conname, pg_get_constraintdef(c.oid))
            FROM this t JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype IN ('p', 'u', 'x', 'c') AND c.conparentid = 0
        UNION ALL SELECT 11, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM this t JOIN pg_index i ON i.indrelid = t.oid
            WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.conrelid = t.oid)
                AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
        UNION ALL SELECT 13, relname, format('ALTER TABLE %s REPLICA IDENTITY %s', name, CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
            FROM this WHERE relreplident IN ('f', 'n')
        UNION ALL SELECT 14, i.indexrelid::regclass::text, format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', t.name, x.relname)
            FROM this t JOIN pg_index i ON i.indrelid = t.oid AND i.indisreplident JOIN pg_class x ON x.oid = i.indexrelid WHERE t.relreplident = 'i'
        UNION ALL SELECT 15, inhparent::regclass::text, CASE WHEN t.relispartition
                THEN format('ALTER TABLE %s ATTACH PARTITION %s %s', inhparent::regclass, t.name, pg_get_expr(t.relpartbound, t.oid))
                ELSE format('ALTER TABLE %s INHERIT %s', t.name, inhparent::regclass) END
            FROM this t JOIN pg_inherits h ON h.inhrelid = t.oid)
    SELECT array_agg(text ORDER BY step, part) FROM command
$$;
COMMENT ON FUNCTION steward._definition_of(regclass) IS 'Owner of a table, the command that creates its like, and those that complete it once it is filled. For the pre-images of DROP TABLE.';

-- Triggers, rules and policies. Expressions in them may run code of the owner when they are read. Roles stand apart, so that
-- those that are gone when the table returns can be left out.
CREATE FUNCTION steward._fittings_of(relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH this AS (
        SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation),
    command(step, part, beginning, roles, rest) AS (
        SELECT 16, g.tgname::text, pg_get_triggerdef(g.oid), '{}'::text[], '' FROM this t JOIN pg_trigger g ON g.tgrelid = t.oid
            WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgfoid <> 'steward._keep_row_image()'::regprocedure
        UNION ALL SELECT 17, g.tgname, format('ALTER TABLE %s %s TRIGGER %I', t.name,
                CASE g.tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, g.tgname), '{}', ''
            FROM this t JOIN pg_trigger g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgenabled <> 'O'
                AND g.tgfoid <> 'steward._keep_row_image()'::regprocedure
        UNION ALL SELECT 18, r.rulename, pg_get_ruledef(r.oid), '{}', '' FROM this t JOIN pg_rewrite r ON r.ev_class = t.oid
        UNION ALL SELECT 19, p.polname, format('CREATE POLICY %I ON %s AS %s FOR %s', p.polname, t.name,
                CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END),
                ARRAY(SELECT CASE role WHEN 0 THEN '' ELSE pg_get_userbyid(role)::text END FROM unnest(p.polroles) role),
                concat(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
            FROM this t JOIN pg_policy p ON p.polrelid = t.oid
        UNION ALL SELECT 20, relname, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name), '{}', '' FROM this WHERE relrowsecurity
        UNION ALL SELECT 21, relname, format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name), '{}', '' FROM this WHERE relforcerowsecurity),
    numbered AS (SELECT *, row_number() OVER (ORDER BY step, part) AS place FROM command)
    SELECT coalesce(array_agg(piece ORDER BY place, n), '{}') FROM numbered,
        unnest(ARRAY[beginning, roles::text, rest]) WITH ORDINALITY u(piece, n)
$$;
COMMENT ON FUNCTION steward._fittings_of(regclass) IS 'The commands that give a table its triggers, rules and policies, three for each: its beginning, the roles that it is meant for (an empty name: PUBLIC), the rest. For the pre-images of DROP TABLE.';

-- Written alike for both of its tables, so that one key is known as the same.
CREATE FUNCTION steward._foreign_keys_of(relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(part ORDER BY conname, conrelid::regclass::text, n), '{}') FROM pg_constraint k,
        unnest(ARRAY[conrelid::regclass::text, confrelid::regclass::text,
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))]) WITH ORDINALITY u(part, n)
    WHERE contype = 'f' AND conparentid = 0 AND relation IN (conrelid, confrelid)
$$;
COMMENT ON FUNCTION steward._foreign_keys_of(regclass) IS 'The foreign keys of a table and to it: the table that has the key, the one referred to, and the command, one after another. For the pre-images of DROP TABLE.';

-- Privileges, labels and comments: nothing that runs code.
CREATE FUNCTION steward._rights_of(relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH this AS (
        SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation),
    attribute AS (
        SELECT a.*, t.name FROM this t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped),
    command(step, part, beginning, roles, rest) AS (
        SELECT 22, t.relname::text, format('REVOKE ALL ON %s FROM PUBLIC, %I', t.name, pg_get_userbyid(relowner)), '{}'::text[], '' FROM this t WHERE t.relacl IS NOT NULL
        UNION ALL SELECT 23, a.grantee::text || a.privilege_type, format('GRANT %s ON %s', a.privilege_type, t.name),
                ARRAY[CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END], CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            FROM this t, aclexplode(t.relacl) a
        UNION ALL SELECT 24, c.attname || a.grantee || a.privilege_type, format('GRANT %s (%I) ON %s', a.privilege_type, c.attname, c.name),
                ARRAY[CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END], CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            FROM attribute c, aclexplode(c.attacl) a
        UNION ALL SELECT 25, l.provider || l.objsubid, CASE l.objsubid WHEN 0
                THEN format('SECURITY LABEL FOR %I ON TABLE %s IS %L', l.provider, t.name, l.label)
                ELSE format('SECURITY LABEL FOR %I ON COLUMN %s.%I IS %L', l.provider, t.name, a.attname, l.label) END, '{}', ''
            FROM this t JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = t.oid
            LEFT JOIN attribute a ON a.attnum = l.objsubid
        UNION ALL SELECT 26, relname, format('COMMENT ON TABLE %s IS %L', name, obj_description(oid, 'pg_class')), '{}', '' FROM this
            WHERE obj_description(oid, 'pg_class') IS NOT NULL
        UNION ALL SELECT 26, a.attname, format('COMMENT ON COLUMN %s.%I IS %L', a.name, a.attname, col_description(a.attrelid, a.attnum)), '{}', ''
            FROM attribute a WHERE col_description(a.attrelid, a.attnum) IS NOT NULL),
    numbered AS (SELECT *, row_number() OVER (ORDER BY step, part) AS place FROM command)
    SELECT coalesce(array_agg(piece ORDER BY place, n), '{}') FROM numbered,
        unnest(ARRAY[beginning, roles::text, rest]) WITH ORDINALITY u(piece, n)
$$;
COMMENT ON FUNCTION steward._rights_of(regclass) IS 'The commands that give a table its privileges, labels and comments, in threes as those of steward._fittings_of. For the pre-images of DROP TABLE.';
REVOKE ALL ON FUNCTION steward._definition_of(regclass), steward._fittings_of(regclass), steward._foreign_keys_of(regclass),
    steward._rights_of(regclass) FROM PUBLIC;

CREATE FUNCTION steward.restore(op_no text, OUT restored bigint, OUT skipped bigint) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'restore_wrapper';
COMMENT ON FUNCTION steward.restore(text) IS 'Undoes the last run of an operation that is not restored yet, or the last step of a stepwise one, from its pre-image, latest change first: a column gets its old value back only where it still has the one that the run gave it, an inserted row goes only if it is unchanged and no other row refers to it, a deleted one returns unless its place is taken; emptied and dropped tables return from their copy, without what was meant for roles and tables that are gone, of which a WARNING tells. Triggers and rules do not do again what they did, unless they are ENABLE ALWAYS; foreign keys are checked. restored: rows brought back whole; skipped: rows of which something was changed since, and stays as it is. Runs with the privileges of the caller''s operation and is itself critical. 42704 no such operation; 55000 no pre-image, restored already or its term is over; 0A000 for ALTER TABLE, whose copy is named in the DETAIL; XX001 if the images do not match their digest. To be called by an approved critical operation of a person who may apply; before activate() by whom steward.protect admits.';

CREATE FUNCTION steward.purge_images() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'purge_images_wrapper';
COMMENT ON FUNCTION steward.purge_images() IS 'Removes the images of rows and tables that are older than the term row_images of steward.retention_policy; how many. To be called daily. Callers as steward.protect.';
REVOKE ALL ON FUNCTION steward.restore(text), steward.purge_images() FROM PUBLIC;
