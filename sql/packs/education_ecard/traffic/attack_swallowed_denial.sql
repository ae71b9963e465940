-- Refused writes whose errors are caught or rolled back, so that no client sees them: the trail still must.
--   psql -U region_chen -f attack_swallowed_denial.sql
\set ON_ERROR_STOP off

\echo '1. caught in a block'
DO $$
BEGIN
    UPDATE app.student SET phone = '18888888888' WHERE student_id BETWEEN 401 AND 460;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'swallowed: %', SQLSTATE;
END
$$;

\echo '2. caught again and again, a little less each time, until something passes'
DO $$
BEGIN
    FOR size IN REVERSE 55 .. 52 LOOP
        BEGIN
            UPDATE app.student SET phone = '18888888888' WHERE student_id BETWEEN 401 AND 400 + size;
            EXIT;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'swallowed at %', size;
        END;
    END LOOP;
END
$$;

\echo '3. behind a savepoint, and the whole transaction taken back'
BEGIN;
SAVEPOINT attempt;
DELETE FROM app.guardian WHERE student_id BETWEEN 401 AND 470;
ROLLBACK TO SAVEPOINT attempt;
ROLLBACK;

\echo 'what the attack reached (0 under enforcement):'
SELECT count(*) AS overwritten FROM app.student WHERE phone = '18888888888';
