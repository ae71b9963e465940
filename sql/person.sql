-- Persons, their posts and logins. Separation of duties compares persons, so one person may have several logins, and a
-- login belongs to one person.

CREATE TABLE steward.post (
    name          text PRIMARY KEY,
    capabilities  text[] NOT NULL DEFAULT '{}' CHECK (capabilities <@
        ARRAY['apply', 'approve', 'witness', 'audit', 'configure', 'break_glass', 'never_alone']),
    administrator boolean NOT NULL DEFAULT true,
    installed     boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE steward.post IS 'The posts that a person can hold. Before steward.activate() an administrator may add rows of their own; installed rows are not changed. Written by nobody once the policy is active.';
COMMENT ON COLUMN steward.post.capabilities IS 'apply: file operations. approve: approve, reject and review them. witness: confirm as the second person. audit: read the audit trail. configure: call the set-up functions. break_glass: open an emergency window. never_alone: critical work always takes two persons.';
COMMENT ON COLUMN steward.post.administrator IS 'Changing the rights of a login whose person holds such a post is critical, not merely important.';
COMMENT ON COLUMN steward.post.installed IS 'Came with the extension; not dumped.';

INSERT INTO steward.post (name, capabilities, administrator, installed) VALUES
    ('parent',           '{}',                                false, true),
    ('teacher',          '{apply}',                           false, true),
    ('clerk',            '{}',                                false, true),
    ('region_admin',     '{apply,witness,never_alone}',       true,  true),
    ('reviewer',         '{approve,witness,never_alone}',     true,  true),
    ('auditor',          '{audit}',                           true,  true),
    ('ops',              '{apply,witness,break_glass,never_alone}', true, true),
    ('security_officer', '{apply,approve,configure}',         true,  true),
    ('service',          '{apply}',                           false, true);

CREATE TABLE steward.person (
    name             text PRIMARY KEY,
    post             text NOT NULL REFERENCES steward.post,
    department       text,
    supervisor       text REFERENCES steward.person CHECK (supervisor <> name),
    valid_until      timestamptz,
    suspended_at     timestamptz,
    suspended_reason text,
    registered_at    timestamptz NOT NULL DEFAULT now(),
    CHECK ((suspended_at IS NULL) = (suspended_reason IS NULL))
);
COMMENT ON TABLE steward.person IS 'Who stands behind the logins. Written by steward.register_person and steward.suspend_person only; rows are never removed, since the trail names them.';
COMMENT ON COLUMN steward.person.valid_until IS 'From then on the person counts as suspended. NULL: no end.';

CREATE TABLE steward.person_login (
    role   regrole PRIMARY KEY,
    person text NOT NULL REFERENCES steward.person
);
CREATE INDEX person_login_person ON steward.person_login (person);
COMMENT ON TABLE steward.person_login IS 'Which person an authenticated login is. Written by steward.register_person only.';

REVOKE ALL ON steward.post, steward.person, steward.person_login FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.post', 'WHERE NOT installed');
SELECT pg_catalog.pg_extension_config_dump('steward.person', '');
SELECT pg_catalog.pg_extension_config_dump('steward.person_login', '');

CREATE FUNCTION steward.register_person(name text, post text, roles regrole[] DEFAULT NULL, department text DEFAULT NULL,
    supervisor text DEFAULT NULL, valid_until timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'register_person_wrapper';
COMMENT ON FUNCTION steward.register_person IS 'Registers a person or changes one; NULL keeps what was. roles: all logins of the person, which replace the former ones; a login belongs to one person. valid_until: infinity removes an end. A suspended person is reinstated. Grants the set-up functions to logins of posts with the capability configure and the audit views to those with audit. Errors: 22023 bad argument or a login of somebody else, 42704 unknown post, supervisor or role, 42501 outside an approved operation once the policy is active. May be called by logins of posts with the capability configure and by superusers.';

CREATE FUNCTION steward.suspend_person(name text, reason text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'suspend_person_wrapper';
COMMENT ON FUNCTION steward.suspend_person IS 'Takes every capability from a person at once, in open sessions too; register_person gives them back. Approvals the person gave to operations that have not run yet no longer count. Errors: 42704 unknown person, 22023 without a reason, 42501 outside an approved operation once the policy is active. May be called by logins of posts with the capability configure and by superusers.';

CREATE FUNCTION steward.current_person() RETURNS text
    STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', 'current_person_wrapper';
COMMENT ON FUNCTION steward.current_person IS 'The person behind the login that authenticated, whatever SET ROLE made of it; NULL if nobody is registered or the person is suspended or past valid_until. Everybody may call it.';

CREATE FUNCTION steward.has_capability(capability text) RETURNS boolean
    STABLE PARALLEL RESTRICTED STRICT LANGUAGE c AS 'MODULE_PATHNAME', 'has_capability_wrapper';
COMMENT ON FUNCTION steward.has_capability IS 'Whether the post of the person behind this login gives a capability: apply approve witness audit configure break_glass never_alone. Everybody may call it.';

REVOKE ALL ON FUNCTION steward.register_person, steward.suspend_person, steward.current_person, steward.has_capability FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.current_person, steward.has_capability TO PUBLIC;
