-- Reports and searches over the audit trail. Each puts itself on record before it answers.

CREATE FUNCTION steward.security_report(from_time timestamptz, to_time timestamptz, format text DEFAULT 'markdown',
    language text DEFAULT 'zh') RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'security_report_wrapper';
COMMENT ON FUNCTION steward.security_report(timestamptz, timestamptz, text, text) IS 'What happened from from_time until before to_time: operations by tier and day, denials, alerts with their response times, most active persons, weekdays and hours, approvals and changes of the policy, checks, the state of the chain and an anchor; first of all what it could not know (not verified, archived, not chained). format: markdown, or html for one file with charts that fetches nothing. language: zh or en. Days and hours in steward.time_zone. It holds names and numbers, no value of a table and no text of a statement. Its SHA-256 is put on record (SECURITY REPORT) before it is returned; see steward.check_report. 22023 for bad arguments, 42501 but for superusers and persons with the capability audit or configure, 55000 outside the home database.';

CREATE FUNCTION steward.check_report(report text, OUT genuine boolean, OUT made_at timestamptz, OUT made_by text,
    OUT record_id bigint, OUT sha256 text) RETURNS SETOF record
    LANGUAGE c AS 'MODULE_PATHNAME', 'check_report_wrapper';
COMMENT ON FUNCTION steward.check_report(text) IS 'Whether a text is a report of steward.security_report, unchanged; one row. genuine: its SHA-256 stands in a record of the chain, record_id; NULL: the records among which it would be are archived. Line ends and blank space at the end do not count. Whether the chain itself is right says steward.verify_chain. Callers as steward.security_report.';

CREATE FUNCTION steward.mlps_report() RETURNS TABLE (code text, clause text, control_zh text, control_en text, verdict text,
    facts text, query text, high_risk boolean)
    LANGUAGE c AS 'MODULE_PATHNAME', 'mlps_report_wrapper';
COMMENT ON FUNCTION steward.mlps_report() IS 'The control points of MLPS level 3 (GB/T 22239-2019, 8.1) that concern a database, one row each, as the server stands now. verdict: conforms, partly, fails, organisational (people must answer it), not_applicable, unknown (the query failed; facts says why). facts: what the verdict rests on. query: the SQL behind it, for an assessor who is a superuser to run. high_risk: failing it fails the assessment. A verdict is about what the database can see: that it conforms proves nothing about what people do. Callers as steward.security_report.';

CREATE FUNCTION steward._log_ids(from_time timestamptz, to_time timestamptz, late interval, relation text, conditions jsonb,
    max_rows int DEFAULT 0, OUT first_id bigint, OUT last_id bigint, OUT ids bigint[]) RETURNS SETOF record
    LANGUAGE c AS 'MODULE_PATHNAME', '_log_ids_wrapper';
COMMENT ON FUNCTION steward._log_ids(timestamptz, timestamptz, interval, text, jsonb, int) IS 'The ids between which the records of a time lie, and the first of those that fulfil the conditions. Puts the search on record. For steward.search_log.';

-- Runs with the rights of who calls, who needs those on steward.audit_log.
CREATE FUNCTION steward.search_log(from_time timestamptz, to_time timestamptz, person text DEFAULT NULL, role text DEFAULT NULL,
    operation text DEFAULT NULL, relation text DEFAULT NULL, result text DEFAULT NULL, tier steward.tier DEFAULT NULL,
    rule text DEFAULT NULL, op_no text DEFAULT NULL, max_rows int DEFAULT 100, after_id bigint DEFAULT 0,
    late interval DEFAULT '1 day') RETURNS SETOF steward.audit_log
    LANGUAGE plpgsql ROWS 100 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    page bigint[];
BEGIN
    SELECT i.ids INTO page FROM steward._log_ids($1, $2, $13, $6, jsonb_strip_nulls(jsonb_build_object(
        'from', $1, 'to', $2, 'person', $3, 'role', $4, 'operation', $5, 'relation', $6, 'result', $7, 'tier', $8, 'rule', $9,
        'op_no', $10, 'after', nullif($12, 0))), $11) i;
    RETURN QUERY SELECT l.* FROM steward.audit_log l WHERE l.id = ANY (page) ORDER BY l.id;
END $$;
COMMENT ON FUNCTION steward.search_log(timestamptz, timestamptz, text, text, text, text, text, steward.tier, text, text, int, bigint, interval) IS 'Records that began from from_time until before to_time, with all columns of steward.audit_log, in the order of their ids; NULL: any. role: login, role whose rights were used, or a group that the login is a member of today. relation: schema.table, any of those of the record. after_id: the last id of the page before. Only the part of the chain is read in which they can lie; late says how long after its begin a record may have been chained: longer statements, and what came from a standby later, are found with a longer one. The search is on record (SEARCH LOG), and so is the reading of the view. 42501 but for superusers and persons with the capability audit; 22023 for bad arguments.';

REVOKE ALL ON FUNCTION steward.security_report, steward.check_report, steward.mlps_report, steward._log_ids, steward.search_log FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.security_report, steward.check_report, steward.mlps_report, steward._log_ids, steward.search_log TO PUBLIC;
