-- Recertification (requirements 159, 164): every now and then a supervisor confirms each right of their people, or says that
-- it goes. Nothing is taken away here: what goes is revoked by an operation like any other right.

CREATE TABLE steward._recertification (
    id        bigint PRIMARY KEY CHECK (id > 0),
    title     text NOT NULL CHECK (title <> ''),
    opened_by text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at    timestamptz NOT NULL CHECK (due_at > opened_at)
);
COMMENT ON TABLE steward._recertification IS 'Campaigns. Written by steward.open_recertification only.';

CREATE TABLE steward._recertification_item (
    id         bigint PRIMARY KEY CHECK (id > 0),
    campaign   bigint NOT NULL REFERENCES steward._recertification,
    person     text NOT NULL,
    grantee    text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('post', 'membership', 'attribute', 'scope')),
    subject    text NOT NULL,
    revoke     text,
    keep       boolean,
    decided_by text CHECK (decided_by <> person),
    decided_at timestamptz,
    comment    text,
    UNIQUE (campaign, grantee, kind, subject),
    CHECK (num_nonnulls(keep, decided_by, decided_at, comment) IN (0, 4))
);
COMMENT ON TABLE steward._recertification_item IS 'The rights that a campaign found, one a row. Written by steward.open_recertification and steward.recertify only; read through steward.recertification.';

-- What the logins of persons hold. The commands are those that an operation would run; names are quoted here.
CREATE VIEW steward._recertified_right AS
    SELECT p.name AS person, quote_ident(p.name) AS grantee, 'post'::text AS kind, p.post AS subject, NULL::text AS revoke
        FROM steward.person p WHERE p.suspended_at IS NULL
    UNION ALL SELECT p.name, quote_ident(r.rolname), 'membership', quote_ident(g.rolname),
            format('REVOKE %I FROM %I', g.rolname, r.rolname)
        FROM steward.person p JOIN steward.person_login l ON l.person = p.name JOIN pg_catalog.pg_roles r ON r.oid = l.role::oid
        JOIN pg_catalog.pg_auth_members m ON m.member = r.oid JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE p.suspended_at IS NULL
    UNION ALL SELECT p.name, quote_ident(r.rolname), 'attribute', a.name, format('ALTER ROLE %I NO%s', r.rolname, a.name)
        FROM steward.person p JOIN steward.person_login l ON l.person = p.name JOIN pg_catalog.pg_roles r ON r.oid = l.role::oid
        CROSS JOIN LATERAL (VALUES ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole), ('CREATEDB', r.rolcreatedb),
            ('REPLICATION', r.rolreplication), ('BYPASSRLS', r.rolbypassrls)) a (name, held)
        WHERE a.held AND p.suspended_at IS NULL
    UNION ALL SELECT p.name, quote_ident(p.name), 'scope', format('%s: %s', a.attribute, array_to_string(a.allowed_values, ', ')),
            format('SELECT steward.set_attribute(%L, %L, ''{}'')', p.name, a.attribute)
        FROM steward.person p JOIN steward.person_attribute a ON a.person = p.name WHERE p.suspended_at IS NULL;
COMMENT ON VIEW steward._recertified_right IS 'Every right that a campaign asks about: posts, memberships and attributes of logins, and what scopes let a person see.';

CREATE VIEW steward.recertification WITH (security_barrier) AS
    SELECT c.id AS campaign, c.title, c.due_at, i.id AS item, i.person, p.supervisor, i.grantee, i.kind, i.subject,
        CASE WHEN i.keep THEN 'kept'
            WHEN h.person IS NULL THEN 'gone'
            WHEN NOT i.keep THEN 'to_revoke'
            WHEN c.due_at <= clock_timestamp() THEN 'overdue' ELSE 'open' END AS status,
        i.decided_by, i.decided_at, i.comment,
        CASE WHEN i.keep IS NOT TRUE AND h.person IS NOT NULL THEN i.revoke END AS revoke
    FROM steward._recertification c JOIN steward._recertification_item i ON i.campaign = c.id
    LEFT JOIN steward.person p ON p.name = i.person
    LEFT JOIN steward._recertified_right h ON (h.person, h.grantee, h.kind, h.subject) = (i.person, i.grantee, i.kind, i.subject)
    WHERE (SELECT steward._may_see_records()) OR (SELECT steward.current_person()) IN (i.person, p.supervisor);
COMMENT ON VIEW steward.recertification IS 'Every right that a campaign asks about. status: open, overdue (nobody has looked at it in time), kept, to_revoke (somebody said that it goes, and it is still there), gone. revoke: the command for it, to be filed with steward.request; a post is changed with steward.register_person. Persons see their own, supervisors those of their people, superusers and persons with the capability audit, approve or configure all.';

CREATE FUNCTION steward.open_recertification(title text, term interval DEFAULT '30 days') RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'open_recertification_wrapper';
COMMENT ON FUNCTION steward.open_recertification IS 'Opens a campaign over every right that registered persons hold now, and returns its number. term: one hour to one year. Errors: 55000 it is not the client''s whole statement, or others hold the register for more than 3 seconds; 22023 title or term; 42501 for others than persons with the capability audit or configure.';

CREATE FUNCTION steward.recertify(item bigint, keep boolean, comment text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'recertify_wrapper';
COMMENT ON FUNCTION steward.recertify IS 'Says whether a person keeps a right, and why; after the term too, once for each right. false takes nothing away: steward.recertification shows the command that an operation then runs. Errors: 42704 no such item; 55000 decided already; 22023 an argument is missing; 42501 one''s own right, or for others than the person''s supervisor; of a person without a usable supervisor persons with the capability approve or configure decide.';

REVOKE ALL ON steward._recertification, steward._recertification_item, steward._recertified_right, steward.recertification FROM PUBLIC;
GRANT SELECT ON steward.recertification TO PUBLIC;
REVOKE ALL ON FUNCTION steward.open_recertification, steward.recertify FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.open_recertification, steward.recertify TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward._recertification', '');
SELECT pg_catalog.pg_extension_config_dump('steward._recertification_item', '');
