-- What an exporter reads (requirements 73 to 76, 81, 116, 123, 147, 152).
CREATE INDEX _operation_requested ON steward._operation (created_at) WHERE origin = 'request';
CREATE INDEX _alert_unclosed ON steward._alert (level, raised_at) WHERE closed_at IS NULL;

CREATE FUNCTION steward._metrics() RETURNS TABLE (name text, value float8, labels jsonb)
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_metrics_wrapper';
COMMENT ON FUNCTION steward._metrics() IS 'The state of the server in numbers. For steward.metrics.';

CREATE VIEW steward.metrics AS SELECT * FROM steward._metrics();
COMMENT ON VIEW steward.metrics IS 'The state of policy, trail and daily work in numbers, for exporters: docs/monitoring. It names no person, table or value. For members of pg_monitor, persons with the capability audit and superusers. Rates and response times are of the newest 10000 records, none older than five minutes; NaN where there were none.';
COMMENT ON COLUMN steward.metrics.name IS 'What is measured; seconds, bytes or a number.';
COMMENT ON COLUMN steward.metrics.labels IS 'What distinguishes rows of one name: level, status, job, subject and result, quantile.';

REVOKE ALL ON steward.metrics FROM PUBLIC;
GRANT SELECT ON steward.metrics TO pg_monitor;
REVOKE ALL ON FUNCTION steward._metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward._metrics() TO PUBLIC;
