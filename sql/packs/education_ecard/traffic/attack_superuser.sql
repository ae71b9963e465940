-- The administrator's own session turned against the data:  psql -U postgres -f attack_superuser.sql
-- Without enforcement this destroys the database; run it only where the policy is active, or on a copy.
\set ON_ERROR_STOP off

\echo '1. structure'
TRUNCATE app.guardian;
TRUNCATE app.student CASCADE;
ALTER TABLE app.student DISABLE TRIGGER ALL;
ALTER TABLE app.guardian DROP CONSTRAINT guardian_phone_format;
ALTER TABLE app.student RENAME TO student_old;
ALTER TABLE app.card_transaction DETACH PARTITION app.card_transaction_2026_09;
DROP TABLE app.card_transaction_2026_10;
DROP SCHEMA app CASCADE;
CLUSTER app.student USING student_pkey;

\echo '2. rights'
GRANT ecard_region_admin TO teacher_wang;
GRANT DELETE ON app.student TO ecard_teacher;
CREATE ROLE mallory SUPERUSER LOGIN;
ALTER ROLE teacher_wang CREATEROLE;
ALTER TABLE app.student OWNER TO teacher_wang;

\echo '3. configuration'
ALTER SYSTEM SET log_statement = 'none';
ALTER ROLE postgres SET log_min_messages = 'panic';
COPY app.student TO PROGRAM 'cat > /dev/null';
DROP EXTENSION pg_steward;

\echo '4. rows, in the name of another role'
UPDATE app.student SET phone = '17777777777' WHERE student_id <= 50;
DELETE FROM app.student WHERE student_id <= 60;
SET ROLE ecard_region_admin;
UPDATE app.student SET phone = '17777777777' WHERE student_id <= 50;
RESET ROLE;
SET SESSION AUTHORIZATION app_service;
UPDATE app.student SET phone = '17777777777' WHERE student_id <= 50;
RESET SESSION AUTHORIZATION;

\echo 'what the attack reached (20480 or more students, 0 overwritten, no mallory):'
SELECT count(*) AS students, count(*) FILTER (WHERE phone = '17777777777') AS overwritten FROM app.student;
SELECT count(*) AS mallory FROM pg_roles WHERE rolname = 'mallory';
