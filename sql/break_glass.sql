-- Emergency windows.
CREATE TABLE steward.break_glass_limit (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    max_duration interval NOT NULL CHECK (max_duration BETWEEN interval '1 second' AND interval '8 hours')
);
COMMENT ON TABLE steward.break_glass_limit IS 'The longest term of an emergency window. One row; written by steward.set_break_glass_limit only.';
INSERT INTO steward.break_glass_limit (max_duration) VALUES ('1 hour');
CREATE TRIGGER make_way BEFORE INSERT ON steward.break_glass_limit FOR EACH ROW EXECUTE FUNCTION steward._make_way();
REVOKE ALL ON steward.break_glass_limit FROM PUBLIC;
GRANT SELECT ON steward.break_glass_limit TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.break_glass_limit', '');

CREATE INDEX _operation_break_glass ON steward._operation (applicant, review_due) WHERE origin = 'break_glass' AND status = 'executed';

CREATE FUNCTION steward.set_break_glass_limit(max_duration interval) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_break_glass_limit_wrapper';
COMMENT ON FUNCTION steward.set_break_glass_limit(interval) IS 'Sets the longest term of an emergency window, one second to eight hours; installed: one hour. 22023 without a term, 23514 for others. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.break_glass(reason text, duration interval DEFAULT '15 min') RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'break_glass_wrapper';
COMMENT ON FUNCTION steward.break_glass(text, interval) IS 'Opens an emergency window for this session and returns the number of its operation: until its term ends, statements that need an approved operation run without one. Posts that change nothing alone ask with the first call; once a second person has confirmed the operation with steward.confirm, within 10 minutes, the same call in the same session opens the window. Everything in it is critical, on record before it runs and kept for steward.restore; listeners of the channel steward_alert and the server log are told at once; somebody else must review it. Never in a window: schema steward, the policy, what rules demand more approvals for than the tier, files, programs, libraries, the catalog by hand, extensions, settings of steward and of what records depend on. It ends with its term, steward.end_break_glass(), DISCARD ALL, the session, and when another role is put on. A statement of its own, outside of a transaction block; no rollback undoes it. reason: 10 to 1000 characters. duration: up to steward.break_glass_limit. Errors: 42501 without the capability break_glass, the post service, inside a function or a transaction block, a window is open in this session; 55000 no code verified within 5 minutes, not confirmed, a window in another session, a former window unreviewed past its term, no alert could be raised, the policy refuses nothing now; 22023 reason or duration. May be called by persons whose post gives the capability break_glass.';

CREATE FUNCTION steward.end_break_glass() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'end_break_glass_wrapper';
COMMENT ON FUNCTION steward.end_break_glass() IS 'Ends the emergency window of this session, whatever becomes of the transaction. 55000 if there is none. Everybody may call it, for themselves.';

REVOKE ALL ON FUNCTION steward.set_break_glass_limit(interval), steward.break_glass(text, interval), steward.end_break_glass() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.break_glass(text, interval), steward.end_break_glass() TO PUBLIC;

CREATE FUNCTION steward.report_incident(op_no text, form jsonb) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'report_incident_wrapper';
COMMENT ON FUNCTION steward.report_incident(text, jsonb) IS 'Reports the emergency behind a window, with the fields of the form incident (steward.form, appendix C): {"occurred_at": …, "level": "general, important or major", "description": …, "process": …, "result": "success or failure"}. The number is the operation''s, the minutes to the response are computed (steward.incident). It is in the trail and in the audit chain for good; of several reports the last counts. While steward.form_policy demands it, a review does not accept the window without one. Errors: 42501 somebody else''s emergency; 22023 a field is missing or wrong, or the emergency would be later than its window; 55000 no window that waits for its review; 42704 unknown number. May be called by the person who opened the window; if that person is suspended, by posts with the capability configure, who then do not review it.';
REVOKE ALL ON FUNCTION steward.report_incident(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.report_incident(text, jsonb) TO PUBLIC;

CREATE VIEW steward.incident WITH (security_barrier) AS
    SELECT o.op_no AS incident_no, (e.details ->> 'occurred_at')::timestamptz AS occurred_at, e.details ->> 'level' AS level,
        e.details ->> 'description' AS description,
        round(extract(epoch FROM o.executed_at - (e.details ->> 'occurred_at')::timestamptz) / 60, 1) AS response_minutes,
        e.details ->> 'process' AS process, e.details ->> 'result' AS result, e.person AS handler, e.at AS handled_at,
        CASE WHEN o.review_verdict = 'accepted' THEN o.reviewed_by END AS confirmer,
        CASE WHEN o.review_verdict = 'accepted' THEN o.reviewed_at END AS confirmed_at
    FROM steward.operation o
    JOIN LATERAL (SELECT details, person, at FROM steward._operation_event
        WHERE op_no = o.op_no AND event = 'REPORT INCIDENT' ORDER BY n DESC LIMIT 1) e ON true
    WHERE o.origin = 'break_glass';
COMMENT ON VIEW steward.incident IS 'Emergencies as the manual has them (appendix C): the reports of steward.report_incident. response_minutes: from the emergency to the opening of the window. confirmer: who accepted the window in its review, never the handler. Everybody sees those of the operations that they see.';
GRANT SELECT ON steward.incident TO PUBLIC;
