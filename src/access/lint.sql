WITH RECURSIVE relation AS (
    SELECT c.oid, c.relowner, c.relacl, c.oid::regclass::text AS name FROM pg_class c
    WHERE c.oid IN (SELECT relation FROM steward._tree)),
hidden AS (
    SELECT DISTINCT h.relation, h.attnum, h.role, r.rolname, r.rolcanlogin, r.rolsuper
    FROM steward._hidden h JOIN pg_roles r ON r.oid = h.role),
-- Roles by any path, also those whose privileges come only with SET ROLE.
member(role, reached) AS (
    SELECT member, roleid FROM pg_auth_members
    UNION SELECT m.role, a.roleid FROM member m JOIN pg_auth_members a ON a.member = m.reached),
-- Types whose masks are values of theirs, domains over them of any depth included.
number_or_date(type) AS (
    SELECT unnest('{int2,int4,int8,numeric,float8,date,timestamp,timestamptz,uuid}'::regtype[]::oid[])
    UNION SELECT d.oid FROM number_or_date n JOIN pg_type d ON d.typtype = 'd' AND d.typbasetype = n.type),
-- Who sees a column with a class as it is.
clear AS (
    SELECT k.relation, k.attnum, r.oid AS role, r.rolname FROM steward._class k JOIN pg_roles r ON NOT r.rolsuper
    WHERE has_column_privilege(r.oid, k.relation, k.attnum, 'SELECT')
        AND NOT EXISTS (SELECT FROM hidden h WHERE (h.relation, h.attnum, h.role) = (k.relation, k.attnum, r.oid))),
-- Views of any depth over a column with a class.
reading(view) AS (
    SELECT w.ev_class FROM steward._class k JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
        AND d.refobjid = k.relation AND d.refobjsubid IN (k.attnum, 0) AND d.deptype = 'n' JOIN pg_rewrite w ON w.oid = d.objid
    UNION SELECT w.ev_class FROM reading v JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.view
        AND d.classid = 'pg_rewrite'::regclass AND d.deptype = 'n' JOIN pg_rewrite w ON w.oid = d.objid),
view AS (
    SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.relowner, pg_get_userbyid(c.relowner)::text AS owner,
        coalesce(array_to_string(c.reloptions, ',') ~* 'security_invoker=(on|true|yes|1)', false) AS invoker,
        (SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ')
            FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner AND a.privilege_type = 'SELECT') AS readers
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT view FROM reading) AND n.nspname <> 'steward'),
-- Columns without a class, by what they are called.
unlabelled AS (
    SELECT c.oid AS relation, c.oid::regclass::text AS name, c.relkind, a.attnum, a.attname::text AS attname,
        EXISTS (SELECT FROM relation r WHERE r.oid = c.oid) AS known,
        (SELECT min(k.class) FROM steward._class k JOIN pg_attribute l ON (l.attrelid, l.attnum) = (k.relation, k.attnum)
            WHERE lower(l.attname) = lower(a.attname) AND l.atttypid = a.atttypid) AS namesake,
        CASE WHEN a.attname ~* '(id_?card|identity_?(no|number)|citizen_?id|身份证|证件号)' THEN 'id_card'
            WHEN a.attname ~* '(passport|护照|通行证)' THEN 'passport'
            WHEN a.attname ~* '(guardian|监护|家长)' THEN 'guardian'
            WHEN a.attname ~* '(phone|mobile|(^|_)tel($|_)|手机|电话)' THEN 'phone'
            WHEN a.attname ~* '(e_?mail|邮箱)' THEN 'email'
            WHEN a.attname ~* '(address|(^|_)addr($|_)|住址|地址)' THEN 'address'
            WHEN a.attname ~* '(birth|(^|_)dob($|_)|生日|出生)' THEN 'birth_date'
            WHEN a.attname ~* '(bank_?(card|account)|银行卡)' THEN 'bank_card'
            WHEN a.attname ~* '(^name$|(real|full|student)_?name|姓名)' THEN 'name' END AS looks
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND NOT c.relispartition
        AND n.nspname NOT IN ('steward', 'pg_catalog', 'information_schema', 'pg_toast')
        AND NOT EXISTS (SELECT FROM steward._class k WHERE (k.relation, k.attnum) = (c.oid, a.attnum))),
-- What is evaluated over the rows of a relation, whoever writes or reads them.
of_relation(relation, classid, objid) AS (
    SELECT conrelid, 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid <> 0
    UNION ALL SELECT a.attrelid, 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN pg_attribute a ON a.atttypid = k.contypid AND NOT a.attisdropped
    UNION ALL SELECT polrelid, 'pg_policy'::regclass, oid FROM pg_policy
    UNION ALL SELECT adrelid, 'pg_attrdef'::regclass, oid FROM pg_attrdef),
called(relation, function) AS (
    SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal
    UNION SELECT o.relation, d.refobjid FROM of_relation o JOIN pg_depend d ON (d.classid, d.objid) = (o.classid, o.objid)
        AND d.refclassid = 'pg_proc'::regclass),
found(kind, object, role, why, command) AS (
    SELECT 'floor', h.relation::regclass || '.' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), h.rolname::text,
        'may read the column itself, so only the hook masks it',
        coalesce((SELECT min(format('REVOKE %I FROM %I', pg_get_userbyid(s.held), h.rolname)) FROM steward._holds s
            WHERE s.role = h.role AND s.held <> s.role AND has_any_column_privilege(s.held, h.relation, 'SELECT')
                AND NOT EXISTS (SELECT FROM hidden o WHERE o.relation = h.relation AND o.role = s.held)), 'SELECT * FROM steward.apply()')
        FROM hidden h JOIN pg_attribute a ON (a.attrelid, a.attnum) = (h.relation, h.attnum) JOIN relation r ON r.oid = h.relation
        WHERE NOT h.rolsuper AND has_column_privilege(h.role, h.relation, h.attnum, 'SELECT')
            AND NOT EXISTS (SELECT FROM steward._holds s WHERE s.role = h.role AND s.held = r.relowner)
        GROUP BY h.relation, h.role, h.rolname
    UNION ALL SELECT 'row_security', relation::regclass::text, NULL,
        'pg_stats, COPY of the table and errors may show values past the masks', 'SELECT * FROM steward.apply()'
        FROM steward._row_security_gap
    UNION ALL SELECT 'privilege', r.name, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END,
        CASE g.privilege_type WHEN 'TRIGGER' THEN 'a trigger of its own is given every row that others write'
            WHEN 'REFERENCES' THEN 'a foreign key of its own tells which values there are' ELSE 'empties the table past its row security' END,
        format('REVOKE %s ON TABLE %s FROM %s', g.privilege_type, r.name, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
        FROM relation r, aclexplode(r.relacl) g WHERE g.grantee <> r.relowner AND g.privilege_type IN ('TRIGGER', 'REFERENCES', 'TRUNCATE')
    UNION ALL SELECT 'owner_view', v.name, v.owner, format('reads columns with a class with its owner''s privileges for %s', v.readers),
        format('ALTER VIEW %s SET (security_invoker = true)', v.name)
        FROM view v WHERE v.relkind = 'v' AND NOT v.invoker AND v.readers IS NOT NULL
    UNION ALL SELECT 'materialized_view', v.name, v.owner, format('keeps values of columns with a class, and %s may read it', v.readers),
        format('REVOKE ALL ON TABLE %s FROM %s', v.name, v.readers)
        FROM view v WHERE v.relkind = 'm' AND v.readers IS NOT NULL
    UNION ALL SELECT 'definer_function', p.oid::regprocedure::text, pg_get_userbyid(p.proowner)::text,
        'runs as its owner, who sees columns with a class as they are', format('ALTER ROUTINE %s SECURITY INVOKER', p.oid::regprocedure)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner
        WHERE p.prosecdef AND n.nspname NOT IN ('steward', 'pg_catalog', 'information_schema') AND EXISTS (SELECT FROM steward._class)
            AND (o.rolsuper OR EXISTS (SELECT FROM clear c WHERE c.role = o.oid))
            AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner))
    UNION ALL SELECT 'unpinned_function', p.oid::regprocedure::text, NULL,
        format('is called for %s with the search_path of masked roles: names that it does not qualify lead to what they put there', min(r.name)),
        format('ALTER FUNCTION %s SET search_path = pg_catalog, %s, pg_temp', p.oid::regprocedure,
            string_agg(DISTINCT c.relnamespace::regnamespace::text, ', '))
        FROM called u JOIN relation r ON r.oid = u.relation JOIN pg_class c ON c.oid = r.oid JOIN pg_proc p ON p.oid = u.function
            JOIN pg_language l ON l.oid = p.prolang
        WHERE l.lanname NOT IN ('internal', 'c') AND p.prosqlbody IS NULL
            AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%')
            AND EXISTS (SELECT FROM hidden h WHERE h.relation = r.oid AND NOT h.rolsuper)
        GROUP BY p.oid
    UNION ALL SELECT 'superuser', 'role ' || quote_ident(rolname), rolname::text, 'a login that no privilege holds back',
        CASE oid WHEN 10 THEN format('ALTER ROLE %I NOLOGIN', rolname) ELSE format('ALTER ROLE %I NOSUPERUSER', rolname) END
        FROM pg_roles WHERE rolsuper AND rolcanlogin
    UNION ALL SELECT 'superuser', 'role ' || quote_ident(s.rolname), l.rolname::text, 'may become a superuser by SET ROLE',
        (SELECT min(format('REVOKE %I FROM %I', h.rolname, l.rolname)) FROM pg_auth_members a JOIN pg_roles h ON h.oid = a.roleid
            WHERE a.member = l.oid AND (a.roleid = s.oid OR EXISTS (SELECT FROM member x WHERE (x.role, x.reached) = (a.roleid, s.oid))))
        FROM member m JOIN pg_roles l ON l.oid = m.role JOIN pg_roles s ON s.oid = m.reached
        WHERE l.rolcanlogin AND NOT l.rolsuper AND s.rolsuper
    UNION ALL SELECT 'bypass_rls', 'role ' || quote_ident(rolname), rolname::text, 'sees the rows that row security hides',
        format('ALTER ROLE %I NOBYPASSRLS', rolname) FROM pg_roles WHERE rolbypassrls AND NOT rolsuper
    UNION ALL SELECT 'replication', 'role ' || quote_ident(rolname), rolname::text, 'copies the whole cluster, or what is published',
        format('ALTER ROLE %I NOREPLICATION', rolname) FROM pg_roles WHERE rolreplication AND NOT rolsuper
    UNION ALL SELECT 'predefined_role', 'role ' || g.rolname, m.rolname::text,
        CASE g.rolname WHEN 'pg_read_all_data' THEN 'reads every table, past the column privileges' WHEN 'pg_write_all_data' THEN 'writes every table'
            ELSE 'reaches the server''s files, those of tables among them' END,
        format('REVOKE %I FROM %I', g.rolname, m.rolname)
        FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
        WHERE g.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
    UNION ALL SELECT DISTINCT 'owner_login', r.name, l.rolname::text, 'a login with the owner''s rights: it can give itself any privilege',
        CASE WHEN l.oid = r.relowner THEN format('ALTER ROLE %I NOLOGIN', l.rolname)
            ELSE format('REVOKE %I FROM %I', pg_get_userbyid(r.relowner), l.rolname) END
        FROM relation r JOIN pg_roles l ON l.rolcanlogin AND NOT l.rolsuper
            AND (l.oid = r.relowner OR EXISTS (SELECT FROM member m WHERE (m.role, m.reached) = (l.oid, r.relowner)))
    UNION ALL SELECT DISTINCT 'set_role', 'role ' || quote_ident(c.rolname), h.rolname::text,
        format('is masked on %s, and SET ROLE %s takes the mask off', h.relation::regclass, quote_ident(c.rolname)),
        format('REVOKE %I FROM %I', c.rolname, h.rolname)
        FROM hidden h JOIN member m ON m.role = h.role JOIN clear c ON (c.relation, c.attnum, c.role) = (h.relation, h.attnum, m.reached)
        WHERE h.rolcanlogin AND NOT h.rolsuper
    UNION ALL SELECT DISTINCT 'reset_role', 'role ' || quote_ident(h.rolname), c.rolname::text,
        format('puts on %s, which is masked on %s, and RESET ROLE takes the mask off', quote_ident(h.rolname), h.relation::regclass),
        format('ALTER ROLE %I INHERIT', c.rolname)
        FROM hidden h JOIN member m ON m.reached = h.role JOIN clear c ON (c.relation, c.attnum, c.role) = (h.relation, h.attnum, m.role)
        JOIN pg_roles l ON l.oid = c.role AND l.rolcanlogin
    UNION ALL SELECT CASE WHEN u.relkind = 'f' THEN 'foreign_table' WHEN NOT u.known AND u.namesake IS NOT NULL THEN 'copy' ELSE 'look_alike' END,
        u.name || '.' || quote_ident(u.attname), NULL,
        CASE WHEN u.relkind = 'f' THEN format('is of another server, and may hold %s', coalesce(u.namesake, u.looks))
            WHEN u.namesake IS NOT NULL THEN format('has no class, but name and type of a column of class %s', u.namesake)
            ELSE format('has no class, but is called like %s', u.looks) END,
        format('SECURITY LABEL FOR pg_steward ON COLUMN %s.%I IS %L', u.name, u.attname, coalesce(u.namesake, u.looks))
        FROM unlabelled u WHERE u.namesake IS NOT NULL OR u.looks IS NOT NULL AND (u.looks <> 'name' OR u.known)
    UNION ALL SELECT DISTINCT 'id_card_with_birth_date', h.relation::regclass || '.' || quote_ident(i.attname), r.rolname::text,
        format('shows %s digits before and %s after the birth date, which %s shows', h.prefix, h.suffix, quote_ident(b.attname)),
        format('SELECT steward.set_mask(%L, %L, prefix => %s, suffix => 0)', h.by_role::regrole::text, h.class, h.prefix)
        FROM steward._hidden h JOIN pg_attribute i ON (i.attrelid, i.attnum) = (h.relation, h.attnum) JOIN pg_roles r ON r.oid = h.role
        JOIN pg_attribute b ON b.attrelid = h.relation AND b.attnum > 0 AND NOT b.attisdropped
        WHERE h.class = 'id_card' AND h.mask = 'partial' AND h.prefix >= 6 AND h.suffix >= 3 AND h.role = h.by_role
            AND (EXISTS (SELECT FROM steward._class k WHERE (k.relation, k.attnum, k.class) = (h.relation, b.attnum, 'birth_date'))
                OR EXISTS (SELECT FROM unlabelled u WHERE (u.relation, u.attnum, u.looks) = (h.relation, b.attnum, 'birth_date')))
            AND NOT EXISTS (SELECT FROM hidden o WHERE (o.relation, o.attnum, o.role) = (h.relation, b.attnum, h.role))
    UNION ALL SELECT 'rule_without_role', 'role ' || m.role::text, NULL,
        format('is gone, so its rule for class %s masks nobody, another role of its name included', m.class),
        format('SELECT steward.drop_mask(%L, %L)', m.role::text, m.class)
        FROM steward.mask_rule m WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.role::oid)
    UNION ALL SELECT DISTINCT 'masked_write', h.relation::regclass || '.' || quote_ident(a.attname), r.rolname::text,
        'may store a number or date that is the mask of another one, and does so when it writes back what it was shown',
        format('SELECT steward.set_mask(%L, %L, %L, %s, %s, %L)', m.role::text, m.class, m.mask,
            coalesce(m.prefix::text, 'NULL'), coalesce(m.suffix::text, 'NULL'), m.predicate)
        FROM steward._hidden h JOIN pg_attribute a ON (a.attrelid, a.attnum) = (h.relation, h.attnum) JOIN pg_roles r ON r.oid = h.role
            JOIN steward.mask_rule m ON m.role = h.role AND m.write = 'allow' AND (m.class = h.class OR m.class = '*' AND h.class <> '-')
        WHERE NOT EXISTS (SELECT FROM steward._hidden o WHERE (o.relation, o.attnum, o.role) = (h.relation, h.attnum, h.role) AND o.write <> 'allow')
            AND a.atttypid IN (SELECT type FROM number_or_date)
            AND (has_column_privilege(h.role, h.relation, h.attnum, 'INSERT') OR has_column_privilege(h.role, h.relation, h.attnum, 'UPDATE'))
    UNION ALL SELECT DISTINCT 'publication', r.name, pg_get_userbyid(p.pubowner)::text,
        format('publication %I hands columns with a class to subscribers', p.pubname),
        CASE WHEN p.puballtables OR NOT EXISTS (SELECT FROM pg_publication_rel x WHERE (x.prpubid, x.prrelid) = (p.oid, r.oid))
            THEN format('DROP PUBLICATION %I', p.pubname) ELSE format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, r.name) END
        FROM relation r JOIN steward._class k ON k.relation = r.oid, pg_publication p, pg_get_publication_tables(p.pubname) t
        WHERE t.relid = r.oid)
SELECT kind, object, role, why, command FROM found ORDER BY kind, object, role, command
