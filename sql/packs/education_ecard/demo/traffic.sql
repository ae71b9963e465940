-- What the trail says of the day's traffic.
\set QUIET on
\pset pager off
\pset null ''
\unset QUIET
SELECT steward.flush_audit();
SELECT user_id, tier, result, count(*) FROM steward.audit_log
WHERE id > (SELECT max(id) FROM steward.audit_log WHERE operation_type = 'EXECUTE') AND user_id <> 'pg_steward' AND tier IS NOT NULL
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT ok, checked, kind FROM steward.verify_chain();
