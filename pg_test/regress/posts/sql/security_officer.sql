-- The security officer: what the policy is and who may what; not the data that it protects.
\connect - security_han
SELECT count(*) FROM app.school;
SELECT count(*) FROM app.student;
SELECT table_name, column_name, access, sample FROM steward.access('ecard_clerk')
    WHERE table_name IN ('app.student', 'app.guardian') AND access <> 'denied' ORDER BY table_name, column_name;
SELECT column_name, access, sample FROM steward.access('ecard_reviewer') WHERE table_name = 'app.student' AND access = 'masked' ORDER BY column_name;
SELECT count(*) FROM steward.access('ecard_auditor') WHERE access <> 'denied' AND table_name LIKE 'app.%' AND table_name NOT IN ('app.region', 'app.school');
SELECT relation_name, in_force, count(*) FROM steward.scope_commands() GROUP BY relation_name, in_force ORDER BY 1;
SELECT steward.drop_mask('ecard_clerk', 'phone');
SELECT steward.set_attribute('王雅琴', 'school', '{1,2}');
