-- $1: the role's oid. Samples are made up; no row of anybody is read.
WITH me AS (SELECT r.oid, r.rolsuper, r.rolbypassrls FROM pg_roles r WHERE r.oid = $1),
held AS (SELECT h.held FROM steward._holds h, me WHERE h.role = me.oid),
relation AS (
    SELECT c.oid, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity, c.relnamespace,
        (me.rolsuper OR has_schema_privilege(me.oid, c.relnamespace, 'USAGE')) AS enters,
        has_any_column_privilege(me.oid, c.oid, 'SELECT') AS reads
    FROM pg_class c, me WHERE c.oid IN (SELECT root FROM steward._tree)),
-- The strictest rule counts.
rule AS (
    SELECT DISTINCT ON (h.relation, h.attnum) h.relation, h.attnum, h.class, h.mask, h.prefix, h.suffix, h.predicate, h.by_role,
        first_value(h.write) OVER (PARTITION BY h.relation, h.attnum ORDER BY array_position('{deny,guard,allow}', h.write)) AS write
    FROM steward._hidden h, me WHERE h.role = me.oid
    ORDER BY h.relation, h.attnum, array_position('{hide,hash,pseudonym,generalize,partial}', h.mask),
        array_position('{deny,masked,equal}', h.predicate), h.prefix NULLS FIRST, h.suffix NULLS FIRST),
policies AS (
    SELECT p.polrelid AS relation, string_agg(quote_ident(p.polname), ', ' ORDER BY p.polname) AS names
    FROM pg_policy p JOIN relation r ON r.oid = p.polrelid AND r.relrowsecurity, me
    WHERE p.polcmd IN ('r', '*') AND p.polname <> 'steward_base' AND NOT me.rolsuper AND NOT me.rolbypassrls
        AND (r.relforcerowsecurity OR r.relowner NOT IN (SELECT held FROM held))
        AND (p.polroles = '{0}' OR p.polroles && (SELECT array_agg(held) FROM held))
    GROUP BY 1),
seen AS (
    SELECT r.oid AS relation, a.attnum, a.attname, r.enters, r.reads, u.class, u.mask, u.prefix, u.suffix, u.predicate, u.write, u.by_role,
        coalesce(u.class, (SELECT min(k.class) FROM steward._class k WHERE (k.relation, k.attnum) = (r.oid, a.attnum))) AS known_class,
        has_column_privilege($1, r.oid, a.attnum, 'SELECT') AS native,
        me.rolsuper, r.relowner IN (SELECT held FROM held) AS owns,
        (SELECT string_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, ', ')
            FROM (SELECT relacl AS acl UNION ALL SELECT a.attacl) l, aclexplode(l.acl) g
            WHERE g.privilege_type = 'SELECT' AND (g.grantee = 0 OR g.grantee IN (SELECT held FROM held))) AS grantees
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped CROSS JOIN me
    LEFT JOIN rule u ON (u.relation, u.attnum) = (r.oid, a.attnum)),
judged AS (
    SELECT s.*, CASE WHEN NOT s.enters OR NOT s.reads THEN 'denied' WHEN s.mask IS NOT NULL THEN 'masked'
        WHEN s.native THEN 'clear' ELSE 'denied' END AS access FROM seen s)
SELECT j.relation::regclass::text, j.attname::text, j.known_class, j.access,
    CASE WHEN NOT j.enters THEN 'no privilege USAGE on the schema'
        WHEN NOT j.reads THEN 'no privilege SELECT on the table'
        WHEN j.mask IS NOT NULL THEN format('mask rule of %s for %s: %s', j.by_role::regrole, j.class, j.mask)
            || CASE WHEN j.predicate = 'masked' THEN '' ELSE ', predicate ' || j.predicate END
            || CASE WHEN j.write = 'guard' THEN '' ELSE ', write ' || j.write END
            || CASE WHEN j.rolsuper THEN '; a superuser, so nothing lies beneath the mask'
                WHEN j.owns THEN '; an owner, so nothing lies beneath the mask'
                WHEN j.native THEN '; privilege SELECT lies beneath the mask' ELSE '' END
        WHEN NOT j.native THEN 'no privilege SELECT on the column'
        WHEN j.rolsuper THEN 'superuser' WHEN j.owns THEN 'owner'
        ELSE 'SELECT granted to ' || coalesce(j.grantees, 'a role that reads all data') END
    || CASE WHEN j.access = 'clear' AND j.known_class IS NOT NULL THEN format('; no mask rule for %s', j.known_class) ELSE '' END
    || CASE WHEN j.access <> 'denied' AND p.names IS NOT NULL THEN '; rows by policy ' || p.names ELSE '' END,
    CASE j.access WHEN 'clear' THEN v.value
        WHEN 'masked' THEN steward.mask_value(j.known_class, v.value, j.mask, j.prefix, j.suffix) END
FROM judged j LEFT JOIN policies p ON p.relation = j.relation
LEFT JOIN (VALUES ('id_card', '11010519491231002X'), ('phone', '13800138000'), ('name', '欧阳小明'),
    ('address', '北京市海淀区中关村大街27号'), ('guardian', '父亲 13800138000'), ('guardian_contact', '父亲 13800138000'),
    ('bank_card', '6222020200112230'), ('email', 'zhangsan@example.com'), ('birth_date', '1949-12-31'), ('free_id', 'S2026000123'),
    ('score', '87.5'), ('passport', 'E12345678')) v(class, value) ON v.class = j.known_class
ORDER BY 1, j.attnum
