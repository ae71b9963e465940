-- The auditor: the whole trail, and no sensitive value, neither in the tables nor in what the records tell.
\connect - auditor_qian
SELECT count(*) FROM app.student;
SELECT name FROM app.guardian LIMIT 1;
SELECT steward.flush_audit();
SELECT person, user_id, operation_type, table_name, rule FROM steward.audit_log
    WHERE result = 'DENIED' AND person IN ('徐丽华', '王雅琴', '赵晓燕') AND rule IS NOT NULL ORDER BY id;
SELECT person, operation_type, relations, count(*) FROM steward.audit_log
    WHERE operation_type = 'OUT OF SCOPE' AND person IN ('徐丽华', '王雅琴', '赵晓燕', '刘慧敏') GROUP BY person, operation_type, relations ORDER BY 1, 3;
-- Numbers that were written stand nowhere in it.
SELECT count(*) FROM steward.audit_log WHERE concat_ws(' ', statement, details) ~ '13862051120|320508202003159112|13952410008';
SELECT ok, kind FROM steward.verify_chain();
UPDATE steward.audit_log SET person = 'x';
UPDATE app.student SET phone = '13800000000' WHERE student_id = 20;
