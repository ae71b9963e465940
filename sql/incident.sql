-- Incidents (requirements 85 to 87, 105, 106, 148): the manual's form C for emergency windows, and for what alerts and
-- people tell of otherwise.

-- How soon each level is dealt with (manual 7.1).
CREATE TABLE steward.incident_term (
    level text PRIMARY KEY CHECK (level IN ('general', 'important', 'major')),
    term  interval NOT NULL CHECK (term > interval '0')
);
COMMENT ON TABLE steward.incident_term IS 'Within which time somebody responds to an incident of a level (manual 7.1). Before steward.activate() an administrator may change rows; afterwards nobody.';
INSERT INTO steward.incident_term VALUES ('general', '2 hours'), ('important', '30 minutes'), ('major', '15 minutes');

CREATE TABLE steward._incident (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id     bigint UNIQUE,
    level        text NOT NULL CHECK (level IN ('general', 'important', 'major')),
    occurred_at  timestamptz NOT NULL CHECK (isfinite(occurred_at)),
    description  text NOT NULL CHECK (description <> ''),
    opened_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    opened_by    text,
    responded_at timestamptz,
    responder    text,
    form         jsonb,
    handler      text,
    handled_at   timestamptz,
    confirmer    text CHECK (confirmer <> handler),
    confirmed_at timestamptz,
    CHECK (alert_id IS NOT NULL OR opened_by IS NOT NULL),
    CHECK ((responded_at IS NULL) = (responder IS NULL)),
    CHECK (num_nonnulls(form, handler, handled_at) IN (0, 3)),
    CHECK ((confirmer IS NULL) = (confirmed_at IS NULL)),
    CHECK (confirmer IS NULL OR handler IS NOT NULL)
);
COMMENT ON TABLE steward._incident IS 'Incidents but emergency windows, which are operations. Opened by the sequencer with a major alert, and by steward.open_incident. Read through steward.incident.';
COMMENT ON COLUMN steward._incident.opened_by IS 'NULL: an alert.';

CREATE FUNCTION steward._may_see_records() RETURNS boolean LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', '_may_see_records_wrapper';
COMMENT ON FUNCTION steward._may_see_records() IS 'Whether the caller sees every record and incident: superusers, and persons with the capability audit, approve or configure.';

CREATE VIEW steward.incident WITH (security_barrier) AS
    WITH emergency AS (SELECT o.op_no AS incident_no, NULL::bigint AS alert_id, e.details AS form, e.details ->> 'level' AS level,
            (e.details ->> 'occurred_at')::timestamptz AS occurred_at, e.details ->> 'description' AS description,
            o.executed_at AS responded_at, o.applicant AS responder, e.person AS handler, e.at AS handled_at,
            CASE WHEN o.review_verdict = 'accepted' THEN o.reviewed_by END AS confirmer,
            CASE WHEN o.review_verdict = 'accepted' THEN o.reviewed_at END AS confirmed_at
        FROM steward.operation o
        JOIN LATERAL (SELECT details, person, at FROM steward._operation_event
            WHERE op_no = o.op_no AND event = 'REPORT INCIDENT' ORDER BY n DESC LIMIT 1) e ON true
        WHERE o.origin = 'break_glass'),
    other AS (SELECT format('INC-%s', i.id), i.alert_id, i.form, i.level,
            i.occurred_at, coalesce(i.form ->> 'description', i.description),
            coalesce(i.responded_at, a.acknowledged_at), coalesce(i.responder, a.acknowledged_by),
            i.handler, i.handled_at, i.confirmer, i.confirmed_at
        FROM steward._incident i LEFT JOIN steward._alert a ON a.id = i.alert_id
        WHERE (SELECT steward._may_see_records())
            OR (SELECT steward.current_person()) IN (i.opened_by, i.responder, i.handler))
    SELECT incident_no, occurred_at, level, description,
        round(extract(epoch FROM responded_at - occurred_at) / 60, 1) AS response_minutes,
        form ->> 'process' AS process, form ->> 'result' AS result, handler, handled_at, confirmer, confirmed_at,
        form ->> 'impact' AS impact, form ->> 'root_cause' AS root_cause, form ->> 'evidence' AS evidence, form ->> 'lesson' AS lesson,
        alert_id, responder, responded_at, occurred_at + t.term AS response_due,
        coalesce(responded_at, clock_timestamp()) > occurred_at + t.term AS late,
        CASE WHEN confirmed_at IS NOT NULL THEN 'confirmed' WHEN handled_at IS NOT NULL THEN 'reported'
            WHEN responded_at IS NOT NULL THEN 'in_hand' ELSE 'open' END AS status
    FROM (SELECT * FROM emergency UNION ALL SELECT * FROM other) both_kinds (incident_no, alert_id, form, level, occurred_at, description,
        responded_at, responder, handler, handled_at, confirmer, confirmed_at)
    LEFT JOIN steward.incident_term t USING (level);
COMMENT ON VIEW steward.incident IS 'Incidents as the manual has them (appendix C): emergency windows that are reported, major alerts, and what persons open. response_minutes: from the incident to the opening of the window, the acknowledgement of the alert or steward.respond_to_incident; nobody types it. late: the term of the level (steward.incident_term) was over before. status: open, in_hand, reported, confirmed. confirmer: never the handler. Everybody sees those that they take part in; superusers and persons with the capability audit, approve or configure all; of windows those of the operations that they see.';

CREATE FUNCTION steward.open_incident(level text, description text, occurred_at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'open_incident_wrapper';
COMMENT ON FUNCTION steward.open_incident IS 'Tells of an incident that no alert has opened, and returns its number. level: general, important or major, to be dealt with within 2 hours, 30 and 15 minutes. occurred_at: when it happened, at most 7 days ago; NULL: now. Errors: 22023 level, description or time; 42501 nobody stands behind the login. Every registered person may call it.';

CREATE FUNCTION steward.respond_to_incident(incident_no text) RETURNS double precision
    LANGUAGE c AS 'MODULE_PATHNAME', 'respond_to_incident_wrapper';
COMMENT ON FUNCTION steward.respond_to_incident IS 'Takes an open incident in hand: from now on the caller deals with it. Returns the minutes since it happened. One that an alert has opened is taken in hand with steward.acknowledge. Errors: 42704 no such incident; 55000 somebody has it in hand, or an alert opened it; 42501 neither whoever opened it nor a post with the capability audit, approve, configure or break_glass.';

CREATE FUNCTION steward.report_incident(op_no text, form jsonb) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'report_incident_wrapper';
COMMENT ON FUNCTION steward.report_incident(text, jsonb) IS 'Reports an incident with the fields of the form incident (steward.form, appendix C): {"occurred_at": …, "level": "general, important or major", "description": …, "process": …, "result": "success or failure"}, and as far as they are known impact, root_cause, evidence and lesson. op_no: the number of an emergency window''s operation, or INC-… . Minutes to the response are computed (steward.incident). What is told is in the trail or in steward.incident, and in the audit chain for good; of several reports the last counts, and none comes after the confirmation. Of a window: while steward.form_policy demands it, a review does not accept the window without one; the person who opened it tells, or if that person is suspended posts with the capability configure, who then do not review it. Of another incident: whoever has it in hand tells, or if that person is suspended posts with the capability configure; a report makes its time never later and its level never lower. Errors: 42501 somebody else''s, or about oneself; 22023 a field is missing or wrong, or the incident would be later than its response; 55000 it does not wait for a report; 42704 unknown number.';

CREATE FUNCTION steward.confirm_incident(incident_no text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'confirm_incident_wrapper';
COMMENT ON FUNCTION steward.confirm_incident IS 'Confirms the report of an incident, for good (appendix C, the second signature). Emergency windows are confirmed with steward.review. Errors: 42704 no such incident; 55000 it is not reported, or confirmed already; 42501 whoever reported it, has it in hand or is the subject of the alert that opened it, and persons without the capability audit, approve or configure.';

CREATE FUNCTION steward.search_incidents(words text) RETURNS SETOF steward.incident
    STABLE STRICT LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.* FROM steward.incident i
    WHERE (SELECT bool_and(pg_catalog.strpos(pg_catalog.lower(pg_catalog.concat_ws(' ', i.incident_no, i.description, i.impact, i.process,
            i.root_cause, i.evidence, i.lesson)), pg_catalog.lower(word)) > 0)
        FROM pg_catalog.regexp_split_to_table(pg_catalog.btrim(words), '\s+') word)
    ORDER BY i.occurred_at DESC
$$;
COMMENT ON FUNCTION steward.search_incidents(text) IS 'The incidents that the caller sees (steward.incident) in which every one of these words occurs: what was seen, whom it hit, how it was solved, what was learnt. The last first. Everybody may call it.';

REVOKE ALL ON steward.incident_term, steward._incident, steward.incident FROM PUBLIC;
GRANT SELECT ON steward.incident_term, steward.incident TO PUBLIC;
REVOKE ALL ON FUNCTION steward._may_see_records, steward.open_incident, steward.respond_to_incident, steward.report_incident, steward.confirm_incident,
    steward.search_incidents FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward._may_see_records, steward.open_incident, steward.respond_to_incident, steward.report_incident,
    steward.confirm_incident, steward.search_incidents TO PUBLIC;
