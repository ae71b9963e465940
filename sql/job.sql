-- The jobs that make up the daily work, which login runs them, and what became of them (requirements 65, 77, 84).
CREATE TABLE steward.job (
    name     text PRIMARY KEY,
    schedule text NOT NULL,
    purpose  text NOT NULL,
    max_age  interval NOT NULL CHECK (max_age > interval '0'),
    enabled  boolean NOT NULL DEFAULT true,
    set_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE steward.job IS 'What a scheduler has to run, with SELECT steward.run_job(name): which names there are and what each does is fixed, nothing of a row is executed. Written by steward.set_job only.';
COMMENT ON COLUMN steward.job.schedule IS 'Minute, hour, day of the month, month, day of the week, as cron has them; pg_cron 1.4 reads them in GMT.';
COMMENT ON COLUMN steward.job.max_age IS 'A job whose last success is older is overdue.';
COMMENT ON COLUMN steward.job.enabled IS 'Otherwise it is neither run nor missed.';
INSERT INTO steward.job (name, schedule, purpose, max_age) VALUES
    ('archive_audit', '10 17 * * *',  'Writes records older than the online term to archive files.', '25 hours'),
    ('check_reviews', '*/15 * * * *', 'Tells of reviews that have become overdue.', '1 hour'),
    ('daily_check',   '0 18 * * *',   'Makes every check: data, chain, rights, configuration.', '25 hours'),
    ('purge_archive', '40 17 * * *',  'Removes archive files whose offline term is over.', '25 hours'),
    ('purge_images',  '50 17 * * *',  'Removes images of rows and tables whose term is over.', '25 hours'),
    ('revoke_lapsed', '*/5 * * * *',  'Takes back rights whose term is over.', '30 minutes'),
    ('verify_chain',  '30 19 * * 6',  'Verifies the whole audit chain.', '8 days'),
    ('verify_new',    '7 * * * *',    'Verifies what was chained since the last verification.', '2 hours');
REVOKE ALL ON steward.job FROM PUBLIC;
GRANT SELECT ON steward.job TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.job', '');

-- Not dumped: in another database nothing has run yet.
CREATE TABLE steward._job_state (
    name         text PRIMARY KEY,
    last_start   timestamptz NOT NULL,
    last_end     timestamptz NOT NULL,
    last_success timestamptz,
    last_error   text
);
COMMENT ON TABLE steward._job_state IS 'The last run of each job. Written by steward.run_job only; read through steward.job_state.';
REVOKE ALL ON steward._job_state FROM PUBLIC;

CREATE VIEW steward.job_state AS
    SELECT j.name, j.schedule, j.max_age, j.enabled, s.last_start, s.last_end, s.last_success, s.last_error,
        j.enabled AND coalesce(s.last_success, greatest(j.set_at, i.installed_at)) < clock_timestamp() - j.max_age AS overdue
    FROM steward.job j LEFT JOIN steward._job_state s USING (name) CROSS JOIN steward.installation i;
COMMENT ON VIEW steward.job_state IS 'How the jobs went. Everybody may read it.';
COMMENT ON COLUMN steward.job_state.last_success IS 'End of the last run that did not fail.';
COMMENT ON COLUMN steward.job_state.last_error IS 'Why the last run failed: the SQLSTATE and the message without what it quotes; NULL if it did not.';
COMMENT ON COLUMN steward.job_state.overdue IS 'No success within max_age; of one that never ran, since it was installed or enabled.';
REVOKE ALL ON steward.job_state FROM PUBLIC;
GRANT SELECT ON steward.job_state TO PUBLIC;

CREATE TRIGGER make_way BEFORE INSERT ON steward.job FOR EACH ROW EXECUTE FUNCTION steward._make_way('name');

CREATE TABLE steward.job_login (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    role   regrole NOT NULL,
    until  timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 year' CHECK (isfinite(until))
);
COMMENT ON COLUMN steward.job_login.until IS 'The approval behind it stands until then, as that of a standing operation; steward.reminder tells 90, 30 and 7 days before. Then jobs that remove or take back anything stand still, which the daily check tells (lapsed_right); the others go on.';
COMMENT ON TABLE steward.job_login IS 'The login of the post service that runs the jobs, those that remove what is old without an approval of each run. No row: none does. Written by steward.set_job_login and steward.schedule_jobs only.';
REVOKE ALL ON steward.job_login FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.job_login', '');

CREATE FUNCTION steward.run_job(name text) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'run_job_wrapper';
COMMENT ON FUNCTION steward.run_job IS 'Runs a job of steward.job: what cron, systemd and pg_cron call. Records BEGIN JOB and JOB and keeps steward.job_state. True if it succeeded; false, with a WARNING, if it failed: what it had done is then undone, its failure is kept. Errors: 42704 for no such job; 55000 while the same job runs, for one that is not enabled, and wherever it is not the client''s whole statement: inside a transaction block, a block of PL/pgSQL or a larger query; 42501 for others than the login of steward.job_login, the post ops, persons with the capability configure and superusers. Jobs that remove what is old are critical for everybody but that login.';

CREATE FUNCTION steward.set_job(name text, schedule text DEFAULT NULL, max_age interval DEFAULT NULL, enabled boolean DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_job_wrapper';
COMMENT ON FUNCTION steward.set_job IS 'Changes when a job is due, after how long without a success it is overdue, and whether it is run at all; NULL = keep. pg_cron learns of it with the next steward.schedule_jobs(). 42704 for no such job, 22023 for bad values. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.set_job_login(login regrole, until timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_job_login_wrapper';
COMMENT ON FUNCTION steward.set_job_login IS 'Which login of the post service runs the jobs, from any scheduler; NULL = none. until: NULL = for a year, at most two; calling it again renews it, which steward.schedule_jobs does not. 22023 for another login or term. Callers as steward.set_job.';

CREATE FUNCTION steward.schedule_jobs(login regrole DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'schedule_jobs_wrapper';
COMMENT ON FUNCTION steward.schedule_jobs IS 'Makes a job of pg_cron of each enabled job, run by this login (NULL: by that of steward.job_login), which is appointed until when that of steward.job_login was, the first one for a year, and removes those that are not wanted any more; how many there are. Called again it brings pg_cron up to date. 55000 with a HINT if pg_cron is not loaded, not installed, or works in another database; 22023 for a login of another post, and for one that is named after the term is over: steward.set_job_login sets a new one. What pg_cron demands of the caller it demands here too: a superuser. Otherwise callers as steward.set_job.';

CREATE FUNCTION steward.unschedule_jobs() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'unschedule_jobs_wrapper';
COMMENT ON FUNCTION steward.unschedule_jobs IS 'Removes what steward.schedule_jobs() made in pg_cron; how many. The login of steward.job_login stays. Errors and callers as steward.schedule_jobs.';

REVOKE ALL ON FUNCTION steward.run_job, steward.set_job, steward.set_job_login, steward.schedule_jobs, steward.unschedule_jobs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.run_job TO PUBLIC;
