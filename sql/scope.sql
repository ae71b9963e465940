-- Row scopes: which rows a role sees, by what its person is allowed. Data here, compiled to native row-level security.
CREATE TABLE steward.scope (
    id               int PRIMARY KEY CHECK (id > 0),
    role             regrole NOT NULL,
    relation         regclass NOT NULL,
    column_name      name NOT NULL,
    attribute        text CHECK (attribute ~ '^[a-z][a-z0-9_]{0,62}$'),
    via              regclass,
    via_column       name,
    assigned_column  name,
    condition_column name,
    condition_value  text,
    CHECK ((via IS NULL) = (via_column IS NULL)),
    CHECK (via IS NOT NULL OR assigned_column IS NULL AND condition_column IS NULL),
    CHECK ((attribute IS NULL) = (via IS NOT NULL AND assigned_column IS NULL)),
    CHECK ((condition_column IS NULL) = (condition_value IS NULL))
);
CREATE UNIQUE INDEX scope_key ON steward.scope (role, relation, column_name, (coalesce(attribute, '')), (coalesce(via::oid, 0)));
COMMENT ON TABLE steward.scope IS 'Which rows a role and its members see and write: those whose column has one of the values that the attribute of the current role''s person allows, or that a mapping table gives for them. Several scopes of one relation must all hold. Written by steward.set_scope and steward.drop_scope only; steward.scope_commands() shows the policies it compiles to.';
COMMENT ON COLUMN steward.scope.attribute IS 'NULL: what the role''s own scopes on the mapping table let it see there.';
COMMENT ON COLUMN steward.scope.via IS 'Mapping table: rows whose column is among its via_column, where assigned_column has an allowed value and condition_column has condition_value.';

CREATE TABLE steward.person_attribute (
    person         text NOT NULL REFERENCES steward.person,
    attribute      text NOT NULL CHECK (attribute ~ '^[a-z][a-z0-9_]{0,62}$'),
    allowed_values text[] NOT NULL CHECK (cardinality(allowed_values) > 0),
    PRIMARY KEY (person, attribute)
);
COMMENT ON TABLE steward.person_attribute IS 'What each person is allowed: values of an attribute, of which any will do; ''*'' is every value. Nobody without a value sees anything under a scope. Written by steward.set_attribute only.';

CREATE TABLE steward.temporary_grant_limit (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    max_term interval NOT NULL CHECK (max_term BETWEEN interval '1 second' AND interval '366 days')
);
COMMENT ON TABLE steward.temporary_grant_limit IS 'The longest term of steward.grant_temporarily. One row; written by steward.set_temporary_grant_limit only.';
INSERT INTO steward.temporary_grant_limit (max_term) VALUES ('7 days');
CREATE TRIGGER make_way BEFORE INSERT ON steward.temporary_grant_limit FOR EACH ROW EXECUTE FUNCTION steward._make_way('single');

CREATE TABLE steward.temporary_grant (
    id             bigint PRIMARY KEY CHECK (id > 0),
    person         text NOT NULL REFERENCES steward.person,
    relation       regclass NOT NULL,
    attribute      text NOT NULL,
    allowed_values text[] NOT NULL CHECK (cardinality(allowed_values) > 0),
    granted_at     timestamptz NOT NULL,
    until          timestamptz NOT NULL CHECK (until > granted_at AND isfinite(until)),
    ended_at       timestamptz,
    reason         text NOT NULL,
    granted_by     text NOT NULL,
    op_no          text
);
CREATE INDEX temporary_grant_person ON steward.temporary_grant (person);
COMMENT ON TABLE steward.temporary_grant IS 'Values of an attribute that a person has on one relation until a moment. Looked at by each statement; nothing has to run for one to end. Written by steward.grant_temporarily and steward.end_temporary_grant only; read through steward.temporary_access.';

REVOKE ALL ON steward.scope, steward.person_attribute, steward.temporary_grant_limit, steward.temporary_grant FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.scope', '');
SELECT pg_catalog.pg_extension_config_dump('steward.person_attribute', '');
SELECT pg_catalog.pg_extension_config_dump('steward.temporary_grant_limit', '');
SELECT pg_catalog.pg_extension_config_dump('steward.temporary_grant', '');

CREATE VIEW steward.temporary_access WITH (security_barrier) AS
    SELECT id, person, relation, attribute, allowed_values, granted_at, until, ended_at, reason, granted_by, op_no,
        ended_at IS NULL AND until > clock_timestamp() AS in_force
    FROM steward.temporary_grant
    WHERE person = steward.current_person() OR steward.has_capability('configure') OR steward.has_capability('audit');
COMMENT ON VIEW steward.temporary_access IS 'Temporary grants: one''s own; all of them for posts with the capability configure or audit. in_force: until has not come and nobody ended it.';
REVOKE ALL ON steward.temporary_access FROM PUBLIC;
GRANT SELECT ON steward.temporary_access TO PUBLIC;

-- The names of our functions and array types by the type of a column; NULL for a type that no scope compares.
CREATE FUNCTION steward._scope_type(relation oid, column_name name) RETURNS text
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE coalesce(nullif(t.typbasetype, 0), t.oid)::int
        WHEN 21 THEN 'smallint' WHEN 23 THEN 'integer' WHEN 20 THEN 'bigint' WHEN 2950 THEN 'uuid'
        WHEN 25 THEN 'text' WHEN 1043 THEN 'text' WHEN 1042 THEN 'bpchar' END
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION steward._scope_type(oid, name) IS 'smallint integer bigint uuid text or bpchar: as what a scope compares a column. NULL for other types.';
REVOKE ALL ON FUNCTION steward._scope_type(oid, name) FROM PUBLIC;

-- Every scope with the type of the values that its attribute has.
CREATE VIEW steward._scope_value AS
    SELECT id, role, relation, attribute, CASE WHEN via IS NULL
        THEN steward._scope_type(relation, column_name) ELSE steward._scope_type(via, assigned_column) END AS type
    FROM steward.scope WHERE attribute IS NOT NULL;
COMMENT ON VIEW steward._scope_value IS 'Of which type the values of an attribute must be, for each scope that uses it.';
REVOKE ALL ON steward._scope_value FROM PUBLIC;

-- The query that finds the values of a scope with a mapping table, run with the extension's rights, names and literals
-- quoted here. Its arguments are array literals: the values of the attribute, or those of each scope of the role on the
-- mapping table in the order of sources.
CREATE VIEW steward._scope_mapping AS
    SELECT s.id, s.role, s.relation, s.column_name, s.attribute, c.sources,
        CASE WHEN s.via IS NULL THEN NULL
        -- The mapping table is gone, and with it everything that it allowed.
        WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_class v WHERE v.oid = s.via::oid) THEN 'SELECT NULL::text WHERE false'
        ELSE format('SELECT DISTINCT k.%1$I::text FROM %2$s k WHERE k.%1$I IS NOT NULL AND %3$s%4$s', s.via_column, s.via,
                CASE WHEN s.assigned_column IS NULL THEN coalesce(c.conditions, 'false') ELSE coalesce(
                    '($1 = ''{*}'' OR ' || format('k.%I', s.assigned_column) || ' = ANY ($1::text[]::'
                        || steward._scope_type(s.via, s.assigned_column) || '[]))', 'false') END,
                CASE WHEN s.condition_column IS NULL THEN '' ELSE format(' AND k.%I = %L', s.condition_column, s.condition_value) END)
        END AS mapping
    FROM steward.scope s LEFT JOIN LATERAL (
        SELECT json_agg(o.id ORDER BY o.id) AS sources, string_agg(coalesce(
            '($' || o.n || ' = ''{*}'' OR ' || format('k.%I', o.column_name) || ' = ANY ($' || o.n || '::text[]::' || o.type || '[]))',
            'false'), ' AND ' ORDER BY o.id) AS conditions
        FROM (SELECT f.id, f.column_name, steward._scope_type(f.relation, f.column_name) AS type,
                row_number() OVER (ORDER BY f.id) AS n
            FROM steward.scope f WHERE f.role = s.role AND f.relation = s.via) o) c ON s.attribute IS NULL;
COMMENT ON VIEW steward._scope_mapping IS 'Scopes as sessions read them.';
REVOKE ALL ON steward._scope_mapping FROM PUBLIC;

-- An expression without what deparsing adds to it.
CREATE FUNCTION steward._dense(expression text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT regexp_replace($1, '\s+AS\s+_allow\w+|[()\s]', '', 'g')
$$;
COMMENT ON FUNCTION steward._dense(text) IS 'An expression without blanks, parentheses and the names of our columns, to be compared.';
REVOKE ALL ON FUNCTION steward._dense(text) FROM PUBLIC;

-- The commands that bring the scopes into force, in the order in which they run, and whether the catalog has each. A
-- column that is gone leaves a policy that nothing passes. Compared without blanks, parentheses and the names that
-- deparsing adds: what is compared is one comparison, so nothing hides behind them.
CREATE VIEW steward._scope_command AS
    WITH RECURSIVE tree(root, relation) AS (
        SELECT s.relation::oid, s.relation::oid FROM steward.scope s
        UNION SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.relation),
    member AS (
        SELECT t.root, c.oid AS relation, c.relrowsecurity, c.relforcerowsecurity
        FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.relation AND c.relkind IN ('r', 'p')),
    wanted AS (
        SELECT m.root, m.relation, s.id, s.role, 'steward_scope_' || s.id AS name,
            coalesce(CASE WHEN everything.held THEN '(SELECT steward._allows_everything(' || s.id || ')) OR ' ELSE '' END
                || format('%I', s.column_name) || CASE WHEN a.plain THEN '' ELSE '::' || t.type END
                || ' = ANY ((SELECT steward._allowed_' || CASE t.type WHEN 'bpchar' THEN 'text' ELSE t.type END || '(' || s.id || ')'
                || CASE t.type WHEN 'bpchar' THEN '::bpchar[]' ELSE '' END || ')::' || t.type || '[])', 'false') AS condition
        FROM member m JOIN steward.scope s ON s.relation::oid = m.root JOIN pg_catalog.pg_roles r ON r.oid = s.role::oid
        CROSS JOIN LATERAL (SELECT steward._scope_type(m.relation, s.column_name) AS type) t
        LEFT JOIN LATERAL (SELECT a.atttypid IN (21, 23, 20, 25, 1042, 2950) AS plain FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = m.relation AND a.attname = s.column_name AND NOT a.attisdropped) a ON true
        CROSS JOIN LATERAL (SELECT s.via IS NULL AND EXISTS (SELECT FROM steward.person_attribute h
            JOIN steward.person_login l ON l.person = h.person
            WHERE h.attribute = s.attribute AND '*' = ANY (h.allowed_values)
                AND pg_has_role(l.role::oid, s.role::oid, 'USAGE')) AS held) everything),
    present AS (
        SELECT p.polrelid AS relation, p.polname AS name, p.polcmd = '*' AND NOT p.polpermissive AS applies, p.polroles AS roles,
            steward._dense(pg_get_expr(p.polqual, p.polrelid)) AS sees, steward._dense(pg_get_expr(p.polwithcheck, p.polrelid)) AS writes
        FROM pg_catalog.pg_policy p WHERE p.polname ~ '^steward_scope_\d+$'),
    compared AS (
        SELECT w.*, p.name IS NOT NULL AS exists, p.applies AND p.roles = ARRAY[w.role::oid] AND p.sees = steward._dense(w.condition)
            AND p.writes IS NOT DISTINCT FROM p.sees AS equal
        FROM wanted w LEFT JOIN present p ON p.relation = w.relation AND p.name = w.name)
    SELECT m.root, m.relation, 1 AS step, 0 AS id, format('CREATE POLICY steward_base ON %s AS PERMISSIVE FOR ALL TO PUBLIC USING (true) WITH CHECK (true)',
            m.relation::regclass) AS command,
        m.relrowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = m.relation AND p.polname = 'steward_base') AS in_force
    FROM (SELECT DISTINCT * FROM member) m
    UNION ALL
    SELECT root, relation, 2, id, format('DROP POLICY %I ON %s', name, relation::regclass), false FROM compared WHERE exists AND equal IS NOT TRUE
    UNION ALL
    SELECT root, relation, 3, id, format('CREATE POLICY %I ON %s AS RESTRICTIVE FOR ALL TO %s USING (%s) WITH CHECK (%s)',
        name, relation::regclass, role, condition, condition), equal IS TRUE FROM compared
    UNION ALL
    SELECT DISTINCT m.root, m.relation, 4, 0, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', m.relation::regclass),
        m.relrowsecurity AND m.relforcerowsecurity
    FROM member m
    UNION ALL
    SELECT p.relation, p.relation, 5, 0, format('DROP POLICY %I ON %s', p.name, p.relation::regclass), false
    FROM present p WHERE NOT EXISTS (SELECT FROM steward.scope s WHERE 'steward_scope_' || s.id = p.name);

COMMENT ON VIEW steward._scope_command IS 'What brings the scopes into force. Read through steward.scope_commands().';
REVOKE ALL ON steward._scope_command FROM PUBLIC;

-- What policies call, once for each statement.
CREATE FUNCTION steward._allowed_smallint(scope int) RETURNS smallint[]
    STABLE STRICT PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_allowed_smallint_wrapper';
COMMENT ON FUNCTION steward._allowed_smallint(int) IS 'The values that a scope allows the person of the current role now; none for strangers, suspended persons, roles that the scope does not concern and in a server without the library preloaded. For row-level security policies; everybody may call it.';
CREATE FUNCTION steward._allowed_integer(scope int) RETURNS integer[]
    STABLE STRICT PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_allowed_integer_wrapper';
COMMENT ON FUNCTION steward._allowed_integer(int) IS 'The values that a scope allows the person of the current role now; none for strangers, suspended persons, roles that the scope does not concern and in a server without the library preloaded. For row-level security policies; everybody may call it.';
CREATE FUNCTION steward._allowed_bigint(scope int) RETURNS bigint[]
    STABLE STRICT PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_allowed_bigint_wrapper';
COMMENT ON FUNCTION steward._allowed_bigint(int) IS 'The values that a scope allows the person of the current role now; none for strangers, suspended persons, roles that the scope does not concern and in a server without the library preloaded. For row-level security policies; everybody may call it.';
CREATE FUNCTION steward._allowed_text(scope int) RETURNS text[]
    STABLE STRICT PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_allowed_text_wrapper';
COMMENT ON FUNCTION steward._allowed_text(int) IS 'The values that a scope allows the person of the current role now; none for strangers, suspended persons, roles that the scope does not concern and in a server without the library preloaded. For row-level security policies; everybody may call it.';
CREATE FUNCTION steward._allowed_uuid(scope int) RETURNS uuid[]
    STABLE STRICT PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_allowed_uuid_wrapper';
COMMENT ON FUNCTION steward._allowed_uuid(int) IS 'The values that a scope allows the person of the current role now; none for strangers, suspended persons, roles that the scope does not concern and in a server without the library preloaded. For row-level security policies; everybody may call it.';
CREATE FUNCTION steward._allows_everything(scope int) RETURNS boolean
    STABLE STRICT PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_allows_everything_wrapper';
COMMENT ON FUNCTION steward._allows_everything(int) IS 'Whether the person of the current role holds the value * of a scope''s attribute. For row-level security policies; everybody may call it.';

CREATE FUNCTION steward.set_scope(role regrole, relation regclass, column_name name, attribute text DEFAULT NULL,
    via regclass DEFAULT NULL, via_column name DEFAULT NULL, assigned_column name DEFAULT NULL,
    condition_column name DEFAULT NULL, condition_value text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_scope_wrapper';
COMMENT ON FUNCTION steward.set_scope IS 'Limits a role and who inherits it to rows whose column has one of the values that steward.set_attribute allows the person of the current role; with via, to rows whose column is among via_column (the same name by default) of the rows of another table where assigned_column has an allowed value and condition_column has condition_value; with via and without attribute, among the rows that the role''s scopes let it see there. Applied at once to the table, its partitions and future ones as forced, restrictive row-level security, for reading and for writing. Calling it again repairs what was changed by hand. Columns: smallint integer bigint text varchar char uuid and domains over these. Superusers and roles with BYPASSRLS are not limited; owners are as far as they hold the role. COPY FROM is not possible any more for whom row-level security concerns. Errors: 55000 the table is not protected or has policies that are not in force, 42703 no such column, 0A000 another type, 22023 bad arguments or a value of somebody''s attribute that is none of the type. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.drop_scope(role regrole, relation regclass, column_name name DEFAULT NULL, attribute text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'drop_scope_wrapper';
COMMENT ON FUNCTION steward.drop_scope IS 'Removes the scopes of a role on a table; NULL: every column, every attribute. Row-level security itself stays enabled, with a policy that lets everybody see everything. Errors: 42704 there is none, 55000 another scope leads through it. Callers as steward.set_scope.';

CREATE FUNCTION steward.set_attribute(person text, attribute text, allowed_values text[]) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_attribute_wrapper';
COMMENT ON FUNCTION steward.set_attribute IS 'Sets what a person is allowed: these values in the place of the former ones, from the next statement on, in open sessions too; NULL or an empty array: nothing. ''{*}'' alone allows everything. Errors: 42704 unknown person, 22023 a name that is no lower-case identifier, NULL among the values, or a value that is none of the type of a column that a scope compares it with. Callers as steward.set_scope.';

CREATE FUNCTION steward.grant_temporarily(person text, relation regclass, attribute text, allowed_values text[], until timestamptz, reason text)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'grant_temporarily_wrapper';
COMMENT ON FUNCTION steward.grant_temporarily IS 'Allows a person further values of an attribute on one table until a moment, and returns the number of the grant. Each statement looks at the clock as it begins; nothing has to run for the grant to end. There is no extension: a value that the person has on the table by a grant that runs is not granted again, and one operation grants it once. Errors: 42704 unknown person, no scope of the table uses the attribute; 22023 ''*'', bad values, until in the past or beyond steward.temporary_grant_limit; 55000 a grant of a value runs. Callers as steward.set_scope.';

CREATE FUNCTION steward.end_temporary_grant(id bigint) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_temporary_grant_wrapper';
COMMENT ON FUNCTION steward.end_temporary_grant(bigint) IS 'Ends a temporary grant before its time. 42704 if none of that number is in force. Callers as steward.protect.';

CREATE FUNCTION steward.set_temporary_grant_limit(max_term interval) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_temporary_grant_limit_wrapper';
COMMENT ON FUNCTION steward.set_temporary_grant_limit(interval) IS 'Sets the longest term of steward.grant_temporarily, one second to 366 days; installed: 7 days. 22023 without a term, 23514 for others. Callers as steward.set_scope.';

CREATE FUNCTION steward.scope_commands(relation regclass DEFAULT NULL) RETURNS TABLE (relation_name text, command text, in_force boolean)
    LANGUAGE c AS 'MODULE_PATHNAME', 'scope_commands_wrapper';
COMMENT ON FUNCTION steward.scope_commands(regclass) IS 'The commands that the scopes compile to, for one table with its partitions or for all, and whether the catalog has what each says; false is drift, which steward.set_scope repairs. May be called by logins of posts with the capability configure or audit and by superusers.';

CREATE FUNCTION steward.scope_issues()
    RETURNS TABLE (issue text, object text, detail text, accepted_by text, accepted_until timestamptz, accepted_reason text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'scope_issues_wrapper';
COMMENT ON FUNCTION steward.scope_issues() IS 'Ways around the scopes that exist now, scopes that are not in force, and persons who see nothing; no row is the good answer. accepted_by, accepted_until and accepted_reason: of those that steward.accept_way_around was called for. May be called by logins of posts with the capability configure or audit and by superusers.';

REVOKE ALL ON FUNCTION steward.set_scope, steward.drop_scope, steward.set_attribute, steward.grant_temporarily,
    steward.end_temporary_grant, steward.set_temporary_grant_limit FROM PUBLIC;
