-- The auditor's evening: counts from the trail, no business data:  psql -U auditor_qian -f auditor_qian.sql
\set ON_ERROR_STOP on

SELECT tier, result, count(*) AS records, sum(repeats) AS statements, sum(rows) AS rows
FROM steward.audit_log GROUP BY tier, result ORDER BY tier, result;
SELECT person, user_id, count(*) AS records, count(*) FILTER (WHERE result = 'DENIED') AS denied
FROM steward.audit_log GROUP BY person, user_id ORDER BY denied DESC, records DESC LIMIT 20;
SELECT rule, tier, count(*) FROM steward.audit_log WHERE rule IS NOT NULL GROUP BY rule, tier ORDER BY count(*) DESC LIMIT 20;
SELECT operation_time, user_id, operation_type, table_name, rule FROM steward.audit_log
WHERE result = 'DENIED' ORDER BY id DESC LIMIT 20;
SELECT user_id, operation_type, result, count(*) FROM steward.audit_logs GROUP BY user_id, operation_type, result ORDER BY count(*) DESC LIMIT 20;
SELECT ok, checked, kind, first_bad_id FROM steward.verify_chain();

-- Business data is closed to the auditor, policy or not.
\set ON_ERROR_STOP off
SELECT count(*) FROM app.student;
\set ON_ERROR_STOP on
