-- What a role sees, and every way around the policy that exists now.

CREATE FUNCTION steward.access(role regrole) RETURNS TABLE (table_name text, column_name text, class text, access text, why text, sample text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'access_wrapper';
COMMENT ON FUNCTION steward.access(regrole) IS 'What a role sees of each column of every table that is under policy, in the matrix or has a class: clear, masked or denied; why; and what a made-up value looks like to it. 42704 for an unknown role, 42501 but for superusers, persons whose post may configure or audit, and members of the role.';

CREATE FUNCTION steward.lint(sample boolean DEFAULT false) RETURNS TABLE (kind text, object text, role_id text, why text, command text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'lint_wrapper';
COMMENT ON FUNCTION steward.lint(boolean) IS 'Every way around the policy that exists now, each with a command that closes it. sample: values of columns without a class are looked at too, a thousand of each text or number column of every table. Executes none of the commands. No rows: nothing was found. 42501 but for superusers and persons whose post may configure or audit.';
