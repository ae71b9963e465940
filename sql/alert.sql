-- Alerts: rules over the stream of records, and the cases that they open (requirements 66 to 72).
CREATE TABLE steward.alert_rule (
    name            text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    level           text NOT NULL CHECK (level IN ('minor', 'important', 'major')),
    kinds           text[] NOT NULL DEFAULT '{}' CHECK (kinds <@ ARRAY['statement', 'operation', 'login', 'server', 'policy']),
    operation_types text[] NOT NULL DEFAULT '{}',
    results         text[] NOT NULL DEFAULT '{}' CHECK (results <@ ARRAY['SUCCESS', 'FAILURE', 'DENIED', 'ROLLED_BACK']),
    min_tier        steward.tier,
    longer_than     interval CHECK (longer_than > interval '0' AND longer_than <= interval '1 day'),
    from_time       time,
    to_time         time,
    posts           text[] NOT NULL DEFAULT '{}',
    except_posts    text[] NOT NULL DEFAULT '{}',
    more_than       int NOT NULL DEFAULT 0 CHECK (more_than BETWEEN 0 AND 1000),
    within          interval NOT NULL DEFAULT '1 hour' CHECK (within > interval '0' AND within <= interval '1 year'),
    enabled         boolean NOT NULL DEFAULT true,
    set_by          text,
    CHECK ((from_time IS NULL) = (to_time IS NULL)),
    CHECK (from_time <> to_time)
);
COMMENT ON TABLE steward.alert_rule IS 'What opens an alert: a record that fulfils all that a row says, or more than so many of one person within a time. Empty and NULL: any. Written by steward.set_alert_rule and steward.drop_alert_rule only; installed rows too.';
COMMENT ON COLUMN steward.alert_rule.from_time IS 'In steward.time_zone; from_time after to_time: over midnight.';
COMMENT ON COLUMN steward.alert_rule.posts IS 'Of the person; who is no registered person has none.';
COMMENT ON COLUMN steward.alert_rule.more_than IS '0: every record. Otherwise the next one of the same person, or login, within the time.';
COMMENT ON COLUMN steward.alert_rule.set_by IS 'The person with the capability audit whose own rule it is; NULL: the policy''s.';
INSERT INTO steward.alert_rule (name, level, kinds, operation_types, results, min_tier, longer_than, from_time, to_time, except_posts, more_than, within) VALUES
    -- Manual 5.1, the four of it.
    ('many_operations', 'important', '{statement,operation}', '{}', '{}', NULL, NULL, NULL, NULL, '{service}', 50, '1 hour'),
    ('off_hours', 'important', '{statement,operation}', '{}', '{}', NULL, NULL, '22:00', '07:00', '{service,parent}', 0, '1 hour'),
    ('login_failures', 'important', '{}', '{LOGIN FAILURES}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('without_approval', 'important', '{statement,operation}', '{}', '{DENIED}', 'important', NULL, NULL, NULL, '{}', 0, '1 hour'),
    -- And what an officer would ask about.
    ('permission_failures', 'important', '{}', '{PERMISSION FAILURES}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('out_of_scope', 'minor', '{}', '{OUT OF SCOPE}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('emergency_window', 'major', '{operation}', '{BREAK GLASS}', '{SUCCESS}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('records_lost', 'major', '{server}', '{LOST}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('records_in_doubt', 'major', '{server}', '{TORN SPOOL,UNREADABLE,COPIED SPOOL}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('chain_changed', 'major', '{server}', '{HEAD MISMATCH}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('daily_check', 'important', '{policy}', '{daily_check}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('slow_statement', 'minor', '{statement}', '{}', '{}', NULL, '2 seconds', NULL, NULL, '{}', 0, '1 hour');

CREATE TABLE steward._alert (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule            text NOT NULL,
    level           text NOT NULL,
    subject         text NOT NULL,
    times           bigint NOT NULL CHECK (times > 0),
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    operation_type  text NOT NULL,
    relation        text,
    raised_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at    timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    note            text,
    escalated_at    timestamptz,
    closed_at       timestamptz,
    closed_by       text,
    result          text,
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)),
    CHECK (closed_at IS NULL OR closed_by IS NOT NULL AND result <> '' AND acknowledged_at IS NOT NULL)
);
-- One case that nobody has answered for each subject of a rule: what comes again is counted.
CREATE UNIQUE INDEX alert_open ON steward._alert (rule, subject) WHERE acknowledged_at IS NULL;
CREATE INDEX alert_unanswered ON steward._alert (raised_at) WHERE acknowledged_at IS NULL AND escalated_at IS NULL;
COMMENT ON TABLE steward._alert IS 'Alerts. Written by the sequencer with the records that raised them. Read through steward.alert.';

CREATE FUNCTION steward._may_see_alerts() RETURNS boolean LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', '_may_see_alerts_wrapper';
COMMENT ON FUNCTION steward._may_see_alerts() IS 'Whether the caller sees alerts: superusers, and persons with the capability audit or configure.';

CREATE FUNCTION steward._may_send_alerts() RETURNS boolean LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', '_may_send_alerts_wrapper';
COMMENT ON FUNCTION steward._may_send_alerts() IS 'Whether the caller may send alerts: who sees them, and the post service.';

CREATE VIEW steward.alert WITH (security_barrier) AS
    SELECT id, rule, level, subject, times, first_at, last_at, operation_type, relation, raised_at, delivered_at,
        acknowledged_at, acknowledged_by, note, escalated_at, closed_at, closed_by, result,
        coalesce(acknowledged_at, clock_timestamp()) - raised_at AS response,
        coalesce(acknowledged_at, clock_timestamp()) - raised_at > interval '15 minutes' AS late
    FROM steward._alert WHERE (SELECT steward._may_see_alerts());
COMMENT ON VIEW steward.alert IS 'Alerts, for superusers and persons with the capability audit or configure; nobody else sees a row. subject: the person, or the login of nobody. times: records folded into it, until the rule''s time (within) after the acknowledgement; what comes later is a new alert. response: from the alert to its acknowledgement, or until now. late: not acknowledged within 15 minutes (manual 5.1). Everybody may read it.';

CREATE FUNCTION steward.set_alert_rule(name text, level text, kinds text[] DEFAULT '{}', operation_types text[] DEFAULT '{}',
    results text[] DEFAULT '{}', min_tier steward.tier DEFAULT NULL, longer_than interval DEFAULT NULL, from_time time DEFAULT NULL,
    to_time time DEFAULT NULL, posts text[] DEFAULT '{}', except_posts text[] DEFAULT '{}', more_than int DEFAULT 0,
    within interval DEFAULT '1 hour', enabled boolean DEFAULT true) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_alert_rule_wrapper';
COMMENT ON FUNCTION steward.set_alert_rule IS 'Creates or replaces an alert rule; see steward.alert_rule for what each argument says. It holds for records chained from now on. Who audits adds rules and changes the own ones freely (manual 2.1); every other change is one of the policy: callers as steward.protect. 22023 and 23514 for what makes no rule.';

CREATE FUNCTION steward.drop_alert_rule(name text) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_alert_rule_wrapper';
COMMENT ON FUNCTION steward.drop_alert_rule IS 'Removes an alert rule; its alerts stay. 42704 if there is none. Callers as steward.set_alert_rule.';

CREATE FUNCTION steward.acknowledge(alert_id bigint, note text) RETURNS interval
    LANGUAGE c AS 'MODULE_PATHNAME', 'acknowledge_wrapper';
COMMENT ON FUNCTION steward.acknowledge IS 'Says that somebody looks into an alert, and what they know so far. Returns how long that took; 15 minutes are allowed. 42704 for no open alert that waits for it, 42501 for the person whom it is about and for others than superusers and persons with the capability audit or configure.';

CREATE FUNCTION steward.close_alert(alert_id bigint, result text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'close_alert_wrapper';
COMMENT ON FUNCTION steward.close_alert IS 'Ends an alert that was acknowledged, with what came of it. 22023 without a result, 55000 before steward.acknowledge. Otherwise as steward.acknowledge.';

CREATE FUNCTION steward.confirm_delivery(alert_id bigint) RETURNS boolean
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'confirm_delivery_wrapper';
COMMENT ON FUNCTION steward.confirm_delivery IS 'For the program that sends alerts by mail or message: it has sent this one (steward.alert.delivered_at). False if it was sent before. For superusers, persons with the capability audit or configure, and the post service.';

CREATE VIEW steward.alert_outbox WITH (security_barrier) AS
    SELECT id, rule, level, times, raised_at, escalated_at FROM steward._alert
    WHERE delivered_at IS NULL AND closed_at IS NULL AND (SELECT steward._may_send_alerts());
COMMENT ON VIEW steward.alert_outbox IS 'Open alerts that nobody has sent yet: NOTIFY steward_alert says that there is one, steward.confirm_delivery(id) that it is sent. Whom they are about stays in steward.alert. For superusers, persons with the capability audit or configure, and the post service; nobody else sees a row.';

REVOKE ALL ON steward.alert_rule, steward._alert, steward.alert, steward.alert_outbox FROM PUBLIC;
GRANT SELECT ON steward.alert_rule, steward.alert, steward.alert_outbox TO PUBLIC;
REVOKE ALL ON FUNCTION steward._may_see_alerts, steward._may_send_alerts, steward.set_alert_rule, steward.drop_alert_rule,
    steward.acknowledge, steward.close_alert, steward.confirm_delivery FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward._may_see_alerts, steward._may_send_alerts, steward.acknowledge, steward.close_alert,
    steward.confirm_delivery TO PUBLIC;

-- As steward._make_way(): a dump restores over the installed rows.
CREATE FUNCTION steward._make_way_alert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM steward.alert_rule r WHERE r.name = NEW.name;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION steward._make_way_alert() IS 'Trigger: a new row replaces the one with its key, so that a dump restores over the installed rows.';
REVOKE ALL ON FUNCTION steward._make_way_alert() FROM PUBLIC;
CREATE TRIGGER make_way BEFORE INSERT ON steward.alert_rule FOR EACH ROW EXECUTE FUNCTION steward._make_way_alert();
SELECT pg_catalog.pg_extension_config_dump('steward.alert_rule', '');
