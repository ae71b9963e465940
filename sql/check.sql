-- Integrity checks: what is asked of the data, the runs, and what was found (requirements 77 to 80).
CREATE TABLE steward.integrity_check (
    name      text PRIMARY KEY CHECK (name <> ''),
    relation  regclass NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('unique', 'format', 'checksum', 'reference', 'range', 'freshness', 'expression')),
    columns   name[] NOT NULL,
    parameter text,
    owner     regrole NOT NULL,
    timeout   interval NOT NULL CHECK (timeout > interval '0')
);
COMMENT ON TABLE steward.integrity_check IS 'What steward.daily_check() asks of the data. Written by steward.set_check and steward.drop_check only.';
COMMENT ON COLUMN steward.integrity_check.owner IS 'Who set it. An expression is evaluated with the rights of this role, and can write nothing.';
COMMENT ON COLUMN steward.integrity_check.timeout IS 'A check that takes longer is given up and counts as failed.';
SELECT pg_catalog.pg_extension_config_dump('steward.integrity_check', '');

CREATE TABLE steward._check_run (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    login    name NOT NULL
);
COMMENT ON TABLE steward._check_run IS 'Runs of steward.daily_check() that came to their end. Read through steward.check_run.';

CREATE TABLE steward._check_result (
    run_id     bigint NOT NULL REFERENCES steward._check_run,
    check_name text NOT NULL,
    issues     bigint,
    failure    text,
    seconds    float8 NOT NULL,
    PRIMARY KEY (run_id, check_name),
    CHECK ((issues IS NULL) = (failure IS NOT NULL))
);
COMMENT ON TABLE steward._check_result IS 'What each check of a run found. Read through steward.check_result.';

CREATE TABLE steward._integrity_issue (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    check_name  text NOT NULL,
    relation    text,
    run_id      bigint NOT NULL REFERENCES steward._check_run,
    last_run_id bigint NOT NULL REFERENCES steward._check_run,
    issue_count bigint NOT NULL CHECK (issue_count > 0),
    sample      text[] NOT NULL,
    status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'fixed', 'gone')),
    found_at    timestamptz NOT NULL,
    ended_at    timestamptz,
    fixer       text,
    result      text,
    CHECK ((status = 'open') = (ended_at IS NULL)),
    CHECK ((status = 'fixed') = (fixer IS NOT NULL AND result IS NOT NULL))
);
-- One case for each check at a time.
CREATE UNIQUE INDEX integrity_issue_open ON steward._integrity_issue (check_name) WHERE status = 'open';
COMMENT ON TABLE steward._integrity_issue IS 'What checks found. Read through steward.integrity_issues.';

-- The configuration that somebody looked at and found right.
CREATE TABLE steward._configuration (
    kind  text NOT NULL CHECK (kind IN ('setting', 'pg_hba.conf', 'library')),
    name  text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE steward._configuration IS 'Settings, lines of pg_hba.conf and preloaded libraries as accepted by steward.accept_configuration(). Values of settings are kept as digests: some hold passwords; of a library, the SHA-256 of its file.';

-- What the chain says of records of the register.
CREATE TABLE steward._register_step (
    id     bigint PRIMARY KEY,
    step   text NOT NULL,
    person text,
    record bigint,
    digest text,
    reason text
);
COMMENT ON TABLE steward._register_step IS 'What was done to records of the register, read from the audit chain by steward.daily_check(). Its digest is put on record by each run; without that it is read anew.';
COMMENT ON COLUMN steward._register_step.id IS 'Of the record in the chain.';
CREATE TABLE steward._register_read (
    through bigint NOT NULL
);
COMMENT ON TABLE steward._register_read IS 'The last record of the chain that steward._register_step knows of; one row at most.';

CREATE FUNCTION steward._may_see_checks() RETURNS boolean LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', '_may_see_checks_wrapper';
COMMENT ON FUNCTION steward._may_see_checks() IS 'Whether the caller sees what checks found: superusers, and persons with the capability audit, approve or configure.';

CREATE VIEW steward.check_run WITH (security_barrier) AS
    SELECT r.id, r.began_at, r.ended_at, r.login, count(*) AS checks,
        count(*) FILTER (WHERE s.failure IS NOT NULL) AS failed, coalesce(sum(s.issues), 0)::bigint AS issues
    FROM steward._check_run r JOIN steward._check_result s ON s.run_id = r.id
    WHERE (SELECT steward._may_see_checks()) GROUP BY r.id;
COMMENT ON VIEW steward.check_run IS 'Runs of steward.daily_check(): how many checks, how many of them could not be made, how many issues. For superusers and persons with the capability audit, approve or configure; nobody else sees a row.';

CREATE VIEW steward.check_result WITH (security_barrier) AS
    SELECT * FROM steward._check_result WHERE (SELECT steward._may_see_checks());
COMMENT ON VIEW steward.check_result IS 'Every check of every run, those without a finding too. failure: why it could not be made. seconds: of the pass that it shared with other checks of its table. Readers as steward.check_run.';

CREATE VIEW steward.integrity_issues WITH (security_barrier) AS
    SELECT id, run_id, last_run_id, check_name, relation, issue_count, sample, status, found_at, ended_at, fixer, result
    FROM steward._integrity_issue WHERE (SELECT steward._may_see_checks());
COMMENT ON VIEW steward.integrity_issues IS 'What checks found: one case for each check from the run that found it to the one that finds it no more (gone) or to steward.close_issue (fixed). Readers as steward.check_run.';
COMMENT ON COLUMN steward.integrity_issues.issue_count IS 'Rows, at the last run.';
COMMENT ON COLUMN steward.integrity_issues.sample IS 'Keys of up to five of them; values of classed columns are *** .';

CREATE VIEW steward.check_status AS
    SELECT last.ended_at AS last_run, clock_timestamp() - last.ended_at AS age,
        coalesce(clock_timestamp() - last.ended_at > interval '25 hours', true) AS overdue
    FROM (SELECT max(ended_at) AS ended_at FROM steward._check_run) last;
COMMENT ON VIEW steward.check_status IS 'When steward.daily_check() last came to its end. overdue: more than 25 hours ago, or never. Everybody may read it.';

CREATE FUNCTION steward.set_check(name text, relation regclass, kind text, columns text[], parameter text DEFAULT NULL, timeout interval DEFAULT '10 min')
    RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'set_check_wrapper';
COMMENT ON FUNCTION steward.set_check IS 'Creates or replaces an integrity check of a table. kind and parameter: unique (columns; none), format (one column; a regular expression that every value must match, syntax of the Rust crate regex, which takes linear time), checksum (one column; id_card or bank_card), reference (columns; schema.table(column, …)), range (one column; low..high, one of them may be missing), freshness (one column; the interval that its newest value may be old), expression (columns that it is about; a condition that must hold for every row, evaluated with the caller''s rights in a transaction that cannot write). NULLs are no issue, an empty table is one for freshness. Errors: 22023 for what does not fit, 42704 for unknown columns and tables, 42809 for what is no table, and what PostgreSQL says to the query. Callers as steward.protect.';

CREATE FUNCTION steward.drop_check(name text) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_check_wrapper';
COMMENT ON FUNCTION steward.drop_check IS 'Removes an integrity check; what it found stays. 42704 if there is none. Callers as steward.protect.';

CREATE FUNCTION steward.daily_check() RETURNS TABLE (check_name text, issues bigint)
    LANGUAGE c AS 'MODULE_PATHNAME', 'daily_check_wrapper';
COMMENT ON FUNCTION steward.daily_check() IS 'Makes every integrity check, those of steward.integrity_check and those of the policy itself, and returns how many issues each found; NULL for one that could not be made (a WARNING says why, and the check failed_check has a case). Each check has a time limit and a subtransaction of its own: one that fails takes nothing of the others along. Takes no lock that a writer waits for, and those on the tables it reads only while it reads them, except for conditions of kind expression. steward.check_progress shows how far it is. What is found stands in steward.integrity_issues. For a daily job. 42501 except for superusers, persons with the capability audit, approve or configure, and the post service. 55000 while another run is under way.';

CREATE FUNCTION steward.close_issue(id bigint, result text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'close_issue_wrapper';
COMMENT ON FUNCTION steward.close_issue IS 'Says how an issue was fixed. The next run opens a new one if it still finds it. 42704 for no open issue, 22023 for an empty result. Callers as steward.daily_check, but the post service.';

CREATE FUNCTION steward.accept_configuration() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'accept_configuration_wrapper';
COMMENT ON FUNCTION steward.accept_configuration() IS 'Takes the server''s settings, pg_hba.conf and the files of its preloaded libraries, as they are now, for right: from then on the check configuration_drift tells of every other. Returns how many settings and lines there are. Callers as steward.protect.';

CREATE FUNCTION steward._preloaded_libraries() RETURNS SETOF text LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', '_preloaded_libraries_wrapper';
COMMENT ON FUNCTION steward._preloaded_libraries() IS 'The files of shared_preload_libraries, found as the server found them when it started: by its dynamic_library_path and $libdir. For the check configuration_drift.';
CREATE FUNCTION steward._matches(value text, pattern text) RETURNS boolean LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', '_matches_wrapper';
COMMENT ON FUNCTION steward._matches(text, text) IS 'Whether a value matches a regular expression (Rust crate regex). For the checks of kind format.';
CREATE FUNCTION steward._has_check_digit(value text, number text) RETURNS boolean LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', '_has_check_digit_wrapper';
COMMENT ON FUNCTION steward._has_check_digit(text, text) IS 'Whether a value is an id_card or bank_card number with a right check digit. For the checks of kind checksum.';
CREATE FUNCTION steward._check_progress(OUT pid int, OUT relation oid, OUT check_name text, OUT done bigint, OUT total bigint)
    RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_check_progress_wrapper';
COMMENT ON FUNCTION steward._check_progress() IS 'The run of the checks that is under way. For steward.check_progress.';

CREATE VIEW steward.check_progress AS
    SELECT pid, check_name, relation::regclass AS relation, done, total, round(100.0 * done / nullif(total, 0), 1) AS percent
    FROM steward._check_progress();
COMMENT ON VIEW steward.check_progress IS 'Which check a run of steward.daily_check() is at, from any session. While it verifies the chain, steward.verify_progress shows it instead. Everybody may read it; empty where track_activities is off.';
COMMENT ON COLUMN steward.check_progress.pid IS 'Process that makes the run: see pg_stat_activity for who and since when.';
COMMENT ON COLUMN steward.check_progress.check_name IS 'The check, or those that share this pass over their table, as far as 64 bytes go.';
COMMENT ON COLUMN steward.check_progress.done IS 'Checks made before.';

CREATE FUNCTION steward._take_key(place int, hash bigint) RETURNS boolean LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', '_take_key_wrapper';
COMMENT ON FUNCTION steward._take_key(int, bigint) IS 'Hands the hash of a key to the check of kind unique that reads the table now, the place-th of its pass; never true. 55000 outside a check.';

REVOKE ALL ON steward.integrity_check, steward._check_run, steward._check_result, steward._integrity_issue, steward._configuration,
    steward._register_step, steward._register_read,
    steward.check_run, steward.check_result, steward.integrity_issues, steward.check_status, steward.check_progress FROM PUBLIC;
GRANT SELECT ON steward.check_run, steward.check_result, steward.integrity_issues, steward.check_status, steward.check_progress TO PUBLIC;
REVOKE ALL ON FUNCTION steward._may_see_checks, steward.set_check, steward.drop_check, steward.daily_check, steward.close_issue,
    steward.accept_configuration, steward._preloaded_libraries, steward._matches, steward._has_check_digit, steward._take_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward._may_see_checks, steward._check_progress, steward.daily_check, steward.close_issue TO PUBLIC;
