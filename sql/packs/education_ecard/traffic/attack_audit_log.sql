-- The superuser goes for the trail and the policy themselves:  psql -U postgres -f attack_audit_log.sql
\set ON_ERROR_STOP off

SELECT count(*) AS records_before FROM steward.audit_log WHERE result = 'DENIED' \gset

\echo '1. the trail'
UPDATE steward.audit_log SET result = 'SUCCESS' WHERE result = 'DENIED';
DELETE FROM steward.audit_log WHERE user_id = 'teacher_wang';
INSERT INTO steward.audit_log SELECT * FROM steward.audit_log LIMIT 1;
TRUNCATE steward.audit_log;
COPY steward.audit_log FROM '/dev/null';
ALTER TABLE steward.audit_log DISABLE TRIGGER ALL;
DROP TABLE steward.audit_log CASCADE;
ALTER TABLE steward.audit_log RENAME TO audit_log_old;
TRUNCATE steward.journal;

\echo '2. the policy'
UPDATE steward.rule SET min_rows = 1000000 WHERE name = 'bulk_write';
DELETE FROM steward.rule;
INSERT INTO steward.post SELECT * FROM steward.post;
DROP SCHEMA steward CASCADE;

\echo 'no denial may be missing (t):'
SELECT count(*) >= :records_before AS kept FROM steward.audit_log WHERE result = 'DENIED';
