-- What a role sees, and every way around the policy that exists now.

CREATE FUNCTION steward.access(role regrole) RETURNS TABLE (table_name text, column_name text, class text, access text, why text, sample text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'access_wrapper';
COMMENT ON FUNCTION steward.access(regrole) IS 'What a role sees of each column of every table that is under policy, in the matrix or has a class: clear, masked or denied; why; and what a made-up value looks like to it. 42704 for an unknown role, 42501 but for superusers, persons whose post may configure or audit, and members of the role.';

-- Not dumped: what was looked at is not what there is in another database.
CREATE TABLE steward._accepted_way (
    kind        text NOT NULL,
    object      text NOT NULL,
    role_id     text NOT NULL,
    digest      text NOT NULL,
    until       timestamptz NOT NULL CHECK (isfinite(until)),
    reason      text NOT NULL CHECK (reason <> ''),
    accepted_by text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, object, role_id, digest)
);
COMMENT ON TABLE steward._accepted_way IS 'Findings of steward.lint() and steward.scope_issues() that somebody looked at and accepted for a time: the daily check is silent about these and about no others. Written by steward.accept_way_around only; the two functions show it.';
COMMENT ON COLUMN steward._accepted_way.role_id IS 'Empty for a finding that is about no role.';
COMMENT ON COLUMN steward._accepted_way.digest IS 'SHA-256 of what was found and of the definition of the view or function that it is about: whatever becomes of it is not accepted.';
REVOKE ALL ON steward._accepted_way FROM PUBLIC;

CREATE FUNCTION steward.lint(sample boolean DEFAULT false)
    RETURNS TABLE (kind text, object text, role_id text, why text, command text, accepted_by text, accepted_until timestamptz, accepted_reason text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'lint_wrapper';
COMMENT ON FUNCTION steward.lint(boolean) IS 'Every way around the policy that exists now, each with a command that closes it; accepted_by, accepted_until and accepted_reason of those that steward.accept_way_around was called for. sample: values of columns without a class are looked at too, a thousand of each text or number column of every table; a table that cannot be read within a minute, or locked within a second, is a finding itself (not_looked_at). Executes none of the commands. No rows: nothing was found. 42501 but for superusers and persons whose post may configure or audit.';

CREATE FUNCTION steward.accept_way_around(kind text, object text, until timestamptz, reason text, role_id text DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'accept_way_around_wrapper';
COMMENT ON FUNCTION steward.accept_way_around IS 'Takes a finding of steward.lint(), or of steward.scope_issues(), as it is now, for known until a time, at most a year away: the daily check is silent about it until then, or until it becomes another one. It is one kind of finding about one object and, where it names one, one role. A time that is over takes it back. Returns how many findings were accepted, or taken back. Errors: 42704 where there is no such finding now, 22023 for a missing reason, a time that is missing or too far away, and scopes that are not in force, which nobody accepts. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';
REVOKE ALL ON FUNCTION steward.accept_way_around FROM PUBLIC;
