-- What a refused session sees: message, DETAIL with rule and rows, HINT with the next command.
SELECT current_user, current_database();

-- Rows.
UPDATE app.student SET note = 'moved' WHERE id <= 50;
BEGIN;
UPDATE app.student SET note = 'moved' WHERE id <= 49;
UPDATE app.student SET note = 'moved' WHERE id = 50;
ROLLBACK;
DELETE FROM app.student WHERE id = 200;
WITH moved AS (UPDATE app.guardian SET name = 'x' RETURNING id) SELECT count(*) FROM moved;
-- No parameters in a hint, and no statement that the client did not type.
PREPARE bulk (int) AS UPDATE app.student SET note = 'moved' WHERE id <= $1;
EXECUTE bulk(50);
DO $$ BEGIN UPDATE app.student SET note = 'moved'; END $$;

-- Structure.
TRUNCATE app.guardian;
ALTER TABLE app.student DISABLE TRIGGER ALL;
DROP TABLE app.guardian;

-- Privileges and configuration.
GRANT SELECT ON app.student TO PUBLIC;
CREATE ROLE intruder SUPERUSER;
ALTER SYSTEM SET work_mem = '8MB';
DROP EXTENSION pg_steward;

-- The trail and the policy.
DELETE FROM steward.chain;
UPDATE steward.rule SET tier = 'normal';
SELECT steward.set_rule('bulk_write', 'normal');
SELECT steward.deactivate();

-- Nothing of it has happened.
SELECT count(*) FILTER (WHERE note <> '') AS changed, count(*) AS students FROM app.student;
SELECT count(*) AS guardians FROM app.guardian;

-- Errors of the statement itself stay what they are.
UPDATE app.student SET id_card = 'ID1' WHERE id = 2;
SELECT nickname FROM app.student;
