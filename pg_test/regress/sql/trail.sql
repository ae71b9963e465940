-- What the trail holds after the tests before this one.
SELECT steward.flush_audit();
SELECT user_id, operation_type, table_name, tier, rule, result, count(*)
FROM steward.audit_log WHERE result = 'DENIED'
GROUP BY user_id, operation_type, table_name, tier, rule, result
ORDER BY user_id COLLATE "C", operation_type COLLATE "C", table_name COLLATE "C", rule COLLATE "C";
SELECT operation_type, rows, result, op_no IS NOT NULL AS by_operation FROM steward.audit_log
WHERE operation_type = 'UPDATE' AND table_name = 'app.student' AND rows = 60;
SELECT ok, kind, first_bad_id, checked > 50 AS many FROM steward.verify_chain();
SELECT ok, kind FROM steward.verify_chain(from_id => 1000000);
SELECT steward.verify_chain(anchor => 'nonsense');
SELECT steward.chain_head() AS anchor \gset
SELECT ok, kind, anchored_to IS NOT NULL AS anchored FROM steward.verify_chain(anchor => :'anchor');
\d steward.audit_log
\d steward.audit_logs
