-- A teacher's login, stolen: overwrite phone numbers in bulk, in every disguise:  psql -U teacher_wang -f attack_bulk_phone.sql
-- Without enforcement this does its damage; run it only where the policy is active, or on a copy.
\set ON_ERROR_STOP off

\echo '1. the whole school at once'
UPDATE app.student SET phone = '19999999999' WHERE school_id = 1;

\echo '2. exactly fifty'
UPDATE app.student SET phone = '19999999999' WHERE student_id BETWEEN 201 AND 250;

\echo '3. forty-nine and one in a transaction'
BEGIN;
UPDATE app.student SET phone = '19999999999' WHERE student_id BETWEEN 201 AND 249;
UPDATE app.student SET phone = '19999999999' WHERE student_id = 250;
COMMIT;

\echo '4. hidden in a data-modifying CTE'
WITH changed AS (
    UPDATE app.student SET phone = '19999999999' WHERE student_id BETWEEN 201 AND 280 RETURNING student_id
)
SELECT count(*) FROM changed;

\echo '5. row by row in a block'
DO $$
BEGIN
    FOR pupil IN 201 .. 280 LOOP
        UPDATE app.student SET phone = '19999999999' WHERE student_id = pupil;
    END LOOP;
END
$$;

\echo '6. prepared, with the range as parameters'
PREPARE overwrite (bigint, bigint) AS UPDATE app.student SET phone = '19999999999' WHERE student_id BETWEEN $1 AND $2;
EXECUTE overwrite(201, 290);
DEALLOCATE overwrite;

\echo '7. through savepoints in a transaction'
BEGIN;
SAVEPOINT a;
UPDATE app.student SET phone = '19999999999' WHERE student_id BETWEEN 201 AND 230;
RELEASE SAVEPOINT a;
SAVEPOINT b;
UPDATE app.student SET phone = '19999999999' WHERE student_id BETWEEN 231 AND 260;
COMMIT;

\echo '8. sixty invented guardians'
INSERT INTO app.guardian (student_id, name, relation, phone) SELECT 9, '无名氏', '其他', '19999999999' FROM generate_series(1, 60);

\echo '9. a block that commits every forty-nine rows (the numbers are left as they are: its first round stays)'
DO $$
BEGIN
    FOR round IN 0 .. 3 LOOP
        UPDATE app.student SET phone = phone WHERE student_id BETWEEN 301 + round * 49 AND 349 + round * 49;
        COMMIT;
    END LOOP;
END
$$;

\echo 'what the attack reached (0 and 0 under enforcement):'
SELECT count(*) FILTER (WHERE phone = '19999999999') AS students FROM app.student;
SELECT count(*) FILTER (WHERE phone = '19999999999') AS guardians FROM app.guardian;
