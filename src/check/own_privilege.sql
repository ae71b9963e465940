-- Privileges on the extension's own objects that somebody granted or took away by hand: others than those that PostgreSQL
-- has kept of the installation and those that come with a person's post. $1 to $4: names of what goes with the
-- capability configure, audit (views, functions) and apply; $5: tables for configure and audit. What owners grant themselves goes with the owner.
WITH object AS (
    SELECT 'pg_proc'::regclass AS class, oid, 0 AS part, proname AS name, proowner AS owner, proacl AS acl, acldefault('f', proowner) AS untouched FROM pg_proc
    UNION ALL SELECT 'pg_class'::regclass, c.oid, 0, relname, relowner, relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner) FROM pg_class c
    UNION ALL SELECT 'pg_class'::regclass, c.oid, attnum, relname, relowner, attacl, NULL FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE attnum > 0 AND NOT attisdropped
    UNION ALL SELECT 'pg_type'::regclass, oid, 0, typname, typowner, typacl, acldefault('T', typowner) FROM pg_type
    UNION ALL SELECT 'pg_namespace'::regclass, oid, 0, nspname, nspowner, nspacl, acldefault('n', nspowner) FROM pg_namespace),
own AS (
    SELECT o.*, i.initprivs FROM object o
    JOIN pg_depend d ON (d.classid, d.objid) = (o.class, o.oid) AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_steward'
    LEFT JOIN pg_init_privs i ON (i.classoid, i.objoid, i.objsubid) = (o.class, o.oid, o.part)),
now AS (
    SELECT class, oid, part, name, g.grantee, g.privilege_type AS privilege, g.is_grantable FROM own, aclexplode(coalesce(acl, untouched)) g
    WHERE g.grantee <> g.grantor),
installed AS (
    SELECT class, oid, part, name, g.grantee, g.privilege_type AS privilege, g.is_grantable FROM own, aclexplode(coalesce(initprivs, untouched)) g
    WHERE g.grantee <> g.grantor),
found AS (
    SELECT n.*, 'granted to' AS what FROM (TABLE now EXCEPT ALL TABLE installed) n
    WHERE n.is_grantable OR n.part > 0 OR NOT EXISTS (SELECT FROM steward.person_login l JOIN steward.person p ON p.name = l.person AND p.suspended_at IS NULL
        JOIN steward.post o ON o.name = p.post
        JOIN (VALUES ('configure', 'pg_proc'::regclass, 'EXECUTE', $1), ('audit', 'pg_class', 'SELECT', $2), ('audit', 'pg_proc', 'EXECUTE', $3),
            ('apply', 'pg_proc', 'EXECUTE', $4), ('configure', 'pg_class', 'SELECT', $5), ('audit', 'pg_class', 'SELECT', $5)) c(capability, class, privilege, names) ON c.capability = ANY (o.capabilities)
        WHERE l.role::oid = n.grantee AND (c.class, c.privilege) = (n.class, n.privilege) AND n.name = ANY (string_to_array(c.names, ' ')))
    UNION ALL SELECT *, 'revoked from' FROM (TABLE installed EXCEPT ALL TABLE now) i)
SELECT format('%s on %s %s was %s %s%s', f.privilege, i.type, i.identity, f.what,
        CASE f.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(f.grantee)::text END, CASE WHEN f.is_grantable THEN ' with grant option' END)
    FROM found f, LATERAL pg_identify_object(f.class, f.oid, f.part) i ORDER BY 1
