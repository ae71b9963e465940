-- The matrix of privileges, and what separates the catalog from it.

CREATE TABLE steward.role_permission (
    role_id        regrole NOT NULL,
    table_name     regclass NOT NULL,
    can_select     boolean NOT NULL DEFAULT false,
    can_insert     boolean NOT NULL DEFAULT false,
    can_update     boolean NOT NULL DEFAULT false,
    can_delete     boolean NOT NULL DEFAULT false,
    select_columns name[] CHECK (select_columns IS NULL OR can_select AND cardinality(select_columns) > 0),
    insert_columns name[] CHECK (insert_columns IS NULL OR can_insert AND cardinality(insert_columns) > 0),
    update_columns name[] CHECK (update_columns IS NULL OR can_update AND cardinality(update_columns) > 0),
    PRIMARY KEY (role_id, table_name)
);
COMMENT ON TABLE steward.role_permission IS 'Which role may do what with which table. A table with a row here is governed: whoever has no row, PUBLIC included, has no privilege on it or its partitions but its owner. Columns NULL: all of them. Becomes GRANT and REVOKE by steward.apply(). Written by steward.set_permission and steward.drop_permission only.';
REVOKE ALL ON steward.role_permission FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.role_permission', '');

CREATE VIEW steward._tree AS
    WITH RECURSIVE tree(root, relation) AS (
        SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p') AND c.oid IN (
            SELECT table_name::oid FROM steward.role_permission UNION ALL SELECT relation::oid FROM steward.protected
            UNION ALL SELECT objoid FROM pg_catalog.pg_seclabel
                WHERE provider = 'pg_steward' AND classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid > 0)
        UNION SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.relation)
    SELECT t.root, t.relation, EXISTS (SELECT FROM steward.role_permission p WHERE p.table_name = t.root) AS governed FROM tree t;
COMMENT ON VIEW steward._tree IS 'Tables with a row in the matrix, under policy or with a class, each with its partitions and children.';

CREATE VIEW steward._class AS
    SELECT l.relation, a.attnum, a.attname, l.class FROM steward._labelled l
    JOIN pg_catalog.pg_attribute a ON a.attrelid = l.relation AND a.attnum = l.attnum
    WHERE l.relation IN (SELECT relation FROM steward._tree);
COMMENT ON VIEW steward._class IS 'Columns with a class of the tables of steward._tree.';

CREATE VIEW steward._holds AS
    WITH RECURSIVE holds(role, held) AS (
        SELECT oid, oid FROM pg_catalog.pg_roles
        UNION SELECT h.role, m.roleid FROM holds h JOIN pg_catalog.pg_auth_members m ON m.member = h.held
            JOIN pg_catalog.pg_roles r ON r.oid = m.member AND (r.rolinherit OR r.rolsuper))
    SELECT role, held FROM holds;
COMMENT ON VIEW steward._holds IS 'Roles whose privileges a role has, itself among them. A superuser has those of the roles that it was made a member of.';

CREATE VIEW steward._unlabelled AS
    SELECT DISTINCT t.relation, a.attnum FROM steward._tree t
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
    WHERE NOT EXISTS (SELECT FROM steward._labelled l WHERE (l.relation, l.attnum) = (t.relation, a.attnum));
COMMENT ON VIEW steward._unlabelled IS 'Columns without a class of the tables of steward._tree.';

CREATE VIEW steward._hidden AS
    SELECT c.relation, c.attnum, h.role, m.role::oid AS by_role, c.class, m.mask, m.prefix, m.suffix, m.predicate, m.write
    FROM (SELECT relation, attnum, class FROM steward._class UNION ALL SELECT relation, attnum, '-' FROM steward._unlabelled) c
    JOIN steward.mask_rule m ON (m.class = c.class OR m.class = '*' AND c.class <> '-') AND m.mask <> 'none'
    JOIN steward._holds h ON h.held = m.role::oid
    WHERE NOT EXISTS (SELECT FROM steward.mask_exemption e JOIN steward._holds x ON x.held = e.role::oid
        WHERE x.role = h.role AND (e.class = c.class OR e.class = '*' AND c.class <> '-') AND e.until > pg_catalog.clock_timestamp());
COMMENT ON VIEW steward._hidden IS 'Which column is masked to which role, by which rule.';

-- What there is and what there should be, for everybody but owners. attnum 0: the table as a whole.
CREATE VIEW steward._privilege_gap AS
    WITH relation AS (
        SELECT t.relation, c.relowner AS owner, bool_or(t.governed) AS governed
        FROM steward._tree t JOIN pg_catalog.pg_class c ON c.oid = t.relation GROUP BY 1, 2),
    hidden AS (
        SELECT relation, role, attnum FROM steward._hidden
        UNION SELECT relation, 0::oid, attnum FROM steward._hidden),
    granted AS (
        SELECT r.relation, r.owner, a.grantee, a.privilege_type AS privilege, 0::int2 AS attnum, a.grantor, a.is_grantable
        FROM relation r JOIN pg_catalog.pg_class c ON c.oid = r.relation, pg_catalog.aclexplode(c.relacl) a
        WHERE a.grantee <> r.owner
        UNION ALL SELECT r.relation, r.owner, a.grantee, a.privilege_type, c.attnum, a.grantor, a.is_grantable
        FROM relation r JOIN pg_catalog.pg_attribute c ON c.attrelid = r.relation AND NOT c.attisdropped,
            pg_catalog.aclexplode(c.attacl) a WHERE a.grantee <> r.owner),
    subject AS (
        SELECT DISTINCT r.relation, r.owner, r.governed, g.grantee FROM relation r
        JOIN (SELECT relation, grantee FROM granted UNION SELECT table_name::oid, role_id::oid FROM steward.role_permission) g
            ON g.relation = r.relation AND g.grantee <> r.owner
        WHERE r.governed OR EXISTS (SELECT FROM hidden h WHERE h.relation = r.relation AND h.role = g.grantee)),
    optional AS (
        SELECT g.relation, g.grantee, g.privilege, g.attnum FROM granted g
        JOIN subject s ON (s.relation, s.grantee) = (g.relation, g.grantee) WHERE g.is_grantable
        UNION SELECT o.relation, o.grantee, o.privilege, o.attnum FROM granted g
        JOIN subject s ON (s.relation, s.grantee) = (g.relation, g.grantee)
        JOIN granted o ON o.is_grantable AND (o.relation, o.grantee, o.privilege) = (g.relation, g.grantor, g.privilege)
        WHERE g.grantor <> g.owner),
    -- What hangs on a grant option goes with it.
    standing AS (
        SELECT DISTINCT g.relation, g.grantee, g.privilege, g.attnum FROM granted g
        JOIN subject s ON (s.relation, s.grantee) = (g.relation, g.grantee)
        WHERE NOT EXISTS (SELECT FROM optional o WHERE (o.relation, o.grantee, o.privilege) = (g.relation, g.grantor, g.privilege))),
    place AS (
        SELECT s.relation, s.grantee, a.attnum, a.attname, EXISTS (SELECT FROM hidden h
                WHERE (h.relation, h.role, h.attnum) = (s.relation, s.grantee, a.attnum)) AS hidden
        FROM subject s JOIN pg_catalog.pg_attribute a ON a.attrelid = s.relation AND NOT a.attisdropped
        -- Applications ask for ctid, xmin and tableoid as well.
        WHERE a.attnum > 0 OR a.attname IN ('ctid', 'xmin', 'tableoid')),
    masked AS (SELECT DISTINCT relation, grantee FROM place WHERE hidden),
    wanted AS (
        SELECT s.relation, s.grantee, w.privilege, c.attnum FROM subject s
        JOIN steward.role_permission p ON p.table_name = s.relation AND p.role_id = s.grantee
        CROSS JOIN LATERAL (VALUES ('SELECT', p.can_select, p.select_columns), ('INSERT', p.can_insert, p.insert_columns),
            ('UPDATE', p.can_update, p.update_columns), ('DELETE', p.can_delete, NULL)) w(privilege, allowed, columns)
        CROSS JOIN LATERAL (
            SELECT w.columns IS NULL AND (w.privilege <> 'SELECT'
                OR NOT EXISTS (SELECT FROM masked m WHERE (m.relation, m.grantee) = (s.relation, s.grantee))) AS whole) k
        CROSS JOIN LATERAL (
            SELECT 0::int2 AS attnum WHERE k.whole
            UNION ALL SELECT l.attnum FROM place l WHERE NOT k.whole AND (l.relation, l.grantee) = (s.relation, s.grantee)
                AND (w.columns IS NULL OR l.attname = ANY (w.columns)) AND NOT (w.privilege = 'SELECT' AND l.hidden)) c
        WHERE w.allowed
        UNION
        SELECT s.relation, s.grantee, n.privilege, c.attnum FROM subject s
        JOIN standing n ON (n.relation, n.grantee) = (s.relation, s.grantee)
        CROSS JOIN LATERAL (
            SELECT n.attnum WHERE n.privilege NOT IN ('SELECT', 'TRIGGER', 'REFERENCES', 'TRUNCATE')
            UNION ALL SELECT l.attnum FROM place l WHERE n.privilege = 'SELECT' AND n.attnum IN (0, l.attnum)
                AND (l.relation, l.grantee) = (s.relation, s.grantee) AND NOT l.hidden) c
        WHERE NOT s.governed),
    excess AS (SELECT relation, grantee, privilege, attnum FROM standing EXCEPT SELECT relation, grantee, privilege, attnum FROM wanted)
    SELECT relation, grantee, privilege, attnum, 'grantable' AS state FROM optional
    UNION ALL SELECT relation, grantee, privilege, attnum, 'too much' FROM excess
    -- A privilege on the table takes those on its columns along when it is revoked.
    UNION ALL (SELECT w.relation, w.grantee, w.privilege, w.attnum, 'missing' FROM wanted w
        EXCEPT SELECT n.relation, n.grantee, n.privilege, n.attnum, 'missing' FROM standing n
        WHERE n.attnum = 0 OR NOT EXISTS (SELECT FROM excess e
            WHERE e.attnum = 0 AND (e.relation, e.grantee, e.privilege) = (n.relation, n.grantee, n.privilege)));
COMMENT ON VIEW steward._privilege_gap IS 'Privileges by which the catalog differs from the matrix, and from what masks need beneath them.';

-- Row security under a mask closes pg_stats, COPY of the table and the values in errors; with USING (true) no row is lost.
CREATE VIEW steward._row_security_gap AS
    SELECT c.oid AS relation, c.relowner AS owner, c.relrowsecurity AS enabled,
        EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid
            AND p.polname IN ('steward_base', 'steward_owner')) AS has_policy
    FROM pg_catalog.pg_class c WHERE c.oid IN (SELECT relation FROM steward._hidden) AND c.relkind IN ('r', 'p')
        AND NOT (c.relrowsecurity AND c.relforcerowsecurity);
COMMENT ON VIEW steward._row_security_gap IS 'Tables with a masked column whose row security is not on for everybody.';

CREATE VIEW steward._plan AS
    WITH named AS (
        SELECT g.state, g.relation, g.grantee, g.privilege,
            g.privilege || CASE WHEN bool_or(g.attnum = 0) THEN ''
                ELSE format(' (%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum < 0, abs(a.attnum))) END AS items
        FROM steward._privilege_gap g
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = g.relation AND a.attnum = g.attnum AND g.attnum <> 0
        GROUP BY 1, 2, 3, 4),
    command AS (
        SELECT state, relation, grantee, string_agg(items, ', ' ORDER BY privilege) AS items,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role
        FROM named GROUP BY 1, 2, 3)
    SELECT CASE state WHEN 'grantable' THEN 1 WHEN 'too much' THEN 2 ELSE 3 END AS phase, relation, role,
        format(CASE state WHEN 'grantable' THEN 'REVOKE GRANT OPTION FOR %s ON TABLE %s FROM %s CASCADE'
            WHEN 'too much' THEN 'REVOKE %s ON TABLE %s FROM %s' ELSE 'GRANT %s ON TABLE %s TO %s' END,
            items, relation::regclass, role) AS command,
        CASE WHEN state = 'grantable' THEN 'could be passed on, and what was passed on goes with it'
            WHEN state = 'missing' THEN 'missing' ELSE 'too much' END
        || CASE WHEN EXISTS (SELECT FROM steward._tree t WHERE t.relation = c.relation AND t.governed) THEN ' by the matrix'
            WHEN grantee = 0 THEN ' beneath the masks of roles, which PUBLIC includes' ELSE ' beneath the masks of the role' END AS reason
    FROM command c
    UNION ALL SELECT 4, relation, NULL, CASE WHEN enabled
            THEN format('CREATE POLICY steward_owner ON %s TO %I USING (true) WITH CHECK (true)', relation::regclass, pg_get_userbyid(owner))
            ELSE format('CREATE POLICY steward_base ON %s USING (true) WITH CHECK (true)', relation::regclass) END,
        CASE WHEN enabled THEN 'the owner goes on seeing every row' ELSE 'every role without a scope goes on seeing every row' END
    FROM steward._row_security_gap WHERE NOT has_policy
    UNION ALL SELECT 5, relation, NULL, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation::regclass),
        'closes pg_stats, COPY of the table and values in errors to roles with masks'
    FROM steward._row_security_gap
    UNION ALL SELECT 6, g.relation, string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname), NULL,
        'COPY FROM will be refused to these roles; INSERT goes on working'
    FROM steward._row_security_gap g JOIN pg_catalog.pg_roles r ON NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname NOT LIKE 'pg\_%'
        AND has_table_privilege(r.oid, g.relation, 'INSERT') AND (NOT g.enabled OR r.oid = g.owner)
    GROUP BY 2
    UNION ALL SELECT 7, relation, NULL, command, 'scope' FROM steward._scope_command WHERE NOT in_force
    -- Whose right it is to be in a group, and what else it is good for, no privilege on a table tells.
    UNION ALL SELECT 8, relation, quote_ident(rolname), NULL,
        format('inherits SELECT (%s) from %s, which sees it clear, so only the hook masks it: REVOKE %s FROM %s, or give %s a mask',
            columns, held, held, quote_ident(rolname), held)
    FROM (SELECT h.relation, r.rolname, quote_ident(pg_get_userbyid(s.held)) AS held,
            string_agg(DISTINCT quote_ident(a.attname), ', ') AS columns
        FROM (SELECT DISTINCT relation, role, attnum FROM steward._hidden) h
        JOIN pg_catalog.pg_attribute a ON (a.attrelid, a.attnum) = (h.relation, h.attnum)
        JOIN pg_catalog.pg_roles r ON r.oid = h.role AND NOT r.rolsuper
        JOIN pg_catalog.pg_class c ON c.oid = h.relation
        JOIN steward._holds s ON s.role = h.role AND s.held <> s.role AND has_column_privilege(s.held, h.relation, h.attnum, 'SELECT')
        WHERE NOT EXISTS (SELECT FROM steward._hidden o WHERE (o.relation, o.attnum, o.role) = (h.relation, h.attnum, s.held))
            AND NOT EXISTS (SELECT FROM steward._holds o WHERE (o.role, o.held) = (h.role, c.relowner))
        GROUP BY 1, 2, 3) inherited
    -- Beneath the masks a role has a list of columns: what was added since is not in it, nor what a mask covered once. Whether
    -- it is to read them, the matrix tells, or nobody.
    UNION ALL SELECT 9, relation, quote_ident(rolname), NULL,
        format('may not read %s, which no mask covers, though other columns: GRANT SELECT (%s) ON TABLE %s TO %s, if it is to',
            columns, columns, relation::regclass, quote_ident(rolname))
    FROM (SELECT l.relation, r.rolname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
        FROM (SELECT DISTINCT b.attrelid AS relation, x.grantee AS role
            FROM pg_catalog.pg_attribute b, pg_catalog.aclexplode(b.attacl) x WHERE x.privilege_type = 'SELECT') l
        JOIN steward._tree t ON t.relation = l.relation AND NOT t.governed
        JOIN pg_catalog.pg_roles r ON r.oid = l.role AND NOT r.rolsuper
        JOIN pg_catalog.pg_attribute a ON a.attrelid = l.relation AND a.attnum > 0 AND NOT a.attisdropped
        WHERE NOT has_column_privilege(l.role, l.relation, a.attnum, 'SELECT')
            AND NOT EXISTS (SELECT FROM steward._hidden h WHERE (h.relation, h.attnum, h.role) = (l.relation, a.attnum, l.role))
            AND (EXISTS (SELECT FROM steward._hidden h WHERE (h.relation, h.role) = (l.relation, l.role))
                OR EXISTS (SELECT FROM steward._class k WHERE (k.relation, k.attnum) = (l.relation, a.attnum)))
        GROUP BY 1, 2) uncovered;
COMMENT ON VIEW steward._plan IS 'The commands of steward.plan(), by phase; those without a command are remarks.';

CREATE VIEW steward.privilege_drift AS
    SELECT g.relation::pg_catalog.regclass AS table_name, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END AS role_id,
        g.privilege, array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE g.attnum <> 0) AS columns, g.state
    FROM steward._privilege_gap g LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = g.relation AND a.attnum = g.attnum AND g.attnum <> 0
    GROUP BY 1, 2, 3, 5
    UNION ALL SELECT relation, 'PUBLIC', 'ROW SECURITY', NULL, 'missing' FROM steward._row_security_gap;
COMMENT ON VIEW steward.privilege_drift IS 'Where the privileges in the catalog differ from steward.role_permission and from what masks need: missing, too much, grantable (held with the right to pass it on). No rows: all is as it should be. steward.plan() shows the commands that mend it. For persons who audit or configure.';

REVOKE ALL ON steward._tree, steward._class, steward._unlabelled, steward._holds, steward._hidden, steward._privilege_gap, steward._row_security_gap,
    steward._plan, steward.privilege_drift FROM PUBLIC;

CREATE FUNCTION steward.set_permission(role_id regrole, table_name regclass, can_select boolean DEFAULT false,
    can_insert boolean DEFAULT false, can_update boolean DEFAULT false, can_delete boolean DEFAULT false,
    select_columns name[] DEFAULT NULL, insert_columns name[] DEFAULT NULL, update_columns name[] DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_permission_wrapper';
COMMENT ON FUNCTION steward.set_permission(regrole, regclass, boolean, boolean, boolean, boolean, name[], name[], name[]) IS 'Writes the row of a role and a table; what is not said is not allowed. Columns: NULL means all of them. steward.apply() makes it so. Errors: 22023 columns of what is not allowed, unknown columns; 42809 for anything but a table, for schema steward and the catalog. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.drop_permission(role_id regrole, table_name regclass) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'drop_permission_wrapper';
COMMENT ON FUNCTION steward.drop_permission(regrole, regclass) IS 'Removes the row of a role and a table. With its last row a table is governed no more and keeps the privileges that it has. 42704 without a row. Callers as steward.set_permission.';

CREATE FUNCTION steward.plan() RETURNS TABLE (step int, table_name text, role_id text, command text, reason text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'plan_wrapper';
COMMENT ON FUNCTION steward.plan() IS 'Dry run of steward.apply(): the commands in their order. Rows without a command are remarks. Executes nothing. 42501 but for superusers and persons whose post may configure or audit.';

CREATE FUNCTION steward.apply() RETURNS TABLE (step int, table_name text, command text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'apply_wrapper';
COMMENT ON FUNCTION steward.apply() IS 'Runs what steward.plan() shows, each command on record, until nothing is left to do; all of it or nothing. Again it does nothing. ALTER TABLE … ROW LEVEL SECURITY waits for those who use the table. 55000 if something is left. Callers as steward.set_permission.';

REVOKE ALL ON FUNCTION steward.set_permission(regrole, regclass, boolean, boolean, boolean, boolean, name[], name[], name[]),
    steward.drop_permission(regrole, regclass), steward.apply() FROM PUBLIC;
