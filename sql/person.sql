-- Persons, their posts and logins. Separation of duties compares persons, so one person may have several logins, and a
-- login belongs to one person.

CREATE TABLE steward.post (
    name          text PRIMARY KEY,
    capabilities  text[] NOT NULL DEFAULT '{}' CHECK (capabilities <@
        ARRAY['apply', 'approve', 'witness', 'audit', 'configure', 'break_glass', 'never_alone']),
    administrator boolean NOT NULL DEFAULT true,
    installed     boolean NOT NULL DEFAULT false,
    roles         regrole[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE steward.post IS 'The posts that a person can hold. Written by steward.set_post; installed rows too.';
COMMENT ON COLUMN steward.post.roles IS 'Group roles of the post. Whose login becomes a member of one holds the capabilities of the post too, as far as steward.exclusive_capability is concerned; none of them is given by a membership.';
COMMENT ON COLUMN steward.post.capabilities IS 'apply: file operations. approve: approve, reject and review them. witness: confirm as the second person. audit: read the audit trail. configure: call the set-up functions. break_glass: open an emergency window. never_alone: every change of something under policy takes a second person, whatever its tier.';
COMMENT ON COLUMN steward.post.administrator IS 'Changing the rights of a login whose person holds such a post is critical, not merely important.';
COMMENT ON COLUMN steward.post.installed IS 'Came with the extension.';

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
    reinstated_at    timestamptz,
    registered_at    timestamptz NOT NULL DEFAULT now(),
    CHECK ((suspended_at IS NULL) = (suspended_reason IS NULL))
);
COMMENT ON TABLE steward.person IS 'Who stands behind the logins. Written by steward.register_person and steward.suspend_person only; rows are never removed, since the trail names them.';
COMMENT ON COLUMN steward.person.reinstated_at IS 'End of the last suspension. What the person filed, approved or confirmed before it does not count any more.';
COMMENT ON COLUMN steward.person.valid_until IS 'From then on the person counts as suspended. NULL: no end.';

CREATE TABLE steward.person_login (
    role   regrole PRIMARY KEY,
    person text NOT NULL REFERENCES steward.person,
    closed boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN steward.person_login.closed IS 'The suspension of the person took LOGIN from the role; reinstating gives it back.';
CREATE INDEX person_login_person ON steward.person_login (person);
COMMENT ON TABLE steward.person_login IS 'Which person an authenticated login is. Written by steward.register_person only.';

-- Duties that one person must not hold together (manual 2.1, 2.2; GB/T 22239 8.1.7.2).
CREATE TABLE steward.exclusive_capability (
    one          text NOT NULL,
    other        text NOT NULL CHECK (other <> one),
    reason       text NOT NULL,
    except_posts text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (one, other)
);
COMMENT ON TABLE steward.exclusive_capability IS 'Pairs of capabilities that no person may hold together, be it by one post or by two: the own one and those whose roles a login of the person reaches by memberships. Refused at registration, at GRANT and at activation; steward.separation_issues() finds the rest. Before steward.activate() an administrator may change rows; afterwards nobody.';
COMMENT ON COLUMN steward.exclusive_capability.except_posts IS 'Posts that hold both by design. Together with another post they do not.';

INSERT INTO steward.exclusive_capability (one, other, reason, except_posts) VALUES
    ('apply',     'approve',     'Who operates does not approve (操作与审核分离). The security officer files changes of the policy and never approves an own one.', '{security_officer}'),
    ('audit',     'apply',       'Who supervises does not execute (监督与执行分离).', '{}'),
    ('audit',     'approve',     'Who supervises does not decide what is supervised (监督与执行分离).', '{}'),
    ('audit',     'witness',     'Who supervises takes no part in a run (监督与执行分离).', '{}'),
    ('audit',     'configure',   'Who reads the trail does not set what is recorded: auditor and security officer are two posts.', '{}'),
    ('audit',     'break_glass', 'Who supervises does not execute (监督与执行分离).', '{}'),
    ('approve',   'break_glass', 'Operations take no part in approvals (运维不参与业务审批).', '{}'),
    ('configure', 'break_glass', 'Who sets the rules does not open the window that goes around them (技术与业务分离).', '{}');

-- Every post that a person holds: the own one, and those whose roles a login reaches.
CREATE VIEW steward._separation_issue AS
    WITH RECURSIVE reach(person, role) AS (
        SELECT l.person, l.role::oid FROM steward.person_login l
            JOIN steward.person p ON p.name = l.person AND p.suspended_at IS NULL
        UNION
        SELECT r.person, m.roleid FROM reach r JOIN pg_catalog.pg_auth_members m ON m.member = r.role),
    role_of(role, post) AS (
        SELECT l.role::oid, p.post FROM steward.person_login l JOIN steward.person p ON p.name = l.person
        UNION
        SELECT unnest(p.roles)::oid, p.name FROM steward.post p),
    held(person, post, role) AS (
        SELECT p.name, p.post, NULL::oid FROM steward.person p WHERE p.suspended_at IS NULL
        UNION
        SELECT r.person, o.post, r.role FROM reach r JOIN role_of o ON o.role = r.role
            JOIN steward.person p ON p.name = r.person WHERE o.post <> p.post)
    SELECT DISTINCT a.person, x.one, x.other,
        format('%s by %s, %s by %s', x.one,
            CASE WHEN a.role IS NULL THEN 'post ' || a.post ELSE format('role %s of post %s', a.role::regrole, a.post) END, x.other,
            CASE WHEN b.role IS NULL THEN 'post ' || b.post ELSE format('role %s of post %s', b.role::regrole, b.post) END) AS held,
        x.reason
    FROM steward.exclusive_capability x
    JOIN held a ON x.one = ANY ((SELECT capabilities FROM steward.post WHERE name = a.post)::text[])
    JOIN held b ON b.person = a.person AND x.other = ANY ((SELECT capabilities FROM steward.post WHERE name = b.post)::text[])
    WHERE a.post <> b.post OR a.post <> ALL (x.except_posts);
COMMENT ON VIEW steward._separation_issue IS 'Persons who hold exclusive capabilities, and how. Read through steward.separation_issues().';

REVOKE ALL ON steward.post, steward.person, steward.person_login, steward.exclusive_capability, steward._separation_issue FROM PUBLIC;
GRANT SELECT ON steward.exclusive_capability TO PUBLIC;
-- A dump carries installed rows too, since steward.set_post changes them.
CREATE TRIGGER make_way BEFORE INSERT ON steward.post FOR EACH ROW EXECUTE FUNCTION steward._make_way('name');
CREATE TRIGGER make_way BEFORE INSERT ON steward.exclusive_capability FOR EACH ROW EXECUTE FUNCTION steward._make_way('one', 'other');
SELECT pg_catalog.pg_extension_config_dump('steward.post', '');
SELECT pg_catalog.pg_extension_config_dump('steward.exclusive_capability', '');
SELECT pg_catalog.pg_extension_config_dump('steward.person', '');
SELECT pg_catalog.pg_extension_config_dump('steward.person_login', '');

CREATE FUNCTION steward.register_person(name text, post text, roles regrole[] DEFAULT NULL, department text DEFAULT NULL,
    supervisor text DEFAULT NULL, valid_until timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'register_person_wrapper';
COMMENT ON FUNCTION steward.register_person IS 'Registers a person or changes one; NULL keeps what was. roles: all logins of the person, which replace the former ones; a login belongs to one person. valid_until: infinity removes an end. A suspended person is reinstated. Grants the set-up functions to logins of posts with the capability configure and the audit views to those with audit. Errors: 22023 bad argument or a login of somebody else, 42704 unknown post, supervisor or role, 55000 exclusive capabilities would meet in one person or too few persons would be left to register anybody, 0A000 in a transaction that is prepared, 42501 outside an approved operation once the policy is active (with as many approvals as the rules for PRIVILEGE demand). May be called by logins of posts with the capability configure and by superusers.';

CREATE FUNCTION steward.set_post(name text, capabilities text[] DEFAULT NULL, administrator boolean DEFAULT NULL,
    roles regrole[] DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_post_wrapper';
COMMENT ON FUNCTION steward.set_post IS 'Adds a post or changes one, for everybody who holds it, in open sessions too; NULL keeps what was. capabilities: of apply approve witness audit configure break_glass never_alone. roles: the group roles of the post. Errors: 22023 unknown capability, 42704 unknown role, 55000 exclusive capabilities would meet in the post or in one person, or the policy could not work any more, 42501 outside an approved operation once the policy is active (with as many approvals as the rules for PRIVILEGE demand). May be called by logins of posts with the capability configure and by superusers.';

CREATE FUNCTION steward.separation_issues() RETURNS TABLE (person text, one text, other text, held text, reason text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'separation_issues_wrapper';
COMMENT ON FUNCTION steward.separation_issues() IS 'Persons who hold capabilities that exclude each other, by their post or by memberships of their logins; no row is the good answer. For the daily check. May be called by logins of posts with the capability audit and by superusers.';

CREATE FUNCTION steward.suspend_person(name text, reason text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'suspend_person_wrapper';
COMMENT ON FUNCTION steward.suspend_person IS 'Takes everything from a person at once: capabilities, LOGIN of the person''s roles (unless it is the last superuser''s), open sessions, which are ended at the commit and whose next statement would be refused anyway. What the person filed, approved or confirmed and has not run yet is frozen for good. register_person reinstates the person, not what was frozen. Errors: 42704 unknown person, 22023 without a reason, 55000 if too few persons would be left to register anybody, 0A000 in a transaction that is prepared, 42501 outside an approved operation once the policy is active. May be called by logins of posts with the capability configure and by superusers.';

CREATE FUNCTION steward.current_person() RETURNS text
    STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', 'current_person_wrapper';
COMMENT ON FUNCTION steward.current_person IS 'The person behind the login that authenticated, whatever SET ROLE made of it; NULL if nobody is registered or the person is suspended or past valid_until. Everybody may call it.';

CREATE FUNCTION steward.has_capability(capability text) RETURNS boolean
    STABLE PARALLEL RESTRICTED STRICT LANGUAGE c AS 'MODULE_PATHNAME', 'has_capability_wrapper';
COMMENT ON FUNCTION steward.has_capability IS 'Whether the post of the person behind this login gives a capability: apply approve witness audit configure break_glass never_alone. Everybody may call it.';

REVOKE ALL ON FUNCTION steward.register_person, steward.suspend_person, steward.set_post, steward.separation_issues, steward.current_person, steward.has_capability FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.current_person, steward.has_capability TO PUBLIC;
