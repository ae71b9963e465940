-- Row scopes: set in an operation, what a teacher sees then, and what is said to mistakes.
\set ECHO errors
\connect - postgres
\set ECHO all
SELECT steward.set_scope('teacher_wang', 'app.student', 'school_id', 'school');
SELECT steward.request($$SELECT steward.set_scope('teacher_wang', 'app.student', 'school_id', 'school');
SELECT steward.set_scope('teacher_wang', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id');
SELECT steward.set_attribute('Wang', 'school', '{1}')$$, purpose => 'teachers see their own school') AS op_no \gset
SELECT digest FROM steward.show(:'op_no') \gset
\set ECHO errors
\connect - reviewer_sun
SELECT steward.approve(:'op_no', :'digest');
\connect - reviewer_zhou
SELECT steward.approve(:'op_no', :'digest');
\connect - region_liu
SELECT steward.confirm(:'op_no', :'digest');
\connect - postgres
\set ECHO all
SELECT step, rows FROM steward.execute(:'op_no');
SELECT relation_name, command, in_force FROM steward.scope_commands();
SELECT id, role, relation, column_name, attribute, via, via_column FROM steward.scope ORDER BY id;

\connect - teacher_wang
SELECT school_id, count(*) FROM app.student GROUP BY school_id;
SELECT count(*) FROM app.guardian WHERE student_id = 199;
UPDATE app.student SET school_id = 2 WHERE id = 4;
INSERT INTO app.student VALUES (1000, 2, 'new', 'ID1000', '13800001000');
UPDATE app.student SET note = 'x' WHERE id = 1;
EXPLAIN (COSTS off) SELECT * FROM app.student WHERE id = 4;
SET row_security = off;
SELECT count(*) FROM app.student;
SELECT steward.set_attribute('Wang', 'school', '{*}');
SELECT * FROM steward.scope_issues();

\connect - auditor_qian
SELECT issue, object, detail FROM steward.scope_issues() ORDER BY 1, 2, 3;
SELECT steward.flush_audit();
SELECT person, operation_type, relations, result, details FROM steward.audit_log WHERE operation_type = 'OUT OF SCOPE' ORDER BY id;
