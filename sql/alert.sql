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
    free_days       boolean NOT NULL DEFAULT false,
    more_rows       bigint CHECK (more_rows >= 0),
    CHECK (more_rows IS NULL OR more_than = 0),
    CHECK ((from_time IS NULL) = (to_time IS NULL)),
    CHECK (from_time <> to_time)
);
COMMENT ON TABLE steward.alert_rule IS 'What opens an alert: a record that fulfils all that a row says, or more than so many of one person within a time. Empty and NULL: any. Written by steward.set_alert_rule and steward.drop_alert_rule only; installed rows too.';
COMMENT ON COLUMN steward.alert_rule.from_time IS 'In steward.time_zone; from_time after to_time: over midnight.';
COMMENT ON COLUMN steward.alert_rule.posts IS 'Of the person; who is no registered person has none.';
COMMENT ON COLUMN steward.alert_rule.more_than IS '0: every record. Otherwise the next one of the same person, or login, within the time.';
COMMENT ON COLUMN steward.alert_rule.free_days IS 'Beside these hours, all day on weekends and holidays; see steward.holiday.';
COMMENT ON COLUMN steward.alert_rule.more_rows IS 'So many rows of the same person within the time are none too many: those that statements returned or changed, or that went into an aggregate which can show them all in one (string_agg, array_agg, json_agg, one of somebody''s own): these stand in the record''s details as rows_read.';
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
    ('rows_missing', 'minor', '{operation}', '{ROWS MISSING}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('login_policy_lost', 'major', '{}', '{LOGIN POLICY LOST,LOGIN WITHOUT POLICY}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('records_lost', 'major', '{server}', '{LOST}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('records_in_doubt', 'major', '{server}', '{TORN SPOOL,UNREADABLE,COPIED SPOOL,DAMAGED JOURNAL,MISSING JOURNAL,DAMAGED COUNT,POSITIONS ALTERED}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('chain_changed', 'major', '{server}', '{HEAD MISMATCH,VERIFICATION FAILED}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('daily_check', 'important', '{policy}', '{daily_check}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('slow_statement', 'minor', '{statement}', '{}', '{}', NULL, '1 second', NULL, NULL, '{}', 0, '1 hour'),
    ('very_slow_statement', 'important', '{statement}', '{}', '{}', NULL, '2 seconds', NULL, NULL, '{}', 0, '1 hour'),
    -- What lasts too long; see steward.alert_condition.
    ('replication_lag', 'important', '{server}', '{REPLICATION LAG}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('standby_missing', 'major', '{server}', '{STANDBY MISSING}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('archive_late', 'important', '{server}', '{ARCHIVE FAILING,ARCHIVE LATE,ARCHIVE AGE}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('backup_late', 'important', '{server}', '{BACKUP OVERDUE}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('missed_check', 'important', '{server}', '{CHECK OVERDUE}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('missed_verification', 'important', '{server}', '{VERIFICATION OVERDUE}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('injection_pattern', 'important', '{server}', '{INJECTION PATTERN}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('syntax_errors', 'minor', '{login}', '{SYNTAX ERRORS}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('failed_job', 'important', '{policy}', '{JOB}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('missed_job', 'important', '{server}', '{JOB OVERDUE}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('sequencer_lag', 'important', '{server}', '{SEQUENCER LAG}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('journal_altered', 'major', '{server}', '{JOURNAL ALTERED}', '{FAILURE}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('clock_step', 'important', '{server}', '{CLOCK STEP}', '{}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour'),
    ('replication_refused', 'major', '{login}', '{REPLICATION COMMAND,BASE_BACKUP,START_REPLICATION,CREATE_REPLICATION_SLOT,DROP_REPLICATION_SLOT}', '{DENIED}', NULL, NULL, NULL, NULL, '{}', 0, '1 hour');
INSERT INTO steward.alert_rule (name, level, kinds, except_posts, more_rows) VALUES
    ('many_rows', 'important', '{statement}', '{service}', 10000);

CREATE TABLE steward.holiday (
    day        date PRIMARY KEY CHECK (isfinite(day)),
    is_holiday boolean NOT NULL,
    name       text NOT NULL CHECK (name <> '')
);
COMMENT ON TABLE steward.holiday IS 'Days that are not what their day of the week says: holidays, and weekends on which people work to make up for them. In steward.time_zone. Written by steward.set_holiday and steward.drop_holiday only.';

CREATE TABLE steward.alert_condition (
    name        text PRIMARY KEY,
    longer_than interval NOT NULL CHECK (longer_than > interval '0' AND longer_than <= interval '1 year'),
    enabled     boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE steward.alert_condition IS 'What of the server itself is recorded once it lasts longer than this, with FAILURE, and at its end, with SUCCESS; alert rules speak of these records. Looked at every five seconds. Written by steward.set_alert_condition only.';
INSERT INTO steward.alert_condition (name, longer_than) VALUES
    ('REPLICATION LAG', '5 seconds'), ('STANDBY MISSING', '5 seconds'), ('ARCHIVE FAILING', '1 minute'), ('ARCHIVE LATE', '15 minutes'),
    ('CHECK OVERDUE', '25 hours'), ('VERIFICATION OVERDUE', '25 hours'), ('SEQUENCER LAG', '30 seconds'),
    ('JOB OVERDUE', '1 second'), ('BACKUP OVERDUE', '26 hours'), ('ARCHIVE AGE', '1 hour'),
    ('JOURNAL ALTERED', '1 millisecond');

-- Questions of auditors; see steward.alert_query.
CREATE TABLE steward._alert_query (
    name    text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    level   text NOT NULL CHECK (level IN ('minor', 'important', 'major')),
    query   text NOT NULL,
    every   interval NOT NULL CHECK (every >= interval '1 minute' AND every <= interval '1 year'),
    timeout interval NOT NULL CHECK (timeout > interval '0' AND timeout <= interval '1 minute'),
    enabled boolean NOT NULL,
    owner   regrole NOT NULL,
    set_by  text NOT NULL
);
COMMENT ON TABLE steward._alert_query IS 'Questions whose answers are alerts. Written by steward.set_alert_query and steward.drop_alert_query only; read through steward.alert_query.';

CREATE TABLE steward._alert_query_run (
    name       text PRIMARY KEY,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    rows       bigint,
    failure    text
);
COMMENT ON TABLE steward._alert_query_run IS 'The last run of each question. Written by the sequencer, which starts it, and by the worker.';

CREATE TABLE steward._condition (
    name    text NOT NULL,
    subject text NOT NULL,
    since   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, subject)
);
COMMENT ON TABLE steward._condition IS 'Conditions that are on record and have not ended. Written by the sequencer.';

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
    sample          text[] NOT NULL DEFAULT '{}',
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)),
    CHECK (closed_at IS NULL OR closed_by IS NOT NULL AND result <> '' AND acknowledged_at IS NOT NULL)
);
-- One case that nobody has answered for each subject of a rule: what comes again is counted.
CREATE UNIQUE INDEX alert_open ON steward._alert (rule, subject) WHERE acknowledged_at IS NULL;
CREATE INDEX alert_unanswered ON steward._alert (raised_at) WHERE acknowledged_at IS NULL;
COMMENT ON TABLE steward._alert IS 'Alerts. Written by the sequencer with the records that raised them. Read through steward.alert.';

CREATE FUNCTION steward._may_see_alerts() RETURNS boolean LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', '_may_see_alerts_wrapper';
COMMENT ON FUNCTION steward._may_see_alerts() IS 'Whether the caller sees alerts: superusers, and persons with the capability audit or configure.';

CREATE FUNCTION steward._may_send_alerts() RETURNS boolean LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', '_may_send_alerts_wrapper';
COMMENT ON FUNCTION steward._may_send_alerts() IS 'Whether the caller may send alerts: who sees them, and the post service.';

CREATE VIEW steward.alert WITH (security_barrier) AS
    SELECT id, rule, level, subject, times, first_at, last_at, operation_type, relation, raised_at, delivered_at,
        acknowledged_at, acknowledged_by, note, escalated_at, closed_at, closed_by, result, sample,
        coalesce(acknowledged_at, clock_timestamp()) - raised_at AS response,
        coalesce(acknowledged_at, clock_timestamp()) - raised_at > interval '15 minutes' AS late
    FROM steward._alert WHERE (SELECT steward._may_see_alerts());
COMMENT ON VIEW steward.alert IS 'Alerts, for superusers and persons with the capability audit or configure; nobody else sees a row. subject: the person, or the login of nobody (login X where a person is called X); of what is overdue its kind, so that hundreds are one alert: sample names ten of them, steward.reminder all. times: records folded into it, until the rule''s time (within) after the acknowledgement; what comes later is a new alert. response: from the alert to its acknowledgement, or until now. late: not acknowledged within 15 minutes (manual 5.1); escalated_at: when it was last told again because of that, every hour. Everybody may read it.';

CREATE FUNCTION steward.set_alert_rule(name text, level text, kinds text[] DEFAULT '{}', operation_types text[] DEFAULT '{}',
    results text[] DEFAULT '{}', min_tier steward.tier DEFAULT NULL, longer_than interval DEFAULT NULL, from_time time DEFAULT NULL,
    to_time time DEFAULT NULL, posts text[] DEFAULT '{}', except_posts text[] DEFAULT '{}', more_than int DEFAULT 0,
    within interval DEFAULT '1 hour', enabled boolean DEFAULT true, free_days boolean DEFAULT false,
    more_rows bigint DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_alert_rule_wrapper';
COMMENT ON FUNCTION steward.set_alert_rule IS 'Creates or replaces an alert rule; see steward.alert_rule for what each argument says. It holds for records chained from now on. Who audits adds rules and changes the own ones freely (manual 2.1); every other change is one of the policy: callers as steward.protect. 22023 and 23514 for what makes no rule.';

CREATE FUNCTION steward.drop_alert_rule(name text) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_alert_rule_wrapper';
COMMENT ON FUNCTION steward.drop_alert_rule IS 'Removes an alert rule; its alerts stay. 42704 if there is none. Callers as steward.set_alert_rule.';

CREATE VIEW steward.alert_query WITH (security_barrier) AS
    SELECT q.name, q.level, q.query, q.every, q.timeout, q.enabled, q.owner, q.set_by, r.started_at, r.ended_at, r.rows, r.failure
    FROM steward._alert_query q LEFT JOIN steward._alert_query_run r USING (name) WHERE (SELECT steward._may_see_alerts());
COMMENT ON VIEW steward.alert_query IS 'Questions of auditors, each asked every so often by a worker of its own, as its owner, in a transaction that can only read; every row of the answer is an alert about its first column; with 100 of them that nobody has closed, what else it finds is a single alert, about ''too many''. Of the last run: when it began and ended, how many rows (100 at most) there were, why it failed. For those who see alerts.';

CREATE FUNCTION steward.set_alert_query(name text, level text, query text, every interval DEFAULT '5 minutes',
    timeout interval DEFAULT '10 seconds', enabled boolean DEFAULT true) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_alert_query_wrapper';
COMMENT ON FUNCTION steward.set_alert_query IS 'Creates or replaces a question of the caller''s own: a single SELECT on schema steward and the catalog, with the caller''s rights, no type, operator or function of anybody''s, and none that is volatile or not PARALLEL SAFE. What fails or takes longer than timeout is an alert too. For persons with the capability audit, ten enabled ones in all. 22023 for any other query, 42501 for somebody else''s, 23514 for less than a minute.';

CREATE FUNCTION steward.drop_alert_query(name text) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_alert_query_wrapper';
COMMENT ON FUNCTION steward.drop_alert_query IS 'Removes a question; its alerts stay. 42704 if there is none. For its owner; others as steward.protect.';

CREATE FUNCTION steward.set_alert_condition(name text, longer_than interval DEFAULT NULL, enabled boolean DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_alert_condition_wrapper';
COMMENT ON FUNCTION steward.set_alert_condition IS 'How long a condition of steward.alert_condition may last before it is recorded, and whether it is asked at all; NULL: as it is. 42704 for none of these. Callers as steward.protect.';

CREATE FUNCTION steward.set_holiday(day date, is_holiday boolean DEFAULT true, name text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_holiday_wrapper';
COMMENT ON FUNCTION steward.set_holiday IS 'Makes a day a holiday, or (false) a day of work whatever its day of the week. It holds for records chained from now on. 22023 without a name. Callers as steward.protect.';

CREATE FUNCTION steward.drop_holiday(day date) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_holiday_wrapper';
COMMENT ON FUNCTION steward.drop_holiday IS 'The day is what its day of the week says again. 42704 if the calendar does not name it. Callers as steward.protect.';

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

REVOKE ALL ON steward.holiday, steward.alert_condition, steward._condition, steward._alert_query, steward._alert_query_run, steward.alert_query,
    steward.alert_rule, steward._alert, steward.alert, steward.alert_outbox FROM PUBLIC;
GRANT SELECT ON steward.alert_query, steward.holiday, steward.alert, steward.alert_outbox TO PUBLIC;
REVOKE ALL ON FUNCTION steward._may_see_alerts, steward._may_send_alerts, steward.set_alert_rule, steward.drop_alert_rule,
    steward.set_alert_query, steward.drop_alert_query, steward.set_alert_condition, steward.set_holiday, steward.drop_holiday, steward.acknowledge, steward.close_alert, steward.confirm_delivery FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward._may_see_alerts, steward._may_send_alerts, steward.acknowledge, steward.close_alert,
    steward.confirm_delivery TO PUBLIC;

CREATE TRIGGER make_way BEFORE INSERT ON steward.alert_rule FOR EACH ROW EXECUTE FUNCTION steward._make_way('name');
CREATE TRIGGER make_way BEFORE INSERT ON steward.holiday FOR EACH ROW EXECUTE FUNCTION steward._make_way('day');
CREATE TRIGGER make_way BEFORE INSERT ON steward.alert_condition FOR EACH ROW EXECUTE FUNCTION steward._make_way('name');
SELECT pg_catalog.pg_extension_config_dump('steward.alert_rule', '');
CREATE TRIGGER make_way BEFORE INSERT ON steward._alert_query FOR EACH ROW EXECUTE FUNCTION steward._make_way('name');
SELECT pg_catalog.pg_extension_config_dump('steward.holiday', '');
SELECT pg_catalog.pg_extension_config_dump('steward._alert_query', '');
SELECT pg_catalog.pg_extension_config_dump('steward.alert_condition', '');
