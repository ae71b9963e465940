-- The dry run: tier, rule and decision of each statement, and nothing happens.
SELECT step, command, tier, rule, relations, decision FROM steward.classify($script$
    SELECT name FROM app.student WHERE id = 1;
    UPDATE app.student SET note = 'x' WHERE id = 1;
    UPDATE app.student SET id_card = 'ID-new' WHERE id = 1;
    INSERT INTO app.scratch VALUES (1, 'x');
    COPY app.student TO STDOUT;
    VACUUM app.student;
    CREATE INDEX ON app.student (note);
    TRUNCATE app.student CASCADE;
    ALTER TABLE app.guardian ADD COLUMN x int;
    GRANT SELECT ON app.student TO PUBLIC;
    ALTER ROLE clerk_zhao CONNECTION LIMIT 3;
    CREATE ROLE boss SUPERUSER;
    ALTER SYSTEM SET work_mem = '8MB';
    DROP EXTENSION pg_steward;
    DELETE FROM steward.chain
$script$) ORDER BY step;
SELECT step FROM steward.classify('SELEC 1');
SELECT count(*) FROM steward.classify('');
