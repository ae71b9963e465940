-- The set-up calls, and what they say to a mistake. Ends with the small school of the cluster tests, active.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set school :abs_srcdir '/../cluster/school.sql'
\o /dev/null
\i :school
\o
\set ECHO all

-- Tables only.
CREATE VIEW app.student_view AS SELECT id FROM app.student;
SELECT steward.protect('app.student_view');
SELECT steward.protect('app.no_such_table');
-- Setting up again changes nothing.
SELECT steward.protect('app.student');
SELECT steward.unprotect('app.scratch');

-- Rules.
SELECT steward.set_rule('x', 'extreme');
SELECT steward.set_rule('x', 'critical', commands => '{FROBNICATE}');
SELECT steward.set_rule('x', 'critical', relation_pattern => '(');
SELECT steward.set_rule('x', 'critical', min_rows => 0);
SELECT steward.set_rule('x', 'critical', commands => '{READ,EXPORT}', min_rows => 5);
SELECT steward.set_rule('', 'critical');
SELECT steward.drop_rule('no_such_rule');
SELECT name, tier, commands[1] AS command, cardinality(commands) AS commands, classes, min_rows FROM steward.rule ORDER BY tier DESC, name;

-- Persons.
SELECT steward.register_person('Ghost', 'wizard', roles => '{teacher_wang}');
SELECT steward.register_person('Second', 'teacher', roles => '{teacher_wang}');
SELECT steward.suspend_person('Nobody', 'left');

-- Data classes.
SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
SECURITY LABEL FOR pg_steward ON TABLE app.student IS 'phone';
SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS NULL;

-- What this version does not build is refused, not ignored.
SELECT steward.set_tier_policy('critical', pre_image => true);
SELECT steward.set_tier_policy('critical', approvals => -1);

-- The second factor needs a key and everybody's enrolment.
SELECT steward.set_tier_policy('critical', second_factor => true, post => 'service');
SELECT steward.set_tier_policy('critical', second_factor => true);
SELECT steward.enroll_totp();
SELECT steward.verify_totp('12345');
SELECT steward.verify_totp('123456');
SELECT steward.reset_totp('Chen');
SELECT steward.activate();
SELECT * FROM steward._second_factor;
COPY steward._second_factor TO STDOUT;
SELECT steward.set_tier_policy('critical', second_factor => false);

-- Integrity checks.
SELECT steward.set_check('duplicate_id_card', 'app.student', 'unique', '{id_card}');
SELECT steward.set_check('number_of_id_card', 'app.student', 'checksum', '{id_card}', 'id_card');
SELECT steward.set_check('school', 'app.student', 'reference', '{school_id}', 'app.school(id)');
SELECT steward.set_check('class', 'app.student', 'expression', '{note}', 'note <> ''''');
SELECT steward.set_check('class', 'app.student', 'clever', '{note}');
SELECT steward.set_check('class', 'app.student', 'format', '{note}', '(');
SELECT steward.set_check('class', 'app.student', 'expression', '{note}', 'true) OR (true');
SELECT steward.set_check('class', 'app.student', 'range', '{no_such_column}', '0..9');
SELECT steward.drop_check('no_such_check');

-- Activation tells what is missing.
CREATE ROLE stranger LOGIN;
SELECT steward.activate();
DROP ROLE stranger;
SELECT steward.activate();
SELECT steward.activate();
