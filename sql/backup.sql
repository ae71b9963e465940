-- The registry of backups (requirements 81 to 84, 119): what hooks of pg_basebackup and pgBackRest tell, and what the
-- server itself says of archiving and standbys.

CREATE FUNCTION steward.register_backup(type text, label text, location text, off_site boolean, bytes bigint, manifest_digest text,
    start_lsn pg_lsn, stop_lsn pg_lsn, started_at timestamptz, stopped_at timestamptz) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'register_backup_wrapper';
COMMENT ON FUNCTION steward.register_backup IS 'Puts a backup on record, as backup or off_site_backup, and returns the number of the record. To be called by the backup''s hook: type (full, differential, incremental, logical), its label, where it is, its size, the SHA-256 of its manifest (64 hexadecimal digits), its LSNs and times as the tool prints them. Errors: 22023 what cannot be a backup of this cluster: LSNs ahead of it or in the wrong order, times in the future, more than 2 days ago or in the wrong order, no digest; 55000 in recovery, or not the client''s whole statement; 42501 as steward.add_record. Callers: logins of the posts ops and service, and of posts with the capability configure.';

CREATE FUNCTION steward.backup_continuity() RETURNS TABLE (what text, name text, ok boolean, state text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'backup_continuity_wrapper';
COMMENT ON FUNCTION steward.backup_continuity() IS 'What the server says of continuous archiving (pg_stat_archiver) and of each standby (pg_stat_replication): whether it goes well, and how it stands. A standby does not do well while it does not stream or is more than 5 seconds behind; a server without one has a row that says so. For superusers and persons with the capability audit, approve or configure: 42501.';

CREATE VIEW steward.backup_coverage WITH (security_barrier) AS
    SELECT day::date AS day, online, off_site, day::date > (now.today - 30) AS online_due,
        off_site > 0 AND (online > 0 OR day::date <= now.today - 30) AS covered
    FROM (SELECT (clock_timestamp() AT TIME ZONE current_setting('steward.time_zone'))::date AS today) now
    CROSS JOIN LATERAL generate_series(now.today - 364, now.today, interval '1 day') day
    CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE r.kind = 'backup') AS online,
            count(*) FILTER (WHERE r.kind = 'off_site_backup') AS off_site
        FROM steward._record r WHERE r.kind IN ('backup', 'off_site_backup') AND r.subject = 'full' AND r.withdrawn_at IS NULL
            AND r.recorded_at - r.done_at <= interval '2 days'
            AND (r.done_at AT TIME ZONE current_setting('steward.time_zone'))::date = day::date) counted
    WHERE (SELECT steward._may_see_records());
COMMENT ON VIEW steward.backup_coverage IS 'Each of the last 365 days, in steward.time_zone, with its full backups on record. covered: there is one off-site, and of the last 30 days one at hand too (manual 6.2). What was put on record more than 2 days after it was made does not count. Readers as steward.backup_continuity.';

REVOKE ALL ON steward.backup_coverage FROM PUBLIC;
GRANT SELECT ON steward.backup_coverage TO PUBLIC;
REVOKE ALL ON FUNCTION steward.register_backup, steward.backup_continuity FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.register_backup, steward.backup_continuity TO PUBLIC;
