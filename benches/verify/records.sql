-- A few statements under policy, so that there are genuine audit records to make a long chain of.
CREATE EXTENSION pg_steward;
CREATE ROLE teacher_wang LOGIN;
CREATE SCHEMA app;
CREATE TABLE app.student (id int PRIMARY KEY, name text NOT NULL, phone text NOT NULL, note text NOT NULL DEFAULT '');
INSERT INTO app.student SELECT n, 'student ' || n, '1380000' || lpad(n::text, 4, '0') FROM generate_series(1, 200) AS n;
GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT SELECT, UPDATE ON app.student TO teacher_wang;
SELECT steward.protect('app.student') \g /dev/null
SELECT steward.register_person('Wang', 'teacher', roles => '{teacher_wang}') \g /dev/null
\connect - teacher_wang
SELECT format('UPDATE app.student SET note = %L, phone = phone WHERE id = %s AND name LIKE %L', 'seen', n, 'student%') FROM generate_series(1, 50) AS n \gexec
SELECT format('SELECT name, phone FROM app.student WHERE id = %s AND note <> %L ORDER BY name LIMIT 1', n, '') FROM generate_series(1, 50) AS n \g /dev/null
\connect - postgres
SELECT steward.flush_audit() \g /dev/null
