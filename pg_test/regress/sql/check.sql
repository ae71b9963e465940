-- The daily check: what it finds, who sees it, and how a case ends.
SELECT * FROM steward.daily_check()
WHERE check_name NOT IN ('configuration_drift', 'weak_authentication', 'overdue_review') ORDER BY 1;
SELECT check_name, relation, issue_count, sample, status FROM steward.integrity_issues WHERE relation IS NOT NULL ORDER BY 1;
SELECT overdue FROM steward.check_status;
SELECT steward.close_issue(id, '  ') FROM steward.integrity_issues WHERE check_name = 'class';
SELECT steward.close_issue(id, 'the notes are optional') FROM steward.integrity_issues WHERE check_name = 'class';
SELECT status, fixer, result FROM steward.integrity_issues WHERE check_name = 'class';
SELECT steward.close_issue(0, 'no such case');
-- Under the active policy a check is changed like the policy.
SELECT steward.drop_check('class');
-- A clerk sees nothing of it.
\connect - clerk_zhao
SELECT count(*) FROM steward.integrity_issues;
SELECT * FROM steward.daily_check();
\connect - postgres
