-- Maintenance windows: when operations may run.
CREATE TABLE steward.maintenance_window (
    name      text PRIMARY KEY CHECK (name <> ''),
    tier      steward.tier,
    rule      text,
    days      int[] NOT NULL CHECK (cardinality(days) BETWEEN 1 AND 7 AND days <@ ARRAY[1, 2, 3, 4, 5, 6, 7]),
    from_time time NOT NULL,
    to_time   time NOT NULL CHECK (to_time <> from_time),
    CHECK ((tier IS NULL) <> (rule IS NULL))
);
COMMENT ON TABLE steward.maintenance_window IS 'When operations may begin to run, in steward.time_zone. Several windows of one tier or rule: in any of them. No window: always. Written by steward.set_window and steward.drop_window only.';
COMMENT ON COLUMN steward.maintenance_window.tier IS 'For operations of this tier and of higher ones.';
COMMENT ON COLUMN steward.maintenance_window.rule IS 'For operations that the rule of this name matches.';
COMMENT ON COLUMN steward.maintenance_window.days IS 'Days on which it opens: 1 is Monday, 7 Sunday.';
COMMENT ON COLUMN steward.maintenance_window.to_time IS 'Earlier than from_time: on the next day.';

REVOKE ALL ON steward.maintenance_window FROM PUBLIC;
GRANT SELECT ON steward.maintenance_window TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.maintenance_window', '');

CREATE FUNCTION steward.set_window(name text, rule_or_tier text, days int[], from_time time, to_time time) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_window_wrapper';
COMMENT ON FUNCTION steward.set_window IS 'Creates or replaces a maintenance window. rule_or_tier: a tier (operations of it and of higher ones) or the name of a rule (operations that it matches). days: 1 (Monday) to 7 on which it opens. Times are those of steward.time_zone; to_time before from_time means the next day, 24:00 the end of the day. Operations run only inside a window, their term must reach into one, and a run that has begun may outlast it. Errors: 22023 bad days or times, 42704 neither tier nor rule. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.drop_window(name text) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_window_wrapper';
COMMENT ON FUNCTION steward.drop_window IS 'Removes a maintenance window. 42704 if there is none. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

REVOKE ALL ON FUNCTION steward.set_window, steward.drop_window FROM PUBLIC;
