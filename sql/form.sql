-- Forms of the manual's appendix as data, and the terms of what was granted by them.

CREATE TABLE steward.form (
    name      text NOT NULL,
    field     text NOT NULL CHECK (field <> '' AND field <> 'form'),
    line      int NOT NULL,
    type      text NOT NULL CHECK (type IN ('text', 'role', 'roles', 'person', 'timestamptz', 'count', 'boolean', 'choice', 'choices')),
    required  boolean NOT NULL DEFAULT false,
    choices   text[] CHECK ((choices IS NOT NULL) = (type IN ('choice', 'choices'))),
    label_zh  text NOT NULL,
    label_en  text NOT NULL,
    installed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (name, field)
);
COMMENT ON TABLE steward.form IS 'The fields of each form, in the order of line. A form is filled in with steward.request(…, form => ''{"form": "role_grant", …}''), incident with steward.report_incident, what the kinds of steward.record_kind ask for with steward.add_record. Before steward.activate() an administrator may add forms of their own; afterwards nobody changes them.';
COMMENT ON COLUMN steward.form.type IS 'text; role: the name of a role; roles: one, or a list of them; person: of a registered person; timestamptz: a time or infinity; count: a whole number from 0; boolean; choice: one of choices; choices: a list of them.';

INSERT INTO steward.form (name, line, field, type, required, choices, label_zh, label_en, installed) VALUES
    ('role_grant', 1, 'grantee',     'roles',       true,  NULL, '申请人', 'who gets it: a role, public, or a list of roles who each get the same', true),
    ('role_grant', 2, 'department',  'text',        false, NULL, '所属部门', 'department', true),
    ('role_grant', 3, 'role',        'role',        false, NULL, '申请角色', 'role that is granted', true),
    ('role_grant', 4, 'rights',      'choices',     false, '{query,modify,delete,administer}', '申请权限', 'rights that are granted: query, modify, delete, administer', true),
    ('role_grant', 5, 'reason',      'text',        true,  NULL, '申请原因', 'why', true),
    ('role_grant', 6, 'until',       'timestamptz', true,  NULL, '有效期至', 'until when; infinity: no end', true),
    ('operation',  1, 'kind',        'choice',      true,  '{normal,important,critical}', '操作类型', 'tier of the operation', true),
    ('operation',  2, 'description', 'text',        true,  NULL, '操作描述', 'description', true),
    ('operation',  3, 'impact',      'text',        true,  NULL, '影响范围', 'who and what is affected', true),
    ('operation',  4, 'people',      'count',       false, NULL, '影响的人数', 'how many people are affected; expected_rows must say the same', true),
    ('operation',  5, 'steps',       'text',        true,  NULL, '操作步骤', 'steps in short', true),
    ('incident',   1, 'occurred_at', 'timestamptz', true,  NULL, '发生时间', 'when it happened', true),
    ('incident',   2, 'level',       'choice',      true,  '{general,important,major}', '事件类型', 'kind of incident', true),
    ('incident',   3, 'description', 'text',        true,  NULL, '事件描述', 'what happened, in short', true),
    ('incident',   4, 'process',     'text',        true,  NULL, '处理过程', 'how it was dealt with, in short', true),
    ('incident',   5, 'result',      'choice',      true,  '{success,failure}', '处理结果', 'how it ended', true),
    ('incident',   6, 'impact',      'text',        false, NULL, '影响范围', 'who and what was affected', true),
    ('incident',   7, 'root_cause',  'text',        false, NULL, '根本原因', 'why it happened', true),
    ('incident',   8, 'evidence',    'text',        false, NULL, '证据', 'what shows it, and where that is kept', true),
    ('incident',   9, 'lesson',      'text',        false, NULL, '经验教训', 'what is done otherwise from now on', true);

CREATE TABLE steward.form_policy (
    form      text PRIMARY KEY,
    demanded  boolean NOT NULL,
    sign_offs int NOT NULL DEFAULT 0 CHECK (sign_offs BETWEEN 0 AND 9)
);
COMMENT ON TABLE steward.form_policy IS 'Which forms are demanded, and how many approvals by others an operation with such a form takes at least. role_grant: every command that gives rights under the rules for PRIVILEGE. incident: an emergency window, before its review accepts it. erasure: what calls steward.erase_images; a call that a block or function hides is seen when it runs. Any other form: every important or critical operation that does not only give rights; of several, one. Written by steward.set_form.';
INSERT INTO steward.form_policy (form, demanded, sign_offs) VALUES ('role_grant', true, 2), ('operation', false, 0), ('incident', true, 0);

CREATE TABLE steward.role_term (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    op_no      text NOT NULL,
    grantee    regrole NOT NULL,
    until      timestamptz NOT NULL,
    role       regrole,
    relation   regclass,
    -- No regnamespace: pg_upgrade refuses columns of that type.
    schema     oid,
    privilege  text,
    column_name name,
    attribute  text,
    option_only boolean NOT NULL DEFAULT false,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    ended_by   text,
    CHECK (num_nonnulls(role, relation, schema, attribute) = 1),
    CHECK ((privilege IS NOT NULL) = (relation IS NOT NULL OR schema IS NOT NULL)),
    CHECK (column_name IS NULL OR relation IS NOT NULL)
);
CREATE INDEX role_term_open ON steward.role_term (until) WHERE ended_at IS NULL;
COMMENT ON TABLE steward.role_term IS 'Until when what a role form granted is valid, one right a row. Written when the GRANT runs, for what the grantee did not have without an end already; ended by steward.revoke_lapsed() or by a later form for the same right, however that is spelled.';
COMMENT ON COLUMN steward.role_term.option_only IS 'Only the option to pass the right on has an end.';
COMMENT ON COLUMN steward.role_term.until IS 'From then on whoever is the grantee, or a member of it, runs nothing until steward.revoke_lapsed() has taken the grant back.';

-- What takes a term's grant back; no command where the object, the role or the column's privilege is gone. A column that has
-- another name now still has the privilege: its command fails, and that is told.
CREATE VIEW steward._role_term_open AS
    SELECT t.id, t.op_no, t.grantee, t.until, CASE
        WHEN g.oid IS NULL THEN NULL
        WHEN t.role IS NOT NULL AND r.oid IS NOT NULL THEN pg_catalog.format('REVOKE %s%s FROM %s CASCADE',
            CASE WHEN t.option_only THEN 'ADMIN OPTION FOR ' ELSE '' END, t.role, t.grantee)
        WHEN t.column_name IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) x
            WHERE a.attrelid = c.oid AND NOT a.attisdropped AND x.grantee = g.oid AND x.privilege_type = t.privilege) THEN NULL
        WHEN t.relation IS NOT NULL AND c.oid IS NOT NULL THEN pg_catalog.format('REVOKE %s%s%s ON %s %s FROM %s CASCADE',
            CASE WHEN t.option_only THEN 'GRANT OPTION FOR ' ELSE '' END, t.privilege,
            CASE WHEN t.column_name IS NULL THEN '' ELSE pg_catalog.format(' (%I)', t.column_name) END,
            CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, t.relation, t.grantee)
        WHEN t.schema IS NOT NULL AND n.oid IS NOT NULL THEN pg_catalog.format('REVOKE %s%s ON SCHEMA %s FROM %s CASCADE',
            CASE WHEN t.option_only THEN 'GRANT OPTION FOR ' ELSE '' END, t.privilege, t.schema::pg_catalog.regnamespace, t.grantee)
        WHEN t.attribute IS NOT NULL THEN pg_catalog.format('ALTER ROLE %s NO%s', t.grantee, t.attribute)
        END AS command
    FROM steward.role_term t
    LEFT JOIN pg_catalog.pg_roles g ON g.oid = t.grantee::oid
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = t.role::oid
    LEFT JOIN pg_catalog.pg_class c ON c.oid = t.relation::oid
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.schema
    WHERE t.ended_at IS NULL;
COMMENT ON VIEW steward._role_term_open IS 'Terms that stand, with the command that ends each. Read through steward.inbox and steward.revoke_lapsed().';

REVOKE ALL ON steward.form, steward.form_policy, steward.role_term, steward._role_term_open FROM PUBLIC;
GRANT SELECT ON steward.form, steward.form_policy TO PUBLIC;

CREATE TRIGGER make_way BEFORE INSERT ON steward.form_policy FOR EACH ROW EXECUTE FUNCTION steward._make_way('form');
SELECT pg_catalog.pg_extension_config_dump('steward.form', 'WHERE NOT installed');
SELECT pg_catalog.pg_extension_config_dump('steward.form_policy', '');
SELECT pg_catalog.pg_extension_config_dump('steward.role_term', 'WHERE ended_at IS NULL');

CREATE FUNCTION steward.set_form(form text, demanded boolean, sign_offs int DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_form_wrapper';
COMMENT ON FUNCTION steward.set_form(text, boolean, int) IS 'Whether a form is demanded (steward.form_policy), and how many approvals an operation with it takes at least; NULL keeps the number. Errors: 42704 unknown form, 22023 sign_offs not 0 to 9, 42501 outside an approved operation once the policy is active (for role_grant with as many approvals as the rules for PRIVILEGE demand). Callers as steward.protect.';

CREATE FUNCTION steward.revoke_lapsed() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'revoke_lapsed_wrapper';
COMMENT ON FUNCTION steward.revoke_lapsed() IS 'Takes back what role forms granted and whose term is over; how many grants. Part of the daily work, and the one statement that somebody with a lapsed grant may run: SELECT steward.revoke_lapsed(). It does no more than what was approved with the form, and takes nothing that the grantee had without an end. What cannot be taken back now is told as a warning and recorded as a failure, its grantee stays stopped, and the rest is done. Errors: 55000 outside the home database or while the term is being ended elsewhere; 25006 in a read-only transaction. Everybody may call it.';

REVOKE ALL ON FUNCTION steward.set_form(text, boolean, int), steward.revoke_lapsed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.revoke_lapsed() TO PUBLIC;
