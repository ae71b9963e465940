-- Pupils with a few wrong phone numbers and doubled identity numbers, and the manual's own daily_check() (6.1).
CREATE SCHEMA app;
CREATE TABLE app.students (id int PRIMARY KEY, id_card text NOT NULL, phone text NOT NULL, name text NOT NULL);
INSERT INTO app.students
    SELECT n, '440524' || lpad((n % (:rows - 40))::text, 12, '0'),
        CASE WHEN n % 100000 = 7 THEN '1380000' ELSE '138' || lpad((n % 100000000)::text, 8, '0') END, 'pupil ' || n
    FROM generate_series(1, :rows) n;
VACUUM (ANALYZE, FREEZE) app.students;
CREATE TABLE app.manual_issues (name text, count bigint);
CREATE TABLE app.right_issues (name text, count bigint);
CREATE FUNCTION app.daily_check() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.manual_issues SELECT 'duplicate_id_card', count(*) FROM app.students WHERE id_card IN (
        SELECT id_card FROM app.students GROUP BY id_card HAVING count(*) > 1);
    INSERT INTO app.manual_issues SELECT 'invalid_phone', count(*) FROM app.students WHERE phone NOT LIKE '1________';
END $$;
CREATE FUNCTION app.right_check() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.right_issues SELECT 'duplicate_id_card', count(*) FROM app.students WHERE id_card IN (
        SELECT id_card FROM app.students GROUP BY id_card HAVING count(*) > 1);
    INSERT INTO app.right_issues SELECT 'invalid_phone', count(*) FROM app.students WHERE phone !~ '^1[3-9]\d{9}$';
END $$;
SELECT steward.set_check('duplicate_id_card', 'app.students', 'unique', '{id_card}');
SELECT steward.set_check('invalid_phone', 'app.students', 'format', '{phone}', '^1[3-9]\d{9}$');
SELECT steward.accept_configuration();
