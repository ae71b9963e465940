-- The story that `make demo` plays: a risky write is refused, approved, executed and chained.
-- Each statement is echoed before the server's answer. Lines that begin with a backslash are psql's: they change
-- the login, print headings, and check that the answer was the one that is told here.
-- Runs once, on a freshly loaded pack.
\set QUIET on
\pset pager off
\set SHOW_CONTEXT never
\set ECHO queries
\set QUIET off

\echo
\echo '== 1. The policy is set up and becomes active. From now on it holds for everybody.'
\echo
SELECT relation, row_images FROM steward.protected ORDER BY relation::text;
\set expected 55000
\set ON_ERROR_STOP off
SELECT steward.activate();
\set ON_ERROR_STOP on
\ir refused.sql
\echo
\echo '-- So each of them scans a secret once. region_chen (the others unseen):'
\connect - region_chen
SELECT steward.enroll_totp() AS uri \gset
\echo :uri
\set scanned `./phone region_chen enrol :'uri'`
\set login region_liu
\ir enrol.sql
\set login reviewer_sun
\ir enrol.sql
\set login reviewer_zhou
\ir enrol.sql
\set login security_han
\ir enrol.sql
\set login ops_wu
\ir enrol.sql
\set login ops_zheng
\ir enrol.sql
\set login teacher_wang
\ir enrol.sql
\set login teacher_li
\ir enrol.sql
\connect - postgres
SELECT steward.activate();

\echo
\echo '== 2. Normal work passes untouched.'
\echo '-- teacher_wang: a look at one class, a new phone number, and 49 children who change their class.'
\connect - teacher_wang
SELECT student_id, name, grade, class_no, phone FROM app.student WHERE student_id BETWEEN 101 AND 104 ORDER BY student_id;
UPDATE app.student SET phone = '13862051120' WHERE student_id = 101;
UPDATE app.student SET class_no = 9 WHERE student_id BETWEEN 101 AND 149;
\set rows :ROW_COUNT
\set ECHO none
SELECT :rows = 49 AS as_told \gset
\ir as_told.sql

\echo
\echo '== 3. Fifty rows are a bulk write: critical, and refused. The hint is the next command.'
\echo
\set expected 42501
\set ON_ERROR_STOP off
UPDATE app.student SET class_no = 9 WHERE student_id BETWEEN 101 AND 150;
\set ON_ERROR_STOP on
\ir refused.sql
\echo
\echo '-- A superuser is refused as well, for a single row too: the post ops changes nothing alone.'
\connect - postgres
\set ON_ERROR_STOP off
UPDATE app.student SET class_no = 9 WHERE student_id = 101;
\set ON_ERROR_STOP on
\ir refused.sql
\echo
\echo '-- Caught inside a block, no client ever sees the error. The audit trail has it (section 8).'
\connect - region_chen
DO $$
BEGIN
    UPDATE app.student SET class_no = 9 WHERE student_id BETWEEN 101 AND 150;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'swallowed: %', SQLERRM;
END
$$;
\echo '-- Nothing has changed beyond the 49 rows.'
SELECT count(*) FROM app.student WHERE class_no = 9 AND student_id BETWEEN 101 AND 160;

\echo
\echo '== 4. So it is requested: region_chen types a code, files it and gets its number.'
\echo
\set expected 55000
\set ON_ERROR_STOP off
SELECT steward.request($s$UPDATE app.student SET class_no = 9 WHERE student_id BETWEEN 101 AND 160$s$, purpose => '并班');
\set ON_ERROR_STOP on
\ir refused.sql
\set code `./phone region_chen`
SELECT steward.verify_totp(:'code');
\echo '-- Each code serves once.'
\set expected 42501
\set ON_ERROR_STOP off
SELECT steward.verify_totp(:'code');
\set ON_ERROR_STOP on
\ir refused.sql
SELECT steward.request($s$UPDATE app.student SET class_no = 9 WHERE student_id BETWEEN 101 AND 160$s$,
    purpose => '并班：六十名学生转入九班', expected_rows => 60) AS op_no \gset
SELECT op_no, tier, status, approvals_needed, approvals_given, script FROM steward.show(:'op_no') \gx
\set ECHO none
SELECT digest FROM steward.show(:'op_no') \gset
\set ECHO queries
\echo '-- Those who apply cannot approve, and one who may do both, the security officer, cannot approve alone.'
\set ON_ERROR_STOP off
SELECT steward.approve(:'op_no', :'digest');
\set ON_ERROR_STOP on
\ir refused.sql
\connect - security_han
\set code `./phone security_han`
SELECT steward.verify_totp(:'code');
SELECT steward.request($s$SELECT steward.set_rule('bulk_write', 'normal')$s$, purpose => '放宽批量规则') AS own_op_no \gset
\set ECHO none
SELECT digest AS own_digest FROM steward.show(:'own_op_no') \gset
\set ECHO queries
\set ON_ERROR_STOP off
SELECT steward.approve(:'own_op_no', :'own_digest');
\set ON_ERROR_STOP on
\ir refused.sql

\echo
\echo '== 5. Two other persons: reviewer_sun approves the exact text, region_liu stands by as the second person.'
\echo
\connect - reviewer_sun
\set code `./phone reviewer_sun`
SELECT steward.verify_totp(:'code');
SELECT * FROM steward.inbox WHERE op_no = :'op_no' \gx
SELECT steward.approve(:'op_no', :'digest', '已核对名单');
\connect - region_liu
\set code `./phone region_liu`
SELECT steward.verify_totp(:'code');
SELECT steward.confirm(:'op_no', :'digest');

\echo
\echo '== 6. region_chen executes it by its number. It changes its sixty rows, once.'
\echo
\connect - region_chen
\set code `./phone region_chen`
SELECT steward.verify_totp(:'code');
SELECT * FROM steward.execute(:'op_no');
SELECT count(*) AS moved FROM app.student WHERE class_no = 9 AND student_id BETWEEN 101 AND 160;
\set ECHO none
SELECT count(*) = 60 AS as_told FROM app.student WHERE class_no = 9 AND student_id BETWEEN 101 AND 160 \gset
\ir as_told.sql
\echo '-- A second time is refused.'
\set expected 55000
\set ON_ERROR_STOP off
SELECT * FROM steward.execute(:'op_no');
\set ON_ERROR_STOP on
\ir refused.sql

\echo
\echo '== 7. The superuser has no other way: structure, privileges, settings, the extension, the trail itself.'
\echo
\connect - postgres
\set expected 42501
\set ON_ERROR_STOP off
TRUNCATE app.guardian;
\set ON_ERROR_STOP on
\ir refused.sql
\set ON_ERROR_STOP off
GRANT DELETE ON app.student TO PUBLIC;
\set ON_ERROR_STOP on
\ir refused.sql
\set ON_ERROR_STOP off
ALTER SYSTEM SET log_statement = 'none';
\set ON_ERROR_STOP on
\ir refused.sql
\set ON_ERROR_STOP off
DROP EXTENSION pg_steward;
\set ON_ERROR_STOP on
\ir refused.sql
\set ON_ERROR_STOP off
DELETE FROM steward.audit_log WHERE result = 'DENIED';
\set ON_ERROR_STOP on
\ir refused.sql
\set ON_ERROR_STOP off
UPDATE steward.audit_log SET result = 'SUCCESS' WHERE result = 'DENIED';
\set ON_ERROR_STOP on
\ir refused.sql

\echo
\echo '== 8. Every step stands in the chain, the refused ones included.'
\echo
\connect - auditor_qian
SELECT steward.flush_audit();
\echo '-- The operation, step by step.'
SELECT id, person, operation_type, table_name, tier, rows, result
FROM steward.audit_log WHERE op_no = :'op_no' ORDER BY id;
\echo '-- What was refused; also what a block had swallowed.'
SELECT id, user_id, operation_type, table_name, rule, result FROM steward.audit_log WHERE result = 'DENIED' ORDER BY id;
\set ECHO none
SELECT count(*) >= 9 AND count(*) FILTER (WHERE user_id = 'region_chen' AND operation_type = 'UPDATE') = 1 AS as_told
FROM steward.audit_log WHERE result = 'DENIED' \gset
\ir as_told.sql
\echo '-- The chain verifies. Its head, kept elsewhere, proves later that nothing was rewritten or cut off.'
SELECT ok, checked, kind, first_bad_id FROM steward.verify_chain();
SELECT steward.chain_head() AS anchor \gset
\echo :anchor
SELECT ok, checked, kind, anchored_to FROM steward.verify_chain(anchor => :'anchor');
\set ECHO none
SELECT ok AND kind = 'ok' AS as_told FROM steward.verify_chain(anchor => :'anchor') \gset
\ir as_told.sql
